/*
 * intake.c - from a request's prompt to a sequence that is ready to run: preparation on the thread
 * pool, siblings that share it, the checks that need the prompt's length.
 */
#include "engine_impl.h"

#include <math.h>
#include <stdlib.h>

/* ---- entering -------------------------------------------------------------------------------- */

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

static int check_scores(const struct request *req, const char *field, size_t n_ids, char *err,
                        size_t errlen)
{
    int32_t each = req->params.echo ? 1 + req->params.n_logprobs : 0;
    if (each <= 0 || n_ids <= (size_t)(SCORES_MAX / each))
        return 0;
    return fail(SPECD_EINVAL, err, errlen,
                "%s: %zu tokens echoed with %d log-probabilities each; at most %d in all", field,
                n_ids, each, SCORES_MAX);
}

/* max_tokens 0 only gives the prompt back, which may then fill the context. */
static int check_length(const struct engine *e, const struct request *req, size_t n_ids, char *err,
                        size_t errlen)
{
    size_t n_ctx = (size_t)e->setup.n_ctx;
    const char *field = req->kind == PROMPT_CHAT ? "messages" : "prompt";
    if (n_ids == 0)
        return fail(SPECD_EINVAL, err, errlen, "%s: has no tokens", field);
    if (n_ids < n_ctx || (n_ids == n_ctx && req->params.max_tokens == 0))
        return check_scores(req, field, n_ids, err, errlen);
    return fail(SPECD_ECONTEXT, err, errlen,
                "%s: %zu tokens leave no room for an answer in a context of %zu tokens", field,
                n_ids, n_ctx);
}

static void set_prompt(struct engine *e, struct seq *s, const int32_t *ids, int32_t n)
{
    const struct request_params *r = &s->req->params;
    int32_t room = e->setup.n_ctx - n;
    seq_set_prompt(s, ids, n);
    s->limit = n + (r->max_tokens >= 0 ? MIN(r->max_tokens, room) : room);
    s->score = r->echo && r->n_logprobs >= 0 && n > 1;
    set_ends(e, s);
    pthread_mutex_lock(&s->req->output.lock); /* usage in the stream needs it from the start */
    s->req->output.stats.n_prompt = s->n_prompt;
    pthread_mutex_unlock(&s->req->output.lock);
}

/* The sequence becomes ready to run, or ends here. */
static void enter_prompt(struct engine *e, struct seq *s, const struct prepared *prompt)
{
    char err[256] = "";
    int rc = check_length(e, s->req, prompt->n_ids, err, sizeof err);
    if (rc == 0) {
        set_prompt(e, s, prompt->ids, (int32_t)prompt->n_ids);
        if (prompt->grammar)
            s->constraint = constraint_create(&e->constraints, prompt->grammar, &s->params,
                                              MAX(s->k_max, s->k_fixed));
        seq_begin_drafts(s, e->setup.n_ctx);
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
    if (s->limit == s->n_prompt && !s->score)
        seq_finish(e, s, FINISH_LENGTH, 0, NULL);
    else
        sched_ready(&e->sched, s);
}

/* ---- preparing ------------------------------------------------------------------------------- */

struct preparation {
    uv_work_t work;
    struct engine *e;
    struct seq *s;
    struct prepared prompt;
    int rc;
    char err[256];
};

static void prepare(struct engine *e, struct seq *s);

/* What became of it, for the sequence it was made for or for one that shares it. */
static void take_prompt(struct engine *e, struct seq *s, const struct preparation *p)
{
    if (p->rc == 0)
        enter_prompt(e, s, &p->prompt);
    else
        seq_finish(e, s, FINISH_ERROR, p->rc, p->err[0] ? p->err : NULL);
}

/* A leader that was cancelled on the way leaves its siblings to themselves. */
static void hand_on(struct engine *e, const struct seq *leader, const struct preparation *p)
{
    struct seq *next;
    for (struct seq *q = e->sched.first; q; q = next) {
        next = q->next;
        if (q->leader != leader || q->state != SEQ_PREPARING)
            continue;
        if (leader->state == SEQ_DONE)
            q->leader = NULL;
        if (p->rc == SPECD_ECANCELED)
            prepare(e, q);
        else
            take_prompt(e, q, p);
    }
}

static void prepare_work(uv_work_t *work)
{
    struct preparation *p = work->data;
    p->rc = prepare_prompt(&p->e->prepare, p->s->req, &p->prompt, p->err, sizeof p->err);
}

static void on_prepared(uv_work_t *work, int status)
{
    struct preparation *p = work->data;
    struct engine *e = p->e;
    struct seq *s = p->s;
    (void)status;             /* never cancelled: the request's own flag ends it sooner */
    if (s->state != SEQ_DONE) /* it may have ended meanwhile */
        take_prompt(e, s, p);
    hand_on(e, s, p);
    s->preparing_on_pool = false;
    if (s->state == SEQ_DONE)
        seq_free(s);
    prepared_free(&p->prompt);
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
    s->leader = NULL;
    s->preparing_on_pool = true;
    int rc = uv_queue_work(&e->loop, &p->work, prepare_work, on_prepared);
    ASSERT(rc == 0);
}

/* ---- siblings -------------------------------------------------------------------------------- */

static struct seq *find_leader(const struct engine *e, const struct request *req)
{
    struct seq *q = req->leader ? e->sched.last : NULL;
    while (q && q->req != req->leader)
        q = q->prev;
    return q;
}

void engine_intake(struct engine *e, struct seq *s)
{
    struct seq *leader = find_leader(e, s->req);
    if (!leader) { /* none, or it is gone */
        prepare(e, s);
        return;
    }
    s->leader = leader;
    if (leader->state == SEQ_PREPARING)
        return; /* hand_on comes back to it */
    struct prepared p = {
        .ids = leader->tokens,
        .n_ids = (size_t)leader->n_prompt,
        .bos_added = leader->bos_added,
        .grammar = leader->constraint ? constraint_grammar(leader->constraint) : NULL,
    };
    if (leader->stats.n_generated > 0)
        s->leader = NULL;
    enter_prompt(e, s, &p);
}

void intake_release(struct engine *e, const struct seq *leader)
{
    for (struct seq *q = e->sched.first; q; q = q->next) {
        if (q->leader == leader && q->state != SEQ_PREPARING)
            q->leader = NULL;
    }
}
