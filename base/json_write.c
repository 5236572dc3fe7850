#include "specd/json_write.h"

#include "specd/utf8.h"

/* Bytes of s that may be copied without a closer look. */
static size_t plain_run(const unsigned char *s, size_t len)
{
    size_t i = 0;
    while (i < len && s[i] >= 0x20 && s[i] < 0x80 && s[i] != '"' && s[i] != '\\')
        i++;
    return i;
}

size_t json_escape_byte(unsigned char c, char out[JSON_ESCAPE_MAX])
{
    static const char letters[] = "\b\f\n\r\t\"\\";
    static const char names[] = "bfnrt\"\\";
    static const char hex[] = "0123456789abcdef";
    const char *at = c ? strchr(letters, c) : NULL;
    if (at) {
        memcpy(out, (char[]){'\\', names[at - letters]}, 2);
        return 2;
    }
    if (c >= 0x20)
        return 0;
    memcpy(out, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
    return 6;
}

/* A character beyond ASCII; returns the bytes it took. */
static size_t add_wide(struct buf *b, const unsigned char *s, size_t len)
{
    size_t n = utf8_length(s, len);
    if (n == 0) {
        json_lit(b, "\xef\xbf\xbd");
        return 1;
    }
    if (n == 3 && s[0] == 0xe2 && s[1] == 0x80 && (s[2] & 0xfe) == 0xa8)
        buf_add(b, s[2] & 1 ? "\\u2029" : "\\u2028", 6);
    else
        buf_add(b, s, n);
    return n;
}

void json_escape(struct buf *b, const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    buf_reserve(b, len + 2);
    for (size_t i = 0; i < len;) {
        size_t n = plain_run(s + i, len - i);
        buf_add(b, s + i, n);
        i += n;
        if (i == len)
            break;
        if (s[i] >= 0x80) {
            i += add_wide(b, s + i, len - i);
        } else {
            char escape[JSON_ESCAPE_MAX];
            buf_add(b, escape, json_escape_byte(s[i++], escape));
        }
    }
}

void json_str(struct buf *b, const char *s, size_t len)
{
    json_lit(b, "\"");
    json_escape(b, s, len);
    json_lit(b, "\"");
}

#define ESCAPED_AT_ONCE 4096

/* Where a run of at most ESCAPED_AT_ONCE bytes from at on ends, not within a character. */
static size_t run_end(const char *s, size_t len, size_t at)
{
    size_t end = len - at > ESCAPED_AT_ONCE ? at + ESCAPED_AT_ONCE : len;
    for (int i = 0; i < 3 && end < len && (s[end] & 0xc0) == 0x80; i++)
        end--;
    return end;
}

bool json_escape_upto(struct buf *b, size_t most, const char *s, size_t len, size_t *at)
{
    while (*at < len) {
        size_t end = run_end(s, len, *at);
        json_escape(b, s + *at, end - *at);
        *at = end;
        if (b->len >= most && *at < len)
            return false;
    }
    return true;
}

void json_uint(struct buf *b, uint64_t v)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    buf_add(b, digits + at, sizeof digits - at);
}

void json_int(struct buf *b, int64_t v)
{
    if (v < 0)
        json_lit(b, "-");
    json_uint(b, v < 0 ? -(uint64_t)v : (uint64_t)v);
}
