/*
 * arena.h - a bump allocator with a ceiling.
 *
 * Everything a template's parse or one rendering allocates comes from one arena and goes with it.
 * That makes leaving an interpreter by longjmp safe, and bounds its memory whatever the template
 * does. One thread at a time.
 */
#ifndef SPECD_JINJA_ARENA_H
#define SPECD_JINJA_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct jinja_arena {
    struct arena_chunk *chunks;
    char *tip, *end; /* free bytes of the newest chunk */
    size_t used;     /* bytes of all chunks */
    size_t limit;    /* used never exceeds it */
};

/* align is a power of two, at most 16. NULL when the limit would be passed, or without memory. */
void *jinja_arena_alloc(struct jinja_arena *a, size_t size, size_t align);
/* Grows the allocation that ends at `end` by `extra` bytes in place; false where it can't. */
bool jinja_arena_extend(struct jinja_arena *a, const char *end, size_t extra);
/* Gives back the last `size` bytes of the allocation that ends at `end`, if it is the newest. */
void jinja_arena_trim(struct jinja_arena *a, const char *end, size_t size);
void jinja_arena_free(struct jinja_arena *a);

#endif
