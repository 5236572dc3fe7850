/*
 * Packs weights for the product kernels, on the host: rows of a file's tensor into the layout of
 * product_impl.h, a group of 32 weights at a time. Blocks of a file keep their integers and scales;
 * f32 and bf16 are rounded to the nearest value the type has.
 */
#include "product_impl.h"
#include "specd/fixmath.h"
#include "specd/util.h"

#include <math.h>
#include <string.h>

#define GROUP 32
#define FP8_MAX 448.0f

/* 32 weights of a channel: what stands for each, and the scales as the file has them. */
struct group {
    uint16_t code[GROUP]; /* bf16, e4m3, q + 128, q + 8 or q */
    uint16_t d, m;        /* f16; INT4_K: of the 256 around */
    uint8_t u, v;         /* INT4_K */
};

/* ---- numbers --------------------------------------------------------------------------------- */

static uint16_t load16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

/* u / 2^shift to nearest even. */
static uint32_t shift_round(uint32_t u, int shift)
{
    return (u + (1u << (shift - 1)) - 1 + (u >> shift & 1)) >> shift;
}

static uint16_t bf16_of(float f)
{
    uint32_t u = fix_to_bits(f);

    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40); /* a NaN stays one */
    return (uint16_t)shift_round(u, 16);
}

/* Of a finite number; too large becomes the largest. */
static uint16_t e4m3_of(float f)
{
    uint32_t u = fix_to_bits(f), sign = u >> 24 & 0x80, mag = u & 0x7fffffff, code;

    if (mag < 0x3c800000) /* below 2^-6: a multiple of 2^-9 */
        code = (uint32_t)lrintf(fix_from_bits(mag) * 0x1p9f);
    else
        code = MIN(shift_round(mag - (120u << 23), 20), 0x7eu);
    return (uint16_t)(sign | code);
}

/* Of |f| < 65520. */
static uint16_t f16_of(float f)
{
    uint32_t u = fix_to_bits(f), sign = u >> 16 & 0x8000, mag = u & 0x7fffffff;

    if (mag < 0x38800000) /* below 2^-14: a multiple of 2^-24 */
        return (uint16_t)(sign | (uint32_t)lrintf(fix_from_bits(mag) * 0x1p24f));
    return (uint16_t)(sign | shift_round(mag - (112u << 23), 13));
}

static float f16_value(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, mag = h & 0x7fff;

    if (mag < 0x400)
        return fix_from_bits(sign | fix_to_bits((float)mag * 0x1p-24f));
    return fix_from_bits(sign | ((mag << 13) + (112u << 23)));
}

/* ---- groups of a file's rows ----------------------------------------------------------------- */

/* n numbers of an f32 or bf16 row from k on; the rest of the group is zero. */
static void floats_read(enum dtype file, const void *row, int32_t k, int32_t n, float out[GROUP])
{
    memset(out, 0, GROUP * sizeof(*out));
    if (file == DT_F32) {
        memcpy(out, (const float *)row + k, (size_t)n * sizeof(*out));
        return;
    }
    for (int32_t i = 0; i < n; i++)
        out[i] = fix_from_bits((uint32_t)load16((const uint8_t *)row + 2 * ((size_t)k + (size_t)i))
                               << 16);
}

static void q8_0_read(const uint8_t *block, struct group *g)
{
    g->d = load16(block);
    for (int i = 0; i < GROUP; i++)
        g->code[i] = (uint16_t)(block[2 + i] ^ 0x80);
}

/* The first 16 are in the low nibbles. */
static void nibbles_read(const uint8_t *bytes, struct group *g)
{
    for (int i = 0; i < GROUP; i++)
        g->code[i] = (uint16_t)(bytes[i % 16] >> (i / 16 * 4) & 15);
}

/* Of q4_K's eight groups number i, whose integers are the low or high nibbles of 32 bytes. Its
 * scales: twelve bytes, six bits each; the last four groups' are in three places. */
static void q4_k_read(const uint8_t *block, int i, struct group *g)
{
    const uint8_t *s = block + 4, *bytes = block + 16 + 32 * (i / 2);

    g->d = load16(block);
    g->m = load16(block + 2);
    g->u = (uint8_t)(i < 4 ? s[i] & 63 : (s[i + 4] & 15) | s[i - 4] >> 6 << 4);
    g->v = (uint8_t)(i < 4 ? s[i + 4] & 63 : s[i + 4] >> 4 | s[i] >> 6 << 4);
    for (int j = 0; j < GROUP; j++)
        g->code[j] = (uint16_t)(bytes[j] >> (i % 2 * 4) & 15);
}

static void blocks_read(enum dtype file, const uint8_t *row, int32_t i, struct group *g)
{
    const uint8_t *block =
        row + (size_t)(i * GROUP / dtype_block(file)) * (size_t)dtype_bytes(file);

    if (file == DT_Q8_0) {
        q8_0_read(block, g);
    } else if (file == DT_Q4_K) {
        q4_k_read(block, i % 8, g);
    } else {
        g->d = load16(block);
        g->m = file == DT_Q4_1 ? load16(block + 2) : 0;
        nibbles_read(block + (file == DT_Q4_1 ? 4 : 2), g);
    }
}

/* Integers low .. high around zero: as q8_0 (the largest magnitude becomes 127) and q4_0 (the
 * largest becomes -8, so that all sixteen are used) are made. */
