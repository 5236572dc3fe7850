/*
 * Objects (JSON Schema 2020-12, Core 10.3.2, Validation 6.5): a set of properties in any order,
 * each once, and others among them. Where patternProperties or propertyNames say what others may
 * be, their names are read by an automaton of all these patterns, which leaves out declared names.
 */
#include "grammar/chars.h"
#include "grammar/schema.h"

#include <stdlib.h>
#include <string.h>

/* Bytes of a spelled name; the tree of names is made recursively. */
#define NAME_SPELLED_MAX 512

struct property {
    const char *name;
    bool required;
    struct buf text; /* the name as it is spelled, and the quote behind it */
};

struct name_pattern {
    const struct dfa *dfa;
    uint32_t term, schema; /* whose patternProperties; what it says */
};

struct object {
    struct compiler *c;
    const struct terms *terms;
    struct property *p;
    uint32_t n, cap;
    uint32_t min, max;
    struct terms names; /* of propertyNames */
    bool limited;       /* there are some */
    bool closed;        /* only declared properties */
    bool behind;        /* a member that is none of p stands before them */
    struct name_pattern patterns[PRODUCT_MAX];
    uint32_t n_patterns;
    uint32_t shut, end; /* the bracket; white space before it */
    struct word *words; /* (n) scratch */
    struct product product;
    struct others {
        uint32_t accepting, node;
    } others[SET_WORDS_MAX]; /* what follows the names that some patterns accept */
    uint32_t n_others;
};

/* ---- what the schemas say -------------------------------------------------------------------- */

static struct property *find(struct object *o, const char *name)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (strcmp(o->p[i].name, name) == 0)
            return &o->p[i];
    return NULL;
}

static struct property *add(struct object *o, const char *name, uint32_t at)
{
    struct property *known = find(o, name);
    if (known || o->c->rc != 0)
        return known;
    o->c->net.work += o->n;
    if (o->n == GRAMMAR_PROPERTIES_MAX) {
        compile_error(o->c, at, "more than %d names of properties", GRAMMAR_PROPERTIES_MAX);
        return NULL;
    }
    if (o->n == o->cap) {
        o->cap = o->cap ? o->cap * 2 : 16;
        o->p = xrealloc(o->p, o->cap * sizeof *o->p);
    }
    o->p[o->n] = (struct property){.name = name};
    spell_string(o->c, at, name, &o->p[o->n].text);
    if (o->p[o->n].text.len > NAME_SPELLED_MAX)
        compile_error(o->c, at, "the name is too long");
    return &o->p[o->n++];
}

static uint32_t dict_of(struct compiler *c, uint32_t s, const char *key)
{
    uint32_t at = value_get(c, s, key);
    if (at != NO_VALUE && c->v[at].kind != CHAT_DICT)
        compile_error(c, at, "must be an object");
    return c->rc == 0 ? at : NO_VALUE;
}

static void read_term(struct object *o, uint32_t k)
{
    struct compiler *c = o->c;
    const struct term *t = &o->terms->t[k];
    uint32_t dict = dict_of(c, t->schema, "properties");
    for (uint32_t i = dict == NO_VALUE ? dict : value_first(c, dict); i != NO_VALUE;
         i = value_next(c, dict, i))
        add(o, c->v[i].key, i);
    dict = dict_of(c, t->schema, "patternProperties");
    for (uint32_t i = dict == NO_VALUE ? dict : value_first(c, dict); i != NO_VALUE;
         i = value_next(c, dict, i)) {
        if (o->n_patterns == PRODUCT_MAX / 2)
            compile_error(c, i, "more than %d patterns of names", PRODUCT_MAX / 2);
        else
            o->patterns[o->n_patterns++] = (struct name_pattern){name_pattern_at(c, i), k, i};
    }
    uint32_t names = value_get(c, t->schema, "propertyNames");
    if (names != NO_VALUE)
        terms_add(c, &o->names, term_at(c, names, t->resource));
}

