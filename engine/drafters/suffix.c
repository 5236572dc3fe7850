#include "suffix.h"

#include "specd/util.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define NONE (-1)
#define ROOT 0

struct state {
    int32_t len, link; /* of the longest string; NONE: the root's */
    int32_t end;       /* tokens before the end of its first occurrence */
    int32_t edges;     /* the newest; NONE: it occurs at the text's end alone */
    int32_t likely;    /* of the edges the most frequent, the latest of equals */
};

/* Of one state by one token, in the chain of its hash and in the list of its state. */
struct edge {
    int32_t from, token, to, count, same_hash, same_state;
};

struct suffix {
    struct state *states;
    struct edge *edges;
    int32_t *heads; /* (1 << head_bits), at least as many as edges */
    int32_t n_states, cap_states, n_edges, cap_edges, head_bits;
    uint64_t multiplier; /* odd, of the hash: drawn, so that no text can be made for long chains */
    int32_t last;        /* the whole text's state */
};

/* ---- edges ----------------------------------------------------------------------------------- */

/* Universal hashing by multiply and shift (Dietzfelbinger et al. 1997). */
static int32_t *head_of(const struct suffix *x, int32_t from, int32_t token)
{
    uint64_t key = (uint64_t)(uint32_t)from << 32 | (uint32_t)token;
    return &x->heads[key * x->multiplier >> (64 - x->head_bits)];
}

static int32_t find(const struct suffix *x, int32_t from, int32_t token)
{
    int32_t i = *head_of(x, from, token);
    while (i != NONE && (x->edges[i].from != from || x->edges[i].token != token))
        i = x->edges[i].same_hash;
    return i;
}

static void grow_edges(struct suffix *x)
{
    x->cap_edges = MAX(256, x->cap_edges + x->cap_edges / 2);
    x->edges = xrealloc(x->edges, (size_t)x->cap_edges * sizeof *x->edges);
    if (x->cap_edges <= 1 << x->head_bits)
        return;
    x->head_bits = MAX(8, x->head_bits + 1);
    size_t size = sizeof *x->heads << x->head_bits;
    x->heads = xrealloc(x->heads, size);
    memset(x->heads, 0xff, size); /* NONE */
    for (int32_t i = 0; i < x->n_edges; i++) {
        int32_t *head = head_of(x, x->edges[i].from, x->edges[i].token);
        x->edges[i].same_hash = *head;
        *head = i;
    }
}

static void count_edge(struct suffix *x, int32_t i)
{
    struct state *s = &x->states[x->edges[i].from];
    x->edges[i].count++;
    if (s->likely == NONE || x->edges[i].count >= x->edges[s->likely].count)
        s->likely = i;
}

static int32_t add_edge(struct suffix *x, int32_t from, int32_t token, int32_t to, int32_t count)
{
    if (x->n_edges == x->cap_edges)
        grow_edges(x);
    struct state *s = &x->states[from];
    int32_t *head = head_of(x, from, token), i = x->n_edges++;
    x->edges[i] = (struct edge){from, token, to, count, *head, s->edges};
    *head = s->edges = i;
    return i;
}

/* ---- states ---------------------------------------------------------------------------------- */

static int32_t add_state(struct suffix *x, int32_t len, int32_t link, int32_t end)
{
    if (x->n_states == x->cap_states) {
        x->cap_states = MAX(256, x->cap_states + x->cap_states / 2);
        x->states = xrealloc(x->states, (size_t)x->cap_states * sizeof *x->states);
    }
    x->states[x->n_states] = (struct state){len, link, end, NONE, NONE};
    return x->n_states++;
}

/* The strings of q up to `len` tokens end at one more place than the others: they get a state of
 * their own, to which those lead that led to q by `edge` and the links behind it. */
