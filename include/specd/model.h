/*
 * model.h - a transformer as the device sees it: sizes, and views of the tensors in host memory.
 *
 * Filled by engine/model/ from a GGUF file or a Hugging Face folder, read by device.model_load.
 * Immutable once filled; the views point into a read-only mapping that lives as long as the model.
 *
 * Shape letters used everywhere: T rows in a pass, V vocabulary, L layers, H query heads,
 * G key/value heads, D head size, C hidden size, F feed-forward size.
 *
 * The lists below name every tensor once. Members of the structs here and on the CPU, what a file
 * must have, shape checks (base/model_check.c), placement on the devices and the random models of
 * tests and benches are made of them. A tensor belongs to one part of a layer, and a layer has all
 * tensors of a part or none, so a model whose layers differ is one whose layers have different
 * parts. Which parts an architecture has is a row of engine/model/arch.c, which ones a device
 * computes is its struct model_blocks; a model with another part is refused when it is planned.
 *
 * Beyond two dimensions: a tensor of experts is `slices` matrices (rows, cols), expert by expert,
 * in one piece as GGUF has it or each by itself. Sizes that may differ by layer are the layer's,
 * and model_dim asks it.
 */
#ifndef SPECD_MODEL_H
#define SPECD_MODEL_H

#include "specd/dtype.h"

#include <stdbool.h>
#include <stdint.h>

#define MODEL_LAYERS_MAX 256
#define MODEL_HEAD_DIM_MAX 256

/* Makes rows first .. first + n of a matrix that its file keeps in another form, in blocks of the
 * tensor's type, one after another. Any thread. */
struct tensor_source {
    void (*make)(const struct tensor_source *s, uint32_t first, uint32_t n, void *rows);
};

/* Row-major (rows, cols): a matrix maps cols inputs to rows outputs. Vectors have rows == 1.
 * data == NULL means the model has no such tensor. */
struct tensor {
    const void *data; /* read by tensor_rows: where there is a source, it is in another form */
    enum dtype type;
    uint32_t rows, cols;
    uint32_t slices;            /* of experts: matrices, one after another; 0: a matrix or vector */
    const struct tensor *apart; /* (slices): matrices that lie apart, else NULL */
    const struct tensor_source *source; /* NULL: data are the rows */
    uint32_t first_row;                 /* of this tensor among those of its source */
    /* What its numbers are times, of each slice or of all; NULL: 1. Products are multiplied by it,
     * before a bias. */
    const float *scale;
};

/* Of a matrix. */
static inline float tensor_scale(const struct tensor *t)
{
    return t->scale ? *t->scale : 1.0f;
}

/* The matrix of one expert. */
static inline struct tensor tensor_slice(const struct tensor *t, uint32_t expert)
{
    struct tensor one = *t;
    if (t->apart)
        return t->apart[expert];
    one.slices = 0;
    one.first_row += expert * t->rows;
    if (t->scale)
        one.scale += expert;
    one.data = (const char *)t->data + (size_t)expert * t->rows * dtype_row_bytes(t->type, t->cols);
    return one;
}

/* Rows first .. first + n: where they lie, or made in room, which has space for them. */
static inline const void *tensor_rows(const struct tensor *t, uint32_t first, uint32_t n,
                                      void *room)
{
    if (!t->source)
        return (const char *)t->data + first * dtype_row_bytes(t->type, t->cols);
    t->source->make(t->source, t->first_row + first, n, room);
    return room;
}

/* What a layer is made of. The tensors say which parts it has: there is no other mark. */
enum layer_part {
    PART_PRE_NORM,  /* RMS norms ahead of attention and feed-forward */
    PART_ATTENTION, /* causal; over which positions, says the layer */
    PART_GATED_FFN, /* down(gate(x) * up(x)) */
    PART_QKV_BIAS,
    PART_O_BIAS, /* of attention's output projection */
    PART_FFN_BIAS,
    PART_QK_NORM,      /* RMS norm of each head of q and k before RoPE */
    PART_QK_NORM_WIDE, /* RMS norm of q and of k, all heads in one, before RoPE */
    PART_POST_NORM,    /* RMS norms of what attention and feed-forward add to the residual stream */
    /* In place of the gated feed-forward: of many, the sum of those that a router picks for the row
     * (Shazeer et al. 2017, arXiv 1701.06538). A layer has one or the other. */
    PART_EXPERTS,
    /* Beside them: one that all rows go through, times the logistic function of a gate of one
     * number a row. */
    PART_SHARED_EXPERT,
    LAYER_PARTS
};
#define PART_BIT(part) (1u << (part))
/* Touvron et al. 2023, arXiv 2302.13971: what all families so far start from. */
#define PARTS_LLAMA (PART_BIT(PART_PRE_NORM) | PART_BIT(PART_ATTENTION) | PART_BIT(PART_GATED_FFN))

/* X(ID, field, part, slices, rows, cols, GGUF name, Hugging Face name), dimensions as in enum
 * model_dim. Files put "blk.3." or "model.layers.3." before the name. Folders keep each expert by
 * itself, its number in place of the star, or in forms that weights.c cuts. */
