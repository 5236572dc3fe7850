/*
 * gemm_rows.h - what gemm.c does to rows before and after cuBLASLt's product. Device memory,
 * 16-byte aligned unless said otherwise. Launches return 0 or SPECD_EDEVICE.
 */
#ifndef SPECD_CUDA_GEMM_ROWS_H
#define SPECD_CUDA_GEMM_ROWS_H

#include "product.h"

#ifdef __cplusplus
extern "C" {
#endif

/* quantize_rows.cu: out (rows, stride) e4m3 = x (rows, k) bf16 over the row's scale, to nearest
 * even; scale = the largest magnitude / 448, 1 for a row of zeros. A row with a NaN or an
 * infinity becomes NaN. Beyond k zeros; stride is a multiple of 16. */
int launch_quantize_rows(uint8_t *out, float *scales /* (rows) */, const uint16_t *x,
                         int32_t x_stride, int32_t rows, int32_t k, int32_t stride,
                         cudaStream_t stream);

/* gemm_finish.cu: y = sums, times the scales that there are, plus the bias if there is one; then
 * what the end says becomes of it, channels 0 .. n of out. */
struct gemm_finish {
    const float *sums; /* (rows, n), paired (rows, 2, n): gate, up; NULL: zeros */
    int32_t rows, n;
    const float *row_scales;     /* (rows) or NULL */
    const float *channel_scales; /* or NULL: (n), paired in the order of the packed matrix */
    const float *bias, *up_bias; /* (n) or NULL; up's only of paired ones */
    enum product_end end;
    void *out;
    int32_t out_stride;
};
int launch_gemm_finish(const struct gemm_finish *f, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
