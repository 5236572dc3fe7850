#include "tool_calls.h"

#include "json_span.h"
#include "tool_json.h"

#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 128
#define TAG_MAX 16 /* bytes, of the longest */
#define ARGS_TAG "[ARGS]"

enum form { FORM_BARE, FORM_HERMES, FORM_PYTHON, FORM_MISTRAL, N_FORMS };

static const struct {
    const char *open, *close;
} tags[N_FORMS] = {
    [FORM_HERMES] = {"<tool_call>", "</tool_call>"},
    [FORM_PYTHON] = {"<|python_tag|>", NULL},
    [FORM_MISTRAL] = {"[TOOL_CALLS]", NULL},
};

enum state {
    IN_TEXT, /* held: what may be blanks before a call, or the beginning of a tag */
    IN_CALL, /* held: a tag, blanks and JSON, up to now */
    BEHIND,  /* a call has ended; held: blanks, separators, the beginning of what follows */
};

struct tool_parser {
    struct buf names;
    bool one;
    enum state state;
    enum form form;
    bool started; /* something was shown or called: JSON alone is not looked for any more */
    struct buf held;
    /* IN_CALL */
    size_t tag_len;           /* of the tag before it, 0 when there is none */
    size_t name_at, name_len; /* a name before the JSON */
    bool in_json;
    size_t json_at, scanned;
    struct json_end end;
    int n_calls;
};

struct tool_parser *tool_parser_new(const struct buf *names, bool one)
{
    struct tool_parser *p = xcalloc(1, sizeof *p);
    p->one = one;
    buf_add(&p->names, names->data, names->len);
    return p;
}

void tool_parser_free(struct tool_parser *p)
{
    if (!p)
        return;
    buf_free(&p->names);
    buf_free(&p->held);
    free(p);
}

int tool_parser_n_calls(const struct tool_parser *p)
{
    return p->n_calls;
}

/* The held JSON, complete. */
static bool read_json(struct tool_parser *p, struct tool_output *out)
{
    const char *text = p->held.data + p->json_at;
    size_t len = p->scanned - p->json_at;
    int before = out->n_calls, room = (p->one ? 1 : TOOL_CALLS_MAX) - p->n_calls;
    bool good;
    if (p->name_len > 0)
        good = tool_json_named(p->held.data + p->name_at, p->name_len, text, len, room, out);
    else
        good = tool_json_read(text, len, p->form == FORM_BARE ? &p->names : NULL, room, out);
    p->n_calls += out->n_calls - before;
    return good;
}

/* ---- text */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_bracket(char c)
{
    return c == '{' || c == '[';
}

static size_t skip_blanks(const struct buf *b, size_t at)
{
    while (at < b->len && is_blank(b->data[at]))
        at++;
    return at;
}

static size_t blanks_before(const struct buf *b, size_t at)
{
    while (at > 0 && is_blank(b->data[at - 1]))
        at--;
    return at;
}

static void drop(struct tool_parser *p, size_t n)
{
    memmove(p->held.data, p->held.data + n, p->held.len - n + 1);
    p->held.len -= n;
}

static void show(struct tool_parser *p, size_t n, struct tool_output *out)
{
    if (n == 0)
        return;
    buf_add(&out->content, p->held.data, n);
    p->started = true;
    drop(p, n);
}

static void begin_call(struct tool_parser *p, enum form form, size_t tag_len)
{
    p->state = IN_CALL;
    p->form = form;
    p->tag_len = p->scanned = tag_len;
    p->name_len = 0;
    p->in_json = false;
    p->end = (struct json_end){0};
}

static bool begins_with(const struct buf *b, size_t at, const char *word)
{
    size_t n = strlen(word);
    return b->len - at >= n && memcmp(b->data + at, word, n) == 0;
}

/* Is b, from `at` to its end, the beginning of word, but not all of it? */
static bool may_become(const struct buf *b, size_t at, const char *word)
{
    size_t n = b->len - at;
    return n < strlen(word) && memcmp(b->data + at, word, n) == 0;
}

/* Where a tag begins that is not complete yet; the end when there is none. */
static size_t find_part_of_tag(const struct buf *b)
{
    for (size_t n = 1; n < TAG_MAX && n <= b->len; n++)
        for (int f = FORM_HERMES; f < N_FORMS; f++)
            if (may_become(b, b->len - n, tags[f].open))
                return b->len - n;
    return b->len;
}

static bool find_tag(const struct buf *b, size_t *at, enum form *form)
{
    bool found = false;
    for (int f = FORM_HERMES; f < N_FORMS; f++) {
        const char *hit = memmem(b->data, b->len, tags[f].open, strlen(tags[f].open));
        if (hit && (!found || (size_t)(hit - b->data) < *at)) {
            *at = (size_t)(hit - b->data);
            *form = (enum form)f;
            found = true;
        }
    }
    return found;
}

