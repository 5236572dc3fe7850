#define LANES_AVX2 0
#define OPS_TABLE ops_portable
#include "ops_body.h"
