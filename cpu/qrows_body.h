/*
 * qrows_body.h - quantising a row, as qrows.h says; compiled with lanes.h for each set of kernels.
 *
 * QROWS_IN_PAIRS: for kernels that add in 16 bits.
 */
#include "kernel.h"
#include "lanes.h"
#include "qrows.h"

#include <math.h>

/* The integers of a run, in bytes. */
struct quantised {
    _Alignas(32) int8_t high[RUN], low[RUN];
};

#if LANES_ISA

LANES_FN uint32_t largest_lane(__m256i m)
{
    __m128i n = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    n = _mm_max_epi32(n, _mm_shuffle_epi32(n, 0x4E));
    n = _mm_max_epi32(n, _mm_shuffle_epi32(n, 0xB1));
    return (uint32_t)_mm_cvtsi128_si32(n);
}

/* Of words 0-3 and of words 4-7, two numbers of 16 bits each: the sums of every other pair of
 * columns. */
LANES_FN void pair_sums(const int8_t *q, int32_t pairs[2])
{
    __m256i p = _mm256_load_si256((const __m256i *)(const void *)q);
    p = _mm256_maddubs_epi16(_mm256_set1_epi8(1), p);
    p = _mm256_add_epi16(p, _mm256_shuffle_epi32(p, 0x4E));
    p = _mm256_add_epi16(p, _mm256_shuffle_epi32(p, 0xB1));
    pairs[0] = _mm_cvtsi128_si32(_mm256_castsi256_si128(p));
    pairs[1] = _mm_cvtsi128_si32(_mm256_extracti128_si256(p, 1));
}

#endif

#if LANES_ISA == 2

/* The bit pattern of the largest magnitude. */
LANES_FN uint32_t largest_bits(const float *x)
{
    const __m512i mask = _mm512_set1_epi32(0x7FFFFFFF);
    __m512i a = _mm512_and_si512(_mm512_castps_si512(wide_load(x)), mask);
    __m512i b = _mm512_and_si512(_mm512_castps_si512(wide_load(x + WIDE)), mask);
    a = _mm512_max_epi32(a, b);
    return largest_lane(
        _mm256_max_epi32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1)));
}

/* 32 integers of 32 bits, each within a byte. */
LANES_FN void store_bytes(int8_t *to, __m512i a, __m512i b)
{
    __m256i low = _mm256_castsi128_si256(_mm512_cvtepi32_epi8(a));
    __m256i all = _mm256_inserti128_si256(low, _mm512_cvtepi32_epi8(b), 1);
    _mm256_store_si256((__m256i *)(void *)to, all);
}

LANES_FN void round_run(const float *x, float inv, bool hot, struct quantised *q)
{
    __m512i a = _mm512_cvtps_epi32(wide_mul(wide_load(x), wide_set(inv)));
    __m512i b = _mm512_cvtps_epi32(wide_mul(wide_load(x + WIDE), wide_set(inv)));
    if (hot) {
        const __m512i half = _mm512_set1_epi32(64);
        __m512i high_a = _mm512_srai_epi32(_mm512_add_epi32(a, half), 7);
        __m512i high_b = _mm512_srai_epi32(_mm512_add_epi32(b, half), 7);
        store_bytes(q->low, _mm512_sub_epi32(a, _mm512_slli_epi32(high_a, 7)),
                    _mm512_sub_epi32(b, _mm512_slli_epi32(high_b, 7)));
        a = high_a;
        b = high_b;
    }
    store_bytes(q->high, a, b);
}

#elif LANES_ISA == 1

LANES_FN uint32_t largest_bits(const float *x)
{
    const __m256i mask = _mm256_set1_epi32(0x7FFFFFFF);
    __m256i m = _mm256_setzero_si256();
    for (int i = 0; i < RUN; i += LANES)
        m = _mm256_max_epi32(m, _mm256_and_si256(_mm256_castps_si256(v8_load(x + i)), mask));
    return largest_lane(m);
}

/* 32 integers of 32 bits, each within a byte. */
LANES_FN void store_bytes(int8_t *to, const __m256i v[4])
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i a = _mm256_packs_epi32(v[0], v[1]), b = _mm256_packs_epi32(v[2], v[3]);
    a = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order);
    _mm256_store_si256((__m256i *)(void *)to, a);
}

