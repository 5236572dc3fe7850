/*
 * Which keywords a schema has and what follows from them; $ref, anyOf, type. The parts for one type
 * are in files of their own.
 */
#include "grammar/schema.h"

#include "specd/error.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* ---- keywords -------------------------------------------------------------------------------- */

enum keyword_class {
    KEY_NOTE = 0,
    KEY_REF = 1, /* those that stand alone */
    KEY_ALTERNATIVES = 2,
    KEY_VALUES = 4, /* enum, const: beside type only */
    KEY_TYPE = 8,
    KEY_STRING = 16, /* assertions about one type */
    KEY_NUMBER = 32,
    KEY_ARRAY = 64,
    KEY_OBJECT = 128,
    KEY_DETAIL = KEY_STRING | KEY_NUMBER | KEY_ARRAY | KEY_OBJECT
};

static const struct keyword {
    const char *name;
    enum keyword_class class;
} keywords[] = {
    {"title", KEY_NOTE},
    {"description", KEY_NOTE},
    {"default", KEY_NOTE},
    {"example", KEY_NOTE},
    {"examples", KEY_NOTE},
    {"deprecated", KEY_NOTE},
    {"readOnly", KEY_NOTE},
    {"writeOnly", KEY_NOTE},
    {"$schema", KEY_NOTE},
    {"$id", KEY_NOTE},
    {"$comment", KEY_NOTE},
    {"$defs", KEY_NOTE},
    {"definitions", KEY_NOTE},
    {"$ref", KEY_REF},
    {"anyOf", KEY_ALTERNATIVES},
    {"oneOf", KEY_ALTERNATIVES},
    {"allOf", KEY_ALTERNATIVES},
    {"enum", KEY_VALUES},
    {"const", KEY_VALUES},
    {"type", KEY_TYPE},
    {"minLength", KEY_STRING},
    {"maxLength", KEY_STRING},
    {"pattern", KEY_STRING},
    {"format", KEY_STRING},
    {"minimum", KEY_NUMBER},
    {"maximum", KEY_NUMBER},
    {"exclusiveMinimum", KEY_NUMBER},
    {"exclusiveMaximum", KEY_NUMBER},
    {"items", KEY_ARRAY},
    {"prefixItems", KEY_ARRAY},
    {"minItems", KEY_ARRAY},
    {"maxItems", KEY_ARRAY},
    {"uniqueItems", KEY_ARRAY},
    {"properties", KEY_OBJECT},
    {"required", KEY_OBJECT},
    {"additionalProperties", KEY_OBJECT},
};

static const struct keyword *find_keyword(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(keywords); i++)
        if (strcmp(keywords[i].name, name) == 0)
            return &keywords[i];
    return NULL;
}

/* The classes that occur; *leading is the one keyword of those that exclude others. */
static unsigned classify(struct compiler *c, uint32_t s, uint32_t *leading)
{
    unsigned found = 0;
    *leading = NO_VALUE;
    for (uint32_t i = value_first(c, s); i != NO_VALUE; i = value_next(c, s, i)) {
        const struct keyword *k = find_keyword(c->v[i].key);
        if (!k && strncmp(c->v[i].key, "x-", 2) == 0)
            continue;
        if (!k) {
            compile_error(c, "the keyword \"%.80s\" is not supported", c->v[i].key);
            return 0;
        }
        if (k->class & (KEY_REF | KEY_ALTERNATIVES | KEY_VALUES)) {
            if (*leading != NO_VALUE)
                compile_error(c, "%s together with %s is not supported", k->name,
                              c->v[*leading].key);
            *leading = i;
        }
        found |= k->class;
    }
    unsigned beside = found & (KEY_VALUES) ? KEY_DETAIL : KEY_DETAIL | KEY_TYPE;
    if (*leading != NO_VALUE && found & beside)
        compile_error(c, "%s together with %s is not supported", c->v[*leading].key,
                      found & KEY_TYPE & beside ? "type" : "other assertions");
    return found;
}

/* ---- $ref ------------------------------------------------------------------------------------ */

static uint32_t place_procedure(struct compiler *c, uint32_t schema, uint32_t resource)
{
    for (uint32_t i = 0; i < c->n_places; i++)
        if (c->places[i].schema == schema && c->places[i].resource == resource)
            return c->places[i].procedure;
    if (c->n_places == GRAMMAR_REFS_MAX) {
        compile_error(c, "more than %d places that $ref names", GRAMMAR_REFS_MAX);
        return 0;
    }
    if (c->n_places == c->cap_places) {
        c->cap_places = c->cap_places ? c->cap_places * 2 : 16;
        c->places = xrealloc(c->places, c->cap_places * sizeof *c->places);
    }
    uint32_t procedure = network_procedure(&c->net);
    c->places[c->n_places++] = (struct place_procedure){schema, resource, procedure};
    return procedure;
}

