/*
 * An object of arguments as Qwen3-Coder spells it: <parameter=name>, the value, </parameter> for
 * each property, and </function>. Strings stand there raw, other values as JSON; who reads it tells
 * them apart by the types that the schema names (server/tool_calls.h), which is what it is written
 * by here: a text that would be read as something else is none. Line feeds and spaces around a
 * value are dropped by the reader, of a string one line feed on each side.
 */
#include "grammar/schema.h"

#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 128 /* as long as the reader takes them */
#define LEAVES_MAX 16
#define READ_SCHEMAS_MAX 100 /* what the reader looks at to find the types of a parameter */
#define READ_DEFINITIONS_MAX 1000

struct parameters {
    struct compiler *c;
    struct term root;
    uint32_t tag, text_tag, raw; /* the end tag, behind JSON, behind a word; any text up to it */
};

/* One of the alternatives of a value. */
struct leaf {
    struct terms terms;
    unsigned types;
    bool listed; /* by an enum or a const */
};
struct leaves {
    uint32_t n;
    struct leaf leaf[LEAVES_MAX];
};

/* ---- how it is read -------------------------------------------------------------------------- */

static unsigned type_of_value(const struct chat_value *v)
{
    static const unsigned types[] = {
        [CHAT_NULL] = TYPE_NULL,    [CHAT_BOOL] = TYPE_BOOLEAN,  [CHAT_INT] = TYPE_NUMBER,
        [CHAT_FLOAT] = TYPE_NUMBER, [CHAT_STRING] = TYPE_STRING, [CHAT_LIST] = TYPE_ARRAY,
        [CHAT_DICT] = TYPE_OBJECT};
    return types[v->kind];
}

static uint32_t find_definition(const struct compiler *c, uint32_t root, uint32_t ref)
{
    static const char *const places[] = {"$defs", "definitions"};
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        uint32_t all = value_get(c, root, places[i]);
        size_t n = strlen(places[i]);
        const char *text = c->v[ref].kind == CHAT_STRING ? c->v[ref].s : "";
        if (all != NO_VALUE && strncmp(text, "#/", 2) == 0 &&
            strncmp(text + 2, places[i], n) == 0 && text[2 + n] == '/' &&
            c->v[all].n <= READ_DEFINITIONS_MAX)
            return value_get(c, all, text + n + 3);
    }
    return NO_VALUE;
}

static unsigned types_in_list(const struct compiler *c, uint32_t list)
{
    unsigned types = 0;
    bool good = list != NO_VALUE && c->v[list].kind == CHAT_LIST;
    for (uint32_t i = good ? value_first(c, list) : NO_VALUE; i != NO_VALUE;
         i = value_next(c, list, i))
        types |= type_of_value(&c->v[i]);
    return types;
}

/* The types that the reader takes a value for, as it finds them (types_of in
 * server/tool_schema.c): those that the schema allows, or more. An integer is a number. */
static unsigned read_types(struct compiler *c, uint32_t root, uint32_t s, int *left)
{
    static const char *const alternatives[] = {"anyOf", "oneOf"};
    uint32_t at, nullable = value_get(c, s, "nullable");
    unsigned types = 0;
    if (--*left < 0)
        return TYPE_ANY;
    if (value_get(c, s, "type") != NO_VALUE)
        types = schema_types(c, s);
    if (types == 0 && (at = value_get(c, s, "const")) != NO_VALUE)
        types = type_of_value(&c->v[at]);
    if (types == 0)
        types = types_in_list(c, value_get(c, s, "enum"));
    for (size_t i = 0; i < 2 && types == 0; i++) {
        at = value_get(c, s, alternatives[i]);
        for (uint32_t k = at == NO_VALUE ? at : value_first(c, at); k != NO_VALUE && *left >= 0;
             k = value_next(c, at, k))
            types |= read_types(c, root, k, left);
    }
    if (types == 0 && (at = value_get(c, s, "$ref")) != NO_VALUE &&
        (at = find_definition(c, root, at)) != NO_VALUE)
        types = read_types(c, root, at, left);
    if (types != 0 && nullable != NO_VALUE && c->v[nullable].kind == CHAT_BOOL && c->v[nullable].b)
        types |= TYPE_NULL;
    if (types & TYPE_INTEGER)
        types = (types & ~(unsigned)TYPE_INTEGER) | TYPE_NUMBER;
    return types ? types : TYPE_ANY & ~TYPE_INTEGER;
}

/* Whether a text may be taken for a value that is none: of JSON, or a word of Python's. */
static bool is_like_json(const char *text)
{
    static const char *const words[] = {"true",  "false", "null",     "True",
                                        "False", "None",  "Infinity", "NaN"};
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (strcmp(text, words[i]) == 0)
            return true;
    return *text == '\0' || strchr("{[\"-0123456789 \t\r", *text) ||
           strchr(" \t\r", text[strlen(text) - 1]);
}

