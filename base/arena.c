#include "specd/arena.h"

#include "specd/util.h"

#include <stdint.h>
#include <stdlib.h>

#define CHUNK_MIN ((size_t)8 << 10)
#define CHUNK_MAX ((size_t)1 << 20)

struct arena_chunk {
    struct arena_chunk *next;
    size_t size;
    _Alignas(16) char data[];
};

static bool add_chunk(struct arena *a, size_t need)
{
    size_t size = a->chunks ? MIN(a->chunks->size * 2, CHUNK_MAX) : CHUNK_MIN;
    size = MAX(size, need);
    if (size > a->limit || a->used > a->limit - size)
        size = need; /* the last bytes below the limit are as good as any */
    if (size > a->limit || a->used > a->limit - size)
        return false;
    struct arena_chunk *c = try_malloc(sizeof *c + size);
    if (!c)
        return false;
    *c = (struct arena_chunk){.next = a->chunks, .size = size};
    a->chunks = c;
    a->used += size;
    a->tip = c->data;
    a->end = c->data + size;
    return true;
}

void *arena_alloc(struct arena *a, size_t size, size_t align)
{
    size_t need, pad = a->tip ? -(uintptr_t)a->tip & (align - 1) : 0;
    if (!size_add(size, pad, &need))
        return NULL;
    if (!a->tip || (size_t)(a->end - a->tip) < need) {
        if (!add_chunk(a, size))
            return NULL;
        pad = 0;
    }
    char *p = a->tip + pad;
    a->tip = p + size;
    return p;
}

bool arena_extend(struct arena *a, const char *end, size_t extra)
{
    if (!end || end != a->tip || (size_t)(a->end - a->tip) < extra)
        return false;
    a->tip += extra;
    return true;
}

void arena_trim(struct arena *a, const char *end, size_t size)
{
    if (end && end == a->tip)
        a->tip -= size;
}

void arena_free(struct arena *a)
{
    struct arena_chunk *next;
    for (struct arena_chunk *c = a->chunks; c; c = next) {
        next = c->next;
        free(c);
    }
    *a = (struct arena){.limit = a->limit};
}
