#include "json.h"

#include "specd/error.h"
#include "specd/util.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* struct json is cJSON under a name of ours: nothing else in the server includes cJSON.h. */
static const cJSON *item(const struct json *v)
{
    return (const cJSON *)v;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted, so that a hostile object of half a million keys costs n log n. */
static const char *duplicate_key(const cJSON *object)
{
    size_t n = 0;
    for (const cJSON *c = object->child; c; c = c->next)
        n++;
    if (n < 2)
        return NULL;
    const char **names = xmalloc(n * sizeof *names);
    const char *found = NULL;
    n = 0;
    for (const cJSON *c = object->child; c; c = c->next)
        names[n++] = c->string;
    qsort(names, n, sizeof *names, by_name);
    for (size_t i = 1; i < n && !found; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            found = names[i];
    free(names);
    return found;
}

static int check_tree(const cJSON *v, bool lax, char *err, size_t errlen)
{
    if (cJSON_IsNumber(v) && !isfinite(v->valuedouble))
        return fail(SPECD_EJSON, err, errlen, "invalid JSON: number out of range");
    if (cJSON_IsObject(v) && !lax) {
        const char *name = duplicate_key(v);
        if (name)
            return fail(SPECD_EJSON, err, errlen, "invalid JSON: duplicate key '%.64s'", name);
    }
    for (const cJSON *c = v->child; c; c = c->next) {
        int rc = check_tree(c, lax, err, errlen);
        if (rc < 0)
            return rc;
    }
    return 0;
}

void json_memory(void)
{
    cJSON_InitHooks(&(cJSON_Hooks){try_malloc, free});
}

static int parse(struct json **out, const char *text, size_t len, bool lax, char *err,
                 size_t errlen)
{
    int rc = (lax ? json_scan_lax : json_scan)(text, len, err, errlen);
    if (rc < 0)
        return rc;
    cJSON *doc = cJSON_ParseWithLength(text, len + 1);
    if (!doc) /* json_scan let it pass */
        return fail(SPECD_ENOMEM, err, errlen, "%s", specd_error_text(SPECD_ENOMEM));
    rc = check_tree(doc, lax, err, errlen);
    if (rc < 0) {
        cJSON_Delete(doc);
        return rc;
    }
    *out = (struct json *)doc;
    return 0;
}

int json_parse(struct json **out, const char *text, size_t len, char *err, size_t errlen)
{
    return parse(out, text, len, false, err, errlen);
}

int json_parse_lax(struct json **out, const char *text, size_t len, char *err, size_t errlen)
{
    return parse(out, text, len, true, err, errlen);
}

void json_free(struct json *doc)
{
    cJSON_Delete((cJSON *)doc);
}

enum json_type json_type(const struct json *v)
{
    if (cJSON_IsBool(item(v)))
        return JSON_BOOL;
    if (cJSON_IsNumber(item(v)))
        return JSON_NUMBER;
    if (cJSON_IsString(item(v)))
        return JSON_STRING;
    if (cJSON_IsArray(item(v)))
        return JSON_ARRAY;
    return cJSON_IsObject(item(v)) ? JSON_OBJECT : JSON_NULL;
}

bool json_bool(const struct json *v)
{
    return cJSON_IsTrue(item(v));
}

double json_number(const struct json *v)
{
    return item(v)->valuedouble;
}

bool json_integer(const struct json *v, int64_t *out)
{
    double d = item(v)->valuedouble;
    if (!cJSON_IsNumber(item(v)) || d != floor(d) || fabs(d) > JSON_INTEGER_MAX)
        return false;
    *out = (int64_t)d;
    return true;
}

const char *json_string(const struct json *v)
{
    return item(v)->valuestring;
}

const char *json_key(const struct json *v)
{
    return item(v)->string;
}

const struct json *json_first(const struct json *v)
{
    return (const struct json *)item(v)->child;
}

const struct json *json_next(const struct json *v)
{
    return (const struct json *)item(v)->next;
}

const struct json *json_get(const struct json *obj, const char *key)
{
    for (const struct json *m = json_first(obj); m; m = json_next(m))
        if (strcmp(json_key(m), key) == 0)
            return m;
    return NULL;
}

size_t json_count(const struct json *v)
{
    size_t n = 0;
    for (const struct json *m = json_first(v); m; m = json_next(m))
        n++;
    return n;
}
