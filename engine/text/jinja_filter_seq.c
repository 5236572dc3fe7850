/*
 * Filters on sequences and dicts; jinja_gen.c has those that make generators of them.
 */
#include "text/jinja_run.h"
#include "text/jinja_utf8.h"

#include <string.h>

/* What min and max compare. */
static struct jv key_of(struct jinja_run *r, const struct call *c, struct jv item)
{
    return jinja_filter_key(r, item, c->args[1], jinja_arg_bool(r, c, 0, false));
}

/* ---- whole to one ---------------------------------------------------------------------------- */

static struct jv filter_length(struct jinja_run *r, const struct call *c)
{
    size_t n;
    if (!jv_length(r, c->self, &n))
        jinja_raise(r, "object of type '%s' has no len()", jv_type_name(c->self));
    return jv_int((int64_t)n);
}

static struct jv filter_first(struct jinja_run *r, const struct call *c)
{
    struct jv_cursor items = jv_iterate(r, c->self);
    struct jv v;
    return jv_next(r, &items, &v) ? v : jv_hint("no first item, sequence was empty");
}

static struct jv filter_last(struct jinja_run *r, const struct call *c)
{
    struct jv v = c->self;
    if (v.kind == JV_ITER)
        jinja_raise(r, "'generator' object is not reversible");
    if (v.kind == JV_STR) {
        size_t n = v.len > 0 ? jinja_utf8_prev(v.s, v.len, NULL) : 0;
        return n > 0 ? jv_str(v.s + v.len - n, n) : jv_hint("no last item, sequence was empty");
    }
    struct jv_vec items = jv_collect(r, v);
    return items.n > 0 ? items.items[items.n - 1] : jv_hint("no last item, sequence was empty");
}

/* join(d='', attribute=none) */
static struct jv filter_join(struct jinja_run *r, const struct call *c)
{
    struct jv sep = c->args[0].kind == JV_MISSING ? jv_str(NULL, 0) : jv_to_str(r, c->args[0]);
    struct jv_cursor items = jv_iterate(r, c->self);
    struct jv_text t = {.run = r};
    struct jv item;
    for (size_t i = 0; jv_next(r, &items, &item); i++) {
        struct jv text = jv_to_str(r, jinja_path(r, item, c->args[1], (struct jv){0}));
        if (i > 0)
            jv_text_add(&t, sep.s, sep.len);
        jv_text_add(&t, text.s, text.len);
    }
    return jv_text_done(&t);
}

/* sum(attribute=none, start=0) */
static struct jv filter_sum(struct jinja_run *r, const struct call *c)
{
    struct jv total = c->args[1].kind == JV_MISSING ? jv_int(0) : c->args[1];
    struct jv_cursor items = jv_iterate(r, c->self);
    for (struct jv v; jv_next(r, &items, &v);)
        total = jinja_binary(r, OP_ADD, total, jinja_path(r, v, c->args[0], (struct jv){0}));
    return total;
}

static struct jv extreme(struct jinja_run *r, const struct call *c, bool largest)
{
    struct jv_cursor items = jv_iterate(r, c->self);
    struct jv best, best_key, v;
    if (!jv_next(r, &items, &best))
        return jv_hint("no aggregated item, sequence was empty");
    best_key = key_of(r, c, best);
    while (jv_next(r, &items, &v)) {
        struct jv key = key_of(r, c, v);
        if (jv_compare(r, key, best_key, largest ? ">" : "<") == (largest ? 1 : -1)) {
            best = v;
            best_key = key;
        }
    }
    return best;
}

static struct jv filter_min(struct jinja_run *r, const struct call *c)
{
    return extreme(r, c, false);
}

static struct jv filter_max(struct jinja_run *r, const struct call *c)
{
    return extreme(r, c, true);
}

/* ---- one to one ------------------------------------------------------------------------------ */

static struct jv filter_list(struct jinja_run *r, const struct call *c)
{
    struct jv_vec items = jv_collect(r, c->self);
    return jv_list(&items);
}

static struct jv filter_reverse(struct jinja_run *r, const struct call *c)
{
    struct jv_vec out = {0}, items = jv_collect(r, c->self);
    for (size_t i = items.n; i-- > 0;)
        jv_push(r, &out, items.items[i]);
    if (c->self.kind == JV_ITER)
        return jv_list(&out);
    if (c->self.kind != JV_STR)
        return jv_iter(r, &out);
    struct jv_text t = {.run = r};
    for (size_t i = 0; i < out.n; i++)
        jv_text_add(&t, out.items[i].s, out.items[i].len);
    return jv_markup(jv_text_done(&t), c->self.flag);
}

