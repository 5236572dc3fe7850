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
