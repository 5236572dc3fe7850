/*
 * lookup.h - drafts without a model: what followed the last time the text ended like this?
 *
 * Prompt lookup (Saxena 2023) with the length rule of SuffixDecoding (arXiv 2411.04975): the
 * longest earlier occurrence of the text's last tokens, the most recent one among equals, proposes
 * what came after it, at most twice as many tokens as matched. The proposal is a point mass, so
 * verification accepts x~ with probability q(x~) and stays exact. It is a function of the token
 * history alone.
 *
 * The history is one request's own prompt and output, which it copies. Grams of 4 and of 2 tokens
 * are chained by hash from the newest back (as LZ77 compressors do); a search follows a bounded
 * number of links, so append is O(1) per token and a draft O(1).
 *
 * One per request; called from the engine thread alone. Nothing fails.
 */
#ifndef SPECD_LOOKUP_H
#define SPECD_LOOKUP_H

#include <stdint.h>

struct lookup;

#define LOOKUP_MIN_MATCH 2 /* tokens that must agree before anything is proposed */

/* max_tokens: the longest history it will hold. Memory grows with the history, not this limit. */
struct lookup *lookup_create(int32_t max_tokens);
void lookup_free(struct lookup *l); /* NULL is fine */

void lookup_reset(struct lookup *l); /* empty history; keeps the memory */

/* Committed tokens, in order; beyond max_tokens is a bug. */
void lookup_append(struct lookup *l, const int32_t *tokens, int32_t n);
int32_t lookup_len(const struct lookup *l);

/* Proposes the next tokens: returns 0..k_max, how many it wrote to out. *match: how many tokens at
 * the text's end agree with the occurrence they were taken from. */
int lookup_draft(const struct lookup *l, int32_t k_max, int32_t *out, int32_t *match);

#endif
