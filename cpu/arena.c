#include "arena.h"

#include "specd/error.h"
#include "specd/util.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PART_ALIGN 64

#if defined(__SANITIZE_ADDRESS__)
#define SEPARATE_PARTS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SEPARATE_PARTS 1
#endif
#endif
#ifndef SEPARATE_PARTS
#define SEPARATE_PARTS 0
#endif

static void *part_new(struct arena *a, size_t bytes)
{
    void *part = xaligned(PART_ALIGN, bytes);
    memset(part, 0, bytes);
    a->parts = xrealloc(a->parts, (a->n_parts + 1) * sizeof(*a->parts));
    a->parts[a->n_parts++] = part;
    return part;
}

void *arena_take(struct arena *a, size_t count, size_t size)
{
    size_t bytes, used;
    if (!size_mul(count, size, &bytes) || !size_add(bytes, PART_ALIGN - 1, &bytes)) {
        a->overflow = true;
        return NULL;
    }
    bytes = bytes / PART_ALIGN * PART_ALIGN;
    if (!size_add(a->used, bytes, &used)) {
        a->overflow = true;
        return NULL;
    }
    if (!a->base) {
        a->used = used;
        return NULL;
    }
    ASSERT(used <= a->capacity);
    void *part = SEPARATE_PARTS ? part_new(a, count * size) : a->base + a->used;
    a->used = used;
    return part;
}

int arena_open(struct arena *a, size_t bytes)
{
    ASSERT(!a->base && a->used == 0);
    size_t mapped = bytes > 0 ? bytes : PART_ALIGN;
    void *base = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return SPECD_ENOMEM;
    /* Weights and KV are streamed end to end: large pages save most address translations. */
    madvise(base, mapped, MADV_HUGEPAGE);
    a->base = base;
    a->capacity = mapped;
    return 0;
}

void arena_close(struct arena *a)
{
    for (size_t i = 0; i < a->n_parts; i++)
        free(a->parts[i]);
    free(a->parts);
    if (a->base)
        munmap(a->base, a->capacity);
    memset(a, 0, sizeof(*a));
}
