/*
 * cublas.h - cuBLASLt's types and calls: NVIDIA's, or in a build with SPECD_EMU those of tests/emu.
 */
#ifndef SPECD_CUDA_CUBLAS_H
#define SPECD_CUDA_CUBLAS_H

#ifdef SPECD_EMU
#include "emu_cublaslt.h"
#else
#include <cublasLt.h>
#endif

/* Scales of e4m3 operands by row and by channel inside the library: since 12.9. */
#if defined(SPECD_EMU) || CUBLAS_VERSION >= 120900
#define CUBLAS_OUTER_SCALES true
#else
#define CUBLAS_OUTER_SCALES false
#define CUBLASLT_MATMUL_DESC_A_SCALE_MODE ((cublasLtMatmulDescAttributes_t)31)
#define CUBLASLT_MATMUL_DESC_B_SCALE_MODE ((cublasLtMatmulDescAttributes_t)32)
#define CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F 3
#endif

#endif
