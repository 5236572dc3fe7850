/*
 * experts.h - the feed-forward of layers with experts: of E of them, the k that a router picks.
 *
 * A row's k choices are its pairs. Pairs are put in order by expert, and the rows of an expert are
 * multiplied by its matrices in one go, so that each chosen expert is read once a batch. What a row
 * gets depends on nothing but the row:
 *   choice   the k largest logits, ties to the lower id
 *   weights  exp(z - max) over their sum, that of all E in the order of ops.h's exp_sum, or,
 * normed, of the chosen in the order of choice sum      the shared expert's, then the chosen ones'
 * in the order of choice, each multiplied and added in two roundings A row whose logits are NaN
 * gets NaN. Called by the leader of the pool, a layer at a time.
 */
#ifndef SPECD_CPU_EXPERTS_H
#define SPECD_CPU_EXPERTS_H

#include "matmul.h"
#include "net.h"
#include "ops.h"

struct pair {
    int32_t row;       /* of the batch */
    int32_t group, at; /* which rows it is multiplied with, and its place among them */
};

/* P pairs of T rows: k times as many. Strides are widths rounded up to whole cache lines, of the
 * wider model. */
struct experts {
    float *logits;    /* (T, E), then exp(z - max) */
    float *gates;     /* (T): logit of the shared expert's gate */
    float *inputs;    /* (P, C), then what the experts gave */
    float *gate, *up; /* (P, F of an expert) */
    int32_t *chosen;  /* (T, k) ids, best first */
    float *weights;   /* (T, k) */
    int32_t *pair_of; /* (T, k): where the choice is in the order of pairs */
    struct pair *pairs;
    int32_t *ends;               /* (E): where the pairs of each expert end */
    struct matmul_group *groups; /* (n_groups, at most min(E, P)) of the experts that were chosen */
    struct matmul_job *jobs;     /* 2 of each */
    struct qrows *quantised;     /* of each, their places in `room` */
    struct qrows room;           /* P rows of 8 bits */
    int n_groups;
    int embd_stride, ff_stride, logits_stride;
};

/* The rows of a layer. */
struct experts_run {
    struct pool *pool;
    const struct ops *ops;
    const struct net *net;
    const struct net_layer *layer;
    int n_rows;
    matmul_row_fn *make; /* makes the input of row i */
    const void *arg;
    bool integers; /* integer weights multiply rows of 8 bits */
    /* (T, C): holds what the shared expert gave, where the layer has one; gets the sum. */
    float *y;
    int y_stride;
};

/* NULL nets are left out. Takes nothing if no net has experts. */
void experts_layout(struct experts *x, const struct net *const nets[MODEL_ROLES], int max_rows,
                    bool integers, struct arena *a);
/* After the logits, and the gates where there is a shared expert, were made. */
void experts_run(struct experts *x, const struct experts_run *run);

#endif