static struct jv in_order(struct jinja_run *r, const struct jv_vec *items,
                          const struct jv_vec *keys, bool reverse)
{
    struct jv_vec out = {0};
    const size_t *order = jinja_sort_order(r, keys->items, keys->n, reverse);
    for (size_t i = 0; i < items->n; i++)
        jv_push(r, &out, items->items[order[i]]);
    return jv_list(&out);
}

/* The values that sort compares: one per attribute of 'a,b.c'. */
static struct jv sort_key(struct jinja_run *r, struct jv item, struct jv attribute, bool sensitive)
{
    struct jv_vec key = {0};
    bool text = attribute.kind == JV_STR;
    for (size_t at = 0; at <= (text ? attribute.len : 0);) {
        struct jv path = attribute;
        if (text) {
            const char *from = attribute.s + at;
            const char *comma = at < attribute.len ? memchr(from, ',', attribute.len - at) : NULL;
            path = jv_str(from, comma ? (size_t)(comma - from) : attribute.len - at);
        }
        jv_push(r, &key, jinja_filter_key(r, item, path, sensitive));
        at += (text ? path.len : 0) + 1;
    }
    return jv_tuple(&key);
}

/* sort(reverse=false, case_sensitive=false, attribute=none) */
static struct jv filter_sort(struct jinja_run *r, const struct call *c)
{
    struct jv_vec items = jv_collect(r, c->self), keys = {0};
    bool sensitive = jinja_arg_bool(r, c, 1, false);
    for (size_t i = 0; i < items.n; i++)
        jv_push(r, &keys, sort_key(r, items.items[i], c->args[2], sensitive));
    return in_order(r, &items, &keys, jinja_arg_bool(r, c, 0, false));
}

/* dictsort(case_sensitive=false, by='key', reverse=false) */
static struct jv filter_dictsort(struct jinja_run *r, const struct call *c)
{
    bool by_value = jv_is_str(c->args[1], "value"), sensitive = jinja_arg_bool(r, c, 0, false);
    if (c->args[1].kind != JV_MISSING && !by_value && !jv_is_str(c->args[1], "key"))
        jinja_raise(r, "dictsort: you can only sort by either \"key\" or \"value\"");
    if (c->self.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, c->self);
    if (c->self.kind != JV_DICT)
        jinja_raise(r, "dictsort: '%s' is not a dict", jv_type_name(c->self));
    struct jv view = {.kind = JV_VIEW, .flag = VIEW_ITEMS, .dict = c->self.dict};
    struct jv_vec items = jv_collect(r, view), keys = {0};
    for (size_t i = 0; i < items.n; i++) {
        struct jv key = items.items[i].items[by_value];
        jv_push(r, &keys, sensitive ? key : jinja_ignore_case(r, key));
    }
    return in_order(r, &items, &keys, jinja_arg_bool(r, c, 2, false));
}

#define KEY_PARAMS                    \
    {                                 \
        "case_sensitive", "attribute" \
    }
#define SORT_PARAMS                              \
    {                                            \
        "reverse", "case_sensitive", "attribute" \
    }
#define DICTSORT_PARAMS                   \
    {                                     \
        "case_sensitive", "by", "reverse" \
    }

const struct jinja_func jinja_seq_filters[] = {
    {.name = "length", .fn = filter_length},
    {.name = "count", .fn = filter_length},
    {.name = "first", .fn = filter_first},
    {.name = "last", .fn = filter_last},
    {.name = "join", .fn = filter_join, .params = {"d", "attribute"}},
    {.name = "sum", .fn = filter_sum, .params = {"attribute", "start"}},
    {.name = "min", .fn = filter_min, .params = KEY_PARAMS},
    {.name = "max", .fn = filter_max, .params = KEY_PARAMS},
    {.name = "list", .fn = filter_list},
    {.name = "reverse", .fn = filter_reverse},
    {.name = "sort", .fn = filter_sort, .params = SORT_PARAMS},
    {.name = "dictsort", .fn = filter_dictsort, .params = DICTSORT_PARAMS},
};
const size_t jinja_n_seq_filters = COUNT_OF(jinja_seq_filters);
