/*
 * gguf_model.h - a parsed GGUF file as a struct model.
 *
 * Architectures llama (Mistral and SmolLM carry this name too), qwen2 and qwen3. What would change
 * the computation but is not supported (mixtures of experts, yarn, soft caps, ...) is refused by
 * name. Any thread.
 */
#ifndef SPECD_MODEL_GGUF_MODEL_H
#define SPECD_MODEL_GGUF_MODEL_H

#include "model/gguf.h"
#include "specd/model.h"

/* m is zeroed by the caller, who frees m->layers also on error. Marks tensors in g as used. */
int gguf_model(struct model *m, struct gguf *g, char *err, size_t errlen);

#endif
