/*
 * gguf_write.h - writes GGUF version 3 files as a stream: tools and tests make models with it.
 *
 * First every gguf_put_*, then gguf_write_header, then the data of every tensor in the order of
 * their gguf_put_tensor, in pieces of any size, then gguf_write_end. A write error sticks and is
 * reported by gguf_write_end. Belongs to one thread.
 */
#ifndef SPECD_WRITE_GGUF_WRITE_H
#define SPECD_WRITE_GGUF_WRITE_H

#include "model/gguf.h"
#include "specd/util.h"

#include <stdio.h>

struct gguf_writer {
    FILE *file; /* the caller's */
    struct buf kvs, infos;
    uint64_t n_kvs, n_tensors;
    uint64_t data_end; /* where the next tensor will lie, from the start of the data */
    uint64_t written;  /* bytes of data so far, padding included */
    uint64_t *ends;    /* (n_tensors) unpadded ends of tensors */
    uint64_t at;       /* tensor being written */
    int error;         /* errno of the first failed write */
};

/* A run of bytes for string arrays. */
struct gguf_text {
    const char *data;
    size_t len;
};

void gguf_writer_init(struct gguf_writer *w, FILE *file);
void gguf_writer_fini(struct gguf_writer *w);

void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t value);
void gguf_put_f32(struct gguf_writer *w, const char *key, float value);
void gguf_put_bool(struct gguf_writer *w, const char *key, bool value);
void gguf_put_string(struct gguf_writer *w, const char *key, const char *value);
/* elem is a scalar type; data holds n of them. */
void gguf_put_array(struct gguf_writer *w, const char *key, enum gguf_type elem, const void *data,
                    size_t n);
void gguf_put_strings(struct gguf_writer *w, const char *key, const struct gguf_text *texts,
                      size_t n);
/* shape: slowest first, as struct tensor_entry has it. */
void gguf_put_tensor(struct gguf_writer *w, const char *name, enum dtype type,
                     const uint64_t *shape, uint32_t n_dims);

void gguf_write_header(struct gguf_writer *w);
void gguf_write_data(struct gguf_writer *w, const void *data, size_t bytes);
/* SPECD_EFILE if anything could not be written. Does not close the file. */
int gguf_write_end(struct gguf_writer *w, const char *path, char *err, size_t errlen);

#endif
