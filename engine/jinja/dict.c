/*
 * Dicts: pairs in the order of insertion, and beyond a few an open-addressing index over them.
 * Looking up charges a step per probe, so that colliding keys run into the step limit instead of
 * into quadratic time.
 */
#include "jinja/run.h"

#include <math.h>
#include <string.h>

#define INDEX_FROM 9 /* pairs; fewer are compared one by one */

bool jv_hashable(struct jinja_run *r, struct jv v)
{
    if (v.kind != JV_TUPLE)
        return v.kind != JV_LIST && v.kind != JV_DICT && v.kind != JV_VIEW;
    bool all = true;
    jinja_enter(r);
    for (size_t i = 0; i < v.len && all; i++)
        all = jv_hashable(r, v.items[i]);
    jinja_leave(r);
    return all;
}

static uint64_t mix(uint64_t h)
{
    h ^= h >> 33;
    h *= UINT64_C(0xff51afd7ed558ccd);
    h ^= h >> 33;
    h *= UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ h >> 33;
}

static uint64_t hash_number(struct jv v)
{
    double d = jv_to_double(v); /* equal numbers of different kinds must hash alike */
    uint64_t bits;
    d = d == 0 || isnan(d) ? 0 : d;
    memcpy(&bits, &d, sizeof bits);
    return mix(bits);
}

static uint64_t hash(struct jinja_run *r, struct jv v)
{
    if (v.kind == JV_STR) {
        jinja_charge(r, v.len);
        return mix(fnv1a(v.s, v.len) ^ v.len);
    }
    if (jv_is_number(v))
        return hash_number(v);
    uint64_t h = v.kind;
    if (v.kind == JV_TUPLE) {
        jinja_enter(r);
        for (size_t i = 0; i < v.len; i++)
            h = mix(h * 31 + hash(r, v.items[i]));
        jinja_leave(r);
    }
    return h;
}

struct jv jv_dict_new(struct jinja_run *r)
{
    struct jv_dict *d = jinja_alloc(r, 1, sizeof *d);
    *d = (struct jv_dict){0};
    return (struct jv){.kind = JV_DICT, .dict = d};
}

/* The slot that holds key, or the free one where it belongs. */
static uint32_t *probe(struct jinja_run *r, const struct jv_dict *d, struct jv key)
{
    uint32_t mask = d->n_slots - 1;
    for (uint32_t i = (uint32_t)hash(r, key) & mask;; i = (i + 1) & mask) {
        uint32_t *slot = &d->index[i];
        if (*slot == 0 || jv_equal(r, d->pairs[*slot - 1].key, key))
            return slot;
        jinja_charge(r, 0);
    }
}

struct jv *jv_dict_find(struct jinja_run *r, const struct jv_dict *d, struct jv key)
{
    if (!jv_hashable(r, key))
        jinja_raise(r, "unhashable type: '%s'", jv_type_name(key));
    if (d->n_slots > 0) {
        uint32_t at = *probe(r, d, key);
        return at ? &d->pairs[at - 1].value : NULL;
    }
    for (uint32_t i = 0; i < d->n; i++) {
        if (jv_equal(r, d->pairs[i].key, key))
            return &d->pairs[i].value;
    }
    return NULL;
}

static void build_index(struct jinja_run *r, struct jv_dict *d)
{
    d->n_slots = d->cap * 2;
    d->index = jinja_alloc(r, d->n_slots, sizeof *d->index);
    memset(d->index, 0, d->n_slots * sizeof *d->index);
    for (uint32_t i = 0; i < d->n; i++)
        *probe(r, d, d->pairs[i].key) = i + 1;
}

static void grow(struct jinja_run *r, struct jv_dict *d)
{
    if (d->cap > UINT32_MAX / 8)
        jinja_raise(r, "too many keys in a dict");
    d->cap = d->cap ? d->cap * 2 : 4;
    struct jv_pair *pairs = jinja_alloc(r, d->cap, sizeof *pairs);
    if (d->n > 0)
        memcpy(pairs, d->pairs, d->n * sizeof *pairs);
    d->pairs = pairs;
    if (d->cap >= INDEX_FROM)
        build_index(r, d);
}

void jv_dict_set(struct jinja_run *r, struct jv dict, struct jv key, struct jv value)
{
    struct jv_dict *d = dict.dict;
    struct jv *old = jv_dict_find(r, d, key);
    if (old) {
        *old = value;
        return;
    }
    if (d->n == d->cap)
        grow(r, d);
    d->pairs[d->n++] = (struct jv_pair){key, value};
    if (d->n_slots > 0)
        *probe(r, d, key) = d->n;
}
