/*
 * lanes.h - eight floats at once, with the same bits on every machine.
 *
 * ops_body.h is written in these operations and compiled twice, by ops_portable.c and ops_avx2.c,
 * which define LANES_AVX2 as 0 or 1 before they include this. Each operation is one IEEE operation
 * per lane, rounded once, and horizontal sums have one fixed tree, so both compilations return the
 * same bits and a kernel can be checked on any machine.
 *
 * v8_max(a, b) is a > b ? a : b in every lane, as the instruction has it: with a NaN it returns b.
 * v8_min likewise.
 */
#ifndef SPECD_CPU_LANES_H
#define SPECD_CPU_LANES_H

#include "specd/quant.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define LANES 8

/* clang-format off */
#if LANES_AVX2

#include <immintrin.h>

#define LANES_TARGET __attribute__((target("avx2,fma")))
#define LANES_FN static inline __attribute__((always_inline, unused, target("avx2,fma")))

typedef __m256 v8;

LANES_FN v8 v8_set(float x) { return _mm256_set1_ps(x); }
LANES_FN v8 v8_load(const float *p) { return _mm256_loadu_ps(p); }
LANES_FN void v8_store(float *p, v8 a) { _mm256_storeu_ps(p, a); }
LANES_FN v8 v8_add(v8 a, v8 b) { return _mm256_add_ps(a, b); }
LANES_FN v8 v8_sub(v8 a, v8 b) { return _mm256_sub_ps(a, b); }
LANES_FN v8 v8_mul(v8 a, v8 b) { return _mm256_mul_ps(a, b); }
LANES_FN v8 v8_div(v8 a, v8 b) { return _mm256_div_ps(a, b); }
LANES_FN v8 v8_max(v8 a, v8 b) { return _mm256_max_ps(a, b); }
LANES_FN v8 v8_min(v8 a, v8 b) { return _mm256_min_ps(a, b); }
LANES_FN v8 v8_fma(v8 a, v8 b, v8 c) { return _mm256_fmadd_ps(a, b, c); } /* a * b + c */

/* a, or 0 in the lanes where x < limit. */
LANES_FN v8 v8_zero_below(v8 a, v8 x, v8 limit)
{
    return _mm256_andnot_ps(_mm256_cmp_ps(x, limit, _CMP_LT_OQ), a);
}

/* 2^n, where a = 1.5 * 2^23 + n holds n in its low bits; -126 <= n <= 127. */
LANES_FN v8 v8_exponent(v8 a)
{
    __m256i n = _mm256_sub_epi32(_mm256_castps_si256(a), _mm256_set1_epi32(0x4b400000 - 127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(n, 23));
}

/* Eight bf16 as f32. */
LANES_FN v8 v8_load_bf16(const uint16_t *p)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

#else

#define LANES_TARGET
#define LANES_FN static inline __attribute__((always_inline, unused))

typedef struct {
    float f[LANES];
} v8;

#define EACH_LANE(expr)                                                                            \
    v8 r;                                                                                          \
    for (int i = 0; i < LANES; i++)                                                                \
        r.f[i] = (expr);                                                                           \
    return r

LANES_FN v8 v8_set(float x) { EACH_LANE(x); }
LANES_FN v8 v8_load(const float *p) { EACH_LANE(p[i]); }
LANES_FN void v8_store(float *p, v8 a) { memcpy(p, a.f, sizeof(a.f)); }
LANES_FN v8 v8_add(v8 a, v8 b) { EACH_LANE(a.f[i] + b.f[i]); }
LANES_FN v8 v8_sub(v8 a, v8 b) { EACH_LANE(a.f[i] - b.f[i]); }
LANES_FN v8 v8_mul(v8 a, v8 b) { EACH_LANE(a.f[i] * b.f[i]); }
LANES_FN v8 v8_div(v8 a, v8 b) { EACH_LANE(a.f[i] / b.f[i]); }
LANES_FN v8 v8_max(v8 a, v8 b) { EACH_LANE(a.f[i] > b.f[i] ? a.f[i] : b.f[i]); }
LANES_FN v8 v8_min(v8 a, v8 b) { EACH_LANE(a.f[i] < b.f[i] ? a.f[i] : b.f[i]); }
LANES_FN v8 v8_fma(v8 a, v8 b, v8 c) { EACH_LANE(fmaf(a.f[i], b.f[i], c.f[i])); }
LANES_FN v8 v8_zero_below(v8 a, v8 x, v8 limit)
{
    EACH_LANE(x.f[i] < limit.f[i] ? 0.0f : a.f[i]);
}

LANES_FN v8 v8_exponent(v8 a)
{
    EACH_LANE(float_of_bits((bits_of_float(a.f[i]) - (0x4b400000u - 127u)) << 23));
}

LANES_FN v8 v8_load_bf16(const uint16_t *p)
{
    EACH_LANE(float_of_bits((uint32_t)p[i] << 16));
}

#undef EACH_LANE

#endif

/* clang-format on */

/* The first n of eight, the others zero. */
LANES_FN v8 v8_load_n(const float *p, int n)
{
    float f[LANES] = {0};
    memcpy(f, p, (size_t)n * sizeof(float));
    return v8_load(f);
}

LANES_FN void v8_store_n(float *p, v8 a, int n)
{
    float f[LANES];
    v8_store(f, a);
    memcpy(p, f, (size_t)n * sizeof(float));
}

LANES_FN float v8_sum(v8 a)
{
    float f[LANES];
    v8_store(f, a);
    return ((f[0] + f[4]) + (f[2] + f[6])) + ((f[1] + f[5]) + (f[3] + f[7]));
}

LANES_FN float v8_largest(v8 a)
{
    float f[LANES];
    v8_store(f, a);
    float m = f[0];
    for (int i = 1; i < LANES; i++)
        m = f[i] > m ? f[i] : m;
    return m;
}

/*
 * exp(x), 0 below -87.3 and e^88 above 88; a NaN stays one. Relative error below 2e-7: x = n ln 2 +
 * r with |r| <= ln 2 / 2, exp(r) by its series to r^7 / 7!, whose remainder there is 5e-9.
 */
LANES_FN v8 v8_exp(v8 x)
{
    const v8 lowest = v8_set(-87.3f), magic = v8_set(12582912.0f); /* 1.5 * 2^23 */
    v8 clamped = v8_min(v8_set(88.0f), v8_max(lowest, x));
    v8 shifted = v8_fma(clamped, v8_set(1.44269504f), magic);
    v8 n = v8_sub(shifted, magic);
    v8 r = v8_fma(n, v8_set(-0.693359375f), clamped);
    r = v8_fma(n, v8_set(2.12194440e-4f), r);
    v8 p = v8_set(1.0f / 5040);
    p = v8_fma(p, r, v8_set(1.0f / 720));
    p = v8_fma(p, r, v8_set(1.0f / 120));
    p = v8_fma(p, r, v8_set(1.0f / 24));
    p = v8_fma(p, r, v8_set(1.0f / 6));
    p = v8_fma(p, r, v8_set(0.5f));
    p = v8_fma(p, r, v8_set(1.0f));
    p = v8_fma(p, r, v8_set(1.0f));
    return v8_zero_below(v8_mul(p, v8_exponent(shifted)), x, lowest);
}

#endif
