/* Device memory, and runs of launches in a graph between events. */
#include "kernels.h"

#include "specd/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLAYS 5
#define WARM_UP 1

_Noreturn void kernels_die(const char *what)
{
    fflush(stdout);
    fprintf(stderr, "bench-kernels: %s\n", what);
    exit(1);
}

static void check(cudaError_t rc, const char *what)
{
    if (rc == cudaSuccess)
        return;
    fprintf(stderr, "bench-kernels: %s: %s\n", what, cudaGetErrorString(rc));
    exit(1);
}

float kernels_random(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17; /* xorshift64 */
    return (float)(state >> 40) * 0x1p-23f - 1.0f;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void **taken;
static size_t n_taken;

void *kernels_take(size_t bytes)
{
    void *p = NULL;
    check(cudaMalloc(&p, MAX(bytes, 1)), "device memory");
    taken = xrealloc(taken, (n_taken + 1) * sizeof(*taken));
    return taken[n_taken++] = p;
}

void kernels_free(void)
{
    for (size_t i = 0; i < n_taken; i++)
        cudaFree(taken[i]);
    free(taken);
    taken = NULL;
    n_taken = 0;
}

void *kernels_copy(const void *host, size_t bytes)
{
    void *p = kernels_take(bytes);
    check(cudaMemcpy(p, host, bytes, cudaMemcpyHostToDevice), "copy to the device");
    return p;
}

void kernels_read(void *host, const void *device, size_t bytes)
{
    check(cudaDeviceSynchronize(), "the launches");
    check(cudaMemcpy(host, device, bytes, cudaMemcpyDeviceToHost), "copy from the device");
}

void kernels_zero(void *device, size_t bytes)
{
    check(cudaMemset(device, 0, bytes), "memset");
    check(cudaDeviceSynchronize(), "memset");
}

void kernels_fill(void *device, size_t bytes, const void *pattern, size_t pattern_bytes)
{
    size_t have = MIN(bytes, pattern_bytes);
    check(cudaMemcpy(device, pattern, have, cudaMemcpyHostToDevice), "copy to the device");
    while (have < bytes) { /* each time twice as much */
        size_t n = MIN(have, bytes - have);
        check(cudaMemcpy((char *)device + have, device, n, cudaMemcpyDeviceToDevice), "fill");
        have += n;
    }
    check(cudaDeviceSynchronize(), "fill");
}

/* ---- time ------------------------------------------------------------------------------------ */

bool kernels_go_on(struct kernels *k)
{
    if (k->deadline == 0 || clock_ns() < k->deadline)
        return true;
    k->n_skipped++;
    return false;
}

static cudaGraphExec_t capture(const struct kernels *k, kernel_launch *launch, void *arg, int n)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    int rc = 0;

    check(cudaStreamBeginCapture(k->stream, cudaStreamCaptureModeThreadLocal), "capture");
    for (int i = 0; i < n && rc == 0; i++)
        rc = launch(arg, i, k->stream);
    cudaError_t error = cudaStreamEndCapture(k->stream, &graph);
    if (rc == 0 && error == cudaSuccess && cudaGraphInstantiate(&exec, graph, 0) != cudaSuccess)
        exec = NULL;
    if (graph)
        cudaGraphDestroy(graph);
    (void)cudaGetLastError(); /* a shape that this GPU refuses is no error of the next */
    return exec;
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

double kernels_time(const struct kernels *k, kernel_launch *launch, void *arg, int n)
{
    cudaGraphExec_t exec = capture(k, launch, arg, n);
    cudaEvent_t events[REPLAYS + 1];
    float ms[REPLAYS];

    if (!exec)
        return -1;
    for (int i = 0; i <= REPLAYS; i++)
        check(cudaEventCreateWithFlags(&events[i], 0), "event");
    for (int i = 0; i < WARM_UP + REPLAYS; i++) {
        if (i >= WARM_UP)
            check(cudaEventRecord(events[i - WARM_UP], k->stream), "event");
        check(cudaGraphLaunch(exec, k->stream), "graph");
    }
    check(cudaEventRecord(events[REPLAYS], k->stream), "event");
    check(cudaStreamSynchronize(k->stream), "graph");
    for (int i = 0; i < REPLAYS; i++)
        check(cudaEventElapsedTime(&ms[i], events[i], events[i + 1]), "event");
    for (int i = 0; i <= REPLAYS; i++)
        cudaEventDestroy(events[i]);
    cudaGraphExecDestroy(exec);
    qsort(ms, REPLAYS, sizeof(*ms), compare);
    return (double)ms[REPLAYS / 2] * 1e3 / n;
}
