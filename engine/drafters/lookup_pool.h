/*
 * lookup_pool.h - recent outputs of requests with the same salt, for lookup in each other's
 * (--lookup-shared).
 *
 * A pool is one salt's. Outputs go into the younger of two texts; a full one becomes the older, and
 * the older goes. The pools together have a limit, beyond which the least recently used is emptied.
 * What a request finds here depends on others, so no answer that must replay may look.
 *
 * Engine thread. Memory: at most LOOKUP_POOL_TOKENS of suffix.h and one output more. Nothing fails.
 */
#ifndef SPECD_LOOKUP_POOL_H
#define SPECD_LOOKUP_POOL_H

#include "suffix.h"

#include <stddef.h>

#ifdef SPECD_HOSTILE
#define LOOKUP_TEXT_TOKENS 256
#define LOOKUP_POOL_TOKENS 1024
#else
#define LOOKUP_TEXT_TOKENS (1 << 15) /* of one text; the last output may go beyond */
#define LOOKUP_POOL_TOKENS (1 << 18) /* of all pools */
#endif
#define LOOKUP_OUTPUT_TOKENS (LOOKUP_TEXT_TOKENS / 4) /* of one output; the rest is left out */

struct lookup_pools;
struct lookup_pool;

struct lookup_pools *lookup_pools_create(void);
void lookup_pools_free(struct lookup_pools *all); /* NULL is fine; no pool is in use any more */
/* Tokens that count against the limit: a pool's own, or as many as a small one costs. */
int32_t lookup_pools_tokens(const struct lookup_pools *all);

/* The pool of a salt, with a reference. */
struct lookup_pool *lookup_pool_of(struct lookup_pools *all, const char *salt);
struct lookup_pool *lookup_pool_ref(struct lookup_pool *p); /* NULL is fine, here and below */
void lookup_pool_unref(struct lookup_pool *p);
void lookup_pool_add(struct lookup_pool *p, const int32_t *output, int32_t n);

/* Where the end of another text stands in a pool's texts, the younger first. {0}: nothing was read
 * yet. */
struct lookup_place {
    uint64_t version; /* of the pool's texts */
    struct suffix_at at[2];
};
void lookup_pool_read(const struct lookup_pool *p, struct lookup_place *place, int32_t token);
/* How long the longest match is. */
int32_t lookup_pool_match(const struct lookup_pool *p, struct lookup_place *place);
/* What may follow it: at most n tokens, none beyond an output's end. Returns how many. */
int32_t lookup_pool_follow(const struct lookup_pool *p, struct lookup_place *place, int32_t *out,
                           int32_t n);

#endif
