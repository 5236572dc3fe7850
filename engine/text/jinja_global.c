/*
 * The global functions of templates, and the objects they make.
 */
#include "text/jinja_run.h"

#include <string.h>
#include <time.h>

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
    struct jv_range *range = jinja_alloc(r, sizeof *range);
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
    struct jinja_state *state = jinja_alloc(r, sizeof *state);
    *state = (struct jinja_state){.items = items, .n = n};
    return state;
}

static struct jv global_joiner(struct jinja_run *r, const struct call *c)
{
    struct jv *sep = jinja_alloc(r, sizeof *sep);
    *sep = c->args[0].kind == JV_MISSING ? jv_cstr(", ") : c->args[0];
    return (struct jv){.kind = JV_JOINER, .state = new_state(r, sep, 1)};
}

static struct jv global_cycler(struct jinja_run *r, const struct call *c)
{
    if (c->n == 0)
        jinja_raise(r, "at least one item has to be provided");
    return (struct jv){.kind = JV_CYCLER, .state = new_state(r, c->args, c->n)};
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

struct jv jinja_state_attr(struct jinja_run *r, struct jv object, struct jv name)
{
    static const struct jinja_func methods[] = {
        {.name = "next", .fn = cycler_next},
        {.name = "reset", .fn = cycler_reset},
    };
    if (jv_is_str(name, "current"))
        return object.state->items[object.state->at];
    const struct jinja_func *f = jinja_func_find(methods, COUNT_OF(methods), name);
    if (!f)
        return (struct jv){.kind = JV_UNDEFINED, .flag = UNDEFINED_ATTRIBUTE};
    struct jinja_method *m = jinja_alloc(r, sizeof *m);
    *m = (struct jinja_method){object, f};
    return (struct jv){.kind = JV_METHOD, .method = m};
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
    struct jv_text t = {.run = r};
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
