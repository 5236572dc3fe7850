#include "write/quantize.h"

#include "specd/util.h"

#include <math.h>
#include <string.h>

static uint32_t float_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

/* u / 2^shift, to nearest even. */
static uint32_t shift_round(uint32_t u, int shift)
{
    uint32_t half = 1u << (shift - 1), odd = u >> shift & 1;
    return (u + half - 1 + odd) >> shift;
}

uint16_t f32_to_f16(float x)
{
    uint32_t u = float_bits(x);
    uint32_t sign = u >> 16 & 0x8000, mag = u & 0x7fffffff;
    uint32_t h;
    if (mag >= 0x7f800000) /* infinity; NaN stays a NaN */
        h = 0x7c00 | (mag > 0x7f800000 ? 0x200 : 0);
    else if (mag < 0x33000000) /* below half of the smallest subnormal */
        h = 0;
    else if (mag < 0x38800000) /* subnormal: a fixed point number of 2^-24 */
        h = shift_round((mag & 0x7fffff) | 0x800000, 126 - (int)(mag >> 23));
    else
        h = MIN(shift_round(mag - 0x38000000, 13), 0x7c00);
    return (uint16_t)(sign | h);
}

float f16_to_f32(uint16_t h)
{
    int exponent = h >> 10 & 31, mantissa = h & 0x3ff;
    float mag = exponent == 31  ? (mantissa ? NAN : INFINITY)
                : exponent == 0 ? ldexpf((float)mantissa, -24)
                                : ldexpf((float)(mantissa | 0x400), exponent - 25);
    return h & 0x8000 ? -mag : mag;
}

uint16_t f32_to_bf16(float x)
{
    uint32_t u = float_bits(x);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)shift_round(u, 16);
}

/* Writes a scale as f16 and returns what a reader will see. */
static float put_f16(uint8_t *at, float x)
{
    uint16_t h = f32_to_f16(x);
    memcpy(at, &h, sizeof h);
    return f16_to_f32(h);
}

static int level(float x, float step, int lo, int hi)
{
    if (step == 0)
        return MAX(lo, 0);
    return (int)fminf(fmaxf(rintf(x / step), (float)lo), (float)hi);
}

struct range {
    float min, max, peak; /* peak: the element of largest magnitude, with its sign */
};

static struct range range_of(const float *x, int n)
{
    struct range r = {x[0], x[0], x[0]};
    for (int i = 1; i < n; i++) {
        r.min = fminf(r.min, x[i]);
        r.max = fmaxf(r.max, x[i]);
        if (fabsf(x[i]) > fabsf(r.peak))
            r.peak = x[i];
    }
    return r;
}

static void block_q8_0(const float *x, uint8_t *out)
{
    float d = put_f16(out, fabsf(range_of(x, 32).peak) / 127);
    for (int i = 0; i < 32; i++)
        out[2 + i] = (uint8_t)(int8_t)level(x[i], d, -127, 127);
}

