#include "fields.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

int enum_index(const char *values, const char *word)
{
    size_t len = strlen(word);
    for (int i = 0;; i++) {
        size_t n = strcspn(values, "|");
        if (n == len && memcmp(values, word, n) == 0)
            return i;
        if (values[n] == '\0')
            return -1;
        values += n + 1;
    }
}

static bool in_range(const struct field *f, double v)
{
    bool above = f->flags & FIELD_MIN_OPEN ? v > f->min : v >= f->min;
    bool below = f->flags & FIELD_MAX_OPEN ? v < f->max : v <= f->max;
    return above && below;
}

static int read_bool(const char *name, const struct json *v, bool *out, struct api_error *e)
{
    if (json_type(v) != JSON_BOOL)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be true or false", name);
    *out = json_bool(v);
    return 0;
}

static int read_int(const struct field *f, const char *name, const struct json *v, int32_t *out,
                    struct api_error *e)
{
    int64_t i;
    if (!json_integer(v, &i) || !in_range(f, (double)i))
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be an integer in %.0f..%.0f", name,
                        f->min, f->max);
    *out = (int32_t)i;
    return 0;
}

static int read_float(const struct field *f, const char *name, const struct json *v, float *out,
                      struct api_error *e)
{
    /* Rounding to float must not move a value out of an open end of the range. */
    float d = json_type(v) == JSON_NUMBER ? (float)json_number(v) : NAN;
    if (!in_range(f, (double)d))
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be a number in %c%g, %g%c", name,
                        f->flags & FIELD_MIN_OPEN ? '(' : '[', f->min, f->max,
                        f->flags & FIELD_MAX_OPEN ? ')' : ']');
    *out = d;
    return 0;
}

static int read_enum(const struct field *f, const char *name, const struct json *v, int *out,
                     struct api_error *e)
{
    int i = json_type(v) == JSON_STRING ? enum_index(f->values, json_string(v)) : -1;
    if (i < 0)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be one of %s", name, f->values);
    *out = i;
    return 0;
}

static int read_object(const struct field *f, unsigned route, const char *name,
                       const struct json *v, void *into, struct api_error *e)
{
    char prefix[66];
    if (json_type(v) != JSON_OBJECT)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be an object", name);
    snprintf(prefix, sizeof prefix, "%s.", name);
    return fields_read(f->members, f->n_members, route, prefix, v, into, e);
}

static bool is_off(const struct field *f, const struct json *v)
{
    switch (json_type(v)) {
    case JSON_NULL:
        return true;
    case JSON_BOOL:
        return json_bool(v) == ((f->flags & FIELD_OFF_TRUE) != 0);
    case JSON_NUMBER:
        return in_range(f, json_number(v));
    case JSON_STRING:
        return *json_string(v) == '\0' || (f->values && enum_index(f->values, json_string(v)) >= 0);
    case JSON_ARRAY:
    case JSON_OBJECT:
        return json_count(v) == 0;
    }
    return false;
}

static int read_field(const struct field *f, unsigned route, const char *name, const struct json *v,
                      void *into, struct api_error *e)
{
    void *at = (char *)into + f->offset;
    int rc = 0;
    switch (f->kind) {
    case FIELD_BOOL:
        rc = read_bool(name, v, at, e);
        break;
    case FIELD_INT:
        rc = read_int(f, name, v, at, e);
        break;
    case FIELD_FLOAT:
        rc = read_float(f, name, v, at, e);
        break;
    case FIELD_ENUM:
        rc = read_enum(f, name, v, at, e);
        break;
    case FIELD_OBJECT:
        rc = read_object(f, route, name, v, into, e);
        break;
    case FIELD_CUSTOM:
        rc = f->parse(into, name, v, e);
        break;
    case FIELD_REFUSED:
        if (!is_off(f, v))
            rc = api_fail(e, SPECD_EINVAL, name, "'%s' is not supported: %s", name, f->about);
        break;
    }
    return rc;
}

static bool is_named(const struct field *f, const char *name)
{
    bool named = strcmp(f->name, name) == 0;
    for (int i = 0; i < FIELD_ALIASES && f->aliases[i]; i++)
        named = named || strcmp(f->aliases[i], name) == 0;
    return named;
}

static const struct field *find(const struct field *table, size_t n, unsigned route,
                                const char *name)
{
    for (size_t i = 0; i < n; i++)
        if ((table[i].routes == 0 || table[i].routes & route) && is_named(&table[i], name))
            return &table[i];
    return NULL;
}

/* Two names of one field in the same body: fine when they agree, which only numbers can show. */
static bool agrees(const struct field *f, const struct json *object, const struct json *v)
{
    for (const struct json *m = json_first(object); m != v; m = json_next(m)) {
        if (json_type(m) == JSON_NULL || !is_named(f, json_key(m)))
            continue;
        if (json_type(m) != JSON_NUMBER || json_type(v) != JSON_NUMBER ||
            json_number(m) != json_number(v))
            return false;
    }
    return true;
}

int fields_read(const struct field *table, size_t n, unsigned route, const char *prefix,
                const struct json *object, void *into, struct api_error *e)
{
    for (const struct json *m = json_first(object); m; m = json_next(m)) {
        const struct field *f = find(table, n, route, json_key(m));
        if (!f || json_type(m) == JSON_NULL)
            continue;
        char name[64];
        snprintf(name, sizeof name, "%s%s", prefix, json_key(m));
        if (f->aliases[0] && !agrees(f, object, m))
            return api_fail(e, SPECD_EINVAL, name, "'%s' contradicts '%s', its other name", name,
                            f->name);
        int rc = read_field(f, route, name, m, into, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}
