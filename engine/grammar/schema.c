/*
 * Which keywords a schema has and what follows from them: $ref, allOf, alternatives, type. The
 * parts for one type are in files of their own.
 */
#include "grammar/schema.h"

#include "specd/error.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* ---- keywords -------------------------------------------------------------------------------- */

enum keyword_class {
    KEY_REF = 1,
    KEY_ALL = 2,
    KEY_ANY = 4,
    KEY_ONE = 8,
    KEY_VALUES = 16,
    KEY_TYPE = 32,
    KEY_STRING = 64, /* assertions about one type */
    KEY_NUMBER = 128,
    KEY_ARRAY = 256,
    KEY_OBJECT = 512,
    KEY_REFUSED = 1024,
    KEY_DETAIL = KEY_STRING | KEY_NUMBER | KEY_ARRAY | KEY_OBJECT
};

/* All others are annotations (JSON Schema 2020-12, Core 6.5), or say nothing without one of these.
 */
static const struct keyword {
    const char *name;
    enum keyword_class class;
} keywords[] = {
    {"$ref", KEY_REF},
    {"allOf", KEY_ALL},
    {"anyOf", KEY_ANY},
    {"oneOf", KEY_ONE},
    {"enum", KEY_VALUES},
    {"const", KEY_VALUES},
    {"type", KEY_TYPE},
    {"minLength", KEY_STRING},
    {"maxLength", KEY_STRING},
    {"pattern", KEY_STRING},
    {"minimum", KEY_NUMBER},
    {"maximum", KEY_NUMBER},
    {"exclusiveMinimum", KEY_NUMBER},
    {"exclusiveMaximum", KEY_NUMBER},
    {"multipleOf", KEY_NUMBER},
    {"items", KEY_ARRAY},
    {"prefixItems", KEY_ARRAY},
    {"minItems", KEY_ARRAY},
    {"maxItems", KEY_ARRAY},
    {"uniqueItems", KEY_ARRAY},
    {"properties", KEY_OBJECT},
    {"patternProperties", KEY_OBJECT},
    {"additionalProperties", KEY_OBJECT},
    {"propertyNames", KEY_OBJECT},
    {"required", KEY_OBJECT},
    {"minProperties", KEY_OBJECT},
    {"maxProperties", KEY_OBJECT},
    {"not", KEY_REFUSED},
    {"contains", KEY_REFUSED},
    {"then", KEY_REFUSED},
    {"else", KEY_REFUSED},
    {"dependentRequired", KEY_REFUSED},
    {"dependentSchemas", KEY_REFUSED},
    {"dependencies", KEY_REFUSED},
    {"unevaluatedItems", KEY_REFUSED},
    {"unevaluatedProperties", KEY_REFUSED},
    {"$dynamicRef", KEY_REFUSED},
    {"$recursiveRef", KEY_REFUSED},
};

/* The classes that occur. */
static unsigned classify(struct compiler *c, uint32_t s)
{
    unsigned found = 0;
    for (uint32_t i = value_first(c, s); i != NO_VALUE; i = value_next(c, s, i)) {
        const struct chat_value *v = &c->v[i];
        const struct keyword *k = keywords;
        while (k < keywords + COUNT_OF(keywords) && strcmp(k->name, v->key) != 0)
            k++;
        if (k == keywords + COUNT_OF(keywords))
            continue;
        bool branch = strcmp(k->name, "then") == 0 || strcmp(k->name, "else") == 0;
        if ((branch && value_get(c, s, "if") == NO_VALUE) ||
            (strncmp(k->name, "unevaluated", 11) == 0 && v->kind == CHAT_BOOL && v->b))
            continue;
        if (k->class == KEY_REFUSED)
            compile_error(c, s, "the keyword \"%s\" is not supported", branch ? "if" : k->name);
        found |= k->class;
    }
    return found;
}

/* ---- terms ----------------------------------------------------------------------------------- */

void terms_add(struct compiler *c, struct terms *terms, struct term t)
{
    for (uint32_t i = 0; i < terms->n; i++) {
        if (terms->t[i].schema != t.schema)
            continue;
        for (uint32_t up = t.parent; up != NO_VALUE; up = terms->t[up].parent)
            if (up == i)
                compile_error(c, t.schema, "$ref leads back to itself without a value between");
        return;
    }
    if (terms->n == TERMS_MAX)
        compile_error(c, t.schema, "more than %d schemas hold for one value", TERMS_MAX);
    else
        terms->t[terms->n++] = t;
}

