/*
 * kernel.h - what matmul.c and its kernels agree on. Private to cpu/'s matrix files.
 *
 * THE ORDER, in which every kernel works for each output (row of x, channel), f being 0 at first,
 * runs of 32 columns and columns in their order. `scale` and `xsum` are the row's (qrows.h); d, m,
 * sc and mn the channel's (quant.h); I is an exact integer, float(I) its nearest float:
 *   q4_0, q5_0, q8_0   I = sum of (u - offset) q         f = fma(float(I) * scale, d, f)
 *   iq4_nl, mxfp4      I = sum of table[u] q             the same
 *   iq4_xs             the same                          f = fma(float(I) * scale, d * sc, f)
 *   nvfp4              the same over columns 0-15, then over 16-31, each half with its own d
 *   q4_1, q5_1         I = sum of u q                    f = fma(float(I) * scale, d, f)
 *                                                        f = fma(m, xsum, f)
 *   q4_K, q5_K         I = sum of u q                    f = fma(float(I) * scale, d * sc, f)
 *                                                        f = fma(-(m * mn), xsum, f)
 *   q2_K               I = sc0 * sum of u q over columns 0-15, + sc1 * that over 16-31
 *                      J = mn0 * sum of q over columns 0-15, + mn1 * that over 16-31
 *                                                        f = fma(float(I) * scale, d, f)
 *                                                        f = fma(-(float(J) * scale), m, f)
 *   q3_K, q6_K         I = sc0 * sum of (u - offset) q over columns 0-15, + sc1 * that over 16-31
 *                      F = fma(float(I), scale, F) over the 8 runs of a block; f = fma(F, d, f)
 *   f32, bf16, f16     for each column                   f = fma(w, x, f)
 * and f8 and, where activations are kept as floats, every integer type as f32 has it, with the
 * weights' values (quant_values). Lanes, tiles of rows, threads and the order within a run are
 * free: they change no bit. Where a row is hot, its integer is 128 * (I of its high integers) + (I
 * of its low ones), below 2^31 for every type: q6_K has 2 * 16 * 128 * 32 * 16129 = 2.114e9.
 */
#ifndef SPECD_CPU_KERNEL_H
#define SPECD_CPU_KERNEL_H

#include "isa.h"
#include "panel.h"
#include "qrows.h"

#define GROUP 4      /* panels that a float kernel takes at most */
#define FLOAT_TILE 8 /* rows that one takes at most, in any kernel */

/* One panel times a tile of quantised rows. */
struct dots_args {
    const uint8_t *w;              /* the panel */
    const struct qrow *tile, *low; /* the tile; the low integers of its first row */
    int n_runs;
    float *y; /* (R, PANEL), 64-byte aligned, written */
};

/* A few neighbouring panels of floats times float rows, over a range of columns. */
struct floats_args {
    const char *w;   /* first panel, at the first column */
    size_t w_stride; /* bytes from panel to panel */
    int n_cols;
    const float *x; /* (n_rows, n_cols) */
    size_t x_stride;
    float *acc; /* (n_panels, n_rows, PANEL), 64-byte aligned, in and out */
};

typedef void dots_fn(const struct dots_args *a);
typedef void floats_fn(const struct floats_args *a);

struct float_kernels {
    int rows;          /* of x that `multiply` takes at most, <= FLOAT_TILE */
    int rows_of_pairs; /* rows up to which panels are taken in pairs */
    /* n_panels is 1, or what floats_panels says of n_rows. */
    void (*multiply)(enum dtype t, int n_panels, int n_rows, const struct floats_args *a);
    /* Runs first .. first + n of a panel as f32 panels have them. out: (n * RUN, PANEL), aligned */
    void (*decode)(enum dtype t, const void *panel, int first, int n, float *out);
};

struct kernels {
    int rows; /* of a tile, at most */
    void (*dots)(enum dtype t, int R, const struct dots_args *a);
    /* A row's runs into to[0], to[stride] .. and low[0], low[1] .., see qrows.h. */
    void (*quantise)(const float *x, int n_cols, float hot, struct qrow *to, int stride,
                     struct qrow *low);
    const struct float_kernels *floats;
};

extern const struct float_kernels float_kernels_avx2;
extern const struct kernels kernels_portable, kernels_avx2, kernels_avx_vnni, kernels_vnni_256,
    kernels_avx512; /* but for the first, only for x86-64 */

/* Those of cpu_isa(). */
const struct kernels *kernels_get(void);

/* Panels that a float kernel does best at once: a single chain of sums would wait for itself. */
static inline int floats_panels(const struct float_kernels *k, int n_rows)
{
    return n_rows == 1 ? 4 : n_rows <= k->rows_of_pairs ? 2 : 1;
}

#endif
