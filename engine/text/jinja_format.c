/*
 * Numbers and strings in a given width, precision and base.
 */
#include "text/jinja_format.h"
#include "text/jinja_run.h"
#include "text/jinja_utf8.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PRECISION_MAX 200

struct spec spec_default(void)
{
    return (struct spec){.fill = jv_cstr(" "), .precision = -1};
}

static void put_fill(struct jv_text *t, const struct spec *spec, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        jv_text_add(t, spec->fill.s, spec->fill.len);
}

static void put_padded(struct jv_text *t, const struct spec *spec, const char *sign, struct jv body,
                       char align)
{
    int64_t used = (int64_t)(strlen(sign) + jinja_utf8_length(body.s, body.len));
    int64_t room = MAX(spec->width - used, 0);
    align = spec->align ? spec->align : align;
    int64_t before = align == '<' ? 0 : align == '^' ? room / 2 : room;
    if (align != '=')
        put_fill(t, spec, before);
    jv_text_puts(t, sign);
    if (align == '=')
        put_fill(t, spec, before);
    jv_text_add(t, body.s, body.len);
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
    put_padded(t, spec, sign, jv_cstr(spec->comma ? grouped : digits), '>');
}

static void binary_digits(uint64_t v, char *out)
{
    int n = v ? 64 - __builtin_clzll(v) : 1;
    for (int i = 0; i < n; i++)
        out[i] = (char)('0' + (v >> (n - 1 - i) & 1));
    out[n] = '\0';
}

void spec_put_int(struct jv_text *t, const struct spec *spec, int64_t v)
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

void spec_put_float(struct jv_text *t, const struct spec *spec, double v)
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

void spec_put_str(struct jv_text *t, const struct spec *spec, struct jv s)
{
    if (spec->precision >= 0)
        s.len = jinja_utf8_offset(s.s, s.len, (size_t)spec->precision);
    put_padded(t, spec, "", s, '<');
}

bool spec_is_float(char type)
{
    return type && strchr("eEfFgG%", type);
}

bool spec_is_int(char type)
{
    return type && strchr("diuxXob", type);
}

int64_t spec_integer(struct jinja_run *r, struct jv v)
{
    if (v.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, v);
    if (!jv_is_number(v) || (v.kind == JV_FLOAT && !(v.d > -9e18 && v.d < 9e18)))
        jinja_raise(r, "format: a number is required, not %s", jv_type_name(v));
    return v.kind == JV_BOOL ? v.b : v.kind == JV_FLOAT ? (int64_t)v.d : v.i;
}

double spec_number(struct jinja_run *r, struct jv v)
{
    if (v.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, v);
    if (!jv_is_number(v))
        jinja_raise(r, "format: a number is required, not %s", jv_type_name(v));
    return jv_to_double(v);
}

int64_t spec_read_width(struct jinja_run *r, struct jv s, size_t *at)
{
    int64_t n = -1;
    for (; *at < s.len && isdigit((unsigned char)s.s[*at]); (*at)++) {
        n = MAX(n, 0) * 10 + (s.s[*at] - '0');
        if (n > 100000000)
            jinja_raise(r, "format: number too large");
    }
    return n;
}

int spec_read_precision(struct jinja_run *r, struct jv s, size_t *at)
{
    int64_t n = spec_read_width(r, s, at);
    if (n > PRECISION_MAX)
        jinja_raise(r, "format: precision above %d", PRECISION_MAX);
    return (int)n;
}
