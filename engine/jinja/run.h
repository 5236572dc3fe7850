/*
 * run.h - the inside of a rendering, shared by the evaluator's files.
 *
 * Failure leaves by longjmp to jinja_render: everything a rendering allocates lies in its arena,
 * and the output belongs to the caller, so nothing needs unwinding.
 */
#ifndef SPECD_JINJA_RUN_H
#define SPECD_JINJA_RUN_H

#include "specd/arena.h"
#include "jinja/ast.h"

#include <setjmp.h>

struct jinja {
    struct arena arena;
    const struct node *body;
    const struct jv *names; /* symbol -> text */
    size_t n_names;
};

struct binding {
    uint32_t name;
    struct jv value;
};

/* The variables of a loop body, macro or block; the outermost are jinja_run.globals. */
struct scope {
    struct scope *parent; /* NULL: the globals */
    struct binding *vars;
    uint32_t n, cap;
};

/* Memory in which the client's bytes are marked. Strings of this origin lie in it; it may go on
 * behind any of them. */
struct jv_mixed {
    const char *base;
    struct origin_marks client; /* counted from base */
};

struct jinja_run {
    const struct jinja *t;
    struct arena arena;
    struct jv *globals; /* (t->n_names), JV_MISSING where there is none */
    struct buf *out;
    size_t out_start;           /* bytes that were in out before */
    struct origin_marks client; /* of out */
    struct jv_mixed *mixed;     /* the origins of strings of both kinds of bytes */
    uint32_t n_mixed, mixed_cap;
    struct arena marks; /* of all these: beside the values, so that text still grows in place */
    uint64_t steps_left;
    int depth;
    uint32_t line; /* of the node being evaluated, for messages */
    time_t now;
    jmp_buf trap;
    char *err;
    size_t errlen;
};

/* run.c */
_Noreturn void jinja_raise(struct jinja_run *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
_Noreturn void jinja_raise_words(struct jinja_run *r, struct jv words); /* no line, no prefix */
_Noreturn void jinja_raise_undefined(struct jinja_run *r, struct jv undefined);
void *jinja_alloc(struct jinja_run *r, size_t n, size_t size); /* an array */
void jinja_charge(struct jinja_run *r, size_t bytes); /* a step, and one per 64 bytes looked at */
void jinja_enter(struct jinja_run *r);                /* a step, and one level deeper */
void jinja_leave(struct jinja_run *r);

struct scope *jinja_scope_new(struct jinja_run *r, struct scope *parent);
void jinja_bind(struct jinja_run *r, struct scope *s, uint32_t name, struct jv value);
struct jv jinja_lookup(struct jinja_run *r, const struct scope *s, uint32_t name);

/* origin.c */
/* Marks what is a client's of s, which is put at `at`, behind all that is marked. */
void origin_put(struct jinja_run *r, struct origin_marks *m, size_t at, struct jv s);
/* The same for the bytes begin..end that other marks tell of. */
void origin_copy(struct jinja_run *r, struct origin_marks *m, size_t at,
                 const struct origin_marks *from, size_t begin, size_t end);
void origin_cut(struct origin_marks *m, size_t at); /* what is at or behind `at` goes */
/* The origin of a text of len bytes that m tells of, or of a string that b was put right behind. */
uint32_t origin_of(struct jinja_run *r, const struct origin_marks *m, const char *base, size_t len);
uint32_t origin_extended(struct jinja_run *r, struct jv a, struct jv b);
/* Whose the byte s.s[at] is, client's or template's; *end: of the bytes behind it that are the
 * same's, in s. */
enum jv_origin origin_at(struct jinja_run *r, struct jv s, size_t at, size_t *end);

enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };
/* What body prints, as a string; *flow tells how it ended. */
struct jv jinja_capture(struct jinja_run *r, struct scope *s, const struct node *body,
                        enum flow *flow);

struct jinja_loop {
    const struct node *node; /* NODE_FOR */
    struct scope *scope;     /* around the loop */
    struct scope *filter;    /* of the loop's own `if` */
    struct jv seq;
    struct jv_cursor cursor;
    size_t length; /* of a seq that had to be walked to know */
    bool length_known;
    bool filtered; /* items of cursor still have to pass the `if` */
    int64_t index0, depth0;
    struct jv before, current, after; /* after: JV_MISSING until looked at */
    struct jv changed;                /* what changed() saw last */
};
bool jinja_loop_peek(struct jinja_run *r, struct jinja_loop *l); /* whether there is an `after` */
size_t jinja_loop_length(struct jinja_run *r, struct jinja_loop *l);
struct jv jinja_loop_recurse(struct jinja_run *r, struct jinja_loop *l, struct jv seq);

/* eval.c: expressions and calls */
struct call {
    struct jv self; /* the filter's input, the test's subject, the method's object */
    struct jv *args;
    size_t n;
    struct jv_pair *kwargs;
    size_t n_kwargs;
    const struct jinja_func *func; /* what is called */
};
typedef struct jv jinja_fn(struct jinja_run *r, const struct call *c);

