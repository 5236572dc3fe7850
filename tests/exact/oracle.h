/*
 * oracle.h - laws and draws the slow, obvious way: a sorted row, 128-bit sums, every entry of a
 * race. The integer weight of one logit (fix_exp44) and the random words are specd's own; they have
 * tests of their own.
 */
#ifndef SPECD_TEST_ORACLE_H
#define SPECD_TEST_ORACLE_H

#include "law.h"
#include "specd/util.h"

#include <math.h>
#include <stdlib.h>

struct oracle_law {
    int32_t n;
    bool bad;
    int32_t top;
    uint64_t *w, sum; /* kept weights (n) */
};

struct oracle_entry {
    uint64_t w;
    int32_t id;
};

static inline int oracle_order(const void *pa, const void *pb)
{
    const struct oracle_entry *a = pa, *b = pb;

    if (a->w != b->w)
        return a->w > b->w ? -1 : 1;
    return a->id < b->id ? -1 : 1;
}

static inline float oracle_logit(const float *logits, const struct law_context *c, int32_t id)
{
    const struct sample_params *s = c->params;
    int all = c->counts_all ? c->counts_all[id] : 0;
    int generated = c->counts_generated ? c->counts_generated[id] : 0;
    float z = logits[id];

    if (all > 0)
        z = z > 0 ? z / c->law->repetition : z * c->law->repetition;
    if (generated > 0) {
        z = z - c->law->frequency * (float)generated;
        z = z - c->law->presence;
    }
    z = fminf(z, FLT_MAX);
    for (int i = 0; i < s->n_bias; i++) {
        if (s->bias_ids[i] == id)
            z = fminf(z + s->bias[i], FLT_MAX);
    }
    for (int i = 0; i < s->n_ends; i++) {
        if (s->ends[i].id == id && c->position < s->ends[i].from)
            z = -INFINITY;
    }
    if (s->allowed && !(s->allowed[id / 32] & 1u << id % 32))
        z = -INFINITY;
    return z;
}

/* How long a prefix of the sorted entries the parameters keep. */
static inline int32_t oracle_kept(const struct oracle_entry *e, int32_t n,
                                  const struct law_params *p)
{
    unsigned __int128 total = 0, mass = 0;
    int32_t keep = p->top_k > 0 && p->top_k < n ? p->top_k : n, m = 0;

    for (int32_t i = 0; i < keep; i++)
        total += e[i].w;
    total *= (uint64_t)((double)p->top_p * 0x1p32);
    for (m = 0; m < keep && (m == 0 || (p->top_p < 1 && mass < total) || p->top_p == 1); m++)
        mass += (unsigned __int128)e[m].w << 32;
    while (m > 1 && e[m - 1].w < (uint64_t)((double)p->min_p * 0x1p44))
        m--;
    return m;
}

static inline void oracle_build(struct oracle_law *o, const float *logits, int32_t n,
                                const struct law_context *c)
{
    struct oracle_entry *e = xcalloc((size_t)n, sizeof(*e));
    float max = -INFINITY, scale;

    *o = (struct oracle_law){.n = n, .w = xcalloc((size_t)n, sizeof(o->w[0]))};
    for (int32_t i = 0; i < n; i++) {
        o->bad |= isnan(logits[i]) || logits[i] == INFINITY;
        if (oracle_logit(logits, c, i) > max) {
            max = oracle_logit(logits, c, i);
            o->top = i;
        }
    }
    o->bad |= max == -INFINITY;
    if (!o->bad && c->law->temperature == 0) {
        o->w[o->top] = o->sum = LAW_ONE;
    } else if (!o->bad) {
        scale = fminf(1.0f / c->law->temperature, FLT_MAX);
        for (int32_t i = 0; i < n; i++)
            e[i] = (struct oracle_entry){fix_exp44((oracle_logit(logits, c, i) - max) * scale), i};
        qsort(e, (size_t)n, sizeof(*e), oracle_order);
        for (int32_t i = oracle_kept(e, n, c->law); i-- > 0;) {
            o->w[e[i].id] = e[i].w;
            o->sum += e[i].w;
        }
    }
    free(e);
}

static inline void oracle_free(struct oracle_law *o)
{
    free(o->w);
}

static inline double oracle_prob(const struct oracle_law *o, int32_t id)
{
    return id >= 0 && id < o->n ? (double)o->w[id] / (double)o->sum : 0.0;
}

/* max(b q - p, 0) at id; p NULL: q itself, by weight. */
static inline double oracle_residual(const struct oracle_law *q, const struct oracle_law *p,
                                     double b, int32_t id)
{
    double r;

    if (!p)
        return (double)q->w[id];
    r = b * oracle_prob(q, id) - oracle_prob(p, id);
    return r > 0 ? r : 0;
}

/* -1 if there is no mass. */
static inline int32_t oracle_draw(const struct oracle_law *q, const struct oracle_law *p, double b,
                                  struct noise noise)
{
    double best = 0;
    int32_t id = -1;

    for (int32_t i = 0; i < q->n; i++) {
        double r = oracle_residual(q, p, b, i);
        double e = fix_exponential(noise_words(&noise, (uint32_t)i / 4).w[i % 4]);

        if (r > 0 && r / e > best) {
            best = r / e;
            id = i;
        }
    }
    return id;
}

static inline double oracle_residual_mass(const struct oracle_law *q, const struct oracle_law *p,
                                          double b)
{
    double sum = 0;

    for (int32_t i = 0; i < q->n; i++)
        sum += oracle_residual(q, p, b, i);
    return sum;
}

/* ---- rows to try ----------------------------------------------------------------------------- */

static inline double random_unit(void)
{
    return (double)rand() / ((double)RAND_MAX + 1.0);
}

enum row_shape {
    ROW_SMOOTH,
    ROW_PEAKED,
    ROW_TIES,     /* three distinct values */
    ROW_HOLES,    /* most entries -infinity */
    ROW_FLAT,     /* all equal */
    ROW_DENORMAL, /* differences below float's normal range */
    ROW_HUGE,     /* close to the largest floats */
    ROW_POINT,    /* all but one -infinity */
    ROW_SHAPES,
    ROW_NAN = ROW_SHAPES, /* smooth, but for one NaN, */
    ROW_INFINITE,         /* one +infinity; */
    ROW_NOTHING,          /* all -infinity: the last three are no laws */
    ROW_KINDS
};

static inline float row_entry(enum row_shape shape)
{
    float g = (float)(random_unit() + random_unit() + random_unit() - 1.5);

    switch (shape) {
    case ROW_PEAKED:
        return 30.0f * g;
    case ROW_TIES:
        return (float)(rand() % 3);
    case ROW_HOLES:
        return rand() % 8 ? -INFINITY : 3.0f * g;
    case ROW_FLAT:
        return 0.25f;
    case ROW_DENORMAL:
        return g * 0x1p-140f;
    case ROW_HUGE:
        return copysignf(0x1.8p127f, g) * (1.0f - 0.1f * g * g);
    case ROW_POINT:
    case ROW_NOTHING:
        return -INFINITY;
    default:
        return 6.0f * g;
    }
}

static inline void row_make(float *row, int32_t n, enum row_shape shape)
{
    for (int32_t i = 0; i < n; i++)
        row[i] = row_entry(shape);
    if (shape == ROW_HOLES || shape == ROW_POINT)
        row[rand() % n] = 1.0f;
    if (shape == ROW_NAN || shape == ROW_INFINITE)
        row[rand() % n] = shape == ROW_NAN ? NAN : INFINITY;
}

#endif
