/*
 * '{} of {name:>8}'.format(values): fields by position or name, attributes and items of them,
 * conversions and format specifications. Fields inside a specification are not supported.
 */
#include "text/jinja_format.h"
#include "text/jinja_run.h"
#include "text/jinja_utf8.h"

#include <string.h>

struct formatter {
    struct jinja_run *r;
    const struct call *c;
    size_t next; /* automatic position */
    struct jv_text text;
};

static _Noreturn void bad_field(struct jinja_run *r)
{
    jinja_raise(r, "bad replacement field in a format string");
}

/* ---- the value of a field -------------------------------------------------------------------- */

static struct jv positional(struct formatter *f, size_t i)
{
    if (i >= f->c->n)
        jinja_raise(f->r, "replacement index %zu out of range for positional args", i);
    return f->c->args[i];
}

static struct jv named(struct formatter *f, struct jv name)
{
    for (size_t i = 0; i < f->c->n_kwargs; i++) {
        if (jv_equal(f->r, f->c->kwargs[i].key, name))
            return f->c->kwargs[i].value;
    }
    jinja_raise(f->r, "format: no value named '%.*s'", (int)MIN(name.len, 60), name.s);
}

static struct jv index_or_name(struct formatter *f, struct jv part)
{
    size_t at = 0;
    int64_t index = spec_read_width(f->r, part, &at);
    return index >= 0 && at == part.len ? jv_int(index) : part;
}

static size_t part_end(struct jv field, size_t at, const char *stops)
{
    while (at < field.len && !strchr(stops, field.s[at]))
        at++;
    return at;
}

/* name or position, then any number of .attribute and [item]. */
static struct jv field_value(struct formatter *f, struct jv field)
{
    size_t at = part_end(field, 0, ".[");
    struct jv first = index_or_name(f, jv_str(field.s, at));
    struct jv v = at == 0                ? positional(f, f->next++)
                  : first.kind == JV_INT ? positional(f, (size_t)first.i)
                                         : named(f, first);
    while (at < field.len) {
        bool attribute = field.s[at] == '.';
        size_t end = part_end(field, at + 1, attribute ? ".[" : "]");
        struct jv part = jv_str(field.s + at + 1, end - at - 1);
        if (part.len == 0 || (!attribute && end == field.len))
            bad_field(f->r);
        v = attribute ? jinja_attr(f->r, v, part) : jinja_item(f->r, v, index_or_name(f, part));
        at = attribute ? end : end + 1;
    }
    return v;
}

/* ---- its specification ----------------------------------------------------------------------- */

static bool is_align(char c)
{
    return c && strchr("<>^=", c);
}

static char char_at(struct jv s, size_t at)
{
    return at < s.len ? s.s[at] : '\0';
}

static size_t read_align(struct jv s, struct spec *spec)
{
    size_t n = s.len > 0 ? jinja_utf8_next(s.s, s.len, NULL) : 0;
    if (is_align(char_at(s, n))) {
        spec->fill = jv_str(s.s, n);
        spec->align = s.s[n];
        return n + 1;
    }
    spec->align = is_align(char_at(s, 0)) ? s.s[0] : '\0';
    return spec->align != '\0';
}

static struct spec read_spec(struct jinja_run *r, struct jv s)
{
    struct spec spec = spec_default();
    size_t at = read_align(s, &spec);
    char c = char_at(s, at);
    if (c == '+' || c == '-' || c == ' ') {
        spec.sign = c == '-' ? '\0' : c;
        at++;
    }
    if (char_at(s, at) == '#') {
        spec.alternate = true;
        at++;
    }
    if (char_at(s, at) == '0' && !spec.align) {
        spec.align = '=';
        spec.fill = jv_cstr("0");
    }
    spec.width = spec_read_width(r, s, &at);
    if (char_at(s, at) == ',') {
        spec.comma = true;
        at++;
    }
    if (char_at(s, at) == '.') {
        at++;
        spec.precision = spec_read_precision(r, s, &at);
        if (spec.precision < 0)
            bad_field(r);
    }
    spec.type = char_at(s, at);
    if (at + (spec.type != '\0') != s.len)
        bad_field(r);
    return spec;
}

static void put_value(struct formatter *f, struct jv v, struct jv spec_text)
{
    struct spec spec = read_spec(f->r, spec_text);
    bool is_int = v.kind == JV_INT || v.kind == JV_BOOL;
    if (v.kind == JV_STR && (!spec.type || spec.type == 's') && spec.align != '=')
        spec_put_str(&f->text, &spec, v);
    else if (is_int && spec.precision < 0 && (!spec.type || spec_is_int(spec.type)))
        spec_put_int(&f->text, &spec, spec_integer(f->r, v));
    else if ((is_int && spec_is_float(spec.type)) ||
             (v.kind == JV_FLOAT && (!spec.type || spec_is_float(spec.type))))
        spec_put_float(&f->text, &spec, jv_to_double(v));
    else
        jinja_raise(f->r, "format specification '%.*s' does not fit '%s'",
                    (int)MIN(spec_text.len, 60), spec_text.s, jv_type_name(v));
}

static struct jv convert(struct formatter *f, struct jv v, char conversion)
{
    struct jv_text t = {.run = f->r};
    if (conversion == 's')
        return jv_to_str(f->r, v);
    if (conversion != 'r' && conversion != 'a')
        bad_field(f->r);
    jv_text_repr(&t, v);
    return jv_text_done(&t);
}

/* field is what stands between the braces: value[!conversion][:spec] */
static void put_field(struct formatter *f, struct jv field, bool escape)
{
    size_t colon = part_end(field, 0, ":"), bang = part_end(field, 0, "!");
    size_t end = MIN(colon, bang);
    struct jv spec =
        colon < field.len ? jv_str(field.s + colon + 1, field.len - colon - 1) : jv_str(NULL, 0);
    struct jv v = field_value(f, jv_str(field.s, end));
    if (bang < colon) {
        if (MIN(colon, field.len) != bang + 2)
            bad_field(f->r);
        v = convert(f, v, field.s[bang + 1]);
    }
    if (spec.len > 0)
        put_value(f, v, spec);
    else if (escape)
        jv_text_escape(&f->text, jv_to_str(f->r, v));
    else
        jv_text_str(&f->text, v);
}

struct jv jinja_str_format(struct jinja_run *r, const struct call *c)
{
    struct formatter f = {.r = r, .c = c, .text = {.run = r}};
    struct jv s = c->self;
    for (size_t at = 0; at < s.len;) {
        size_t brace = part_end(s, at, "{}");
        jv_text_add(&f.text, s.s + at, brace - at);
        at = brace + 1;
        if (brace == s.len)
            break;
        if (char_at(s, at) == s.s[brace]) { /* a doubled brace stands for itself */
            jv_text_add(&f.text, s.s + at, 1);
            at++;
            continue;
        }
        size_t close = part_end(s, at, "{}");
        if (s.s[brace] == '}' || close == s.len || s.s[close] == '{')
            bad_field(r);
        put_field(&f, jv_str(s.s + at, close - at), s.flag);
        at = close + 1;
    }
    return jv_markup(jv_text_done(&f.text), s.flag);
}
