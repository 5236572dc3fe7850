/*
 * Values: what they are, whether they are true, equal or in order, and how they are walked.
 */
#include "specd/json.h"
#include "specd/utf8.h"
#include "jinja/run.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct jv jv_none(void)
{
    return (struct jv){.kind = JV_NONE};
}

struct jv jv_bool(bool b)
{
    return (struct jv){.kind = JV_BOOL, .b = b};
}

struct jv jv_int(int64_t i)
{
    return (struct jv){.kind = JV_INT, .i = i};
}

struct jv jv_float(double d)
{
    return (struct jv){.kind = JV_FLOAT, .d = d};
}

struct jv jv_str(const char *s, size_t len)
{
    return (struct jv){.kind = JV_STR, .s = s ? s : "", .len = len};
}

struct jv jv_cstr(const char *s)
{
    return jv_str(s, strlen(s));
}

struct jv jv_own(struct jv s)
{
    s.origin = ORIGIN_TEMPLATE;
    return s;
}

struct jv jv_part(struct jv s, size_t from, size_t to)
{
    s.s += MIN(from, to);
    s.len = from < to ? to - from : 0;
    return s;
}

static struct jv json_number_value(const struct json *v)
{
    const char *text = json_number_text(v);
    struct jv out = jv_float(json_number(v));
    if (text[strspn(text, "-0123456789")] == '\0') {
        errno = 0;
        int64_t i = strtoll(text, NULL, 10);
        if (errno == ERANGE)
            out.flag = true;
        else
            out = jv_int(i);
    }
    out.text = text;
    return out;
}

struct jv jv_json(struct jinja_run *r, const struct json *v)
{
    struct jv_vec items = {0};
    struct jv dict;
    switch (json_type(v)) {
    case JSON_BOOL:
        return jv_bool(json_bool(v));
    case JSON_NUMBER:
        return json_number_value(v);
    case JSON_STRING:
        return jv_cstr(json_string(v));
    case JSON_ARRAY:
        for (const struct json *m = json_first(v); m; m = json_next(m))
            jv_push(r, &items, jv_json(r, m));
        return jv_list(&items);
    case JSON_OBJECT:
        dict = jv_dict_new(r);
        for (const struct json *m = json_first(v); m; m = json_next(m))
            jv_dict_set(r, dict, jv_cstr(json_key(m)), jv_json(r, m));
        return dict;
    default:
        return jv_none();
    }
}

struct jv jv_undefined(enum jv_undefined why, struct jv text)
{
    return (struct jv){.kind = JV_UNDEFINED, .flag = (uint8_t)why, .s = text.s, .len = text.len};
}

struct jv jv_no_attribute(struct jv object, struct jv name)
{
    struct jv v = jv_undefined(UNDEFINED_ATTRIBUTE, name);
    v.owner = object.kind;
    return v;
}

struct jv jv_hint(const char *message)
{
    return jv_undefined(UNDEFINED_HINT, jv_cstr(message));
}

void jv_push(struct jinja_run *r, struct jv_vec *v, struct jv item)
{
    if (v->n == v->cap) {
        size_t cap = v->cap ? v->cap * 2 : 4;
        struct jv *items = jinja_alloc(r, cap, sizeof *items);
        if (v->n > 0)
            memcpy(items, v->items, v->n * sizeof *items);
        v->items = items;
        v->cap = cap;
    }
    v->items[v->n++] = item;
}

struct jv jv_items(enum jv_kind kind, const struct jv *items, size_t n)
{
    static const struct jv nothing; /* so that there is always something to point at */
    return (struct jv){.kind = (uint8_t)kind, .items = items ? items : &nothing, .len = n};
}

struct jv jv_list(const struct jv_vec *v)
{
    return jv_items(JV_LIST, v->items, v->n);
}

struct jv jv_tuple(const struct jv_vec *v)
{
    return jv_items(JV_TUPLE, v->items, v->n);
}

struct jv jv_pair_tuple(struct jinja_run *r, struct jv a, struct jv b)
{
    struct jv *items = jinja_alloc(r, 2, sizeof *items);
    items[0] = a;
    items[1] = b;
    return jv_items(JV_TUPLE, items, 2);
}

struct jv jv_view(struct jv dict, enum jv_view which)
{
    return (struct jv){.kind = JV_VIEW, .flag = (uint8_t)which, .dict = dict.dict};
}

bool jv_is_str(struct jv v, const char *text)
{
    return v.kind == JV_STR && v.len == strlen(text) && memcmp(v.s, text, v.len) == 0;
}

bool jv_is_markup(struct jv v)
{
    return v.kind == JV_STR && v.flag;
}

bool jv_is_int(struct jv v)
{
    return v.kind == JV_INT || v.kind == JV_BOOL;
}

bool jv_is_large_int(struct jv v)
{
    return v.kind == JV_FLOAT && v.flag;
}

int64_t jv_to_int(struct jv v)
{
    return v.kind == JV_BOOL ? v.b : v.i;
}

