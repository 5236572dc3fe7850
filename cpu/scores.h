/*
 * scores.h - log-probabilities of a prompt's own tokens: the logit rows of scored chunks.
 *
 * A chunk that is to be scored adds its rows in `begin` (engine thread); after the prompt pass has
 * left their logits here, scores_run turns them into log-probabilities (round thread).
 */
#ifndef SPECD_CPU_SCORES_H
#define SPECD_CPU_SCORES_H

#include "arena.h"
#include "pool.h"
#include "slots.h"

struct scores {
    const struct slots *slots;
    struct pool *pool;
    int n_vocab;
    size_t stride;
    float *logits;             /* (SPECD_SCORE_ROWS, V), in the order of the rows added */
    struct token_logprob *own; /* (SPECD_SCORE_ROWS) */
    struct token_logprob *top; /* (SPECD_SCORE_ROWS, SPECD_LOGPROBS_MAX) */
    struct score_result chunks[SPECD_SCORE_ROWS];
    int n_chunks;
    int chunk_of_row[SPECD_SCORE_ROWS], n_rows;
};

void scores_layout(struct scores *s, int n_vocab, struct arena *a);
void scores_begin(struct scores *s); /* of a round: no rows yet */
void scores_add(struct scores *s, const struct round_chunk *chunk);
/* From logits to result->scores. */
void scores_run(struct scores *s, struct round_result *result);

#endif
