#include "fields_doc.h"

#include "specd/json_write.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool is_on(const struct field *f, unsigned route)
{
    return f->routes == 0 || f->routes & route;
}

/* Has it a value in a call that can be told? */
static bool is_told(const struct field *f)
{
    bool told = f->kind == FIELD_CUSTOM ? f->write != NULL : f->kind != FIELD_REFUSED;
    if (f->kind != FIELD_OBJECT)
        return told;
    for (size_t i = 0; i < f->n_members; i++)
        if (is_told(&f->members[i]))
            return true;
    return false;
}

static const char *enum_word(const struct field *f, int i, size_t *len)
{
    const char *word = f->values;
    for (; i > 0; i--)
        word += strcspn(word, "|") + 1;
    *len = strcspn(word, "|");
    return word;
}

static double number_at(const struct field *f, const void *from)
{
    const char *at = (const char *)from + f->offset;
    float real;
    int32_t whole;
    memcpy(&real, at, sizeof real);
    memcpy(&whole, at, sizeof whole);
    return f->kind == FIELD_FLOAT ? (double)real : whole;
}

/* The value in from as JSON. False, and nothing appended, when it is not set. */
static bool write_value(const struct field *f, unsigned route, const void *from, struct buf *out)
{
    const char *at = (const char *)from + f->offset, *word;
    double number = number_at(f, from);
    size_t len;
    switch (f->kind) {
    case FIELD_BOOL:
        buf_puts(out, *(const bool *)at ? "true" : "false");
        return true;
    case FIELD_INT:
    case FIELD_FLOAT:
        if (number < f->min || number > f->max)
            return false;
        buf_printf(out, f->kind == FIELD_INT ? "%.0f" : "%.6g", number);
        return true;
    case FIELD_ENUM:
        word = enum_word(f, *(const int *)at, &len);
        json_str(out, word, len);
        return true;
    case FIELD_OBJECT:
        fields_values(f->members, f->n_members, route, from, out);
        return true;
    case FIELD_CUSTOM:
        if (f->write)
            f->write(from, out);
        return f->write != NULL;
    case FIELD_REFUSED:
        return false;
    }
    return false;
}

static void write_member(const char *name, const struct buf *value, bool *first, struct buf *out)
{
    if (!name)
        return;
    buf_puts(out, *first ? "" : ",");
    *first = false;
    json_cstr(out, name);
    json_lit(out, ":");
    buf_add(out, value->data, value->len);
}

void fields_values(const struct field *table, size_t n, unsigned route, const void *from,
                   struct buf *out)
{
    struct buf value = {0};
    bool first = true;
    json_lit(out, "{");
    for (const struct field *f = table; f < table + n; f++) {
        if (!is_on(f, route) || !is_told(f))
            continue;
        buf_clear(&value);
        if (!write_value(f, route, from, &value))
            buf_puts(&value, "null");
        write_member(f->name, &value, &first, out);
        for (int i = 0; i < FIELD_ALIASES; i++)
            write_member(f->aliases[i], &value, &first, out);
    }
    json_lit(out, "}");
    buf_free(&value);
}

/* ---- JSON Schema */

static void schema_range(const struct field *f, struct buf *out)
{
    const char *min = f->flags & FIELD_MIN_OPEN ? "exclusiveMinimum" : "minimum";
    const char *max = f->flags & FIELD_MAX_OPEN ? "exclusiveMaximum" : "maximum";
    buf_printf(out, ",\"%s\":%.15g", min, f->min);
    if (!isinf(f->max))
        buf_printf(out, ",\"%s\":%.15g", max, f->max);
}

static void schema_enum(const struct field *f, struct buf *out)
{
    json_lit(out, "\"enum\":[");
    for (const char *word = f->values; *word;) {
        size_t len = strcspn(word, "|");
        json_str(out, word, len);
        json_lit(out, ",");
        word += len + (word[len] != '\0');
    }
    json_lit(out, "null]");
}

/* What is taken of a field that is refused. */
static void schema_off(const struct field *f, struct buf *out)
{
    buf_printf(out, "\"anyOf\":[{\"enum\":[null,%s,\"\",[],{}",
               f->flags & FIELD_OFF_TRUE ? "true" : "false");
    for (const char *word = f->values ? f->values : ""; *word;) {
        size_t len = strcspn(word, "|");
        json_lit(out, ",");
        json_str(out, word, len);
        word += len + (word[len] != '\0');
    }
    json_lit(out, "]}");
    if (f->min <= f->max) {
        json_lit(out, ",{\"type\":\"number\"");
        schema_range(f, out);
        json_lit(out, "}");
    }
    json_lit(out, "]");
}

static void schema_type(const struct field *f, unsigned route, const void *from, struct buf *out)
{
    switch (f->kind) {
    case FIELD_BOOL:
        json_lit(out, "\"type\":[\"boolean\",\"null\"]");
        break;
    case FIELD_INT:
        json_lit(out, "\"type\":[\"integer\",\"null\"]");
        schema_range(f, out);
        break;
    case FIELD_FLOAT:
        json_lit(out, "\"type\":[\"number\",\"null\"]");
        schema_range(f, out);
        break;
    case FIELD_ENUM:
        schema_enum(f, out);
        break;
    case FIELD_OBJECT:
        json_lit(out, "\"anyOf\":[{");
        fields_schema(f->members, f->n_members, route, from, out);
        json_lit(out, "},{\"type\":\"null\"}]");
        break;
    case FIELD_CUSTOM:
        if (f->flags & FIELD_REQUIRED)
            buf_puts(out, f->schema);
        else
            buf_printf(out, "\"anyOf\":[{%s},{\"type\":\"null\"}]", f->schema);
        break;
    case FIELD_REFUSED:
        schema_off(f, out);
        break;
    }
}

