/*
 * entry.c - a request becomes a sequence that is ready to run: its laws and drafters, its prompt
 * from the thread pool, and what can be checked only with the prompt's length known. Of several
 * choices of one prompt (n > 1) the first, the parent, has it prepared and computed for all.
 *
 * When all went well the sequence is WAITING; else it is DONE with an error, or because nothing is
 * to be generated.
 */
#include "engine_impl.h"

#include "drafters/lookup_pool.h"

#include <math.h>
#include <stddef.h>
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

/* What lookup finds in others' outputs depends on them, so no answer that must replay may look. */
static bool may_look_at_others(const struct seq *s)
{
    return may_share_evidence(s) && s->k_fixed < 0;
}

static void add_drafter(struct seq *s, enum drafter_type type)
{
    enum drafter_type only = s->req->params.spec.drafter;
    if (only == DRAFT_NONE || only == type)
        s->drafters[s->n_drafters++].drafter = drafter_of(type);
}

/* The masks of a grammar are made on the host, one for each drafted token: only drafts that the
 * host knows can have them, and two drafters of that kind are at hand wherever anything drafts.
 * Free text needs no masks: the server's drafters draft it as without a grammar, and those two, if
 * it does not have them, stand behind. The client's own prediction comes before what the server
 * has. */
static void set_drafters(struct engine *e, struct seq *s)
{
    const struct engine_config *c = &e->config;
    if (!s->req->params.spec.enabled || c->n_drafters == 0)
        return;
    bool is_free = request_is_free(s->req);
    if (is_free && s->req->prediction)
        add_drafter(s, DRAFT_PREDICTION);
    for (int i = 0; i < c->n_drafters && is_free; i++)
        add_drafter(s, c->drafters[i]);
    int n_free = s->n_drafters;
    for (int d = DRAFT_NONE + 1; d < DRAFT_TYPES && s->req->format.json; d++) {
        const struct drafter *drafter = drafter_of((enum drafter_type)d);
        bool there = is_free && (drafter->with_prediction || drafter_configured(c, drafter->type));
        if (!there && drafter->source == DRAFT_FROM_HOST &&
            (drafter->with_prediction
                 ? s->req->prediction != NULL
                 : drafter->under_grammar || drafter_configured(c, drafter->type)))
            add_drafter(s, drafter->type);
    }
    s->n_bound_drafters = s->n_drafters - n_free;
}

static enum draft_why why_no_drafter(const struct engine *e, const struct request *req)
{
    if (e->config.n_drafters == 0)
        return DRAFT_WHY_NO_DRAFTER;
    if (req->params.spec.drafter == DRAFT_PREDICTION)
        return DRAFT_WHY_NO_PREDICTION;
    return request_is_free(req) ? DRAFT_WHY_NO_SUCH_DRAFTER : DRAFT_WHY_GRAMMAR;
}

static void set_drafting(struct engine *e, struct seq *s)
{
    const struct speculative_params *r = &s->req->params.spec;
    const struct engine_config *c = &e->config;
    int32_t k_max = e->setup.k_max;
    set_drafters(e, s);
    s->k_max = MIN(r->max >= 0 ? r->max : MAX(c->draft_max, c->draft_max_host), k_max);
    s->k_max_model = MIN(r->max >= 0 ? r->max : c->draft_max, k_max);
    s->k_min = MIN(r->min >= 0 ? r->min : c->draft_min, s->k_max);
    s->k_fixed = MIN(r->fixed >= 0 ? r->fixed : c->draft_fixed, k_max);
    if (r->fixed < 0 && r->max >= 0) /* the request bounds the server's fixed K */
        s->k_fixed = MIN(s->k_fixed, r->max);
    if (!r->enabled)
        s->no_draft = DRAFT_WHY_DISABLED;
    else if (s->n_drafters == 0)
        s->no_draft = why_no_drafter(e, s->req);
    else if (s->k_max == 0 || s->k_fixed == 0)
        s->no_draft = DRAFT_WHY_ZERO;
    if (!seq_drafts_from(s, DRAFT_FROM_HOST))
        s->k_max = s->k_max_model;
    if (s->n_drafters == 0)
        s->k_fixed = s->k_max = s->k_min = 0;
    if (e->pools && s->req->cache_salt)
        s->pool = lookup_pool_of(e->pools, s->req->cache_salt);
    acceptance_init(&s->acceptance, may_share_evidence(s) ? &e->drafts->acceptance : NULL,
                    s->params.target.temperature > 0);
}

/* ---- its prompt ------------------------------------------------------------------------------ */

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

/* Whether the first token can be drawn at all: bans, allowed ids and masked ends leave something.
 */
