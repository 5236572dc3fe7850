/*
 * forward.h - one pass of a model over the rows that rows.cu finds: the launches, in their order.
 *
 *   rows -> embed -> layers of { norm, qkv, rotation and KV, attention, wo (+ residual),
 *                                norm, gate and up, down (+ residual) } -> norm -> logits
 *
 * Where a model norms what a block gives, the norm behind does that and adds it to the residual.
 * Where a layer has experts, norm, router, choice, gate and up, down, their sum (experts.h).
 *
 * Nothing here looks at the device's memory: launches are sized by a capacity, kernels read how
 * many rows are live. Products of prompt rows may go through gemm.h; then the host has to know
 * their number. Enqueues only; engine thread.
 */
#ifndef SPECD_CUDA_FORWARD_H
#define SPECD_CUDA_FORWARD_H

#include "attention.h"
#include "experts.h"
#include "gemm.h"
#include "machine.h"
#include "memory.h"
#include "net.h"

/* The pool: a kv_layer for every layer of each role, over n_blocks blocks. */
struct gpu_kv {
    struct kv_layer *layers[MODEL_ROLES]; /* (n_layers) host */
    int n_layers[MODEL_ROLES];
};

/* Bytes of a block, as device_plan has them. false if they do not fit a size_t. */
bool gpu_kv_block_bytes(const struct gpu_net *const nets[MODEL_ROLES], enum kv_type type,
                        size_t *bytes, size_t *window_bytes);
/* n_window_blocks: 0: layers with windows are in the n_blocks. entries: of a slot's table for a
 * whole context. */
void gpu_kv_layout(struct gpu_kv *kv, const struct gpu_net *const nets[MODEL_ROLES],
                   enum kv_type type, int32_t n_blocks, int32_t n_window_blocks, int32_t entries,
                   struct gpu_arena *a);
void gpu_kv_free(struct gpu_kv *kv); /* host memory alone */

struct gpu_forward {
    const struct gpu_net *nets[MODEL_ROLES];
    const struct gpu_kv *kv;
    struct product_machine machine;
    struct device_state state;
    struct pass pass;
    struct gemm *gemm; /* NULL: prompt rows go through launch_product too */
    bool reproducible;
    /* Activations, (max_rows, width) each. */
    float *x;        /* C: the residual stream */
    uint16_t *h;     /* C: normed */
    float *qkv;      /* (H + 2 G) D */
    float *o;        /* C: what a block gave, of models that norm it or have experts; else NULL */
    uint16_t *q;     /* H D; after attention its result is in attn */
    uint16_t *attn;  /* H D */
    uint16_t *ff;    /* F */
    float *partials; /* of attention */
    struct experts experts;
};

/* Rows and logits that any pass may have. */
struct gpu_forward_sizes {
    int32_t max_rows, max_logits;
};

/* Takes activations and the pass's lists; `a` may be counting. machine, nets, state, kv and gemm
 * are set by the caller afterwards. */
void gpu_forward_layout(struct gpu_forward *f, const struct gpu_net *const nets[MODEL_ROLES],
                        const struct device_setup *setup, const struct gpu_forward_sizes *sizes,
                        struct gpu_arena *a);

struct gpu_pass {
    enum model_role role;
    enum row_set set;
    int32_t step;          /* ROWS_STEP */
    int32_t first;         /* ROWS_PROMPT, as pass_request */
    int32_t capacity;      /* ROWS_PROMPT: exactly the rows there are */
    int32_t rows_per_slot; /* at most, for how attention is packed; 0: many */
    int32_t max_logits;    /* rows with logits, at most; 0: none */
    float *logits;         /* (max_logits, stride) */
    int64_t stride;
};

/* SPECD_EDEVICE */
int gpu_forward_run(struct gpu_forward *f, const struct gpu_pass *p, cudaStream_t stream);

#endif
