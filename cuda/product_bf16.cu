/*
 * product_bf16.cu - products with bf16 weights.
 */
#include "product.cuh"

PRODUCT_LAUNCHERS(PRODUCT_BF16, bf16)
