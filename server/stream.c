/*
 * stream.c - what libmicrohttpd sends while it is being made.
 *
 * libmicrohttpd asks for bytes when the socket takes some; only then tokens are read from the
 * requests' outputs, so what a slow reader leaves unread stays there, where the engine sees it.
 */
#include "stream.h"

#include "answer.h"
#include "http.h"

#include <string.h>

#define PULL_TOKENS 64
#define BLOCK_BYTES 8192

/* ---- an answer in pieces */

size_t pieces_take(struct exchange *ex, struct pieces *p, char *to, size_t max)
{
    size_t n = MIN(p->out.len - p->at, max);
    memcpy(to, p->out.data + p->at, n);
    p->at += n;
    ex->sent += n;
    if (p->at == p->out.len) {
        buf_clear(&p->out);
        p->at = 0;
    }
    return n;
}

/* libmicrohttpd's content reader. */
static ssize_t read_pieces(void *cls, uint64_t at, char *to, size_t max)
{
    struct exchange *ex = cls;
    struct pieces *p = ex->pieces;
    (void)at;
    memory_ran_short();
    while (p->out.len == 0 && !p->over)
        p->over = p->next(p->arg, &p->out);
    if (memory_ran_short()) /* it may lack something */
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (p->out.len == 0)
        return MHD_CONTENT_READER_END_OF_STREAM;
    return (ssize_t)pieces_take(ex, p, to, max);
}

enum MHD_Result respond_pieces(struct exchange *ex, struct pieces *p)
{
    memory_ran_short();
    p->over = p->next(p->arg, &p->out);
    if (memory_ran_short())
        return respond_code(ex, SPECD_ENOMEM);
    if (p->over)
        return respond_json(ex, 200, &p->out);
    ex->pieces = p;
    struct MHD_Response *r =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PIECE_BYTES, read_pieces, ex, NULL);
    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    return respond_queue(ex, 200, r);
}

void pieces_free(struct pieces *p)
{
    buf_free(&p->out);
}

/* ---- the frames of events */

void sse_begin(struct buf *out)
{
    buf_add(out, "data: ", 6);
}

void sse_event(struct buf *out, const char *name)
{
    buf_printf(out, "event: %s\ndata: ", name);
}

void sse_end(struct buf *out)
{
    buf_add(out, "\n\n", 2);
}

void sse_done(struct buf *out)
{
    buf_puts(out, "data: [DONE]\n\n");
}

void sse_ping(struct buf *out)
{
    buf_puts(out, ": ping\n\n");
}

/* ---- a streaming answer: the engine's output becomes events as the client takes them */

/* Tokens copied out of a request's output, so that its lock is held for a moment only. */
struct pull {
    struct out_token tokens[PULL_TOKENS];
    struct token_logprob logprobs[PULL_TOKENS * (1 + SPECD_LOGPROBS_MAX)];
    size_t n_tokens, stride; /* stride: logprobs of a token, 0 for none */
    struct buf *text;
    bool finished; /* nothing comes after these tokens and the text behind them */
};

static void pull_output(struct choice *c, struct pull *p)
{
    struct request_output *o = &c->req->output;
    size_t bytes = 0;
    pthread_mutex_lock(&o->lock);
    p->n_tokens = MIN(o->n_tokens - o->read_tokens, PULL_TOKENS);
    for (size_t i = 0; i < p->n_tokens; i++) {
        p->tokens[i] = o->tokens[o->read_tokens + i];
        bytes += p->tokens[i].text_len;
    }
    if (p->stride > 0 && p->n_tokens > 0)
        memcpy(p->logprobs, o->logprobs + o->read_tokens * p->stride,
               p->n_tokens * p->stride * sizeof p->logprobs[0]);
    o->read_tokens += p->n_tokens;
    p->finished = o->finish != FINISH_NONE && o->read_tokens == o->n_tokens;
    if (p->finished)
        bytes = o->text.len - o->read_text;
    if (bytes > 0)
        buf_add(p->text, o->text.data + o->read_text, bytes);
    o->read_text += bytes;
    c->n_prompt = o->stats.n_prompt;
    c->n_cached = o->stats.n_cached;
    pthread_mutex_unlock(&o->lock);
}

