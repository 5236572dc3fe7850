#include "grammar/pattern.h"

#include "grammar/chars.h"
#include "specd/error.h"
#include "specd/utf8.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
#define PATTERN_WORK 4096 /* of any pattern, however short */
#define MATCH 0u          /* the node at which the text has matched */

/* ---- Thompson's automaton -------------------------------------------------------------------- */

struct link {
    uint8_t lo, hi;
    uint32_t to, next; /* next of the same node, or NONE */
};
struct spot {
    bool split; /* goes on at both of `to`; else reads a byte along links */
    uint32_t links, to[2];
};
struct thompson {
    const struct pattern *p;
    struct spot *spots;
    struct link *links;
    uint32_t n_spots, n_links, cap_links;
    bool full;
    uint64_t *work; /* of the whole schema */
};

static uint32_t spot(struct thompson *t, bool split, uint32_t a, uint32_t b)
{
    if (t->n_spots == PATTERN_PARTS_MAX) {
        t->full = true;
        return MATCH;
    }
    t->spots[t->n_spots] = (struct spot){.split = split, .links = NONE, .to = {a, b}};
    return t->n_spots++;
}

static void join(struct thompson *t, uint32_t from, uint32_t lo, uint32_t hi, uint32_t to)
{
    if (t->full)
        return;
    if (t->n_links == t->cap_links) {
        t->cap_links = t->cap_links ? t->cap_links * 2 : 256;
        t->links = xrealloc(t->links, t->cap_links * sizeof *t->links);
    }
    t->links[t->n_links] = (struct link){(uint8_t)lo, (uint8_t)hi, to, t->spots[from].links};
    t->spots[from].links = t->n_links++;
}

/* A spot that reads one byte. */
static uint32_t byte(struct thompson *t, uint32_t lo, uint32_t hi, uint32_t to)
{
    uint32_t at = spot(t, false, 0, 0);
    join(t, at, lo, hi, to);
    return at;
}

/* The spots of one class that its ranges share; 0: not made yet. */
struct class_spots {
    uint32_t start, to;
    uint32_t tails[3];           /* so many + 1 continuation bytes, then to */
    uint32_t escape, control[2]; /* behind the backslash; behind \u000 and \u001 */
};

static uint32_t tails(struct thompson *t, struct class_spots *k, int n)
{
    if (n == 0)
        return k->to;
    if (k->tails[n - 1] == 0)
        k->tails[n - 1] = byte(t, 0x80, 0xBF, tails(t, k, n - 1));
    return k->tails[n - 1];
}

static void join_escape(struct thompson *t, struct class_spots *k, uint8_t c)
{
    char letter = chars_escape(c);
    uint32_t *control = &k->control[c >> 4 & 1];
    if (k->escape == 0) {
        k->escape = spot(t, false, 0, 0);
        join(t, k->start, '\\', '\\', k->escape);
    }
    if (letter != 'u') {
        join(t, k->escape, (uint8_t)letter, (uint8_t)letter, k->to);
        return;
    }
    if (*control == 0) {
        *control = spot(t, false, 0, 0);
        uint32_t half = byte(t, '0' + (c >> 4), '0' + (c >> 4), *control);
        uint32_t zeros = byte(t, '0', '0', byte(t, '0', '0', half));
        join(t, k->escape, 'u', 'u', zeros);
    }
    uint8_t digit = (uint8_t) "0123456789abcdef"[c & 15];
    join(t, *control, digit, digit, k->to);
}

static void join_ascii(struct thompson *t, struct class_spots *k, uint32_t lo, uint32_t hi)
{
    uint32_t from = lo;
    for (uint32_t c = lo; c <= hi; c++) {
        if (!chars_escape((uint8_t)c))
            continue;
        if (from < c)
            join(t, k->start, from, c - 1, k->to);
        join_escape(t, k, (uint8_t)c);
        from = c + 1;
    }
    if (from <= hi)
        join(t, k->start, from, hi, k->to);
}

/* Ranges of code points as ranges of bytes: cut where the number of bytes changes, and until all
 * bytes but the first ones that are equal run over their whole range, or only the last one differs
 * (as in Thompson's and RE2's compilers). */
