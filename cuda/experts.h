/*
 * experts.h - the feed-forward of layers with experts, but for its products: which experts a row
 * is for, its rows in order by expert, the sum of what they gave. As cpu/experts.h.
 *
 * A row's k choices are its pairs. launch_product multiplies the pairs of one expert as a group,
 * all groups in one launch, so that each chosen expert is read once a pass. What a row gets depends
 * on nothing but the row: choice   the k largest logits, ties to the lower id; logits are f32, of
 * the residual stream normed in f32 weights  exp(z - max) over their sum, of all experts or,
 * normed, of the chosen sum      the shared expert's, then the chosen ones' in the order of choice
 * A row whose logits are NaN gets NaN. Launches return 0 or SPECD_EDEVICE.
 */
#ifndef SPECD_CUDA_EXPERTS_H
#define SPECD_CUDA_EXPERTS_H

#include "product.h"
#include "state.h"

#ifdef __cplusplus
extern "C" {
#endif

/* T rows, P = k T pairs, G groups: the smaller of P and the experts there are. Device memory. */
struct experts {
    float *logits;                /* (T, n_router): of E experts, then of the shared one's gate */
    int32_t *chosen;              /* (T, k) ids, best first */
    float *weights;               /* (T, k), then (T) of the shared expert */
    int32_t *pair_of;             /* (T, k): where the choice is in the order of pairs */
    int32_t *row_of;              /* (P) */
    struct product_group *groups; /* (G), by ascending expert */
    int32_t *n_groups;
    uint16_t *inputs; /* (P, C) bf16 */
    uint16_t *gated;  /* (P, F of an expert) bf16 */
    float *outputs;   /* (P, C) */
    int32_t max_pairs;
};

/* Of a layer. */
struct experts_layer {
    const float *router; /* (n_router, C): E rows, one more where there is a shared expert */
    const float *norm;   /* (C), NULL: none */
    float eps;
    int32_t n_embd, n_experts, n_used;
    bool has_shared, normed;
};

/* logits = router (x normed), of x (T, C) f32 */
int launch_router(const struct experts *e, const struct experts_layer *l, const float *x,
                  const struct pass *pass, int32_t capacity, cudaStream_t stream);
/* Of the logits: choices and their weights, groups, and h (T, C) in the order of pairs. */
int launch_choice(const struct experts *e, const struct experts_layer *l, const uint16_t *h,
                  const struct pass *pass, int32_t capacity, cudaStream_t stream);
/* y (T, C) = the sum, or x += it where y is NULL; shared: (T, C), what the shared expert gave, or
 * NULL; may be y. */
int launch_experts_sum(const struct experts *e, const struct experts_layer *l, const float *shared,
                       float *y, float *x, const struct pass *pass, int32_t capacity,
                       cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
