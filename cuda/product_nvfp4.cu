/*
 * product_nvfp4.cu - products with e2m1's numbers, an e4m3 scale for each 16.
 */
#include "product.cuh"

PRODUCT_LAUNCHERS(PRODUCT_NVFP4, nvfp4)
