#if defined(__x86_64__)
#define LANES_ISA 2
#define OPS_TABLE ops_avx512
#include "ops_body.h"
#else
typedef int ops_avx512_is_empty_here;
#endif