/* clang-format off */
#define SPECD_LAYER_MATRICES(X)                                                                    \
    X(WQ, wq, ATTENTION, NONE, HD, C, "attn_q.weight", "self_attn.q_proj.weight")                  \
    X(WK, wk, ATTENTION, NONE, GD, C, "attn_k.weight", "self_attn.k_proj.weight")                  \
    X(WV, wv, ATTENTION, NONE, GD, C, "attn_v.weight", "self_attn.v_proj.weight")                  \
    X(WO, wo, ATTENTION, NONE, C, HD, "attn_output.weight", "self_attn.o_proj.weight")             \
    X(W_GATE, w_gate, GATED_FFN, NONE, F, C, "ffn_gate.weight", "mlp.gate_proj.weight")            \
    X(W_UP, w_up, GATED_FFN, NONE, F, C, "ffn_up.weight", "mlp.up_proj.weight")                    \
    X(W_DOWN, w_down, GATED_FFN, NONE, C, F, "ffn_down.weight", "mlp.down_proj.weight")            \
    X(W_ROUTER, w_router, EXPERTS, NONE, E, C, "ffn_gate_inp.weight", "mlp.gate.weight")           \
    X(W_GATE_EXPERTS, w_gate_experts, EXPERTS, E, FE, C, "ffn_gate_exps.weight",                   \
      "mlp.experts.*.gate_proj.weight")                                                            \
    X(W_UP_EXPERTS, w_up_experts, EXPERTS, E, FE, C, "ffn_up_exps.weight",                         \
      "mlp.experts.*.up_proj.weight")                                                              \
    X(W_DOWN_EXPERTS, w_down_experts, EXPERTS, E, C, FE, "ffn_down_exps.weight",                   \
      "mlp.experts.*.down_proj.weight")                                                            \
    X(W_SHARED, w_shared, SHARED_EXPERT, NONE, ONE, C, "ffn_gate_inp_shexp.weight",                \
      "mlp.shared_expert_gate.weight")                                                             \
    X(W_GATE_SHARED, w_gate_shared, SHARED_EXPERT, NONE, FS, C, "ffn_gate_shexp.weight",           \
      "mlp.shared_expert.gate_proj.weight")                                                        \
    X(W_UP_SHARED, w_up_shared, SHARED_EXPERT, NONE, FS, C, "ffn_up_shexp.weight",                 \
      "mlp.shared_expert.up_proj.weight")                                                          \
    X(W_DOWN_SHARED, w_down_shared, SHARED_EXPERT, NONE, C, FS, "ffn_down_shexp.weight",           \
      "mlp.shared_expert.down_proj.weight")
#define SPECD_LAYER_NORMS(X)                                                                       \
    X(ATTN_NORM, attn_norm, PRE_NORM, NONE, ONE, C, "attn_norm.weight", "input_layernorm.weight")  \
    X(FFN_NORM, ffn_norm, PRE_NORM, NONE, ONE, C, "ffn_norm.weight",                               \
      "post_attention_layernorm.weight")                                                           \
    X(Q_NORM, q_norm, QK_NORM, NONE, ONE, D, "attn_q_norm.weight", "self_attn.q_norm.weight")      \
    X(K_NORM, k_norm, QK_NORM, NONE, ONE, D, "attn_k_norm.weight", "self_attn.k_norm.weight")      \
    X(Q_NORM_WIDE, q_norm_wide, QK_NORM_WIDE, NONE, ONE, HD, "attn_q_norm.weight",                 \
      "self_attn.q_norm.weight")                                                                   \
    X(K_NORM_WIDE, k_norm_wide, QK_NORM_WIDE, NONE, ONE, GD, "attn_k_norm.weight",                 \
      "self_attn.k_norm.weight")                                                                   \
    X(ATTN_POST_NORM, attn_post_norm, POST_NORM, NONE, ONE, C, "post_attention_norm.weight",       \
      "post_attention_layernorm.weight")                                                           \
    X(FFN_POST_NORM, ffn_post_norm, POST_NORM, NONE, ONE, C, "post_ffw_norm.weight",               \
      "post_feedforward_layernorm.weight")
#define SPECD_LAYER_BIASES(X)                                                                      \
    X(BQ, bq, QKV_BIAS, NONE, ONE, HD, "attn_q.bias", "self_attn.q_proj.bias")                     \
    X(BK, bk, QKV_BIAS, NONE, ONE, GD, "attn_k.bias", "self_attn.k_proj.bias")                     \
    X(BV, bv, QKV_BIAS, NONE, ONE, GD, "attn_v.bias", "self_attn.v_proj.bias")                     \
    X(BO, bo, O_BIAS, NONE, ONE, C, "attn_output.bias", "self_attn.o_proj.bias")                   \
    X(B_GATE, b_gate, FFN_BIAS, NONE, ONE, F, "ffn_gate.bias", "mlp.gate_proj.bias")               \
    X(B_UP, b_up, FFN_BIAS, NONE, ONE, F, "ffn_up.bias", "mlp.up_proj.bias")                       \
    X(B_DOWN, b_down, FFN_BIAS, NONE, ONE, C, "ffn_down.bias", "mlp.down_proj.bias")
