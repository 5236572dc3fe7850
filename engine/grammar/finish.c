/*
 * What is found out about a whole network: the height of every node, and that none leads back to
 * itself without reading a byte, which would keep a step from ending.
 */
#include "grammar/network.h"

#include "specd/error.h"

#include <stdlib.h>
#include <string.h>

/* Splits and calls one after another without a byte; a step follows them recursively. */
#define CHAIN_MAX 100

/* ---- heights --------------------------------------------------------------------------------- */

static uint8_t higher(uint8_t height)
{
    return height < GRAMMAR_STACK_MAX - 1 ? height + 1 : HEIGHT_NEVER;
}

static uint8_t lowest(const struct network *w, const struct node *node)
{
    uint8_t best = HEIGHT_NEVER;
    for (uint32_t i = 0; i < node->n; i++)
        best = MIN(best, w->nodes[w->edges[node->edges + i].to].height);
    return best;
}

/* What must come in a set, and of the rest what takes least until there are enough. */
static uint8_t height_of_set(const struct network *w, const struct node *node)
{
    const struct word_set *s = &w->sets[node->body];
    uint8_t height = w->nodes[s->later ? s->later : s->close[0]].height, others = HEIGHT_NEVER;
    unsigned counts[GRAMMAR_STACK_MAX] = {0}, left = s->min; /* optional words by their height */
    for (uint32_t i = 0; i < node->n; i++) {
        uint8_t word = higher(w->nodes[w->edges[node->edges + i].to].height);
        if (s->required >> i & 1) {
            height = MAX(height, word);
            left -= left > 0;
        } else if (word != HEIGHT_NEVER) {
            counts[word]++;
        }
    }
    if (s->other[0] != NODE_OF_NOTHING)
        others = higher(w->nodes[s->other[0]].height);
    else if (s->named != NODE_OF_NOTHING)
        others = higher(w->nodes[s->named].height);
    for (uint8_t h = 0; left > 0 && h < GRAMMAR_STACK_MAX; h++) {
        unsigned supply = counts[h];
        if (others == h)
            supply += s->one_other ? 1 : SET_WORDS_MAX - node->n;
        if (supply > 0)
            height = MAX(height, h);
        left -= MIN(left, supply);
    }
    return left > 0 ? HEIGHT_NEVER : height;
}

static uint8_t height_of(const struct network *w, const struct node *node)
{
    uint8_t body, next;
    switch (node->kind) {
    case NODE_RETURN:
    case NODE_WORD: /* the set lets none come that it has no room for */
        return 0;
    case NODE_SET:
        return height_of_set(w, node);
    case NODE_BYTES:
    case NODE_SPLIT:
        return lowest(w, node);
    case NODE_STRING:
    case NODE_SPACE:
    case NODE_OTHER:
        return w->nodes[node->next].height;
    case NODE_WATCH:
        return node->free ? 0 : lowest(w, node);
    }
    body = w->nodes[node->body].height;
    next = w->nodes[node->next].height;
    if (node->kind == NODE_CALL && node->next == NODE_OF_RETURN)
        return body; /* takes the place of its caller's frame */
    if (node->kind == NODE_LOOP && node->min == 0)
        return next;
    return MAX(higher(body), next);
}

/* The i-th node of those that can follow; UINT32_MAX behind the last. */
static uint32_t needs(const struct network *w, const struct node *node, uint32_t i)
{
    switch (node->kind) {
    case NODE_SET: {
        const struct word_set *s = &w->sets[node->body];
        uint32_t more[] = {s->named,    s->word[0],  s->word[1],  s->other[0],
                           s->other[1], s->close[0], s->close[1], s->later};
        return i < node->n                    ? w->edges[node->edges + i].to
               : i < node->n + COUNT_OF(more) ? more[i - node->n]
                                              : UINT32_MAX;
    }
    case NODE_WORD:
        return i == 0 && w->places[node->body].bit >= 0 ? w->places[node->body].next : UINT32_MAX;
    case NODE_RETURN:
        return UINT32_MAX;
    case NODE_WATCH:
        return i < node->n && !node->free ? w->edges[node->edges + i].to : UINT32_MAX;
    case NODE_BYTES:
    case NODE_SPLIT:
        return i < node->n ? w->edges[node->edges + i].to : UINT32_MAX;
    case NODE_CALL:
    case NODE_LOOP:
        return i == 0 ? node->next : i == 1 ? node->body : UINT32_MAX;
    default:
        return i == 0 ? node->next : UINT32_MAX;
    }
}

/* Who depends on whom: users of node n are users[first[n]] up to users[first[n + 1]]. */
static uint32_t *list_users(const struct network *w, uint32_t *first)
{
    uint32_t to;
    memset(first, 0, (w->n_nodes + 2) * sizeof *first);
    for (uint32_t n = 0; n < w->n_nodes; n++)
        for (uint32_t i = 0; (to = needs(w, &w->nodes[n], i)) != UINT32_MAX; i++)
            first[to + 2]++;
    for (uint32_t n = 2; n < w->n_nodes + 2; n++)
        first[n] += first[n - 1];
    uint32_t *users = xmalloc((first[w->n_nodes + 1] + 1) * sizeof *users);
    for (uint32_t n = 0; n < w->n_nodes; n++)
        for (uint32_t i = 0; (to = needs(w, &w->nodes[n], i)) != UINT32_MAX; i++)
            users[first[to + 1]++] = n;
    return users;
}

static bool needs_none(const struct node *node)
{
    return node->kind == NODE_RETURN || node->kind == NODE_WORD ||
           (node->kind == NODE_WATCH && node->free);
}

