/*
 * api_messages.c - POST /v1/messages: Anthropic's Messages, version 2023-06-01. Its answers are
 * lists of blocks, of text and of calls of tools; messages_read.c reads its requests.
 *
 * Clients put a stream's blocks together by their index, and go by the name of each event alone:
 * one block is open at a time, each is stopped before the next begins, and indexes have no gaps.
 */
#include "answer.h"
#include "http.h"
#include "openai.h"

#include "specd/json.h"
#include "specd/json_write.h"

#include <stdlib.h>

/* What a stream keeps. */
struct blocks {
    int n; /* begun */
    enum { CLOSED, IN_TEXT, IN_CALL } state;
};

/* ---- what a message has around its blocks */

static void write_usage(int32_t n_prompt, int32_t n_cached, int32_t n_generated, struct buf *out)
{
    buf_printf(out,
               "\"usage\":{\"input_tokens\":%d,\"cache_creation_input_tokens\":0,"
               "\"cache_read_input_tokens\":%d,\"output_tokens\":%d}",
               n_prompt - n_cached, n_cached, n_generated);
}

static void write_final_usage(const struct choice *c, struct buf *out)
{
    const struct request_stats *s = &c->req->output.stats;
    write_usage(s->n_prompt, s->n_cached, c->answer->call.prompt_only ? 0 : s->n_generated, out);
}

