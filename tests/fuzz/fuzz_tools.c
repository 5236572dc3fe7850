/*
 * What a model writes, where calls of tools are looked for: cut into pieces it must give what it
 * gives in one. The first byte picks the size of the pieces, and whether one call is all.
 *
 * links: specd_server specd_fake specd_base
 */
#include "fuzz.h"

#include "tool_calls.h"

#include <string.h>

static void feed(struct tool_output *out, const char *text, size_t len, size_t piece, bool one)
{
    static const char offered[] = "get\0add";
    struct buf names = {0};
    buf_add(&names, offered, sizeof offered);
    struct tool_parser *p = tool_parser_new(&names, one);
    for (size_t at = 0; at < len; at += piece)
        tool_parser_feed(p, text + at, MIN(piece, len - at), false, out);
    tool_parser_feed(p, "", 0, true, out);
    ASSERT(tool_parser_n_calls(p) == out->n_calls && out->n_calls <= TOOL_CALLS_MAX);
    tool_parser_free(p);
    buf_free(&names);
}

static void compare(const struct tool_output *a, const struct tool_output *b)
{
    ASSERT(a->content.len == b->content.len && a->n_calls == b->n_calls);
    ASSERT(a->content.len == 0 || memcmp(a->content.data, b->content.data, a->content.len) == 0);
    for (int i = 0; i < a->n_calls; i++) {
        ASSERT(strcmp(a->calls[i].name, b->calls[i].name) == 0);
        ASSERT(strcmp(a->calls[i].arguments, b->calls[i].arguments) == 0);
        ASSERT(a->calls[i].arguments[0] == '{');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tool_output whole = {0}, pieces = {0};
    if (size < 1)
        return 0;
    bool one = data[0] & 1;
    feed(&whole, (const char *)data + 1, size - 1, size, one);
    feed(&pieces, (const char *)data + 1, size - 1, 1 + data[0] / 2 % 8, one);
    compare(&whole, &pieces);
    tool_output_free(&whole);
    tool_output_free(&pieces);
    return 0;
}

bool fuzz_seed(int i, struct buf *out)
{
    static const char *const seeds[] = {
        "0Well. <tool_call>\n{\"name\": \"get\", \"arguments\": {\"a\": \"}\\\"\"}}\n</tool_call>\n"
        "<tool_call>{\"name\":\"add\",\"arguments\":{}}</tool_call> Done <tool_",
        "2{\"name\": \"get\", \"parameters\": {\"x\": [1, {\"y\": null}]}}; "
        "{\"name\": \"add\", \"parameters\": {}}",
        "4<|python_tag|>{\"name\": \"get\", \"parameters\": {\"\xc3\xa9\": \"\\u00e9\"}}",
        "6[TOOL_CALLS] [{\"name\": \"get\", \"arguments\": {\"a\": 1e3}}, {\"name\": \"add\", "
        "\"arguments\": {\"b\": true}}]",
        "8[TOOL_CALLS]get{\"a\": 1}[TOOL_CALLS]add[ARGS]{\"b\": \"[TOOL_CALLS]\"}",
        "1[{\"name\": \"other\", \"arguments\": {}}] is no call",
    };
    if (i >= (int)COUNT_OF(seeds))
        return false;
    buf_puts(out, seeds[i]);
    return true;
}