static bool can_draw(const struct engine *e, const struct seq *s)
{
    const struct sample_params *p = &s->params;
    uint32_t n_vocab = e->info.n_vocab;
    if (!p->allowed && (uint32_t)(p->n_bias + p->n_ends) < n_vocab)
        return true;
    for (int32_t id = 0; id < (int32_t)n_vocab; id++) {
        bool banned = p->allowed && !(p->allowed[id / 32] >> id % 32 & 1);
        for (int32_t i = 0; !banned && i < p->n_bias; i++)
            banned = p->bias_ids[i] == id && p->bias[i] == -INFINITY;
        for (int32_t i = 0; !banned && i < p->n_ends; i++)
            banned = p->ends[i].id == id && p->ends[i].from > s->n_prompt;
        if (!banned)
            return true;
    }
    return false;
}

/* Log-probabilities of a prompt's tokens are kept until the end, and become a text ten times their
 * size. */
#define SCORES_MAX (1 << 18)

static int check_scores(const struct request *req, size_t n_ids, char *err, size_t errlen)
{
    int32_t each = req->params.echo ? 1 + req->params.n_logprobs : 0;
    if (each <= 0 || n_ids <= (size_t)(SCORES_MAX / each))
        return 0;
    return fail(SPECD_EINVAL, err, errlen,
                "%s: %zu tokens echoed with %d log-probabilities each; at most %d in all",
                req->field, n_ids, each, SCORES_MAX);
}

/* max_tokens 0 only gives the prompt back, which may then fill the context. */
static int check_length(const struct engine *e, const struct request *req, size_t n_ids, char *err,
                        size_t errlen)
{
    size_t n_ctx = (size_t)e->setup.n_ctx;
    if (n_ids == 0)
        return fail(SPECD_EINVAL, err, errlen, "%s: has no tokens", req->field);
    if (n_ids < n_ctx || (n_ids == n_ctx && req->params.max_tokens == 0))
        return check_scores(req, n_ids, err, errlen);
    return fail(
        SPECD_ECONTEXT, err, errlen,
        "%s: prompt is too long: %zu tokens > %zu maximum: this model's maximum context length is "
        "%zu tokens, and an answer takes one at least",
        req->field, n_ids, n_ctx - 1, n_ctx);
}

static void set_prompt(struct engine *e, struct seq *s, const struct prepared *prompt)
{
    const struct request_params *r = &s->req->params;
    int32_t n = (int32_t)prompt->n_ids, room = e->setup.n_ctx - n;
    seq_set_prompt(s, prompt->ids, n);
    s->limit = n + (r->max_tokens >= 0 ? MIN(r->max_tokens, room) : room);
    s->score = r->echo && r->n_logprobs >= 0 && n > 1;
    set_ends(e, s);
    pthread_mutex_lock(&s->req->output.lock); /* usage in the stream needs it from the start */
    s->req->output.stats.n_prompt = s->n_prompt;
    s->req->output.thinking = prompt->thinking;
    pthread_mutex_unlock(&s->req->output.lock);
}

/* The sequence becomes ready to run, or ends here. */
static void enter_prompt(struct engine *e, struct seq *s, const struct prepared *prompt)
{
    char err[256] = "";
    memory_ran_short(); /* what it says below is about this sequence */
    int rc = check_length(e, s->req, prompt->n_ids, err, sizeof err);
    if (rc == 0) {
        set_prompt(e, s, prompt);
        if (prompt->grammar)
            s->constraint = constraint_create(&e->constraints, prompt->grammar, &s->params,
                                              MAX(s->k_max, s->k_fixed));
        s->prediction = prediction_ref(prompt->prediction);
        s->about = (struct draft_text){
            .n_ctx = e->setup.n_ctx,
            .n_prompt = s->n_prompt,
            .constraint = s->constraint,
            .prediction = s->prediction,
            .shared = may_look_at_others(s) ? s->pool : NULL,
        };
        if (!can_draw(e, s))
            rc = fail(SPECD_EINVAL, err, sizeof err, "%s: all bans together leave no token to draw",
                      s->params.allowed ? "allowed_token_ids" : "logit_bias");
    }
    if (rc != 0) {
        seq_finish(e, s, FINISH_ERROR, rc, err);
        return;
    }
    s->bos_added = prompt->bos_added;
    if (s->req->params.echo)
        echo_begin(e, s);
    if (memory_ran_short())
        seq_finish(e, s, FINISH_ERROR, SPECD_ENOMEM, NULL);
    else if (s->limit == s->n_prompt && !s->score)
        seq_finish(e, s, FINISH_LENGTH, 0, NULL);
    else
        sched_ready(&e->sched, s);
}

/* ---- preparing ------------------------------------------------------------------------------- */

/* Clients take turns on the pool: who asks for one thing waits for no more than is on it and one
 * prompt of each other client. */
#define PREPARE_AT_ONCE 2
#define PREPARE_WORK 1024 /* of any prompt, in bytes */

struct preparation {
    uv_work_t work;
    struct fair_item turn;
    struct engine *e;
    struct seq *s;
    struct prepared prompt;
    int rc;
    char err[256];
};

static void prepare(struct engine *e, struct seq *s);
static void prepare_next(struct engine *e);

