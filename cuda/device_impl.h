/*
 * device_impl.h - struct device on the GPU, for device.c, submit.c and the tests' window into it.
 */
#ifndef SPECD_CUDA_DEVICE_IMPL_H
#define SPECD_CUDA_DEVICE_IMPL_H

#include "flight.h"
#include "forward.h"
#include "gemm.h"
#include "graphs.h"
#include "machine.h"
#include "net.h"
#include "rounds.h"
#include "slots.h"
#include "waiter.h"

struct device {
    struct device_info info;
    struct gpu_machine machine;

    /* from model_load on */
    struct device_setup setup; /* self_layers is our own copy */
    bool has_models;
    struct gpu_arena weights[MODEL_ROLES];
    struct gpu_net nets[MODEL_ROLES];
    const struct gpu_net *used[MODEL_ROLES]; /* of nets; NULL: there is none */

    /* from pool_create on */
    bool has_pool;
    int32_t n_blocks, n_window_blocks;
    cudaStream_t stream;
    struct gpu_arena slot_arena, activation_arena, workspace_arena, kv_arena;
    struct gpu_kv kv;
    struct gpu_slots slots;
    struct gpu_forward forward;
    struct gpu_rounds rounds;
    struct gemm *gemm;
    struct gpu_graphs graphs;
    struct gpu_waiter waiter;
    struct gpu_flight flights[WAITER_ROUNDS];
    uint64_t n_submitted, n_collected;
    struct round_record record; /* from begin to end */
    struct round_shape shape;   /* of the same round; n_steps: what its sequences want */

    float *window; /* what cuda_device_logits gave */
};

/* submit.c: the verbs of a round, as device.h has them; those between begin and end only go into
 * the record. */
int gpu_begin(struct device *dev, const struct round *round);
int gpu_end(struct device *dev);
int gpu_poll(struct device *dev);
int gpu_collect(struct device *dev, struct round_result *out);

/* window.c: logits of sequence `seq` of the round collected last, with none in flight: of its i-th
 * verify row, or of its draft step i + 1; (V) floats, valid until the next call. For tests. */
const float *cuda_device_logits(struct device *dev, enum model_role role, int seq, int i);

#endif
