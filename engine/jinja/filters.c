/*
 * The filters, but for those that make generators.
 */
#include "specd/unicode.h"
#include "specd/utf8.h"
#include "jinja/run.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a filter sees of an item ----------------------------------------------------------- */

static struct jv path_key(struct jv part)
{
    int64_t index = 0;
    bool digits = part.len > 0 && part.len < 18;
    for (size_t i = 0; i < part.len && digits; i++) {
        digits = part.s[i] >= '0' && part.s[i] <= '9';
        index = index * 10 + (part.s[i] - '0');
    }
    return digits ? jv_int(index) : part;
}

struct jv jinja_path(struct jinja_run *r, struct jv object, struct jv path, struct jv default_value)
{
    if (!jv_is_given(path))
        return object;
    bool is_text = path.kind == JV_STR;
    for (size_t at = 0; !is_text || at <= path.len;) {
        struct jv key = path;
        if (is_text) {
            const char *dot = at < path.len ? memchr(path.s + at, '.', path.len - at) : NULL;
            size_t end = dot ? (size_t)(dot - path.s) : path.len;
            key = path_key(jv_str(path.s + at, end - at));
            at = end + 1;
        }
        object = jinja_item(r, object, key);
        if (object.kind == JV_UNDEFINED && jv_is_given(default_value))
            object = default_value;
        if (!is_text)
            break;
    }
    return object;
}

struct jv jinja_filter_key(struct jinja_run *r, struct jv item, struct jv attribute, bool sensitive)
{
    struct jv key = jinja_path(r, item, attribute, (struct jv){0});
    return sensitive || key.kind != JV_STR ? key : jinja_map_case(r, key, MAP_LOWER);
}

/* ---- strings --------------------------------------------------------------------------------- */

static struct jv filter_trim(struct jinja_run *r, const struct call *c)
{
    return jinja_strip(r, jv_to_str(r, c->self), c->args[0], BOTH);
}

static struct jv filter_case(struct jinja_run *r, const struct call *c)
{
    return jinja_map_case(r, jv_to_str(r, c->self), (enum mapping)c->func->mode);
}

/* Unlike str.title, a word begins behind white space or one of - ( { [ <. */
static struct jv filter_title(struct jinja_run *r, const struct call *c)
{
    struct jv s = jv_plain(r, c->self);
    struct jv_text t = {.run = r};
    bool begins = true;
    for (size_t at = 0, n; at < s.len; at += n) {
        uint32_t cp;
        n = utf8_next(s.s + at, s.len - at, &cp);
        jv_text_put(&t, jinja_map_case(r, jv_part(s, at, at + n), begins ? MAP_UPPER : MAP_LOWER));
        begins = cp_is_space(cp) || (cp > 0 && cp < 0x80 && strchr("-({[<", (int)cp));
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
    return jv_markup(jv_escape(r, jv_to_str(r, c->self)), true);
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
            jv_text_put(&t, by);
        jv_text_put(&t, lines.items[i]);
    }
    return jv_markup(jv_text_done(&t), s.flag);
}

