#include "model/json_file.h"

#include "model/mapping.h"
#include "specd/error.h"
#include "specd/util.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

int json_file_parse(struct json **out, const char *text, size_t len, const char *what, char *err,
                    size_t errlen)
{
    char why[200], shown[200];
    int rc = json_parse_file(out, text, len, why, sizeof why);
    if (rc < 0)
        return fail(SPECD_EFILE, err, errlen, "%s: %s", what,
                    printable(shown, sizeof shown, why, strlen(why)));
    if (json_type(*out) == JSON_OBJECT)
        return 0;
    json_free(*out);
    *out = NULL;
    return fail(SPECD_EFILE, err, errlen, "%s: the JSON is not an object", what);
}

int json_file_load(struct json **out, const char *path, size_t limit, char *err, size_t errlen)
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

const struct json *json_file_field(struct json_reader *r, const char *key, enum need need)
{
    if (r->rc)
        return NULL;
    const struct json *node = json_get(r->object, key);
    if (json_type(node) != JSON_NULL)
        return node;
    if (need == REQUIRED)
        json_file_bad(r, key, "missing");
    return NULL;
}

bool json_file_whole(const struct json *n, double hi, uint64_t *out)
{
    double d = json_type(n) == JSON_NUMBER ? json_number(n) : -1;
    if (!(d >= 0 && d <= hi) || d != floor(d))
        return false;
    *out = (uint64_t)d;
    return true;
}

uint32_t json_file_u32(struct json_reader *r, const char *key, enum need need, uint32_t fallback,
                       uint32_t lo, uint32_t hi)
{
    const struct json *node = json_file_field(r, key, need);
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
    const struct json *node = json_file_field(r, key, need);
    if (!node)
        return fallback;
    if (json_type(node) == JSON_NUMBER)
        return json_number(node);
    json_file_bad(r, key, "expected a number");
    return fallback;
}

bool json_file_bool(struct json_reader *r, const char *key, bool fallback)
{
    const struct json *node = json_file_field(r, key, OPTIONAL);
    if (!node)
        return fallback;
    if (json_type(node) == JSON_BOOL)
        return json_bool(node);
    json_file_bad(r, key, "expected true or false");
    return fallback;
}

const char *json_file_string(struct json_reader *r, const char *key, enum need need)
{
    const struct json *node = json_file_field(r, key, need);
    if (!node || json_type(node) == JSON_STRING)
        return json_string(node);
    json_file_bad(r, key, "expected a string");
    return NULL;
}
