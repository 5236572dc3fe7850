/*
 * Whether a value of the document satisfies a schema of it (JSON Schema 2020-12): which constants
 * of an enum its other keywords leave. Formats are annotations here.
 */
#include "grammar/chars.h"
#include "grammar/schema.h"

#include <string.h>

#define CHECK_DEPTH_MAX 100 /* schemas within each other; $ref may lead in a circle */

static bool holds(struct compiler *c, uint32_t v, const struct term *t, int depth);

/* ---- equality -------------------------------------------------------------------------------- */

static bool equal(struct compiler *c, uint32_t a, uint32_t b)
{
    const struct chat_value *x = &c->v[a], *y = &c->v[b];
    c->net.work++;
    if (a == b)
        return true;
    if (value_is_number(x) && value_is_number(y)) {
        struct json_decimal p = decimal_at(c, a), q = decimal_at(c, b);
        c->net.work += 10;
        return json_decimal_compare(&p, &q) == 0;
    }
    if (x->kind != y->kind)
        return false;
    if (x->kind == CHAT_BOOL)
        return x->b == y->b;
    if (x->kind == CHAT_STRING)
        return strcmp(x->s, y->s) == 0;
    if (!value_is_container(x))
        return true;
    if (x->n != y->n)
        return false;
    uint32_t other = value_first(c, b);
    for (uint32_t i = value_first(c, a); i != NO_VALUE; i = value_next(c, a, i)) {
        uint32_t with = x->kind == CHAT_DICT ? value_get(c, b, c->v[i].key) : other;
        if (with == NO_VALUE || !equal(c, i, with))
            return false;
        other = value_next(c, b, other);
    }
    return true;
}

static bool is_one_of(struct compiler *c, uint32_t v, uint32_t list)
{
    if (v > list && v < c->end[list]) /* one that was taken from it */
        return true;
    for (uint32_t i = value_first(c, list); i != NO_VALUE; i = value_next(c, list, i))
        if (equal(c, v, i))
            return true;
    return false;
}

/* ---- types ----------------------------------------------------------------------------------- */

static bool has_type(struct compiler *c, uint32_t v, unsigned types)
{
    static const unsigned of_kind[] = {
        [CHAT_NULL] = TYPE_NULL,    [CHAT_BOOL] = TYPE_BOOLEAN,  [CHAT_INT] = TYPE_NUMBER,
        [CHAT_FLOAT] = TYPE_NUMBER, [CHAT_STRING] = TYPE_STRING, [CHAT_LIST] = TYPE_ARRAY,
        [CHAT_DICT] = TYPE_OBJECT};
    if (types & of_kind[c->v[v].kind])
        return true;
    if (!(types & TYPE_INTEGER) || !value_is_number(&c->v[v]))
        return false;
    struct json_decimal d = decimal_at(c, v);
    return d.n_digits <= d.exponent || d.n_digits == 0;
}

static bool string_holds(struct compiler *c, uint32_t v, uint32_t s)
{
    struct buf text = {0};
    uint32_t length = 0, pattern = value_get(c, s, "pattern");
    for (const char *p = c->v[v].s; *p; p++)
        length += ((uint8_t)*p & 0xC0) != 0x80;
    if (length < keyword_count(c, s, "minLength", 0) ||
        length > keyword_count(c, s, "maxLength", NODE_NO_MAX))
        return false;
    if (pattern == NO_VALUE)
        return true;
    const struct dfa *d = pattern_at(c, pattern);
    buf_add(&text, "", 0);
    chars_spell(c->v[v].s, strlen(c->v[v].s), &text);
    bool matches = d && dfa_accepts(d, text.data, text.len);
    buf_free(&text);
    return matches;
}

static bool array_holds(struct compiler *c, uint32_t v, const struct term *t, int depth)
{
    uint32_t s = t->schema, n = c->v[v].n, items = value_get(c, s, "items");
    uint32_t prefix = value_get(c, s, "prefixItems"), unique = value_get(c, s, "uniqueItems");
    if (n < keyword_count(c, s, "minItems", 0) || n > keyword_count(c, s, "maxItems", NODE_NO_MAX))
        return false;
    if (items != NO_VALUE && c->v[items].kind == CHAT_LIST) {
        prefix = items;
        items = value_get(c, s, "additionalItems");
    }
    uint32_t at = prefix == NO_VALUE ? NO_VALUE : value_first(c, prefix);
    for (uint32_t i = value_first(c, v); i != NO_VALUE; i = value_next(c, v, i)) {
        uint32_t schema = at != NO_VALUE ? at : items;
        struct term child;
        if (schema != NO_VALUE) {
            child = term_at(c, schema, t->resource);
            if (!holds(c, i, &child, depth))
                return false;
        }
        if (at != NO_VALUE)
            at = value_next(c, prefix, at);
        if (unique == NO_VALUE || c->v[unique].kind != CHAT_BOOL || !c->v[unique].b)
            continue;
        for (uint32_t k = value_first(c, v); k != i; k = value_next(c, v, k))
            if (equal(c, k, i))
                return false;
    }
    return true;
}

