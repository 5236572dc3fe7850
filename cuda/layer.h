/*
 * layer.h - what a forward pass does between its matrix products and attention.
 *
 * T is the pass's capacity of rows: launches are sized by it, and rows that are not live are
 * neither read nor written. Matrices are row-major without gaps and 16-byte aligned; widths are
 * multiples of 8. f32 is the residual stream and what products give, bf16 (uint16_t, nearest even)
 * what products take. Every sum has one order, which the width alone decides.
 * Launches return 0 or SPECD_EDEVICE, launch_qkv also what attention.h says of its layer.
 */
#ifndef SPECD_CUDA_LAYER_H
#define SPECD_CUDA_LAYER_H

#include "attention.h"
#include "product.h"
#include "state.h"

#ifdef __cplusplus
extern "C" {
#endif

/* embed.cu: x (T, C) f32 = rows of a packed matrix that is not paired, V = plan->n, C = plan->k:
 * each element the number that a product with a row of zeros and one 1 gives, of any type, times
 * `scale`. Tokens from V on, a target's padding that a draft with fewer has no row for, take the
 * last. */
int launch_embed(float *x, const struct product_plan *plan, const void *packed, float scale,
                 const struct device_state *state, const struct pass *pass, int32_t capacity,
                 cudaStream_t stream);

/* norm.cu: y = x / sqrt(mean(x^2) + eps) * w, after x += o if there is an o, which is normed in the
 * same way first if it has weights of its own. */
struct norm {
    uint16_t *y;      /* (T, C) bf16 */
    float *x;         /* (T, C) f32; written only with o */
    const float *o;   /* (T, C) f32 or NULL */
    const float *o_w; /* (C) or NULL */
    const float *w;   /* (C) or NULL: y is x as it is */
    float eps;
    int32_t width; /* C */
};
int launch_norm(const struct norm *n, const struct pass *pass, int32_t capacity,
                cudaStream_t stream);
/* Row i of y is that of the pass's i-th row that wants logits; the others are not written. */
int launch_logit_norm(const struct norm *n, const struct pass *pass, int32_t capacity,
                      cudaStream_t stream);

/* norm.cu: in place, the first `widths[0]` elements of every row of x as one norm, and the next
 * `widths[1]` as another; both are multiples of 4. */
struct wide_norms {
    float *x; /* (T, stride) f32 */
    int64_t stride;
    const float *w; /* (widths[0] + widths[1]) */
    float eps;
    int32_t widths[2];
};
int launch_wide_norms(const struct wide_norms *n, const struct pass *pass, int32_t capacity,
                      cudaStream_t stream);

/* qkv.cu: what the products of q, k and v gave -> queries for attention, keys and values in the
 * pool: bias, RMS norm of each head (qwen3), rotation, scaling of q. */
struct qkv {
    const float *qkv;             /* (T, H*D + 2*G*D): q, k and v of a row, one after another */
    const float *bias;            /* (H*D + 2*G*D) or NULL */
    const float *q_norm, *k_norm; /* (D) or NULL */
    float eps;
    const float *rotation; /* (n_ctx, rope_dim / 2, 2) rope_table */
    enum rope_kind rope;
    int32_t rope_dim; /* even, <= D; 0: nothing rotates */
    float q_scale;
    uint16_t *q; /* (T, H, D) bf16 */
    struct kv_layer kv;
    int32_t n_heads;
};
int launch_qkv(const struct qkv *in, const struct device_state *state, const struct pass *pass,
               int32_t capacity, cudaStream_t stream);

/* draft_ids.cu: of a draft step whose slots draft some ids only (sample_params.draft_ids).
 * launch_draft_tiles: state->draft_tiles, by which the output's product leaves out what none of the
 * step's slots drafts. A slot without draft_ids wants all.
 * launch_draft_restrict: logits (capacity, stride), row i the pass's i-th that wants some: of ids
 * that its slot does not draft they become -infinity, computed or not. */
int launch_draft_tiles(const struct device_state *state, const struct pass *pass,
                       cudaStream_t stream);
int launch_draft_restrict(const struct device_state *state, const struct pass *pass, float *logits,
                          int64_t stride, int32_t capacity, cudaStream_t stream);

/* On the host: magnitude times cosine and sine of position * inv_freq[i], in double, rounded once,
 * for positions first..first+n. The same numbers as cpu/forward.c. 8 B for each position and pair:
 * 16 MB at 32768 positions and D = 128, read through L2. */
void rope_table(float *rotation, const float *inv_freq, float magnitude, int32_t rope_dim,
                int32_t first, int32_t n);

#ifdef __cplusplus
}
#endif

#endif
