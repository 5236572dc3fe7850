#include "seq.h"

#include "drafters/lookup_pool.h"
#include "drafters/prediction.h"

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
    for (int i = 0; i < s->n_drafters; i++) {
        if (s->drafters[i].state && s->drafters[i].drafter->forget)
            s->drafters[i].drafter->forget(s->drafters[i].state);
    }
    prediction_unref(s->prediction);
    lookup_pool_unref(s->pool);
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
    for (int i = 0; i < s->n_drafters; i++) {
        if (s->drafters[i].state && s->drafters[i].drafter->observe)
            s->drafters[i].drafter->observe(s->drafters[i].state, ids, n);
    }
}

void seq_renew_slot(struct seq *s)
{
    s->slot_is_new = true;
    s->cached_target_len = s->target_len;
    s->cached_draft_len = s->draft_len;
    s->n_blocks_sent = 0;
    s->window_sent = s->window_first;
}

void seq_set_prompt(struct seq *s, const int32_t *ids, int32_t n)
{
    s->len = 0;
    seq_append(s, ids, n);
    s->n_prompt = n;
    s->stats.n_prompt = n;
}

void seq_begin_drafts(struct seq *s)
{
    if (s->drafts_begun)
        return;
    s->drafts_begun = true;
    for (int i = 0; i < s->n_drafters; i++) {
        const struct drafter *d = s->drafters[i].drafter;
        if (d->begin)
            s->drafters[i].state = d->begin(&s->about);
        if (d->observe)
            d->observe(s->drafters[i].state, s->tokens, s->len);
    }
}

bool seq_drafts_from(const struct seq *s, enum draft_source source)
{
    for (int i = 0; i < s->n_drafters; i++) {
        if (s->drafters[i].drafter->source == source)
            return true;
    }
    return false;
}