static bool member_holds(struct compiler *c, uint32_t v, const struct term *t, int depth)
{
    uint32_t properties = value_get(c, t->schema, "properties");
    uint32_t patterns = value_get(c, t->schema, "patternProperties");
    uint32_t more = value_get(c, t->schema, "additionalProperties");
    uint32_t at = properties == NO_VALUE ? NO_VALUE : value_get(c, properties, c->v[v].key);
    bool named = at != NO_VALUE, good = true;
    struct buf text = {0};
    struct term child;
    buf_add(&text, "", 0);
    chars_spell(c->v[v].key, strlen(c->v[v].key), &text);
    if (named) {
        child = term_at(c, at, t->resource);
        good = holds(c, v, &child, depth);
    }
    if (patterns != NO_VALUE && c->v[patterns].kind == CHAT_DICT)
        for (uint32_t i = value_first(c, patterns); i != NO_VALUE && good;
             i = value_next(c, patterns, i)) {
            const struct dfa *d = name_pattern_at(c, i);
            if (!d || !dfa_accepts(d, text.data, text.len))
                continue;
            named = true;
            child = term_at(c, i, t->resource);
            good = holds(c, v, &child, depth);
        }
    if (!named && more != NO_VALUE) {
        child = term_at(c, more, t->resource);
        good = holds(c, v, &child, depth);
    }
    buf_free(&text);
    return good;
}

static bool object_holds(struct compiler *c, uint32_t v, const struct term *t, int depth)
{
    uint32_t s = t->schema, n = c->v[v].n, required = value_get(c, s, "required");
    if (n < keyword_count(c, s, "minProperties", 0) ||
        n > keyword_count(c, s, "maxProperties", NODE_NO_MAX))
        return false;
    for (uint32_t i = required == NO_VALUE ? NO_VALUE : value_first(c, required); i != NO_VALUE;
         i = value_next(c, required, i))
        if (c->v[i].kind == CHAT_STRING && value_get(c, v, c->v[i].s) == NO_VALUE)
            return false;
    if (value_get(c, s, "propertyNames") != NO_VALUE)
        compile_error(c, s, "propertyNames beside enum or const is not supported");
    for (uint32_t i = value_first(c, v); i != NO_VALUE; i = value_next(c, v, i))
        if (!member_holds(c, i, t, depth))
            return false;
    return true;
}

/* ---- whole ----------------------------------------------------------------------------------- */

/* How many schemas of a list hold; all, without the keyword. */
static uint32_t count_of(struct compiler *c, uint32_t v, const struct term *t, const char *key,
                         int depth, uint32_t *n)
{
    uint32_t list = value_get(c, t->schema, key), held = 0;
    *n = 0;
    if (list == NO_VALUE || c->v[list].kind != CHAT_LIST)
        return 0;
    *n = c->v[list].n;
    for (uint32_t i = value_first(c, list); i != NO_VALUE; i = value_next(c, list, i)) {
        struct term child = term_at(c, i, t->resource);
        held += holds(c, v, &child, depth);
    }
    return held;
}

static bool holds(struct compiler *c, uint32_t v, const struct term *t, int depth)
{
    uint32_t s = t->schema, n, held;
    const struct chat_value *x = &c->v[v];
    struct term to;
    if (c->v[s].kind == CHAT_BOOL)
        return c->v[s].b;
    if (c->v[s].kind != CHAT_DICT || depth == CHECK_DEPTH_MAX ||
        !compile_goes_on(c, s, c->v[s].n + 1))
        return false;
    uint32_t ref = value_get(c, s, "$ref"), one = value_get(c, s, "const");
    uint32_t list = value_get(c, s, "enum");
    if (ref != NO_VALUE && !(term_follow(c, t, ref, &to) && holds(c, v, &to, depth + 1)))
        return false;
    if (count_of(c, v, t, "allOf", depth + 1, &n) != n)
        return false;
    held = count_of(c, v, t, "anyOf", depth + 1, &n);
    if (n > 0 && held == 0)
        return false;
    held = count_of(c, v, t, "oneOf", depth + 1, &n);
    if (n > 0 && held != 1)
        return false;
    if ((one != NO_VALUE && !equal(c, v, one)) || (list != NO_VALUE && !is_one_of(c, v, list)) ||
        !has_type(c, v, schema_types(c, s)))
        return false;
    switch (x->kind) {
    case CHAT_INT:
    case CHAT_FLOAT:
        return number_satisfies(c, v, s);
    case CHAT_STRING:
        return string_holds(c, v, s);
    case CHAT_LIST:
        return array_holds(c, v, t, depth + 1);
    case CHAT_DICT:
        return object_holds(c, v, t, depth + 1);
    default:
        return true;
    }
}

bool value_satisfies(struct compiler *c, uint32_t v, const struct term *t)
{
    return holds(c, v, t, 0);
}
