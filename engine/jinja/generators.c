/*
 * Generators: what map, select and their like make. As in jinja2 they are walked once, have no
 * length and are always true, and nothing of them is computed, or fails, before it is asked for.
 */
#include "jinja/run.h"

#include <string.h>

typedef bool next_fn(struct jinja_run *r, struct jinja_gen *g, struct jv *out);
struct jinja_gen {
    next_fn *next;
    struct call call; /* of the filter that made it */
    bool started;
    struct jv_cursor in;
    const struct jinja_func *func; /* the filter to map, the test to select by */
    struct jv seen;                /* unique: a dict of keys */
};

/* ---- the object ------------------------------------------------------------------------------ */

static struct jv new_gen(struct jinja_run *r, const struct call *c, next_fn *next)
{
    struct jinja_gen *g = jinja_alloc(r, 1, sizeof *g);
    size_t n = MAX(c->n, JINJA_PARAMS_MAX);
    struct jv *args = jinja_alloc(r, n, sizeof *args);
    for (size_t i = 0; i < n; i++) /* named arguments live on the caller's stack */
        args[i] = c->args && (i < c->n || !c->func->variadic) ? c->args[i] : (struct jv){0};
    *g = (struct jinja_gen){.next = next, .call = *c};
    g->call.args = args;
    return (struct jv){.kind = JV_ITER, .gen = g};
}

bool jinja_gen_next(struct jinja_run *r, struct jinja_gen *g, struct jv *out)
{
    jinja_enter(r);
    bool more = g->next(r, g, out);
    jinja_leave(r);
    return more;
}

static bool next_of_list(struct jinja_run *r, struct jinja_gen *g, struct jv *out)
{
    return jv_next(r, &g->in, out);
}

struct jv jinja_iter(struct jinja_run *r, const struct jv_vec *v)
{
    struct jinja_gen *g = jinja_alloc(r, 1, sizeof *g);
    *g = (struct jinja_gen){.next = next_of_list, .in = {.seq = jv_list(v)}};
    return (struct jv){.kind = JV_ITER, .gen = g};
}

/* Begins to walk the input; false when there is nothing in it. */
static bool start(struct jinja_run *r, struct jinja_gen *g)
{
    g->started = true;
    g->in = (struct jv_cursor){.seq = jv_str(NULL, 0)};
    if (!jv_truth(r, g->call.self))
        return false;
    g->in = jv_iterate(r, g->call.self);
    return true;
}

/* ---- map ------------------------------------------------------------------------------------- */

/* c without its first n positional arguments, for self. */
static struct call rest_of(const struct call *c, size_t n, struct jv self)
{
    return (struct call){.self = self,
                         .args = c->args + n, /* new_gen gave it some, always */
                         .n = c->n - n,
                         .kwargs = c->kwargs,
                         .n_kwargs = c->n_kwargs};
}

static struct jv keyword(const struct call *c, const char *name)
{
    for (size_t i = 0; i < c->n_kwargs; i++) {
        if (jv_is_str(c->kwargs[i].key, name))
            return c->kwargs[i].value;
    }
    return (struct jv){0};
}

static void start_map(struct jinja_run *r, struct jinja_gen *g)
{
    const struct call *c = &g->call;
    if (!start(r, g))
        return;
    if (c->n == 0 && keyword(c, "attribute").kind == JV_MISSING)
        jinja_raise(r, "map requires a filter argument");
    if (c->n == 0)
        return;
    struct jv name = jinja_arg_str(r, c, 0);
    g->func = jinja_filter_find(name);
    if (!g->func)
        jinja_raise(r, "no filter named '%.*s'", JV_QUOTE(name));
}

static bool next_of_map(struct jinja_run *r, struct jinja_gen *g, struct jv *out)
{
    const struct call *c = &g->call;
    struct jv item;
    if (!g->started)
        start_map(r, g);
    if (!jv_next(r, &g->in, &item))
        return false;
    if (g->func) {
        struct call inner = rest_of(c, 1, item);
        *out = jinja_call_func(r, g->func, &inner);
    } else {
        *out = jinja_path(r, item, keyword(c, "attribute"), keyword(c, "default"));
    }
    return true;
}

/* map('filter', arguments...) or map(attribute='a.b', default=value) */
static struct jv filter_map(struct jinja_run *r, const struct call *c)
{
    return new_gen(r, c, next_of_map);
}

/* ---- select, reject -------------------------------------------------------------------------- */

enum select { REJECT = 0, SELECT = 1, BY_ATTRIBUTE = 2 };

static void start_select(struct jinja_run *r, struct jinja_gen *g)
{
    const struct call *c = &g->call;
    bool by_attribute = c->func->mode & BY_ATTRIBUTE;
    if (!start(r, g))
        return;
    if (by_attribute && c->n == 0)
        jinja_raise(r, "missing parameter for attribute name");
    if (c->n <= by_attribute)
        return;
    struct jv name = jinja_arg_str(r, c, by_attribute);
    g->func = jinja_test_find(name);
    if (!g->func)
        jinja_raise(r, "no test named '%.*s'", JV_QUOTE(name));
}

/* Whether the test says yes, or, without a test, whether the value is true. */
static bool passes(struct jinja_run *r, const struct jinja_gen *g, struct jv item)
{
    bool by_attribute = g->call.func->mode & BY_ATTRIBUTE;
    if (by_attribute)
        item = jinja_path(r, item, g->call.args[0], (struct jv){0});
    if (!g->func)
        return jv_truth(r, item);
    struct call inner = rest_of(&g->call, by_attribute ? 2 : 1, item);
    return jv_truth(r, jinja_call_func(r, g->func, &inner));
}

