/*
 * The global functions of templates, and what a dot finds in the objects of the language: the
 * methods of dicts, lists and tuples, of loops and cyclers. Those of strings are in strings.c.
 */
#include "jinja/run.h"

#include <string.h>

#define RANGE_MAX 100000 /* items, as the sandbox has it */

/* ---- range ----------------------------------------------------------------------------------- */

struct jv jinja_range_item(const struct jv *range, size_t index)
{
    uint64_t start = (uint64_t)range->range->start, step = (uint64_t)range->range->step;
    return jv_int((int64_t)(start + index * step)); /* between start and stop, so it fits */
}

static uint64_t range_length(int64_t start, int64_t stop, int64_t step)
{
    if (step > 0)
        return start < stop ? ((uint64_t)stop - (uint64_t)start - 1) / (uint64_t)step + 1 : 0;
    uint64_t by = 0 - (uint64_t)step;
    return start > stop ? ((uint64_t)start - (uint64_t)stop - 1) / by + 1 : 0;
}

static struct jv global_range(struct jinja_run *r, const struct call *c)
{
    bool one = c->args[1].kind == JV_MISSING;
    int64_t first = jinja_arg_int(r, c, 0, 0);
    struct jv_range *range = jinja_alloc(r, 1, sizeof *range);
    *range = (struct jv_range){
        .start = one ? 0 : first,
        .stop = one ? first : jinja_arg_int(r, c, 1, 0),
        .step = jinja_arg_int(r, c, 2, 1),
    };
    if (range->step == 0)
        jinja_raise(r, "range() arg 3 must not be zero");
    uint64_t n = range_length(range->start, range->stop, range->step);
    if (n > RANGE_MAX)
        jinja_raise(r, "range too big: the sandbox blocks ranges larger than %d", RANGE_MAX);
    return (struct jv){.kind = JV_RANGE, .range = range, .len = (size_t)n};
}

/* ---- dict, namespace ------------------------------------------------------------------------- */

static void add_pairs(struct jinja_run *r, struct jv dict, struct jv pairs)
{
    struct jv_cursor c = jv_iterate(r, pairs);
    for (struct jv pair; jv_next(r, &c, &pair);) {
        struct jv_vec kv = jv_collect(r, pair);
        if (kv.n != 2)
            jinja_raise(r, "a dict is made of pairs");
        jv_dict_set(r, dict, kv.items[0], kv.items[1]);
    }
}

static struct jv global_dict(struct jinja_run *r, const struct call *c)
{
    struct jv dict = jv_dict_new(r);
    if (c->n > 1)
        jinja_raise(r, "dict expected at most 1 argument, got %zu", c->n);
    if (c->n == 1 && c->args[0].kind != JV_DICT && c->args[0].kind != JV_NAMESPACE)
        add_pairs(r, dict, c->args[0]);
    else if (c->n == 1)
        for (uint32_t i = 0; i < c->args[0].dict->n; i++)
            jv_dict_set(r, dict, c->args[0].dict->pairs[i].key, c->args[0].dict->pairs[i].value);
    for (size_t i = 0; i < c->n_kwargs; i++)
        jv_dict_set(r, dict, c->kwargs[i].key, c->kwargs[i].value);
    return dict;
}

static struct jv global_namespace(struct jinja_run *r, const struct call *c)
{
    struct jv ns = global_dict(r, c);
    for (uint32_t i = 0; i < ns.dict->n; i++) {
        struct jv key = ns.dict->pairs[i].key;
        if (key.kind == JV_STR && key.len > 0 && key.s[0] == '_')
            jinja_raise(r, "names of a namespace may not start with an underscore");
    }
    ns.kind = JV_NAMESPACE;
    return ns;
}

/* ---- joiner, cycler -------------------------------------------------------------------------- */

static struct jinja_state *new_state(struct jinja_run *r, const struct jv *items, size_t n)
{
    struct jinja_state *state = jinja_alloc(r, 1, sizeof *state);
    *state = (struct jinja_state){.items = items, .n = n};
    return state;
}

static struct jv global_joiner(struct jinja_run *r, const struct call *c)
{
    struct jv *sep = jinja_alloc(r, 1, sizeof *sep);
    *sep = c->args[0].kind == JV_MISSING ? jv_cstr(", ") : c->args[0];
    return (struct jv){.kind = JV_JOINER, .state = new_state(r, sep, 1)};
}

static struct jv global_cycler(struct jinja_run *r, const struct call *c)
{
    if (c->n == 0)
        jinja_raise(r, "at least one item has to be provided");
    return (struct jv){.kind = JV_CYCLER, .state = new_state(r, c->args, c->n)};
}

