/*
 * Objects (JSON Schema 2020-12, Core 10.3.2, Validation 6.5): properties in their order.
 *
 * From each property on there is one node per place in the order, "choose from here": a tree of the
 * names of the next properties up to the first that is required, which leads into one chain of
 * nodes per name. So values are compiled once, and a key is read by few stacks.
 */
#include "grammar/chars.h"
#include "grammar/schema.h"

#include <stdlib.h>
#include <string.h>

/* Bytes of a spelled name; the tree of names is made recursively. */
#define NAME_SPELLED_MAX 512

struct property {
    const char *name;
    uint32_t schema; /* NO_VALUE: that of additional properties */
    bool required;
    struct buf text; /* the name as it is spelled, and the quote behind it */
    uint32_t *chain; /* (text.len + 1) nodes of the text, from each offset on */
};

struct object {
    struct compiler *c;
    struct property *p;
    uint32_t n, cap;
    bool open;           /* additional properties may come */
    uint32_t additional; /* their schema; NO_VALUE: anything */
    uint32_t shut, end;  /* the bracket; white space before it */
    struct word *words;  /* (n) scratch */
};

/* ---- what the schema says -------------------------------------------------------------------- */

static struct property *find(struct object *o, const char *name)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (strcmp(o->p[i].name, name) == 0)
            return &o->p[i];
    return NULL;
}

static struct property *add(struct object *o, const char *name, uint32_t schema)
{
    if (o->n == o->cap) {
        o->cap = o->cap ? o->cap * 2 : 16;
        o->p = xrealloc(o->p, o->cap * sizeof *o->p);
    }
    o->p[o->n] = (struct property){.name = name, .schema = schema};
    spell_string(o->c, name, &o->p[o->n].text);
    if (o->p[o->n].text.len > NAME_SPELLED_MAX)
        compile_error(o->c, "the name \"%.80s...\" is too long", name);
    return &o->p[o->n++];
}

static void read_properties(struct object *o, uint32_t s)
{
    struct compiler *c = o->c;
    uint32_t dict = value_get(c, s, "properties");
    if (dict == NO_VALUE)
        return;
    if (c->v[dict].kind != CHAT_DICT) {
        compile_error(c, "properties must be an object");
        return;
    }
    for (uint32_t i = value_first(c, dict); i != NO_VALUE; i = value_next(c, dict, i))
        if (o->n < GRAMMAR_PROPERTIES_MAX && !find(o, c->v[i].key))
            add(o, c->v[i].key, i);
        else
            compile_error(c, "properties has \"%.80s\" twice, or more than %d names", c->v[i].key,
                          GRAMMAR_PROPERTIES_MAX);
}

static void read_additional(struct object *o, uint32_t s)
{
    uint32_t at = value_get(o->c, s, "additionalProperties");
    bool flag = at != NO_VALUE && o->c->v[at].kind == CHAT_BOOL;
    o->open = !flag || o->c->v[at].b;
    o->additional = flag ? NO_VALUE : at;
}

static void read_required(struct object *o, uint32_t s)
{
    struct compiler *c = o->c;
    uint32_t list = value_get(c, s, "required");
    if (list == NO_VALUE)
        return;
    if (c->v[list].kind != CHAT_LIST) {
        compile_error(c, "required must be a list of names");
        return;
    }
    for (uint32_t i = value_first(c, list); i != NO_VALUE; i = value_next(c, list, i)) {
        if (c->v[i].kind != CHAT_STRING) {
            compile_error(c, "required must be a list of names");
            return;
        }
        struct property *p = find(o, c->v[i].s);
        if (!p && (!o->open || o->n >= GRAMMAR_PROPERTIES_MAX)) {
            compile_error(c, "required names \"%.80s\", which no property may be called",
                          c->v[i].s);
            return;
        }
        if (!p)
            p = add(o, c->v[i].s, NO_VALUE);
        p->required = true;
    }
}

/* ---- additional properties ------------------------------------------------------------------- */

/* A key that differs from all declared ones: along their letters, and off to any string where it
 * leaves them. words[0..n) share their first `offset` bytes, which leave a string in state sub. */
static uint32_t other_key(struct object *o, struct word *words, size_t n, size_t offset,
                          uint8_t sub, const uint32_t *off)
{
    struct network *w = &o->c->net;
    struct edge edges[256];
    size_t n_edges = 0, at = 0;
    bool escape = sub == CHARS_ESCAPE || (sub >= CHARS_HEX4 && sub <= CHARS_HEX1);
    for (int byte = 0; byte < 256 && !w->full; byte++) {
        size_t from = at;
        uint32_t to = NODE_OF_NOTHING;
        while (at < n && (uint8_t)words[at].text[offset] == byte)
            at++;
        uint8_t next = chars_next(sub, (uint8_t)byte);
        if (byte == '"' && sub == CHARS_WHOLE)
            to = from < at ? NODE_OF_NOTHING : words[0].next;
        else if (from < at)
            to = other_key(o, words + from, at - from, offset + 1, next, off);
        else if (!escape && byte != '\\' && next != CHARS_DEAD)
            to = off[next];
        if (n_edges > 0 && edges[n_edges - 1].to == to && edges[n_edges - 1].hi + 1 == byte)
            edges[n_edges - 1].hi = (uint8_t)byte;
        else if (to != NODE_OF_NOTHING)
            edges[n_edges++] = (struct edge){(uint8_t)byte, (uint8_t)byte, to};
    }
    return network_edges(w, NODE_BYTES, edges, n_edges);
}

