/*
 * object.name, object[key] and slices, as the sandbox resolves them: a dot looks for an attribute
 * first and for a key after it, brackets the other way round, and what is not there is undefined.
 */
#include "text/jinja_run.h"
#include "text/jinja_utf8.h"

#include <inttypes.h>
#include <string.h>

static struct jv no_attribute(struct jv object, struct jv name)
{
    return (struct jv){.kind = JV_UNDEFINED,
                       .flag = UNDEFINED_ATTRIBUTE,
                       .owner = object.kind,
                       .s = name.s,
                       .len = name.len};
}

static struct jv hint(struct jv message)
{
    message.kind = JV_UNDEFINED;
    message.flag = UNDEFINED_HINT;
    return message;
}

static struct jv bind_method(struct jinja_run *r, struct jv self, const struct jinja_func *f)
{
    struct jinja_method *m = jinja_alloc(r, sizeof *m);
    *m = (struct jinja_method){self, f};
    return (struct jv){.kind = JV_METHOD, .method = m};
}

/* What Python's getattr finds; false when there is no such attribute. */
static bool own_attribute(struct jinja_run *r, struct jv object, struct jv name, struct jv *out)
{
    const struct jv *found = NULL;
    if (object.kind == JV_LOOP || object.kind == JV_CYCLER) {
        *out = object.kind == JV_LOOP ? jinja_loop_attr(r, object, name)
                                      : jinja_state_attr(r, object, name);
        return out->kind != JV_UNDEFINED || out->flag == UNDEFINED_HINT;
    }
    if (object.kind == JV_NAMESPACE) {
        found = jv_dict_find(r, object.dict, name);
    } else if (object.kind == JV_MACRO && jv_is_str(name, "name")) {
        found = &object.macro->macro->name;
    } else {
        bool blocked = false;
        const struct jinja_func *f = jinja_method_find(object, name, &blocked);
        if (f)
            *out = bind_method(r, object, f);
        else if (blocked)
            *out = hint(jinja_printf(r, "access to attribute '%.*s' of '%s' object is unsafe",
                                     (int)MIN(name.len, 60), name.s, jv_type_name(object)));
        return f || blocked;
    }
    if (found)
        *out = *found;
    return found != NULL;
}

struct jv jinja_attr(struct jinja_run *r, struct jv object, struct jv name)
{
    struct jv v;
    if (object.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, object);
    if (own_attribute(r, object, name, &v))
        return v;
    const struct jv *found = object.kind == JV_DICT ? jv_dict_find(r, object.dict, name) : NULL;
    return found ? *found : no_attribute(object, name);
}

/* A position counted from the end when negative; false when it is outside. */
static bool position(struct jv key, size_t len, size_t *at)
{
    if (key.kind != JV_INT && key.kind != JV_BOOL)
        return false;
    int64_t i = key.kind == JV_BOOL ? key.b : key.i;
    if (i < 0)
        i += (int64_t)len;
    *at = (size_t)i;
    return i >= 0 && (size_t)i < len;
}

static struct jv character(struct jv s, size_t index)
{
    size_t at = jinja_utf8_offset(s.s, s.len, index);
    size_t n = jinja_utf8_next(s.s + at, s.len - at, NULL);
    return jv_markup(jv_str(s.s + at, n), s.flag);
}

static bool element(struct jinja_run *r, struct jv object, struct jv key, struct jv *out)
{
    size_t len, at;
    if (object.kind == JV_DICT) {
        const struct jv *found = jv_hashable(r, key) ? jv_dict_find(r, object.dict, key) : NULL;
        if (found)
            *out = *found;
        return found != NULL;
    }
    bool indexed = object.kind == JV_STR || jv_is_sequence(object) || object.kind == JV_RANGE;
    if (!indexed || !jv_length(r, object, &len) || !position(key, len, &at))
        return false;
    *out = object.kind == JV_STR     ? character(object, at)
           : object.kind == JV_RANGE ? jinja_range_item(&object, at)
                                     : object.items[at];
    return true;
}

struct jv jinja_item(struct jinja_run *r, struct jv object, struct jv key)
{
    struct jv v;
    if (object.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, object);
    if (element(r, object, key, &v))
        return v;
    if (key.kind == JV_STR)
        return own_attribute(r, object, key, &v) ? v : no_attribute(object, key);
    if (key.kind == JV_INT)
        return hint(
            jinja_printf(r, "%s object has no element %" PRId64, jv_type_name(object), key.i));
    return hint(jinja_printf(r, "%s object has no such element", jv_type_name(object)));
}

