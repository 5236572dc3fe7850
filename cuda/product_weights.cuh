/*
 * product_weights.cuh - from a packed unit of weights in shared memory (product_impl.h) to operands
 * of the matrix unit.
 *
 * Every step is exact: e4m3 numbers and integers up to 8 bits are bf16 numbers. What a lane widens
 * it has for 16 bytes read, in instructions: FP8 8 pairs x 4, INT8 8 x 5, INT4 16 x 3, FP4 16 x 5,
 * IQ4 16 x 6, INT2_K 32 x 4, NVFP4 16 x 6.
 */
#ifndef SPECD_CUDA_PRODUCT_WEIGHTS_CUH
#define SPECD_CUDA_PRODUCT_WEIGHTS_CUH

#include "common.cuh"
#include "product_impl.h"

/* Whether sums are of groups of 32, and whether the groups have minima. */
#define HAS_GROUPS(type) \
    ((type) != PRODUCT_BF16 && (type) != PRODUCT_FP8 && (type) != PRODUCT_NVFP4)
#define HAS_MINIMA(type) \
    ((type) == PRODUCT_INT4_MIN || (type) == PRODUCT_INT4_K || (type) == PRODUCT_INT2_K)
/* Whether groups of 16 have scales that are multiplied into the operands, and minima if any. */
#define HAS_HALVES(type) ((type) == PRODUCT_INT2_K || (type) == PRODUCT_NVFP4)

/* ---- weights --------------------------------------------------------------------------------- */

#define PIECE_WORDS 4

/* A lane's words of half h. INT4's one piece, and INT2_K's half, serve both halves. */
template <enum product_type TYPE>
DEVICE void codes_load(const unsigned char *unit, int lane, int h, uint32_t words[2 * PIECE_WORDS])
{
    const uint4 *pieces = (const uint4 *)unit + lane;
    const int per_half = TYPE == PRODUCT_BF16 ? 2 : 1;

    if (PRODUCT_CODE_BYTES(TYPE) <= PRODUCT_PIECE && h > 0)
        return;
    if constexpr (PRODUCT_CODE_BYTES(TYPE) < PRODUCT_PIECE) {
        uint2 v = ((const uint2 *)unit)[lane];
        words[0] = v.x;
        words[1] = v.y;
    } else {
        UNROLL
        for (int i = 0; i < per_half; i++) {
            uint4 v = pieces[(h * per_half + i) * WARP];
            words[4 * i] = v.x;
            words[4 * i + 1] = v.y;
            words[4 * i + 2] = v.z;
            words[4 * i + 3] = v.w;
        }
    }
}

/* e4m3's exponent and mantissa, shifted to their places in bf16, are 2^-120 of the number. */
DEVICE void widen_fp8(const uint32_t words[2], uint32_t a[4])
{
    UNROLL
    for (int r = 0; r < 4; r++) {
        uint32_t w = r % 2 ? words[r / 2] << 8 : words[r / 2];
        a[r] = bf16x2_fma(bits_put(w, 0x80008000u, w >> 4 & 0x07f007f0u), 0x7b807b80u, 0x80008000u);
    }
}

/* 2^23 + (q + 128) is a float with the byte as its last; less 2^23 + 128 it is q, of whose bits the
 * upper 16 are all. */
DEVICE void widen_int8(const uint32_t words[2], uint32_t a[4])
{
    UNROLL
    for (int r = 0; r < 4; r++) {
        uint32_t w = words[r / 2];
        uint32_t low = bytes_pick(w, 0x4b000000u, r % 2 ? 0x7442u : 0x7440u);
        uint32_t high = bytes_pick(w, 0x4b000000u, r % 2 ? 0x7443u : 0x7441u);
        a[r] = bytes_pick(__float_as_uint(__uint_as_float(low) - 8388736.0f),
                          __float_as_uint(__uint_as_float(high) - 8388736.0f), 0x7632u);
    }
}

/* 128 + q is a bf16 number with q as its last four bits. */
DEVICE void widen_int4(uint32_t word, bool centred, uint32_t a[4])
{
    UNROLL
    for (int r = 0; r < 4; r++)
        a[r] = bf16x2_fma(bits_put(word >> (4 * r), 0x000f000fu, 0x43004300u), 0x3f803f80u,
                          centred ? 0xc308c308u : 0xc300c300u);
}

