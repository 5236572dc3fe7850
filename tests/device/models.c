#include "models.h"

#include "specd/model_check.h"
#include "specd/util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* splitmix64 */
uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void random_shuffle(int32_t *ids, int32_t n, uint64_t *state)
{
    for (int32_t i = 0; i < n; i++)
        ids[i] = i;
    for (int32_t i = n - 1; i > 0; i--) {
        int32_t j = (int32_t)(random_next(state) % (uint64_t)(i + 1)), t = ids[i];
        ids[i] = ids[j];
        ids[j] = t;
    }
}

static double uniform(uint64_t *state) /* in [-1, 1) */
{
    return (double)(random_next(state) >> 11) * 0x1p-52 - 1.0;
}

/* Cut, not rounded, to f16's bits; |x| < 65504. */
static uint16_t half_of(double x)
{
    int e, sign = (x < 0) << 15;
    double m = frexp(fabs(x), &e); /* m in [.5, 1) */
    if (e < -13)
        return (uint16_t)(sign | (int)(fabs(x) * 0x1p24));
    return (uint16_t)(sign | (e + 14) << 10 | ((int)(m * 2048) & 1023));
}

static uint16_t upper_half(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return (uint16_t)(bits >> 16);
}

static void put_half(uint8_t *at, double x)
{
    uint16_t h = half_of(x);
    memcpy(at, &h, sizeof(h));
}

/* A block of random bits whose scales make its values about `size` wide and centred on zero. */
static void fill_block(uint8_t *block, enum dtype type, double size, uint64_t *state)
{
    for (int i = 0; i < dtype_bytes(type); i++)
        block[i] = (uint8_t)random_next(state);
    double scale = size * (1.0 + 0.5 * uniform(state));
    float f;
    switch (type) {
    case DT_Q4_0:
        put_half(block, scale / 4.6);
        break;
    case DT_Q4_1:
        put_half(block, scale / 4.6);
        put_half(block + 2, -7.5 * scale / 4.6);
        break;
    case DT_Q5_0:
        put_half(block, scale / 9.2);
        break;
    case DT_Q5_1:
        put_half(block, scale / 9.2);
        put_half(block + 2, -15.5 * scale / 9.2);
        break;
    case DT_Q8_0:
        put_half(block, scale / 74);
        break;
    case DT_Q2_K:
        put_half(block + 80, scale / 12.7);
        put_half(block + 82, 1.5 * scale / 12.7);
        break;
    case DT_Q3_K:
        put_half(block + 108, scale / 42);
        break;
    case DT_IQ4_NL:
        put_half(block, scale / 70);
        break;
    case DT_IQ4_XS:
        put_half(block, scale / 1300);
        break;
    case DT_F8:
    case DT_F8_ROW:
        f = (float)((type == DT_F8 ? scale : size) / 130);
        memcpy(block, &f, sizeof(f));
        for (int i = 4; i < 36; i++)
            block[i] &= (block[i] & 0x7f) == 0x7f ? 0x80 : 0xff; /* no NaN */
        break;
    case DT_MXFP4:
        block[0] = (uint8_t)(127 + (int)floor(log2(scale / 2.6)));
        break;
    case DT_NVFP4: /* e4m3, of the size's exponent */
        for (int i = 0; i < 4; i++)
            block[i] = (uint8_t)(MAX(7 + (int)floor(log2(scale / 2.9)), 0) << 3 | (block[i] & 7));
        break;
    case DT_Q4_K:
        put_half(block, scale / 240);
        put_half(block + 2, 7.5 * scale / 240);
        break;
    case DT_Q5_K:
        put_half(block, scale / 480);
        put_half(block + 2, 15.5 * scale / 480);
        break;
    case DT_Q6_K:
        put_half(block + 208, scale / 1370);
        break;
    default:
        break;
    }
}

static void fill(void *data, enum dtype type, size_t n, double size, uint64_t *state)
{
    if (dtype_block(type) > 1) {
        size_t block = (size_t)dtype_block(type), bytes = (size_t)dtype_bytes(type);
        for (size_t i = 0; i < n / block; i++)
            fill_block((uint8_t *)data + i * bytes, type, size, state);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        double x = size * sqrt(3.0) * uniform(state);
        if (type == DT_F32)
            ((float *)data)[i] = (float)x;
        else
            ((uint16_t *)data)[i] = type == DT_BF16 ? upper_half((float)x) : half_of(x);
    }
}

static struct tensor matrix(uint32_t rows, uint32_t cols, enum dtype type, double size,
                            uint64_t *state)
{
    void *data = xaligned(64, dtype_row_bytes(type, cols) * rows);
    fill(data, type, (size_t)rows * cols, size, state);
    return (struct tensor){.data = data, .type = type, .rows = rows, .cols = cols};
}

