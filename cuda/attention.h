/*
 * attention.h - the KV pool on the device, and causal grouped-query attention of a pass's rows.
 *
 *   out(row, h) = sum over j <= position of softmax_j(q(row, h) . k(j, h / group)) v(j, h / group)
 *
 * In a layer with a window w, over position - w < j <= position. What the pool holds behind it may
 * be anything, but the table's entries are blocks of the pool: some are read and then left out.
 *
 * The pool. Memory is ordered (role, layer, block), as on the CPU; a layer of one model is
 *   (n_blocks, 2, G, SPECD_BLOCK_TOKENS, D)
 * first keys, then values, a position's D numbers side by side: the operands of the matrix unit as
 * it wants them, and a row to be stored in one piece. KV_FP8 is e4m3 without a scale: numbers from
 * 448 on are stored as 448, NaN and infinity as NaN (fp8_of_float of ptx.cuh). Kernels widen it to
 * bf16, exactly, on its way to where they read bf16, so what is said below of bf16 holds, and equal
 * numbers give equal bits. Positions of a sequence are found through its slot's block table.
 *
 * One order. Every bit of a row's result follows from its query, its sequence's keys and values and
 * its position. Positions come in tiles of ATTENTION_TILE counted from 0; a tile's maximum, sum and
 * values are formed in an order that only the position in the tile decides, and tiles are merged in
 * ascending order. Whether a tile is an item of its own whose result waits in memory, or one block
 * does all tiles of its queries, how queries are packed into items and items given to blocks,
 * changes nothing. The exponential is fix_exp of specd/fixmath.h, so that no library decides.
 */
#ifndef SPECD_CUDA_ATTENTION_H
#define SPECD_CUDA_ATTENTION_H

#include "state.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ATTENTION_TILE 256 /* positions; a multiple of every block's */
#define ATTENTION_DIM_MAX 256

/* Queries of an item: for launch_attention with passes of one or two rows to a slot, or with more,
 * and for launch_attention_matrix. */
#define ATTENTION_QUERIES_FEW 8
#define ATTENTION_QUERIES_MANY 32
#define ATTENTION_QUERIES_MATRIX 64

/* Pieces of 64 positions' keys or values that launch_attention holds in shared memory, one in use
 * and the others on their way: 2 .. 8, a whole tile's. The result does not depend on it. With 8
 * memory's latency is met once a tile instead of 8 times; D = 128 in bf16 then takes 139 KB. */
#define ATTENTION_PIECES 2
#define ATTENTION_PIECES_MAX 8

struct kv_layer {
    void *blocks; /* (n_blocks, 2, G, SPECD_BLOCK_TOKENS, D) of the type, 16-byte aligned */
    enum kv_type type;
    int32_t n_kv_heads, head_dim; /* G, D: a multiple of 8, at most ATTENTION_DIM_MAX */
    int32_t entries;              /* where its blocks begin in a slot's table */
};

/* Whether the kernels can: positions are copied by 16 bytes, so with KV_FP8 D is a multiple of 16.
 * Launchers of a layer that is not supported return SPECD_EINVAL. */
static inline bool kv_layer_is_supported(const struct kv_layer *kv)
{
    return kv->head_dim > 0 && kv->head_dim <= ATTENTION_DIM_MAX &&
           kv->head_dim % (kv->type == KV_FP8 ? 16 : 8) == 0;
}

static inline size_t kv_layer_block_bytes(const struct kv_layer *kv)
{
    return 2 * (size_t)kv->n_kv_heads * SPECD_BLOCK_TOKENS * (size_t)kv->head_dim *
           (kv->type == KV_FP8   ? 1
            : kv->type == KV_F32 ? 4
                                 : 2);
}

struct attention_input {
    const uint16_t *q; /* (T, H, D) bf16, rotated and scaled; 16-byte aligned */
    uint16_t *out;     /* (T, H, D) bf16; 8-byte aligned */
    struct kv_layer kv;
    int32_t group;       /* H / G, >= 1 */
    int32_t window;      /* positions that a row sees; 0: all up to its own */
    int32_t capacity;    /* rows the pass was made for: no more of them wait for a merge */
    int32_t pieces_held; /* ATTENTION_PIECES, or what is tried */
    float *partial; /* attention_partial_floats(...) of them; unused if pass.max_partials is 0 */
};

/* Room for n results of one row and one tile. */
static inline size_t attention_partial_floats(int32_t n, int32_t n_heads, int32_t head_dim)
{
    return (size_t)n * (size_t)n_heads * (size_t)(head_dim + 2);
}

/* Of a block's shared memory, the most that the launches below ask for. */
size_t attention_shared_bytes(const struct kv_layer *kv);

/* queries: as the pass was made with, ATTENTION_QUERIES_FEW or _MANY. n_blocks: of the grid; one
 * block takes every n_blocks-th item; 4 for each multiprocessor, 2 with _MANY. Two launches, the
 * second nothing but the merge of tiles; one if pass.max_partials is 0. */
int launch_attention(const struct device_state *state, const struct pass *pass,
                     const struct attention_input *in, int queries, int n_blocks,
                     cudaStream_t stream);

/* The same on the matrix units, for KV_BF16, KV_FP8 and D = 64, 80, 96, 128 or 256; other D are
 * SPECD_EINVAL. The pass was made with ATTENTION_QUERIES_MATRIX. Weights are rounded to bf16, so
 * its bits are not launch_attention's, but they depend on the same things alone: whoever wants a
 * row to have one result, in a prompt or not, sends all rows of a model to one of the two.
 * n_blocks: 2 for each multiprocessor, 1 with D = 256. */
int launch_attention_matrix(const struct device_state *state, const struct pass *pass,
                            const struct attention_input *in, int n_blocks, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
