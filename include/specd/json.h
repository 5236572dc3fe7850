/*
 * json.h - the one reader of JSON: RFC 8259, nothing more.
 *
 * cJSON builds the tree, but accepts too much (trailing garbage, invalid UTF-8, duplicate keys,
 * control characters, 01, 1e999) and ends a string at \u0000. json_scan therefore walks the text
 * first, and the tree is walked once afterwards; what passes both is safe to read with C strings.
 *
 * Values are borrowed from their document and immutable; any thread may read. Arrays and objects
 * are lists: iterate with json_first and json_next, never by index. A value may be NULL where it is
 * absent: it is of type null and has no members.
 */
#ifndef SPECD_JSON_H
#define SPECD_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 64
#define JSON_VALUES_MAX 1000000             /* a tree takes about 100 bytes a value */
#define JSON_INTEGER_MAX 9007199254740991.0 /* 2^53 - 1: doubles hold every integer up to here */
#define JSON_NUMBER_MAX 63                  /* bytes of a number */

struct json;

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* At the start of a process that serves: trees are allocated by try_malloc. */
void json_memory(void);
/* SPECD_EJSON with reason and byte offset, or SPECD_ENOMEM. */
int json_parse(struct json **out, const char *text, size_t len, char *err, size_t errlen);
/* A file of a model: however many values it has. */
int json_parse_file(struct json **out, const char *text, size_t len, char *err, size_t errlen);
/* What a model wrote: keys may repeat, of which json_get finds the first, and strings may hold
 * \u0000, where their value ends. */
int json_parse_lax(struct json **out, const char *text, size_t len, char *err, size_t errlen);
void json_free(struct json *doc);

enum json_type json_type(const struct json *v);
bool json_bool(const struct json *v);
double json_number(const struct json *v);              /* finite: the nearest double */
bool json_integer(const struct json *v, int64_t *out); /* false: not an exact integer */
const char *json_number_text(const struct json *v);    /* as it was written; NULL: no number */
const char *json_string(const struct json *v);         /* holds no NUL; NULL: not a string */
const char *json_key(const struct json *v);            /* of a member of an object */
const struct json *json_first(const struct json *v);   /* of an array or object; or NULL */
const struct json *json_next(const struct json *v);
const struct json *json_get(const struct json *obj, const char *key); /* case counts; or NULL */
size_t json_count(const struct json *v);

/* The value of a number's text, exactly: 0.d1d2d3... times 10^exponent, where neither the first
 * digit nor the last is a zero. It is an integer where exponent >= n_digits; zero has no digits. */
struct json_decimal {
    bool negative;
    int n_digits;
    int32_t exponent;
    char digits[JSON_NUMBER_MAX]; /* '0' to '9' */
};
struct json_decimal json_decimal(const char *number);
int json_decimal_compare(const struct json_decimal *a, const struct json_decimal *b); /* -1, 0, 1 */

/* The walk over the text: 0 when it is one JSON value. Exposed for tests. */
int json_scan(const char *text, size_t len, char *err, size_t errlen);
int json_scan_lax(const char *text, size_t len, char *err, size_t errlen); /* \u0000 may come */

/* Overwrites comments, from // or # to the end of the line, with blanks, so that offsets in
 * messages stay true. Not inside strings. For configuration files; json_parse itself knows no
 * comments. */
void json_blank_comments(char *text, size_t len);

#endif
