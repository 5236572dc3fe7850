/*
 * tensor_dir.h - what tensors a model's files hold, whatever their format.
 *
 * gguf.c and safetensors.c fill it while they parse, weights.c takes tensors out by name. An entry
 * in a sealed directory is safe to read: type, shape and bytes agree, and the bytes lie inside the
 * file. Belongs to whoever opens the files; any thread, one at a time.
 */
#ifndef SPECD_MODEL_TENSOR_DIR_H
#define SPECD_MODEL_TENSOR_DIR_H

#include "specd/dtype.h"
#include "specd/util.h"

#include <stdbool.h>
#include <stdint.h>

#define TENSOR_DIMS_MAX 4
#define TENSOR_NAME_MAX 255 /* bytes */
#define TENSORS_MAX 65536   /* in all files of a model */

/* Elements of safetensors files that are no weights by themselves (hf_quant.h). */
enum raw_type { RAW_NONE, RAW_F8_E4M3, RAW_F8_E8M0, RAW_U8, RAW_I32, RAW_TYPES };

/* As safetensors files name them. */
static inline const char *raw_name(enum raw_type t)
{
    static const char *const names[RAW_TYPES] = {"", "F8_E4M3", "F8_E8M0", "U8", "I32"};
    return names[t];
}

struct tensor_entry {
    char *name;       /* owned by the directory */
    const char *file; /* path, for messages; outlives the directory */
    enum dtype type;
    enum raw_type raw; /* unless RAW_NONE, type says nothing */
    uint32_t n_dims;
    uint64_t shape[TENSOR_DIMS_MAX]; /* slowest first: a matrix is (rows, cols) */
    const uint8_t *data;
    uint64_t bytes;
    const struct tensor_source *source; /* of rows of that type, beginning at first_row; or NULL */
    uint32_t first_row;
    const float *scale; /* of its numbers: of each slice or of all; or NULL */
    bool used;
};

struct tensor_dir {
    struct tensor_entry *entries; /* sorted by name once sealed */
    size_t n, cap;
};

/* Bytes of a tensor; false if the product overflows or a row is no whole number of blocks. */
bool tensor_bytes(enum dtype type, const uint64_t *shape, uint32_t n_dims, uint64_t *out);
/* The same of blocks of `elements` in `bytes`. */
bool blocks_bytes(size_t elements, size_t bytes, const uint64_t *shape, uint32_t n_dims,
                  uint64_t *out);

/* SPECD_EFILE, and what is wrong with a tensor of that file. */
int tensor_bad(char *err, size_t errlen, const char *file, const char *tensor, const char *fmt, ...)
    PRINTF_LIKE(5, 6);

/* Copies *e and takes e->name. */
void tensor_dir_add(struct tensor_dir *dir, const struct tensor_entry *e);
/* Sorts; SPECD_EFILE if two tensors share a name or bytes. */
int tensor_dir_seal(struct tensor_dir *dir, char *err, size_t errlen);
/* Sealed only. NULL when there is none. */
struct tensor_entry *tensor_dir_find(const struct tensor_dir *dir, const char *name);
void tensor_dir_fini(struct tensor_dir *dir);

#endif
