#include "net.h"

#include "specd/util.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The tensors of a layer: where the file's view is, where its resident twin goes, its shape. */
enum dim { DIM_ONE, DIM_EMBD, DIM_FF, DIM_HEAD, DIM_Q, DIM_KV };

struct field {
    const char *name;
    size_t tensor, place;
    enum dim rows, cols;
    bool optional;
};

/* clang-format off */
#define FIELD(name, rows, cols, optional)                                                          \
    {#name, offsetof(struct model_layer, name), offsetof(struct net_layer, name), rows, cols,      \
     optional}
/* clang-format on */

static const struct field matrices[] = {
    FIELD(wq, DIM_Q, DIM_EMBD, false),      FIELD(wk, DIM_KV, DIM_EMBD, false),
    FIELD(wv, DIM_KV, DIM_EMBD, false),     FIELD(wo, DIM_EMBD, DIM_Q, false),
    FIELD(w_gate, DIM_FF, DIM_EMBD, false), FIELD(w_up, DIM_FF, DIM_EMBD, false),
    FIELD(w_down, DIM_EMBD, DIM_FF, false),
};

static const struct field vectors[] = {
    FIELD(attn_norm, DIM_ONE, DIM_EMBD, false),
    FIELD(ffn_norm, DIM_ONE, DIM_EMBD, false),
    FIELD(bq, DIM_ONE, DIM_Q, true),
    FIELD(bk, DIM_ONE, DIM_KV, true),
    FIELD(bv, DIM_ONE, DIM_KV, true),
    FIELD(q_norm, DIM_ONE, DIM_HEAD, true),
    FIELD(k_norm, DIM_ONE, DIM_HEAD, true),
};

static const struct tensor *field_tensor(const struct field *f, const struct model_layer *l)
{
    return (const struct tensor *)((const char *)l + f->tensor);
}

static void *field_place(const struct field *f, struct net_layer *l)
{
    return (char *)l + f->place;
}

static uint64_t dim_of(const struct model *m, enum dim d)
{
    switch (d) {
    case DIM_EMBD:
        return m->n_embd;
    case DIM_FF:
        return m->n_ff;
    case DIM_HEAD:
        return m->head_dim;
    case DIM_Q:
        return (uint64_t)m->n_heads * m->head_dim;
    case DIM_KV:
        return (uint64_t)m->n_kv_heads * m->head_dim;
    default:
        return 1;
    }
}

/* "layer 3: ", or nothing for a tensor outside the layers. */
struct place_name {
    char text[24];
};

static struct place_name place_of(int layer)
{
    struct place_name p = {""};
    if (layer >= 0)
        snprintf(p.text, sizeof(p.text), "layer %d: ", layer);
    return p;
}

static int tensor_check(const struct tensor *t, const char *name, int layer, uint64_t rows,
                        uint64_t cols, bool optional, char *err, size_t errlen)
{
    struct place_name place = place_of(layer);
    const char *where = place.text;
    if (!t->data)
        return optional ? 0 : fail(SPECD_EINVAL, err, errlen, "%s%s is missing", where, name);
    if (t->rows != rows || t->cols != cols)
        return fail(SPECD_EINVAL, err, errlen, "%s%s is %u x %u, expected %llu x %llu", where, name,
                    t->rows, t->cols, (unsigned long long)rows, (unsigned long long)cols);
    if ((unsigned)t->type >= DT_COUNT || t->cols % (unsigned)dtype_block(t->type) != 0)
        return fail(SPECD_EINVAL, err, errlen, "%s%s has a type that does not fit its %u columns",
                    where, name, t->cols);
    return 0;
}