static void write_tokens(struct choice *c, const struct pull *p, size_t *at, struct buf *out)
{
    for (size_t i = 0; i < p->n_tokens; i++) {
        const struct out_token *t = &p->tokens[i];
        struct token_view view = {t, p->text->data + *at,
                                  p->stride > 0 ? p->logprobs + i * p->stride : NULL};
        if (c->n_sent++ == 0)
            c->first_ns = clock_ns();
        c->answer->format->token(c, &view, out);
        c->n_chars += text_chars(view.text, t->text_len);
        *at += t->text_len;
    }
}

/* The prompt is complete when the first token is there, and does not change from then on. */
static void write_echo(struct choice *c, struct buf *out)
{
    const struct buf *text = &c->req->output.echo.text;
    c->answer->format->echo(c, out);
    c->n_chars += text_chars(text->data, text->len);
}

/* False when the choice has failed, once its tokens are written. */
static bool write_choice(struct choice *c)
{
    struct answer *a = c->answer;
    struct pull p;
    size_t at = 0;
    p.text = &a->text;
    p.stride = (size_t)(1 + c->req->params.n_logprobs);
    buf_clear(p.text);
    buf_reserve(p.text, 0);
    pull_output(c, &p);
    bool failed = p.finished && c->req->output.finish == FINISH_ERROR;
    bool starts = !c->started && (p.n_tokens > 0 || (p.finished && !failed));
    c->started |= starts;
    if (starts)
        choice_begin(c);
    if (starts && a->format->start)
        a->format->start(c, &a->pieces.out);
    if (starts && c->req->params.echo)
        write_echo(c, &a->pieces.out);
    write_tokens(c, &p, &at, &a->pieces.out);
    if (!p.finished)
        return true;
    if (failed)
        return false;
    c->finish_sent = true;
    a->format->finish(c, p.text->data + at, p.text->len - at, &a->pieces.out);
    return true;
}

static void write_error(struct answer *a, int code)
{
    struct api_error e = {.code = code};
    answer_error(a, &e);
    answer_cancel(a);
    a->format->error(a, &e, &a->pieces.out);
    a->pieces.over = true;
}

/* Appends the events of what the engine has produced since, if anything. */
static void write_events(struct answer *a)
{
    int n_finished = 0;
    bool ok = true;
    memory_ran_short();
    for (int i = 0; i < a->n_choices; i++) {
        if (!a->choices[i].finish_sent)
            ok &= write_choice(&a->choices[i]);
        n_finished += a->choices[i].finish_sent;
    }
    if (memory_ran_short()) { /* what was written may lack something */
        buf_clear(&a->pieces.out);
        write_error(a, SPECD_ENOMEM);
    } else if (!ok) {
        write_error(a, SPECD_EINTERNAL);
    } else if (n_finished == a->n_choices) {
        if (a->format->stop)
            a->format->stop(a, &a->pieces.out);
        a->pieces.over = true;
    }
}

static uint64_t ping_due(const struct answer *a)
{
    return a->last_write_ns + (uint64_t)atomic_load(&a->exchange->server->limits.ping_ms) * 1000000;
}

/* Under the exchange's lock. */
static bool has_events(void *arg)
{
    const struct answer *a = arg;
    for (int i = 0; i < a->n_choices; i++)
        if (choice_has_output(&a->choices[i]))
            return true;
    return false;
}

/* libmicrohttpd's content reader: fills to, or suspends and returns 0. */
static ssize_t read_stream(void *cls, uint64_t at, char *to, size_t max)
{
    struct answer *a = cls;
    struct pieces *p = &a->pieces;
    (void)at;
    for (;;) {
        if (p->out.len > 0) {
            a->last_write_ns = clock_ns();
            return (ssize_t)pieces_take(a->exchange, p, to, max);
        }
        if (p->over)
            return MHD_CONTENT_READER_END_OF_STREAM;
        write_events(a);
        if (p->out.len > 0)
            continue;
        if (clock_ns() >= ping_due(a)) {
            if (a->format->ping)
                a->format->ping(a, &p->out);
            else
                sse_ping(&p->out);
            continue;
        }
        switch (exchange_wait(a->exchange, ping_due(a), has_events, a)) {
        case WAIT_READY:
            continue;
        case WAIT_SUSPENDED:
            return 0;
        case WAIT_STOPPING:
            return MHD_CONTENT_READER_END_WITH_ERROR;
        }
    }
}

enum MHD_Result stream_start(struct answer *a)
{
    struct MHD_Response *r =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, read_stream, a, NULL);
    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "text/event-stream");
    MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
    MHD_add_response_header(r, "X-Accel-Buffering", "no"); /* nginx would collect events */
    return respond_queue(a->exchange, 200, r);
}
