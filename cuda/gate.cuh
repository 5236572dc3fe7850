/*
 * gate.cuh - what a feed-forward's gate goes through: exp is fixmath's, the division rounded to
 * nearest, so the same bits wherever it runs.
 *
 *   silu(x) = x / (1 + exp(-x))
 *   gelu(x) = x / (1 + exp(-2 u)) = x / 2 (1 + tanh(u)), u = sqrt(2 / pi) (x + .044715 x^3)
 */
#ifndef SPECD_CUDA_GATE_CUH
#define SPECD_CUDA_GATE_CUH

#include "product.h"
#include "ptx.cuh"
#include "specd/fixmath.h"

/* x / (1 + exp(-t)). The clamp keeps exp in range: beyond it the result is x, or nothing. NaN stays
 * NaN. */
DEVICE float gated(float x, float t)
{
    return x / (1.0f + fix_exp(fminf(fmaxf(-t, -87.0f), 87.0f)));
}

/* end: one of a paired product */
DEVICE float gate_mul(enum product_end end, float gate, float up)
{
    float t = gate;

    if (end == PRODUCT_GELU_MUL)
        t = 1.5957691216f * fmaf(0.044715f * gate, gate * gate, gate); /* 2 sqrt(2 / pi) */
    return gated(gate, t) * up;
}

#endif
