#include "tool_parser.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* ---- what was found */

void tool_output_clear(struct tool_output *out)
{
    out->n_events = 0;
    buf_clear(&out->bytes);
}

void tool_output_free(struct tool_output *out)
{
    free(out->events);
    buf_free(&out->bytes);
    *out = (struct tool_output){0};
}

static struct tool_event *add_event(struct tool_output *out, enum tool_event_kind kind, int call)
{
    if (out->n_events == out->cap_events) {
        out->cap_events = MAX(8, 2 * out->cap_events);
        out->events = xrealloc(out->events, (size_t)out->cap_events * sizeof *out->events);
    }
    struct tool_event *e = &out->events[out->n_events++];
    *e = (struct tool_event){.kind = kind, .call = call, .at = out->bytes.len};
    return e;
}

void tool_output_add(struct tool_output *out, enum tool_event_kind kind, int call,
                     const char *bytes, size_t len)
{
    struct tool_event *e = out->n_events > 0 ? &out->events[out->n_events - 1] : NULL;
    if (len == 0)
        return;
    if (!e || e->kind != kind)
        e = add_event(out, kind, call);
    buf_add(&out->bytes, bytes, len);
    e->len += len;
}

static void make_id(char id[TOOL_CALL_ID_SIZE])
{
    static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    unsigned char r[TOOL_CALL_ID_SIZE] = {0};
    ssize_t got = getrandom(r, sizeof r, 0); /* so few bytes never come short */
    (void)got;
    for (int i = 0; i < TOOL_CALL_ID_SIZE - 1; i++)
        id[i] = letters[r[i] % (sizeof letters - 1)];
    id[TOOL_CALL_ID_SIZE - 1] = '\0';
}

/* ---- what is held */

void parser_drop_first(struct tool_parser *p, size_t n)
{
    p->from += n;
    p->n = p->word = p->tag = 0;
}

void parser_drop(struct tool_parser *p)
{
    parser_drop_first(p, p->n);
}

void parser_show(struct tool_parser *p, size_t n, struct tool_output *out)
{
    tool_output_add(out, TOOL_TEXT, -1, held(p), n);
    parser_drop_first(p, n);
    p->started = true;
    p->state = IN_TEXT;
}

void parser_give_up(struct tool_parser *p, struct tool_output *out)
{
    parser_show(p, p->tag + 1, out);
}

int parser_compare(const struct tool_parser *p, size_t at, const char *word)
{
    size_t n = p->n - at, len = strlen(word);
    if (n > len || memcmp(held(p) + at, word, n) != 0)
        return -1;
    return n == len;
}

/* ---- the tools on offer */

struct offered_tool offer_find(const struct tool_offer *offer, const char *name, size_t len)
{
    const char *at = offer->bytes.data, *end = at + offer->bytes.len;
    for (int number = 1; at < end; number++) {
        enum tool_strictness strictness = (enum tool_strictness) * at++;
        size_t n = strlen(at);
        bool found = n == len && memcmp(at, name, n) == 0;
        at += n + 1;
        if (found)
            return (struct offered_tool){number, strictness, at};
        while (*at)
            at += strlen(at) + 1;
        at++;
    }
    return (struct offered_tool){0};
}

int offer_types(const struct offered_tool *tool, const char *name, size_t len)
{
    for (const char *at = tool->parameters; at && *at; at += strlen(at) + 1)
        if (strlen(at + 1) == len && memcmp(at + 1, name, len) == 0)
            return *at;
    return TOOL_TYPE_ANY;
}

bool parser_may_call(struct tool_parser *p)
{
    p->tool = offer_find(p->offer, p->name.data, p->name.len);
    return p->name.len > 0 && ((p->any_name && !p->offer->closed) || p->tool.number > 0);
}

bool parser_may_begin(const struct tool_parser *p, size_t at)
{
    return p->tool.strictness != TOOL_STRICT ||
           p->begun_there.data[p->from + at] == (char)p->tool.number;
}

/* ---- events of a call */

void parser_begin(struct tool_parser *p, struct tool_output *out)
{
    p->begun = p->started = true;
    p->dropped = p->n_calls >= (p->one ? 1 : TOOL_CALLS_MAX);
    if (p->dropped)
        return;
    struct tool_event *e = add_event(out, TOOL_BEGIN, p->n_calls++);
    make_id(e->id);
    e->len = p->name.len;
    buf_add(&out->bytes, p->name.data, p->name.len);
}

void parser_argue(struct tool_parser *p, const char *bytes, size_t len, struct tool_output *out)
{
    if (!p->dropped)
        tool_output_add(out, TOOL_ARGUMENTS, p->n_calls - 1, bytes, len);
}

void parser_end(struct tool_parser *p, struct tool_output *out)
{
    if (!p->dropped)
        add_event(out, TOOL_END, p->n_calls - 1);
    p->begun = false;
}

void parser_whole_call(struct tool_parser *p, const char *arguments, size_t len,
                       struct tool_output *out)
{
    parser_begin(p, out);
    parser_argue(p, arguments, len, out);
    parser_end(p, out);
}