LANES_FN void round_run(const float *x, float inv, bool hot, struct quantised *q)
{
    __m256i high[4], low[4];
    for (int i = 0; i < 4; i++) {
        high[i] = _mm256_cvtps_epi32(v8_mul(v8_load(x + i * LANES), v8_set(inv)));
        if (hot) {
            __m256i all = high[i];
            high[i] = _mm256_srai_epi32(_mm256_add_epi32(all, _mm256_set1_epi32(64)), 7);
            low[i] = _mm256_sub_epi32(all, _mm256_slli_epi32(high[i], 7));
        }
    }
    store_bytes(q->high, high);
    if (hot)
        store_bytes(q->low, low);
}

#else

LANES_FN uint32_t largest_bits(const float *x)
{
    uint32_t largest = 0;
    for (int i = 0; i < RUN; i++) {
        uint32_t bits = bits_of_float(x[i]) & 0x7FFFFFFF;
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

LANES_FN void round_run(const float *x, float inv, bool hot, struct quantised *q)
{
    for (int i = 0; i < RUN; i++) {
        int all = (int)lrintf(x[i] * inv);
        int high = hot ? (all + 64) >> 7 : all;
        q->high[i] = (int8_t)high;
        q->low[i] = (int8_t)(hot ? all - high * 128 : 0);
    }
}

LANES_FN void pair_sums(const int8_t *q, int32_t pairs[2])
{
    int16_t sum[2][2] = {{0}};
    for (int i = 0; i < RUN; i++)
        sum[i / 16][i % 4 / 2] = (int16_t)(sum[i / 16][i % 4 / 2] + q[i]);
    memcpy(pairs, sum, sizeof(sum));
}

#endif

/* Two sums of 16 bits, or both in one. */
LANES_FN int32_t start(int offset, int even, int odd, bool in_pairs)
{
    int a = -offset * even, b = -offset * odd;
    return in_pairs ? (int32_t)((uint32_t)b << 16 | (uint16_t)a) : a + b;
}

/* Integers and what sums of them start at. Returns their sum. */
LANES_FN int32_t put_integers(const int8_t *q, bool in_pairs, struct qrow *to)
{
    int32_t pairs[2];
    pair_sums(q, pairs);
    int even0 = (int16_t)(uint16_t)pairs[0], even1 = (int16_t)(uint16_t)pairs[1];
    int odd0 = pairs[0] >> 16, odd1 = pairs[1] >> 16, even = even0 + even1, odd = odd0 + odd1;
    memcpy(to->words, q, RUN);
    to->starts[START_8] = start(8, even, odd, in_pairs);
    to->starts[START_128] = start(128, even, odd, in_pairs);
    to->starts[START_32] = start(32, even0, odd0, in_pairs);
    to->starts[START_32 + 1] = start(32, even1, odd1, in_pairs);
    to->starts[HALF_SUMS] = (int32_t)((uint32_t)(even1 + odd1) << 16 | (uint16_t)(even0 + odd0));
    return even + odd;
}

LANES_FN void put_run(const float *x, float hot_above, bool in_pairs, struct qrow *to,
                      struct qrow *low)
{
    struct quantised q;
    uint32_t bits = largest_bits(x);
    float a = float_of_bits(bits);
    bool finite = bits < 0x7F800000;
    if (!finite || a < 0x1p-100f) {
        *to = (struct qrow){.scale = finite ? 0 : NAN, .sum = finite ? 0 : NAN};
        return;
    }
    bool hot = a > hot_above;
    float steps = hot ? 16129.0f : 127.0f;
    if (hot)
        round_run(x, steps / a, true, &q);
    else
        round_run(x, steps / a, false, &q);
    int32_t total = put_integers(q.high, in_pairs, to);
    if (hot)
        total = 128 * total + put_integers(q.low, in_pairs, low);
    to->scale = a / steps;
    to->sum = to->scale * (float)total;
    to->hot = hot;
}

LANES_TARGET static void quantise(const float *x, int n_cols, float hot, struct qrow *to,
                                  int stride, struct qrow *low)
{
    v8 squares = v8_set(0.0f);
    for (int i = 0; i < n_cols; i += LANES) {
        v8 a = v8_load(x + i);
        squares = v8_fma(a, a, squares);
    }
    float hot_above = hot * sqrtf(v8_sum(squares) / (float)n_cols);
    for (int c = 0; c < n_cols; c += RUN, to += stride, low++)
        put_run(x + c, hot_above, QROWS_IN_PAIRS, to, low);
}
