/*
 * Texts that are watched for: what is read is free until one of them has come, as Aho and Corasick
 * (1975) look for words, with white space in the gaps of the texts besides. A state is the set of
 * spots in the tree of the texts at which what was read last may be, the beginning always among
 * them; sets are made deterministic, so that one head reads the text whatever is watched for.
 */
#include "grammar/lists.h"
#include "grammar/schema.h"

#include <stdlib.h>
#include <string.h>

/* ---- the tree -------------------------------------------------------------------------------- */

static uint32_t put(struct watch *t, struct watch_spot spot)
{
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 64;
        t->spots = xrealloc(t->spots, t->cap * sizeof *t->spots);
    }
    t->spots[t->n] = spot;
    t->spots[t->n].end = NODE_OF_NOTHING;
    return t->n++;
}

void watch_init(struct watch *t)
{
    *t = (struct watch){0};
    put(t, (struct watch_spot){0});
}

void watch_free(struct watch *t)
{
    free(t->spots);
}

static uint32_t child(const struct watch *t, uint32_t at, uint8_t byte)
{
    uint32_t i = t->spots[at].child;
    while (i != 0 && t->spots[i].byte != byte)
        i = t->spots[i].sibling;
    return i;
}

uint32_t watch_text(struct watch *t, uint32_t at, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint32_t next = child(t, at, (uint8_t)text[i]);
        if (next == 0) {
            next =
                put(t, (struct watch_spot){
                           .parent = at, .sibling = t->spots[at].child, .byte = (uint8_t)text[i]});
            t->spots[at].child = next;
        }
        at = next;
    }
    return at;
}

uint32_t watch_gap(struct watch *t, uint32_t at)
{
    if (t->spots[at].gap == 0) {
        uint32_t gap = put(t, (struct watch_spot){.parent = at, .is_gap = true});
        t->spots[at].gap = gap;
    }
    return t->spots[at].gap;
}

void watch_end(struct watch *t, uint32_t at, uint32_t node)
{
    if (t->spots[at].end == NODE_OF_NOTHING)
        t->spots[at].end = node;
}

/* Spots stand behind their parents. */
static void find_left(struct watch *t)
{
    for (uint32_t i = 0; i < t->n; i++)
        t->spots[i].left = t->spots[i].end != NODE_OF_NOTHING ? 0 : UINT32_MAX;
    for (uint32_t i = t->n; i-- > 1;) {
        const struct watch_spot *s = &t->spots[i];
        struct watch_spot *parent = &t->spots[s->parent];
        if (s->left != UINT32_MAX)
            parent->left = MIN(parent->left, s->left + !s->is_gap);
    }
}

/* ---- sets of spots --------------------------------------------------------------------------- */

struct sets {
    struct watch *t;
    struct network *w;
    struct lists lists;
    uint32_t *nodes; /* of the sets */
    uint32_t cap, *next, n_next;
};

static void add(struct sets *s, uint32_t spot)
{
    uint32_t i = s->n_next++;
    for (; i > 0 && s->next[i - 1] >= spot; i--) {
        if (s->next[i - 1] == spot) { /* moved up behind it: back */
            memmove(&s->next[i], &s->next[i + 1], (--s->n_next - i) * sizeof *s->next);
            return;
        }
        s->next[i] = s->next[i - 1];
    }
    s->next[i] = spot;
}

/* The node of the set in `next`, whose edges are made when its turn comes. */
static uint32_t node_of(struct sets *s)
{
    uint32_t n = s->lists.n, set = lists_put(&s->lists, s->next, s->n_next);
    s->w->work += s->n_next + 4;
    if (set == n) {
        if (n == s->cap) {
            s->cap = s->cap ? s->cap * 2 : 64;
            s->nodes = xrealloc(s->nodes, s->cap * sizeof *s->nodes);
        }
        s->nodes[n] = network_later(s->w);
    }
    return s->nodes[set];
}

