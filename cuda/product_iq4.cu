/*
 * product_iq4.cu - products with 4-bit places in IQ4's table of integers, a scale for each 32.
 */
#include "product.cuh"

PRODUCT_LAUNCHERS(PRODUCT_IQ4, iq4)
