/*
 * lookup.c - drafts without a model: what followed the last time the text ended like this?
 *
 * Prompt lookup (Saxena 2023) with the length rule of SuffixDecoding (arXiv 2411.04975): the
 * longest earlier occurrence of the text's last tokens, the most recent one among equals, proposes
 * what came after it, at most twice as many tokens as matched.
 *
 * The history is one request's own prompt and output, which it copies. Grams of 4 and of 2 tokens
 * are chained by hash from the newest back (as LZ77 compressors do); a search follows a bounded
 * number of links, so append is O(1) per token and a draft O(1). Memory grows with the history.
 */
#include "drafter.h"

#include "specd/util.h"

#include <stdlib.h>
#include <string.h>

#define NONE (-1)
#define CAP_MIN 512
#define MIN_MATCH 2  /* tokens that must agree before anything is proposed */
#define LINKS_MAX 64 /* earlier occurrences looked at per gram size */
#define MATCH_MAX 32 /* longer agreement is not told apart */
#define DRAFT_PER_MATCH 2

/* Occurrences of each gram of `size` tokens, newest first. A position stands for the gram that ends
 * there; a bucket mixes the grams of one hash. */
struct chain {
    int32_t size;
    int32_t *head; /* (cap), by hash */
    int32_t *prev; /* (cap), by position */
};

struct lookup {
    int32_t n, cap, max;
    int32_t *tokens; /* (cap); cap is a power of two */
    struct chain chains[2];
};

static int32_t *bucket(const struct lookup *l, const struct chain *c, int32_t end)
{
    uint32_t h = 0;
    for (int32_t i = end - c->size + 1; i <= end; i++)
        h = (h ^ (uint32_t)l->tokens[i]) * 0x9e3779b1u;
    return &c->head[(h ^ h >> 16) & (uint32_t)(l->cap - 1)];
}

static void chain_add(struct lookup *l, struct chain *c, int32_t end)
{
    if (end < c->size - 1)
        return;
    int32_t *head = bucket(l, c, end);
    c->prev[end] = *head;
    *head = end;
}

static void set_cap(struct lookup *l, int32_t cap)
{
    size_t size = (size_t)cap * sizeof(int32_t);
    l->cap = cap;
    l->tokens = xrealloc(l->tokens, size);
    for (size_t i = 0; i < COUNT_OF(l->chains); i++) {
        l->chains[i].head = xrealloc(l->chains[i].head, size);
        l->chains[i].prev = xrealloc(l->chains[i].prev, size);
        memset(l->chains[i].head, 0xff, size); /* NONE */
    }
    for (int32_t end = 0; end < l->n; end++) {
        for (size_t i = 0; i < COUNT_OF(l->chains); i++)
            chain_add(l, &l->chains[i], end);
    }
}

static void *begin(int32_t n_ctx, struct constraint *c)
{
    (void)c;
    ASSERT(n_ctx >= 0 && n_ctx <= 1 << 30);
    struct lookup *l = xcalloc(1, sizeof *l);
    l->max = n_ctx;
    l->chains[0].size = 4;
    l->chains[1].size = MIN_MATCH;
    set_cap(l, CAP_MIN);
    return l;
}

static void forget(void *state)
{
    struct lookup *l = state;
    for (size_t i = 0; i < COUNT_OF(l->chains); i++) {
        free(l->chains[i].head);
        free(l->chains[i].prev);
    }
    free(l->tokens);
    free(l);
}

static void observe(void *state, const int32_t *tokens, int32_t n)
{
    struct lookup *l = state;
    ASSERT(n >= 0 && n <= l->max - l->n);
    int32_t cap = l->cap;
    while (cap < l->n + n)
        cap *= 2;
    if (cap > l->cap)
        set_cap(l, cap);
    for (int32_t i = 0; i < n; i++) {
        l->tokens[l->n] = tokens[i];
        for (size_t c = 0; c < COUNT_OF(l->chains); c++)
            chain_add(l, &l->chains[c], l->n);
        l->n++;
    }
}

/* How many tokens ending at a agree with those ending at b > a. */
static int32_t match_len(const struct lookup *l, int32_t a, int32_t b)
{
    int32_t len = 0;
    while (len < MATCH_MAX && len <= a && l->tokens[a - len] == l->tokens[b - len])
        len++;
    return len;
}

/* The longest match of the text's end among a chain's newest links, and where it ends; 0 when no
 * link agrees in a whole gram. */
static int32_t best_match(const struct lookup *l, const struct chain *c, int32_t *end)
{
    int32_t best = c->size - 1, last = l->n - 1;
    if (last < c->size - 1)
        return 0;
    int32_t at = c->prev[last];
    for (int links = 0; at != NONE && links < LINKS_MAX && best < MATCH_MAX; links++) {
        int32_t len = match_len(l, at, last);
        if (len > best) {
            best = len;
            *end = at;
        }
        at = c->prev[at];
    }
    return best < c->size ? 0 : best;
}

static int32_t propose(void *state, int32_t room, int32_t *out, int32_t *match)
{
    const struct lookup *l = state;
    int32_t end = 0;
    *match = 0;
    for (size_t i = 0; i < COUNT_OF(l->chains) && *match == 0; i++)
        *match = best_match(l, &l->chains[i], &end);
    int32_t k = MIN(room, *match * DRAFT_PER_MATCH);
    /* Past the end of the history the continuation is what was just proposed: a loop goes round. */
    for (int32_t i = 0, from = end + 1; i < k; i++, from++)
        out[i] = from < l->n ? l->tokens[from] : out[from - l->n];
    return MAX(k, 0);
}

/* A short agreement may be chance, so lookup has to earn its trust. */
const struct drafter lookup_drafter = {
    .type = DRAFT_LOOKUP,
    .source = DRAFT_FROM_HOST,
    .under_grammar = true,
    .by_match = true,
    .prior = {0.3, 0.4, 0.5, 0.6, 0.7, 0.8},
    .begin = begin,
    .observe = observe,
    .forget = forget,
    .propose = propose,
};
