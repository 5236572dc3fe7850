/*
 * The methods of strings, as Python's str has them. Positions are characters, not bytes. Markup
 * stays markup.
 */
#include "text/jinja_run.h"
#include "text/jinja_utf8.h"

#include <string.h>

static struct jv part(struct jv s, size_t from, size_t to)
{
    return jv_markup(jv_str(s.s + MIN(from, to), from < to ? to - from : 0), s.flag);
}

/* First occurrence of sub at or behind `from`, or s.len + 1. */
static size_t find_from(struct jv s, struct jv sub, size_t from)
{
    if (sub.len == 0)
        return from;
    const char *hit = from < s.len ? memmem(s.s + from, s.len - from, sub.s, sub.len) : NULL;
    return hit ? (size_t)(hit - s.s) : s.len + 1;
}

/* Last occurrence of sub that ends at or before `to`, or s.len + 1. */
static size_t find_last(struct jv s, struct jv sub, size_t to)
{
    for (size_t at = to + 1; at-- > 0;) {
        if (at + sub.len <= to && (sub.len == 0 || memcmp(s.s + at, sub.s, sub.len) == 0))
            return at;
    }
    return s.len + 1;
}

/* ---- strip ----------------------------------------------------------------------------------- */

static bool strips(struct jv chars, const char *s, size_t n, uint32_t cp)
{
    if (chars.kind == JV_MISSING || chars.kind == JV_NONE)
        return jinja_cp_is_space(cp);
    return memmem(chars.s, chars.len, s, n) != NULL;
}

struct jv jinja_strip(struct jinja_run *r, struct jv s, struct jv chars, bool left, bool right)
{
    size_t from = 0, to = s.len, n;
    uint32_t cp;
    bool whitespace = chars.kind == JV_MISSING || chars.kind == JV_NONE;
    if (!whitespace && chars.kind != JV_STR)
        jinja_raise(r, "strip arg must be None or str");
    while (left && from < to) {
        n = jinja_utf8_next(s.s + from, to - from, &cp);
        if (!strips(chars, s.s + from, n, cp))
            break;
        from += n;
    }
    while (right && from < to) {
        n = jinja_utf8_prev(s.s + from, to - from, &cp);
        if (!strips(chars, s.s + to - n, n, cp))
            break;
        to -= n;
    }
    jinja_charge(r, (s.len - (to - from)) * (whitespace ? 1 : 1 + chars.len));
    return part(s, from, to);
}

static struct jv str_strip(struct jinja_run *r, const struct call *c)
{
    return jinja_strip(r, c->self, c->args[0], true, true);
}

static struct jv str_lstrip(struct jinja_run *r, const struct call *c)
{
    return jinja_strip(r, c->self, c->args[0], true, false);
}

static struct jv str_rstrip(struct jinja_run *r, const struct call *c)
{
    return jinja_strip(r, c->self, c->args[0], false, true);
}

static struct jv remove_affix(struct jinja_run *r, const struct call *c, bool prefix)
{
    struct jv s = c->self, affix = jinja_arg_str(r, c, 0);
    size_t at = prefix ? 0 : s.len - affix.len;
    if (affix.len == 0 || affix.len > s.len || memcmp(s.s + at, affix.s, affix.len) != 0)
        return s;
    return prefix ? part(s, affix.len, s.len) : part(s, 0, at);
}

static struct jv str_removeprefix(struct jinja_run *r, const struct call *c)
{
    return remove_affix(r, c, true);
}

static struct jv str_removesuffix(struct jinja_run *r, const struct call *c)
{
    return remove_affix(r, c, false);
}

/* ---- split and join -------------------------------------------------------------------------- */

static size_t space_end(struct jv s, size_t at, bool space)
{
    while (at < s.len) {
        uint32_t cp;
        size_t n = jinja_utf8_next(s.s + at, s.len - at, &cp);
        if (jinja_cp_is_space(cp) != space)
            break;
        at += n;
    }
    return at;
}

