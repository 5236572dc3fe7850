/*
 * attention.h - causal grouped-query attention of a pass's rows over the KV blocks.
 *
 *   out(row, h) = sum over j <= position of softmax_j(q(row, h) . k(j, h / group)) v(j, h / group)
 *
 * In a layer with a window w, over position - w < j <= position: nothing behind the block of a
 * pass's earliest such j is looked at.
 *
 * The order of every addition is a function of the row's own position: positions come in tiles of
 * ATTENTION_TILE counted from 0, a tile's maximum, sum and values are accumulated position by
 * position, and tiles are merged in ascending order. Which thread does what is chosen per pass and
 * changes no bit: rows of a slot that share a kv head are done together, so that their keys and
 * values are read once, and when there are few of these the tiles of one are done by several
 * threads and merged in a second stage.
 */
#ifndef SPECD_CPU_ATTENTION_H
#define SPECD_CPU_ATTENTION_H

#include "arena.h"
#include "kvmem.h"
#include "net.h"
#include "ops.h"

#include <stdatomic.h>

/* Positions merged at a time; a multiple of every block size. */
#define ATTENTION_TILE 256

/* Consecutive rows of one slot in a pass. */
struct span {
    const int32_t *tokens, *blocks; /* the slot's */
    int32_t pos, n;                 /* rows at positions pos..pos+n */
    int32_t n_logits;               /* of these, the last so many want logits */
    int32_t row;                    /* of the pass: set by forward.c */
};

/* Rows row..row+n_rows of a span, one kv head, some tiles. */
struct attention_item {
    int32_t span, head, row, n_rows, tile, n_tiles;
};

struct attention_scratch; /* a thread's own */

struct attention {
    const struct ops *ops;
    struct attention_scratch *scratch; /* (threads) */
    struct attention_item *items;
    int32_t n_items, max_items;
    int rows_at_once; /* of an item, at most */
    atomic_int next;
    bool split;             /* items leave partial results for a second stage */
    int32_t *first_partial; /* (spans): partials of a span are (rows, H, tiles) */
    int32_t max_spans, max_partials;
    float *partial_max, *partial_sum; /* (max_partials) */
    float *partial_values;            /* (max_partials, width) */
    int width;                        /* floats of a row of values, of the wider net */

    /* the pass being run */
    const struct kvmem *kv;
    const struct net *net;
    enum model_role role;
    const struct span *spans;
    int32_t n_spans;
    int threads;
    int n_heads, n_kv_heads; /* that items are for, those of the layer; 0: for none yet */
    int layer, window;       /* the layer's; 0: none */
    const float *q;
    float *out;
    int q_stride, out_stride;
};

/* Memory for passes of up to max_rows rows of these nets (either may be NULL). */
void attention_layout(struct attention *at, const struct net *const nets[MODEL_ROLES],
                      const struct device_setup *setup, int threads, struct arena *a);

/* A pass begins, of which every layer is one attention_run. Work is divided anew only where a layer
 * has other numbers of heads than the one before. spans: as long as the pass. */
void attention_begin(struct attention *at, const struct kvmem *kv, const struct net *net,
                     enum model_role role, const struct span *spans, int32_t n_spans, int threads);
/* q: (T, H*D), scaled and rotated; its rows' keys and values are in the blocks. */
void attention_run(struct attention *at, struct pool *pool, int layer, const float *q, int q_stride,
                   float *out, int out_stride);

#endif