/* Where a set goes with a byte. */
static uint32_t follow(struct sets *s, const uint32_t *set, uint32_t n, uint8_t byte)
{
    const struct watch_spot *spots = s->t->spots;
    bool blank = byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
    uint32_t end = NODE_OF_NOTHING;
    s->n_next = 0;
    add(s, 0);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t to = child(s->t, set[i], byte);
        if (blank && spots[set[i]].is_gap)
            add(s, set[i]);
        if (to == 0)
            continue;
        if (end == NODE_OF_NOTHING ||
            (spots[to].end != NODE_OF_NOTHING && spots[to].end < end)) /* the first of a list */
            end = spots[to].end;
        add(s, to);
        if (spots[to].gap != 0)
            add(s, spots[to].gap);
    }
    return end != NODE_OF_NOTHING ? end : node_of(s);
}

/* Only bytes that lead elsewhere than to the first node have edges. */
static void make_edges(struct sets *s, uint32_t i, uint32_t *set, bool free)
{
    bool bytes[256] = {false};
    struct edge edges[256];
    size_t n_edges = 0;
    uint32_t n, left = UINT32_MAX;
    const uint32_t *list = lists_at(&s->lists, i, &n);
    memcpy(set, list, n * sizeof *set);
    for (uint32_t k = 0; k < n; k++) {
        const struct watch_spot *spot = &s->t->spots[set[k]];
        left = MIN(left, spot->left);
        for (uint32_t c = spot->child; c != 0; c = s->t->spots[c].sibling)
            bytes[s->t->spots[c].byte] = true;
        if (spot->is_gap)
            bytes[' '] = bytes['\t'] = bytes['\n'] = bytes['\r'] = true;
    }
    for (unsigned byte = 0; byte < 256 && !s->w->full; byte++) {
        uint32_t to = bytes[byte] ? follow(s, set, n, (uint8_t)byte) : s->nodes[0];
        if (to != s->nodes[0])
            edges[n_edges++] = (struct edge){(uint8_t)byte, (uint8_t)byte, to};
    }
    network_set(s->w, s->nodes[i], NODE_WATCH, edges, n_edges);
    if (s->w->full)
        return;
    struct node *node = &s->w->nodes[s->nodes[i]];
    node->body = s->nodes[0];
    node->left = left;
    node->free = free;
}

uint32_t network_watch(struct network *w, bool free)
{
    uint32_t node = network_edges(w, NODE_WATCH, NULL, 0);
    if (!w->full) {
        w->nodes[node].body = node;
        w->nodes[node].left = UINT32_MAX;
        w->nodes[node].free = free;
    }
    return node;
}

void network_set_watch(struct network *w, uint32_t later, struct watch *t)
{
    struct sets s = {.t = t, .w = w};
    uint32_t *set = xmalloc(t->n * sizeof *set);
    bool free_text = !w->full && w->nodes[later].free;
    find_left(t);
    s.next = xmalloc((t->n + 1) * sizeof *s.next);
    s.cap = 64;
    s.nodes = xmalloc(s.cap * sizeof *s.nodes);
    s.nodes[0] = later;
    lists_put(&s.lists, &(uint32_t){0}, 1);
    for (uint32_t i = 0; i < s.lists.n && !w->full; i++)
        make_edges(&s, i, set, free_text);
    lists_free(&s.lists);
    free(s.nodes);
    free(s.next);
    free(set);
}

/* ---- watched text as it is asked for --------------------------------------------------------- */

struct watched {
    uint32_t behind, schema; /* values of the document */
    bool optional;
    bool parameters; /* or is spelled as Qwen3-Coder does */
    bool open;       /* its first byte is the last of what is watched for */
    uint32_t start;  /* the value's first node; NODE_OF_NOTHING */
};

static bool flag_of(struct compiler *c, uint32_t dict, const char *key)
{
    uint32_t at = value_get(c, dict, key);
    if (at != NO_VALUE && c->v[at].kind != CHAT_BOOL)
        compile_error(c, at, "must be true or false");
    return at != NO_VALUE && c->v[at].kind == CHAT_BOOL && c->v[at].b;
}

