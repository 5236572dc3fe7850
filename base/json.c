/*
 * json.c - the tree of a JSON document: built by cJSON from a text that json_text.c has passed,
 * checked once, read, changed and printed.
 */
#include "json_text.h"

#include "specd/arena.h"
#include "specd/error.h"
#include "specd/json.h"
#include "specd/json_write.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* struct json is cJSON under a name of ours: nothing else in the product includes cJSON.h. All
 * of a tree lies in an arena, so that it takes no more than it needs and is freed at once. What
 * cJSON leaves unused holds what we add: valuestring of a number points to its text; valueint and
 * valuedouble of a list or object count its members and all values in it; prev of the root points
 * to the memory of the tree. */
struct memory {
    struct memory *inner; /* of documents that became part of this one */
    struct arena arena;
    char *numbers; /* as struct json_scan holds them */
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
    char *number; /* the next in the order of the document, as struct json_scan holds them */
    char *err;
    size_t errlen;
};

static int take_number(struct check *k, cJSON *v, const struct place *outer)
{
    char *text = k->number + 1;
    k->number += 2 + *k->number;
    v->valuestring = text;
    if (strcmp(text, "NaN") == 0)
        v->valuedouble = NAN;
    else if (strcmp(text, "Infinity") == 0)
        v->valuedouble = INFINITY;
    else if (strcmp(text, "-Infinity") == 0)
        v->valuedouble = -INFINITY;
    else if (!isfinite(v->valuedouble) && !(k->rules & JSON_SPECIALS))
        return bad_place(&(struct place){outer, v}, "number out of range", k->err, k->errlen);
    return 0;
}

/* Of a list or object. */
static int check_children(struct check *k, const struct place *p)
{
    const char *twice =
        kind(p->v) == cJSON_Object && !(k->rules & JSON_NAMES_REPEAT) ? duplicate_key(p->v) : NULL;
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
    struct json_scan s = {.max_values = max_values, .rules = rules, .keep = true};
    int rc = json_scan(&s, text, len, err, errlen);
    struct memory *m = rc == 0 ? try_malloc(sizeof *m) : NULL;
    cJSON *doc = NULL;
    if (m) {
        char *fitted = s.numbers.len > 0 ? try_realloc(s.numbers.data, s.numbers.len) : NULL;
        *m = (struct memory){.arena.limit = SIZE_MAX, .numbers = fitted ? fitted : s.numbers.data};
        s.numbers.data = m->numbers;
        doc = parse_into(&m->arena, s.replaced ? s.replaced : text, len);
    }
    free(s.replaced);
    if (!doc) { /* a text that passed the scan fails for want of memory alone */
        if (m)
            arena_free(&m->arena);
        free(m);
        buf_free(&s.numbers);
        return rc < 0 ? rc : fail(SPECD_ENOMEM, err, errlen, "%s", specd_error_text(SPECD_ENOMEM));
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
    return parse(out, text, len, JSON_REPLACE_IN_VALUES, JSON_VALUES_MAX, err, errlen);
}

int json_parse_file(struct json **out, const char *text, size_t len, char *err, size_t errlen)
{
    return parse(out, text, len, 0, SIZE_MAX, err, errlen);
}

int json_parse_lax(struct json **out, const char *text, size_t len, char *err, size_t errlen)
{
    return parse(out, text, len, JSON_LAX, JSON_VALUES_MAX, err, errlen);
}

int json_loads(struct json **out, const char *text, size_t len, char *err, size_t errlen)
{
    return parse(out, text, len, JSON_LAX | JSON_SPECIALS, JSON_VALUES_MAX, err, errlen);
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

void json_print(const struct json *v, struct buf *out)
{
    bool object = false;
    switch (json_type(v)) {
    case JSON_NULL:
        json_lit(out, "null");
        return;
    case JSON_BOOL:
        buf_puts(out, json_bool(v) ? "true" : "false");
        return;
    case JSON_NUMBER:
        buf_puts(out, json_number_text(v));
        return;
    case JSON_STRING:
        json_cstr(out, json_string(v));
        return;
    case JSON_ARRAY:
        break;
    case JSON_OBJECT:
        object = true;
    }
    buf_puts(out, object ? "{" : "[");
    for (const struct json *m = json_first(v); m; m = json_next(m)) {
        if (object) {
            json_cstr(out, json_key(m));
            json_lit(out, ":");
        }
        json_print(m, out);
        if (json_next(m))
            json_lit(out, ",");
    }
    buf_puts(out, object ? "}" : "]");
}
