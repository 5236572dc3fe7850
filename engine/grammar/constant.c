/*
 * Values that are given: each is spelled one way, with free white space in lists and objects.
 */
#include "grammar/chars.h"
#include "grammar/schema.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void spell_string(struct compiler *c, const char *text, struct buf *out)
{
    size_t from = out->len;
    uint8_t state = CHARS_WHOLE;
    chars_spell(text, strlen(text), out);
    for (size_t i = from; i < out->len; i++)
        state = chars_next(state, (uint8_t)out->data[i]);
    if (state != CHARS_WHOLE)
        compile_error(c, "a text in it is not UTF-8");
    buf_puts(out, "\"");
}

/* The fewest digits that read back as the same number. */
static void spell_float(double d, struct buf *out)
{
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, d);
        if (strtod(text, NULL) == d)
            break;
    }
    buf_puts(out, text);
    if (!strpbrk(text, ".e"))
        buf_puts(out, ".0");
}

/* false for lists and objects. */
static bool spell_scalar(struct compiler *c, const struct chat_value *v, struct buf *out)
{
    switch (v->kind) {
    case CHAT_NULL:
        buf_puts(out, "null");
        return true;
    case CHAT_BOOL:
        buf_puts(out, v->b ? "true" : "false");
        return true;
    case CHAT_INT:
        buf_printf(out, "%lld", (long long)v->i);
        return true;
    case CHAT_FLOAT:
        if (!isfinite(v->d))
            compile_error(c, "not a number of JSON");
        spell_float(v->d, out);
        return true;
    case CHAT_STRING:
        buf_puts(out, "\"");
        spell_string(c, v->s, out);
        return true;
    default:
        return false;
    }
}

static uint32_t text_of_value(struct compiler *c, const struct chat_value *v, uint32_t next)
{
    struct buf text = {0};
    spell_scalar(c, v, &text);
    next = network_text(&c->net, text.data, text.len, next);
    buf_free(&text);
    return next;
}

static uint32_t text_of_key(struct compiler *c, const char *key, uint32_t value)
{
    struct buf text = {0};
    value = network_split(&c->net, value, network_byte(&c->net, ' ', ' ', value));
    buf_puts(&text, "\"");
    spell_string(c, key, &text);
    buf_puts(&text, ":");
    value = network_text(&c->net, text.data, text.len, value);
    buf_free(&text);
    return value;
}

/* From the last child to the first: each needs the node behind it. */
uint32_t compile_const(struct compiler *c, uint32_t at, uint32_t next)
{
    const struct chat_value *v = &c->v[at];
    struct network *w = &c->net;
    if (!value_is_container(v))
        return text_of_value(c, v, next);
    bool dict = v->kind == CHAT_DICT;
    uint8_t open = dict ? '{' : '[', close = dict ? '}' : ']';
    uint32_t *children = xmalloc((v->n + 1) * sizeof *children), n = 0;
    for (uint32_t i = value_first(c, at); i != NO_VALUE; i = value_next(c, at, i))
        children[n++] = i;
    uint32_t node = network_space(w, network_byte(w, close, close, next));
    for (uint32_t i = n; i-- > 0 && !w->full;) {
        node = compile_const(c, children[i], node);
        if (dict)
            node = text_of_key(c, c->v[children[i]].key, node);
        node = network_space(w, node);
        if (i > 0)
            node = network_byte(w, ',', ',', node);
    }
    free(children);
    return network_byte(w, open, open, node);
}

/* Scalars as one tree of words, so that however many there are, one stack reads them. */
uint32_t compile_enum(struct compiler *c, uint32_t list, unsigned kinds, uint32_t next)
{
    const struct chat_value *v = &c->v[list];
    if (v->kind != CHAT_LIST || v->n == 0 || v->n > GRAMMAR_ENUM_MAX) {
        size_t mark = path_in(c, "enum");
        compile_error(c, "must be a list of 1 to %d values", GRAMMAR_ENUM_MAX);
        path_out(c, mark);
        return next;
    }
    struct edge *others = xcalloc(v->n + 1, sizeof *others);
    struct word *words = xcalloc(v->n, sizeof *words);
    struct buf *texts = xcalloc(v->n, sizeof *texts);
    size_t n_others = 0, n_words = 0;
    for (uint32_t at = value_first(c, list); at != NO_VALUE; at = value_next(c, list, at)) {
        enum chat_kind kind = c->v[at].kind;
        if (!(kinds >> kind & 1))
            continue;
        if (!value_is_container(&c->v[at])) {
            struct buf *text = &texts[n_words];
            spell_scalar(c, &c->v[at], text);
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