/* True when there is more to do with what is held. */
static bool step_text(struct tool_parser *p, bool end, struct tool_output *out)
{
    struct buf *b = &p->held;
    size_t first = skip_blanks(b, 0), part = find_part_of_tag(b), at = b->len;
    enum form form = FORM_BARE;
    bool tag = find_tag(b, &at, &form);
    if (!p->started && first < b->len && is_bracket(b->data[first]) && first != at &&
        first != part) {
        begin_call(p, FORM_BARE, 0);
        return true;
    }
    if (tag) {
        show(p, blanks_before(b, at), out);
        drop(p, skip_blanks(b, 0));
        begin_call(p, form, strlen(tags[form].open));
        return true;
    }
    show(p, end ? b->len : blanks_before(b, part), out);
    return false;
}

/* ---- a call */

/* It was none: what stands at its beginning is text, and what follows may hold another. */
static bool give_up(struct tool_parser *p, struct tool_output *out)
{
    p->state = IN_TEXT;
    show(p, p->tag_len > 0 ? p->tag_len : skip_blanks(&p->held, 0) + 1, out);
    return p->held.len > 0;
}

/* JSON without a tag is held for as long as its first member may be one of a call. */
static bool is_hopeless(const struct tool_parser *p)
{
    static const char *const keys[] = {"\"name\"", "\"function\"",  "\"type\"",
                                       "\"id\"",   "\"arguments\"", "\"parameters\""};
    const struct buf *b = &p->held;
    size_t at = p->json_at;
    if (b->data[at] == '[')
        at = skip_blanks(b, at + 1);
    if (at < b->len && b->data[at] != '{')
        return true;
    at = skip_blanks(b, MIN(at + 1, b->len));
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        if (begins_with(b, at, keys[i]) || may_become(b, at, keys[i]))
            return false;
    return true;
}

/* Mistral's name before the JSON, from `at`; returns where it ends. */
static size_t find_name(struct tool_parser *p, size_t at)
{
    const struct buf *b = &p->held;
    p->name_at = at;
    while (at < b->len && !is_blank(b->data[at]) && !is_bracket(b->data[at]))
        at++;
    p->name_len = at - p->name_at;
    if (p->name_len > NAME_MAX_BYTES)
        return p->name_at; /* where no JSON begins */
    if (begins_with(b, at, ARGS_TAG))
        at += strlen(ARGS_TAG);
    else if (may_become(b, at, ARGS_TAG))
        at = b->len;
    return skip_blanks(b, at);
}

/* From the tag to the JSON. False when something else stands there. */
static bool find_json(struct tool_parser *p)
{
    const struct buf *b = &p->held;
    size_t at = skip_blanks(b, p->tag_len);
    if (p->form == FORM_MISTRAL && at < b->len && !is_bracket(b->data[at]))
        at = find_name(p, at);
    if (at == b->len)
        return true;
    if (!is_bracket(b->data[at]) || (p->name_len > 0 && b->data[at] == '['))
        return false;
    p->json_at = p->scanned = at;
    p->in_json = true;
    return true;
}

/* True when the JSON is complete: scanned is behind it then. */
static bool scan_json(struct tool_parser *p)
{
    while (p->scanned < p->held.len)
        if (json_end_feed(&p->end, p->held.data[p->scanned++]))
            return true;
    return false;
}

static bool step_call(struct tool_parser *p, bool end, struct tool_output *out)
{
    if (!p->in_json && !find_json(p))
        return give_up(p, out);
    if (p->in_json && p->form == FORM_BARE && is_hopeless(p))
        return give_up(p, out);
    if (!p->in_json || !scan_json(p)) {
        if (end) /* all of it: looking for calls within would not be linear any more */
            show(p, p->held.len, out);
        return false;
    }
    if (!read_json(p, out))
        return give_up(p, out);
    drop(p, p->scanned);
    p->state = BEHIND;
    p->started = true;
    return true;
}

/* Behind a call: its closing tag, blanks, and perhaps the next one without a tag of its own. */
static bool step_behind(struct tool_parser *p, bool end)
{
    const char *close = tags[p->form].close;
    struct buf *b = &p->held;
    size_t n = 0;
    while (n < b->len && (is_blank(b->data[n]) || (!close && b->data[n] == ';')))
        n++;
    drop(p, n);
    if (b->len == 0 || (close && !end && may_become(b, 0, close)))
        return false;
    if (close && begins_with(b, 0, close))
        drop(p, strlen(close));
    else if (close && end && may_become(b, 0, close))
        drop(p, b->len);
    else if (b->data[0] == '{' && p->form != FORM_MISTRAL)
        begin_call(p, p->form, 0);
    else
        p->state = IN_TEXT;
    return true;
}

void tool_parser_feed(struct tool_parser *p, const char *text, size_t len, bool end,
                      struct tool_output *out)
{
    bool more = true;
    buf_add(&p->held, text, len);
    buf_reserve(&p->held, 0);
    while (more) {
        if (p->state == IN_TEXT)
            more = step_text(p, end, out);
        else if (p->state == IN_CALL)
            more = step_call(p, end, out);
        else
            more = step_behind(p, end);
    }
}
