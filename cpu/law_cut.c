/*
 * A weight has at most 24 significant bits, so the bits of the float that holds it are an
 * order-preserving key, and a radix selection over three digits of the key finds the exact weight
 * at which the prefix ends. Ties at that weight are then counted off by id.
 */
#include "law_cut.h"

#include "specd/law.h"
#include "specd/util.h"

#define KEY_BASE 0x3f800000u              /* bits of 1.0f, the smallest weight with mass */
#define KEY_SPAN (0x55800000u - KEY_BASE) /* up to 2^44 */
#define MID_SHIFT 9
#define TOP_SHIFT 18
#define DIGIT_MASK ((1u << MID_SHIFT) - 1)
#define TOP_DIGITS ((KEY_SPAN >> TOP_SHIFT) + 1)

struct selection {
    const float *w;
    int32_t n;
    bool by_mass;
    uint64_t need; /* still to be found among entries whose key starts with the digits found */
    uint64_t totals[TOP_DIGITS]; /* count or mass by digit */
};

static uint32_t key_of(float w)
{
    return fix_to_bits(w) - KEY_BASE;
}

/* What a weight adds towards `need`. */
static uint64_t share_of(const struct selection *s, float w)
{
    return s->by_mass ? (uint64_t)w : 1;
}

static void totals_top(struct selection *s)
{
    for (uint32_t d = 0; d < TOP_DIGITS; d++)
        s->totals[d] = 0;
    for (int32_t i = 0; i < s->n; i++) {
        if (s->w[i] >= 1.0f)
            s->totals[key_of(s->w[i]) >> TOP_SHIFT] += share_of(s, s->w[i]);
    }
}

/* Of entries whose key begins with `prefix`, by the digit below it. */
static void totals_below(struct selection *s, uint32_t prefix, int shift)
{
    for (uint32_t d = 0; d <= DIGIT_MASK; d++)
        s->totals[d] = 0;
    for (int32_t i = 0; i < s->n; i++) {
        uint32_t key = key_of(s->w[i]);

        /* A zero's key has higher bits than any prefix. */
        if (key >> (shift + MID_SHIFT) == prefix)
            s->totals[key >> shift & DIGIT_MASK] += share_of(s, s->w[i]);
    }
}

/* The digit in which the prefix of the order ends; what lies above it comes off s->need. The lowest
 * digit in use when there is not enough. */
static uint32_t digit_find(struct selection *s, uint32_t n_digits)
{
    uint32_t lowest = 0;

    for (uint32_t d = n_digits; d-- > 0;) {
        if (s->totals[d] >= s->need)
            return d;
        if (s->totals[d] > 0) {
            s->need -= s->totals[d];
            lowest = d;
        }
    }
    s->need = UINT64_MAX;
    return lowest;
}

struct law_cut law_cut_at(const float *w, int32_t n, uint64_t need, bool by_mass)
{
    struct selection s = {.w = w, .n = n, .by_mass = by_mass, .need = need};
    struct law_cut cut = {.id = -1};
    uint32_t key;

    ASSERT(need > 0);
    totals_top(&s);
    key = digit_find(&s, TOP_DIGITS);
    totals_below(&s, key, MID_SHIFT);
    key = key << MID_SHIFT | digit_find(&s, DIGIT_MASK + 1);
    totals_below(&s, key, 0);
    key = key << MID_SHIFT | digit_find(&s, DIGIT_MASK + 1);

    cut.w = fix_from_bits(key + KEY_BASE);
    for (int32_t i = 0; i < n && s.need > 0; i++) {
        if (w[i] == cut.w) {
            uint64_t share = share_of(&s, w[i]);

            cut.id = i;
            s.need -= MIN(share, s.need);
        }
    }
    return cut;
}
