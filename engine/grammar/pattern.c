#include "grammar/lists.h"
#include "grammar/pattern.h"

#include "grammar/chars.h"
#include "specd/error.h"
#include "specd/utf8.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
#define PATTERN_WORK 4096 /* of any pattern, however short */
#define EDGE_WORK 4       /* of an edge: its memory counts, too */
#define TOO_LARGE "its automaton is too large, itself or with those before it"
#define MATCH 0u /* the node at which the text has matched */

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
    uint32_t n_spots, cap_spots, n_links, cap_links;
    bool full;
    uint64_t *work; /* of the whole schema */
};

static uint32_t spot(struct thompson *t, bool split, uint32_t a, uint32_t b)
{
    if (t->n_spots == PATTERN_SPOTS_MAX) {
        t->full = true;
        return MATCH;
    }
    if (t->n_spots == t->cap_spots) {
        t->cap_spots = t->cap_spots ? t->cap_spots * 2 : 256;
        t->spots = xrealloc(t->spots, t->cap_spots * sizeof *t->spots);
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

/* Sets of spots that read, and MATCH, sorted. */
struct subsets {
    const struct thompson *t;
    struct lists sets;
    uint32_t *stack; /* scratch of the closure */
    bool *on_stack;
    uint32_t *marked; /* those of on_stack */
    uint64_t *work;
};

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Adds what is reached from a spot without a byte to the set that is being made; on_stack keeps
 * what is in it until it is interned. */
static void close_over(struct subsets *s, uint32_t at, uint32_t *n_marked)
{
    uint32_t n = 0;
    s->stack[n++] = at;
    while (n > 0) {
        uint32_t i = s->stack[--n];
        *s->work += 1;
        if (s->on_stack[i])
            continue;
        s->on_stack[i] = true;
        s->marked[(*n_marked)++] = i;
        if (s->t->spots[i].split) {
            s->stack[n++] = s->t->spots[i].to[1];
            s->stack[n++] = s->t->spots[i].to[0];
        }
    }
}

/* The number of the set of the marked spots, which becomes a state unless there is an equal one;
 * NONE when there are too many. */
static uint32_t intern(struct subsets *s, uint32_t n_marked)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_marked; i++) {
        s->on_stack[s->marked[i]] = false;
        if (!s->t->spots[s->marked[i]].split)
            s->marked[n++] = s->marked[i];
    }
    qsort(s->marked, n, sizeof *s->marked, by_number);
    *s->work += n;
    uint32_t set = lists_put(&s->sets, s->marked, n);
    bool full = s->sets.n > PATTERN_STATES_MAX || s->sets.first[s->sets.n] > PATTERN_SETS_MAX;
    return full ? NONE : set;
}

static void add_edge(struct dfa *d, struct edge e)
{
    if (d->n_edges == d->cap_edges) {
        d->cap_edges = d->cap_edges ? d->cap_edges * 2 : 64;
        d->edges = xrealloc(d->edges, d->cap_edges * sizeof *d->edges);
    }
    d->edges[d->n_edges++] = e;
}

/* A state behind the last; its edges are those added from now on. */
static void add_state(struct dfa *d, bool accepts)
{
    if (d->n + 1 >= d->cap) {
        d->cap = d->cap ? d->cap * 2 : 64;
        d->first = xrealloc(d->first, (d->cap + 1) * sizeof *d->first);
        d->accepts = xrealloc(d->accepts, d->cap * sizeof *d->accepts);
    }
    d->accepts[d->n] = accepts;
    d->first[d->n++] = d->n_edges;
    d->first[d->n] = d->n_edges;
}

/* The states that follow one, as edges; false when there are too many. */
static bool follow(struct subsets *s, uint32_t state, struct link *links, struct dfa *d)
{
    bool cut[257] = {false};
    size_t n = 0;
    uint32_t n_spots;
    const uint32_t *set = lists_at(&s->sets, state, &n_spots);
    for (uint32_t i = 0; i < n_spots; i++)
        for (uint32_t l = s->t->spots[set[i]].links; l != NONE; l = s->t->links[l].next)
            links[n++] = s->t->links[l];
    for (size_t i = 0; i < n; i++)
        cut[links[i].lo] = cut[links[i].hi + 1] = true;
    for (unsigned lo = 0, hi; lo < 256; lo = hi + 1) {
        uint32_t n_marked = 0;
        for (hi = lo; hi < 255 && !cut[hi + 1]; hi++)
            ;
        for (size_t i = 0; i < n; i++)
            if (links[i].lo <= lo && hi <= links[i].hi)
                close_over(s, links[i].to, &n_marked);
        *s->work += n + 1;
        if (n_marked == 0)
            continue;
        uint32_t to = intern(s, n_marked);
        *s->work += EDGE_WORK;
        if (to == NONE || *s->work > NETWORK_WORK_MAX)
            return false;
        add_edge(d, (struct edge){(uint8_t)lo, (uint8_t)hi, to});
    }
    return true;
}

