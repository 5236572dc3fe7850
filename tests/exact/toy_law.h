/*
 * toy_law.h - the exact law of the first tokens of a toy: in long double, by sorting, from the
 * target's logits and parameters alone.
 */
#ifndef SPECD_TEST_TOY_LAW_H
#define SPECD_TEST_TOY_LAW_H

#include "exact/toy.h"

/* Ids that must not stand at a position. */
static inline bool toy_banned(const struct toy *t, int32_t position, int32_t id)
{
    const struct sample_params *p = &t->params;

    for (int i = 0; i < p->n_ends; i++) {
        if (p->ends[i].id == id && position < p->ends[i].from)
            return true;
    }
    return p->allowed && !(p->allowed[0] >> id & 1);
}

/* The weight of a warped logit: exp, or at temperature 0 nothing but the first largest. */
static inline long double toy_weight(const long double *z, int x, long double max,
                                     float temperature)
{
    if (temperature > 0)
        return expl((z[x] - max) / temperature);
    for (int i = 0; i < x; i++) {
        if (z[i] == max)
            return 0;
    }
    return z[x] == max;
}

/* The target's law after tokens[0..n). */
static inline void toy_exact(const struct toy *t, const int32_t *tokens, int32_t n,
                             long double *law)
{
    const struct law_params *p = &t->params.target;
    uint16_t counts[2][TOY_V_MAX];
    const float *logits = toy_logits(t, 0, tokens, n);
    long double z[TOY_V_MAX], max = -INFINITY, total = 0, reach = 0, kept = 0;
    int order[TOY_V_MAX], v = t->n_vocab, keep = 0;

    toy_counts(tokens, n, counts);
    for (int x = 0; x < v; x++) {
        z[x] = logits[x];
        if (counts[1][x] > 0)
            z[x] = z[x] > 0 ? z[x] / p->repetition : z[x] * p->repetition;
        z[x] -= p->frequency * counts[0][x] + (counts[0][x] > 0 ? p->presence : 0);
        if (toy_banned(t, n, x))
            z[x] = -INFINITY;
    }
    for (int i = 0; i < t->params.n_bias; i++)
        z[t->params.bias_ids[i]] += t->params.bias[i];
    for (int x = 0; x < v; x++)
        max = fmaxl(max, z[x]);
    for (int x = 0; x < v; x++) {
        int at = x;

        law[x] = toy_weight(z, x, max, p->temperature);
        for (; at > 0 && law[order[at - 1]] < law[x]; at--)
            order[at] = order[at - 1];
        order[at] = x;
    }
    while (keep < (p->top_k > 0 && p->top_k < v ? p->top_k : v))
        total += law[order[keep++]];
    for (int i = 0; i < keep; i++) {
        if (reach >= p->top_p * total || law[order[i]] < p->min_p)
            keep = i;
        else
            reach += law[order[i]];
    }
    kept = reach;
    for (int i = 0; i < v; i++)
        law[order[i]] = i < keep ? law[order[i]] / kept : 0;
}

/* The law of all sequences of n_tokens, indexed with the first token most significant. */
static inline void toy_joint(const struct toy *t, int32_t *tokens, int depth, long double weight,
                             double **at)
{
    long double law[TOY_V_MAX];

    if (depth == t->n_tokens) {
        *(*at)++ = (double)weight;
        return;
    }
    toy_exact(t, tokens, 1 + depth, law);
    for (int x = 0; x < t->n_vocab; x++) {
        tokens[1 + depth] = x;
        toy_joint(t, tokens, depth + 1, weight * law[x], at);
    }
}

static inline int toy_bins(const struct toy *t)
{
    int n = 1;

    for (int i = 0; i < t->n_tokens; i++)
        n *= t->n_vocab;
    return n;
}

/* Generates n sequences and counts them; law and count: (toy_bins). */
static inline void toy_run(const struct toy *t, uint64_t first_seed, uint64_t n, uint64_t *count,
                           double *law, struct toy_totals *totals)
{
    int32_t tokens[TOY_TOKENS_MAX] = {0};
    double *at = law;

    memset(count, 0, (size_t)toy_bins(t) * sizeof(count[0]));
    toy_joint(t, tokens, 0, 1, &at);
    for (uint64_t i = 0; i < n; i++) {
        int bin = 0;

        toy_generate(t, first_seed + i, tokens, totals);
        for (int j = 0; j < t->n_tokens; j++)
            bin = bin * t->n_vocab + tokens[j];
        count[bin]++;
    }
}

#endif
