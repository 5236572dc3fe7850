/*
 * api_responses.c - POST /v1/responses: OpenAI's Responses, stateless.
 *
 * An answer is a list of items: thoughts, messages and calls of tools, as the model writes them. A
 * stream tells each as it grows, in typed events with sequence numbers; one item is open at a time,
 * and what a done item was told to be stands in the last event's list, too. A whole answer is what
 * the events of a stream would end in, so the two can't differ.
 */
#include "http.h"
#include "openai.h"
#include "specd/json_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What differs by kind of item: its type, the beginning of its id, and the member with its text; of
 * those whose text is a part, that part's type. Events about a text begin as `events` says. */
static const struct item_kind {
    const char *type, *id, *member, *part, *events;
} item_reasoning = {"reasoning", "rs", "text", "reasoning_text", "response.reasoning_text"},
  item_message = {"message", "msg", "text", "output_text", "response.output_text"},
  item_call = {"function_call", "fc", "arguments", NULL, "response.function_call_arguments"},
  item_custom = {"custom_tool_call", "ctc", "input", NULL, "response.custom_tool_call_input"};

/* How far an answer is told. */
struct responses {
    int sequence; /* of the next event */
    bool created;
    const struct item_kind *kind; /* of the open item, or the last */
    struct buf text;              /* of it so far: a message's text, a call's arguments */
    struct buf call;              /* ,"call_id":...,"name":... of an open call */
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

static void write_usage(const struct choice *c, struct buf *out)
{
    const struct request_stats *s = &c->req->output.stats;
    buf_printf(out,
               "{\"input_tokens\":%d,\"input_tokens_details\":{\"cached_tokens\":%d,"
               "\"cache_write_tokens\":0},\"output_tokens\":%d,\"output_tokens_details\":"
               "{\"reasoning_tokens\":%d},\"total_tokens\":%d}",
               s->n_prompt, s->n_cached, s->n_generated, choice_n_thought(c),
               s->n_prompt + s->n_generated);
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
        write_usage(c, out);
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

static int item_index(const struct choice *c)
{
    return c->parts->n_parts - 1;
}

static void write_id(const struct choice *c, struct buf *out)
{
    const struct responses *r = c->answer->dialect;
    buf_printf(out, "\"%s%s%03x\"", r->kind->id, c->answer->id + strlen("resp"), item_index(c));
}

static void write_part(const struct responses *r, struct buf *out)
{
    buf_printf(out, "{\"type\":\"%s\",\"text\":", r->kind->part);
    json_str(out, r->text.data, r->text.len);
    if (r->kind == &item_message) {
        json_lit(out, ",\"annotations\":[],\"logprobs\":[");
        buf_add(out, r->logprobs.data, r->logprobs.len);
        json_lit(out, "]");
    }
    json_lit(out, "}");
}

/* Parts are there as soon as the item is no longer in progress. */
static void write_item(const struct choice *c, const char *status, struct buf *out)
{
    const struct responses *r = c->answer->dialect;
    json_lit(out, "{\"id\":");
    write_id(c, out);
    buf_printf(out, ",\"type\":\"%s\",\"status\":\"%s\"", r->kind->type, status);
    if (r->kind->part) {
        buf_puts(out, r->kind == &item_message ? ",\"role\":\"assistant\"" : ",\"summary\":[]");
        json_lit(out, ",\"content\":[");
        if (strcmp(status, "in_progress") != 0)
            write_part(r, out);
        json_lit(out, "]}");
        return;
    }
    buf_add(out, r->call.data, r->call.len);
    buf_printf(out, ",\"%s\":", r->kind->member);
    json_str(out, r->text.data, r->text.len);
    json_lit(out, "}");
}

/* What events about an open item have first. name goes on with more. */
static void begin_item_event(const struct choice *c, const char *name, const char *more,
                             struct buf *out)
{
    struct responses *r = c->answer->dialect;
    char whole[64];
    snprintf(whole, sizeof whole, "%s%s", name, more);
    begin_event(r, whole, out);
    json_lit(out, ",\"item_id\":");
    write_id(c, out);
    buf_printf(out, ",\"output_index\":%d", item_index(c));
    if (r->kind->part)
        json_lit(out, ",\"content_index\":0");
}

static void item_event(const struct choice *c, const char *name, const char *status,
                       struct buf *out)
{
    begin_event(c->answer->dialect, name, out);
    buf_printf(out, ",\"output_index\":%d,\"item\":", item_index(c));
    write_item(c, status, out);
    end_event(out);
}

static void part_event(const struct choice *c, const char *more, struct buf *out)
{
    const struct responses *r = c->answer->dialect;
    if (!r->kind->part)
        return;
    begin_item_event(c, "response.content_part", more, out);
    json_lit(out, ",\"part\":");
    write_part(r, out);
    end_event(out);
}

static void delta_event(const struct choice *c, const char *text, size_t len, struct buf *out)
{
    const struct responses *r = c->answer->dialect;
    begin_item_event(c, r->kind->events, ".delta", out);
    json_lit(out, ",\"delta\":");
    json_str(out, text, len);
    if (r->kind == &item_message) {
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

static void done_event(const struct choice *c, struct buf *out)
{
    const struct responses *r = c->answer->dialect;
    begin_item_event(c, r->kind->events, ".done", out);
    if (r->kind == &item_call)
        buf_add(out, r->call.data, r->call.len);
    buf_printf(out, ",\"%s\":", r->kind->member);
    json_str(out, r->text.data, r->text.len);
    if (r->kind == &item_message) {
        json_lit(out, ",\"logprobs\":[");
        buf_add(out, r->logprobs.data, r->logprobs.len);
        json_lit(out, "]");
    }
    end_event(out);
}

static bool is_custom(const struct call *call, const char *name, size_t len)
{
    const char *end = call->custom_names.data + call->custom_names.len;
    for (const char *s = call->custom_names.data; s < end; s += strlen(s) + 1)
        if (strlen(s) == len && memcmp(s, name, len) == 0)
            return true;
    return false;
}

static void open_item(const struct choice *c, const struct tool_event *e, const char *name,
                      struct buf *out)
{
    struct responses *r = c->answer->dialect;
    r->kind = e->kind == TOOL_THOUGHT ? &item_reasoning : &item_message;
    buf_clear(&r->text);
    buf_clear(&r->logprobs);
    if (e->kind == TOOL_BEGIN) {
        r->kind = is_custom(&c->answer->call, name, e->len) ? &item_custom : &item_call;
        buf_clear(&r->unsent);
        buf_clear(&r->call);
        buf_printf(&r->call, ",\"call_id\":\"%s\",\"name\":", e->id);
        json_str(&r->call, name, e->len);
    }
    item_event(c, "response.output_item.added", "in_progress", out);
    part_event(c, ".added", out);
}

static void add_to_item(const struct choice *c, const char *text, size_t len, struct buf *out)
{
    struct responses *r = c->answer->dialect;
    buf_add(&r->text, text, len);
    if (r->kind != &item_custom)
        delta_event(c, text, len, out);
    if (r->kind == &item_message)
        take_unsent(r);
}

static void close_item(const struct choice *c, bool cut, struct buf *out)
{
    const char *status = cut ? "incomplete" : "completed";
    struct responses *r = c->answer->dialect;
    if (r->kind == &item_message)
        take_unsent(r);
    if (r->kind == &item_custom) {
        unwrap_input(r);
        delta_event(c, r->text.data, r->text.len, out);
    }
    done_event(c, out);
    part_event(c, ".done", out);
    item_event(c, "response.output_item.done", status, out);
    buf_puts(&r->output, r->output.len > 0 ? "," : "");
    write_item(c, status, &r->output);
}

static const struct part_teller teller = {open_item, add_to_item, close_item};

/* ---- what the model writes */

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
    parts_tell(c, &teller, t->text, t->token->text_len, false, out);
    if (part_reader_thinks(c->parts))
        buf_clear(&r->unsent);
}

static void write_finish(const struct choice *c, const char *text, size_t len, struct buf *out)
{
    parts_tell(c, &teller, text, len, true, out);
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
