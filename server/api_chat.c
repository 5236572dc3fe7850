/* POST /v1/chat/completions: OpenAI's chat. */
#include "specd/json_write.h"
#include "openai.h"
#include "http.h"

#include <string.h>

/* "tool_calls":[...]. In a stream each says its index, of which `before` are gone. */
static void write_calls(const struct tool_output *o, bool indexed, int before, struct buf *out)
{
    json_lit(out, "\"tool_calls\":[");
    for (int i = 0; i < o->n_calls; i++) {
        const struct tool_call *c = &o->calls[i];
        buf_puts(out, i > 0 ? ",{" : "{");
        if (indexed)
            buf_printf(out, "\"index\":%d,", before + i);
        buf_printf(out, "\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":", c->id);
        json_cstr(out, c->name);
        json_lit(out, ",\"arguments\":");
        json_cstr(out, c->arguments);
        json_lit(out, "}}");
    }
    json_lit(out, "]");
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
        int before = tool_parser_n_calls(c->tools);
        tool_output_clear(called);
        tool_parser_feed(c->tools, text ? text : "", len, c->finish_sent, called);
        if (called->content.len > 0) {
            write_content(called->content.data, called->content.len, out);
            json_lit(out, ",");
        }
        if (called->n_calls > 0) {
            write_calls(called, true, before, out);
            json_lit(out, ",");
        }
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
    buf_add(&called->content, o->echo.text.data, o->echo.text.len);
    tool_parser_feed(c->tools, o->text.data, o->text.len, true, called);
    if (called->content.len > 0 || called->n_calls == 0)
        write_content(called->content.data, called->content.len, out);
    else
        json_lit(out, "\"content\":null");
    if (called->n_calls > 0) {
        json_lit(out, ",");
        write_calls(called, false, 0, out);
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
