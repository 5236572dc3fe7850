#include "net.h"

#include "layer.h"
#include "specd/model_check.h"
#include "specd/quant.h"
#include "specd/util.h"
#include "upload.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define WIDTH_STEP 8 /* elements that the kernels of layer.h and attention.h move at once */
#define STACK_MAX 3

/* What one array on the device is made of, in this order: tensors stacked by rows, gate and up
 * paired, vectors one after another. */
struct stack {
    int n;
    bool paired;
    const struct tensor *tensors[STACK_MAX];
    const struct tensor_spec *specs[STACK_MAX];
};

static const struct model_blocks gpu_blocks = {
    .device = "the CUDA device",
    .needs = PART_BIT(PART_ATTENTION),
    .may = PART_BIT(PART_GATED_FFN) | PART_BIT(PART_EXPERTS) | PART_BIT(PART_SHARED_EXPERT) |
           PART_BIT(PART_PRE_NORM) | PART_BIT(PART_QKV_BIAS) | PART_BIT(PART_O_BIAS) |
           PART_BIT(PART_FFN_BIAS) | PART_BIT(PART_QK_NORM) | PART_BIT(PART_QK_NORM_WIDE) |
           PART_BIT(PART_POST_NORM),
    .gates = 1u << GATE_SILU | 1u << GATE_GELU_TANH,
};

/* ---- a layer's arrays ------------------------------------------------------------------------ */

static const struct {
    size_t place; /* of the struct gpu_matrix */
    bool paired;
    int n;
    enum layer_tensor ids[STACK_MAX];
} matrices[] = {
    {offsetof(struct gpu_layer, qkv), false, 3, {LAYER_WQ, LAYER_WK, LAYER_WV}},
    {offsetof(struct gpu_layer, wo), false, 1, {LAYER_WO}},
    {offsetof(struct gpu_layer, gate_up), true, 2, {LAYER_W_GATE, LAYER_W_UP}},
    {offsetof(struct gpu_layer, down), false, 1, {LAYER_W_DOWN}},
    {offsetof(struct gpu_layer, gate_up_experts),
     true,
     2,
     {LAYER_W_GATE_EXPERTS, LAYER_W_UP_EXPERTS}},
    {offsetof(struct gpu_layer, down_experts), false, 1, {LAYER_W_DOWN_EXPERTS}},
    {offsetof(struct gpu_layer, gate_up_shared), true, 2, {LAYER_W_GATE_SHARED, LAYER_W_UP_SHARED}},
    {offsetof(struct gpu_layer, down_shared), false, 1, {LAYER_W_DOWN_SHARED}},
};

static const struct {
    size_t place; /* of the float * */
    int n;
    enum layer_tensor ids[STACK_MAX];
} vectors[] = {
    {offsetof(struct gpu_layer, attn_norm), 1, {LAYER_ATTN_NORM}},
    {offsetof(struct gpu_layer, ffn_norm), 1, {LAYER_FFN_NORM}},
    {offsetof(struct gpu_layer, qkv_bias), 3, {LAYER_BQ, LAYER_BK, LAYER_BV}},
    {offsetof(struct gpu_layer, o_bias), 1, {LAYER_BO}},
    {offsetof(struct gpu_layer, gate_up_bias), 2, {LAYER_B_GATE, LAYER_B_UP}},
    {offsetof(struct gpu_layer, down_bias), 1, {LAYER_B_DOWN}},
    {offsetof(struct gpu_layer, q_norm), 1, {LAYER_Q_NORM}},
    {offsetof(struct gpu_layer, k_norm), 1, {LAYER_K_NORM}},
    {offsetof(struct gpu_layer, qk_norm_wide), 2, {LAYER_Q_NORM_WIDE, LAYER_K_NORM_WIDE}},
    {offsetof(struct gpu_layer, attn_post_norm), 1, {LAYER_ATTN_POST_NORM}},
    {offsetof(struct gpu_layer, ffn_post_norm), 1, {LAYER_FFN_POST_NORM}},
};