/* ---- Hugging Face's own ---------------------------------------------------------------------- */

static struct jv global_raise(struct jinja_run *r, const struct call *c)
{
    jinja_raise_words(r, jv_plain(r, c->args[0]));
}

static struct jv global_strftime(struct jinja_run *r, const struct call *c)
{
    char format[128], text[512];
    struct tm tm;
    struct jv f = jinja_arg_str(r, c, 0);
    if (f.len >= sizeof format)
        jinja_raise(r, "strftime_now: format too long");
    memcpy(format, f.s, f.len);
    format[f.len] = '\0';
    localtime_r(&r->now, &tm);
    struct jv_text t = {.run = r, .origin = origin_at(r, f, 0, &(size_t){0})};
    jv_text_add(&t, text, strftime(text, sizeof text, format, &tm));
    return jv_text_done(&t);
}

static const struct jinja_func globals[] = {
    {.name = "range", .fn = global_range, .params = {"start", "stop", "step"}, .required = 1},
    {.name = "dict", .fn = global_dict, .variadic = true},
    {.name = "namespace", .fn = global_namespace, .variadic = true},
    {.name = "joiner", .fn = global_joiner, .params = {"sep"}},
    {.name = "cycler", .fn = global_cycler, .variadic = true},
    {.name = "raise_exception", .fn = global_raise, .params = {"message"}, .required = 1},
    {.name = "strftime_now", .fn = global_strftime, .params = {"format"}, .required = 1},
};

void jinja_set_globals(struct jinja_run *r)
{
    for (size_t i = 0; i < COUNT_OF(globals); i++)
        jinja_set(r, globals[i].name, (struct jv){.kind = JV_FUNC, .func = &globals[i]});
}

/* ---- methods --------------------------------------------------------------------------------- */

static struct jv dict_view(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return jv_view(c->self, (enum jv_view)c->func->mode);
}

static struct jv dict_get(struct jinja_run *r, const struct call *c)
{
    const struct jv *found = jv_dict_find(r, c->self.dict, c->args[0]);
    if (found)
        return *found;
    return c->args[1].kind == JV_MISSING ? jv_none() : c->args[1];
}

/* Values never change, so a copy is the thing itself. */
static struct jv copy(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return c->self;
}

static struct jv seq_index(struct jinja_run *r, const struct call *c)
{
    for (size_t i = 0; i < c->self.len; i++) {
        if (jv_equal(r, c->self.items[i], c->args[0]))
            return jv_int((int64_t)i);
    }
    jinja_raise(r, "the value is not in the %s", jv_type_name(c->self));
}

static struct jv seq_count(struct jinja_run *r, const struct call *c)
{
    int64_t n = 0;
    for (size_t i = 0; i < c->self.len; i++)
        n += jv_equal(r, c->self.items[i], c->args[0]);
    return jv_int(n);
}

static struct jv cycler_next(struct jinja_run *r, const struct call *c)
{
    (void)r;
    struct jinja_state *state = c->self.state;
    struct jv v = state->items[state->at];
    state->at = (state->at + 1) % state->n;
    return v;
}

static struct jv cycler_reset(struct jinja_run *r, const struct call *c)
{
    (void)r;
    c->self.state->at = 0;
    return jv_none();
}

static struct jv loop_cycle(struct jinja_run *r, const struct call *c)
{
    if (c->n == 0)
        jinja_raise(r, "no items for cycling given");
    return c->args[(size_t)c->self.loop->index0 % c->n];
}

static struct jv loop_changed(struct jinja_run *r, const struct call *c)
{
    struct jinja_loop *l = c->self.loop;
    struct jv now = jv_items(JV_TUPLE, c->args, c->n);
    bool changed = !jv_equal(r, now, l->changed);
    l->changed = now;
    return jv_bool(changed);
}

static const struct jinja_func dict_methods[] = {
    {.name = "get", .fn = dict_get, .params = {"key", "default"}, .required = 1},
    {.name = "items", .fn = dict_view, .mode = VIEW_ITEMS},
    {.name = "keys", .fn = dict_view, .mode = VIEW_KEYS},
    {.name = "values", .fn = dict_view, .mode = VIEW_VALUES},
    {.name = "copy", .fn = copy},
    {0},
};
static const struct jinja_func list_methods[] = {
    {.name = "copy", .fn = copy},
    {.name = "index", .fn = seq_index, .params = {"value"}, .required = 1},
    {.name = "count", .fn = seq_count, .params = {"value"}, .required = 1},
    {0},
};
static const struct jinja_func *const tuple_methods = list_methods + 1; /* a tuple has no copy */
static const struct jinja_func cycler_methods[] = {
    {.name = "next", .fn = cycler_next},
    {.name = "reset", .fn = cycler_reset},
    {0},
};
static const struct jinja_func loop_methods[] = {
    {.name = "cycle", .fn = loop_cycle, .variadic = true},
    {.name = "changed", .fn = loop_changed, .variadic = true},
    {0},
};

