/*
 * commit.c - what a round yielded becomes tokens, text, stop decisions and statistics.
 *
 * A token's text is released in whole characters and never the first letters of a possible stop
 * string; what is held is counted with the token that frees it. Each token is one entry of the
 * output, whatever its text.
 */
#include "engine_impl.h"

#include <string.h>

/* ---- output ---------------------------------------------------------------------------------- */

/* A committed token of a round, and what is known of it. */
struct commit {
    int32_t id, k; /* k: drafted in its round */
    bool drafted, is_end, is_last;
    bool is_whole; /* what was asked for is complete with it, and nothing may follow */
    const struct token_logprob *own, *top; /* or NULL */
};

static void grow_output(struct request_output *out, size_t logprobs)
{
    if (out->n_tokens < out->cap_tokens)
        return;
    out->cap_tokens = MAX(32, out->cap_tokens * 2);
    out->tokens = xrealloc(out->tokens, out->cap_tokens * sizeof *out->tokens);
    if (logprobs > 0)
        out->logprobs = xrealloc(out->logprobs, out->cap_tokens * logprobs * sizeof *out->logprobs);
}

/* Moves n pending bytes to the output, as the text of the token. Output lock held. */
static void push_token(struct seq *s, const struct commit *c, size_t n)
{
    struct request_output *out = &s->req->output;
    size_t n_logprobs = (size_t)(1 + s->params.n_logprobs);
    grow_output(out, n_logprobs);
    if (n_logprobs > 0)
        logprobs_put(out->logprobs, out->n_tokens, c->own, c->top, s->params.n_logprobs);
    out->tokens[out->n_tokens++] = (struct out_token){
        .id = c->id, .text_len = (uint32_t)n, .drafted = c->drafted, .k = (uint8_t)c->k};
    buf_add(&out->text, s->pending.data, n);
    text_marks_add(&s->marks, s->pending.data, n);
    memmove(s->pending.data, s->pending.data + n, s->pending.len - n);
    s->pending.len -= n;
    s->released += n;
    s->stats.n_generated++;
    out->stats.n_cached = s->stats.n_cached; /* a stream that begins with this token says it */
}

/* A control token that is a tag of the model's thoughts has a text: without it nobody could tell
 * them from the answer. */
static bool is_think_tag(const struct engine *e, const struct seq *s, int32_t id)
{
    const struct think_tags *tags = s->req->output.thinking.tags;
    size_t len;
    if (!tags)
        return false;
    const char *text = tokenizer_piece(e->tokenizer, id, true, &len);
    return (len == strlen(tags->open) && memcmp(text, tags->open, len) == 0) ||
           (len == strlen(tags->close) && memcmp(text, tags->close, len) == 0);
}

/* Bytes of pending text that token `id` releases; *stop_index as stop_matcher_feed. */
static size_t feed_text(struct engine *e, struct seq *s, int32_t id, int32_t *stop_index)
{
    size_t before = s->pending.len, safe;
    decoder_feed(&s->decoder, e->tokenizer, id, is_think_tag(e, s, id), &s->pending);
    *stop_index = -1;
    if (!s->stop)
        return s->pending.len;
    size_t added = s->pending.len - before;
    if (s->stats.n_generated < s->req->params.min_tokens)
        safe = stop_matcher_skip(s->stop, added);
    else
        *stop_index = stop_matcher_feed(s->stop, s->pending.data + before, added, &safe);
    return safe - s->released;
}

/* The text is over: everything held may go, an incomplete character as U+FFFD. */
static size_t flush_text(struct seq *s)
{
    decoder_finish(&s->decoder, &s->pending);
    return s->pending.len;
}

/* One token of the round. Returns the reason the sequence ends with it, or FINISH_NONE. */
static enum finish_reason commit_token(struct engine *e, struct seq *s, const struct commit *c)
{
    int32_t stop_index = -1;
    buf_reserve(&s->pending, 0);
    if (c->is_end) {
        push_token(s, c, flush_text(s));
        return FINISH_STOP;
    }
    size_t n = feed_text(e, s, c->id, &stop_index);
    if (stop_index >= 0) {
        const struct request_params *p = &s->req->params;
        push_token(s, c, p->include_stop ? n + p->stop_lens[stop_index] : n);
        s->req->output.stop_text = s->req->params.stops[stop_index];
        return FINISH_STOP;
    }
    push_token(s, c, c->is_last || c->is_whole ? flush_text(s) : n);
    return c->is_whole ? FINISH_STOP : c->is_last ? FINISH_LENGTH : FINISH_NONE;
}

/* ---- a round's results ----------------------------------------------------------------------- */