/* As widen_int4, of eight pairs in a word those of operation j. */
DEVICE void widen_int2(uint32_t word, int j, uint32_t a[4])
{
    UNROLL
    for (int r = 0; r < 4; r++)
        a[r] = bf16x2_fma(bits_put(word >> (8 * j + 2 * r), 0x00030003u, 0x43004300u), 0x3f803f80u,
                          0xc300c300u);
}

/* In bf16's place, e2m1's exponent and fraction are 2^-127 of twice the number. */
DEVICE void widen_fp4(uint32_t word, uint32_t a[4])
{
    UNROLL
    for (int r = 0; r < 4; r++) {
        uint32_t sign = word << (12 - 4 * r) & 0x80008000u;
        uint32_t rest = r < 2 ? word << (6 - 4 * r) : word >> (4 * r - 6);
        a[r] = bf16x2_fma(bits_put(rest, 0x01c001c0u, sign), 0x7f007f00u, 0x80008000u);
    }
}

/* Four bytes of a table of 16: places, their lower three bits, among the first eight and among the
 * last; whether of the last. */
DEVICE uint32_t table_bytes(const uint32_t table[4], uint32_t places, uint32_t which)
{
    return bytes_pick(bytes_pick(table[0], table[1], places),
                      bytes_pick(table[2], table[3], places), which);
}

DEVICE void widen_iq4(uint32_t word, uint32_t a[4])
{
    /* the table in bf16: of each number its low byte, its high byte */
    const uint32_t low[4] = {0x82a6d0feu, 0x20b00c44u, 0x18c85080u, 0xe2b28a54u};
    const uint32_t high[4] = {0xc2c2c2c2u, 0xc1c1c2c2u, 0x4241413fu, 0x42424242u};

    UNROLL
    for (int i = 0; i < 2; i++) { /* registers 2 i and 2 i + 1: four nibbles */
        uint32_t w = word >> (16 * i), places = w & 0x7777u;
        uint32_t which = bits_put(w >> 1, 0x4444u, 0x3210u);
        uint32_t first = table_bytes(low, places, which);
        uint32_t second = table_bytes(high, places, which);
        a[2 * i] = bytes_pick(first, second, 0x5140u);
        a[2 * i + 1] = bytes_pick(first, second, 0x7362u);
    }
}

/* Operand of the matrix unit for operation j of half h. */
template <enum product_type TYPE>
DEVICE void codes_widen(const uint32_t words[2 * PIECE_WORDS], int h, int j, uint32_t a[4])
{
    if (TYPE == PRODUCT_BF16) {
        UNROLL
        for (int r = 0; r < 4; r++)
            a[r] = words[4 * j + r];
    } else if (TYPE == PRODUCT_FP8 || TYPE == PRODUCT_FP8_32) {
        widen_fp8(words + 2 * j, a);
    } else if (TYPE == PRODUCT_INT2_K) {
        widen_int2(words[h], j, a);
    } else if (TYPE == PRODUCT_INT8) {
        widen_int8(words + 2 * j, a);
    } else if (TYPE == PRODUCT_IQ4) {
        widen_iq4(words[2 * h + j], a);
    } else if (TYPE == PRODUCT_FP4 || TYPE == PRODUCT_NVFP4) {
        widen_fp4(words[2 * h + j], a);
    } else {
        widen_int4(words[2 * h + j], TYPE == PRODUCT_INT4, a);
    }
}

/* ---- scales ---------------------------------------------------------------------------------- */

/* Of a group, for the lane's channels g and g + 8: value = d q + m. */
struct group_scales {
    float d[2], m[2];
    /* HAS_HALVES: of the 16 k that are the lane's, as pairs of bf16; value = d scale q + m min, of
     * NVFP4 scale q */
    uint32_t scale[2], min[2];
};

/* Twice an integer below 128, in bf16: 128 + n has n as its last bits. */
DEVICE uint32_t small_pair(uint32_t n)
{
    return bf16x2_fma(n | n << 16 | 0x43004300u, 0x3f803f80u, 0xc300c300u);
}

