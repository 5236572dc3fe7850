/*
 * product_int4_min.cu - products with 4-bit integers, a scale and a minimum for each 32.
 */
#include "product.cuh"

PRODUCT_LAUNCHERS(PRODUCT_INT4_MIN, int4_min)