static void group_quantise(const float v[GROUP], int low, int high, struct group *g)
{
    float peak = 0, d;

    for (int i = 0; i < GROUP; i++)
        peak = fabsf(v[i]) > fabsf(peak) ? v[i] : peak;
    g->d = f16_of(low == -8 ? fminf(fmaxf(peak / -8, -65504), 65504)
                            : fminf(fabsf(peak) / 127, 65504));
    d = f16_value(g->d);
    for (int i = 0; i < GROUP; i++) {
        float q = d == 0.0f ? 0.0f : rintf(v[i] / d);
        g->code[i] = (uint16_t)(fminf(fmaxf(q, (float)low), (float)high) - (float)low);
    }
}

static void floats_pack(enum product_type type, const float v[GROUP], float scale, struct group *g)
{
    switch (type) {
    case PRODUCT_BF16:
        for (int i = 0; i < GROUP; i++)
            g->code[i] = bf16_of(v[i]);
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
    case PRODUCT_INT4_MIN:
    case PRODUCT_INT4_K:
    case PRODUCT_TYPES:
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
            peak = fmaxf(peak, fabsf(v[i]));
    }
    return peak > 0x1p-100f ? peak / FP8_MAX : 1.0f;
}

/* ---- into the unit --------------------------------------------------------------------------- */

/* Two neighbours in k, i even, of channel c of 16. */
static void pair_put(enum product_type type, uint8_t *unit, int c, int h, int i, uint16_t first,
                     uint16_t second)
{
    int lane = 4 * (c % 8) + i / 8, j = i / 4 % 2, r = c / 8 + i / 2 % 2 * 2;
    uint8_t *piece = unit + 16 * lane;

    switch (type) {
    case PRODUCT_BF16:
        piece += (2 * h + j) * PRODUCT_PIECE + 4 * r;
        memcpy(piece, &first, 2);
        memcpy(piece + 2, &second, 2);
        break;
    case PRODUCT_FP8:
        piece += h * PRODUCT_PIECE + 4 * (2 * j + r / 2) + 1 - r % 2;
        piece[0] = (uint8_t)first;
        piece[2] = (uint8_t)second;
        break;
    case PRODUCT_INT8:
        piece += h * PRODUCT_PIECE + 4 * (2 * j + r / 2) + 2 * (r % 2);
        piece[0] = (uint8_t)first;
        piece[1] = (uint8_t)second;
        break;
    default:
        piece += 4 * (2 * h + j) + r / 2;
        piece[0] = (uint8_t)(piece[0] | first << (r % 2 * 4));
        piece[2] = (uint8_t)(piece[2] | second << (r % 2 * 4));
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

    for (int k = 0; k < GROUP; k += 2)
        pair_put(p->type, at, c, i % 2, k, g->code[k], g->code[k + 1]);
    if (PRODUCT_SCALE_BYTES(p->type) > 0)
        scales_put(p->type, at, c, i % 2, g);
}

static void row_pack(const struct product_plan *p, uint8_t *packed, int64_t channel,
                     const void *row, enum dtype file)
{
    struct group g = {.d = 0};
    float v[GROUP], scale = 1.0f;

    if (p->type == PRODUCT_FP8) {
        scale = fp8_scale(file, row, p->k);
        memcpy(packed + p->scales_at + (size_t)channel * sizeof(scale), &scale, sizeof(scale));
    }
    for (int32_t i = 0; i * GROUP < p->k; i++) {
        if (dtype_block(file) > 1) {
            blocks_read(file, row, i, &g);
        } else {
            floats_read(file, row, i * GROUP, MIN(GROUP, p->k - i * GROUP), v);
            floats_pack(p->type, v, scale, &g);
        }
        group_put(p, packed, channel, i, &g);
    }
}

/* ---- the interface --------------------------------------------------------------------------- */

enum product_type product_type_of(enum dtype file)
{
    switch (file) {
    case DT_Q8_0:
        return PRODUCT_INT8;
    case DT_Q4_0:
        return PRODUCT_INT4;
    case DT_Q4_1:
        return PRODUCT_INT4_MIN;
    case DT_Q4_K:
        return PRODUCT_INT4_K;
    default:
        return PRODUCT_BF16;
    }
}

bool product_packs(enum product_type type, enum dtype file)
{
    if (file == DT_F32 || file == DT_BF16)
        return type < PRODUCT_INT4_MIN;
    return type != PRODUCT_BF16 && product_type_of(file) == type;
}

void product_pack_start(const struct product_plan *p, void *packed)
{
    memset(packed, 0, p->bytes);
}

void product_pack(const struct product_plan *p, void *packed, enum product_half half,
                  const void *rows, enum dtype file, size_t row_bytes, int32_t first,
                  int32_t n_rows)
{
    ASSERT(product_packs(p->type, file) && p->k % dtype_block(file) == 0);
    ASSERT(first >= 0 && n_rows >= 0 && n_rows <= p->n - first);
    for (int32_t i = 0; i < n_rows; i++) {
        int64_t n = first + i;
        int64_t channel = p->paired ? n / 8 * 16 + n % 8 + 8 * (half == PRODUCT_UP) : n;

        row_pack(p, packed, channel, (const uint8_t *)rows + (size_t)i * row_bytes, file);
    }
}
