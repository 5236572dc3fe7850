#include "tool_json.h"

#include "specd/json.h"
#include "json_span.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

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

bool tool_json_read(const char *text, size_t len, const struct buf *offered, int room,
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

bool tool_json_named(const char *name, size_t name_len, const char *text, size_t len, int room,
                     struct tool_output *out)
{
    char *copy = xstrndup(text, len), why[64];
    bool good = json_scan_lax(copy, len, why, sizeof why) == 0;
    if (good && room > 0)
        add_call(out, xstrndup(name, name_len), copy);
    else
        free(copy);
    return good;
}
