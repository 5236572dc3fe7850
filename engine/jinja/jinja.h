/*
 * jinja.h - an interpreter for the Jinja of published chat templates.
 *
 * The language and its results are those of jinja2's immutable sandbox as Hugging Face sets it up
 * (trim_blocks, lstrip_blocks, loop controls, its own tojson, raise_exception, strftime_now and the
 * generation tag). Left out: include, import, extends, block, autoescape; the filters attr,
 * filesizeformat, forceescape, groupby, pprint, random, striptags, truncate, urlencode, urlize,
 * wordcount, wordwrap and xmlattr; arithmetic beyond 64 bits; case mappings to more
 * than one character (but for the sharp s) and the final sigma; that a letter without another case
 * is upper or lower; digits beyond ASCII; and that a name which a body assigns is undefined, not
 * the caller's variable, when a macro or an inner loop reads it earlier than that.
 *
 * Of every byte of a string it is known whether the template spelled it or a client did, through
 * slices, sums, replacements, joins, formats and captured output: a text in which a client spells a
 * control token must not become that token (origin.c).
 *
 * There is no input or output: a template sees the variables it is given and the clock. Work is
 * bounded: source, steps, recursion, memory and output have the limits below, and passing one ends
 * the rendering with an error. A compiled template is immutable: any thread may render it, and a
 * rendering belongs to the thread that called jinja_render.
 */
#ifndef SPECD_JINJA_H
#define SPECD_JINJA_H

#include "specd/util.h"

#include <time.h>

#define JINJA_SOURCE_MAX ((size_t)256 << 10) /* bytes of a template */
#define JINJA_STEPS_MAX 20000000             /* nodes evaluated, or 64 bytes of text looked at */
#define JINJA_DEPTH_MAX 1000                 /* nodes inside one another, macro calls included */
#define JINJA_MEMORY_MAX ((size_t)128 << 20) /* bytes of values */
#define JINJA_MARKS_MAX ((size_t)64 << 20)   /* bytes of notes on whose a text is */
#define JINJA_OUTPUT_MAX ((size_t)64 << 20)  /* bytes of text */

struct jinja;     /* a compiled template */
struct jinja_run; /* one rendering */
struct jv;
struct json;

/* Copies source. SPECD_EINVAL with line and reason. */
int jinja_compile(struct jinja **out, const char *source, size_t len, char *err, size_t errlen);
void jinja_free(struct jinja *t);

/* Sets the variables of a rendering. May build values and call the functions below, which do not
 * return when a limit is hit, so it must hold no resource of its own. */
typedef void jinja_fill(struct jinja_run *r, void *arg);

/* Appends the text to out, and to client, unless it is NULL, what of out is a client's text; on
 * failure both are as they were. SPECD_EINVAL with line and reason, or with the template's own
 * words when it called raise_exception. */
int jinja_render(const struct jinja *t, jinja_fill *fill, void *arg, struct buf *out,
                 struct text_spans *client, char *err, size_t errlen);

void jinja_set(struct jinja_run *r, const char *name, struct jv value);
void jinja_set_time(struct jinja_run *r, time_t now); /* what strftime_now tells; default: now */

/* A value, small and passed by copy. Strings, lists and tuples are a pointer and a length into
 * memory that outlives the rendering (its arena, the template, or the caller's); none of them can
 * change once built, so slices share it. */
struct jv {
    uint8_t kind;  /* enum jv_kind, in value.h */
    uint8_t flag;  /* JV_STR: markup, escapes plain strings it meets; JV_FLOAT: an integer beyond 64
                      bits; JV_UNDEFINED, JV_VIEW: enum */
    uint8_t owner; /* JV_UNDEFINED with UNDEFINED_ATTRIBUTE: kind of the object */
    uint32_t origin; /* JV_STR: whose bytes they are, in run.h; 0: a client's */
    union {
        size_t len;       /* bytes, items */
        const char *text; /* JV_INT, JV_FLOAT: as JSON wrote it, or NULL */
    };
    union {
        bool b;
        int64_t i;
        double d;
        const char *s; /* JV_STR, JV_UNDEFINED: the name or the hint */
        const struct jv *items;
        struct jv_dict *dict; /* JV_DICT, JV_VIEW, JV_NAMESPACE */
        const struct jv_range *range;
        struct jinja_gen *gen; /* JV_ITER */
        struct jinja_loop *loop;
        const struct jinja_macro_ref *macro;
        const struct jinja_func *func;
        const struct jinja_method *method;
        struct jinja_state *state; /* JV_JOINER, JV_CYCLER */
    };
};

struct jv_vec { /* items of a list to be; zero-initialise */
    struct jv *items;
    size_t n, cap;
};

struct jv jv_none(void);
struct jv jv_bool(bool b);
struct jv jv_int(int64_t i);
struct jv jv_float(double d);
struct jv jv_str(const char *s, size_t len); /* borrows s; NULL with len 0 is the empty string */
struct jv jv_cstr(const char *s);            /* borrows s */
struct jv jv_own(struct jv s); /* as text of the template, which may spell control tokens */

struct jv jv_json(struct jinja_run *r, const struct json *v); /* borrows strings and numbers */

void jv_push(struct jinja_run *r, struct jv_vec *v, struct jv item);
struct jv jv_list(const struct jv_vec *v);

struct jv jv_dict_new(struct jinja_run *r);
/* key must be hashable; a key already there keeps its place. */
void jv_dict_set(struct jinja_run *r, struct jv dict, struct jv key, struct jv value);

#endif
