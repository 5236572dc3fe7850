#include "net.h"

#include "specd/model_check.h"
#include "specd/util.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Where the resident twin of a layer's tensor goes. */
/* clang-format off */
static const size_t matrix_places[MATRICES] = {
    [MATRIX_Q] = offsetof(struct net_layer, wq),
    [MATRIX_K] = offsetof(struct net_layer, wk),
    [MATRIX_V] = offsetof(struct net_layer, wv),
    [MATRIX_O] = offsetof(struct net_layer, wo),
    [MATRIX_GATE] = offsetof(struct net_layer, w_gate),
    [MATRIX_UP] = offsetof(struct net_layer, w_up),
    [MATRIX_DOWN] = offsetof(struct net_layer, w_down),
};

static const size_t vector_places[VECTORS] = {
    [VECTOR_ATTN_NORM] = offsetof(struct net_layer, attn_norm),
    [VECTOR_FFN_NORM] = offsetof(struct net_layer, ffn_norm),
    [VECTOR_Q_BIAS] = offsetof(struct net_layer, bq),
    [VECTOR_K_BIAS] = offsetof(struct net_layer, bk),
    [VECTOR_V_BIAS] = offsetof(struct net_layer, bv),
    [VECTOR_Q_NORM] = offsetof(struct net_layer, q_norm),
    [VECTOR_K_NORM] = offsetof(struct net_layer, k_norm),
};
/* clang-format on */

static struct weight *matrix_place(struct net_layer *l, int id)
{
    return (struct weight *)((char *)l + matrix_places[id]);
}

static float **vector_place(struct net_layer *l, int id)
{
    return (float **)((char *)l + vector_places[id]);
}

static int matrix_layout(struct weight *w, const struct tensor *t, const char *name, int layer,
                         enum weight_type want, struct arena *a, char *err, size_t errlen)
{
    char why[160];
    size_t bytes;
    int rc = weight_plan(t, want, &w->type, &bytes, why, sizeof(why));
    if (rc != 0)
        return fail(rc, err, errlen, "%s%s: %s", model_place_of(layer).text, name, why);
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
    for (int i = 0; i < MATRICES; i++) {
        const struct model_field *f = &model_matrices[i];
        int rc = matrix_layout(matrix_place(l, i), model_tensor(f, from), f->name, layer, want, a,
                               err, errlen);
        if (rc != 0)
            return rc;
    }
    for (int i = 0; i < VECTORS; i++)
        *vector_place(l, i) = vector_layout(model_tensor(&model_vectors[i], from), a);
    return 0;
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
    if (rc == 0 && !model_is_tied(m))
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
    struct weight *to[MATRICES];
    const struct tensor *from[MATRICES];
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
        weight_pack(p->to[i], p->from[i], 0, weight_panels(p->to[i]));
}

static void layer_load(struct net_layer *l, const struct model_layer *from, struct pool *pool)
{
    struct packing p = {.n = MATRICES};
    for (int i = 0; i < MATRICES; i++) {
        p.to[i] = matrix_place(l, i);
        p.from[i] = model_tensor(&model_matrices[i], from);
    }
    pool_run(pool, pack_part, &p);
    for (int i = 0; i < VECTORS; i++) {
        const struct tensor *t = model_tensor(&model_vectors[i], from);
        if (t->data)
            tensor_to_f32(t, *vector_place(l, i));
    }
}

void net_load(struct net *net, const struct model *m, struct pool *pool, enum model_role role,
              device_progress *progress, void *arg, uint64_t total)
{
    struct packing ends = {.to = {&net->embed, &net->output},
                           .from = {&m->embed, &m->output},
                           .n = model_is_tied(m) ? 1 : 2};
    pool_run(pool, pack_part, &ends);
    if (model_is_tied(m))
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
