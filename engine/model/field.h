/*
 * field.h - small things that every reader of a model file's fields shares.
 */
#ifndef SPECD_MODEL_FIELD_H
#define SPECD_MODEL_FIELD_H

#include <stddef.h>

/* Whether the absence of a field is an error. */
enum need { OPTIONAL, REQUIRED };

/* Copies src to dst as printable ASCII ('?' for the rest), cut at cap: names that come from a file
 * and go into messages. Returns dst. */
const char *printable(char *dst, size_t cap, const char *src, size_t len);

#endif
