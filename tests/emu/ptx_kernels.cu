/*
 * One kernel for each part of cuda/ptx.cuh that no kernel of cuda/ shows yet. The emulator runs
 * them, nvcc compiles them.
 */
#include "ptx_kernels.h"

/* y = a b, one warp; a (16, 16) by rows, b (16, 8) by rows, through shared memory and the matrix
 * unit.  grid: 1   block: 32 */
static __global__ void matrix_kernel(const struct bf16 *a, const struct bf16 *b, float *y)
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

/* Copies n chunks of 16 bytes in two stages, `tail` bytes of the last; waits for as many groups as
 * it must, or for none.  grid: 1   block: 1 */
static __global__ void copy_kernel(const uint4 *in, uint4 *out, int n, int tail, bool wait)
{
    grid_wait();
    SHARED_ARRAY(uint4, stage, 2);

    for (int i = 0; i <= n; i++) {
        if (i < n)
            copy_async(&stage[i % 2], &in[i], i + 1 < n ? 16 : tail);
        copy_commit();
        if (wait)
            copy_wait<1>();
        if (i > 0)
            out[i - 1] = stage[(i - 1) % 2];
    }
    copy_wait<0>();
}

/* grid: 1   block: n */
static __global__ void round_kernel(const float *in, struct bf16 *out)
{
    grid_wait();
    out[threadIdx.x] = bf16_of_float(in[threadIdx.x]);
}

void launch_matrix(const struct bf16 *a, const struct bf16 *b, float *y)
{
    LAUNCH(matrix_kernel, 1, 32, 0, NULL, a, b, y);
}

void launch_copy(const uint4 *in, uint4 *out, int n, int tail, bool wait)
{
    LAUNCH(copy_kernel, 1, 1, 0, NULL, in, out, n, tail, wait);
}

void launch_round(const float *in, struct bf16 *out, int n)
{
    LAUNCH(round_kernel, 1, (unsigned)n, 0, NULL, in, out);
}
