/*
 * Operators and subscripts, with Python's results. Integers have 64 bits; where Python's would
 * grow, this raises.
 */
#include "specd/utf8.h"
#include "jinja/run.h"

#include <inttypes.h>
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

struct jv jinja_negate(struct jinja_run *r, struct jv v, bool minus)
{
    if (v.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, v);
    if (!jv_is_number(v))
        jinja_raise(r, "bad operand type for unary %c: '%s'", minus ? '-' : '+', jv_type_name(v));
    if (v.kind == JV_FLOAT)
        return jv_float(minus ? -v.d : v.d);
    return minus ? int_op(r, OP_SUB, 0, jv_to_int(v)) : jv_int(jv_to_int(v));
}

/* ---- strings and sequences ------------------------------------------------------------------- */

struct jv jinja_concat(struct jinja_run *r, struct jv a, struct jv b)
{
    if (b.len == 0 || a.len == 0)
        return b.len == 0 ? a : b;
    jinja_charge(r, b.len);
    if (arena_extend(&r->arena, a.s + a.len, b.len)) {
        /* a is the newest thing in the arena, as in a chain of sums: no need to copy it again */
        memcpy((char *)a.s + a.len, b.s, b.len);
        a.origin = origin_extended(r, a, b);
        a.len += b.len;
        return a;
    }
    struct jv_text t = {.run = r};
    jv_text_put(&t, a);
    jv_text_put(&t, b);
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
    struct jv *items = jinja_alloc(r, n, sizeof *items);
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
    if (v.len == 1) {
        t.origin = origin_at(r, v, 0, &(size_t){0});
        jv_text_fill(&t, v.s[0], len);
    }
    while (t.len < len)
        jv_text_put(&t, v);
    return jv_markup(jv_text_done(&t), v.flag);
}

