/*
 * schema.h - a JSON schema on its way into a network: what the parts of the compiler share.
 *
 * A schema's value is named by its index in the document's flat array of values. A value often has
 * to satisfy several schemas at once (allOf, a $ref with keywords beside it, an alternative and
 * what stands around it, properties that a pattern names, too): these are *terms*, and whatever is
 * compiled is compiled from a list of them. compile functions take the node that follows the value
 * and return the value's first node; after an error, which the compiler keeps, they return any
 * node.
 */
#ifndef SPECD_GRAMMAR_SCHEMA_H
#define SPECD_GRAMMAR_SCHEMA_H

#include "grammar/network.h"
#include "grammar/pattern.h"
#include "specd/json.h"

#define NO_VALUE UINT32_MAX
#define TERMS_MAX 32

struct term {
    uint32_t schema;
    uint32_t resource; /* the schema with an $id, or the root, that references in it begin at */
    uint32_t parent;   /* the term it came from, while a list is expanded; NO_VALUE */
    uint16_t keys;     /* classes of its keywords */
    uint16_t expanded; /* those whose schemas stand in the list as terms */
};
struct terms {
    uint32_t n;
    struct term t[TERMS_MAX];
};

/* A procedure for something that is compiled once: terms, a string. */
struct terms_procedure {
    struct term *t;
    uint32_t n, procedure;
    bool in_parameters;
};
struct string_procedure {
    char *key;
    uint32_t procedure;
};
struct known_pattern {
    const char *pattern;
    struct dfa dfa;
};
/* A schema with an $id (uri: absolute, owned; of the root it may be empty) or an anchor. */
struct identified {
    uint32_t schema, resource;
    char *uri;
    const char *anchor;
};
/* Integers within limits of their own are few in a schema; these are in most. */
enum common { COMMON_VALUE, COMMON_OBJECT, COMMON_INTEGER, COMMON_NUMBER, COMMON_N };

struct compiler {
    struct network net;
    const struct chat_value *v; /* the document; NULL without */
    uint32_t *end;              /* (n_values) the index behind a value and its children */
    uint32_t n_values;
    struct identified *ids;
    uint32_t n_ids, cap_ids;
    struct terms_procedure *places;
    uint32_t n_places, cap_places, n_places_done;
    struct string_procedure *strings;
    uint32_t n_strings, cap_strings;
    struct known_pattern **patterns; /* each an allocation of its own: users hold on to them */
    uint32_t n_patterns, cap_patterns;
    uint32_t common[2][COMMON_N]; /* by in_parameters: procedures, 1 added; 0: not made yet */
    bool in_parameters;           /* no text of JSON may hold PARAMETER_END */
    struct dfa without_end;       /* such texts; n 0: not made yet */
    int rc;
    char *err;
    size_t errlen;
};

#define PARAMETER_END "</parameter>"

/* How much was compiled up to a moment. */
struct compile_mark {
    uint32_t n_nodes, n_edges, n_sets, n_set_places, n_starts; /* of the network */
    uint32_t n_places, n_strings, n_patterns;
    uint32_t common[2][COMMON_N];
};

/* ---- document (document.c) ------------------------------------------------------------------- */

