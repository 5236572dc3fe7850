#include "grammar/schema.h"

#include "specd/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- values ---------------------------------------------------------------------------------- */

/* Values lie flat, so the open containers are all there is to remember. */
static int find_ends(struct compiler *c)
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

#define URI_MAX 1000

/* Returns its index. */
static uint32_t put_id(struct compiler *c, struct identified id)
{
    if (c->n_ids == GRAMMAR_REFS_MAX || (id.uri && strlen(id.uri) > URI_MAX)) {
        compile_error(c, id.schema, "more than %d $id and $anchor, or one of more than %d bytes",
                      GRAMMAR_REFS_MAX, URI_MAX);
        free(id.uri);
        return 0;
    }
    if (c->n_ids == c->cap_ids) {
        c->cap_ids = c->cap_ids ? c->cap_ids * 2 : 16;
        c->ids = xrealloc(c->ids, c->cap_ids * sizeof *c->ids);
    }
    c->ids[c->n_ids] = id;
    return c->n_ids++;
}

static const char *string_of(const struct compiler *c, uint32_t s, const char *key)
{
    uint32_t at = value_get(c, s, key);
    return at != NO_VALUE && c->v[at].kind == CHAT_STRING ? c->v[at].s : NULL;
}

static const char *uri_of(const struct compiler *c, uint32_t resource)
{
    for (uint32_t i = c->n_ids; i-- > 0;)
        if (c->ids[i].uri && c->ids[i].schema == resource)
            return c->ids[i].uri;
    return "";
}

/* A reference from a place with that URI (RFC 3986 section 5.2, but for dots in paths), without its
 * fragment. */
static char *resolve_uri(const char *base, const char *ref)
{
    size_t n = strcspn(ref, "#"), scheme = strcspn(ref, ":/?#"), kept = 0;
    struct buf out = {0};
    if (ref[scheme] != ':') {
        size_t root = strcspn(base, ":/?#");
        root = base[root] == ':' ? root + 1 : 0;
        size_t path =
            strncmp(base + root, "//", 2) == 0 ? root + 2 + strcspn(base + root + 2, "/?#") : root;
        const char *slash = strrchr(base + path, '/');
        if (n == 0)
            kept = strlen(base);
        else if (strncmp(ref, "//", 2) == 0)
            kept = root;
        else if (ref[0] == '/' || !slash)
            kept = path;
        else
            kept = (size_t)(slash - base) + 1;
    }
    buf_add(&out, base, kept);
    buf_add(&out, ref, n);
    buf_add(&out, "", 1);
    return buf_take(&out);
}

/* Schemas with an $id, each in the one around it; "#name" was an anchor in older drafts. */
static void find_ids(struct compiler *c)
{
    struct {
        uint32_t end, resource, id; /* id: of the resource, in c->ids */
    } open[GRAMMAR_DEPTH_MAX + 2] = {{c->n_values, 0, 0}}, *top = open;
    put_id(c, (struct identified){.uri = xstrdup("")}); /* what the root's own $id is within */
    for (uint32_t i = 0; i < c->n_values && c->rc == 0; i++) {
        while (i >= top->end)
            top--;
        if (c->v[i].kind != CHAT_DICT)
            continue;
        const char *id = string_of(c, i, "$id"), *anchor = string_of(c, i, "$anchor");
        if (id && id[0] == '#') {
            anchor = id + 1;
        } else if (id) {
            char *uri = resolve_uri(c->ids[top->id].uri, id);
            uint32_t at = put_id(c, (struct identified){i, i, uri, NULL});
            *++top = (typeof(*top)){c->end[i], i, at};
        }
        if (anchor)
            put_id(c, (struct identified){i, top->resource, NULL, anchor});
    }
}

int document_open(struct compiler *c)
{
    int rc = find_ends(c);
    if (rc != 0)
        return rc;
    find_ids(c);
    return c->rc;
}

struct compile_mark compile_mark(const struct compiler *c)
{
    struct compile_mark m = {c->net.n_nodes,  c->net.n_edges,  c->net.n_sets,
                             c->net.n_places, c->net.n_starts, c->n_places,
                             c->n_strings,    c->n_patterns,   {{0}}};
    memcpy(m.common, c->common, sizeof m.common);
    return m;
}

void compile_undo(struct compiler *c, const struct compile_mark *to)
{
    for (uint32_t i = to->n_places; i < c->n_places; i++)
        free(c->places[i].t);
    for (uint32_t i = to->n_strings; i < c->n_strings; i++)
        free(c->strings[i].key);
    for (uint32_t i = to->n_patterns; i < c->n_patterns; i++) {
        dfa_free(&c->patterns[i]->dfa);
        free(c->patterns[i]);
    }
    c->n_places = c->n_places_done = to->n_places;
    c->n_strings = to->n_strings;
    c->n_patterns = to->n_patterns;
    c->net.n_nodes = to->n_nodes;
    c->net.n_edges = to->n_edges;
    c->net.n_sets = to->n_sets;
    c->net.n_places = to->n_set_places;
    c->net.n_starts = to->n_starts;
    c->net.full = false;
    memcpy(c->common, to->common, sizeof c->common);
    c->in_parameters = false;
    c->rc = 0;
}

