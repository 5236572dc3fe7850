#include "mapped.h"

#include "product.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NOISE 0xcd

/* What a device does when it opens, and the emulator can do without. */
static cudaError_t prepare(void)
{
    static bool done;
    int shared = 0;
    if (done)
        return cudaSuccess;
    cudaError_t rc = cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0);
    if (rc == cudaSuccess && product_prepare((size_t)shared) != 0)
        rc = cudaErrorInvalidConfiguration;
    done = rc == cudaSuccess;
    return rc;
}

cudaError_t mapped_take(void **out, size_t bytes)
{
    cudaError_t rc = prepare();
    if (rc == cudaSuccess)
        rc = cudaHostAlloc(out, bytes > 0 ? bytes : 1, cudaHostAllocMapped);
    if (rc == cudaSuccess)
        memset(*out, NOISE, bytes);
    return rc;
}

cudaError_t mapped_copy(void *to, const void *from, size_t bytes)
{
    cudaError_t rc = cudaDeviceSynchronize();
    memcpy(to, from, bytes);
    return rc;
}

uint64_t emu_seed(void)
{
    static uint64_t seed;
    const char *given = getenv("SPECD_EMU_SEED");
    if (seed == 0)
        seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    return seed;
}

void emu_seed_print(void)
{
    fprintf(stderr, "again: SPECD_EMU_SEED=%llu\n", (unsigned long long)emu_seed());
}