static void read_required(struct object *o, uint32_t s)
{
    struct compiler *c = o->c;
    uint32_t list = value_get(c, s, "required");
    if (list == NO_VALUE)
        return;
    bool good = c->v[list].kind == CHAT_LIST;
    for (uint32_t i = good ? value_first(c, list) : NO_VALUE; i != NO_VALUE && good;
         i = value_next(c, list, i)) {
        good = c->v[i].kind == CHAT_STRING;
        struct property *p = good ? add(o, c->v[i].s, i) : NULL;
        if (p)
            p->required = true;
    }
    if (!good)
        compile_error(c, list, "must be a list of names");
}

/* Names of an enum are declared; others are then out of the question. */
static void read_names(struct object *o)
{
    struct compiler *c = o->c;
    o->limited = o->names.n > 0;
    if (!o->limited)
        return;
    if (!terms_expand(c, &o->names)) {
        o->closed = true;
        o->max = 0;
        return;
    }
    o->limited = o->names.n > 0;
    for (uint32_t i = 0; i < o->names.n; i++) {
        uint32_t s = o->names.t[i].schema, list = value_get(c, s, "enum");
        if (value_get(c, s, "anyOf") != NO_VALUE || value_get(c, s, "oneOf") != NO_VALUE ||
            value_get(c, s, "const") != NO_VALUE)
            compile_error(c, s,
                          "propertyNames is supported with enum, pattern, minLength and "
                          "maxLength");
        if (list == NO_VALUE || c->v[list].kind != CHAT_LIST)
            continue;
        o->closed = true;
        for (uint32_t k = value_first(c, list); k != NO_VALUE; k = value_next(c, list, k))
            if (c->v[k].kind == CHAT_STRING)
                add(o, c->v[k].s, k);
    }
}

/* Whether propertyNames allow a declared name. */
static bool name_is_allowed(struct object *o, const struct property *p)
{
    struct compiler *c = o->c;
    uint32_t length = 0;
    for (const char *at = p->name; *at; at++)
        length += ((uint8_t)*at & 0xC0) != 0x80;
    if (length < terms_count(c, &o->names, "minLength", true, 0) ||
        length > terms_count(c, &o->names, "maxLength", false, NODE_NO_MAX))
        return false;
    for (uint32_t i = 0; i < o->names.n; i++) {
        uint32_t s = o->names.t[i].schema, list = value_get(c, s, "enum");
        uint32_t pattern = value_get(c, s, "pattern");
        bool listed = list == NO_VALUE;
        for (uint32_t k = listed ? NO_VALUE : value_first(c, list); k != NO_VALUE;
             k = value_next(c, list, k))
            listed = listed || (c->v[k].kind == CHAT_STRING && strcmp(c->v[k].s, p->name) == 0);
        const struct dfa *d = pattern == NO_VALUE ? NULL : pattern_at(c, pattern);
        if (!listed || (d && !dfa_accepts(d, p->text.data, p->text.len - 1)))
            return false;
    }
    return true;
}

/* Whether a pattern of names matches: a declared one, or one that the patterns of the bits accept.
 */
static bool pattern_matches(const struct object *o, uint32_t i, const struct property *p,
                            uint32_t accepting)
{
    const struct dfa *d = o->patterns[i].dfa;
    return p ? d && dfa_accepts(d, p->text.data, p->text.len - 1) : accepting >> i & 1;
}

/* What the value of a property has to satisfy. */
static struct terms terms_of(struct object *o, const struct property *p, uint32_t accepting)
{
    struct compiler *c = o->c;
    struct terms out = {.n = 0};
    for (uint32_t k = 0; k < o->terms->n; k++) {
        const struct term *t = &o->terms->t[k];
        uint32_t dict = value_get(c, t->schema, "properties");
        uint32_t at = p && dict != NO_VALUE ? value_get(c, dict, p->name) : NO_VALUE;
        bool named = at != NO_VALUE;
        c->net.work += dict == NO_VALUE ? 1 : c->v[dict].n;
        if (named)
            terms_add(c, &out, term_at(c, at, t->resource));
        for (uint32_t i = 0; i < o->n_patterns; i++) {
            if (o->patterns[i].term != k || !pattern_matches(o, i, p, accepting))
                continue;
            named = true;
            terms_add(c, &out, term_at(c, o->patterns[i].schema, t->resource));
        }
        at = value_get(c, t->schema, "additionalProperties");
        if (!named && at != NO_VALUE)
            terms_add(c, &out, term_at(c, at, t->resource));
    }
    return out;
}

