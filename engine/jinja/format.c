/*
 * Numbers and strings in a given width, precision and base, and both of Python's ways to ask for
 * them.
 */
#include "specd/utf8.h"
#include "jinja/run.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PRECISION_MAX 200

struct spec { /* of one formatted field */
    struct jv fill;
    char align; /* '<' '>' '^', '=' pads between sign and digits, 0: the type's own */
    char sign;  /* '+', ' ' or 0 */
    bool alternate, comma;
    int64_t width;
    int precision; /* -1: none */
    char type;     /* 0: none */
};

static struct spec spec_default(void)
{
    return (struct spec){.fill = jv_cstr(" "), .precision = -1};
}

static void put_fill(struct jv_text *t, const struct spec *spec, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        jv_text_put(t, spec->fill);
}

static void put_padded(struct jv_text *t, const struct spec *spec, const char *sign, struct jv body,
                       char align)
{
    int64_t used = (int64_t)(strlen(sign) + utf8_count(body.s, body.len));
    int64_t room = MAX(spec->width - used, 0);
    align = spec->align ? spec->align : align;
    int64_t before = align == '<' ? 0 : align == '^' ? room / 2 : room;
    if (align != '=')
        put_fill(t, spec, before);
    jv_text_put(t, jv_own(jv_cstr(sign)));
    if (align == '=')
        put_fill(t, spec, before);
    jv_text_put(t, body);
    put_fill(t, spec, room - before);
}

static const char *sign_text(const struct spec *spec, bool negative)
{
    return negative ? "-" : spec->sign == '+' ? "+" : spec->sign == ' ' ? " " : "";
}

/* Puts commas into the whole part of digits; out has room. */
static void group_thousands(const char *digits, char *out)
{
    size_t whole = strspn(digits, "0123456789");
    for (size_t i = 0; i < whole; i++) {
        *out++ = digits[i];
        if ((whole - i) % 3 == 1 && i + 1 < whole)
            *out++ = ',';
    }
    strcpy(out, digits + whole);
}

static void put_number(struct jv_text *t, const struct spec *spec, bool negative,
                       const char *prefix, const char *digits)
{
    char grouped[1024], sign[8];
    snprintf(sign, sizeof sign, "%s%s", sign_text(spec, negative), prefix);
    if (spec->comma)
        group_thousands(digits, grouped);
    put_padded(t, spec, sign, jv_own(jv_cstr(spec->comma ? grouped : digits)), '>');
}

static void binary_digits(uint64_t v, char *out)
{
    int n = v ? 64 - __builtin_clzll(v) : 1;
    for (int i = 0; i < n; i++)
        out[i] = (char)('0' + (v >> (n - 1 - i) & 1));
    out[n] = '\0';
}

static void spec_put_int(struct jv_text *t, const struct spec *spec, int64_t v)
{
    char digits[72], prefix[3] = "";
    uint64_t magnitude = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    if (spec->alternate && spec->type && strchr("xXob", spec->type))
        snprintf(prefix, sizeof prefix, "0%c", spec->type);
    if (spec->type == 'b')
        binary_digits(magnitude, digits);
    else
        snprintf(digits, sizeof digits,
                 spec->type == 'x'   ? "%" PRIx64
                 : spec->type == 'X' ? "%" PRIX64
                 : spec->type == 'o' ? "%" PRIo64
                                     : "%" PRIu64,
                 magnitude);
    put_number(t, spec, v < 0, prefix, digits);
}

static void spec_put_float(struct jv_text *t, const struct spec *spec, double v)
{
    char digits[600], conversion[8];
    bool negative = v < 0 || (v == 0 && __builtin_signbit(v));
    double magnitude = negative ? -v : v;
    int precision = spec->precision < 0 ? 6 : spec->precision;
    if (spec->type == 0 && spec->precision < 0) {
        struct jv_text plain = {.run = t->run};
        jv_text_float(&plain, magnitude);
        snprintf(digits, sizeof digits, "%.*s", (int)MIN(plain.len, 64), plain.data);
    } else if (spec->type == '%') {
        snprintf(digits, sizeof digits, "%.*f%%", precision, magnitude * 100);
    } else {
        snprintf(conversion, sizeof conversion, "%%.*%c", spec->type ? spec->type : 'g');
        snprintf(digits, sizeof digits, conversion, precision, magnitude);
        if (spec->type == 0 && !strpbrk(digits, ".en"))
            strcat(digits, ".0");
    }
    put_number(t, spec, negative, "", digits);
}

