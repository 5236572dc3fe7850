#include "net.h"

#include "panel.h"
#include "qrows.h"
#include "specd/util.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const struct model_blocks net_blocks = {
    .device = "the CPU device",
    .needs = PART_BIT(PART_ATTENTION),
    .may = PART_BIT(PART_PRE_NORM) | PART_BIT(PART_GATED_FFN) | PART_BIT(PART_QKV_BIAS) |
           PART_BIT(PART_O_BIAS) | PART_BIT(PART_FFN_BIAS) | PART_BIT(PART_QK_NORM) |
           PART_BIT(PART_QK_NORM_WIDE) | PART_BIT(PART_POST_NORM) | PART_BIT(PART_EXPERTS) |
           PART_BIT(PART_SHARED_EXPERT),
    .gates = 1u << GATE_SILU | 1u << GATE_GELU_TANH,
};

static int matrix_layout(struct weight *w, const struct tensor *t, const struct tensor_spec *spec,
                         int layer, enum weight_type want, struct arena *a, char *err,
                         size_t errlen)
{
    char why[160];
    size_t bytes;
    int rc = weight_plan(t, want, &w->type, &bytes, why, sizeof(why));
    if (rc != 0)
        return fail(rc, err, errlen, "%s: %s",
                    tensor_name_of(NAMES_FIELD, spec->names[NAMES_FIELD], layer).text, why);
    w->rows = (int)t->rows;
    w->cols = (int)t->cols;
    w->scale = tensor_scale(t);
    w->data = arena_take(a, bytes, 1);
    return 0;
}

/* What decides between experts is kept as floats, since close calls go by the last bits. */
static enum weight_type wanted(int tensor, const struct tensor *t, enum weight_type want)
{
    if (tensor != LAYER_W_ROUTER && tensor != LAYER_W_SHARED)
        return want;
    return dtype_is_quantised(t->type) ? WEIGHT_F32 : WEIGHT_NATIVE;
}

static float *vector_layout(const struct tensor *t, struct arena *a)
{
    return t->data ? arena_take(a, t->cols, sizeof(float)) : NULL;
}

/* slices: room for those of experts. */
static int layer_layout(struct net_layer *l, const struct model_layer *from, int layer,
                        enum weight_type want, struct weight **slices, struct arena *a, char *err,
                        size_t errlen)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < LAYER_MATRICES; i++) {
        const struct tensor *t = &from->tensors[i];
        if (!t->data)
            continue;
        if (t->slices > 0)
            l->slices[i] = *slices;
        else
            rc = matrix_layout(&l->matrices[i], t, &layer_tensors[i], layer, wanted(i, t, want), a,
                               err, errlen);
        for (uint32_t e = 0; rc == 0 && e < t->slices; e++) {
            struct tensor one = tensor_slice(t, e);
            rc = matrix_layout((*slices)++, &one, &layer_tensors[i], layer, want, a, err, errlen);
        }
    }
    for (int i = 0; i < LAYER_VECTORS; i++)
        l->vectors[i] = vector_layout(&from->tensors[LAYER_MATRICES + i], a);
    return rc;
}

/* Matrices that tensors of experts have. */
static size_t slices_of(const struct model *m)
{
    size_t n = 0;
    for (uint32_t i = 0; i < m->n_layers; i++) {
        for (int j = 0; j < LAYER_MATRICES; j++)
            n += m->layers[i].tensors[j].slices;
    }
    return n;
}

int net_layout(struct net *net, const struct model *m, enum weight_type want, struct arena *a,
               char *err, size_t errlen)
{
    size_t n_slices = slices_of(m);
    *net = (struct net){
        .n_layers = (int)m->n_layers,
        .head_dim = (int)m->head_dim,
        .n_embd = (int)m->n_embd,
        .n_vocab = (int)m->n_vocab,
        .rms_eps = m->rms_eps,
        .rope = m->rope,
        .rope_dim = (int)m->rope_dim,
        .n_ropes = (int)MAX(m->n_ropes, 1),
        .embd_scale = m->embd_scale > 0 ? m->embd_scale : 1.0f,
        .attn_scale = m->attn_scale > 0 ? m->attn_scale : 1.0f / sqrtf((float)m->head_dim),
        .gate = m->gate,
        .hot = m->fine_activations ? QROWS_HOT_FINE : QROWS_HOT,
        .n_experts = (int)m->n_experts,
        .n_experts_used = (int)m->n_experts_used,
        .n_ff_expert = (int)m->n_ff_expert,
        .n_ff_shared = (int)m->n_ff_shared,
        .experts_normed = m->experts_normed,
        .slices = n_slices > 0 ? xcalloc(n_slices, sizeof(struct weight)) : NULL,
        .layers = xcalloc(m->n_layers, sizeof(struct net_layer)),
    };
    memcpy(net->ropes, m->ropes, sizeof(net->ropes));

    int rc = matrix_layout(&net->embed, &m->embed, &model_tensors[MODEL_EMBED], -1, want, a, err,
                           errlen);
    if (rc == 0 && !model_is_tied(m))
        rc = matrix_layout(&net->output, &m->output, &model_tensors[MODEL_OUTPUT], -1, want, a, err,
                           errlen);
    else
        net->output = net->embed;
    net->out_norm = vector_layout(&m->out_norm, a);
    struct weight *slices = net->slices;
    for (uint32_t i = 0; rc == 0 && i < m->n_layers; i++) {
        rc = layer_layout(&net->layers[i], &m->layers[i], (int)i, want, &slices, a, err, errlen);
        net->layers[i].n_heads = (int)m->layers[i].n_heads;
        net->layers[i].n_kv_heads = (int)m->layers[i].n_kv_heads;
        net->layers[i].rope_dim = m->layers[i].no_rope ? 0 : net->rope_dim;
        net->layers[i].rope = m->layers[i].rope;
        net->layers[i].window = (int)MIN(m->layers[i].window, SIZE_CTX_MAX);
    }
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
    struct tensor from;
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
    p->all[p->n++] = (struct packed){.to = to, .from = *from};
}