/* Adds what a $ref and the schemas of an allOf say. */
static void expand_term(struct compiler *c, struct terms *terms, uint32_t i)
{
    struct term t = terms->t[i], to;
    if (t.keys & ~t.expanded & KEY_REF && term_follow(c, &t, value_get(c, t.schema, "$ref"), &to)) {
        to.parent = i;
        terms_add(c, terms, to);
    }
    uint32_t all = t.keys & ~t.expanded & KEY_ALL ? value_get(c, t.schema, "allOf") : NO_VALUE;
    if (all != NO_VALUE && (c->v[all].kind != CHAT_LIST || c->v[all].n == 0))
        compile_error(c, all, "must be a list of schemas");
    for (uint32_t at = all == NO_VALUE || c->rc ? NO_VALUE : value_first(c, all); at != NO_VALUE;
         at = value_next(c, all, at)) {
        to = term_at(c, at, t.resource);
        to.parent = i;
        terms_add(c, terms, to);
    }
    terms->t[i].expanded |= KEY_REF | KEY_ALL;
}

/* Terms that say nothing, or no longer, fall away. */
bool terms_expand(struct compiler *c, struct terms *terms)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < terms->n && c->rc == 0; i++) {
        struct term *t = &terms->t[i];
        if (c->v[t->schema].kind == CHAT_BOOL && !c->v[t->schema].b)
            return false;
        if (c->v[t->schema].kind == CHAT_BOOL)
            continue;
        if (c->v[t->schema].kind != CHAT_DICT) {
            compile_error(c, t->schema, "a schema must be an object, true or false");
            return false;
        }
        if (!compile_goes_on(c, t->schema, 64 + c->v[t->schema].n))
            return false;
        t->keys = (uint16_t)classify(c, t->schema);
        expand_term(c, terms, i);
    }
    for (uint32_t i = 0; i < terms->n; i++) {
        terms->t[i].parent = NO_VALUE;
        if (c->v[terms->t[i].schema].kind == CHAT_DICT && terms->t[i].keys & ~terms->t[i].expanded)
            terms->t[kept++] = terms->t[i];
    }
    terms->n = kept;
    return c->rc == 0;
}

static int by_place(const void *a, const void *b)
{
    const struct term *x = a, *y = b;
    if (x->schema != y->schema)
        return x->schema < y->schema ? -1 : 1;
    return (x->expanded > y->expanded) - (x->expanded < y->expanded);
}

static bool same_terms(const struct terms_procedure *p, const struct terms *terms)
{
    bool same = p->n == terms->n;
    for (uint32_t i = 0; i < terms->n && same; i++)
        same = p->t[i].schema == terms->t[i].schema && p->t[i].resource == terms->t[i].resource &&
               p->t[i].expanded == terms->t[i].expanded;
    return same;
}

/* Sorts the terms. */
static uint32_t call_procedure(struct compiler *c, struct terms *terms, uint32_t next)
{
    qsort(terms->t, terms->n, sizeof *terms->t, by_place);
    if (!compile_goes_on(c, terms->t[0].schema, c->n_places))
        return next;
    for (uint32_t i = 0; i < c->n_places; i++)
        if (c->places[i].in_parameters == c->in_parameters && same_terms(&c->places[i], terms))
            return network_call(&c->net, c->places[i].procedure, next);
    if (c->n_places == GRAMMAR_REFS_MAX) {
        compile_error(c, terms->t[0].schema, "more than %d places that $ref names",
                      GRAMMAR_REFS_MAX);
        return next;
    }
    if (c->n_places == c->cap_places) {
        c->cap_places = c->cap_places ? c->cap_places * 2 : 16;
        c->places = xrealloc(c->places, c->cap_places * sizeof *c->places);
    }
    struct terms_procedure *p = &c->places[c->n_places++];
    *p = (struct terms_procedure){
        .n = terms->n, .procedure = network_procedure(&c->net), .in_parameters = c->in_parameters};
    p->t = xmalloc(terms->n * sizeof *p->t);
    memcpy(p->t, terms->t, terms->n * sizeof *p->t);
    return network_call(&c->net, p->procedure, next);
}

/* ---- alternatives ---------------------------------------------------------------------------- */

