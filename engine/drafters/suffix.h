/*
 * suffix.h - the suffix automaton of a text that grows token by token (Blumer et al. 1985): every
 * string of tokens that occurs in it, and what came next how often.
 *
 * A state stands for all strings that end at the same places; `len` is the longest of them, and its
 * link leads to the longest suffix that ends at more places. So the text's own state links to the
 * longest end of the text that occurred before, whatever its length, and nothing is searched.
 *
 * An append takes O(1) amortised. Memory follows the text: at most 2 states and 3 edges a token,
 * and what growth sets aside; bench-lookup prints what real texts take, a third of that. One owner
 * at a time; readers may share what nobody appends to. Nothing fails.
 */
#ifndef SPECD_SUFFIX_H
#define SPECD_SUFFIX_H

#include <stddef.h>
#include <stdint.h>

#define SUFFIX_BYTES_PER_TOKEN 204 /* at most, beside 16 KiB */

struct suffix;

struct suffix *suffix_create(void);
void suffix_free(struct suffix *x); /* NULL is fine */

/* Any int32_t is a token. At most 2^28 of them. */
void suffix_append(struct suffix *x, const int32_t *tokens, int32_t n);
int32_t suffix_n_tokens(const struct suffix *x);
size_t suffix_bytes(const struct suffix *x);

/* A string that occurs in the text: the last `len` tokens of what leads to its state. {0} is the
 * empty one. */
struct suffix_at {
    int32_t state, len;
};

/* The longest end of the text that occurred before; overlaps count. */
struct suffix_at suffix_repeat(const struct suffix *x);
/* `at` is the longest end of some other text that occurs in this one: moves it by that text's next
 * token. It stays good when this text grows, and no longer text is found for it then. */
void suffix_read(const struct suffix *x, struct suffix_at *at, int32_t token);
/* How many tokens of the text stand before the end of the string's first occurrence. */
int32_t suffix_end(const struct suffix *x, struct suffix_at at);
/* What may come next, as far as it came before: each token the most frequent after the string and
 * those before it, the latest of equals. Where the text ends it goes on as its own repeat does, so
 * that a loop goes round. Writes n tokens, fewer only in an empty text; returns how many. */
int32_t suffix_follow(const struct suffix *x, struct suffix_at at, int32_t *out, int32_t n);

#endif
