/*
 * rational.h - fractions of 128-bit integers, and rationals modulo two primes.
 *
 * Probabilities of single decisions are fractions, compared and subtracted exactly; a product that
 * does not fit ends the program. The products and sums over paths would outgrow any machine
 * integer, so they are carried out modulo two primes near 2^61: rational arithmetic still, and two
 * different rationals agree modulo both with a chance of 2^-122.
 */
#ifndef SPECD_TEST_RATIONAL_H
#define SPECD_TEST_RATIONAL_H

#include "specd/util.h"

#include <stdint.h>

struct frac {
    __int128 num, den; /* den > 0, reduced */
};

static inline __int128 frac_gcd(__int128 a, __int128 b)
{
    while (b != 0) {
        __int128 t = a % b;

        a = b;
        b = t;
    }
    return a < 0 ? -a : a;
}

static inline __int128 frac_product(__int128 a, __int128 b)
{
    __int128 out;

    ASSERT(!__builtin_mul_overflow(a, b, &out));
    return out;
}

static inline struct frac frac(__int128 num, __int128 den)
{
    __int128 g = frac_gcd(num, den);

    return (struct frac){num / g, den / g};
}

/* Common factors go first: what is left is as small as it can be. */
static inline struct frac frac_mul(struct frac a, struct frac b)
{
    struct frac x = frac(a.num, b.den), y = frac(b.num, a.den);

    return (struct frac){frac_product(x.num, y.num), frac_product(x.den, y.den)};
}

static inline struct frac frac_sub(struct frac a, struct frac b)
{
    __int128 g = frac_gcd(a.den, b.den), left = frac_product(a.num, b.den / g), out;

    ASSERT(!__builtin_sub_overflow(left, frac_product(b.num, a.den / g), &out));
    return frac(out, frac_product(a.den, b.den / g));
}

static inline struct frac frac_add(struct frac a, struct frac b)
{
    return frac_sub(a, (struct frac){-b.num, b.den});
}

static inline struct frac frac_div(struct frac a, struct frac b)
{
    ASSERT(b.num > 0);
    return frac_mul(a, (struct frac){b.den, b.num});
}

static inline bool frac_less(struct frac a, struct frac b)
{
    return frac_sub(a, b).num < 0;
}

static inline struct frac frac_min(struct frac a, struct frac b)
{
    return frac_less(a, b) ? a : b;
}

static inline struct frac frac_max(struct frac a, struct frac b)
{
    return frac_less(a, b) ? b : a;
}

#define FRAC_0 frac(0, 1)
#define FRAC_1 frac(1, 1)

/* ---- modulo two primes ----------------------------------------------------------------------- */

static const uint64_t modular_primes[2] = {(1ull << 61) - 1, (1ull << 61) - 31};

struct modular {
    uint64_t r[2];
};

static inline uint64_t modular_power(uint64_t x, uint64_t e, uint64_t prime)
{
    uint64_t y = 1;

    for (; e > 0; e >>= 1) {
        if (e & 1)
            y = (uint64_t)((unsigned __int128)y * x % prime);
        x = (uint64_t)((unsigned __int128)x * x % prime);
    }
    return y;
}

static inline struct modular modular_times(struct modular m, struct frac f)
{
    if (f.num == f.den)
        return m;
    for (int i = 0; i < 2; i++) {
        uint64_t prime = modular_primes[i];
        uint64_t num = (uint64_t)(f.num % prime), den = (uint64_t)(f.den % prime);

        ASSERT(f.num >= 0 && den != 0);
        m.r[i] = (uint64_t)((unsigned __int128)m.r[i] * num % prime);
        m.r[i] =
            (uint64_t)((unsigned __int128)m.r[i] * modular_power(den, prime - 2, prime) % prime);
    }
    return m;
}

static inline void modular_add(struct modular *m, struct modular x)
{
    for (int i = 0; i < 2; i++)
        m->r[i] = (m->r[i] + x.r[i]) % modular_primes[i];
}

#endif
