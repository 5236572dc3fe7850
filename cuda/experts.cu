/*
 * experts.cu - router, choice, order of pairs, sum: experts.h says what.
 *
 * Orders of sums are those of widths alone. A logit: lane l of a warp takes four neighbours at 4 l
 * and every 128 on, a butterfly joins lanes. Weights: lane l takes experts l, l + 32 ..., the same.
 *
 * Predicted on an H200, not measured, E = 128, C = 2048, k = 8: the router's 1 MB at 5 rows, 2 us;
 * choice and order some 5 us, two small kernels; inputs and sum of 40 pairs 0.7 MB out of L2, 3 us.
 * A prompt's 2048 rows: order 50 us (two scans of 16384 choices by one block), inputs and sum 0.3
 * GB, 100 us.
 */
#include "experts.h"

#include "common.cuh"
#include "specd/fixmath.h"

#define THREADS 256
#define WARPS (THREADS / WARP)
#define ORDER_THREADS 1024

DEVICE float lanes_sum(float mine)
{
    for (int d = WARP / 2; d > 0; d /= 2)
        mine += __shfl_xor_sync(ALL_LANES, mine, d);
    return mine;
}

/* ---- the router ------------------------------------------------------------------------------ */

/* What a row is multiplied by, beside the norm's weights. */
DEVICE float row_scale(const float *x, const struct experts_layer &l)
{
    SHARED_ARRAY(float, of_warp, WARPS);
    float squares = 0.0f, sum = 0.0f;

    for (int i = (int)threadIdx.x; i < l.n_embd; i += THREADS)
        squares = fmaf(x[i], x[i], squares);
    squares = lanes_sum(squares);
    if (threadIdx.x % WARP == 0)
        of_warp[threadIdx.x / WARP] = squares;
    __syncthreads();
    for (int i = 0; i < WARPS; i++)
        sum += of_warp[i];
    return l.norm ? 1.0f / sqrtf(sum / (float)l.n_embd + l.eps) : 1.0f;
}

/* grid: (capacity, parts of the router's rows)   block: THREADS, a warp a row of the router */
static __global__ void __launch_bounds__(THREADS)
    router_kernel(struct experts e, struct experts_layer l, const float *x, struct pass p)
{
    grid_release();
    grid_wait();
    int lane = (int)threadIdx.x % WARP, n_router = l.n_experts + l.has_shared;
    int r = (int)blockIdx.y * WARPS + (int)threadIdx.x / WARP;
    float sum = 0.0f;

    if (p.rows[blockIdx.x].slot < 0)
        return;
    x += (int64_t)blockIdx.x * l.n_embd;
    float scale = row_scale(x, l);
    if (r >= n_router)
        return;
    const float4 one = make_float4(1.0f, 1.0f, 1.0f, 1.0f);
    const float *w = l.router + (int64_t)r * l.n_embd;
    for (int i = 4 * lane; i < l.n_embd; i += 4 * WARP) {
        float4 a = *(const float4 *)(w + i), b = *(const float4 *)(x + i);
        float4 n = l.norm ? *(const float4 *)(l.norm + i) : one;
        sum = fmaf(a.x, b.x * scale * n.x, sum);
        sum = fmaf(a.y, b.y * scale * n.y, sum);
        sum = fmaf(a.z, b.z * scale * n.z, sum);
        sum = fmaf(a.w, b.w * scale * n.w, sum);
    }
    sum = lanes_sum(sum);
    if (lane == 0)
        e.logits[(int64_t)blockIdx.x * n_router + r] = sum;
}

int launch_router(const struct experts *e, const struct experts_layer *l, const float *x,
                  const struct pass *pass, int32_t capacity, cudaStream_t stream)
{
    int parts = (l->n_experts + l->has_shared + WARPS - 1) / WARPS;

    ASSERT(l->n_embd % 8 == 0 && capacity <= pass->max_rows);
    LAUNCH(router_kernel, dim3((unsigned)capacity, (unsigned)parts), THREADS, 0, stream, *e, *l, x,
           *pass);
    return LAUNCH_RESULT();
}

/* ---- the choice ------------------------------------------------------------------------------ */

/* exp(z - max), z at most max; NaN stays NaN. */
DEVICE float weight_of(float z, float max)
{
    float t = z - max;

    return t >= -87.0f ? fix_exp(t) : t != t ? t : 0.0f;
}

/* grid: capacity   block: a warp */
static __global__ void choose_kernel(struct experts e, struct experts_layer l, struct pass p)
{
    grid_release();
    grid_wait();
    int lane = (int)threadIdx.x, row = (int)blockIdx.x, E = l.n_experts;
    const float *z = e.logits + (int64_t)row * (E + l.has_shared);
    float *weights = e.weights + (int64_t)row * l.n_used;
    uint64_t last = UINT64_MAX;
    float max = 0.0f, sum = 0.0f;

    if (p.rows[row].slot < 0)
        return;
    for (int i = 0; i < l.n_used; i++) { /* the best of those behind the last one */
        uint64_t best = 0;
        for (int j = lane; j < E; j += WARP) {
            uint64_t key = key_of_entry(z[j] == z[j] ? z[j] : -INFINITY, j); /* keys have no NaN */
            best = key < last && key > best ? key : best;
        }
        for (int d = WARP / 2; d > 0; d /= 2) {
            uint64_t other = __shfl_xor_sync(ALL_LANES, best, d);
            best = other > best ? other : best;
        }
        last = best;
        int32_t id = id_of_key(best);
        max = i == 0 ? z[id] : max;
        if (l.normed)
            sum += weight_of(z[id], max);
        if (lane == 0)
            e.chosen[(int64_t)row * l.n_used + i] = id;
    }
    for (int j = lane; j < E && !l.normed; j += WARP)
        sum += weight_of(z[j], max);
    sum = l.normed ? sum : lanes_sum(sum);
    __syncthreads();
    for (int i = lane; i < l.n_used; i += WARP)
        weights[i] = weight_of(z[e.chosen[(int64_t)row * l.n_used + i]], max) / sum;
    if (lane == 0 && l.has_shared)
        e.weights[(int64_t)p.max_rows * l.n_used + row] = 1.0f / (1.0f + weight_of(-z[E], 0.0f));
}