static int fields_check(const struct field *fields, size_t n, const struct model *m, int layer,
                        char *err, size_t errlen)
{
    for (size_t i = 0; i < n; i++) {
        const struct field *f = &fields[i];
        int rc = tensor_check(field_tensor(f, &m->layers[layer]), f->name, layer,
                              dim_of(m, f->rows), dim_of(m, f->cols), f->optional, err, errlen);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Beyond these a row of activations would not fit an int. */
#define WIDTH_MAX (1u << 24)

static int sizes_check(const struct model *m, char *err, size_t errlen)
{
    if (m->n_layers < 1 || m->n_layers > MODEL_LAYERS_MAX)
        return fail(SPECD_EINVAL, err, errlen, "%u layers: 1 to %d work", m->n_layers,
                    MODEL_LAYERS_MAX);
    if (m->n_vocab < 1 || m->n_vocab > SPECD_VOCAB_MAX)
        return fail(SPECD_EINVAL, err, errlen, "a vocabulary of %u: 1 to %d work", m->n_vocab,
                    SPECD_VOCAB_MAX);
    if (m->head_dim < 2 || m->head_dim > MODEL_HEAD_DIM_MAX)
        return fail(SPECD_EINVAL, err, errlen, "heads of %u elements: 2 to %d work", m->head_dim,
                    MODEL_HEAD_DIM_MAX);
    if (m->n_kv_heads < 1 || m->n_heads < 1 || m->n_heads % m->n_kv_heads != 0)
        return fail(SPECD_EINVAL, err, errlen, "%u heads cannot share %u key/value heads",
                    m->n_heads, m->n_kv_heads);
    if (m->rope_dim % 2 != 0 || m->rope_dim > m->head_dim)
        return fail(SPECD_EINVAL, err, errlen, "RoPE over %u of %u elements", m->rope_dim,
                    m->head_dim);
    if (m->n_embd < 1 || m->n_embd > WIDTH_MAX || m->n_ff < 1 || m->n_ff > WIDTH_MAX ||
        dim_of(m, DIM_Q) > WIDTH_MAX)
        return fail(SPECD_EINVAL, err, errlen, "embedding %u, feed-forward %u, %u heads: too wide",
                    m->n_embd, m->n_ff, m->n_heads);
    return 0;
}

int net_check(const struct model *m, char *err, size_t errlen)
{
    int rc = sizes_check(m, err, errlen);
    if (rc == 0)
        rc = tensor_check(&m->embed, "embed", -1, m->n_vocab, m->n_embd, false, err, errlen);
    if (rc == 0)
        rc = tensor_check(&m->output, "output", -1, m->n_vocab, m->n_embd, false, err, errlen);
    if (rc == 0)
        rc = tensor_check(&m->out_norm, "out_norm", -1, 1, m->n_embd, false, err, errlen);
    for (int i = 0; rc == 0 && i < (int)m->n_layers; i++) {
        rc = fields_check(matrices, COUNT_OF(matrices), m, i, err, errlen);
        if (rc == 0)
            rc = fields_check(vectors, COUNT_OF(vectors), m, i, err, errlen);
    }
    return rc;
}

static int matrix_layout(struct weight *w, const struct tensor *t, const char *name, int layer,
                         enum weight_type want, struct arena *a, char *err, size_t errlen)
{
    char why[160];
    size_t bytes;
    int rc = weight_plan(t, want, &w->type, &bytes, why, sizeof(why));
    if (rc != 0)
        return fail(rc, err, errlen, "%s%s: %s", place_of(layer).text, name, why);
    w->rows = (int)t->rows;
    w->cols = (int)t->cols;
    w->data = arena_take(a, bytes, 1);
    return 0;
}

static float *vector_layout(const struct tensor *t, struct arena *a)
{
    return t->data ? arena_take(a, t->cols, sizeof(float)) : NULL;
}

static int layer_layout(struct net_layer *l, const struct model_layer *from, int layer,
                        enum weight_type want, struct arena *a, char *err, size_t errlen)
{
    for (size_t i = 0; i < COUNT_OF(matrices); i++) {
        const struct field *f = &matrices[i];
        int rc = matrix_layout(field_place(f, l), field_tensor(f, from), f->name, layer, want, a,
                               err, errlen);
        if (rc != 0)
            return rc;
    }
    for (size_t i = 0; i < COUNT_OF(vectors); i++) {
        const struct field *f = &vectors[i];
        *(float **)field_place(f, l) = vector_layout(field_tensor(f, from), a);
    }
    return 0;
}

static bool is_tied(const struct model *m)
{
    return m->output.data == m->embed.data;
}

int net_layout(struct net *net, const struct model *m, enum weight_type want, struct arena *a,
               char *err, size_t errlen)
{
    *net = (struct net){
        .n_layers = (int)m->n_layers,
        .n_heads = (int)m->n_heads,
        .n_kv_heads = (int)m->n_kv_heads,
        .head_dim = (int)m->head_dim,
        .n_embd = (int)m->n_embd,
        .n_ff = (int)m->n_ff,
        .n_vocab = (int)m->n_vocab,
        .rms_eps = m->rms_eps,
        .rope = m->rope,
        .rope_dim = (int)m->rope_dim,
        .layers = xcalloc(m->n_layers, sizeof(struct net_layer)),
    };
    memcpy(net->rope_inv_freq, m->rope_inv_freq, sizeof(net->rope_inv_freq));

    int rc = matrix_layout(&net->embed, &m->embed, "embed", -1, want, a, err, errlen);
    if (rc == 0 && !is_tied(m))
        rc = matrix_layout(&net->output, &m->output, "output", -1, want, a, err, errlen);
    else
        net->output = net->embed;
    net->out_norm = vector_layout(&m->out_norm, a);
    for (uint32_t i = 0; rc == 0 && i < m->n_layers; i++)
        rc = layer_layout(&net->layers[i], &m->layers[i], (int)i, want, a, err, errlen);
    if (rc == 0 && a->overflow)
        rc = fail(SPECD_EINVAL, err, errlen, "the weights exceed the address space");
    if (rc != 0)
        net_free(net);
    return rc;
}

/* One conversion stage: matrices taken by whichever thread is free. */
struct packing {
    struct weight *to[COUNT_OF(matrices)];
    const struct tensor *from[COUNT_OF(matrices)];
    int n;
    atomic_int next;
};

static void pack_part(void *arg, int part, int n_parts)
{
    (void)part;
    (void)n_parts;
    struct packing *p = arg;
    int i;
    while ((i = atomic_fetch_add(&p->next, 1)) < p->n)
        weight_pack(p->to[i], p->from[i], p->to[i]->type, p->to[i]->data);
}

static void layer_load(struct net_layer *l, const struct model_layer *from, struct pool *pool)
{
    struct packing p = {.n = COUNT_OF(matrices)};
    for (size_t i = 0; i < COUNT_OF(matrices); i++) {
        p.to[i] = field_place(&matrices[i], l);
        p.from[i] = field_tensor(&matrices[i], from);
    }
    pool_run(pool, pack_part, &p);
    for (size_t i = 0; i < COUNT_OF(vectors); i++) {
        const struct tensor *t = field_tensor(&vectors[i], from);
        if (t->data)
            tensor_to_f32(t, *(float **)field_place(&vectors[i], l));
    }
}

void net_load(struct net *net, const struct model *m, struct pool *pool, enum model_role role,
              device_progress *progress, void *arg, uint64_t total)
{
    struct packing ends = {.to = {&net->embed, &net->output},
                           .from = {&m->embed, &m->output},
                           .n = is_tied(m) ? 1 : 2};
    pool_run(pool, pack_part, &ends);
    if (is_tied(m))
        net->output = net->embed;
    tensor_to_f32(&m->out_norm, net->out_norm);
    for (int i = 0; i < net->n_layers; i++) {
        if (progress)
            progress(arg, role, total / (uint64_t)(net->n_layers + 1) * (uint64_t)(i + 1), total);
        layer_load(&net->layers[i], &m->layers[i], pool);
    }
    if (progress)
        progress(arg, role, total, total);
}

void net_select(struct net *net, const struct net *target, const uint32_t *ids, uint32_t n)
{
    *net = *target;
    net->n_layers = (int)n;
    net->layers = xcalloc(n, sizeof(*net->layers));
    for (uint32_t i = 0; i < n; i++)
        net->layers[i] = target->layers[ids[i]];
}

void net_free(struct net *net)
{
    free(net->layers);
    memset(net, 0, sizeof(*net));
}
