/*
 * device_array.h - device memory with a test's numbers in it, for tests that launch kernels of
 * their own. Any call that fails ends the process.
 */
#ifndef SPECD_EMU_DEVICE_ARRAY_H
#define SPECD_EMU_DEVICE_ARRAY_H

#include "cudart.h"

#include <stdlib.h>
#include <vector>

/* Device memory of n elements, for one test. */
template <class T> struct device_array {
    T *p = nullptr;
    size_t n;
    explicit device_array(size_t count) : n(count)
    {
        if (cudaMalloc(&p, count * sizeof(T)) != cudaSuccess)
            abort();
    }
    ~device_array() { cudaFree(p); }
    std::vector<T> host() const
    {
        std::vector<T> h(n);
        if (cudaMemcpy(h.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost) != cudaSuccess)
            abort();
        return h;
    }
    void fill(T value)
    {
        std::vector<T> h(n, value);
        if (cudaMemcpy(p, h.data(), n * sizeof(T), cudaMemcpyHostToDevice) != cudaSuccess)
            abort();
    }
};

#endif
