/*
 * gguf_model.h - a parsed GGUF file as a struct model.
 *
 * Of the architectures in arch.c. What would change the computation but is not supported (yarn,
 * soft caps, experts where the architecture has none, ...) is refused by name. Any thread.
 */
#ifndef SPECD_MODEL_GGUF_MODEL_H
#define SPECD_MODEL_GGUF_MODEL_H

#include "model/gguf.h"
#include "specd/model.h"

/* m is zeroed by the caller, who frees m->layers and *made, numbers that differ from the file's,
 * also on error. Marks tensors in g as used. */
int gguf_model(struct model *m, struct gguf *g, float **made, char *err, size_t errlen);

#endif
