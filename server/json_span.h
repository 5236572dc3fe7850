/*
 * json_span.h - finds values in the text of JSON that may still be growing.
 *
 * For text that must be passed on as it was written, which a tree would not keep. Pure functions.
 */
#ifndef SPECD_SERVER_JSON_SPAN_H
#define SPECD_SERVER_JSON_SPAN_H

#include <stdbool.h>
#include <stddef.h>

/* Looks for the end of one object or list, byte by byte as they come. Zero-initialise. */
struct json_end {
    int depth;
    bool in_string, escaped;
};
/* True when c ends the value. Brackets are counted, not matched: json_scan judges the whole. */
bool json_end_feed(struct json_end *e, char c);

struct json_span {
    const char *at;
    size_t len;
};

/* text is a valid JSON object: the value of its member key (a name that needs no escapes). */
bool json_span_member(const char *text, size_t len, const char *key, struct json_span *out);

#endif