/* What would change a value in place, and what Python has beyond the above (fromkeys): names that
 * exist in Python, but that the sandbox refuses. */
static const char *const dict_blocked[] = {"clear",  "pop",      "popitem", "setdefault",
                                           "update", "fromkeys", NULL};
static const char *const list_blocked[] = {"append", "clear",  "pop",    "reverse", "insert",
                                           "sort",   "extend", "remove", NULL};

static bool among(const char *const *names, struct jv name)
{
    for (; *names; names++) {
        if (jv_is_str(name, *names))
            return true;
    }
    return false;
}

static const struct jinja_func *methods_of(struct jv object)
{
    switch (object.kind) {
    case JV_STR:
        return jinja_str_methods;
    case JV_DICT:
        return dict_methods;
    case JV_LIST:
        return list_methods;
    case JV_TUPLE:
        return tuple_methods;
    case JV_LOOP:
        return loop_methods;
    case JV_CYCLER:
        return cycler_methods;
    default:
        return NULL;
    }
}

/* ---- attributes ------------------------------------------------------------------------------ */

/* What `loop` tells; JV_MISSING: nothing by that name. */
static struct jv loop_value(struct jinja_run *r, struct jinja_loop *l, struct jv name)
{
    if (jv_is_str(name, "index") || jv_is_str(name, "index0"))
        return jv_int(l->index0 + (name.len == 5));
    if (jv_is_str(name, "first"))
        return jv_bool(l->index0 == 0);
    if (jv_is_str(name, "last"))
        return jv_bool(!jinja_loop_peek(r, l));
    if (jv_is_str(name, "length"))
        return jv_int((int64_t)jinja_loop_length(r, l));
    if (jv_is_str(name, "revindex") || jv_is_str(name, "revindex0"))
        return jv_int((int64_t)jinja_loop_length(r, l) - l->index0 - (name.len == 9));
    if (jv_is_str(name, "previtem"))
        return l->index0 > 0 ? l->before : jv_hint("there is no previous item");
    if (jv_is_str(name, "nextitem"))
        return jinja_loop_peek(r, l) ? l->after : jv_hint("there is no next item");
    if (jv_is_str(name, "depth") || jv_is_str(name, "depth0"))
        return jv_int(l->depth0 + (name.len == 5));
    return (struct jv){0};
}

/* What of an object is no method; JV_MISSING: nothing by that name. */
static struct jv own_value(struct jinja_run *r, struct jv object, struct jv name)
{
    const struct jv *found;
    switch (object.kind) {
    case JV_LOOP:
        return loop_value(r, object.loop, name);
    case JV_CYCLER:
        return jv_is_str(name, "current") ? object.state->items[object.state->at] : (struct jv){0};
    case JV_NAMESPACE:
        found = jv_dict_find(r, object.dict, name);
        return found ? *found : (struct jv){0};
    case JV_MACRO:
        return jv_is_str(name, "name") ? object.macro->macro->name : (struct jv){0};
    default:
        return (struct jv){0};
    }
}

bool jinja_own_attribute(struct jinja_run *r, struct jv object, struct jv name, struct jv *out)
{
    const struct jinja_func *methods = methods_of(object);
    const struct jinja_func *f = methods ? jinja_func_find(methods, name) : NULL;
    *out = own_value(r, object, name);
    if (f) {
        struct jinja_method *m = jinja_alloc(r, 1, sizeof *m);
        *m = (struct jinja_method){object, f};
        *out = (struct jv){.kind = JV_METHOD, .method = m};
    } else if ((object.kind == JV_DICT && among(dict_blocked, name)) ||
               (object.kind == JV_LIST && among(list_blocked, name))) {
        struct jv_text t = {.run = r};
        jv_text_printf(&t, "access to attribute '%.*s' of '%s' object is unsafe", JV_QUOTE(name),
                       jv_type_name(object));
        *out = jv_undefined(UNDEFINED_HINT, jv_text_done(&t));
    }
    return out->kind != JV_MISSING;
}