static uint32_t compile_ref(struct compiler *c, uint32_t ref, uint32_t next)
{
    const struct chat_value *v = &c->v[ref];
    if (v->kind != CHAT_STRING) {
        compile_error(c, "$ref must be a string");
        return next;
    }
    uint32_t resource = c->resource;
    uint32_t place = v->s[0] == '#' ? value_at_pointer(c, v->s + 1, &resource) : NO_VALUE;
    if (c->net.work > NETWORK_WORK_MAX) {
        compile_error(c, "too many $ref to places among many others, or too large patterns");
        return next;
    }
    if (place == NO_VALUE) {
        compile_error(c, "$ref \"%.80s\" names no place in this schema", v->s);
        return next;
    }
    return network_call(&c->net, place_procedure(c, place, resource), next);
}

/* Compiled one after another, not within each other: chains of $ref may be long. */
static void compile_places(struct compiler *c)
{
    while (c->n_places_done < c->n_places && c->rc == 0 && !c->net.full) {
        struct place_procedure p = c->places[c->n_places_done++];
        size_t mark = path_in(c, "($ref)");
        if (c->v[p.schema].key)
            path_in(c, c->v[p.schema].key);
        c->resource = p.resource;
        network_define(&c->net, p.procedure, compile_schema(c, p.schema, NODE_OF_RETURN));
        path_out(c, mark);
    }
}

/* ---- alternatives ---------------------------------------------------------------------------- */

static uint32_t compile_alternatives(struct compiler *c, uint32_t list, uint32_t next)
{
    const struct chat_value *v = &c->v[list];
    size_t mark = path_in(c, v->key);
    uint32_t n = v->n, i = 0, node = next;
    if (v->kind != CHAT_LIST || n == 0 || n > GRAMMAR_ENUM_MAX)
        compile_error(c, "must be a list of 1 to %d schemas", GRAMMAR_ENUM_MAX);
    else if (strcmp(v->key, "allOf") == 0 && n != 1)
        compile_error(c, "more than one schema is not supported");
    struct edge *edges = xcalloc(n + 1, sizeof *edges);
    for (uint32_t at = value_first(c, list); c->rc == 0 && at != NO_VALUE;
         at = value_next(c, list, at)) {
        size_t inner = path_in_index(c, i);
        edges[i++].to = compile_schema(c, at, next);
        path_out(c, inner);
    }
    if (c->rc == 0)
        node = n == 1 ? edges[0].to : network_edges(&c->net, NODE_SPLIT, edges, n);
    free(edges);
    path_out(c, mark);
    return node;
}

/* ---- type ------------------------------------------------------------------------------------ */

enum type {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_STRING = 4,
    TYPE_INTEGER = 8,
    TYPE_NUMBER = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64,
};
static const char *const type_names[] = {"null",   "boolean", "string", "integer",
                                         "number", "array",   "object"};

static unsigned read_type(struct compiler *c, uint32_t at)
{
    if (c->v[at].kind == CHAT_STRING)
        for (unsigned i = 0; i < COUNT_OF(type_names); i++)
            if (strcmp(type_names[i], c->v[at].s) == 0)
                return 1u << i;
    size_t mark = path_in(c, "type");
    compile_error(c, "must be null, boolean, string, integer, number, array or object, or a list");
    path_out(c, mark);
    return 0;
}

/* Without type, what the other keywords are about; 0: anything. */
static unsigned read_types(struct compiler *c, uint32_t s, unsigned found)
{
    unsigned types = 0;
    uint32_t at = value_get(c, s, "type");
    if (at == NO_VALUE) {
        return (found & KEY_STRING ? TYPE_STRING : 0) | (found & KEY_NUMBER ? TYPE_NUMBER : 0) |
               (found & KEY_ARRAY ? TYPE_ARRAY : 0) | (found & KEY_OBJECT ? TYPE_OBJECT : 0);
    }
    if (c->v[at].kind != CHAT_LIST || c->v[at].n == 0)
        return read_type(c, at);
    for (uint32_t i = value_first(c, at); i != NO_VALUE; i = value_next(c, at, i))
        types |= read_type(c, i);
    return types & TYPE_NUMBER ? types & ~(unsigned)TYPE_INTEGER : types;
}

static uint32_t compile_type(struct compiler *c, uint32_t s, unsigned type, uint32_t next)
{
    switch (type) {
    case TYPE_NULL:
        return network_text(&c->net, "null", 4, next);
    case TYPE_BOOLEAN:
        return network_split(&c->net, network_text(&c->net, "true", 4, next),
                             network_text(&c->net, "false", 5, next));
    case TYPE_STRING:
        return compile_string(c, s, next);
    case TYPE_INTEGER:
    case TYPE_NUMBER:
        return compile_number(c, s, type == TYPE_INTEGER, next);
    case TYPE_ARRAY:
        return compile_array(c, s, next);
    default:
        return compile_object(c, s, next);
    }
}

static uint32_t compile_types(struct compiler *c, uint32_t s, unsigned types, uint32_t next)
{
    struct edge edges[COUNT_OF(type_names)];
    size_t n = 0;
    for (unsigned type = 1; type <= TYPE_OBJECT; type *= 2)
        if (types & type)
            edges[n++] = (struct edge){.to = compile_type(c, s, type, next)};
    return n == 1 ? edges[0].to : network_edges(&c->net, NODE_SPLIT, edges, n);
}

