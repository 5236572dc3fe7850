/*
 * api_responses.c - POST /v1/responses: OpenAI's Responses, stateless.
 *
 * An answer is a list of items: messages and calls of tools, as the model writes them. A stream
 * tells each as it grows, in typed events with sequence numbers; one item is open at a time, and
 * what a done item was told to be stands in the last event's list, too. A whole answer is what the
 * events of a stream would end in, so the two can't differ.
 */
#include "http.h"
#include "openai.h"
#include "specd/json_write.h"

#include <stdlib.h>

enum item_kind { ITEM_NONE, ITEM_MESSAGE, ITEM_CALL, ITEM_CUSTOM };

/* How far an answer is told. */
struct responses {
    int sequence; /* of the next event */
    bool created;
    enum item_kind open;
    int index;       /* of the open item, or the next */
    struct buf text; /* of the open item so far: a message's text, a call's arguments */
    struct buf call; /* ,"call_id":...,"name":... of an open call */
    struct buf logprobs,
        unsent;        /* entries of a message's tokens; of those whose text comes later */
    struct buf output; /* the items that are done, as JSON, with commas between */
};

static void responses_free(void *dialect)
{
    struct responses *r = dialect;
    if (!r)
        return;
    buf_free(&r->text);
    buf_free(&r->call);
    buf_free(&r->logprobs);
    buf_free(&r->unsent);
    buf_free(&r->output);
    free(r);
}

static struct responses *state(const struct choice *c)
{
    if (!c->answer->dialect)
        c->answer->dialect = xcalloc(1, sizeof(struct responses));
    return c->answer->dialect;
}

/* ---- the object */

static const char *error_name(int code)
{
    switch (code) {
    case SPECD_ECONTEXT:
        return "context_length_exceeded";
    case SPECD_EINVAL:
        return "invalid_prompt";
    case SPECD_EBUSY:
        return "rate_limit_exceeded";
    default:
        return "server_error";
    }
}

static void write_usage(const struct request_stats *s, struct buf *out)
{
    buf_printf(out,
               "{\"input_tokens\":%d,\"input_tokens_details\":{\"cached_tokens\":%d,"
               "\"cache_write_tokens\":0},\"output_tokens\":%d,\"output_tokens_details\":"
               "{\"reasoning_tokens\":0},\"total_tokens\":%d}",
               s->n_prompt, s->n_cached, s->n_generated, s->n_prompt + s->n_generated);
}

/* e: why it failed, or NULL. */
static void write_response(const struct choice *c, const char *status, const struct api_error *e,
                           struct buf *out)
{
    const struct answer *a = c->answer;
    const struct request_params *p = &c->req->params;
    const struct responses *r = a->dialect;
    bool finished = !e && strcmp(status, "in_progress") != 0;
    buf_printf(out, "{\"id\":\"%s\",\"object\":\"response\",\"created_at\":%lld,\"status\":\"%s\"",
               a->id, (long long)a->created, status);
    json_lit(out, ",\"background\":false,\"error\":");
    if (e) {
        buf_printf(out, "{\"code\":\"%s\",\"message\":", error_name(e->code));
        json_cstr(out, e->message[0] ? e->message : specd_error_text(e->code));
        json_lit(out, "}");
    } else {
        json_lit(out, "null");
    }
    json_lit(out, ",\"incomplete_details\":");
    buf_puts(out, finished && c->req->output.finish == FINISH_LENGTH
                      ? "{\"reason\":\"max_output_tokens\"}"
                      : "null");
    json_lit(out, ",\"model\":");
    json_cstr(out, a->call.info->model_id);
    json_lit(out, ",\"output\":[");
    buf_add(out, r->output.data, r->output.len);
    json_lit(out, "]");
    buf_add(out, a->call.repeats.data, a->call.repeats.len);
    json_lit(out, ",\"max_output_tokens\":");
    if (p->max_tokens >= 0)
        json_int(out, p->max_tokens);
    else
        json_lit(out, "null");
    buf_printf(out,
               ",\"parallel_tool_calls\":%s,\"previous_response_id\":null,\"store\":false,"
               "\"temperature\":%.6g,\"top_p\":%.6g,\"top_logprobs\":%d,\"truncation\":"
               "\"disabled\",\"usage\":",
               a->call.parallel_tools ? "true" : "false", (double)p->law.temperature,
               (double)p->law.top_p, a->call.top_logprobs);
    if (finished) {
        write_usage(&c->req->output.stats, out);
        finish_extras(c, out);
    } else {
        json_lit(out, "null");
    }
    json_lit(out, "}");
}

