/*
 * drafter.h - what proposes tokens: one object for each of SPECD_DRAFTERS (specd/request.h).
 *
 * A drafter says where its tokens come from. Those of DRAFT_FROM_MODEL are drawn on the device, and
 * the scheduler keeps the draft model's KV up to date for sequences that have such a drafter. Those
 * of DRAFT_FROM_HOST are found by `propose` while a round is planned, and verified as a point mass.
 * What a proposal may depend on is the committed text alone, and under a grammar what it allows:
 * so an answer with a fixed K can be replayed.
 *
 * Verification is exact whatever is proposed. A drafter on the host is a file here that defines its
 * object, and a row of SPECD_DRAFTERS.
 *
 * Engine thread. Nothing fails.
 */
#ifndef SPECD_DRAFTER_H
#define SPECD_DRAFTER_H

#include "specd/request.h"

struct constraint;
struct lookup_pool;
struct prediction;

/* What a sequence's drafters may know beside the tokens they observe; all of it is borrowed. */
struct draft_text {
    int32_t n_ctx, n_prompt;       /* tokens the text will have at most; those of its prompt */
    struct constraint *constraint; /* that the text follows, or NULL */
    struct prediction *prediction; /* of the answer (prediction.h), or NULL */
    struct lookup_pool *shared;    /* of others' answers (lookup_pool.h), or NULL */
};

/* Acceptance is estimated by position, or by the number of tokens that agreed before the position,
 * less one: 1, 2, 3-4, 5-8, 9-16, more. */
#define ACCEPTANCE_BUCKETS 6

struct drafter {
    enum drafter_type type; /* its name: drafter_name() */
    enum draft_source source;
    /* At hand wherever anything drafts, configured or not: under a grammar; with a prediction. */
    bool under_grammar, with_prediction;
    bool by_match;                    /* acceptance follows *match of propose, not the position */
    double prior[ACCEPTANCE_BUCKETS]; /* acceptance before any was seen; 0: as the bucket before */

    /* Of DRAFT_FROM_HOST only. begin makes the state of one sequence. observe: committed tokens,
     * the prompt first, in order; may be NULL. forget frees the state; may be NULL. */
    void *(*begin)(const struct draft_text *text);
    void (*observe)(void *state, const int32_t *ids, int32_t n);
    void (*forget)(void *state);
    /* What may follow the text: 0..room tokens, written to out. Asked in each round. Sets *match to
     * the number of tokens at the text's end that speak for it, where by_match. */
    int32_t (*propose)(void *state, int32_t room, int32_t *out, int32_t *match);
};

#define DECLARE(id, name) extern const struct drafter name##_drafter;
SPECD_DRAFTERS(DECLARE)
#undef DECLARE

static inline const struct drafter *drafter_of(enum drafter_type type) /* not DRAFT_NONE */
{
#define ROW(id, name) [DRAFT_##id] = &name##_drafter,
    static const struct drafter *const all[DRAFT_TYPES] = {SPECD_DRAFTERS(ROW)};
#undef ROW
    return all[type];
}

#endif
