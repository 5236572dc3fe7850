/*
 * The emulated device: its memory, which copies are checked against, and what it says of itself.
 */
#include "runtime_impl.h"

#include <stdio.h>
#include <stdlib.h>

#define DEVICE_ALIGN 256
#define PINNED_ALIGN 64

/* ---- memory ---------------------------------------------------------------------------------- */

static cudaError_t take(std::map<char *, size_t> &from, void **out, size_t bytes, size_t align)
{
    *out = nullptr;
    TRY(!breaks_capture(nullptr, true), cudaErrorStreamCaptureUnsupported);
    if (bytes == 0)
        return result(cudaSuccess);
    *out = emu_allocate(align, bytes, emu_next_random());
    from[(char *)*out] = bytes;
    return result(cudaSuccess);
}

static void give(std::map<char *, size_t> &to, std::map<char *, size_t>::iterator it, size_t align)
{
    if (!emu_release(it->first, align, it->second)) {
        fprintf(stderr, "emulator: something was written behind an allocation of %zu bytes\n",
                it->second);
        emu_seed_print();
        abort();
    }
    to.erase(it);
}

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    LOCKED;
    *out = nullptr;
    TRY(bytes <= g.memory_limit - g.memory_used, cudaErrorMemoryAllocation);
    cudaError_t error = take(g.device, out, bytes, DEVICE_ALIGN);
    g.memory_used += *out ? bytes : 0;
    return error;
}

cudaError_t cudaFree(void *p)
{
    LOCKED;
    if (!p)
        return result(cudaSuccess);
    auto it = g.device.find((char *)p);
    TRY(it != g.device.end(), cudaErrorInvalidValue);
    cudaError_t error = cudaDeviceSynchronize();
    g.memory_used -= it->second;
    give(g.device, it, DEVICE_ALIGN);
    return error;
}

cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned)
{
    LOCKED;
    return take(g.pinned, out, bytes, PINNED_ALIGN);
}

cudaError_t cudaFreeHost(void *p)
{
    LOCKED;
    if (!p)
        return result(cudaSuccess);
    auto it = g.pinned.find((char *)p);
    TRY(it != g.pinned.end(), cudaErrorInvalidValue);
    give(g.pinned, it, PINNED_ALIGN);
    return result(cudaSuccess);
}

/* Whether p .. p + bytes lies in one device allocation (1), in none (0), or across an end (-1). */
static int on_device(const void *p, size_t bytes)
{
    auto it = g.device.upper_bound((char *)p);

    if (it == g.device.begin())
        return 0;
    --it;
    size_t offset = (size_t)((const char *)p - it->first);
    if (offset >= it->second)
        return 0;
    return bytes <= it->second - offset ? 1 : -1;
}

bool emu_on_device(const void *p, size_t bytes)
{
    LOCKED;
    return on_device(p, bytes) == 1;
}

static bool copy_fits(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind)
{
    int to = on_device(dst, bytes), from = on_device(src, bytes);

    if (to < 0 || from < 0)
        return false;
    switch (kind) {
    case cudaMemcpyHostToHost:
        return !to && !from;
    case cudaMemcpyHostToDevice:
        return to && !from;
    case cudaMemcpyDeviceToHost:
        return !to && from;
    case cudaMemcpyDeviceToDevice:
        return to && from;
    case cudaMemcpyDefault:
        break;
    }
    return true;
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    LOCKED;
    TRY(bytes == 0 || copy_fits(dst, src, bytes, kind), cudaErrorInvalidValue);
    bool to_host = bytes > 0 && on_device(src, bytes) && !on_device(dst, bytes);
    return stream_put(stream, [=] {
        memmove(dst, src, bytes);
        g.n_to_host += to_host;
    });
}

cudaError_t cudaMemsetAsync(void *dst, int value, size_t bytes, cudaStream_t stream)
{
    LOCKED;
    TRY(bytes == 0 || on_device(dst, bytes) == 1, cudaErrorInvalidValue);
    return stream_put(stream, [=] { memset(dst, value, bytes); });
}

/* The synchronous calls are the default stream's, which non-blocking streams do not wait for. */
cudaError_t cudaMemcpy(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind)
{
    LOCKED;
    TRY(!breaks_capture(nullptr, true), cudaErrorStreamCaptureUnsupported);
    cudaError_t error = cudaMemcpyAsync(dst, src, bytes, kind, nullptr);
    return error == cudaSuccess ? cudaStreamSynchronize(nullptr) : error;
}

cudaError_t cudaMemset(void *dst, int value, size_t bytes)
{
    LOCKED;
    TRY(!breaks_capture(nullptr, true), cudaErrorStreamCaptureUnsupported);
    cudaError_t error = cudaMemsetAsync(dst, value, bytes, nullptr);
    return error == cudaSuccess ? cudaStreamSynchronize(nullptr) : error;
}

size_t emu_memory_in_use(void)
{
    LOCKED;
    return g.memory_used;
}

void emu_memory_limit(size_t bytes)
{
    LOCKED;
    g.memory_limit = bytes;
}

uint64_t emu_copies_to_host(void)
{
    LOCKED;
    return g.n_to_host;
}

/* ---- the device ------------------------------------------------------------------------------ */

cudaError_t cudaGetDeviceCount(int *n)
{
    LOCKED;
    *n = 1;
    return result(cudaSuccess);
}

cudaError_t cudaSetDevice(int device)
{
    LOCKED;
    return result(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaGetDevice(int *device)
{
    LOCKED;
    *device = 0;
    return result(cudaSuccess);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *out, int device)
{
    LOCKED;
    TRY(device == 0, cudaErrorInvalidDevice);
    memset(out, 0, sizeof(*out));
    snprintf(out->name, sizeof(out->name), "Emulated GPU");
    out->totalGlobalMem = g.memory_limit;
    out->sharedMemPerBlock = SHARED_PLAIN;
    out->sharedMemPerBlockOptin = SHARED_MAX;
    out->sharedMemPerMultiprocessor = SHARED_ALL;
    out->multiProcessorCount = 4;
    out->major = 9;
    out->warpSize = 32;
    out->maxThreadsPerBlock = 1024;
    out->maxThreadsPerMultiProcessor = 2048;
    out->regsPerBlock = 65536;
    out->l2CacheSize = 1 << 16; /* so that its bandwidth is soon measured */
    out->memoryBusWidth = 64;
    return result(cudaSuccess);
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attr, int device)
{
    LOCKED;
    struct cudaDeviceProp p;
    cudaError_t error = cudaGetDeviceProperties(&p, device);
    if (error != cudaSuccess)
        return error;
    switch (attr) {
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = (int)p.sharedMemPerBlockOptin;
        return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
        *value = p.multiProcessorCount;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
        *value = p.major;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
        *value = p.minor;
        return cudaSuccess;
    }
    return result(cudaErrorInvalidValue);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    LOCKED;
    *total = g.memory_limit;
    *free_bytes = g.memory_limit - g.memory_used;
    return result(cudaSuccess);
}

cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *out, const void *)
{
    LOCKED;
    *out = {90, 90};
    return result(cudaSuccess);
}

cudaError_t cudaFuncSetAttribute(const void *kernel, enum cudaFuncAttribute attr, int value)
{
    LOCKED;
    if (attr == cudaFuncAttributePreferredSharedMemoryCarveout) /* a hint, in percent */
        return result(value >= -1 && value <= 100 ? cudaSuccess : cudaErrorInvalidValue);
    TRY(value >= 0 && (size_t)value <= SHARED_MAX, cudaErrorInvalidValue);
    g.shared_of[kernel] = (size_t)value;
    return result(cudaSuccess);
}
