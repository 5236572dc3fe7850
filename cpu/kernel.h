/*
 * kernel.h - what matmul.c and its kernels agree on. Private to cpu/'s matrix files.
 *
 * A kernel multiplies a few neighbouring panels by a few rows of x over a range of columns and adds
 * to accumulators it is given. THE ORDER, in which every kernel works for each output:
 *
 *   F32, BF16        for each column c:           acc = fmaf(w[c], x[c], acc)
 *   quantised        for each run of 32 columns (in q6_K: each 16, which have a scale of their
 * own): s = -offset * sum         offset: 8 in q4_0, 16 in q5_0, 32 in q6_K, or 0 for each column
 * c:        s = fmaf(q[c] * up, x[c] / up, s) acc = fmaf(d, s, acc) acc = fmaf(m, sum, acc)   types
 * with a minimum
 *
 * sum is the sum of x over these columns: of 16, as a tree of halves, (x[i] + x[i + 8]) and so on;
 * of 32, the sum of the two. `up` is 16^(c % 8), except 1 where c % 8 == 7, and 1 everywhere in
 * q8_0: q[c] * up is what one AND leaves of eight packed nibbles. Both are prepared once per row
 * of x, for all types but floats and q8_0.
 * Chunks of columns and tiles of rows don't change this order, and so no bit of the result.
 */
#ifndef SPECD_CPU_KERNEL_H
#define SPECD_CPU_KERNEL_H

#include "panel.h"

#define TILE 6  /* rows of x that one kernel call takes at most */
#define GROUP 4 /* panels that one kernel call takes at most */

struct kernel_args {
    const char *w;      /* first panel, at the first column */
    size_t w_stride;    /* bytes from panel to panel */
    const char *next;   /* what to fetch into the cache meanwhile, as many bytes as are read; only
                           a hint, and may run past the end of the weights */
    int n_cols;         /* whole units of the type, but for F32 and BF16 */
    const float *x;     /* (n_rows, n_cols), prescaled for the types with nibbles */
    size_t x_stride;    /* floats */
    const float *sums;  /* (n_rows, runs, SUMS) */
    size_t sums_stride; /* floats */
    float *acc;         /* (n_panels, n_rows, PANEL), in and out */
};

/* Of a run: columns 0-15, 16-31, all. The fourth keeps the others aligned. */
#define SUMS 4
#define SUM_ALL 2

static inline bool dtype_is_prescaled(enum dtype t)
{
    return dtype_is_quantised(t) && t != DT_Q8_0;
}

static inline int dtype_offset(enum dtype t)
{
    return t == DT_Q4_0 ? 8 : t == DT_Q5_0 ? 16 : t == DT_Q6_K ? 32 : 0;
}

/* Of one row of x: scaled (n_cols), sums (runs, SUMS). n_cols is a multiple of RUN. */
void prepare_portable(const float *x, int n_cols, float *scaled, float *sums);
void prepare_avx2(const float *x, int n_cols, float *scaled, float *sums);

/* Any type, any n_panels; n_rows >= 1. */
void kernel_portable(enum dtype t, int n_panels, int n_rows, const struct kernel_args *a);

/* n_rows <= TILE, n_panels one of kernel_avx2_panels. All *_avx2 only where cpu_has_avx2. */
void kernel_avx2(enum dtype t, int n_panels, int n_rows, const struct kernel_args *a);
/* How many of `n` panels are best done in one call: 1, 2 or 4. */
int kernel_avx2_panels(int n_rows, int n);

#endif
