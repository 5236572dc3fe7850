/*
 * begin.h - what the host hands to a round: the round itself, and the slots that changed since the
 * one before. It lies in pinned memory that the device reads in place; the first kernel of a round
 * brings it to where the others, and captured graphs, look for it.
 */
#ifndef SPECD_CUDA_BEGIN_H
#define SPECD_CUDA_BEGIN_H

#include "state.h"

#ifdef __cplusplus
extern "C" {
#endif

struct slot_change {
    int32_t slot;
    bool starts; /* the slot is what `start` says; else its blocks alone change */
    /* Pointers in it are the slot's own, in device memory. Counts are made from the tokens. */
    struct device_slot start;
    const int32_t *tokens;   /* (start.len) */
    const int32_t *bias_ids; /* (start.params.n_bias) */
    const float *bias;
    const uint32_t *allowed; /* (ceil(V / 32)), NULL: none; and so draft_ids */
    const uint32_t *draft_ids;
    const int32_t *blocks; /* (n_blocks): entries first_block.. of the table */
    int32_t first_block, n_blocks;
};

struct round_input {
    struct device_round round;
    int32_t n_changes;
    struct slot_change changes[SPECD_SLOTS_MAX]; /* a slot at most once */
};

/* in: pinned, with what its pointers lead to, and not to be changed until the round has ended.
 * has_masks: some sequence does. */
int launch_round_begin(const struct device_state *state, const struct round_input *in,
                       bool has_masks, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
