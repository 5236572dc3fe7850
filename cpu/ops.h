/*
 * ops.h - the vector operations of a layer beside its matrix products.
 *
 * One table per instruction set, all compiled from ops_body.h; ops_get picks. Every operation has
 * one order of additions, a function of its own lengths alone, so the tables agree bit for bit.
 * Pure and single-threaded; arrays need no alignment.
 */
#ifndef SPECD_CPU_OPS_H
#define SPECD_CPU_OPS_H

#include "specd/device.h"

#include <stdbool.h>
#include <stdint.h>

/* Positions of a block's keys that lie side by side; a row of values is a multiple of it. A whole
 * vector on any machine, even where blocks are shorter. */
#define KV_LANES 16
/* So many blocks ahead of the one it reads, a kernel fetches into the cache. */
#define KV_AHEAD 4

struct ops {
    /* y = x / sqrt(mean(x^2) + eps) * w; y may be x. (n) */
    void (*rms_norm)(float *y, const float *x, const float *w, int n, float eps);
    /* x = (x * rotation[i] + partner * rotation[n + i]) * scale for elements i < n, n even, whose
     * partner is the neighbour, (0, 1), (2, 3) .., or the one half of n away. */
    void (*rotate)(float *x, const float *rotation, int n, bool neighbours, float scale);
    /* y = silu(gate) * up, silu(x) = x / (1 + exp(-x)); y may be gate. (n) */
    void (*silu_mul)(float *y, const float *gate, const float *up, int n);
    /* The same with x / (1 + exp(-2 u)), u = sqrt(2 / pi) (x + .044715 x^3), which is GELU by tanh
     * (Hendrycks and Gimpel 2016, arXiv 1606.08415): x / 2 (1 + tanh(u)). */
    void (*gelu_mul)(float *y, const float *gate, const float *up, int n);
    /* The two products of attention, over blocks of keys and values as kvmem.h lays them out.
     * Every sum takes its terms one by one, in order, from 0 or from what v holds.
     * Behind the last block there are KV_AHEAD more pointers, to what is read next.
     * s(i, b * SPECD_BLOCK_TOKENS + j) = q(i, :) . key j of block b; each block writes KV_LANES.
     * q: (m, dim) */
    void (*scores)(enum kv_type type, float *s, int stride, const float *q, int q_stride,
                   const void *const *keys, int n_blocks, int m, int dim);
    /* v(i, :) += p(i, j) * value j, for positions from <= j < to, counted from the first block on.
     * v: (m, width), p: (m, to) */
    void (*values)(enum kv_type type, float *v, int stride, const float *p, int p_stride,
                   const void *const *values, int from, int to, int m, int width);
    /* s[i] = exp(s[i] - max), n >= 1; returns their sum, and max through `max`. */
    float (*exp_sum)(float *s, int n, float *max);
    /* acc = acc * a + x * b. (n) */
    void (*blend)(float *acc, float a, const float *x, float b, int n);
    /* y = x / d. (n) */
    void (*divide)(float *y, const float *x, float d, int n);
    /* y = x in bf16, rounded to nearest, ties to even. (n) */
    void (*narrow)(uint16_t *y, const float *x, int n);
    /* exp of one number, the same as inside exp_sum. */
    float (*exp)(float x);
};

extern const struct ops ops_portable, ops_avx2, ops_avx512; /* x86: the last two */

/* Those that run here, slowest first. Returns their number. */
#define OPS_TABLES 3
int ops_tables(const struct ops *tables[OPS_TABLES]);
/* The fastest of them. */
const struct ops *ops_get(void);

#endif
