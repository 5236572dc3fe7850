/*
 * product_int2_k.cu - products with 2-bit integers, scales and minima of 4 bits for each 16.
 */
#include "product.cuh"

PRODUCT_LAUNCHERS(PRODUCT_INT2_K, int2_k)
