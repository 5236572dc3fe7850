/*
 * Filters on one string, number or value; jinja_filter_seq.c has those on sequences.
 */
#include "text/jinja_run.h"
#include "text/jinja_utf8.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- strings --------------------------------------------------------------------------------- */

static struct jv filter_trim(struct jinja_run *r, const struct call *c)
{
    return jinja_strip(r, jv_to_str(r, c->self), c->args[0], true, true);
}

static struct jv filter_upper(struct jinja_run *r, const struct call *c)
{
    return jinja_map_case(r, jv_to_str(r, c->self), true);
}

static struct jv filter_lower(struct jinja_run *r, const struct call *c)
{
    return jinja_map_case(r, jv_to_str(r, c->self), false);
}

static struct jv filter_capitalize(struct jinja_run *r, const struct call *c)
{
    return jinja_capitalize(r, jv_to_str(r, c->self));
}

/* Unlike str.title, a word begins behind white space or one of - ( { [ <. */
static struct jv filter_title(struct jinja_run *r, const struct call *c)
{
    struct jv s = jv_plain(r, c->self);
    struct jv_text t = {.run = r};
    bool begins = true;
    for (size_t at = 0, n; at < s.len; at += n) {
        uint32_t cp;
        n = jinja_utf8_next(s.s + at, s.len - at, &cp);
        struct jv letter = jinja_map_case(r, jv_str(s.s + at, n), begins);
        jv_text_add(&t, letter.s, letter.len);
        begins = jinja_cp_is_space(cp) || (cp > 0 && cp < 0x80 && strchr("-({[<", (int)cp));
    }
    return jv_text_done(&t);
}

static struct jv filter_replace(struct jinja_run *r, const struct call *c)
{
    return jinja_replace(r, jv_plain(r, c->self), jv_plain(r, c->args[0]), jv_plain(r, c->args[1]),
                         jinja_arg_int(r, c, 2, -1));
}

static struct jv filter_string(struct jinja_run *r, const struct call *c)
{
    return jv_to_str(r, c->self);
}

static struct jv filter_safe(struct jinja_run *r, const struct call *c)
{
    return jv_markup(jv_to_str(r, c->self), true);
}

static struct jv filter_escape(struct jinja_run *r, const struct call *c)
{
    struct jv_text t = {.run = r};
    jv_text_escape(&t, jv_to_str(r, c->self));
    return jv_markup(jv_text_done(&t), true);
}

static struct jv filter_format(struct jinja_run *r, const struct call *c)
{
    if (c->n > 0 && c->n_kwargs > 0)
        jinja_raise(r, "format: positional and keyword arguments at the same time");
    return jinja_percent(r, jv_to_str(r, c->self), c);
}

static struct jv indentation(struct jinja_run *r, const struct call *c)
{
    if (c->args[0].kind == JV_STR)
        return c->args[0];
    int64_t width = jinja_arg_int(r, c, 0, 4);
    struct jv_text t = {.run = r};
    jv_text_fill(&t, ' ', width > 0 ? (size_t)width : 0);
    return jv_text_done(&t);
}

/* indent(width=4, first=false, blank=false) */
static struct jv filter_indent(struct jinja_run *r, const struct call *c)
{
    struct jv s = jinja_binary(r, OP_ADD, c->self, jv_cstr("\n")); /* as jinja2: strings only */
    struct jv lines = jinja_split_lines(r, s, false), by = indentation(r, c);
    bool first = jinja_arg_bool(r, c, 1, false), blank = jinja_arg_bool(r, c, 2, false);
    struct jv_text t = {.run = r};
    for (size_t i = 0; i < lines.len; i++) {
        if (i > 0)
            jv_text_puts(&t, "\n");
        if (i == 0 ? first : blank || lines.items[i].len > 0)
            jv_text_add(&t, by.s, by.len);
        jv_text_add(&t, lines.items[i].s, lines.items[i].len);
    }
    return jv_markup(jv_text_done(&t), s.flag);
}