static size_t space_begin(struct jv s, size_t at, bool space)
{
    while (at > 0) {
        uint32_t cp;
        size_t n = jinja_utf8_prev(s.s, at, &cp);
        if (jinja_cp_is_space(cp) != space)
            break;
        at -= n;
    }
    return at;
}

static void split_space(struct jinja_run *r, struct jv s, uint64_t max, struct jv_vec *out)
{
    size_t at = space_end(s, 0, true);
    while (at < s.len) {
        size_t end = max-- == 0 ? s.len : space_end(s, at, false);
        jv_push(r, out, part(s, at, end));
        at = space_end(s, end, true);
    }
}

static void rsplit_space(struct jinja_run *r, struct jv s, uint64_t max, struct jv_vec *out)
{
    size_t end = space_begin(s, s.len, true);
    while (end > 0) {
        size_t begin = max-- == 0 ? 0 : space_begin(s, end, false);
        jv_push(r, out, part(s, begin, end));
        end = space_begin(s, begin, true);
    }
}

static void split_by(struct jinja_run *r, struct jv s, struct jv sep, uint64_t max,
                     struct jv_vec *out)
{
    size_t at = 0, hit;
    for (; max > 0 && (hit = find_from(s, sep, at)) <= s.len; max--) {
        jv_push(r, out, part(s, at, hit));
        at = hit + sep.len;
    }
    jv_push(r, out, part(s, at, s.len));
}

static void rsplit_by(struct jinja_run *r, struct jv s, struct jv sep, uint64_t max,
                      struct jv_vec *out)
{
    size_t end = s.len, hit;
    for (; max > 0 && (hit = find_last(s, sep, end)) <= s.len; max--) {
        jv_push(r, out, part(s, hit + sep.len, end));
        end = hit;
    }
    jv_push(r, out, part(s, 0, end));
}

static void reverse(struct jv_vec *v)
{
    for (size_t i = 0; i < v->n / 2; i++) {
        struct jv swap = v->items[i];
        v->items[i] = v->items[v->n - 1 - i];
        v->items[v->n - 1 - i] = swap;
    }
}

static struct jv split(struct jinja_run *r, const struct call *c, bool from_right)
{
    struct jv_vec out = {0};
    int64_t limit = jinja_arg_int(r, c, 1, -1);
    uint64_t max = limit < 0 ? UINT64_MAX : (uint64_t)limit;
    jinja_charge(r, c->self.len);
    if (!jinja_arg_given(c, 0)) {
        (from_right ? rsplit_space : split_space)(r, c->self, max, &out);
    } else {
        struct jv sep = jinja_arg_str(r, c, 0);
        if (sep.len == 0)
            jinja_raise(r, "empty separator");
        (from_right ? rsplit_by : split_by)(r, c->self, sep, max, &out);
    }
    if (from_right)
        reverse(&out);
    return jv_list(&out);
}

static struct jv str_split(struct jinja_run *r, const struct call *c)
{
    return split(r, c, false);
}

static struct jv str_rsplit(struct jinja_run *r, const struct call *c)
{
    return split(r, c, true);
}

struct jv jinja_split_lines(struct jinja_run *r, struct jv s, bool keep_ends)
{
    struct jv_vec out = {0};
    size_t from = 0;
    jinja_charge(r, s.len);
    for (size_t at = 0, n; at < s.len; at += n) {
        uint32_t cp;
        n = jinja_utf8_next(s.s + at, s.len - at, &cp);
        if (!jinja_cp_is_line_break(cp))
            continue;
        if (cp == '\r' && at + 1 < s.len && s.s[at + 1] == '\n')
            n = 2;
        jv_push(r, &out, part(s, from, keep_ends ? at + n : at));
        from = at + n;
    }
    if (from < s.len)
        jv_push(r, &out, part(s, from, s.len));
    return jv_list(&out);
}

static struct jv str_splitlines(struct jinja_run *r, const struct call *c)
{
    return jinja_split_lines(r, c->self, jinja_arg_bool(r, c, 0, false));
}