/* ---- events */

static void begin_event(struct responses *r, const char *name, struct buf *out)
{
    sse_event(out, name);
    buf_printf(out, "{\"type\":\"%s\",\"sequence_number\":%d", name, r->sequence++);
}

static void end_event(struct buf *out)
{
    json_lit(out, "}");
    sse_end(out);
}

static void response_event(const struct choice *c, const char *name, const char *status,
                           const struct api_error *e, struct buf *out)
{
    begin_event(state(c), name, out);
    json_lit(out, ",\"response\":");
    write_response(c, status, e, out);
    end_event(out);
}

/* Also the event of an idle stream: timers of clients are fed by events alone. */
static void in_progress(const struct choice *c, struct buf *out)
{
    response_event(c, "response.in_progress", "in_progress", NULL, out);
}

static void start(const struct choice *c, struct buf *out)
{
    struct responses *r = state(c);
    if (r->created)
        return;
    r->created = true;
    response_event(c, "response.created", "in_progress", NULL, out);
    in_progress(c, out);
}

/* ---- items */

static void write_id(const struct choice *c, struct buf *out)
{
    static const char *const prefixes[] = {
        [ITEM_MESSAGE] = "msg", [ITEM_CALL] = "fc", [ITEM_CUSTOM] = "ctc"};
    const struct responses *r = c->answer->dialect;
    buf_printf(out, "\"%s%s%03x\"", prefixes[r->open], c->answer->id + strlen("resp"), r->index);
}

static void write_part(const struct responses *r, struct buf *out)
{
    json_lit(out, "{\"type\":\"output_text\",\"text\":");
    json_str(out, r->text.data, r->text.len);
    json_lit(out, ",\"annotations\":[],\"logprobs\":[");
    buf_add(out, r->logprobs.data, r->logprobs.len);
    json_lit(out, "]}");
}

/* A message has its content as soon as it is no longer in progress. */
static void write_item(const struct choice *c, const char *status, struct buf *out)
{
    static const char *const types[] = {[ITEM_MESSAGE] = "message",
                                        [ITEM_CALL] = "function_call",
                                        [ITEM_CUSTOM] = "custom_tool_call"};
    const struct responses *r = c->answer->dialect;
    json_lit(out, "{\"id\":");
    write_id(c, out);
    buf_printf(out, ",\"type\":\"%s\",\"status\":\"%s\"", types[r->open], status);
    if (r->open == ITEM_MESSAGE) {
        json_lit(out, ",\"role\":\"assistant\",\"content\":[");
        if (strcmp(status, "in_progress") != 0)
            write_part(r, out);
        json_lit(out, "]}");
        return;
    }
    buf_add(out, r->call.data, r->call.len);
    buf_puts(out, r->open == ITEM_CALL ? ",\"arguments\":" : ",\"input\":");
    json_str(out, r->text.data, r->text.len);
    json_lit(out, "}");
}

/* What events about an open item have first. */
static void begin_item_event(const struct choice *c, const char *name, struct buf *out)
{
    struct responses *r = c->answer->dialect;
    begin_event(r, name, out);
    json_lit(out, ",\"item_id\":");
    write_id(c, out);
    buf_printf(out, ",\"output_index\":%d", r->index);
    if (r->open == ITEM_MESSAGE)
        json_lit(out, ",\"content_index\":0");
}

static void item_event(const struct choice *c, const char *name, const char *status,
                       struct buf *out)
{
    struct responses *r = c->answer->dialect;
    begin_event(r, name, out);
    buf_printf(out, ",\"output_index\":%d,\"item\":", r->index);
    write_item(c, status, out);
    end_event(out);
}

static void part_event(const struct choice *c, const char *name, struct buf *out)
{
    begin_item_event(c, name, out);
    json_lit(out, ",\"part\":");
    write_part(c->answer->dialect, out);
    end_event(out);
}

static void open_item(const struct choice *c, enum item_kind kind, struct buf *out)
{
    struct responses *r = c->answer->dialect;
    r->open = kind;
    buf_clear(&r->text);
    buf_clear(&r->logprobs);
    item_event(c, "response.output_item.added", "in_progress", out);
    if (kind == ITEM_MESSAGE)
        part_event(c, "response.content_part.added", out);
}

