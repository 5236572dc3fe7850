#include "model/json_file.h"

#include "model/mapping.h"
#include "specd/error.h"
#include "specd/utf8.h"
#include "specd/util.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* NULL, or why the text would be misread. Backslashes occur in strings only, so escapes can be
 * followed without parsing. */
static const char *find_trap(const char *text, size_t len)
{
    const uint8_t *s = (const uint8_t *)text;
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_length(s + i, len - i);
        if (n == 0)
            return "invalid UTF-8";
        if (s[i] == 0)
            return "a zero byte";
        if (s[i] == '\\' && len - i >= 2)
            n = 2;
        if (s[i] == '\\' && len - i >= 6 && memcmp(s + i, "\\u0000", 6) == 0)
            return "a zero character (\\u0000)";
    }
    return NULL;
}

static int by_string(const void *a, const void *b)
{
    const cJSON *const *x = a, *const *y = b;
    return strcmp((*x)->string, (*y)->string);
}

/* The name of a key that an object holds twice, or NULL. Sorted, so that a large one costs
 * n log n. */
static const char *twice_in_object(const cJSON *object)
{
    size_t n = 0, i = 0;
    const cJSON *child;
    cJSON_ArrayForEach(child, object) n++;
    if (n < 2)
        return NULL;
    const cJSON **keys = xmalloc(n * sizeof *keys);
    cJSON_ArrayForEach(child, object) keys[i++] = child;
    qsort(keys, n, sizeof *keys, by_string);
    const char *found = NULL;
    for (i = 1; i < n && !found; i++) {
        if (strcmp(keys[i - 1]->string, keys[i]->string) == 0)
            found = keys[i]->string;
    }
    free(keys);
    return found;
}

/* Depth is bounded by cJSON's own limit. */
static const char *find_duplicate(const cJSON *node)
{
    const char *found = cJSON_IsObject(node) ? twice_in_object(node) : NULL;
    const cJSON *child;
    cJSON_ArrayForEach(child, node)
    {
        if (found)
            break;
        if (child->child)
            found = find_duplicate(child);
    }
    return found;
}

static bool only_spaces(const char *s, const char *end)
{
    while (s < end && (*s == ' ' || *s == '\t' || *s == '\n' || *s == '\r'))
        s++;
    return s == end;
}

int json_file_parse(cJSON **out, const char *text, size_t len, const char *what, char *err,
                    size_t errlen)
{
    const char *trap = find_trap(text, len);
    if (trap)
        return fail(SPECD_EFILE, err, errlen, "%s: the JSON holds %s", what, trap);
    const char *end = NULL;
    cJSON *root = len > 0 ? cJSON_ParseWithLengthOpts(text, len, &end, 0) : NULL;
    if (!root || !only_spaces(end, text + len)) {
        cJSON_Delete(root);
        return fail(SPECD_EFILE, err, errlen, "%s: not valid JSON (at byte %zu)", what,
                    end ? (size_t)(end - text) : 0);
    }
    char name[100];
    const char *twice = find_duplicate(root);
    int rc = 0;
    if (twice)
        rc = fail(SPECD_EFILE, err, errlen, "%s: the JSON key %s occurs twice", what,
                  printable(name, sizeof name, twice, strlen(twice)));
    else if (!cJSON_IsObject(root))
        rc = fail(SPECD_EFILE, err, errlen, "%s: the JSON is not an object", what);
    if (rc)
        cJSON_Delete(root);
    else
        *out = root;
    return rc;
}

int json_file_load(cJSON **out, const char *path, size_t limit, char *err, size_t errlen)
{
    struct mapping m = {0};
    int rc = mapping_open(&m, path, err, errlen);
    if (rc)
        return rc;
    if (m.size > limit)
        rc = fail(SPECD_EFILE, err, errlen, "%s: %zu bytes, expected at most %zu", path, m.size,
                  limit);
    else
        rc = json_file_parse(out, (const char *)m.data, m.size, path, err, errlen);
    mapping_close(&m);
    return rc;
}

void json_file_bad(struct json_reader *r, const char *key, const char *fmt, ...)
{
    if (r->rc)
        return;
    char reason[240];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    r->rc = fail(SPECD_EFILE, r->err, r->errlen, "%s: %s%s: %s", r->file, r->path, key, reason);
}

const cJSON *json_file_field(struct json_reader *r, const char *key, enum need need)
{
    if (r->rc)
        return NULL;
    const cJSON *node = cJSON_GetObjectItemCaseSensitive(r->object, key);
    if (node && !cJSON_IsNull(node))
        return node;
    if (need == REQUIRED)
        json_file_bad(r, key, "missing");
    return NULL;
}

bool json_file_whole(const cJSON *n, double hi, uint64_t *out)
{
    if (!cJSON_IsNumber(n) || !(n->valuedouble >= 0 && n->valuedouble <= hi) ||
        n->valuedouble != floor(n->valuedouble))
        return false;
    *out = (uint64_t)n->valuedouble;
    return true;
}

uint32_t json_file_u32(struct json_reader *r, const char *key, enum need need, uint32_t fallback,
                       uint32_t lo, uint32_t hi)
{
    const cJSON *node = json_file_field(r, key, need);
    uint64_t value;
    if (!node)
        return fallback;
    if (json_file_whole(node, hi, &value) && value >= lo)
        return (uint32_t)value;
    json_file_bad(r, key, "expected a whole number from %u to %u", lo, hi);
    return fallback;
}

double json_file_f64(struct json_reader *r, const char *key, enum need need, double fallback)
{
    const cJSON *node = json_file_field(r, key, need);
    if (!node)
        return fallback;
    if (cJSON_IsNumber(node) && isfinite(node->valuedouble))
        return node->valuedouble;
    json_file_bad(r, key, "expected a number");
    return fallback;
}

bool json_file_bool(struct json_reader *r, const char *key, bool fallback)
{
    const cJSON *node = json_file_field(r, key, OPTIONAL);
    if (!node)
        return fallback;
    if (cJSON_IsBool(node))
        return cJSON_IsTrue(node);
    json_file_bad(r, key, "expected true or false");
    return fallback;
}

const char *json_file_string(struct json_reader *r, const char *key, enum need need)
{
    const cJSON *node = json_file_field(r, key, need);
    if (!node || cJSON_IsString(node))
        return node ? node->valuestring : NULL;
    json_file_bad(r, key, "expected a string");
    return NULL;
}