#define SCALE 0.03 /* of matrices, about */

/* Of a matrix, or of each of its slices: from half of SCALE to twice it. */
static void scale_matrix(struct tensor *t, uint64_t *state)
{
    uint32_t n = MAX(t->slices, 1);
    float *scale = xcalloc(n, sizeof(*scale));
    for (uint32_t i = 0; i < n; i++)
        scale[i] = (float)(SCALE * exp2(uniform(state)));
    t->scale = scale;
}

/* Around `middle`. */
static struct tensor vector(uint32_t cols, float middle, float size, uint64_t *state)
{
    float *data = xaligned(64, cols * sizeof(float));
    for (uint32_t i = 0; i < cols; i++)
        data[i] = middle + size * (float)uniform(state);
    return (struct tensor){.data = data, .type = DT_F32, .rows = 1, .cols = cols};
}

/* What multiplies a matrix's deviation, 1 / sqrt(cols). */
static double gain(int tensor, const struct model_shape *s)
{
    double depth = layer_tensors[tensor].rows == DIM_C ? (s->depth > 0.0f ? s->depth : 1.0) : 1.0;
    return tensor == LAYER_WQ || tensor == LAYER_WK ? 1.5
           : tensor == LAYER_W_DOWN                 ? 2 * depth
           : tensor == LAYER_W_ROUTER               ? 2
                                                    : depth;
}

static struct tensor layer_tensor(const struct model *m, const struct model_layer *l, int tensor,
                                  const struct model_shape *s, uint64_t *state)
{
    const struct tensor_spec *spec = &layer_tensors[tensor];
    uint32_t rows = (uint32_t)model_dim(m, l, spec->rows);
    uint32_t cols = (uint32_t)model_dim(m, l, spec->cols);
    if (spec->kind != TENSOR_MATRIX)
        return spec->kind == TENSOR_NORM ? vector(cols, 1.0f, 0.3f, state)
                                         : vector(cols, 0.0f, 0.5f, state);
    uint32_t slices = (uint32_t)model_dim(m, l, spec->slices);
    enum dtype type = tensor == LAYER_W_ROUTER || tensor == LAYER_W_SHARED ? DT_F32 : s->type;
    double size = gain(tensor, s) / sqrt(cols) / (s->scaled ? SCALE : 1);
    struct tensor t = matrix(MAX(slices, 1) * rows, cols, type, size, state);
    t.rows = rows;
    t.slices = slices;
    if (s->scaled)
        scale_matrix(&t, state);
    return t;
}

/* Part by part. */
static void fill_layer(struct model_layer *l, const struct model *m, const struct model_shape *s,
                       uint32_t layer, uint64_t *state)
{
    bool experts = s->experts >> layer & 1, changed = s->changed == 0 || s->changed >> layer & 1;
    uint32_t parts = changed ? (PARTS_LLAMA | s->more) & ~s->less : PARTS_LLAMA;
    if (experts)
        parts ^= PART_BIT(PART_GATED_FFN) | PART_BIT(PART_EXPERTS);
    if (experts && s->n_ff_shared > 0)
        parts |= PART_BIT(PART_SHARED_EXPERT);
    if (s->biases)
        parts |= PART_BIT(PART_QKV_BIAS);
    if (s->qk_norms)
        parts |= PART_BIT(PART_QK_NORM);
    if (s->post_norms)
        parts |= PART_BIT(PART_POST_NORM);
    for (int part = 0; part < LAYER_PARTS; part++) {
        for (int i = 0; i < LAYER_TENSORS; i++) {
            if ((int)layer_tensors[i].part == part && parts & PART_BIT(part))
                l->tensors[i] = layer_tensor(m, l, i, s, state);
        }
    }
}

static uint32_t by_layer(const uint32_t *sizes, uint32_t layer, uint32_t size)
{
    return layer < SHAPE_LAYERS_MAX && sizes[layer] > 0 ? sizes[layer] : size;
}

