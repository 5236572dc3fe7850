/*
 * The tests behind `is`.
 */
#include "text/jinja_run.h"

static struct jv test_defined(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return jv_bool(c->self.kind != JV_UNDEFINED);
}

static struct jv test_undefined(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return jv_bool(c->self.kind == JV_UNDEFINED);
}

static struct jv test_none(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return jv_bool(c->self.kind == JV_NONE);
}

static struct jv test_boolean(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return jv_bool(c->self.kind == JV_BOOL);
}

static struct jv test_true(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return jv_bool(c->self.kind == JV_BOOL && c->self.b);
}

static struct jv test_false(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return jv_bool(c->self.kind == JV_BOOL && !c->self.b);
}

static struct jv test_integer(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return jv_bool(c->self.kind == JV_INT);
}

static struct jv test_float(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return jv_bool(c->self.kind == JV_FLOAT);
}

static struct jv test_number(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return jv_bool(jv_is_number(c->self));
}

static struct jv test_string(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return jv_bool(c->self.kind == JV_STR);
}

static struct jv test_mapping(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return jv_bool(c->self.kind == JV_DICT);
}

static struct jv test_iterable(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return jv_bool(jv_iterable(c->self) || c->self.kind == JV_LOOP);
}

/* Has a length and can be indexed; undefined passes, as it does in jinja2. */
static struct jv test_sequence(struct jinja_run *r, const struct call *c)
{
    (void)r;
    uint8_t kind = c->self.kind;
    return jv_bool(jv_iterable(c->self) && kind != JV_ITER && kind != JV_VIEW);
}

static struct jv test_callable(struct jinja_run *r, const struct call *c)
{
    (void)r;
    uint8_t kind = c->self.kind;
    return jv_bool(kind == JV_MACRO || kind == JV_FUNC || kind == JV_METHOD || kind == JV_JOINER ||
                   kind == JV_LOOP || kind == JV_UNDEFINED);
}

static struct jv test_escaped(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return jv_bool(jv_is_markup(c->self));
}

static struct jv test_lower(struct jinja_run *r, const struct call *c)
{
    return jv_bool(jinja_is_cased(r, jv_to_str(r, c->self), false));
}

static struct jv test_upper(struct jinja_run *r, const struct call *c)
{
    return jv_bool(jinja_is_cased(r, jv_to_str(r, c->self), true));
}

static bool remainder_is(struct jinja_run *r, struct jv v, struct jv by, int64_t expected)
{
    return jv_equal(r, jinja_binary(r, OP_MOD, v, by), jv_int(expected));
}

static struct jv test_odd(struct jinja_run *r, const struct call *c)
{
    return jv_bool(remainder_is(r, c->self, jv_int(2), 1));
}

static struct jv test_even(struct jinja_run *r, const struct call *c)
{
    return jv_bool(remainder_is(r, c->self, jv_int(2), 0));
}

static struct jv test_divisibleby(struct jinja_run *r, const struct call *c)
{
    return jv_bool(remainder_is(r, c->self, c->args[0], 0));
}

/* Containers are one and the same when they share memory; scalars when they are equal in kind. */
static struct jv test_sameas(struct jinja_run *r, const struct call *c)
{
    struct jv a = c->self, b = c->args[0];
    bool scalar = a.kind < JV_STR;
    bool same = scalar ? jv_equal(r, a, b) : a.items == b.items && a.len == b.len;
    return jv_bool(a.kind == b.kind && same);
}

static struct jv test_in(struct jinja_run *r, const struct call *c)
{
    return jv_bool(jv_contains(r, c->args[0], c->self));
}

static struct jv test_filter(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return jv_bool(jinja_filter_find(c->self) != NULL);
}

static struct jv test_test(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return jv_bool(jinja_test_find(c->self) != NULL);
}

static struct jv test_eq(struct jinja_run *r, const struct call *c)
{
    return jv_bool(jinja_compare(r, CMP_EQ, c->self, c->args[0]));
}

static struct jv test_ne(struct jinja_run *r, const struct call *c)
{
    return jv_bool(jinja_compare(r, CMP_NE, c->self, c->args[0]));
}

static struct jv test_lt(struct jinja_run *r, const struct call *c)
{
    return jv_bool(jinja_compare(r, CMP_LT, c->self, c->args[0]));
}

static struct jv test_le(struct jinja_run *r, const struct call *c)
{
    return jv_bool(jinja_compare(r, CMP_LE, c->self, c->args[0]));
}

static struct jv test_gt(struct jinja_run *r, const struct call *c)
{
    return jv_bool(jinja_compare(r, CMP_GT, c->self, c->args[0]));
}

static struct jv test_ge(struct jinja_run *r, const struct call *c)
{
    return jv_bool(jinja_compare(r, CMP_GE, c->self, c->args[0]));
}

#define WITH_ARGUMENT .params = {"other"}, .required = 1

static const struct jinja_func tests[] = {
    {.name = "defined", .fn = test_defined},
    {.name = "undefined", .fn = test_undefined},
    {.name = "none", .fn = test_none},
    {.name = "boolean", .fn = test_boolean},
    {.name = "true", .fn = test_true},
    {.name = "false", .fn = test_false},
    {.name = "integer", .fn = test_integer},
    {.name = "float", .fn = test_float},
    {.name = "number", .fn = test_number},
    {.name = "string", .fn = test_string},
    {.name = "mapping", .fn = test_mapping},
    {.name = "iterable", .fn = test_iterable},
    {.name = "sequence", .fn = test_sequence},
    {.name = "callable", .fn = test_callable},
    {.name = "escaped", .fn = test_escaped},
    {.name = "lower", .fn = test_lower},
    {.name = "upper", .fn = test_upper},
    {.name = "odd", .fn = test_odd},
    {.name = "even", .fn = test_even},
    {.name = "filter", .fn = test_filter},
    {.name = "test", .fn = test_test},
    {.name = "divisibleby", .fn = test_divisibleby, WITH_ARGUMENT},
    {.name = "sameas", .fn = test_sameas, WITH_ARGUMENT},
    {.name = "in", .fn = test_in, WITH_ARGUMENT},
    {.name = "eq", .fn = test_eq, WITH_ARGUMENT},
    {.name = "equalto", .fn = test_eq, WITH_ARGUMENT},
    {.name = "==", .fn = test_eq, WITH_ARGUMENT},
    {.name = "ne", .fn = test_ne, WITH_ARGUMENT},
    {.name = "!=", .fn = test_ne, WITH_ARGUMENT},
    {.name = "lt", .fn = test_lt, WITH_ARGUMENT},
    {.name = "lessthan", .fn = test_lt, WITH_ARGUMENT},
    {.name = "<", .fn = test_lt, WITH_ARGUMENT},
    {.name = "le", .fn = test_le, WITH_ARGUMENT},
    {.name = "<=", .fn = test_le, WITH_ARGUMENT},
    {.name = "gt", .fn = test_gt, WITH_ARGUMENT},
    {.name = "greaterthan", .fn = test_gt, WITH_ARGUMENT},
    {.name = ">", .fn = test_gt, WITH_ARGUMENT},
    {.name = "ge", .fn = test_ge, WITH_ARGUMENT},
    {.name = ">=", .fn = test_ge, WITH_ARGUMENT},
};

const struct jinja_func *jinja_test_find(struct jv name)
{
    return jinja_func_find(tests, COUNT_OF(tests), name);
}

bool jinja_run_test(struct jinja_run *r, const struct jinja_func *test, const struct call *c)
{
    return jv_truth(r, jinja_call_func(r, test, c));
}
