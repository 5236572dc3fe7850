#include "seq.h"

#include <stdlib.h>
#include <string.h>

struct seq *seq_new(struct request *req)
{
    struct seq *s = xcalloc(1, sizeof *s);
    s->req = req;
    s->slot = -1;
    s->k_fixed = -1;
    s->t_arrived = clock_ns();
    return s;
}

void seq_free(struct seq *s)
{
    ASSERT(s->slot < 0 && s->n_blocks == 0 && !s->preparing_on_pool && !s->watch);
    free(s->tokens);
    free(s->blocks);
    free(s->allowed);
    lookup_free(s->lookup);
    constraint_free(s->constraint);
    stop_matcher_free(s->stop);
    buf_free(&s->pending);
    request_unref(s->req);
    free(s);
}

void seq_append(struct seq *s, const int32_t *ids, int32_t n)
{
    if (s->len + n > s->cap) {
        s->cap = MAX(s->len + n, s->cap + s->cap / 2);
        s->tokens = xrealloc(s->tokens, (size_t)s->cap * sizeof *s->tokens);
    }
    memcpy(s->tokens + s->len, ids, (size_t)n * sizeof *ids);
    s->len += n;
}

void seq_set_prompt(struct seq *s, const int32_t *ids, int32_t n)
{
    s->len = 0;
    seq_append(s, ids, n);
    s->n_prompt = n;
    s->stats.n_prompt = n;
}

bool seq_uses(const struct seq *s, enum drafter_type d)
{
    for (int i = 0; i < s->n_drafters; i++) {
        if (s->drafters[i] == d)
            return true;
    }
    return false;
}

enum pace_drafter seq_pace(enum drafter_type d)
{
    return d == DRAFT_LOOKUP ? PACE_LOOKUP : d == DRAFT_GRAMMAR ? PACE_GRAMMAR : PACE_MODEL;
}

bool seq_wants_draft_kv(const struct seq *s)
{
    return seq_uses(s, DRAFT_MODEL) || seq_uses(s, DRAFT_SELF);
}
