/* The loops of matmul_avx_vnni.c in AVX-512VL's encoding, for tests on machines without AVX-VNNI.
 */
#if defined(__x86_64__)
#define LANES_ISA 1
#define QROWS_IN_PAIRS false
#include "qrows_body.h"

#define VECTOR_ISA 3
#include "dots.h"

const struct kernels kernels_vnni_256 = {DOTS_ROWS, dots, quantise, &float_kernels_avx2};
#else
typedef int matmul_vnni_256_is_empty_here;
#endif
