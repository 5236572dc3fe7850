/*
 * Whose the bytes of a string are: the template's, or a client's.
 *
 * Most strings are all of one origin, which costs nothing. A string of both has the number of a
 * memory in which the client's parts are listed, counted from a base; its slices share it, and a
 * sum that grows in place (jinja_concat) adds to it.
 */
#include "jinja/run.h"

#include <string.h>

#define MARKS_CAP 4 /* to begin with */

static void *grown(struct jinja_run *r, const void *items, size_t n, size_t cap, size_t size)
{
    size_t bytes;
    void *more = size_mul(cap, size, &bytes) ? arena_alloc(&r->marks, bytes, 8) : NULL;
    if (!more)
        jinja_raise(r, "mixes its own text with that of messages in too many places");
    if (n > 0)
        memcpy(more, items, n * size);
    return more;
}

static bool is_empty(struct text_span s)
{
    return s.begin == s.end;
}

static void add(struct jinja_run *r, struct origin_marks *m, size_t begin, size_t end)
{
    if (begin == end)
        return;
    if (!is_empty(m->last) && m->last.end == begin) {
        m->last.end = end;
        return;
    }
    if (!is_empty(m->last)) {
        if (m->n == m->cap) {
            m->cap = m->cap ? m->cap * 2 : MARKS_CAP;
            m->items = grown(r, m->items, m->n, m->cap, sizeof *m->items);
        }
        m->items[m->n++] = m->last;
    }
    m->last = (struct text_span){begin, end};
}

void origin_copy(struct jinja_run *r, struct origin_marks *m, size_t at,
                 const struct origin_marks *from, size_t begin, size_t end)
{
    size_t first = text_spans_find(from->items, from->n, begin), n = from->n; /* as it is now */
    for (size_t i = first; i <= n; i++) {
        struct text_span s = i < n ? from->items[i] : from->last;
        if (s.begin >= end)
            break;
        if (s.end > begin)
            add(r, m, at + MAX(s.begin, begin) - begin, at + MIN(s.end, end) - begin);
        jinja_charge(r, sizeof s);
    }
}

void origin_put(struct jinja_run *r, struct origin_marks *m, size_t at, struct jv s)
{
    if (s.origin == ORIGIN_CLIENT)
        add(r, m, at, at + s.len);
    if (s.origin < ORIGIN_MIXED)
        return;
    struct jv_mixed x = r->mixed[s.origin - ORIGIN_MIXED]; /* a copy: m may be these marks */
    size_t begin = (size_t)(s.s - x.base);
    origin_copy(r, m, at, &x.client, begin, begin + s.len);
}

void origin_cut(struct origin_marks *m, size_t at)
{
    while (!is_empty(m->last) && m->last.begin >= at)
        m->last = m->n > 0 ? m->items[--m->n] : (struct text_span){0};
    m->last.end = MIN(m->last.end, at);
}

static uint32_t new_mixed(struct jinja_run *r, const char *base, const struct origin_marks *m)
{
    if (r->n_mixed == r->mixed_cap) {
        r->mixed_cap = r->mixed_cap ? r->mixed_cap * 2 : MARKS_CAP;
        r->mixed = grown(r, r->mixed, r->n_mixed, r->mixed_cap, sizeof *r->mixed);
    }
    r->mixed[r->n_mixed] = (struct jv_mixed){base, *m};
    return ORIGIN_MIXED + r->n_mixed++;
}

uint32_t origin_of(struct jinja_run *r, const struct origin_marks *m, const char *base, size_t len)
{
    if (is_empty(m->last))
        return ORIGIN_TEMPLATE;
    if (m->last.begin == 0 && m->last.end == len)
        return ORIGIN_CLIENT;
    return new_mixed(r, base, m);
}

uint32_t origin_extended(struct jinja_run *r, struct jv a, struct jv b)
{
    struct origin_marks first = {0};
    if (a.origin < ORIGIN_MIXED && a.origin == b.origin)
        return a.origin;
    if (a.origin < ORIGIN_MIXED) {
        origin_put(r, &first, 0, a);
        a.origin = new_mixed(r, a.s, &first);
    }
    struct jv_mixed *x = &r->mixed[a.origin - ORIGIN_MIXED];
    origin_put(r, &x->client, (size_t)(a.s - x->base) + a.len, b);
    return a.origin;
}

enum jv_origin origin_at(struct jinja_run *r, struct jv s, size_t at, size_t *end)
{
    *end = s.len;
    if (s.origin < ORIGIN_MIXED)
        return (enum jv_origin)s.origin;
    const struct jv_mixed *x = &r->mixed[s.origin - ORIGIN_MIXED];
    const struct origin_marks *m = &x->client;
    size_t offset = (size_t)(s.s - x->base), i = text_spans_find(m->items, m->n, offset + at);
    struct text_span span = i < m->n ? m->items[i] : m->last;
    if (span.end <= offset + at) /* behind the last one */
        return ORIGIN_TEMPLATE;
    bool client = span.begin <= offset + at;
    *end = MIN((client ? span.end : span.begin) - offset, s.len);
    return client ? ORIGIN_CLIENT : ORIGIN_TEMPLATE;
}