static struct gpu_matrix *matrix_place(struct gpu_layer *l, size_t i)
{
    return (struct gpu_matrix *)((char *)l + matrices[i].place);
}

static float **vector_place(struct gpu_layer *l, size_t i)
{
    return (float **)((char *)l + vectors[i].place);
}

static struct stack stack_of_model(const struct model *m, enum model_tensor id)
{
    return (struct stack){.n = 1, .tensors = {&m->tensors[id]}, .specs = {&model_tensors[id]}};
}

static void stack_add(struct stack *p, const struct model_layer *l, enum layer_tensor id)
{
    p->tensors[p->n] = &l->tensors[id];
    p->specs[p->n++] = &layer_tensors[id];
}

static struct stack stack_of_matrix(size_t i, const struct model_layer *l)
{
    struct stack p = {.paired = matrices[i].paired};

    for (int j = 0; j < matrices[i].n; j++)
        stack_add(&p, l, matrices[i].ids[j]);
    return p;
}

static struct stack stack_of_vector(size_t i, const struct model_layer *l)
{
    struct stack p = {0};

    for (int j = 0; j < vectors[i].n; j++)
        stack_add(&p, l, vectors[i].ids[j]);
    return p;
}

/* Elements of vectors that stand one after another; 0: the layer has none of them. */
static size_t stack_length(const struct stack *p)
{
    size_t length = 0;

    for (int i = 0; i < p->n && p->tensors[i]->data; i++)
        length += p->tensors[i]->cols;
    return length;
}

/* ---- types and plans ------------------------------------------------------------------------- */

static enum product_type native_type(const struct stack *p)
{
    enum product_type type = product_type_of(p->tensors[0]->type);

    for (int i = 0; i < p->n; i++) {
        const struct tensor *t = p->tensors[i];
        for (uint32_t j = 0; j < (t->apart ? t->slices : 1); j++) {
            if (product_type_of(t->apart ? t->apart[j].type : t->type) != type)
                return PRODUCT_BF16;
        }
    }
    return type;
}

static bool has_scale(const struct stack *p)
{
    bool has = false;

    for (int i = 0; i < p->n; i++) {
        const struct tensor *t = p->tensors[i];
        for (uint32_t j = 0; j < (t->apart ? t->slices : 1); j++)
            has = has || (t->apart ? t->apart[j].scale : t->scale);
    }
    return has;
}

/* in_layer: not the embedding or the output. */
static int type_choose(enum product_type *out, enum weight_type want, const struct stack *p,
                       bool in_layer, char *err, size_t errlen)
{
    switch (want) {
    case WEIGHT_NATIVE:
        *out = native_type(p);
        return 0;
    case WEIGHT_BF16:
        *out = PRODUCT_BF16;
        return 0;
    case WEIGHT_Q8_0:
        *out = PRODUCT_INT8;
        return 0;
    case WEIGHT_FP8:
        *out = in_layer ? PRODUCT_FP8 : PRODUCT_BF16;
        return 0;
    case WEIGHT_INT4:
        *out = in_layer ? PRODUCT_INT4 : PRODUCT_BF16;
        return 0;
    case WEIGHT_F32:
        break;
    }
    return fail(SPECD_EINVAL, err, errlen,
                "the CUDA device has no kernel for weights kept as f32 (it keeps native, bf16, "
                "q8_0, fp8, int4)");
}

static const char *type_name(enum product_type type)
{
    static const char *const names[PRODUCT_TYPES] = {
        [PRODUCT_BF16] = "bf16",   [PRODUCT_FP8] = "fp8",       [PRODUCT_INT8] = "q8_0",
        [PRODUCT_INT4] = "int4",   [PRODUCT_INT4_MIN] = "q4_1", [PRODUCT_INT4_K] = "q4_K",
        [PRODUCT_IQ4] = "iq4",     [PRODUCT_FP4] = "mxfp4",     [PRODUCT_FP8_32] = "f8",
        [PRODUCT_INT2_K] = "q2_K", [PRODUCT_NVFP4] = "nvfp4",
    };

    return names[type];
}

