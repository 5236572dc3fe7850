/*
 * chat_json.h - JSON text as the flat values a request carries, for tests.
 */
#ifndef SPECD_TEST_CHAT_JSON_H
#define SPECD_TEST_CHAT_JSON_H

#include "specd/request.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

struct chat_json {
    cJSON *doc; /* owns the strings */
    struct chat_value *values;
    uint32_t n, cap;
};

static inline void chat_json_put(struct chat_json *j, const cJSON *v)
{
    struct chat_value value = {.key = v->string};
    if (cJSON_IsBool(v)) {
        value.kind = CHAT_BOOL;
        value.b = cJSON_IsTrue(v);
    } else if (cJSON_IsNumber(v)) {
        bool whole = v->valuedouble > -1e15 && v->valuedouble < 1e15 &&
                     v->valuedouble == (double)(int64_t)v->valuedouble;
        value.kind = whole ? CHAT_INT : CHAT_FLOAT;
        if (whole)
            value.i = (int64_t)v->valuedouble;
        else
            value.d = v->valuedouble;
    } else if (cJSON_IsString(v)) {
        value.kind = CHAT_STRING;
        value.s = v->valuestring;
    } else if (cJSON_IsArray(v) || cJSON_IsObject(v)) {
        value.kind = cJSON_IsArray(v) ? CHAT_LIST : CHAT_DICT;
        value.n = (uint32_t)cJSON_GetArraySize(v);
    }
    if (j->n == j->cap) {
        j->cap = j->cap ? j->cap * 2 : 64;
        j->values = (struct chat_value *)xrealloc(j->values, j->cap * sizeof *j->values);
    }
    j->values[j->n++] = value;
    for (const cJSON *child = v->child; child; child = child->next)
        chat_json_put(j, child);
}

/* false if the text is no JSON. */
static inline bool chat_json_read(struct chat_json *j, const char *text)
{
    memset(j, 0, sizeof *j);
    j->doc = cJSON_ParseWithOpts(text, NULL, 1);
    if (j->doc)
        chat_json_put(j, j->doc);
    return j->doc != NULL;
}

static inline void chat_json_free(struct chat_json *j)
{
    cJSON_Delete(j->doc);
    free(j->values);
}

#endif
