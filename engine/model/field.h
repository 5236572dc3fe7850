/*
 * field.h - small things that every reader of a model file's fields shares.
 */
#ifndef SPECD_MODEL_FIELD_H
#define SPECD_MODEL_FIELD_H

#include <stddef.h>
#include <stdint.h>

/* Whether the absence of a field is an error. */
enum need { OPTIONAL, REQUIRED };

/* Copies src to dst as printable ASCII ('?' for the rest), cut at cap: names that come from a file
 * and go into messages. Returns dst. */
const char *printable(char *dst, size_t cap, const char *src, size_t len);

/* Bytes of the UTF-8 character at s, 0 if it is not a valid one; left >= 1. */
size_t utf8_char(const uint8_t *s, size_t left);

#endif
