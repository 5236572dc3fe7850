/*
 * Values that are given: each is spelled one way, numbers as the schema spells them, with free
 * white space in lists and objects.
 */
#include "grammar/chars.h"
#include "grammar/schema.h"

#include <stdlib.h>
#include <string.h>

void spell_string(struct compiler *c, uint32_t at, const char *text, struct buf *out)
{
    size_t from = out->len;
    uint8_t state = CHARS_WHOLE;
    chars_spell(text, strlen(text), out);
    for (size_t i = from; i < out->len; i++)
        state = chars_next(state, (uint8_t)out->data[i]);
    if (state != CHARS_WHOLE)
        compile_error(c, at, "a text in it is not UTF-8");
    buf_puts(out, "\"");
    if (c->in_parameters && strstr(out->data + from, PARAMETER_END))
        compile_error(c, at, "a text holds " PARAMETER_END);
}

/* false for lists and objects. */
static bool spell_scalar(struct compiler *c, uint32_t at, struct buf *out)
{
    const struct chat_value *v = &c->v[at];
    switch (v->kind) {
    case CHAT_NULL:
        buf_puts(out, "null");
        return true;
    case CHAT_BOOL:
        buf_puts(out, v->b ? "true" : "false");
        return true;
    case CHAT_INT:
    case CHAT_FLOAT:
        if (v->text)
            buf_puts(out, v->text);
        else
            buf_printf(out, "%lld", (long long)v->i);
        return true;
    case CHAT_STRING:
        buf_puts(out, "\"");
        spell_string(c, at, v->s, out);
        return true;
    default:
        return false;
    }
}

static uint32_t text_of_value(struct compiler *c, uint32_t at, uint32_t next)
{
    struct buf text = {0};
    spell_scalar(c, at, &text);
    next = network_text(&c->net, text.data, text.len, next);
    buf_free(&text);
    return next;
}

static uint32_t text_of_key(struct compiler *c, uint32_t at, uint32_t value)
{
    struct buf text = {0};
    value = network_split(&c->net, value, network_byte(&c->net, ' ', ' ', value));
    buf_puts(&text, "\"");
    spell_string(c, at, c->v[at].key, &text);
    buf_puts(&text, ":");
    value = network_text(&c->net, text.data, text.len, value);
    buf_free(&text);
    return value;
}

/* From the last child to the first: each needs the node behind it. */
static uint32_t compile_const(struct compiler *c, uint32_t at, uint32_t next)
{
    const struct chat_value *v = &c->v[at];
    struct network *w = &c->net;
    if (!value_is_container(v))
        return text_of_value(c, at, next);
    bool dict = v->kind == CHAT_DICT;
    uint8_t open = dict ? '{' : '[', close = dict ? '}' : ']';
    uint32_t *children = xmalloc((v->n + 1) * sizeof *children), n = 0;
    for (uint32_t i = value_first(c, at); i != NO_VALUE; i = value_next(c, at, i))
        children[n++] = i;
    uint32_t node = network_space(w, network_byte(w, close, close, next));
    for (uint32_t i = n; i-- > 0 && !w->full;) {
        node = compile_const(c, children[i], node);
        if (dict)
            node = text_of_key(c, children[i], node);
        node = network_space(w, node);
        if (i > 0)
            node = network_byte(w, ',', ',', node);
    }
    free(children);
    return network_byte(w, open, open, node);
}

/* The values of the first enum or const, as children of `*list` from `*at` on. */
static uint32_t find_values(struct compiler *c, const struct terms *terms, uint32_t *list)
{
    for (uint32_t i = 0; i < terms->n; i++) {
        uint32_t one = value_get(c, terms->t[i].schema, "const");
        *list = value_get(c, terms->t[i].schema, "enum");
        if (one != NO_VALUE) {
            *list = NO_VALUE;
            return one;
        }
        if (*list == NO_VALUE)
            continue;
        if (c->v[*list].kind != CHAT_LIST || c->v[*list].n == 0 ||
            c->v[*list].n > GRAMMAR_ENUM_MAX) {
            compile_error(c, *list, "must be a list of 1 to %d values", GRAMMAR_ENUM_MAX);
            return NO_VALUE;
        }
        return value_first(c, *list);
    }
    return NO_VALUE;
}

static bool satisfies_all(struct compiler *c, uint32_t v, const struct terms *terms)
{
    for (uint32_t i = 0; i < terms->n; i++)
        if (!value_satisfies(c, v, &terms->t[i]))
            return false;
    return true;
}

