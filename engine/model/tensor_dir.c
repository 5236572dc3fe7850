#include "model/tensor_dir.h"

#include "model/field.h"
#include "specd/error.h"
#include "specd/util.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int tensor_bad(char *err, size_t errlen, const char *file, const char *tensor, const char *fmt, ...)
{
    char name[100], reason[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    return fail(SPECD_EFILE, err, errlen, "%s: tensor %s: %s", file,
                printable(name, sizeof name, tensor, strlen(tensor)), reason);
}

bool blocks_bytes(size_t elements, size_t bytes, const uint64_t *shape, uint32_t n_dims,
                  uint64_t *out)
{
    uint64_t cols = n_dims > 0 ? shape[n_dims - 1] : 1;
    if (cols % elements != 0 || !size_mul(bytes, cols / elements, &bytes))
        return false;
    for (uint32_t i = 0; i + 1 < n_dims; i++) {
        if (!size_mul(bytes, shape[i], &bytes))
            return false;
    }
    *out = bytes;
    return true;
}

bool tensor_bytes(enum dtype type, const uint64_t *shape, uint32_t n_dims, uint64_t *out)
{
    return blocks_bytes((size_t)dtype_block(type), (size_t)dtype_bytes(type), shape, n_dims, out);
}

void tensor_dir_add(struct tensor_dir *dir, const struct tensor_entry *e)
{
    if (dir->n == dir->cap) {
        dir->cap = MAX(dir->cap * 2, 64);
        dir->entries = xrealloc(dir->entries, dir->cap * sizeof *dir->entries);
    }
    dir->entries[dir->n++] = *e;
}

static int by_data(const void *a, const void *b)
{
    const struct tensor_entry *x = a, *y = b;
    if (x->data != y->data)
        return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes); /* an empty tensor overlaps nothing */
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor_entry *)a)->name, ((const struct tensor_entry *)b)->name);
}

int tensor_dir_seal(struct tensor_dir *dir, char *err, size_t errlen)
{
    if (dir->n == 0)
        return 0;
    char n0[80], n1[80];
    qsort(dir->entries, dir->n, sizeof *dir->entries, by_data);
    for (size_t i = 1; i < dir->n; i++) {
        const struct tensor_entry *a = &dir->entries[i - 1], *b = &dir->entries[i];
        if ((uintptr_t)b->data - (uintptr_t)a->data < a->bytes)
            return fail(SPECD_EFILE, err, errlen, "%s: tensors %s and %s overlap", b->file,
                        printable(n0, sizeof n0, a->name, strlen(a->name)),
                        printable(n1, sizeof n1, b->name, strlen(b->name)));
    }
    qsort(dir->entries, dir->n, sizeof *dir->entries, by_name);
    for (size_t i = 1; i < dir->n; i++) {
        const struct tensor_entry *a = &dir->entries[i - 1], *b = &dir->entries[i];
        if (strcmp(a->name, b->name) == 0)
            return fail(SPECD_EFILE, err, errlen, "%s: two tensors are named %s", b->file,
                        printable(n0, sizeof n0, a->name, strlen(a->name)));
    }
    return 0;
}

struct tensor_entry *tensor_dir_find(const struct tensor_dir *dir, const char *name)
{
    if (dir->n == 0)
        return NULL;
    struct tensor_entry key = {.name = (char *)(uintptr_t)name};
    return bsearch(&key, dir->entries, dir->n, sizeof *dir->entries, by_name);
}

void tensor_dir_fini(struct tensor_dir *dir)
{
    for (size_t i = 0; i < dir->n; i++)
        free(dir->entries[i].name);
    free(dir->entries);
    *dir = (struct tensor_dir){0};
}
