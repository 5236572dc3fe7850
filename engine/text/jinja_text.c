/*
 * Values as text: str() and repr() as Python writes them.
 */
#include "text/jinja_run.h"
#include "text/jinja_utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void text_reserve(struct jv_text *t, size_t extra)
{
    size_t need;
    if (!size_add(t->len, extra, &need))
        jinja_raise(t->run, "text too long");
    if (need <= t->cap)
        return;
    size_t cap = MAX(MAX(need, t->cap * 2), 32);
    if (t->data && jinja_arena_extend(&t->run->arena, t->data + t->cap, cap - t->cap)) {
        t->cap = cap;
        return;
    }
    char *data = jinja_arena_alloc(&t->run->arena, cap, 1);
    if (!data)
        jinja_raise(t->run, "needs more than %zu MiB of memory", JINJA_MEMORY_MAX >> 20);
    if (t->len > 0)
        memcpy(data, t->data, t->len);
    t->data = data;
    t->cap = cap;
}

void jv_text_add(struct jv_text *t, const char *s, size_t len)
{
    if (len == 0)
        return;
    jinja_charge(t->run, len);
    text_reserve(t, len);
    memcpy(t->data + t->len, s, len);
    t->len += len;
}

void jv_text_puts(struct jv_text *t, const char *s)
{
    jv_text_add(t, s, strlen(s));
}

void jv_text_fill(struct jv_text *t, char c, size_t count)
{
    if (count == 0)
        return;
    jinja_charge(t->run, count);
    text_reserve(t, count);
    memset(t->data + t->len, c, count);
    t->len += count;
}

struct jv jv_text_done(struct jv_text *t)
{
    if (t->cap > t->len)
        jinja_arena_trim(&t->run->arena, t->data + t->cap, t->cap - t->len);
    return jv_str(t->data, t->len);
}

static void add_printf(struct jv_text *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void add_printf(struct jv_text *t, const char *fmt, ...)
{
    char small[64];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    jv_text_puts(t, small);
}

void jv_text_float(struct jv_text *t, double d)
{
    if (isnan(d) || isinf(d)) {
        jv_text_puts(t, isnan(d) ? "nan" : d < 0 ? "-inf" : "inf");
        return;
    }
    char digits[40];
    int precision = 0;
    do
        snprintf(digits, sizeof digits, "%.*e", precision, d);
    while (strtod(digits, NULL) != d && ++precision < 17);
    int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent >= -4 && exponent < 16)
        add_printf(t, "%.*f", MAX(precision - exponent, 1), d);
    else
        jv_text_puts(t, digits); /* C's form and Python's agree: d.ddde+XX */
}

static bool repr_plain(uint32_t cp, char quote)
{
    return cp == UTF8_INVALID ||
           (cp != '\\' && cp != (unsigned char)quote && jinja_cp_is_printable(cp));
}

static void repr_escape(struct jv_text *t, uint32_t cp)
{
    static const char from[] = "\n\r\t\\'", to[] = "nrt\\'"; /* a quoted " never needs it */
    const char *special = cp > 0 && cp < 0x80 ? strchr(from, (int)cp) : NULL;
    if (special)
        add_printf(t, "\\%c", to[special - from]);
    else
        add_printf(t,
                   cp < 0x100     ? "\\x%02" PRIx32
                   : cp < 0x10000 ? "\\u%04" PRIx32
                                  : "\\U%08" PRIx32,
                   cp);
}

static void repr_str(struct jv_text *t, struct jv v)
{
    bool single = memchr(v.s, '\'', v.len), twice = single && memchr(v.s, '"', v.len);
    char quote = single && !twice ? '"' : '\'';
    size_t from = 0;
    jv_text_puts(t, v.flag ? "Markup(" : "");
    jv_text_add(t, &quote, 1);
    for (size_t at = 0, n; at < v.len; at += n) {
        uint32_t cp;
        n = jinja_utf8_next(v.s + at, v.len - at, &cp);
        if (repr_plain(cp, quote))
            continue;
        jv_text_add(t, v.s + from, at - from);
        repr_escape(t, cp);
        from = at + n;
    }
    jv_text_add(t, v.s + from, v.len - from);
    jv_text_add(t, &quote, 1);
    jv_text_puts(t, v.flag ? ")" : "");
}