static void spec_put_str(struct jv_text *t, const struct spec *spec, struct jv s)
{
    if (spec->precision >= 0)
        s.len = utf8_offset(s.s, s.len, (size_t)spec->precision);
    put_padded(t, spec, "", s, '<');
}

static bool spec_is_float(char type)
{
    return type && strchr("eEfFgG%", type);
}

static bool spec_is_int(char type)
{
    return type && strchr("diuxXob", type);
}

static int64_t spec_integer(struct jinja_run *r, struct jv v)
{
    if (v.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, v);
    if (!jv_is_number(v) || (v.kind == JV_FLOAT && !(v.d > -9e18 && v.d < 9e18)))
        jinja_raise(r, "format: a number is required, not %s", jv_type_name(v));
    return v.kind == JV_FLOAT ? (int64_t)v.d : jv_to_int(v);
}

static double spec_number(struct jinja_run *r, struct jv v)
{
    if (v.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, v);
    if (!jv_is_number(v))
        jinja_raise(r, "format: a number is required, not %s", jv_type_name(v));
    return jv_to_double(v);
}

static int64_t spec_read_width(struct jinja_run *r, struct jv s, size_t *at)
{
    int64_t n = -1;
    for (; *at < s.len && isdigit((unsigned char)s.s[*at]); (*at)++) {
        n = MAX(n, 0) * 10 + (s.s[*at] - '0');
        if (n > 100000000)
            jinja_raise(r, "format: number too large");
    }
    return n;
}

static int spec_read_precision(struct jinja_run *r, struct jv s, size_t *at)
{
    int64_t n = spec_read_width(r, s, at);
    if (n > PRECISION_MAX)
        jinja_raise(r, "format: precision above %d", PRECISION_MAX);
    return (int)n;
}

/* ---- '{} of {name:>8}'.format(values): fields by position or name, attributes and items of them,
 * conversions and format specifications. Fields inside a specification are not supported. */

static struct jv named(struct jinja_run *r, const struct call *c, struct jv name)
{
    for (size_t i = 0; i < c->n_kwargs; i++) {
        if (jv_equal(r, c->kwargs[i].key, name))
            return c->kwargs[i].value;
    }
    jinja_raise(r, "format: no value named '%.*s'", JV_QUOTE(name));
}

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
                                         : named(f->r, f->c, first);
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
    size_t n = s.len > 0 ? utf8_next(s.s, s.len, NULL) : 0;
    if (is_align(char_at(s, n))) {
        spec->fill = jv_part(s, 0, n);
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
    bool is_int = jv_is_int(v);
    if (v.kind == JV_STR && (!spec.type || spec.type == 's') && spec.align != '=')
        spec_put_str(&f->text, &spec, v);
    else if (is_int && spec.precision < 0 && (!spec.type || spec_is_int(spec.type)))
        spec_put_int(&f->text, &spec, spec_integer(f->r, v));
    else if ((is_int && spec_is_float(spec.type)) ||
             (v.kind == JV_FLOAT && (!spec.type || spec_is_float(spec.type))))
        spec_put_float(&f->text, &spec, jv_to_double(v));
    else
        jinja_raise(f->r, "format specification '%.*s' does not fit '%s'", JV_QUOTE(spec_text),
                    jv_type_name(v));
}

static struct jv convert(struct formatter *f, struct jv v, char conversion)
{
    if (conversion == 's')
        return jv_to_str(f->r, v);
    if (conversion != 'r' && conversion != 'a')
        bad_field(f->r);
    return jv_repr(f->r, v);
}

/* field is what stands between the braces: value[!conversion][:spec] */
static void put_field(struct formatter *f, struct jv field, bool escape)
{
    size_t colon = part_end(field, 0, ":"), bang = part_end(field, 0, "!");
    size_t end = MIN(colon, bang);
    struct jv spec = colon < field.len ? jv_part(field, colon + 1, field.len) : jv_str(NULL, 0);
    struct jv v = field_value(f, jv_part(field, 0, end));
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
        jv_text_put(&f.text, jv_part(s, at, brace));
        at = brace + 1;
        if (brace == s.len)
            break;
        if (char_at(s, at) == s.s[brace]) { /* a doubled brace stands for itself */
            jv_text_put(&f.text, jv_part(s, at, at + 1));
            at++;
            continue;
        }
        size_t close = part_end(s, at, "{}");
        if (s.s[brace] == '}' || close == s.len || s.s[close] == '{')
            bad_field(r);
        put_field(&f, jv_part(s, at, close), s.flag);
        at = close + 1;
    }
    return jv_markup(jv_text_done(&f.text), s.flag);
}