/* ---- slices ---------------------------------------------------------------------------------- */

static int64_t slice_int(struct jinja_run *r, struct jv v)
{
    if (v.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, v);
    if (v.kind != JV_INT && v.kind != JV_BOOL)
        jinja_raise(r, "slice indices must be integers or None");
    return v.kind == JV_BOOL ? v.b : v.i;
}

/* A bound as a position in [lowest, highest]; negative ones count from the end. */
static int64_t slice_bound(struct jinja_run *r, struct jv v, int64_t otherwise, int64_t len,
                           int64_t lowest, int64_t highest)
{
    if (v.kind == JV_NONE)
        return otherwise;
    int64_t i = slice_int(r, v);
    if (i < 0)
        i = i < -len ? lowest : i + len;
    return MIN(MAX(i, lowest), highest);
}

struct span { /* of items: n of them, from `first`, each `step` on */
    int64_t first, step;
    size_t n;
};

static struct span make_span(struct jinja_run *r, struct jv lo, struct jv hi, struct jv step,
                             size_t length)
{
    int64_t len = (int64_t)length;
    int64_t by = step.kind == JV_NONE ? 1 : MAX(slice_int(r, step), -INT64_MAX);
    if (by == 0)
        jinja_raise(r, "slice step cannot be zero");
    bool down = by < 0;
    int64_t first =
        slice_bound(r, lo, down ? len - 1 : 0, len, down ? -1 : 0, down ? len - 1 : len);
    int64_t last = slice_bound(r, hi, down ? -1 : len, len, down ? -1 : 0, down ? len - 1 : len);
    int64_t distance = down ? first - last : last - first;
    struct span s = {.first = first, .step = by};
    if (distance > 0)
        s.n = (size_t)((distance - 1) / (down ? -by : by)) + 1;
    return s;
}

static struct jv slice_string(struct jinja_run *r, struct jv s, const struct span *span)
{
    if (span->n == 0)
        return jv_markup(jv_str(s.s, 0), s.flag);
    if (span->step == 1) {
        size_t from = jinja_utf8_offset(s.s, s.len, (size_t)span->first);
        size_t len = jinja_utf8_offset(s.s + from, s.len - from, span->n);
        return jv_markup(jv_str(s.s + from, len), s.flag);
    }
    struct jv_vec chars = {0};
    struct jv_cursor c = jv_iterate(r, s);
    for (struct jv one; jv_next(r, &c, &one);)
        jv_push(r, &chars, one);
    struct jv_text t = {.run = r};
    for (size_t i = 0; i < span->n; i++) {
        struct jv one = chars.items[span->first + (int64_t)i * span->step];
        jv_text_add(&t, one.s, one.len);
    }
    return jv_markup(jv_text_done(&t), s.flag);
}

static struct jv slice_items(struct jinja_run *r, struct jv v, const struct span *span)
{
    if (span->step == 1 || span->n == 0) {
        return jv_items(v.kind, v.items + (span->n > 0 ? span->first : 0), span->n);
    }
    struct jv *items = jinja_alloc_array(r, span->n, sizeof *items);
    jinja_charge(r, span->n * sizeof *items);
    for (size_t i = 0; i < span->n; i++)
        items[i] = v.items[span->first + (int64_t)i * span->step];
    return jv_items(v.kind, items, span->n);
}

struct jv jinja_slice(struct jinja_run *r, struct jv object, struct jv lo, struct jv hi,
                      struct jv step)
{
    size_t len;
    if (object.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, object);
    if (object.kind == JV_RANGE) {
        struct jv_vec items = jv_collect(r, object);
        object = jv_list(&items);
    }
    if (object.kind != JV_STR && !jv_is_sequence(object))
        jinja_raise(r, "'%s' object can't be sliced", jv_type_name(object));
    jv_length(r, object, &len);
    struct span span = make_span(r, lo, hi, step, len);
    return object.kind == JV_STR ? slice_string(r, object, &span) : slice_items(r, object, &span);
}

/* ---- paths ----------------------------------------------------------------------------------- */

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
    if (path.kind == JV_NONE || path.kind == JV_MISSING)
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
        if (object.kind == JV_UNDEFINED && default_value.kind != JV_MISSING &&
            default_value.kind != JV_NONE)
            object = default_value;
        if (!is_text)
            break;
    }
    return object;
}
