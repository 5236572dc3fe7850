/*
 * gguf_split.h - a model that lies in several GGUF files, as ggml's gguf-split writes them.
 *
 * The files are named PREFIX-00001-of-0000N.gguf. Each says which it is (split.no, from 0) of how
 * many (split.count). The first has all metadata and says how many tensors there are in all
 * (split.tensors.count); the others have tensors. Offsets and alignment are a file's own. Any
 * thread.
 */
#ifndef SPECD_MODEL_GGUF_SPLIT_H
#define SPECD_MODEL_GGUF_SPLIT_H

#include "model/gguf.h"

#define GGUF_SPLITS_MAX 1024

/* In how many files the model lies whose first or only one is g. SPECD_EFILE where g is another
 * one of them (the message names the first), or its name doesn't lead to the others. */
int gguf_split_count(const struct gguf *g, size_t *n, char *err, size_t errlen);

/* The path of file `no`, from 0, of those whose first lies at `first`: the caller frees it. */
char *gguf_split_path(const char *first, size_t no, size_t n);

/* Moves the tensors of `part`, file `no` of n, to g. */
int gguf_split_take(struct gguf *g, struct gguf *part, size_t no, size_t n, char *err,
                    size_t errlen);

/* Once all are taken: the tensors of all files are one directory, and none is missing. */
int gguf_split_seal(struct gguf *g, char *err, size_t errlen);

/* The length of a name without "-00001-of-0000N" at its end. */
size_t gguf_split_prefix(const char *name, size_t len);

#endif
