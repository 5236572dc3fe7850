/*
 * fields_doc.h - a table of fields, told: values as JSON, as JSON Schema, and as a reference.
 *
 * `from` is a struct that fields_read fills; for the schema and the reference one with its
 * defaults. A number that is out of its own range stands for "not set". Pure functions.
 */
#ifndef SPECD_SERVER_FIELDS_DOC_H
#define SPECD_SERVER_FIELDS_DOC_H

#include "fields.h"

/* {"name":value,...}, aliases too; null is what is not set. */
void fields_values(const struct field *table, size_t n, unsigned route, const void *from,
                   struct buf *out);
/* The schema of what fields_values writes, without braces. */
void fields_values_schema(const struct field *table, size_t n, unsigned route, struct buf *out);
/* "type":"object","properties":{...},"required":[...] */
void fields_schema(const struct field *table, size_t n, unsigned route, const void *from,
                   struct buf *out);
/* Rows of a table in Markdown. route_names: what to say of a row that is not on all routes, by the
 * bits of its routes. */
void fields_reference(const struct field *table, size_t n, const char *prefix, const void *from,
                      const char *(*route_names)(unsigned routes), struct buf *out);
/* Those that are refused, which fields_reference leaves out, and their values that are taken. */
void fields_refused(const struct field *table, size_t n, const char *prefix,
                    const char *(*route_names)(unsigned routes), struct buf *out);

#endif