static void repr_items(struct jv_text *t, struct jv v, const char *brackets)
{
    struct jv_cursor c = jv_iterate(t->run, v);
    struct jv item;
    jv_text_add(t, brackets, 1);
    for (size_t i = 0; jv_next(t->run, &c, &item); i++) {
        if (i > 0)
            jv_text_puts(t, ", ");
        jv_text_repr(t, item);
    }
    if (v.kind == JV_TUPLE && v.len == 1)
        jv_text_puts(t, ",");
    jv_text_add(t, brackets + 1, 1);
}

static void repr_dict(struct jv_text *t, const struct jv_dict *d)
{
    jv_text_puts(t, "{");
    for (uint32_t i = 0; i < d->n; i++) {
        if (i > 0)
            jv_text_puts(t, ", ");
        jv_text_repr(t, d->pairs[i].key);
        jv_text_puts(t, ": ");
        jv_text_repr(t, d->pairs[i].value);
    }
    jv_text_puts(t, "}");
}

static void repr_range(struct jv_text *t, struct jv v)
{
    add_printf(t, "range(%" PRId64 ", %" PRId64, v.range->start, v.range->stop);
    if (v.range->step != 1)
        add_printf(t, ", %" PRId64, v.range->step);
    jv_text_puts(t, ")");
}

/* Objects whose repr has an address in Python: the kind is all that can be told. */
static void repr_object(struct jv_text *t, struct jv v)
{
    add_printf(t, "<%s object>", jv_type_name(v));
}

static void repr_container(struct jv_text *t, struct jv v)
{
    if (v.kind == JV_LIST) {
        repr_items(t, v, "[]");
    } else if (v.kind == JV_TUPLE) {
        repr_items(t, v, "()");
    } else if (v.kind == JV_DICT) {
        repr_dict(t, v.dict);
    } else if (v.kind == JV_VIEW) {
        jv_text_puts(t, jv_type_name(v));
        jv_text_puts(t, "(");
        repr_items(t, v, "[]");
        jv_text_puts(t, ")");
    } else if (v.kind == JV_NAMESPACE) {
        jv_text_puts(t, "<Namespace ");
        repr_dict(t, v.dict);
        jv_text_puts(t, ">");
    } else {
        repr_object(t, v);
    }
}

void jv_text_repr(struct jv_text *t, struct jv v)
{
    switch (v.kind) {
    case JV_UNDEFINED:
        jv_text_puts(t, "Undefined");
        break;
    case JV_NONE:
        jv_text_puts(t, "None");
        break;
    case JV_BOOL:
        jv_text_puts(t, v.b ? "True" : "False");
        break;
    case JV_INT:
        add_printf(t, "%" PRId64, v.i);
        break;
    case JV_FLOAT:
        jv_text_float(t, v.d);
        break;
    case JV_STR:
        repr_str(t, v);
        break;
    case JV_RANGE:
        repr_range(t, v);
        break;
    default:
        jinja_enter(t->run);
        repr_container(t, v);
        jinja_leave(t->run);
    }
}

void jv_text_str(struct jv_text *t, struct jv v)
{
    if (v.kind == JV_STR)
        jv_text_add(t, v.s, v.len);
    else if (v.kind != JV_UNDEFINED)
        jv_text_repr(t, v);
}

void jv_text_escape(struct jv_text *t, struct jv s)
{
    if (s.flag) {
        jv_text_add(t, s.s, s.len);
        return;
    }
    size_t from = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.s[i];
        const char *entity = c == '&'    ? "&amp;"
                             : c == '<'  ? "&lt;"
                             : c == '>'  ? "&gt;"
                             : c == '\'' ? "&#39;"
                             : c == '"'  ? "&#34;"
                                         : NULL;
        if (!entity)
            continue;
        jv_text_add(t, s.s + from, i - from);
        jv_text_puts(t, entity);
        from = i + 1;
    }
    jv_text_add(t, s.s + from, s.len - from);
}

struct jv jv_to_str(struct jinja_run *r, struct jv v)
{
    if (v.kind == JV_STR)
        return v;
    struct jv_text t = {.run = r};
    jv_text_str(&t, v);
    return jv_text_done(&t);
}

struct jv jv_plain(struct jinja_run *r, struct jv v)
{
    return jv_markup(jv_to_str(r, v), false);
}