/* What the estimate of acceptance learns: positions up to the first rejection. Outcomes count where
 * the laws' overlap is not the chance to be accepted: coupled tokens are accepted where both laws'
 * draws agree, which is rarer, and synthetic acceptance asks no law. */
static void observe_draft(struct engine *e, struct seq *s, const struct round_part *t,
                          const struct seq_result *r)
{
    float outcomes[SPECD_K_MAX + 1];
    bool by_outcome = s->params.mode == VERIFY_COUPLED || e->sched.synthetic_acceptance >= 0;
    if (r->n_drafted == 0) {
        s->not_drafted[t->why]++;
        e->stats.not_drafted[t->why]++;
        acceptance_rest(&s->acceptance);
        return;
    }
    for (int32_t k = 0; k <= r->n_accepted; k++)
        outcomes[k] = k < r->n_accepted;
    acceptance_observe(&s->acceptance, t->drafter, t->match, by_outcome ? outcomes : r->overlap,
                       MIN(r->n_accepted + 1, r->n_drafted));
}

/* Counters speak of tokens that reached the client: a stop in mid-round drops the rest. */
static void count_draft(struct engine *e, struct seq *s, const struct drafter *drafter,
                        const struct seq_result *r, int32_t delivered)
{
    int32_t accepted = MIN(r->n_accepted, delivered);
    s->stats.rounds++;
    s->stats.n_drafted += r->n_drafted;
    s->stats.n_accepted += accepted;
    e->stats.residual_fallbacks += (r->flags & SEQ_RESIDUAL_FALLBACK) != 0;
    if (r->n_drafted == 0)
        return;
    s->used[drafter->type] = true;
    if (drafter->type == DRAFT_PREDICTION) {
        s->stats.prediction_drafted += r->n_drafted;
        s->stats.prediction_accepted += accepted;
    }
    e->stats.drafts++;
    e->stats.draft_tokens += (uint64_t)r->n_drafted;
    e->stats.accepted_tokens += (uint64_t)accepted;
    for (int32_t k = 0; k < r->n_drafted; k++)
        s->stats.verified_by_pos[k]++;
    for (int32_t k = 0; k < accepted; k++) {
        s->stats.accepted_by_pos[k]++;
        e->stats.accepted_by_pos[k]++;
    }
}

static void take_tokens(struct engine *e, struct seq *s, const struct seq_result *r)
{
    seq_append(s, r->tokens, r->n_tokens);
    share_charge(&s->share, (uint64_t)r->n_tokens * SHARE_TOKEN);
    ASSERT(s->len == r->len);
    s->target_len = r->rows[MODEL_TARGET];
    s->draft_len = r->rows[MODEL_DRAFT];
    sched_commit(&e->sched, s);
}

static void stamp(struct engine *e, struct seq *s, int32_t n_tokens, uint64_t now)
{
    e->stats.generation_tokens += (uint64_t)n_tokens;
    if (s->t_first == 0) {
        s->t_first = now;
        s->t_prompt_done = e->round_began_ns + e->result.prompt_ns;
        e->stats.prompt_tokens += (uint64_t)s->n_prompt;
        stats_observe(&e->stats.ttft, now - s->t_arrived);
        stats_observe(&e->stats.queue, s->t_admitted - s->t_arrived);
    } else if (n_tokens > 0) {
        for (int32_t i = 0; i < n_tokens; i++)
            stats_observe(&e->stats.itl, (now - s->t_last) / (uint64_t)n_tokens);
    }
    s->t_last = now;
}

static enum finish_reason deliver(struct engine *e, struct seq *s, int32_t k,
                                  const struct seq_result *r, int32_t *delivered)
{
    enum finish_reason reason = FINISH_NONE;
    int32_t i;
    for (i = 0; i < r->n_tokens && reason == FINISH_NONE; i++) {
        bool last = i == r->n_tokens - 1;
        struct commit c = {.id = r->tokens[i],
                           .k = k,
                           .drafted = i < r->n_accepted,
                           .is_end = last && (r->flags & SEQ_END),
                           .is_last = last && r->len >= s->limit,
                           .is_whole = last && s->constraint && constraint_is_over(s->constraint)};
        if (r->own) {
            c.own = r->own + i;
            c.top = r->top + (ptrdiff_t)i * s->params.n_logprobs;
        }
        reason = commit_token(e, s, &c);
    }
    *delivered = i;
    return reason;
}

/* Unread output beyond which a streaming reader loses its slot until it has read; an event costs
 * about this much beside its text. */
#define STALL_BYTES (256 * 1024)
#define EVENT_BYTES 200

/* Output lock held. */
static size_t unread_bytes(const struct request_output *out)
{
    return out->text.len - out->read_text + (out->n_tokens - out->read_tokens) * EVENT_BYTES;
}

