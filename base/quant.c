#include "specd/quant.h"

#include "specd/util.h"

#include <math.h>

/* The files are little-endian, as are the machines this runs on; blocks have no alignment. */
static uint16_t load16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static uint32_t load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

/* ---- blocks of 32: the low nibbles of 16 bytes, then their high nibbles ---------------------- */

/* q[i] |= (p[i] >> shift & mask) << up, eight bytes at a time. */
static void add_bits(int8_t *q, const uint8_t *p, int n, int shift, uint8_t mask, int up)
{
    for (int i = 0; i < n; i += 8) {
        uint64_t from, to;
        memcpy(&from, p + i, 8);
        memcpy(&to, q + i, 8);
        to |= (from >> shift & mask * 0x0101010101010101u) << up;
        memcpy(q + i, &to, 8);
    }
}

static void nibbles_16(const uint8_t *qs, int8_t q[RUN])
{
    add_bits(q, qs, 16, 0, 15, 0);
    add_bits(q + 16, qs, 16, 4, 15, 0);
}

static void add_fifth_bits(uint32_t high, int8_t q[RUN])
{
    for (int i = 0; i < RUN; i++)
        q[i] = (int8_t)(q[i] | (high >> i & 1) << 4);
}

static void unpack_q8_0(const uint8_t *b, struct quant_run *out)
{
    out->d = load16(b);
    memcpy(out->q, b + 2, RUN);
}

static void unpack_q4_0(const uint8_t *b, struct quant_run *out)
{
    out->d = load16(b);
    nibbles_16(b + 2, out->q);
}

static void unpack_q4_1(const uint8_t *b, struct quant_run *out)
{
    out->d = load16(b);
    out->m = load16(b + 2);
    nibbles_16(b + 4, out->q);
}

static void unpack_q5_0(const uint8_t *b, struct quant_run *out)
{
    out->d = load16(b);
    nibbles_16(b + 6, out->q);
    add_fifth_bits(load32(b + 2), out->q);
}

static void unpack_q5_1(const uint8_t *b, struct quant_run *out)
{
    out->d = load16(b);
    out->m = load16(b + 2);
    nibbles_16(b + 8, out->q);
    add_fifth_bits(load32(b + 4), out->q);
}

/* ---- blocks of 256: 8 runs under a common d, and dmin where there is a minimum --------------- */

/* Eight 6-bit scales and eight 6-bit minima in 12 bytes: the first four of each are the low six
 * bits of bytes 0-3 and 4-7; the others take four bits from bytes 8-11 and two from above. */
static void scale_and_min(const uint8_t *s, int run, struct quant_run *out)
{
    if (run < 4) {
        out->scale[0] = s[run] & 63;
        out->min = s[run + 4] & 63;
    } else {
        out->scale[0] = (uint8_t)((s[run + 4] & 15) | (s[run - 4] >> 6) << 4);
        out->min = (uint8_t)(s[run + 4] >> 4 | (s[run] >> 6) << 4);
    }
    out->scale[1] = out->scale[0];
}

/* Each 32 bytes hold two runs: low nibbles, then high nibbles. */
static void nibbles_32(const uint8_t *qs, int run, int8_t q[RUN])
{
    add_bits(q, qs + run / 2 * 32, RUN, run % 2 * 4, 15, 0);
}

static void unpack_q4_k(const uint8_t *b, int run, struct quant_run *out)
{
    out->d = load16(b);
    out->m = load16(b + 2);
    scale_and_min(b + 4, run, out);
    nibbles_32(b + 16, run, out->q);
}

static void unpack_q5_k(const uint8_t *b, int run, struct quant_run *out)
{
    out->d = load16(b);
    out->m = load16(b + 2);
    scale_and_min(b + 4, run, out);
    nibbles_32(b + 48, run, out->q);
    add_bits(out->q, b + 16, RUN, run, 1, 4);
}

/* Two halves of four runs. Runs 0 and 1 of a half are the low nibbles of its 64 bytes, 2 and 3 the
 * high ones; one byte of the 32 at qh has two more bits for each of the four. */
static void unpack_q6_k(const uint8_t *b, int run, struct quant_run *out)
{
    int half = run / 4, r = run % 4;
    const uint8_t *ql = b + 64 * half + 32 * (r % 2);
    const uint8_t *qh = b + 128 + 32 * half;
    add_bits(out->q, ql, RUN, r / 2 * 4, 15, 0);
    add_bits(out->q, qh, RUN, 2 * r, 3, 4);
    memcpy(out->scale, b + 192 + 2 * run, 2);
    out->d = load16(b + 208);
}

