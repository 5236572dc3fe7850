/*
 * fields.h - reads members of a JSON object into a struct by a table.
 *
 * A row states everything there is to know about a field: its names, type, range, where it goes,
 * on which routes it exists, and whether the engine can do it yet. The tables of the API are in
 * call_fields.c. `null` leaves the default; unknown members are ignored; a member whose value has
 * the wrong type or range is an error that names the field and what it may be.
 */
#ifndef SPECD_SERVER_FIELDS_H
#define SPECD_SERVER_FIELDS_H

#include "json.h"

#include "specd/error.h"
#include "specd/util.h"

/* What went wrong with a request, as the client reads it. */
struct api_error {
    int code;       /* SPECD_E* */
    char param[64]; /* "" when no field is at fault */
    char message[320];
};

/* Fills *e and returns code. */
int api_fail(struct api_error *e, int code, const char *param, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

enum field_kind { FIELD_BOOL, FIELD_INT, FIELD_FLOAT, FIELD_ENUM, FIELD_CUSTOM };

enum field_flags {
    FIELD_MIN_OPEN = 1, /* min itself is out of range */
    FIELD_MAX_OPEN = 2,
    FIELD_LATER = 4, /* CUSTOM: what asks for something is "not supported yet" */
};

struct field;
/* FIELD_CUSTOM: checks and stores v. 0, 1 when v asks for something (see FIELD_LATER), or error.
 * name is the field's full name, for messages. */
typedef int field_parse(void *into, const char *name, const struct json *v, struct api_error *e);

struct field {
    const char *name, *alias1, *alias2;
    enum field_kind kind;
    size_t offset;      /* of a bool, int32_t, float or enum in the struct read into */
    double min, max;    /* INT, FLOAT */
    const char *values; /* ENUM: "a|b|c", stored as their index */
    unsigned later;     /* ENUM: bit i set: value i is not supported yet */
    field_parse *parse; /* CUSTOM */
    unsigned routes;    /* 0: all */
    unsigned flags;
};

/* Reads each member of object that has a row for route. prefix ("" or "speculative.") goes before
 * names in messages. 0, or the first error. */
int fields_read(const struct field *table, size_t n, unsigned route, const char *prefix,
                const struct json *object, void *into, struct api_error *e);

/* Index of word in "a|b|c", or -1. */
int enum_index(const char *values, const char *word);

#endif
