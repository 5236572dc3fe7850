/*
 * product_int8.cu - products with 8-bit integers, a scale for each 32.
 */
#include "product.cuh"

PRODUCT_LAUNCHERS(PRODUCT_INT8, int8)
