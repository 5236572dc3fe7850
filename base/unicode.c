#include "specd/unicode.h"

#include "specd/utf8.h"
#include "unicode_data.h"

#include <stdlib.h>
#include <string.h>

/* ---- classes --------------------------------------------------------------------------------- */

enum cp_class cp_class(uint32_t cp)
{
    size_t lo = 0, hi = COUNT_OF(class_runs); /* the run begins in [lo, hi) */
    if (cp >= CP_END)
        return CP_C;
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        if (class_runs[mid] >> 3 <= cp)
            lo = mid;
        else
            hi = mid;
    }
    return (enum cp_class)(class_runs[lo] & 7);
}

void cp_class_fill(uint8_t *classes)
{
    for (size_t i = 0; i < COUNT_OF(class_runs); i++) {
        uint32_t from = class_runs[i] >> 3;
        uint32_t to = i + 1 < COUNT_OF(class_runs) ? class_runs[i + 1] >> 3 : CP_END;
        memset(classes + from, (int)(class_runs[i] & 7), to - from);
    }
}

bool cp_is_white_space(uint32_t cp)
{
    if (cp < 0xA0 || cp > 0x3000) /* the first and the last separator */
        return cp == ' ' || (cp >= 9 && cp <= 13) || cp == 0x85;
    return cp_class(cp) == CP_Z;
}

bool cp_is_space(uint32_t cp)
{
    return cp_is_white_space(cp) || (cp >= 0x1C && cp <= 0x1F);
}

bool cp_is_line_break(uint32_t cp)
{
    return (cp >= 10 && cp <= 13) || (cp >= 0x1C && cp <= 0x1E) || cp == 0x85 || cp == 0x2028 ||
           cp == 0x2029;
}

bool cp_is_printable(uint32_t cp)
{
    enum cp_class class = cp_class(cp);
    return cp == ' ' || (class != CP_C && class != CP_Z);
}

size_t space_end(const char *s, size_t n, size_t at, bool space)
{
    while (at < n) {
        uint32_t cp;
        size_t len = utf8_next(s + at, n - at, &cp);
        if (cp_is_space(cp) != space)
            break;
        at += len;
    }
    return at;
}

size_t space_begin(const char *s, size_t at, bool space)
{
    while (at > 0) {
        uint32_t cp;
        size_t len = utf8_prev(s, at, &cp);
        if (cp_is_space(cp) != space)
            break;
        at -= len;
    }
    return at;
}

/* ---- case ------------------------------------------------------------------------------------ */

