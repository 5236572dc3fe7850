/*
 * arch.h - what the architectures of model files have in common and where they differ: a table.
 *
 * A row says what a file does not: which parts its layers have, and what a reader takes for
 * granted. All else is read from the file (sizes, RoPE, tokenizer) or is the same for all: RMS
 * norms whose weights are stored as they are, causal attention with scores by 1 / sqrt(D), rows of
 * the embedding as they are, tokenizers that depend on nothing but their own description. Constant,
 * any thread.
 */
#ifndef SPECD_MODEL_ARCH_H
#define SPECD_MODEL_ARCH_H

#include "specd/model_check.h"

#define ARCH_KINDS_MAX 4
#define ARCH_RENAMES_MAX 8

struct arch {
    /* By naming: general.architecture, which begins the keys of a GGUF file, too; model_type of
     * config.json. NULL: there are no such files. */
    const char *names[TENSOR_NAMINGS];
    /* Bits of parts that a layer must have, and that it may have. Layer i is of kind i % n_kinds.
     */
    int n_kinds;
    struct {
        uint32_t needs, may;
    } kinds[ARCH_KINDS_MAX];
    /* Tensors that files of this architecture name otherwise than the table. */
    int n_renames;
    struct {
        enum layer_tensor tensor;
        enum tensor_naming naming;
        const char *name;
    } renames[ARCH_RENAMES_MAX];
    enum gate_kind gate;
    enum rope_kind gguf_rope; /* in folders always halves */
    /* What config.json means when it leaves out: */
    uint32_t hf_head_dim; /* head_dim; 0: hidden_size / num_attention_heads */
    bool hf_slides;       /* use_sliding_window */
    uint32_t hf_window;   /* sliding_window; 0: none */
    bool hf_tied;         /* tie_word_embeddings */
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
/* Without the layer's prefix. NULL: such files have no tensor of this form. */
const char *arch_tensor_name(const struct arch *a, enum tensor_naming naming, int tensor);

#endif