static void join_codes(struct thompson *t, struct class_spots *k, uint32_t lo, uint32_t hi)
{
    static const uint32_t lasts[] = {0x7F, 0x7FF, 0xFFFF};
    uint8_t from[4], to[4];
    for (size_t i = 0; i < COUNT_OF(lasts); i++)
        if (lo <= lasts[i] && lasts[i] < hi) {
            join_codes(t, k, lo, lasts[i]);
            join_codes(t, k, lasts[i] + 1, hi);
            return;
        }
    if (hi <= 0x7F) {
        join_ascii(t, k, lo, hi);
        return;
    }
    for (int i = 1; i < 4; i++) {
        uint32_t low = (1u << 6 * i) - 1;
        if ((lo & ~low) == (hi & ~low))
            continue;
        if (lo & low || (hi & low) != low) {
            uint32_t cut = lo & low ? lo | low : (hi & ~low) - 1;
            join_codes(t, k, lo, cut);
            join_codes(t, k, cut + 1, hi);
            return;
        }
    }
    int n = (int)utf8_write(lo, (char *)from), fixed = 0;
    utf8_write(hi, (char *)to);
    while (fixed < n - 1 && from[fixed] == to[fixed])
        fixed++;
    uint32_t at = tails(t, k, n - 1 - fixed);
    for (int i = fixed; i > 0; i--)
        at = byte(t, from[i], to[i], at);
    join(t, k->start, from[0], to[0], at);
}

static uint32_t class_spot(struct thompson *t, const struct part *part, uint32_t next)
{
    struct class_spots k = {.start = spot(t, false, 0, 0), .to = next};
    for (uint32_t i = 0; i < part->b && !t->full; i++) {
        struct code_range r = t->p->ranges[part->a + i];
        if (r.lo <= r.hi)
            join_codes(t, &k, r.lo, r.hi);
    }
    return k.start;
}

static uint32_t emit(struct thompson *t, uint32_t at, uint32_t next)
{
    const struct part *part = &t->p->parts[at];
    uint32_t node = next;
    if (++*t->work > NETWORK_WORK_MAX) /* nothing at all can be repeated for ever */
        t->full = true;
    if (t->full)
        return MATCH;
    switch (part->kind) {
    case PART_EMPTY:
        return next;
    case PART_CLASS:
        return class_spot(t, part, next);
    case PART_CAT:
        return emit(t, part->a, emit(t, part->b, next));
    case PART_ALT:
        node = emit(t, part->a, next);
        return spot(t, true, node, emit(t, part->b, next));
    case PART_REPEAT:
        break;
    }
    if (part->max == NODE_NO_MAX) {
        node = spot(t, true, next, next);
        uint32_t body = emit(t, part->a, node);
        t->spots[node].to[0] = body;
    } else {
        for (uint32_t i = part->min; i < part->max && !t->full; i++)
            node = spot(t, true, emit(t, part->a, node), next);
    }
    for (uint32_t i = 0; i < part->min && !t->full; i++)
        node = emit(t, part->a, node);
    return node;
}

/* ---- subsets --------------------------------------------------------------------------------- */

struct subsets {
    const struct thompson *t;
    uint64_t *sets; /* (n, words): bits of the spots that read, and MATCH */
    uint32_t n, cap, words;
    uint32_t *table; /* hash table of sets, by number + 1 */
    uint32_t *stack; /* scratch of the closure */
    bool *on_stack;
    uint32_t *marked; /* those of on_stack */
    uint64_t *work;
};

static void close_over(struct subsets *s, uint64_t *set, uint32_t at)
{
    uint32_t n = 0, n_marked = 0;
    s->stack[n++] = at;
    while (n > 0) {
        uint32_t i = s->stack[--n];
        if (s->on_stack[i])
            continue;
        s->on_stack[i] = true;
        s->marked[n_marked++] = i;
        if (!s->t->spots[i].split) {
            set[i / 64] |= UINT64_C(1) << i % 64;
            continue;
        }
        s->stack[n++] = s->t->spots[i].to[1];
        s->stack[n++] = s->t->spots[i].to[0];
    }
    *s->work += n_marked;
    while (n_marked > 0)
        s->on_stack[s->marked[--n_marked]] = false;
}

#define TABLE_SIZE (PATTERN_STATES_MAX * 4)

/* The number of the set behind the last, which becomes a state unless there is an equal one; NONE
 * when there are too many. */
static uint32_t intern(struct subsets *s)
{
    const uint64_t *set = s->sets + (size_t)s->n * s->words;
    uint64_t h = 0;
    for (uint32_t i = 0; i < s->words; i++) {
        h = (h ^ set[i]) * UINT64_C(0x9E3779B97F4A7C15);
        h ^= h >> 29;
    }
    *s->work += s->words / 4;
    for (uint64_t i = h;; i++) {
        uint32_t *slot = &s->table[i % TABLE_SIZE];
        if (*slot == 0) {
            if (s->n == PATTERN_STATES_MAX)
                return NONE;
            return (*slot = ++s->n) - 1;
        }
        if (memcmp(set, s->sets + (size_t)(*slot - 1) * s->words, s->words * 8) == 0)
            return *slot - 1;
    }
}