/* Scalars as one tree of words, so that however many there are, one stack reads them. */
uint32_t compile_values(struct compiler *c, const struct terms *terms, bool raw, uint32_t next)
{
    uint32_t list, at = find_values(c, terms, &list), n = list == NO_VALUE ? 1 : c->v[list].n;
    if (at == NO_VALUE)
        return next;
    struct edge *others = xcalloc(n + 1, sizeof *others);
    struct word *words = xcalloc(n, sizeof *words);
    struct buf *texts = xcalloc(n, sizeof *texts);
    size_t n_others = 0, n_words = 0;
    for (; at != NO_VALUE && c->rc == 0;
         at = list == NO_VALUE ? NO_VALUE : value_next(c, list, at)) {
        if (!satisfies_all(c, at, terms))
            continue;
        struct buf *text = &texts[n_words];
        bool is_text = raw && c->v[at].kind == CHAT_STRING;
        if (is_text)
            buf_puts(text, c->v[at].s);
        if (is_text || spell_scalar(c, at, text)) {
            words[n_words++] = (struct word){.text = text->data, .len = text->len, .next = next};
        } else {
            others[n_others++].to = compile_const(c, at, next);
        }
    }
    others[n_others++].to = network_words(&c->net, words, n_words, 0);
    uint32_t node = network_edges(&c->net, NODE_SPLIT, others, n_others);
    for (size_t i = 0; i < n_words; i++)
        buf_free(&texts[i]);
    free(texts);
    free(words);
    free(others);
    return node;
}

uint32_t compile_texts(struct compiler *c, uint32_t list, uint32_t next)
{
    uint32_t n = 0;
    struct word *words = xcalloc(c->v[list].n, sizeof *words);
    for (uint32_t i = value_first(c, list); i != NO_VALUE; i = value_next(c, list, i)) {
        const char *text = c->v[i].kind == CHAT_STRING ? c->v[i].s : "";
        if (*text == '\0')
            compile_error(c, i, "must be a text, and not empty");
        words[n++] = (struct word){.text = text, .len = strlen(text), .next = next};
    }
    if (c->rc == 0)
        next = network_words(&c->net, words, n, 0);
    free(words);
    return next;
}

/* ---- few values ------------------------------------------------------------------------------ */

static bool put_text(struct buf *texts, uint32_t *n, const struct buf *text)
{
    for (uint32_t i = 0; i < *n; i++)
        if (texts[i].len == text->len && memcmp(texts[i].data, text->data, text->len) == 0)
            return true;
    if (*n == SET_WORDS_MAX)
        return false;
    buf_add(&texts[(*n)++], text->data, text->len);
    return true;
}

static bool few_values(struct compiler *c, const struct terms *terms, struct buf *texts,
                       uint32_t *n)
{
    uint32_t list, at = find_values(c, terms, &list);
    bool few = at != NO_VALUE;
    for (; at != NO_VALUE && few; at = list == NO_VALUE ? NO_VALUE : value_next(c, list, at)) {
        struct buf text = {0};
        if (satisfies_all(c, at, terms))
            few = spell_scalar(c, at, &text) && put_text(texts, n, &text);
        buf_free(&text);
    }
    return few;
}

bool finite_texts(struct compiler *c, const struct terms *given, struct buf *texts, uint32_t *n)
{
    struct terms terms = *given;
    struct buf text = {0};
    int64_t least;
    uint32_t n_integers;
    if (!terms_expand(c, &terms))
        return c->rc == 0;
    for (uint32_t i = 0; i < terms.n; i++) {
        uint32_t s = terms.t[i].schema;
        if (value_get(c, s, "anyOf") != NO_VALUE || value_get(c, s, "oneOf") != NO_VALUE)
            return false;
    }
    for (uint32_t i = 0; i < terms.n; i++)
        if (value_get(c, terms.t[i].schema, "enum") != NO_VALUE ||
            value_get(c, terms.t[i].schema, "const") != NO_VALUE)
            return few_values(c, &terms, texts, n);
    unsigned types = terms_types(c, &terms);
    if (terms.n == 0 || types & ~(unsigned)(TYPE_NULL | TYPE_BOOLEAN | TYPE_INTEGER))
        return false;
    for (int i = 0; i < 3; i++) {
        static const char *const words[] = {"null", "true", "false"};
        buf_clear(&text);
        buf_puts(&text, words[i]);
        if (types & (i == 0 ? TYPE_NULL : TYPE_BOOLEAN))
            put_text(texts, n, &text);
    }
    bool few = true;
    if (types & TYPE_INTEGER)
        few = integers_are_few(c, &terms, SET_WORDS_MAX - *n, &least, &n_integers);
    for (uint32_t i = 0; few && types & TYPE_INTEGER && i < n_integers; i++) {
        buf_clear(&text);
        buf_printf(&text, "%lld", (long long)least + i);
        put_text(texts, n, &text);
    }
    buf_free(&text);
    return few;
}
