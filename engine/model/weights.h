/*
 * weights.h - sizes and tensors of a model, checked together, whatever file they come from.
 *
 * gguf_model.c and hf_config.c read the sizes; weights_bind takes every tensor the architecture
 * needs out of the directory by its name in that format, with exactly the shape the sizes ask for,
 * and refuses tensors it would leave unused: they would mean a computation specd does not do. The
 * architecture is llama's (Touvron et al. 2023, arXiv 2302.13971), with qwen2's biases and qwen3's
 * per-head norms. Any thread.
 */
#ifndef SPECD_MODEL_WEIGHTS_H
#define SPECD_MODEL_WEIGHTS_H

#include "model/tensor_dir.h"
#include "specd/model.h"

enum weight_naming { NAMES_GGUF, NAMES_HF };

/* What a file may state at most. */
#define SIZE_CTX_MAX (1u << 24)
#define SIZE_EMBD_MAX (1u << 16)
#define SIZE_FF_MAX (1u << 20)
#define SIZE_HEADS_MAX 1024u

/* The sizes are in range and agree with each other. `file` is for the message. */
int weights_check_sizes(const struct model *m, const char *file, char *err, size_t errlen);

/* Fills embed, out_norm, output, layers and n_params. tied: output is embed, and an output tensor
 * in the file is ignored. n_vocab is checked when set, taken from the embedding when 0. */
int weights_bind(struct model *m, struct tensor_dir *dir, enum weight_naming naming, bool tied,
                 const char *file, char *err, size_t errlen);

#endif