static int matrix_plan(struct product_plan *out, const struct stack *p, int layer,
                       enum weight_type want, char *err, size_t errlen)
{
    enum product_type type = PRODUCT_BF16;
    size_t n = p->tensors[0]->rows, k = p->tensors[0]->cols;
    int rc = type_choose(&type, want, p, layer >= 0, err, errlen);

    if (rc != 0)
        return rc;
    for (int i = 1; i < p->n && !p->paired; i++)
        n += p->tensors[i]->rows;
    if (product_plan_of(out, type, p->paired, (int64_t)n, (int64_t)k) == 0)
        return 0;
    char names[80];
    int length = 0;
    for (int i = 0; i < p->n; i++)
        length += snprintf(names + length, sizeof(names) - (size_t)length, "%s%s",
                           i > 0 ? ", " : "", p->specs[i]->names[NAMES_FIELD]);
    return fail(SPECD_EINVAL, err, errlen,
                "%s: a %zu x %zu matrix cannot be kept as %s: sides are at most 2^21, and rows "
                "whole blocks of the type",
                tensor_name_of(NAMES_FIELD, names, layer).text, n, k, type_name(type));
}

/* ---- layout ---------------------------------------------------------------------------------- */

static int matrix_layout(struct gpu_matrix *w, const struct stack *p, int layer,
                         enum weight_type want, struct gpu_arena *a, char *err, size_t errlen)
{
    int rc = matrix_plan(&w->plan, p, layer, want, err, errlen);

    if (rc == 0 && has_scale(p))
        product_plan_scale(&w->plan);
    if (rc == 0)
        w->data = gpu_take(a, MAX(p->tensors[0]->slices, 1), w->plan.bytes);
    return rc;
}

static float *vector_layout(const struct stack *p, struct gpu_arena *a)
{
    size_t length = stack_length(p);

    return length > 0 ? gpu_take(a, length, sizeof(float)) : NULL;
}

static int layer_layout(struct gpu_layer *l, const struct model_layer *from, int layer,
                        enum weight_type want, struct gpu_arena *a, char *err, size_t errlen)
{
    for (size_t i = 0; i < COUNT_OF(matrices); i++) {
        struct stack p = stack_of_matrix(i, from);
        if (!p.tensors[0]->data)
            continue;
        int rc = matrix_layout(matrix_place(l, i), &p, layer, want, a, err, errlen);
        if (rc != 0)
            return rc;
    }
    for (size_t i = 0; i < COUNT_OF(vectors); i++) {
        struct stack p = stack_of_vector(i, from);
        *vector_place(l, i) = vector_layout(&p, a);
    }
    if (from->w_router.data)
        l->router = gpu_take(a, from->w_router.rows + (size_t)(from->w_shared.data != NULL),
                             from->w_router.cols * sizeof(float));
    return 0;
}

/* What belongs to no layer. */
static int ends_layout(struct gpu_net *net, const struct model *m, enum weight_type want,
                       struct gpu_arena *a, char *err, size_t errlen)
{
    struct stack embed = stack_of_model(m, MODEL_EMBED), output = stack_of_model(m, MODEL_OUTPUT);
    struct stack out_norm = stack_of_model(m, MODEL_OUT_NORM);
    int rc = matrix_layout(&net->embed, &embed, -1, want, a, err, errlen);

    net->output = net->embed;
    if (rc == 0 && !model_is_tied(m))
        rc = matrix_layout(&net->output, &output, -1, want, a, err, errlen);
    net->out_norm = vector_layout(&out_norm, a);
    for (int i = 0; i < net->n_ropes; i++)
        net->rotations[i] = gpu_take(a, (size_t)net->n_ctx * m->rope_dim, sizeof(float));
    return rc;
}

int gpu_net_layout(struct gpu_net *net, const struct model *m, enum weight_type want, int32_t n_ctx,
                   struct gpu_arena *a, char *err, size_t errlen)
{
    int rc;

