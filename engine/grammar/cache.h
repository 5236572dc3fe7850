/*
 * cache.h - grammars by their schema: the ones asked for last are kept.
 *
 * A client asks for the same schema again and again. One that is found here costs no compilation,
 * and its masks are known already (mask.h keeps them by grammar). Any thread.
 */
#ifndef SPECD_GRAMMAR_CACHE_H
#define SPECD_GRAMMAR_CACHE_H

#include "grammar/grammar.h"

#define GRAMMAR_CACHE_MAX 32
#define GRAMMAR_CACHE_KEY_MAX (1 << 18)   /* bytes of a schema; beyond that none is kept */
#define GRAMMAR_CACHE_NODES_MAX (1 << 14) /* nodes of a grammar, likewise: about 400 kB */

struct grammar_cache;

struct grammar_cache *grammar_cache_create(void);
void grammar_cache_free(struct grammar_cache *c); /* NULL is fine */

/* As grammar_compile: *out is a reference of the caller's own. */
int grammar_cache_get(struct grammar_cache *c, struct grammar **out,
                      const struct chat_value *schema, char *err, size_t errlen);

#endif
