/*
 * fields.h - reads members of a JSON object into a struct by a table.
 *
 * A row states everything there is to know about a field: its names, type, range, where it goes,
 * on which routes it exists and what it means. Parsing, /props, the reference in docs/api.md and
 * docs/openapi.json all come from the rows (fields_doc.h). The tables of the API are in
 * call_fields.c. `null` leaves the default; unknown members are ignored; a member whose value has
 * the wrong type or range is an error that names the field and what it may be.
 */
#ifndef SPECD_SERVER_FIELDS_H
#define SPECD_SERVER_FIELDS_H

#include "api_error.h"
#include "specd/error.h"
#include "specd/json.h"

enum field_kind {
    FIELD_BOOL,
    FIELD_INT,
    FIELD_FLOAT,
    FIELD_ENUM,
    FIELD_OBJECT,
    FIELD_CUSTOM,
    FIELD_REFUSED, /* known from other servers: an error, unless the value says that it is off */
};

enum field_flags {
    FIELD_MIN_OPEN = 1, /* min itself is out of range */
    FIELD_MAX_OPEN = 2,
    FIELD_REQUIRED = 4, /* said of it only: whoever reads it checks */
    FIELD_OFF_TRUE = 8, /* REFUSED: true is off, and false is not */
};

/* FIELD_CUSTOM: checks and stores v. 0 or the error. name is the field's full name, for messages.
 */
typedef int field_parse(void *into, const char *name, const struct json *v, struct api_error *e);

/* FIELD_CUSTOM: appends the value as JSON. */
typedef void field_write(const void *from, struct buf *out);

#define FIELD_ALIASES 3

struct field {
    const char *name, *aliases[FIELD_ALIASES];
    enum field_kind kind;
    size_t offset;      /* of a bool, int32_t, float or enum in the struct read into */
    double min, max;    /* INT, FLOAT; REFUSED: numbers that are off, none where min > max */
    const char *values; /* ENUM: "a|b|c", stored as their index; REFUSED: words that are off */
    field_parse *parse; /* CUSTOM */
    field_write *write; /* CUSTOM: or NULL: its value is not told */
    unsigned routes;    /* 0: all */
    unsigned flags;
    const struct field *members; /* OBJECT: its own table, into the same struct */
    size_t n_members;
    const char *about;    /* one line; REFUSED: what to use instead, in plain text, or why not */
    const char *fallback; /* the default in words; NULL: the value in a struct with its defaults */
    const char *range;    /* CUSTOM: what it may be, in words */
    const char *schema;   /* CUSTOM: the same as JSON Schema, the members of an object */
};

/* Reads each member of object that has a row for route. prefix ("" or "speculative.") goes before
 * names in messages. 0, or the first error. */
int fields_read(const struct field *table, size_t n, unsigned route, const char *prefix,
                const struct json *object, void *into, struct api_error *e);

/* null is as good as nothing. */
static inline bool is_given(const struct json *v)
{
    return json_type(v) != JSON_NULL;
}

/* Index of word in "a|b|c", or -1. */
int enum_index(const char *values, const char *word);

#endif
