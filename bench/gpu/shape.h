/*
 * shape.h - models of published shapes with random weights in host memory, and what passes through
 * them cost on paper.
 *
 * All layers are views of one layer's tensors, so the host holds one layer and the vocabulary's
 * matrices; the device makes a copy for each layer, as of a real file. Weights are normal, scaled
 * so that activations stay about 1 through the layers, scores of attention are about N(0, 1), and
 * logits have a standard deviation of 3: finite, neither flat nor sharp.
 */
#ifndef SPECD_BENCH_GPU_SHAPE_H
#define SPECD_BENCH_GPU_SHAPE_H

#include "specd/device.h"

struct shape {
    const char *name;
    uint32_t layers, embd, heads, kv_heads, head_dim, ff, vocab;
    bool tied;
};

/* Llama-3.1-8B and Llama-3.2-1B as their config.json files have them; the small ones try the
 * program out where there is no GPU, the tiny ones in the emulator. */
extern const struct shape shape_8b, shape_1b, shape_small, shape_smaller, shape_tiny, shape_tinier;

/* bf16 matrices, f32 vectors. Made at the first call, on all cores, and kept until
 * shape_models_free: gigabytes take seconds. One thread. */
const struct model *shape_model(const struct shape *s);
void shape_models_free(void);

const char *weight_name(enum weight_type type); /* as the tables call it */
/* Bytes that a weight takes on the device, scales included. */
double weight_bytes(enum weight_type type);
/* Elements of the matrices that a pass multiplies by: all layers', and the output's if logits are
 * wanted. An untied embedding is only looked up in. */
double shape_elements(const struct shape *s, bool logits);
/* Bytes of K and V (bf16) of one position. */
double shape_kv_bytes(const struct shape *s);
/* Bytes that a pass of few rows of one sequence reads: weights once, the context's keys and values
 * once. */
double shape_pass_bytes(const struct shape *s, enum weight_type type, int context);
/* Operations of a prompt of n rows from position 0: products without logits, and attention. */
double shape_prompt_flop(const struct shape *s, int n);
#endif
