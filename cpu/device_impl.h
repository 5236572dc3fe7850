/*
 * device_impl.h - struct device on the CPU, for device.c and the tests' window into it.
 */
#ifndef SPECD_CPU_DEVICE_IMPL_H
#define SPECD_CPU_DEVICE_IMPL_H

#include "arena.h"
#include "forward.h"
#include "kvmem.h"
#include "net.h"
#include "rounds.h"
#include "slots.h"
#include "turns.h"

struct device {
    struct device_info info;
    int cores;

    /* from model_load on */
    struct device_setup setup; /* self_layers is our own copy */
    struct pool *pool;
    struct arena weights[MODEL_ROLES];
    struct net nets[MODEL_ROLES];
    const struct net *used[MODEL_ROLES]; /* of nets; NULL: there is none */

    /* from pool_create on */
    struct arena slot_arena, activation_arena, workspace_arena, kv_arena;
    struct kvmem kv;
    struct slots slots;
    struct forward forward;
    struct turns turns;
    struct scores scores;
    struct rounds rounds;
};

/* Logits of sequence `seq` of the round collected last: of its i-th verify row, or of its draft
 * step i + 1; (V) floats, valid until the next begin. Engine thread. For tests. */
const float *cpu_device_logits(const struct device *dev, enum model_role role, int seq, int i);

#endif
