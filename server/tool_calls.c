#include "tool_calls.h"

#include "specd/json.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* ---- values in the text of JSON that may still be growing: arguments are passed on as they were
 * written, which a tree would not keep */

/* Looks for the end of one object or list, byte by byte as they come. */
struct json_end {
    int depth;
    bool in_string, escaped;
};

/* True when c ends the value. Brackets are counted, not matched: the reader judges the whole. */
static bool json_end_feed(struct json_end *e, char c)
{
    if (e->in_string) {
        if (e->escaped)
            e->escaped = false;
        else if (c == '\\')
            e->escaped = true;
        else if (c == '"')
            e->in_string = false;
        return false;
    }
    if (c == '"')
        e->in_string = true;
    else if (c == '{' || c == '[')
        e->depth++;
    else if ((c == '}' || c == ']') && e->depth > 0)
        return --e->depth == 0;
    return false;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t blanks_end(const char *text, size_t len, size_t at)
{
    while (at < len && is_blank(text[at]))
        at++;
    return at;
}

/* Behind the value that begins at `at`. */
static size_t skip_value(const char *text, size_t len, size_t at)
{
    struct json_end e = {0};
    bool nested = text[at] == '{' || text[at] == '[', string = text[at] == '"';
    for (; at < len; at++) {
        bool ends = json_end_feed(&e, text[at]);
        if (nested && ends)
            return at + 1;
        if (string && !e.in_string)
            return at + 1;
        if (!nested && !string && strchr(",}] \t\r\n", text[at]))
            return at;
    }
    return at;
}

struct json_span {
    const char *at;
    size_t len;
};

/* text is a valid JSON object: the value of its member key (a name that needs no escapes). */
static bool json_span_member(const char *text, size_t len, const char *key, struct json_span *out)
{
    size_t n = strlen(key), at = blanks_end(text, len, blanks_end(text, len, 0) + 1);
    while (at < len && text[at] == '"') {
        size_t name = at + 1, name_end = skip_value(text, len, at);
        at = blanks_end(text, len, name_end) + 1; /* the colon */
        at = blanks_end(text, len, at);
        size_t value = at;
        if (at >= len)
            return false;
        at = skip_value(text, len, at);
        if (name_end - 1 - name == n && memcmp(text + name, key, n) == 0) {
            *out = (struct json_span){text + value, at - value};
            return true;
        }
        at = blanks_end(text, len, at);
        if (at < len && text[at] == ',')
            at = blanks_end(text, len, at + 1);
    }
    return false;
}

/* ---- one JSON value that may be a call, or a list of them: {"name": ..., "arguments" or
 * "parameters": ...}, or the same within "function" */

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

/* Takes both strings. */
static void add_call(struct tool_output *out, char *name, char *arguments)
{
    if (out->n_calls == out->cap_calls) {
        out->cap_calls = MAX(4, 2 * out->cap_calls);
        out->calls = xrealloc(out->calls, (size_t)out->cap_calls * sizeof *out->calls);
    }
    struct tool_call *c = &out->calls[out->n_calls++];
    make_id(c->id);
    c->name = name;
    c->arguments = arguments;
}

/* Drops all calls but the first n. */
static void cut(struct tool_output *out, int n)
{
    for (; out->n_calls > n; out->n_calls--) {
        free(out->calls[out->n_calls - 1].name);
        free(out->calls[out->n_calls - 1].arguments);
    }
}

void tool_output_clear(struct tool_output *out)
{
    cut(out, 0);
    buf_clear(&out->content);
}

void tool_output_free(struct tool_output *out)
{
    tool_output_clear(out);
    free(out->calls);
    buf_free(&out->content);
    *out = (struct tool_output){0};
}

static bool is_offered(const struct buf *names, const char *name)
{
    size_t n = strlen(name) + 1;
    for (size_t at = 0; at < names->len; at += strlen(names->data + at) + 1)
        if (at + n <= names->len && memcmp(names->data + at, name, n) == 0)
            return true;
    return false;
}

static const struct json *string_member(const struct json *object, const char *key)
{
    const struct json *v = json_get(object, key);
    return v && json_type(v) == JSON_STRING ? v : NULL;
}

/* Of a string that is the text of an object, or empty. */
static char *unwrap(const char *s)
{
    char why[64];
    if (*s == '\0')
        return xstrdup("{}");
    return *s == '{' && json_scan_lax(s, strlen(s), why, sizeof why) == 0 ? xstrdup(s) : NULL;
}

/* The text of the arguments, which some models wrap into a string; {} when there are none. */
static char *arguments_of(const struct json *call, struct json_span text)
{
    static const char *const keys[] = {"arguments", "parameters"};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        const struct json *v = json_get(call, keys[i]);
        struct json_span span;
        if (v && json_type(v) == JSON_STRING)
            return unwrap(json_string(v));
        if (v && json_type(v) == JSON_OBJECT && json_span_member(text.at, text.len, keys[i], &span))
            return xstrndup(span.at, span.len);
        if (v && json_type(v) != JSON_NULL)
            return NULL;
    }
    return xstrdup("{}");
}