/* Each with all other terms; a schema that says nothing else has had its say. */
static uint32_t compile_alternatives(struct compiler *c, const struct terms *terms, uint32_t holder,
                                     uint32_t next)
{
    unsigned class = terms->t[holder].keys & ~terms->t[holder].expanded & (KEY_ANY | KEY_ONE);
    class = class & KEY_ANY ? KEY_ANY : KEY_ONE;
    uint32_t list = value_get(c, terms->t[holder].schema, class == KEY_ANY ? "anyOf" : "oneOf");
    uint32_t n = 0, node = next;
    if (c->v[list].kind != CHAT_LIST || c->v[list].n == 0 || c->v[list].n > GRAMMAR_ENUM_MAX) {
        compile_error(c, list, "must be a list of 1 to %d schemas", GRAMMAR_ENUM_MAX);
        return next;
    }
    bool alone = terms->n == 1 && (terms->t[0].keys & ~terms->t[0].expanded) == class;
    if (alone && is_tagged_union(c, terms->t[0].schema, list))
        return compile_tagged_union(c, list, terms->t[0].resource, next);
    struct edge *edges = xcalloc(c->v[list].n, sizeof *edges);
    for (uint32_t at = value_first(c, list); c->rc == 0 && at != NO_VALUE && !c->net.full;
         at = value_next(c, list, at)) {
        struct terms with = *terms;
        struct term t = term_at(c, at, terms->t[holder].resource);
        with.t[holder].expanded |= (uint16_t) class;
        if (with.n == 1 && (with.t[0].keys & ~with.t[0].expanded) == 0)
            with.n = 0;
        t.parent = with.n > 0 ? holder : NO_VALUE;
        terms_add(c, &with, t);
        edges[n++].to = compile_terms(c, &with, next);
    }
    if (c->rc == 0)
        node = n == 1 ? edges[0].to : network_edges(&c->net, NODE_SPLIT, edges, n);
    free(edges);
    return node;
}

/* ---- type ------------------------------------------------------------------------------------ */

static const char *const type_names[] = {"null",   "boolean", "string", "integer",
                                         "number", "array",   "object"};

static unsigned read_type(struct compiler *c, uint32_t at)
{
    if (c->v[at].kind == CHAT_STRING)
        for (unsigned i = 0; i < COUNT_OF(type_names); i++)
            if (strcmp(type_names[i], c->v[at].s) == 0)
                return 1u << i;
    compile_error(c, at,
                  "must be null, boolean, string, integer, number, array or object, or a list");
    return 0;
}

/* nullable is OpenAPI 3.0's: beside type it adds null. */
unsigned schema_types(struct compiler *c, uint32_t s)
{
    unsigned types = 0;
    uint32_t at = value_get(c, s, "type"), nullable = value_get(c, s, "nullable");
    if (at == NO_VALUE)
        return TYPE_ANY;
    if (c->v[at].kind != CHAT_LIST || c->v[at].n == 0)
        types = read_type(c, at);
    else
        for (uint32_t i = value_first(c, at); i != NO_VALUE; i = value_next(c, at, i))
            types |= read_type(c, i);
    if (nullable != NO_VALUE && c->v[nullable].kind == CHAT_BOOL && c->v[nullable].b)
        types |= TYPE_NULL;
    return types & TYPE_NUMBER ? types | TYPE_INTEGER : types;
}

unsigned terms_types(struct compiler *c, const struct terms *terms)
{
    unsigned types = TYPE_ANY, found = 0;
    for (uint32_t i = 0; i < terms->n; i++) {
        types &= schema_types(c, terms->t[i].schema);
        found |= terms->t[i].keys;
    }
    if (found & (KEY_TYPE | KEY_VALUES) || !(found & KEY_DETAIL))
        return types;
    return (found & KEY_STRING ? TYPE_STRING : 0) |
           (found & KEY_NUMBER ? TYPE_NUMBER | TYPE_INTEGER : 0) |
           (found & KEY_ARRAY ? TYPE_ARRAY : 0) | (found & KEY_OBJECT ? TYPE_OBJECT : 0);
}

static uint32_t compile_type(struct compiler *c, const struct terms *terms, unsigned type,
                             uint32_t next)
{
    switch (type) {
    case TYPE_NULL:
        return network_text(&c->net, "null", 4, next);
    case TYPE_BOOLEAN:
        return network_split(&c->net, network_text(&c->net, "true", 4, next),
                             network_text(&c->net, "false", 5, next));
    case TYPE_STRING:
        return compile_string(c, terms, next);
    case TYPE_INTEGER:
    case TYPE_NUMBER:
        return compile_number(c, terms, type == TYPE_INTEGER, next);
    case TYPE_ARRAY:
        return compile_array(c, terms, next);
    default:
        return compile_object(c, terms, next);
    }
}

