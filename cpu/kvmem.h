/*
 * kvmem.h - the KV pool: keys and values of every layer of both models, in blocks of
 * SPECD_BLOCK_TOKENS positions.
 *
 * Block b of a sequence's table holds positions b * SPECD_BLOCK_TOKENS and on. Memory is ordered
 * (role, layer, head, keys or values, block), so that a head's keys of a sequence whose blocks are
 * neighbours are one stream: read in pieces of 2 KB, far apart, they come at less than half the
 * speed. A head's part of a block is
 *   keys   (D, KV_LANES)             transposed: a query meets many positions at once
 *   values (SPECD_BLOCK_TOKENS, W)   W: D rounded up to a multiple of KV_LANES
 * in f32, or in bf16 with rows 2p and 2p + 1 of either interleaved, (D / 2, KV_LANES, 2); an
 * odd D's last row has an empty partner. So one load of 32-bit lanes is two rows. Rows of a pass
 * are written by the pass that computes them, before any row of it attends; different rows may be
 * written by different threads at once.
 */
#ifndef SPECD_CPU_KVMEM_H
#define SPECD_CPU_KVMEM_H

#include "arena.h"
#include "net.h"
#include "ops.h"

struct kvmem_layer {
    int n_kv_heads;
    bool windowed; /* it may be of a group of its own */
    char *data;
};

struct kvmem_role {
    int n_layers, head_dim;
    int width;                       /* of a row of values */
    size_t keys_bytes, values_bytes; /* of one head in one block */
    struct kvmem_layer layers[MODEL_LAYERS_MAX];
};

struct kvmem {
    enum kv_type type;
    int32_t n_blocks, n_window_blocks; /* 0: windowed layers are in the n_blocks */
    int32_t window_entries;            /* where theirs begin in a slot's table */
    struct kvmem_role roles[MODEL_ROLES];
};

/* Floats of a row of values, or pairs of bf16. */
int kvmem_width(int head_dim);
/* Sizes for nets (either may be NULL: no rows of that role). Blocks: none yet. */
void kvmem_init(struct kvmem *kv, const struct net *const nets[MODEL_ROLES], enum kv_type type);
/* As device_plan has them. false if they do not fit a size_t. */
bool kvmem_block_bytes(const struct kvmem *kv, size_t *bytes, size_t *window_bytes);
/* entries: of a slot's table for a whole context. */
void kvmem_layout(struct kvmem *kv, int32_t n_blocks, int32_t n_window_blocks, int32_t entries,
                  struct arena *a);
/* Where in a slot's table the layer's blocks are. */
int32_t kvmem_entries(const struct kvmem *kv, enum model_role role, int layer);

/* One row's key and value of every kv head of the layer, (G, D) each. */
void kvmem_write(const struct kvmem *kv, enum model_role role, int layer, int32_t block, int offset,
                 const float *k, const float *v);
/* Where a head's keys and values of a block are. */
void *kvmem_keys(const struct kvmem *kv, enum model_role role, int layer, int head, int32_t block);
void *kvmem_values(const struct kvmem *kv, enum model_role role, int layer, int head,
                   int32_t block);

#endif
