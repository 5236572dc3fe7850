/*
 * unicode.h - what characters are: classes, cases and canonical composition, by tables of Unicode
 * 16.0 (tools/gen-unicode.py), the same on every system.
 *
 * Code points are any 32 bits; what is none, as UTF8_INVALID, is of class CP_C. Pure functions; any
 * thread.
 */
#ifndef SPECD_UNICODE_H
#define SPECD_UNICODE_H

#include "specd/util.h"

#define CP_END 0x110000 /* code points are below */

/* The first letter of a general category: control and unassigned, letter, mark, number,
 * punctuation, symbol, separator. */
enum cp_class { CP_C, CP_L, CP_M, CP_N, CP_P, CP_S, CP_Z };
enum cp_class cp_class(uint32_t cp);
/* The class of every code point, for those who ask for many: an array of CP_END bytes. */
void cp_class_fill(uint8_t *classes);

bool cp_is_white_space(uint32_t cp); /* Unicode's property White_Space */
/* As Python's str tells them. */
bool cp_is_space(uint32_t cp);      /* str.isspace */
bool cp_is_line_break(uint32_t cp); /* str.splitlines */
bool cp_is_printable(uint32_t cp);  /* what repr leaves alone */

/* Where the run of white space that begins at `at` < n ends; space false: of what is none. */
size_t space_end(const char *s, size_t n, size_t at, bool space);
/* Where the one that ends at `at` begins. */
size_t space_begin(const char *s, size_t at, bool space);

/* The character's other case, or itself where there is none or it is more than one character. */
uint32_t cp_upper(uint32_t cp);
uint32_t cp_lower(uint32_t cp);
uint32_t cp_title(uint32_t cp); /* of a word's first letter: upper but for digraphs and Georgian */
bool cp_is_title(uint32_t cp);  /* a letter of this case (general category Lt) */

/* Normalisation form C of valid UTF-8 (Unicode 3.11), as Hugging Face's tokenizers know it: what
 * was assigned after Unicode 9.0 neither composes nor changes its place. */

/* true: every character is its own normal form and combines with nothing (all are below U+0300). */
bool nfc_is_trivial(const char *text, size_t len);
/* spans: of text; what became of them is added to moved, counted in out. Both may be NULL. */
void nfc_append(const char *text, size_t len, const struct text_spans *spans, struct buf *out,
                struct text_spans *moved);

#endif