static void delta_event(const struct choice *c, const char *name, const char *text, size_t len,
                        struct buf *out)
{
    const struct responses *r = c->answer->dialect;
    begin_item_event(c, name, out);
    json_lit(out, ",\"delta\":");
    json_str(out, text, len);
    if (r->open == ITEM_MESSAGE) {
        json_lit(out, ",\"logprobs\":[");
        buf_add(out, r->unsent.data, r->unsent.len);
        json_lit(out, "]");
    }
    end_event(out);
}

/* The tokens of a text have shown it. */
static void take_unsent(struct responses *r)
{
    if (r->unsent.len > 0 && r->logprobs.len > 0)
        json_lit(&r->logprobs, ",");
    buf_add(&r->logprobs, r->unsent.data, r->unsent.len);
    buf_clear(&r->unsent);
}

/* Takes the text of a custom tool out of {"input": text}; it stays what it is where that is not
 * what the model wrote, as when it was cut off. */
static void unwrap_input(struct responses *r)
{
    struct json *arguments = NULL;
    char why[8];
    if (json_parse_lax(&arguments, r->text.data, r->text.len, why, sizeof why) == 0) {
        const char *input = json_string(json_get(arguments, "input"));
        if (input) {
            buf_clear(&r->text);
            buf_puts(&r->text, input);
        }
    }
    json_free(arguments);
}

static void done_event(const struct choice *c, const char *name, const char *member,
                       struct buf *out)
{
    struct responses *r = c->answer->dialect;
    begin_item_event(c, name, out);
    if (r->open == ITEM_CALL)
        buf_add(out, r->call.data, r->call.len);
    buf_printf(out, ",\"%s\":", member);
    json_str(out, r->text.data, r->text.len);
    if (r->open == ITEM_MESSAGE) {
        json_lit(out, ",\"logprobs\":[");
        buf_add(out, r->logprobs.data, r->logprobs.len);
        json_lit(out, "]");
    }
    end_event(out);
}

static void close_item(const struct choice *c, const char *status, struct buf *out)
{
    struct responses *r = c->answer->dialect;
    switch (r->open) {
    case ITEM_NONE:
        return;
    case ITEM_MESSAGE:
        take_unsent(r);
        done_event(c, "response.output_text.done", "text", out);
        part_event(c, "response.content_part.done", out);
        break;
    case ITEM_CALL:
        done_event(c, "response.function_call_arguments.done", "arguments", out);
        break;
    case ITEM_CUSTOM:
        unwrap_input(r);
        delta_event(c, "response.custom_tool_call_input.delta", r->text.data, r->text.len, out);
        done_event(c, "response.custom_tool_call_input.done", "input", out);
        break;
    }
    item_event(c, "response.output_item.done", status, out);
    buf_puts(&r->output, r->output.len > 0 ? "," : "");
    write_item(c, status, &r->output);
    r->open = ITEM_NONE;
    r->index++;
}

static void add_text(const struct choice *c, const char *text, size_t len, struct buf *out)
{
    struct responses *r = c->answer->dialect;
    if (len == 0)
        return;
    if (r->open != ITEM_MESSAGE) {
        close_item(c, "completed", out);
        open_item(c, ITEM_MESSAGE, out);
    }
    buf_add(&r->text, text, len);
    delta_event(c, "response.output_text.delta", text, len, out);
    take_unsent(r);
}

static bool is_custom(const struct call *call, const char *name, size_t len)
{
    const char *end = call->custom_names.data + call->custom_names.len;
    for (const char *s = call->custom_names.data; s < end; s += strlen(s) + 1)
        if (strlen(s) == len && memcmp(s, name, len) == 0)
            return true;
    return false;
}

static void add_call(const struct choice *c, const char *id, const char *name, size_t len,
                     struct buf *out)
{
    struct responses *r = c->answer->dialect;
    close_item(c, "completed", out);
    buf_clear(&r->unsent);
    buf_clear(&r->call);
    buf_printf(&r->call, ",\"call_id\":\"%s\",\"name\":", id);
    json_str(&r->call, name, len);
    open_item(c, is_custom(&c->answer->call, name, len) ? ITEM_CUSTOM : ITEM_CALL, out);
}

