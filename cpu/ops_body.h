/*
 * ops_body.h - the operations of ops.h in terms of lanes.h; compiled once per instruction set.
 *
 * Sums over a row run in eight lanes, element i in lane i % 8, joined by v8_sum's tree.
 */
#include "attention_body.h"
#include "lanes.h"
#include "ops.h"

#include <stdbool.h>
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
        v8 a = wide_eight(wide_load_n(x + i, n - i), 0);
        squares = v8_fma(a, a, squares);
    }
    float scale = 1.0f / sqrtf(v8_sum(squares) / (float)n + eps);
    for (i = 0; i + WIDE <= n; i += WIDE)
        wide_store(y + i, wide_mul(wide_mul(wide_load(x + i), wide_set(scale)), wide_load(w + i)));
    for (; i < n; i++)
        y[i] = x[i] * scale * w[i];
}

LANES_FN wide turned(const float *x, wide partner, const float *cosine, const float *sine,
                     wide scale)
{
    wide a = wide_mul(wide_load(x), wide_load(cosine));
    return wide_mul(wide_add(a, wide_mul(partner, wide_load(sine))), scale);
}

LANES_TARGET static void rotate(float *x, const float *rotation, int n, bool neighbours,
                                float scale)
{
    const float *cosine = rotation, *sine = rotation + n;
    wide by = wide_set(scale);
    int i = 0, far = neighbours ? 1 : n / 2;
    for (; neighbours && i + WIDE <= n; i += WIDE)
        wide_store(x + i, turned(x + i, wide_swap(wide_load(x + i)), cosine + i, sine + i, by));
    for (; !neighbours && i + WIDE <= far; i += WIDE) {
        wide second = wide_load(x + far + i);
        wide a = turned(x + i, second, cosine + i, sine + i, by);
        wide b = turned(x + far + i, wide_load(x + i), cosine + far + i, sine + far + i, by);
        wide_store(x + i, a);
        wide_store(x + far + i, b);
    }
    for (int end = neighbours ? n : far; i < end; i += neighbours ? 2 : 1) {
        float a = x[i], b = x[i + far];
        x[i] = (a * cosine[i] + b * sine[i]) * scale;
        x[i + far] = (b * cosine[i + far] + a * sine[i + far]) * scale;
    }
}

/* x / (1 + exp(-t)) */
LANES_FN wide gated(wide x, wide t)
{
    wide e = wide_exp(wide_sub(wide_set(0.0f), t));
    return wide_div(x, wide_add(wide_set(1.0f), e));
}

/* What GELU's x is gated by: 2 u of ops.h. */
LANES_FN wide gelu_gate(wide x)
{
    wide cubic = wide_fma(wide_mul(wide_set(0.044715f), x), wide_mul(x, x), x);
    return wide_mul(wide_set(1.5957691216f), cubic); /* 2 sqrt(2 / pi) */
}

#define GATED_MUL(name, gate_of)                                                       \
    LANES_TARGET static void name(float *y, const float *gate, const float *up, int n) \
    {                                                                                  \
        int i = 0;                                                                     \
        for (; i + WIDE <= n; i += WIDE) {                                             \
            wide x = wide_load(gate + i);                                              \
            wide_store(y + i, wide_mul(gated(x, gate_of(x)), wide_load(up + i)));      \
        }                                                                              \
        if (i < n) {                                                                   \
            wide x = wide_load_n(gate + i, n - i);                                     \
            wide last = wide_mul(gated(x, gate_of(x)), wide_load_n(up + i, n - i));    \
            wide_store_n(y + i, last, n - i);                                          \
        }                                                                              \
    }
GATED_MUL(silu_mul, )
GATED_MUL(gelu_mul, gelu_gate)

LANES_FN v8 add_eights(v8 sum, wide a)
{
    for (int h = 0; h < WIDE / LANES; h++)
        sum = v8_add(sum, wide_eight(a, h));
    return sum;
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

    v8 sum = v8_set(0.0f);
    wide shift = wide_set(largest);
    int i = 0;
    for (; i + WIDE <= n; i += WIDE) {
        wide e = wide_exp(wide_sub(wide_load(s + i), shift));
        wide_store(s + i, e);
        sum = add_eights(sum, e);
    }
    if (i < n) {
        wide e = wide_exp(wide_sub(wide_load_n(s + i, n - i), shift));
        wide_store_n(s + i, e, n - i);
        sum = add_eights(sum, wide_load_n(s + i, n - i)); /* zeros in the lanes past the end */
    }
    return v8_sum(sum);
}

LANES_TARGET static void blend(float *acc, float a, const float *x, float b, int n)
{
    int i = 0;
    for (; i + WIDE <= n; i += WIDE) {
        wide y = wide_mul(wide_load(x + i), wide_set(b));
        wide_store(acc + i, wide_fma(wide_load(acc + i), wide_set(a), y));
    }
    for (; i < n; i++)
        acc[i] = fmaf(acc[i], a, x[i] * b);
}

LANES_TARGET static void divide(float *y, const float *x, float d, int n)
{
    int i = 0;
    for (; i + WIDE <= n; i += WIDE)
        wide_store(y + i, wide_div(wide_load(x + i), wide_set(d)));
    for (; i < n; i++)
        y[i] = x[i] / d;
}

LANES_TARGET static void narrow(uint16_t *y, const float *x, int n)
{
    int i = 0;
    for (; i + WIDE <= n; i += WIDE)
        wide_store_bf16(y + i, wide_load(x + i));
    for (; i < n; i++)
        y[i] = bf16_from_f32(x[i]);
}

LANES_TARGET static float exp_one(float x)
{
    float f[WIDE];
    wide_store(f, wide_exp(wide_set(x)));
    return f[0];
}

const struct ops OPS_TABLE = {
    .rms_norm = rms_norm,
    .rotate = rotate,
    .silu_mul = silu_mul,
    .gelu_mul = gelu_mul,
    .scores = scores,
    .values = values,
    .exp_sum = exp_sum,
    .blend = blend,
    .divide = divide,
    .narrow = narrow,
    .exp = exp_one,
};