bool jv_is_number(struct jv v)
{
    return jv_is_int(v) || v.kind == JV_FLOAT;
}

double jv_to_double(struct jv v)
{
    return v.kind == JV_FLOAT ? v.d : (double)jv_to_int(v);
}

bool jv_is_given(struct jv v)
{
    return v.kind != JV_MISSING && v.kind != JV_NONE;
}

bool jv_is_sequence(struct jv v)
{
    return v.kind == JV_LIST || v.kind == JV_TUPLE;
}

const char *jv_type_name(struct jv v)
{
    static const char *const names[] = {
        [JV_MISSING] = "missing",  [JV_UNDEFINED] = "Undefined",
        [JV_NONE] = "NoneType",    [JV_BOOL] = "bool",
        [JV_INT] = "int",          [JV_FLOAT] = "float",
        [JV_STR] = "str",          [JV_LIST] = "list",
        [JV_TUPLE] = "tuple",      [JV_DICT] = "dict",
        [JV_VIEW] = "dict_items",  [JV_RANGE] = "range",
        [JV_ITER] = "generator",   [JV_NAMESPACE] = "Namespace",
        [JV_LOOP] = "LoopContext", [JV_MACRO] = "Macro",
        [JV_FUNC] = "function",    [JV_METHOD] = "method",
        [JV_JOINER] = "Joiner",    [JV_CYCLER] = "Cycler",
    };
    if (v.kind == JV_VIEW && v.flag != VIEW_ITEMS)
        return v.flag == VIEW_KEYS ? "dict_keys" : "dict_values";
    if (jv_is_large_int(v))
        return "int";
    return jv_is_markup(v) ? "Markup" : names[v.kind];
}

bool jv_truth(struct jinja_run *r, struct jv v)
{
    size_t len;
    switch (v.kind) {
    case JV_NONE:
    case JV_UNDEFINED:
        return false;
    case JV_BOOL:
        return v.b;
    case JV_INT:
        return v.i != 0;
    case JV_FLOAT:
        return v.d != 0;
    default:
        return !jv_length(r, v, &len) || len > 0;
    }
}

bool jv_length(struct jinja_run *r, struct jv v, size_t *out)
{
    switch (v.kind) {
    case JV_UNDEFINED:
        *out = 0;
        return true;
    case JV_STR:
        jinja_charge(r, v.len);
        *out = utf8_count(v.s, v.len);
        return true;
    case JV_LIST:
    case JV_TUPLE:
    case JV_RANGE:
        *out = v.len;
        return true;
    case JV_DICT:
    case JV_VIEW:
        *out = v.dict->n;
        return true;
    case JV_LOOP:
        *out = jinja_loop_length(r, v.loop);
        return true;
    default:
        return false;
    }
}

static bool equal_items(struct jinja_run *r, struct jv a, struct jv b)
{
    if (a.len != b.len)
        return false;
    jinja_charge(r, a.len * sizeof *a.items);
    for (size_t i = 0; i < a.len; i++) {
        if (!jv_equal(r, a.items[i], b.items[i]))
            return false;
    }
    return true;
}

static bool equal_dicts(struct jinja_run *r, const struct jv_dict *a, const struct jv_dict *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++) {
        const struct jv *other = jv_dict_find(r, b, a->pairs[i].key);
        if (!other || !jv_equal(r, a->pairs[i].value, *other))
            return false;
    }
    return true;
}

static bool equal_numbers(struct jv a, struct jv b)
{
    if (jv_is_large_int(a) && jv_is_large_int(b))
        return strcmp(a.text, b.text) == 0;
    if (a.kind == JV_FLOAT || b.kind == JV_FLOAT)
        return jv_to_double(a) == jv_to_double(b);
    return jv_to_int(a) == jv_to_int(b);
}

static bool equal_same_kind(struct jinja_run *r, struct jv a, struct jv b)
{
    switch (a.kind) {
    case JV_UNDEFINED:
    case JV_NONE:
        return true;
    case JV_STR:
        jinja_charge(r, MIN(a.len, b.len));
        return a.len == b.len && memcmp(a.s, b.s, a.len) == 0;
    case JV_LIST:
    case JV_TUPLE:
        return equal_items(r, a, b);
    case JV_DICT:
        return equal_dicts(r, a.dict, b.dict);
    case JV_RANGE:
        return a.len == b.len && (a.len == 0 || a.range->start == b.range->start) &&
               (a.len < 2 || a.range->step == b.range->step);
    case JV_METHOD:
        return a.method->func == b.method->func && jv_equal(r, a.method->self, b.method->self);
    default:
        return a.items == b.items && a.flag == b.flag;
    }
}

bool jv_equal(struct jinja_run *r, struct jv a, struct jv b)
{
    if (jv_is_number(a) && jv_is_number(b))
        return equal_numbers(a, b);
    if (a.kind != b.kind)
        return false;
    jinja_enter(r);
    bool equal = equal_same_kind(r, a, b);
    jinja_leave(r);
    return equal;
}