static void add_arguments(const struct choice *c, const char *text, size_t len, struct buf *out)
{
    struct responses *r = c->answer->dialect;
    buf_add(&r->text, text, len);
    if (r->open == ITEM_CALL)
        delta_event(c, "response.function_call_arguments.delta", text, len, out);
}

/* ---- what the model writes */

/* end: nothing comes behind the text. A call that it ends may be broken off. */
static void feed(const struct choice *c, const char *text, size_t len, bool end, struct buf *out)
{
    struct tool_output *found = &c->answer->called;
    bool cut = end && c->req->output.finish == FINISH_LENGTH;
    if (!c->tools) {
        add_text(c, text, len, out);
        return;
    }
    tool_output_clear(found);
    tool_parser_feed(c->tools, text, len, end, found);
    for (int i = 0; i < found->n_events; i++) {
        const struct tool_event *e = &found->events[i];
        const char *bytes = found->bytes.data + e->at;
        switch (e->kind) {
        case TOOL_TEXT:
            add_text(c, bytes, e->len, out);
            break;
        case TOOL_BEGIN:
            add_call(c, e->id, bytes, e->len, out);
            break;
        case TOOL_ARGUMENTS:
            add_arguments(c, bytes, e->len, out);
            break;
        case TOOL_END:
            close_item(c, cut && i == found->n_events - 1 ? "incomplete" : "completed", out);
            break;
        }
    }
}

static void write_token(const struct choice *c, const struct token_view *t, struct buf *out)
{
    struct responses *r = state(c);
    if (c->req->params.n_logprobs >= 0) { /* [entry], of which the list's signs go */
        size_t at = r->unsent.len;
        token_logprobs(c, t, &r->unsent);
        if (r->unsent.len <= at + 2) /* no memory */
            return;
        r->unsent.data[at] = ',';
        r->unsent.len--;
        if (at == 0)
            memmove(r->unsent.data, r->unsent.data + 1, --r->unsent.len);
    }
    feed(c, t->text, t->token->text_len, false, out);
}

static void write_finish(const struct choice *c, const char *text, size_t len, struct buf *out)
{
    feed(c, text, len, true, out);
    close_item(c, c->req->output.finish == FINISH_LENGTH ? "incomplete" : "completed", out);
}

static void write_stop(const struct answer *a, struct buf *out)
{
    const struct choice *c = &a->choices[0];
    bool cut = c->req->output.finish == FINISH_LENGTH;
    response_event(c, cut ? "response.incomplete" : "response.completed",
                   cut ? "incomplete" : "completed", NULL, out);
}

static void write_error(const struct answer *a, const struct api_error *e, struct buf *out)
{
    start(&a->choices[0], out);
    response_event(&a->choices[0], "response.failed", "failed", e, out);
}

static void write_ping(const struct answer *a, struct buf *out)
{
    if (state(&a->choices[0])->created)
        in_progress(&a->choices[0], out);
    else
        start(&a->choices[0], out);
}

/* ---- a whole answer */

static bool whole(const struct choice *c, struct whole_at *at, struct buf *out)
{
    const struct request_output *o = &c->req->output;
    struct buf *events = &c->answer->text; /* nobody's */
    const char *text = o->text.data ? o->text.data : "", *end = text + o->text.len;
    size_t stride = o->logprobs ? (size_t)(1 + c->req->params.n_logprobs) : 0;
    (void)at;
    state(c);
    for (size_t i = 0; i < o->n_tokens; text += o->tokens[i++].text_len) {
        buf_clear(events);
        write_token(
            c,
            &(struct token_view){&o->tokens[i], text, stride > 0 ? o->logprobs + i * stride : NULL},
            events);
    }
    buf_clear(events);
    write_finish(c, text, (size_t)(end - text), events);
    bool cut = o->finish == FINISH_LENGTH;
    write_response(c, cut ? "incomplete" : "completed", NULL, out);
    return true;
}

static whole_part *const parts[] = {whole, NULL};

static const struct api_format format = {
    .route = CALL_RESPONSES,
    .id_prefix = "resp_",
    .object = "response",
    .chunk_object = "response",
    .start = start,
    .token = write_token,
    .finish = write_finish,
    .stop = write_stop,
    .error = write_error,
    .ping = write_ping,
    .free_dialect = responses_free,
    .parts = parts,
    .logprobs = logprobs_entries,
};

enum MHD_Result api_responses(struct exchange *ex)
{
    return answer_start(ex, &format);
}
