#include "model/gguf.h"

#include "model/field.h"
#include "specd/error.h"
#include "specd/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF values are read as they lie");

#define KVS_MAX 65536
#define KEY_MAX 65535 /* the format's own limit */
#define ALIGNMENT_DEFAULT 32
#define ALIGNMENT_MAX 65536
/* Smallest possible encodings: they bound what a count can claim before anything is allocated. */
#define KV_BYTES_MIN (8 + 4 + 1)
#define TENSOR_BYTES_MIN (8 + 4 + 8 + 4 + 8)

static const struct {
    const char *name;
    size_t bytes;
} types[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = {"u8", 1},       [GGUF_I8] = {"i8", 1},     [GGUF_U16] = {"u16", 2},
    [GGUF_I16] = {"i16", 2},     [GGUF_U32] = {"u32", 4},   [GGUF_I32] = {"i32", 4},
    [GGUF_F32] = {"f32", 4},     [GGUF_BOOL] = {"bool", 1}, [GGUF_STRING] = {"string", 0},
    [GGUF_ARRAY] = {"array", 0}, [GGUF_U64] = {"u64", 8},   [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

const char *gguf_type_name(enum gguf_type type)
{
    return types[type].name;
}

size_t gguf_type_bytes(enum gguf_type type)
{
    return types[type].bytes;
}

/*
 * A reading position. `where` names the item being read, for messages. The first error sticks: it
 * is written to err once, and later reads give zeros.
 */
struct cursor {
    const uint8_t *data;
    size_t pos, size;
    const char *file;
    char where[160];
    char *err;
    size_t errlen;
    int rc;
};

static void bad(struct cursor *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void bad(struct cursor *c, const char *fmt, ...)
{
    if (c->rc)
        return;
    char reason[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    c->rc = fail(SPECD_EFILE, c->err, c->errlen, "%s: %s: %s", c->file, c->where, reason);
}

static void set_where(struct cursor *c, const char *kind, const char *name)
{
    char text[100];
    snprintf(c->where, sizeof c->where, "%s %s", kind,
             printable(text, sizeof text, name, strlen(name)));
}

static size_t left(const struct cursor *c)
{
    return c->rc ? 0 : c->size - c->pos;
}

/* NULL on error, else n bytes of the file. */
static const uint8_t *take(struct cursor *c, const char *what, uint64_t n)
{
    if (c->rc)
        return NULL;
    if (n > left(c)) {
        bad(c, "%s of %llu bytes passes the end of the file (%zu left)", what,
            (unsigned long long)n, left(c));
        return NULL;
    }
    const uint8_t *at = c->data + c->pos;
    c->pos += (size_t)n;
    return at;
}

static uint32_t read_u32(struct cursor *c, const char *what)
{
    uint32_t v = 0;
    const uint8_t *at = take(c, what, sizeof v);
    if (at)
        memcpy(&v, at, sizeof v);
    return v;
}

static uint64_t read_u64(struct cursor *c, const char *what)
{
    uint64_t v = 0;
    const uint8_t *at = take(c, what, sizeof v);
    if (at)
        memcpy(&v, at, sizeof v);
    return v;
}

static const uint8_t *read_string(struct cursor *c, const char *what, uint64_t *len)
{
    *len = read_u64(c, what);
    return take(c, what, *len);
}

/* A key or tensor name becomes a C string: 1..max bytes, no NUL inside. NULL on error. */
static char *read_name(struct cursor *c, const char *what, uint64_t max)
{
    uint64_t len;
    const char *s = (const char *)read_string(c, what, &len);
    if (!s)
        return NULL;
    if (len == 0 || len > max) {
        bad(c, "%s of %llu bytes, expected 1 to %llu", what, (unsigned long long)len,
            (unsigned long long)max);
        return NULL;
    }
    if (memchr(s, 0, (size_t)len)) {
        bad(c, "%s holds a zero byte", what);
        return NULL;
    }
    return xstrndup(s, (size_t)len);
}

static enum gguf_type read_type(struct cursor *c, const char *what)
{
    uint32_t type = read_u32(c, what);
    if (type >= GGUF_TYPE_COUNT) {
        bad(c, "unknown %s %u", what, type);
        return GGUF_U8;
    }
    return (enum gguf_type)type;
}

static void read_array(struct cursor *c, struct gguf_kv *kv)
{
    kv->elem = read_type(c, "array type");
    kv->n = read_u64(c, "array length");
    if (kv->elem == GGUF_ARRAY) {
        bad(c, "arrays of arrays are not supported");
        return;
    }
    bool strings = kv->elem == GGUF_STRING;
    size_t elem_min = strings ? sizeof(uint64_t) : gguf_type_bytes(kv->elem);
    if (kv->n > left(c) / elem_min) {
        bad(c, "array of %llu elements passes the end of the file", (unsigned long long)kv->n);
        return;
    }
    kv->data = c->data + c->pos;
    if (!strings)
        c->pos += (size_t)kv->n * elem_min;
    for (uint64_t i = 0, len; strings && i < kv->n && c->rc == 0; i++)
        read_string(c, "array element", &len);
}

static void read_kv(struct cursor *c, struct gguf_kv *kv)
{
    kv->key = read_name(c, "key", KEY_MAX);
    if (!kv->key)
        return;
    set_where(c, "metadata", kv->key);
    kv->type = read_type(c, "value type");
    kv->n = 1;
    if (kv->type == GGUF_ARRAY)
        read_array(c, kv);
    else if (kv->type == GGUF_STRING)
        kv->data = read_string(c, "value", &kv->n);
    else
        kv->data = take(c, "value", gguf_type_bytes(kv->type));
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct gguf_kv *)a)->key, ((const struct gguf_kv *)b)->key);
}

static void read_kvs(struct gguf *g, struct cursor *c, uint64_t n)
{
    g->kvs = xcalloc((size_t)n, sizeof *g->kvs);
    for (uint64_t i = 0; i < n && c->rc == 0; i++) {
        snprintf(c->where, sizeof c->where, "metadata entry %llu", (unsigned long long)i);
        read_kv(c, &g->kvs[g->n_kvs++]);
    }
    if (c->rc)
        return;
    qsort(g->kvs, g->n_kvs, sizeof *g->kvs, by_key);
    for (size_t i = 1; i < g->n_kvs; i++) {
        if (strcmp(g->kvs[i - 1].key, g->kvs[i].key) == 0) {
            set_where(c, "metadata", g->kvs[i].key);
            bad(c, "the key occurs twice");
        }
    }
}

static size_t read_alignment(const struct gguf *g, struct cursor *c)
{
    const struct gguf_kv *kv = gguf_find(g, "general.alignment");
    uint32_t value = ALIGNMENT_DEFAULT;
    if (!kv)
        return value;
    set_where(c, "metadata", kv->key);
    if (kv->type != GGUF_U32) {
        bad(c, "type is %s, expected u32", gguf_type_name(kv->type));
        return value;
    }
    memcpy(&value, kv->data, sizeof value);
    /* Below 8, floats would not be aligned in memory. */
    if (value < 8 || value > ALIGNMENT_MAX || (value & (value - 1)) != 0)
        bad(c, "%u is not a power of two from 8 to %d", value, ALIGNMENT_MAX);
    return value;
}

/* GGUF's tensor types by number, for messages: what specd reads is in dtype.h. */
static const char *const ggml_types[] = {
    "F32",   "F16",        "Q4_0",       "Q4_1",       "Q4_2",     "Q4_3",     "Q5_0",
    "Q5_1",  "Q8_0",       "Q8_1",       "Q2_K",       "Q3_K",     "Q4_K",     "Q5_K",
    "Q6_K",  "Q8_K",       "IQ2_XXS",    "IQ2_XS",     "IQ3_XXS",  "IQ1_S",    "IQ4_NL",
    "IQ3_S", "IQ2_S",      "IQ4_XS",     "I8",         "I16",      "I32",      "I64",
    "F64",   "IQ1_M",      "BF16",       "Q4_0_4_4",   "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",
    "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4",    "NVFP4",    "Q1_0",
    "Q2_0",
};

static bool dtype_from_gguf(uint32_t number, enum dtype *out)
{
    switch (number) {
#define X(name, text, block, bytes, gguf) \
    case gguf:                            \
        *out = DT_##name;                 \
        return true;
        SPECD_GGUF_DTYPES(X)
#undef X
    }
    return false;
}

static void read_shape(struct cursor *c, struct tensor_entry *e)
{
    e->n_dims = read_u32(c, "dimension count");
    if (c->rc == 0 && (e->n_dims < 1 || e->n_dims > TENSOR_DIMS_MAX))
        bad(c, "%u dimensions, expected 1 to %d", e->n_dims, TENSOR_DIMS_MAX);
    for (uint32_t i = 0; c->rc == 0 && i < e->n_dims; i++) {
        uint64_t dim = read_u64(c, "dimension");
        e->shape[e->n_dims - 1 - i] = dim; /* the file lists the fastest first */
        if (dim == 0)
            bad(c, "dimension %u is 0", i);
    }
}

static void read_dtype(struct cursor *c, struct tensor_entry *e)
{
    uint32_t number = read_u32(c, "type");
    if (c->rc)
        return;
    if (!dtype_from_gguf(number, &e->type)) {
#define X(name, text, block, bytes, gguf) " " text
        bad(c,
            "has type %s (%u), which specd does not read: it would have to be one of"
            SPECD_GGUF_DTYPES(X),
            number < COUNT_OF(ggml_types) ? ggml_types[number] : "unknown", number);
#undef X
        return;
    }
    uint64_t cols = e->shape[e->n_dims - 1];
    if (cols % (uint64_t)dtype_block(e->type) != 0)
        bad(c, "rows of %llu elements are no whole number of %s blocks", (unsigned long long)cols,
            dtype_name(e->type));
    else if (!tensor_bytes(e->type, e->shape, e->n_dims, &e->bytes))
        bad(c, "the product of its dimensions overflows");
}

static void read_tensors(struct gguf *g, struct cursor *c, uint64_t *offsets, uint64_t n)
{
    for (uint64_t i = 0; i < n && c->rc == 0; i++) {
        struct tensor_entry e = {.file = c->file};
        snprintf(c->where, sizeof c->where, "tensor %llu", (unsigned long long)i);
        e.name = read_name(c, "name", TENSOR_NAME_MAX);
        if (!e.name)
            return;
        set_where(c, "tensor", e.name);
        read_shape(c, &e);
        read_dtype(c, &e);
        offsets[i] = read_u64(c, "offset");
        tensor_dir_add(&g->tensors, &e);
    }
}

static void place_tensors(struct gguf *g, struct cursor *c, const uint64_t *offsets)
{
    size_t alignment = read_alignment(g, c);
    if (c->rc)
        return;
    size_t start = (c->pos + alignment - 1) / alignment * alignment;
    size_t room = c->size > start ? c->size - start : 0;
    for (size_t i = 0; i < g->tensors.n; i++) {
        struct tensor_entry *e = &g->tensors.entries[i];
        set_where(c, "tensor", e->name);
        if (offsets[i] % alignment != 0)
            bad(c, "offset %llu is no multiple of the alignment %zu",
                (unsigned long long)offsets[i], alignment);
        if (offsets[i] > room || e->bytes > room - offsets[i])
            bad(c, "%llu bytes at offset %llu pass the end of the file (%zu bytes of data)",
                (unsigned long long)e->bytes, (unsigned long long)offsets[i], room);
        if (c->rc)
            return;
        e->data = c->data + start + offsets[i];
    }
    g->header_bytes = MIN(start, c->size);
    c->rc = tensor_dir_seal(&g->tensors, c->err, c->errlen);
}

static void read_header(struct gguf *g, struct cursor *c, uint64_t *n_tensors, uint64_t *n_kvs)
{
    const uint8_t *magic = take(c, "magic", 4);
    if (magic && memcmp(magic, "GGUF", 4) != 0)
        bad(c, "this is no GGUF file (its first four bytes are not \"GGUF\")");
    g->version = read_u32(c, "version");
    if (g->version != 0 && (g->version & 0xffff) == 0)
        bad(c, "a big-endian GGUF file is not supported");
    if (g->version < 2 || g->version > 3)
        bad(c, "GGUF version %u, expected 2 or 3", g->version);
    *n_tensors = read_u64(c, "tensor count");
    *n_kvs = read_u64(c, "metadata count");
    if (*n_tensors > TENSORS_MAX || *n_tensors > left(c) / TENSOR_BYTES_MIN)
        bad(c, "tensor count %llu is more than %s", (unsigned long long)*n_tensors,
            *n_tensors > TENSORS_MAX ? "specd accepts" : "the file can hold");
    if (*n_kvs > KVS_MAX || *n_kvs > left(c) / KV_BYTES_MIN)
        bad(c, "metadata count %llu is more than %s", (unsigned long long)*n_kvs,
            *n_kvs > KVS_MAX ? "specd accepts" : "the file can hold");
}

int gguf_parse(struct gguf *g, const uint8_t *data, size_t size, const char *file, char *err,
               size_t errlen)
{
    struct cursor c = {.data = data, .size = size, .file = file, .err = err, .errlen = errlen};
    uint64_t n_tensors, n_kvs;
    *g = (struct gguf){.file = file};
    snprintf(c.where, sizeof c.where, "header");
    read_header(g, &c, &n_tensors, &n_kvs);
    if (c.rc == 0)
        read_kvs(g, &c, n_kvs);
    if (c.rc == 0) {
        uint64_t *offsets = xcalloc((size_t)n_tensors, sizeof *offsets);
        read_tensors(g, &c, offsets, n_tensors);
        place_tensors(g, &c, offsets);
        free(offsets);
    }
    if (c.rc)
        gguf_fini(g);
    return c.rc;
}

void gguf_fini(struct gguf *g)
{
    for (size_t i = 0; i < g->n_kvs; i++)
        free(g->kvs[i].key);
    free(g->kvs);
    tensor_dir_fini(&g->tensors);
    *g = (struct gguf){0};
}

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key)
{
    if (g->n_kvs == 0)
        return NULL;
    struct gguf_kv probe = {.key = (char *)(uintptr_t)key};
    return bsearch(&probe, g->kvs, g->n_kvs, sizeof *g->kvs, by_key);
}

const char *gguf_next_string(const uint8_t **at, size_t *len)
{
    uint64_t n;
    memcpy(&n, *at, sizeof n);
    const char *s = (const char *)*at + sizeof n;
    *at += sizeof n + n;
    *len = (size_t)n;
    return s;
}