/* ---- what a value may be --------------------------------------------------------------------- */

static void refuse(struct parameters *p, uint32_t at)
{
    compile_error(p->c, at, "is said no more plainly than in JSON");
}

static uint32_t values_of(const struct compiler *c, const struct terms *terms)
{
    static const char *const keys[] = {"const", "enum"};
    for (uint32_t i = 0; i < 2 * terms->n; i++) {
        uint32_t at = value_get(c, terms->t[i / 2].schema, keys[i % 2]);
        if (at != NO_VALUE)
            return at;
    }
    return NO_VALUE;
}

/* Alternatives within each other end: the object in JSON was compiled before. */
static void find_leaves(struct parameters *p, const struct terms *given, struct leaves *out)
{
    struct compiler *c = p->c;
    struct terms t = *given;
    uint32_t where = given->t[0].schema, list = NO_VALUE;
    if (c->rc != 0 || !terms_expand(c, &t))
        return;
    for (uint32_t i = 0; i < t.n && list == NO_VALUE; i++) {
        list = value_get(c, t.t[i].schema, "anyOf");
        list = list == NO_VALUE ? value_get(c, t.t[i].schema, "oneOf") : list;
    }
    unsigned keys = t.n > 0 ? t.t[0].keys & ~(unsigned)t.t[0].expanded : 0;
    bool alone = t.n == 1 && (keys & (keys - 1)) == 0;
    if (t.n == 0 || out->n == LEAVES_MAX || (list != NO_VALUE && !alone)) {
        refuse(p, where);
        return;
    }
    if (list == NO_VALUE) {
        out->leaf[out->n++] = (struct leaf){t, terms_types(c, &t), values_of(c, &t) != NO_VALUE};
        return;
    }
    for (uint32_t i = value_first(c, list); i != NO_VALUE; i = value_next(c, list, i)) {
        struct terms one = {.n = 1, .t = {term_at(c, i, t.t[0].resource)}};
        find_leaves(p, &one, out);
    }
}

/* Texts of an enum that are read as such. mixed: the value may be something else, too. */
static void check_words(struct parameters *p, const struct terms *terms, bool mixed)
{
    struct compiler *c = p->c;
    uint32_t values = values_of(c, terms), at = values;
    if (strcmp(c->v[values].key, "enum") == 0)
        at = value_first(c, values);
    for (; at != NO_VALUE; at = at == values ? NO_VALUE : value_next(c, values, at)) {
        const char *text = c->v[at].s;
        if (c->v[at].kind != CHAT_STRING)
            continue;
        size_t n = strlen(text);
        if ((n > 0 && (text[0] == '\n' || text[n - 1] == '\n')) || strstr(text, PARAMETER_END) ||
            (mixed && is_like_json(text)))
            refuse(p, at);
    }
}

/* Whether any text will do, as whatever it is read: then all that it may be read as is let be by
 * the schema as a whole type. NaN is read as a number and is none. */
