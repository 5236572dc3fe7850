/*
 * Tools, calls and results in words, for templates that have no place for them.
 */
#include "jinja/chat_turns.h"

#include "specd/json.h"
#include "specd/json_write.h"

#include <string.h>

void tell_tools(const struct json *tools, struct buf *out)
{
    buf_puts(out, "You can call tools. Each line here describes one, as JSON:\n<tools>\n");
    for (const struct json *v = json_first(tools); v; v = json_next(v)) {
        json_print(v, out);
        buf_puts(out, "\n");
    }
    buf_puts(out, "</tools>\n"
                  "To call a tool, write its name and its arguments, as JSON, in this form:\n"
                  "<tool_call>\n{\"name\": \"the name\", \"arguments\": {...}}\n</tool_call>\n"
                  "What it returns comes back to you between <tool_response> and "
                  "</tool_response>.");
}

/* Text that is no object of JSON can only be told as a string. */
static void put_arguments(const struct chat_call *call, struct buf *out)
{
    char why[8];
    const char *text = call->text;
    if (!text)
        json_print(call->object, out);
    else if (text[strspn(text, " \t\r\n")] == '{' &&
             json_scan_lax(text, strlen(text), why, sizeof why) == 0)
        buf_puts(out, text);
    else
        json_cstr(out, text);
}

static void new_line(struct buf *out)
{
    if (out->len > 0)
        buf_puts(out, "\n");
}

void tell_calls(const struct chat_call *calls, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string(json_get(json_get(calls[i].source, "function"), "name"));
        new_line(out);
        buf_puts(out, "<tool_call>\n{\"name\": ");
        json_cstr(out, name ? name : "");
        buf_puts(out, ", \"arguments\": ");
        if (calls[i].object || calls[i].text)
            put_arguments(&calls[i], out);
        else
            buf_puts(out, "{}");
        buf_puts(out, "}\n</tool_call>");
    }
}

void tell_result(const char *text, struct buf *out)
{
    new_line(out);
    buf_puts(out, "<tool_response>\n");
    buf_puts(out, text);
    buf_puts(out, "\n</tool_response>");
}
