/*
 * qkv.cu - products of q, k and v -> rotated and scaled queries, keys and values in the pool.
 *
 * A warp a head. It sees a head as D / 2 pairs of elements: those that rotate together, then those
 * past rope_dim two by two; a lane has every 32nd pair, so both layouts of the rotation are read
 * side by side and nothing moves between lanes but the sum of a norm.
 *
 * For a row of H query and G kv heads 4 D (H + 2 G) bytes in, half of that out (bf16). Predicted on
 * an H100, not measured: H = 32, G = 8, D = 128 and 5 rows, 0.2 MB out of L2, about 2.5 us.
 */
#include "common.cuh"
#include "layer.h"

#include <math.h>

#define WARPS 4
#define PAIRS (ATTENTION_DIM_MAX / 2 / WARP) /* of a lane, at most */

enum part_of_qkv { PART_Q, PART_K, PART_V };

struct pair {
    int a, b; /* where its elements are */
};

DEVICE struct pair pair_at(const struct qkv &in, enum part_of_qkv part, int i)
{
    bool halves = part != PART_V && in.rope == ROPE_HALVES && i < in.rope_dim / 2;
    struct pair p = {2 * i, 2 * i + 1};

    if (halves) {
        p.a = i;
        p.b = i + in.rope_dim / 2;
    }
    return p;
}

/* Of both lanes' and all pairs' squares, the same for all lanes. */
DEVICE float head_scale(const float x[PAIRS], const float y[PAIRS], int dim, float eps)
{
    float squares = 0.0f;

    for (int j = 0; j < PAIRS; j++) {
        squares = fmaf(x[j], x[j], squares);
        squares = fmaf(y[j], y[j], squares);
    }
    for (int d = WARP / 2; d > 0; d /= 2)
        squares += __shfl_xor_sync(ALL_LANES, squares, d);
    return 1.0f / sqrtf(squares / (float)dim + eps);
}

/* Where a row's key or value of one kv head lies in the pool, in elements. */
DEVICE int64_t kv_at(const struct kv_layer &kv, int32_t block, bool value, int head, int32_t pos)
{
    int64_t plane = ((int64_t)block * 2 + value) * kv.n_kv_heads + head;

    return (plane * SPECD_BLOCK_TOKENS + pos % SPECD_BLOCK_TOKENS) * kv.head_dim;
}

DEVICE void pair_store_kv(const struct kv_layer &kv, int64_t at, struct pair p, float x, float y)
{
    if (kv.type == KV_F32) {
        ((float *)kv.blocks)[at + p.a] = x;
        ((float *)kv.blocks)[at + p.b] = y;
        return;
    }
    if (kv.type == KV_FP8) {
        ((struct fp8 *)kv.blocks)[at + p.a] = fp8_of_float(x);
        ((struct fp8 *)kv.blocks)[at + p.b] = fp8_of_float(y);
        return;
    }
    uint16_t *to = (uint16_t *)kv.blocks + at;
    uint32_t both = bf16_pair_of(x, y);
    to[p.a] = (uint16_t)both;
    to[p.b] = (uint16_t)(both >> 16);
}

/* grid: (ceil((H + 2 G) / WARPS), capacity)   block: WARPS warps */
static __global__ void __launch_bounds__(WARPS *WARP)
    qkv_kernel(struct qkv in, struct device_state s, struct pass p)
{
    grid_release();
    grid_wait();
    int dim = in.kv.head_dim, n_kv = in.kv.n_kv_heads, lane = (int)threadIdx.x % WARP;
    int head = (int)blockIdx.x * WARPS + (int)threadIdx.x / WARP, n_heads = in.n_heads + 2 * n_kv;
    struct pass_row row = p.rows[blockIdx.y];
    float x[PAIRS], y[PAIRS];

    if (row.slot < 0 || head >= n_heads)
        return;
    enum part_of_qkv part = head < in.n_heads ? PART_Q : head < in.n_heads + n_kv ? PART_K : PART_V;
    const float *from = in.qkv + ((int64_t)blockIdx.y * n_heads + head) * dim;
    const float *bias = in.bias ? in.bias + (int64_t)head * dim : NULL;
    const float *norm = part == PART_Q ? in.q_norm : part == PART_K ? in.k_norm : NULL;
    const float2 *rotation = (const float2 *)in.rotation + (int64_t)row.pos * (in.rope_dim / 2);

    UNROLL
    for (int j = 0; j < PAIRS; j++) {
        int i = lane + WARP * j;
        struct pair e = pair_at(in, part, i);
        x[j] = i < dim / 2 ? from[e.a] : 0.0f;
        y[j] = i < dim / 2 ? from[e.b] : 0.0f;
        if (bias && i < dim / 2) {
            x[j] += bias[e.a];
            y[j] += bias[e.b];
        }
    }
    float scale = norm ? head_scale(x, y, dim, in.eps) : 1.0f;
    UNROLL
    for (int j = 0; j < PAIRS; j++) {
        int i = lane + WARP * j;
        struct pair e = pair_at(in, part, i);
        if (i >= dim / 2)
            break;
        float a = norm ? x[j] * scale * norm[e.a] : x[j];
        float b = norm ? y[j] * scale * norm[e.b] : y[j];
        if (part != PART_V && i < in.rope_dim / 2) {
            float2 r = rotation[i];
            float turned = a * r.x - b * r.y;
            b = a * r.y + b * r.x;
            a = turned;
        }
        if (part == PART_Q) {
            uint16_t *to = in.q + ((int64_t)blockIdx.y * in.n_heads + head) * dim;
            uint32_t both = bf16_pair_of(a * in.q_scale, b * in.q_scale);
            to[e.a] = (uint16_t)both;
            to[e.b] = (uint16_t)(both >> 16);
            continue;
        }
        int32_t block = s.slots[row.slot].blocks[in.kv.entries + row.pos / SPECD_BLOCK_TOKENS];
        if (block < 0)
            __trap();
        int kv_head = (head - in.n_heads) % n_kv;
        pair_store_kv(in.kv, kv_at(in.kv, block, part == PART_V, kv_head, row.pos), e, a, b);
    }
}

void rope_table(float *rotation, const float *inv_freq, float magnitude, int32_t rope_dim,
                int32_t first, int32_t n)
{
    for (int32_t pos = first; pos < first + n; pos++) {
        for (int32_t i = 0; i < rope_dim / 2; i++) {
            double angle = (double)pos * (double)inv_freq[i];
            *rotation++ = (float)(cos(angle) * (double)magnitude);
            *rotation++ = (float)(sin(angle) * (double)magnitude);
        }
    }
}

int launch_qkv(const struct qkv *in, const struct device_state *state, const struct pass *pass,
               int32_t capacity, cudaStream_t stream)
{
    int heads = in->n_heads + 2 * in->kv.n_kv_heads;

    ASSERT(in->rope_dim % 2 == 0 && in->rope_dim <= in->kv.head_dim && capacity <= pass->max_rows);
    if (!kv_layer_is_supported(&in->kv))
        return SPECD_EINVAL;
    LAUNCH(qkv_kernel, dim3((unsigned)((heads + WARPS - 1) / WARPS), (unsigned)capacity),
           WARPS * WARP, 0, stream, *in, *state, *pass);
    return LAUNCH_RESULT();
}