/* Heights only fall, from never to what it takes: each fall is passed on to the users. */
static void fill_heights(struct network *w)
{
    uint32_t size = w->n_nodes, head = 0, n_queued = 0;
    uint32_t *first = xmalloc((size + 2) * sizeof *first), *queue = xmalloc(size * sizeof *queue);
    uint32_t *users = list_users(w, first);
    bool *queued = xcalloc(size, sizeof *queued);
    for (uint32_t n = 0; n < size; n++) {
        w->nodes[n].height = HEIGHT_NEVER;
        queued[n] = needs_none(&w->nodes[n]);
        if (queued[n])
            queue[n_queued++] = n;
    }
    for (; n_queued > 0; n_queued--) {
        uint32_t at = queue[head];
        head = (head + 1) % size;
        queued[at] = false;
        uint8_t height = height_of(w, &w->nodes[at]);
        if (height >= w->nodes[at].height)
            continue;
        w->nodes[at].height = height;
        for (uint32_t u = first[at]; u < first[at + 1]; u++) {
            if (queued[users[u]])
                continue;
            queued[users[u]] = true;
            queue[(head + n_queued - 1) % size] = users[u];
            n_queued++;
        }
    }
    free(queued);
    free(users);
    free(queue);
    free(first);
}

/* Words that can be completed, and what they take, for the reader of the sets. */
static void finish_sets(struct network *w)
{
    for (uint32_t n = 0; n < w->n_nodes; n++) {
        const struct node *node = &w->nodes[n];
        if (node->kind != NODE_SET)
            continue;
        struct word_set *s = &w->sets[node->body];
        for (uint32_t i = 0; i < node->n; i++) {
            uint8_t height = w->nodes[w->edges[node->edges + i].to].height;
            if (height == HEIGHT_NEVER)
                continue;
            s->usable |= UINT64_C(1) << i;
            s->highest = MAX(s->highest, height);
        }
        s->other_height = w->nodes[s->other[0] != NODE_OF_NOTHING ? s->other[0] : s->named].height;
    }
}

/* ---- chains ---------------------------------------------------------------------------------- */

enum { UNSEEN = 0, OPEN = 255 };

/* How many nodes follow without a byte, at most; OPEN: too many, or without end. A call's next
 * follows its body, which reads something. */
static uint8_t chain(const struct network *w, uint32_t at, uint8_t *lengths, unsigned depth)
{
    const struct node *node = &w->nodes[at];
    uint8_t longest = 0;
    uint32_t to;
    if (lengths[at] != UNSEEN)
        return lengths[at];
    if (depth > CHAIN_MAX)
        return OPEN;
    lengths[at] = OPEN;
    for (uint32_t i = 0; (to = needs(w, node, i)) != UINT32_MAX; i++) {
        if (node->kind == NODE_BYTES || node->kind == NODE_STRING || node->kind == NODE_WATCH ||
            (node->kind == NODE_CALL && i == 0) || (node->kind == NODE_SET && i <= node->n))
            continue; /* comes behind a byte */
        uint8_t length = chain(w, to, lengths, depth + 1);
        if (length == OPEN)
            return OPEN;
        longest = MAX(longest, length);
    }
    if (longest >= CHAIN_MAX)
        return OPEN;
    return lengths[at] = (uint8_t)(longest + 1);
}

static bool chains_end(const struct network *w, uint32_t from)
{
    uint8_t *lengths = xcalloc(w->n_nodes, 1);
    bool ok = true;
    for (uint32_t n = from; n < w->n_nodes && ok; n++)
        ok = chain(w, n, lengths, 0) != OPEN;
    free(lengths);
    return ok;
}

/* ---- whole ----------------------------------------------------------------------------------- */

int network_link(struct network *w, uint32_t from, char *err, size_t errlen)
{
    if (w->full)
        return fail(SPECD_EINVAL, err, errlen, "too large: more than %d states", GRAMMAR_NODES_MAX);
    for (uint32_t n = from; n < w->n_nodes; n++)
        if (w->nodes[n].kind == NODE_CALL)
            w->nodes[n].body = w->starts[w->nodes[n].body];
    if (!chains_end(w, from))
        return fail(SPECD_EINVAL, err, errlen,
                    "$ref leads back to itself without a value between, or more than %d "
                    "alternatives lie within each other",
                    CHAIN_MAX);
    return 0;
}

void network_find_heights(struct network *w)
{
    fill_heights(w);
    finish_sets(w);
}

/* Chains end, so this does. */
uint32_t network_behind(struct network *w, uint32_t at, uint8_t byte)
{
    struct node node = w->nodes[at];
    uint32_t found = NODE_OF_NOTHING;
    if (node.kind == NODE_CALL) {
        found = network_behind(w, node.body, byte);
        return found == NODE_OF_NOTHING ? found : network_call(w, found, node.next);
    }
    if (node.kind != NODE_SPLIT && node.kind != NODE_BYTES)
        return NODE_OF_NOTHING;
    for (uint32_t i = node.edges; i < node.edges + node.n && !w->full; i++) {
        struct edge e = w->edges[i];
        uint32_t to = NODE_OF_NOTHING;
        if (node.kind == NODE_SPLIT)
            to = network_behind(w, e.to, byte);
        else if (e.lo <= byte && byte <= e.hi)
            to = e.to;
        if (to != NODE_OF_NOTHING)
            found = found == NODE_OF_NOTHING ? to : network_split(w, found, to);
    }
    return found;
}