/* The kinds of constants that types allow. */
static unsigned kinds_of(unsigned types)
{
    unsigned kinds = 0;
    if (types == 0)
        return ~0u;
    kinds |= types & TYPE_NULL ? 1u << CHAT_NULL : 0;
    kinds |= types & TYPE_BOOLEAN ? 1u << CHAT_BOOL : 0;
    kinds |= types & TYPE_STRING ? 1u << CHAT_STRING : 0;
    kinds |= types & (TYPE_INTEGER | TYPE_NUMBER) ? 1u << CHAT_INT : 0;
    kinds |= types & TYPE_NUMBER ? 1u << CHAT_FLOAT : 0;
    kinds |= types & TYPE_ARRAY ? 1u << CHAT_LIST : 0;
    kinds |= types & TYPE_OBJECT ? 1u << CHAT_DICT : 0;
    return kinds;
}

/* ---- whole ----------------------------------------------------------------------------------- */

static uint32_t compile_leading(struct compiler *c, uint32_t s, uint32_t leading, uint32_t next)
{
    const char *key = c->v[leading].key;
    if (strcmp(key, "$ref") == 0)
        return compile_ref(c, leading, next);
    if (strcmp(key, "enum") != 0 && strcmp(key, "const") != 0)
        return compile_alternatives(c, leading, next);
    unsigned kinds = kinds_of(read_types(c, s, 0));
    if (strcmp(key, "enum") == 0)
        return compile_enum(c, leading, kinds, next);
    return kinds >> c->v[leading].kind & 1 ? compile_const(c, leading, next) : NODE_OF_NOTHING;
}

static uint32_t compile_dict(struct compiler *c, uint32_t s, uint32_t next)
{
    uint32_t leading;
    unsigned found = classify(c, s, &leading);
    if (c->rc != 0)
        return next;
    if (leading != NO_VALUE)
        return compile_leading(c, s, leading, next);
    unsigned types = read_types(c, s, found);
    if (c->rc != 0)
        return next;
    return types == 0 ? compile_common(c, COMMON_VALUE, next) : compile_types(c, s, types, next);
}

uint32_t compile_schema(struct compiler *c, uint32_t s, uint32_t next)
{
    if (c->rc != 0 || c->net.full)
        return next;
    if (c->v[s].kind == CHAT_BOOL)
        return c->v[s].b ? compile_common(c, COMMON_VALUE, next) : NODE_OF_NOTHING;
    if (c->v[s].kind != CHAT_DICT) {
        compile_error(c, "a schema must be an object, true or false");
        return next;
    }
    uint32_t outer = c->resource;
    if (value_is_resource(c, s))
        c->resource = s;
    uint32_t first = compile_dict(c, s, next);
    c->resource = outer;
    return first;
}

static int compile(struct compiler *c, uint32_t *root)
{
    uint32_t start;
    if (c->v) {
        c->rc = document_open(c);
        start = c->rc == 0 ? compile_schema(c, 0, NODE_OF_RETURN) : NODE_OF_RETURN;
        compile_places(c);
    } else {
        start = compile_common(c, COMMON_OBJECT, NODE_OF_RETURN);
    }
    struct edge before[] = {{' ', ' ', start}, {'\n', '\n', start}};
    *root = network_split(&c->net, network_edges(&c->net, NODE_BYTES, before, 2), start);
    return c->rc != 0 ? c->rc : network_finish(&c->net, *root, c->err, c->errlen);
}

int grammar_compile(struct grammar **out, const struct chat_value *schema, char *err, size_t errlen)
{
    static atomic_uint_fast64_t last_id;
    struct compiler c = {.v = schema, .err = err, .errlen = errlen};
    uint32_t root;
    *out = NULL;
    network_init(&c.net);
    int rc = compile(&c, &root);
    if (rc == 0) {
        struct grammar *g = xmalloc(sizeof *g);
        *g = (struct grammar){.nodes = c.net.nodes,
                              .edges = c.net.edges,
                              .sets = c.net.sets,
                              .places = c.net.places,
                              .n_nodes = c.net.n_nodes,
                              .root = root};
        atomic_init(&g->refs, 1);
        g->id = atomic_fetch_add(&last_id, 1) + 1;
        c.net.nodes = NULL;
        c.net.edges = NULL;
        c.net.sets = NULL;
        c.net.places = NULL;
        *out = g;
    }
    for (uint32_t i = 0; i < c.n_patterns; i++)
        free(c.patterns[i].pattern);
    free(c.patterns);
    free(c.places);
    free(c.end);
    buf_free(&c.path);
    network_free(&c.net);
    return rc;
}

struct grammar *grammar_ref(struct grammar *g)
{
    atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
    return g;
}

void grammar_unref(struct grammar *g)
{
    if (!g || atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) > 1)
        return;
    free(g->nodes);
    free(g->edges);
    free(g->sets);
    free(g->places);
    free(g);
}

uint64_t grammar_id(const struct grammar *g)
{
    return g->id;
}
