/*
 * arch.h - what the architectures of model files have in common and where they differ: a table.
 *
 * A row says what a file does not: which parts its layers have, and what a reader takes for
 * granted. All else is read from the file (sizes, RoPE, tokenizer) or is the same for all: RMS
 * norms, causal attention, tokenizers that depend on nothing but their own description. Constant,
 * any thread.
 */
#ifndef SPECD_MODEL_ARCH_H
#define SPECD_MODEL_ARCH_H

#include "specd/model_check.h"

#define ARCH_KINDS_MAX 2
#define ARCH_RENAMES_MAX 8

/* Layers of one kind: bits of the parts that they must have, and may have; whether they attend to
 * the last positions alone (the file says, how many), and whether heads are left as they are. */
struct arch_kind {
    int times; /* so many on end; 0: one */
    uint32_t needs, may;
    bool windowed, no_rope;
};

struct arch {
    /* By naming: general.architecture, which begins the keys of a GGUF file, too; model_type of
     * config.json. NULL: there are no such files. */
    const char *names[TENSOR_NAMINGS];
    /* model_type of a folder whose text_config is such a configuration: a model that sees pictures
     * as well, of which the text is served. NULL: there are none. */
    const char *hf_wrapper;
    /* Layers go through the kinds, over and over; files may say which ones have windows and RoPE.
     */
    int n_kinds;
    struct arch_kind kinds[ARCH_KINDS_MAX];
    /* Tensors that files of this architecture name otherwise than the table. */
    int n_renames;
    struct {
        enum layer_tensor tensor;
        enum tensor_naming naming;
        const char *name;
    } renames[ARCH_RENAMES_MAX];
    enum gate_kind gate;
    bool fine_activations;    /* as in model.h */
    enum rope_kind gguf_rope; /* in folders always halves */
    /* Layers with windows have a table of angles of their own, whose base is this unless the file
     * states another. 0: they have not. */
    double window_rope_base;
    bool experts_normed; /* in GGUF files that do not tell: weights of experts are normed */
    /* Files state factors of the embedding's rows, of what blocks add to the residual stream, of
     * scores, and what logits are divided by. */
    bool scaled;
    bool embd_by_width; /* rows of the embedding are multiplied by sqrt(C) */
    /* In GGUF files, of a model of so many layers, scores are multiplied by 1 / sqrt(C / H): no key
     * tells. 0: of none. */
    uint32_t gguf_wide_heads_layers;
    bool hf_norms_less_one; /* folders keep the weights of norms less 1 */
    /* What config.json means when it leaves out: */
    /* num_attention_heads, num_key_value_heads, vocab_size, max_position_embeddings; 0: it may not,
     * of key/value heads: as many as heads. */
    uint32_t hf_heads, hf_kv_heads, hf_vocab, hf_ctx;
    double hf_rope_base;  /* rope_theta; 0: 10000 */
    uint32_t hf_head_dim; /* head_dim; 0: hidden_size / num_attention_heads */
    bool hf_slides;       /* use_sliding_window */
    uint32_t
        hf_unwindowed;  /* max_window_layers: the first so many have no window; 0: no such key */
    uint32_t hf_window; /* sliding_window; 0: none */
    bool hf_tied;       /* tie_word_embeddings */
    /* query_pre_attn_scalar: scores are multiplied by one by its root. 0: by 1 / sqrt(D). */
    uint32_t hf_query_scalar;
};

/* Defined in arch.c; a test's program may bring rows of its own instead. */
extern const struct arch archs[];
extern const int n_archs;

/* In weights.c. NULL: unknown. arch_names lists those that are known, "llama, qwen2", for messages.
 */
const struct arch *arch_find(enum tensor_naming naming, const char *name);
const char *arch_names(enum tensor_naming naming, char *out, size_t cap);
/* Bits of the parts that any of its layers may have. */
uint32_t arch_parts(const struct arch *a);
/* Of layer i, and after how many layers kinds come again. */
const struct arch_kind *arch_kind_of(const struct arch *a, uint32_t i);
uint32_t arch_period(const struct arch *a);
bool arch_has_windows(const struct arch *a);
/* Without the layer's prefix. NULL: such files have no tensor of this form. */
const char *arch_tensor_name(const struct arch *a, enum tensor_naming naming, int tensor);

#endif