static int compare_bytes(struct jinja_run *r, struct jv a, struct jv b)
{
    size_t n = MIN(a.len, b.len);
    jinja_charge(r, n);
    int c = memcmp(a.s, b.s, n); /* UTF-8 sorts as its code points do */
    return c != 0 ? (c > 0) - (c < 0) : (a.len > b.len) - (a.len < b.len);
}

static int compare_items(struct jinja_run *r, struct jv a, struct jv b, const char *op)
{
    for (size_t i = 0; i < a.len && i < b.len; i++) {
        if (!jv_equal(r, a.items[i], b.items[i]))
            return jv_compare(r, a.items[i], b.items[i], op);
    }
    return (a.len > b.len) - (a.len < b.len);
}

int jv_compare(struct jinja_run *r, struct jv a, struct jv b, const char *op)
{
    if (a.kind == JV_UNDEFINED || b.kind == JV_UNDEFINED)
        jinja_raise_undefined(r, a.kind == JV_UNDEFINED ? a : b);
    if (jv_is_number(a) && jv_is_number(b)) {
        if (a.kind == JV_INT && b.kind == JV_INT)
            return (a.i > b.i) - (a.i < b.i);
        double x = jv_to_double(a), y = jv_to_double(b);
        return x != x || y != y ? 2 : (x > y) - (x < y);
    }
    if (a.kind == JV_STR && b.kind == JV_STR)
        return compare_bytes(r, a, b);
    if (a.kind != b.kind || !jv_is_sequence(a))
        jinja_raise(r, "'%s' not supported between instances of '%s' and '%s'", op, jv_type_name(a),
                    jv_type_name(b));
    jinja_enter(r);
    int c = compare_items(r, a, b, op);
    jinja_leave(r);
    return c;
}

static bool contains_text(struct jinja_run *r, struct jv text, struct jv part)
{
    if (part.kind != JV_STR)
        jinja_raise(r, "'in <string>' requires string as left operand, not %s", jv_type_name(part));
    jinja_charge(r, text.len);
    return memmem(text.s, text.len, part.s, part.len) != NULL;
}

bool jv_contains(struct jinja_run *r, struct jv seq, struct jv item)
{
    if (seq.kind == JV_STR)
        return contains_text(r, seq, item);
    if (seq.kind == JV_DICT)
        return jv_dict_find(r, seq.dict, item) != NULL;
    struct jv_cursor c = jv_iterate(r, seq);
    for (struct jv v; jv_next(r, &c, &v);) {
        if (jv_equal(r, v, item))
            return true;
    }
    return false;
}

bool jv_iterable(struct jv v)
{
    switch (v.kind) {
    case JV_UNDEFINED:
    case JV_STR:
    case JV_LIST:
    case JV_TUPLE:
    case JV_DICT:
    case JV_VIEW:
    case JV_RANGE:
    case JV_ITER:
        return true;
    default:
        return false;
    }
}

struct jv_cursor jv_iterate(struct jinja_run *r, struct jv v)
{
    if (!jv_iterable(v))
        jinja_raise(r, "'%s' object is not iterable", jv_type_name(v));
    return (struct jv_cursor){.seq = v};
}

static struct jv view_item(struct jinja_run *r, struct jv v, size_t at)
{
    const struct jv_pair *p = &v.dict->pairs[at];
    if (v.kind == JV_DICT || v.flag == VIEW_KEYS)
        return p->key;
    return v.flag == VIEW_VALUES ? p->value : jv_pair_tuple(r, p->key, p->value);
}

bool jv_next(struct jinja_run *r, struct jv_cursor *c, struct jv *out)
{
    struct jv v = c->seq;
    if (v.kind == JV_ITER)
        return jinja_gen_next(r, v.gen, out);
    bool keyed = v.kind == JV_DICT || v.kind == JV_VIEW;
    if (v.kind == JV_UNDEFINED || c->at >= (keyed ? v.dict->n : v.len))
        return false;
    jinja_charge(r, 0);
    if (v.kind == JV_STR) {
        size_t n = utf8_next(v.s + c->at, v.len - c->at, NULL);
        *out = jv_markup(jv_part(v, c->at, c->at + n), false);
        c->at += n;
        return true;
    }
    *out = keyed                ? view_item(r, v, c->at)
           : v.kind == JV_RANGE ? jinja_range_item(&v, c->at)
                                : v.items[c->at];
    c->at++;
    return true;
}

struct jv_vec jv_collect(struct jinja_run *r, struct jv v)
{
    if (jv_is_sequence(v)) /* shared: a later push copies, since there is no room to spare */
        return (struct jv_vec){.items = (struct jv *)v.items, .n = v.len, .cap = v.len};
    struct jv_cursor c = jv_iterate(r, v);
    struct jv_vec all = {0};
    for (struct jv item; jv_next(r, &c, &item);)
        jv_push(r, &all, item);
    return all;
}
