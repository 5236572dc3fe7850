/*
 * product_fp4.cu - products with floats of 4 bits, a power of two for each 32.
 */
#include "product.cuh"

PRODUCT_LAUNCHERS(PRODUCT_FP4, fp4)
