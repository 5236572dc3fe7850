/*
 * Alternatives that their first property tells apart, as a tagged union's are: closed objects whose
 * first declared property is required and a constant text. That property comes first then, and all
 * its texts are one tree of words: one stack reads it, however many alternatives there are.
 */
#include "grammar/schema.h"

#include <stdlib.h>
#include <string.h>

static bool is_text(const struct compiler *c, uint32_t v, const char *text)
{
    return c->v[v].kind == CHAT_STRING && strcmp(c->v[v].s, text) == 0;
}

/* A schema that says that a value is this text, and nothing else; NO_VALUE. */
static uint32_t constant_text(const struct compiler *c, uint32_t s)
{
    uint32_t found = NO_VALUE;
    if (c->v[s].kind != CHAT_DICT)
        return NO_VALUE;
    for (uint32_t i = value_first(c, s); i != NO_VALUE; i = value_next(c, s, i)) {
        if (strcmp(c->v[i].key, "const") == 0 && c->v[i].kind == CHAT_STRING)
            found = i;
        else if (strcmp(c->v[i].key, "type") != 0 || !is_text(c, i, "string"))
            return NO_VALUE;
    }
    return found;
}

static bool is_required(const struct compiler *c, uint32_t list, const char *name)
{
    if (c->v[list].kind != CHAT_LIST)
        return false;
    for (uint32_t i = value_first(c, list); i != NO_VALUE; i = value_next(c, list, i))
        if (is_text(c, i, name))
            return true;
    return false;
}

/* The first property of an alternative if it is of a tagged union; NO_VALUE. */
static uint32_t find_tag(const struct compiler *c, uint32_t s)
{
    uint32_t properties = NO_VALUE, required = NO_VALUE;
    bool object = false, closed = false;
    if (c->v[s].kind != CHAT_DICT)
        return NO_VALUE;
    for (uint32_t i = value_first(c, s); i != NO_VALUE; i = value_next(c, s, i)) {
        const char *key = c->v[i].key;
        if (strcmp(key, "type") == 0)
            object = is_text(c, i, "object");
        else if (strcmp(key, "additionalProperties") == 0)
            closed = c->v[i].kind == CHAT_BOOL && !c->v[i].b;
        else if (strcmp(key, "properties") == 0 && c->v[i].kind == CHAT_DICT)
            properties = i;
        else if (strcmp(key, "required") == 0)
            required = i;
        else
            return NO_VALUE;
    }
    uint32_t tag = properties == NO_VALUE ? NO_VALUE : value_first(c, properties);
    if (!object || !closed || required == NO_VALUE || tag == NO_VALUE ||
        constant_text(c, tag) == NO_VALUE || !is_required(c, required, c->v[tag].key))
        return NO_VALUE;
    return tag;
}

bool is_tagged_union(const struct compiler *c, uint32_t list)
{
    const char *name = NULL;
    if (c->v[list].n <= GRAMMAR_UNORDERED_MAX)
        return false;
    for (uint32_t i = value_first(c, list); i != NO_VALUE; i = value_next(c, list, i)) {
        uint32_t tag = find_tag(c, i);
        if (tag == NO_VALUE || (name && strcmp(name, c->v[tag].key) != 0))
            return false;
        name = c->v[tag].key;
    }
    return name != NULL;
}

/* "name":"text" and a word for each text, which leads on to the object's other members. */
uint32_t compile_tagged_union(struct compiler *c, uint32_t list, uint32_t resource, uint32_t next)
{
    struct network *w = &c->net;
    struct word *words = xcalloc(c->v[list].n, sizeof *words);
    struct buf *texts = xcalloc(c->v[list].n, sizeof *texts), name = {0};
    uint32_t n = 0;
    for (uint32_t i = value_first(c, list); i != NO_VALUE && c->rc == 0 && !w->full;
         i = value_next(c, list, i), n++) {
        uint32_t tag = find_tag(c, i), text = constant_text(c, tag);
        struct terms terms = {.n = 1, .t = {term_at(c, i, resource)}};
        if (n == 0)
            spell_string(c, tag, c->v[tag].key, &name);
        spell_string(c, text, c->v[text].s, &texts[n]);
        uint32_t rest = compile_later_members(c, &terms, next);
        words[n] = (struct word){.text = texts[n].data, .len = texts[n].len, .next = rest};
    }
    uint32_t node = c->rc == 0 ? network_words(w, words, n, 0) : next;
    node = network_byte(w, '"', '"', node);
    node = network_split(w, node, network_byte(w, ' ', ' ', node));
    buf_puts(&name, ":");
    node = network_byte(w, '"', '"', network_text(w, name.data, name.len, node));
    node = network_byte(w, '{', '{', network_space(w, node));
    for (uint32_t i = 0; i < n; i++)
        buf_free(&texts[i]);
    buf_free(&name);
    free(texts);
    free(words);
    return node;
}
