/*
 * The kernels of laws for x86-64 with AVX-512: the operations of specd/law.h, lane by lane, as
 * law_avx2.c has them; here a mask stands for the entries past a row's end.
 */
#ifdef __x86_64__

#include "law_kernels.h"

#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl")))
#define INLINE AVX512 static inline __attribute__((always_inline))
#define SPLAT(x) _mm512_set1_ps(x)
#define SPLATD(x) _mm512_set1_pd(x)

/* 2^52: a double in [0, 2^52) plus this holds it as an integer in the low bits. */
#define MAGIC 0x1p52
#define MAGIC_BITS 0x4330000000000000

/* The first n lanes of 16, or of 8. */
INLINE __mmask16 first_16(int n)
{
    return n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1);
}

INLINE __mmask8 first_8(int n)
{
    return n >= 8 ? 0xff : (__mmask8)((1u << n) - 1);
}

AVX512 static bool max_avx512(const float *z, int n, float *max)
{
    __m512 m = SPLAT(-INFINITY);
    __mmask16 good = 0xffff;

    for (int i = 0; i < n; i += 16) {
        __m512 v = _mm512_mask_loadu_ps(SPLAT(-INFINITY), first_16(n - i), z + i);

        good &= _mm512_cmp_ps_mask(v, SPLAT(FLT_MAX), _CMP_LE_OQ);
        m = _mm512_max_ps(v, m);
    }
    *max = _mm512_reduce_max_ps(m);
    return good == 0xffff;
}

/* fix_exp44f of 16 arguments */
INLINE __m512 exp44_avx512(__m512 x)
{
    __m512 shifted, n, r, y;

    x = _mm512_max_ps(x, SPLAT(-32.0f));
    shifted = _mm512_fmadd_ps(x, SPLAT(FIX_LOG2E), SPLAT(FIX_ROUND));
    n = _mm512_sub_ps(shifted, SPLAT(FIX_ROUND));
    r = _mm512_fmadd_ps(n, SPLAT(-FIX_LN2_HI), x);
    r = _mm512_fmadd_ps(n, SPLAT(-FIX_LN2_LO), r);
    y = _mm512_fmadd_ps(SPLAT(FIX_E6), r, SPLAT(FIX_E5));
    y = _mm512_fmadd_ps(y, r, SPLAT(FIX_E4));
    y = _mm512_fmadd_ps(y, r, SPLAT(FIX_E3));
    y = _mm512_fmadd_ps(y, r, SPLAT(FIX_E2));
    y = _mm512_fmadd_ps(y, r, SPLAT(1.0f));
    y = _mm512_fmadd_ps(y, r, SPLAT(1.0f));
    y = _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(y),
                                             _mm512_slli_epi32(_mm512_castps_si512(shifted), 23)));
    return _mm512_floor_ps(_mm512_mul_ps(y, SPLAT(0x1p44f)));
}

/* Which of these weights law_keeps keeps. */
INLINE __mmask16 keep_avx512(__m512 w, int32_t id, float cut_w, int32_t cut_id)
{
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i ids = _mm512_add_epi32(lane, _mm512_set1_epi32(id));
    __mmask16 early = _mm512_cmple_epi32_mask(ids, _mm512_set1_epi32(cut_id));

    return _mm512_cmp_ps_mask(w, SPLAT(cut_w), _CMP_GT_OQ) |
           _mm512_mask_cmp_ps_mask(early, w, SPLAT(cut_w), _CMP_EQ_OQ);
}

AVX512 static bool weights_avx512(const float *z, int n, int32_t first, float max, float scale,
                                  float cut_w, int32_t cut_id, float *w)
{
    __m512 least = SPLAT(law_cut_logit(cut_w));
    __m512i any = _mm512_setzero_si512();

    for (int i = 0; i < n; i += 16) {
        __mmask16 in = first_16(n - i);
        __m512 x = _mm512_mask_loadu_ps(SPLAT(-INFINITY), in, z + i);

        x = _mm512_mul_ps(_mm512_sub_ps(x, SPLAT(max)), SPLAT(scale));
        if (_mm512_cmp_ps_mask(x, least, _CMP_GE_OQ) == 0) {
            x = _mm512_setzero_ps();
        } else {
            x = exp44_avx512(x);
            if (cut_w > 0.0f)
                x = _mm512_maskz_mov_ps(keep_avx512(x, first + i, cut_w, cut_id), x);
        }
        any = _mm512_or_si512(any, _mm512_castps_si512(x));
        _mm512_mask_storeu_ps(w + i, in, x);
    }
    return _mm512_test_epi32_mask(any, any) != 0;
}

/* Integers in [0, 2^52) held by doubles, as integers plus MAGIC_BITS. */
INLINE __m512i to_integers(__m512d x)
{
    return _mm512_castpd_si512(_mm512_add_pd(x, SPLATD(MAGIC)));
}

