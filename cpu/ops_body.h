/*
 * ops_body.h - the operations of ops.h in terms of lanes.h; compiled once per instruction set.
 *
 * Sums over a row run in eight lanes, element i in lane i % 8, joined by v8_sum's tree.
 */
#include "lanes.h"
#include "ops.h"

#include <stddef.h>

LANES_TARGET static void rms_norm(float *y, const float *x, const float *w, int n, float eps)
{
    v8 squares = v8_set(0.0f);
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        v8 a = v8_load(x + i);
        squares = v8_fma(a, a, squares);
    }
    if (i < n) {
        v8 a = v8_load_n(x + i, n - i);
        squares = v8_fma(a, a, squares);
    }
    float scale = 1.0f / sqrtf(v8_sum(squares) / (float)n + eps);
    for (i = 0; i + LANES <= n; i += LANES)
        v8_store(y + i, v8_mul(v8_mul(v8_load(x + i), v8_set(scale)), v8_load(w + i)));
    for (; i < n; i++)
        y[i] = x[i] * scale * w[i];
}

LANES_TARGET static void add(float *x, const float *y, int n)
{
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        v8_store(x + i, v8_add(v8_load(x + i), v8_load(y + i)));
    for (; i < n; i++)
        x[i] += y[i];
}

LANES_FN v8 silu(v8 x)
{
    v8 e = v8_exp(v8_sub(v8_set(0.0f), x));
    return v8_div(x, v8_add(v8_set(1.0f), e));
}

LANES_TARGET static void silu_mul(float *gate, const float *up, int n)
{
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        v8_store(gate + i, v8_mul(silu(v8_load(gate + i)), v8_load(up + i)));
    if (i < n) {
        v8 y = v8_mul(silu(v8_load_n(gate + i, n - i)), v8_load_n(up + i, n - i));
        v8_store_n(gate + i, y, n - i);
    }
}

/* A tile of C, rows x (vectors * 8), kept in registers over the whole of k. The pragma matters: gcc
 * at -O2 would leave the tile in memory. */
/* clang-format off */
#define UNROLLED _Pragma("GCC unroll 8")
#define MAC_TILE(name, rows, vectors)                                                              \
    LANES_FN void name(float *c, int c_stride, const float *a, int a_stride, const float *b,       \
                       int b_stride, int k)                                                        \
    {                                                                                              \
        v8 acc[rows][vectors];                                                                     \
        UNROLLED for (int i = 0; i < rows; i++)                                                    \
            UNROLLED for (int j = 0; j < vectors; j++)                                             \
                acc[i][j] = v8_load(c + (ptrdiff_t)i * c_stride + j * LANES);                      \
        for (int p = 0; p < k; p++) {                                                              \
            v8 x[rows];                                                                            \
            UNROLLED for (int i = 0; i < rows; i++)                                                \
                x[i] = v8_set(a[(ptrdiff_t)i * a_stride + p]);                                     \
            UNROLLED for (int j = 0; j < vectors; j++) {                                           \
                v8 y = v8_load(b + (ptrdiff_t)p * b_stride + j * LANES);                           \
                UNROLLED for (int i = 0; i < rows; i++)                                            \
                    acc[i][j] = v8_fma(x[i], y, acc[i][j]);                                        \
            }                                                                                      \
        }                                                                                          \
        UNROLLED for (int i = 0; i < rows; i++)                                                    \
            UNROLLED for (int j = 0; j < vectors; j++)                                             \
                v8_store(c + (ptrdiff_t)i * c_stride + j * LANES, acc[i][j]);                      \
    }
/* clang-format on */
MAC_TILE(mac_3x4, 3, 4)
MAC_TILE(mac_3x1, 3, 1)
MAC_TILE(mac_1x8, 1, 8)
MAC_TILE(mac_1x1, 1, 1)
#undef MAC_TILE

