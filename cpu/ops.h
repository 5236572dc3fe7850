/*
 * ops.h - the vector operations of a layer beside its matrix products.
 *
 * One table per instruction set, both compiled from ops_body.h; ops_get picks. Every operation has
 * one order of additions, a function of its own lengths alone, so the tables agree bit for bit.
 * Pure and single-threaded; arrays need no alignment.
 */
#ifndef SPECD_CPU_OPS_H
#define SPECD_CPU_OPS_H

#include <stdint.h>

struct ops {
    /* y = x / sqrt(mean(x^2) + eps) * w; y may be x. (n) */
    void (*rms_norm)(float *y, const float *x, const float *w, int n, float eps);
    /* x += y. (n) */
    void (*add)(float *x, const float *y, int n);
    /* gate = gate / (1 + exp(-gate)) * up. (n) */
    void (*silu_mul)(float *gate, const float *up, int n);
    /* C += A B in f32: A (m, k), B (k, n), C (m, n), each with its row stride; sums run in k's
     * order, one fused multiply-add at a time. n is a multiple of 8. */
    void (*mac)(float *c, int c_stride, const float *a, int a_stride, const float *b, int b_stride,
                int m, int k, int n);
    /* s[i] = exp(s[i] - max), n >= 1; returns their sum, and max through `max`. */
    float (*exp_sum)(float *s, int n, float *max);
    /* acc = acc * a + x * b. (n) */
    void (*blend)(float *acc, float a, const float *x, float b, int n);
    /* y = x / d. (n) */
    void (*divide)(float *y, const float *x, float d, int n);
    /* exp of one number, the same as inside exp_sum. */
    float (*exp)(float x);
    /* bf16 to f32, (rows, n), each with its row stride. */
    void (*widen)(float *y, int y_stride, const uint16_t *bf16, int stride, int rows, int n);
};

extern const struct ops ops_portable;
#if defined(__x86_64__)
extern const struct ops ops_avx2;
#endif

const struct ops *ops_get(void);

/* Rounds to nearest, ties to even; a NaN stays one. */
static inline uint16_t bf16_of_float(float f)
{
    union {
        float f;
        uint32_t u;
    } v = {f};
    if (f != f)
        return (uint16_t)(v.u >> 16 | 0x40);
    return (uint16_t)((v.u + 0x7fff + (v.u >> 16 & 1)) >> 16);
}

#endif