static bool read_call(const struct json *v, struct json_span text, const struct buf *offered,
                      struct tool_output *out)
{
    struct json_span span;
    const struct json *inner = json_get(v, "function"), *name = string_member(v, "name");
    if (inner && json_type(inner) == JSON_OBJECT &&
        json_span_member(text.at, text.len, "function", &span))
        return read_call(inner, span, offered, out);
    if (!name)
        name = string_member(v, "function");
    if (!name || !*json_string(name) || (offered && !is_offered(offered, json_string(name))))
        return false;
    char *arguments = arguments_of(v, text);
    if (arguments)
        add_call(out, xstrdup(json_string(name)), arguments);
    return arguments != NULL;
}

/* All of a list are calls, or none of it is. */
static bool read_list(const struct json *list, struct json_span text, const struct buf *offered,
                      struct tool_output *out)
{
    size_t at = 1;
    for (const struct json *v = json_first(list); v; v = json_next(v)) {
        struct json_end end = {0};
        if (json_type(v) != JSON_OBJECT)
            return false;
        at += strcspn(text.at + at, "{");
        size_t from = at;
        while (!json_end_feed(&end, text.at[at++]))
            ;
        if (!read_call(v, (struct json_span){text.at + from, at - from}, offered, out))
            return false;
    }
    return json_first(list) != NULL;
}

/* Appends the calls, of which those beyond room are dropped. offered: the names that there may be,
 * each with its NUL; NULL: any. False, and nothing appended, when text is something else. */
static bool tool_json_read(const char *text, size_t len, const struct buf *offered, int room,
                           struct tool_output *out)
{
    char *copy = xstrndup(text, len), why[64]; /* the NUL is wanted */
    struct json_span span = {copy, len};
    struct json *doc = NULL;
    int before = out->n_calls;
    bool good = json_parse_lax(&doc, copy, len, why, sizeof why) == 0;
    if (good && json_type(doc) == JSON_ARRAY)
        good = read_list(doc, span, offered, out);
    else if (good)
        good = read_call(doc, span, offered, out);
    cut(out, good ? MIN(out->n_calls, before + room) : before);
    json_free(doc);
    free(copy);
    return good;
}

/* The same where the name stands apart and text is the arguments. */
static bool tool_json_named(const char *name, size_t name_len, const char *text, size_t len,
                            int room, struct tool_output *out)
{
    char *copy = xstrndup(text, len), why[64];
    bool good = json_scan_lax(copy, len, why, sizeof why) == 0;
    if (good && room > 0)
        add_call(out, xstrndup(name, name_len), copy);
    else
        free(copy);
    return good;
}

/* ---- the parser */

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

static bool is_bracket(char c)
{
    return c == '{' || c == '[';
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
    size_t first = blanks_end(b->data, b->len, 0), part = find_part_of_tag(b), at = b->len;
    enum form form = FORM_BARE;
    bool tag = find_tag(b, &at, &form);
    if (!p->started && first < b->len && is_bracket(b->data[first]) && first != at &&
        first != part) {
        begin_call(p, FORM_BARE, 0);
        return true;
    }
    if (tag) {
        show(p, blanks_before(b, at), out);
        drop(p, blanks_end(b->data, b->len, 0));
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
    show(p, p->tag_len > 0 ? p->tag_len : blanks_end(p->held.data, p->held.len, 0) + 1, out);
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
        at = blanks_end(b->data, b->len, at + 1);
    if (at < b->len && b->data[at] != '{')
        return true;
    at = blanks_end(b->data, b->len, MIN(at + 1, b->len));
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
    return blanks_end(b->data, b->len, at);
}

/* From the tag to the JSON. False when something else stands there. */
static bool find_json(struct tool_parser *p)
{
    const struct buf *b = &p->held;
    size_t at = blanks_end(b->data, b->len, p->tag_len);
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
