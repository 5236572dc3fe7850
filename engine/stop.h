/*
 * stop.h - finds stop strings in text that arrives piece by piece, and says what may be shown.
 *
 * Bytes that could still turn out to be the beginning of a stop string are held back, so a client
 * never sees its first letters. The stop string that completes first wins; among those completing
 * on the same byte, the longest. One Knuth-Morris-Pratt automaton per string: two steps per byte
 * and string, amortised; four bytes of memory per byte of stop string.
 *
 * All counts are bytes from the start of the text. When whole characters of UTF-8 are fed, what is
 * safe ends between characters.
 *
 * One per request; no locking. Nothing fails.
 */
#ifndef SPECD_STOP_H
#define SPECD_STOP_H

#include <stddef.h>
#include <stdint.h>

struct stop_matcher;

/* strings[i] has lens[i] bytes, any of them, borrowed until stop_matcher_free. Empty ones never
 * match. n may be 0: everything is safe then. */
struct stop_matcher *stop_matcher_create(const char *const *strings, const size_t *lens, int32_t n);
void stop_matcher_free(struct stop_matcher *m); /* NULL is fine */

/*
 * The text goes on with bytes[0..len). Returns the index of the stop string that has completed, or
 * -1. *safe: how much of the text may be released, never less than before; with a completed stop
 * string, where it starts. After that the text is over: feed no more.
 */
int32_t stop_matcher_feed(struct stop_matcher *m, const char *bytes, size_t len, size_t *safe);

/* The text goes on with len bytes in which no stop string may begin or end (tokens before
 * min_tokens). Returns what is safe: all of it. */
size_t stop_matcher_skip(struct stop_matcher *m, size_t len);

#endif
