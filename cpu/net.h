/*
 * net.h - a model with its weights resident: what forward.c reads.
 *
 * Built from a struct model and the host tensors it points to. The matrices are converted once and
 * keep the type that weight_plan chose; vectors (norms, biases) are f32. Immutable once loaded, so
 * every thread may read it. The draft of --model-draft self:... is a net too: it borrows layers of
 * the target's.
 */
#ifndef SPECD_CPU_NET_H
#define SPECD_CPU_NET_H

#include "arena.h"
#include "matmul.h"
#include "specd/device.h"
#include "specd/model_check.h"

/* The twins of the tensors in struct model_layer, by name or by number: wq ..., attn_norm ...
 * Vectors that the layer does not have are NULL. A tensor of experts is no matrix but so many
 * slices. */
/* clang-format off */
#define NET_MATRIX(id, field, ...) struct weight field;
#define NET_VECTOR(id, field, ...) float *field;
struct net_layer {
    union {
        struct { SPECD_LAYER_MATRICES(NET_MATRIX) };
        struct weight matrices[LAYER_MATRICES];
    };
    union {
        struct { SPECD_LAYER_VECTORS(NET_VECTOR) };
        float *vectors[LAYER_VECTORS];
    };
    struct weight *slices[LAYER_MATRICES]; /* (n_experts) each, of net.slices; NULL: of no experts */
    int n_heads, n_kv_heads;
    int rope_dim; /* elements of a head that rotate; 0: none */
    int rope;     /* of net.ropes */
    int window;   /* positions that a row attends to; 0: all */
};
#undef NET_MATRIX
#undef NET_VECTOR
/* clang-format on */

extern const struct model_blocks net_blocks; /* what forward.c computes */

struct net {
    int n_layers, head_dim, n_embd, n_vocab;
    float rms_eps;
    enum rope_kind rope;
    int rope_dim, n_ropes;
    struct rope_angles ropes[MODEL_ROPES];
    float embd_scale, attn_scale;
    enum gate_kind gate;
    float hot;                                               /* of qrows.h */
    int n_experts, n_experts_used, n_ff_expert, n_ff_shared; /* as model's */
    bool experts_normed;
    struct weight *slices; /* of all layers; NULL: there are none, or another net's */
    struct weight embed;   /* (V, C) */
    struct weight output;  /* (V, C); shares embed's data when tied */
    float *out_norm;       /* (C) */
    struct net_layer *layers;
};

/* Takes the memory of every tensor from `a`, which may be counting. m has passed model_check. */
int net_layout(struct net *net, const struct model *m, enum weight_type want, struct arena *a,
               char *err, size_t errlen);
/* Converts the weights, after a net_layout over an open arena. progress may be NULL. */
void net_load(struct net *net, const struct model *m, struct pool *pool, enum model_role role,
              device_progress *progress, void *arg, uint64_t total);
/* Layers ids[0..n) of `target`, whose weights must outlive the result. */
void net_select(struct net *net, const struct net *target, const uint32_t *ids, uint32_t n);
void net_free(struct net *net);

#endif
