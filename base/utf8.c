#include "specd/utf8.h"

#include <string.h>

/* What may follow a lead byte: the second byte's range excludes overlong forms, surrogates and
 * everything above 10FFFF (Unicode 3.9, table 3-7). length 0: no lead byte. */
struct lead {
    uint8_t length, low, high;
};

static struct lead lead_of(unsigned char b)
{
    if (b < 0x80)
        return (struct lead){1, 0, 0};
    if (b < 0xC2 || b > 0xF4)
        return (struct lead){0, 0, 0};
    if (b < 0xE0)
        return (struct lead){2, 0x80, 0xBF};
    if (b < 0xF0)
        return (struct lead){3, b == 0xE0 ? 0xA0 : 0x80, b == 0xED ? 0x9F : 0xBF};
    return (struct lead){4, b == 0xF0 ? 0x90 : 0x80, b == 0xF4 ? 0x8F : 0xBF};
}

enum utf8_state utf8_read(const char *s, size_t n, uint32_t *cp, size_t *len)
{
    const unsigned char *u = (const unsigned char *)s;
    struct lead lead = lead_of(u[0]);
    *len = 1;
    if (lead.length == 0)
        return UTF8_BAD;
    uint32_t c = lead.length == 1 ? u[0] : u[0] & (0x7Fu >> lead.length);
    for (size_t i = 1; i < lead.length; i++) {
        *len = i;
        if (i == n)
            return UTF8_CUT;
        unsigned char low = i == 1 ? lead.low : 0x80, high = i == 1 ? lead.high : 0xBF;
        if (u[i] < low || u[i] > high)
            return UTF8_BAD;
        c = c << 6 | (u[i] & 0x3F);
    }
    *len = lead.length;
    *cp = c;
    return UTF8_OK;
}

size_t utf8_length(const void *s, size_t n)
{
    uint32_t cp;
    size_t len;
    return utf8_read(s, n, &cp, &len) == UTF8_OK ? len : 0;
}

size_t utf8_valid_run(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        uint64_t word;
        if (n - i >= sizeof word) {
            memcpy(&word, s + i, sizeof word);
            if ((word & 0x8080808080808080u) == 0) {
                i += sizeof word;
                continue;
            }
        }
        uint32_t cp;
        size_t len;
        if (utf8_read(s + i, n - i, &cp, &len) != UTF8_OK)
            break;
        i += len;
    }
    return i;
}

size_t utf8_write(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    size_t n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, cp >>= 6)
        out[i] = (char)(0x80 | (cp & 0x3F));
    out[0] = (char)((0xF00u >> n) | cp);
    return n;
}

/* ---- any bytes as characters ----------------------------------------------------------------- */

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

static uint32_t decode(const char *s, size_t n)
{
    uint32_t cp;
    size_t len;
    return utf8_read(s, n, &cp, &len) == UTF8_OK && len == n ? cp : UTF8_INVALID;
}

size_t utf8_next(const char *s, size_t n, uint32_t *cp)
{
    size_t k = 1;
    while (k < n && is_continuation(s[k]))
        k++;
    if (cp)
        *cp = decode(s, k);
    return k;
}

size_t utf8_prev(const char *s, size_t n, uint32_t *cp)
{
    size_t k = 1;
    while (k < n && is_continuation(s[n - k]))
        k++;
    if (cp)
        *cp = decode(s + n - k, k);
    return k;
}

size_t utf8_count(const char *s, size_t n)
{
    size_t count = n > 0 && is_continuation(s[0]);
    for (size_t i = 0; i < n; i++)
        count += !is_continuation(s[i]);
    return count;
}

size_t utf8_offset(const char *s, size_t n, size_t index)
{
    size_t at = 0;
    while (index > 0 && at < n) {
        at += utf8_next(s + at, n - at, NULL);
        index--;
    }
    return at;
}

/* ---- text in pieces -------------------------------------------------------------------------- */

/* Held bytes are always the beginning of a character, so a byte either extends it, completes it, or
 * belongs to what follows: then it is not taken. */
static bool extend_held(struct utf8_tail *t, char byte, struct buf *out)
{
    uint32_t cp;
    size_t n;
    t->held[t->n_held] = byte; /* three are held at most */
    switch (utf8_read(t->held, t->n_held + 1u, &cp, &n)) {
    case UTF8_CUT:
        t->n_held++;
        return true;
    case UTF8_OK:
        buf_add(out, t->held, n);
        t->n_held = 0;
        return true;
    case UTF8_BAD:
        break;
    }
    utf8_finish(t, out);
    return false;
}

void utf8_feed(struct utf8_tail *t, const char *bytes, size_t len, struct buf *out)
{
    while (len > 0 && t->n_held > 0) {
        bool taken = extend_held(t, *bytes, out);
        bytes += taken;
        len -= taken;
    }
    while (len > 0) {
        size_t n = utf8_valid_run(bytes, len);
        buf_add(out, bytes, n);
        bytes += n;
        len -= n;
        uint32_t cp;
        if (len == 0)
            return;
        if (utf8_read(bytes, len, &cp, &n) == UTF8_CUT) {
            memcpy(t->held, bytes, n);
            t->n_held = (uint8_t)n;
            return;
        }
        buf_puts(out, UTF8_REPLACEMENT);
        bytes += n;
        len -= n;
    }
}

void utf8_finish(struct utf8_tail *t, struct buf *out)
{
    if (t->n_held > 0)
        buf_puts(out, UTF8_REPLACEMENT);
    t->n_held = 0;
}