static struct jv filter_center(struct jinja_run *r, const struct call *c)
{
    struct jv args[] = {c->args[0].kind == JV_MISSING ? jv_int(80) : c->args[0], {0}};
    struct call inner = {.self = jv_to_str(r, c->self), .args = args, .n = 1};
    return jinja_str_center(r, &inner);
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* The digits of s as Python's int() and float() take them: no blanks around, no single "_". */
static bool number_text(struct jinja_run *r, struct jv s, char *out, size_t size)
{
    size_t n = 0;
    s = jinja_strip(r, s, jv_none(), true, true);
    for (size_t i = 0; i < s.len; i++) {
        bool between = i > 0 && i + 1 < s.len && s.s[i - 1] != '_' && s.s[i + 1] != '_';
        if (s.s[i] == '_' && between)
            continue;
        if (s.s[i] == '_' || s.s[i] == '\0' || n + 1 == size)
            return false;
        out[n++] = s.s[i];
    }
    out[n] = '\0';
    return n > 0;
}

static bool parse_int(struct jinja_run *r, struct jv s, int64_t base, int64_t *out)
{
    char text[80], *end;
    if (base < 0 || base == 1 || base > 36 || !number_text(r, s, text, sizeof text))
        return false;
    char *digits = text + (*text == '-' || *text == '+');
    bool prefixed =
        digits[0] == '0' && digits[1] &&
        ((base == 8 && (digits[1] | 32) == 'o') || (base == 2 && (digits[1] | 32) == 'b'));
    if (prefixed) /* strtoll knows only 0x */
        memmove(digits, digits + 2, strlen(digits + 2) + 1);
    if (*digits == '-' || *digits == '+' || *digits == ' ')
        return false;
    errno = 0;
    *out = strtoll(text, &end, (int)base);
    if (errno == ERANGE)
        jinja_raise(r, "integer beyond 64 bits");
    return *digits && *end == '\0';
}

static bool parse_float(struct jinja_run *r, struct jv s, double *out)
{
    static const char *const words[] = {"inf", "infinity", "nan"};
    char text[400], *end;
    if (!number_text(r, s, text, sizeof text))
        return false;
    const char *body = text + (*text == '-' || *text == '+');
    bool word = false;
    for (size_t i = 0; i < COUNT_OF(words); i++)
        word |= strcasecmp(body, words[i]) == 0;
    if (!word && strspn(text, "0123456789+-.eE") != strlen(text))
        return false;
    *out = strtod(text, &end);
    return *end == '\0' && end != text;
}

static bool to_float(struct jinja_run *r, struct jv v, double *out)
{
    if (v.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, v);
    if (v.kind == JV_STR)
        return parse_float(r, v, out);
    *out = jv_is_number(v) ? jv_to_double(v) : 0;
    return jv_is_number(v);
}

/* int(default=0, base=10) */
static struct jv filter_int(struct jinja_run *r, const struct call *c)
{
    int64_t i;
    double d;
    if (c->self.kind == JV_INT || c->self.kind == JV_BOOL)
        return jv_int(c->self.kind == JV_INT ? c->self.i : c->self.b);
    if (c->self.kind == JV_STR && parse_int(r, c->self, jinja_arg_int(r, c, 1, 10), &i))
        return jv_int(i);
    struct jv otherwise = c->args[0].kind == JV_MISSING ? jv_int(0) : c->args[0];
    if (!to_float(r, c->self, &d) || isnan(d))
        return otherwise;
    if (isinf(d) && c->self.kind == JV_STR)
        return otherwise;
    if (!(d > -9.2e18 && d < 9.2e18))
        jinja_raise(r, "integer beyond 64 bits");
    return jv_int((int64_t)d);
}

static struct jv filter_float(struct jinja_run *r, const struct call *c)
{
    double d;
    if (to_float(r, c->self, &d))
        return jv_float(d);
    return c->args[0].kind == JV_MISSING ? jv_float(0) : c->args[0];
}

static struct jv filter_abs(struct jinja_run *r, const struct call *c)
{
    if (c->self.kind == JV_FLOAT)
        return jv_float(fabs(c->self.d));
    bool negative = c->self.kind == JV_INT && c->self.i < 0;
    return jinja_negate(r, c->self, negative);
}

/* Python rounds the decimal digits of the exact binary value, half to even: as printf does. */
static double round_common(double d, int64_t precision)
{
    char text[400];
    if (precision > 20 || !isfinite(d))
        return d;
    if (precision >= 0) {
        snprintf(text, sizeof text, "%.*f", (int)precision, d);
        return strtod(text, NULL);
    }
    double scale = pow(10, (double)-precision);
    return rint(d / scale) * scale;
}

/* round(precision=0, method='common'|'ceil'|'floor') */
static struct jv filter_round(struct jinja_run *r, const struct call *c)
{
    struct jv v = c->self, method = c->args[1];
    int64_t precision = jinja_arg_int(r, c, 0, 0);
    bool ceil_up = jv_is_str(method, "ceil"), floor_down = jv_is_str(method, "floor");
    if (method.kind != JV_MISSING && !ceil_up && !floor_down && !jv_is_str(method, "common"))
        jinja_raise(r, "round: method must be common, ceil or floor");
    if (!jv_is_number(v) || precision < -300 || precision > 300)
        jinja_raise(r, "round: '%s' can't be rounded so", jv_type_name(v));
    if (ceil_up || floor_down) {
        double scale = pow(10, (double)precision), scaled = jv_to_double(v) * scale;
        return jv_float((ceil_up ? ceil(scaled) : floor(scaled)) / scale);
    }
    if (v.kind == JV_FLOAT)
        return jv_float(round_common(v.d, precision));
    return precision >= 0 ? jinja_negate(r, v, false)
                          : jv_int((int64_t)round_common(jv_to_double(v), precision));
}

/* ---- any value ------------------------------------------------------------------------------- */

/* default(default_value='', boolean=false) */
static struct jv filter_default(struct jinja_run *r, const struct call *c)
{
    bool replace =
        c->self.kind == JV_UNDEFINED || (jinja_arg_bool(r, c, 1, false) && !jv_truth(r, c->self));
    if (!replace)
        return c->self;
    return c->args[0].kind == JV_MISSING ? jv_str(NULL, 0) : c->args[0];
}

#define DEFAULT_PARAMS             \
    {                              \
        "default_value", "boolean" \
    }
#define TOJSON_PARAMS                                       \
    {                                                       \
        "ensure_ascii", "indent", "separators", "sort_keys" \
    }

const struct jinja_func jinja_value_filters[] = {
    {.name = "trim", .fn = filter_trim, .params = {"chars"}},
    {.name = "upper", .fn = filter_upper},
    {.name = "lower", .fn = filter_lower},
    {.name = "capitalize", .fn = filter_capitalize},
    {.name = "title", .fn = filter_title},
    {.name = "replace", .fn = filter_replace, .params = {"old", "new", "count"}, .required = 2},
    {.name = "string", .fn = filter_string},
    {.name = "safe", .fn = filter_safe},
    {.name = "escape", .fn = filter_escape},
    {.name = "e", .fn = filter_escape},
    {.name = "format", .fn = filter_format, .variadic = true},
    {.name = "indent", .fn = filter_indent, .params = {"width", "first", "blank"}},
    {.name = "center", .fn = filter_center, .params = {"width"}},
    {.name = "int", .fn = filter_int, .params = {"default", "base"}},
    {.name = "float", .fn = filter_float, .params = {"default"}},
    {.name = "abs", .fn = filter_abs},
    {.name = "round", .fn = filter_round, .params = {"precision", "method"}},
    {.name = "default", .fn = filter_default, .params = DEFAULT_PARAMS},
    {.name = "d", .fn = filter_default, .params = DEFAULT_PARAMS},
    {.name = "tojson", .fn = jinja_tojson, .params = TOJSON_PARAMS},
};
const size_t jinja_n_value_filters = COUNT_OF(jinja_value_filters);

const struct jinja_func *jinja_filter_find(struct jv name)
{
    const struct jinja_func *f = jinja_func_find(jinja_value_filters, jinja_n_value_filters, name);
    if (!f)
        f = jinja_func_find(jinja_seq_filters, jinja_n_seq_filters, name);
    return f ? f : jinja_func_find(jinja_gen_filters, jinja_n_gen_filters, name);
}
