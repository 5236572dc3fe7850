#include "model/safetensors.h"

#include "model/json_file.h"
#include "specd/error.h"
#include "specd/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INDEX_BYTES_MAX ((size_t)32 << 20)
#define WHOLE_MAX 9007199254740992.0 /* 2^53: beyond it JSON numbers lose digits */

/* One file's header on its way into the directory. */
struct header {
    struct tensor_dir *dir;
    const char *file;
    const uint8_t *data; /* of the tensors */
    size_t data_bytes;
    uint64_t used_bytes;
    char *err;
    size_t errlen;
};

#define bad(h, tensor, ...) tensor_bad((h)->err, (h)->errlen, (h)->file, tensor, __VA_ARGS__)

static int read_dtype(const struct header *h, const struct json *node, struct tensor_entry *e)
{
    static const struct {
        const char *name;
        enum dtype type;
    } names[] = {{"F32", DT_F32}, {"F16", DT_F16}, {"BF16", DT_BF16}};
    static const char read[] = "F32, F16, BF16, and in quantised folders F8_E4M3, U8 and I32";
    const struct json *dtype = json_get(node, "dtype");
    if (json_type(dtype) != JSON_STRING)
        return bad(h, e->name, "dtype: expected a string");
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strcmp(json_string(dtype), names[i].name) == 0) {
            e->type = names[i].type;
            return 0;
        }
    }
    for (enum raw_type t = RAW_NONE + 1; t < RAW_TYPES; t++) {
        if (strcmp(json_string(dtype), raw_name(t)) == 0) {
            e->raw = t;
            return 0;
        }
    }
    char text[40];
    return bad(h, e->name, "has dtype %s, which specd does not read: it would have to be one of %s",
               printable(text, sizeof text, json_string(dtype), strlen(json_string(dtype))), read);
}

static size_t unit_bytes(const struct tensor_entry *e)
{
    return e->raw == RAW_NONE ? (size_t)dtype_bytes(e->type) : e->raw == RAW_I32 ? 4 : 1;
}

static int read_shape(const struct header *h, const struct json *node, struct tensor_entry *e)
{
    const struct json *shape = json_get(node, "shape"), *dim;
    if (json_type(shape) != JSON_ARRAY)
        return bad(h, e->name, "shape: expected an array");
    for (dim = json_first(shape); dim; dim = json_next(dim)) {
        if (e->n_dims == TENSOR_DIMS_MAX)
            return bad(h, e->name, "shape: more than %d dimensions", TENSOR_DIMS_MAX);
        if (!json_file_whole(dim, WHOLE_MAX, &e->shape[e->n_dims]))
            return bad(h, e->name, "shape: expected whole numbers");
        e->n_dims++;
    }
    if (!blocks_bytes(1, unit_bytes(e), e->shape, e->n_dims, &e->bytes))
        return bad(h, e->name, "shape: the product overflows");
    return 0;
}

static int read_offsets(struct header *h, const struct json *node, struct tensor_entry *e)
{
    const struct json *offsets = json_get(node, "data_offsets");
    const struct json *first = json_type(offsets) == JSON_ARRAY ? json_first(offsets) : NULL;
    const struct json *second = first ? json_next(first) : NULL;
    uint64_t begin, end;
    if (!second || json_next(second) || !json_file_whole(first, WHOLE_MAX, &begin) ||
        !json_file_whole(second, WHOLE_MAX, &end))
        return bad(h, e->name, "data_offsets: expected two whole numbers");
    if (begin > end || end > h->data_bytes)
        return bad(h, e->name, "data_offsets: %llu to %llu is not within the %zu bytes of data",
                   (unsigned long long)begin, (unsigned long long)end, h->data_bytes);
    if (end - begin != e->bytes)
        return bad(h, e->name, "data_offsets: %llu bytes, but its shape needs %llu",
                   (unsigned long long)(end - begin), (unsigned long long)e->bytes);
    e->data = h->data + begin;
    if ((uintptr_t)e->data % unit_bytes(e) != 0)
        return bad(h, e->name,
                   "starts at an unaligned address: save it again with a current "
                   "version of safetensors");
    h->used_bytes += e->bytes;
    return 0;
}

static int read_tensor(struct header *h, const struct json *node)
{
    struct tensor_entry e = {.file = h->file};
    size_t len = strlen(json_key(node));
    if (len == 0 || len > TENSOR_NAME_MAX)
        return bad(h, json_key(node), "a name of %zu bytes, expected 1 to %d", len,
                   TENSOR_NAME_MAX);
    if (h->dir->n == TENSORS_MAX)
        return bad(h, json_key(node), "more than %d tensors", TENSORS_MAX);
    if (json_type(node) != JSON_OBJECT)
        return bad(h, json_key(node), "expected an object");
    e.name = xstrdup(json_key(node));
    int rc = read_dtype(h, node, &e);
    if (rc == 0)
        rc = read_shape(h, node, &e);
    if (rc == 0)
        rc = read_offsets(h, node, &e);
    if (rc == 0)
        tensor_dir_add(h->dir, &e);
    else
        free(e.name);
    return rc;
}