/* Modulo 2^64: _mm512_reduce_add_epi64 adds signed numbers, which must not wrap. */
INLINE uint64_t sum_lanes(__m512i x)
{
    uint64_t lanes[8], sum = 0;

    _mm512_storeu_si512(lanes, x);
    for (int i = 0; i < 8; i++)
        sum += lanes[i];
    return sum;
}

/* Adds 16 floats that hold integers, as 8 sums that have 2 MAGIC_BITS more each. */
INLINE __m512i add_16(__m512i sum, __m512 x)
{
    __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1));

    sum = _mm512_add_epi64(sum, to_integers(_mm512_cvtps_pd(_mm512_castps512_ps256(x))));
    return _mm512_add_epi64(sum, to_integers(_mm512_cvtps_pd(high)));
}

AVX512 static uint64_t sum_avx512(const float *w, int n)
{
    __m512i sum = _mm512_setzero_si512();
    uint64_t vectors = 0;

    for (int i = 0; i < n; i += 16, vectors++)
        sum = add_16(sum, _mm512_maskz_loadu_ps(first_16(n - i), w + i));
    return sum_lanes(sum) - vectors * 16 * MAGIC_BITS;
}

AVX512 static void widen_avx512(const float *w, int n, double *r)
{
    int i = 0;

    for (; i + 8 <= n; i += 8)
        _mm512_storeu_pd(r + i, _mm512_cvtps_pd(_mm256_loadu_ps(w + i)));
    law_kernels_portable.widen(w + i, n - i, r + i);
}

AVX512 static int collect_avx512(const float *w, int n, int32_t first, float lo, float hi,
                                 int32_t *ids, struct law_total *above)
{
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i mass = _mm512_setzero_si512();
    uint64_t vectors = 0;
    int found = 0;

    for (int i = 0; i < n; i += 16) {
        __m512 x = _mm512_maskz_loadu_ps(first_16(n - i), w + i);
        __mmask16 over = _mm512_cmp_ps_mask(x, SPLAT(hi), _CMP_GE_OQ);
        __mmask16 in = _mm512_cmp_ps_mask(x, SPLAT(lo), _CMP_GE_OQ) & (__mmask16)~over;

        if (over) {
            mass = add_16(mass, _mm512_maskz_mov_ps(over, x));
            above->count += (unsigned)__builtin_popcount(over);
            vectors++;
        }
        if (in) {
            __m512i id = _mm512_add_epi32(lane, _mm512_set1_epi32(first + i));
            int more = __builtin_popcount(in);

            _mm512_mask_storeu_epi32(ids + found, first_16(more),
                                     _mm512_maskz_compress_epi32(in, id));
            found += more;
        }
    }
    above->mass += sum_lanes(mass) - vectors * 16 * MAGIC_BITS;
    return found;
}

/* Where p has no mass, nothing is divided for it. */
AVX512 static bool residual_avx512(const float *wq, double sq, const float *wp, double sp, double b,
                                   int n, double *r)
{
    __m512i any = _mm512_setzero_si512();

    for (int i = 0; i < n; i += 8) {
        __mmask8 in = first_8(n - i);
        __m512d q = _mm512_cvtps_pd(_mm256_maskz_loadu_ps(in, wq + i));
        __m512d p = _mm512_cvtps_pd(_mm256_maskz_loadu_ps(in, wp + i));
        __m512d x = _mm512_setzero_pd();

        if (_mm512_cmp_pd_mask(q, x, _CMP_GT_OQ) != 0) {
            q = _mm512_div_pd(q, SPLATD(sq));
            if (_mm512_cmp_pd_mask(p, x, _CMP_GT_OQ) != 0)
                p = _mm512_div_pd(p, SPLATD(sp));
            x = _mm512_max_pd(_mm512_sub_pd(_mm512_mul_pd(SPLATD(b), q), p), x);
        }
        any = _mm512_or_si512(any, _mm512_castpd_si512(x));
        _mm512_mask_storeu_pd(r + i, in, x);
    }
    return _mm512_test_epi64_mask(any, any) != 0;
}

/* floor(r 2^62) in two steps of 31 bits, each exact. */
AVX512 static uint64_t mass_avx512(const double *r, int n)
{
    __m512i high = _mm512_setzero_si512(), low = high;
    uint64_t vectors = 0;

    for (int i = 0; i < n; i += 8, vectors++) {
        __m512d x = _mm512_maskz_loadu_pd(first_8(n - i), r + i);
        x = _mm512_mul_pd(x, SPLATD(0x1p31));
        __m512d whole = _mm512_floor_pd(x);
        __m512d rest = _mm512_mul_pd(_mm512_sub_pd(x, whole), SPLATD(0x1p31));

        high = _mm512_add_epi64(high, to_integers(whole));
        low = _mm512_add_epi64(low, to_integers(_mm512_floor_pd(rest)));
    }
    vectors = vectors * 8 * MAGIC_BITS;
    return ((sum_lanes(high) - vectors) << 31) + (sum_lanes(low) - vectors);
}