static struct jv partition(struct jinja_run *r, const struct call *c, bool last)
{
    struct jv s = c->self, sep = jinja_arg_str(r, c, 0);
    struct jv_vec out = {0};
    if (sep.len == 0)
        jinja_raise(r, "empty separator");
    jinja_charge(r, s.len);
    size_t hit = last ? find_last(s, sep, s.len) : find_from(s, sep, 0);
    bool found = hit <= s.len;
    size_t first_end = found ? hit : last ? 0 : s.len;
    jv_push(r, &out, part(s, 0, first_end));
    jv_push(r, &out, found ? sep : part(s, 0, 0));
    jv_push(r, &out, part(s, found ? hit + sep.len : last ? 0 : s.len, s.len));
    return jv_tuple(&out);
}

static struct jv str_partition(struct jinja_run *r, const struct call *c)
{
    return partition(r, c, false);
}

static struct jv str_rpartition(struct jinja_run *r, const struct call *c)
{
    return partition(r, c, true);
}

static struct jv str_join(struct jinja_run *r, const struct call *c)
{
    struct jv_cursor items = jv_iterate(r, c->args[0]);
    struct jv_text t = {.run = r};
    struct jv item;
    for (size_t i = 0; jv_next(r, &items, &item); i++) {
        if (item.kind != JV_STR)
            jinja_raise(r, "sequence item %zu: expected str instance, %s found", i,
                        jv_type_name(item));
        if (i > 0)
            jv_text_add(&t, c->self.s, c->self.len);
        if (c->self.flag)
            jv_text_escape(&t, item);
        else
            jv_text_add(&t, item.s, item.len);
    }
    return jv_markup(jv_text_done(&t), c->self.flag);
}

/* ---- search and replace ---------------------------------------------------------------------- */

struct jv jinja_replace(struct jinja_run *r, struct jv s, struct jv from, struct jv to,
                        int64_t count)
{
    struct jv_text t = {.run = r};
    uint64_t left = count < 0 ? UINT64_MAX : (uint64_t)count;
    size_t at = 0, hit;
    bool found = false;
    jinja_charge(r, s.len);
    for (; left > 0 && (hit = find_from(s, from, at)) <= s.len; left--) {
        found = true;
        jv_text_add(&t, s.s + at, hit - at);
        jv_text_add(&t, to.s, to.len);
        at = hit + from.len;
        if (from.len > 0)
            continue;
        if (at == s.len)
            break;
        size_t n = jinja_utf8_next(s.s + at, s.len - at, NULL); /* '' is before every character */
        jv_text_add(&t, s.s + at, n);
        at += n;
    }
    if (!found)
        return s;
    jv_text_add(&t, s.s + at, s.len - at);
    return jv_markup(jv_text_done(&t), s.flag);
}

static struct jv str_replace(struct jinja_run *r, const struct call *c)
{
    struct jv to = jinja_arg_str(r, c, 1);
    if (c->self.flag) {
        struct jv_text t = {.run = r};
        jv_text_escape(&t, to);
        to = jv_text_done(&t);
    }
    return jinja_replace(r, c->self, jinja_arg_str(r, c, 0), to, jinja_arg_int(r, c, 2, -1));
}

/* The part of the string between the arguments start and end (the second and third). */
static struct jv window(struct jinja_run *r, const struct call *c)
{
    struct jv none = jv_none();
    if (!jinja_arg_given(c, 1) && !jinja_arg_given(c, 2))
        return c->self;
    return jinja_slice(r, c->self, jinja_arg_given(c, 1) ? c->args[1] : none,
                       jinja_arg_given(c, 2) ? c->args[2] : none, none);
}

static int64_t position(struct jinja_run *r, const struct call *c, bool last, bool must)
{
    struct jv in = window(r, c), sub = jinja_arg_str(r, c, 0);
    jinja_charge(r, c->self.len);
    size_t hit = last ? find_last(in, sub, in.len) : find_from(in, sub, 0);
    if (hit > in.len && must)
        jinja_raise(r, "substring not found");
    if (hit > in.len)
        return -1;
    size_t skipped = (size_t)(in.s - c->self.s);
    return (int64_t)jinja_utf8_length(c->self.s, skipped + hit);
}

