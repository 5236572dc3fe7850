/*
 * Values as text: str(), repr() and json.dumps() as Python writes them.
 */
#include "specd/json_write.h"
#include "specd/unicode.h"
#include "specd/utf8.h"
#include "jinja/run.h"

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
    if (t->data && arena_extend(&t->run->arena, t->data + t->cap, cap - t->cap)) {
        t->cap = cap;
        return;
    }
    char *data = arena_alloc(&t->run->arena, cap, 1);
    if (!data)
        jinja_raise(t->run, "needs more than %zu MiB of memory", JINJA_MEMORY_MAX >> 20);
    if (t->len > 0)
        memcpy(data, t->data, t->len);
    t->data = data;
    t->cap = cap;
}

void jv_text_put(struct jv_text *t, struct jv s)
{
    if (s.len == 0)
        return;
    jinja_charge(t->run, s.len);
    text_reserve(t, s.len);
    memcpy(t->data + t->len, s.s, s.len);
    origin_put(t->run, &t->client, t->len, s);
    t->len += s.len;
}

void jv_text_add(struct jv_text *t, const char *s, size_t len)
{
    jv_text_put(t, (struct jv){.s = s, .len = len, .origin = t->origin});
}

void jv_text_for(struct jv_text *t, const char *bytes, size_t len, struct jv s, size_t at)
{
    size_t end;
    jv_text_put(t, (struct jv){.s = bytes, .len = len, .origin = origin_at(t->run, s, at, &end)});
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
    origin_put(t->run, &t->client, t->len, (struct jv){.len = count, .origin = t->origin});
    t->len += count;
}

struct jv jv_text_done(struct jv_text *t)
{
    if (t->cap > t->len)
        arena_trim(&t->run->arena, t->data + t->cap, t->cap - t->len);
    struct jv s = jv_str(t->data, t->len);
    s.origin = origin_of(t->run, &t->client, s.s, s.len);
    return s;
}

void jv_text_printf(struct jv_text *t, const char *fmt, ...)
{
    char small[512];
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
        jv_text_printf(t, "%.*f", MAX(precision - exponent, 1), d);
    else
        jv_text_puts(t, digits); /* C's form and Python's agree: d.ddde+XX */
}

static bool repr_plain(uint32_t cp, char quote)
{
    return cp == UTF8_INVALID || (cp != '\\' && cp != (unsigned char)quote && cp_is_printable(cp));
}

/* The character cp, at s.s[at]. */
static void repr_escape(struct jv_text *t, uint32_t cp, struct jv s, size_t at)
{
    static const char from[] = "\n\r\t\\'", to[] = "nrt\\'"; /* a quoted " never needs it */
    const char *known = cp > 0 && cp < 0x80 ? strchr(from, (int)cp) : NULL;
    char escape[16];
    int n = known ? snprintf(escape, sizeof escape, "\\%c", to[known - from])
                  : snprintf(escape, sizeof escape,
                             cp < 0x100     ? "\\x%02" PRIx32
                             : cp < 0x10000 ? "\\u%04" PRIx32
                                            : "\\U%08" PRIx32,
                             cp);
    jv_text_for(t, escape, (size_t)n, s, at);
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
        n = utf8_next(v.s + at, v.len - at, &cp);
        if (repr_plain(cp, quote))
            continue;
        jv_text_put(t, jv_part(v, from, at));
        repr_escape(t, cp, v, at);
        from = at + n;
    }
    jv_text_put(t, jv_part(v, from, v.len));
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
    jv_text_printf(t, "range(%" PRId64 ", %" PRId64, v.range->start, v.range->stop);
    if (v.range->step != 1)
        jv_text_printf(t, ", %" PRId64, v.range->step);
    jv_text_puts(t, ")");
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
    } else { /* its repr has an address in Python: the kind is all that can be told */
        jv_text_printf(t, "<%s object>", jv_type_name(v));
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
        jv_text_printf(t, "%" PRId64, v.i);
        break;
    case JV_FLOAT:
        if (jv_is_large_int(v))
            jv_text_puts(t, v.text);
        else
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
    uint32_t origin = t->origin;
    if (v.kind == JV_STR)
        jv_text_put(t, v);
    if (v.kind == JV_STR || v.kind == JV_UNDEFINED)
        return;
    /* A template may count its tokens: <|image_1|>. A number that came from outside, and what
     * stands around the values of a list or dict, are no part of a token. */
    if (v.kind < JV_STR && !(jv_is_number(v) && v.text))
        t->origin = ORIGIN_TEMPLATE;
    jv_text_repr(t, v);
    t->origin = origin;
}

