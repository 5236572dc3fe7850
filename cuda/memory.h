/*
 * memory.h - device memory that is sized first and allocated once, as cpu/arena.h has it for host
 * memory: a layout function runs over a counting arena for device.plan, and again over an open one,
 * so that the two cannot disagree.
 *
 * Parts are GPU_ARENA_ALIGN aligned, hold noise, and live as long as the arena. In check builds
 * (SPECD_CHECKS) and on the emulator every part is an allocation of its own, so that running over
 * its end is caught. Owned by the device; engine thread.
 */
#ifndef SPECD_CUDA_MEMORY_H
#define SPECD_CUDA_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#define GPU_ARENA_ALIGN 256 /* bytes */

/* Zero-initialised, it counts: gpu_take returns NULL and adds to `used`. */
struct gpu_arena {
    char *base;
    size_t used, capacity;
    bool is_open, overflow; /* overflow, counting: the sum does not fit a size_t */
    bool failed;            /* open, check builds: an allocation did not succeed */
    void **parts;
    size_t n_parts;
};

/* count elements of `size` bytes. Taking more than was opened for is a bug. */
void *gpu_take(struct gpu_arena *a, size_t count, size_t size);
/* Makes a zero-initialised arena hand out memory. SPECD_ENOMEM */
int gpu_arena_open(struct gpu_arena *a, size_t bytes);
void gpu_arena_close(struct gpu_arena *a); /* back to zero-initialised */

#endif