/* States are found in the order of their numbers. */
static bool build(struct subsets *s, uint32_t start, struct dfa *d)
{
    struct link *links = xmalloc((s->t->n_links + 1) * sizeof *links);
    uint32_t n_marked = 0;
    bool ok = true;
    close_over(s, start, &n_marked);
    intern(s, n_marked);
    for (uint32_t state = 0; state < s->sets.n && ok; state++) {
        uint32_t n;
        const uint32_t *set = lists_at(&s->sets, state, &n);
        add_state(d, n > 0 && set[0] == MATCH);
        ok = follow(s, state, links, d);
        d->first[d->n] = d->n_edges;
    }
    free(links);
    return ok;
}

int pattern_dfa(const struct pattern *p, struct dfa *d, uint64_t *work, char *err, size_t errlen)
{
    struct thompson t = {.p = p, .work = work};
    *d = (struct dfa){0};
    *work += PATTERN_WORK;
    spot(&t, false, 0, 0);
    uint32_t first = emit(&t, p->root, MATCH);
    bool ok = !t.full;
    if (ok) {
        struct subsets s = {.t = &t, .work = work};
        s.stack = xmalloc((2 * t.n_spots + 2) * sizeof *s.stack);
        s.marked = xmalloc(t.n_spots * sizeof *s.marked);
        s.on_stack = xcalloc(t.n_spots, sizeof *s.on_stack);
        ok = build(&s, first, d);
        free(s.on_stack);
        free(s.marked);
        free(s.stack);
        lists_free(&s.sets);
    }
    free(t.links);
    free(t.spots);
    return ok ? 0 : fail(SPECD_EINVAL, err, errlen, TOO_LARGE);
}

/* ---- deterministic automata ------------------------------------------------------------------ */

/* Words that share their first `offset` bytes, level by level: a queue of such runs. */
void dfa_of_words(struct dfa *d, const struct word *words, size_t n)
{
    struct run {
        size_t from, to, offset;
    } * runs;
    size_t n_runs = 0, bytes = 1;
    *d = (struct dfa){0};
    for (size_t i = 0; i < n; i++)
        bytes += words[i].len;
    runs = xmalloc(bytes * sizeof *runs);
    runs[n_runs++] = (struct run){0, n, 0};
    for (size_t state = 0; state < n_runs; state++) {
        struct run r = runs[state];
        bool whole = r.from < r.to && words[r.from].len == r.offset;
        add_state(d, whole);
        for (size_t from = r.from + whole, to; from < r.to; from = to) {
            char byte = words[from].text[r.offset];
            for (to = from; to < r.to && words[to].text[r.offset] == byte; to++)
                ;
            add_edge(d, (struct edge){(uint8_t)byte, (uint8_t)byte, (uint32_t)n_runs});
            runs[n_runs++] = (struct run){from, to, r.offset + 1};
        }
        d->first[d->n] = d->n_edges;
    }
    free(runs);
}

void dfa_without(struct dfa *d, const char *word)
{
    uint8_t first = (uint8_t)word[0];
    *d = (struct dfa){0};
    for (uint32_t i = 0; word[i]; i++) {
        add_state(d, true);
        for (unsigned byte = 0; byte < 256; byte++) {
            uint32_t to = byte == (uint8_t)word[i] ? i + 1 : byte == first ? 1 : 0;
            struct edge *last = d->n_edges > d->first[i] ? &d->edges[d->n_edges - 1] : NULL;
            if (word[to] != '\0' && last && last->to == to && last->hi + 1u == byte)
                last->hi++;
            else if (word[to] != '\0')
                add_edge(d, (struct edge){(uint8_t)byte, (uint8_t)byte, to});
        }
        d->first[d->n] = d->n_edges;
    }
}

uint32_t dfa_next(const struct dfa *d, uint32_t state, uint8_t byte)
{
    if (state == DFA_DEAD)
        return DFA_DEAD;
    for (uint32_t i = d->first[state]; i < d->first[state + 1]; i++)
        if (d->edges[i].lo <= byte && byte <= d->edges[i].hi)
            return d->edges[i].to;
    return DFA_DEAD;
}

bool dfa_accepts(const struct dfa *d, const char *text, size_t n)
{
    uint32_t state = 0;
    for (size_t i = 0; i < n; i++)
        state = dfa_next(d, state, (uint8_t)text[i]);
    return state != DFA_DEAD && d->accepts[state];
}

void dfa_free(struct dfa *d)
{
    free(d->edges);
    free(d->first);
    free(d->accepts);
    *d = (struct dfa){0};
}