/* What became of it, for the sequence it was made for or for one that shares it. */
static void take_prompt(struct engine *e, struct seq *s, const struct preparation *p)
{
    if (p->rc == 0)
        enter_prompt(e, s, &p->prompt);
    else
        seq_finish(e, s, FINISH_ERROR, p->rc, p->err[0] ? p->err : NULL);
}

/* A parent that was cancelled on the way leaves the other choices to themselves. */
static void hand_on(struct engine *e, const struct seq *parent, const struct preparation *p)
{
    for (struct seq *q = e->sched.first; q; q = q->next) {
        if (q->parent != parent || q->state != SEQ_PREPARING)
            continue;
        if (parent->state == SEQ_DONE)
            q->parent = NULL;
        if (p->rc == SPECD_ECANCELED)
            prepare(e, q);
        else
            take_prompt(e, q, p);
    }
}

static void prepare_work(uv_work_t *work)
{
    struct preparation *p = work->data;
    memory_ran_short(); /* what it says behind the work is about this work */
    struct request *req = p->s->req;
    p->rc = prepare_prompt(&p->e->prepare, req, &p->prompt, p->err, sizeof p->err);
    request_source_unref(req->source); /* here: a large body takes long to free */
    req->source = NULL;
    if (memory_ran_short()) {
        p->rc = SPECD_ENOMEM;
        p->err[0] = '\0';
    }
}

static void end_preparation(struct preparation *p)
{
    struct engine *e = p->e;
    struct seq *s = p->s;
    bool ended = s->state == SEQ_DONE; /* meanwhile: it is out of the list, and freed here */
    if (!ended)
        take_prompt(e, s, p);
    hand_on(e, s, p);
    s->preparing_on_pool = false;
    if (ended)
        seq_free(s);
    prepared_free(&p->prompt);
    free(p);
}

/* The loop goes on from here as after any message. */
static void on_prepared(uv_work_t *work, int status)
{
    struct preparation *p = work->data;
    struct engine *e = p->e;
    (void)status; /* never cancelled: the request's own flag ends it sooner */
    end_preparation(p);
    e->n_preparing--;
    prepare_next(e);
    if (!uv_is_closing((uv_handle_t *)&e->wake))
        uv_async_send(&e->wake);
}

/* Fills the pool with those whose turn it is and who still want it. */
static void prepare_next(struct engine *e)
{
    while (e->n_preparing < PREPARE_AT_ONCE && e->unprepared.n > 0) {
        struct fair_item *turn = fair_take(&e->unprepared);
        struct preparation *p =
            (struct preparation *)((char *)turn - offsetof(struct preparation, turn));
        if (p->s->state == SEQ_DONE) {
            p->rc = SPECD_ECANCELED;
            end_preparation(p);
            continue;
        }
        e->n_preparing++;
        int rc = uv_queue_work(&e->loop, &p->work, prepare_work, on_prepared);
        ASSERT(rc == 0);
    }
}

static void prepare(struct engine *e, struct seq *s)
{
    struct preparation *p = xcalloc(1, sizeof *p);
    p->work.data = p;
    p->e = e;
    p->s = s;
    s->parent = NULL;
    s->preparing_on_pool = true;
    fair_put(&e->unprepared, &p->turn, s->req->client, PREPARE_WORK + s->req->work);
    prepare_next(e);
}

/* ---- choices of one prompt ------------------------------------------------------------------- */

static struct seq *find_parent(const struct engine *e, const struct request *req)
{
    struct seq *q = req->parent ? e->sched.last : NULL;
    while (q && (q->req != req->parent || q->state == SEQ_DONE))
        q = q->prev;
    return q;
}

static void begin_prompt(struct engine *e, struct seq *s)
{
    struct seq *parent = find_parent(e, s->req);
    if (!parent) { /* none, or it is gone */
        prepare(e, s);
        return;
    }
    s->parent = parent;
    if (parent->state == SEQ_PREPARING)
        return; /* hand_on comes back to it */
    struct prepared p = {
        .ids = parent->tokens,
        .n_ids = (size_t)parent->n_prompt,
        .bos_added = parent->bos_added,
        .grammar = parent->constraint ? constraint_grammar(parent->constraint) : NULL,
        .prediction = parent->prediction,
    };
    if (parent->stats.n_generated > 0)
        s->parent = NULL;
    enter_prompt(e, s, &p);
}

/* ---- all together ---------------------------------------------------------------------------- */

void entry_begin(struct engine *e, struct request *req)
{
    const struct request_params *r = &req->params;
    struct seq *s = seq_new(req);
    s->t_deadline = s->t_arrived + (uint64_t)atomic_load(&e->request_timeout_ms) * 1000000u;
    if (r->n_stops > 0)
        s->stop = stop_matcher_create(r->stops, r->stop_lens, r->n_stops);
    set_sampling(e, s);
    set_drafting(e, s);
    /* The output continues a raw prompt: a SentencePiece model's first space is part of it. */
    s->decoder.started = req->kind != PROMPT_CHAT;
    sched_add(&e->sched, s);
    watch_start(e, s);
    begin_prompt(e, s);
}
