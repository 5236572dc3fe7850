#include "model/gguf_meta.h"

#include "specd/error.h"
#include "specd/util.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define KEY_TEXT 160

static const char *full_key(const struct gguf_meta *m, const char *key, char text[KEY_TEXT])
{
    snprintf(text, KEY_TEXT, "%s%s", key[0] == '.' ? m->prefix : "", key);
    return text;
}

void meta_bad(struct gguf_meta *m, const char *key, const char *fmt, ...)
{
    if (m->rc)
        return;
    char text[KEY_TEXT], reason[240];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    m->rc = fail(SPECD_EFILE, m->err, m->errlen, "%s: metadata %s: %s", m->g->file,
                 full_key(m, key, text), reason);
}

const struct gguf_kv *meta_find(struct gguf_meta *m, const char *key, enum need need)
{
    char text[KEY_TEXT];
    if (m->rc)
        return NULL;
    const struct gguf_kv *kv = gguf_find(m->g, full_key(m, key, text));
    if (!kv && need == REQUIRED)
        meta_bad(m, key, "missing");
    return kv;
}

/* false if it is no integer. Negative numbers wrap to large ones, which no range admits. */
static bool load_integer(enum gguf_type type, const uint8_t *at, uint64_t *out)
{
    int8_t i8;
    int16_t i16;
    int32_t i32;
    *out = 0;
    switch (type) {
    case GGUF_U8:
    case GGUF_U16:
    case GGUF_U32:
    case GGUF_U64:
    case GGUF_I64:
        memcpy(out, at, gguf_type_bytes(type));
        return true;
    case GGUF_I8:
        memcpy(&i8, at, sizeof i8);
        *out = (uint64_t)(int64_t)i8;
        return true;
    case GGUF_I16:
        memcpy(&i16, at, sizeof i16);
        *out = (uint64_t)(int64_t)i16;
        return true;
    case GGUF_I32:
        memcpy(&i32, at, sizeof i32);
        *out = (uint64_t)(int64_t)i32;
        return true;
    default:
        return false;
    }
}

static bool all_equal(const struct gguf_kv *kv)
{
    size_t bytes = gguf_type_bytes(kv->elem);
    for (uint64_t i = 1; i < kv->n; i++) {
        if (memcmp(kv->data, kv->data + i * bytes, bytes) != 0)
            return false;
    }
    return true;
}

/* An integer, or an array of one integer again and again. */
static bool read_integer(struct gguf_meta *m, const char *key, const struct gguf_kv *kv,
                         uint64_t *value)
{
    bool array = kv->type == GGUF_ARRAY;
    enum gguf_type type = array ? kv->elem : kv->type;
    if (kv->n == 0 || !load_integer(type, kv->data, value))
        meta_bad(m, key, "is %s%s, expected an integer", array ? "an array of " : "",
                 gguf_type_name(type));
    else if (array && !all_equal(kv))
        meta_bad(m, key, "differs from layer to layer: layers of one size are needed");
    return m->rc == 0;
}

uint32_t meta_u32(struct gguf_meta *m, const char *key, enum need need, uint32_t fallback,
                  uint32_t lo, uint32_t hi)
{
    const struct gguf_kv *kv = meta_find(m, key, need);
    uint64_t value;
    if (!kv || !read_integer(m, key, kv, &value))
        return fallback;
    if (value >= lo && value <= hi)
        return (uint32_t)value;
    meta_bad(m, key, "%lld is outside %u to %u", (long long)value, lo, hi);
    return fallback;
}

void meta_layers(struct gguf_meta *m, const char *key, enum need need, uint32_t *values, uint32_t n,
                 uint32_t hi, const char *what)
{
    const struct gguf_kv *kv = meta_find(m, key, need);
    bool array = kv && kv->type == GGUF_ARRAY;
    if (array && kv->n != n)
        meta_bad(m, key, "has %llu elements, the model %u layers", (unsigned long long)kv->n, n);
    for (uint32_t i = 0; kv && m->rc == 0 && i < n; i++) {
        enum gguf_type type = array ? kv->elem : kv->type;
        uint64_t value;
        if (!load_integer(type, kv->data + (array ? i * gguf_type_bytes(type) : 0), &value))
            meta_bad(m, key, "is %s%s, expected an integer", array ? "an array of " : "",
                     gguf_type_name(type));
        else if (value == 0)
            meta_bad(m, key, "is 0 in layer %u: layers without %s are not supported", i, what);
        else if (value > hi)
            meta_bad(m, key, "%lld in layer %u is outside 1 to %u", (long long)value, i, hi);
        values[i] = (uint32_t)value;
    }
}

int32_t meta_id(struct gguf_meta *m, const char *key, int32_t fallback, uint32_t n_tokens)
{
    const struct gguf_kv *kv = meta_find(m, key, OPTIONAL);
    uint64_t id;
    if (!kv || !read_integer(m, key, kv, &id))
        return fallback;
    if (id < n_tokens)
        return (int32_t)id;
    if (id != UINT64_MAX && id != UINT32_MAX) /* -1, of any width */
        log_warn("%s: metadata %s: %lld is not one of %u tokens, ignored", m->g->file, key,
                 (long long)id, n_tokens);
    return -1;
}

double meta_f64(struct gguf_meta *m, const char *key, enum need need, double fallback)
{
    const struct gguf_kv *kv = meta_find(m, key, need);
    if (!kv)
        return fallback;
    double value = 0;
    if (kv->type == GGUF_F32) {
        float f;
        memcpy(&f, kv->data, sizeof f);
        value = (double)f;
    } else if (kv->type == GGUF_F64) {
        memcpy(&value, kv->data, sizeof value);
    } else {
        meta_bad(m, key, "is %s, expected a float", gguf_type_name(kv->type));
        return fallback;
    }
    if (isfinite(value))
        return value;
    meta_bad(m, key, "is not finite");
    return fallback;
}

bool meta_bool(struct gguf_meta *m, const char *key, bool fallback)
{
    const struct gguf_kv *kv = meta_find(m, key, OPTIONAL);
    if (!kv)
        return fallback;
    if (kv->type == GGUF_BOOL && kv->data[0] <= 1)
        return kv->data[0] == 1;
    meta_bad(m, key, "is %s, expected a bool of 0 or 1", gguf_type_name(kv->type));
    return fallback;
}

char *meta_string(struct gguf_meta *m, const char *key, enum need need)
{
    const struct gguf_kv *kv = meta_find(m, key, need);
    if (!kv)
        return NULL;
    if (kv->type != GGUF_STRING) {
        meta_bad(m, key, "is %s, expected a string", gguf_type_name(kv->type));
        return NULL;
    }
    if (memchr(kv->data, 0, (size_t)kv->n)) {
        meta_bad(m, key, "holds a zero byte");
        return NULL;
    }
    return xstrndup((const char *)kv->data, (size_t)kv->n);
}

const struct gguf_kv *meta_array(struct gguf_meta *m, const char *key, enum need need,
                                 enum gguf_type elem)
{
    const struct gguf_kv *kv = meta_find(m, key, need);
    if (!kv || (kv->type == GGUF_ARRAY && kv->elem == elem))
        return kv;
    meta_bad(m, key, "is %s%s, expected an array of %s",
             kv->type == GGUF_ARRAY ? "an array of " : "",
             gguf_type_name(kv->type == GGUF_ARRAY ? kv->elem : kv->type), gguf_type_name(elem));
    return NULL;
}
