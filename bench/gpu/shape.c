#include "shape.h"

#include "specd/model_check.h"
#include "specd/util.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct shape shape_8b = {"Llama-3.1-8B", 32, 4096, 32, 8, 128, 14336, 128256, false};
const struct shape shape_1b = {"Llama-3.2-1B", 16, 2048, 32, 8, 64, 8192, 128256, true};
const struct shape shape_small = {"small", 4, 256, 8, 2, 32, 512, 2048, false};
const struct shape shape_smaller = {"smaller", 2, 128, 4, 2, 32, 256, 2048, true};

const struct shape shape_tiny = {"tiny", 2, 128, 4, 2, 64, 128, 256, false};
const struct shape shape_tinier = {"tinier", 1, 64, 2, 1, 64, 64, 256, true};

#define LOGIT_SCALE 3.0
#define ROPE_BASE 500000.0

/* ---- random numbers -------------------------------------------------------------------------- */

struct run {
    pthread_t thread;
    uint16_t *out;
    size_t first, end;
    uint64_t seed;
    float size;
};

static uint64_t mix(uint64_t x) /* splitmix64 */
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Element i is a function of the seed and i: a sum of four uniform numbers, cut to bf16. */
static void *fill(void *arg)
{
    const struct run *r = arg;
    float scale = r->size / 37837.227f; /* 65536 * sqrt(4 / 12) */
    for (size_t i = r->first; i < r->end; i++) {
        uint64_t u = mix(r->seed + i * 0x9e3779b97f4a7c15u);
        int sum =
            (int)(u & 0xffff) + (int)(u >> 16 & 0xffff) + (int)(u >> 32 & 0xffff) + (int)(u >> 48);
        float x = (float)(sum - 2 * 65535) * scale;
        uint32_t bits;
        memcpy(&bits, &x, sizeof(bits));
        r->out[i] = (uint16_t)(bits >> 16);
    }
    return NULL;
}

#define THREADS_MAX 64

static struct tensor matrix(uint32_t rows, uint32_t cols, double size, uint64_t *seed)
{
    struct run runs[THREADS_MAX];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int n = (int)MIN(MAX(cores, 1), THREADS_MAX);
    size_t all = (size_t)rows * cols, step = all / (size_t)n + 1;
    uint16_t *data = xaligned(64, all * sizeof(*data));
    *seed += 0x632be59bd9b4e019u;
    for (int i = 0; i < n; i++) {
        struct run *r = &runs[i];
        size_t first = MIN((size_t)i * step, all);
        *r = (struct run){.out = data,
                          .first = first,
                          .end = MIN(first + step, all),
                          .seed = *seed,
                          .size = (float)size};
        if (pthread_create(&r->thread, NULL, fill, r) != 0) {
            fprintf(stderr, "bench-gpu: no thread\n");
            exit(1);
        }
    }
    for (int i = 0; i < n; i++)
        pthread_join(runs[i].thread, NULL);
    return (struct tensor){.data = data, .type = DT_BF16, .rows = rows, .cols = cols};
}

static struct tensor ones(uint32_t cols)
{
    float *data = xaligned(64, cols * sizeof(*data));
    for (uint32_t i = 0; i < cols; i++)
        data[i] = 1.0f;
    return (struct tensor){.data = data, .type = DT_F32, .rows = 1, .cols = cols};
}

/* ---- models ---------------------------------------------------------------------------------- */

/* `residual`: the deviation of the residual stream, which what layers add must not drown. */
static struct model_layer layer_make(const struct model *m, const struct shape *s, double residual,
                                     uint64_t *seed)
{
    struct model_layer l = {.n_heads = s->heads, .n_kv_heads = s->kv_heads, .n_ff = s->ff};
    for (int i = 0; i < LAYER_TENSORS; i++) {
        const struct tensor_spec *spec = &layer_tensors[i];
        uint32_t rows = (uint32_t)model_dim(m, &l, spec->rows),
                 cols = (uint32_t)model_dim(m, &l, spec->cols);
        double size = (spec->rows == DIM_C ? residual : 1.0) / sqrt(cols);
        if (PARTS_LLAMA & PART_BIT(spec->part))
            l.tensors[i] =
                spec->kind == TENSOR_MATRIX ? matrix(rows, cols, size, seed) : ones(cols);
    }
    return l;
}

