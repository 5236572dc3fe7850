/*
 * Arrays (JSON Schema 2020-12, Core 10.3.1, Validation 6.4): the items of prefixItems one by one,
 * then a loop over items; where all must differ, a set of the few values they have. A list in items
 * was what prefixItems is now, and additionalItems what items is (draft 7).
 *
 * Without limits the loop needs no count: it is a circle of nodes, and takes no frame.
 */
#include "grammar/schema.h"

#include <stdlib.h>
#include <string.h>

struct array {
    struct compiler *c;
    const struct terms *terms;
    uint32_t n_prefix;
    uint32_t min, max;
    uint32_t shut, end; /* the bracket; white space before it */
};

/* The list of a term's first items; NO_VALUE. */
static uint32_t prefix_of(struct compiler *c, uint32_t s)
{
    uint32_t list = value_get(c, s, "prefixItems"), items = value_get(c, s, "items");
    if (list == NO_VALUE && items != NO_VALUE && c->v[items].kind == CHAT_LIST)
        return items;
    if (list != NO_VALUE && (c->v[list].kind != CHAT_LIST || c->v[list].n == 0))
        compile_error(c, list, "must be a list of schemas");
    return list;
}

static struct terms terms_of_item(struct array *a, uint32_t i)
{
    struct compiler *c = a->c;
    struct terms out = {.n = 0};
    for (uint32_t k = 0; k < a->terms->n && c->rc == 0; k++) {
        const struct term *t = &a->terms->t[k];
        uint32_t list = prefix_of(c, t->schema), items = value_get(c, t->schema, "items");
        uint32_t at = items;
        if (items != NO_VALUE && c->v[items].kind == CHAT_LIST)
            at = value_get(c, t->schema, "additionalItems");
        if (list != NO_VALUE && i < c->v[list].n) {
            at = value_first(c, list);
            for (uint32_t left = i; left > 0; left--)
                at = value_next(c, list, at);
            c->net.work += i;
        }
        if (at != NO_VALUE)
            terms_add(c, &out, term_at(c, at, t->resource));
    }
    return out;
}

static uint32_t item(struct array *a, uint32_t i, uint32_t next)
{
    struct terms terms = terms_of_item(a, i);
    return compile_terms(a->c, &terms, next);
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
    for (uint32_t i = head; i-- > 0 && a->c->rc == 0 && !w->full;) {
        rest = item(a, i, rest);
        if (i > 0)
            rest = network_split(w, comma(a, rest), i >= a->min ? a->end : NODE_OF_NOTHING);
    }
    return rest;
}

/* Items that differ: each of the texts once. */
static uint32_t different_items(struct array *a, uint32_t unique)
{
    struct compiler *c = a->c;
    struct network *w = &c->net;
    struct terms terms = terms_of_item(a, 0);
    struct buf texts[SET_WORDS_MAX] = {0};
    struct word words[SET_WORDS_MAX];
    uint32_t n = 0, set = NODE_OF_NOTHING;
    if (a->n_prefix > 0 || !finite_texts(c, &terms, texts, &n)) {
        compile_error(c, unique,
                      "uniqueItems is supported where items have at most %d values, all told by "
                      "enum, const, boolean, null or limits of integers",
                      SET_WORDS_MAX);
    } else {
        set = network_word_set(w);
        for (uint32_t i = 0; i < n; i++)
            words[i] = (struct word){.text = texts[i].data, .len = texts[i].len};
        uint32_t root = network_set_words(w, set, words, n, 0, false);
        struct word_set *s = network_set_of(w, set);
        s->min = a->min;
        s->max = MIN(a->max, n);
        s->word[0] = root;
        s->close[0] = a->shut;
        s->close[1] = a->end;
        uint32_t more = comma(a, root);
        network_set_of(w, set)->word[1] = more;
        if (a->min > n)
            set = NODE_OF_NOTHING;
    }
    for (uint32_t i = 0; i < n; i++)
        buf_free(&texts[i]);
    return set;
}

/* Where a term says that items differ. */
static uint32_t find_unique(struct array *a)
{
    for (uint32_t i = 0; i < a->terms->n; i++) {
        uint32_t at = value_get(a->c, a->terms->t[i].schema, "uniqueItems");
        if (at != NO_VALUE && a->c->v[at].kind == CHAT_BOOL && a->c->v[at].b)
            return at;
    }
    return NO_VALUE;
}

uint32_t compile_array(struct compiler *c, const struct terms *terms, uint32_t next)
{
    struct network *w = &c->net;
    struct array a = {.c = c, .terms = terms};
    uint32_t unique = find_unique(&a), first = NODE_OF_NOTHING;
    for (uint32_t i = 0; i < terms->n; i++) {
        uint32_t list = prefix_of(c, terms->t[i].schema);
        if (list != NO_VALUE)
            a.n_prefix = MAX(a.n_prefix, c->v[list].n);
    }
    a.min = terms_count(c, terms, "minItems", true, 0);
    a.max = terms_count(c, terms, "maxItems", false, NODE_NO_MAX);
    if (c->rc != 0 || a.min > a.max)
        return NODE_OF_NOTHING;
    a.shut = network_byte(w, ']', ']', next);
    a.end = network_space(w, a.shut);
    if (a.max > 1 && unique != NO_VALUE) {
        first = different_items(&a, unique);
    } else {
        if (a.max > 0)
            first = items_from(&a);
        first = network_split(w, first, a.min == 0 ? a.shut : NODE_OF_NOTHING);
    }
    return network_byte(w, '[', '[', network_space(w, first));
}
