/*
 * lookup.c - drafts without a model: what followed the last time the text ended like this?
 *
 * Prompt lookup (Saxena 2023) on a suffix automaton, as SuffixDecoding (arXiv 2411.04975) does it
 * on suffix trees: the longest end of the text that occurred before, of any length, proposes what
 * came next most often, at most twice as many tokens as matched. The text is one request's own
 * prompt and output; with --lookup-shared also others' outputs, where one of them agrees in more.
 */
#include "drafter.h"
#include "lookup_pool.h"
#include "suffix.h"

#include "specd/util.h"

#include <stdlib.h>

#define MIN_MATCH 2 /* tokens that must agree before anything is proposed */
#define DRAFT_PER_MATCH 2
#define POOL_READ_MAX 256 /* of a prompt, its last tokens are looked up in others' outputs */

struct lookup {
    struct suffix *text;
    struct lookup_pool *pool; /* or NULL */
    struct lookup_place place;
};

static void *begin(const struct draft_text *about)
{
    struct lookup *l = xcalloc(1, sizeof *l);
    l->text = suffix_create();
    l->pool = lookup_pool_ref(about->shared);
    return l;
}

static void forget(void *state)
{
    struct lookup *l = state;
    suffix_free(l->text);
    lookup_pool_unref(l->pool);
    free(l);
}

static void observe(void *state, const int32_t *tokens, int32_t n)
{
    struct lookup *l = state;
    suffix_append(l->text, tokens, n);
    for (int32_t i = MAX(n - POOL_READ_MAX, 0); l->pool && i < n; i++)
        lookup_pool_read(l->pool, &l->place, tokens[i]);
}

static int32_t most(int32_t match, int32_t room)
{
    if (match < MIN_MATCH)
        return 0;
    return match < room ? MIN(room, match * DRAFT_PER_MATCH) : room;
}

static int32_t propose(void *state, int32_t room, int32_t *out, int32_t *match)
{
    struct lookup *l = state;
    struct suffix_at at = suffix_repeat(l->text);
    *match = l->pool ? lookup_pool_match(l->pool, &l->place) : 0;
    if (*match > at.len) {
        int32_t n = lookup_pool_follow(l->pool, &l->place, out, most(*match, room));
        if (n > 0)
            return n;
    }
    *match = at.len < MIN_MATCH ? 0 : at.len;
    return suffix_follow(l->text, at, out, most(at.len, room));
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
