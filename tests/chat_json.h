/*
 * chat_json.h - JSON text as the flat values a request carries, for tests.
 */
#ifndef SPECD_TEST_CHAT_JSON_H
#define SPECD_TEST_CHAT_JSON_H

#include "specd/json.h"
#include "specd/request.h"

#include <stdlib.h>
#include <string.h>

struct chat_json {
    struct json *doc; /* owns the strings */
    struct chat_value *values;
    uint32_t n, cap;
};

static inline void chat_json_put(struct chat_json *j, const struct json *v)
{
    struct chat_value value = {.key = json_key(v), .text = json_number_text(v)};
    switch (json_type(v)) {
    case JSON_NULL:
        break;
    case JSON_BOOL:
        value.kind = CHAT_BOOL;
        value.b = json_bool(v);
        break;
    case JSON_NUMBER:
        value.kind = CHAT_INT;
        if (!json_integer(v, &value.i)) {
            value.kind = CHAT_FLOAT;
            value.d = json_number(v);
        }
        break;
    case JSON_STRING:
        value.kind = CHAT_STRING;
        value.s = json_string(v);
        break;
    default:
        value.kind = json_type(v) == JSON_ARRAY ? CHAT_LIST : CHAT_DICT;
        value.n = (uint32_t)json_count(v);
    }
    if (j->n == j->cap) {
        j->cap = j->cap ? j->cap * 2 : 64;
        j->values = xrealloc(j->values, j->cap * sizeof *j->values);
    }
    j->values[j->n++] = value;
    bool nested = value.kind == CHAT_LIST || value.kind == CHAT_DICT;
    for (const struct json *child = nested ? json_first(v) : NULL; child; child = json_next(child))
        chat_json_put(j, child);
}

/* false if the text is no JSON. */
static inline bool chat_json_read(struct chat_json *j, const char *text)
{
    char why[64];
    *j = (struct chat_json){0};
    if (json_parse_lax(&j->doc, text, strlen(text), why, sizeof why) < 0)
        return false;
    chat_json_put(j, j->doc);
    return true;
}

static inline void chat_json_free(struct chat_json *j)
{
    json_free(j->doc);
    free(j->values);
}

#endif
