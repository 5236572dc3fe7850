#include "specd/json.h"

#include "specd/arena.h"
#include "specd/error.h"
#include "specd/json_write.h"
#include "specd/utf8.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the text: is it one JSON value of RFC 8259 in valid UTF-8, within our limits? A recursive
 * descent that builds no tree. Strings are handed on as C strings, so they can't hold U+0000. */

#define EXPONENT_DIGITS_MAX 8 /* so that an exponent is an int with room to add to */

/* What passes beside the RFC, and becomes what. */
enum rules {
    REPLACE_IN_VALUES = 1, /* escapes of U+0000 and of half a pair become U+FFFD: else an error */
    REPLACE_IN_NAMES = 2,
    NAMES_REPEAT = 4,
    SPECIALS = 8, /* NaN, Infinity, -Infinity, and numbers that round to them */
    LAX = REPLACE_IN_VALUES | REPLACE_IN_NAMES | NAMES_REPEAT
};

struct scan {
    const unsigned char *start, *p, *end;
    size_t n_values, max_values;
    unsigned rules;
    const char *why;    /* set once, with p where it went wrong */
    bool keep;          /* what follows is made */
    bool no_memory;     /* for it */
    struct buf numbers; /* of each its length, a byte, then its text with its NUL */
    char *replaced;     /* the whole text with what cJSON can't read replaced; NULL: nothing was */
};

static bool value(struct scan *s, int depth);

static bool bad(struct scan *s, const char *why)
{
    s->why = why;
    return false;
}

