/*
 * lanes.h - vectors of floats, with the same bits on every machine.
 *
 * ops_body.h and attention_body.h are written in these operations and compiled once per instruction
 * set, by ops_portable.c, ops_avx2.c and ops_avx512.c, which define LANES_ISA as 0, 1 and 2 before
 * they include them. Each operation is one IEEE operation per lane, rounded once, and horizontal
 * sums have one fixed tree, so all compilations return the same bits and a kernel can be checked on
 * any machine.
 *
 * `wide` is as many lanes as the machine has in a register, WIDE, for work in which lanes do not
 * meet. Where they do (a sum over a row), the order is that of `v8`, eight lanes on every machine.
 *
 * v8_max(a, b) is a > b ? a : b in every lane, as the instruction has it: with a NaN it returns b.
 * wide_max and wide_min likewise.
 */
#ifndef SPECD_CPU_LANES_H
#define SPECD_CPU_LANES_H

#include "specd/quant.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define LANES 8

/* clang-format off */
#if LANES_ISA == 0

#define LANES_TARGET
#define LANES_FN static inline __attribute__((always_inline, unused))
#define WIDE 8

typedef struct {
    float f[LANES];
} v8;
typedef v8 wide;

#define EACH_LANE(expr)                                                                            \
    v8 r;                                                                                          \
    for (int i = 0; i < LANES; i++)                                                                \
        r.f[i] = (expr);                                                                           \
    return r

#define VECTOR(v)                                                                                  \
    LANES_FN v v##_set(float x) { EACH_LANE(x); }                                                  \
    LANES_FN v v##_load(const float *p) { EACH_LANE(p[i]); }                                       \
    LANES_FN void v##_store(float *p, v a) { memcpy(p, a.f, sizeof(a.f)); }                        \
    LANES_FN v v##_add(v a, v b) { EACH_LANE(a.f[i] + b.f[i]); }                                   \
    LANES_FN v v##_sub(v a, v b) { EACH_LANE(a.f[i] - b.f[i]); }                                   \
    LANES_FN v v##_mul(v a, v b) { EACH_LANE(a.f[i] * b.f[i]); }                                   \
    LANES_FN v v##_div(v a, v b) { EACH_LANE(a.f[i] / b.f[i]); }                                   \
    LANES_FN v v##_max(v a, v b) { EACH_LANE(a.f[i] > b.f[i] ? a.f[i] : b.f[i]); }                 \
    LANES_FN v v##_min(v a, v b) { EACH_LANE(a.f[i] < b.f[i] ? a.f[i] : b.f[i]); }                 \
    LANES_FN v v##_fma(v a, v b, v c) { EACH_LANE(fmaf(a.f[i], b.f[i], c.f[i])); }
VECTOR(v8)
VECTOR(wide)

LANES_FN wide wide_zero_below(wide a, wide x, wide limit)
{
    EACH_LANE(x.f[i] < limit.f[i] ? 0.0f : a.f[i]);
}

LANES_FN wide wide_exponent(wide a)
{
    EACH_LANE(float_of_bits((bits_of_float(a.f[i]) - (0x4b400000u - 127u)) << 23));
}

LANES_FN wide wide_load_even(const uint16_t *p) { EACH_LANE(float_of_bits((uint32_t)p[2 * i] << 16)); }
LANES_FN wide wide_load_odd(const uint16_t *p) { EACH_LANE(float_of_bits((uint32_t)p[2 * i + 1] << 16)); }
LANES_FN v8 wide_eight(wide a, int i) { (void)i; return a; }
LANES_FN wide wide_swap(wide a) { EACH_LANE(a.f[i ^ 1]); }
LANES_FN void wide_store_bf16(uint16_t *p, wide a)
{
    for (int i = 0; i < WIDE; i++)
        p[i] = bf16_from_f32(a.f[i]);
}

#undef EACH_LANE

#else

#include <immintrin.h>

#define VECTOR(v, type, mm)                                                                        \
    typedef type v;                                                                                \
    LANES_FN v v##_set(float x) { return mm##_set1_ps(x); }                                        \
    LANES_FN v v##_load(const float *p) { return mm##_loadu_ps(p); }                               \
    LANES_FN void v##_store(float *p, v a) { mm##_storeu_ps(p, a); }                               \
    LANES_FN v v##_add(v a, v b) { return mm##_add_ps(a, b); }                                     \
    LANES_FN v v##_sub(v a, v b) { return mm##_sub_ps(a, b); }                                     \
    LANES_FN v v##_mul(v a, v b) { return mm##_mul_ps(a, b); }                                     \
    LANES_FN v v##_div(v a, v b) { return mm##_div_ps(a, b); }                                     \
    LANES_FN v v##_max(v a, v b) { return mm##_max_ps(a, b); }                                     \
    LANES_FN v v##_min(v a, v b) { return mm##_min_ps(a, b); }                                     \
    LANES_FN v v##_fma(v a, v b, v c) { return mm##_fmadd_ps(a, b, c); } /* a * b + c */

#if LANES_ISA == 1

#define LANES_TARGET __attribute__((target("avx2,fma")))
#define LANES_FN static inline __attribute__((always_inline, unused, target("avx2,fma")))
#define WIDE 8
VECTOR(v8, __m256, _mm256)
VECTOR(wide, __m256, _mm256)

