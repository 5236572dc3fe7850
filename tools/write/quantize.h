/*
 * quantize.h - f32 to every element type of dtype.h, for tools and tests that write model files.
 *
 * Rounds to nearest, block by block, without looking at what the weights are used for: enough for
 * synthetic models, not how one would compress a trained one. The block layouts are those of ggml
 * (docs in its ggml-common.h); only their order of fields and bits is taken. Any thread.
 */
#ifndef SPECD_WRITE_QUANTIZE_H
#define SPECD_WRITE_QUANTIZE_H

#include "specd/dtype.h"

#include <stddef.h>
#include <stdint.h>

uint16_t f32_to_f16(float x); /* to nearest even, overflow to infinity */
float f16_to_f32(uint16_t h);
uint16_t f32_to_bf16(float x); /* to nearest even */

/* n is a whole number of blocks, x finite; out has dtype_row_bytes(type, n) bytes. */
void quantize(enum dtype type, const float *x, size_t n, void *out);

#endif
