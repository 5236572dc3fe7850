#include "model/gguf_split.h"

#include "model/gguf_meta.h"
#include "specd/error.h"
#include "specd/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX_LEN (sizeof "-00001-of-00002" - 1)
static const char extension[] = ".gguf";

/* Which file of how many the end of a name says, or false. */
static bool parse_suffix(const char *at, size_t *no, size_t *n)
{
    static const char form[] = "-ddddd-of-ddddd";
    size_t numbers[2] = {0, 0};
    for (size_t i = 0; i < SUFFIX_LEN; i++) {
        bool digit = at[i] >= '0' && at[i] <= '9';
        if (form[i] == 'd' ? !digit : at[i] != form[i])
            return false;
        if (digit)
            numbers[i > 5] = numbers[i > 5] * 10 + (size_t)(at[i] - '0');
    }
    *no = numbers[0];
    *n = numbers[1];
    return true;
}

size_t gguf_split_prefix(const char *name, size_t len)
{
    size_t no, n;
    bool split = len > SUFFIX_LEN && parse_suffix(name + len - SUFFIX_LEN, &no, &n);
    return split ? len - SUFFIX_LEN : len;
}

char *gguf_split_path(const char *first, size_t no, size_t n)
{
    size_t prefix = strlen(first) - (sizeof extension - 1) - SUFFIX_LEN;
    size_t cap = strlen(first) + 1;
    char *path = xmalloc(cap);
    snprintf(path, cap, "%.*s-%05zu-of-%05zu%s", (int)prefix, first, no + 1, n, extension);
    return path;
}

/* PREFIX-00001-of-0000N.gguf, where this is file `no` of n. */
static bool is_named(const char *path, size_t no, size_t n)
{
    size_t len = strlen(path), end = len - MIN(len, sizeof extension - 1), named_no, named_n;
    return end > SUFFIX_LEN && strcmp(path + end, extension) == 0 &&
           parse_suffix(path + end - SUFFIX_LEN, &named_no, &named_n) && named_no == no + 1 &&
           named_n == n;
}

int gguf_split_count(const struct gguf *g, size_t *n, char *err, size_t errlen)
{
    struct gguf_meta r = {.g = g, .prefix = "", .err = err, .errlen = errlen};
    *n = MAX(meta_u32(&r, "split.count", OPTIONAL, 1, 0, GGUF_SPLITS_MAX), 1);
    if (*n == 1)
        return r.rc;
    size_t no = meta_u32(&r, "split.no", REQUIRED, 0, 0, (uint32_t)*n - 1);
    if (r.rc == 0 && !is_named(g->file, no, *n))
        meta_bad(&r, "split.no",
                 "this is file %zu of %zu: its name must end in -%05zu-of-%05zu.gguf, so that it "
                 "leads to the others",
                 no + 1, *n, no + 1, *n);
    if (r.rc == 0 && no != 0) {
        char *first = gguf_split_path(g->file, 0, *n);
        meta_bad(&r, "split.no", "this is file %zu of %zu: give the first, %s", no + 1, *n, first);
        free(first);
    }
    return r.rc;
}

int gguf_split_take(struct gguf *g, struct gguf *part, size_t no, size_t n, char *err,
                    size_t errlen)
{
    struct gguf_meta r = {.g = part, .prefix = "", .err = err, .errlen = errlen};
    uint32_t said_no = meta_u32(&r, "split.no", REQUIRED, 0, 0, UINT32_MAX);
    uint32_t said_n = meta_u32(&r, "split.count", REQUIRED, 0, 0, UINT32_MAX);
    if (r.rc == 0 && (said_no != no || said_n != n))
        meta_bad(&r, "split.no", "this is file %u of %u, expected %zu of %zu", said_no + 1, said_n,
                 no + 1, n);
    if (r.rc == 0 && part->tensors.n > TENSORS_MAX - g->tensors.n)
        r.rc = fail(SPECD_EFILE, err, errlen, "%s: more than %d tensors in %zu files", part->file,
                    TENSORS_MAX, no + 1);
    if (r.rc)
        return r.rc;
    for (size_t i = 0; i < part->tensors.n; i++) {
        tensor_dir_add(&g->tensors, &part->tensors.entries[i]);
        part->tensors.entries[i].name = NULL;
    }
    part->tensors.n = 0;
    return 0;
}

int gguf_split_seal(struct gguf *g, char *err, size_t errlen)
{
    struct gguf_meta r = {.g = g, .prefix = "", .err = err, .errlen = errlen};
    uint32_t n =
        meta_u32(&r, "split.tensors.count", OPTIONAL, (uint32_t)g->tensors.n, 0, TENSORS_MAX);
    if (r.rc == 0 && n != g->tensors.n)
        meta_bad(&r, "split.tensors.count", "%u, but the files have %zu", n, g->tensors.n);
    return r.rc ? r.rc : tensor_dir_seal(&g->tensors, err, errlen);
}
