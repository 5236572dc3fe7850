/*
 * gguf_meta.h - typed look-ups in a parsed GGUF's metadata, with one error for a run of them.
 *
 * Set file, err and errlen, then ask for one key after another: the first that is missing, of the
 * wrong type or out of range writes the message and sets rc; later calls return their fallback.
 */
#ifndef SPECD_MODEL_GGUF_META_H
#define SPECD_MODEL_GGUF_META_H

#include "model/field.h"
#include "model/gguf.h"

struct gguf_meta {
    const struct gguf *g;
    const char *prefix; /* put before keys that start with '.': "llama" + ".block_count" */
    char *err;
    size_t errlen;
    int rc;
};

/* NULL when absent; an error then, if it is REQUIRED. */
const struct gguf_kv *meta_find(struct gguf_meta *m, const char *key, enum need need);
/* Any integer type of the file will do, also an array whose elements are all equal (some writers
 * give one value per layer). lo and hi are inclusive. */
uint32_t meta_u32(struct gguf_meta *m, const char *key, enum need need, uint32_t fallback,
                  uint32_t lo, uint32_t hi);
/* A number from 1 to hi for each of n layers: one integer for all, or an array of so many. Where
 * the key is absent, values stay. what: layers with 0 are without. */
void meta_layers(struct gguf_meta *m, const char *key, enum need need, uint32_t *values, uint32_t n,
                 uint32_t hi, const char *what);
/* The id of a token. -1, of any width, is none, as is, with a warning, an id beyond the vocabulary:
 * files are seen with both. */
int32_t meta_id(struct gguf_meta *m, const char *key, int32_t fallback, uint32_t n_tokens);
/* Finite. */
double meta_f64(struct gguf_meta *m, const char *key, enum need need, double fallback);
bool meta_bool(struct gguf_meta *m, const char *key, bool fallback);
/* A copy the caller frees; NULL when absent. Zero bytes inside are an error. */
char *meta_string(struct gguf_meta *m, const char *key, enum need need);
/* An array of this element type, or NULL. */
const struct gguf_kv *meta_array(struct gguf_meta *m, const char *key, enum need need,
                                 enum gguf_type elem);
/* Records an error about key, unless there is one already. */
void meta_bad(struct gguf_meta *m, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