static int by_text(const void *a, const void *b)
{
    const struct word *x = a, *y = b;
    int order = memcmp(x->text, y->text, MIN(x->len, y->len));
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* Behind the key's opening quote. */
static uint32_t additional_key(struct object *o, uint32_t next)
{
    struct network *w = &o->c->net;
    uint32_t off[CHARS_N];
    if (o->n == 0)
        return network_string(w, CHARS_WHOLE, 0, NODE_NO_MAX, next);
    for (uint8_t sub = 1; sub < CHARS_N; sub++)
        off[sub] = network_string(w, sub, 0, NODE_NO_MAX, next);
    for (uint32_t i = 0; i < o->n; i++)
        o->words[i] =
            (struct word){.text = o->p[i].text.data, .len = o->p[i].text.len, .next = next};
    qsort(o->words, o->n, sizeof *o->words, by_text);
    return other_key(o, o->words, o->n, 0, CHARS_WHOLE, off);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static uint32_t value(struct object *o, const struct property *p, uint32_t next)
{
    struct compiler *c = o->c;
    uint32_t schema = p && p->schema != NO_VALUE ? p->schema : o->additional;
    size_t mark = c->path.len;
    uint32_t node;
    if (p && p->schema != NO_VALUE) {
        path_in(c, "properties");
        path_in(c, p->name);
    } else {
        path_in(c, "additionalProperties");
    }
    if (schema == NO_VALUE)
        node = compile_common(c, COMMON_VALUE, next);
    else
        node = compile_schema(c, schema, next);
    path_out(c, mark);
    node = network_split(&c->net, node, network_byte(&c->net, ' ', ' ', node));
    return network_byte(&c->net, ':', ':', node);
}

static uint32_t comma(struct object *o, uint32_t next)
{
    return network_byte(&o->c->net, ',', ',', network_space(&o->c->net, next));
}

/* The names from i on up to the first required one, behind the opening quote. */
static uint32_t declared_keys(struct object *o, uint32_t i)
{
    size_t n = 0;
    for (; i < o->n; i++) {
        const struct property *p = &o->p[i];
        o->words[n++] = (struct word){.text = p->text.data, .len = p->text.len, .chain = p->chain};
        if (p->required)
            break;
    }
    return network_words(&o->c->net, o->words, n, 0);
}

static void make_chain(struct object *o, struct property *p, uint32_t next)
{
    p->chain = xmalloc((p->text.len + 1) * sizeof *p->chain);
    p->chain[p->text.len] = value(o, p, next);
    for (size_t i = p->text.len; i-- > 0;) {
        uint8_t byte = (uint8_t)p->text.data[i];
        p->chain[i] = network_byte(&o->c->net, byte, byte, p->chain[i + 1]);
    }
}

/* From the last property to the first. `behind` is what may follow a property before i: a comma and
 * a key, or the end; `key` an opening quote and what follows. Returns the first key or the end. */
static uint32_t all_properties(struct object *o)
{
    struct network *w = &o->c->net;
    uint32_t extra = NODE_OF_NOTHING, key = NODE_OF_NOTHING, behind = o->end;
    bool may_end = true; /* no required property is left */
    if (o->open) {
        behind = network_later(w);
        extra = additional_key(o, value(o, NULL, behind));
        key = network_byte(w, '"', '"', extra);
        network_set(w, behind, NODE_SPLIT, (struct edge[]){{.to = comma(o, key)}, {.to = o->end}},
                    2);
    }
    for (uint32_t i = o->n; i-- > 0 && o->c->rc == 0 && !w->full;) {
        make_chain(o, &o->p[i], behind);
        may_end = may_end && !o->p[i].required;
        uint32_t names = declared_keys(o, i);
        key = network_byte(w, '"', '"', may_end ? network_split(w, names, extra) : names);
        behind = network_split(w, comma(o, key), may_end ? o->end : NODE_OF_NOTHING);
    }
    return network_split(w, key, may_end ? o->shut : NODE_OF_NOTHING);
}

uint32_t compile_object(struct compiler *c, uint32_t s, uint32_t next)
{
    struct network *w = &c->net;
    struct object o = {.c = c};
    uint32_t node = next;
    read_properties(&o, s);
    read_additional(&o, s);
    read_required(&o, s);
    if (c->rc == 0 && o.n == 0 && o.open && o.additional == NO_VALUE) {
        node = compile_common(c, COMMON_OBJECT, next);
    } else if (c->rc == 0) {
        o.words = xmalloc((o.n + 1) * sizeof *o.words);
        o.shut = network_byte(w, '}', '}', next);
        o.end = network_space(w, o.shut);
        node = network_byte(w, '{', '{', network_space(w, all_properties(&o)));
    }
    for (uint32_t i = 0; i < o.n; i++) {
        buf_free(&o.p[i].text);
        free(o.p[i].chain);
    }
    free(o.words);
    free(o.p);
    return node;
}