/* ---- '%d of %s' % values: printf-style formatting -------------------------------------------- */

struct percent {
    struct jinja_run *r;
    struct jv format;
    const struct call *c;
    size_t at, used; /* in format; of c->args */
    struct jv_text text;
};

static struct jv next_value(struct percent *p)
{
    if (p->used == p->c->n)
        jinja_raise(p->r, "not enough arguments for format string");
    return p->c->args[p->used++];
}

static struct jv named_value(struct percent *p)
{
    struct jv s = p->format;
    const char *close = memchr(s.s + p->at, ')', s.len - p->at);
    if (!close)
        jinja_raise(p->r, "incomplete format key");
    struct jv name = jv_str(s.s + p->at + 1, (size_t)(close - s.s) - p->at - 1);
    p->at = (size_t)(close - s.s) + 1;
    return named(p->r, p->c, name);
}

static void read_flags(struct percent *p, struct spec *spec)
{
    for (; p->at < p->format.len; p->at++) {
        char c = p->format.s[p->at];
        if (c == '-')
            spec->align = '<';
        else if (c == '0' && !spec->align) {
            spec->align = '=';
            spec->fill = jv_cstr("0");
        } else if (c == '+' || (c == ' ' && !spec->sign))
            spec->sign = c;
        else if (c == '#')
            spec->alternate = true;
        else if (c != '0' && c != ' ')
            break;
    }
}

static char peek_char(const struct percent *p)
{
    return p->at < p->format.len ? p->format.s[p->at] : '\0';
}

static void read_width(struct percent *p, struct spec *spec)
{
    if (peek_char(p) == '*') {
        p->at++;
        spec->width = spec_integer(p->r, next_value(p));
        if (spec->width > 100000000 || spec->width < 0)
            jinja_raise(p->r, "format: bad width");
    } else {
        spec->width = spec_read_width(p->r, p->format, &p->at);
    }
    if (peek_char(p) == '.') {
        p->at++;
        int precision = spec_read_precision(p->r, p->format, &p->at);
        spec->precision = MAX(precision, 0);
    }
}

static void percent_text(struct percent *p, const struct spec *spec, struct jv v)
{
    struct jv s = spec->type == 's' ? jv_to_str(p->r, v) : jv_repr(p->r, v);
    if (p->format.flag)
        s = jv_escape(p->r, s);
    struct spec padded = *spec;
    padded.align = padded.align == '<' ? '<' : '>';
    padded.fill = jv_cstr(" ");
    spec_put_str(&p->text, &padded, s);
}

static void percent_one(struct percent *p)
{
    struct spec spec = spec_default();
    struct jv v = {0};
    if (peek_char(p) == '(')
        v = named_value(p);
    read_flags(p, &spec);
    read_width(p, &spec);
    while (peek_char(p) && strchr("hlL", peek_char(p)))
        p->at++;
    spec.type = peek_char(p);
    p->at++;
    if (spec.type == '%') {
        jv_text_puts(&p->text, "%");
        return;
    }
    if (v.kind == JV_MISSING)
        v = next_value(p);
    if (spec.type && strchr("sra", spec.type))
        percent_text(p, &spec, v);
    else if (spec.type && strchr("diuxXo", spec.type))
        spec_put_int(&p->text, &spec, spec_integer(p->r, v));
    else if (spec_is_float(spec.type))
        spec_put_float(&p->text, &spec, spec_number(p->r, v));
    else
        jinja_raise(p->r, "unsupported format character '%c'", spec.type ? spec.type : '?');
}

struct jv jinja_percent(struct jinja_run *r, struct jv format, const struct call *c)
{
    struct percent p = {.r = r, .format = format, .c = c, .text = {.run = r}};
    while (p.at < format.len) {
        const char *hit = memchr(format.s + p.at, '%', format.len - p.at);
        size_t end = hit ? (size_t)(hit - format.s) : format.len;
        jv_text_put(&p.text, jv_part(format, p.at, end));
        p.at = end + 1;
        if (hit)
            percent_one(&p);
    }
    bool mapping = c->n_kwargs > 0 || (c->n == 1 && c->args[0].kind == JV_LIST) ||
                   (c->n == 1 && c->args[0].kind == JV_UNDEFINED);
    if (p.used < c->n && !mapping)
        jinja_raise(r, "not all arguments converted during string formatting");
    return jv_markup(jv_text_done(&p.text), format.flag);
}