    *net = (struct gpu_net){
        .n_layers = (int)m->n_layers,
        .head_dim = (int)m->head_dim,
        .n_embd = (int)m->n_embd,
        .n_vocab = (int)m->n_vocab,
        .rms_eps = m->rms_eps,
        .rope = m->rope,
        .rope_dim = (int)m->rope_dim,
        .embd_scale = m->embd_scale > 0 ? m->embd_scale : 1.0f,
        .attn_scale = m->attn_scale > 0 ? m->attn_scale : 1.0f / sqrtf((float)m->head_dim),
        .gate = m->gate == GATE_GELU_TANH ? PRODUCT_GELU_MUL : PRODUCT_SILU_MUL,
        .n_experts = (int)m->n_experts,
        .n_experts_used = (int)m->n_experts_used,
        .n_ff_expert = (int)m->n_ff_expert,
        .n_ff_shared = (int)m->n_ff_shared,
        .experts_normed = m->experts_normed,
        .n_ctx = n_ctx,
        .n_ropes = (int)MAX(m->n_ropes, 1),
        .layers = xcalloc(m->n_layers, sizeof(struct gpu_layer)),
    };
    rc = ends_layout(net, m, want, a, err, errlen);
    for (int i = 0; rc == 0 && i < net->n_layers; i++) {
        rc = layer_layout(&net->layers[i], &m->layers[i], i, want, a, err, errlen);
        net->layers[i].n_heads = (int)m->layers[i].n_heads;
        net->layers[i].n_kv_heads = (int)m->layers[i].n_kv_heads;
        net->layers[i].rope_dim = m->layers[i].no_rope ? 0 : net->rope_dim;
        net->layers[i].rope = m->layers[i].rope;
        net->layers[i].window = (int32_t)MIN(m->layers[i].window, SIZE_CTX_MAX);
        net->has_post_norms = net->has_post_norms || m->layers[i].attn_post_norm.data;
    }
    if (rc == 0 && a->overflow)
        rc = fail(SPECD_EINVAL, err, errlen, "the weights exceed the address space");
    if (rc == 0 && a->failed)
        rc = fail(SPECD_ENOMEM, err, errlen, "not enough device memory for the weights");
    if (rc != 0)
        gpu_net_free(net);
    return rc;
}

/* ---- the check ------------------------------------------------------------------------------- */

static int widths_check(const struct model *m, char *err, size_t errlen)
{
    const struct {
        const char *name;
        uint32_t n;
    } widths[] = {{"the embedding", m->n_embd},
                  {"the experts' feed-forward width", m->n_ff_expert},
                  {"the shared expert's feed-forward width", m->n_ff_shared},
                  {"the head size", m->head_dim}};

    for (size_t i = 0; i < COUNT_OF(widths); i++) {
        if (widths[i].n % WIDTH_STEP != 0)
            return fail(SPECD_EINVAL, err, errlen,
                        "%s is %u: the CUDA device takes multiples of %d", widths[i].name,
                        widths[i].n, WIDTH_STEP);
    }
    for (uint32_t i = 0; i < m->n_layers; i++) {
        if (m->layers[i].n_ff % WIDTH_STEP != 0)
            return fail(SPECD_EINVAL, err, errlen,
                        "layer %u: the feed-forward width is %u: the CUDA device takes multiples "
                        "of %d",
                        i, m->layers[i].n_ff, WIDTH_STEP);
    }
    return 0;
}

int gpu_net_check(const struct model *m, enum weight_type want, char *err, size_t errlen)
{
    struct gpu_arena counting = {0};
    struct gpu_net net = {0};
    int rc = model_check(m, &gpu_blocks, err, errlen);

    if (rc == 0)
        rc = widths_check(m, err, errlen);
    if (rc == 0)
        rc = gpu_net_layout(&net, m, want, 1, &counting, err, errlen);
    gpu_net_free(&net);
    return rc;
}

/* ---- loading --------------------------------------------------------------------------------- */

/* What the host's threads read while they make an array. */
struct source {
    const struct product_plan *plan; /* of a matrix */
    struct stack stack;
    struct tensor slices[STACK_MAX]; /* of an expert: what the stack has */
    const struct rope_angles *rope;  /* of a table of rotations */
    int32_t rope_dim;
};