static bool no_memory(struct scan *s)
{
    s->no_memory = true;
    return bad(s, specd_error_text(SPECD_ENOMEM));
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

/* Puts word, and blanks behind it, in place of what stands from `from` to here. */
static bool replace(struct scan *s, const unsigned char *from, const char *word)
{
    size_t len = (size_t)(s->end - s->start), at = (size_t)(from - s->start), n = strlen(word);
    if (!s->keep)
        return true;
    if (!s->replaced) {
        s->replaced = try_malloc(len);
        if (!s->replaced)
            return no_memory(s);
        memcpy(s->replaced, s->start, len);
    }
    memset(s->replaced + at, ' ', (size_t)(s->p - from));
    memcpy(s->replaced + at, word, n);
    return true;
}

static bool keep_number(struct scan *s, const char *text, size_t n)
{
    struct buf *b = &s->numbers;
    if (b->cap - b->len < JSON_NUMBER_MAX + 2) {
        size_t cap = MAX(2 * b->cap, 16 * JSON_NUMBER_MAX);
        char *grown = try_realloc(b->data, cap);
        if (!grown)
            return no_memory(s);
        b->data = grown;
        b->cap = cap;
    }
    char *to = b->data + b->len;
    *to++ = (char)n;
    for (size_t i = 0; i < n; i++) /* mostly a few bytes: memcpy takes longer */
        to[i] = text[i];
    to[n] = '\0';
    b->len += n + 2;
    return true;
}

static const unsigned char *skip_digits(const unsigned char *p, const unsigned char *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

static bool number(struct scan *s)
{
    const unsigned char *from = s->p, *end = s->end, *p = from, *digits;
    if (p < end && *p == '-')
        p++;
    digits = p;
    p = skip_digits(p, end);
    bool good = p > digits && (*digits != '0' || p == digits + 1);
    if (good && p < end && *p == '.') {
        digits = ++p;
        p = skip_digits(p, end);
        good = p > digits;
    }
    if (good && p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        digits = p;
        p = skip_digits(p, end);
        good = p > digits;
        if (p - digits > EXPONENT_DIGITS_MAX)
            return bad(s, "number out of range");
    }
    s->p = p;
    if (!good)
        return bad(s, "malformed number");
    size_t n = (size_t)(p - from);
    if (n > JSON_NUMBER_MAX) /* cJSON cuts a longer one */
        return bad(s, "number too long");
    return !s->keep || keep_number(s, (const char *)from, n);
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
static bool unicode_escape(struct scan *s, bool name)
{
    const unsigned char *from = s->p - 2;
    int c = hex4(s);
    if (c < 0)
        return bad(s, "malformed \\u escape");
    if (c >= 0xd800 && c <= 0xdbff && s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u') {
        const unsigned char *behind = s->p;
        s->p += 2;
        int low = hex4(s);
        if (low >= 0xdc00 && low <= 0xdfff)
            return true;
        s->p = behind; /* another escape, which is read next */
    }
    if (c != 0 && (c < 0xd800 || c > 0xdfff))
        return true;
    if (s->rules & (name ? REPLACE_IN_NAMES : REPLACE_IN_VALUES))
        return replace(s, from, "\\ufffd");
    if (name)
        return bad(s, c == 0 ? "\\u0000 in a name" : "lone surrogate in a name");
    return bad(s, c == 0 ? "\\u0000 is not allowed" : "lone surrogate");
}

static bool escape(struct scan *s, bool name)
{
    s->p++;
    int c = peek(s);
    if (c <= 0 || !strchr("\"\\/bfnrtu", c))
        return bad(s, "malformed escape");
    s->p++;
    return c != 'u' || unicode_escape(s, name);
}

static bool string(struct scan *s, bool name)
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
            if (!escape(s, name))
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

/* NaN, Infinity, -Infinity. */
static bool special(struct scan *s)
{
    const unsigned char *from = s->p;
    const char *word = peek(s) == 'N' ? "NaN" : "Infinity";
    if (peek(s) == '-')
        s->p++;
    if (!literal(s, word))
        return false;
    return replace(s, from, "0") &&
           (!s->keep || keep_number(s, (const char *)from, (size_t)(s->p - from)));
}

static bool key(struct scan *s)
{
    if (peek(s) != '"')
        return bad(s, "expected a member name");
    if (!string(s, true))
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
        return string(s, false);
    case 't':
        return literal(s, "true");
    case 'f':
        return literal(s, "false");
    case 'n':
        return literal(s, "null");
    case -1:
        return bad(s, "unexpected end");
    default:
        if (s->rules & SPECIALS && memchr("IN", s->p[s->p[0] == '-' && s->p + 1 < s->end], 2))
            return special(s);
        return number(s);
    }
}

/* s: what to look for and where to put it; the rest is filled in here. */
static int scan_text(struct scan *s, const char *text, size_t len, char *err, size_t errlen)
{
    s->start = s->p = (const unsigned char *)text;
    s->end = s->start + len;
    skip_space(s);
    if (value(s, 0)) {
        skip_space(s);
        if (s->p < s->end)
            bad(s, "more than one value");
    }
    if (!s->why)
        return 0;
    return fail(SPECD_EJSON, err, errlen, "invalid JSON at byte %zu: %s", (size_t)(s->p - s->start),
                s->why);
}

int json_scan_lax(const char *text, size_t len, char *err, size_t errlen)
{
    struct scan s = {.max_values = JSON_VALUES_MAX, .rules = LAX};
    return scan_text(&s, text, len, err, errlen);
}

/* ---- the tree -------------------------------------------------------------------------------- */

/* struct json is cJSON under a name of ours: nothing else in the product includes cJSON.h. All
 * of a tree lies in an arena, so that it takes no more than it needs and is freed at once. What
 * cJSON leaves unused holds what we add: valuestring of a number points to its text; valueint and
 * valuedouble of a list or object count its members and all values in it; prev of the root points
 * to the memory of the tree. */
struct memory {
    struct memory *inner; /* of documents that became part of this one */
    struct arena arena;
    char *numbers; /* as struct scan has them */
};

static _Thread_local struct arena *parsing_into; /* NULL: cJSON is at work for another */

static void *tree_alloc(size_t size)
{
    return parsing_into ? arena_alloc(parsing_into, size, 8) : malloc(size);
}

static void tree_free(void *p)
{
    if (!parsing_into)
        free(p);
}

static void set_hooks(void)
{
    cJSON_InitHooks(&(cJSON_Hooks){tree_alloc, tree_free});
}

static cJSON *parse_into(struct arena *arena, const char *text, size_t len)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_hooks);
    parsing_into = arena;
    cJSON *doc = cJSON_ParseWithLength(text, len);
    parsing_into = NULL;
    return doc;
}

static cJSON *item(const struct json *v)
{
    return (cJSON *)v;
}

