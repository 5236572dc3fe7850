/* Dot products of bytes as AVX-VNNI has them: compiled, but not yet run on such a machine. Its
 * loops are those of matmul_vnni_256.c, which are tested. */
#if defined(__x86_64__)
#define LANES_ISA 1
#define QROWS_IN_PAIRS false
#include "qrows_body.h"

#define VECTOR_ISA 2
#include "dots.h"

const struct kernels kernels_avx_vnni = {DOTS_ROWS, dots, quantise, &float_kernels_avx2};
#else
typedef int matmul_avx_vnni_is_empty_here;
#endif
