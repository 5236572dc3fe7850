/*
 * product_int4_k.cu - products with 4-bit integers, scales and minima themselves of 6 bits.
 */
#include "product.cuh"

PRODUCT_LAUNCHERS(PRODUCT_INT4_K, int4_k)
