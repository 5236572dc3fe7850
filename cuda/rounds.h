/*
 * rounds.h - a round on the GPU: what it needs in memory, and its launches in their order.
 *
 * The shape of a round is all that the host has to know to launch it; a captured graph is one shape
 * replayed. A shape is an upper bound: kernels read from memory how many sequences, steps and rows
 * are live, so a round may run in any shape that holds it.
 */
#ifndef SPECD_CUDA_ROUNDS_H
#define SPECD_CUDA_ROUNDS_H

#include "advance.h"
#include "begin.h"
#include "forward.h"
#include "memory.h"

struct round_shape {
    int32_t n_seqs, n_steps;
    int32_t n_rows; /* of the verify pass; n_seqs <= n_rows */
};

static inline bool shape_holds(const struct round_shape *a, const struct round_shape *b)
{
    return a->n_seqs >= b->n_seqs && a->n_steps >= b->n_steps && a->n_rows >= b->n_rows;
}

/* Device memory of rounds. */
struct gpu_rounds {
    struct gpu_forward *forward;
    struct device_state state;
    struct device_round *round;
    struct advance advance;
    struct device_logprobs *logprobs; /* (n_slots * (k_max + 1)) */
    struct device_score *score_rows;  /* (SPECD_SCORE_ROWS) */
    struct device_logprobs *scores;   /* (SPECD_SCORE_ROWS) */
};

/* Takes all but the forward pass; `a` may be counting. */
void gpu_rounds_layout(struct gpu_rounds *r, const struct device_setup *setup, int32_t n_vocab,
                       int32_t n_vocab_draft, struct gpu_arena *a);

/* Each enqueues; SPECD_EDEVICE. The chunks' rows of a role in passes of at most max_rows. */
int gpu_rounds_prompt(struct gpu_rounds *r, enum model_role role, const struct round *round,
                      int32_t max_rows, cudaStream_t stream);
/* Draft steps, verification and the advance of the slots. */
int gpu_rounds_decode(struct gpu_rounds *r, const struct round_shape *shape, cudaStream_t stream);

#endif
