/*
 * chars.h - kinds of characters, as Python's str tells them.
 *
 * Case mapping is simple (one code point to one) and covers Latin, Greek, Cyrillic and Armenian;
 * Python's full mapping differs in a few letters more (final sigma, ligatures, titlecase digraphs).
 * UTF8_INVALID is of no kind.
 */
#ifndef SPECD_JINJA_CHARS_H
#define SPECD_JINJA_CHARS_H

#include "specd/utf8.h"

#include <stdbool.h>

bool cp_is_space(uint32_t cp);      /* str.isspace */
bool cp_is_line_break(uint32_t cp); /* str.splitlines */
bool cp_is_printable(uint32_t cp);  /* what repr leaves alone */
bool cp_is_alpha(uint32_t cp);      /* ASCII letters and everything printable beyond Latin-1 */
uint32_t cp_upper(uint32_t cp);
uint32_t cp_lower(uint32_t cp);

/* Where the run of white space that begins at `at` ends; space false: of what is none. */
size_t space_end(const char *s, size_t n, size_t at, bool space);
/* Where the one that ends at `at` begins. */
size_t space_begin(const char *s, size_t at, bool space);

#endif