static bool next_of_select(struct jinja_run *r, struct jinja_gen *g, struct jv *out)
{
    if (!g->started)
        start_select(r, g);
    while (jv_next(r, &g->in, out)) {
        if (passes(r, g, *out) == (bool)(g->call.func->mode & SELECT))
            return true;
    }
    return false;
}

static struct jv filter_select(struct jinja_run *r, const struct call *c)
{
    return new_gen(r, c, next_of_select);
}

/* ---- items, unique, batch, slice ------------------------------------------------------------- */

static bool next_of_items(struct jinja_run *r, struct jinja_gen *g, struct jv *out)
{
    struct jv v = g->call.self;
    if (v.kind != JV_UNDEFINED && v.kind != JV_DICT)
        jinja_raise(r, "can only get item pairs from a mapping");
    if (v.kind == JV_UNDEFINED || g->in.at >= v.dict->n)
        return false;
    const struct jv_pair *p = &v.dict->pairs[g->in.at++];
    *out = jv_pair_tuple(r, p->key, p->value);
    return true;
}

static struct jv filter_items(struct jinja_run *r, const struct call *c)
{
    return new_gen(r, c, next_of_items);
}

static bool next_of_unique(struct jinja_run *r, struct jinja_gen *g, struct jv *out)
{
    const struct call *c = &g->call;
    if (!g->started) {
        g->started = true;
        g->in = jv_iterate(r, c->self);
        g->seen = jv_dict_new(r);
    }
    while (jv_next(r, &g->in, out)) {
        struct jv key = jinja_filter_key(r, *out, c->args[1], jinja_arg_bool(r, c, 0, false));
        if (jv_dict_find(r, g->seen.dict, key))
            continue;
        jv_dict_set(r, g->seen, key, jv_none());
        return true;
    }
    return false;
}

/* unique(case_sensitive=false, attribute=none) */
static struct jv filter_unique(struct jinja_run *r, const struct call *c)
{
    return new_gen(r, c, next_of_unique);
}

static bool next_of_batch(struct jinja_run *r, struct jinja_gen *g, struct jv *out)
{
    int64_t count = jinja_arg_int(r, &g->call, 0, 0);
    struct jv_vec row = {0};
    struct jv item;
    if (!g->started)
        g->in = jv_iterate(r, g->call.self);
    g->started = true;
    while ((int64_t)row.n < MAX(count, 1) && jv_next(r, &g->in, &item))
        jv_push(r, &row, item);
    while (row.n > 0 && jv_is_given(g->call.args[1]) && (int64_t)row.n < count)
        jv_push(r, &row, g->call.args[1]);
    *out = jv_list(&row);
    return row.n > 0;
}

/* batch(linecount, fill_with=none) */
static struct jv filter_batch(struct jinja_run *r, const struct call *c)
{
    return new_gen(r, c, next_of_batch);
}

static void start_slice(struct jinja_run *r, struct jinja_gen *g)
{
    struct jv_vec out = {0}, items = jv_collect(r, g->call.self);
    int64_t slices = jinja_arg_int(r, &g->call, 0, 0);
    if (slices == 0)
        jinja_raise(r, "slice: division by zero");
    size_t n = slices > 0 ? (size_t)slices : 0, each = n ? items.n / n : 0;
    for (size_t i = 0, at = 0; i < n; i++) {
        struct jv_vec column = {0};
        bool longer = i < items.n % n;
        for (size_t k = 0; k < each + longer; k++)
            jv_push(r, &column, items.items[at++]);
        if (jv_is_given(g->call.args[1]) && !longer)
            jv_push(r, &column, g->call.args[1]);
        jv_push(r, &out, jv_list(&column));
    }
    g->started = true;
    g->in = (struct jv_cursor){.seq = jv_list(&out)};
}

static bool next_of_slice(struct jinja_run *r, struct jinja_gen *g, struct jv *out)
{
    if (!g->started)
        start_slice(r, g);
    return jv_next(r, &g->in, out);
}

/* slice(slices, fill_with=none) */
static struct jv filter_slice(struct jinja_run *r, const struct call *c)
{
    return new_gen(r, c, next_of_slice);
}

#define UNIQUE_PARAMS                 \
    {                                 \
        "case_sensitive", "attribute" \
    }

const struct jinja_func jinja_generators[] = {
    {.name = "map", .fn = filter_map, .variadic = true},
    {.name = "select", .fn = filter_select, .variadic = true, .mode = SELECT},
    {.name = "reject", .fn = filter_select, .variadic = true, .mode = REJECT},
    {.name = "selectattr", .fn = filter_select, .variadic = true, .mode = SELECT | BY_ATTRIBUTE},
    {.name = "rejectattr", .fn = filter_select, .variadic = true, .mode = REJECT | BY_ATTRIBUTE},
    {.name = "items", .fn = filter_items},
    {.name = "unique", .fn = filter_unique, .params = UNIQUE_PARAMS},
    {.name = "batch", .fn = filter_batch, .params = {"linecount", "fill_with"}, .required = 1},
    {.name = "slice", .fn = filter_slice, .params = {"slices", "fill_with"}, .required = 1},
    {0},
};
