/*
 * Random weights, written as a stream: memory is one row, whatever the size of the model.
 *
 * Matrices have rows of unit expected norm, so that activations keep their scale through layers;
 * norm vectors lie around 1, biases are of half a unit.
 */
#include "synth.h"

#include "model/quantize.h"
#include "model/rope.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct item {
    char name[64];
    enum dtype type;
    uint64_t shape[2]; /* rows, cols; vectors have one row and one dimension */
    double mean, deviation;
};

typedef void each_item(void *arg, const struct item *item);

static void vector(each_item *each, void *arg, const char *name, uint32_t n, double mean,
                   double deviation)
{
    struct item item = {.type = DT_F32, .shape = {1, n}, .mean = mean, .deviation = deviation};
    snprintf(item.name, sizeof item.name, "%s", name);
    each(arg, &item);
}

static void matrix(each_item *each, void *arg, const char *name, enum dtype type, uint32_t rows,
                   uint32_t cols, double scale)
{
    struct item item = {.type = type, .shape = {rows, cols}, .deviation = scale / sqrt(cols)};
    snprintf(item.name, sizeof item.name, "%s", name);
    each(arg, &item);
}

/* Deviation of the residual stream: a tied output reads logits off it with the embedding itself. */
static double residual_scale(const struct synth_spec *s)
{
    return s->tied ? s->logit_scale / sqrt(s->embd) : 1;
}

static void layer_items(const struct synth_spec *s, uint32_t i, each_item *each, void *arg)
{
    char name[64];
    uint32_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    double out = residual_scale(s) * (i >= s->keep ? s->eps : 1);
    bool biases = strcmp(s->arch, "qwen2") == 0, norms = strcmp(s->arch, "qwen3") == 0;
#define NAME(suffix) (snprintf(name, sizeof name, "blk.%u." suffix, i), name)
    vector(each, arg, NAME("attn_norm.weight"), s->embd, 1, 0.1);
    matrix(each, arg, NAME("attn_q.weight"), s->type, q, s->embd, 1);
    matrix(each, arg, NAME("attn_k.weight"), s->type, kv, s->embd, 1);
    matrix(each, arg, NAME("attn_v.weight"), s->type, kv, s->embd, 1);
    if (biases) {
        vector(each, arg, NAME("attn_q.bias"), q, 0, 0.5);
        vector(each, arg, NAME("attn_k.bias"), kv, 0, 0.5);
        vector(each, arg, NAME("attn_v.bias"), kv, 0, 0.5);
    }
    if (norms) {
        vector(each, arg, NAME("attn_q_norm.weight"), s->head_dim, 1, 0.1);
        vector(each, arg, NAME("attn_k_norm.weight"), s->head_dim, 1, 0.1);
    }
    matrix(each, arg, NAME("attn_output.weight"), s->type, s->embd, q, out);
    vector(each, arg, NAME("ffn_norm.weight"), s->embd, 1, 0.1);
    matrix(each, arg, NAME("ffn_gate.weight"), s->type, s->ff, s->embd, 1);
    matrix(each, arg, NAME("ffn_up.weight"), s->type, s->ff, s->embd, 1);
    matrix(each, arg, NAME("ffn_down.weight"), s->type, s->embd, s->ff, out);
#undef NAME
}

static void all_items(const struct synth_spec *s, each_item *each, void *arg)
{
    matrix(each, arg, "token_embd.weight", s->embd_type, s->vocab, s->embd,
           residual_scale(s) * sqrt(s->embd));
    for (uint32_t i = 0; i < s->layers; i++)
        layer_items(s, i, each, arg);
    vector(each, arg, "output_norm.weight", s->embd, 1, 0.1);
    if (!s->tied)
        matrix(each, arg, "output.weight", s->embd_type, s->vocab, s->embd, s->logit_scale);
}

static void describe(void *arg, const struct item *item)
{
    bool is_vector = item->shape[0] == 1;
    gguf_put_tensor(arg, item->name, item->type, item->shape + is_vector, is_vector ? 1 : 2);
}

static const char rope_name[] = "rope_freqs.weight";

void synth_put_tensors(struct gguf_writer *w, const struct synth_spec *s)
{
    all_items(s, describe, w);
    if (s->rope_llama3 != 1)
        gguf_put_tensor(w, rope_name, DT_F32, (uint64_t[]){s->head_dim / 2}, 1);
}

static uint64_t mix(uint64_t x) /* SplitMix64's finaliser */
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t stream_of(const char *name, uint32_t seed)
{
    uint64_t h = mix((uint64_t)seed + 1);
    for (; *name; name++)
        h = mix(h ^ (uint8_t)*name);
    return h;
}

/* Element i of a stream: mean 0, deviation 1, a sum of four uniform numbers. Integers until the
 * last step, so every machine makes the same file. */
static float sample(uint64_t stream, uint64_t i)
{
    uint64_t u = mix(stream + i * UINT64_C(0x9e3779b97f4a7c15));
    int64_t sum = (int64_t)((u & 0xffff) + (u >> 16 & 0xffff) + (u >> 32 & 0xffff) + (u >> 48));
    return (float)(sum - 2 * 65535) * (float)(1 / 37837.227); /* 65536 * sqrt(4 / 12) */
}

struct writing {
    struct gguf_writer *w;
    uint32_t seed;
};

static void write_item(void *arg, const struct item *item)
{
    const struct writing *to = arg;
    uint64_t cols = item->shape[1], stream = stream_of(item->name, to->seed);
    float mean = (float)item->mean, deviation = (float)item->deviation;
    size_t bytes = dtype_row_bytes(item->type, cols);
    float *row = xmalloc(cols * sizeof *row);
    uint8_t *packed = xmalloc(bytes);
    for (uint64_t r = 0; r < item->shape[0]; r++) {
        for (uint64_t i = 0; i < cols; i++)
            row[i] = mean + deviation * sample(stream, r * cols + i);
        quantize(item->type, row, cols, packed);
        gguf_write_data(to->w, packed, bytes);
    }
    free(row);
    free(packed);
}

/* Llama 3.1's stretch of the rope, as the table of divisors its GGUF files carry. */
static void write_rope_factors(struct gguf_writer *w, const struct synth_spec *s)
{
    struct model plain = {.rope_dim = s->head_dim}, stretched = plain;
    struct rope_llama3 r = {s->rope_llama3, 1, 4, s->ctx / s->rope_llama3};
    rope_fill(&plain, s->rope_base, 1, NULL);
    rope_fill_llama3(&stretched, s->rope_base, &r);
    for (uint32_t i = 0; i < s->head_dim / 2; i++) {
        float factor = plain.rope_inv_freq[i] / stretched.rope_inv_freq[i];
        gguf_write_data(w, &factor, sizeof factor);
    }
}

void synth_write_tensors(struct gguf_writer *w, const struct synth_spec *s)
{
    struct writing to = {w, s->seed};
    all_items(s, write_item, &to);
    if (s->rope_llama3 != 1)
        write_rope_factors(w, s);
}