void quant_unpack(enum dtype t, const void *row, size_t run, struct quant_run *out)
{
    size_t runs = (size_t)dtype_block(t) / RUN;
    const uint8_t *b = (const uint8_t *)row + run / runs * (size_t)dtype_bytes(t);
    int inner = (int)(run % runs);
    *out = (struct quant_run){.min = 0};
    switch (t) {
    case DT_Q8_0:
        unpack_q8_0(b, out);
        return;
    case DT_Q4_0:
        unpack_q4_0(b, out);
        return;
    case DT_Q4_1:
        unpack_q4_1(b, out);
        return;
    case DT_Q5_0:
        unpack_q5_0(b, out);
        return;
    case DT_Q5_1:
        unpack_q5_1(b, out);
        return;
    case DT_Q4_K:
        unpack_q4_k(b, inner, out);
        return;
    case DT_Q5_K:
        unpack_q5_k(b, inner, out);
        return;
    case DT_Q6_K:
        unpack_q6_k(b, inner, out);
        return;
    default:
        ASSERT(!"a quantised type");
    }
}

/* ---- values ---------------------------------------------------------------------------------- */

static void scaled(const struct quant_run *r, int offset, float out[RUN])
{
    float d = f16_to_f32(r->d);
    for (int i = 0; i < RUN; i++)
        out[i] = d * (float)(r->q[i] - offset);
}

static void scaled_plus(const struct quant_run *r, float d, float m, float out[RUN])
{
    for (int i = 0; i < RUN; i++)
        out[i] = fmaf(d, (float)r->q[i], m);
}

void quant_values(enum dtype t, const struct quant_run *r, float out[RUN])
{
    float d = f16_to_f32(r->d), m = f16_to_f32(r->m);
    switch (t) {
    case DT_Q8_0:
        scaled(r, 0, out);
        return;
    case DT_Q4_0:
        scaled(r, 8, out);
        return;
    case DT_Q5_0:
        scaled(r, 16, out);
        return;
    case DT_Q4_1:
    case DT_Q5_1:
        scaled_plus(r, d, m, out);
        return;
    case DT_Q4_K:
    case DT_Q5_K:
        scaled_plus(r, d * (float)r->scale[0], -(m * (float)r->min), out);
        return;
    case DT_Q6_K:
        for (int i = 0; i < RUN; i++)
            out[i] = d * (float)(int8_t)r->scale[i / 16] * (float)(r->q[i] - 32);
        return;
    default:
        ASSERT(!"a quantised type");
    }
}

void quant_q8_0(const float v[RUN], struct quant_run *out)
{
    float max = 0;
    for (int i = 0; i < RUN; i++)
        max = fmaxf(max, fabsf(v[i]));
    *out = (struct quant_run){.d = f16_from_f32(fminf(max / 127, 65504))};
    float d = f16_to_f32(out->d); /* the scale that will be used, not the one before rounding */
    for (int i = 0; i < RUN; i++) {
        float q = d > 0 ? rintf(v[i] / d) : 0;
        out->q[i] = (int8_t)fmaxf(-127, fminf(127, q)); /* fmax, fmin: a NaN becomes a number */
    }
}

void quant_decode(enum dtype t, const void *data, size_t n, float *out)
{
    const uint8_t *bytes = data;
    switch (t) {
    case DT_F32:
        memcpy(out, data, n * sizeof(*out));
        return;
    case DT_F16:
        for (size_t i = 0; i < n; i++)
            out[i] = f16_to_f32(load16(bytes + 2 * i));
        return;
    case DT_BF16:
        for (size_t i = 0; i < n; i++)
            out[i] = bf16_to_f32(load16(bytes + 2 * i));
        return;
    default:
        for (size_t run = 0; run < n / RUN; run++) {
            struct quant_run r;
            quant_unpack(t, data, run, &r);
            quant_values(t, &r, out + run * RUN);
        }
    }
}

uint16_t f16_from_f32(float f)
{
    uint32_t u = bits_of_float(f), sign = u >> 16 & 0x8000, mag = u & 0x7FFFFFFF;
    if (mag > 0x7F800000)
        return (uint16_t)(sign | 0x7E00);
    if (mag >= 0x477FF000) /* 65520 and more round to infinity */
        return (uint16_t)(sign | 0x7C00);
    if (mag < 0x38800000) /* below 2^-14: a multiple of 2^-24, rounded by rintf */
        return (uint16_t)(sign | (uint32_t)rintf(float_of_bits(mag) * 0x1p24f));
    mag += 0xFFF + (mag >> 13 & 1);
    return (uint16_t)(sign | ((mag - ((127u - 15) << 23)) >> 13));
}
