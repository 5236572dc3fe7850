#include "model/field.h"

#include "specd/util.h"

const char *printable(char *dst, size_t cap, const char *src, size_t len)
{
    size_t n = MIN(len, cap - 1);
    for (size_t i = 0; i < n; i++)
        dst[i] = src[i] >= ' ' && src[i] < 0x7f ? src[i] : '?';
    dst[n] = '\0';
    return dst;
}

size_t utf8_char(const uint8_t *s, size_t left)
{
    static const uint32_t min[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t c = s[0];
    size_t n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : 4;
    if (n == 1)
        return 1;
    if (c < 0xc2 || c > 0xf4 || n > left)
        return 0;
    uint32_t code = c & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (s[i] & 0x3fu);
    }
    bool surrogate = code >= 0xd800 && code < 0xe000;
    return code < min[n] || code > 0x10ffff || surrogate ? 0 : n;
}
