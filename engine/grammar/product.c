/*
 * Several automata over one string, and the number of its characters: their product, as nodes.
 * Where no automaton must accept, any string is read, in the one spelling that all of them know.
 */
#include "grammar/chars.h"
#include "grammar/lists.h"
#include "grammar/pattern.h"

#include "specd/error.h"

#include <stdlib.h>
#include <string.h>

/* What is known behind some bytes: characters, state within one, then each automaton's state. */
enum { AT_COUNT, AT_SUB, AT_DFA };

struct tuples {
    const struct product *p;
    struct network *w;
    uint32_t size; /* of each */
    struct lists all;
    uint32_t *nodes, cap; /* of the tuples */
};

/* The node of a tuple; its edges are set when its turn comes. */
static uint32_t node_of(struct tuples *t, const uint32_t *tuple)
{
    uint32_t n = t->all.n, at = lists_put(&t->all, tuple, t->size);
    t->w->work += t->size;
    if (at < n)
        return t->nodes[at];
    if (n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 64;
        t->nodes = xrealloc(t->nodes, t->cap * sizeof *t->nodes);
    }
    return t->nodes[n] = network_later(t->w);
}

/* The tuple behind a byte; false if no text goes on so. */
static bool next_tuple(const struct product *p, const uint32_t *from, uint8_t byte, uint32_t *to)
{
    uint8_t sub = from[AT_SUB] == CHARS_WHOLE && byte == '"'
                      ? CHARS_DEAD
                      : chars_next((uint8_t)from[AT_SUB], byte);
    to[AT_COUNT] = from[AT_COUNT];
    to[AT_SUB] = sub;
    if (sub == CHARS_DEAD || (from[AT_SUB] == CHARS_WHOLE && from[AT_COUNT] >= p->max))
        return false;
    if (sub == CHARS_WHOLE && (p->max != NODE_NO_MAX || from[AT_COUNT] < p->min))
        to[AT_COUNT]++;
    for (uint32_t i = 0; i < p->n; i++) {
        to[AT_DFA + i] = dfa_next(p->dfa[i], from[AT_DFA + i], byte);
        if (i < p->n_must && to[AT_DFA + i] == DFA_DEAD)
            return false;
    }
    return true;
}

static uint32_t behind(const struct product *p, const uint32_t *tuple)
{
    uint32_t accepting = 0;
    if (tuple[AT_SUB] != CHARS_WHOLE || tuple[AT_COUNT] < p->min)
        return NODE_OF_NOTHING;
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t state = tuple[AT_DFA + i];
        bool accepts = state != DFA_DEAD && p->dfa[i]->accepts[state];
        if (i < p->n_must && !accepts)
            return NODE_OF_NOTHING;
        accepting |= (uint32_t)accepts << i;
    }
    return p->behind(p->arg, accepting);
}

/* Bytes from a cut to the next lead to one place. */
static void find_cuts(const struct product *p, const uint32_t *tuple, bool cut[257])
{
    memset(cut, 0, 257 * sizeof *cut);
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t state = tuple[AT_DFA + i];
        const struct dfa *d = p->dfa[i];
        for (uint32_t e = state == DFA_DEAD ? 0 : d->first[state];
             state != DFA_DEAD && e < d->first[state + 1]; e++)
            cut[d->edges[e].lo] = cut[d->edges[e].hi + 1] = true;
    }
    for (unsigned byte = 1; byte < 256; byte++)
        if (chars_next((uint8_t)tuple[AT_SUB], (uint8_t)byte) !=
            chars_next((uint8_t)tuple[AT_SUB], (uint8_t)(byte - 1)))
            cut[byte] = true;
    cut['"'] = cut['"' + 1] = true;
}

static bool make_edges(struct tuples *t, uint32_t i, uint32_t *tuple, uint32_t *to)
{
    struct edge edges[257];
    bool cut[257];
    size_t n = 0;
    uint32_t size;
    const uint32_t *given = lists_at(&t->all, i, &size);
    memcpy(tuple, given, size * sizeof *tuple);
    find_cuts(t->p, tuple, cut);
    for (unsigned lo = 0, hi; lo < 256; lo = hi + 1) {
        for (hi = lo; hi < 255 && !cut[hi + 1]; hi++)
            ;
        uint32_t node = NODE_OF_NOTHING;
        if (lo == '"' && tuple[AT_SUB] == CHARS_WHOLE)
            node = behind(t->p, tuple);
        else if (next_tuple(t->p, tuple, (uint8_t)lo, to))
            node = node_of(t, to);
        if (node != NODE_OF_NOTHING)
            edges[n++] = (struct edge){(uint8_t)lo, (uint8_t)hi, node};
    }
    network_set(t->w, t->nodes[i], NODE_BYTES, edges, n);
    if (t->p->hashed && !t->w->full)
        t->w->nodes[t->nodes[i]].hashed = true;
    return t->all.n <= PATTERN_STATES_MAX && t->w->work <= NETWORK_WORK_MAX && !t->w->full;
}

int product_network(const struct product *p, struct network *w, uint32_t *start, char *err,
                    size_t errlen)
{
    uint32_t tuple[AT_DFA + PRODUCT_MAX] = {[AT_SUB] = CHARS_WHOLE}, to[AT_DFA + PRODUCT_MAX];
    struct tuples t = {.p = p, .w = w, .size = AT_DFA + p->n};
    bool ok = true;
    *start = node_of(&t, tuple);
    for (uint32_t i = 0; i < t.all.n && ok; i++)
        ok = make_edges(&t, i, tuple, to);
    lists_free(&t.all);
    free(t.nodes);
    return ok ? 0
              : fail(SPECD_EINVAL, err, errlen,
                     "its automaton is too large, itself or with those before it");
}
