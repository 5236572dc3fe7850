/*
 * gguf_maker.h - small GGUF files in memory and on disk, for tests of the readers.
 *
 * A made file is well formed; tests then break one field of it. Included once per test program.
 */
#ifndef SPECD_TEST_GGUF_MAKER_H
#define SPECD_TEST_GGUF_MAKER_H

#include "write/gguf_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct image {
    uint8_t *data; /* malloc'd to size, so that the sanitizer sees reads beyond it */
    size_t size;
};

/* A model of two layers, 32 wide, with 4 tokens. `arch` is the prefix of its keys. Tests change
 * what they need before image_of. */
struct shape {
    const char *arch;
    uint32_t layers, embd, heads, kv_heads, head_dim, ff, vocab;
    bool biases, qk_norms, tied;
    const uint32_t (*by_layer)[3]; /* heads, kv_heads and ff; NULL: as all */
};
#define SHAPE_LLAMA                                                \
    {                                                              \
        "llama", 2, 32, 2, 1, 16, 64, 4, false, false, false, NULL \
    }

static inline void put_sized(struct gguf_writer *w, const struct shape *s, const char *name,
                             uint32_t value)
{
    char key[80];
    snprintf(key, sizeof key, "%s.%s", s->arch, name);
    gguf_put_u32(w, key, value);
}

/* which: of by_layer. */
static inline void put_by_layer(struct gguf_writer *w, const struct shape *s, const char *name,
                                uint32_t value, int which)
{
    char key[80];
    if (!s->by_layer) {
        put_sized(w, s, name, value);
        return;
    }
    uint32_t *values = xmalloc(s->layers * sizeof *values);
    for (uint32_t i = 0; i < s->layers; i++)
        values[i] = s->by_layer[i][which];
    snprintf(key, sizeof key, "%s.%s", s->arch, name);
    gguf_put_array(w, key, GGUF_U32, values, s->layers);
    free(values);
}

static inline void put_shape(struct gguf_writer *w, const struct shape *s)
{
    char key[80];
    gguf_put_string(w, "general.architecture", s->arch);
    gguf_put_string(w, "general.name", "tiny");
    put_sized(w, s, "block_count", s->layers);
    put_sized(w, s, "context_length", 128);
    put_sized(w, s, "embedding_length", s->embd);
    put_by_layer(w, s, "feed_forward_length", s->ff, 2);
    put_by_layer(w, s, "attention.head_count", s->heads, 0);
    put_by_layer(w, s, "attention.head_count_kv", s->kv_heads, 1);
    put_sized(w, s, "attention.key_length", s->head_dim);
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", s->arch);
    gguf_put_f32(w, key, 1e-5f);
}

static inline void put_vocab(struct gguf_writer *w)
{
    static const struct gguf_text tokens[] = {{"<|im_end|>", 10}, {"a", 1}, {"b", 1}, {"ab", 2}};
    static const struct gguf_text merges[] = {{"a b", 3}};
    static const int32_t types[] = {3, 1, 1, 1};
    gguf_put_string(w, "tokenizer.ggml.model", "gpt2");
    gguf_put_string(w, "tokenizer.ggml.pre", "smollm");
    gguf_put_strings(w, "tokenizer.ggml.tokens", tokens, 4);
    gguf_put_array(w, "tokenizer.ggml.token_type", GGUF_I32, types, 4);
    gguf_put_strings(w, "tokenizer.ggml.merges", merges, 1);
    gguf_put_u32(w, "tokenizer.ggml.eos_token_id", 0);
}

static inline void put_matrix(struct gguf_writer *w, const char *name, uint64_t rows, uint64_t cols)
{
    gguf_put_tensor(w, name, DT_F32, (uint64_t[]){rows, cols}, 2);
}

static inline void put_vector(struct gguf_writer *w, const char *name, uint64_t n)
{
    gguf_put_tensor(w, name, DT_F32, &n, 1);
}

static inline void put_layer(struct gguf_writer *w, const struct shape *s, uint32_t i)
{
    char name[80];
    const uint32_t all[3] = {s->heads, s->kv_heads, s->ff};
    const uint32_t *of = s->by_layer ? s->by_layer[i] : all;
    uint32_t q = of[0] * s->head_dim, kv = of[1] * s->head_dim, ff = of[2];
#define LAYER(suffix) (snprintf(name, sizeof name, "blk.%u." suffix, i), name)
    put_vector(w, LAYER("attn_norm.weight"), s->embd);
    put_matrix(w, LAYER("attn_q.weight"), q, s->embd);
    put_matrix(w, LAYER("attn_k.weight"), kv, s->embd);
    put_matrix(w, LAYER("attn_v.weight"), kv, s->embd);
    put_matrix(w, LAYER("attn_output.weight"), s->embd, q);
    if (s->biases) {
        put_vector(w, LAYER("attn_q.bias"), q);
        put_vector(w, LAYER("attn_k.bias"), kv);
        put_vector(w, LAYER("attn_v.bias"), kv);
    }
    if (s->qk_norms) {
        put_vector(w, LAYER("attn_q_norm.weight"), s->head_dim);
        put_vector(w, LAYER("attn_k_norm.weight"), s->head_dim);
    }
    put_vector(w, LAYER("ffn_norm.weight"), s->embd);
    put_matrix(w, LAYER("ffn_gate.weight"), ff, s->embd);
    put_matrix(w, LAYER("ffn_up.weight"), ff, s->embd);
    put_matrix(w, LAYER("ffn_down.weight"), s->embd, ff);
#undef LAYER
}

static inline void put_weights(struct gguf_writer *w, const struct shape *s)
{
    put_matrix(w, "token_embd.weight", s->vocab, s->embd);
    for (uint32_t i = 0; i < s->layers; i++)
        put_layer(w, s, i);
    put_vector(w, "output_norm.weight", s->embd);
    if (!s->tied)
        put_matrix(w, "output.weight", s->vocab, s->embd);
}

/* Everything put so far as a file; each tensor is filled with its own index. Ends the writer. */
static inline struct image image_of(struct gguf_writer *w)
{
    char *data = NULL;
    size_t size = 0;
    char err[100];
    w->file = open_memstream(&data, &size);
    gguf_write_header(w);
    while (w->at < w->n_tensors) {
        uint8_t byte = (uint8_t)w->at;
        gguf_write_data(w, &byte, 1);
    }
    ASSERT(gguf_write_end(w, "memory", err, sizeof err) == 0);
    fclose(w->file);
    gguf_writer_fini(w);
    struct image image = {xmalloc(size), size};
    memcpy(image.data, data, size);
    free(data);
    return image;
}

/* A whole model, to which a test may add keys or tensors before image_of. */
static inline void begin_model(struct gguf_writer *w, const struct shape *s)
{
    gguf_writer_init(w, NULL);
    put_shape(w, s);
    put_vocab(w);
    put_weights(w, s);
}

static inline struct image make_model(const struct shape *s)
{
    struct gguf_writer w;
    begin_model(&w, s);
    return image_of(&w);
}

static inline struct image copy_image(const struct image *from, size_t size)
{
    struct image copy = {xmalloc(size), size};
    memcpy(copy.data, from->data, size);
    return copy;
}

/* Overwrites n bytes that lie `skip` bytes behind the end of the first occurrence of `text`. */
static inline void poke(struct image *image, const char *text, size_t skip, const void *bytes,
                        size_t n)
{
    uint8_t *at = memmem(image->data, image->size, text, strlen(text));
    ASSERT(at && (size_t)(at - image->data) + strlen(text) + skip + n <= image->size);
    memcpy(at + strlen(text) + skip, bytes, n);
}

#endif
