/*
 * arena.h - memory that is sized first and allocated once.
 *
 * The code that hands out the parts of an arena is the code that counts them: a layout function
 * runs over a counting arena for device.plan, and again over an open one for the allocation, so
 * that the two cannot disagree. Parts are 64-byte aligned, zeroed, and live as long as the arena.
 * Builds with address sanitizer make every part an allocation of its own, so that running over a
 * part's end is caught. Owned by the device; one thread at a time.
 */
#ifndef SPECD_CPU_ARENA_H
#define SPECD_CPU_ARENA_H

#include <stdbool.h>
#include <stddef.h>

/* Zero-initialised, an arena counts: arena_take returns NULL and adds to `used`. */
struct arena {
    char *base;
    size_t used, capacity;
    bool overflow; /* counting: the sum does not fit a size_t */
    void **parts;  /* address sanitizer builds */
    size_t n_parts;
};

/* Elements of a row of `width` floats that fills whole cache lines. */
static inline size_t row_stride(int width)
{
    return ((size_t)width + 15) / 16 * 16;
}

/* count elements of `size` bytes. Taking more than was opened for is a bug. */
void *arena_take(struct arena *a, size_t count, size_t size);
/* Makes a zero-initialised arena hand out memory. SPECD_ENOMEM */
int arena_open(struct arena *a, size_t bytes);
void arena_close(struct arena *a); /* back to zero-initialised */

#endif
