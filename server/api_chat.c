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
    for (; e < o->events + o->n_events && e->kind != TOOL_TEXT && e->call == call; e++)
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
        if (o->events[i].kind == TOOL_TEXT || o->events[i].kind == TOOL_END) {
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

/* "content": the echo, if there is one, and the text that was found. False, and nothing, where
 * there is none. */
static bool write_text(const struct tool_output *o, const struct buf *echo, struct buf *out)
{
    bool any = echo && echo->len > 0;
    if (any) {
        json_lit(out, "\"content\":\"");
        json_escape(out, echo->data, echo->len);
    }
    for (int i = 0; i < o->n_events; i++) {
        if (o->events[i].kind != TOOL_TEXT)
            continue;
        buf_puts(out, any ? "" : "\"content\":\"");
        json_escape(out, o->bytes.data + o->events[i].at, o->events[i].len);
        any = true;
    }
    if (any)
        json_lit(out, "\"");
    return any;
}

static void write_content(const char *text, size_t len, struct buf *out)
{
    json_lit(out, "\"content\":");
    json_str(out, text, len);
}

/* The role comes with the first token, so that a chunk is a token. text is NULL in the last when
 * it has none. Text that may become a call is held back: its chunks have neither. */
static void write_delta(const struct choice *c, const char *text, size_t len, bool first,
                        struct buf *out)
{
    json_lit(out, "\"delta\":{");
    if (first)
        json_lit(out, "\"role\":\"assistant\",");
    if (c && c->tools) {
        struct tool_output *called = &c->answer->called;
        tool_output_clear(called);
        tool_parser_feed(c->tools, text ? text : "", len, c->finish_sent, called);
        if (write_text(called, NULL, out))
            json_lit(out, ",");
        if (write_calls(called, true, out))
            json_lit(out, ",");
    } else if (text) {
        write_content(text, len, out);
        json_lit(out, ",");
    }
    out->len -= out->data[out->len - 1] == ',';
    json_lit(out, "}");
}

/* The answer's text is searched for calls, not that of an echoed prompt. */
static void write_called(const struct choice *c, struct buf *out)
{
    const struct request_output *o = &c->req->output;
    struct tool_output *called = &c->answer->called;
    tool_output_clear(called);
    tool_parser_feed(c->tools, o->text.data, o->text.len, true, called);
    bool calls = tool_parser_n_calls(c->tools) > 0;
    if (!write_text(called, &o->echo.text, out))
        buf_puts(out, calls ? "\"content\":null" : "\"content\":\"\"");
    if (calls) {
        json_lit(out, ",");
        write_calls(called, false, out);
    }
}

static bool write_message(const struct choice *c, struct whole_at *at, struct buf *out)
{
    if (at->i == 0)
        json_lit(out, "\"message\":{\"role\":\"assistant\",");
    if (c->tools) {
        write_called(c, out);
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
