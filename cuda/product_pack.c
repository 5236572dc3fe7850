/*
 * Packs weights for the product kernels, on the host: rows of a file's tensor into the layout of
 * product_impl.h, a group of 32 weights at a time. Blocks of a file keep their integers and scales
 * where the type can; whatever else comes is read as floats and rounded to the nearest value the
 * type has.
 */
#include "product_impl.h"
#include "specd/fixmath.h"
#include "specd/quant.h"
#include "specd/util.h"

#include <math.h>
#include <string.h>

#define GROUP RUN
#define FP8_MAX 448.0f

/* 32 weights of a channel: what stands for each, and the scales as the file has them. */
struct group {
    uint16_t code[GROUP]; /* bf16, e4m3, q + 128, q + 8 or q */
    uint16_t d, m;        /* f16; INT4_K: of the 256 around */
    uint8_t u, v;         /* INT4_K; u: FP4's power */
    float wide;           /* IQ4's and FP8_32's d; of FP8 its channel's */
    uint8_t halves[2];    /* INT2_K: scales and, above, minima; NVFP4: scales */
};

/* ---- groups of a file's rows ----------------------------------------------------------------- */

/* Of a finite number; too large becomes the largest. */
static uint16_t e4m3_of(float f)
{
    uint32_t u = fix_to_bits(f), sign = u >> 24 & 0x80, mag = u & 0x7fffffff, code, shifted;

    if (mag < 0x3c800000) { /* below 2^-6: a multiple of 2^-9, as what 2^14 has behind the point */
        code = fix_to_bits(fix_from_bits(mag) + 0x1p14f) & 0xff;
    } else {
        shifted = mag - (120u << 23);
        code = MIN((shifted + (1u << 19) - 1 + (shifted >> 20 & 1)) >> 20, 0x7eu);
    }
    return (uint16_t)(sign | code);
}

/* n <= 32 numbers of a row from k on; the rest of the group is zero. */
static void floats_read(enum dtype file, const void *row, int32_t k, int32_t n, float out[GROUP])
{
    struct quant_run run;

    if (dtype_is_quantised(file)) {
        quant_unpack(file, row, (size_t)(k / GROUP), &run);
        quant_values(file, &run, out);
        return;
    }
    memset(out, 0, GROUP * sizeof(*out));
    quant_decode(file, (const uint8_t *)row + dtype_row_bytes(file, (size_t)k), (size_t)n, out);
}

/* Whether what the file has goes into the type as it is. */
static bool keeps_blocks(enum product_type type, enum dtype file)
{
    return type != PRODUCT_BF16 && product_type_of(file) == type;
}

/* q3_K: its scales of 16 weights times its integers are -124 .. 128, so they change sign with d. */
static void blocks_read(enum product_type type, enum dtype file, const void *row, int32_t i,
                        struct group *g)
{
    const struct quant_code code = quant_code(file);
    struct quant_run run;

    quant_unpack(file, row, (size_t)i, &run);
    for (int j = 0; j < GROUP; j++) {
        int q = run.q[j];
        if (type == PRODUCT_INT8)
            q = quant_integer(code, run.q[j]);
        if (file == DT_Q3_K)
            q *= -(int8_t)run.scale[j / 16];
        g->code[j] = (uint16_t)(type == PRODUCT_INT8 ? q + 128 : q & 0xff);
    }
    g->d = file == DT_Q3_K ? run.d ^ 0x8000 : run.d;
    for (int j = 0; j < 2; j++)
        g->halves[j] = (uint8_t)(run.scale[j] | run.min[j] << 4);
    if (dtype_is_f8(file))
        g->wide = run.wide;
    else
        g->wide = f16_to_f32(run.d) * (file == DT_IQ4_XS ? (float)(int8_t)run.scale[0] : 1.0f);
    g->m = run.m;
    g->u = run.scale[0];
    g->v = run.min[0];
}

/* Integers low .. high around zero: as q8_0 (the largest magnitude becomes 127) and q4_0 (the
 * largest becomes -8, so that all sixteen are used) are made. */
static void group_quantise(const float v[GROUP], int low, int high, struct group *g)
{
    float peak = 0, d;

    for (int i = 0; i < GROUP; i++)
        peak = fabsf(v[i]) > fabsf(peak) ? v[i] : peak;
    g->d = f16_from_f32(low == -8 ? fminf(fmaxf(peak / -8, -65504), 65504)
                                  : fminf(fabsf(peak) / 127, 65504));
    d = f16_to_f32(g->d);
    for (int i = 0; i < GROUP; i++) {
        float q = d == 0.0f ? 0.0f : v[i] / d;
        q = q > (float)low ? q : (float)low; /* a NaN becomes a number */
        q = (q < (float)high ? q : (float)high) + FIX_ROUND;
        g->code[i] = (uint16_t)((int32_t)(fix_to_bits(q) - fix_to_bits(FIX_ROUND)) - low);
    }
}

