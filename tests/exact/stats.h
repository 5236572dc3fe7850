/*
 * stats.h - chi-squared and G tests against a known law, and the distance that is left.
 */
#ifndef SPECD_TEST_STATS_H
#define SPECD_TEST_STATS_H

#include <math.h>
#include <stdint.h>

/* P(X >= x) of the chi-squared distribution: the regularised upper incomplete gamma function
 * Q(df / 2, x / 2), by its series below the mean and by Lentz's continued fraction above. */
static inline double chi2_tail(double x, double df)
{
    double a = df / 2, y = x / 2, front = exp(a * log(y) - y - lgamma(a));

    if (x <= 0 || df <= 0)
        return 1;
    if (y < a + 1) {
        double term = 1 / a, sum = term;

        for (int n = 1; term > sum * 1e-16; n++)
            sum += term *= y / (a + n);
        return 1 - front * sum;
    }
    double b = y + 1 - a, c = 1e300, d = 1 / b, h = d;
    for (int n = 1; n < 10000; n++) {
        double an = -n * (n - a), step;

        b += 2;
        d = 1 / (an * d + b);
        c = b + an / c;
        step = c * d;
        h *= step;
        if (fabs(step - 1) < 1e-15)
            break;
    }
    return front * h;
}

struct fit {
    double chi2, g, df; /* Pearson's statistic and the likelihood ratio's, over the same bins */
    double p, p_g;
    double tv, tv_noise; /* total variation, and what it is by chance when the law is right */
    uint64_t impossible; /* draws of probability zero */
};

struct bin {
    double expected, got;
};

static inline void fit_add(struct fit *f, struct bin b)
{
    f->chi2 += (b.got - b.expected) * (b.got - b.expected) / b.expected;
    f->g += b.got > 0 ? 2 * b.got * log(b.got / b.expected) : 0;
    f->df++;
}

/* Bins that expect fewer than 5 are one bin; if that is still too small, one with the smallest of
 * the others. */
static inline struct fit fit_law(const uint64_t *count, const double *law, int n_bins, uint64_t n)
{
    struct fit f = {.df = -1};
    struct bin rare = {0, 0}, least = {INFINITY, 0};

    for (int i = 0; i < n_bins; i++) {
        struct bin b = {law[i] * (double)n, (double)count[i]}, higher = b;

        f.tv += fabs(b.got / (double)n - law[i]) / 2;
        f.tv_noise += sqrt(law[i] * (1 - law[i]) / (2 * M_PI * (double)n));
        if (law[i] == 0) {
            f.impossible += count[i];
        } else if (b.expected < 5) {
            rare.expected += b.expected;
            rare.got += b.got;
        } else {
            if (b.expected < least.expected) {
                higher = least;
                least = b;
            }
            if (higher.expected < INFINITY)
                fit_add(&f, higher);
        }
    }
    if (rare.expected >= 5) {
        fit_add(&f, rare);
        rare = (struct bin){0, 0};
    }
    fit_add(&f, (struct bin){least.expected + rare.expected, least.got + rare.got});
    f.p = f.impossible > 0 ? 0 : chi2_tail(f.chi2, f.df);
    f.p_g = f.impossible > 0 ? 0 : chi2_tail(f.g, f.df);
    return f;
}

#endif
