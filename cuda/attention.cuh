/*
 * attention.cuh - what the kernels of attention share: queries of an item, keys and values of a
 * piece of a tile, weights, and the merge of two tiles.
 */
#ifndef SPECD_CUDA_ATTENTION_CUH
#define SPECD_CUDA_ATTENTION_CUH

#include "attention.h"
#include "common.cuh"
#include "specd/fixmath.h"

#include <math.h>

#define BLOCKS_OF_TILE (ATTENTION_TILE / SPECD_BLOCK_TOKENS)
#define COPY_BYTES 16
#define COPY_LANES 16 /* threads that copy one position together */

/* exp(x), x <= 0; what is below any use becomes nothing, and NaN stays NaN. */
DEVICE float attention_exp(float x)
{
    if (x < -87.0f)
        return 0.0f;
    return x == x ? fix_exp(x) : x;
}

/* What turns values x of one tile and y of those before into both's: y * a + x * b. */
struct blend {
    float a, b;
};

/* max and sum become those of both. */
DEVICE struct blend tiles_join(float *max, float *sum, float tile_max, float tile_sum)
{
    float both = fmaxf(*max, tile_max);
    struct blend w = {attention_exp(*max - both), attention_exp(tile_max - both)};

    *sum = fmaf(*sum, w.a, tile_sum * w.b);
    *max = both;
    return w;
}

DEVICE float blend_value(struct blend w, float y, float x)
{
    return fmaf(y, w.a, x * w.b);
}

/* An item for one kv head, and its span. */
struct work {
    struct attention_item item;
    struct pass_span span;
    int32_t kv_head;
};

DEVICE struct work work_at(const struct pass &p, int32_t i, int32_t n_kv_heads)
{
    struct work w;

    w.item = p.items[i / n_kv_heads];
    w.span = p.spans[w.item.span];
    w.kv_head = i % n_kv_heads;
    return w;
}

/* Query i of the item: its row within the span, its head, its position. */
DEVICE int32_t work_row(const struct work &w, int32_t group, int32_t i)
{
    return (w.item.first + i) / group;
}
DEVICE int32_t work_head(const struct work &w, int32_t group, int32_t i)
{
    return w.kv_head * group + (w.item.first + i) % group;
}
DEVICE int32_t work_position(const struct work &w, int32_t group, int32_t i)
{
    return w.span.pos + work_row(w, group, i);
}
/* The first position that a row at `pos` sees. */
DEVICE int32_t first_seen(const struct attention_input &in, int32_t pos)
{
    return in.window > 0 ? MAX(pos + 1 - in.window, 0) : 0;
}
/* Where query i is in q and out, in elements. */
DEVICE int64_t work_at_matrix(const struct work &w, const struct attention_input &in, int32_t i)
{
    int64_t row = w.span.row + work_row(w, in.group, i);

    return (row * in.kv.n_kv_heads * in.group + work_head(w, in.group, i)) * in.kv.head_dim;
}

/* Keys or values of position `at` of a tile. ids: the tile's blocks. */
DEVICE const char *piece_row(const struct kv_layer &kv, const int32_t *ids, int32_t kv_head,
                             bool values, int at, int row_bytes)
{
    int64_t block = MAX(ids[at / SPECD_BLOCK_TOKENS], 0); /* behind a window there may be none */
    int64_t plane = (block * 2 + values) * kv.n_kv_heads;
    int64_t row = (plane + kv_head) * SPECD_BLOCK_TOKENS + at % SPECD_BLOCK_TOKENS;

    return (const char *)kv.blocks + row * row_bytes;
}

/* Copies bf16 or f32 keys or values of positions first..first+n of a tile to shared memory,
 * `stride` bytes apart, and zeros behind them up to `rows` of them. Threads of the block share it;
 * copies are left under way. */
DEVICE void piece_copy(char *to, int stride, const struct kv_layer &kv, const int32_t *ids,
                       int32_t kv_head, bool values, int first, int n, int rows, int n_threads)
{
    int row_bytes = kv.head_dim * (kv.type == KV_F32 ? 4 : 2);

    for (int r = (int)threadIdx.x / COPY_LANES; r < rows; r += n_threads / COPY_LANES) {
        const char *from = piece_row(kv, ids, kv_head, values, first + MIN(r, n - 1), row_bytes);
        for (int i = (int)threadIdx.x % COPY_LANES * COPY_BYTES; i < row_bytes;
             i += COPY_LANES * COPY_BYTES)
            copy_async(to + r * stride + i, from + i, r < n ? COPY_BYTES : 0);
    }
}

/* The same of KV_FP8, in two steps: bytes of positions first..first+n to `stage`, rows * dim bytes,
 * then bf16 to where piece_copy would bring it. A thread widens what it has copied, so that nothing
 * but its own copy_wait is between the steps, nor between the second and the next piece's first. */
DEVICE void piece_stage(char *stage, const struct kv_layer &kv, const int32_t *ids, int32_t kv_head,
                        bool values, int first, int n, int dim, int rows, int n_threads)
{
    int copies = dim / COPY_BYTES;

    for (int i = (int)threadIdx.x; i < rows * copies; i += n_threads) {
        int r = i / copies;
        const char *from = piece_row(kv, ids, kv_head, values, first + MIN(r, n - 1), dim);
        copy_async(stage + i * COPY_BYTES, from + (i - r * copies) * COPY_BYTES,
                   r < n ? COPY_BYTES : 0);
    }
}

DEVICE void piece_widen(char *to, int stride, const char *stage, int dim, int rows, int n_threads)
{
    int copies = dim / COPY_BYTES;

    for (int i = (int)threadIdx.x; i < rows * copies; i += n_threads) {
        uint4 in = ((const uint4 *)stage)[i];
        uint4 *out = (uint4 *)(to + i / copies * stride + i % copies * 2 * COPY_BYTES);
        uint2 a = bf16_of_fp8(in.x), b = bf16_of_fp8(in.y);
        uint2 c = bf16_of_fp8(in.z), d = bf16_of_fp8(in.w);
        out[0] = {a.x, a.y, b.x, b.y};
        out[1] = {c.x, c.y, d.x, d.y};
    }
}

/* Where the values of query i for the item's tile go, then its maximum and its sum. */
DEVICE float *work_partial(const struct work &w, const struct attention_input &in, int32_t i)
{
    int32_t tiles = (w.span.pos + w.span.n + ATTENTION_TILE - 1) / ATTENTION_TILE;
    int64_t of_row = w.span.partial + work_row(w, in.group, i) * tiles + w.item.tile;
    int64_t head = of_row * in.kv.n_kv_heads * in.group + work_head(w, in.group, i);

    return in.partial + head * (in.kv.head_dim + 2);
}

/* attention_merge.cu: the second stage, of partial results. */
int launch_merge(const struct pass *pass, const struct attention_input *in, int n_blocks,
                 cudaStream_t stream);

/* Bytes from one position of a piece, or one query, to the next: eight neighbouring rows are in
 * different banks. */
static __host__ __device__ inline int piece_stride(int dim, int width)
{
    return dim * width + COPY_BYTES;
}

/* Blocks of the tile's first n positions, from the slot's table. */
DEVICE void tile_ids(int32_t *ids, const struct device_state &s, const struct kv_layer &kv,
                     int32_t slot, int32_t tile, int n)
{
    for (int i = (int)threadIdx.x; i * SPECD_BLOCK_TOKENS < n; i += (int)blockDim.x)
        ids[i] = s.slots[slot].blocks[kv.entries + tile * BLOCKS_OF_TILE + i];
}

#endif
