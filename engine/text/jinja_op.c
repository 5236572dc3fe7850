/*
 * Operators, with Python's results. Integers have 64 bits; where Python's would grow, this raises.
 */
#include "text/jinja_run.h"

#include <math.h>
#include <string.h>

static const char *const op_names[] = {"+", "-", "*", "/", "//", "%", "**"};

static _Noreturn void unsupported(struct jinja_run *r, enum binary_op op, struct jv a, struct jv b)
{
    if (a.kind == JV_UNDEFINED || b.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, a.kind == JV_UNDEFINED ? a : b);
    jinja_raise(r, "unsupported operand types for %s: '%s' and '%s'", op_names[op], jv_type_name(a),
                jv_type_name(b));
}

/* ---- numbers --------------------------------------------------------------------------------- */

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return q * b != a && (a < 0) != (b < 0) ? q - 1 : q;
}

static bool int_power(int64_t base, int64_t exponent, int64_t *out)
{
    int64_t result = 1;
    for (; exponent > 0; exponent >>= 1) {
        if ((exponent & 1) && __builtin_mul_overflow(result, base, &result))
            return false;
        if (exponent > 1 && __builtin_mul_overflow(base, base, &base))
            return false;
    }
    *out = result;
    return true;
}

static double float_mod(double a, double b)
{
    double m = fmod(a, b);
    if (m != 0)
        return (m < 0) != (b < 0) ? m + b : m;
    return copysign(0, b);
}

static double float_floor_div(double a, double b)
{
    double q = (a - float_mod(a, b)) / b, whole = floor(q); /* q is whole but for rounding */
    if (q == 0)
        return copysign(0, a / b);
    return q - whole > 0.5 ? whole + 1 : whole;
}

static struct jv float_op(struct jinja_run *r, enum binary_op op, double a, double b)
{
    if (b == 0 && (op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD))
        jinja_raise(r, "division by zero");
    switch (op) {
    case OP_ADD:
        return jv_float(a + b);
    case OP_SUB:
        return jv_float(a - b);
    case OP_MUL:
        return jv_float(a * b);
    case OP_DIV:
        return jv_float(a / b);
    case OP_FLOORDIV:
        return jv_float(float_floor_div(a, b));
    case OP_MOD:
        return jv_float(float_mod(a, b));
    default:
        if (a == 0 && b < 0)
            jinja_raise(r, "zero cannot be raised to a negative power");
        if (a < 0 && b != floor(b))
            jinja_raise(r, "a negative number has no fractional power here");
        if (isinf(pow(a, b)) && !isinf(a) && !isinf(b))
            jinja_raise(r, "power too large");
        return jv_float(pow(a, b));
    }
}

static struct jv int_op(struct jinja_run *r, enum binary_op op, int64_t a, int64_t b)
{
    int64_t out = 0;
    bool ok = true;
    if (op == OP_DIV || (op == OP_POW && b < 0))
        return float_op(r, op, (double)a, (double)b);
    if (b == 0 && (op == OP_FLOORDIV || op == OP_MOD))
        jinja_raise(r, "division by zero");
    if (op == OP_ADD)
        ok = !__builtin_add_overflow(a, b, &out);
    else if (op == OP_SUB)
        ok = !__builtin_sub_overflow(a, b, &out);
    else if (op == OP_MUL)
        ok = !__builtin_mul_overflow(a, b, &out);
    else if (op == OP_POW)
        ok = int_power(a, b, &out);
    else if (a == INT64_MIN && b == -1)
        ok = op == OP_MOD;
    else
        out = op == OP_FLOORDIV ? floor_div(a, b) : a - floor_div(a, b) * b;
    if (!ok)
        jinja_raise(r, "integer beyond 64 bits");
    return jv_int(out);
}

static int64_t as_int(struct jv v)
{
    return v.kind == JV_BOOL ? v.b : v.i;
}

struct jv jinja_negate(struct jinja_run *r, struct jv v, bool minus)
{
    if (v.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, v);
    if (!jv_is_number(v))
        jinja_raise(r, "bad operand type for unary %c: '%s'", minus ? '-' : '+', jv_type_name(v));
    if (v.kind == JV_FLOAT)
        return jv_float(minus ? -v.d : v.d);
    return minus ? int_op(r, OP_SUB, 0, as_int(v)) : jv_int(as_int(v));
}

/* ---- strings and sequences ------------------------------------------------------------------- */

struct jv jinja_concat(struct jinja_run *r, struct jv a, struct jv b)
{
    if (b.len == 0 || a.len == 0)
        return b.len == 0 ? a : b;
    jinja_charge(r, b.len);
    if (jinja_arena_extend(&r->arena, a.s + a.len, b.len)) {
        /* a is the newest thing in the arena, as in a chain of sums: no need to copy it again */
        memcpy((char *)a.s + a.len, b.s, b.len);
        a.len += b.len;
        return a;
    }
    struct jv_text t = {.run = r};
    jv_text_add(&t, a.s, a.len);
    jv_text_add(&t, b.s, b.len);
    return jv_markup(jv_text_done(&t), a.flag);
}

