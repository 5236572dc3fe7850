/*
 * fixmath.h - exp and log that give the same bits everywhere.
 *
 * Polynomials of our own, every fused operation spelled fmaf and nothing else fused: the result is
 * a function of the argument's bits on any compiler, optimisation level, CPU or GPU (see
 * hostdevice.h for the flags). Errors below were measured against long double over the whole range
 * by tests/unit/test_fixmath.c, which also pins a hash of the outputs.
 */
#ifndef SPECD_FIXMATH_H
#define SPECD_FIXMATH_H

#include "specd/hostdevice.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define FIX_LN2_HI 0x1.62e43p-1f /* ln 2 in two floats */
#define FIX_LN2_LO -0x1.05c61p-29f
#define FIX_LOG2E 0x1.715476p+0f
#define FIX_ROUND 0x1.8p+23f /* x + FIX_ROUND holds x rounded to an integer in its low bits */
#define FIX_SQRT_HALF_BITS 0x3f3504f3u

/* exp(r) = 1 + r + r^2 (E2 + E3 r + ...), |r| <= ln(2) / 2 */
#define FIX_E2 0x1.fffffcp-2f
#define FIX_E3 0x1.55548cp-3f
#define FIX_E4 0x1.555858p-5f
#define FIX_E5 0x1.123dep-7f
#define FIX_E6 0x1.6ac6b2p-10f

/* log(1 + t) = t + t^2 (L2 + L3 t + ...), sqrt(1/2) <= 1 + t <= sqrt(2) */
#define FIX_L2 -0x1.fffff8p-2f
#define FIX_L3 0x1.55555p-2f
#define FIX_L4 -0x1.00040cp-2f
#define FIX_L5 0x1.99a1bp-3f
#define FIX_L6 -0x1.5432b6p-3f
#define FIX_L7 0x1.230ddap-3f
#define FIX_L8 -0x1.0fa772p-3f
#define FIX_L9 0x1.011feep-3f
#define FIX_L10 -0x1.1d9688p-4f

SPECD_HD float fix_from_bits(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, sizeof(f));
    return f;
}

SPECD_HD uint32_t fix_to_bits(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

/* exp(x) for |x| <= 87. Relative error < 2^-23.5; exact at 0, never above 1 for x <= 0. */
SPECD_HD float fix_exp(float x)
{
    float shifted = fmaf(x, FIX_LOG2E, FIX_ROUND);
    float n = shifted - FIX_ROUND;
    float r = fmaf(n, -FIX_LN2_LO, fmaf(n, -FIX_LN2_HI, x));
    float y = FIX_E6;

    y = fmaf(y, r, FIX_E5);
    y = fmaf(y, r, FIX_E4);
    y = fmaf(y, r, FIX_E3);
    y = fmaf(y, r, FIX_E2);
    y = fmaf(y, r, 1.0f);
    y = fmaf(y, r, 1.0f);
    /* Scaling by 2^n touches the exponent field only: y in (0.7, 1.42), the result is normal. */
    return fix_from_bits(fix_to_bits(y) + (fix_to_bits(shifted) << 23));
}

/* floor(exp(x) * 2^44) for x <= 0, -infinity included, as a float: it has at most 24 significant
 * bits, so the float is that integer exactly. Zero below x = -30.5. */
SPECD_HD float fix_exp44f(float x)
{
    /* exp(-32) * 2^44 is below one: the clamp changes no result. */
    return floorf(fix_exp(x > -32.0f ? x : -32.0f) * 0x1p44f);
}

SPECD_HD uint64_t fix_exp44(float x)
{
    return (uint64_t)fix_exp44f(x);
}

/* log(1 + t), sqrt(1/2) <= 1 + t <= sqrt(2) */
SPECD_HD float fix_log1p_small(float t)
{
    float y = FIX_L10;

    y = fmaf(y, t, FIX_L9);
    y = fmaf(y, t, FIX_L8);
    y = fmaf(y, t, FIX_L7);
    y = fmaf(y, t, FIX_L6);
    y = fmaf(y, t, FIX_L5);
    y = fmaf(y, t, FIX_L4);
    y = fmaf(y, t, FIX_L3);
    y = fmaf(y, t, FIX_L2);
    return fmaf(t * t, y, t);
}

/* Natural logarithm of a positive normal float. Relative error < 2^-22. */
SPECD_HD float fix_log(float x)
{
    /* x = m 2^e with m in [sqrt(1/2), sqrt(2)); m - 1 is exact. */
    int32_t e = (int32_t)(fix_to_bits(x) - FIX_SQRT_HALF_BITS) >> 23;
    float m = fix_from_bits(fix_to_bits(x) - ((uint32_t)e << 23));
    float y = fix_log1p_small(m - 1.0f);

    return fmaf((float)e, FIX_LN2_HI, fmaf((float)e, FIX_LN2_LO, y));
}

/* A standard exponential from 32 random bits: -log(1 - u), u = (bits + 1/2) 2^-32. Small values,
 * where the winners of a race are, keep their relative precision; the largest is 22.9, never
 * infinite. Relative error < 2^-22, and never below u (1 - 2^-20). */
SPECD_HD float fix_exponential(uint32_t bits)
{
    if (bits < 0x4afb0cccu) /* 1 - u > sqrt(1/2): no cancellation */
        return -fix_log1p_small((float)(2 * (uint64_t)bits + 1) * -0x1p-33f);
    return -fix_log((float)(2 * (uint64_t)~bits + 1) * 0x1p-33f);
}

#endif
