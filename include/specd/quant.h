/*
 * quant.h - number formats of weights: 16-bit floats, and GGUF's quantised blocks taken apart.
 *
 * Every quantised type is read as runs of 32 consecutive weights of one row ("a run"), whatever
 * block the file packs them in: small integers q, 16-bit float scales, and for types of 256 a
 * small integer that multiplies the scale. Value of weight i:
 *   q8_0             d * q            q4_0, q5_0  d * (q - 8), d * (q - 16)
 *   q4_1, q5_1       d * q + m        q4_K, q5_K  (d * scale) * q - m * min
 *   q2_K             (d * scale) * q - m * min, both of their own for each 16 weights
 *   q3_K, q6_K       (d * scale) * (q - 4), (q - 32), a scale of its own for each 16 weights
 *   iq4_nl, iq4_xs   d * table[q], (d * scale) * table[q]
 *   mxfp4            2^(scale - 128) * table[q] (OCP Microscaling 1.0, twice its fp4 numbers)
 *   nvfp4            e4m3(scale) / 2 * table[q], a scale of its own for each 16 weights; files have
 *                    what the numbers of a matrix are times in a tensor beside it (struct tensor)
 *   f8, f8_row       wide * (q as e4m3; q is its bits)
 * Integer times scale is exact in f32, so a value is rounded once at most and equals what any
 * other reader of the format computes. Pure functions, any thread.
 */
#ifndef SPECD_QUANT_H
#define SPECD_QUANT_H

#include "specd/dtype.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define RUN 32 /* weights; every quantised block is a whole number of runs */

struct quant_run {
    int8_t q[RUN];    /* q8_0: signed; others 0 .. 2^bits - 1 */
    uint16_t d, m;    /* f16 bits */
    uint8_t scale[2]; /* of weights 0-15 and 16-31 (int8_t in q3_K, q6_K, iq4_xs); mxfp4's power;
                         nvfp4's e4m3, without sign and NaN */
    uint8_t min[2];   /* q2_K, q4_K, q5_K */
    float wide;       /* f8, f8_row */
};

static inline bool dtype_is_quantised(enum dtype t)
{
    return dtype_block(t) > 1;
}

/* The integer that q stands for: table[q], or q - offset. table: (16) or NULL */
struct quant_code {
    int offset;
    const int8_t *table;
};
extern const int8_t quant_table_iq4[16], quant_table_fp4[16];

static inline __attribute__((always_inline)) struct quant_code quant_code(enum dtype t)
{
    switch (t) {
    case DT_Q4_0:
        return (struct quant_code){8, NULL};
    case DT_Q5_0:
        return (struct quant_code){16, NULL};
    case DT_Q3_K:
        return (struct quant_code){4, NULL};
    case DT_Q6_K:
        return (struct quant_code){32, NULL};
    case DT_IQ4_NL:
    case DT_IQ4_XS:
        return (struct quant_code){0, quant_table_iq4};
    case DT_MXFP4:
    case DT_NVFP4:
        return (struct quant_code){0, quant_table_fp4};
    default:
        return (struct quant_code){0, NULL};
    }
}

static inline int quant_integer(struct quant_code c, int8_t q)
{
    return c.table ? c.table[q] : q - c.offset;
}

/* Run number `run` of a row of file blocks. */
void quant_unpack(enum dtype t, const void *row, size_t run, struct quant_run *out);
void quant_values(enum dtype t, const struct quant_run *r, float out[RUN]);
/* Nearest q8_0 run to v: d = max|v| / 127. */
void quant_q8_0(const float v[RUN], struct quant_run *out);

/* n elements of any type, starting at a block border. n is a multiple of the block. */
void quant_decode(enum dtype t, const void *data, size_t n, float *out);

static inline float float_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static inline uint32_t bits_of_float(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

static inline float bf16_to_f32(uint16_t h)
{
    return float_of_bits((uint32_t)h << 16);
}

/* Round to nearest even; a NaN stays one. */
static inline uint16_t bf16_from_f32(float f)
{
    uint32_t u = bits_of_float(f);
    if ((u & 0x7FFFFFFF) > 0x7F800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

static inline float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7FFF;
    if (rest >= 0x7C00) /* infinity, NaN */
        return float_of_bits(sign | 0x7F800000 | rest << 13);
    if (rest < 0x0400) { /* subnormal: a multiple of 2^-24 */
        float f = (float)rest * 0x1p-24f;
        return sign ? -f : f;
    }
    return float_of_bits(sign | ((rest << 13) + ((127u - 15) << 23)));
}

uint16_t f16_from_f32(float f); /* round to nearest even */

/* NaN, 0x7f, becomes 480: readers of files mark it by the scale. */
static inline float e4m3_to_f32(uint8_t b)
{
    return float_of_bits((uint32_t)(b & 0x80) << 24 | (uint32_t)(b & 0x7f) << 20) * 0x1p120f;
}

static inline bool dtype_is_f8(enum dtype t)
{
    return t == DT_F8 || t == DT_F8_ROW;
}

/* 2^(e - 128), mxfp4's scale. */
static inline float float_of_power(uint8_t e)
{
    return float_of_bits(e < 2 ? 0x00200000u << e : (e - 1u) << 23);
}

#endif
