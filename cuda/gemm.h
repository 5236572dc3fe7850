/*
 * gemm.h - products of prompt rows: cuBLASLt for many rows, our own kernels for few or where a
 * row's bits must not depend on the pass (--reproducible).
 *
 * cuBLASLt wants plain row-major matrices, so a packed one is first unpacked into a scratch matrix,
 * as many channels at a time as it holds: to bf16, or for PRODUCT_FP8 on devices with fp8 units to
 * e4m3, x then being rounded to e4m3 with a scale for each row. What it costs is in gemm.c's head.
 * No device memory is allocated after open. Engine thread.
 */
#ifndef SPECD_CUDA_GEMM_H
#define SPECD_CUDA_GEMM_H

#include "memory.h"
#include "product.h"

struct gemm; /* opaque */

struct gemm_sizes {
    int32_t max_rows;    /* of a call */
    size_t max_elements; /* N * K of the largest matrix; paired: both halves */
    int32_t max_k;
    int32_t max_paired; /* n of the widest paired matrix: its products go through scratch */
    bool has_fp8;       /* some matrix is PRODUCT_FP8 */
};

/* Rows below which launch_product is the faster one, whatever the matrix. */
#define GEMM_ROWS_MIN 192

/* Takes scratch and cuBLASLt's workspace from `a`, which may be counting; then *out is NULL. major,
 * minor: compute capability. SPECD_EDEVICE when the library cannot be started. */
int gemm_open(struct gemm **out, const struct gemm_sizes *sizes, int major, int minor,
              struct gpu_arena *a);
void gemm_close(struct gemm *g); /* NULL does nothing */

/* Whether gemm_run is, on paper, faster than launch_product for that many rows; below GEMM_ROWS_MIN
 * never. */
bool gemm_is_faster(const struct gemm *g, const struct product_plan *p, int32_t rows);

/* The same product as launch_product, of exactly `rows` rows, known to the host; call->n_rows is
 * not read. ADD and STORE go straight to out where they can, SILU_MUL goes through scratch. The
 * calls on one gemm share its scratch: one stream at a time. SPECD_EDEVICE */
int gemm_run(struct gemm *g, const struct product_call *call, int32_t rows, cudaStream_t stream);

#endif