static struct model *model_make(const struct shape *s, uint64_t seed)
{
    double residual = s->tied ? LOGIT_SCALE / sqrt(s->embd) : 1.0;
    struct model *m = xcalloc(1, sizeof(*m));
    *m = (struct model){
        .arch = "llama",
        .n_layers = s->layers,
        .head_dim = s->head_dim,
        .n_embd = s->embd,
        .n_vocab = s->vocab,
        .n_ctx = 131072,
        .rms_eps = 1e-5f,
        .rope = ROPE_HALVES,
        .rope_dim = s->head_dim,
        .ropes[0].magnitude = 1.0f,
        .embed = matrix(s->vocab, s->embd, residual, &seed),
        .out_norm = ones(s->embd),
        .layers = xcalloc(s->layers, sizeof(*m->layers)),
        .n_params = (uint64_t)shape_elements(s, true),
    };
    for (uint32_t i = 0; i < s->head_dim / 2; i++)
        m->ropes[0].inv_freq[i] = (float)pow(ROPE_BASE, -2.0 * i / s->head_dim);
    m->output = s->tied ? m->embed : matrix(s->vocab, s->embd, LOGIT_SCALE / sqrt(s->embd), &seed);
    m->layers[0] = layer_make(m, s, residual, &seed);
    for (uint32_t i = 1; i < s->layers; i++)
        m->layers[i] = m->layers[0];
    return m;
}

static void model_free(struct model *m)
{
    if (m->output.data != m->embed.data)
        free((void *)m->output.data);
    free((void *)m->embed.data);
    free((void *)m->out_norm.data);
    for (int i = 0; i < LAYER_TENSORS; i++)
        free((void *)m->layers[0].tensors[i].data);
    free(m->layers);
    free(m);
}

#define MODELS_MAX 4

static struct kept_model {
    const struct shape *shape;
    struct model *model;
} kept[MODELS_MAX];
static int n_kept;

const struct model *shape_model(const struct shape *s)
{
    for (int i = 0; i < n_kept; i++) {
        if (kept[i].shape == s)
            return kept[i].model;
    }
    ASSERT(n_kept < MODELS_MAX);
    struct model *m = model_make(s, (uint64_t)n_kept + 1);
    kept[n_kept++] = (struct kept_model){s, m};
    return m;
}

void shape_models_free(void)
{
    while (n_kept > 0)
        model_free(kept[--n_kept].model);
}

/* ---- on paper -------------------------------------------------------------------------------- */

double weight_bytes(enum weight_type type)
{
    static const double bytes[] = {
        [WEIGHT_NATIVE] = 2, [WEIGHT_F32] = 4,
        [WEIGHT_BF16] = 2,   [WEIGHT_Q8_0] = 34.0 / 32, /* a scale of two bytes for 32 weights */
        [WEIGHT_FP8] = 1,    [WEIGHT_INT4] = 18.0 / 32,
    };
    return bytes[type];
}

const char *weight_name(enum weight_type type)
{
    static const char *const names[] = {
        [WEIGHT_NATIVE] = "native", [WEIGHT_F32] = "f32", [WEIGHT_BF16] = "bf16",
        [WEIGHT_Q8_0] = "int8",     [WEIGHT_FP8] = "fp8", [WEIGHT_INT4] = "int4",
    };
    return names[type];
}

double shape_elements(const struct shape *s, bool logits)
{
    double q = (double)s->heads * s->head_dim, kv = (double)s->kv_heads * s->head_dim;
    double layer = s->embd * (2 * q + 2 * kv + 3.0 * s->ff);
    return s->layers * layer + (logits ? (double)s->vocab * s->embd : 0);
}

double shape_kv_bytes(const struct shape *s)
{
    return 2.0 * sizeof(uint16_t) * s->layers * s->kv_heads * s->head_dim;
}

double shape_pass_bytes(const struct shape *s, enum weight_type type, int context)
{
    return shape_elements(s, true) * weight_bytes(type) + shape_kv_bytes(s) * context;
}

double shape_prompt_flop(const struct shape *s, int n)
{
    double seen = 0.5 * n * (n + 1.0);
    return 2.0 * shape_elements(s, false) * n + 4.0 * s->layers * s->heads * s->head_dim * seen;
}
