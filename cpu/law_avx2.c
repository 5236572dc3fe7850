/*
 * The kernels of laws for x86-64 with AVX2 and FMA: the operations of specd/law.h, lane by lane.
 * Built without -mavx2 (the attribute selects the instructions) and, like every file with laws in
 * it, with -ffp-contract=off: compilers fuse intrinsics too.
 */
#ifdef __x86_64__

#include "law_kernels.h"

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma")))
#define SPLAT(x) _mm256_set1_ps(x)
#define SPLATD(x) _mm256_set1_pd(x)

/* 2^52: a double in [0, 2^52) plus this holds it as an integer in the low bits. */
#define MAGIC 0x1p52
#define MAGIC_BITS 0x4330000000000000

/* n entries of src, then `fill` up to a whole number of vectors. */
static void pad(float *dst, const float *src, int n, int width, float fill)
{
    for (int i = 0; i < width; i++)
        dst[i] = i < n ? src[i] : fill;
}

AVX2 static bool max_avx2(const float *z, int n, float *max)
{
    __m256 m = SPLAT(-INFINITY), good = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
    float lane[8], result = -INFINITY;

    for (int i = 0; i < n; i += 8) {
        __m256 v;

        if (n - i < 8) {
            pad(lane, z + i, n - i, 8, -INFINITY);
            v = _mm256_loadu_ps(lane);
        } else {
            v = _mm256_loadu_ps(z + i);
        }
        good = _mm256_and_ps(good, _mm256_cmp_ps(v, SPLAT(FLT_MAX), _CMP_LE_OQ));
        m = _mm256_max_ps(v, m);
    }
    _mm256_storeu_ps(lane, m);
    for (int j = 0; j < 8; j++)
        result = lane[j] > result ? lane[j] : result;
    *max = result;
    return _mm256_movemask_ps(good) == 0xff;
}

/* fix_exp44f of 8 arguments */
AVX2 static inline __m256 exp44_avx2(__m256 x)
{
    __m256 shifted, n, r, y;

    x = _mm256_max_ps(x, SPLAT(-32.0f));
    shifted = _mm256_fmadd_ps(x, SPLAT(FIX_LOG2E), SPLAT(FIX_ROUND));
    n = _mm256_sub_ps(shifted, SPLAT(FIX_ROUND));
    r = _mm256_fmadd_ps(n, SPLAT(-FIX_LN2_HI), x);
    r = _mm256_fmadd_ps(n, SPLAT(-FIX_LN2_LO), r);
    y = _mm256_fmadd_ps(SPLAT(FIX_E6), r, SPLAT(FIX_E5));
    y = _mm256_fmadd_ps(y, r, SPLAT(FIX_E4));
    y = _mm256_fmadd_ps(y, r, SPLAT(FIX_E3));
    y = _mm256_fmadd_ps(y, r, SPLAT(FIX_E2));
    y = _mm256_fmadd_ps(y, r, SPLAT(1.0f));
    y = _mm256_fmadd_ps(y, r, SPLAT(1.0f));
    y = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(y),
                                             _mm256_slli_epi32(_mm256_castps_si256(shifted), 23)));
    return _mm256_floor_ps(_mm256_mul_ps(y, SPLAT(0x1p44f)));
}

AVX2 static inline __m256 keep_avx2(__m256 w, __m256i id, float cut_w, int32_t cut_id)
{
    __m256 late = _mm256_castsi256_ps(_mm256_cmpgt_epi32(id, _mm256_set1_epi32(cut_id)));
    __m256 tied = _mm256_cmp_ps(w, SPLAT(cut_w), _CMP_EQ_OQ);
    __m256 above = _mm256_cmp_ps(w, SPLAT(cut_w), _CMP_GT_OQ);

    return _mm256_and_ps(w, _mm256_or_ps(above, _mm256_andnot_ps(late, tied)));
}

