#include "specd/quant.h"

#include "specd/quant_unpack.h"
#include "specd/util.h"

#include <math.h>

/* ---- runs ------------------------------------------------------------------------------------ */

void quant_unpack(enum dtype t, const void *row, size_t run, struct quant_run *out)
{
    quant_unpack_inline(t, row, run, out);
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
