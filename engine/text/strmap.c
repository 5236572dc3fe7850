#include "text/strmap.h"

#include "specd/util.h"

#include <stdlib.h>
#include <string.h>

size_t table_size(size_t n)
{
    size_t size = 16;
    while (size / 3 * 2 < n)
        size *= 2;
    return size;
}

void strmap_init(struct strmap *m, size_t n_keys)
{
    size_t size = table_size(n_keys);
    *m = (struct strmap){.slots = xcalloc(size, sizeof *m->slots), .mask = size - 1};
}

void strmap_free(struct strmap *m)
{
    free(m->slots);
    *m = (struct strmap){0};
}

/* The table uses the low bits: they get something of the others. */
static uint64_t hash(const char *s, size_t n)
{
    uint64_t h = fnv1a(s, n);
    return h ^ h >> 29;
}

static struct strmap_slot *slot_of(const struct strmap *m, const char *key, size_t len)
{
    for (size_t i = hash(key, len);; i++) {
        struct strmap_slot *s = &m->slots[i & m->mask];
        if (!s->key || (s->len == len && memcmp(s->key, key, len) == 0))
            return s;
    }
}

bool strmap_add(struct strmap *m, const char *key, size_t len, int32_t id)
{
    struct strmap_slot *s = slot_of(m, key, len);
    if (s->key)
        return false;
    ASSERT(m->n < m->mask && len <= UINT32_MAX);
    *s = (struct strmap_slot){.key = key, .len = (uint32_t)len, .id = id};
    m->longest = MAX(m->longest, s->len);
    m->n++;
    return true;
}

int32_t strmap_get(const struct strmap *m, const char *key, size_t len)
{
    if (len > m->longest)
        return -1;
    const struct strmap_slot *s = slot_of(m, key, len);
    return s->key ? s->id : -1;
}