#define SPECD_LAYER_VECTORS(X) SPECD_LAYER_NORMS(X) SPECD_LAYER_BIASES(X)

/* What belongs to no layer: X(ID, field, rows, cols, GGUF name, Hugging Face name). */
#define SPECD_MODEL_TENSORS(X)                                                                     \
    X(EMBED, embed, V, C, "token_embd.weight", "model.embed_tokens.weight")                        \
    X(OUT_NORM, out_norm, ONE, C, "output_norm.weight", "model.norm.weight")                       \
    X(OUTPUT, output, V, C, "output.weight", "lm_head.weight") /* the view of embed when tied */

#define MODEL_TENSOR_ID(id, ...) MODEL_##id,
#define LAYER_TENSOR_ID(id, ...) LAYER_##id,
#define TENSOR_FIELD(id, field, ...) struct tensor field;
enum model_tensor { SPECD_MODEL_TENSORS(MODEL_TENSOR_ID) MODEL_TENSORS };
enum layer_tensor {
    SPECD_LAYER_MATRICES(LAYER_TENSOR_ID)
    LAYER_MATRICES, /* their number; vectors follow */
    LAYER_MATRIX_LAST = LAYER_MATRICES - 1,
    SPECD_LAYER_VECTORS(LAYER_TENSOR_ID)
    LAYER_TENSORS,
    LAYER_VECTORS = LAYER_TENSORS - LAYER_MATRICES
};

/* Each by its name, or by its number. */
struct model_layer {
    union {
        struct { SPECD_LAYER_MATRICES(TENSOR_FIELD) SPECD_LAYER_VECTORS(TENSOR_FIELD) };
        struct tensor tensors[LAYER_TENSORS];
    };
    uint32_t n_heads, n_kv_heads; /* H, G */
    uint32_t n_ff;                /* F, of the feed-forward for all rows */
    bool no_rope; /* heads are left as they are (Kazemnejad et al. 2023, arXiv 2305.19466) */
    uint8_t rope; /* which of the model's tables they rotate by */
    /* Positions that a row attends to, its own and those just before (Beltagy et al. 2020, arXiv
     * 2004.05150); 0: all up to its own. */
    uint32_t window;
};
/* clang-format on */

/* Which elements of a head rotate together: GGUF's llama files store q and k permuted for pairs. */
enum rope_kind {
    ROPE_PAIRS, /* (2i, 2i+1) */
    ROPE_HALVES /* (i, i + rope_dim/2), Hugging Face's order */
};

/* What a feed-forward's gate goes through. */
enum gate_kind { GATE_SILU, GATE_GELU_TANH, GATE_KINDS };

/* The angles of a rotary embedding. */
struct rope_angles {
    float inv_freq[MODEL_HEAD_DIM_MAX / 2]; /* angle of pair i = position * inv_freq[i] */
    float magnitude;                        /* of its cosine and sine; 1 but for YaRN */
};
#define MODEL_ROPES 2 /* layers with and without a window may differ */

struct model {
    const char *arch; /* as its file says */
    const char *file; /* for messages; NULL: made in memory. Both outlive the model */
    uint32_t n_layers, head_dim, n_embd, n_vocab;
    uint32_t n_experts, n_ff_expert; /* 0: none */
    uint32_t n_experts_used;         /* of a row: those with the largest logits of the router, ties
                                        to the lower id */
    uint32_t n_ff_shared;            /* of the expert that all rows go through; 0: none */
    bool experts_normed; /* weights are the softmax over the chosen logits; else over all of them */
    uint32_t n_ctx; /* positions the model was trained for, or the window of a family whose layers
                       have none here, if that is smaller */
    float rms_eps;
    enum gate_kind gate;
    bool fine_activations; /* rounding rows to 8 bits changes its laws too much: where they stand
                              out, devices that round give them more */
    float embd_scale;      /* of the embedding's rows; 0: as they are */
    float attn_scale;      /* of scores; 0: 1 / sqrt(D) */
    enum rope_kind rope;
    uint32_t rope_dim; /* rotated elements of a head, even, <= head_dim */
    uint32_t n_ropes;  /* 0: the first table alone */
    struct rope_angles ropes[MODEL_ROPES];
    /* longrope (Ding et al. 2024, arXiv 2402.13753): what the first table becomes where texts of
     * more than so many positions are served (model_set_context); 0: stays. */
    uint32_t long_after;
    struct rope_angles long_rope;
    union {
        struct {
            SPECD_MODEL_TENSORS(TENSOR_FIELD)
        };
        struct tensor tensors[MODEL_TENSORS];
    };
    struct model_layer *layers; /* n_layers of them */
    uint64_t n_params;
};

#undef MODEL_TENSOR_ID
#undef LAYER_TENSOR_ID
#undef TENSOR_FIELD

#endif
