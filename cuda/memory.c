#include "memory.h"

#include "cudart.h"
#include "specd/error.h"
#include "specd/util.h"

#include <stdlib.h>

/* One allocation for each part, so that a tool sees where it ends. */
#if defined(SPECD_EMU) || defined(SPECD_CHECKS)
#define PART_BY_PART true
#else
#define PART_BY_PART false
#endif

static void *take_part(struct gpu_arena *a, size_t bytes)
{
    void *p = NULL;

    if (cudaMalloc(&p, bytes) != cudaSuccess) {
        (void)cudaGetLastError(); /* an allocation that failed is not an error of the device's */
        a->failed = true;
        return NULL;
    }
    a->parts = xrealloc(a->parts, (a->n_parts + 1) * sizeof(*a->parts));
    a->parts[a->n_parts++] = p;
    return p;
}

void *gpu_take(struct gpu_arena *a, size_t count, size_t size)
{
    size_t bytes, padded, end;

    if (!size_mul(count, size, &bytes) || !size_add(bytes, GPU_ARENA_ALIGN - 1, &padded) ||
        !size_add(a->used, padded / GPU_ARENA_ALIGN * GPU_ARENA_ALIGN, &end)) {
        ASSERT(!a->is_open);
        a->overflow = true;
        return NULL;
    }
    size_t at = a->used;

    a->used = end;
    if (!a->is_open)
        return NULL;
    ASSERT(end <= a->capacity);
    if (PART_BY_PART)
        return bytes > 0 ? take_part(a, bytes) : NULL;
    return a->base + at;
}

int gpu_arena_open(struct gpu_arena *a, size_t bytes)
{
    ASSERT(a->used == 0);
    if (!PART_BY_PART && bytes > 0 && cudaMalloc((void **)&a->base, bytes) != cudaSuccess) {
        (void)cudaGetLastError(); /* as above */
        return SPECD_ENOMEM;
    }
    a->capacity = bytes;
    a->is_open = true;
    return 0;
}

void gpu_arena_close(struct gpu_arena *a)
{
    for (size_t i = 0; i < a->n_parts; i++)
        cudaFree(a->parts[i]);
    cudaFree(a->base);
    free(a->parts);
    *a = (struct gpu_arena){0};
}
