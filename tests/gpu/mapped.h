/*
 * mapped.h - lets the emulator's kernel tests run on a GPU: included before them by the compiler.
 *
 * They reach into device memory as into their own. So what they allocate here is pinned host memory
 * that the GPU sees at the same address; slow over the bus, but the tests are small. It is not
 * managed memory: no pages move. Copies wait for the device, then are the host's. The seed, of the
 * emulator's schedules elsewhere, here only decides the tests' random numbers: SPECD_EMU_SEED, or
 * the clock.
 */
#ifndef SPECD_TESTS_GPU_MAPPED_H
#define SPECD_TESTS_GPU_MAPPED_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

cudaError_t mapped_take(void **out, size_t bytes); /* holds noise */
cudaError_t mapped_copy(void *to, const void *from, size_t bytes);
uint64_t emu_seed(void);
void emu_seed_print(void);

#define cudaMalloc(out, bytes) mapped_take(out, bytes)
#define cudaFree(p) cudaFreeHost(p)
#define cudaMemcpy(to, from, bytes, kind) mapped_copy(to, from, bytes)

#endif
