/*
 * The tests behind `is`.
 */
#include "jinja/run.h"

static struct jv test_defined(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return jv_bool(c->self.kind != JV_UNDEFINED);
}

static struct jv test_kind(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return jv_bool((jv_is_large_int(c->self) ? JV_INT : c->self.kind) == c->func->mode);
}

static struct jv test_truth(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return jv_bool(c->self.kind == JV_BOOL && c->self.b == c->func->mode);
}

static struct jv test_number(struct jinja_run *r, const struct call *c)
{
    (void)r;
    return jv_bool(jv_is_number(c->self));
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

static struct jv test_cased(struct jinja_run *r, const struct call *c)
{
    return jv_bool(jinja_is_cased(r, jv_to_str(r, c->self), c->func->mode == MAP_UPPER));
}

static bool remainder_is(struct jinja_run *r, struct jv v, struct jv by, int64_t expected)
{
    return jv_equal(r, jinja_binary(r, OP_MOD, v, by), jv_int(expected));
}

static struct jv test_parity(struct jinja_run *r, const struct call *c)
{
    return jv_bool(remainder_is(r, c->self, jv_int(2), c->func->mode));
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

static struct jv test_compare(struct jinja_run *r, const struct call *c)
{
    return jv_bool(jinja_compare(r, (enum compare_op)c->func->mode, c->self, c->args[0]));
}

#define WITH_ARGUMENT .params = {"other"}, .required = 1
#define COMPARE(op) .fn = test_compare, .mode = op, WITH_ARGUMENT

static const struct jinja_func tests[] = {
    {.name = "defined", .fn = test_defined},
    {.name = "undefined", .fn = test_kind, .mode = JV_UNDEFINED},
    {.name = "none", .fn = test_kind, .mode = JV_NONE},
    {.name = "boolean", .fn = test_kind, .mode = JV_BOOL},
    {.name = "true", .fn = test_truth, .mode = true},
    {.name = "false", .fn = test_truth, .mode = false},
    {.name = "integer", .fn = test_kind, .mode = JV_INT},
    {.name = "float", .fn = test_kind, .mode = JV_FLOAT},
    {.name = "number", .fn = test_number},
    {.name = "string", .fn = test_kind, .mode = JV_STR},
    {.name = "mapping", .fn = test_kind, .mode = JV_DICT},
    {.name = "iterable", .fn = test_iterable},
    {.name = "sequence", .fn = test_sequence},
    {.name = "callable", .fn = test_callable},
    {.name = "escaped", .fn = test_escaped},
    {.name = "lower", .fn = test_cased, .mode = MAP_LOWER},
    {.name = "upper", .fn = test_cased, .mode = MAP_UPPER},
    {.name = "odd", .fn = test_parity, .mode = 1},
    {.name = "even", .fn = test_parity, .mode = 0},
    {.name = "filter", .fn = test_filter},
    {.name = "test", .fn = test_test},
    {.name = "divisibleby", .fn = test_divisibleby, WITH_ARGUMENT},
    {.name = "sameas", .fn = test_sameas, WITH_ARGUMENT},
    {.name = "in", .fn = test_in, WITH_ARGUMENT},
    {.name = "eq", COMPARE(CMP_EQ)},
    {.name = "equalto", COMPARE(CMP_EQ)},
    {.name = "==", COMPARE(CMP_EQ)},
    {.name = "ne", COMPARE(CMP_NE)},
    {.name = "!=", COMPARE(CMP_NE)},
    {.name = "lt", COMPARE(CMP_LT)},
    {.name = "lessthan", COMPARE(CMP_LT)},
    {.name = "<", COMPARE(CMP_LT)},
    {.name = "le", COMPARE(CMP_LE)},
    {.name = "<=", COMPARE(CMP_LE)},
    {.name = "gt", COMPARE(CMP_GT)},
    {.name = "greaterthan", COMPARE(CMP_GT)},
    {.name = ">", COMPARE(CMP_GT)},
    {.name = "ge", COMPARE(CMP_GE)},
    {.name = ">=", COMPARE(CMP_GE)},
    {0},
};

const struct jinja_func *jinja_test_find(struct jv name)
{
    return jinja_func_find(tests, name);
}