static int read_header(struct header *h, const struct json *root)
{
    const struct json *node;
    for (node = json_first(root); node; node = json_next(node)) {
        if (strcmp(json_key(node), "__metadata__") == 0)
            continue;
        int rc = read_tensor(h, node);
        if (rc)
            return rc;
    }
    /* Overlaps are found when the directory is sealed; without them, this finds holes. */
    if (h->used_bytes != h->data_bytes)
        return fail(SPECD_EFILE, h->err, h->errlen,
                    "%s: data_offsets: the tensors take %llu bytes of %zu bytes of data", h->file,
                    (unsigned long long)h->used_bytes, h->data_bytes);
    return 0;
}

int safetensors_parse(struct tensor_dir *dir, const uint8_t *data, size_t size, const char *file,
                      size_t *header_bytes, char *err, size_t errlen)
{
    uint64_t len;
    if (size < sizeof len)
        return fail(SPECD_EFILE, err, errlen, "%s: header length: the file ends in it", file);
    memcpy(&len, data, sizeof len);
    if (len > SAFETENSORS_HEADER_MAX)
        return fail(SPECD_EFILE, err, errlen, "%s: header length: %llu bytes, at most %zu are read",
                    file, (unsigned long long)len, SAFETENSORS_HEADER_MAX);
    if (len > size - sizeof len)
        return fail(SPECD_EFILE, err, errlen,
                    "%s: header length: %llu bytes pass the end of the file", file,
                    (unsigned long long)len);
    char what[400];
    snprintf(what, sizeof what, "%s: header", file);
    struct json *root;
    int rc =
        json_file_parse(&root, (const char *)data + sizeof len, (size_t)len, what, err, errlen);
    if (rc)
        return rc;
    *header_bytes = sizeof len + (size_t)len;
    struct header h = {.dir = dir,
                       .file = file,
                       .data = data + *header_bytes,
                       .data_bytes = size - *header_bytes,
                       .err = err,
                       .errlen = errlen};
    rc = read_header(&h, root);
    json_free(root);
    return rc;
}

/* A plain file name: nothing that could lead out of the folder. */
static bool is_shard_name(const char *name)
{
    static const char suffix[] = ".safetensors";
    size_t n = strlen(name), k = sizeof suffix - 1;
    return n > k && n <= 255 && name[0] != '.' && !strchr(name, '/') &&
           strcmp(name + n - k, suffix) == 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* weight_map names a file per tensor: thousands of times the same few. */
static int read_index(struct shards *s, const struct json *root, const char *path, char *err,
                      size_t errlen)
{
    const struct json *map = json_get(root, "weight_map"), *node;
    if (json_type(map) != JSON_OBJECT || !json_first(map))
        return fail(SPECD_EFILE, err, errlen, "%s: weight_map: expected an object", path);
    size_t n = 0, k = 0;
    for (node = json_first(map); node; node = json_next(node)) {
        char text[80];
        if (json_type(node) != JSON_STRING || !is_shard_name(json_string(node)))
            return fail(SPECD_EFILE, err, errlen,
                        "%s: weight_map: the file of tensor %s is not a plain *.safetensors name",
                        path, printable(text, sizeof text, json_key(node), strlen(json_key(node))));
        n++;
    }
    const char **all = xmalloc(n * sizeof *all);
    n = 0;
    for (node = json_first(map); node; node = json_next(node))
        all[n++] = json_string(node);
    qsort(all, n, sizeof *all, by_text);
    for (size_t i = 0; i < n; i++) {
        if (k == 0 || strcmp(all[k - 1], all[i]) != 0)
            all[k++] = all[i];
    }
    if (k <= SHARDS_MAX) {
        s->names = xmalloc(k * sizeof *s->names);
        for (; s->n < k; s->n++)
            s->names[s->n] = xstrdup(all[s->n]);
    }
    free(all);
    if (k > SHARDS_MAX)
        return fail(SPECD_EFILE, err, errlen, "%s: weight_map: more than %d files", path,
                    SHARDS_MAX);
    return 0;
}

int shards_find(struct shards *s, const char *folder, char *err, size_t errlen)
{
    static const char single[] = "model.safetensors";
    char path[4096];
    *s = (struct shards){0};
    snprintf(path, sizeof path, "%s/%s", folder, single);
    if (access(path, F_OK) == 0) {
        s->names = xmalloc(sizeof *s->names);
        s->names[s->n++] = xstrdup(single);
        return 0;
    }
    snprintf(path, sizeof path, "%s/%s.index.json", folder, single);
    if (access(path, F_OK) != 0)
        return fail(SPECD_EFILE, err, errlen, "%s: neither %s nor %s.index.json in it", folder,
                    single, single);
    struct json *root;
    int rc = json_file_load(&root, path, INDEX_BYTES_MAX, err, errlen);
    if (rc)
        return rc;
    rc = read_index(s, root, path, err, errlen);
    json_free(root);
    return rc;
}

void shards_fini(struct shards *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->names[i]);
    free(s->names);
    *s = (struct shards){0};
}