AVX2 static bool weights_avx2(const float *z, int n, int32_t first, float max, float scale,
                              float cut_w, int32_t cut_id, float *w)
{
    __m256i id = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256 any = _mm256_setzero_ps(), least = SPLAT(law_cut_logit(cut_w));
    float tail[8];

    for (int i = 0; i < n; i += 8) {
        bool whole = n - i >= 8;

        if (!whole)
            pad(tail, z + i, n - i, 8, -INFINITY);
        __m256 x = _mm256_loadu_ps(whole ? z + i : tail);
        x = _mm256_mul_ps(_mm256_sub_ps(x, SPLAT(max)), SPLAT(scale));
        if (_mm256_movemask_ps(_mm256_cmp_ps(x, least, _CMP_GE_OQ)) == 0) {
            x = _mm256_setzero_ps();
        } else {
            x = exp44_avx2(x);
            if (cut_w > 0.0f)
                x = keep_avx2(x, _mm256_add_epi32(id, _mm256_set1_epi32(first + i)), cut_w, cut_id);
        }
        any = _mm256_or_ps(any, x);
        _mm256_storeu_ps(whole ? w + i : tail, x);
        for (int j = 0; !whole && j < n - i; j++)
            w[i + j] = tail[j];
    }
    return !_mm256_testz_si256(_mm256_castps_si256(any), _mm256_castps_si256(any));
}

/* Integers in [0, 2^52) held by doubles, as integers plus MAGIC_BITS. */
AVX2 static inline __m256i to_integers(__m256d x)
{
    return _mm256_castpd_si256(_mm256_add_pd(x, SPLATD(MAGIC)));
}

AVX2 static uint64_t lanes_sum(__m256i v)
{
    uint64_t lane[4];

    _mm256_storeu_si256((__m256i *)lane, v);
    return lane[0] + lane[1] + lane[2] + lane[3];
}

AVX2 static uint64_t sum_avx2(const float *w, int n)
{
    __m256i sum = _mm256_setzero_si256();
    int i = 0;

    for (; i + 4 <= n; i += 4)
        sum = _mm256_add_epi64(sum, to_integers(_mm256_cvtps_pd(_mm_loadu_ps(w + i))));
    return lanes_sum(sum) - (uint64_t)i * MAGIC_BITS + law_kernels_portable.sum(w + i, n - i);
}

AVX2 static void widen_avx2(const float *w, int n, double *r)
{
    int i = 0;

    for (; i + 4 <= n; i += 4)
        _mm256_storeu_pd(r + i, _mm256_cvtps_pd(_mm_loadu_ps(w + i)));
    law_kernels_portable.widen(w + i, n - i, r + i);
}

/* Entries of 8 whose bit is set in `in`, lowest first. */
static int list_ids(int in, int32_t first, int32_t *ids)
{
    int found = 0;

    for (; in != 0; in &= in - 1)
        ids[found++] = first + __builtin_ctz((unsigned)in);
    return found;
}

AVX2 static int collect_avx2(const float *w, int n, int32_t first, float lo, float hi, int32_t *ids,
                             struct law_total *above)
{
    __m256i mass = _mm256_setzero_si256();
    uint64_t vectors = 0;
    int found = 0, i = 0;

    for (; i + 8 <= n; i += 8) {
        __m256 x = _mm256_loadu_ps(w + i), over = _mm256_cmp_ps(x, SPLAT(hi), _CMP_GE_OQ);
        int in = _mm256_movemask_ps(_mm256_cmp_ps(x, SPLAT(lo), _CMP_GE_OQ));

        if (in == 0)
            continue;
        int out = _mm256_movemask_ps(over);
        if (out != 0) {
            x = _mm256_and_ps(x, over);
            mass = _mm256_add_epi64(mass, to_integers(_mm256_cvtps_pd(_mm256_castps256_ps128(x))));
            mass =
                _mm256_add_epi64(mass, to_integers(_mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))));
            vectors += 2;
            above->count += (uint64_t)__builtin_popcount((unsigned)out);
        }
        found += list_ids(in & ~out, first + i, ids + found);
    }
    above->mass += lanes_sum(mass) - vectors * 4 * MAGIC_BITS;
    return found +
           law_kernels_portable.collect(w + i, n - i, first + i, lo, hi, ids + found, above);
}