/* Twice half of e4m3's number, as widen_fp8 makes it whole. */
DEVICE uint32_t e4m3_pair(uint32_t code)
{
    return bf16x2_fma(code << 4 | code << 20, 0x7b007b00u, 0x80008000u);
}

/* 2^(e - 128) */
DEVICE float float_of_power(uint32_t e)
{
    return __uint_as_float(e < 2 ? 0x00200000u << e : (e - 1) << 23);
}

template <enum product_type TYPE>
DEVICE struct group_scales scales_load(const unsigned char *unit, int lane, int h)
{
    const unsigned char *all = unit + PRODUCT_CODE_BYTES(TYPE);
    struct group_scales s = {{0, 0}, {0, 0}, {0, 0}, {0, 0}};
    int shift = 16 * h;

    if (TYPE == PRODUCT_INT8 || TYPE == PRODUCT_INT4) {
        uint2 v = ((const uint2 *)all)[lane / 4];
        s.d[0] = float_of_f16(v.x >> shift);
        s.d[1] = float_of_f16(v.y >> shift);
    } else if (TYPE == PRODUCT_INT4_MIN) {
        uint4 v = ((const uint4 *)all)[lane / 4];
        s.d[0] = float_of_f16(v.x >> shift);
        s.d[1] = float_of_f16(v.y >> shift);
        s.m[0] = float_of_f16(v.z >> shift);
        s.m[1] = float_of_f16(v.w >> shift);
    } else if (TYPE == PRODUCT_INT4_K) {
        /* 11 bits by 6: these products are exact. */
        uint4 v = ((const uint4 *)all)[lane / 4];
        s.d[0] = float_of_f16(v.x) * (float)(v.z >> (8 * h) & 0xff);
        s.d[1] = float_of_f16(v.y) * (float)(v.z >> (8 * h + 16) & 0xff);
        s.m[0] = -float_of_f16(v.x >> 16) * (float)(v.w >> (8 * h) & 0xff);
        s.m[1] = -float_of_f16(v.y >> 16) * (float)(v.w >> (8 * h + 16) & 0xff);
    } else if (TYPE == PRODUCT_INT2_K) {
        uint4 v = ((const uint4 *)all)[lane / 4];
        uint32_t bytes = (h ? v.w : v.z) >> (lane % 4 / 2 * 16);
        s.d[0] = float_of_f16(v.x);
        s.d[1] = float_of_f16(v.y);
        s.m[0] = -float_of_f16(v.x >> 16);
        s.m[1] = -float_of_f16(v.y >> 16);
        UNROLL
        for (int r = 0; r < 2; r++) {
            s.scale[r] = small_pair(bytes >> (8 * r) & 15);
            s.min[r] = small_pair(bytes >> (8 * r + 4) & 15);
        }
    } else if (TYPE == PRODUCT_NVFP4) {
        uint2 v = ((const uint2 *)all)[lane / 4];
        uint32_t bytes = (h ? v.y : v.x) >> (lane % 4 / 2 * 16);
        UNROLL
        for (int r = 0; r < 2; r++)
            s.scale[r] = e4m3_pair(bytes >> (8 * r) & 0xff);
    } else if (TYPE == PRODUCT_IQ4 || TYPE == PRODUCT_FP8_32) {
        const float *d = (const float *)all + 4 * (lane / 4) + h;
        s.d[0] = d[0];
        s.d[1] = d[2];
    } else if (TYPE == PRODUCT_FP4) {
        uint32_t v = ((const uint32_t *)all)[lane / 4] >> (8 * h);
        s.d[0] = float_of_power(v & 0xff);
        s.d[1] = float_of_power(v >> 16 & 0xff);
    }
    return s;
}

/* Codes times the scales of their 16: integers below 46, or numbers of six bits. */
template <enum product_type TYPE>
DEVICE void codes_scale(const struct group_scales &s, uint32_t a[4])
{
    UNROLL
    for (int r = 0; HAS_HALVES(TYPE) && r < 4; r++)
        a[r] = bf16x2_fma(a[r], s.scale[r % 2], 0x80008000u);
}

#endif