static struct watched read_watched(struct compiler *c, uint32_t at)
{
    struct watched e = {.behind = value_get(c, at, "behind"), .schema = value_get(c, at, "schema")};
    e.optional = flag_of(c, at, "optional");
    e.parameters = flag_of(c, at, "parameters");
    const struct chat_value *last = NULL;
    bool good = e.behind != NO_VALUE && e.schema != NO_VALUE && c->v[e.behind].kind == CHAT_LIST;
    for (uint32_t i = good ? value_first(c, e.behind) : NO_VALUE; i != NO_VALUE && good;
         i = value_next(c, e.behind, i)) {
        last = &c->v[i];
        good = last->kind == CHAT_STRING && last->s[0] != '\0';
    }
    if (!good || !last)
        compile_error(c, at, "must have a schema and texts that it is behind, none of them empty");
    else
        e.open = last->s[strlen(last->s) - 1] == '{';
    return e;
}

/* An object may be spelled with parameters, too, unless that can't say what its schema does. */
static uint32_t compile_spelled(struct compiler *c, struct term t, uint32_t json, uint32_t next)
{
    struct compile_mark before = compile_mark(c);
    uint32_t ref = value_get(c, t.schema, "$ref");
    struct term to;
    if (ref != NO_VALUE && c->v[t.schema].n == 1 && term_follow(c, &t, ref, &to))
        t = to;
    uint32_t node = compile_parameters(c, &t, next);
    compile_places(c);
    if (c->rc == 0 && !c->net.full)
        return network_split(&c->net, json, node);
    compile_undo(c, &before);
    return json;
}

/* The value behind its head, from which the text goes on at `next`. */
static uint32_t compile_value(struct compiler *c, const struct watched *e, uint32_t next)
{
    uint32_t from = c->net.n_nodes, start;
    char reason[160];
    struct term t = term_at(c, e->schema, e->schema);
    start = compile_schema(c, &t, next);
    compile_places(c);
    if (c->rc == 0 && network_link(&c->net, from, reason, sizeof reason) != 0)
        compile_error(c, e->schema, "%s", reason);
    from = c->net.n_nodes;
    if (c->rc == 0 && e->parameters && !e->open) {
        start = compile_spelled(c, t, start, next);
        if (network_link(&c->net, from, reason, sizeof reason) != 0)
            compile_error(c, e->schema, "%s", reason);
    }
    if (c->rc != 0)
        return NODE_OF_NOTHING;
    return e->open ? network_behind(&c->net, start, '{') : network_space(&c->net, start);
}

/* All that can be had, from which a text goes on at `next`. */
static struct watched *compile_all(struct compiler *c, uint32_t next)
{
    struct watched *all = xcalloc(c->v[0].n, sizeof *all);
    uint32_t n = 0;
    for (uint32_t at = value_first(c, 0); at != NO_VALUE && c->rc == 0; at = value_next(c, 0, at)) {
        struct watched e = read_watched(c, at);
        struct compile_mark before = compile_mark(c);
        if (c->rc != 0)
            break;
        e.start = compile_value(c, &e, next);
        if (e.optional && (c->rc != 0 || c->net.full)) {
            compile_undo(c, &before);
            e.start = NODE_OF_NOTHING;
        }
        all[n++] = e;
    }
    return all;
}

/* A value that nothing satisfies is none that can be followed. */
static void watch_for(struct compiler *c, struct watch *t, const struct watched *e)
{
    uint32_t at = 0;
    if (e->start == NODE_OF_NOTHING || c->net.nodes[e->start].height == HEIGHT_NEVER) {
        if (!e->optional)
            compile_error(c, e->schema, "no value satisfies it");
        return;
    }
    for (uint32_t i = value_first(c, e->behind); i != NO_VALUE; i = value_next(c, e->behind, i)) {
        if (at != 0)
            at = watch_gap(t, at);
        at = watch_text(t, at, c->v[i].s, strlen(c->v[i].s));
    }
    watch_end(t, at, e->start);
}

uint32_t compile_watched(struct compiler *c)
{
    uint32_t root = network_watch(&c->net, true);
    struct watched *all = compile_all(c, root);
    struct watch t;
    watch_init(&t);
    if (c->rc == 0 && !c->net.full)
        network_find_heights(&c->net);
    for (uint32_t i = 0; i < c->v[0].n && c->rc == 0 && !c->net.full; i++)
        watch_for(c, &t, &all[i]);
    if (c->rc == 0)
        network_set_watch(&c->net, root, &t);
    if (c->net.full)
        compile_error(c, 0, "too large: more than %d states", GRAMMAR_NODES_MAX);
    watch_free(&t);
    free(all);
    return root;
}