/* Markup escapes the plain string it is added to. */
static struct jv add_strings(struct jinja_run *r, struct jv a, struct jv b)
{
    if (a.flag == b.flag)
        return jv_markup(jinja_concat(r, a, b), a.flag);
    struct jv_text t = {.run = r};
    jv_text_escape(&t, a);
    jv_text_escape(&t, b);
    return jv_markup(jv_text_done(&t), true);
}

static struct jv add_sequences(struct jinja_run *r, struct jv a, struct jv b)
{
    size_t n;
    if (!size_add(a.len, b.len, &n))
        jinja_raise(r, "list too long");
    struct jv *items = jinja_alloc_array(r, n, sizeof *items);
    jinja_charge(r, n * sizeof *items);
    memcpy(items, a.items, a.len * sizeof *items);
    memcpy(items + a.len, b.items, b.len * sizeof *items);
    return jv_items(a.kind, items, n);
}

static struct jv repeat_string(struct jinja_run *r, struct jv v, size_t times)
{
    struct jv_text t = {.run = r};
    size_t len;
    if (!size_mul(v.len, times, &len) || len > JINJA_MEMORY_MAX)
        jinja_raise(r, "needs more than %zu MiB of memory", JINJA_MEMORY_MAX >> 20);
    if (v.len == 1)
        jv_text_fill(&t, v.s[0], len);
    while (t.len < len)
        jv_text_add(&t, v.s, v.len);
    return jv_markup(jv_text_done(&t), v.flag);
}

static struct jv repeat(struct jinja_run *r, struct jv v, int64_t times)
{
    size_t count = times > 0 ? (size_t)times : 0, n;
    if (v.kind == JV_STR)
        return repeat_string(r, v, count);
    if (!size_mul(v.len, count, &n))
        jinja_raise(r, "list too long");
    struct jv *items = jinja_alloc_array(r, n, sizeof *items);
    jinja_charge(r, n * sizeof *items);
    for (size_t i = 0; i < n; i++)
        items[i] = v.items[i % v.len];
    return jv_items(v.kind, items, n);
}

static bool is_integer(struct jv v)
{
    return v.kind == JV_INT || v.kind == JV_BOOL;
}

static bool is_repeatable(struct jv v)
{
    return v.kind == JV_STR || jv_is_sequence(v);
}

static struct jv percent(struct jinja_run *r, struct jv format, struct jv value)
{
    struct call c = {.args = &value, .n = 1};
    if (value.kind == JV_TUPLE)
        c = (struct call){.args = (struct jv *)value.items, .n = value.len};
    else if (value.kind == JV_DICT)
        c = (struct call){.kwargs = value.dict->pairs, .n_kwargs = value.dict->n};
    return jinja_percent(r, format, &c);
}

struct jv jinja_binary(struct jinja_run *r, enum binary_op op, struct jv a, struct jv b)
{
    if (is_integer(a) && is_integer(b))
        return int_op(r, op, as_int(a), as_int(b));
    if (jv_is_number(a) && jv_is_number(b))
        return float_op(r, op, jv_to_double(a), jv_to_double(b));
    if (op == OP_ADD && a.kind == JV_STR && b.kind == JV_STR)
        return add_strings(r, a, b);
    if (op == OP_ADD && a.kind == b.kind && jv_is_sequence(a))
        return add_sequences(r, a, b);
    if (op == OP_MUL && is_repeatable(a) && is_integer(b))
        return repeat(r, a, as_int(b));
    if (op == OP_MUL && is_integer(a) && is_repeatable(b))
        return repeat(r, b, as_int(a));
    if (op == OP_MOD && a.kind == JV_STR)
        return percent(r, a, b);
    unsupported(r, op, a, b);
}

bool jinja_compare(struct jinja_run *r, enum compare_op op, struct jv a, struct jv b)
{
    static const char *const names[] = {"==", "!=", "<", "<=", ">", ">="};
    if (op == CMP_IN || op == CMP_NOT_IN)
        return jv_contains(r, b, a) == (op == CMP_IN);
    if (op == CMP_EQ || op == CMP_NE)
        return jv_equal(r, a, b) == (op == CMP_EQ);
    int c = jv_compare(r, a, b, names[op]);
    switch (op) {
    case CMP_LT:
        return c == -1;
    case CMP_LE:
        return c == -1 || c == 0;
    case CMP_GT:
        return c == 1;
    default:
        return c == 1 || c == 0;
    }
}
