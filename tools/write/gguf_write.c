#include "write/gguf_write.h"

#include "specd/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 32

void gguf_writer_init(struct gguf_writer *w, FILE *file)
{
    *w = (struct gguf_writer){.file = file};
}

void gguf_writer_fini(struct gguf_writer *w)
{
    buf_free(&w->kvs);
    buf_free(&w->infos);
    free(w->ends);
    *w = (struct gguf_writer){0};
}

static void add_u32(struct buf *b, uint32_t v)
{
    buf_add(b, &v, sizeof v);
}

static void add_u64(struct buf *b, uint64_t v)
{
    buf_add(b, &v, sizeof v);
}

static void add_text(struct buf *b, const char *s, size_t len)
{
    add_u64(b, len);
    buf_add(b, s, len);
}

static void add_key(struct gguf_writer *w, const char *key, enum gguf_type type)
{
    add_text(&w->kvs, key, strlen(key));
    add_u32(&w->kvs, (uint32_t)type);
    w->n_kvs++;
}

void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t value)
{
    add_key(w, key, GGUF_U32);
    add_u32(&w->kvs, value);
}

void gguf_put_f32(struct gguf_writer *w, const char *key, float value)
{
    add_key(w, key, GGUF_F32);
    buf_add(&w->kvs, &value, sizeof value);
}

void gguf_put_bool(struct gguf_writer *w, const char *key, bool value)
{
    uint8_t byte = value;
    add_key(w, key, GGUF_BOOL);
    buf_add(&w->kvs, &byte, 1);
}

void gguf_put_string(struct gguf_writer *w, const char *key, const char *value)
{
    add_key(w, key, GGUF_STRING);
    add_text(&w->kvs, value, strlen(value));
}

void gguf_put_array(struct gguf_writer *w, const char *key, enum gguf_type elem, const void *data,
                    size_t n)
{
    add_key(w, key, GGUF_ARRAY);
    add_u32(&w->kvs, (uint32_t)elem);
    add_u64(&w->kvs, n);
    buf_add(&w->kvs, data, n * gguf_type_bytes(elem));
}

void gguf_put_strings(struct gguf_writer *w, const char *key, const struct gguf_text *texts,
                      size_t n)
{
    add_key(w, key, GGUF_ARRAY);
    add_u32(&w->kvs, GGUF_STRING);
    add_u64(&w->kvs, n);
    for (size_t i = 0; i < n; i++)
        add_text(&w->kvs, texts[i].data, texts[i].len);
}

static uint64_t align(uint64_t n)
{
    return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

void gguf_put_tensor(struct gguf_writer *w, const char *name, enum dtype type,
                     const uint64_t *shape, uint32_t n_dims)
{
    static const uint32_t numbers[] = {
#define X(dt, text, block, bytes, gguf) [DT_##dt] = gguf,
        SPECD_GGUF_DTYPES(X)
#undef X
    };
    uint64_t bytes;
    ASSERT(tensor_bytes(type, shape, n_dims, &bytes));
    add_text(&w->infos, name, strlen(name));
    add_u32(&w->infos, n_dims);
    for (uint32_t i = n_dims; i-- > 0;)
        add_u64(&w->infos, shape[i]);
    add_u32(&w->infos, numbers[type]);
    add_u64(&w->infos, w->data_end);
    w->ends = xrealloc(w->ends, (w->n_tensors + 1) * sizeof *w->ends);
    w->ends[w->n_tensors++] = w->data_end + bytes;
    w->data_end = align(w->data_end + bytes);
}

static void emit(struct gguf_writer *w, const void *data, size_t bytes)
{
    if (w->error == 0 && bytes > 0 && fwrite(data, 1, bytes, w->file) != bytes)
        w->error = errno ? errno : EIO;
}

static void emit_zeros(struct gguf_writer *w, size_t bytes)
{
    static const uint8_t zeros[ALIGNMENT];
    emit(w, zeros, bytes);
}

void gguf_write_header(struct gguf_writer *w)
{
    struct buf head = {0};
    buf_add(&head, "GGUF", 4);
    add_u32(&head, 3);
    add_u64(&head, w->n_tensors);
    add_u64(&head, w->n_kvs);
    uint64_t bytes = head.len + w->kvs.len + w->infos.len;
    emit(w, head.data, head.len);
    emit(w, w->kvs.data, w->kvs.len);
    emit(w, w->infos.data, w->infos.len);
    emit_zeros(w, (size_t)(align(bytes) - bytes));
    buf_free(&head);
}

void gguf_write_data(struct gguf_writer *w, const void *data, size_t bytes)
{
    ASSERT(w->at < w->n_tensors && w->written + bytes <= w->ends[w->at]);
    emit(w, data, bytes);
    w->written += bytes;
    if (w->written == w->ends[w->at]) {
        w->at++;
        emit_zeros(w, (size_t)(align(w->written) - w->written));
        w->written = align(w->written);
    }
}

int gguf_write_end(struct gguf_writer *w, const char *path, char *err, size_t errlen)
{
    ASSERT(w->at == w->n_tensors);
    if (w->error == 0 && fflush(w->file) != 0)
        w->error = errno;
    if (w->error)
        return fail(SPECD_EFILE, err, errlen, "%s: can't write it: %s", path, strerror(w->error));
    return 0;
}
