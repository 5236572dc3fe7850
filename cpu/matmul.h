/*
 * matmul.h - resident weight matrices and the one product of the device: Y = X W^T (+ bias).
 *
 * Each output element is accumulated in one fixed order that depends on the weight type and `cols`
 * alone, so a row's result is bit for bit the same for every number of rows, of threads, and for
 * the portable and the AVX2 kernels.
 */
#ifndef SPECD_CPU_MATMUL_H
#define SPECD_CPU_MATMUL_H

#include "pool.h"
#include "specd/device.h"

#include <stdbool.h>

struct weight {
    enum dtype type; /* as kept: F32, BF16, Q8_0 or a native block type */
    int rows, cols;
    void *data; /* row-major, possibly interleaved by weight_pack; 64-byte aligned */
};

/* How `t` would be kept under `want`: NATIVE keeps a block type, F32 and BF16, and turns F16 into
 * F32 (bf16 would lose bits). Types without a kernel are named in err (SPECD_EINVAL). */
int weight_plan(const struct tensor *t, enum weight_type want, enum dtype *type, size_t *bytes,
                char *err, size_t errlen);
/* Fills w, converting into `memory` (of weight_plan's bytes, 64-byte aligned, kept by w). */
void weight_pack(struct weight *w, const struct tensor *t, enum dtype type, void *memory);
/* One row as f32, for embedding look-ups. out: (cols) */
void weight_row(const struct weight *w, int row, float *out);
/* Any file tensor (a norm vector, a bias) as f32. out: (rows * cols) */
void tensor_to_f32(const struct tensor *t, float *out);

/* Several matrices that share one input, done in one pool stage. */
struct matmul_job {
    const struct weight *w;
    const float *bias; /* (w->rows) or NULL */
    float *y;          /* (T, w->rows), row stride y_stride floats */
    int y_stride;
};
/* x: (T, cols) with row stride x_stride floats, 32-byte aligned rows; T >= 1. */
void matmul(struct pool *p, const struct matmul_job *jobs, int n_jobs, const float *x, int x_stride,
            int T);

bool cpu_has_avx2(void);          /* AVX2 and FMA */
void cpu_force_portable(bool on); /* tests: use the portable kernels */

#endif
