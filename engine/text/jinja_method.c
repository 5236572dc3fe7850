/*
 * The methods of dicts, lists and tuples, and the look-up of any kind's methods.
 */
#include "text/jinja_run.h"

static struct jv view(struct jv dict, enum jv_view which)
{
    return (struct jv){.kind = JV_VIEW, .flag = (uint8_t)which, .dict = dict.dict};
}

static struct jv dict_keys(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return view(c->self, VIEW_KEYS);
}

static struct jv dict_values(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return view(c->self, VIEW_VALUES);
}

static struct jv dict_items(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return view(c->self, VIEW_ITEMS);
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

static const struct jinja_func dict_methods[] = {
    {.name = "get", .fn = dict_get, .params = {"key", "default"}, .required = 1},
    {.name = "items", .fn = dict_items},
    {.name = "keys", .fn = dict_keys},
    {.name = "values", .fn = dict_values},
    {.name = "copy", .fn = copy},
};
static const struct jinja_func seq_methods[] = {
    {.name = "index", .fn = seq_index, .params = {"value"}, .required = 1},
    {.name = "count", .fn = seq_count, .params = {"value"}, .required = 1},
    {.name = "copy", .fn = copy},
};

/* What would change a value in place, and what Python has beyond the above (fromkeys). */
static const char *const dict_blocked[] = {"clear",      "pop",    "popitem",
                                           "setdefault", "update", "fromkeys"};
static const char *const list_blocked[] = {"append", "clear", "pop",    "reverse",
                                           "insert", "sort",  "extend", "remove"};

static bool among(const char *const *names, size_t n, struct jv name)
{
    for (size_t i = 0; i < n; i++) {
        if (jv_is_str(name, names[i]))
            return true;
    }
    return false;
}

const struct jinja_func *jinja_method_find(struct jv object, struct jv name, bool *blocked)
{
    switch (object.kind) {
    case JV_STR: {
        const struct jinja_func *f = jinja_func_find(jinja_str_methods, jinja_n_str_methods, name);
        return f ? f : jinja_func_find(jinja_char_methods, jinja_n_char_methods, name);
    }
    case JV_DICT:
        *blocked = among(dict_blocked, COUNT_OF(dict_blocked), name);
        return jinja_func_find(dict_methods, COUNT_OF(dict_methods), name);
    case JV_LIST:
        *blocked = among(list_blocked, COUNT_OF(list_blocked), name);
        return jinja_func_find(seq_methods, COUNT_OF(seq_methods), name);
    case JV_TUPLE:
        return jinja_func_find(seq_methods, 2, name);
    default:
        return NULL;
    }
}
