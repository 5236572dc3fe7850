/*
 * overlap.cu - the one place that decides whether launches overlap (overlap.h), and the test that
 * has a say in it.
 *
 * What counts is the architecture the kernels were compiled for, not the device's: on a newer
 * device code for an older one has no instruction to wait with.
 */
#include "overlap.h"
#include "common.cuh"

#include <stdlib.h>

#define PTX_WITH_WAIT 90
#define TEST_LAUNCHES 300
#define GRAPH_LAUNCHES 300 /* of one graph */

static bool is_allowed = true, is_broken;

/* ---- a chain whose result is known ----------------------------------------------------------- */

/* What a launch makes of a number: the order of launches shows in the result. */
static __host__ __device__ uint32_t chain_next(uint32_t x, uint32_t step)
{
    return 5 * x + step;
}

/* The next of each of n numbers; lets the launch behind it start before it waits for the one ahead.
 * grid: any   block: WARP */
static __global__ void chain_kernel(uint32_t *x, int n, uint32_t step)
{
    grid_release();
    grid_wait();
    for (int i = (int)(blockIdx.x * WARP + threadIdx.x); i < n; i += (int)gridDim.x * WARP)
        x[i] = chain_next(x[i], step);
}

struct chain {
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    uint32_t *x;
    int n_multiprocessors;
};

/* A warp's numbers for each multiprocessor. */
static int chain_size(const struct chain *c)
{
    return WARP * c->n_multiprocessors;
}

/* Grids of different sizes by turns: each number comes from another multiprocessor. */
static cudaError_t chain_put(const struct chain *c, int launches)
{
    static const int shares[] = {1, 8, 4};

    for (int i = 0; i < launches; i++) {
        int share = shares[i % 3], blocks = (c->n_multiprocessors + share - 1) / share;
        LAUNCH(chain_kernel, (unsigned)blocks, WARP, 0, c->stream, c->x, chain_size(c),
               (uint32_t)i % GRAPH_LAUNCHES);
    }
    return cudaGetLastError();
}

static cudaError_t chain_open(struct chain *c)
{
    int device = 0;
    cudaError_t rc = cudaGetDevice(&device);

    if (rc == cudaSuccess)
        rc = cudaDeviceGetAttribute(&c->n_multiprocessors, cudaDevAttrMultiProcessorCount, device);
    if (rc == cudaSuccess)
        rc = cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking);
    if (rc == cudaSuccess)
        rc = cudaMalloc(&c->x, (size_t)chain_size(c) * sizeof(uint32_t));
    if (rc == cudaSuccess)
        rc = cudaMemsetAsync(c->x, 0, (size_t)chain_size(c) * sizeof(uint32_t), c->stream);
    return rc;
}

static cudaError_t chain_capture(struct chain *c, int launches)
{
    cudaError_t rc = cudaStreamBeginCapture(c->stream, cudaStreamCaptureModeThreadLocal);

    if (rc != cudaSuccess)
        return rc;
    (void)chain_put(c, launches);
    rc = cudaStreamEndCapture(c->stream, &c->graph);
    if (rc == cudaSuccess)
        rc = cudaGraphInstantiate(&c->exec, c->graph, 0);
    return rc;
}

static cudaError_t chain_run(struct chain *c, int launches, bool captured)
{
    cudaError_t rc = cudaSuccess;

    if (!captured)
        return chain_put(c, launches);
    rc = chain_capture(c, GRAPH_LAUNCHES);
    for (int i = 0; rc == cudaSuccess && i < launches / GRAPH_LAUNCHES; i++)
        rc = cudaGraphLaunch(c->exec, c->stream);
    return rc == cudaSuccess ? chain_put(c, launches % GRAPH_LAUNCHES) : rc;
}

/* Whether every number is what `launches` steps make of 0. */
static cudaError_t chain_read(const struct chain *c, int launches, bool *right)
{
    size_t bytes = (size_t)chain_size(c) * sizeof(uint32_t);
    uint32_t *x = (uint32_t *)xmalloc(bytes), want = 0;
    cudaError_t rc = cudaStreamSynchronize(c->stream);

    if (rc == cudaSuccess)
        rc = cudaMemcpy(x, c->x, bytes, cudaMemcpyDeviceToHost);
    for (int i = 0; i < launches; i++)
        want = chain_next(want, (uint32_t)i % GRAPH_LAUNCHES);
    *right = rc == cudaSuccess;
    for (int i = 0; *right && i < chain_size(c); i++)
        *right = x[i] == want;
    free(x);
    return rc;
}

static void chain_close(struct chain *c)
{
    if (c->exec)
        (void)cudaGraphExecDestroy(c->exec);
    if (c->graph)
        (void)cudaGraphDestroy(c->graph);
    (void)cudaFree(c->x);
    if (c->stream)
        (void)cudaStreamDestroy(c->stream);
    (void)cudaGetLastError(); /* the next launch would be blamed for what failed here */
}

bool overlap_chain_is_right(int launches, bool captured)
{
    struct chain c = {};
    bool right = false;
    cudaError_t rc = chain_open(&c);

    if (rc == cudaSuccess)
        rc = chain_run(&c, launches, captured);
    if (rc == cudaSuccess)
        rc = chain_read(&c, launches, &right);
    chain_close(&c);
    return CUDA_RESULT(rc) == 0 && right;
}

/* ---- the choice ------------------------------------------------------------------------------ */

static bool is_possible(void)
{
    struct cudaFuncAttributes a = {};

    if (getenv("SPECD_NO_OVERLAP"))
        return false;
    return CUDA_RESULT(cudaFuncGetAttributes(&a, chain_kernel)) == 0 &&
           a.ptxVersion >= PTX_WITH_WAIT;
}

bool launch_overlaps(void)
{
    static const bool possible = is_possible();

    return possible && is_allowed && !is_broken;
}

void launch_overlap_allow(bool allowed)
{
    is_allowed = allowed;
}

void launch_overlap_test(void)
{
    static bool tested;

    if (tested || !launch_overlaps())
        return;
    tested = true;
    if (overlap_chain_is_right(TEST_LAUNCHES, false) && overlap_chain_is_right(TEST_LAUNCHES, true))
        return;
    is_broken = true;
    log_warn("cuda: kernels that overlap (programmatic dependent launch) gave wrong numbers in a "
             "test of this device and driver: they run one after the other, which is slower");
}
