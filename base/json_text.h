/*
 * json_text.h - the walk over a JSON text that comes before its tree: is it one value of RFC 8259
 * in valid UTF-8, within the limits of json.h?
 *
 * What the walk passes, cJSON reads without an error, and as this header says: strings are C
 * strings, so they cannot hold U+0000, and a number keeps the text it was written as.
 */
#ifndef SPECD_JSON_TEXT_H
#define SPECD_JSON_TEXT_H

#include "specd/util.h"

/* What passes beside the RFC, and becomes what. */
enum json_rules {
    JSON_REPLACE_IN_VALUES = 1, /* escapes of U+0000 and of lone surrogates become U+FFFD */
    JSON_REPLACE_IN_NAMES = 2,  /* the same in names of members; without the bit it is an error */
    JSON_NAMES_REPEAT = 4,
    JSON_SPECIALS = 8, /* NaN, Infinity, -Infinity, and numbers that round to them */
    JSON_LAX = JSON_REPLACE_IN_VALUES | JSON_REPLACE_IN_NAMES | JSON_NAMES_REPEAT
};

struct json_scan {
    /* set by the caller */
    unsigned rules;
    size_t max_values;
    bool keep; /* numbers and replaced are made */
    /* by json_scan; the caller frees both, whatever it returned */
    struct buf numbers; /* in the order of the text, of each: its length, a byte; its text; a NUL */
    char *replaced; /* the text with what cJSON cannot read replaced, as long; NULL: nothing was */
    /* the walk's own */
    const unsigned char *start, *p, *end;
    size_t n_values;
    int rc; /* set once, with why and p, where it went wrong */
    const char *why;
};

/* 0; SPECD_EJSON with the reason and the byte; or SPECD_ENOMEM. */
int json_scan(struct json_scan *s, const char *text, size_t len, char *err, size_t errlen);

#endif
