/*
 * bandwidth.cu - reads memory once from end to end: what the machine's read bandwidth is measured
 * by, and so what every other kernel's share of it is said of.
 */
#include "common.cuh"
#include "machine.h"

#define THREADS 512
#define AT_ONCE 8 /* loads of 16 bytes in flight for each thread */
#define BLOCKS 3  /* of a multiprocessor: as many as its registers hold, all there at once */

/* grid: BLOCKS for each multiprocessor   block: THREADS */
static __global__ void __launch_bounds__(THREADS, BLOCKS)
    read_kernel(const uint4 *data, int64_t n /* of 16 bytes */, uint32_t *sum)
{
    grid_wait();
    int64_t stride = (int64_t)gridDim.x * THREADS;
    uint32_t x = 0;

    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += AT_ONCE * stride) {
        uint4 got[AT_ONCE];
        UNROLL
        for (int j = 0; j < AT_ONCE; j++)
            got[j] = i + j * stride < n ? data[i + j * stride] : uint4{};
        UNROLL
        for (int j = 0; j < AT_ONCE; j++)
            x ^= got[j].x ^ got[j].y ^ got[j].z ^ got[j].w;
    }
    if (x == 0x5bec1d5u) /* hardly ever, which the compiler cannot know */
        *sum = x;
}

int launch_read(const void *data, size_t bytes, uint32_t *sum, int n_multiprocessors,
                cudaStream_t stream)
{
    LAUNCH(read_kernel, (unsigned)(BLOCKS * n_multiprocessors), THREADS, 0, stream,
           (const uint4 *)data, (int64_t)(bytes / 16), sum);
    return LAUNCH_RESULT();
}
