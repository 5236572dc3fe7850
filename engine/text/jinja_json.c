/*
 * tojson as Hugging Face defines it: Python's json.dumps with its arguments, ensure_ascii off.
 */
#include "text/jinja_run.h"
#include "text/jinja_utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct json {
    struct jv_text text;
    bool ascii, sort, pretty;
    struct jv indent; /* of one level */
    struct jv item_sep, key_sep;
    int level;
};

static void write_value(struct json *j, struct jv v);

static void newline(struct json *j)
{
    if (!j->pretty)
        return;
    jv_text_puts(&j->text, "\n");
    for (int i = 0; i < j->level; i++)
        jv_text_add(&j->text, j->indent.s, j->indent.len);
}

static void escape_char(struct json *j, uint32_t cp)
{
    static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    const char *known = cp > 0 && cp < 0x80 ? strchr(from, (int)cp) : NULL;
    char out[16];
    if (known)
        snprintf(out, sizeof out, "\\%c", to[known - from]);
    else if (cp < 0x10000)
        snprintf(out, sizeof out, "\\u%04" PRIx32, cp);
    else
        snprintf(out, sizeof out, "\\u%04" PRIx32 "\\u%04" PRIx32, 0xD7C0 + (cp >> 10),
                 0xDC00 | (cp & 0x3FF));
    jv_text_puts(&j->text, out);
}

static void write_string(struct json *j, struct jv s)
{
    size_t from = 0;
    jv_text_puts(&j->text, "\"");
    for (size_t at = 0, n; at < s.len; at += n) {
        uint32_t cp;
        n = jinja_utf8_next(s.s + at, s.len - at, &cp);
        bool plain = cp >= 0x20 && cp != '"' && cp != '\\' && (!j->ascii || cp < 0x80);
        if (plain || cp == UTF8_INVALID)
            continue;
        jv_text_add(&j->text, s.s + from, at - from);
        escape_char(j, cp);
        from = at + n;
    }
    jv_text_add(&j->text, s.s + from, s.len - from);
    jv_text_puts(&j->text, "\"");
}

static void write_number(struct json *j, struct jv v)
{
    if (v.kind == JV_BOOL)
        jv_text_puts(&j->text, v.b ? "true" : "false");
    else if (v.kind == JV_FLOAT && !isfinite(v.d))
        jv_text_puts(&j->text, isnan(v.d) ? "NaN" : v.d < 0 ? "-Infinity" : "Infinity");
    else
        jv_text_repr(&j->text, v);
}

static void write_list(struct json *j, struct jv v)
{
    if (v.len == 0) {
        jv_text_puts(&j->text, "[]");
        return;
    }
    jv_text_puts(&j->text, "[");
    j->level++;
    for (size_t i = 0; i < v.len; i++) {
        if (i > 0)
            jv_text_add(&j->text, j->item_sep.s, j->item_sep.len);
        newline(j);
        write_value(j, v.items[i]);
    }
    j->level--;
    newline(j);
    jv_text_puts(&j->text, "]");
}

static void write_key(struct json *j, struct jv key)
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

static const struct jv_pair *pairs_in_order(struct json *j, const struct jv_dict *d)
{
    struct jinja_run *r = j->text.run;
    if (!j->sort)
        return d->pairs;
    struct jv *keys = jinja_alloc_array(r, d->n, sizeof *keys);
    struct jv_pair *sorted = jinja_alloc_array(r, d->n, sizeof *sorted);
    for (uint32_t i = 0; i < d->n; i++)
        keys[i] = d->pairs[i].key;
    const size_t *order = jinja_sort_order(r, keys, d->n, false);
    for (uint32_t i = 0; i < d->n; i++)
        sorted[i] = d->pairs[order[i]];
    return sorted;
}

static void write_dict(struct json *j, const struct jv_dict *d)
{
    if (d->n == 0) {
        jv_text_puts(&j->text, "{}");
        return;
    }
    const struct jv_pair *pairs = pairs_in_order(j, d);
    jv_text_puts(&j->text, "{");
    j->level++;
    for (uint32_t i = 0; i < d->n; i++) {
        if (i > 0)
            jv_text_add(&j->text, j->item_sep.s, j->item_sep.len);
        newline(j);
        write_key(j, pairs[i].key);
        jv_text_add(&j->text, j->key_sep.s, j->key_sep.len);
        write_value(j, pairs[i].value);
    }
    j->level--;
    newline(j);
    jv_text_puts(&j->text, "}");
}

static void write_value(struct json *j, struct jv v)
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

static void set_indent(struct json *j, struct jv indent)
{
    struct jinja_run *r = j->text.run;
    if (indent.kind == JV_MISSING || indent.kind == JV_NONE)
        return;
    j->pretty = true;
    j->item_sep = jv_cstr(",");
    j->indent = indent;
    if (indent.kind == JV_STR)
        return;
    if (indent.kind != JV_INT && indent.kind != JV_BOOL)
        jinja_raise(r, "tojson: indent must be a number or a string");
    int64_t n = indent.kind == JV_BOOL ? indent.b : indent.i;
    struct jv_text blanks = {.run = r};
    jv_text_fill(&blanks, ' ', n > 0 ? (size_t)n : 0);
    j->indent = jv_text_done(&blanks);
}

static void set_separators(struct json *j, struct jv separators)
{
    if (separators.kind == JV_MISSING || separators.kind == JV_NONE)
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
    struct json j = {
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