/* The run that cp is in, or NULL. */
static const struct case_run *find_run(const struct case_run *runs, size_t n, uint32_t cp)
{
    size_t lo = 0, hi = n; /* runs before lo end before cp, runs from hi on do not */
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (runs[mid].last < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    bool found = lo < n && cp >= runs[lo].first && (cp - runs[lo].first) % runs[lo].step == 0;
    return found ? &runs[lo] : NULL;
}

uint32_t cp_upper(uint32_t cp)
{
    const struct case_run *run = find_run(upper_runs, COUNT_OF(upper_runs), cp);
    return run ? cp + (uint32_t)run->delta : cp;
}

uint32_t cp_lower(uint32_t cp)
{
    const struct case_run *run = find_run(lower_runs, COUNT_OF(lower_runs), cp);
    return run ? cp + (uint32_t)run->delta : cp;
}

uint32_t cp_title(uint32_t cp)
{
    const struct case_run *run = find_run(title_runs, COUNT_OF(title_runs), cp);
    return run ? cp + (uint32_t)run->delta : cp_upper(cp);
}

bool cp_is_title(uint32_t cp)
{
    const struct case_run *run = find_run(title_runs, COUNT_OF(title_runs), cp);
    return run && run->delta == 0 && cp_lower(cp) != cp; /* Georgian letters are lower case */
}

/* ---- normalisation form C -------------------------------------------------------------------- */

/* Hangul syllables are composed by arithmetic (Unicode 3.12). */
enum { L_BASE = 0x1100, V_BASE = 0x1161, T_BASE = 0x11A7, S_BASE = 0xAC00 };
enum { L_COUNT = 19, V_COUNT = 21, T_COUNT = 28, S_COUNT = L_COUNT * V_COUNT * T_COUNT };

struct mark {
    uint32_t cp;
    uint8_t ccc;
    bool in_span; /* it, or what it was composed of */
};

struct marks {
    struct mark *data;
    size_t n, cap;
    bool in_span; /* of what is added */
};

static uint8_t ccc_of(uint32_t cp)
{
    if (cp < nfc_classes[0].from)
        return 0;
    size_t lo = 0, hi = COUNT_OF(nfc_classes);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (nfc_classes[mid].to < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < COUNT_OF(nfc_classes) && nfc_classes[lo].from <= cp ? nfc_classes[lo].ccc : 0;
}

static const struct nfc_pair *pair_of(uint32_t cp)
{
    size_t lo = 0, hi = COUNT_OF(nfc_pairs);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (nfc_pairs[mid].cp < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < COUNT_OF(nfc_pairs) && nfc_pairs[lo].cp == cp ? &nfc_pairs[lo] : NULL;
}

static void add_mark(struct marks *m, uint32_t cp)
{
    if (m->n == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 256;
        m->data = xrealloc(m->data, m->cap * sizeof *m->data);
    }
    m->data[m->n++] = (struct mark){cp, ccc_of(cp), m->in_span};
}

static void decompose(struct marks *m, uint32_t cp)
{
    if (cp - S_BASE < S_COUNT) {
        uint32_t s = cp - S_BASE;
        add_mark(m, L_BASE + s / (V_COUNT * T_COUNT));
        add_mark(m, V_BASE + s / T_COUNT % V_COUNT);
        if (s % T_COUNT)
            add_mark(m, T_BASE + s % T_COUNT);
        return;
    }
    const struct nfc_pair *p = pair_of(cp);
    if (!p) {
        add_mark(m, cp);
        return;
    }
    decompose(m, p->first); /* at most three deep: the data says so */
    if (p->second)
        add_mark(m, p->second);
}

/* 0 when the two do not compose. */
static uint32_t compose(uint32_t a, uint32_t b)
{
    if (a - L_BASE < L_COUNT && b - V_BASE < V_COUNT)
        return S_BASE + ((a - L_BASE) * V_COUNT + (b - V_BASE)) * T_COUNT;
    if (a - S_BASE < S_COUNT && (a - S_BASE) % T_COUNT == 0 && b > T_BASE && b < T_BASE + T_COUNT)
        return a + (b - T_BASE);
    uint64_t key = (uint64_t)a << 32 | b;
    size_t lo = 0, hi = COUNT_OF(nfc_compositions);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        const struct nfc_pair *p = &nfc_pairs[nfc_compositions[mid]];
        uint64_t at = (uint64_t)p->first << 32 | p->second;
        if (at == key)
            return p->cp;
        if (at < key)
            lo = mid + 1;
        else
            hi = mid;
    }
    return 0;
}

/* Stable sort of n marks by class: insertion for the few that real text has, else by counting. */
static void sort_marks(struct mark *m, size_t n)
{
    if (n > 16) {
        size_t at[257] = {0};
        struct mark *copy = xmalloc(n * sizeof *copy);
        memcpy(copy, m, n * sizeof *copy);
        for (size_t i = 0; i < n; i++)
            at[copy[i].ccc + 1]++;
        for (size_t c = 1; c < 257; c++)
            at[c] += at[c - 1];
        for (size_t i = 0; i < n; i++)
            m[at[copy[i].ccc]++] = copy[i];
        free(copy);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        struct mark x = m[i];
        size_t j = i;
        for (; j > 0 && m[j - 1].ccc > x.ccc; j--)
            m[j] = m[j - 1];
        m[j] = x;
    }
}

/* Sorts every run of marks that have a class, so that equal text has one order. */
static void reorder(struct marks *m)
{
    for (size_t i = 0; i < m->n;) {
        size_t from = i;
        while (i < m->n && m->data[i].ccc != 0)
            i++;
        if (i - from > 1)
            sort_marks(m->data + from, i - from);
        i += i == from;
    }
}

/* Composes in place: a mark joins the last starter unless one of its own class or higher stands
 * between them. */
static void recompose(struct marks *m)
{
    struct mark *starter = NULL;
    int last = -1; /* class of what was kept after the starter; -1: nothing */
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++) {
        struct mark x = m->data[i];
        uint32_t joined = starter && last < (int)x.ccc ? compose(starter->cp, x.cp) : 0;
        if (joined) {
            starter->cp = joined;
            starter->in_span |= x.in_span;
            continue;
        }
        m->data[n] = x;
        if (x.ccc == 0)
            starter = &m->data[n];
        last = x.ccc ? x.ccc : -1;
        n++;
    }
    m->n = n;
}

bool nfc_is_trivial(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] >= 0xCC) /* lead byte of U+0300 */
            return false;
    return true;
}

void nfc_append(const char *text, size_t len, const struct text_spans *spans, struct buf *out,
                struct text_spans *moved)
{
    struct marks m = {0};
    size_t span = 0;
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        size_t n;
        ASSERT(utf8_read(text + i, len - i, &cp, &n) == UTF8_OK);
        while (spans && span < spans->n && spans->items[span].end <= i)
            span++;
        m.in_span = spans && span < spans->n && spans->items[span].begin < i + n;
        decompose(&m, cp);
        i += n;
    }
    reorder(&m);
    recompose(&m);
    buf_reserve(out, len);
    for (size_t i = 0; i < m.n; i++) {
        char utf8[4];
        size_t n = utf8_write(m.data[i].cp, utf8);
        if (m.data[i].in_span && moved)
            text_spans_add(moved, out->len, out->len + n);
        buf_add(out, utf8, n);
    }
    free(m.data);
}
