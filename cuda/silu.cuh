/*
 * silu.cuh - silu(x) = x / (1 + exp(-x)): exp is fixmath's, the division rounded to nearest, so the
 * same bits wherever it runs.
 */
#ifndef SPECD_CUDA_SILU_CUH
#define SPECD_CUDA_SILU_CUH

#include "ptx.cuh"
#include "specd/fixmath.h"

/* The clamp keeps exp in range: beyond it silu is the argument, or nothing. NaN stays NaN. */
DEVICE float silu(float x)
{
    return x / (1.0f + fix_exp(fminf(fmaxf(-x, -87.0f), 87.0f)));
}

#endif
