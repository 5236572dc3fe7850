#if defined(__x86_64__)
#define LANES_ISA 1
#define OPS_TABLE ops_avx2
#include "ops_body.h"
#else
typedef int ops_avx2_is_empty_here;
#endif
