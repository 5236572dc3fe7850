/* POST /v1/chat/completions: OpenAI's chat. */
#include "specd/json_write.h"
#include "openai.h"
#include "http.h"

#include <string.h>

/* One call of those that were found, from its first event on; *at is behind its last then. */
static void write_call(const struct tool_output *o, int *at, bool indexed, struct buf *out)
{
    const struct tool_event *e = &o->events[*at];
    int call = e->call;
    const char *comma = "";
    json_lit(out, "{");
    if (indexed)
        buf_printf(out, "\"index\":%d,", call);
    if (e->kind == TOOL_BEGIN)
        buf_printf(out, "\"id\":\"%s\",\"type\":\"function\",", e->id);
    json_lit(out, "\"function\":{");
    if (e->kind == TOOL_BEGIN) {
        json_lit(out, "\"name\":");
        json_str(out, o->bytes.data + e->at, e->len);
        comma = ",";
        e++;
    }
    buf_puts(out, comma);
    json_lit(out, "\"arguments\":\"");
    for (; e < o->events + o->n_events && e->call == call; e++)
        json_escape(out, o->bytes.data + e->at, e->len); /* of END there is nothing */
    json_lit(out, "\"}}");
    *at = (int)(e - o->events);
}

/* "tool_calls":[...], in a stream with what came of each. False, and nothing, where none is. */
static bool write_calls(const struct tool_output *o, bool indexed, struct buf *out)
{
    const char *before = "\"tool_calls\":[";
    bool any = false;
    for (int i = 0; i < o->n_events;) {
        if (o->events[i].kind != TOOL_BEGIN && o->events[i].kind != TOOL_ARGUMENTS) {
            i++; /* an END alone says nothing here */
            continue;
        }
        buf_puts(out, any ? "," : before);
        write_call(o, &i, indexed, out);
        any = true;
    }
    if (any)
        json_lit(out, "]");
    return any;
}

/* A member, "name":", of what was found of a kind, an echo before it, or NULL. False, and nothing,
 * where there is none. */
static bool write_text(const struct tool_output *o, enum tool_event_kind kind, const char *name,
                       const struct buf *echo, struct buf *out)
{
    bool any = echo && echo->len > 0;
    if (any) {
        buf_puts(out, name);
        json_escape(out, echo->data, echo->len);
    }
    for (int i = 0; i < o->n_events; i++) {
        if (o->events[i].kind != kind)
            continue;
        buf_puts(out, any ? "" : name);
        json_escape(out, o->bytes.data + o->events[i].at, o->events[i].len);
        any = true;
    }
    if (any)
        json_lit(out, "\"");
    return any;
}

#define REASONING "\"reasoning_content\":\""
#define CONTENT "\"content\":\""

static void write_content(const char *text, size_t len, struct buf *out)
{
    json_lit(out, "\"content\":");
    json_str(out, text, len);
}

/* The role comes with the first token, so that a chunk is a token. text is NULL in the last when
 * it has none. What may become another part is held back: its chunks have none. */
static void write_delta(const struct choice *c, const char *text, size_t len, bool first,
                        struct buf *out)
{
    json_lit(out, "\"delta\":{");
    if (first)
        json_lit(out, "\"role\":\"assistant\",");
    if (c && !choice_is_text(c)) {
        const struct tool_output *found = choice_read(c, text ? text : "", len, c->finish_sent);
        if (write_text(found, TOOL_THOUGHT, REASONING, NULL, out))
            json_lit(out, ",");
        if (write_text(found, TOOL_TEXT, CONTENT, NULL, out))
            json_lit(out, ",");
        if (write_calls(found, true, out))
            json_lit(out, ",");
    } else if (text) {
        write_content(text, len, out);
        json_lit(out, ",");
    }
    out->len -= out->data[out->len - 1] == ',';
    json_lit(out, "}");
}

/* The answer's text is taken apart, not that of an echoed prompt. */
static void write_found(const struct choice *c, struct buf *out)
{
    const struct tool_output *found = choice_read_whole(c);
    bool calls = choice_n_calls(c) > 0;
    if (write_text(found, TOOL_THOUGHT, REASONING, NULL, out))
        json_lit(out, ",");
    if (!write_text(found, TOOL_TEXT, CONTENT, &c->req->output.echo.text, out))
        buf_puts(out, calls ? "\"content\":null" : "\"content\":\"\"");
    if (calls) {
        json_lit(out, ",");
        write_calls(found, false, out);
    }
}

static bool write_message(const struct choice *c, struct whole_at *at, struct buf *out)
{
    if (at->i == 0)
        json_lit(out, "\"message\":{\"role\":\"assistant\",");
    if (!choice_is_text(c)) {
        write_found(c, out);
    } else {
        if (at->i == 0)
            json_lit(out, "\"content\":");
        if (!whole_text(c, at, out))
            return false;
    }
    json_lit(out, "}");
    return true;
}

static const struct api_format format = {
    .route = CALL_CHAT,
    .id_prefix = "chatcmpl-",
    .object = "chat.completion",
    .chunk_object = "chat.completion.chunk",
    .done = true,
    .token = openai_token,
    .echo = openai_echo,
    .finish = openai_finish,
    .stop = openai_stop,
    .error = openai_error,
    .begin = openai_begin,
    .parts = openai_parts,
    .end = openai_end,
    .delta = write_delta,
    .logprobs = logprobs_chat,
    .message = write_message,
};

enum MHD_Result api_chat(struct exchange *ex)
{
    return answer_start(ex, &format);
}
