#include "grammar/lists.h"

#include <stdlib.h>
#include <string.h>

static uint32_t *find_slot(struct lists *l, const uint32_t *numbers, uint32_t n)
{
    uint64_t h = n;
    for (uint32_t i = 0; i < n; i++) {
        h = (h ^ numbers[i]) * UINT64_C(0x9E3779B97F4A7C15);
        h ^= h >> 29;
    }
    for (;; h++) {
        uint32_t *slot = &l->table[h & (l->table_size - 1)];
        if (*slot == 0)
            return slot;
        uint32_t length;
        const uint32_t *list = lists_at(l, *slot - 1, &length);
        if (length == n && (n == 0 || memcmp(list, numbers, n * sizeof *numbers) == 0))
            return slot;
    }
}

static void grow(struct lists *l, uint32_t more)
{
    uint32_t n = l->n > 0 ? l->first[l->n] : 0;
    if (n + more > l->cap_numbers) {
        l->cap_numbers = MAX(l->cap_numbers * 2, n + more);
        l->numbers = xrealloc(l->numbers, l->cap_numbers * sizeof *l->numbers);
    }
    if (l->n < l->cap)
        return;
    l->cap = l->cap ? l->cap * 2 : 64;
    l->first = xrealloc(l->first, (l->cap + 1) * sizeof *l->first);
    l->first[0] = 0;
    l->table_size = l->cap * 4;
    free(l->table);
    l->table = xcalloc(l->table_size, sizeof *l->table);
    for (uint32_t i = 0; i < l->n; i++)
        *find_slot(l, l->numbers + l->first[i], l->first[i + 1] - l->first[i]) = i + 1;
}

uint32_t lists_put(struct lists *l, const uint32_t *numbers, uint32_t n)
{
    grow(l, n);
    uint32_t *slot = find_slot(l, numbers, n);
    if (*slot == 0) {
        if (n > 0)
            memcpy(l->numbers + l->first[l->n], numbers, n * sizeof *numbers);
        l->first[l->n + 1] = l->first[l->n] + n;
        *slot = ++l->n;
    }
    return *slot - 1;
}

void lists_free(struct lists *l)
{
    free(l->numbers);
    free(l->first);
    free(l->table);
    *l = (struct lists){0};
}
