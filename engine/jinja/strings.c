/*
 * The methods of strings, as Python's str has them. Positions are characters, not bytes. Markup
 * stays markup. A method that works from one end or the other has the end as its mode.
 */
#include "specd/unicode.h"
#include "specd/utf8.h"
#include "jinja/run.h"

#include <string.h>

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

struct jv jinja_strip(struct jinja_run *r, struct jv s, struct jv chars, enum ends ends)
{
    size_t from = 0, to = s.len, n;
    if (!jv_is_given(chars)) {
        if (ends & LEFT)
            from = space_end(s.s, s.len, 0, true);
        if (ends & RIGHT)
            to = from + space_begin(s.s + from, s.len - from, true);
        jinja_charge(r, s.len - (to - from));
        return jv_part(s, from, to);
    }
    if (chars.kind != JV_STR)
        jinja_raise(r, "strip arg must be None or str");
    while (ends & LEFT && from < to) {
        n = utf8_next(s.s + from, to - from, NULL);
        if (!memmem(chars.s, chars.len, s.s + from, n))
            break;
        from += n;
    }
    while (ends & RIGHT && from < to) {
        n = utf8_prev(s.s + from, to - from, NULL);
        if (!memmem(chars.s, chars.len, s.s + to - n, n))
            break;
        to -= n;
    }
    jinja_charge(r, (s.len - (to - from)) * (1 + chars.len));
    return jv_part(s, from, to);
}

static struct jv str_strip(struct jinja_run *r, const struct call *c)
{
    return jinja_strip(r, c->self, c->args[0], (enum ends)c->func->mode);
}

static struct jv str_removeaffix(struct jinja_run *r, const struct call *c)
{
    struct jv s = c->self, affix = jinja_arg_str(r, c, 0);
    bool prefix = c->func->mode == LEFT;
    size_t at = prefix ? 0 : s.len - affix.len;
    if (affix.len == 0 || affix.len > s.len || memcmp(s.s + at, affix.s, affix.len) != 0)
        return s;
    return prefix ? jv_part(s, affix.len, s.len) : jv_part(s, 0, at);
}

/* ---- split and join -------------------------------------------------------------------------- */

static void split_space(struct jinja_run *r, struct jv s, uint64_t max, struct jv_vec *out)
{
    size_t at = space_end(s.s, s.len, 0, true);
    while (at < s.len) {
        size_t end = max-- == 0 ? s.len : space_end(s.s, s.len, at, false);
        jv_push(r, out, jv_part(s, at, end));
        at = space_end(s.s, s.len, end, true);
    }
}

static void rsplit_space(struct jinja_run *r, struct jv s, uint64_t max, struct jv_vec *out)
{
    size_t end = space_begin(s.s, s.len, true);
    while (end > 0) {
        size_t begin = max-- == 0 ? 0 : space_begin(s.s, end, false);
        jv_push(r, out, jv_part(s, begin, end));
        end = space_begin(s.s, begin, true);
    }
}

static void split_by(struct jinja_run *r, struct jv s, struct jv sep, uint64_t max,
                     struct jv_vec *out)
{
    size_t at = 0, hit;
    for (; max > 0 && (hit = find_from(s, sep, at)) <= s.len; max--) {
        jv_push(r, out, jv_part(s, at, hit));
        at = hit + sep.len;
    }
    jv_push(r, out, jv_part(s, at, s.len));
}

static void rsplit_by(struct jinja_run *r, struct jv s, struct jv sep, uint64_t max,
                      struct jv_vec *out)
{
    size_t end = s.len, hit;
    for (; max > 0 && (hit = find_last(s, sep, end)) <= s.len; max--) {
        jv_push(r, out, jv_part(s, hit + sep.len, end));
        end = hit;
    }
    jv_push(r, out, jv_part(s, 0, end));
}

static void reverse(struct jv_vec *v)
{
    for (size_t i = 0; i < v->n / 2; i++) {
        struct jv swap = v->items[i];
        v->items[i] = v->items[v->n - 1 - i];
        v->items[v->n - 1 - i] = swap;
    }
}