/* ---- the order of pairs ---------------------------------------------------------------------- */

/* Calls f(i) in ascending order of the choices i of an expert, by the lane that has it, with the
 * number of those before it; returns how many there are. */
template <class F> DEVICE int32_t each_choice(const int32_t *chosen, int n, int expert, F f)
{
    int lane = (int)threadIdx.x % WARP;
    int32_t before = 0;

    for (int first = 0; first < n; first += WARP) {
        bool is = first + lane < n && chosen[first + lane] == expert;
        unsigned who = __ballot_sync(ALL_LANES, is);
        if (is)
            f(first + lane, before + __popc(who & ((1u << lane) - 1)));
        before += __popc(who);
    }
    return before;
}

/* One block: which pairs each expert has, and where. A warp takes every 32nd expert.
 * dynamic smem: (E + 1) counts, then places */
static __global__ void __launch_bounds__(ORDER_THREADS)
    order_kernel(struct experts e, int32_t n_experts, int32_t n_used, struct pass p)
{
    grid_release();
    grid_wait();
    DYNAMIC_SHARED(int32_t, first);
    int n = p.counts->n_rows * n_used, warp = (int)threadIdx.x / WARP;

    for (int i = warp; i < n_experts; i += ORDER_THREADS / WARP) {
        int32_t count = each_choice(e.chosen, n, i, [](int, int32_t) {});
        if (threadIdx.x % WARP == 0)
            first[i] = count;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        int32_t at = 0, groups = 0;
        for (int i = 0; i < n_experts; i++) {
            int32_t count = first[i];
            if (count > 0)
                e.groups[groups++] = {i, at, count};
            first[i] = at;
            at += count;
        }
        *e.n_groups = groups;
    }
    __syncthreads();
    for (int i = warp; i < n_experts; i += ORDER_THREADS / WARP) {
        int32_t start = first[i];
        each_choice(e.chosen, n, i, [&](int choice, int32_t before) {
            e.pair_of[choice] = start + before;
            e.row_of[start + before] = choice / n_used;
        });
    }
}

/* grid: pairs of the capacity   block: THREADS */
static __global__ void __launch_bounds__(THREADS)
    inputs_kernel(struct experts e, const uint16_t *h, int32_t n_embd, int32_t n_used,
                  struct pass p)
{
    grid_release();
    grid_wait();
    int64_t pair = blockIdx.x;

    if (pair >= (int64_t)p.counts->n_rows * n_used)
        return;
    const uint4 *from = (const uint4 *)(h + (int64_t)e.row_of[pair] * n_embd);
    uint4 *to = (uint4 *)(e.inputs + pair * n_embd);
    for (int i = (int)threadIdx.x; i < n_embd / 8; i += THREADS)
        to[i] = from[i];
}

int launch_choice(const struct experts *e, const struct experts_layer *l, const uint16_t *h,
                  const struct pass *pass, int32_t capacity, cudaStream_t stream)
{
    ASSERT(capacity <= pass->max_rows && l->n_used <= l->n_experts);
    LAUNCH(choose_kernel, (unsigned)capacity, WARP, 0, stream, *e, *l, *pass);
    LAUNCH(order_kernel, 1, ORDER_THREADS, (size_t)l->n_experts * sizeof(int32_t), stream, *e,
           l->n_experts, l->n_used, *pass);
    LAUNCH(inputs_kernel, (unsigned)(capacity * l->n_used), THREADS, 0, stream, *e, h, l->n_embd,
           l->n_used, *pass);
    return LAUNCH_RESULT();
}

/* ---- the sum --------------------------------------------------------------------------------- */

/* grid: (capacity, parts of C)   block: THREADS */
static __global__ void __launch_bounds__(THREADS)
    sum_kernel(struct experts e, struct experts_layer l, const float *shared, float *y, float *x,
               struct pass p)
{
    grid_release();
    grid_wait();
    int row = (int)blockIdx.x, i = (int)(blockIdx.y * THREADS + threadIdx.x);
    int64_t at = (int64_t)row * l.n_embd + i;
    float sum = 0.0f;

    if (p.rows[row].slot < 0 || i >= l.n_embd)
        return;
    if (shared)
        sum = shared[at] * e.weights[(int64_t)p.max_rows * l.n_used + row];
    for (int j = row * l.n_used; j < (row + 1) * l.n_used; j++)
        sum = sum + e.outputs[(int64_t)e.pair_of[j] * l.n_embd + i] * e.weights[j];
    if (y)
        y[at] = sum;
    else
        x[at] = x[at] + sum;
}

int launch_experts_sum(const struct experts *e, const struct experts_layer *l, const float *shared,
                       float *y, float *x, const struct pass *pass, int32_t capacity,
                       cudaStream_t stream)
{
    int parts = (l->n_embd + THREADS - 1) / THREADS;

    ASSERT(capacity <= pass->max_rows);
    LAUNCH(sum_kernel, dim3((unsigned)capacity, (unsigned)parts), THREADS, 0, stream, *e, *l,
           shared, y, x, *pass);
    return LAUNCH_RESULT();
}
