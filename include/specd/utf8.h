/*
 * utf8.h - reading and writing UTF-8 (RFC 3629), with invalid bytes told apart from cut characters.
 *
 * An invalid sequence is measured as Unicode (3.9, "maximal subpart"), WHATWG and Python's
 * errors="replace" do: the bytes that could have begun a character count as one U+FFFD. Any
 * thread; a struct utf8_tail belongs to one.
 */
#ifndef SPECD_UTF8_H
#define SPECD_UTF8_H

#include "specd/util.h"

#define UTF8_REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */
#define UTF8_INVALID UINT32_MAX         /* the code point of what is no character */

enum utf8_state {
    UTF8_OK,
    UTF8_BAD, /* *len bytes that no character begins with */
    UTF8_CUT  /* the text ends inside a character that is well-formed so far; *len = n */
};

/* Reads the character at s, n >= 1 bytes. *cp is set for UTF8_OK, *len always. */
enum utf8_state utf8_read(const char *s, size_t n, uint32_t *cp, size_t *len);

/* Bytes of the character at s, n >= 1 bytes; 0 when it is cut off or invalid. */
size_t utf8_length(const void *s, size_t n);

/* Length of the longest prefix that is valid UTF-8. */
size_t utf8_valid_run(const char *s, size_t n);

/* Writes cp (at most 10FFFF, no surrogate) and returns its length, 1..4. */
size_t utf8_write(uint32_t cp, char out[4]);

/* Any bytes as characters, so that nothing is lost: a byte and the continuation bytes behind it are
 * one, and what is not valid UTF-8 has the code point UTF8_INVALID. */

/* Bytes of the character at s, n >= 1 bytes left; *cp may be NULL. */
size_t utf8_next(const char *s, size_t n, uint32_t *cp);
/* Bytes of the character that ends at s + n, n >= 1. */
size_t utf8_prev(const char *s, size_t n, uint32_t *cp);
size_t utf8_count(const char *s, size_t n);
/* Byte offset of character `index`, or n when there are fewer. */
size_t utf8_offset(const char *s, size_t n, size_t index);

/* A text that comes in pieces: only whole characters go to out, and U+FFFD for what is invalid. */
struct utf8_tail { /* zero-initialise */
    char held[4];  /* the beginning of a character */
    uint8_t n_held;
};
void utf8_feed(struct utf8_tail *t, const char *bytes, size_t len, struct buf *out);
void utf8_finish(struct utf8_tail *t, struct buf *out); /* what is held becomes U+FFFD */

#endif
