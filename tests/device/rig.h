/*
 * rig.h - a device with its slots and blocks, driven by hand: what the tests of a device stand on.
 *
 * Plays the engine's part for device.h: hands out blocks in a shuffled order, submits rounds the
 * way engine/round.c does and waits for them. Every call is checked; one that fails ends the test.
 */
#ifndef TESTS_DEVICE_RIG_H
#define TESTS_DEVICE_RIG_H

#include "models.h"
#include "specd/device.h"
#include "specd/util.h"

#include <pthread.h>

struct rig {
    const struct device_ops *ops;
    struct device *dev;
    struct device_setup setup;
    struct device_plan plan;
    int32_t *free_blocks;
    int32_t n_free;
    /* Of a target with windows, whose blocks are a group of their own: what is behind a prompt's
     * window is given to others at once. */
    int32_t n_windows, *free_windows, *windows; /* (n_slots, blocks of n_ctx) ids, or -1 */
    int32_t given[SPECD_SLOTS_MAX];             /* so many of a slot's, or given back */
    pthread_mutex_t lock;
    pthread_cond_t done_cond;
    int n_done; /* lock */
    struct round round;
    struct round_result result;
};

/* The device of the tests: the CPU, unless a program that links the rig defines this function too
 * (tests/gpu/choice.c). */
const struct device_ops *rig_ops(void);
bool rig_is_cpu(void);
/* Logits of the round collected last: of sequence seq's i-th verify row, or of draft step i + 1;
 * (V) floats, valid until the next call or round. */
const float *rig_logits(struct rig *r, enum model_role role, int seq, int i);
/* Whether the CPU device uses its portable kernels; nothing on others. */
void rig_force_portable(bool on);

/* A setup with f32 KV (bf16 where the device is not the CPU), 4 slots, 512 tokens, passes of 64
 * rows, K up to 8 and one thread. */
struct device_setup rig_setup(const struct model *target, const struct model *draft);
/* seed: of the order of the blocks. */
struct rig *rig_new(const struct device_setup *setup, uint64_t seed);
void rig_free(struct rig *r);

/* Parameters of plain greedy decoding. */
struct sample_params rig_params(void);

/* Gives the slot new blocks for n_ctx tokens and makes `tokens` its text, nothing computed. */
void rig_slot(struct rig *r, int32_t slot, const struct sample_params *params,
              const int32_t *tokens, int32_t n, int32_t limit);

/* A round is put together in r->round and run; the result is in r->result. */
void rig_clear(struct rig *r);
void rig_chunk(struct rig *r, int32_t slot, enum model_role role, int32_t start, int32_t n);
struct round_seq *rig_seq(struct rig *r, int32_t slot, int32_t k);
void rig_submit(struct rig *r); /* without waiting */
void rig_wait(struct rig *r);
void rig_run(struct rig *r); /* both */

/* Prefills rows start..end of one model in chunks of at most `step`. */
void rig_prefill(struct rig *r, int32_t slot, enum model_role role, int32_t start, int32_t end,
                 int32_t step);

#endif
