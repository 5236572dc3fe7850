#include "specd/json.h"

#include "specd/error.h"
#include "specd/utf8.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the text: is it one JSON value of RFC 8259 in valid UTF-8, within our limits? A recursive
 * descent that builds nothing. Stricter than the RFC in one place: \u0000 is refused, because
 * strings are handed on as C strings. Only what a model wrote may hold it (json_scan_lax). */

#define NUMBER_MAX 63 /* cJSON cuts a longer number */

struct scan {
    const unsigned char *start, *p, *end;
    size_t n_values, max_values;
    bool lax;        /* \u0000 may come */
    const char *why; /* set once, with p where it went wrong */
};

static bool value(struct scan *s, int depth);

static bool bad(struct scan *s, const char *why)
{
    s->why = why;
    return false;
}

static int peek(const struct scan *s)
{
    return s->p < s->end ? *s->p : -1;
}

static void skip_space(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

static size_t digits(struct scan *s)
{
    const unsigned char *from = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return (size_t)(s->p - from);
}

static bool number(struct scan *s)
{
    const unsigned char *from = s->p;
    if (peek(s) == '-')
        s->p++;
    bool zero = peek(s) == '0';
    size_t n = digits(s);
    if (n == 0 || (zero && n > 1))
        return bad(s, "malformed number");
    if (peek(s) == '.') {
        s->p++;
        if (digits(s) == 0)
            return bad(s, "malformed number");
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        s->p++;
        if (peek(s) == '+' || peek(s) == '-')
            s->p++;
        if (digits(s) == 0)
            return bad(s, "malformed number");
    }
    return s->p - from <= NUMBER_MAX || bad(s, "number too long");
}

static int hex4(struct scan *s)
{
    int v = 0;
    for (int i = 0; i < 4; i++, s->p++) {
        int c = peek(s);
        int lower = c | 0x20;
        if (c >= '0' && c <= '9')
            v = v * 16 + (c - '0');
        else if (lower >= 'a' && lower <= 'f')
            v = v * 16 + (lower - 'a' + 10);
        else
            return -1;
    }
    return v;
}

/* After "\u". A high surrogate must be followed by an escaped low one. */
static bool unicode_escape(struct scan *s)
{
    int c = hex4(s);
    if (c < 0)
        return bad(s, "malformed \\u escape");
    if (c == 0 && !s->lax)
        return bad(s, "\\u0000 is not allowed");
    if (c >= 0xdc00 && c <= 0xdfff)
        return bad(s, "lone surrogate");
    if (c < 0xd800 || c > 0xdbff)
        return true;
    if (s->end - s->p < 6 || s->p[0] != '\\' || s->p[1] != 'u')
        return bad(s, "lone surrogate");
    s->p += 2;
    c = hex4(s);
    return (c >= 0xdc00 && c <= 0xdfff) || bad(s, "lone surrogate");
}

static bool escape(struct scan *s)
{
    s->p++;
    int c = peek(s);
    if (c <= 0 || !strchr("\"\\/bfnrtu", c))
        return bad(s, "malformed escape");
    s->p++;
    return c != 'u' || unicode_escape(s);
}

static bool string(struct scan *s)
{
    s->p++;
    while (s->p < s->end) {
        unsigned c = *s->p;
        if (c == '"') {
            s->p++;
            return true;
        }
        if (c < 0x20)
            return bad(s, "control character in a string");
        if (c == '\\') {
            if (!escape(s))
                return false;
        } else if (c >= 0x80) {
            size_t n = utf8_length(s->p, (size_t)(s->end - s->p));
            if (n == 0)
                return bad(s, "invalid UTF-8");
            s->p += n;
        } else {
            s->p++;
        }
    }
    return bad(s, "unterminated string");
}

static bool literal(struct scan *s, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
        return bad(s, "unexpected character");
    s->p += n;
    return true;
}

static bool key(struct scan *s)
{
    if (peek(s) != '"')
        return bad(s, "expected a member name");
    if (!string(s))
        return false;
    skip_space(s);
    if (peek(s) != ':')
        return bad(s, "expected ':'");
    s->p++;
    skip_space(s);
    return true;
}

/* An array or object: `close` is its last character. */
static bool container(struct scan *s, int depth, int close)
{
    if (depth >= JSON_DEPTH_MAX)
        return bad(s, "nested too deeply");
    s->p++;
    skip_space(s);
    if (peek(s) == close) {
        s->p++;
        return true;
    }
    for (;;) {
        if ((close == '}' && !key(s)) || !value(s, depth + 1))
            return false;
        skip_space(s);
        int c = peek(s);
        if (c != ',' && c != close)
            return bad(s, close == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
        s->p++;
        if (c == close)
            return true;
        skip_space(s);
    }
}

static bool value(struct scan *s, int depth)
{
    if (++s->n_values > s->max_values)
        return bad(s, "too many values");
    switch (peek(s)) {
    case '{':
        return container(s, depth, '}');
    case '[':
        return container(s, depth, ']');
    case '"':
        return string(s);
    case 't':
        return literal(s, "true");
    case 'f':
        return literal(s, "false");
    case 'n':
        return literal(s, "null");
    case -1:
        return bad(s, "unexpected end");
    default:
        return number(s);
    }
}

static int scan_text(const char *text, size_t len, bool lax, size_t max_values, char *err,
                     size_t errlen)
{
    const unsigned char *bytes = (const unsigned char *)text;
    struct scan s = {
        .start = bytes, .p = bytes, .end = bytes + len, .max_values = max_values, .lax = lax};
    skip_space(&s);
    if (value(&s, 0)) {
        skip_space(&s);
        if (s.p < s.end)
            bad(&s, "more than one value");
    }
    if (!s.why)
        return 0;
    return fail(SPECD_EJSON, err, errlen, "invalid JSON at byte %zu: %s", (size_t)(s.p - s.start),
                s.why);
}

int json_scan(const char *text, size_t len, char *err, size_t errlen)
{
    return scan_text(text, len, false, JSON_VALUES_MAX, err, errlen);
}

int json_scan_lax(const char *text, size_t len, char *err, size_t errlen)
{
    return scan_text(text, len, true, JSON_VALUES_MAX, err, errlen);
}

/* ---- the tree -------------------------------------------------------------------------------- */

/* struct json is cJSON under a name of ours: nothing else in the product includes cJSON.h. */
static cJSON *item(const struct json *v)
{
    return (cJSON *)v;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted, so that a hostile object of half a million keys costs n log n. */
static const char *duplicate_key(const cJSON *object)
{
    size_t n = 0;
    for (const cJSON *c = object->child; c; c = c->next)
        n++;
    if (n < 2)
        return NULL;
    const char **names = xmalloc(n * sizeof *names);
    const char *found = NULL;
    n = 0;
    for (const cJSON *c = object->child; c; c = c->next)
        names[n++] = c->string;
    qsort(names, n, sizeof *names, by_name);
    for (size_t i = 1; i < n && !found; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            found = names[i];
    free(names);
    return found;
}

static int check_tree(const cJSON *v, bool lax, char *err, size_t errlen)
{
    if (cJSON_IsNumber(v) && !isfinite(v->valuedouble))
        return fail(SPECD_EJSON, err, errlen, "invalid JSON: %.64s%snumber out of range",
                    v->string ? v->string : "", v->string ? ": " : "");
    if (cJSON_IsObject(v) && !lax) {
        const char *name = duplicate_key(v);
        if (name)
            return fail(SPECD_EJSON, err, errlen, "invalid JSON: duplicate key '%.64s'", name);
    }
    for (const cJSON *c = v->child; c; c = c->next) {
        int rc = check_tree(c, lax, err, errlen);
        if (rc < 0)
            return rc;
    }
    return 0;
}

void json_memory(void)
{
    cJSON_InitHooks(&(cJSON_Hooks){try_malloc, free});
}

static int parse(struct json **out, const char *text, size_t len, bool lax, size_t max_values,
                 char *err, size_t errlen)
{
    int rc = scan_text(text, len, lax, max_values, err, errlen);
    if (rc < 0)
        return rc;
    cJSON *doc = cJSON_ParseWithLength(text, len);
    if (!doc) /* json_scan let it pass */
        return fail(SPECD_ENOMEM, err, errlen, "%s", specd_error_text(SPECD_ENOMEM));
    rc = check_tree(doc, lax, err, errlen);
    if (rc < 0) {
        cJSON_Delete(doc);
        return rc;
    }
    *out = (struct json *)doc;
    return 0;
}

int json_parse(struct json **out, const char *text, size_t len, char *err, size_t errlen)
{
    return parse(out, text, len, false, JSON_VALUES_MAX, err, errlen);
}

int json_parse_file(struct json **out, const char *text, size_t len, char *err, size_t errlen)
{
    return parse(out, text, len, false, SIZE_MAX, err, errlen);
}

int json_parse_lax(struct json **out, const char *text, size_t len, char *err, size_t errlen)
{
    return parse(out, text, len, true, JSON_VALUES_MAX, err, errlen);
}

void json_free(struct json *doc)
{
    cJSON_Delete((cJSON *)doc);
}

enum json_type json_type(const struct json *v)
{
    if (cJSON_IsBool(item(v)))
        return JSON_BOOL;
    if (cJSON_IsNumber(item(v)))
        return JSON_NUMBER;
    if (cJSON_IsString(item(v)))
        return JSON_STRING;
    if (cJSON_IsArray(item(v)))
        return JSON_ARRAY;
    return cJSON_IsObject(item(v)) ? JSON_OBJECT : JSON_NULL;
}

bool json_bool(const struct json *v)
{
    return cJSON_IsTrue(item(v));
}

double json_number(const struct json *v)
{
    return item(v)->valuedouble;
}

bool json_integer(const struct json *v, int64_t *out)
{
    double d = cJSON_IsNumber(item(v)) ? item(v)->valuedouble : NAN;
    if (d != floor(d) || fabs(d) > JSON_INTEGER_MAX)
        return false;
    *out = (int64_t)d;
    return true;
}

const char *json_string(const struct json *v)
{
    return cJSON_GetStringValue(item(v));
}

const char *json_key(const struct json *v)
{
    return item(v)->string;
}

const struct json *json_first(const struct json *v)
{
    return v ? (const struct json *)item(v)->child : NULL;
}

const struct json *json_next(const struct json *v)
{
    return (const struct json *)item(v)->next;
}

const struct json *json_get(const struct json *obj, const char *key)
{
    for (const struct json *m = json_first(obj); m; m = json_next(m))
        if (json_key(m) && strcmp(json_key(m), key) == 0)
            return m;
    return NULL;
}

size_t json_count(const struct json *v)
{
    size_t n = 0;
    for (const struct json *m = json_first(v); m; m = json_next(m))
        n++;
    return n;
}

/* ---- comments of configuration files: bodies of requests have none --------------------------- */

/* The end of the string that begins at the quote s[i]: behind its closing quote, or len. */
static size_t skip_string(const char *s, size_t i, size_t len)
{
    for (i++; i < len && s[i] != '"'; i++)
        i += s[i] == '\\';
    return i < len ? i + 1 : len;
}

static size_t blank_line(char *s, size_t i, size_t len)
{
    while (i < len && s[i] != '\n' && s[i] != '\r')
        s[i++] = ' ';
    return i;
}

void json_blank_comments(char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        bool slashes = text[i] == '/' && i + 1 < len && text[i + 1] == '/';
        if (text[i] == '"')
            i = skip_string(text, i, len);
        else if (text[i] == '#' || slashes)
            i = blank_line(text, i, len);
        else
            i++;
    }
}
