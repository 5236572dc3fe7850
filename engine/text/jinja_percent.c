/*
 * '%d of %s' % values: printf-style formatting.
 */
#include "text/jinja_format.h"
#include "text/jinja_run.h"
#include "text/jinja_utf8.h"

#include <string.h>

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
    for (size_t i = 0; i < p->c->n_kwargs; i++) {
        if (jv_equal(p->r, p->c->kwargs[i].key, name))
            return p->c->kwargs[i].value;
    }
    jinja_raise(p->r, "format: no value named '%.*s'", (int)MIN(name.len, 60), name.s);
}

static void read_flags(struct percent *p, struct spec *spec)
{
    for (; p->at < p->format.len; p->at++) {
        char c = p->format.s[p->at];
        if (c == '-')
            spec->align = '<';
        else if (c == '0' && !spec->align)
            spec->align = '=', spec->fill = jv_cstr("0");
        else if (c == '+' || (c == ' ' && !spec->sign))
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
    struct jv_text t = {.run = p->r};
    struct jv s = jv_to_str(p->r, v);
    if (spec->type != 's') {
        struct jv_text repr = {.run = p->r};
        jv_text_repr(&repr, v);
        s = jv_text_done(&repr);
    }
    if (p->format.flag) {
        jv_text_escape(&t, s);
        s = jv_text_done(&t);
    }
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
        jv_text_add(&p.text, format.s + p.at, end - p.at);
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
