/*
 * net.h - a model with its weights resident on the GPU: what forward.c reads. As cpu/net.h.
 *
 * Built from a struct model and the host tensors it points to. Matrices are packed (product.h) on
 * the host's threads and uploaded piece by piece (upload.h); those that read one input are stacked
 * into one product: q, k and v; gate and up. Vectors are f32. Immutable once loaded. The pointers
 * of layers and nets are device memory, the structures host memory. Engine thread.
 *
 * How a matrix is kept, by enum weight_type:
 *   NATIVE  as product_type_of(file): most block types with their own numbers, f32, f16 and the
 *           others as bf16. A stack whose tensors would differ, say q and k in q4_K
 *           beside v in q6_K, is bf16: no other type takes every file's numbers with an error that
 *           small, 2^-9 of each
 *   BF16    bf16
 *   Q8_0    INT8
 *   FP8     FP8 in layers; embedding and output, where a coarse weight costs most, bf16
 *   INT4    INT4 in layers; embedding and output bf16
 *   F32     refused: the matrix unit has no such product
 * Blocks of a file that are not kept as they are become floats, which are rounded once. A tensor's
 * scale becomes that of its channels, of any type.
 */
#ifndef SPECD_CUDA_NET_H
#define SPECD_CUDA_NET_H

#include "memory.h"
#include "product.h"
#include "specd/device.h"

struct gpu_matrix {
    struct product_plan plan;
    void *data; /* packed */
};

struct gpu_layer {
    float *attn_norm, *ffn_norm;           /* (C), NULL: none */
    struct gpu_matrix qkv;                 /* (H*D + 2*G*D, C): q, k, v one after another */
    struct gpu_matrix wo;                  /* (C, H*D) */
    struct gpu_matrix gate_up;             /* paired, (F, C) */
    struct gpu_matrix down;                /* (C, F) */
    float *qkv_bias;                       /* (H*D + 2*G*D), NULL: none */
    float *o_bias, *down_bias;             /* (C), NULL: none */
    float *gate_up_bias;                   /* (2 F): the gate's, then up's; NULL: none */
    float *q_norm, *k_norm;                /* (D), NULL: none */
    float *qk_norm_wide;                   /* (H*D + G*D): q's, then k's; NULL: none */
    float *attn_post_norm, *ffn_post_norm; /* (C), NULL: none */
    /* Of layers with experts, in place of gate_up and down: (n_experts) matrices behind one
     * another.
     */
    struct gpu_matrix gate_up_experts, down_experts;
    struct gpu_matrix gate_up_shared, down_shared;
    float *router; /* (n_experts, C), then one row for the shared expert */
    int n_heads, n_kv_heads;
    int rope_dim;   /* elements of a head that rotate; 0: none */
    int rope;       /* of the net's rotations */
    int32_t window; /* positions that a row attends to; 0: all */
};

struct gpu_net {
    int n_layers, head_dim, n_embd, n_vocab;
    float rms_eps;
    enum rope_kind rope;
    int rope_dim;
    float embd_scale, attn_scale;
    enum product_end gate;                                   /* of a feed-forward */
    bool has_post_norms;                                     /* some layer has */
    int n_experts, n_experts_used, n_ff_expert, n_ff_shared; /* as model's */
    bool experts_normed;
    int32_t n_ctx;
    int n_ropes;
    float *rotations[MODEL_ROPES]; /* (n_ctx, rope_dim / 2, 2), layer.h's rope_table */
    struct gpu_matrix embed;       /* (V, C); rows are read out of the packed matrix */
    struct gpu_matrix output;      /* (V, C); shares embed's data when tied */
    float *out_norm;               /* (C) */
    struct gpu_layer *layers;      /* (n_layers) */
};

/* SPECD_EINVAL, naming the tensor, number or type that the device cannot use: model_check, and what
 * its kernels want beside. */
int gpu_net_check(const struct model *m, enum weight_type want, char *err, size_t errlen);
/* Takes the memory of every tensor from `a`, which may be counting. m has passed the check.
 * SPECD_ENOMEM when an open arena has failed. */
int gpu_net_layout(struct gpu_net *net, const struct model *m, enum weight_type want, int32_t n_ctx,
                   struct gpu_arena *a, char *err, size_t errlen);
/* Packs and uploads, after a layout over an open arena, and waits for it. threads: of the host, 0 =
 * one per core. progress may be NULL; total is what the layout took, the last call says it is done.
 * SPECD_EDEVICE, SPECD_ENOMEM (pinned memory); the net is then to be freed. */
int gpu_net_load(struct gpu_net *net, const struct model *m, int threads, enum model_role role,
                 device_progress *progress, void *arg, uint64_t total, char *err, size_t errlen);
/* Layers ids[0..n) of `target`, whose weights must outlive the result. */
void gpu_net_select(struct gpu_net *net, const struct gpu_net *target, const uint32_t *ids,
                    uint32_t n);
void gpu_net_free(struct gpu_net *net); /* host memory alone */

#endif
