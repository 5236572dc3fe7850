#include "device/shape.h"

#include "write/quantize.h"
#include "specd/model_check.h"
#include "specd/util.h"

#include <math.h>
#include <stdlib.h>

enum { LAYERS = 30, HEADS = 9, KV_HEADS = 3, HEAD = 64, EMBD = 576, FF = 1536, VOCAB = 49152 };

/* Types with blocks of 256 need wider rows: the nearest width. */
static uint32_t fit(enum dtype type, uint32_t cols)
{
    uint32_t block = (uint32_t)dtype_block(type);
    return (cols + block / 2) / block * block;
}

static float random_float(uint64_t *state) /* in [-1, 1) */
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)(*state >> 40) * 0x1p-23f - 1.0f;
}

static struct tensor matrix(enum dtype type, uint32_t rows, uint32_t cols, float size)
{
    uint64_t state = (uint64_t)rows * cols;
    size_t row_bytes = dtype_row_bytes(type, cols);
    char *data = xaligned(64, row_bytes * rows);
    float *values = xmalloc(cols * sizeof(*values));
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t c = 0; c < cols; c++)
            values[c] = size * random_float(&state);
        quantize(type, values, cols, data + r * row_bytes);
    }
    free(values);
    return (struct tensor){.data = data, .type = type, .rows = rows, .cols = cols};
}

static struct tensor ones(uint32_t cols)
{
    float *data = xmalloc(cols * sizeof(*data));
    for (uint32_t i = 0; i < cols; i++)
        data[i] = 1.0f;
    return (struct tensor){.data = data, .type = DT_F32, .rows = 1, .cols = cols};
}

/* All layers share the host's copy of their weights; the device makes one for each. */
struct model *shape_new(enum dtype type)
{
    uint32_t C = fit(type, EMBD), F = fit(type, FF), heads = C / HEAD;
    uint32_t kv_heads = heads % KV_HEADS == 0 ? KV_HEADS : 2;
    float in = 1.0f / sqrtf((float)C);
    struct model *m = xcalloc(1, sizeof(*m));
    *m = (struct model){
        .arch = "random",
        .n_layers = LAYERS,
        .head_dim = HEAD,
        .n_embd = C,
        .n_vocab = VOCAB,
        .n_ctx = 2048,
        .rms_eps = 1e-5f,
        .rope = ROPE_PAIRS,
        .rope_dim = HEAD,
        .ropes[0].magnitude = 1.0f,
        .embed = matrix(type, VOCAB, C, 0.2f),
        .out_norm = ones(C),
        .layers = xcalloc(LAYERS, sizeof(*m->layers)),
    };
    for (int i = 0; i < HEAD / 2; i++)
        m->ropes[0].inv_freq[i] = powf(10000.0f, -2.0f * (float)i / HEAD);
    m->output = m->embed;
    struct model_layer layer = {.n_heads = heads, .n_kv_heads = kv_heads, .n_ff = F};
    for (int i = 0; i < LAYER_TENSORS; i++) {
        const struct tensor_spec *spec = &layer_tensors[i];
        uint32_t rows = (uint32_t)model_dim(m, &layer, spec->rows),
                 cols = (uint32_t)model_dim(m, &layer, spec->cols);
        if (PARTS_LLAMA & PART_BIT(spec->part))
            layer.tensors[i] =
                spec->kind == TENSOR_MATRIX ? matrix(type, rows, cols, in) : ones(cols);
    }
    for (int i = 0; i < LAYERS; i++)
        m->layers[i] = layer;
    return m;
}

void shape_free(struct model *m)
{
    for (int i = 0; i < LAYER_TENSORS; i++)
        free((void *)m->layers[0].tensors[i].data);
    free((void *)m->embed.data);
    free((void *)m->out_norm.data);
    free(m->layers);
    free(m);
}