/* ---- the race -------------------------------------------------------------------------------- */

/* The counters, then the words, of 8 groups: 64-bit lanes whose low halves count. */
struct philox8 {
    __m512i w[4];
};

/* The keys of all rounds, of a seed. */
struct philox_keys {
    __m512i k[PHILOX_ROUNDS][2];
};

INLINE struct philox_keys philox_keys(uint64_t seed)
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    struct philox_keys keys;

    for (int i = 0; i < PHILOX_ROUNDS; i++, k0 += PHILOX_W0, k1 += PHILOX_W1) {
        keys.k[i][0] = _mm512_set1_epi64(k0);
        keys.k[i][1] = _mm512_set1_epi64(k1);
    }
    return keys;
}

INLINE struct philox8 philox_avx512(const struct noise *n, const struct philox_keys *keys,
                                    uint32_t group)
{
    struct philox8 c = {{
        _mm512_add_epi64(_mm512_set1_epi64(group), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7)),
        _mm512_set1_epi64(n->position),
        _mm512_set1_epi64(n->stream),
        _mm512_set1_epi64(n->round),
    }};

#pragma GCC unroll 10
    for (int i = 0; i < PHILOX_ROUNDS; i++) {
        __m512i a = _mm512_mul_epu32(c.w[0], _mm512_set1_epi64(PHILOX_M0));
        __m512i b = _mm512_mul_epu32(c.w[2], _mm512_set1_epi64(PHILOX_M1));

        /* 0x96: the exclusive or of three */
        c.w[0] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(b, 32), c.w[1], keys->k[i][0], 0x96);
        c.w[2] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(a, 32), c.w[3], keys->k[i][1], 0x96);
        c.w[1] = b;
        c.w[3] = a;
    }
    return c;
}

/* Random words by vocabulary id: those of groups 2 i and 2 i + 1. */
INLINE __m256i words_of(const struct philox8 *c, int i)
{
    __m512i of_pair = _mm512_setr_epi64(0, 8, 0, 8, 1, 9, 1, 9);
    __m512i at = _mm512_add_epi64(of_pair, _mm512_set1_epi64(2 * i));
    __m512i low = _mm512_permutex2var_epi64(c->w[0], at, c->w[1]);
    __m512i high = _mm512_permutex2var_epi64(c->w[2], at, c->w[3]);

    return _mm512_cvtepi64_epi32(_mm512_mask_mov_epi64(low, 0xcc, high));
}

INLINE void race_8(const double *r, __m256i words, int32_t id, struct race *race)
{
    __m512d bound = _mm512_mul_pd(SPLATD(race->score),
                                  _mm512_mul_pd(_mm512_cvtepu32_pd(words), SPLATD(RACE_U)));
    unsigned open = _mm512_cmp_pd_mask(_mm512_loadu_pd(r), bound, _CMP_NLT_UQ);
    uint32_t bits[8];

    if (open == 0)
        return;
    _mm256_storeu_si256((__m256i *)bits, words);
    for (; open != 0; open &= open - 1) {
        int j = __builtin_ctz(open);

        race_enter(race, race_score(r[j], bits[j]), id + j);
    }
}

/* True if none of 32 entries can win, whatever their random words. */
INLINE bool none_32(const double *r, double score)
{
    __m512d a = _mm512_max_pd(_mm512_loadu_pd(r), _mm512_loadu_pd(r + 8));
    __m512d b = _mm512_max_pd(_mm512_loadu_pd(r + 16), _mm512_loadu_pd(r + 24));

    return _mm512_cmp_pd_mask(_mm512_max_pd(a, b), SPLATD(score * RACE_U_MIN), _CMP_GT_OQ) == 0;
}

AVX512 static void race_avx512(const double *r, int n, int32_t first, const struct noise *noise,
                               struct race *race)
{
    struct philox_keys keys = philox_keys(noise->seed);
    int i = 0;

    for (; i + 32 <= n; i += 32) {
        if (none_32(r + i, race->score))
            continue;
        struct philox8 words = philox_avx512(noise, &keys, (uint32_t)(first + i) / 4);
        for (int j = 0; j < 4; j++)
            race_8(r + i + 8 * j, words_of(&words, j), first + i + 8 * j, race);
    }
    if (i < n)
        law_kernels_portable.race(r + i, n - i, first + i, noise, race);
}

const struct law_kernels law_kernels_avx512 = {
    .max = max_avx512,
    .weights = weights_avx512,
    .sum = sum_avx512,
    .widen = widen_avx512,
    .collect = collect_avx512,
    .residual = residual_avx512,
    .mass = mass_avx512,
    .race = race_avx512,
};

#else
typedef int law_avx512_needs_x86;
#endif
