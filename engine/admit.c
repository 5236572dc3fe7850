/*
 * admit.c - a request becomes a sequence: sampling parameters and drafters.
 */
#include "engine_impl.h"

#include <stdlib.h>
#include <sys/random.h>

/* ---- its laws -------------------------------------------------------------------------------- */

static uint64_t fresh_seed(void)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        seed = clock_ns() * 0x9e3779b97f4a7c15u;
    return seed >> 11; /* below 2^53: exact in every JSON reader */
}

/* auto: a client that sends a seed wants the same tokens again, which coupled gives at any K. */
static enum verify_mode verify_mode(const struct engine *e, const struct request_params *r)
{
    switch (r->spec.mode) {
    case MODE_RATIO:
        return VERIFY_RATIO;
    case MODE_BLOCK:
        return VERIFY_BLOCK;
    case MODE_COUPLED:
        return VERIFY_COUPLED;
    case MODE_AUTO:
        break;
    }
    return r->has_seed ? VERIFY_COUPLED : e->config.default_mode;
}

/* Shaping p as q is shaped raises the acceptance; a request may know better. */
static struct law_params draft_law(const struct request_params *r)
{
    struct law_params law = r->law;
    if (r->spec.temperature >= 0)
        law.temperature = r->spec.temperature;
    if (r->spec.top_p >= 0)
        law.top_p = r->spec.top_p;
    if (r->spec.min_p >= 0)
        law.min_p = r->spec.min_p;
    if (r->spec.top_k >= 0)
        law.top_k = r->spec.top_k;
    return law;
}

static uint32_t *allowed_mask(const struct request_params *r, uint32_t n_vocab)
{
    if (r->n_allowed == 0)
        return NULL;
    uint32_t *mask = xcalloc((size_t)mask_words((int32_t)n_vocab), sizeof *mask);
    for (int32_t i = 0; i < r->n_allowed; i++) {
        uint32_t id = (uint32_t)r->allowed_ids[i];
        if (id < n_vocab)
            mask[id / 32] |= 1u << id % 32;
    }
    return mask;
}

static void set_sampling(struct engine *e, struct seq *s)
{
    const struct request_params *r = &s->req->params;
    struct sample_params *p = &s->params;
    s->allowed = allowed_mask(r, e->info.n_vocab);
    *p = (struct sample_params){
        .target = r->law,
        .draft = draft_law(r),
        .seed = r->has_seed ? r->seed : fresh_seed(),
        .mode = verify_mode(e, r),
        .n_bias = r->n_bias,
        .bias_ids = r->bias_ids,
        .bias = r->bias,
        .allowed = s->allowed,
        .n_logprobs = r->n_logprobs,
    };
    s->stats.seed = p->seed;
    s->stats.mode = p->mode;
}

/* What others showed may move K, as it says nothing of this request's randomness; unless another
 * has the same seed and is ahead. Coupled output does not depend on K at all. */
static bool may_share_evidence(const struct seq *s)
{
    return !s->req->params.has_seed || s->params.mode == VERIFY_COUPLED;
}

static void add_drafter(struct seq *s, enum drafter_type type)
{
    enum drafter_type only = s->req->params.spec.drafter;
    if (only == DRAFT_NONE || only == type)
        s->drafters[s->n_drafters++].drafter = drafter_of(type);
}

/* The masks of a grammar are made on the host, one for each drafted token: only drafts that the
 * host knows can have them. Some of these are at hand wherever anything drafts. */
static void set_drafters(struct engine *e, struct seq *s)
{
    const struct engine_config *c = &e->config;
    if (!s->req->params.spec.enabled || c->n_drafters == 0)
        return;
    if (!s->req->format.json) {
        for (int i = 0; i < c->n_drafters; i++)
            add_drafter(s, c->drafters[i]);
        return;
    }
    for (int d = DRAFT_NONE + 1; d < DRAFT_TYPES; d++) {
        const struct drafter *drafter = drafter_of((enum drafter_type)d);
        if (drafter->source == DRAFT_FROM_HOST &&
            (drafter->under_grammar || drafter_configured(c, drafter->type)))
            add_drafter(s, drafter->type);
    }
}

static const char *why_no_drafter(const struct engine *e, const struct request *req)
{
    if (e->config.n_drafters == 0)
        return "the server has no drafter";
    return req->format.json ? "under a JSON format only lookup can draft"
                            : "the server has no drafter of this kind";
}

static void set_drafting(struct engine *e, struct seq *s)
{
    const struct speculative_params *r = &s->req->params.spec;
    const struct engine_config *c = &e->config;
    int32_t k_max = e->setup.k_max;
    s->k_max = MIN(r->max >= 0 ? r->max : c->draft_max, k_max);
    s->k_min = MIN(r->min >= 0 ? r->min : c->draft_min, s->k_max);
    s->k_fixed = MIN(r->fixed >= 0 ? r->fixed : c->draft_fixed, k_max);
    if (r->fixed < 0 && r->max >= 0) /* the request bounds the server's fixed K */
        s->k_fixed = MIN(s->k_fixed, r->max);
    set_drafters(e, s);
    if (!r->enabled)
        s->no_draft = "the request disabled it";
    else if (s->n_drafters == 0)
        s->no_draft = why_no_drafter(e, s->req);
    else if (s->k_max == 0 || s->k_fixed == 0)
        s->no_draft = "the request or the server set K to 0";
    if (s->n_drafters == 0)
        s->k_fixed = s->k_max = s->k_min = 0;
    pace_init(&s->pace, may_share_evidence(s) ? &e->sched.acceptance : NULL);
}

void engine_admit(struct engine *e, struct request *req)
{
    const struct request_params *r = &req->params;
    struct seq *s = seq_new(req);
    s->arrival = ++e->n_arrivals;
    s->t_deadline = s->t_arrived + (uint64_t)atomic_load(&e->request_timeout_ms) * 1000000u;
    if (r->n_stops > 0)
        s->stop = stop_matcher_create(r->stops, r->stop_lens, r->n_stops);
    set_sampling(e, s);
    set_drafting(e, s);
    /* The output continues a raw prompt: a SentencePiece model's first space is part of it. */
    s->decoder.started = req->kind != PROMPT_CHAT;
    sched_add(&e->sched, s);
    watch_start(e, s);
    engine_intake(e, s);
}
