#include "scores.h"

#include "logprobs.h"
#include "specd/util.h"

#include <string.h>

void scores_layout(struct scores *s, int n_vocab, struct arena *a)
{
    *s = (struct scores){.n_vocab = n_vocab, .stride = row_stride(n_vocab)};
    s->logits = arena_take(a, SPECD_SCORE_ROWS, s->stride * sizeof(float));
    s->own = arena_take(a, SPECD_SCORE_ROWS, sizeof(*s->own));
    s->top = arena_take(a, SPECD_SCORE_ROWS, SPECD_LOGPROBS_MAX * sizeof(*s->top));
}

void scores_begin(struct scores *s)
{
    s->n_rows = s->n_chunks = 0;
}

/* A chunk's alternatives stand n_top apart, which is at most SPECD_LOGPROBS_MAX: its share of `top`
 * begins where so many of each row before it would end. */
void scores_add(struct scores *s, const struct round_chunk *chunk)
{
    for (int32_t i = 0; i < chunk->n; i++)
        s->chunk_of_row[s->n_rows + i] = s->n_chunks;
    s->chunks[s->n_chunks++] =
        (struct score_result){.slot = chunk->slot,
                              .start = chunk->start,
                              .n = chunk->n,
                              .own = s->own + s->n_rows,
                              .top = s->top + (ptrdiff_t)s->n_rows * SPECD_LOGPROBS_MAX};
    s->n_rows += chunk->n;
}

static void score_row(void *arg, int row, int part)
{
    struct scores *s = arg;
    const struct score_result *c = &s->chunks[s->chunk_of_row[row]];
    const struct slot *slot = &s->slots->slots[c->slot];
    ptrdiff_t first = c->own - s->own, i = row - first;
    int n_top = slot->params.n_logprobs;
    (void)part;
    logprobs_of_row(s->logits + (size_t)row * s->stride, s->n_vocab, slot->tokens[c->start + 1 + i],
                    s->own + row, s->top + first * SPECD_LOGPROBS_MAX + i * n_top, n_top);
}

void scores_run(struct scores *s, struct round_result *result)
{
    pool_items(s->pool, s->n_rows, score_row, s);
    memcpy(result->scores, s->chunks, (size_t)s->n_chunks * sizeof(s->chunks[0]));
    result->n_scores = s->n_chunks;
}
