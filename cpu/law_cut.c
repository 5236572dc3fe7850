/*
 * A weight has at most 24 significant bits, so the bits of the float that holds it are an
 * order-preserving key, and a radix selection over three digits of the key finds the exact weight
 * at which the prefix ends. Ties at that weight are then counted off by id.
 *
 * A vocabulary is long and the end of a prefix concerns few entries. So a sample of the row guesses
 * a window of weights in which the prefix ends, one vectorised pass adds up exactly what lies above
 * the window and lists the entries inside, and the selection runs on the list. A wrong guess shows
 * in the exact sums and costs a second pass over all entries; it never changes the result.
 */
#include "law_cut.h"

#include "law_kernels.h"
#include "specd/util.h"

#include <string.h>

#define KEY_BASE 0x3f800000u              /* bits of 1.0f, the smallest weight with mass */
#define KEY_SPAN (0x55800000u - KEY_BASE) /* up to 2^44 */
#define MID_SHIFT 9
#define TOP_SHIFT 18
#define DIGIT_MASK ((1u << MID_SHIFT) - 1)
#define TOP_DIGITS ((KEY_SPAN >> TOP_SHIFT) + 1)

#define SAMPLE_EVERY 16
#define SAMPLE_FROM 1024 /* entries; shorter rows are not worth a guess */
#define SAMPLE_SIGMAS 3.0
#define UNUSED_DIGITS 64 /* two octaves */

/* ---- a row in parts -------------------------------------------------------------------------- */

struct parts {
    law_part_fn *fn;
    void *arg;
    int32_t n, n_parts;
};

static void run_part(void *arg, int i)
{
    const struct parts *p = arg;
    int64_t chunks = (p->n + LAW_CHUNK - 1) / LAW_CHUNK;
    int32_t first = (int32_t)(chunks * i / p->n_parts) * LAW_CHUNK;
    int32_t end = (int32_t)(chunks * (i + 1) / p->n_parts) * LAW_CHUNK;

    p->fn(p->arg, i, first, MIN(end, p->n));
}

int law_in_parts(const struct law_threads *threads, int32_t n, law_part_fn *fn, void *arg)
{
    struct parts p = {fn, arg, n, threads ? MIN(threads->n, LAW_PARTS) : 1};

    if (p.n_parts > 1)
        threads->run(threads->with, p.n_parts, run_part, &p);
    else
        run_part(&p, 0);
    return p.n_parts;
}

/* ---- what is looked for ---------------------------------------------------------------------- */

struct selection {
    const float *w;
    int32_t n;
    struct law_rank rank; /* need: still to be found among entries below those passed over */
    int32_t *ids;         /* of the window's entries, ascending */
    int32_t n_ids;
    struct law_total above; /* of entries above the window */
    const struct law_threads *threads;
    uint64_t totals[TOP_DIGITS]; /* count or mass by digit */
};

/* First digits: entries with lo <= digit < hi. */
struct window {
    uint32_t lo, hi;
};

static uint32_t key_of(float w)
{
    return fix_to_bits(w) - KEY_BASE;
}

/* The smallest weight with that first digit; TOP_DIGITS: above all weights. */
static float digit_weight(uint32_t digit)
{
    return fix_from_bits((digit << TOP_SHIFT) + KEY_BASE);
}

/* What a weight adds towards `need`. */
static uint64_t share_of(const struct selection *s, float w)
{
    return s->rank.by_mass ? (uint64_t)w : 1;
}

static void totals_clear(struct selection *s, uint32_t first, uint32_t end)
{
    memset(s->totals + first, 0, (end - first) * sizeof(s->totals[0]));
}

/* ---- the window ------------------------------------------------------------------------------ */

/* Returns the lowest digit in use. Zeros, which have no digit, go to 0: it is an estimate. */
static uint32_t totals_of_sample(struct selection *s)
{
    uint32_t lowest = TOP_DIGITS;

    totals_clear(s, 0, TOP_DIGITS);
    for (int32_t i = 0; i < s->n; i += SAMPLE_EVERY) {
        float w = s->w[i];
        uint32_t d = w >= 1.0f ? key_of(w) >> TOP_SHIFT : 0;

        s->totals[d] += share_of(s, w);
        lowest = MIN(lowest, d > 0 ? d : TOP_DIGITS);
    }
    return lowest;
}

/* Square of the standard error of `tail`, the estimated total of entries below digit d. Each such
 * entry was seen with probability 1 / SAMPLE_EVERY; one more is taken as seen, lest nothing pass
 * for certainty. The error of a count is also that of its complement. */
static double variance(const struct selection *s, uint32_t d, double tail)
{
    double share = s->rank.by_mass ? (double)digit_weight(d) : 1.0;

    if (!s->rank.by_mass)
        tail = MAX(MIN(tail, (double)s->rank.total - tail), 0.0);
    return share * SAMPLE_EVERY * (tail + share * SAMPLE_EVERY);
}

/* Where the prefix most likely ends: what lies below it is what is not needed. */
static struct window window_guess(struct selection *s)
{
    struct window window = {0, TOP_DIGITS};
    double spare, tail = 0.0;

    if (s->n < SAMPLE_FROM || s->rank.need >= s->rank.total)
        return window;
    spare = (double)(s->rank.total - s->rank.need);
    uint32_t lowest = totals_of_sample(s);
    tail = (double)s->totals[0] * SAMPLE_EVERY;
    /* Of unused digits some are looked at: entries that the sample missed may have them. */
    for (uint32_t d = lowest > UNUSED_DIGITS ? lowest - UNUSED_DIGITS : 1; d < TOP_DIGITS; d++) {
        double gap = spare - tail;
        bool sure = gap * gap > SAMPLE_SIGMAS * SAMPLE_SIGMAS * variance(s, d, tail);

        if (sure && gap < 0.0) {
            window.hi = d;
            break;
        }
        if (sure)
            window.lo = d;
        tail += (double)s->totals[d] * SAMPLE_EVERY;
    }
    return window;
}