static void floats_pack(enum product_type type, const float v[GROUP], float scale, struct group *g)
{
    switch (type) {
    case PRODUCT_BF16:
        for (int i = 0; i < GROUP; i++)
            g->code[i] = bf16_from_f32(v[i]);
        break;
    case PRODUCT_FP8:
        for (int i = 0; i < GROUP; i++)
            g->code[i] = e4m3_of(v[i] / scale);
        break;
    case PRODUCT_INT8:
        group_quantise(v, -128, 127, g);
        break;
    case PRODUCT_INT4:
        group_quantise(v, -8, 7, g);
        break;
    default: /* product_packs */
        break;
    }
}

/* So that the largest weight of the channel becomes the largest e4m3 number. */
static float fp8_scale(enum dtype file, const void *row, int32_t k)
{
    float peak = 0, v[GROUP];

    for (int32_t at = 0; at < k; at += GROUP) {
        floats_read(file, row, at, MIN(GROUP, k - at), v);
        for (int i = 0; i < GROUP; i++)
            peak = fabsf(v[i]) > peak ? fabsf(v[i]) : peak;
    }
    return peak > 0x1p-100f ? peak / FP8_MAX : 1.0f;
}

/* ---- into the unit --------------------------------------------------------------------------- */

/* Half h of channel c of 16. */
static void codes_put(enum product_type type, uint8_t *unit, int c, int h,
                      const uint16_t code[GROUP])
{
    int high = c / 8; /* the channel is one of g + 8 */

    for (int t = 0; t < 4; t++) {
        uint8_t *piece = unit + 16 * (4 * (c % 8) + t);
        const uint16_t *v = code + 8 * t;

        switch (type) {
        case PRODUCT_BF16:
            piece += 2 * h * PRODUCT_PIECE + 4 * high;
            memcpy(piece, v, 4);
            memcpy(piece + 8, v + 2, 4);
            memcpy(piece + PRODUCT_PIECE, v + 4, 4);
            memcpy(piece + PRODUCT_PIECE + 8, v + 6, 4);
            break;
        case PRODUCT_INT2_K:
            piece = unit + 8 * (4 * (c % 8) + t) + 4 * h;
            for (int i = 0; i < 8; i++) {
                int r = 2 * (i / 2 % 2) + high, bit = 16 * (i % 2) + 2 * (4 * (i / 4) + r);
                piece[bit / 8] = (uint8_t)(piece[bit / 8] | v[i] << bit % 8);
            }
            break;
        case PRODUCT_FP8:
        case PRODUCT_FP8_32:
            piece += h * PRODUCT_PIECE + 1 - high;
            for (int i = 0; i < 8; i++)
                piece[2 * i] = (uint8_t)v[i];
            break;
        case PRODUCT_INT8:
            piece += h * PRODUCT_PIECE + 2 * high;
            for (int i = 0; i < 8; i++)
                piece[4 * (i / 2) + i % 2] = (uint8_t)v[i];
            break;
        default:
            piece += 8 * h;
            for (int i = 0; i < 8; i++) {
                /* operation i / 4, register 2 (i / 2 % 2) + high, element i % 2 */
                uint8_t *at = piece + 4 * (i / 4);
                int r = 2 * (i / 2 % 2) + high, e = i % 2;
                int nibble = type == PRODUCT_IQ4 ? 2 * r + e : r + 4 * e;
                at[nibble / 2] = (uint8_t)(at[nibble / 2] | v[i] << nibble % 2 * 4);
            }
        }
    }
}

static void scales_put(enum product_type type, uint8_t *unit, int c, int h, const struct group *g)
{
    uint8_t *all = unit + PRODUCT_CODE_BYTES(type);
    int at = 2 * (c / 8) + h;

    if (type == PRODUCT_INT4_K) {
        all += 16 * (c % 8);
        memcpy(all + 4 * (c / 8), &g->d, 2);
        memcpy(all + 4 * (c / 8) + 2, &g->m, 2);
        all[8 + at] = g->u;
        all[12 + at] = g->v;
    } else if (type == PRODUCT_INT2_K) {
        all += 16 * (c % 8);
        memcpy(all + 4 * (c / 8), &g->d, 2);
        memcpy(all + 4 * (c / 8) + 2, &g->m, 2);
        for (int s = 0; s < 2; s++)
            all[8 + 4 * h + 2 * s + c / 8] = g->halves[s];
    } else if (type == PRODUCT_NVFP4) {
        for (int s = 0; s < 2; s++)
            all[8 * (c % 8) + 4 * h + 2 * s + c / 8] = g->halves[s];
    } else if (type == PRODUCT_IQ4 || type == PRODUCT_FP8_32) {
        memcpy(all + 16 * (c % 8) + 4 * at, &g->wide, 4);
    } else if (type == PRODUCT_FP4) {
        all[4 * (c % 8) + at] = g->u;
    } else {
        all += PRODUCT_SCALE_BYTES(type) / 8 * (c % 8);
        memcpy(all + 2 * at, &g->d, 2);
        if (type == PRODUCT_INT4_MIN)
            memcpy(all + 8 + 2 * at, &g->m, 2);
    }
}