AVX2 static bool residual_avx2(const float *wq, double sq, const float *wp, double sp, double b,
                               int n, double *r)
{
    __m256d any = _mm256_setzero_pd();
    int i = 0;

    for (; i + 4 <= n; i += 4) {
        __m256d q = _mm256_div_pd(_mm256_cvtps_pd(_mm_loadu_ps(wq + i)), SPLATD(sq));
        __m256d p = _mm256_div_pd(_mm256_cvtps_pd(_mm_loadu_ps(wp + i)), SPLATD(sp));
        __m256d x = _mm256_sub_pd(_mm256_mul_pd(SPLATD(b), q), p);

        x = _mm256_max_pd(x, _mm256_setzero_pd());
        any = _mm256_or_pd(any, x);
        _mm256_storeu_pd(r + i, x);
    }
    bool positive = !_mm256_testz_si256(_mm256_castpd_si256(any), _mm256_castpd_si256(any));
    if (i < n)
        positive |= law_kernels_portable.residual(wq + i, sq, wp + i, sp, b, n - i, r + i);
    return positive;
}

/* floor(r 2^62) in two steps of 31 bits, each exact. */
AVX2 static uint64_t mass_avx2(const double *r, int n)
{
    __m256i high = _mm256_setzero_si256(), low = high;
    int i = 0;

    for (; i + 4 <= n; i += 4) {
        __m256d x = _mm256_mul_pd(_mm256_loadu_pd(r + i), SPLATD(0x1p31));
        __m256d whole = _mm256_floor_pd(x);
        __m256d rest = _mm256_mul_pd(_mm256_sub_pd(x, whole), SPLATD(0x1p31));

        high = _mm256_add_epi64(high, to_integers(whole));
        low = _mm256_add_epi64(low, to_integers(_mm256_floor_pd(rest)));
    }
    return ((lanes_sum(high) - (uint64_t)i * MAGIC_BITS) << 31) +
           (lanes_sum(low) - (uint64_t)i * MAGIC_BITS) + law_kernels_portable.mass(r + i, n - i);
}

/* ---- the race -------------------------------------------------------------------------------- */

/* The counters, then the words, of 4 groups: 64-bit lanes whose low halves count. */
struct philox4 {
    __m256i w[4];
};

AVX2 static inline void round_avx2(struct philox4 *c, __m256i k0, __m256i k1)
{
    __m256i a = _mm256_mul_epu32(c->w[0], _mm256_set1_epi64x(PHILOX_M0));
    __m256i b = _mm256_mul_epu32(c->w[2], _mm256_set1_epi64x(PHILOX_M1));

    c->w[0] = _mm256_xor_si256(_mm256_srli_epi64(b, 32), _mm256_xor_si256(c->w[1], k0));
    c->w[2] = _mm256_xor_si256(_mm256_srli_epi64(a, 32), _mm256_xor_si256(c->w[3], k1));
    c->w[1] = b;
    c->w[3] = a;
}

/* Words of groups group .. group + 8, as two fours whose rounds overlap in time. */
AVX2 static inline void philox_avx2(const struct noise *n, uint32_t group, struct philox4 out[2])
{
    __m256i k0 = _mm256_set1_epi64x((uint32_t)n->seed);
    __m256i k1 = _mm256_set1_epi64x((uint32_t)(n->seed >> 32));
    struct philox4 a = {{
        _mm256_add_epi64(_mm256_set1_epi64x(group), _mm256_setr_epi64x(0, 1, 2, 3)),
        _mm256_set1_epi64x(n->position),
        _mm256_set1_epi64x(n->stream),
        _mm256_set1_epi64x(n->round),
    }};
    struct philox4 b = a;

    b.w[0] = _mm256_add_epi64(b.w[0], _mm256_set1_epi64x(4));
    for (int i = 0; i < PHILOX_ROUNDS; i++) {
        round_avx2(&a, k0, k1);
        round_avx2(&b, k0, k1);
        /* Carries into the high halves do no harm: only low halves are multiplied. */
        k0 = _mm256_add_epi64(k0, _mm256_set1_epi64x(PHILOX_W0));
        k1 = _mm256_add_epi64(k1, _mm256_set1_epi64x(PHILOX_W1));
    }
    out[0] = a;
    out[1] = b;
}