/* One pass over the row; a part lists its entries where they would lie if all were listed. */
struct collection {
    const struct selection *s;
    float lo, hi;
    struct {
        int32_t first, n;
        struct law_total above;
    } parts[LAW_PARTS];
};

static void collect_part(void *arg, int part, int32_t first, int32_t end)
{
    struct collection *c = arg;
    int32_t n = 0;
    struct law_total above = {0};

    for (int32_t at = first; at < end; at += LAW_CHUNK)
        n += law_kernels_pick()->collect(c->s->w + at, MIN(LAW_CHUNK, end - at), at, c->lo, c->hi,
                                         c->s->ids + first + n, &above);
    c->parts[part].first = first;
    c->parts[part].n = n;
    c->parts[part].above = above;
}

/* Lists the entries in the window and adds up what lies above it. */
static void window_collect(struct selection *s, struct window window)
{
    struct collection c = {s, digit_weight(window.lo), digit_weight(window.hi), {{0}}};

    s->n_ids = 0;
    s->above = (struct law_total){0};
    for (int i = 0, n = law_in_parts(s->threads, s->n, collect_part, &c); i < n; i++) {
        memmove(s->ids + s->n_ids, s->ids + c.parts[i].first,
                (size_t)c.parts[i].n * sizeof(*s->ids));
        s->n_ids += c.parts[i].n;
        s->above.count += c.parts[i].above.count;
        s->above.mass += c.parts[i].above.mass;
    }
}

/* ---- the selection --------------------------------------------------------------------------- */

/* Of the window's entries, by first digit; returns their sum. */
static uint64_t totals_top(struct selection *s, struct window window)
{
    uint64_t sum = 0;

    totals_clear(s, window.lo, window.hi);
    for (int32_t i = 0; i < s->n_ids; i++) {
        float w = s->w[s->ids[i]];

        s->totals[key_of(w) >> TOP_SHIFT] += share_of(s, w);
        sum += share_of(s, w);
    }
    return sum;
}

/* Leaves only the entries with that first digit; those above it have been counted. */
static void window_narrow(struct selection *s, uint32_t digit)
{
    int32_t n = 0;

    for (int32_t i = 0; i < s->n_ids; i++) {
        float w = s->w[s->ids[i]];
        uint32_t d = key_of(w) >> TOP_SHIFT;

        if (d == digit)
            s->ids[n++] = s->ids[i];
        else if (d > digit)
            s->above.mass += (uint64_t)w;
    }
    s->n_ids = n;
}

/* Of entries whose key begins with `prefix`, by the digit below it. */
static void totals_below(struct selection *s, uint32_t prefix, int shift)
{
    totals_clear(s, 0, DIGIT_MASK + 1);
    for (int32_t i = 0; i < s->n_ids; i++) {
        float w = s->w[s->ids[i]];
        uint32_t key = key_of(w);

        if (key >> (shift + MID_SHIFT) == prefix)
            s->totals[key >> shift & DIGIT_MASK] += share_of(s, w);
    }
}

/* The digit, of first .. end, in which the prefix of the order ends; what lies above it comes off
 * need. The lowest digit in use when there is not enough. */
static uint32_t digit_find(struct selection *s, uint32_t first, uint32_t end)
{
    uint32_t lowest = first;

    for (uint32_t d = end; d-- > first;) {
        if (s->totals[d] >= s->rank.need)
            return d;
        if (s->totals[d] > 0) {
            s->rank.need -= s->totals[d];
            lowest = d;
        }
    }
    s->rank.need = UINT64_MAX;
    return lowest;
}

static float weight_find(struct selection *s, struct window window)
{
    uint32_t key = digit_find(s, window.lo, window.hi);

    window_narrow(s, key);
    totals_below(s, key, MID_SHIFT);
    key = key << MID_SHIFT | digit_find(s, 0, DIGIT_MASK + 1);
    totals_below(s, key, 0);
    key = key << MID_SHIFT | digit_find(s, 0, DIGIT_MASK + 1);
    return fix_from_bits(key + KEY_BASE);
}

/* Whether the prefix ends in the window; if so, need becomes what the window must give. Leaves the
 * window's totals by first digit. */
static bool window_holds(struct selection *s, struct window window)
{
    uint64_t above = s->rank.by_mass ? s->above.mass : s->above.count;
    uint64_t inside = totals_top(s, window);

    if (above >= s->rank.need || above + inside < s->rank.need)
        return false;
    s->rank.need -= above;
    return true;
}

struct law_cut law_cut_at(const float *w, int32_t n, struct law_rank rank, int32_t *ids,
                          const struct law_threads *threads)
{
    struct selection s = {.w = w, .n = n, .rank = rank, .ids = ids, .threads = threads};
    struct law_cut cut = {.id = -1};

    ASSERT(rank.need > 0);
    struct window window = window_guess(&s);
    window_collect(&s, window);
    if (!window_holds(&s, window)) {
        window = (struct window){0, TOP_DIGITS};
        window_collect(&s, window);
        totals_top(&s, window);
    }
    cut.w = weight_find(&s, window);
    cut.sum = s.above.mass;
    for (int32_t i = 0; i < s.n_ids; i++) {
        float x = w[ids[i]];

        if (x == cut.w && s.rank.need > 0) {
            cut.id = ids[i];
            s.rank.need -= MIN(share_of(&s, x), s.rank.need);
            cut.sum += (uint64_t)x;
        } else if (x > cut.w) {
            cut.sum += (uint64_t)x;
        }
    }
    return cut;
}
