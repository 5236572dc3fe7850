#include "grammar/schema.h"

#include "specd/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- values ---------------------------------------------------------------------------------- */

/* Values lie flat, so the open containers are all there is to remember. */
int document_open(struct compiler *c)
{
    struct {
        uint32_t value, left;
    } open[GRAMMAR_DEPTH_MAX + 1];
    uint32_t depth = 0, cap = 0, n = 0;
    do {
        if (n == GRAMMAR_VALUES_MAX)
            return fail(SPECD_EINVAL, c->err, c->errlen, "schema: more than %d values in it",
                        GRAMMAR_VALUES_MAX);
        if (n == cap) {
            cap = cap ? cap * 2 : 64;
            c->end = xrealloc(c->end, cap * sizeof *c->end);
        }
        const struct chat_value *v = &c->v[n];
        if (depth > 0)
            open[depth - 1].left--;
        c->end[n] = n + 1;
        if (value_is_container(v)) {
            if (depth > GRAMMAR_DEPTH_MAX)
                return fail(SPECD_EINVAL, c->err, c->errlen,
                            "schema: nested more than %d levels deep", GRAMMAR_DEPTH_MAX);
            open[depth].value = n;
            open[depth++].left = v->n;
        }
        n++;
        while (depth > 0 && open[depth - 1].left == 0)
            c->end[open[--depth].value] = n;
    } while (depth > 0);
    c->n_values = n;
    return 0;
}

uint32_t value_get(const struct compiler *c, uint32_t dict, const char *key)
{
    if (c->v[dict].kind != CHAT_DICT)
        return NO_VALUE;
    for (uint32_t i = value_first(c, dict); i != NO_VALUE; i = value_next(c, dict, i))
        if (strcmp(c->v[i].key, key) == 0)
            return i;
    return NO_VALUE;
}

/* One name of a pointer, without its escapes: %XX of the URI, then ~0 and ~1. */
static const char *read_name(const char *p, struct buf *name)
{
    buf_clear(name);
    buf_add(name, "", 0);
    for (; *p && *p != '/'; p++) {
        char ch = *p;
        if (ch == '%' && hex_digit(p[1]) >= 0 && hex_digit(p[2]) >= 0) {
            ch = (char)(hex_digit(p[1]) * 16 + hex_digit(p[2]));
            p += 2;
        }
        if (ch == '~' && (p[1] == '0' || p[1] == '1'))
            ch = *++p == '0' ? '~' : '/';
        if (ch == '\0')
            ch = '\x01'; /* no name holds it */
        buf_add(name, &ch, 1);
    }
    return p;
}

static uint32_t nth(const struct compiler *c, uint32_t list, const char *name)
{
    char *end;
    unsigned long n = strtoul(name, &end, 10);
    if (*name < '0' || *name > '9' || *end || n >= c->v[list].n)
        return NO_VALUE;
    uint32_t i = value_first(c, list);
    while (n-- > 0)
        i = value_next(c, list, i);
    return i;
}

/* "#name" was an anchor in older drafts. */
bool value_is_resource(const struct compiler *c, uint32_t schema)
{
    uint32_t id = value_get(c, schema, "$id");
    return id != NO_VALUE && c->v[id].kind == CHAT_STRING && c->v[id].s[0] != '#';
}

uint32_t value_at_pointer(struct compiler *c, const char *pointer, uint32_t *resource)
{
    struct buf name = {0};
    uint32_t at = *resource;
    while (*pointer == '/' && at != NO_VALUE) {
        pointer = read_name(pointer + 1, &name);
        c->net.work += c->v[at].n + 1;
        at = c->v[at].kind == CHAT_LIST ? nth(c, at, name.data) : value_get(c, at, name.data);
        if (at != NO_VALUE && value_is_resource(c, at))
            *resource = at;
    }
    buf_free(&name);
    return *pointer ? NO_VALUE : at;
}

/* ---- errors ---------------------------------------------------------------------------------- */

#define PATH_SHOWN 80 /* bytes of its end: the reason must fit in behind it */

void compile_error(struct compiler *c, const char *fmt, ...)
{
    char reason[256];
    va_list args;
    if (c->rc != 0)
        return;
    va_start(args, fmt);
    vsnprintf(reason, sizeof reason, fmt, args);
    va_end(args);
    const char *path = c->path.len ? c->path.data : "";
    bool whole = c->path.len <= PATH_SHOWN;
    c->rc = fail(SPECD_EINVAL, c->err, c->errlen, "schema%s%s: %s", whole ? "" : "...",
                 whole ? path : path + c->path.len - PATH_SHOWN, reason);
}

size_t path_in(struct compiler *c, const char *name)
{
    size_t mark = c->path.len;
    buf_printf(&c->path, ".%s", name);
    return mark;
}

size_t path_in_index(struct compiler *c, uint32_t i)
{
    size_t mark = c->path.len;
    buf_printf(&c->path, "[%u]", i);
    return mark;
}

void path_out(struct compiler *c, size_t mark)
{
    c->path.len = mark;
    if (c->path.data)
        c->path.data[mark] = '\0';
}

uint32_t keyword_count(struct compiler *c, uint32_t s, const char *key, uint32_t otherwise)
{
    uint32_t at = value_get(c, s, key);
    if (at == NO_VALUE)
        return otherwise;
    const struct chat_value *v = &c->v[at];
    double d = v->kind == CHAT_INT ? (double)v->i : v->kind == CHAT_FLOAT ? v->d : -1;
    if (!(d >= 0) || d != floor(d)) {
        size_t mark = path_in(c, key);
        compile_error(c, "must be a whole number, 0 or more");
        path_out(c, mark);
        return 0;
    }
    return d < (double)NODE_NO_MAX ? (uint32_t)d : NODE_NO_MAX;
}
