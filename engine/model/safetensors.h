/*
 * safetensors.h - the weights of a Hugging Face folder.
 *
 * A safetensors file is a u64 length, that many bytes of JSON (name -> dtype, shape, data_offsets)
 * and the data, without holes or overlaps. A folder has model.safetensors, or several such files
 * and model.safetensors.index.json, which says in which of them each tensor lies. Any thread.
 */
#ifndef SPECD_MODEL_SAFETENSORS_H
#define SPECD_MODEL_SAFETENSORS_H

#include "model/tensor_dir.h"

#include <stddef.h>

#define SAFETENSORS_HEADER_MAX ((size_t)32 << 20)
#define SHARDS_MAX 1024

/* Adds the file's tensors to dir (which is not sealed) and sets *header_bytes. The bytes at data
 * are 8-byte aligned and outlive dir. SPECD_EFILE. */
int safetensors_parse(struct tensor_dir *dir, const uint8_t *data, size_t size, const char *file,
                      size_t *header_bytes, char *err, size_t errlen);

/* The safetensors files of a folder: plain names, sorted, each once. */
struct shards {
    char **names;
    size_t n;
};
int shards_find(struct shards *s, const char *folder, char *err, size_t errlen);
void shards_fini(struct shards *s);

#endif
