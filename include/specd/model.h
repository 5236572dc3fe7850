/*
 * model.h - a transformer as the device sees it: sizes, and views of the tensors in host memory.
 *
 * Filled by engine/model/ from a GGUF file or a Hugging Face folder, read by device.model_load.
 * Immutable once filled; the views point into a read-only mapping that lives as long as the model.
 *
 * Shape letters used everywhere: T rows in a pass, V vocabulary, L layers, H query heads,
 * G key/value heads, D head size, C hidden size, F feed-forward size.
 */
#ifndef SPECD_MODEL_H
#define SPECD_MODEL_H

#include "specd/dtype.h"

#include <stdbool.h>
#include <stdint.h>

#define MODEL_LAYERS_MAX 256
#define MODEL_HEAD_DIM_MAX 256

/* Row-major (rows, cols): a matrix maps cols inputs to rows outputs. Vectors have rows == 1.
 * data == NULL means the architecture has no such tensor. */
struct tensor {
    const void *data;
    enum dtype type;
    uint32_t rows, cols;
};

/* Which elements of a head rotate together: GGUF's llama files store q and k permuted for pairs. */
enum rope_kind {
    ROPE_PAIRS, /* (2i, 2i+1) */
    ROPE_HALVES /* (i, i + rope_dim/2), Hugging Face's order */
};

struct model_layer {
    struct tensor attn_norm;      /* (C) */
    struct tensor wq, wk, wv, wo; /* (H*D, C) (G*D, C) (G*D, C) (C, H*D) */
    struct tensor bq, bk, bv;     /* (H*D) (G*D) (G*D), qwen2 */
    struct tensor q_norm, k_norm; /* (D), qwen3: RMS norm of each head before RoPE */
    struct tensor ffn_norm;       /* (C) */
    struct tensor w_gate, w_up;   /* (F, C) */
    struct tensor w_down;         /* (C, F) */
};

struct model {
    char arch[32];
    uint32_t n_layers, n_heads, n_kv_heads, head_dim;
    uint32_t n_embd, n_ff, n_vocab;
    uint32_t n_ctx; /* positions the model was trained for, or its sliding window if smaller */
    float rms_eps;
    enum rope_kind rope;
    uint32_t rope_dim;                           /* rotated elements of a head, even, <= head_dim */
    float rope_inv_freq[MODEL_HEAD_DIM_MAX / 2]; /* angle of pair i = position * rope_inv_freq[i] */
    struct tensor embed;                         /* (V, C) */
    struct tensor out_norm;                      /* (C) */
    struct tensor output;                        /* (V, C); the same view as embed when tied */
    struct model_layer *layers;                  /* n_layers of them */
    uint64_t n_params;
};

#endif
