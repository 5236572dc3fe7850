/*
 * value.h - the values of a rendering, with Python's meaning.
 *
 * Functions that take the rendering may allocate from its arena and do not return when the
 * operation fails (jinja_raise).
 */
#ifndef SPECD_JINJA_VALUE_H
#define SPECD_JINJA_VALUE_H

#include "jinja/jinja.h"

enum jv_kind {
    JV_MISSING, /* no value at all: an argument that was not passed; templates never see it */
    JV_UNDEFINED,
    JV_NONE,
    JV_BOOL,
    JV_INT, /* 64 bits; a result beyond them is an error */
    JV_FLOAT,
    JV_STR, /* UTF-8 */
    JV_LIST,
    JV_TUPLE,
    JV_DICT,
    JV_VIEW, /* keys(), values() or items() of a dict */
    JV_RANGE,
    JV_ITER,      /* a generator: walked once, has no length */
    JV_NAMESPACE, /* a dict whose attributes templates may set */
    JV_LOOP,
    JV_MACRO,
    JV_FUNC,   /* a global function */
    JV_METHOD, /* a function bound to its object */
    JV_JOINER,
    JV_CYCLER
};

/* What an undefined value says when it is used. */
enum jv_undefined { UNDEFINED_NAME, UNDEFINED_ATTRIBUTE, UNDEFINED_HINT };
enum jv_view { VIEW_KEYS, VIEW_VALUES, VIEW_ITEMS };

struct jv_pair {
    struct jv key, value;
};

/* Insertion-ordered; an index is kept once there are more than a few. */
struct jv_dict {
    struct jv_pair *pairs;
    uint32_t n, cap;
    uint32_t *index; /* slot -> position + 1, 0 when free */
    uint32_t n_slots;
};

struct jv_range {
    int64_t start, stop, step;
};

struct jv_cursor {
    struct jv seq;
    size_t at; /* item, or byte of a string */
};

#define JV_SHOWN 60                                    /* bytes of a name that a message quotes */
#define JV_QUOTE(v) (int)MIN((v).len, JV_SHOWN), (v).s /* for "%.*s" */

/* Whose the bytes of a string are. A client's is what zero says, so that what nobody thought of is
 * never the template's. */
enum jv_origin { ORIGIN_CLIENT, ORIGIN_TEMPLATE, ORIGIN_MIXED /* and above: jinja_run.mixed */ };

/* The client's parts of a text under construction. Zero-initialise it. */
struct origin_marks {
    struct text_span *items; /* but for the last */
    size_t n, cap;
    struct text_span last; /* empty: there is none */
};

struct jv jv_part(struct jv s, size_t from, size_t to); /* bytes of a string; empty if to <= from */

struct jv jv_undefined(enum jv_undefined why, struct jv text);
struct jv jv_no_attribute(struct jv object, struct jv name);
struct jv jv_hint(const char *message); /* undefined; borrows message */

struct jv jv_tuple(const struct jv_vec *v);
struct jv jv_items(enum jv_kind kind, const struct jv *items, size_t n); /* borrows items */
struct jv jv_pair_tuple(struct jinja_run *r, struct jv a, struct jv b);
struct jv jv_view(struct jv dict, enum jv_view which);

struct jv *jv_dict_find(struct jinja_run *r, const struct jv_dict *d, struct jv key);
bool jv_hashable(struct jinja_run *r, struct jv v);

bool jv_is_str(struct jv v, const char *text);
bool jv_is_markup(struct jv v);
bool jv_is_int(struct jv v);       /* bool or int, which Python takes for one too; of 64 bits */
int64_t jv_to_int(struct jv v);    /* of such */
bool jv_is_large_int(struct jv v); /* an int that is kept as a float and its text */
bool jv_is_number(struct jv v);    /* bool, int or float */
double jv_to_double(struct jv v);  /* of a number */
bool jv_is_sequence(struct jv v);  /* list or tuple */
bool jv_is_given(struct jv v);     /* an argument that was passed and is not None */

const char *jv_type_name(struct jv v); /* as type(v).__name__ */
bool jv_truth(struct jinja_run *r, struct jv v);
bool jv_equal(struct jinja_run *r, struct jv a, struct jv b);
/* -1, 0, 1, or 2 beside a NaN; op is for the message when they have no order. */
int jv_compare(struct jinja_run *r, struct jv a, struct jv b, const char *op);
bool jv_contains(struct jinja_run *r, struct jv seq, struct jv item);
/* false when v has no len(). */
bool jv_length(struct jinja_run *r, struct jv v, size_t *out);

bool jv_iterable(struct jv v);
struct jv_cursor jv_iterate(struct jinja_run *r, struct jv v);
bool jv_next(struct jinja_run *r, struct jv_cursor *c, struct jv *out);
struct jv_vec jv_collect(struct jinja_run *r, struct jv v); /* all that is left to iterate */

/* A string under construction. Zero-initialise, then set run. */
struct jv_text {
    struct jinja_run *run;
    char *data;
    size_t len, cap;
    struct origin_marks client;
    uint32_t origin; /* of what is added as bytes: a client's or the template's */
};
void jv_text_add(struct jv_text *t, const char *s, size_t len);
void jv_text_puts(struct jv_text *t, const char *s);
void jv_text_put(struct jv_text *t, struct jv s); /* a string, with its origin */
/* Bytes that stand for the one at s.s[at], and have its origin. */
void jv_text_for(struct jv_text *t, const char *bytes, size_t len, struct jv s, size_t at);
void jv_text_printf(struct jv_text *t, const char *fmt, ...) PRINTF_LIKE(2, 3); /* < 512 bytes */
void jv_text_fill(struct jv_text *t, char c, size_t count);
void jv_text_escape(struct jv_text *t, struct jv s); /* for HTML; markup goes in as it is */
void jv_text_str(struct jv_text *t, struct jv v);    /* str(v) */
void jv_text_repr(struct jv_text *t, struct jv v);   /* repr(v) */
void jv_text_float(struct jv_text *t, double d);     /* shortest digits that read back the same */
struct jv jv_text_done(struct jv_text *t);

struct jv jv_to_str(struct jinja_run *r, struct jv v); /* str(v), but markup stays markup */
struct jv jv_plain(struct jinja_run *r, struct jv v);  /* str(v) */
struct jv jv_repr(struct jinja_run *r, struct jv v);
struct jv jv_escape(struct jinja_run *r, struct jv s); /* for HTML; not flagged as markup */
struct jv jv_markup(struct jv s, bool markup);         /* the string with that flag */

#endif
