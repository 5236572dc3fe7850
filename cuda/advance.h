/*
 * advance.h - what a round does to its sequences around the kernels of sampling.h: who drafts how
 * much, what laws are made of, drafted tokens and their counts, and the advance of the slots.
 *
 * As cpu/turns.c and cpu/slots.c, in the order of a round (include/specd/device.h):
 *
 *   for each role with chunks: passes of ROWS_PROMPT, then launch_prompt_end
 *   launch_turns_begin
 *   for each step: pass of ROWS_STEP, launch_step_laws, launch_laws and launch_draws over that
 *                  step's laws, launch_step_end
 *   pass of ROWS_VERIFY, launch_verify_begin, launch_laws over q, launch_verify, launch_logprobs,
 *   launch_turns_end
 */
#ifndef SPECD_CUDA_ADVANCE_H
#define SPECD_CUDA_ADVANCE_H

#include "sampling.h"
#include "state.h"

#ifdef __cplusplus
extern "C" {
#endif

struct advance {
    struct device_law *p;      /* (k_max, n_slots): of a step one after another, by index of turn */
    struct device_law *q;      /* (n_slots * (k_max + 1)): as the verify pass's rows */
    int32_t *drawn;            /* (n_slots) by index of turn */
    struct device_turn *turns; /* (n_slots) */
    struct seq_result *results; /* (n_slots) */
    /* (k_draft, n_slots, draft_stride) and (n_slots * (k_max + 1), target_stride): a pass's logits
     * in the order of its rows that want some. Strides in floats, multiples of 4. */
    const float *draft_logits, *target_logits;
    int64_t draft_stride, target_stride;
};

/* scores.cu: the pass's rows that want logits, a prompt's tokens to be scored -> what launch_scores
 * takes: rows[i] for the i-th scored row of the round, (SPECD_SCORE_ROWS), padding elsewhere. */
int launch_score_rows(const struct device_state *state, const struct pass *pass,
                      struct device_score *rows, const float *logits, int64_t stride,
                      cudaStream_t stream);
/* The slots' rows[role] follow the chunks. */
int launch_prompt_end(const struct device_state *state, enum model_role role, cudaStream_t stream);
/* Every turn's k, the host's drafts behind the committed tokens. */
int launch_turns_begin(const struct device_state *state, cudaStream_t stream);
/* a->p of the step; those of turns that take no part are padding. */
int launch_step_laws(const struct device_state *state, const struct pass *pass,
                     const struct advance *a, int step, cudaStream_t stream);
/* a->drawn become the step's drafted tokens. */
int launch_step_end(const struct device_state *state, const struct pass *pass,
                    const struct advance *a, int step, cudaStream_t stream);
/* a->q, a->p of host drafts, and a->turns. */
int launch_verify_begin(const struct device_state *state, const struct advance *a,
                        cudaStream_t stream);
/* Commits: slots advance, results are complete but for log-probabilities. */
int launch_turns_end(const struct device_state *state, const struct advance *a,
                     cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
