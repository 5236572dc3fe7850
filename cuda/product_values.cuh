/*
 * product_values.cuh - weights of a packed matrix (product_impl.h) as the numbers they stand for,
 * read from device memory: what a product with a row of x that is one at one place would give.
 *
 * Codes by scales are exact in f32; a minimum or a channel's scale makes one rounding.
 */
#ifndef SPECD_CUDA_PRODUCT_VALUES_CUH
#define SPECD_CUDA_PRODUCT_VALUES_CUH

#include "product_weights.cuh"

#define LANE_K 8 /* neighbours in k that a lane has of a channel, in each half of a unit */

/* A lane's words of half h, as codes_widen takes those of half 0; h need not be a constant. */
template <enum product_type TYPE>
DEVICE void half_load(const unsigned char *unit, int lane, int h, uint32_t words[2 * PIECE_WORDS])
{
    if (PRODUCT_CODE_BYTES(TYPE) < PRODUCT_PIECE) {
        words[0] = ((const uint32_t *)unit)[2 * lane + h];
    } else if (PRODUCT_CODE_BYTES(TYPE) == PRODUCT_PIECE) {
        uint2 v = ((const uint2 *)unit)[2 * lane + h];
        words[0] = v.x;
        words[1] = v.y;
    } else {
        codes_load<TYPE>(unit, lane, h, words);
    }
}

/* k = 32 h + 8 (lane % 4) .. + 8 of channels g and g + 8, g = lane / 4: codes times d, plus m,
 * times the channels' scales, which are 1 where there are none. */
template <enum product_type TYPE>
DEVICE void values_read(const unsigned char *unit, int lane, int h, const float channel_scales[2],
                        float out[2][LANE_K])
{
    struct group_scales s = scales_load<TYPE>(unit, lane, h);
    uint32_t words[2 * PIECE_WORDS], a[4];

    half_load<TYPE>(unit, lane, h, words);
    UNROLL
    for (int j = 0; j < 2; j++) {
        codes_widen<TYPE>(words, 0, j, a);
        codes_scale<TYPE>(s, a);
        UNROLL
        for (int r = 0; r < 4; r++) {
            float *two = out[r % 2] + 4 * j + r / 2 * 2;
            two[0] = __uint_as_float(a[r] << 16);
            two[1] = __uint_as_float(a[r] & 0xffff0000u);
        }
    }
    UNROLL
    for (int c = 0; c < 2; c++) {
        UNROLL
        for (int i = 0; i < LANE_K; i++) {
            if (HAS_GROUPS(TYPE))
                out[c][i] = s.d[c] * out[c][i];
            if (HAS_MINIMA(TYPE) && HAS_HALVES(TYPE))
                out[c][i] = out[c][i] + s.m[c] * __uint_as_float(s.min[c] << 16);
            else if (HAS_MINIMA(TYPE))
                out[c][i] = out[c][i] + s.m[c];
            out[c][i] = out[c][i] * channel_scales[c];
        }
    }
}

/* Runs X(TYPE) for the type of `plan`. */
#define PRODUCT_TYPE_SWITCH(type, X) \
    switch (type) {                  \
    case PRODUCT_BF16:               \
        X(PRODUCT_BF16);             \
        break;                       \
    case PRODUCT_FP8:                \
        X(PRODUCT_FP8);              \
        break;                       \
    case PRODUCT_INT8:               \
        X(PRODUCT_INT8);             \
        break;                       \
    case PRODUCT_INT4:               \
        X(PRODUCT_INT4);             \
        break;                       \
    case PRODUCT_INT4_MIN:           \
        X(PRODUCT_INT4_MIN);         \
        break;                       \
    case PRODUCT_INT4_K:             \
        X(PRODUCT_INT4_K);           \
        break;                       \
    case PRODUCT_IQ4:                \
        X(PRODUCT_IQ4);              \
        break;                       \
    case PRODUCT_FP4:                \
        X(PRODUCT_FP4);              \
        break;                       \
    case PRODUCT_FP8_32:             \
        X(PRODUCT_FP8_32);           \
        break;                       \
    case PRODUCT_INT2_K:             \
        X(PRODUCT_INT2_K);           \
        break;                       \
    case PRODUCT_NVFP4:              \
        X(PRODUCT_NVFP4);            \
        break;                       \
    case PRODUCT_TYPES:              \
        break;                       \
    }

#endif
