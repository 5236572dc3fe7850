/* The kernels for AVX-512: F, BW, VL and VNNI. */
#if defined(__x86_64__)
#define LANES_ISA 2
#define QROWS_IN_PAIRS false
#include "qrows_body.h"

#define VECTOR_ISA 4
#include "dots.h"
#include "floats.h"

static const struct float_kernels float_kernels = {FLOATS_ROWS, FLOATS_PAIRS, floats, decode};
const struct kernels kernels_avx512 = {DOTS_ROWS, dots, quantise, &float_kernels};
#else
typedef int matmul_avx512_is_empty_here;
#endif
