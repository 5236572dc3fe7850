/* The kernels for AVX2, FMA and F16C. */
#if defined(__x86_64__)
#define LANES_ISA 1
#define QROWS_IN_PAIRS true
#include "qrows_body.h"

#define VECTOR_ISA 1
#include "dots.h"
#include "floats.h"

const struct float_kernels float_kernels_avx2 = {FLOATS_ROWS, floats, decode};
const struct kernels kernels_avx2 = {DOTS_ROWS, dots, quantise, &float_kernels_avx2};
#else
typedef int matmul_avx2_is_empty_here;
#endif
