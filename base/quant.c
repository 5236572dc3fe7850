#include "specd/quant.h"

#include "specd/quant_unpack.h"
#include "specd/util.h"

#include <math.h>

/* ---- runs ------------------------------------------------------------------------------------ */

void quant_unpack(enum dtype t, const void *row, size_t run, struct quant_run *out)
{
    quant_unpack_inline(t, row, run, out);
}

const int8_t quant_table_iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                    1,    13,   25,  38,  53,  69,  89,  113};
const int8_t quant_table_fp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* ---- values ---------------------------------------------------------------------------------- */

void quant_values(enum dtype t, const struct quant_run *r, float out[RUN])
{
    float d = f16_to_f32(r->d), m = f16_to_f32(r->m);
    struct quant_code code = quant_code(t);
    for (int i = 0; i < RUN; i++) {
        float q = (float)quant_integer(code, r->q[i]);
        uint8_t scale = r->scale[i / 16];
        switch (t) {
        case DT_Q4_1:
        case DT_Q5_1:
            out[i] = fmaf(d, q, m);
            break;
        case DT_Q2_K:
        case DT_Q4_K:
        case DT_Q5_K:
            out[i] = fmaf(d * (float)scale, q, -(m * (float)r->min[i / 16]));
            break;
        case DT_Q3_K:
        case DT_Q6_K:
        case DT_IQ4_XS:
            out[i] = d * (float)(int8_t)scale * q;
            break;
        case DT_MXFP4:
            out[i] = float_of_power(scale) * q;
            break;
        case DT_NVFP4:
            out[i] = e4m3_to_f32(scale) * 0.5f * q;
            break;
        case DT_F8:
        case DT_F8_ROW:
            out[i] = r->wide * e4m3_to_f32((uint8_t)r->q[i]);
            break;
        default: /* a scale alone */
            out[i] = d * q;
        }
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
