/*
 * product_fp8_32.cu - products with floats of 8 bits, a scale for each 32.
 */
#include "product.cuh"

PRODUCT_LAUNCHERS(PRODUCT_FP8_32, fp8_32)