struct model *model_random(const struct model_shape *s)
{
    uint64_t state = s->seed * 977 + 1;
    double sharpness = s->sharpness > 0.0f ? s->sharpness : 1.0;
    struct model *m = xcalloc(1, sizeof(*m));
    *m = (struct model){
        .arch = "random",
        .n_layers = s->n_layers,
        .head_dim = s->head_dim,
        .n_embd = s->n_embd,
        .n_vocab = s->n_vocab,
        .n_ctx = 1 << 20,
        .n_experts = s->n_experts,
        .n_experts_used = s->n_experts_used,
        .n_ff_expert = s->n_ff_expert,
        .n_ff_shared = s->n_ff_shared,
        .experts_normed = s->experts_normed,
        .rms_eps = 1e-5f,
        .gate = s->gate,
        .embd_scale = s->embd_scale,
        .attn_scale = s->attn_scale,
        .rope = s->rope,
        .rope_dim = s->rope_dim ? s->rope_dim : s->head_dim,
        .ropes[0].magnitude = s->rope_magnitude != 0.0f ? s->rope_magnitude : 1.0f,
    };
    for (uint32_t i = 0; i < m->rope_dim / 2; i++)
        m->ropes[0].inv_freq[i] = (float)pow(10000.0, -2.0 * i / m->rope_dim);
    if (s->windowed) {
        m->n_ropes = 2;
        m->ropes[1].magnitude = 1.0f;
        for (uint32_t i = 0; i < m->rope_dim / 2; i++)
            m->ropes[1].inv_freq[i] = (float)pow(300.0, -2.0 * i / m->rope_dim);
    }
    double size = s->scaled ? 1 / SCALE : 1;
    m->embed = matrix(s->n_vocab, s->n_embd, s->type, size * (s->untied ? 1 : sharpness), &state);
    if (s->scaled)
        scale_matrix(&m->embed, &state);
    m->out_norm = vector(s->n_embd, (float)(s->untied ? 1.0 : 1.0 / sqrt(s->n_embd)),
                         0.2f / sqrtf((float)s->n_embd), &state);
    m->output = m->embed;
    if (s->untied) {
        size *= sharpness / sqrt(s->n_embd);
        m->output = matrix(s->n_vocab, s->n_embd, s->type, size, &state);
        if (s->scaled)
            scale_matrix(&m->output, &state);
    }
    m->layers = xcalloc(s->n_layers, sizeof(*m->layers));
    for (uint32_t i = 0; i < s->n_layers; i++) {
        m->layers[i].n_heads = by_layer(s->layer_heads, i, s->n_heads);
        m->layers[i].n_kv_heads = by_layer(s->layer_kv_heads, i, s->n_kv_heads);
        m->layers[i].n_ff = by_layer(s->layer_ff, i, s->n_ff);
        fill_layer(&m->layers[i], m, s, i, &state);
        m->layers[i].no_rope = s->no_rope >> i & 1;
        m->layers[i].rope = s->windowed >> i & 1;
        m->layers[i].window = s->windowed >> i & 1 ? s->window : 0;
    }
    return m;
}

static void tensor_release(struct tensor *t)
{
    free((void *)t->data);
    free((float *)(uintptr_t)t->scale);
}

void model_random_free(struct model *m)
{
    if (m->output.data != m->embed.data)
        tensor_release(&m->output);
    tensor_release(&m->embed);
    tensor_release(&m->out_norm);
    for (uint32_t i = 0; i < m->n_layers; i++) {
        for (int j = 0; j < LAYER_TENSORS; j++)
            tensor_release(&m->layers[i].tensors[j]);
    }
    free(m->layers);
    free(m);
}

/* ---- a pair ---------------------------------------------------------------------------------- */

const struct model_shape pair_shape = {.n_layers = PAIR_LAYERS,
                                       .n_heads = 6,
                                       .n_kv_heads = 2,
                                       .head_dim = 16,
                                       .n_embd = 64,
                                       .n_ff = 96,
                                       .layer_heads = {0, 8, 4},
                                       .layer_kv_heads = {0, 1, 4},
                                       .layer_ff = {0, 32, 160},
                                       .n_vocab = PAIR_VOCAB,
                                       .untied = true,
                                       .type = DT_F32,
                                       .sharpness = 3.0f,
                                       .depth = 2.0f,
                                       .window = 6,
                                       .windowed = 2,
                                       .seed = 21};

struct model_pair *pair_new(void)
{
    struct model_pair *p = xcalloc(1, sizeof(*p));
    struct model_shape shape = pair_shape;
    uint64_t seed = 4;
    p->target = model_random(&shape);
    shape.n_layers--;
    p->draft = model_random(&shape);
    p->draft->n_vocab -= 3;
    p->draft->embed.rows = p->draft->output.rows = p->draft->n_vocab;
    for (int i = 0; i < PAIR_PROMPTS; i++) {
        for (int j = 0; j < PAIR_PROMPT_LEN; j++)
            p->prompts[i][j] = (int32_t)(random_next(&seed) % PAIR_VOCAB);
    }
    return p;
}

void pair_free(struct model_pair *p)
{
    model_random_free(p->target);
    model_random_free(p->draft);
    free(p);
}

int pair_setup(void **state)
{
    *state = pair_new();
    return 0;
}

int pair_teardown(void **state)
{
    pair_free(*state);
    return 0;
}
