#include "acceptance.h"

#include "specd/util.h"

#include <string.h>

/* Weight of an observation, with each later one in its bucket: of one request's, of all requests'.
 */
#define DECAY 0.95f
#define SHARED_DECAY 0.99f
/* The same with each round of the drafter that shows nothing of the bucket. */
#define FADE 0.98f
#define SHARED_FADE 0.99f
/* Observations that a starting estimate is worth: the prior to a request, the prior to what all
 * requests showed, and that to a request, at most. */
#define PRIOR_WEIGHT 2.0
#define SHARED_PRIOR_WEIGHT 4.0
#define SHARED_WEIGHT_MAX 6.0
/* Weights of a position in what was off lately, and in which estimate came nearer. */
#define LATELY_RATE 0.5f
#define REST_FADE 0.95f /* of what was off, with each round that shows nothing */
#define ERROR_RATE 0.15f
#define NEARER 0.4f /* of the other's error: then it is gone by */

/* ---- kinds of text --------------------------------------------------------------------------- */

#define MARKS_WINDOW 300.0f /* bytes */
#define MARKS_FEW 40.0f     /* bytes that say nothing yet */
#define MARKS_CODE 0.10f    /* share of marks above which a text is no prose */

/* A blank counts after a blank or a line's end: indentation, columns. */
static bool is_mark(char c, char before)
{
    if (c == ' ' || c == '\t')
        return before == ' ' || before == '\t' || before == '\n';
    return c != '\0' && strchr("{}[]()<>=;_\"#/\\|&*+$@", c);
}

void text_marks_add(struct text_marks *t, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        t->bytes += 1 - t->bytes / MARKS_WINDOW;
        t->marks += (float)is_mark(text[i], t->last) - t->marks / MARKS_WINDOW;
        t->last = text[i];
    }
}

enum text_kind text_marks_kind(const struct text_marks *t)
{
    if (t->bytes < MARKS_FEW)
        return TEXT_NEW;
    return t->marks > MARKS_CODE * t->bytes ? TEXT_CODE : TEXT_PROSE;
}

/* ---- evidence -------------------------------------------------------------------------------- */

static int bucket_of(const struct drafter *drafter, int32_t match, int32_t position)
{
    static const int32_t ends[ACCEPTANCE_BUCKETS - 1] = {1, 2, 4, 8, 16}; /* the last has none */
    int32_t x = drafter->by_match ? MAX(match, 2) + position - 2 : position;
    int b = 0;
    while (b < ACCEPTANCE_BUCKETS - 1 && x > ends[b])
        b++;
    return b;
}

void acceptance_init(struct acceptance *a, struct acceptance_shared *shared, bool drawn)
{
    *a = (struct acceptance){.shared = shared, .drawn = drawn};
}

static struct acceptance_evidence *shared_of(const struct acceptance *a)
{
    return a->shared ? &a->shared->of[a->drawn][a->kind] : NULL;
}

static void evidence_add(struct acceptance_evidence *e, enum drafter_type d, int bucket, float x,
                         float decay)
{
    e->sum[d][bucket] = e->sum[d][bucket] * decay + x;
    e->weight[d][bucket] = e->weight[d][bucket] * decay + 1.0f;
}

/* Buckets that a round showed nothing of are forgotten slowly: a position that is not drafted any
 * more because it was bad would otherwise stay bad. */
static void evidence_fade(struct acceptance_evidence *e, enum drafter_type d, uint32_t seen,
                          float decay)
{
    for (int b = 0; b < ACCEPTANCE_BUCKETS; b++) {
        if (seen >> b & 1)
            continue;
        e->sum[d][b] *= decay;
        e->weight[d][b] *= decay;
    }
}

/* A mean of what was seen and a starting estimate, which counts as `weight` observations. */
static double mean_with(const struct acceptance_evidence *e, enum drafter_type d, int bucket,
                        double start, double weight)
{
    return (e->sum[d][bucket] + weight * start) / (e->weight[d][bucket] + weight);
}

