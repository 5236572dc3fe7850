#include "values.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void values_alloc(struct values *t)
{
    t->values = xcalloc(t->n, sizeof *t->values);
    t->text = xmalloc(t->len);
    t->n = t->len = 0;
}

char *values_text(struct values *t, const char *s)
{
    size_t n = strlen(s) + 1;
    char *at = t->text ? t->text + t->len : NULL;
    if (at)
        memcpy(at, s, n);
    t->len += n;
    return at;
}

static void put(struct values *t, const char *key, struct chat_value v)
{
    v.key = key ? values_text(t, key) : NULL;
    if (t->values)
        t->values[t->n] = v;
    t->n++;
}

void values_dict(struct values *t, const char *key, size_t n_members)
{
    put(t, key, (struct chat_value){.kind = CHAT_DICT, .n = (uint32_t)n_members});
}

void values_list(struct values *t, const char *key, size_t n_items)
{
    put(t, key, (struct chat_value){.kind = CHAT_LIST, .n = (uint32_t)n_items});
}

void values_string(struct values *t, const char *key, const char *s)
{
    put(t, key, (struct chat_value){.kind = CHAT_STRING, .s = values_text(t, s)});
}

void values_int(struct values *t, const char *key, int64_t i)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, i);
    put(t, key, (struct chat_value){.kind = CHAT_INT, .i = i, .text = values_text(t, text)});
}

void values_bool(struct values *t, const char *key, bool b)
{
    put(t, key, (struct chat_value){.kind = CHAT_BOOL, .b = b});
}

static void put_number(struct values *t, const char *key, const struct json *v)
{
    struct chat_value value = {.text = values_text(t, json_number_text(v))};
    if (json_integer(v, &value.i)) {
        value.kind = CHAT_INT;
    } else {
        value.kind = CHAT_FLOAT;
        value.d = json_number(v);
    }
    put(t, key, value);
}

void values_json(struct values *t, const char *key, const struct json *v)
{
    const struct json *child = NULL;
    switch (json_type(v)) {
    case JSON_NULL:
        put(t, key, (struct chat_value){.kind = CHAT_NULL});
        break;
    case JSON_BOOL:
        values_bool(t, key, json_bool(v));
        break;
    case JSON_NUMBER:
        put_number(t, key, v);
        break;
    case JSON_STRING:
        values_string(t, key, json_string(v));
        break;
    case JSON_ARRAY:
        values_list(t, key, json_count(v));
        child = json_first(v);
        break;
    case JSON_OBJECT:
        values_dict(t, key, json_count(v));
        child = json_first(v);
        break;
    }
    bool dict = json_type(v) == JSON_OBJECT;
    for (; child; child = json_next(child))
        values_json(t, dict ? json_key(child) : NULL, child);
}

size_t values_count(const struct json *v)
{
    size_t n = 1;
    bool nested = json_type(v) == JSON_ARRAY || json_type(v) == JSON_OBJECT;
    for (const struct json *m = nested ? json_first(v) : NULL; m && n <= CALL_VALUES_MAX;
         m = json_next(m))
        n += values_count(m);
    return n;
}

int values_check(const char *name, size_t n, struct api_error *e)
{
    if (n <= CALL_VALUES_MAX)
        return 0;
    return api_fail(e, SPECD_EINVAL, name, "'%s' must hold at most %d values", name,
                    CALL_VALUES_MAX);
}
