#define LANES_ISA 0
#define OPS_TABLE ops_portable
#include "ops_body.h"
