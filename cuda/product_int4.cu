/*
 * product_int4.cu - products with 4-bit integers around zero, a scale for each 32.
 */
#include "product.cuh"

PRODUCT_LAUNCHERS(PRODUCT_INT4, int4)