struct load {
    struct upload_item *items;
    struct source *sources; /* of the items of the same number */
    size_t n;
};

/* Tiles first..first+n of a matrix: the rows of every part that lie in them. */
static void tiles_make(const void *what, size_t first, size_t n, void *out)
{
    const struct source *s = what;
    const struct stack *p = &s->stack;
    struct product_plan piece = product_plan_tiles(s->plan, (int32_t)first, (int32_t)n);
    size_t tile = p->paired ? PRODUCT_CHANNELS / 2 : PRODUCT_CHANNELS;
    size_t start = first * tile, end = start + (size_t)piece.n, at = 0;

    product_pack_start(&piece, out);
    for (int i = 0; i < p->n; i++) {
        const struct tensor *t = p->tensors[i];
        size_t row_bytes = dtype_row_bytes(t->type, t->cols);
        size_t from = MAX(at, start), to = MIN(at + t->rows, end);
        if (from < to) {
            char *room = t->source ? xmalloc((to - from) * row_bytes) : NULL;
            product_pack(&piece, out, p->paired && i == 1 ? PRODUCT_UP : PRODUCT_GATE,
                         tensor_rows(t, (uint32_t)(from - at), (uint32_t)(to - from), room),
                         t->type, row_bytes, tensor_scale(t), (int32_t)(from - start),
                         (int32_t)(to - from));
            free(room);
        }
        at += p->paired ? 0 : t->rows;
    }
}

/* Of matrices of floats, one after another. */
static void rows_make(const void *what, size_t first, size_t n, void *out)
{
    const struct stack *p = &((const struct source *)what)->stack;
    size_t at = 0;
    float *to = out;

    for (int i = 0; i < p->n && p->tensors[i]->data; i++) {
        const struct tensor *t = p->tensors[i];
        void *room = t->source ? xmalloc(dtype_row_bytes(t->type, t->cols)) : NULL;
        for (size_t row = MAX(at, first); row < MIN(at + t->rows, first + n); row++) {
            quant_decode(t->type, tensor_rows(t, (uint32_t)(row - at), 1, room), t->cols, to);
            for (uint32_t c = 0; c < t->cols; c++, to++)
                *to *= tensor_scale(t);
        }
        free(room);
        at += t->rows;
    }
}

/* Vectors one after another. */
static void vector_make(const void *what, size_t first, size_t n, void *out)
{
    const struct stack *p = &((const struct source *)what)->stack;
    float *at = out;

    ASSERT(first == 0 && n == 1);
    for (int i = 0; i < p->n; i++) {
        quant_decode(p->tensors[i]->type, p->tensors[i]->data, p->tensors[i]->cols, at);
        at += p->tensors[i]->cols;
    }
}

static void rotation_make(const void *what, size_t first, size_t n, void *out)
{
    const struct source *s = what;

    rope_table(out, s->rope->inv_freq, s->rope->magnitude, s->rope_dim, (int32_t)first, (int32_t)n);
}

/* at: where the matrix is among w's. */
static struct source *load_packed(struct load *l, const struct gpu_matrix *w, size_t at,
                                  struct stack stack)
{
    const struct product_plan *p = &w->plan;
    char *to = (char *)w->data + at * p->bytes;

    l->sources[l->n] = (struct source){.plan = p, .stack = stack};
    l->items[l->n] = (struct upload_item){
        .to = {to, to + p->scales_at},
        .step = {product_tile_bytes(p), (p->bytes - p->scales_at) / (size_t)p->tiles},
        .count = (size_t)p->tiles,
        .make = tiles_make,
        .what = &l->sources[l->n],
    };
    return &l->sources[l->n++];
}

static void load_matrix(struct load *l, const struct gpu_matrix *w, struct stack stack)
{
    if (!stack.tensors[0]->data)
        return;
    if (stack.tensors[0]->slices == 0)
        load_packed(l, w, 0, stack);
    for (uint32_t e = 0; e < stack.tensors[0]->slices; e++) {
        struct source *s = load_packed(l, w, e, stack);
        for (int i = 0; i < stack.n; i++) {
            s->slices[i] = tensor_slice(stack.tensors[i], e);
            s->stack.tensors[i] = &s->slices[i];
        }
    }
}

