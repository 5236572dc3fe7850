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

/* The bit pattern of the largest magnitude. */
LANES_FN uint32_t largest_bits(const float *x)
{
    const __m256i mask = _mm256_set1_epi32(0x7FFFFFFF);
    __m256i m = _mm256_setzero_si256();
    for (int i = 0; i < RUN; i += LANES)
        m = _mm256_max_epi32(m, _mm256_and_si256(_mm256_castps_si256(v8_load(x + i)), mask));
    __m128i n = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    n = _mm_max_epi32(n, _mm_shuffle_epi32(n, 0x4E));
    n = _mm_max_epi32(n, _mm_shuffle_epi32(n, 0xB1));
    return (uint32_t)_mm_cvtsi128_si32(n);
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
        low[i] = _mm256_setzero_si256();
        if (hot) {
            __m256i all = high[i];
            high[i] = _mm256_srai_epi32(_mm256_add_epi32(all, _mm256_set1_epi32(64)), 7);
            low[i] = _mm256_sub_epi32(all, _mm256_slli_epi32(high[i], 7));
        }
    }
    store_bytes(q->high, high);
    store_bytes(q->low, low);
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

/* Writes the starts of these integers, `stride` words apart, and returns their sum. */
LANES_FN int32_t put_starts(const int8_t *q, bool in_pairs, int32_t *to, int stride)
{
    static const int offsets[STARTS] = {8, 16, 128, 32, 32};
    int32_t pairs[2];
    int even[3], odd[3]; /* of each half, and of both */
    pair_sums(q, pairs);
    for (int i = 0; i < 2; i++) {
        even[i] = (int16_t)(uint16_t)pairs[i];
        odd[i] = pairs[i] >> 16;
    }
    even[2] = even[0] + even[1];
    odd[2] = odd[0] + odd[1];
    for (int i = 0; i < STARTS; i++) {
        int which = i < START_Q6_K ? 2 : i - START_Q6_K;
        int a = -offsets[i] * even[which], b = -offsets[i] * odd[which];
        to[i * stride] = in_pairs ? (int32_t)((uint32_t)b << 16 | (uint16_t)a) : a + b;
    }
    return even[2] + odd[2];
}

/* One run of one row into its places in a tile of R and in the row's own low integers. */
LANES_FN void put_run(const float *x, float hot_above, bool in_pairs, int R, int32_t *tile,
                      int32_t *low, uint8_t *hot_byte)
{
    struct quantised q;
    uint32_t bits = largest_bits(x);
    float a = float_of_bits(bits), scale = 0, sum;
    bool finite = bits < 0x7F800000, hot = finite && a >= 0x1p-100f && a > hot_above;
    int32_t total = 0;
    if (finite && a >= 0x1p-100f) {
        float steps = hot ? 16129.0f : 127.0f;
        scale = a / steps;
        round_run(x, steps / a, hot, &q);
    } else {
        scale = finite ? 0 : NAN;
        memset(&q, 0, sizeof(q));
    }
    total = put_starts(q.high, in_pairs, tile + QROW_STARTS * R, R);
    if (hot) {
        total = 128 * total + put_starts(q.low, in_pairs, low + QROW_STARTS, 1);
        memcpy(low, q.low, sizeof(q.low));
    }
    for (int k = 0; k < RUN / 4; k++)
        memcpy(tile + k * R, q.high + 4 * k, 4);
    sum = scale * (float)total;
    memcpy(tile + QROW_SCALE * R, &scale, 4);
    memcpy(tile + QROW_SUM * R, &sum, 4);
    *hot_byte = hot;
}

/* Row `row` of a tile of R; in_pairs: starts for kernels that add in 16 bits. */
LANES_FN void quantise_row(const float *x, int n_cols, bool in_pairs, int R, int row, int32_t *tile,
                           int32_t *low)
{
    v8 squares = v8_set(0.0f);
    for (int i = 0; i < n_cols; i += LANES) {
        v8 a = v8_load(x + i);
        squares = v8_fma(a, a, squares);
    }
    float hot_above = QROWS_HOT * sqrtf(v8_sum(squares) / (float)n_cols);
    for (int c = 0; c < n_cols; c += RUN) {
        uint8_t *hot = (uint8_t *)(tile + QROW_WORDS * R);
        put_run(x + c, hot_above, in_pairs, R, tile + row, low, hot + row);
        for (int i = R; i < 16 && row == 0; i++)
            hot[i] = 0;
        tile += tile_words(R);
        low += LOW_WORDS;
    }
}

LANES_TARGET static void quantise(const float *x, int n_cols, int R, int row, int32_t *tile,
                                  int32_t *low)
{
    quantise_row(x, n_cols, QROWS_IN_PAIRS, R, row, tile, low);
}
