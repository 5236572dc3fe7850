/*
 * admit.c - a request becomes a sequence: sampling parameters, drafters, prompt.
 */
#include "engine_impl.h"

#include <stdlib.h>
#include <sys/random.h>

/* ---- its prompt, on the thread pool ---------------------------------------------------------- */

struct preparation {
    uv_work_t work;
    struct engine *e;
    struct seq *s;
    int32_t *ids;
    size_t n_ids;
    int rc;
    char err[256];
};

static void prepare_work(uv_work_t *work)
{
    struct preparation *p = work->data;
    p->rc = prepare_prompt(&p->e->prepare, p->s->req, &p->ids, &p->n_ids, p->err, sizeof p->err);
}

static bool check_length(struct engine *e, const struct preparation *p, char *err, size_t errlen)
{
    size_t n_ctx = (size_t)e->setup.n_ctx;
    if (p->n_ids == 0) {
        fail(0, err, errlen, "prompt: has no tokens");
        return false;
    }
    if (p->n_ids >= n_ctx) {
        fail(0, err, errlen,
             "prompt: %zu tokens leave no room for an answer in a context of %zu tokens", p->n_ids,
             n_ctx);
        return false;
    }
    return true;
}

static void add_end(struct sample_params *p, int32_t id, int32_t from)
{
    ASSERT(p->n_ends < SPECD_ENDS_MAX);
    p->ends[p->n_ends++] = (struct end_token){id, from};
}

/* min_tokens keeps every end away for a while, ignore_eos those of the model for good. */
static void set_ends(const struct engine *e, struct seq *s)
{
    const struct request_params *r = &s->req->params;
    const struct vocab *v = tokenizer_vocab(e->tokenizer);
    int32_t from = s->n_prompt + MIN(r->min_tokens, INT32_MAX - s->n_prompt);
    for (int32_t i = 0; i < v->n_eog; i++)
        add_end(&s->params, v->eog[i], r->ignore_eos ? INT32_MAX : from);
    for (int32_t i = 0; i < r->n_stop_ids; i++)
        add_end(&s->params, r->stop_ids[i], from);
}

static void enter_prompt(struct engine *e, struct preparation *p)
{
    struct seq *s = p->s;
    const struct request_params *r = &s->req->params;
    seq_set_prompt(s, p->ids, (int32_t)p->n_ids);
    int32_t room = e->setup.n_ctx - s->n_prompt;
    s->limit = s->n_prompt + (r->max_tokens > 0 ? MIN(r->max_tokens, room) : room);
    set_ends(e, s);
    if (s->lookup)
        lookup_append(s->lookup, s->tokens, s->len);
    pthread_mutex_lock(&s->req->output.lock); /* usage in the stream needs it from the start */
    s->req->output.stats.n_prompt = s->n_prompt;
    pthread_mutex_unlock(&s->req->output.lock);
    sched_ready(&e->sched, s);
}

static void on_prepared(uv_work_t *work, int status)
{
    struct preparation *p = work->data;
    struct engine *e = p->e;
    struct seq *s = p->s;
    (void)status; /* never cancelled: the request's own flag ends it sooner */
    s->preparing_on_pool = false;
    if (s->state == SEQ_DONE)
        seq_free(s); /* ended meanwhile */
    else if (p->rc != 0)
        seq_finish(e, s, FINISH_ERROR, p->rc, p->err[0] ? p->err : NULL);
    else if (!check_length(e, p, p->err, sizeof p->err))
        seq_finish(e, s, FINISH_ERROR, p->n_ids ? SPECD_ECONTEXT : SPECD_EINVAL, p->err);
    else
        enter_prompt(e, p);
    free(p->ids);
    free(p);
    e->turn_began_ns = clock_ns();
    engine_turn(e);
}

static void prepare(struct engine *e, struct seq *s)
{
    struct preparation *p = xcalloc(1, sizeof *p);
    p->work.data = p;
    p->e = e;
    p->s = s;
    s->preparing_on_pool = true;
    int rc = uv_queue_work(&e->loop, &p->work, prepare_work, on_prepared);
    ASSERT(rc == 0);
}

/* ---- a request's parameters ------------------------------------------------------------------ */

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
    uint32_t *mask = xcalloc(n_vocab / 32 + 1, sizeof *mask);
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

static bool drafter_wanted(enum drafter_choice choice, enum drafter_type d)
{
    switch (choice) {
    case DRAFTER_MODEL:
        return d == DRAFT_MODEL;
    case DRAFTER_SELF:
        return d == DRAFT_SELF;
    case DRAFTER_LOOKUP:
        return d == DRAFT_LOOKUP;
    case DRAFTER_DEFAULT:
        break;
    }
    return d != DRAFT_NONE;
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
    for (int i = 0; i < c->n_drafters && r->enabled; i++) {
        if (drafter_wanted(r->drafter, c->drafters[i]))
            s->drafters[s->n_drafters++] = c->drafters[i];
    }
    if (!r->enabled)
        s->no_draft = "the request disabled it";
    else if (s->n_drafters == 0)
        s->no_draft = r->drafter == DRAFTER_DEFAULT ? "the server has no drafter"
                                                    : "the server has no drafter of this kind";
    else if (s->k_max == 0 || s->k_fixed == 0)
        s->no_draft = "the request or the server set K to 0";
    if (s->n_drafters == 0)
        s->k_fixed = s->k_max = s->k_min = 0;
    pace_init(&s->pace);
    if (seq_uses(s, DRAFT_LOOKUP))
        s->lookup = lookup_create(e->setup.n_ctx);
}

void engine_admit(struct engine *e, struct request *req)
{
    const struct request_params *r = &req->params;
    struct seq *s = seq_new(req);
    s->arrival = ++e->n_arrivals;
    s->t_deadline = s->t_arrived + (uint64_t)e->config.request_timeout_ms * 1000000u;
    if (r->n_stops > 0)
        s->stop = stop_matcher_create(r->stops, r->stop_lens, r->n_stops);
    set_sampling(e, s);
    set_drafting(e, s);
    /* The output continues a raw prompt: a SentencePiece model's first space is part of it. */
    s->decoder.started = req->kind != PROMPT_CHAT;
    sched_add(&e->sched, s);
    watch_start(e, s);
    prepare(e, s);
}
