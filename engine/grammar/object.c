/*
 * Objects (JSON Schema 2020-12, Core 10.3.2, Validation 6.5): a set of properties in any order,
 * each once, and others among them.
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

/* ---- nodes ----------------------------------------------------------------------------------- */

/* A colon and a value, up to the return to the frame of the set. */
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

/* Names are any strings: no set is needed, and no count of what has come. */
static uint32_t free_names(struct object *o)
{
    struct network *w = &o->c->net;
    uint32_t behind = network_later(w);
    uint32_t key = compile_any_string(o->c, value(o, NULL, behind));
    network_set(w, behind, NODE_SPLIT, (struct edge[]){{.to = comma(o, key)}, {.to = o->end}}, 2);
    return network_split(w, key, o->shut);
}

/* The properties from..to, then those of the set `later`. Only the last set has others: all names
 * of other sets are foreign to it. */
static uint32_t make_set(struct object *o, uint32_t from, uint32_t to, uint32_t later)
{
    struct network *w = &o->c->net;
    uint32_t set = network_word_set(w), n = to - from;
    bool others = o->open && later == 0;
    struct word_set s = *network_set_of(w, set);
    for (uint32_t i = 0; i < o->n; i++) {
        struct property *p = &o->p[(from + i) % o->n];
        o->words[i] = (struct word){.text = p->text.data, .len = p->text.len};
        if (i >= n)
            continue;
        o->words[i].next = value(o, p, NODE_OF_RETURN);
        s.required |= (uint64_t)p->required << i;
    }
    if (others) {
        s.named = value(o, NULL, NODE_OF_RETURN);
        for (uint8_t sub = 1; sub < CHARS_N; sub++)
            s.off[sub] = network_string(w, sub, 0, NODE_NO_MAX, s.named);
    }
    uint32_t root = network_set_words(w, set, o->words, n, others ? o->n - n : 0, true);
    s.word[0] = network_byte(w, '"', '"', root);
    s.word[1] = comma(o, s.word[0]);
    s.close[0] = o->shut;
    s.close[1] = o->end;
    s.later = later;
    *network_set_of(w, set) = s;
    return set;
}

/* As many names as a set has bits for; where there are more, sets follow each other, and one bit
 * is for the names of the others. */
static uint32_t all_properties(struct object *o)
{
    uint32_t most = o->n <= SET_WORDS_MAX ? SET_WORDS_MAX : SET_WORDS_MAX - 1, set = 0;
    if (o->n == 0 && o->open)
        return free_names(o);
    if (o->n == 0)
        return o->shut;
    for (uint32_t from = (o->n - 1) / most * most;; from -= most) {
        set = make_set(o, from, MIN(from + most, o->n), set);
        if (from == 0)
            return set;
    }
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
    for (uint32_t i = 0; i < o.n; i++)
        buf_free(&o.p[i].text);
    free(o.words);
    free(o.p);
    return node;
}
