/*
 * ptx_kernels.h - kernels that show the parts of cuda/ptx.cuh by themselves.
 */
#ifndef SPECD_EMU_PTX_KERNELS_H
#define SPECD_EMU_PTX_KERNELS_H

#include "common.cuh"

void launch_matrix(const struct bf16 *a, const struct bf16 *b, float *y);
void launch_copy(const uint4 *in, uint4 *out, int n, int tail, bool wait);
void launch_round(const float *in, struct bf16 *out, int n);

#endif
