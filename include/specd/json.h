/*
 * json.h - the one reader of JSON: RFC 8259, nothing more.
 *
 * cJSON builds the tree, but accepts too much (trailing garbage, invalid UTF-8, duplicate keys,
 * control characters, 01, 1e999), ends a string at \u0000 and forgets how a number was written.
 * The text is therefore walked first, and the tree once afterwards; what passes both is safe to
 * read with C strings, and what only passes through is printed as it came.
 *
 * Values are borrowed from their document and immutable, but for json_replace and the builders; any
 * thread may read.
 * Arrays and objects are lists: iterate with json_first and json_next, never by index. A value may
 * be NULL where it is absent: it is of type null and has no members.
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

struct buf;
struct json;

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* A request or configuration. Escapes of U+0000 and of half a surrogate pair become U+FFFD in
 * values; in names they are an error, and so is a name that an object has twice. SPECD_EJSON with
 * the reason and the byte, or the way to the value; or SPECD_ENOMEM. */
int json_parse(struct json **out, const char *text, size_t len, char *err, size_t errlen);
/* A file of a model: however many values it has, and none of those escapes anywhere. */
int json_parse_file(struct json **out, const char *text, size_t len, char *err, size_t errlen);
/* What a model wrote: names may repeat, of which json_get finds the first, and those escapes become
 * U+FFFD in names as well. */
int json_parse_lax(struct json **out, const char *text, size_t len, char *err, size_t errlen);
/* The same as Python's json.loads reads it: NaN, Infinity and -Infinity are numbers, and numbers
 * may round to them. Of names that repeat the last one counts there. */
int json_loads(struct json **out, const char *text, size_t len, char *err, size_t errlen);
void json_free(struct json *doc);

/* v, a value of doc, becomes what `by` is, another document, which is part of doc from now on.
 * json_size of what is around v stays as it was. */
void json_replace(struct json *doc, const struct json *v, struct json *by);
/* v becomes a string, of which text is copied. False: no memory, and v is as it was. */
bool json_replace_string(struct json *doc, const struct json *v, const char *text);

/* Builders, for whoever rewrites a document that no other thread reads yet. New values lie in the
 * memory of doc and are in no list or object of it until json_append or json_set puts them there.
 * NULL: memory ran short. json_append and json_set take NULL and return false for it, so that a
 * caller may look once, at the end. Fill a list or object before putting it into another: what
 * json_size says of the other isn't changed by what comes later. */
struct json *json_new_object(struct json *doc);
struct json *json_new_array(struct json *doc);
struct json *json_new_bool(struct json *doc, bool b);
struct json *json_new_string(struct json *doc, const char *text); /* copies text */
/* Puts v, which must be in no list or object, at the end of the array. */
bool json_append(struct json *array, struct json *v);
/* The same under key, in place of what was there; key isn't copied. */
bool json_set(struct json *object, const char *key, struct json *v);
/* Takes v, which may be NULL, out of the list or object that it is in. */
struct json *json_detach(struct json *from, const struct json *v);
/* Appends v as JSON without blanks: numbers as they were written. */
void json_print(const struct json *v, struct buf *out);

enum json_type json_type(const struct json *v);
bool json_bool(const struct json *v);
double json_number(const struct json *v);              /* finite, but from json_loads */
bool json_integer(const struct json *v, int64_t *out); /* false: not an exact integer */
const char *json_number_text(const struct json *v);    /* as it was written; NULL: no number */
const char *json_string(const struct json *v);         /* holds no NUL; NULL: not a string */
const char *json_key(const struct json *v);            /* of a member of an object */
const struct json *json_first(const struct json *v);   /* of an array or object; or NULL */
const struct json *json_next(const struct json *v);
const struct json *json_get(const struct json *obj, const char *key); /* case counts; or NULL */
size_t json_count(const struct json *v); /* of an array or object; costs no walk */
size_t json_size(const struct json *v);  /* v and all values in it, likewise */

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

/* 0: json_parse_lax would read it. */
int json_scan_lax(const char *text, size_t len, char *err, size_t errlen);

/* Overwrites comments, from // or # to the end of the line, with blanks, so that offsets in
 * messages stay true. Not inside strings. For configuration files; json_parse itself knows no
 * comments. */
void json_blank_comments(char *text, size_t len);

#endif