static bool is_raw(struct parameters *p, const struct leaves *all, unsigned read, uint32_t where)
{
    unsigned whole = 0;
    bool raw = false;
    for (uint32_t i = 0; i < all->n; i++) {
        const struct leaf *leaf = &all->leaf[i];
        if (leaf->listed)
            continue;
        whole |= leaf->types & (TYPE_NULL | TYPE_BOOLEAN | TYPE_STRING);
        if (!(leaf->types & TYPE_STRING))
            continue;
        raw = true;
        if (leaf->types & ~(unsigned)(TYPE_NULL | TYPE_BOOLEAN | TYPE_STRING) ||
            !string_is_free(p->c, &leaf->terms))
            refuse(p, where);
    }
    if (raw && read & ~whole)
        refuse(p, where);
    return raw;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

/* A value and its end tag, then the return. */
static uint32_t compile_parameter(struct parameters *p, const struct term *t)
{
    struct compiler *c = p->c;
    struct network *w = &c->net;
    struct terms given = {.n = 1, .t = {*t}};
    struct leaves *all = xcalloc(1, sizeof *all);
    int left = READ_SCHEMAS_MAX;
    unsigned read = read_types(c, p->root.schema, t->schema, &left);
    uint32_t node = NODE_OF_NOTHING;
    find_leaves(p, &given, all);
    bool raw = c->rc == 0 && is_raw(p, all, read, t->schema);
    if (raw)
        node = p->raw;
    for (uint32_t i = 0; i < all->n && c->rc == 0 && !raw; i++) {
        const struct leaf *leaf = &all->leaf[i];
        uint32_t start;
        if (leaf->listed) {
            check_words(p, &leaf->terms, read != TYPE_STRING);
            start = compile_values(c, &leaf->terms, true, p->text_tag);
            start = network_split(w, start, network_byte(w, '\n', '\n', start));
        } else {
            start = network_space(w, compile_terms(c, &leaf->terms, p->tag));
        }
        node = node == NODE_OF_NOTHING ? start : network_split(w, node, start);
    }
    free(all);
    return node;
}

/* Any text until the end tag has come. */
static uint32_t raw_text(struct network *w)
{
    struct watch t;
    uint32_t node = network_watch(w, false);
    watch_init(&t);
    watch_end(&t, watch_text(&t, 0, PARAMETER_END, strlen(PARAMETER_END)), NODE_OF_RETURN);
    network_set_watch(w, node, &t);
    watch_free(&t);
    return node;
}

static bool is_required(const struct compiler *c, uint32_t list, const char *name)
{
    for (uint32_t i = list == NO_VALUE ? NO_VALUE : value_first(c, list); i != NO_VALUE;
         i = value_next(c, list, i))
        if (c->v[i].kind == CHAT_STRING && strcmp(c->v[i].s, name) == 0)
            return true;
    return false;
}

/* Nothing but these says what the object may be. */
static uint32_t find_properties(struct parameters *p)
{
    static const char *const others[] = {
        "$ref",  "allOf",         "anyOf",         "oneOf",         "enum",
        "const", "minProperties", "maxProperties", "propertyNames", "patternProperties"};
    struct compiler *c = p->c;
    uint32_t s = p->root.schema, properties = value_get(c, s, "properties");
    for (size_t i = 0; i < COUNT_OF(others) && c->v[s].kind == CHAT_DICT; i++)
        if (value_get(c, s, others[i]) != NO_VALUE)
            refuse(p, s);
    if (c->v[s].kind != CHAT_DICT || !(schema_types(c, s) & TYPE_OBJECT) ||
        (properties != NO_VALUE && c->v[properties].n > SET_WORDS_MAX))
        refuse(p, s);
    uint32_t list = value_get(c, s, "required");
    for (uint32_t i = list == NO_VALUE ? NO_VALUE : value_first(c, list); i != NO_VALUE;
         i = value_next(c, list, i))
        if (properties == NO_VALUE || value_get(c, properties, c->v[i].s) == NO_VALUE)
            refuse(p, i);
    return properties;
}

uint32_t compile_parameters(struct compiler *c, const struct term *root, uint32_t next)
{
    struct parameters p = {.c = c, .root = *root};
    struct network *w = &c->net;
    struct word words[SET_WORDS_MAX];
    struct buf texts[SET_WORDS_MAX] = {0};
    uint32_t properties = find_properties(&p), n = 0, set = network_word_set(w);
    uint32_t required = value_get(c, root->schema, "required");
    uint64_t must = 0;
    uint32_t tag = network_text(w, PARAMETER_END, strlen(PARAMETER_END), NODE_OF_RETURN);
    p.tag = network_space(w, tag);
    p.text_tag = network_split(w, tag, network_byte(w, '\n', '\n', tag));
    p.raw = raw_text(w);
    c->in_parameters = true;
    for (uint32_t i = properties == NO_VALUE || c->rc != 0 ? NO_VALUE : value_first(c, properties);
         i != NO_VALUE && c->rc == 0; i = value_next(c, properties, i), n++) {
        struct term t = term_at(c, i, root->resource);
        const char *name = c->v[i].key;
        if (*name == '\0' || strpbrk(name, "<>\n") || strlen(name) > NAME_MAX_BYTES)
            refuse(&p, i);
        buf_printf(&texts[n], "%s>", name);
        must |= (uint64_t)is_required(c, required, name) << n;
        words[n] = (struct word){
            .text = texts[n].data, .len = texts[n].len, .next = compile_parameter(&p, &t)};
    }
    c->in_parameters = false;
    if (c->rc == 0 && !w->full) {
        uint32_t word = network_set_words(w, set, words, n, 0, false);
        uint32_t close = network_text(w, "</function>", strlen("</function>"), next);
        word = network_text(w, "<parameter=", strlen("<parameter="), word);
        uint32_t later = network_space(w, word), end = network_space(w, close);
        struct word_set *s = network_set_of(w, set);
        s->required = must;
        s->word[0] = word;
        s->word[1] = later;
        s->close[0] = close;
        s->close[1] = end;
    }
    for (uint32_t i = 0; i < n; i++)
        buf_free(&texts[i]);
    return set;
}
