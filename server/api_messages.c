/*
 * api_messages.c - POST /v1/messages: Anthropic's Messages, version 2023-06-01. Its answers are
 * lists of blocks, of thoughts, text and calls of tools; messages_read.c reads its requests.
 *
 * Clients put a stream's blocks together by their index, and go by the name of each event alone:
 * one block is open at a time, each is stopped before the next begins, and indexes have no gaps.
 */
#include "answer.h"
#include "http.h"
#include "openai.h"

#include "specd/json.h"
#include "specd/json_write.h"

/* ---- what a message has around its blocks */

static void write_usage(const struct choice *c, int32_t n_prompt, int32_t n_cached,
                        int32_t n_generated, struct buf *out)
{
    buf_printf(out,
               "\"usage\":{\"input_tokens\":%d,\"cache_creation_input_tokens\":0,"
               "\"cache_read_input_tokens\":%d,\"output_tokens\":%d,\"output_tokens_details\":"
               "{\"thinking_tokens\":%d}}",
               n_prompt - n_cached, n_cached, n_generated, choice_n_thought(c));
}

static void write_final_usage(const struct choice *c, struct buf *out)
{
    const struct request_stats *s = &c->req->output.stats;
    write_usage(c, s->n_prompt, s->n_cached, c->answer->call.prompt_only ? 0 : s->n_generated, out);
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
    return choice_n_calls(c) > 0 ? "tool_use" : "end_turn";
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
    begin_event("message_start", out);
    json_lit(out, ",\"message\":");
    begin_message(c->answer, out);
    json_lit(out, "],\"stop_reason\":null,\"stop_sequence\":null,");
    write_usage(c, c->n_prompt, c->n_cached, 0, out);
    json_lit(out, "}");
    end_event(out);
}

/* An event about the open block. */
static void block_event(const struct choice *c, const char *name, struct buf *out)
{
    begin_event(name, out);
    buf_printf(out, ",\"index\":%d", c->parts->n_parts - 1);
}

/* {"type":...,MEMBER: of a block that begins with e. */
static void begin_block(const struct tool_event *e, const char *name, struct buf *out)
{
    if (e->kind != TOOL_BEGIN) {
        buf_puts(out, e->kind == TOOL_THOUGHT ? "{\"type\":\"thinking\",\"thinking\":"
                                              : "{\"type\":\"text\",\"text\":");
        return;
    }
    buf_printf(out, "{\"type\":\"tool_use\",\"id\":\"%s\",\"name\":", e->id);
    json_str(out, name, e->len);
    json_lit(out, ",\"input\":");
}

static void start_block(const struct choice *c, const struct tool_event *e, const char *name,
                        struct buf *out)
{
    static const char *const empty[] = {
        [TOOL_THOUGHT] = "\"\",\"signature\":\"\"", [TOOL_TEXT] = "\"\"", [TOOL_BEGIN] = "{}"};
    block_event(c, "content_block_start", out);
    json_lit(out, ",\"content_block\":");
    begin_block(e, name, out);
    buf_printf(out, "%s}", empty[e->kind]);
    end_event(out);
}

static void write_delta(const struct choice *c, const char *text, size_t len, struct buf *out)
{
    static const char *const deltas[] = {[TOOL_THOUGHT] = "\"thinking_delta\",\"thinking\":",
                                         [TOOL_TEXT] = "\"text_delta\",\"text\":",
                                         [TOOL_BEGIN] = "\"input_json_delta\",\"partial_json\":"};
    block_event(c, "content_block_delta", out);
    buf_printf(out, ",\"delta\":{\"type\":%s", deltas[c->parts->open]);
    json_str(out, text, len);
    json_lit(out, "}");
    end_event(out);
}

/* Thoughts are not signed; clients wait for the event all the same. */
static void stop_block(const struct choice *c, bool cut, struct buf *out)
{
    (void)cut;
    if (c->parts->open == TOOL_THOUGHT) {
        block_event(c, "content_block_delta", out);
        json_lit(out, ",\"delta\":{\"type\":\"signature_delta\",\"signature\":\"\"}");
        end_event(out);
    }
    block_event(c, "content_block_stop", out);
    end_event(out);
}

static const struct part_teller events = {start_block, write_delta, stop_block};

static void write_token(const struct choice *c, const struct token_view *t, struct buf *out)
{
    if (!c->answer->call.prompt_only)
        parts_tell(c, &events, t->text, t->token->text_len, false, out);
}

static void write_finish(const struct choice *c, const char *text, size_t len, struct buf *out)
{
    if (!c->answer->call.prompt_only)
        parts_tell(c, &events, len > 0 ? text : "", len, true, out);
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

static void open_block(const struct choice *c, const struct tool_event *e, const char *name,
                       struct buf *out)
{
    buf_puts(out, c->parts->n_parts > 1 ? "," : "");
    begin_block(e, name, out);
    buf_puts(out, e->kind == TOOL_BEGIN ? "" : "\"");
    buf_clear(&c->answer->text);
}

static void add_to_block(const struct choice *c, const char *text, size_t len, struct buf *out)
{
    if (c->parts->open == TOOL_BEGIN)
        buf_add(&c->answer->text, text, len); /* nobody's: of a call its input so far */
    else
        json_escape(out, text, len);
}

/* The input of a call that was broken off can't be told as JSON: it is empty. */
static void close_block(const struct choice *c, bool cut, struct buf *out)
{
    const struct buf *input = &c->answer->text;
    char why[8];
    (void)cut;
    if (c->parts->open == TOOL_TEXT)
        json_lit(out, "\"");
    else if (c->parts->open == TOOL_THOUGHT)
        json_lit(out, "\",\"signature\":\"\"");
    else if (input->len > 0 && json_scan_lax(input->data, input->len, why, sizeof why) == 0)
        buf_add(out, input->data, input->len);
    else
        json_lit(out, "{}");
    json_lit(out, "}");
}

static const struct part_teller blocks = {open_block, add_to_block, close_block};

static bool whole_content(const struct choice *c, struct whole_at *at, struct buf *out)
{
    return c->answer->call.prompt_only || parts_tell_whole(c, &blocks, at, out);
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
    .begin = begin_message,
    .parts = parts,
    .end = write_end,
};

enum MHD_Result api_messages(struct exchange *ex)
{
    return answer_start(ex, &format);
}