static int by_place(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const struct packed *)a)->from.data;
    uintptr_t y = (uintptr_t)((const struct packed *)b)->from.data;
    return (x > y) - (x < y);
}

static void packing_cut(struct packing *p)
{
    qsort(p->all, (size_t)p->n, sizeof(*p->all), by_place);
    for (int i = 0; i < p->n; i++) {
        struct packed *m = &p->all[i];
        size_t panel = dtype_row_bytes(m->from.type, m->from.cols) * PANEL;
        m->panels = (int)MIN((size_t)weight_panels(m->to), PIECE_BYTES / panel + 1);
        m->first_piece = p->n_pieces;
        p->n_pieces += (weight_panels(m->to) + m->panels - 1) / m->panels;
    }
    p->all[p->n].first_piece = p->n_pieces;
}

/* The matrix of a piece, and which of its panels. */
static const struct packed *piece_at(const struct packing *p, int piece, int *first, int *end)
{
    int low = 0, high = p->n - 1; /* the last that begins at the piece or before */
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (p->all[middle].first_piece <= piece)
            low = middle;
        else
            high = middle - 1;
    }
    const struct packed *m = &p->all[low];
    *first = (piece - m->first_piece) * m->panels;
    *end = MIN(*first + m->panels, weight_panels(m->to));
    return m;
}

/* Has the kernel read a piece's part of the file, if it is in one, while others are converted. */
static void read_ahead(const struct packing *p, int piece)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    int first, end;
    if (piece >= p->n_pieces)
        return;
    const struct packed *m = piece_at(p, piece, &first, &end);
    if (m->from.source) /* whose rows lie elsewhere */
        return;
    size_t row = dtype_row_bytes(m->from.type, m->from.cols);
    uintptr_t start = (uintptr_t)m->from.data + (size_t)first * PANEL * row;
    size_t rows = MIN((size_t)(end - first) * PANEL, m->from.rows - (size_t)first * PANEL);
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
        weight_pack(m->to, &m->from, first, end);
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
    p.all = xcalloc(m->n_layers * (size_t)LAYER_MATRICES + slices_of(m) + 3, sizeof(*p.all));
    packing_add(&p, &net->embed, &m->embed);
    if (!model_is_tied(m))
        packing_add(&p, &net->output, &m->output);
    tensor_to_f32(&m->out_norm, net->out_norm);
    for (int i = 0; i < net->n_layers; i++) {
        struct net_layer *l = &net->layers[i];
        const struct tensor *from = m->layers[i].tensors;
        for (int j = 0; j < LAYER_MATRICES; j++) {
            if (from[j].data && !l->slices[j])
                packing_add(&p, &l->matrices[j], &from[j]);
            for (uint32_t e = 0; e < from[j].slices; e++) {
                struct tensor one = tensor_slice(&from[j], e);
                packing_add(&p, &l->slices[j][e], &one);
            }
        }
        for (int j = 0; j < LAYER_VECTORS; j++) {
            if (l->vectors[j])
                tensor_to_f32(&from[LAYER_MATRICES + j], l->vectors[j]);
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
    net->slices = NULL;
    net->n_layers = (int)n;
    net->layers = xcalloc(n, sizeof(*net->layers));
    for (uint32_t i = 0; i < n; i++)
        net->layers[i] = target->layers[ids[i]];
}

void net_free(struct net *net)
{
    free(net->slices);
    free(net->layers);
    memset(net, 0, sizeof(*net));
}