/* Turns words by group into words by vocabulary id: row g holds the 4 words of group g. */
AVX2 static inline struct philox4 transpose_avx2(struct philox4 c)
{
    __m256i a = _mm256_unpacklo_epi64(c.w[0], c.w[1]), b = _mm256_unpackhi_epi64(c.w[0], c.w[1]);
    __m256i d = _mm256_unpacklo_epi64(c.w[2], c.w[3]), e = _mm256_unpackhi_epi64(c.w[2], c.w[3]);

    return (struct philox4){{
        _mm256_permute2x128_si256(a, d, 0x20),
        _mm256_permute2x128_si256(b, e, 0x20),
        _mm256_permute2x128_si256(a, d, 0x31),
        _mm256_permute2x128_si256(b, e, 0x31),
    }};
}

/* The few entries of 4 that may beat the leader. */
static void race_some(const double *r, const uint32_t bits[8], int open, int32_t id,
                      struct race *race)
{
    for (int j = 0; j < 4; j++) {
        if (open >> j & 1)
            race_enter(race, race_score(r[j], bits[2 * j]), id + j);
    }
}

AVX2 static inline void race_4(const double *r, __m256i words, int32_t id, struct race *race)
{
    __m256i low = _mm256_blend_epi32(words, _mm256_set1_epi64x(MAGIC_BITS), 0xaa);
    __m256d u = _mm256_sub_pd(_mm256_castsi256_pd(low), SPLATD(MAGIC));
    __m256d bound = _mm256_mul_pd(SPLATD(race->score), _mm256_mul_pd(u, SPLATD(RACE_U)));
    int open = _mm256_movemask_pd(_mm256_cmp_pd(_mm256_loadu_pd(r), bound, _CMP_NLT_UQ));

    if (open) {
        uint32_t bits[8];

        _mm256_storeu_si256((__m256i *)bits, words);
        race_some(r, bits, open, id, race);
    }
}

/* True if none of 32 entries can win, whatever their random words. */
AVX2 static inline bool none_32(const double *r, double score)
{
    __m256d max = _mm256_setzero_pd();

    for (int i = 0; i < 32; i += 4)
        max = _mm256_max_pd(max, _mm256_loadu_pd(r + i));
    return _mm256_movemask_pd(_mm256_cmp_pd(max, SPLATD(score * RACE_U_MIN), _CMP_GT_OQ)) == 0;
}

AVX2 static void race_avx2(const double *r, int n, int32_t first, const struct noise *noise,
                           struct race *race)
{
    struct philox4 words[2];
    int i = 0;

    for (; i + 32 <= n; i += 32) {
        if (none_32(r + i, race->score))
            continue;
        philox_avx2(noise, (uint32_t)(first + i) / 4, words);
        for (int half = 0; half < 2; half++) {
            struct philox4 rows = transpose_avx2(words[half]);

            for (int g = 0; g < 4; g++) {
                int j = i + 16 * half + 4 * g;

                race_4(r + j, rows.w[g], first + j, race);
            }
        }
    }
    if (i < n)
        law_kernels_portable.race(r + i, n - i, first + i, noise, race);
}

const struct law_kernels law_kernels_avx2 = {
    .max = max_avx2,
    .weights = weights_avx2,
    .sum = sum_avx2,
    .widen = widen_avx2,
    .collect = collect_avx2,
    .residual = residual_avx2,
    .mass = mass_avx2,
    .race = race_avx2,
};

#else
typedef int law_avx2_needs_x86;
#endif
