/*
 * kvmem.h - the KV pool: keys and values of every layer of both models, in blocks of
 * SPECD_BLOCK_TOKENS positions.
 *
 * Block b of a sequence's table holds positions b * SPECD_BLOCK_TOKENS and on. Memory is ordered
 * (role, layer, block), so that a pass over one layer reads near addresses, and a block's part is
 *   keys   (G, D, SPECD_BLOCK_TOKENS)   transposed: a query meets many positions at once
 *   values (G, SPECD_BLOCK_TOKENS, D)
 * in bf16 or f32. Rows are written by the pass that computes them, before any row of it attends;
 * different rows may be written by different threads at once.
 */
#ifndef SPECD_CPU_KVMEM_H
#define SPECD_CPU_KVMEM_H

#include "arena.h"
#include "net.h"
#include "ops.h"

struct kvmem_role {
    int n_layers, n_kv_heads, head_dim;
    size_t part_bytes; /* keys and values of one layer in one block */
    char *data;
};

struct kvmem {
    enum kv_type type;
    int32_t n_blocks;
    struct kvmem_role roles[MODEL_ROLES];
};

/* Sizes for nets (either may be NULL: no rows of that role). Blocks: none yet. */
void kvmem_init(struct kvmem *kv, const struct net *const nets[MODEL_ROLES], enum kv_type type);
/* false if it does not fit a size_t. */
bool kvmem_block_bytes(const struct kvmem *kv, size_t *bytes);
void kvmem_layout(struct kvmem *kv, int32_t n_blocks, struct arena *a);

/* One row's key and value of every kv head, (G, D) each. */
void kvmem_write(const struct kvmem *kv, enum model_role role, int layer, int32_t block, int offset,
                 const float *k, const float *v);
/* Keys of positions pos..pos+n as (D, n) with row stride `stride`, or values as (n, D). pos is a
 * block's first position; keys are read in whole blocks, so a row needs room for n rounded up. */
void kvmem_keys(const struct kvmem *kv, const struct ops *ops, enum model_role role, int layer,
                int head, const int32_t *blocks, int pos, int n, float *out, int stride);
void kvmem_values(const struct kvmem *kv, const struct ops *ops, enum model_role role, int layer,
                  int head, const int32_t *blocks, int pos, int n, float *out, int stride);
#endif
