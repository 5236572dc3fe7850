/*
 * arena.h - a bump allocator with a ceiling.
 *
 * What is allocated from one arena goes with it, at once: a document of JSON, what a template's
 * parse or one rendering makes, which makes leaving an interpreter by longjmp safe and bounds its
 * memory. One thread at a time.
 */
#ifndef SPECD_ARENA_H
#define SPECD_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct arena {
    struct arena_chunk *chunks;
    char *tip, *end; /* free bytes of the newest chunk */
    size_t used;     /* bytes of all chunks */
    size_t limit;    /* used never exceeds it */
};

/* align is a power of two, at most 16. NULL when the limit would be passed, or without memory. */
void *arena_alloc(struct arena *a, size_t size, size_t align);
/* Grows the allocation that ends at `end` by `extra` bytes in place; false where it can't. */
bool arena_extend(struct arena *a, const char *end, size_t extra);
/* Gives back the last `size` bytes of the allocation that ends at `end`, if it is the newest. */
void arena_trim(struct arena *a, const char *end, size_t size);
void arena_free(struct arena *a);

#endif
