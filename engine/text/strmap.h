/*
 * strmap.h - byte strings to token ids: open addressing over borrowed keys.
 *
 * Keys may hold any bytes and must outlive the map. Filled once, then read by any thread.
 */
#ifndef SPECD_STRMAP_H
#define SPECD_STRMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct strmap_slot {
    const char *key; /* NULL: empty */
    uint32_t len;
    int32_t id;
};

struct strmap {
    struct strmap_slot *slots;
    size_t mask, n;
    uint32_t longest; /* longest key, bytes */
};

void strmap_init(struct strmap *m, size_t n_keys); /* room for n_keys; more may not be added */
void strmap_free(struct strmap *m);
/* false, and nothing changed, if the key is there already. */
bool strmap_add(struct strmap *m, const char *key, size_t len, int32_t id);
int32_t strmap_get(const struct strmap *m, const char *key, size_t len); /* -1: absent */

/* A power of two that keeps a table of n entries at most two thirds full. */
size_t table_size(size_t n);

#endif
