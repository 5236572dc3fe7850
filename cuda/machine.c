#include "machine.h"

#include "overlap.h"
#include "specd/util.h"

#include <stdio.h>
#include <stdlib.h>

#define READ_MAX ((size_t)1 << 30)
#define READ_REPEATS 7

/* Kernels that were never loaded would be at their first launch, which allocates and waits. The
 * variable is read when the driver starts; before main no other thread looks at the environment. */
__attribute__((constructor)) static void load_kernels_at_start(void)
{
    setenv("CUDA_MODULE_LOADING", "EAGER", 0);
}

static int cuda_fail(cudaError_t rc, const char *what, char *err, size_t errlen)
{
    return fail(SPECD_EDEVICE, err, errlen, "%s: %s", what, cudaGetErrorString(rc));
}

/* ---- which ----------------------------------------------------------------------------------- */

static size_t free_memory(int index)
{
    size_t free_bytes = 0, total = 0;

    if (cudaSetDevice(index) != cudaSuccess || cudaMemGetInfo(&free_bytes, &total) != cudaSuccess) {
        (void)cudaGetLastError(); /* of a device that others may have all to themselves */
        return 0;
    }
    return free_bytes;
}

static int choose(int index, int *chosen, char *err, size_t errlen)
{
    int n = 0;
    size_t most = 0;
    cudaError_t rc = cudaGetDeviceCount(&n);

    if (rc != cudaSuccess)
        return cuda_fail(rc, "no CUDA device", err, errlen);
    if (index >= n)
        return fail(SPECD_EINVAL, err, errlen, "CUDA device %d: there are %d", index, n);
    *chosen = MAX(index, 0);
    for (int i = 0; index < 0 && i < n; i++) {
        size_t bytes = free_memory(i);

        if (bytes > most) {
            most = bytes;
            *chosen = i;
        }
    }
    return 0;
}

/* ---- how fast -------------------------------------------------------------------------------- */

/* The best of several: whatever else happens only slows a read down. */
static double read_once(const void *data, size_t bytes, uint32_t *sum, int n_multiprocessors,
                        cudaEvent_t begin, cudaEvent_t end)
{
    float ms = 0.0f;

    if (cudaEventRecord(begin, NULL) != cudaSuccess ||
        launch_read(data, bytes, sum, n_multiprocessors, NULL) != 0 ||
        cudaEventRecord(end, NULL) != cudaSuccess || cudaEventSynchronize(end) != cudaSuccess ||
        cudaEventElapsedTime(&ms, begin, end) != cudaSuccess)
        return 0.0;
    return ms > 0.0f ? (double)bytes / ((double)ms * 1e-3) : 0.0;
}

static double read_bandwidth(size_t bytes, int n_multiprocessors)
{
    void *data = NULL;
    uint32_t *sum = NULL;
    cudaEvent_t begin = NULL, end = NULL;
    double best = 0.0;

    if (cudaMalloc(&data, bytes) == cudaSuccess &&
        cudaMalloc((void **)&sum, sizeof(*sum)) == cudaSuccess &&
        cudaMemset(data, 0x5a, bytes) == cudaSuccess &&
        cudaEventCreateWithFlags(&begin, 0) == cudaSuccess &&
        cudaEventCreateWithFlags(&end, 0) == cudaSuccess) {
        for (int i = 0; i < READ_REPEATS; i++)
            best = MAX(best, read_once(data, bytes, sum, n_multiprocessors, begin, end));
    }
    if (begin)
        cudaEventDestroy(begin);
    if (end)
        cudaEventDestroy(end);
    cudaFree(data);
    cudaFree(sum);
    (void)cudaGetLastError(); /* the next launch would be blamed for what was not measured */
    return best;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void describe(struct gpu_machine *m, const struct cudaDeviceProp *p,
                     struct device_info *info)
{
    m->major = p->major;
    m->minor = p->minor;
    m->product = (struct product_machine){
        .n_multiprocessors = p->multiProcessorCount,
        .shared_block = p->sharedMemPerBlockOptin,
        .shared_all = p->sharedMemPerMultiprocessor,
        .clusters = p->major >= 9,
    };
    snprintf(info->name, sizeof(info->name), "%.100s (sm_%d%d)", p->name, p->major, p->minor);
}

int gpu_machine_open(struct gpu_machine *m, int index, struct device_info *info, char *err,
                     size_t errlen)
{
    struct cudaDeviceProp p;
    size_t free_bytes = 0, total = 0;
    int rc = choose(index, &m->index, err, errlen);

    if (rc != 0)
        return rc;
    cudaError_t error = cudaSetDevice(m->index);

    if (error == cudaSuccess)
        error = cudaGetDeviceProperties(&p, m->index);
    if (error == cudaSuccess)
        error = cudaMemGetInfo(&free_bytes, &total);
    if (error != cudaSuccess)
        return cuda_fail(error, "CUDA device", err, errlen);
    if (p.major < 8)
        return fail(SPECD_EINVAL, err, errlen,
                    "%.100s has compute capability %d.%d: 8.0 or later works", p.name, p.major,
                    p.minor);
    describe(m, &p, info);
    info->memory_bytes = total;
    info->memory_free_bytes = free_bytes;
    /* Several times the L2 cache. */
    size_t bytes = MIN(MIN(READ_MAX, free_bytes / 4), 16 * (size_t)p.l2CacheSize) / 16 * 16;

    info->read_bandwidth = read_bandwidth(bytes, m->product.n_multiprocessors);
    if (product_prepare(m->product.shared_block) != 0)
        return fail(SPECD_EDEVICE, err, errlen,
                    "the kernels cannot be loaded: this build has none for sm_%d%d", m->major,
                    m->minor);
    launch_overlap_test();
    return 0;
}
