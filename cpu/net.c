#include "net.h"

#include "panel.h"
#include "specd/model_check.h"
#include "specd/util.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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

/* ---- loading --------------------------------------------------------------------------------- */

#define PIECE_BYTES (1 << 20) /* of a file, about: what a thread converts at a time */
#define PIECES_AHEAD 16       /* of which the kernel is told before they are needed */

/* A matrix to convert, in pieces of some panels. */
struct packed {
    const struct weight *to;
    const struct tensor *from;
    int panels, first_piece; /* of a piece; of all pieces */
};

struct packing {
    struct packed *all; /* in the order in which the file has them, and then an end mark */
    int n, n_pieces;
    atomic_int next, done; /* pieces */
    device_progress *progress;
    void *arg;
    enum model_role role;
    uint64_t total;
};

static void packing_add(struct packing *p, const struct weight *to, const struct tensor *from)
{
    p->all[p->n++] = (struct packed){.to = to, .from = from};
}

static int by_place(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const struct packed *)a)->from->data;
    uintptr_t y = (uintptr_t)((const struct packed *)b)->from->data;
    return (x > y) - (x < y);
}

static void packing_cut(struct packing *p)
{
    qsort(p->all, (size_t)p->n, sizeof(*p->all), by_place);
    for (int i = 0; i < p->n; i++) {
        struct packed *m = &p->all[i];
        size_t panel = dtype_row_bytes(m->from->type, m->from->cols) * PANEL;
        m->panels = (int)MIN((size_t)weight_panels(m->to), PIECE_BYTES / panel + 1);
        m->first_piece = p->n_pieces;
        p->n_pieces += (weight_panels(m->to) + m->panels - 1) / m->panels;
    }
    p->all[p->n].first_piece = p->n_pieces;
}

/* The matrix of a piece, and which of its panels. */
static const struct packed *piece_at(const struct packing *p, int piece, int *first, int *end)
{
    const struct packed *m = p->all;
    while (piece >= m[1].first_piece)
        m++;
    *first = (piece - m->first_piece) * m->panels;
    *end = MIN(*first + m->panels, weight_panels(m->to));
    return m;
}

/* Has the kernel read a piece's part of the file, if it is in one, while others are converted. */
static void read_ahead(const struct packing *p, int piece)
{
    static const uintptr_t page = 4096;
    int first, end;
    if (piece >= p->n_pieces)
        return;
    const struct packed *m = piece_at(p, piece, &first, &end);
    size_t row = dtype_row_bytes(m->from->type, m->from->cols);
    uintptr_t start = (uintptr_t)m->from->data + (size_t)first * PANEL * row;
    size_t rows = MIN((size_t)(end - first) * PANEL, m->from->rows - (size_t)first * PANEL);
    madvise((void *)(start / page * page), start % page + rows * row, MADV_WILLNEED);
}

/* Part 0 is the caller of net_load, on whose thread progress is told. */
static void pack_part(void *arg, int part, int n_parts)
{
    (void)n_parts;
    struct packing *p = arg;
    int piece, first, end;
    while ((piece = atomic_fetch_add(&p->next, 1)) < p->n_pieces) {
        const struct packed *m = piece_at(p, piece, &first, &end);
        read_ahead(p, piece + PIECES_AHEAD);
        weight_pack(m->to, m->from, first, end);
        int done = atomic_fetch_add(&p->done, 1) + 1;
        if (part == 0 && p->progress)
            p->progress(p->arg, p->role, p->total / (uint64_t)p->n_pieces * (uint64_t)done,
                        p->total);
    }
}

void net_load(struct net *net, const struct model *m, struct pool *pool, enum model_role role,
              device_progress *progress, void *arg, uint64_t total)
{
    struct packing p = {.progress = progress, .arg = arg, .role = role, .total = total};
    p.all = xcalloc(m->n_layers * (size_t)MATRICES + 3, sizeof(*p.all));
    packing_add(&p, &net->embed, &m->embed);
    if (!model_is_tied(m))
        packing_add(&p, &net->output, &m->output);
    tensor_to_f32(&m->out_norm, net->out_norm);
    for (int i = 0; i < net->n_layers; i++) {
        struct net_layer *l = &net->layers[i];
        for (int j = 0; j < MATRICES; j++)
            packing_add(&p, matrix_place(l, j), model_tensor(&model_matrices[j], &m->layers[i]));
        for (int j = 0; j < VECTORS; j++) {
            const struct tensor *t = model_tensor(&model_vectors[j], &m->layers[i]);
            if (t->data)
                tensor_to_f32(t, *vector_place(l, j));
        }
    }
    packing_cut(&p);
    for (int i = 0; i < PIECES_AHEAD; i++)
        read_ahead(&p, i);
    pool_run(pool, pack_part, &p);
    if (progress)
        progress(arg, role, total, total);
    free(p.all);
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