static bool is_never(const struct compiler *c, const struct terms *terms)
{
    for (uint32_t i = 0; i < terms->n; i++)
        if (c->v[terms->t[i].schema].kind == CHAT_BOOL && !c->v[terms->t[i].schema].b)
            return true;
    return false;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

/* A colon and a value; NODE_OF_NOTHING where there can be none. */
static uint32_t value(struct object *o, const struct terms *terms, uint32_t next)
{
    struct network *w = &o->c->net;
    uint32_t node = compile_terms(o->c, terms, next);
    if (node == NODE_OF_NOTHING)
        return node;
    return network_byte(w, ':', ':', network_split(w, node, network_byte(w, ' ', ' ', node)));
}

static uint32_t comma(struct object *o, uint32_t next)
{
    return network_byte(&o->c->net, ',', ',', network_space(&o->c->net, next));
}

static bool counts(const struct object *o)
{
    return o->min > 0 || o->max != NODE_NO_MAX;
}

/* Behind the quote of a name that is not declared. */
static uint32_t other_value(struct object *o, uint32_t accepting)
{
    struct terms terms = terms_of(o, NULL, accepting);
    uint32_t node = is_never(o->c, &terms) ? NODE_OF_NOTHING : value(o, &terms, NODE_OF_RETURN);
    return node != NODE_OF_NOTHING && counts(o) ? network_other(&o->c->net, node) : node;
}

/* Names are any strings: no set is needed, and no count of what has come. */
static uint32_t free_names(struct object *o, const struct terms *others)
{
    struct network *w = &o->c->net;
    uint32_t behind = network_later(w);
    uint32_t key = compile_any_string(o->c, value(o, others, behind));
    network_set(w, behind, NODE_SPLIT, (struct edge[]){{.to = comma(o, key)}, {.to = o->end}}, 2);
    return network_split(w, key, o->shut);
}

/* In the tree of words, where others leave it. */
static void put_free_others(struct object *o, struct word_set *s)
{
    struct network *w = &o->c->net;
    s->named = other_value(o, 0);
    for (uint8_t sub = 1; sub < CHARS_N && s->named != NODE_OF_NOTHING && !w->full; sub++) {
        s->off[sub] = network_string(w, sub, 0, NODE_NO_MAX, s->named);
        w->nodes[s->off[sub]].hashed = o->min > 0 && !w->full;
    }
}

static uint32_t behind_name(void *arg, uint32_t accepting)
{
    struct object *o = arg;
    const struct product *p = &o->product;
    if (accepting >> (p->n - 1) & 1) /* a declared name */
        return NODE_OF_NOTHING;
    accepting >>= p->n_must;
    for (uint32_t i = 0; i < o->n_others; i++)
        if (o->others[i].accepting == accepting)
            return o->others[i].node;
    if (o->n_others == COUNT_OF(o->others)) {
        o->c->net.full = true;
        return NODE_OF_NOTHING;
    }
    uint32_t node = other_value(o, accepting);
    o->others[o->n_others++] = (struct others){accepting, node};
    return node;
}

static int by_text(const void *a, const void *b)
{
    const struct word *x = a, *y = b;
    int order = memcmp(x->text, y->text, MIN(x->len, y->len));
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* Names of others by an automaton; o->words are the declared ones. */
static void put_patterned_others(struct object *o, struct word_set *s)
{
    struct compiler *c = o->c;
    struct product *p = &o->product;
    struct dfa declared;
    char reason[128];
    uint32_t start = NODE_OF_NOTHING, where = o->terms->t[0].schema;
    p->dfa[p->n++] = any_text_dfa(c, where);
    if (c->in_parameters)
        p->dfa[p->n++] = without_end_dfa(c);
    for (uint32_t i = 0; i < o->names.n && p->n < PRODUCT_MAX / 2 - 1; i++) {
        uint32_t at = value_get(c, o->names.t[i].schema, "pattern");
        if (at != NO_VALUE)
            p->dfa[p->n++] = pattern_at(c, at);
    }
    p->n_must = p->n;
    for (uint32_t i = 0; i < o->n_patterns; i++)
        p->dfa[p->n++] = o->patterns[i].dfa;
    p->min = terms_count(c, &o->names, "minLength", true, 0);
    p->max = terms_count(c, &o->names, "maxLength", false, NODE_NO_MAX);
    p->behind = behind_name;
    p->arg = o;
    s->one_other = o->max != NODE_NO_MAX;
    p->hashed = o->min > 0 && !s->one_other;
    if (c->rc != 0)
        return;
    for (uint32_t i = 0; i < o->n; i++)
        o->words[i] = (struct word){.text = o->p[i].text.data, .len = o->p[i].text.len - 1};
    qsort(o->words, o->n, sizeof *o->words, by_text);
    dfa_of_words(&declared, o->words, o->n);
    p->dfa[p->n++] = &declared;
    if (p->min <= p->max && product_network(p, &c->net, &start, reason, sizeof reason) != 0)
        compile_error(c, where, "patterns of names: %s", reason);
    dfa_free(&declared);
    s->other[0] = network_byte(&c->net, '"', '"', start);
    s->other[1] = comma(o, s->other[0]);
}

/* The properties from..to, then those of the set `later`. Only the last set has others: all names
 * of other sets are foreign to it. */
static uint32_t make_set(struct object *o, uint32_t from, uint32_t to, uint32_t later)
{
    struct network *w = &o->c->net;
    uint32_t set = network_word_set(w), n = to - from;
    struct word_set s = *network_set_of(w, set);
    bool patterned = o->n_patterns > 0 || o->limited || o->c->in_parameters;
    if (!o->closed && later == 0 && patterned)
        put_patterned_others(o, &s);
    else if (!o->closed && later == 0)
        put_free_others(o, &s);
    for (uint32_t i = 0; i < o->n && o->c->rc == 0; i++) {
        struct property *p = &o->p[(from + i) % o->n];
        o->words[i] = (struct word){.text = p->text.data, .len = p->text.len};
        if (i >= n)
            continue;
        struct terms terms = terms_of(o, p, 0);
        bool allowed = !o->limited || name_is_allowed(o, p);
        o->words[i].next = allowed ? value(o, &terms, NODE_OF_RETURN) : NODE_OF_NOTHING;
        s.required |= (uint64_t)p->required << i;
    }
    if (o->c->rc != 0)
        return set;
    bool foreign = s.named != NODE_OF_NOTHING;
    uint32_t root = network_set_words(w, set, o->words, n, foreign ? o->n - n : 0, true);
    s.min = o->min;
    s.max = o->max;
    s.word[0] = network_byte(w, '"', '"', root);
    s.word[1] = comma(o, s.word[0]);
    s.close[0] = o->shut;
    s.close[1] = o->end;
    if (o->behind) {
        s.word[0] = s.word[1];
        s.close[0] = s.close[1];
    }
    s.later = later;
    *network_set_of(w, set) = s;
    return set;
}

/* As many names as a set has bits for; where there are more, sets follow each other, and one bit
 * is for the names of the others. */
static uint32_t all_properties(struct object *o)
{
    uint32_t most = o->n <= SET_WORDS_MAX ? SET_WORDS_MAX : SET_WORDS_MAX - 1, set = 0;
    if (o->n <= most)
        return make_set(o, 0, o->n, 0);
    for (uint32_t from = (o->n - 1) / most * most;; from -= most) {
        set = make_set(o, from, MIN(from + most, o->n), set);
        if (from == 0 || o->c->rc != 0)
            return set;
    }
}

/* false: no object has so many, or so few, properties. */
static bool read_counts(struct object *o)
{
    uint32_t required = 0, min = terms_count(o->c, o->terms, "minProperties", true, 0);
    o->max = MIN(o->max, terms_count(o->c, o->terms, "maxProperties", false, NODE_NO_MAX));
    for (uint32_t i = 0; i < o->n; i++)
        required += o->p[i].required;
    o->min = min > required ? min : 0;
    if (o->closed && o->max >= o->n)
        o->max = NODE_NO_MAX;
    if (o->max < MAX(required, o->min) || (o->closed && o->min > o->n))
        return false;
    if (o->n > SET_WORDS_MAX && counts(o))
        compile_error(o->c, o->terms->t[0].schema,
                      "minProperties or maxProperties beside more than %d names is not supported",
                      SET_WORDS_MAX);
    else if (o->min > o->n + 1 && o->max != NODE_NO_MAX && (o->n_patterns > 0 || o->limited))
        compile_error(o->c, o->terms->t[0].schema,
                      "minProperties that takes several undeclared names is not supported beside "
                      "maxProperties and patterns of names");
    else if (o->min > SET_WORDS_MAX || (o->n == SET_WORDS_MAX && o->min > o->n))
        compile_error(o->c, o->terms->t[0].schema, "minProperties of more than %d is not supported",
                      SET_WORDS_MAX);
    return o->c->rc == 0;
}

/* A name that is required and can't be had is worth a word where one schema says both. */
static void check_required(struct object *o)
{
    for (uint32_t i = 0; i < o->n && o->terms->n == 1; i++) {
        const struct property *p = &o->p[i];
        struct terms terms = terms_of(o, p, 0);
        if (p->required && is_never(o->c, &terms))
            compile_error(o->c, o->terms->t[0].schema,
                          "required names \"%.80s\", which no property may be called", p->name);
    }
}

static uint32_t compile_whole(struct object *o, uint32_t next)
{
    struct compiler *c = o->c;
    struct terms others = terms_of(o, NULL, 0), expanded = others;
    bool plain = o->n == 0 && o->n_patterns == 0 && !o->limited;
    o->closed = o->closed || (o->n_patterns == 0 && is_never(c, &others));
    if (!read_counts(o))
        return NODE_OF_NOTHING;
    if (plain && !o->closed && !counts(o) && terms_expand(c, &expanded) && expanded.n == 0)
        return compile_common(c, COMMON_OBJECT, next);
    check_required(o);
    if (c->rc != 0)
        return next;
    o->words = xmalloc((o->n + 1) * sizeof *o->words);
    o->shut = network_byte(&c->net, '}', '}', next);
    o->end = network_space(&c->net, o->shut);
    uint32_t inside = o->shut;
    if (plain && !o->closed && !counts(o))
        inside = free_names(o, &others);
    else if (o->n > 0 || !o->closed)
        inside = all_properties(o);
    free(o->words);
    return network_byte(&c->net, '{', '{', network_space(&c->net, inside));
}

static struct object *read_object(struct compiler *c, const struct terms *terms)
{
    struct object *o = xcalloc(1, sizeof *o);
    o->c = c;
    o->terms = terms;
    o->max = NODE_NO_MAX;
    for (uint32_t k = 0; k < terms->n; k++)
        read_term(o, k);
    for (uint32_t k = 0; k < terms->n; k++)
        read_required(o, terms->t[k].schema);
    read_names(o);
    return o;
}

static void free_object(struct object *o)
{
    for (uint32_t i = 0; i < o->n; i++)
        buf_free(&o->p[i].text);
    free(o->p);
    free(o);
}

uint32_t compile_object(struct compiler *c, const struct terms *terms, uint32_t next)
{
    struct object *o = read_object(c, terms);
    uint32_t node = c->rc == 0 ? compile_whole(o, next) : next;
    free_object(o);
    return node;
}

uint32_t compile_later_members(struct compiler *c, const struct terms *terms, uint32_t next)
{
    struct object *o = read_object(c, terms);
    uint32_t node = next;
    if (c->rc == 0 && read_counts(o)) {
        buf_free(&o->p[0].text);
        memmove(o->p, o->p + 1, --o->n * sizeof *o->p);
        o->closed = o->behind = true;
        o->words = xmalloc((o->n + 1) * sizeof *o->words);
        o->shut = network_byte(&c->net, '}', '}', next);
        o->end = network_space(&c->net, o->shut);
        node = o->n > 0 ? all_properties(o) : o->end;
        free(o->words);
    }
    free_object(o);
    return node;
}
