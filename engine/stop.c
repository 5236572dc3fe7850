#include "stop.h"

#include "specd/util.h"

#include <stdbool.h>
#include <stdlib.h>

/* border[i]: length of the longest proper prefix of text[0..i] that is also its suffix. */
struct pattern {
    const unsigned char *text;
    size_t len;
    uint32_t *border; /* (len) */
    size_t matched;   /* bytes of text that the input ends with just now */
};

struct stop_matcher {
    size_t total; /* bytes of the text so far */
    bool over;
    int32_t n;
    struct pattern patterns[];
};

/* The longest prefix that the input ends with after one byte more. */
static size_t step(const struct pattern *p, size_t matched, unsigned char byte)
{
    while (matched > 0 && p->text[matched] != byte)
        matched = p->border[matched - 1];
    return matched + (p->text[matched] == byte);
}

static void pattern_init(struct pattern *p, const char *text, size_t len)
{
    ASSERT(len < UINT32_MAX);
    p->text = (const unsigned char *)text;
    p->len = len;
    p->border = xcalloc(len, sizeof *p->border);
    for (size_t i = 1; i < len; i++)
        p->border[i] = (uint32_t)step(p, p->border[i - 1], p->text[i]);
}

struct stop_matcher *stop_matcher_create(const char *const *strings, const size_t *lens, int32_t n)
{
    ASSERT(n >= 0);
    struct stop_matcher *m = xcalloc(1, sizeof *m + (size_t)n * sizeof m->patterns[0]);
    m->n = n;
    for (int32_t i = 0; i < n; i++)
        pattern_init(&m->patterns[i], strings[i], lens[i]);
    return m;
}

void stop_matcher_free(struct stop_matcher *m)
{
    for (int32_t i = 0; m && i < m->n; i++)
        free(m->patterns[i].border);
    free(m);
}

/* Advances every pattern by one byte; the longest that is complete, or -1. */
static int32_t feed_byte(struct stop_matcher *m, unsigned char byte)
{
    int32_t hit = -1;
    for (int32_t i = 0; i < m->n; i++) {
        struct pattern *p = &m->patterns[i];
        if (p->len == 0)
            continue;
        p->matched = step(p, p->matched, byte);
        if (p->matched == p->len && (hit < 0 || p->len > m->patterns[hit].len))
            hit = i;
    }
    return hit;
}

int32_t stop_matcher_feed(struct stop_matcher *m, const char *bytes, size_t len, size_t *safe)
{
    ASSERT(!m->over);
    for (size_t i = 0; i < len; i++) {
        m->total++;
        int32_t hit = feed_byte(m, (unsigned char)bytes[i]);
        if (hit >= 0) {
            m->over = true;
            *safe = m->total - m->patterns[hit].len;
            return hit;
        }
    }
    size_t held = 0;
    for (int32_t i = 0; i < m->n; i++)
        held = MAX(held, m->patterns[i].matched);
    *safe = m->total - held;
    return -1;
}

size_t stop_matcher_skip(struct stop_matcher *m, size_t len)
{
    ASSERT(!m->over);
    for (int32_t i = 0; i < m->n; i++)
        m->patterns[i].matched = 0;
    m->total += len;
    return m->total;
}