void document_close(struct compiler *c)
{
    compile_undo(c, &(struct compile_mark){0});
    for (uint32_t i = 0; i < c->n_ids; i++)
        free(c->ids[i].uri);
    dfa_free(&c->without_end);
    free(c->ids);
    free(c->places);
    free(c->strings);
    free(c->patterns);
    free(c->end);
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

static bool is_resource(const struct compiler *c, uint32_t schema)
{
    const char *id = string_of(c, schema, "$id");
    return id && id[0] != '#';
}

struct term term_at(const struct compiler *c, uint32_t schema, uint32_t resource)
{
    return (struct term){.schema = schema,
                         .resource = is_resource(c, schema) ? schema : resource,
                         .parent = NO_VALUE};
}

/* From *resource, which becomes the one the place is in. */
static uint32_t at_pointer(struct compiler *c, const char *pointer, uint32_t *resource)
{
    struct buf name = {0};
    uint32_t at = *resource;
    while (*pointer == '/' && at != NO_VALUE) {
        pointer = read_name(pointer + 1, &name);
        c->net.work += c->v[at].n + 1;
        at = c->v[at].kind == CHAT_LIST ? nth(c, at, name.data) : value_get(c, at, name.data);
        if (at != NO_VALUE && is_resource(c, at))
            *resource = at;
    }
    buf_free(&name);
    return *pointer ? NO_VALUE : at;
}

bool term_follow(struct compiler *c, const struct term *from, uint32_t ref, struct term *to)
{
    uint32_t resource = from->resource, place = NO_VALUE;
    if (c->v[ref].kind != CHAT_STRING) {
        compile_error(c, ref, "must be a string");
        return false;
    }
    const char *text = c->v[ref].s, *fragment = text + strcspn(text, "#");
    if (text[0] != '#') {
        char *uri = resolve_uri(uri_of(c, resource), text);
        resource = NO_VALUE;
        for (uint32_t i = 0; i < c->n_ids; i++)
            if (c->ids[i].uri && strcmp(c->ids[i].uri, uri) == 0)
                resource = c->ids[i].schema;
        free(uri);
    }
    c->net.work += 2 * c->n_ids;
    fragment += *fragment == '#';
    if (resource != NO_VALUE && (*fragment == '\0' || *fragment == '/'))
        place = at_pointer(c, fragment, &resource);
    for (uint32_t i = 0; i < c->n_ids && resource != NO_VALUE && *fragment && *fragment != '/'; i++)
        if (c->ids[i].anchor && c->ids[i].resource == resource &&
            strcmp(c->ids[i].anchor, fragment) == 0)
            place = c->ids[i].schema;
    if (!compile_goes_on(c, ref, 0))
        return false;
    if (place == NO_VALUE) {
        compile_error(c, ref, "\"%.80s\" names no place in this schema", text);
        return false;
    }
    *to = term_at(c, place, resource);
    return true;
}

/* ---- errors ---------------------------------------------------------------------------------- */

#define PATH_SHOWN 80 /* bytes of its end: the reason must fit in behind it */

/* The JSON pointer to a value. */
static void find_path(const struct compiler *c, uint32_t value, struct buf *path)
{
    for (uint32_t at = 0; at != value;) {
        uint32_t child = value_first(c, at), i = 0;
        while (c->end[child] <= value) {
            child = value_next(c, at, child);
            i++;
        }
        at = child;
        if (!c->v[at].key) {
            buf_printf(path, "/%u", i);
            continue;
        }
        buf_puts(path, "/");
        for (const char *p = c->v[at].key; *p; p++)
            if (*p == '~' || *p == '/')
                buf_puts(path, *p == '~' ? "~0" : "~1");
            else
                buf_add(path, p, 1);
    }
    buf_add(path, "", 1);
    path->len--;
}

void compile_error(struct compiler *c, uint32_t value, const char *fmt, ...)
{
    char reason[256];
    struct buf path = {0};
    va_list args;
    if (c->rc != 0)
        return;
    va_start(args, fmt);
    vsnprintf(reason, sizeof reason, fmt, args);
    va_end(args);
    find_path(c, value, &path);
    bool whole = path.len <= PATH_SHOWN;
    c->rc = fail(SPECD_EINVAL, c->err, c->errlen, "schema%s%s: %s",
                 path.len == 0 ? ""
                 : whole       ? " "
                               : " ...",
                 whole ? path.data : path.data + path.len - PATH_SHOWN, reason);
    buf_free(&path);
}

bool compile_goes_on(struct compiler *c, uint32_t value, uint64_t work)
{
    c->net.work += work;
    if (c->net.work > NETWORK_WORK_MAX)
        compile_error(c, value,
                      "it takes too much work: too many $ref to places among many "
                      "others, alternatives within each other, or too large patterns");
    return c->rc == 0 && !c->net.full;
}

/* ---- counts ---------------------------------------------------------------------------------- */

uint32_t keyword_count(struct compiler *c, uint32_t s, const char *key, uint32_t otherwise)
{
    uint32_t at = value_get(c, s, key);
    if (at == NO_VALUE)
        return otherwise;
    const struct chat_value *v = &c->v[at];
    double d = v->kind == CHAT_INT ? (double)v->i : v->kind == CHAT_FLOAT ? v->d : -1;
    if (!(d >= 0) || d != floor(d)) {
        compile_error(c, at, "must be a whole number, 0 or more");
        return 0;
    }
    return d < (double)NODE_NO_MAX ? (uint32_t)d : NODE_NO_MAX;
}

uint32_t terms_count(struct compiler *c, const struct terms *terms, const char *key, bool largest,
                     uint32_t otherwise)
{
    uint32_t count = otherwise;
    for (uint32_t i = 0; i < terms->n; i++) {
        uint32_t n = keyword_count(c, terms->t[i].schema, key, otherwise);
        count = largest ? MAX(count, n) : MIN(count, n);
    }
    return count;
}