static int kind(const cJSON *v)
{
    return v ? v->type & 0xff : cJSON_NULL; /* above: flags */
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

#define COMPARED_IN_PAIRS 8

/* Many are sorted, so that a hostile object of half a million keys costs n log n. */
static const char *duplicate_key(const cJSON *object)
{
    size_t n = 0;
    for (const cJSON *c = object->child; c; c = c->next)
        n++;
    if (n <= COMPARED_IN_PAIRS) {
        for (const cJSON *c = object->child; c; c = c->next)
            for (const cJSON *d = c->next; d; d = d->next)
                if (strcmp(c->string, d->string) == 0)
                    return c->string;
        return NULL;
    }
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

/* The way to a value, for messages. */
struct place {
    const struct place *outer; /* NULL: the document */
    cJSON *v;
};

static void put_place(const struct place *p, struct buf *out)
{
    if (!p->outer)
        return;
    put_place(p->outer, out);
    if (p->v->string) {
        buf_printf(out, "%s%.64s", out->len ? "." : "", p->v->string);
        return;
    }
    size_t at = 0;
    for (const cJSON *c = p->outer->v->child; c != p->v; c = c->next)
        at++;
    buf_printf(out, "[%zu]", at);
}

static int bad_place(const struct place *p, const char *why, char *err, size_t errlen)
{
    struct buf where = {0};
    put_place(p, &where);
    int rc = fail(SPECD_EJSON, err, errlen, "invalid JSON: %s%s%s", why, where.len ? " in " : "",
                  where.len ? where.data : "");
    buf_free(&where);
    return rc;
}

struct check {
    unsigned rules;
    char *number; /* the next in the order of the document, as struct scan has them */
    char *err;
    size_t errlen;
};

static int take_number(struct check *k, cJSON *v, const struct place *outer)
{
    char *text = k->number + 1;
    k->number += 2 + *k->number;
    v->valuestring = text;
    if (text[0] == 'N')
        v->valuedouble = NAN;
    else if (text[text[0] == '-'] == 'I')
        v->valuedouble = text[0] == '-' ? -INFINITY : INFINITY;
    else if (!isfinite(v->valuedouble) && !(k->rules & SPECIALS))
        return bad_place(&(struct place){outer, v}, "number out of range", k->err, k->errlen);
    return 0;
}

/* Of a list or object. */
static int check_children(struct check *k, const struct place *p)
{
    const char *twice =
        kind(p->v) == cJSON_Object && !(k->rules & NAMES_REPEAT) ? duplicate_key(p->v) : NULL;
    if (twice) {
        char why[96];
        snprintf(why, sizeof why, "duplicate key '%.64s'", twice);
        return bad_place(p, why, k->err, k->errlen);
    }
    int rc = 0, n = 0;
    double below = 0;
    for (cJSON *c = p->v->child; c && rc == 0; c = c->next) {
        n++;
        if (kind(c) == cJSON_Number) {
            rc = take_number(k, c, p);
        } else if (c->child) {
            rc = check_children(k, &(struct place){p, c});
            below += c->valuedouble;
        }
    }
    p->v->valueint = n;
    p->v->valuedouble = n + below;
    return rc;
}

static int parse(struct json **out, const char *text, size_t len, unsigned rules, size_t max_values,
                 char *err, size_t errlen)
{
    struct scan s = {.max_values = max_values, .rules = rules, .keep = true};
    struct memory *m = try_malloc(sizeof *m);
    int rc = m ? scan_text(&s, text, len, err, errlen) : SPECD_ENOMEM;
    cJSON *doc = NULL;
    if (rc == 0) {
        char *fitted = s.numbers.len > 0 ? try_realloc(s.numbers.data, s.numbers.len) : NULL;
        *m = (struct memory){.arena.limit = SIZE_MAX, .numbers = fitted ? fitted : s.numbers.data};
        s.numbers.data = m->numbers;
        doc = parse_into(&m->arena, s.replaced ? s.replaced : text, len);
    }
    free(s.replaced);
    if (!doc) {
        if (rc == 0)
            arena_free(&m->arena);
        free(m);
        buf_free(&s.numbers);
        if (rc < 0 && m && !s.no_memory)
            return rc;
        return fail(SPECD_ENOMEM, err, errlen, "%s", specd_error_text(SPECD_ENOMEM));
    }
    doc->prev = (cJSON *)m;
    struct check k = {rules, m->numbers, err, errlen};
    rc = kind(doc) == cJSON_Number ? take_number(&k, doc, NULL)
                                   : check_children(&k, &(struct place){NULL, doc});
    if (rc < 0)
        json_free((struct json *)doc);
    else
        *out = (struct json *)doc;
    return rc;
}

int json_parse(struct json **out, const char *text, size_t len, char *err, size_t errlen)
{
    return parse(out, text, len, REPLACE_IN_VALUES, JSON_VALUES_MAX, err, errlen);
}

int json_parse_file(struct json **out, const char *text, size_t len, char *err, size_t errlen)
{
    return parse(out, text, len, 0, SIZE_MAX, err, errlen);
}

int json_parse_lax(struct json **out, const char *text, size_t len, char *err, size_t errlen)
{
    return parse(out, text, len, LAX, JSON_VALUES_MAX, err, errlen);
}

int json_loads(struct json **out, const char *text, size_t len, char *err, size_t errlen)
{
    return parse(out, text, len, LAX | SPECIALS, JSON_VALUES_MAX, err, errlen);
}

void json_free(struct json *doc)
{
    if (!doc)
        return;
    struct memory *inner;
    for (struct memory *m = (struct memory *)item(doc)->prev; m; m = inner) {
        inner = m->inner;
        arena_free(&m->arena);
        free(m->numbers);
        free(m);
    }
}

/* ---- builders: prev is as cJSON has it, of a first child the last one */

static struct json *new_value(struct json *doc, int type)
{
    struct memory *m = (struct memory *)item(doc)->prev;
    cJSON *v = arena_alloc(&m->arena, sizeof *v, 8);
    if (v)
        *v = (cJSON){.type = type};
    return (struct json *)v;
}

struct json *json_new_object(struct json *doc)
{
    return new_value(doc, cJSON_Object);
}

struct json *json_new_array(struct json *doc)
{
    return new_value(doc, cJSON_Array);
}

struct json *json_new_bool(struct json *doc, bool b)
{
    return new_value(doc, b ? cJSON_True : cJSON_False);
}

struct json *json_new_string(struct json *doc, const char *text)
{
    struct memory *m = (struct memory *)item(doc)->prev;
    struct json *v = new_value(doc, cJSON_String);
    size_t size = strlen(text) + 1;
    char *copy = v ? arena_alloc(&m->arena, size, 1) : NULL;
    if (!copy)
        return NULL;
    memcpy(copy, text, size);
    item(v)->valuestring = copy;
    return v;
}

static bool put_last(cJSON *into, const char *key, cJSON *v)
{
    if (!into || !v)
        return false;
    cJSON *first = into->child;
    v->string = (char *)(uintptr_t)key;
    v->next = NULL;
    v->prev = first ? first->prev : v;
    if (first) {
        first->prev->next = v;
        first->prev = v;
    } else {
        into->child = v;
    }
    into->valueint++;
    into->valuedouble += (double)json_size((struct json *)v);
    return true;
}

bool json_append(struct json *array, struct json *v)
{
    return put_last(item(array), NULL, item(v));
}

bool json_set(struct json *object, const char *key, struct json *v)
{
    json_detach(object, json_get(object, key));
    return put_last(item(object), key, item(v));
}

struct json *json_detach(struct json *from, const struct json *value)
{
    cJSON *into = item(from), *v = item(value);
    if (!v)
        return NULL;
    cJSON *first = into->child, *next = v->next;
    if (v == first)
        into->child = next;
    else
        v->prev->next = next;
    if (next)
        next->prev = v->prev;
    else if (v != first)
        first->prev = v->prev;
    v->next = v->prev = NULL;
    into->valueint--;
    into->valuedouble -= (double)json_size(value);
    return (struct json *)v;
}

/* What v is, but for its place among others. */
static void set_value(cJSON *v, const cJSON *from)
{
    v->type = from->type;
    v->child = from->child;
    v->valuestring = from->valuestring;
    v->valueint = from->valueint;
    v->valuedouble = from->valuedouble;
}

void json_replace(struct json *doc, const struct json *v, struct json *by)
{
    struct memory *outer = (struct memory *)item(doc)->prev;
    struct memory *first = (struct memory *)item(by)->prev, *last = first;
    while (last->inner)
        last = last->inner;
    last->inner = outer->inner;
    outer->inner = first;
    set_value(item(v), item(by));
}

bool json_replace_string(struct json *doc, const struct json *v, const char *text)
{
    struct memory *m = (struct memory *)item(doc)->prev;
    size_t size = strlen(text) + 1;
    char *copy = arena_alloc(&m->arena, size, 1);
    if (!copy)
        return false;
    memcpy(copy, text, size);
    set_value(item(v), &(cJSON){.type = cJSON_String, .valuestring = copy});
    return true;
}

enum json_type json_type(const struct json *v)
{
    switch (kind(item(v))) {
    case cJSON_True:
    case cJSON_False:
        return JSON_BOOL;
    case cJSON_Number:
        return JSON_NUMBER;
    case cJSON_String:
        return JSON_STRING;
    case cJSON_Array:
        return JSON_ARRAY;
    case cJSON_Object:
        return JSON_OBJECT;
    default:
        return JSON_NULL;
    }
}

bool json_bool(const struct json *v)
{
    return kind(item(v)) == cJSON_True;
}

double json_number(const struct json *v)
{
    return item(v)->valuedouble;
}

const char *json_number_text(const struct json *v)
{
    return kind(item(v)) == cJSON_Number ? item(v)->valuestring : NULL;
}

bool json_integer(const struct json *v, int64_t *out)
{
    double d = kind(item(v)) == cJSON_Number ? item(v)->valuedouble : NAN;
    if (!(fabs(d) <= JSON_INTEGER_MAX) || d != (double)(int64_t)d)
        return false;
    *out = (int64_t)d;
    return true;
}

const char *json_string(const struct json *v)
{
    return kind(item(v)) == cJSON_String ? item(v)->valuestring : NULL;
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

static bool is_container(const struct json *v)
{
    return kind(item(v)) == cJSON_Array || kind(item(v)) == cJSON_Object;
}

size_t json_count(const struct json *v)
{
    return is_container(v) ? (size_t)item(v)->valueint : 0;
}

size_t json_size(const struct json *v)
{
    return is_container(v) ? 1 + (size_t)item(v)->valuedouble : 1;
}

/* ---- numbers, exactly ------------------------------------------------------------------------ */

struct json_decimal json_decimal(const char *number)
{
    struct json_decimal d = {.negative = *number == '-'};
    const char *p = number + d.negative;
    bool behind_point = false;
    for (; *p == '.' || (*p >= '0' && *p <= '9'); p++) {
        if (*p == '.') {
            behind_point = true;
            continue;
        }
        bool leading_zero = d.n_digits == 0 && *p == '0';
        if (!leading_zero)
            d.digits[d.n_digits++] = *p;
        if (!leading_zero && !behind_point)
            d.exponent++;
        if (leading_zero && behind_point)
            d.exponent--;
    }
    while (d.n_digits > 0 && d.digits[d.n_digits - 1] == '0')
        d.n_digits--;
    if (d.n_digits == 0)
        return (struct json_decimal){0};
    if (*p == 'e' || *p == 'E')
        d.exponent += (int32_t)strtol(p + 1, NULL, 10);
    return d;
}

static int sign(const struct json_decimal *d)
{
    if (d->n_digits == 0)
        return 0;
    return d->negative ? -1 : 1;
}

int json_decimal_compare(const struct json_decimal *a, const struct json_decimal *b)
{
    if (sign(a) != sign(b))
        return sign(a) < sign(b) ? -1 : 1;
    int order = (a->exponent > b->exponent) - (a->exponent < b->exponent);
    if (order == 0)
        order = memcmp(a->digits, b->digits, (size_t)MIN(a->n_digits, b->n_digits));
    if (order == 0)
        order = a->n_digits - b->n_digits;
    return order == 0 ? 0 : (order > 0) == (sign(a) > 0) ? 1 : -1;
}

void json_print(const struct json *v, struct buf *out)
{
    enum json_type type = json_type(v);
    if (type == JSON_STRING)
        json_cstr(out, json_string(v));
    else if (type == JSON_NUMBER)
        buf_puts(out, json_number_text(v));
    else if (type == JSON_BOOL)
        buf_puts(out, json_bool(v) ? "true" : "false");
    else if (type == JSON_NULL)
        json_lit(out, "null");
    if (type != JSON_ARRAY && type != JSON_OBJECT)
        return;
    json_lit(out, "[");
    size_t open = out->len - 1;
    for (const struct json *m = json_first(v); m; m = json_next(m)) {
        buf_puts(out, out->len > open + 1 ? "," : "");
        if (type == JSON_OBJECT) {
            json_cstr(out, json_key(m));
            json_lit(out, ":");
        }
        json_print(m, out);
    }
    json_lit(out, "]");
    if (type == JSON_OBJECT) {
        out->data[open] = '{';
        out->data[out->len - 1] = '}';
    }
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
