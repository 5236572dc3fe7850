/*
 * A kernel for each function of cuda/ptx.cuh. The emulator and a GPU run them (test_ptx.c), nvcc
 * compiles them and scripts/check-kernels.py looks for the instructions.
 */
#include "ptx_kernels.h"
#include "common.cuh"

#define THREADS 64

/* Of a launch for n numbers. */
DEVICE int index_of_number(void)
{
    return (int)(blockIdx.x * THREADS + threadIdx.x);
}

#define LAUNCH_NUMBERS(kernel, n, ...) \
    LAUNCH(kernel, (unsigned)(((n) + THREADS - 1) / THREADS), THREADS, 0, NULL, __VA_ARGS__, n)

/* ---- the matrix unit ------------------------------------------------------------------------- */

/* One warp; through shared memory and the matrix unit.  grid: 1   block: 32 */
static __global__ void matrix_kernel(const uint16_t *a, const uint16_t *b, float *y)
{
    grid_wait();
    SHARED_ARRAY(uint4, tile_a, 32); /* (16, 2): 8 elements each */
    SHARED_ARRAY(uint4, tile_b, 16); /* (16) */
    int lane = (int)threadIdx.x, g = lane / 4, t = lane % 4;
    uint32_t fa[4], fb[4];
    float d[4] = {0, 0, 0, 0};

    copy_async(&tile_a[lane], a + 8 * lane, 16);
    if (lane < 16)
        copy_async(&tile_b[lane], b + 8 * lane, 16);
    copy_commit();
    copy_wait<0>();
    __syncwarp();
    /* Matrices of a: upper left, lower left, upper right, lower right; of b: upper, lower, twice.
     */
    matrix_load4(fa, &tile_a[lane % 16 * 2 + lane / 16]);
    matrix_load4_transposed(fb, &tile_b[lane % 16]);
    matrix_mul(d, fa, fb);
    for (int i = 0; i < 4; i++)
        y[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}

/* grid: 1   block: 32 */
static __global__ void load_kernel(const uint16_t *matrices, uint32_t *plain, uint32_t *transposed)
{
    grid_wait();
    SHARED_ARRAY(uint4, rows, 32);
    int lane = (int)threadIdx.x;
    uint32_t out[4];

    rows[lane] = ((const uint4 *)matrices)[lane];
    __syncwarp();
    matrix_load4(out, &rows[lane]);
    for (int i = 0; i < 4; i++)
        plain[4 * lane + i] = out[i];
    matrix_load4_transposed(out, &rows[lane]);
    for (int i = 0; i < 4; i++)
        transposed[4 * lane + i] = out[i];
}

/* ---- asynchronous copies --------------------------------------------------------------------- */

/* In two stages.  grid: 1   block: 1 */
static __global__ void copy_kernel(const uint4 *in, uint4 *out, int n, int tail)
{
    grid_wait();
    SHARED_ARRAY(uint4, stage, 2);

    for (int i = 0; i <= n; i++) {
        if (i < n)
            copy_async(&stage[i % 2], &in[i], i + 1 < n ? 16 : tail);
        copy_commit();
        copy_wait<1>();
        if (i > 0)
            out[i - 1] = stage[(i - 1) % 2];
    }
    copy_wait<0>();
}

/* grid: 1   block: 1 */
static __global__ void ring_kernel(const uint4 *in, uint4 *out, int n, int stages)
{
    grid_wait();
    SHARED_ARRAY(uint4, ring, 7);

    for (int i = 0; i < n + stages - 1; i++) {
        if (i < n)
            copy_async_once(&ring[i % stages], &in[i]);
        copy_commit();
        copy_wait_but(stages - 1);
        if (i >= stages - 1)
            out[i - stages + 1] = ring[(i + 1) % stages];
    }
    copy_wait<0>();
}

/* ---- words of narrow numbers ----------------------------------------------------------------- */

static __global__ void round_kernel(const float *in, uint16_t *out, int n)
{
    grid_wait();
    int i = index_of_number();
    if (i < n)
        out[i] = bf16_of_float(in[i]).bits;
}

static __global__ void pair_kernel(const float *low, const float *high, uint32_t *out, int n)
{
    grid_wait();
    int i = index_of_number();
    if (i < n)
        out[i] = bf16_pair_of(low[i], high[i]);
}

static __global__ void f16_kernel(uint32_t first, float *out, int n)
{
    grid_wait();
    int i = index_of_number();
    if (i < n)
        out[i] = float_of_f16(first + (uint32_t)i);
}

static __global__ void fma_kernel(const uint32_t *abc, uint32_t *out, int n)
{
    grid_wait();
    int i = index_of_number();
    if (i < n)
        out[i] = bf16x2_fma(abc[3 * i], abc[3 * i + 1], abc[3 * i + 2]);
}

static __global__ void pick_kernel(const uint32_t *ab_which, uint32_t *out, int n)
{
    grid_wait();
    int i = index_of_number();
    if (i < n)
        out[i] = bytes_pick(ab_which[3 * i], ab_which[3 * i + 1], ab_which[3 * i + 2]);
}

static __global__ void put_kernel(const uint32_t *a_mask_into, uint32_t *out, int n)
{
    grid_wait();
    int i = index_of_number();
    if (i < n)
        out[i] = bits_put(a_mask_into[3 * i], a_mask_into[3 * i + 1], a_mask_into[3 * i + 2]);
}

static __global__ void fp8_kernel(const uint32_t *four, uint32_t *out, int n)
{
    grid_wait();
    int i = index_of_number();
    if (i < n)
        *(uint2 *)(out + 2 * i) = bf16_of_fp8(four[i]);
}

static __global__ void constants_kernel(const uint32_t *a, uint32_t b, uint32_t *out, int n)
{
    grid_wait();
    constexpr uint32_t digits[PICKED] = PICKED_DIGITS;
    int i = index_of_number();
    if (i >= n)
        return;
    UNROLL
    for (int j = 0; j < PICKED; j++)
        out[(PICKED + 1) * i + j] = bytes_pick(a[i], b, digits[j]);
    out[(PICKED + 1) * i + PICKED] = bits_put(a[i], 0x000f000fu, 0x43004300u);
}

/* ---- L2, the clock --------------------------------------------------------------------------- */

/* grid: 1   block: 1 */
static __global__ void l2_kernel(const uint4 *in, uint4 *out, int n)
{
    grid_wait();
    l2_prefetch(in, (uint32_t)n * sizeof(*in));
    for (int i = 0; i < n; i++)
        out[i] = load_l2(&in[i]);
}

/* grid: 1   block: 1 */
static __global__ void clock_kernel(uint64_t *out)
{
    grid_wait();
    *out = device_clock_ns();
}

/* ---- clusters -------------------------------------------------------------------------------- */

/* grid: whole clusters   block: WARP */
static __global__ void peers_kernel(int *out)
{
    grid_release();
    grid_wait();
    SHARED_ARRAY(int, found, CLUSTER_MAX);
    int to = (int)threadIdx.x, size = cluster_size();

    cluster_barrier(); /* all have started */
    if (to < size)
        cluster_peer(found, to)[cluster_rank()] = 100 * (int)blockIdx.x + to;
    cluster_barrier();
    if (to < size)
        out[(int)blockIdx.x * size + to] = found[to];
}

/* ---- launches -------------------------------------------------------------------------------- */

void launch_matrix(const uint16_t *a, const uint16_t *b, float *y)
{
    LAUNCH(matrix_kernel, 1, WARP, 0, NULL, a, b, y);
}

void launch_load(const uint16_t *matrices, uint32_t *plain, uint32_t *transposed)
{
    LAUNCH(load_kernel, 1, WARP, 0, NULL, matrices, plain, transposed);
}

void launch_copy(const uint32_t *in, uint32_t *out, int n, int tail)
{
    LAUNCH(copy_kernel, 1, 1, 0, NULL, (const uint4 *)in, (uint4 *)out, n, tail);
}

void launch_ring(const uint32_t *in, uint32_t *out, int n, int stages)
{
    LAUNCH(ring_kernel, 1, 1, 0, NULL, (const uint4 *)in, (uint4 *)out, n, stages);
}

void launch_round(const float *in, uint16_t *out, int n)
{
    LAUNCH_NUMBERS(round_kernel, n, in, out);
}

void launch_pair(const float *low, const float *high, uint32_t *out, int n)
{
    LAUNCH_NUMBERS(pair_kernel, n, low, high, out);
}

void launch_f16(uint32_t first, float *out, int n)
{
    LAUNCH_NUMBERS(f16_kernel, n, first, out);
}

void launch_fma(const uint32_t *abc, uint32_t *out, int n)
{
    LAUNCH_NUMBERS(fma_kernel, n, abc, out);
}

void launch_pick(const uint32_t *ab_which, uint32_t *out, int n)
{
    LAUNCH_NUMBERS(pick_kernel, n, ab_which, out);
}

void launch_put(const uint32_t *a_mask_into, uint32_t *out, int n)
{
    LAUNCH_NUMBERS(put_kernel, n, a_mask_into, out);
}

void launch_fp8(const uint32_t *four, uint32_t *out, int n)
{
    LAUNCH_NUMBERS(fp8_kernel, n, four, out);
}

void launch_constants(const uint32_t *a, uint32_t b, uint32_t *out, int n)
{
    LAUNCH_NUMBERS(constants_kernel, n, a, b, out);
}

void launch_l2(const uint32_t *in, uint32_t *out, int n)
{
    LAUNCH(l2_kernel, 1, 1, 0, NULL, (const uint4 *)in, (uint4 *)out, n);
}

void launch_clock(uint64_t *out)
{
    LAUNCH(clock_kernel, 1, 1, 0, NULL, out);
}

void launch_peers(int *out, int size, int n_clusters)
{
    LAUNCH_TEAMS(peers_kernel, size, (unsigned)(size * n_clusters), WARP, 0, NULL, out);
}
