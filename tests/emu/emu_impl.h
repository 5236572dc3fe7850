/*
 * emu_impl.h - what the emulator's files share.
 */
#ifndef SPECD_EMU_IMPL_H
#define SPECD_EMU_IMPL_H

#include "emu_runtime.h"

#include <functional>
#include <stddef.h>
#include <stdint.h>

#define SHARED_MAX ((size_t)227 << 10)  /* of a block, static and dynamic */
#define SHARED_ALL ((size_t)228 << 10)  /* of a multiprocessor */
#define SHARED_PLAIN ((size_t)48 << 10) /* the same without cudaFuncSetAttribute */

uint64_t emu_next_random(void); /* of the launch or choice that comes next */

/* Memory of exactly that size and no better alignment than `align`, a power of two, filled with
 * noise, with nothing behind it that may be touched: under AddressSanitizer an access there ends
 * the process; else it reads noise, and release, which is given the same numbers, tells of a write
 * by returning false. Never NULL. */
void *emu_allocate(size_t align, size_t bytes, uint64_t random);
bool emu_release(void *p, size_t align, size_t bytes);

/* Puts an operation on a stream, which runs it as it runs kernels. */
cudaError_t emu_put(cudaStream_t stream, std::function<void()> run);
/* Whether p .. p + bytes lies in one device allocation. */
bool emu_on_device(const void *p, size_t bytes);

#endif
