/*
 * gguf.h - parser of GGUF, versions 2 and 3, little endian.
 *
 * A file is a header, key/value metadata, tensor descriptions and tensor data (the format is
 * described in ggml's docs/gguf.md). gguf_parse walks all of it but the tensor data once and checks
 * every count, length, type, product and offset against the file's size, so that what it returns
 * can be read without further checks. Nothing is copied but the names: values and tensors point
 * into the caller's mapping, which must outlive the struct. Any thread; immutable once parsed.
 */
#ifndef SPECD_MODEL_GGUF_H
#define SPECD_MODEL_GGUF_H

#include "model/tensor_dir.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The format's own numbers. */
enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
};

struct gguf_kv {
    char *key;
    enum gguf_type type;
    enum gguf_type elem; /* of an array; never GGUF_ARRAY */
    uint64_t n;          /* elements of an array, bytes of a string, else 1 */
    const uint8_t *data; /* unaligned */
};

struct gguf {
    const char *file; /* borrowed; for messages */
    uint32_t version;
    struct gguf_kv *kvs; /* sorted by key */
    size_t n_kvs;
    struct tensor_dir tensors;
    size_t header_bytes; /* everything before the tensor data, padding included */
};

/* SPECD_EFILE with one line naming file, field and reason; g is then empty. */
int gguf_parse(struct gguf *g, const uint8_t *data, size_t size, const char *file, char *err,
               size_t errlen);
void gguf_fini(struct gguf *g);

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key);
const char *gguf_type_name(enum gguf_type type);
size_t gguf_type_bytes(enum gguf_type type); /* 0 for strings and arrays */

/* Walks an array of strings: set at = kv->data, then call once per element. */
const char *gguf_next_string(const uint8_t **at, size_t *len);

#endif
