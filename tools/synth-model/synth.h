/*
 * synth.h - the parts of synth-model: what to make (the spec), its vocabulary, its weights.
 *
 * Weights are a function of (seed, tensor name, element) alone, so two models of one seed agree in
 * every tensor they share. A target with more layers than its draft therefore starts with the
 * draft's layers; the output projections of its further layers (from `keep` on) are scaled by
 * `eps`, which sets how often the two agree: 0 always, 1 hardly ever.
 */
#ifndef SPECD_TOOLS_SYNTH_H
#define SPECD_TOOLS_SYNTH_H

#include "model/arch.h"
#include "write/gguf_write.h"

enum synth_tokenizer { SYNTH_BPE, SYNTH_SPM };

struct synth_spec {
    const char *path;
    const struct arch *arch;
    enum dtype type;      /* of matrices; vectors are f32 */
    enum dtype embd_type; /* of the embedding and the output matrix */
    enum synth_tokenizer tokenizer;
    uint32_t layers, embd, head_dim, vocab, ctx;
    uint32_t heads[MODEL_LAYERS_MAX], kv_heads[MODEL_LAYERS_MAX], ff[MODEL_LAYERS_MAX];
    uint32_t experts, experts_used, expert_ff, shared_ff; /* of an architecture that has experts */
    uint32_t window, period; /* of layers with windows, the last of each `period` without; 0: the
                                architecture's, none without `window` */
    uint32_t keep;
    double eps;
    double logit_scale; /* standard deviation of the logits */
    uint32_t seed;
    bool tied;
    uint32_t eos; /* of a vocabulary of single characters; SYNTH_NO_EOS: none */
    double rope_base;
    double rope_linear; /* 1: not stretched */
    double rope_llama3; /* 1: not stretched; else llama3's factor, as a table of divisors */
};

/* Parts of layer i. */
uint32_t synth_parts(const struct synth_spec *s, uint32_t i);
/* Its sizes, without tensors; the caller frees the layers. */
struct model synth_model(const struct synth_spec *s);

/* Sizes of a vocabulary: single characters only, or at least the special tokens and all bytes. */
#define SYNTH_SMALL_VOCAB 256
#define SYNTH_NO_EOS UINT32_MAX
#define SYNTH_BPE_VOCAB_MIN (3 + 256)
#define SYNTH_SPM_VOCAB_MIN (5 + 256)

/* Metadata of the tokenizer: tokens, merges or scores, special ids, chat template. */
void synth_put_vocab(struct gguf_writer *w, const struct synth_spec *s);

/* Descriptions of all tensors; then, after the header, their data in the same order. */
void synth_put_tensors(struct gguf_writer *w, const struct synth_spec *s);
void synth_write_tensors(struct gguf_writer *w, const struct synth_spec *s);

#endif