static struct jv str_find(struct jinja_run *r, const struct call *c)
{
    return jv_int(position(r, c, false, false));
}

static struct jv str_rfind(struct jinja_run *r, const struct call *c)
{
    return jv_int(position(r, c, true, false));
}

static struct jv str_index(struct jinja_run *r, const struct call *c)
{
    return jv_int(position(r, c, false, true));
}

static struct jv str_rindex(struct jinja_run *r, const struct call *c)
{
    return jv_int(position(r, c, true, true));
}

static struct jv str_count(struct jinja_run *r, const struct call *c)
{
    struct jv in = window(r, c), sub = jinja_arg_str(r, c, 0);
    int64_t n = 0;
    jinja_charge(r, in.len);
    if (sub.len == 0)
        return jv_int((int64_t)jinja_utf8_length(in.s, in.len) + 1);
    for (size_t at = find_from(in, sub, 0); at <= in.len; at = find_from(in, sub, at + sub.len))
        n++;
    return jv_int(n);
}

static bool has_affix(struct jinja_run *r, struct jv s, struct jv affix, bool prefix)
{
    if (affix.kind == JV_TUPLE) {
        for (size_t i = 0; i < affix.len; i++) {
            if (has_affix(r, s, affix.items[i], prefix))
                return true;
        }
        return false;
    }
    if (affix.kind != JV_STR)
        jinja_raise(r, "%s first arg must be str or a tuple of str, not %s",
                    prefix ? "startswith" : "endswith", jv_type_name(affix));
    jinja_charge(r, affix.len);
    return affix.len == 0 || (affix.len <= s.len && memcmp(prefix ? s.s : s.s + s.len - affix.len,
                                                           affix.s, affix.len) == 0);
}

static struct jv str_startswith(struct jinja_run *r, const struct call *c)
{
    return jv_bool(has_affix(r, window(r, c), c->args[0], true));
}

static struct jv str_endswith(struct jinja_run *r, const struct call *c)
{
    return jv_bool(has_affix(r, window(r, c), c->args[0], false));
}

const struct jinja_func jinja_str_methods[] = {
    {.name = "strip", .fn = str_strip, .params = {"chars"}},
    {.name = "lstrip", .fn = str_lstrip, .params = {"chars"}},
    {.name = "rstrip", .fn = str_rstrip, .params = {"chars"}},
    {.name = "removeprefix", .fn = str_removeprefix, .params = {"prefix"}, .required = 1},
    {.name = "removesuffix", .fn = str_removesuffix, .params = {"suffix"}, .required = 1},
    {.name = "split", .fn = str_split, .params = {"sep", "maxsplit"}},
    {.name = "rsplit", .fn = str_rsplit, .params = {"sep", "maxsplit"}},
    {.name = "splitlines", .fn = str_splitlines, .params = {"keepends"}},
    {.name = "partition", .fn = str_partition, .params = {"sep"}, .required = 1},
    {.name = "rpartition", .fn = str_rpartition, .params = {"sep"}, .required = 1},
    {.name = "join", .fn = str_join, .params = {"iterable"}, .required = 1},
    {.name = "replace", .fn = str_replace, .params = {"old", "new", "count"}, .required = 2},
    {.name = "find", .fn = str_find, .params = {"sub", "start", "end"}, .required = 1},
    {.name = "rfind", .fn = str_rfind, .params = {"sub", "start", "end"}, .required = 1},
    {.name = "index", .fn = str_index, .params = {"sub", "start", "end"}, .required = 1},
    {.name = "rindex", .fn = str_rindex, .params = {"sub", "start", "end"}, .required = 1},
    {.name = "count", .fn = str_count, .params = {"sub", "start", "end"}, .required = 1},
    {.name = "startswith",
     .fn = str_startswith,
     .params = {"prefix", "start", "end"},
     .required = 1},
    {.name = "endswith", .fn = str_endswith, .params = {"suffix", "start", "end"}, .required = 1},
    {.name = "format", .fn = jinja_str_format, .variadic = true},
};
const size_t jinja_n_str_methods = COUNT_OF(jinja_str_methods);