static void group_put(const struct product_plan *p, uint8_t *packed, int64_t channel, int32_t i,
                      const struct group *g)
{
    size_t unit = (size_t)(channel / PRODUCT_CHANNELS) * (size_t)p->units + (size_t)(i / 2);
    uint8_t *at = packed + unit * (size_t)PRODUCT_UNIT_BYTES(p->type);
    int c = (int)(channel % PRODUCT_CHANNELS);

    codes_put(p->type, at, c, i % 2, g->code);
    if (PRODUCT_SCALE_BYTES(p->type) > 0)
        scales_put(p->type, at, c, i % 2, g);
}

/* n <= 32 weights of a row from group i on, as the type has them. */
static void group_make(enum product_type type, enum dtype file, const void *row, int32_t i,
                       int32_t n, float scale, struct group *g)
{
    float v[GROUP];

    if (keeps_blocks(type, file)) {
        blocks_read(type, file, row, i, g);
    } else if (type == PRODUCT_BF16 && file == DT_BF16) {
        memset(g->code + n, 0, (size_t)(GROUP - n) * sizeof(*g->code));
        memcpy(g->code, (const uint16_t *)row + (size_t)i * GROUP, (size_t)n * sizeof(*g->code));
    } else {
        floats_read(file, row, i * GROUP, n, v);
        floats_pack(type, v, scale, g);
    }
}

/* times: of all of the matrix. */
static void row_pack(const struct product_plan *p, uint8_t *packed, int64_t channel,
                     const void *row, enum dtype file, float times)
{
    struct group g = {.d = 0};
    float scale = 1.0f;

    if (p->type == PRODUCT_FP8) {
        if (keeps_blocks(p->type, file)) {
            blocks_read(p->type, file, row, 0, &g);
            scale = g.wide;
        } else {
            scale = fp8_scale(file, row, p->k);
        }
    }
    times *= scale;
    if (p->scaled)
        memcpy(packed + p->scales_at + (size_t)channel * sizeof(times), &times, sizeof(times));
    for (int32_t i = 0; i * GROUP < p->k; i++) {
        group_make(p->type, file, row, i, MIN(GROUP, p->k - i * GROUP), scale, &g);
        group_put(p, packed, channel, i, &g);
    }
}

/* ---- the interface --------------------------------------------------------------------------- */

enum product_type product_type_of(enum dtype file)
{
    switch (file) {
    case DT_Q8_0:
    case DT_Q5_0:
    case DT_Q3_K:
        return PRODUCT_INT8;
    case DT_Q4_0:
        return PRODUCT_INT4;
    case DT_Q4_1:
        return PRODUCT_INT4_MIN;
    case DT_Q4_K:
        return PRODUCT_INT4_K;
    case DT_IQ4_NL:
    case DT_IQ4_XS:
        return PRODUCT_IQ4;
    case DT_MXFP4:
        return PRODUCT_FP4;
    case DT_NVFP4:
        return PRODUCT_NVFP4;
    case DT_F8_ROW:
        return PRODUCT_FP8;
    case DT_F8:
        return PRODUCT_FP8_32;
    case DT_Q2_K:
        return PRODUCT_INT2_K;
    default:
        return PRODUCT_BF16;
    }
}

bool product_packs(enum product_type type, enum dtype file)
{
    return type < PRODUCT_INT4_MIN || keeps_blocks(type, file);
}

void product_pack_start(const struct product_plan *p, void *packed)
{
    memset(packed, 0, p->bytes);
}

void product_pack(const struct product_plan *p, void *packed, enum product_half half,
                  const void *rows, enum dtype file, size_t row_bytes, float scale, int32_t first,
                  int32_t n_rows)
{
    ASSERT(p->scaled || scale == 1.0f);
    ASSERT(product_packs(p->type, file) && p->k % dtype_block(file) == 0);
    ASSERT(first >= 0 && n_rows >= 0 && n_rows <= p->n - first);
    for (int32_t i = 0; i < n_rows; i++) {
        int64_t n = first + i;
        int64_t channel = p->paired ? n / 8 * 16 + n % 8 + 8 * (half == PRODUCT_UP) : n;

        row_pack(p, packed, channel, (const uint8_t *)rows + (size_t)i * row_bytes, file, scale);
    }
}
