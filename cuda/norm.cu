/*
 * norm.cu - y = x / sqrt(mean(x^2) + eps) * w, f32 -> bf16, with what a block gave, normed where
 * the model wants it, added to the residual stream before. Norms of q and of k over all heads.
 *
 * A block a row. The order of the sum is the width's: thread t takes four neighbours at 4 t and
 * every 4 * THREADS on, a butterfly joins a warp's, and warps are added in ascending order.
 *
 * 6 C bytes a row, with a residual 14 C. Predicted on an H100, not measured: C = 4096 and 5 rows,
 * 0.3 MB out of L2, about 2.5 us: two passes over a row, which the second time comes from L1.
 */
#include "common.cuh"
#include "layer.h"

#define THREADS 256

/* The same value for all threads. */
DEVICE float block_sum(float mine)
{
    SHARED_ARRAY(float, of_warp, THREADS / WARP);
    float sum = 0.0f;

    for (int d = WARP / 2; d > 0; d /= 2)
        mine += __shfl_xor_sync(ALL_LANES, mine, d);
    if (threadIdx.x % WARP == 0)
        of_warp[threadIdx.x / WARP] = mine;
    __syncthreads();
    for (int i = 0; i < THREADS / WARP; i++)
        sum += of_warp[i];
    return sum;
}

DEVICE float squares_add(float sum, float4 v)
{
    sum = fmaf(v.x, v.x, sum);
    sum = fmaf(v.y, v.y, sum);
    sum = fmaf(v.z, v.z, sum);
    return fmaf(v.w, v.w, sum);
}

/* What a row is multiplied by, beside the weights. */
DEVICE float row_scale(const float *row, int width, float eps)
{
    float squares = 0.0f;

    for (int i = 4 * (int)threadIdx.x; i < width; i += 4 * THREADS)
        squares = squares_add(squares, *(const float4 *)(row + i));
    return 1.0f / sqrtf(block_sum(squares) / (float)width + eps);
}

DEVICE void row_norm(uint16_t *y, float *x, const float *o, const struct norm &n)
{
    float squares = 0.0f, o_scale = 1.0f;

    if (o && n.o_w) {
        o_scale = row_scale(o, n.width, n.eps);
        __syncthreads(); /* of_warp is read until here */
    }
    for (int i = 4 * (int)threadIdx.x; i < n.width; i += 4 * THREADS) {
        float4 v = *(const float4 *)(x + i);
        if (o) {
            float4 a = *(const float4 *)(o + i);
            if (n.o_w) {
                float4 w = *(const float4 *)(n.o_w + i);
                a = make_float4(a.x * o_scale * w.x, a.y * o_scale * w.y, a.z * o_scale * w.z,
                                a.w * o_scale * w.w);
            }
            v = make_float4(v.x + a.x, v.y + a.y, v.z + a.z, v.w + a.w);
            *(float4 *)(x + i) = v;
        }
        squares = squares_add(squares, v);
    }
    const float4 one = make_float4(1.0f, 1.0f, 1.0f, 1.0f);
    float scale = n.w ? 1.0f / sqrtf(block_sum(squares) / (float)n.width + n.eps) : 1.0f;
    for (int i = 4 * (int)threadIdx.x; i < n.width; i += 4 * THREADS) {
        float4 v = *(const float4 *)(x + i), w = n.w ? *(const float4 *)(n.w + i) : one;
        *(uint2 *)(y + i) = make_uint2(bf16_pair_of(v.x * scale * w.x, v.y * scale * w.y),
                                       bf16_pair_of(v.z * scale * w.z, v.w * scale * w.w));
    }
}

/* grid: capacity   block: THREADS */
static __global__ void __launch_bounds__(THREADS) norm_kernel(struct norm n, struct pass p)
{
    grid_release();
    grid_wait();
    int64_t at = (int64_t)blockIdx.x * n.width;

    if (p.rows[blockIdx.x].slot >= 0)
        row_norm(n.y + at, n.x + at, n.o ? n.o + at : NULL, n);
}

/* grid: capacity   block: THREADS */
static __global__ void __launch_bounds__(THREADS) logit_norm_kernel(struct norm n, struct pass p)
{
    grid_release();
    grid_wait();
    int i = (int)blockIdx.x;

    if (i >= p.counts->n_logits)
        return;
    int64_t from = (int64_t)p.logit_rows[i] * n.width;
    row_norm(n.y + (int64_t)i * n.width, n.x + from, n.o ? n.o + from : NULL, n);
}

/* grid: (capacity, 2)   block: THREADS */
static __global__ void __launch_bounds__(THREADS)
    wide_norms_kernel(struct wide_norms n, struct pass p)
{
    grid_release();
    grid_wait();
    int first = blockIdx.y == 0 ? 0 : n.widths[0];
    int width = blockIdx.y == 0 ? n.widths[0] : n.widths[1];
    float *x = n.x + (int64_t)blockIdx.x * n.stride + first;

    if (p.rows[blockIdx.x].slot < 0)
        return;
    float scale = row_scale(x, width, n.eps);
    for (int i = 4 * (int)threadIdx.x; i < width; i += 4 * THREADS) {
        float4 v = *(const float4 *)(x + i), w = *(const float4 *)(n.w + first + i);
        *(float4 *)(x + i) =
            make_float4(v.x * scale * w.x, v.y * scale * w.y, v.z * scale * w.z, v.w * scale * w.w);
    }
}

int launch_norm(const struct norm *n, const struct pass *pass, int32_t capacity,
                cudaStream_t stream)
{
    ASSERT(n->width % 8 == 0 && capacity <= pass->max_rows);
    LAUNCH(norm_kernel, (unsigned)capacity, THREADS, 0, stream, *n, *pass);
    return LAUNCH_RESULT();
}

int launch_wide_norms(const struct wide_norms *n, const struct pass *pass, int32_t capacity,
                      cudaStream_t stream)
{
    ASSERT(n->widths[0] % 4 == 0 && n->widths[1] % 4 == 0 && n->stride % 4 == 0);
    ASSERT(capacity <= pass->max_rows);
    LAUNCH(wide_norms_kernel, dim3((unsigned)capacity, 2), THREADS, 0, stream, *n, *pass);
    return LAUNCH_RESULT();
}

int launch_logit_norm(const struct norm *n, const struct pass *pass, int32_t capacity,
                      cudaStream_t stream)
{
    ASSERT(n->width % 8 == 0 && capacity <= pass->max_logits);
    LAUNCH(logit_norm_kernel, (unsigned)capacity, THREADS, 0, stream, *n, *pass);
    return LAUNCH_RESULT();
}