/* a, or 0 in the lanes where x < limit. */
LANES_FN wide wide_zero_below(wide a, wide x, wide limit)
{
    return _mm256_andnot_ps(_mm256_cmp_ps(x, limit, _CMP_LT_OQ), a);
}

/* 2^n, where a = 1.5 * 2^23 + n holds n in its low bits; -126 <= n <= 127. */
LANES_FN wide wide_exponent(wide a)
{
    __m256i n = _mm256_sub_epi32(_mm256_castps_si256(a), _mm256_set1_epi32(0x4b400000 - 127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(n, 23));
}

/* The first, and the second, of each of WIDE pairs of bf16, as f32. */
LANES_FN wide wide_load_even(const uint16_t *p)
{
    __m256i pairs = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
}

LANES_FN wide wide_load_odd(const uint16_t *p)
{
    __m256i pairs = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000)));
}

/* The i-th eight lanes. */
LANES_FN v8 wide_eight(wide a, int i) { (void)i; return a; }

/* Lanes 1, 0, 3, 2 and so on. */
LANES_FN wide wide_swap(wide a) { return _mm256_permute_ps(a, 0xB1); }

/* Rounded to nearest, ties to even; a NaN stays one. */
LANES_FN void wide_store_bf16(uint16_t *p, wide a)
{
    __m256i bits = _mm256_castps_si256(a), top = _mm256_srli_epi32(bits, 16);
    __m256i bias = _mm256_and_si256(top, _mm256_set1_epi32(1));
    bias = _mm256_add_epi32(bias, _mm256_set1_epi32(0x7fff));
    __m256i even = _mm256_srli_epi32(_mm256_add_epi32(bits, bias), 16);
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    even = _mm256_blendv_epi8(even, _mm256_or_si256(top, _mm256_set1_epi32(0x40)), nan);
    __m128i low = _mm256_castsi256_si128(even), high = _mm256_extracti128_si256(even, 1);
    _mm_storeu_si128((__m128i *)(void *)p, _mm_packus_epi32(low, high));
}

#else

#define LANES_TARGET __attribute__((target("avx512f,avx2,fma")))
#define LANES_FN static inline __attribute__((always_inline, unused, target("avx512f,avx2,fma")))
#define WIDE 16
VECTOR(v8, __m256, _mm256)
VECTOR(wide, __m512, _mm512)

LANES_FN wide wide_zero_below(wide a, wide x, wide limit)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), a);
}

LANES_FN wide wide_exponent(wide a)
{
    __m512i n = _mm512_sub_epi32(_mm512_castps_si512(a), _mm512_set1_epi32(0x4b400000 - 127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(n, 23));
}

LANES_FN wide wide_load_even(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
}

LANES_FN wide wide_load_odd(const uint16_t *p)
{
    __m512i high = _mm512_set1_epi32((int)0xffff0000);
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), high));
}

LANES_FN v8 wide_eight(wide a, int i)
{
    if (i == 0)
        return _mm512_castps512_ps256(a);
    return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1));
}

LANES_FN wide wide_swap(wide a) { return _mm512_permute_ps(a, 0xB1); }

LANES_FN void wide_store_bf16(uint16_t *p, wide a)
{
    __m512i bits = _mm512_castps_si512(a), top = _mm512_srli_epi32(bits, 16);
    __m512i bias = _mm512_and_si512(top, _mm512_set1_epi32(1));
    bias = _mm512_add_epi32(bias, _mm512_set1_epi32(0x7fff));
    __m512i even = _mm512_srli_epi32(_mm512_add_epi32(bits, bias), 16);
    __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    even = _mm512_mask_or_epi32(even, nan, top, _mm512_set1_epi32(0x40));
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(even));
}

#endif
#endif
#undef VECTOR
/* clang-format on */

/* The first n lanes, the others zero. */
LANES_FN wide wide_load_n(const float *p, int n)
{
    float f[WIDE] = {0};
    memcpy(f, p, (size_t)n * sizeof(float));
    return wide_load(f);
}

LANES_FN void wide_store_n(float *p, wide a, int n)
{
    float f[WIDE];
    wide_store(f, a);
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
LANES_FN wide wide_exp(wide x)
{
    const wide lowest = wide_set(-87.3f), magic = wide_set(12582912.0f); /* 1.5 * 2^23 */
    wide clamped = wide_min(wide_set(88.0f), wide_max(lowest, x));
    wide shifted = wide_fma(clamped, wide_set(1.44269504f), magic);
    wide n = wide_sub(shifted, magic);
    wide r = wide_fma(n, wide_set(-0.693359375f), clamped);
    r = wide_fma(n, wide_set(2.12194440e-4f), r);
    wide p = wide_set(1.0f / 5040);
    p = wide_fma(p, r, wide_set(1.0f / 720));
    p = wide_fma(p, r, wide_set(1.0f / 120));
    p = wide_fma(p, r, wide_set(1.0f / 24));
    p = wide_fma(p, r, wide_set(1.0f / 6));
    p = wide_fma(p, r, wide_set(0.5f));
    p = wide_fma(p, r, wide_set(1.0f));
    p = wide_fma(p, r, wide_set(1.0f));
    return wide_zero_below(wide_mul(p, wide_exponent(shifted)), x, lowest);
}

#endif
