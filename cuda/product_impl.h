/*
 * product_impl.h - what the product's files share: the packed layout, and the launchers by type.
 *
 * A packed matrix is tiles of 16 channels, each a stream of units of 64 k that a warp walks in
 * order, (tiles, units, unit bytes). In a unit, lane l = 4 g + t of a warp finds what the matrix
 * unit wants of it in 16-byte pieces: channels g and g + 8, and of each 32 k the eight from 8 t on,
 * so that eight consecutive elements of x are a lane's other operand:
 *
 *   half h, operation j of two, register r of four, element e of two
 *   channel = g + 8 (r % 2)     k = 32 h + 8 t + 4 j + 2 (r / 2) + e
 *
 *   BF16  2048 bytes  piece 2 h + j, 16-bit word 2 r + e
 *   FP8   1024        piece h, 32-bit word 2 j + r / 2, byte 2 e + 1 - r % 2
 *   INT8  1024 + 64   piece h, 32-bit word 2 j + r / 2, byte 2 (r % 2) + e, q + 128
 *   INT4   512 + 64   one piece, 32-bit word 2 h + j, nibble r + 4 e, q + 8
 *   FP4    512 + 32   the same, sign, two bits of exponent, one of fraction
 *   NVFP4  512 + 64   as FP4
 *   IQ4    512 + 128  one piece, 32-bit word 2 h + j, nibble 2 r + e, a place in the table
 *   FP8_32 1024 + 128 as FP8
 *   INT2_K 256 + 128  8 bytes a lane at 8 l, 32-bit word h, bits 2 (4 j + r) of 16-bit word e
 *
 * (piece i is at 512 i + 16 l) and behind them, per g, the scales of both halves and channels:
 *
 *   INT8, INT4   8 bytes   f16 d[channel][half]
 *   INT4_MIN    16 bytes   f16 d[channel][half], m[channel][half]
 *   INT4_K      16 bytes   f16 (d', m')[channel], u6[channel][half], v6[channel][half] bytes
 *   IQ4, FP8_32 16 bytes   f32 d[channel][half]
 *   FP4          4 bytes   e[channel][half]: 2^(e - 128), of twice the numbers
 *   NVFP4        8 bytes   e4m3 [half][16 k][channel]
 *   INT2_K      16 bytes   f16 (d', m')[channel], bytes u4 + 16 v4 [half][16 k][channel]
 *
 * A paired matrix has gate channels at g and up channels at g + 8: a lane gets both.
 */
#ifndef SPECD_CUDA_PRODUCT_IMPL_H
#define SPECD_CUDA_PRODUCT_IMPL_H

#include "product.h"

#ifdef __cplusplus
extern "C" {
#endif

#define PRODUCT_PIECE 512 /* 16 bytes of each lane */
#define PRODUCT_CODE_BYTES(type)                                                          \
    ((type) == PRODUCT_BF16                                                        ? 2048 \
     : (type) == PRODUCT_FP8 || (type) == PRODUCT_FP8_32 || (type) == PRODUCT_INT8 ? 1024 \
     : (type) == PRODUCT_INT2_K                                                    ? 256  \
                                                                                   : 512)
#define PRODUCT_SCALE_BYTES(type)                                                       \
    ((type) == PRODUCT_BF16 || (type) == PRODUCT_FP8                               ? 0  \
     : (type) == PRODUCT_FP4                                                       ? 32 \
     : (type) == PRODUCT_INT8 || (type) == PRODUCT_INT4 || (type) == PRODUCT_NVFP4 ? 64 \
                                                                                   : 128)
#define PRODUCT_UNIT_BYTES(type) (PRODUCT_CODE_BYTES(type) + PRODUCT_SCALE_BYTES(type))

/* What the kernels get. */
struct product_args {
    const unsigned char *weights;
    const float *channel_scales; /* (16 * tiles) or NULL */
    const uint16_t *x;
    const int32_t *n_rows;
    void *out;
    const float *bias;
    const uint8_t *wanted;
    const struct product_group *groups; /* or NULL */
    const int32_t *n_groups;
    size_t matrix_bytes;
    int32_t max_groups;
    int32_t x_stride, out_stride;
    int32_t n, k, tiles, units, slices;
    int32_t channel_warps, slice_warps, team, stages, prefetch;
    enum product_end end;
};

int product_prepare_bf16(size_t shared_block);
int product_prepare_fp8(size_t shared_block);
int product_prepare_int8(size_t shared_block);
int product_prepare_int4(size_t shared_block);
int product_prepare_int4_min(size_t shared_block);
int product_prepare_int4_k(size_t shared_block);
int product_prepare_iq4(size_t shared_block);
int product_prepare_fp4(size_t shared_block);
int product_prepare_fp8_32(size_t shared_block);
int product_prepare_int2_k(size_t shared_block);
int product_prepare_nvfp4(size_t shared_block);

typedef int product_launcher(const struct product_args *a, const struct product_tiling *t,
                             cudaStream_t stream);
product_launcher product_launch_bf16, product_launch_fp8, product_launch_int8, product_launch_int4,
    product_launch_int4_min, product_launch_int4_k, product_launch_iq4, product_launch_fp4,
    product_launch_fp8_32, product_launch_int2_k, product_launch_nvfp4;

#ifdef __cplusplus
}
#endif

#endif