LANES_TARGET static void mac(float *c, int c_stride, const float *a, int a_stride, const float *b,
                             int b_stride, int m, int k, int n)
{
    int i = 0;
    for (; i + 3 <= m; i += 3) {
        float *ci = c + (ptrdiff_t)i * c_stride;
        const float *ai = a + (ptrdiff_t)i * a_stride;
        int j = 0;
        for (; j + 4 * LANES <= n; j += 4 * LANES)
            mac_3x4(ci + j, c_stride, ai, a_stride, b + j, b_stride, k);
        for (; j < n; j += LANES)
            mac_3x1(ci + j, c_stride, ai, a_stride, b + j, b_stride, k);
    }
    for (; i < m; i++) {
        float *ci = c + (ptrdiff_t)i * c_stride;
        const float *ai = a + (ptrdiff_t)i * a_stride;
        int j = 0;
        for (; j + 8 * LANES <= n; j += 8 * LANES)
            mac_1x8(ci + j, c_stride, ai, a_stride, b + j, b_stride, k);
        for (; j < n; j += LANES)
            mac_1x1(ci + j, c_stride, ai, a_stride, b + j, b_stride, k);
    }
}

/* The largest may miss a NaN, but then the NaN reaches the sum. */
LANES_TARGET static float exp_sum(float *s, int n, float *max)
{
    float largest = s[0];
    int whole = n / LANES * LANES;
    if (whole > 0) {
        v8 m = v8_load(s);
        for (int i = LANES; i < whole; i += LANES)
            m = v8_max(v8_load(s + i), m);
        largest = v8_largest(m);
    }
    for (int i = whole; i < n; i++)
        largest = s[i] > largest ? s[i] : largest;
    *max = largest;

    v8 sum = v8_set(0.0f), shift = v8_set(largest);
    int i = 0;
    for (; i < whole; i += LANES) {
        v8 e = v8_exp(v8_sub(v8_load(s + i), shift));
        v8_store(s + i, e);
        sum = v8_add(sum, e);
    }
    if (i < n) {
        v8 e = v8_exp(v8_sub(v8_load_n(s + i, n - i), shift));
        v8_store_n(s + i, e, n - i);
        sum = v8_add(sum, v8_load_n(s + i, n - i)); /* zeros in the lanes past the end */
    }
    return v8_sum(sum);
}

LANES_TARGET static void blend(float *acc, float a, const float *x, float b, int n)
{
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        v8 y = v8_mul(v8_load(x + i), v8_set(b));
        v8_store(acc + i, v8_fma(v8_load(acc + i), v8_set(a), y));
    }
    for (; i < n; i++)
        acc[i] = fmaf(acc[i], a, x[i] * b);
}

LANES_TARGET static void divide(float *y, const float *x, float d, int n)
{
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        v8_store(y + i, v8_div(v8_load(x + i), v8_set(d)));
    for (; i < n; i++)
        y[i] = x[i] / d;
}

LANES_TARGET static float exp_one(float x)
{
    float f[LANES];
    v8_store(f, v8_exp(v8_set(x)));
    return f[0];
}

LANES_TARGET static void widen(float *y, int y_stride, const uint16_t *bf16, int stride, int rows,
                               int n)
{
    for (int r = 0; r < rows; r++, y += y_stride, bf16 += stride) {
        int i = 0;
        for (; i + 2 * LANES <= n; i += 2 * LANES) {
            v8_store(y + i, v8_load_bf16(bf16 + i));
            v8_store(y + i + LANES, v8_load_bf16(bf16 + i + LANES));
        }
        for (; i < n; i++) {
            uint32_t bits = (uint32_t)bf16[i] << 16;
            memcpy(y + i, &bits, sizeof(bits));
        }
    }
}

const struct ops OPS_TABLE = {
    .rms_norm = rms_norm,
    .add = add,
    .silu_mul = silu_mul,
    .mac = mac,
    .exp_sum = exp_sum,
    .blend = blend,
    .divide = divide,
    .exp = exp_one,
    .widen = widen,
};