/* Descriptions are Markdown, as OpenAPI has it. */
static void schema_field(const struct field *f, unsigned route, const void *from, struct buf *out)
{
    json_lit(out, "{");
    schema_type(f, route, from, out);
    json_lit(out, ",\"description\":");
    json_cstr(out, f->about);
    size_t at = out->len;
    json_lit(out, ",\"default\":");
    if (f->kind == FIELD_OBJECT || f->fallback || !write_value(f, route, from, out))
        out->len = at;
    json_lit(out, "}");
}

void fields_schema(const struct field *table, size_t n, unsigned route, const void *from,
                   struct buf *out)
{
    struct buf value = {0}, required = {0};
    bool first = true;
    json_lit(out, "\"type\":\"object\",\"properties\":{");
    for (const struct field *f = table; f < table + n; f++) {
        if (!is_on(f, route))
            continue;
        buf_clear(&value);
        schema_field(f, route, from, &value);
        write_member(f->name, &value, &first, out);
        for (int i = 0; i < FIELD_ALIASES; i++)
            write_member(f->aliases[i], &value, &first, out);
        if (f->flags & FIELD_REQUIRED)
            buf_printf(&required, "%s\"%s\"", required.len ? "," : "", f->name);
    }
    json_lit(out, "}");
    if (required.len > 0)
        buf_printf(out, ",\"required\":[%s]", required.data);
    buf_free(&value);
    buf_free(&required);
}

static void name_schema(const char *name, const struct field *f, unsigned route, bool *first,
                        struct buf *out)
{
    if (!name)
        return;
    buf_printf(out, "%s\"%s\":{", *first ? "" : ",", name);
    *first = false;
    if (f->kind == FIELD_OBJECT)
        fields_values_schema(f->members, f->n_members, route, out);
    else
        schema_type(f, route, NULL, out);
    json_lit(out, "}");
}

void fields_values_schema(const struct field *table, size_t n, unsigned route, struct buf *out)
{
    bool first = true;
    json_lit(out, "\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
    for (const struct field *f = table; f < table + n; f++) {
        if (!is_on(f, route) || !is_told(f))
            continue;
        name_schema(f->name, f, route, &first, out);
        for (int i = 0; i < FIELD_ALIASES; i++)
            name_schema(f->aliases[i], f, route, &first, out);
    }
    json_lit(out, "}");
}

/* ---- reference */

static void words(const char *values, struct buf *out)
{
    for (const char *word = values; *word;) {
        size_t len = strcspn(word, "|");
        buf_printf(out, "%s`%.*s`", word == values ? "" : ", ", (int)len, word);
        word += len + (word[len] != '\0');
    }
}

static void range(const struct field *f, struct buf *out)
{
    switch (f->kind) {
    case FIELD_BOOL:
        buf_puts(out, "true or false");
        break;
    case FIELD_INT:
        buf_printf(out, "%.0f … %.0f", f->min, f->max);
        break;
    case FIELD_FLOAT:
        buf_printf(out, "%c%g, ", f->flags & FIELD_MIN_OPEN ? '(' : '[', f->min);
        if (isinf(f->max))
            buf_puts(out, "∞");
        else
            buf_printf(out, "%g", f->max);
        buf_puts(out, f->flags & FIELD_MAX_OPEN ? ")" : "]");
        break;
    case FIELD_ENUM:
        words(f->values, out);
        break;
    case FIELD_OBJECT:
        buf_puts(out, "an object");
        break;
    case FIELD_CUSTOM:
        buf_puts(out, f->range);
        break;
    case FIELD_REFUSED:
        buf_puts(out, f->flags & FIELD_OFF_TRUE ? "empty, true" : "empty, false");
        if (f->min <= f->max)
            buf_printf(out, f->min < f->max ? ", %g … %g" : ", %g", f->min, f->max);
        if (f->values) {
            buf_puts(out, ", ");
            words(f->values, out);
        }
        break;
    }
}

static void name_cell(const struct field *f, const char *prefix, struct buf *out)
{
    buf_printf(out, "| `%s%s`", prefix, f->name);
    for (int i = 0; i < FIELD_ALIASES && f->aliases[i]; i++)
        buf_printf(out, " = `%s`", f->aliases[i]);
    buf_puts(out, " | ");
}

void fields_reference(const struct field *table, size_t n, const char *prefix, const void *from,
                      const char *(*route_names)(unsigned routes), struct buf *out)
{
    for (const struct field *f = table; f < table + n; f++) {
        if (f->kind == FIELD_REFUSED)
            continue;
        name_cell(f, prefix, out);
        if (f->fallback)
            buf_puts(out, f->fallback);
        else
            write_value(f, f->routes, from, out);
        buf_puts(out, " | ");
        range(f, out);
        buf_puts(out, " | ");
        if (f->routes)
            buf_printf(out, "%s: ", route_names(f->routes));
        buf_printf(out, "%s |\n", f->about);
    }
}

void fields_refused(const struct field *table, size_t n, const char *prefix,
                    const char *(*route_names)(unsigned routes), struct buf *out)
{
    for (const struct field *f = table; f < table + n; f++) {
        if (f->kind == FIELD_OBJECT) {
            char members[64];
            snprintf(members, sizeof members, "%s%s.", prefix, f->name);
            fields_refused(f->members, f->n_members, members, route_names, out);
        }
        if (f->kind != FIELD_REFUSED)
            continue;
        name_cell(f, prefix, out);
        range(f, out);
        buf_puts(out, " | ");
        if (f->routes)
            buf_printf(out, "%s: ", route_names(f->routes));
        buf_printf(out, "%s |\n", f->about);
    }
}