static int32_t split(struct suffix *x, int32_t q, int32_t len, int32_t edge)
{
    int32_t copy = add_state(x, len, x->states[q].link, x->states[q].end);
    for (int32_t i = x->states[q].edges; i != NONE; i = x->edges[i].same_state) {
        int32_t j = add_edge(x, copy, x->edges[i].token, x->edges[i].to, x->edges[i].count);
        if (i == x->states[q].likely)
            x->states[copy].likely = j;
    }
    x->states[q].link = copy;
    int32_t token = x->edges[edge].token, p;
    while (edge != NONE && x->edges[edge].to == q) {
        x->edges[edge].to = copy;
        p = x->states[x->edges[edge].from].link;
        edge = p == NONE ? NONE : find(x, p, token);
    }
    return copy;
}

/* Only the longest string that had the token behind it before counts it once more, and not its own
 * suffixes, which say less about it: update exclusion, as compressors do it (PPM, Moffat 1990). */
static void append(struct suffix *x, int32_t token)
{
    int32_t len = x->states[x->last].len + 1, p = x->last, edge = NONE;
    int32_t now = add_state(x, len, ROOT, len);
    while (p != NONE && (edge = find(x, p, token)) == NONE) {
        count_edge(x, add_edge(x, p, token, now, 0));
        p = x->states[p].link;
    }
    if (p != NONE) {
        int32_t q = x->edges[edge].to;
        if (x->states[q].len != x->states[p].len + 1)
            q = split(x, q, x->states[p].len + 1, edge);
        x->states[now].link = q;
        count_edge(x, edge);
    }
    x->last = now;
}

struct suffix *suffix_create(void)
{
    struct suffix *x = xcalloc(1, sizeof *x);
    if (getrandom(&x->multiplier, sizeof x->multiplier, 0) != (ssize_t)sizeof x->multiplier)
        x->multiplier = clock_ns() * 0x9e3779b97f4a7c15u;
    x->multiplier |= 1;
    x->last = add_state(x, 0, NONE, 0);
    grow_edges(x);
    return x;
}

void suffix_free(struct suffix *x)
{
    if (!x)
        return;
    free(x->states);
    free(x->edges);
    free(x->heads);
    free(x);
}

void suffix_append(struct suffix *x, const int32_t *tokens, int32_t n)
{
    ASSERT(n >= 0 && n <= (1 << 28) - suffix_n_tokens(x));
    for (int32_t i = 0; i < n; i++)
        append(x, tokens[i]);
}

int32_t suffix_n_tokens(const struct suffix *x)
{
    return x->states[x->last].len;
}

size_t suffix_bytes(const struct suffix *x)
{
    return sizeof *x + (size_t)x->cap_states * sizeof *x->states +
           (size_t)x->cap_edges * sizeof *x->edges + (sizeof *x->heads << x->head_bits);
}

/* ---- reading --------------------------------------------------------------------------------- */

struct suffix_at suffix_repeat(const struct suffix *x)
{
    int32_t link = x->states[x->last].link;
    return link == NONE ? (struct suffix_at){0} : (struct suffix_at){link, x->states[link].len};
}

/* The state of a string that was split off since `at` was made. */
static int32_t state_of(const struct suffix *x, struct suffix_at at)
{
    int32_t link = x->states[at.state].link;
    while (link != NONE && at.len <= x->states[link].len) {
        at.state = link;
        link = x->states[link].link;
    }
    return at.state;
}

void suffix_read(const struct suffix *x, struct suffix_at *at, int32_t token)
{
    int32_t state = state_of(x, *at), len = at->len, edge;
    while ((edge = find(x, state, token)) == NONE && state != ROOT) {
        state = x->states[state].link;
        len = x->states[state].len;
    }
    *at = edge == NONE ? (struct suffix_at){0} : (struct suffix_at){x->edges[edge].to, len + 1};
}

int32_t suffix_end(const struct suffix *x, struct suffix_at at)
{
    return x->states[state_of(x, at)].end;
}

int32_t suffix_follow(const struct suffix *x, struct suffix_at at, int32_t *out, int32_t n)
{
    int32_t state = state_of(x, at), i;
    for (i = 0; i < n && x->n_edges > 0; i++) {
        if (x->states[state].edges == NONE)
            state = x->states[state].link;
        const struct edge *e = &x->edges[x->states[state].likely];
        out[i] = e->token;
        state = e->to;
    }
    return i;
}
