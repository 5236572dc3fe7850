#include "grammar/network.h"

#include <stdlib.h>
#include <string.h>

static void *grown(void *array, uint32_t n, uint32_t *cap, size_t size)
{
    if (n < *cap)
        return array;
    *cap = *cap ? *cap * 2 : 256;
    return xrealloc(array, *cap * size);
}

static uint32_t put(struct network *w, struct node node)
{
    if (w->n_nodes >= GRAMMAR_NODES_MAX) {
        w->full = true;
        return NODE_OF_RETURN;
    }
    w->nodes = grown(w->nodes, w->n_nodes, &w->cap_nodes, sizeof *w->nodes);
    w->nodes[w->n_nodes] = node;
    return w->n_nodes++;
}

void network_init(struct network *w)
{
    *w = (struct network){0};
    put(w, (struct node){.kind = NODE_RETURN});
    put(w, (struct node){.kind = NODE_BYTES});
}

void network_free(struct network *w)
{
    free(w->nodes);
    free(w->edges);
    free(w->starts);
    free(w->sets);
    free(w->places);
    *w = (struct network){0};
}

static uint32_t put_edges(struct network *w, const struct edge *e, size_t n)
{
    uint32_t first = w->n_edges;
    for (size_t i = 0; i < n; i++) {
        w->edges = grown(w->edges, w->n_edges, &w->cap_edges, sizeof *w->edges);
        w->edges[w->n_edges++] = e[i];
    }
    return first;
}

void network_set(struct network *w, uint32_t later, enum node_kind kind, const struct edge *e,
                 size_t n)
{
    if (n > UINT16_MAX || w->n_edges + n > 4 * GRAMMAR_NODES_MAX)
        w->full = true;
    if (w->full)
        return;
    struct node *node = &w->nodes[later];
    node->kind = (uint8_t)kind;
    node->n = (uint16_t)n;
    node->edges = put_edges(w, e, n);
}

uint32_t network_later(struct network *w)
{
    return put(w, (struct node){.kind = NODE_SPLIT});
}

uint32_t network_edges(struct network *w, enum node_kind kind, const struct edge *e, size_t n)
{
    uint32_t node = network_later(w);
    network_set(w, node, kind, e, n);
    return node;
}

uint32_t network_byte(struct network *w, uint8_t lo, uint8_t hi, uint32_t next)
{
    return network_edges(w, NODE_BYTES, &(struct edge){lo, hi, next}, 1);
}

uint32_t network_text(struct network *w, const char *text, size_t len, uint32_t next)
{
    while (len-- > 0)
        next = network_byte(w, (uint8_t)text[len], (uint8_t)text[len], next);
    return next;
}

uint32_t network_split(struct network *w, uint32_t a, uint32_t b)
{
    return network_edges(w, NODE_SPLIT, (struct edge[]){{.to = a}, {.to = b}}, 2);
}

uint32_t network_call(struct network *w, uint32_t procedure, uint32_t next)
{
    return put(w, (struct node){.kind = NODE_CALL, .body = procedure, .next = next});
}

uint32_t network_loop(struct network *w, uint32_t body, uint32_t min, uint32_t max, uint32_t next)
{
    return put(
        w, (struct node){.kind = NODE_LOOP, .body = body, .next = next, .min = min, .max = max});
}

uint32_t network_string(struct network *w, uint8_t sub, uint32_t min, uint32_t max, uint32_t next)
{
    return put(w,
               (struct node){.kind = NODE_STRING, .n = sub, .next = next, .min = min, .max = max});
}

uint32_t network_space(struct network *w, uint32_t next)
{
    return put(w, (struct node){.kind = NODE_SPACE, .next = next});
}

uint32_t network_procedure(struct network *w)
{
    w->starts = grown(w->starts, w->n_starts, &w->cap_starts, sizeof *w->starts);
    w->starts[w->n_starts] = NODE_OF_NOTHING;
    return w->n_starts++;
}

void network_define(struct network *w, uint32_t procedure, uint32_t start)
{
    w->starts[procedure] = start;
}

/* ---- words ----------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
    const struct word *x = a, *y = b;
    int order = memcmp(x->text, y->text, MIN(x->len, y->len));
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

static uint32_t tail(struct network *w, const struct word *word, size_t offset)
{
    return network_text(w, word->text + offset, word->len - offset, word->next);
}

#define TREE_DEPTH_MAX 256 /* branches one after another */