static struct jv filter_center(struct jinja_run *r, const struct call *c)
{
    int64_t width = c->args[0].kind == JV_MISSING ? 80 : jinja_arg_int(r, c, 0, 0);
    return jinja_pad(r, jv_to_str(r, c->self), width, jv_cstr(" "), BOTH);
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* The digits of s as Python's int() and float() take them: no blanks around, no single "_". */
static bool number_text(struct jinja_run *r, struct jv s, char *out, size_t size)
{
    size_t n = 0;
    s = jinja_strip(r, s, jv_none(), BOTH);
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
    if (jv_is_int(c->self))
        return jv_int(jv_to_int(c->self));
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
        size_t n = v.len > 0 ? utf8_prev(v.s, v.len, NULL) : 0;
        return n > 0 ? jv_markup(jv_part(v, v.len - n, v.len), false)
                     : jv_hint("no last item, sequence was empty");
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
            jv_text_put(&t, sep);
        jv_text_put(&t, text);
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

static struct jv filter_extreme(struct jinja_run *r, const struct call *c)
{
    bool largest = c->func->mode;
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
        return jinja_iter(r, &out);
    struct jv_text t = {.run = r};
    for (size_t i = 0; i < out.n; i++)
        jv_text_put(&t, out.items[i]);
    return jv_markup(jv_text_done(&t), c->self.flag);
}

/* ---- sorting: a stable merge sort of keys, by position, comparing as Python does ------------- */

static void merge(struct jinja_run *r, const struct jv *keys, const size_t *from, size_t *to,
                  size_t lo, size_t mid, size_t hi, bool reverse)
{
    size_t a = lo, b = mid;
    for (size_t i = lo; i < hi; i++) {
        bool right = a == mid;
        if (a < mid && b < hi) {
            struct jv x = keys[from[a]], y = keys[from[b]];
            right = reverse ? jv_compare(r, x, y, "<") == -1 : jv_compare(r, y, x, "<") == -1;
        }
        to[i] = from[right ? b++ : a++];
    }
}

const size_t *jinja_sort_order(struct jinja_run *r, const struct jv *keys, size_t n, bool reverse)
{
    size_t *from = jinja_alloc(r, n, sizeof *from);
    size_t *to = jinja_alloc(r, n, sizeof *to);
    for (size_t i = 0; i < n; i++)
        from[i] = i;
    for (size_t width = 1; width < n; width *= 2) {
        jinja_charge(r, n * sizeof *keys);
        for (size_t lo = 0; lo < n; lo += 2 * width)
            merge(r, keys, from, to, lo, MIN(lo + width, n), MIN(lo + 2 * width, n), reverse);
        size_t *swap = from;
        from = to;
        to = swap;
    }
    return from;
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
    struct jv_vec items = jv_collect(r, jv_view(c->self, VIEW_ITEMS)), keys = {0};
    for (size_t i = 0; i < items.n; i++) {
        struct jv key = items.items[i].items[by_value];
        jv_push(r, &keys, jinja_filter_key(r, key, jv_none(), sensitive));
    }
    return in_order(r, &items, &keys, jinja_arg_bool(r, c, 2, false));
}

/* ---- the table ------------------------------------------------------------------------------- */

#define DEFAULT_PARAMS             \
    {                              \
        "default_value", "boolean" \
    }
#define TOJSON_PARAMS                                       \
    {                                                       \
        "ensure_ascii", "indent", "separators", "sort_keys" \
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

static const struct jinja_func filters[] = {
    {.name = "trim", .fn = filter_trim, .params = {"chars"}},
    {.name = "upper", .fn = filter_case, .mode = MAP_UPPER},
    {.name = "lower", .fn = filter_case, .mode = MAP_LOWER},
    {.name = "capitalize", .fn = filter_case, .mode = MAP_CAPITALIZE},
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
    {.name = "length", .fn = filter_length},
    {.name = "count", .fn = filter_length},
    {.name = "first", .fn = filter_first},
    {.name = "last", .fn = filter_last},
    {.name = "join", .fn = filter_join, .params = {"d", "attribute"}},
    {.name = "sum", .fn = filter_sum, .params = {"attribute", "start"}},
    {.name = "min", .fn = filter_extreme, .params = KEY_PARAMS},
    {.name = "max", .fn = filter_extreme, .params = KEY_PARAMS, .mode = true},
    {.name = "list", .fn = filter_list},
    {.name = "reverse", .fn = filter_reverse},
    {.name = "sort", .fn = filter_sort, .params = SORT_PARAMS},
    {.name = "dictsort", .fn = filter_dictsort, .params = DICTSORT_PARAMS},
    {0},
};

const struct jinja_func *jinja_filter_find(struct jv name)
{
    const struct jinja_func *f = jinja_func_find(filters, name);
    return f ? f : jinja_func_find(jinja_generators, name);
}
