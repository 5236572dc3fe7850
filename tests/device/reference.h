/*
 * reference.h - a transformer's forward pass in plain double precision: what a device is held
 * against. Written from the definition of the models and of the file types, sharing no code with
 * any device; slow, for tiny models.
 */
#ifndef TESTS_DEVICE_REFERENCE_H
#define TESTS_DEVICE_REFERENCE_H

#include "specd/model.h"

/* One row of a tensor of any file type. out: (cols) */
void reference_row(const struct tensor *t, uint32_t row, double *out);

/* Logits of every position of a text. bf16_kv: keys and values are rounded to bf16 before use, as a
 * device with such a KV cache does. layers: indices of the layers used, or NULL for all. logits:
 * (n, V) */
void reference_forward(const struct model *m, const uint32_t *layers, uint32_t n_layers,
                       const int32_t *tokens, int n, bool bf16_kv, double *logits);

#endif