static void load_vector(struct load *l, float *to, struct stack stack)
{
    if (!to)
        return;
    l->sources[l->n] = (struct source){.stack = stack};
    l->items[l->n] = (struct upload_item){
        .to = {to},
        .step = {stack_length(&stack) * sizeof(float)},
        .count = 1,
        .make = vector_make,
        .what = &l->sources[l->n],
    };
    l->n++;
}

/* The router's, and the gate's of a shared expert. */
static void load_router(struct load *l, float *to, const struct model_layer *from)
{
    const struct tensor *router = &from->w_router;
    struct stack stack = {0};

    if (!to)
        return;
    stack_add(&stack, from, LAYER_W_ROUTER);
    stack_add(&stack, from, LAYER_W_SHARED);
    l->sources[l->n] = (struct source){.stack = stack};
    l->items[l->n] = (struct upload_item){
        .to = {to},
        .step = {router->cols * sizeof(float)},
        .count = router->rows + (from->w_shared.data != NULL),
        .make = rows_make,
        .what = &l->sources[l->n],
    };
    l->n++;
}

static void load_layer(struct load *l, struct gpu_layer *to, const struct model_layer *from)
{
    for (size_t i = 0; i < COUNT_OF(matrices); i++)
        load_matrix(l, matrix_place(to, i), stack_of_matrix(i, from));
    for (size_t i = 0; i < COUNT_OF(vectors); i++)
        load_vector(l, *vector_place(to, i), stack_of_vector(i, from));
    load_router(l, to->router, from);
}

static void load_ends(struct load *l, const struct gpu_net *net, const struct model *m)
{
    load_matrix(l, &net->embed, stack_of_model(m, MODEL_EMBED));
    if (!model_is_tied(m))
        load_matrix(l, &net->output, stack_of_model(m, MODEL_OUTPUT));
    load_vector(l, net->out_norm, stack_of_model(m, MODEL_OUT_NORM));
    for (int i = 0; i < net->n_ropes; i++) {
        l->sources[l->n] = (struct source){.rope = &m->ropes[i], .rope_dim = net->rope_dim};
        l->items[l->n] = (struct upload_item){
            .to = {net->rotations[i]},
            .step = {(size_t)net->rope_dim * sizeof(float)},
            .count = (size_t)net->n_ctx,
            .make = rotation_make,
            .what = &l->sources[l->n],
        };
        l->n++;
    }
}

int gpu_net_load(struct gpu_net *net, const struct model *m, int threads, enum model_role role,
                 device_progress *progress, void *arg, uint64_t total, char *err, size_t errlen)
{
    const size_t ends = 3 + MODEL_ROPES,
                 of_layer = COUNT_OF(matrices) + COUNT_OF(vectors) + 1 + 2 * m->n_experts;
    size_t most = ends + of_layer * (size_t)net->n_layers;
    struct upload_listener listener = {progress, arg, role, total};
    struct load l = {.items = xcalloc(most, sizeof(*l.items)),
                     .sources = xcalloc(most, sizeof(*l.sources))};
    int rc;

    load_ends(&l, net, m);
    for (int i = 0; i < net->n_layers; i++)
        load_layer(&l, &net->layers[i], &m->layers[i]);
    ASSERT(l.n <= most);
    rc = gpu_upload(l.items, l.n, threads, &listener, err, errlen);
    free(l.items);
    free(l.sources);
    return rc;
}

/* ---- the rest -------------------------------------------------------------------------------- */

void gpu_net_select(struct gpu_net *net, const struct gpu_net *target, const uint32_t *ids,
                    uint32_t n)
{
    *net = *target;
    net->n_layers = (int)n;
    net->layers = xcalloc(n, sizeof(*net->layers));
    for (uint32_t i = 0; i < n; i++)
        net->layers[i] = target->layers[ids[i]];
}

void gpu_net_free(struct gpu_net *net)
{
    free(net->layers);
    *net = (struct gpu_net){0};
}
