/*
 * jinja_utf8.h - characters of UTF-8 text as Python counts them: one per code point.
 *
 * A character is a byte and the continuation bytes behind it, so that any bytes, valid or not,
 * have one reading and nothing is lost; what is not valid UTF-8 has code point UTF8_INVALID,
 * which is of no kind.
 * Case mapping is simple (one code point to one) and covers Latin, Greek, Cyrillic and Armenian;
 * Python's full mapping differs in a few letters more (final sigma, ligatures, titlecase digraphs).
 */
#ifndef SPECD_JINJA_UTF8_H
#define SPECD_JINJA_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UTF8_INVALID UINT32_MAX

/* Bytes of the character at s, n >= 1 bytes left; *cp may be NULL. */
size_t jinja_utf8_next(const char *s, size_t n, uint32_t *cp);
/* Bytes of the character that ends at s + n, n >= 1. */
size_t jinja_utf8_prev(const char *s, size_t n, uint32_t *cp);
size_t jinja_utf8_length(const char *s, size_t n);
/* Byte offset of character `index`, or n when there are fewer. */
size_t jinja_utf8_offset(const char *s, size_t n, size_t index);

bool jinja_cp_is_space(uint32_t cp);      /* str.isspace */
bool jinja_cp_is_line_break(uint32_t cp); /* str.splitlines */
bool jinja_cp_is_printable(uint32_t cp);  /* what repr leaves alone */
bool jinja_cp_is_alpha(uint32_t cp); /* ASCII letters and everything printable beyond Latin-1 */
uint32_t jinja_cp_upper(uint32_t cp);
uint32_t jinja_cp_lower(uint32_t cp);

#endif