void jv_text_escape(struct jv_text *t, struct jv s)
{
    if (s.flag) {
        jv_text_put(t, s);
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
        jv_text_put(t, jv_part(s, from, i));
        jv_text_for(t, entity, strlen(entity), s, i);
        from = i + 1;
    }
    jv_text_put(t, jv_part(s, from, s.len));
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

struct jv jv_repr(struct jinja_run *r, struct jv v)
{
    struct jv_text t = {.run = r};
    jv_text_repr(&t, v);
    return jv_text_done(&t);
}

struct jv jv_escape(struct jinja_run *r, struct jv s)
{
    struct jv_text t = {.run = r};
    jv_text_escape(&t, s);
    return jv_text_done(&t);
}

struct jv jv_markup(struct jv s, bool markup)
{
    s.flag = markup;
    return s;
}

/* ---- tojson as Hugging Face defines it: json.dumps with its arguments, ensure_ascii off ------ */

struct dump {
    struct jv_text text;
    bool ascii, sort, pretty;
    struct jv indent; /* of one level */
    struct jv item_sep, key_sep;
    int level;
};

static void write_value(struct dump *j, struct jv v);

static void newline(struct dump *j)
{
    if (!j->pretty)
        return;
    jv_text_puts(&j->text, "\n");
    for (int i = 0; i < j->level; i++)
        jv_text_put(&j->text, j->indent);
}

/* The character cp, at s.s[at]. */
static void escape_char(struct jv_text *t, uint32_t cp, struct jv s, size_t at)
{
    char escape[JSON_ESCAPE_MAX + 16];
    size_t n = cp < 0x80 ? json_escape_byte((unsigned char)cp, escape) : 0;
    if (n == 0 && cp < 0x10000)
        n = (size_t)snprintf(escape, sizeof escape, "\\u%04" PRIx32, cp);
    else if (n == 0)
        n = (size_t)snprintf(escape, sizeof escape, "\\u%04" PRIx32 "\\u%04" PRIx32,
                             0xD7C0 + (cp >> 10), 0xDC00 | (cp & 0x3FF));
    jv_text_for(t, escape, n, s, at);
}

static void write_string(struct dump *j, struct jv s)
{
    size_t from = 0;
    jv_text_puts(&j->text, "\"");
    for (size_t at = 0, n; at < s.len; at += n) {
        uint32_t cp;
        n = utf8_next(s.s + at, s.len - at, &cp);
        bool plain = cp >= 0x20 && cp != '"' && cp != '\\' && (!j->ascii || cp < 0x80);
        if (plain || cp == UTF8_INVALID)
            continue;
        jv_text_put(&j->text, jv_part(s, from, at));
        escape_char(&j->text, cp, s, at);
        from = at + n;
    }
    jv_text_put(&j->text, jv_part(s, from, s.len));
    jv_text_puts(&j->text, "\"");
}

static void write_number(struct dump *j, struct jv v)
{
    if (v.kind == JV_BOOL)
        jv_text_puts(&j->text, v.b ? "true" : "false");
    else if (v.text) /* what only passes through comes out as it came */
        jv_text_puts(&j->text, v.text);
    else if (v.kind == JV_FLOAT && !isfinite(v.d))
        jv_text_puts(&j->text, isnan(v.d) ? "NaN" : v.d < 0 ? "-Infinity" : "Infinity");
    else
        jv_text_repr(&j->text, v);
}

/* Before item i of a list or dict. */
static void begin_item(struct dump *j, size_t i)
{
    if (i > 0)
        jv_text_put(&j->text, j->item_sep);
    newline(j);
}

static void write_list(struct dump *j, struct jv v)
{
    jv_text_puts(&j->text, "[");
    j->level++;
    for (size_t i = 0; i < v.len; i++) {
        begin_item(j, i);
        write_value(j, v.items[i]);
    }
    j->level--;
    if (v.len > 0)
        newline(j);
    jv_text_puts(&j->text, "]");
}

static void write_key(struct dump *j, struct jv key)
{
    if (key.kind == JV_STR) {
        write_string(j, key);
        return;
    }
    if (!jv_is_number(key) && key.kind != JV_NONE)
        jinja_raise(j->text.run, "keys must be str, int, float, bool or None, not %s",
                    jv_type_name(key));
    jv_text_puts(&j->text, "\"");
    write_value(j, key);
    jv_text_puts(&j->text, "\"");
}

static const struct jv_pair *pairs_in_order(struct dump *j, const struct jv_dict *d)
{
    struct jinja_run *r = j->text.run;
    if (!j->sort || d->n == 0)
        return d->pairs;
    struct jv *keys = jinja_alloc(r, d->n, sizeof *keys);
    struct jv_pair *sorted = jinja_alloc(r, d->n, sizeof *sorted);
    for (uint32_t i = 0; i < d->n; i++)
        keys[i] = d->pairs[i].key;
    const size_t *order = jinja_sort_order(r, keys, d->n, false);
    for (uint32_t i = 0; i < d->n; i++)
        sorted[i] = d->pairs[order[i]];
    return sorted;
}

static void write_dict(struct dump *j, const struct jv_dict *d)
{
    const struct jv_pair *pairs = pairs_in_order(j, d);
    jv_text_puts(&j->text, "{");
    j->level++;
    for (uint32_t i = 0; i < d->n; i++) {
        begin_item(j, i);
        write_key(j, pairs[i].key);
        jv_text_put(&j->text, j->key_sep);
        write_value(j, pairs[i].value);
    }
    j->level--;
    if (d->n > 0)
        newline(j);
    jv_text_puts(&j->text, "}");
}

static void write_value(struct dump *j, struct jv v)
{
    struct jinja_run *r = j->text.run;
    jinja_enter(r);
    if (v.kind == JV_STR)
        write_string(j, v);
    else if (jv_is_number(v))
        write_number(j, v);
    else if (v.kind == JV_NONE)
        jv_text_puts(&j->text, "null");
    else if (jv_is_sequence(v))
        write_list(j, v);
    else if (v.kind == JV_DICT)
        write_dict(j, v.dict);
    else
        jinja_raise(r, "object of type %s is not JSON serializable", jv_type_name(v));
    jinja_leave(r);
}

static void set_indent(struct dump *j, struct jv indent)
{
    struct jinja_run *r = j->text.run;
    if (!jv_is_given(indent))
        return;
    j->pretty = true;
    j->item_sep = jv_cstr(",");
    j->indent = indent;
    if (indent.kind == JV_STR)
        return;
    if (!jv_is_int(indent))
        jinja_raise(r, "tojson: indent must be a number or a string");
    int64_t n = jv_to_int(indent);
    struct jv_text blanks = {.run = r};
    jv_text_fill(&blanks, ' ', n > 0 ? (size_t)n : 0);
    j->indent = jv_text_done(&blanks);
}

static void set_separators(struct dump *j, struct jv separators)
{
    if (!jv_is_given(separators))
        return;
    if (!jv_is_sequence(separators) || separators.len != 2 || separators.items[0].kind != JV_STR ||
        separators.items[1].kind != JV_STR)
        jinja_raise(j->text.run, "tojson: separators must be two strings");
    j->item_sep = separators.items[0];
    j->key_sep = separators.items[1];
}

/* tojson(ensure_ascii, indent, separators, sort_keys) */
struct jv jinja_tojson(struct jinja_run *r, const struct call *c)
{
    struct dump j = {
        .text = {.run = r},
        .ascii = jinja_arg_bool(r, c, 0, false),
        .sort = jinja_arg_bool(r, c, 3, false),
        .item_sep = jv_cstr(", "),
        .key_sep = jv_cstr(": "),
    };
    set_indent(&j, c->args[1]);
    set_separators(&j, c->args[2]);
    write_value(&j, c->self);
    return jv_text_done(&j.text);
}