static struct jv repeat(struct jinja_run *r, struct jv v, int64_t times)
{
    size_t count = times > 0 ? (size_t)times : 0, n;
    if (v.kind == JV_STR)
        return repeat_string(r, v, count);
    if (!size_mul(v.len, count, &n))
        jinja_raise(r, "list too long");
    struct jv *items = jinja_alloc(r, n, sizeof *items);
    jinja_charge(r, n * sizeof *items);
    for (size_t i = 0; i < n; i++)
        items[i] = v.items[i % v.len];
    return jv_items(v.kind, items, n);
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
    if (jv_is_int(a) && jv_is_int(b))
        return int_op(r, op, jv_to_int(a), jv_to_int(b));
    if (jv_is_number(a) && jv_is_number(b))
        return float_op(r, op, jv_to_double(a), jv_to_double(b));
    if (op == OP_ADD && a.kind == JV_STR && b.kind == JV_STR)
        return add_strings(r, a, b);
    if (op == OP_ADD && a.kind == b.kind && jv_is_sequence(a))
        return add_sequences(r, a, b);
    if (op == OP_MUL && is_repeatable(a) && jv_is_int(b))
        return repeat(r, a, jv_to_int(b));
    if (op == OP_MUL && jv_is_int(a) && is_repeatable(b))
        return repeat(r, b, jv_to_int(a));
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

/* ---- subscripts: object.name, object[key] and slices, as the sandbox resolves them: a dot looks
 * for an attribute first and for a key after it, brackets the other way round, and what is not
 * there is undefined. */

struct jv jinja_attr(struct jinja_run *r, struct jv object, struct jv name)
{
    struct jv v;
    if (object.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, object);
    if (jinja_own_attribute(r, object, name, &v))
        return v;
    const struct jv *found = object.kind == JV_DICT ? jv_dict_find(r, object.dict, name) : NULL;
    return found ? *found : jv_no_attribute(object, name);
}

/* A position counted from the end when negative; false when it is outside. */
static bool position(struct jv key, size_t len, size_t *at)
{
    if (!jv_is_int(key))
        return false;
    int64_t i = jv_to_int(key);
    if (i < 0)
        i += (int64_t)len;
    *at = (size_t)i;
    return i >= 0 && (size_t)i < len;
}

static struct jv character(struct jv s, size_t index)
{
    size_t at = utf8_offset(s.s, s.len, index);
    size_t n = utf8_next(s.s + at, s.len - at, NULL);
    return jv_part(s, at, at + n);
}

static bool element(struct jinja_run *r, struct jv object, struct jv key, struct jv *out)
{
    size_t len, at;
    if (object.kind == JV_DICT) {
        const struct jv *found = jv_hashable(r, key) ? jv_dict_find(r, object.dict, key) : NULL;
        if (found)
            *out = *found;
        return found != NULL;
    }
    bool indexed = object.kind == JV_STR || jv_is_sequence(object) || object.kind == JV_RANGE;
    if (!indexed || !jv_length(r, object, &len) || !position(key, len, &at))
        return false;
    *out = object.kind == JV_STR     ? character(object, at)
           : object.kind == JV_RANGE ? jinja_range_item(&object, at)
                                     : object.items[at];
    return true;
}

struct jv jinja_item(struct jinja_run *r, struct jv object, struct jv key)
{
    struct jv v;
    if (object.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, object);
    if (element(r, object, key, &v))
        return v;
    if (key.kind == JV_STR)
        return jinja_own_attribute(r, object, key, &v) ? v : jv_no_attribute(object, key);
    struct jv_text t = {.run = r};
    if (key.kind == JV_INT)
        jv_text_printf(&t, "%s object has no element %" PRId64, jv_type_name(object), key.i);
    else
        jv_text_printf(&t, "%s object has no such element", jv_type_name(object));
    return jv_undefined(UNDEFINED_HINT, jv_text_done(&t));
}

/* ---- slices ---------------------------------------------------------------------------------- */

static int64_t slice_int(struct jinja_run *r, struct jv v)
{
    if (v.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, v);
    if (!jv_is_int(v))
        jinja_raise(r, "slice indices must be integers or None");
    return jv_to_int(v);
}

/* A bound as a position in [lowest, highest]; negative ones count from the end. */
static int64_t slice_bound(struct jinja_run *r, struct jv v, int64_t otherwise, int64_t len,
                           int64_t lowest, int64_t highest)
{
    if (v.kind == JV_NONE)
        return otherwise;
    int64_t i = slice_int(r, v);
    if (i < 0)
        i = i < -len ? lowest : i + len;
    return MIN(MAX(i, lowest), highest);
}

struct span { /* of items: n of them, from `first`, each `step` on */
    int64_t first, step;
    size_t n;
};

static struct span make_span(struct jinja_run *r, struct jv lo, struct jv hi, struct jv step,
                             size_t length)
{
    int64_t len = (int64_t)length;
    int64_t by = step.kind == JV_NONE ? 1 : MAX(slice_int(r, step), -INT64_MAX);
    if (by == 0)
        jinja_raise(r, "slice step cannot be zero");
    bool down = by < 0;
    int64_t first =
        slice_bound(r, lo, down ? len - 1 : 0, len, down ? -1 : 0, down ? len - 1 : len);
    int64_t last = slice_bound(r, hi, down ? -1 : len, len, down ? -1 : 0, down ? len - 1 : len);
    int64_t distance = down ? first - last : last - first;
    struct span s = {.first = first, .step = by};
    if (distance > 0)
        s.n = (size_t)((distance - 1) / (down ? -by : by)) + 1;
    return s;
}

static struct jv slice_string(struct jinja_run *r, struct jv s, const struct span *span)
{
    if (span->n == 0)
        return jv_part(s, 0, 0);
    if (span->step == 1) {
        size_t from = utf8_offset(s.s, s.len, (size_t)span->first);
        size_t len = utf8_offset(s.s + from, s.len - from, span->n);
        return jv_part(s, from, from + len);
    }
    struct jv_vec chars = {0};
    struct jv_cursor c = jv_iterate(r, s);
    for (struct jv one; jv_next(r, &c, &one);)
        jv_push(r, &chars, one);
    struct jv_text t = {.run = r};
    for (size_t i = 0; i < span->n; i++) {
        struct jv one = chars.items[span->first + (int64_t)i * span->step];
        jv_text_put(&t, one);
    }
    return jv_markup(jv_text_done(&t), s.flag);
}

static struct jv slice_items(struct jinja_run *r, struct jv v, const struct span *span)
{
    if (span->step == 1 || span->n == 0) {
        return jv_items(v.kind, v.items + (span->n > 0 ? span->first : 0), span->n);
    }
    struct jv *items = jinja_alloc(r, span->n, sizeof *items);
    jinja_charge(r, span->n * sizeof *items);
    for (size_t i = 0; i < span->n; i++)
        items[i] = v.items[span->first + (int64_t)i * span->step];
    return jv_items(v.kind, items, span->n);
}

struct jv jinja_slice(struct jinja_run *r, struct jv object, struct jv lo, struct jv hi,
                      struct jv step)
{
    size_t len;
    if (object.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, object);
    if (object.kind == JV_RANGE) {
        struct jv_vec items = jv_collect(r, object);
        object = jv_list(&items);
    }
    if (object.kind != JV_STR && !jv_is_sequence(object))
        jinja_raise(r, "'%s' object can't be sliced", jv_type_name(object));
    jv_length(r, object, &len);
    struct span span = make_span(r, lo, hi, step, len);
    return object.kind == JV_STR ? slice_string(r, object, &span) : slice_items(r, object, &span);
}