/* By bucket, from all that was seen. */
static void estimate_buckets(const struct acceptance *a, const struct drafter *drafter,
                             double buckets[ACCEPTANCE_BUCKETS])
{
    const struct acceptance_evidence *shared = shared_of(a);
    enum drafter_type d = drafter->type;
    double before = 0;
    for (int b = 0; b < ACCEPTANCE_BUCKETS; b++) {
        double start = MAX(drafter->prior[b], before), weight = PRIOR_WEIGHT;
        if (shared) {
            start = mean_with(&a->shared->all, d, b, start, SHARED_PRIOR_WEIGHT);
            start = mean_with(shared, d, b, start, SHARED_PRIOR_WEIGHT);
            weight += MIN((double)a->shared->all.weight[d][b], SHARED_WEIGHT_MAX);
        }
        before = buckets[b] = mean_with(&a->own, d, b, start, weight);
    }
}

static double with_off(const struct acceptance *a, enum drafter_type d, double chance)
{
    return MIN(MAX(chance + (double)a->lately[d].off, 0.0), 1.0);
}

void acceptance_estimate(const struct acceptance *a, const struct drafter *drafter, int32_t match,
                         double *out, int32_t n)
{
    double buckets[ACCEPTANCE_BUCKETS];
    enum drafter_type d = drafter->type;
    bool turned = a->lately[d].error_beside < NEARER * a->lately[d].error;
    estimate_buckets(a, drafter, buckets);
    for (int32_t k = 0; k < n; k++) {
        out[k] = buckets[bucket_of(drafter, match, k + 1)];
        if (turned)
            out[k] = with_off(a, d, out[k]);
    }
}

/* ---- observations ---------------------------------------------------------------------------- */

static void note_off(struct acceptance *a, enum drafter_type d, double expected, float x)
{
    float off = x - (float)expected, beside = x - (float)with_off(a, d, expected);
    a->lately[d].error += ERROR_RATE * (off * off - a->lately[d].error);
    a->lately[d].error_beside += ERROR_RATE * (beside * beside - a->lately[d].error_beside);
    a->lately[d].off += LATELY_RATE * (off - a->lately[d].off);
}

/* NaN counts as rejected. */
static float believed(float overlap)
{
    return overlap > 0 ? MIN(overlap, 1.0f) : 0.0f;
}

void acceptance_observe(struct acceptance *a, const struct drafter *drafter, int32_t match,
                        const float *overlap, int32_t n)
{
    struct {
        struct acceptance_evidence *e;
        float decay, fade;
    } levels[] = {{&a->own, DECAY, FADE},
                  {shared_of(a), SHARED_DECAY, SHARED_FADE},
                  {a->shared ? &a->shared->all : NULL, SHARED_DECAY, SHARED_FADE}};
    double expected[ACCEPTANCE_BUCKETS];
    ASSERT(n >= 0 && n <= SPECD_K_MAX);
    estimate_buckets(a, drafter, expected);
    for (int32_t i = 0; i < n; i++)
        note_off(a, drafter->type, expected[bucket_of(drafter, match, i + 1)],
                 believed(overlap[i]));
    for (size_t l = 0; l < COUNT_OF(levels) && levels[l].e; l++) {
        uint32_t seen = 0;
        for (int32_t i = 0; i < n; i++) {
            int b = bucket_of(drafter, match, i + 1);
            evidence_add(levels[l].e, drafter->type, b, believed(overlap[i]), levels[l].decay);
            seen |= 1u << b;
        }
        if (n > 0)
            evidence_fade(levels[l].e, drafter->type, seen, levels[l].fade);
    }
}

void acceptance_rest(struct acceptance *a)
{
    for (int d = 0; d < DRAFT_TYPES; d++)
        a->lately[d].off *= REST_FADE;
}
