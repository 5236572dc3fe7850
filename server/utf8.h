/*
 * utf8.h - the length of a character of UTF-8 (RFC 3629), and whether it is one.
 */
#ifndef SPECD_SERVER_UTF8_H
#define SPECD_SERVER_UTF8_H

#include <stddef.h>

/* Bytes of the character that s[0..len) begins with, len > 0; 0 when it is cut off or invalid:
 * overlong forms, surrogates and what is beyond U+10FFFF are. */
static inline size_t utf8_length(const unsigned char *s, size_t len)
{
    unsigned c = s[0];
    size_t n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (n == 1)
        return 1;
    if (c < 0xc2 || c > 0xf4 || len < n)
        return 0;
    if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] > 0x9f) || (c == 0xf0 && s[1] < 0x90) ||
        (c == 0xf4 && s[1] > 0x8f))
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

#endif
