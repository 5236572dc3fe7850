/*
 * forward.h - one model over the rows of a pass.
 *
 * A pass is a list of spans, rows of one slot at consecutive positions, of which the last few may
 * want logits. It is cut into batches of at most max_rows rows; as no row's result depends on the
 * others, the cut changes no bit. Called by the leader of the pool, one pass at a time.
 */
#ifndef SPECD_CPU_FORWARD_H
#define SPECD_CPU_FORWARD_H

#include "attention.h"
#include "experts.h"
#include "kvmem.h"
#include "net.h"

struct forward_row {
    const int32_t *blocks;
    int32_t token, pos;
};

struct forward {
    struct pool *pool;
    const struct net *nets[MODEL_ROLES]; /* NULL: no such role */
    const struct kvmem *kv;
    const struct ops *ops;
    struct attention attention;
    struct experts experts;
    int max_rows;

    /* Activations, (max_rows, width) each; strides are the widths rounded up to whole cache lines,
     * of the widest layer of either model. */
    float *x;               /* (T, C) the residual stream */
    float *h;               /* (T, C) normalised, input of the matrices, where rows are many */
    float *q;               /* (T, H*D) */
    float *k, *v;           /* (T, G*D) */
    float *attn;            /* (T, H*D) */
    float *gate, *up;       /* (T, F) */
    float *rotation;        /* (T, 2, rope_dim): cosines and sines, as ops.h's rotate takes them */
    struct qrows quantised; /* (T, widest) what integer matrices multiply */
    enum activations activations;
    int embd_stride, q_stride, kv_stride, ff_stride, rope_stride;

    /* the batch being run */
    enum model_role role;
    const struct net *net;
    const struct net_layer *layer;
    int layer_index;
    struct span *spans; /* (n_slots) */
    int32_t n_spans;
    struct forward_row *rows; /* (max_rows) */
    int32_t *logit_rows;      /* (max_rows): rows that want logits */
    int n_rows, n_logits;
};

/* Where a pass's logits go: those of its i-th row that wants them to at + i * stride. */
struct pass_logits {
    float *at;
    size_t stride;
    /* (n_panels) of the output matrix, as matmul.h has them: logits of others are not computed, and
     * what stands there stays. NULL: all are. */
    const int32_t *panels;
    int n_panels;
};

void forward_layout(struct forward *f, const struct net *const nets[MODEL_ROLES],
                    const struct device_setup *setup, int threads, struct arena *a);
void forward_pass(struct forward *f, enum model_role role, const struct span *spans,
                  int32_t n_spans, const struct pass_logits *out);

#endif