/* Two elements a byte: i in the low nibble, i + 16 in the high one; fifth bits in a word of 32. */
static void pack_32(const int *q, uint8_t *nibbles, uint8_t *fifth)
{
    uint32_t high = 0;
    for (int i = 0; i < 32; i++)
        high |= (uint32_t)(q[i] >> 4 & 1) << i;
    for (int i = 0; i < 16; i++)
        nibbles[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
    if (fifth)
        memcpy(fifth, &high, sizeof high);
}

/* q4_0, q5_0: x = d * (q - half), where the peak maps to -half. */
static void block_symmetric(const float *x, int bits, uint8_t *out)
{
    int half = 1 << (bits - 1), q[32];
    float d = put_f16(out, range_of(x, 32).peak / (float)-half);
    for (int i = 0; i < 32; i++)
        q[i] = level(x[i], d, -half, half - 1) + half;
    if (bits == 5)
        pack_32(q, out + 6, out + 2);
    else
        pack_32(q, out + 2, NULL);
}

/* q4_1, q5_1: x = d * q + m. */
static void block_offset(const float *x, int bits, uint8_t *out)
{
    struct range r = range_of(x, 32);
    int top = (1 << bits) - 1, q[32];
    float d = put_f16(out, (r.max - r.min) / (float)top), m = put_f16(out + 2, r.min);
    for (int i = 0; i < 32; i++)
        q[i] = level(x[i] - m, d, 0, top);
    if (bits == 5)
        pack_32(q, out + 8, out + 4);
    else
        pack_32(q, out + 4, NULL);
}

/* q4_K, q5_K: eight runs of 32, x = d * sc * q - dmin * m, sc and m of six bits. */
struct k_scales {
    int sc[8], m[8];
    float d, dmin;
};

static struct k_scales choose_scales(const float *x, int top, uint8_t *out)
{
    struct k_scales k;
    float step[8], low[8], step_max = 0, low_max = 0;
    for (int j = 0; j < 8; j++) {
        struct range r = range_of(x + 32 * j, 32);
        low[j] = fmaxf(0, -r.min);
        step[j] = (fmaxf(r.max, 0) + low[j]) / (float)top;
        step_max = fmaxf(step_max, step[j]);
        low_max = fmaxf(low_max, low[j]);
    }
    k.d = put_f16(out, step_max / 63);
    k.dmin = put_f16(out + 2, low_max / 63);
    for (int j = 0; j < 8; j++) {
        k.sc[j] = level(step[j], k.d, 0, 63);
        k.m[j] = level(low[j], k.dmin, 0, 63);
    }
    return k;
}

/* Twelve bytes: runs 0..3 have a byte for sc and one for m each, whose two top bits, with the
 * nibbles of the last four bytes, make up runs 4..7. */
static void pack_scales(const struct k_scales *k, uint8_t *out)
{
    for (int j = 0; j < 4; j++) {
        out[j] = (uint8_t)(k->sc[j] | (k->sc[j + 4] >> 4) << 6);
        out[j + 4] = (uint8_t)(k->m[j] | (k->m[j + 4] >> 4) << 6);
        out[j + 8] = (uint8_t)((k->sc[j + 4] & 15) | (k->m[j + 4] & 15) << 4);
    }
}

static void block_q45_k(const float *x, int bits, uint8_t *out)
{
    int top = (1 << bits) - 1;
    uint8_t *high = out + 16, *low = out + (bits == 5 ? 48 : 16);
    struct k_scales k = choose_scales(x, top, out);
    pack_scales(&k, out + 4);
    memset(high, 0, bits == 5 ? 32 : 0);
    memset(low, 0, 128);
    for (int i = 0; i < 256; i++) {
        int run = i / 32, pair = run / 2, odd = run % 2, at = i % 32;
        float step = k.d * (float)k.sc[run], min = k.dmin * (float)k.m[run];
        int q = level(x[i] + min, step, 0, top);
        low[32 * pair + at] |= (uint8_t)((q & 15) << (4 * odd));
        if (bits == 5)
            high[at] |= (uint8_t)((q >> 4) << run);
    }
}

/* q6_K: sixteen runs of 16, x = d * sc * (q - 32), sc of eight bits. */
static void block_q6_k(const float *x, uint8_t *out)
{
    uint8_t *low = out, *high = out + 128, *scales = out + 192;
    float step[16], step_max = 0;
    for (int j = 0; j < 16; j++) {
        step[j] = fabsf(range_of(x + 16 * j, 16).peak) / 31;
        step_max = fmaxf(step_max, step[j]);
    }
    float d = put_f16(out + 208, step_max / 127);
    memset(out, 0, 192);
    for (int i = 0; i < 256; i++) {
        int sc = level(step[i / 16], d, 0, 127);
        int q = level(x[i], d * (float)sc, -32, 31) + 32;
        int half = i / 128, quarter = i % 128 / 32, at = i % 32;
        scales[i / 16] = (uint8_t)sc;
        low[64 * half + 32 * (quarter % 2) + at] |= (uint8_t)((q & 15) << (4 * (quarter / 2)));
        high[32 * half + at] |= (uint8_t)((q >> 4) << (2 * quarter));
    }
}

/* q2_K: sixteen runs of 16, x = d * sc * q - dmin * m, sc and m of four bits. */
static void block_q2_k(const float *x, uint8_t *out)
{
    float step[16], low[16], step_max = 0, low_max = 0;
    for (int j = 0; j < 16; j++) {
        struct range r = range_of(x + 16 * j, 16);
        low[j] = fmaxf(0, -r.min);
        step[j] = (fmaxf(r.max, 0) + low[j]) / 3;
        step_max = fmaxf(step_max, step[j]);
        low_max = fmaxf(low_max, low[j]);
    }
    float d = put_f16(out + 80, step_max / 15), dmin = put_f16(out + 82, low_max / 15);
    memset(out, 0, 80);
    for (int i = 0; i < 256; i++) {
        int sc = level(step[i / 16], d, 0, 15), m = level(low[i / 16], dmin, 0, 15);
        int q = level(x[i] + dmin * (float)m, d * (float)sc, 0, 3);
        out[i / 16] = (uint8_t)(sc | m << 4);
        out[16 + i / 128 * 32 + i % 32] |= (uint8_t)(q << i % 128 / 32 * 2);
    }
}

/* q3_K: sixteen runs of 16, x = d * (sc - 32) * (q - 4), sc of six bits, here 32 or more. */
static void block_q3_k(const float *x, uint8_t *out)
{
    uint8_t *low = out + 32, *scales = out + 96;
    float step[16], step_max = 0;
    for (int j = 0; j < 16; j++) {
        step[j] = fabsf(range_of(x + 16 * j, 16).peak) / 4;
        step_max = fmaxf(step_max, step[j]);
    }
    float d = put_f16(out + 108, step_max / 31);
    memset(out, 0, 108);
    for (int j = 0; j < 16; j++) {
        int sc = level(step[j], d, 0, 31) + 32;
        scales[j % 8] |= (uint8_t)((sc & 15) << j / 8 * 4);
        scales[8 + j % 4] |= (uint8_t)((sc >> 4) << j / 4 * 2);
    }
    for (int i = 0; i < 256; i++) {
        int sc = level(step[i / 16], d, 0, 31), q = level(x[i], d * (float)sc, -4, 3) + 4;
        low[i / 128 * 32 + i % 32] |= (uint8_t)((q & 3) << i % 128 / 32 * 2);
        out[i % 32] |= (uint8_t)((q >> 2) << i / 32);
    }
}

static const int8_t iq4_table[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};
static const int8_t fp4_table[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* The nearest of a table of 16, in units of `step`. */
static int nearest(const int8_t *table, float x, float step)
{
    int best = 0;
    for (int q = 1; q < 16; q++)
        if (fabsf(x - step * (float)table[q]) < fabsf(x - step * (float)table[best]))
            best = q;
    return best;
}

static void pack_table(const int8_t *table, const float *x, float step, uint8_t *out)
{
    int q[32];
    for (int i = 0; i < 32; i++)
        q[i] = nearest(table, x[i], step);
    pack_32(q, out, NULL);
}

/* iq4_xs: eight runs of 32, x = d * (sc - 32) * table[q], sc of six bits, here 32 or more. */
static void block_iq4_xs(const float *x, uint8_t *out)
{
    float step[8], step_max = 0;
    for (int j = 0; j < 8; j++) {
        step[j] = fabsf(range_of(x + 32 * j, 32).peak) / 113;
        step_max = fmaxf(step_max, step[j]);
    }
    float d = put_f16(out, step_max / 31);
    memset(out + 2, 0, 6);
    for (int j = 0; j < 8; j++) {
        int level_of = level(step[j], d, 0, 31), sc = level_of + 32;
        out[4 + j / 2] |= (uint8_t)((sc & 15) << j % 2 * 4);
        out[2 + j / 4] |= (uint8_t)((sc >> 4) << j % 4 * 2);
        pack_table(iq4_table, x + 32 * j, d * (float)level_of, out + 8 + 16 * j);
    }
}

/* mxfp4: x = 2^(e - 128) * table[q], the largest magnitude within the table's last two steps. */
static void block_mxfp4(const float *x, uint8_t *out)
{
    int e = 0;
    frexpf(fabsf(range_of(x, 32).peak), &e);
    out[0] = (uint8_t)MAX(0, MIN(254, e - 3 + 127)); /* peak is below 2^e: 8 of 2^(e - 3) */
    pack_table(fp4_table, x, ldexpf(1, out[0] - 128), out + 1);
}

static float e4m3_number(int code)
{
    return code < 8 ? ldexpf((float)code, -9) : ldexpf((float)(8 + code % 8), code / 8 - 10);
}

/* nvfp4: of each 16, x = scale * table[q] / 2, the largest magnitude 6 times the scale. */
static void block_nvfp4(const float *x, uint8_t *out)
{
    for (int s = 0; s < 4; s++, x += 16) {
        float want = fabsf(range_of(x, 16).peak) / 6;
        int q[16], code = 0;
        while (code < 126 && (e4m3_number(code) + e4m3_number(code + 1)) / 2 < want)
            code++;
        for (int i = 0; i < 16; i++)
            q[i] = nearest(fp4_table, x[i], e4m3_number(code) / 2);
        for (int i = 0; i < 8; i++)
            out[4 + 8 * s + i] = (uint8_t)(q[i] | q[i + 8] << 4);
        out[s] = (uint8_t)code;
    }
}

static void block(enum dtype type, const float *x, uint8_t *out)
{
    uint16_t h;
    switch (type) {
    case DT_F32:
        memcpy(out, x, sizeof *x);
        break;
    case DT_F16:
    case DT_BF16:
        h = type == DT_F16 ? f32_to_f16(*x) : f32_to_bf16(*x);
        memcpy(out, &h, sizeof h);
        break;
    case DT_Q8_0:
        block_q8_0(x, out);
        break;
    case DT_Q4_0:
    case DT_Q5_0:
        block_symmetric(x, type == DT_Q5_0 ? 5 : 4, out);
        break;
    case DT_Q4_1:
    case DT_Q5_1:
        block_offset(x, type == DT_Q5_1 ? 5 : 4, out);
        break;
    case DT_Q2_K:
        block_q2_k(x, out);
        break;
    case DT_Q3_K:
        block_q3_k(x, out);
        break;
    case DT_Q4_K:
    case DT_Q5_K:
        block_q45_k(x, type == DT_Q5_K ? 5 : 4, out);
        break;
    case DT_Q6_K:
        block_q6_k(x, out);
        break;
    case DT_IQ4_NL:
        pack_table(iq4_table, x, put_f16(out, fabsf(range_of(x, 32).peak) / 113), out + 2);
        break;
    case DT_IQ4_XS:
        block_iq4_xs(x, out);
        break;
    case DT_MXFP4:
        block_mxfp4(x, out);
        break;
    case DT_NVFP4:
        block_nvfp4(x, out);
        break;
    case DT_F8:
    case DT_F8_ROW:
        ASSERT(!"a type of GGUF files");
        break;
    case DT_COUNT:
        break;
    }
}

void quantize(enum dtype type, const float *x, size_t n, void *out)
{
    size_t elements = (size_t)dtype_block(type), bytes = (size_t)dtype_bytes(type);
    ASSERT(n % elements == 0);
    for (size_t i = 0; i < n / elements; i++)
        block(type, x + i * elements, (uint8_t *)out + i * bytes);
}