/* Finds where each value ends, and the schemas that have names; checks depth and number. */
int document_open(struct compiler *c);
void document_close(struct compiler *c);
/* Takes back what was compiled since, with an error. No place may have waited to be compiled. */
struct compile_mark compile_mark(const struct compiler *c);
void compile_undo(struct compiler *c, const struct compile_mark *to);
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
static inline bool value_is_number(const struct chat_value *v)
{
    return v->kind == CHAT_INT || v->kind == CHAT_FLOAT;
}
uint32_t value_get(const struct compiler *c, uint32_t dict, const char *key); /* or NO_VALUE */
/* A place in the document as a term; `resource` is that of what holds it. */
struct term term_at(const struct compiler *c, uint32_t schema, uint32_t resource);
/* Where a $ref of a term leads: by $id, anchor or JSON pointer (RFC 6901). false: an error. */
bool term_follow(struct compiler *c, const struct term *from, uint32_t ref, struct term *to);
/* Keeps the first error, with the JSON pointer of the value before it. */
void compile_error(struct compiler *c, uint32_t value, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* false, and an error: work or nodes are beyond what a schema may take. */
bool compile_goes_on(struct compiler *c, uint32_t value, uint64_t work);
/* The number of a keyword whose value must be a whole number that is not negative; `otherwise`
 * without the keyword, NODE_NO_MAX for what is above every text. */
uint32_t keyword_count(struct compiler *c, uint32_t s, const char *key, uint32_t otherwise);
/* The largest (or least) of all terms. */
uint32_t terms_count(struct compiler *c, const struct terms *terms, const char *key, bool largest,
                     uint32_t otherwise);

/* ---- schemas (schema.c) ---------------------------------------------------------------------- */

enum type {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_STRING = 4,
    TYPE_INTEGER = 8,
    TYPE_NUMBER = 16, /* integers, too */
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64,
    TYPE_ANY = 127,
};
uint32_t compile_schema(struct compiler *c, const struct term *t, uint32_t next);
uint32_t compile_terms(struct compiler *c, const struct terms *terms, uint32_t next);
/* What places lead to that were met, one after another, not within each other: chains of $ref may
 * be long. */
void compile_places(struct compiler *c);
/* An error if there are too many. */
void terms_add(struct compiler *c, struct terms *terms, struct term t);
/* Follows $ref and allOf. false: nothing satisfies them, or an error. */
bool terms_expand(struct compiler *c, struct terms *terms);
/* What a schema's type says, TYPE_ANY without. */
unsigned schema_types(struct compiler *c, uint32_t s);
/* What type, or else the other keywords, of all terms leave. */
unsigned terms_types(struct compiler *c, const struct terms *terms);

/* ---- parts ----------------------------------------------------------------------------------- */

uint32_t compile_object(struct compiler *c, const struct terms *terms,
                        uint32_t next); /* object.c */
/* object.c: behind the first declared property of a closed object, which has come. */
uint32_t compile_later_members(struct compiler *c, const struct terms *terms, uint32_t next);
/* union.c: the alternatives of a schema, many or with a discriminator, that their first property
 * tells apart. */
bool is_tagged_union(const struct compiler *c, uint32_t schema, uint32_t list);
uint32_t compile_tagged_union(struct compiler *c, uint32_t list, uint32_t resource, uint32_t next);
uint32_t compile_array(struct compiler *c, const struct terms *terms, uint32_t next); /* array.c */
uint32_t compile_string(struct compiler *c, const struct terms *terms,
                        uint32_t next); /* string.c */
uint32_t compile_number(struct compiler *c, const struct terms *terms, bool integer,
                        uint32_t next); /* number.c */
/* constant.c: the first enum or const of the terms, without the values that others refuse. raw:
 * strings without quotes and as they are. */
uint32_t compile_values(struct compiler *c, const struct terms *terms, bool raw, uint32_t next);
/* parameters.c: an object as Qwen3-Coder spells it; an error where some value is not to be had so.
 * Its schema was compiled before. */
uint32_t compile_parameters(struct compiler *c, const struct term *root, uint32_t next);
/* One of the strings of a list, as they are. */
uint32_t compile_texts(struct compiler *c, uint32_t list, uint32_t next);
/* watch.c: free text with values in it: a document that is a list of what is watched for. Linked;
 * heights are found. */
uint32_t compile_watched(struct compiler *c);
/* All texts of terms that have only a few; false: there may be more than SET_WORDS_MAX. */
bool finite_texts(struct compiler *c, const struct terms *terms, struct buf *texts, uint32_t *n);
/* Appends a string as fixed texts are spelled, with the closing quote; an error unless it is UTF-8.
 */
void spell_string(struct compiler *c, uint32_t at, const char *text, struct buf *out);

/* check.c: whether a value of the document satisfies a schema of it. */
bool value_satisfies(struct compiler *c, uint32_t v, const struct term *t);

/* any.c: one of the values that stand in most schemas. */
uint32_t compile_common(struct compiler *c, enum common which, uint32_t next);
uint32_t compile_any_string(struct compiler *c, uint32_t next);

/* number.c: what the common numbers are made of. */
uint32_t make_integer(struct compiler *c, uint32_t next);
uint32_t make_number(struct compiler *c, bool negative, uint32_t next);
struct json_decimal decimal_at(const struct compiler *c, uint32_t v); /* a number's value */
bool number_satisfies(struct compiler *c, uint32_t v, uint32_t s);
/* Whether the integers of these terms are at most `most`, and which: the least, and their number.
 */
bool integers_are_few(struct compiler *c, const struct terms *terms, uint32_t most, int64_t *least,
                      uint32_t *n);

/* string.c: the automaton of a keyword's pattern, kept by the compiler; NULL after an error. */
const struct dfa *pattern_at(struct compiler *c, uint32_t at);
const struct dfa *name_pattern_at(struct compiler *c, uint32_t member); /* that is its key */
const struct dfa *any_text_dfa(struct compiler *c, uint32_t at);
/* In parameters: texts that do not hold their end; NULL elsewhere. */
const struct dfa *without_end_dfa(struct compiler *c);
/* Any string will do. */
bool string_is_free(struct compiler *c, const struct terms *terms);

#endif