static uint32_t compile_types(struct compiler *c, const struct terms *terms, uint32_t next)
{
    struct edge edges[COUNT_OF(type_names)];
    size_t n = 0;
    unsigned types = terms_types(c, terms);
    if (types & TYPE_NUMBER)
        types &= ~(unsigned)TYPE_INTEGER;
    for (unsigned type = 1; type <= TYPE_OBJECT; type *= 2)
        if (types & type)
            edges[n++] = (struct edge){.to = compile_type(c, terms, type, next)};
    return n == 1 ? edges[0].to : network_edges(&c->net, NODE_SPLIT, edges, n);
}

/* ---- whole ----------------------------------------------------------------------------------- */

/* Of expanded terms. */
static uint32_t compile_expanded(struct compiler *c, const struct terms *terms, uint32_t next)
{
    unsigned found = 0;
    for (uint32_t i = 0; i < terms->n; i++) {
        if (terms->t[i].keys & ~terms->t[i].expanded & (KEY_ANY | KEY_ONE))
            return compile_alternatives(c, terms, i, next);
        found |= terms->t[i].keys;
    }
    return found & KEY_VALUES ? compile_values(c, terms, false, next)
                              : compile_types(c, terms, next);
}

/* What a $ref leads to, and several schemas at once, are procedures: they may be recursive. */
uint32_t compile_terms(struct compiler *c, const struct terms *given, uint32_t next)
{
    struct terms terms = *given;
    struct term to;
    if (c->rc != 0 || c->net.full)
        return next;
    if (terms.n == 1 && terms.t[0].expanded == 0 && c->v[terms.t[0].schema].kind == CHAT_DICT &&
        classify(c, terms.t[0].schema) == KEY_REF) {
        if (!term_follow(c, &terms.t[0], value_get(c, terms.t[0].schema, "$ref"), &to))
            return next;
        terms.t[0] = to;
        return call_procedure(c, &terms, next);
    }
    if (!terms_expand(c, &terms))
        return NODE_OF_NOTHING;
    if (terms.n == 0)
        return compile_common(c, COMMON_VALUE, next);
    if (terms.n == 1 && terms.t[0].schema == given->t[0].schema)
        return compile_expanded(c, &terms, next);
    return call_procedure(c, &terms, next);
}

uint32_t compile_schema(struct compiler *c, const struct term *t, uint32_t next)
{
    return compile_terms(c, &(struct terms){.n = 1, .t = {*t}}, next);
}

void compile_places(struct compiler *c)
{
    while (c->n_places_done < c->n_places && c->rc == 0 && !c->net.full) {
        struct terms_procedure p = c->places[c->n_places_done++];
        struct terms terms = {.n = p.n};
        uint32_t start = NODE_OF_NOTHING;
        memcpy(terms.t, p.t, p.n * sizeof *p.t);
        c->in_parameters = p.in_parameters;
        if (p.n == 1 && p.t[0].expanded == 0)
            start = compile_terms(c, &terms, NODE_OF_RETURN);
        else if (terms_expand(c, &terms))
            start = compile_expanded(c, &terms, NODE_OF_RETURN);
        network_define(&c->net, p.procedure, start);
    }
    c->in_parameters = false;
}

/* The root of what a document says; not linked. */
static uint32_t compile_root(struct compiler *c)
{
    uint32_t start = NODE_OF_RETURN;
    if (c->v && c->v[0].kind == CHAT_LIST)
        return compile_texts(c, 0, NODE_OF_RETURN);
    if (c->v) {
        struct term t = term_at(c, 0, 0);
        start = compile_schema(c, &t, NODE_OF_RETURN);
        compile_places(c);
    } else {
        start = compile_common(c, COMMON_OBJECT, NODE_OF_RETURN);
    }
    struct edge before[] = {{' ', ' ', start}, {'\n', '\n', start}};
    return network_split(&c->net, network_edges(&c->net, NODE_BYTES, before, 2), start);
}

static int compile(struct compiler *c, uint32_t *root)
{
    char reason[160];
    if (c->v && (c->rc = document_open(c)) != 0)
        return c->rc;
    if (c->v && c->v[0].kind == CHAT_LIST && c->v[0].n > 0 && c->v[1].kind == CHAT_DICT) {
        *root = compile_watched(c);
        return c->rc;
    }
    *root = compile_root(c);
    if (c->rc == 0 && network_link(&c->net, 0, reason, sizeof reason) != 0)
        compile_error(c, 0, "%s", reason);
    if (c->rc != 0)
        return c->rc;
    network_find_heights(&c->net);
    if (c->net.nodes[*root].height == HEIGHT_NEVER)
        compile_error(c, 0, "no value satisfies it");
    return c->rc;
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
    document_close(&c);
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