bool seq_reader_drained(struct seq *s)
{
    struct request_output *out = &s->req->output;
    pthread_mutex_lock(&out->lock);
    size_t unread = unread_bytes(out);
    pthread_mutex_unlock(&out->lock);
    return unread < STALL_BYTES / 4;
}

/* A drawn token that the grammar refuses: host and device disagree about a mask. */
static void finish_astray(struct engine *e, struct seq *s)
{
    log_error("a token was drawn that the grammar does not allow");
    seq_finish(e, s, FINISH_ERROR, SPECD_EINTERNAL, NULL);
}

/* What is left of a result when the tokens from the n-th on are to be drawn again. */
static void cut_result(const struct seq *s, struct seq_result *r, int32_t n)
{
    r->n_tokens = n;
    r->n_accepted = MIN(r->n_accepted, n);
    r->flags &= ~(uint32_t)SEQ_END;
    r->len = s->len + n;
    for (int role = 0; role < MODEL_ROLES; role++)
        r->rows[role] = MIN(r->rows[role], r->len - 1);
}

static void commit_seq(struct engine *e, struct seq *s, const struct round_part *t,
                       struct seq_result *r, uint64_t now)
{
    s->round++;
    memory_ran_short(); /* what it says below is about this sequence */
    if (r->flags & SEQ_NUMERIC) {
        seq_finish(e, s, FINISH_ERROR, SPECD_ENUMERIC, NULL);
        return;
    }
    observe_draft(e, s, t, r);
    int32_t n = r->n_tokens;
    if (s->constraint)
        n = constraint_advance(s->constraint, r->tokens, n, (r->flags & SEQ_END) != 0, t->unmasked);
    bool cut = n < r->n_tokens;
    if (cut && !t->unmasked) {
        finish_astray(e, s);
        return;
    }
    if (cut)
        cut_result(s, r, n);
    take_tokens(e, s, r);
    if (cut)
        seq_renew_slot(s);
    if (s->stats.n_generated == 0)
        sched_release_choices(&e->sched, s);

    struct request_output *out = &s->req->output;
    int32_t delivered;
    pthread_mutex_lock(&out->lock);
    enum finish_reason reason = deliver(e, s, t->k, r, &delivered);
    count_draft(e, s, t->drafter, r, delivered);
    s->acceptance.kind = text_marks_kind(&s->marks);
    stamp(e, s, delivered, now);
    bool lags = s->req->stream && unread_bytes(out) > STALL_BYTES;
    if (reason != FINISH_NONE)
        seq_end(e, s, reason, 0, NULL);
    else if (memory_ran_short())
        seq_end(e, s, FINISH_ERROR, SPECD_ENOMEM, NULL);
    pthread_mutex_unlock(&out->lock);

    if (s->state == SEQ_DONE)
        return;
    if (lags) {
        sched_evict(&e->sched, s, SEQ_STALLED);
        seq_count_stalled(e, s, true);
    }
    if (s->req->stream)
        s->req->on_output(s->req, s->req->on_output_arg);
}

/* A prompt that was only to be scored ends with its last row. */
static void commit_score(struct engine *e, struct seq *s, const struct score_result *r,
                         uint64_t now)
{
    echo_score(s, r);
    if (s->score || s->len < s->limit)
        return;
    s->t_prompt_done = s->t_first = s->t_last = now;
    e->stats.prompt_tokens += (uint64_t)s->n_prompt;
    seq_finish(e, s, FINISH_LENGTH, 0, NULL);
}

/* Results of a sequence that has ended or left its slot since the round was submitted are dropped:
 * whoever comes back computes them again, under the same numbers. */
void commit_round(struct engine *e, uint64_t number)
{
    uint64_t now = clock_ns();
    e->stats.rounds++;
    e->stats.prompt_ns += e->result.prompt_ns;
    e->stats.draft_ns += e->result.draft_ns;
    e->stats.verify_ns += e->result.verify_ns;
    e->stats.sample_ns += e->result.sample_ns;
    for (int32_t i = 0; i < e->result.n_scores; i++) {
        const struct score_result *r = &e->result.scores[i];
        struct seq *s = e->sched.slots[r->slot];
        if (s && s->state != SEQ_DONE && flight_part(s, number))
            commit_score(e, s, r, now);
    }
    for (int32_t i = 0; i < e->result.n_seqs; i++) {
        struct seq_result *r = &e->result.seqs[i];
        struct seq *s = e->sched.slots[r->slot];
        const struct round_part *t = s && s->state != SEQ_DONE ? flight_part(s, number) : NULL;
        if (t)
            commit_seq(e, s, t, r, now);
    }
}
