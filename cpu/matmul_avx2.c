/* The kernels for AVX2, FMA and F16C. */
#if defined(__x86_64__)
#define LANES_AVX2 1
#include "qrows_body.h"

#define VECTOR_ISA 1
#include "dots.h"
#include "floats.h"

const struct row_kernels row_kernels_avx2 = {FLOATS_ROWS, floats, decode, quantise};
const struct kernels kernels_avx2 = {DOTS_ROWS, dots, &row_kernels_avx2};
#else
typedef int matmul_avx2_is_empty_here;
#endif
