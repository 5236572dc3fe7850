/*
 * Random weights, written as a stream: memory is one row, whatever the size of the model.
 *
 * Matrices have rows of unit expected norm, so that activations keep their scale through layers;
 * norm vectors lie around 1, biases are of half a unit.
 */
#include "synth.h"

#include "write/quantize.h"
#include "model/rope.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct item {
    char name[64];
    enum dtype type;
    uint32_t slices;   /* of experts; 0: of none */
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

static void matrix(each_item *each, void *arg, const char *name, enum dtype type, uint32_t slices,
                   uint32_t rows, uint32_t cols, double scale)
{
    struct item item = {
        .type = type, .slices = slices, .shape = {rows, cols}, .deviation = scale / sqrt(cols)};
    snprintf(item.name, sizeof item.name, "%s", name);
    each(arg, &item);
}

/* Deviation of the residual stream: a tied output reads logits off it with the embedding itself. */
static double residual_scale(const struct synth_spec *s)
{
    return s->tied ? s->logit_scale / sqrt(s->embd) : 1;
}

/* What decides is kept in floats. */
static bool is_router(const struct tensor_spec *spec)
{
    return spec == &layer_tensors[LAYER_W_ROUTER] || spec == &layer_tensors[LAYER_W_SHARED];
}

/* Norms lie around 1, biases around 0. What writes to the residual stream is scaled with it. */
static void tensor_item(const struct synth_spec *s, const struct model *m,
                        const struct model_layer *l, const struct tensor_spec *spec,
                        const char *name, double scale, each_item *each, void *arg)
{
    uint32_t rows = (uint32_t)model_dim(m, l, spec->rows);
    uint32_t cols = (uint32_t)model_dim(m, l, spec->cols);
    enum dtype type = spec->part == LAYER_PARTS ? s->embd_type : s->type;
    if (is_router(spec))
        type = DT_F32;
    if (spec->kind == TENSOR_MATRIX)
        matrix(each, arg, name, type, (uint32_t)model_dim(m, l, spec->slices), rows, cols, scale);
    else
        vector(each, arg, name, cols, spec->kind == TENSOR_NORM ? 1 : 0,
               spec->kind == TENSOR_NORM ? 0.1 : 0.5);
}

/* A layer may have experts: then it has. */
uint32_t synth_parts(const struct synth_spec *s, uint32_t i)
{
    const struct arch_kind *kind = arch_kind_of(s->arch, i);
    return kind->needs | (kind->may & (PART_BIT(PART_EXPERTS) | PART_BIT(PART_SHARED_EXPERT)));
}

static void layer_items(const struct synth_spec *s, const struct model *m, uint32_t i,
                        each_item *each, void *arg)
{
    double out = residual_scale(s) * (i >= s->keep ? s->eps : 1);
    for (int t = 0; t < LAYER_TENSORS; t++) {
        const struct tensor_spec *spec = &layer_tensors[t];
        if (!(synth_parts(s, i) & PART_BIT(spec->part)))
            continue;
        const char *name = arch_tensor_name(s->arch, NAMES_GGUF, t);
        tensor_item(s, m, &m->layers[i], spec, tensor_name_of(NAMES_GGUF, name, (int)i).text,
                    spec->rows == DIM_C ? out : 1, each, arg);
    }
}

static void all_items(const struct synth_spec *s, each_item *each, void *arg)
{
    struct model m = synth_model(s);
    const double scales[MODEL_TENSORS] = {
        [MODEL_EMBED] = residual_scale(s) * sqrt(s->embd), [MODEL_OUTPUT] = s->logit_scale};
    for (int t = 0; t < MODEL_TENSORS; t++) {
        if (t != MODEL_OUTPUT || !s->tied)
            tensor_item(s, &m, NULL, &model_tensors[t], model_tensors[t].names[NAMES_GGUF],
                        scales[t], each, arg);
    }
    for (uint32_t i = 0; i < s->layers; i++)
        layer_items(s, &m, i, each, arg);
    free(m.layers);
}

static void describe(void *arg, const struct item *item)
{
    const uint64_t shape[] = {item->slices, item->shape[0], item->shape[1]};
    uint32_t missing = item->slices > 0 ? 0 : item->shape[0] > 1 ? 1 : 2;
    gguf_put_tensor(arg, item->name, item->type, shape + missing, 3 - missing);
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
    for (uint64_t r = 0; r < item->shape[0] * MAX(item->slices, 1); r++) {
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
    struct rope_angles plain, stretched;
    struct rope_llama3 r = {s->rope_llama3, 1, 4, s->ctx / s->rope_llama3};
    rope_fill(&plain, s->head_dim, s->rope_base, 1, NULL);
    rope_fill_llama3(&stretched, s->head_dim, s->rope_base, &r);
    for (uint32_t i = 0; i < s->head_dim / 2; i++) {
        float factor = plain.inv_freq[i] / stretched.inv_freq[i];
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