/* An empty set behind the last. */
static uint64_t *fresh(struct subsets *s)
{
    if (s->n + 1 >= s->cap) {
        s->cap = s->cap ? s->cap * 2 : 64;
        s->sets = xrealloc(s->sets, (size_t)s->cap * s->words * 8);
    }
    return memset(s->sets + (size_t)s->n * s->words, 0, s->words * 8);
}

/* The links of a state's spots. */
static size_t gather(struct subsets *s, uint32_t state, struct link *out)
{
    size_t n = 0;
    for (uint32_t i = 0; i < s->words; i++)
        for (uint64_t bits = s->sets[(size_t)state * s->words + i]; bits; bits &= bits - 1) {
            uint32_t at = i * 64 + (uint32_t)__builtin_ctzll(bits);
            for (uint32_t l = s->t->spots[at].links; l != NONE; l = s->t->links[l].next)
                out[n++] = s->t->links[l];
        }
    return n;
}

/* The states that follow one, as edges; false when there are too many. */
static bool follow(struct subsets *s, uint32_t state, struct link *links, struct edge *edges,
                   size_t *n_edges)
{
    bool cut[257] = {false};
    size_t n = gather(s, state, links);
    *n_edges = 0;
    for (size_t i = 0; i < n; i++)
        cut[links[i].lo] = cut[links[i].hi + 1] = true;
    for (unsigned lo = 0, hi; lo < 256; lo = hi + 1) {
        bool any = false;
        for (hi = lo; hi < 255 && !cut[hi + 1]; hi++)
            ;
        uint64_t *set = fresh(s);
        for (size_t i = 0; i < n; i++)
            if (links[i].lo <= lo && hi <= links[i].hi) {
                close_over(s, set, links[i].to);
                any = true;
            }
        *s->work += n + 1;
        if (!any)
            continue;
        uint32_t to = intern(s);
        if (to == NONE || *s->work > NETWORK_WORK_MAX)
            return false;
        edges[(*n_edges)++] = (struct edge){(uint8_t)lo, (uint8_t)hi, to};
    }
    return true;
}

/* States are found in the order of their numbers; each gets a node when it is found, which its
 * edges are set to later. */
static bool build(struct subsets *s, struct network *w, uint32_t start, uint32_t next,
                  uint32_t *nodes)
{
    struct link *links = xmalloc((s->t->n_links + 1) * sizeof *links);
    struct edge edges[257];
    size_t n;
    uint32_t made = 0;
    bool ok = true;
    close_over(s, fresh(s), start);
    intern(s);
    for (uint32_t state = 0; state < s->n && ok && !w->full; state++) {
        ok = follow(s, state, links, edges, &n);
        for (; made < s->n; made++)
            nodes[made] = network_later(w);
        for (size_t i = 0; i < n && ok; i++)
            edges[i].to = nodes[edges[i].to];
        if (s->sets[(size_t)state * s->words] & 1) /* MATCH */
            edges[n++] = (struct edge){'"', '"', next};
        if (ok)
            network_set(w, nodes[state], NODE_BYTES, edges, n);
    }
    free(links);
    return ok;
}

int pattern_network(const struct pattern *p, struct network *w, uint32_t next, uint32_t *start,
                    char *err, size_t errlen)
{
    struct thompson t = {
        .p = p, .spots = xmalloc(PATTERN_PARTS_MAX * sizeof *t.spots), .work = &w->work};
    w->work += PATTERN_WORK;
    spot(&t, false, 0, 0);
    uint32_t first = emit(&t, p->root, MATCH);
    bool ok = !t.full;
    if (ok) {
        struct subsets s = {.t = &t, .words = (t.n_spots + 63) / 64, .work = &w->work};
        uint32_t *nodes = xmalloc(PATTERN_STATES_MAX * sizeof *nodes);
        s.table = xcalloc(TABLE_SIZE, sizeof *s.table);
        s.stack = xmalloc((2 * t.n_spots + 2) * sizeof *s.stack);
        s.marked = xmalloc(t.n_spots * sizeof *s.marked);
        s.on_stack = xcalloc(t.n_spots, sizeof *s.on_stack);
        ok = build(&s, w, first, next, nodes);
        *start = nodes[0];
        free(s.on_stack);
        free(s.marked);
        free(s.stack);
        free(s.table);
        free(s.sets);
        free(nodes);
    }
    free(t.links);
    free(t.spots);
    return ok ? 0
              : fail(SPECD_EINVAL, err, errlen,
                     "its automaton is too large, itself or with those before it");
}
