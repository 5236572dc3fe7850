/*
 * Arrays (JSON Schema 2020-12, Core 10.3.1, Validation 6.4): the items of prefixItems one by one,
 * then a loop over items.
 *
 * Without limits the loop needs no count: it is a circle of nodes, and takes no frame.
 */
#include "grammar/schema.h"

#include <stdlib.h>
#include <string.h>

struct array {
    struct compiler *c;
    uint32_t s;
    uint32_t *prefix, n_prefix; /* schemas of prefixItems */
    uint32_t items;             /* or NO_VALUE: anything */
    uint32_t min, max;
    uint32_t end; /* white space, then the bracket */
};

static uint32_t item(struct array *a, uint32_t i, uint32_t next)
{
    struct compiler *c = a->c;
    bool prefixed = i < a->n_prefix;
    uint32_t s = prefixed ? a->prefix[i] : a->items;
    if (s == NO_VALUE)
        return compile_common(c, COMMON_VALUE, next);
    size_t mark = path_in(c, prefixed ? "prefixItems" : "items");
    if (prefixed)
        path_in_index(c, i);
    uint32_t node = compile_schema(c, s, next);
    path_out(c, mark);
    return node;
}

static uint32_t comma(struct array *a, uint32_t next)
{
    return network_byte(&a->c->net, ',', ',', network_space(&a->c->net, next));
}

/* Behind `done` items of the prefix, none of them missing: up to the end. */
static uint32_t more_items(struct array *a, uint32_t done)
{
    struct network *w = &a->c->net;
    uint32_t min = a->min > done ? a->min - done : 0;
    uint32_t max = a->max == NODE_NO_MAX ? NODE_NO_MAX : a->max - done;
    if (max == 0)
        return a->end;
    if (min > 0 || max != NODE_NO_MAX)
        return network_loop(w, comma(a, item(a, done, NODE_OF_RETURN)), min, max, a->end);
    uint32_t again = network_later(w), next = comma(a, item(a, done, again));
    network_set(w, again, NODE_SPLIT, (struct edge[]){{.to = next}, {.to = a->end}}, 2);
    return again;
}

/* From the first item to the end; the first item has no comma before it. */
static uint32_t items_from(struct array *a)
{
    struct network *w = &a->c->net;
    uint32_t head = MIN(MAX(a->n_prefix, 1), a->max);
    uint32_t rest = more_items(a, head);
    for (uint32_t i = head; i-- > 0;) {
        rest = item(a, i, rest);
        if (i > 0)
            rest = network_split(w, comma(a, rest), i >= a->min ? a->end : NODE_OF_NOTHING);
    }
    return rest;
}

static void read_prefix(struct array *a)
{
    struct compiler *c = a->c;
    uint32_t list = value_get(c, a->s, "prefixItems");
    if (list == NO_VALUE)
        return;
    if (c->v[list].kind != CHAT_LIST || c->v[list].n == 0) {
        compile_error(c, "prefixItems must be a list of schemas");
        return;
    }
    a->prefix = xmalloc(c->v[list].n * sizeof *a->prefix);
    for (uint32_t i = value_first(c, list); i != NO_VALUE; i = value_next(c, list, i))
        a->prefix[a->n_prefix++] = i;
}

uint32_t compile_array(struct compiler *c, uint32_t s, uint32_t next)
{
    struct network *w = &c->net;
    struct array a = {.c = c, .s = s, .items = value_get(c, s, "items")};
    uint32_t unique = value_get(c, s, "uniqueItems"), first = NODE_OF_NOTHING;
    read_prefix(&a);
    a.min = keyword_count(c, s, "minItems", 0);
    a.max = keyword_count(c, s, "maxItems", NODE_NO_MAX);
    if (a.items != NO_VALUE && c->v[a.items].kind == CHAT_LIST)
        compile_error(c, "items must be a schema; a list of them is prefixItems");
    if (unique != NO_VALUE && (c->v[unique].kind != CHAT_BOOL || c->v[unique].b))
        compile_error(c, "uniqueItems is not supported");
    if (a.min > a.max)
        compile_error(c, "minItems is more than maxItems");
    if (c->rc == 0) {
        uint32_t shut = network_byte(w, ']', ']', next);
        a.end = network_space(w, shut);
        if (a.max > 0)
            first = items_from(&a);
        first = network_split(w, first, a.min == 0 ? shut : NODE_OF_NOTHING);
        first = network_byte(w, '[', '[', network_space(w, first));
    }
    free(a.prefix);
    return first;
}
