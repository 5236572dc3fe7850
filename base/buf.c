#include "specd/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_reserve(struct buf *b, size_t extra)
{
    size_t need;
    ASSERT(size_add(b->len, extra, &need) && size_add(need, 1, &need));
    if (need <= b->cap)
        return;
    size_t cap = MAX(need, b->cap + b->cap / 2);
    b->data = xrealloc(b->data, MAX(cap, 64));
    b->cap = MAX(cap, 64);
}

void buf_add(struct buf *b, const void *data, size_t len)
{
    buf_reserve(b, len);
    if (len > 0)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
}

bool buf_try_add(struct buf *b, const void *data, size_t len)
{
    size_t need;
    if (!size_add(b->len, len, &need) || !size_add(need, 1, &need))
        return false;
    if (need > b->cap) {
        size_t cap = MAX(MAX(need, b->cap + b->cap / 2), 64);
        char *grown = try_realloc(b->data, cap);
        if (!grown)
            return false;
        b->data = grown;
        b->cap = cap;
    }
    buf_add(b, data, len);
    return true;
}

void buf_puts(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    ASSERT(n >= 0);
    buf_reserve(b, (size_t)n);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
    va_end(again);
    b->len += (size_t)n;
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    if (b->data)
        b->data[0] = '\0';
}

char *buf_take(struct buf *b)
{
    if (!b->data)
        buf_reserve(b, 0);
    char *data = b->data;
    data[b->len] = '\0';
    *b = (struct buf){0};
    return data;
}

void text_spans_add(struct text_spans *s, size_t begin, size_t end)
{
    if (begin == end)
        return;
    if (s->n > 0 && s->items[s->n - 1].end == begin) {
        s->items[s->n - 1].end = end;
        return;
    }
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 16;
        s->items = xrealloc(s->items, s->cap * sizeof *s->items);
    }
    s->items[s->n++] = (struct text_span){begin, end};
}

void text_spans_cut(struct text_spans *s, size_t at)
{
    while (s->n > 0 && s->items[s->n - 1].begin >= at)
        s->n--;
    if (s->n > 0)
        s->items[s->n - 1].end = MIN(s->items[s->n - 1].end, at);
}

void text_spans_free(struct text_spans *s)
{
    free(s->items);
    *s = (struct text_spans){0};
}

size_t text_spans_find(const struct text_span *items, size_t n, size_t at)
{
    size_t lo = 0;
    while (lo < n) {
        size_t mid = (lo + n) / 2;
        if (items[mid].end > at)
            n = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

void buf_free(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

void text_trim(const char **s, size_t *len)
{
    static const char blanks[] = " \t\r\n";
    while (*len > 0 && memchr(blanks, (*s)[0], sizeof blanks - 1)) {
        (*s)++;
        (*len)--;
    }
    while (*len > 0 && memchr(blanks, (*s)[*len - 1], sizeof blanks - 1))
        (*len)--;
}

int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}
