/*
 * matmul.h - resident weight matrices and the one product of the device: Y = s X W^T (+ bias).
 *
 * Integer weights multiply rows quantised to integers (qrows.h), unless activations are kept as
 * floats; float weights always multiply floats. Each output element is accumulated in one fixed
 * order that depends on the weight type, `cols` and the kind of activations alone (kernel.h), so a
 * row's result is bit for bit the same for every number of rows, of threads, and for the kernels of
 * every instruction set.
 */
#ifndef SPECD_CPU_MATMUL_H
#define SPECD_CPU_MATMUL_H

#include "isa.h"
#include "pool.h"
#include "qrows.h"
#include "specd/device.h"

#include <stdbool.h>

struct weight {
    enum dtype type; /* as kept: F32, F16, BF16, Q8_0 or a native block type */
    int rows, cols;
    float scale; /* what products are times, before a bias */
    void *data;  /* interleaved by weight_pack, see panel.h; 64-byte aligned */
    /* A product with a part of it: panels, ascending. No output of others is written. NULL: all. */
    const int32_t *panels; /* (n_panels) */
    int n_panels;
};

/* How `t` would be kept under `want`; NATIVE keeps every type. Types without a kernel are named in
 * err (SPECD_EINVAL). */
int weight_plan(const struct tensor *t, enum weight_type want, enum dtype *type, size_t *bytes,
                char *err, size_t errlen);
/* Converts panels first .. end, of weight_panels(w), of t into w->data, which has weight_plan's
 * bytes; type, rows and cols are set. Panels share no memory, so threads may share them out. */
void weight_pack(const struct weight *w, const struct tensor *t, int first, int end);
int weight_panels(const struct weight *w);
/* Panels, of 16 rows each, that hold one of the first n_rows rows whose bit is set, ascending;
 * returns how many. Bit i % 32 of rows[i / 32] is row i's; out: (n_rows / 16 + 1) */
int panels_with(const uint32_t *rows, int n_rows, int32_t *out);
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
    bool adds; /* to what y holds */
};
/* Writes a row, (cols) floats; any thread, rows in any order. */
typedef void matmul_row_fn(const void *arg, int row, float *to);
/* What they multiply. Few rows are made by each thread for itself, as a row takes less time than
 * another thread's rows take to come over, and than threads take to meet. So make may be called
 * several times for a row, and then writes elsewhere than to x. */
struct matmul_input {
    float *x; /* (n_rows, cols) with row stride x_stride floats, n_rows >= 1 */
    int x_stride, n_rows, cols;
    matmul_row_fn *make; /* makes the rows, perhaps in x; NULL: x holds them */
    const void *arg;
    struct qrows *q; /* room for them as integers; NULL: integer weights multiply x */
    bool ready;      /* x and, where some weights are integers, q hold the rows */
};
void matmul(struct pool *p, const struct matmul_job *jobs, int n_jobs,
            const struct matmul_input *in);

/* Several inputs, each with jobs of its own, in one pool stage. */
struct matmul_group {
    const struct matmul_job *jobs;
    int n_jobs;
    struct matmul_input in; /* ready, unless it is the only one */
    /* matmul.c's: some weights multiply integers; tiles and blocks of rows; panels of all jobs;
     * where its share of the stage begins */
    bool integers;
    int n_tiles, n_blocks, n_panels, first;
};
/* Groups with `ready` inputs; n_groups >= 1. Their own members are filled. */
void matmul_groups(struct pool *p, struct matmul_group *groups, int n_groups);
/* Makes the rows, in q too unless it is NULL, for several calls of matmul. */
void matmul_rows(struct pool *p, struct matmul_input *in);

#endif