static struct jv str_split(struct jinja_run *r, const struct call *c)
{
    bool from_right = c->func->mode == RIGHT;
    struct jv_vec out = {0};
    int64_t limit = jinja_arg_int(r, c, 1, -1);
    uint64_t max = limit < 0 ? UINT64_MAX : (uint64_t)limit;
    jinja_charge(r, c->self.len);
    if (!jv_is_given(c->args[0])) {
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

struct jv jinja_split_lines(struct jinja_run *r, struct jv s, bool keep_ends)
{
    struct jv_vec out = {0};
    size_t from = 0;
    jinja_charge(r, s.len);
    for (size_t at = 0, n; at < s.len; at += n) {
        uint32_t cp;
        n = utf8_next(s.s + at, s.len - at, &cp);
        if (!cp_is_line_break(cp))
            continue;
        if (cp == '\r' && at + 1 < s.len && s.s[at + 1] == '\n')
            n = 2;
        jv_push(r, &out, jv_part(s, from, keep_ends ? at + n : at));
        from = at + n;
    }
    if (from < s.len)
        jv_push(r, &out, jv_part(s, from, s.len));
    return jv_list(&out);
}

static struct jv str_splitlines(struct jinja_run *r, const struct call *c)
{
    return jinja_split_lines(r, c->self, jinja_arg_bool(r, c, 0, false));
}

static struct jv str_partition(struct jinja_run *r, const struct call *c)
{
    bool last = c->func->mode == RIGHT;
    struct jv s = c->self, sep = jinja_arg_str(r, c, 0);
    struct jv_vec out = {0};
    if (sep.len == 0)
        jinja_raise(r, "empty separator");
    jinja_charge(r, s.len);
    size_t hit = last ? find_last(s, sep, s.len) : find_from(s, sep, 0);
    bool found = hit <= s.len;
    size_t first_end = found ? hit : last ? 0 : s.len;
    jv_push(r, &out, jv_part(s, 0, first_end));
    jv_push(r, &out, found ? sep : jv_part(s, 0, 0));
    jv_push(r, &out, jv_part(s, found ? hit + sep.len : last ? 0 : s.len, s.len));
    return jv_tuple(&out);
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
            jv_text_put(&t, c->self);
        if (c->self.flag)
            jv_text_escape(&t, item);
        else
            jv_text_put(&t, item);
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
        jv_text_put(&t, jv_part(s, at, hit));
        jv_text_put(&t, to);
        at = hit + from.len;
        if (from.len > 0)
            continue;
        if (at == s.len)
            break;
        size_t n = utf8_next(s.s + at, s.len - at, NULL); /* '' is before every character */
        jv_text_put(&t, jv_part(s, at, at + n));
        at += n;
    }
    if (!found)
        return s;
    jv_text_put(&t, jv_part(s, at, s.len));
    return jv_markup(jv_text_done(&t), s.flag);
}

static struct jv str_replace(struct jinja_run *r, const struct call *c)
{
    struct jv to = jinja_arg_str(r, c, 1);
    if (c->self.flag)
        to = jv_escape(r, to);
    return jinja_replace(r, c->self, jinja_arg_str(r, c, 0), to, jinja_arg_int(r, c, 2, -1));
}

/* The part of the string between the arguments start and end (the second and third). */
static struct jv window(struct jinja_run *r, const struct call *c)
{
    struct jv none = jv_none();
    if (!jv_is_given(c->args[1]) && !jv_is_given(c->args[2]))
        return c->self;
    return jinja_slice(r, c->self, jv_is_given(c->args[1]) ? c->args[1] : none,
                       jv_is_given(c->args[2]) ? c->args[2] : none, none);
}

enum find { FIND = 0, FIND_LAST = 1, FIND_MUST = 2 };

static struct jv str_find(struct jinja_run *r, const struct call *c)
{
    bool last = c->func->mode & FIND_LAST, must = c->func->mode & FIND_MUST;
    struct jv in = window(r, c), sub = jinja_arg_str(r, c, 0);
    jinja_charge(r, c->self.len);
    size_t hit = last ? find_last(in, sub, in.len) : find_from(in, sub, 0);
    if (hit > in.len && must)
        jinja_raise(r, "substring not found");
    if (hit > in.len)
        return jv_int(-1);
    size_t skipped = (size_t)(in.s - c->self.s);
    return jv_int((int64_t)utf8_count(c->self.s, skipped + hit));
}

static struct jv str_count(struct jinja_run *r, const struct call *c)
{
    struct jv in = window(r, c), sub = jinja_arg_str(r, c, 0);
    int64_t n = 0;
    jinja_charge(r, in.len);
    if (sub.len == 0)
        return jv_int((int64_t)utf8_count(in.s, in.len) + 1);
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

static struct jv str_hasaffix(struct jinja_run *r, const struct call *c)
{
    return jv_bool(has_affix(r, window(r, c), c->args[0], c->func->mode == LEFT));
}

/* ---- case ------------------------------------------------------------------------------------ */

#define SHARP_S 0xDF /* its upper case is two letters */

static bool is_upper(uint32_t cp)
{
    return cp_lower(cp) != cp && !cp_is_title(cp);
}

static bool is_lower(uint32_t cp)
{
    return (cp_upper(cp) != cp && !cp_is_title(cp)) || cp == SHARP_S;
}

/* Writes the mapped character and returns its bytes, at most 4. */
static size_t map_char(uint32_t cp, enum mapping mapping, bool first, bool after_letter, char *out)
{
    bool upper = mapping == MAP_UPPER || (mapping == MAP_SWAP && is_lower(cp));
    bool title = (mapping == MAP_TITLE && !after_letter) || (mapping == MAP_CAPITALIZE && first);
    bool stays = mapping == MAP_SWAP && cp_is_title(cp);
    if (cp == SHARP_S && (upper || title)) {
        memcpy(out, upper ? "SS" : "Ss", 2);
        return 2;
    }
    return utf8_write(stays ? cp : upper ? cp_upper(cp) : title ? cp_title(cp) : cp_lower(cp), out);
}

struct jv jinja_map_case(struct jinja_run *r, struct jv s, enum mapping mapping)
{
    struct jv_text t = {.run = r};
    char chunk[256];
    size_t filled = 0, same = 0; /* bytes of chunk; where the origin changes */
    bool after_letter = false;
    for (size_t at = 0, n; at < s.len; at += n) {
        uint32_t cp;
        n = utf8_next(s.s + at, s.len - at, &cp);
        if (filled + 4 > sizeof chunk || cp == UTF8_INVALID || at >= same) {
            jv_text_add(&t, chunk, filled);
            filled = 0;
        }
        if (at >= same)
            t.origin = origin_at(r, s, at, &same);
        if (cp == UTF8_INVALID)
            jv_text_add(&t, s.s + at, n);
        else
            filled += map_char(cp, mapping, at == 0, after_letter, chunk + filled);
        after_letter = is_upper(cp) || is_lower(cp) || cp_is_title(cp);
    }
    jv_text_add(&t, chunk, filled);
    return jv_markup(jv_text_done(&t), s.flag);
}

static struct jv str_case(struct jinja_run *r, const struct call *c)
{
    return jinja_map_case(r, c->self, (enum mapping)c->func->mode);
}

/* ---- kinds of characters --------------------------------------------------------------------- */

enum char_kind { KIND_DIGIT = 1, KIND_ALPHA = 2, KIND_SPACE = 4 };

static bool is_of_kind(uint32_t cp, unsigned kinds)
{
    return (kinds & KIND_DIGIT && cp >= '0' && cp <= '9') ||
           (kinds & KIND_ALPHA && cp_class(cp) == CP_L) || (kinds & KIND_SPACE && cp_is_space(cp));
}

/* Not empty, and every character is of the kind. */
static struct jv str_iskind(struct jinja_run *r, const struct call *c)
{
    struct jv s = c->self;
    bool all = s.len > 0;
    jinja_charge(r, s.len);
    for (size_t at = 0, n; at < s.len && all; at += n) {
        uint32_t cp;
        n = utf8_next(s.s + at, s.len - at, &cp);
        all = is_of_kind(cp, c->func->mode);
    }
    return jv_bool(all);
}

bool jinja_is_cased(struct jinja_run *r, struct jv s, bool upper)
{
    bool some = false;
    jinja_charge(r, s.len);
    for (size_t at = 0, n; at < s.len; at += n) {
        uint32_t cp;
        n = utf8_next(s.s + at, s.len - at, &cp);
        if (cp_is_title(cp) || (upper ? is_lower(cp) : is_upper(cp)))
            return false;
        some |= upper ? is_upper(cp) : is_lower(cp);
    }
    return some;
}

static struct jv str_iscased(struct jinja_run *r, const struct call *c)
{
    return jv_bool(jinja_is_cased(r, c->self, c->func->mode == MAP_UPPER));
}

/* ---- padding --------------------------------------------------------------------------------- */

struct jv jinja_pad(struct jinja_run *r, struct jv s, int64_t width, struct jv fill, enum ends ends)
{
    struct jv_text t = {.run = r};
    size_t len = 0;
    jv_length(r, s, &len);
    if (utf8_count(fill.s, fill.len) != 1)
        jinja_raise(r, "the fill character must be exactly one character long");
    if (width <= (int64_t)len)
        return s;
    int64_t room = width - (int64_t)len, before = ends & LEFT ? room : 0;
    if (ends == BOTH) /* the odd blank goes to the left only when the width is odd as well */
        before = room / 2 + (room & width & 1);
    for (int64_t i = 0; i < before; i++)
        jv_text_put(&t, fill);
    jv_text_put(&t, s);
    for (int64_t i = before; i < room; i++)
        jv_text_put(&t, fill);
    return jv_markup(jv_text_done(&t), s.flag);
}

static struct jv str_just(struct jinja_run *r, const struct call *c)
{
    struct jv fill = c->args[1].kind == JV_MISSING ? jv_cstr(" ") : jinja_arg_str(r, c, 1);
    return jinja_pad(r, c->self, jinja_arg_int(r, c, 0, 0), fill, (enum ends)c->func->mode);
}

static struct jv str_zfill(struct jinja_run *r, const struct call *c)
{
    struct jv s = c->self;
    struct jv_text t = {.run = r};
    size_t len = 0, sign = s.len > 0 && (s.s[0] == '-' || s.s[0] == '+');
    jv_length(r, s, &len);
    int64_t room = MAX(jinja_arg_int(r, c, 0, 0), 0) - (int64_t)len;
    jv_text_put(&t, jv_part(s, 0, sign));
    jv_text_fill(&t, '0', room > 0 ? (size_t)room : 0);
    jv_text_put(&t, jv_part(s, sign, s.len));
    return jv_markup(jv_text_done(&t), s.flag);
}

#define AFFIX(word) .params = {word, "start", "end"}, .required = 1
#define SPLIT .fn = str_split, .params = {"sep", "maxsplit"}
#define FIND_IN .fn = str_find, .params = {"sub", "start", "end"}, .required = 1
#define JUST .fn = str_just, .params = {"width", "fillchar"}, .required = 1

const struct jinja_func jinja_str_methods[] = {
    {.name = "strip", .fn = str_strip, .params = {"chars"}, .mode = BOTH},
    {.name = "lstrip", .fn = str_strip, .params = {"chars"}, .mode = LEFT},
    {.name = "rstrip", .fn = str_strip, .params = {"chars"}, .mode = RIGHT},
    {.name = "removeprefix",
     .fn = str_removeaffix,
     .params = {"prefix"},
     .required = 1,
     .mode = LEFT},
    {.name = "removesuffix",
     .fn = str_removeaffix,
     .params = {"suffix"},
     .required = 1,
     .mode = RIGHT},
    {.name = "split", SPLIT, .mode = LEFT},
    {.name = "rsplit", SPLIT, .mode = RIGHT},
    {.name = "splitlines", .fn = str_splitlines, .params = {"keepends"}},
    {.name = "partition", .fn = str_partition, .params = {"sep"}, .required = 1, .mode = LEFT},
    {.name = "rpartition", .fn = str_partition, .params = {"sep"}, .required = 1, .mode = RIGHT},
    {.name = "join", .fn = str_join, .params = {"iterable"}, .required = 1},
    {.name = "replace", .fn = str_replace, .params = {"old", "new", "count"}, .required = 2},
    {.name = "find", FIND_IN, .mode = FIND},
    {.name = "rfind", FIND_IN, .mode = FIND_LAST},
    {.name = "index", FIND_IN, .mode = FIND_MUST},
    {.name = "rindex", FIND_IN, .mode = FIND_LAST | FIND_MUST},
    {.name = "count", .fn = str_count, .params = {"sub", "start", "end"}, .required = 1},
    {.name = "startswith", .fn = str_hasaffix, AFFIX("prefix"), .mode = LEFT},
    {.name = "endswith", .fn = str_hasaffix, AFFIX("suffix"), .mode = RIGHT},
    {.name = "format", .fn = jinja_str_format, .variadic = true},
    {.name = "upper", .fn = str_case, .mode = MAP_UPPER},
    {.name = "lower", .fn = str_case, .mode = MAP_LOWER},
    {.name = "casefold", .fn = str_case, .mode = MAP_LOWER},
    {.name = "swapcase", .fn = str_case, .mode = MAP_SWAP},
    {.name = "title", .fn = str_case, .mode = MAP_TITLE},
    {.name = "capitalize", .fn = str_case, .mode = MAP_CAPITALIZE},
    {.name = "isdigit", .fn = str_iskind, .mode = KIND_DIGIT},
    {.name = "isdecimal", .fn = str_iskind, .mode = KIND_DIGIT},
    {.name = "isnumeric", .fn = str_iskind, .mode = KIND_DIGIT},
    {.name = "isalpha", .fn = str_iskind, .mode = KIND_ALPHA},
    {.name = "isalnum", .fn = str_iskind, .mode = KIND_ALPHA | KIND_DIGIT},
    {.name = "isspace", .fn = str_iskind, .mode = KIND_SPACE},
    {.name = "isupper", .fn = str_iscased, .mode = MAP_UPPER},
    {.name = "islower", .fn = str_iscased, .mode = MAP_LOWER},
    {.name = "ljust", JUST, .mode = RIGHT},
    {.name = "rjust", JUST, .mode = LEFT},
    {.name = "center", JUST, .mode = BOTH},
    {.name = "zfill", .fn = str_zfill, .params = {"width"}, .required = 1},
    {0},
};
