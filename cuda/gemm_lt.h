/*
 * gemm_lt.h - one product through cuBLASLt: its descriptions, and which of the library's algorithms
 * runs it.
 *
 * The library counts in columns: row-major y(T, N) = x(T, K) . W(N, K)^T is its D(N, T) = A^T B, A
 * being W, B x. The algorithm for a product is asked for once and kept in a table of fixed size,
 * where a product that comes later may take its place: asking again costs some 50 us of the host.
 * Engine thread.
 */
#ifndef SPECD_CUDA_GEMM_LT_H
#define SPECD_CUDA_GEMM_LT_H

#include "cublas.h"
#include "cudart.h"

#include <stdbool.h>
#include <stdint.h>

/* Operands: bf16; or e4m3, sums times the scales of rows and channels, or left as they are. */
enum lt_way { LT_BF16, LT_FP8_SCALED, LT_FP8 };

struct lt_product {
    enum lt_way way;
    const void *weights; /* (n, k), w_stride elements apart */
    const void *x;       /* (rows, k), x_stride apart */
    float *out;          /* (rows, n), out_stride apart */
    int32_t n, k, rows, w_stride, x_stride, out_stride;
    const float *channel_scales, *row_scales; /* (n), (rows): LT_FP8_SCALED */
    bool add;                                 /* to what is in out */
};

#define LT_KEPT 256

struct lt_choice {
    int32_t key[10]; /* all zero: empty */
    bool possible;
    cublasLtMatmulAlgo_t algo;
};

/* Zero-initialise it. */
struct gemm_lt {
    cublasLtHandle_t handle;
    void *workspace; /* device, `workspace_bytes` */
    size_t workspace_bytes;
    struct lt_choice kept[LT_KEPT];
};

int gemm_lt_open(struct gemm_lt *lt); /* SPECD_EDEVICE */
void gemm_lt_close(struct gemm_lt *lt);
/* Whether the library has an algorithm for it. */
bool gemm_lt_can(struct gemm_lt *lt, const struct lt_product *p);
int gemm_lt_run(struct gemm_lt *lt, const struct lt_product *p,
                cudaStream_t stream); /* SPECD_EDEVICE */

#endif