/* The common beginning is read byte by byte, too: a node a byte, and no recursion over it. */
static uint32_t tree(struct network *w, struct word *words, size_t n, size_t offset, int level)
{
    if (level > TREE_DEPTH_MAX)
        w->full = true;
    if (n == 1 || w->full)
        return tail(w, &words[0], offset);
    size_t same = offset;
    while (same < words[0].len && same < words[n - 1].len &&
           words[0].text[same] == words[n - 1].text[same])
        same++;
    uint32_t whole = NODE_OF_NOTHING; /* behind words that end here: equal ones */
    size_t from = 0;
    for (; from < n && words[from].len == same; from++)
        if (whole == NODE_OF_NOTHING || words[from].next == whole)
            whole = words[from].next;
        else
            whole = network_split(w, whole, words[from].next);
    if (from == n)
        return network_text(w, words[0].text + offset, same - offset, whole);
    struct edge edges[256];
    size_t n_edges = 0;
    for (size_t to; from < n && !w->full; from = to) {
        uint8_t byte = (uint8_t)words[from].text[same];
        for (to = from; to < n && (uint8_t)words[to].text[same] == byte; to++)
            ;
        edges[n_edges++] =
            (struct edge){byte, byte, tree(w, words + from, to - from, same + 1, level + 1)};
    }
    uint32_t node = network_edges(w, NODE_BYTES, edges, n_edges);
    if (whole != NODE_OF_NOTHING)
        node = network_split(w, whole, node);
    return network_text(w, words[0].text + offset, same - offset, node);
}

uint32_t network_words(struct network *w, struct word *words, size_t n, size_t offset)
{
    if (n == 0)
        return NODE_OF_NOTHING;
    qsort(words, n, sizeof *words, by_text);
    return tree(w, words, n, offset, 0);
}

/* ---- sets ------------------------------------------------------------------------------------ */

uint32_t network_word_set(struct network *w)
{
    w->sets = grown(w->sets, w->n_sets, &w->cap_sets, sizeof *w->sets);
    w->sets[w->n_sets] = (struct word_set){
        .max = NODE_NO_MAX, .other = {NODE_OF_NOTHING, NODE_OF_NOTHING}, .named = NODE_OF_NOTHING};
    return put(w, (struct node){.kind = NODE_SET, .body = w->n_sets++});
}

struct word_set *network_set_of(struct network *w, uint32_t set)
{
    return &w->sets[w->nodes[set].body];
}

uint32_t network_other(struct network *w, uint32_t next)
{
    return put(w, (struct node){.kind = NODE_OTHER, .next = next});
}

/* words[0..n) share their first `offset` bytes. quoted: the last byte of each is the quote behind a
 * name. */
static uint32_t word_tree(struct network *w, const struct word *words, size_t n, size_t offset,
                          struct word_place place, bool quoted)
{
    struct edge *edges = xmalloc((n + 1) * sizeof *edges); /* names are long: the stack is small */
    size_t n_edges = 0;
    place.bit = -1;
    place.below = 0;
    for (size_t from = 0, to; from < n && !w->full; from = to) {
        to = from + 1;
        if (words[from].len == offset) {
            place.bit = (int8_t)words[from].bit;
            place.next = words[from].next;
            place.below |= UINT64_C(1) << words[from].bit;
            continue;
        }
        uint8_t byte = (uint8_t)words[from].text[offset];
        for (; to < n && (uint8_t)words[to].text[offset] == byte; to++)
            ;
        for (size_t i = from; i < to; i++) {
            place.below |= UINT64_C(1) << words[i].bit;
            if (quoted && offset > 0 && words[i].len == offset + 1)
                place.above |= UINT64_C(1) << words[i].bit;
        }
        edges[n_edges++] =
            (struct edge){byte, byte, (uint32_t)from}; /* a node once above is known */
    }
    for (size_t i = 0; i < n_edges && !w->full; i++) {
        size_t from = edges[i].to, to = i + 1 < n_edges ? edges[i + 1].to : n;
        struct word_place child = {.above = place.above, .set = place.set};
        child.sub = chars_next(place.sub, edges[i].lo);
        edges[i].to = word_tree(w, words + from, to - from, offset + 1, child, quoted);
    }
    uint32_t node = network_edges(w, NODE_WORD, edges, n_edges);
    free(edges);
    if (w->full)
        return node;
    w->places = grown(w->places, w->n_places, &w->cap_places, sizeof *w->places);
    w->nodes[node].body = w->n_places;
    w->places[w->n_places++] = place;
    return node;
}

uint32_t network_set_words(struct network *w, uint32_t set, struct word *words, size_t n,
                           size_t foreign, bool quoted)
{
    struct edge after[SET_WORDS_MAX];
    for (size_t i = 0; i < n; i++)
        after[i] = (struct edge){.to = words[i].next};
    network_set(w, set, NODE_SET, after, n);
    for (size_t i = 0; i < n + foreign; i++)
        words[i].bit = (uint8_t)MIN(i, SET_WORDS_MAX - 1);
    qsort(words, n + foreign, sizeof *words, by_text);
    struct word_place root = {.set = set, .sub = quoted ? CHARS_WHOLE : CHARS_DEAD};
    return word_tree(w, words, n + foreign, 0, root, quoted);
}
