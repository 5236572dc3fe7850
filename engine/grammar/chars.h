/*
 * chars.h - the inside of a JSON string (RFC 8259 section 7), byte by byte: UTF-8 as RFC 3629 has
 * it (no overlong forms, no surrogates), escapes, \u escapes of surrogates only in pairs, no
 * control characters.
 */
#ifndef SPECD_GRAMMAR_CHARS_H
#define SPECD_GRAMMAR_CHARS_H

#include "specd/util.h"

enum chars_state {
    CHARS_DEAD,
    CHARS_WHOLE, /* between two characters: the only state in which the string may end */
    CHARS_TAIL1, /* so many continuation bytes to come */
    CHARS_TAIL2,
    CHARS_TAIL3,
    CHARS_E0, /* behind these lead bytes the next byte has a range of its own */
    CHARS_ED,
    CHARS_F0,
    CHARS_F4,
    CHARS_ESCAPE,
    CHARS_HEX4, /* hexadecimal digits to come */
    CHARS_HEX3,
    CHARS_HEX2,
    CHARS_HEX1,
    CHARS_HEX_D, /* \ud: 0-7 goes on as usual, 8-b is a pair's first half */
    CHARS_HIGH2, /* digits of a first half to come */
    CHARS_HIGH1,
    CHARS_LOW_ESCAPE, /* then \udc00 to \udfff */
    CHARS_LOW_U,
    CHARS_LOW_D,
    CHARS_LOW_C,
    CHARS_N
};

extern const uint8_t chars_table[CHARS_N][256];

/* The next state. The quote that ends a string is not read here. */
static inline uint8_t chars_next(uint8_t state, uint8_t byte)
{
    return chars_table[state][byte];
}

/* Appends the one spelling that fixed texts have: raw, but for what must be escaped. */
void chars_spell(const char *text, size_t len, struct buf *out);
/* The letter of the short escape of a byte, 'u' if it has only \u00xx, 0 if it needs none. */
char chars_escape(uint8_t byte);

#endif
