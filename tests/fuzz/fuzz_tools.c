/*
 * What a model writes, where calls of tools are looked for: cut into pieces it must give what it
 * gives in one. The first byte picks the size of the pieces, whether one call is all, and whether a
 * tool is strict.
 *
 * links: specd_server specd_fake specd_base
 */
#include "fuzz.h"

#include "tool_calls.h"

#include <string.h>

static void feed(struct tool_output *out, const char *text, size_t len, size_t piece, bool one,
                 bool strict)
{
    static const char bytes[] = "\0get\0\x08x\0\x3fy\0\0\0add\0"; /* and the NUL of the array */
    struct tool_offer offer = {.strict = strict};
    buf_add(&offer.bytes, bytes, sizeof bytes);
    offer.bytes.data[0] = strict ? TOOL_STRICT : TOOL_FREE;
    struct tool_parser *p = tool_parser_new(&offer, one);
    for (size_t at = 0; at < len; at += piece)
        tool_parser_feed(p, text + at, MIN(piece, len - at), false, out);
    tool_parser_feed(p, "", 0, true, out);
    ASSERT(tool_parser_n_calls(p) <= TOOL_CALLS_MAX);
    tool_parser_free(p);
    buf_free(&offer.bytes);
}

/* Of output that was not cleared between feeds, so that pieces have joined. */
static void compare(const struct tool_output *a, const struct tool_output *b)
{
    int open = -1, n_calls = 0;
    ASSERT(a->bytes.len == b->bytes.len && a->n_events == b->n_events);
    ASSERT(a->bytes.len == 0 || memcmp(a->bytes.data, b->bytes.data, a->bytes.len) == 0);
    for (int i = 0; i < a->n_events; i++) {
        const struct tool_event *e = &a->events[i], *f = &b->events[i];
        ASSERT(e->kind == f->kind && e->call == f->call && e->at == f->at && e->len == f->len);
        ASSERT((open >= 0) == (e->kind == TOOL_ARGUMENTS || e->kind == TOOL_END));
        ASSERT(e->kind != TOOL_ARGUMENTS || a->bytes.data[e->at] == '{');
        ASSERT(e->kind == TOOL_TEXT || e->call == (e->kind == TOOL_BEGIN ? n_calls : open));
        open = e->kind == TOOL_BEGIN ? n_calls++ : e->kind == TOOL_END ? -1 : open;
    }
    ASSERT(open < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tool_output whole = {0}, pieces = {0};
    if (size < 1)
        return 0;
    bool one = data[0] & 1, strict = !(data[0] & 32); /* not of digits */
    feed(&whole, (const char *)data + 1, size - 1, size, one, strict);
    feed(&pieces, (const char *)data + 1, size - 1, 1 + data[0] / 2 % 8, one, strict);
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
        "2Well:\n```json\n{\"name\": \"get\", \"arguments\": {}}\n``` and "
        "```xml\n<tools>[{\"function\""
        ": {\"arguments\": \"{}\", \"name\": \"add\"}}]</tools>\n```",
        "4<tool_call>\n<function=get>\n<parameter=x>\na "
        "\"b\"\n</parameter>\n<parameter=y>1</parameter>"
        "\n</function></tool_call><function=add>{\"a\": 1}</function>",
        "PSo: {\"name\": \"get\", \"arguments\": {\"x\": \"<function=get>{}\"}} <function=get>\n"
        "<parameter=y>1</parameter></function>[TOOL_CALLS]get[ARGS]{\"y\": []}",
        "R<tool_call>{\"arguments\": {}, \"name\": \"get\"}</tool_call><tool_call>{\"name\" "
        ":\n\"get\", "
        "\"parameters\": {\"x\": \"1\"}}</tool_call>",
        "6[TOOL_CALLS]get[CALL_ID]abc[ARGS]{\"x\": -1.5e+3} <tool_call>{\"arguments\": {\"name\": "
        "[\"\""
        "]}, \"name\": \"add\"}",
    };
    if (i >= (int)COUNT_OF(seeds))
        return false;
    buf_puts(out, seeds[i]);
    return true;
}