/* The model is the client's word for it. */
static void begin_message(const struct answer *a, struct buf *out)
{
    json_lit(out, "{\"id\":");
    json_cstr(out, a->id);
    json_lit(out, ",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    buf_add(out, a->call.repeats.data, a->call.repeats.len);
    json_lit(out, ",\"content\":[");
}

static const char *stop_reason(const struct choice *c)
{
    const struct request_output *o = &c->req->output;
    const struct request_stats *s = &o->stats;
    uint64_t length = (uint64_t)s->n_prompt + (uint64_t)s->n_generated;
    if (o->finish == FINISH_LENGTH)
        return s->n_generated < c->req->params.max_tokens && length >= c->answer->call.info->n_ctx
                   ? "model_context_window_exceeded"
                   : "max_tokens";
    if (o->stop_text)
        return "stop_sequence";
    return c->tools && tool_parser_n_calls(c->tools) > 0 ? "tool_use" : "end_turn";
}

static void write_stop_reason(const struct choice *c, struct buf *out)
{
    const char *stop = c->req->output.stop_text;
    bool cut = c->answer->call.prompt_only;
    buf_printf(out,
               "\"stop_reason\":\"%s\",\"stop_sequence\":", cut ? "max_tokens" : stop_reason(c));
    if (stop && !cut)
        json_cstr(out, stop);
    else
        json_lit(out, "null");
}

/* ---- events */

static void begin_event(const char *name, struct buf *out)
{
    sse_event(out, name);
    buf_printf(out, "{\"type\":\"%s\"", name);
}

static void end_event(struct buf *out)
{
    json_lit(out, "}");
    sse_end(out);
}

static void write_start(const struct choice *c, struct buf *out)
{
    struct answer *a = c->answer;
    a->dialect = xcalloc(1, sizeof(struct blocks));
    begin_event("message_start", out);
    json_lit(out, ",\"message\":");
    begin_message(a, out);
    json_lit(out, "],\"stop_reason\":null,\"stop_sequence\":null,");
    write_usage(c->n_prompt, c->n_cached, 0, out);
    json_lit(out, "}");
    end_event(out);
}

static void stop_block(struct blocks *b, struct buf *out)
{
    if (b->state == CLOSED)
        return;
    begin_event("content_block_stop", out);
    buf_printf(out, ",\"index\":%d", b->n - 1);
    end_event(out);
    b->state = CLOSED;
}

static void start_text(struct blocks *b, struct buf *out)
{
    if (b->state == IN_TEXT)
        return;
    stop_block(b, out);
    begin_event("content_block_start", out);
    buf_printf(out, ",\"index\":%d,\"content_block\":{\"type\":\"text\",\"text\":\"\"}", b->n++);
    end_event(out);
    b->state = IN_TEXT;
}

static void start_call(struct blocks *b, const struct tool_event *e, const char *name,
                       struct buf *out)
{
    stop_block(b, out);
    begin_event("content_block_start", out);
    buf_printf(out,
               ",\"index\":%d,\"content_block\":{\"type\":\"tool_use\",\"id\":\"%s\",\"name\":",
               b->n++, e->id);
    json_str(out, name, e->len);
    json_lit(out, ",\"input\":{}}");
    end_event(out);
    b->state = IN_CALL;
}

/* Of the open block. */
static void write_delta(const struct blocks *b, const char *text, size_t len, struct buf *out)
{
    begin_event("content_block_delta", out);
    buf_printf(out, ",\"index\":%d,\"delta\":{\"type\":", b->n - 1);
    buf_puts(out, b->state == IN_TEXT ? "\"text_delta\",\"text\":"
                                      : "\"input_json_delta\",\"partial_json\":");
    json_str(out, text, len);
    json_lit(out, "}");
    end_event(out);
}

static void write_text(struct blocks *b, const char *text, size_t len, struct buf *out)
{
    if (len == 0)
        return;
    start_text(b, out);
    write_delta(b, text, len, out);
}

static const char *bytes_of(const struct tool_output *o, const struct tool_event *e)
{
    return o->bytes.data + e->at;
}

static void feed(const struct choice *c, const char *text, size_t len, bool end, struct buf *out)
{
    struct blocks *b = c->answer->dialect;
    struct tool_output *called = &c->answer->called;
    if (c->answer->call.prompt_only)
        return;
    if (!c->tools) {
        write_text(b, text, len, out);
        return;
    }
    tool_output_clear(called);
    tool_parser_feed(c->tools, text, len, end, called);
    for (int i = 0; i < called->n_events; i++) {
        const struct tool_event *e = &called->events[i];
        const char *bytes = bytes_of(called, e);
        switch (e->kind) {
        case TOOL_TEXT:
            write_text(b, bytes, e->len, out);
            break;
        case TOOL_BEGIN:
            start_call(b, e, bytes, out);
            break;
        case TOOL_ARGUMENTS:
            write_delta(b, bytes, e->len, out);
            break;
        case TOOL_END:
            stop_block(b, out);
        }
    }
}

static void write_token(const struct choice *c, const struct token_view *t, struct buf *out)
{
    feed(c, t->text, t->token->text_len, false, out);
}

static void write_finish(const struct choice *c, const char *text, size_t len, struct buf *out)
{
    feed(c, len > 0 ? text : "", len, true, out);
    stop_block(c->answer->dialect, out);
    begin_event("message_delta", out);
    json_lit(out, ",\"delta\":{");
    write_stop_reason(c, out);
    json_lit(out, "},");
    write_final_usage(c, out);
    finish_extras(c, out);
    end_event(out);
}

static void write_stop(const struct answer *a, struct buf *out)
{
    (void)a;
    begin_event("message_stop", out);
    end_event(out);
}

static void write_ping(const struct answer *a, struct buf *out)
{
    (void)a;
    begin_event("ping", out);
    end_event(out);
}

static void write_error(const struct answer *a, const struct api_error *e, struct buf *out)
{
    sse_event(out, "error");
    messages_error_json(out, e, a->exchange->request_id);
    sse_end(out);
}

/* ---- a whole answer */

/* The input of a call that was broken off can't be told as JSON: it is empty. */
static void write_block(const struct tool_output *o, const struct tool_event *e, struct buf *out)
{
    if (e->kind == TOOL_TEXT) {
        json_lit(out, "{\"type\":\"text\",\"text\":");
        json_str(out, bytes_of(o, e), e->len);
        json_lit(out, "}");
        return;
    }
    buf_printf(out, "{\"type\":\"tool_use\",\"id\":\"%s\",\"name\":", e->id);
    json_str(out, bytes_of(o, e), e->len);
    json_lit(out, ",\"input\":");
    char why[8];
    e++; /* there is an end, and what is adjacent is one event */
    if (e->kind == TOOL_ARGUMENTS && json_scan_lax(bytes_of(o, e), e->len, why, sizeof why) == 0)
        buf_add(out, bytes_of(o, e), e->len);
    else
        json_lit(out, "{}");
    json_lit(out, "}");
}

static bool whole_content(const struct choice *c, struct whole_at *at, struct buf *out)
{
    const struct request_output *o = &c->req->output;
    struct tool_output *called = &c->answer->called;
    if (c->answer->call.prompt_only)
        return true;
    if (c->tools) {
        tool_output_clear(called);
        tool_parser_feed(c->tools, o->text.data, o->text.len, true, called);
        for (int i = 0, n = 0; i < called->n_events; i++) {
            const struct tool_event *e = &called->events[i];
            if (e->kind != TOOL_TEXT && e->kind != TOOL_BEGIN)
                continue;
            buf_puts(out, n++ > 0 ? "," : "");
            write_block(called, e, out);
        }
        return true;
    }
    if (o->text.len == 0)
        return true;
    if (at->i == 0)
        json_lit(out, "{\"type\":\"text\",\"text\":");
    if (!whole_text(c, at, out))
        return false;
    json_lit(out, "}");
    return true;
}

static void write_end(const struct answer *a, struct buf *out)
{
    json_lit(out, "],");
    write_stop_reason(&a->choices[0], out);
    json_lit(out, ",");
    write_final_usage(&a->choices[0], out);
    finish_extras(&a->choices[0], out);
    json_lit(out, "}");
}

static whole_part *const parts[] = {whole_content, NULL};

static const struct api_format format = {
    .route = CALL_MESSAGES,
    .id_prefix = "msg_",
    .required = "max_tokens",
    .start = write_start,
    .token = write_token,
    .finish = write_finish,
    .stop = write_stop,
    .error = write_error,
    .ping = write_ping,
    .free_dialect = free,
    .begin = begin_message,
    .parts = parts,
    .end = write_end,
};

enum MHD_Result api_messages(struct exchange *ex)
{
    return answer_start(ex, &format);
}
