/*
 * product_fp8.cu - products with e4m3 weights and a scale for each channel.
 */
#include "product.cuh"

PRODUCT_LAUNCHERS(PRODUCT_FP8, fp8)
