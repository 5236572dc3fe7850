/*
 * schema.h - a JSON schema on its way into a network: what the parts of the compiler share.
 *
 * A schema's value is named by its index in the document's flat array of values. compile functions
 * take the node that follows the value and return the value's first node; after an error, which the
 * compiler keeps, they return any node.
 */
#ifndef SPECD_GRAMMAR_SCHEMA_H
#define SPECD_GRAMMAR_SCHEMA_H

#include "grammar/network.h"

#define NO_VALUE UINT32_MAX

/* A procedure for something that is compiled once: a place that $ref names, a pattern. */
struct place_procedure {
    uint32_t schema, resource, procedure;
};
struct pattern_procedure {
    char *pattern;
    uint32_t procedure;
};
/* Integers within limits of their own are few in a schema; these are in most. */
enum common { COMMON_VALUE, COMMON_OBJECT, COMMON_INTEGER, COMMON_NUMBER, COMMON_N };

struct compiler {
    struct network net;
    const struct chat_value *v; /* the document; NULL without */
    uint32_t *end;              /* (n_values) the index behind a value and its children */
    uint32_t n_values;
    uint32_t resource; /* the schema with an $id, or the root, that is being compiled */
    struct place_procedure *places;
    uint32_t n_places, cap_places, n_places_done;
    struct pattern_procedure *patterns;
    uint32_t n_patterns, cap_patterns;
    uint32_t common[COMMON_N]; /* procedures, 1 added; 0: not made yet */
    struct buf path;           /* of the schema being compiled: ".properties.age" */
    int rc;
    char *err;
    size_t errlen;
};

/* ---- document (document.c) ------------------------------------------------------------------- */

/* Finds where each value ends; checks depth and number. */
int document_open(struct compiler *c);
static inline uint32_t value_first(const struct compiler *c, uint32_t v)
{
    return c->v[v].n > 0 ? v + 1 : NO_VALUE;
}
/* The child of `parent` behind `child`, or NO_VALUE. */
static inline uint32_t value_next(const struct compiler *c, uint32_t parent, uint32_t child)
{
    return c->end[child] < c->end[parent] ? c->end[child] : NO_VALUE;
}
static inline bool value_is_container(const struct chat_value *v)
{
    return v->kind == CHAT_LIST || v->kind == CHAT_DICT;
}
uint32_t value_get(const struct compiler *c, uint32_t dict, const char *key); /* or NO_VALUE */
/* Whether a schema has an $id: pointers within it begin there (JSON Schema core 8.2.1). */
bool value_is_resource(const struct compiler *c, uint32_t schema);
/* The place a JSON pointer (RFC 6901) in a URI fragment leads to from *resource, or NO_VALUE;
 * *resource becomes the one the place is in. */
uint32_t value_at_pointer(struct compiler *c, const char *pointer, uint32_t *resource);
/* Keeps the first error; the path is put before it. */
void compile_error(struct compiler *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* path_in returns what path_out needs to take the name off again. */
size_t path_in(struct compiler *c, const char *name);
size_t path_in_index(struct compiler *c, uint32_t i);
void path_out(struct compiler *c, size_t mark);
/* The number of a keyword whose value must be a whole number that is not negative; `otherwise`
 * without the keyword, NODE_NO_MAX for what is above every text. */
uint32_t keyword_count(struct compiler *c, uint32_t s, const char *key, uint32_t otherwise);

/* ---- parts ----------------------------------------------------------------------------------- */

uint32_t compile_schema(struct compiler *c, uint32_t s, uint32_t next);               /* schema.c */
uint32_t compile_object(struct compiler *c, uint32_t s, uint32_t next);               /* object.c */
uint32_t compile_array(struct compiler *c, uint32_t s, uint32_t next);                /* array.c */
uint32_t compile_string(struct compiler *c, uint32_t s, uint32_t next);               /* string.c */
uint32_t compile_number(struct compiler *c, uint32_t s, bool integer, uint32_t next); /* number.c */
/* Only constants of the types in the mask (1 << enum chat_kind). */
uint32_t compile_enum(struct compiler *c, uint32_t list, unsigned kinds, uint32_t next);
uint32_t compile_const(struct compiler *c, uint32_t v, uint32_t next); /* constant.c */
/* Appends a string as fixed texts are spelled, with the closing quote; an error unless it is UTF-8.
 */
void spell_string(struct compiler *c, const char *text, struct buf *out);

/* any.c: one of the values that stand in most schemas. */
uint32_t compile_common(struct compiler *c, enum common which, uint32_t next);
uint32_t compile_any_string(struct compiler *c, uint32_t next);

/* number.c: 0 <= lo <= hi, in decimal without leading zeros; and what COMMON_NUMBER is made of. */
uint32_t make_digits(struct compiler *c, uint64_t lo, uint64_t hi, uint32_t next);
uint32_t make_integer(struct compiler *c, int64_t lo, int64_t hi, uint32_t next);
uint32_t make_number(struct compiler *c, bool negative, uint32_t next);
#define INTEGER_FREE_MAX INT64_C(999999999999999999)

/* string.c: the procedure that reads a string of a pattern and its closing quote. */
uint32_t compile_pattern(struct compiler *c, const char *pattern, uint32_t next);

#endif