#define JINJA_PARAMS_MAX 6
/* A function of the language. With named parameters args[i] is the i-th of them, JV_MISSING when
 * it was not passed; a variadic one gets what was passed. */
struct jinja_func {
    const char *name;
    jinja_fn *fn;
    const char *params[JINJA_PARAMS_MAX];
    uint8_t required;
    bool variadic;
    uint8_t mode; /* which of the functions that share fn: fn says what it means */
};
struct jinja_method {
    struct jv self;
    const struct jinja_func *func;
};
struct jinja_macro_ref {
    const struct macro *macro;
    struct scope *scope; /* where it was defined */
};
struct jv jinja_eval(struct jinja_run *r, struct scope *s, const struct node *n);
/* The filters of n, innermost first, on input: for filter blocks and set blocks. */
struct jv jinja_eval_filters(struct jinja_run *r, struct scope *s, const struct node *n,
                             struct jv input);
/* caller: the block of a call statement, or JV_MISSING */
struct jv jinja_eval_call(struct jinja_run *r, struct scope *s, const struct node *n,
                          struct jv caller);
struct jv jinja_call_func(struct jinja_run *r, const struct jinja_func *f, const struct call *c);
/* NULL: table has none of that name. It ends with a row without one. */
const struct jinja_func *jinja_func_find(const struct jinja_func *table, struct jv name);

/* Arguments of a function with named parameters. */
int64_t jinja_arg_int(struct jinja_run *r, const struct call *c, size_t i, int64_t otherwise);
bool jinja_arg_bool(struct jinja_run *r, const struct call *c, size_t i, bool otherwise);
struct jv jinja_arg_str(struct jinja_run *r, const struct call *c, size_t i); /* must be a string */

/* op.c: operators and subscripts */
struct jv jinja_binary(struct jinja_run *r, enum binary_op op, struct jv a, struct jv b);
struct jv jinja_negate(struct jinja_run *r, struct jv v, bool minus);
bool jinja_compare(struct jinja_run *r, enum compare_op op, struct jv a, struct jv b);
struct jv jinja_concat(struct jinja_run *r, struct jv a, struct jv b);       /* two strings */
struct jv jinja_attr(struct jinja_run *r, struct jv object, struct jv name); /* object.name */
struct jv jinja_item(struct jinja_run *r, struct jv object, struct jv key);  /* object[key] */
struct jv jinja_slice(struct jinja_run *r, struct jv object, struct jv lo, struct jv hi,
                      struct jv step); /* JV_NONE for a bound left out */

/* objects.c: global functions, and what a dot finds in the objects of the language */
struct jinja_state { /* of a joiner or a cycler */
    const struct jv *items;
    size_t n, at;
};
void jinja_set_globals(struct jinja_run *r);
struct jv jinja_range_item(const struct jv *range, size_t index);
/* What Python's getattr finds; false when there is no such attribute. */
bool jinja_own_attribute(struct jinja_run *r, struct jv object, struct jv name, struct jv *out);

/* filters.c, generators.c, predicates.c */
const struct jinja_func *jinja_filter_find(struct jv name);
const struct jinja_func *jinja_test_find(struct jv name);
extern const struct jinja_func jinja_generators[];
/* 'a.b.0' as filters take it: items of items; default_value may be JV_MISSING. */
struct jv jinja_path(struct jinja_run *r, struct jv object, struct jv path,
                     struct jv default_value);
/* item, or an attribute of it, as sorting and comparing filters see it. */
struct jv jinja_filter_key(struct jinja_run *r, struct jv item, struct jv attribute,
                           bool sensitive);
/* A stable order of keys, as positions. */
const size_t *jinja_sort_order(struct jinja_run *r, const struct jv *keys, size_t n, bool reverse);
struct jv jinja_iter(struct jinja_run *r, const struct jv_vec *v); /* a generator of v's items */
bool jinja_gen_next(struct jinja_run *r, struct jinja_gen *g, struct jv *out);

/* strings.c */
extern const struct jinja_func jinja_str_methods[];
enum mapping { MAP_UPPER, MAP_LOWER, MAP_SWAP, MAP_TITLE, MAP_CAPITALIZE };
struct jv jinja_map_case(struct jinja_run *r, struct jv s, enum mapping mapping);
bool jinja_is_cased(struct jinja_run *r, struct jv s, bool upper); /* str.isupper, str.islower */
enum ends { LEFT = 1, RIGHT = 2, BOTH = 3 };
struct jv jinja_strip(struct jinja_run *r, struct jv s, struct jv chars, enum ends ends);
/* Fills s up to width characters; ends: where the filling goes. */
struct jv jinja_pad(struct jinja_run *r, struct jv s, int64_t width, struct jv fill,
                    enum ends ends);
struct jv jinja_replace(struct jinja_run *r, struct jv s, struct jv from, struct jv to,
                        int64_t count);
struct jv jinja_split_lines(struct jinja_run *r, struct jv s, bool keep_ends);

/* text.c, format.c */
jinja_fn jinja_tojson, jinja_str_format;
struct jv jinja_percent(struct jinja_run *r, struct jv format, const struct call *c);

#endif
