/*
 * grammar_walk.h - a small vocabulary and random texts by way of masks, for the tests of grammars.
 */
#ifndef SPECD_TEST_GRAMMAR_WALK_H
#define SPECD_TEST_GRAMMAR_WALK_H

#include "grammar/mask.h"

#include <stdlib.h>
#include <string.h>

struct walker {
    struct token_bytes *tokens;
    size_t n_tokens;
    struct buf bytes;
    struct token_trie trie;
    struct grammar_masks *masks;
    uint32_t *allowed;
    uint64_t random;
};

static inline uint32_t walker_below(struct walker *w, uint32_t n)
{
    w->random ^= w->random >> 12;
    w->random ^= w->random << 25;
    w->random ^= w->random >> 27;
    return (uint32_t)((w->random * UINT64_C(0x2545f4914f6cdd1d)) >> 33) % n;
}

/* Every byte, pieces of JSON, and random runs of them: about n tokens; the last one is the end. */
static inline void walker_init(struct walker *w, uint32_t n, size_t cache_bytes)
{
    static const char *const pieces[] = {"\"",       "{\"",
                                         "\":",      "\": \"",
                                         "\",\"",    "\", \"",
                                         "\"}",      "}",
                                         "},",       "]",
                                         "[{\"",     "],\"",
                                         ", ",       ": ",
                                         "\n  ",     "\n    ",
                                         "\n\t",     "{\n  \"",
                                         "},\n",     "true",
                                         "false",    "null",
                                         "12",       "0.",
                                         "e+",       "-",
                                         "2024",     "\\\"",
                                         "\\n",      "\\u00",
                                         "\\ud83d",  "ude00",
                                         "name",     "age",
                                         "id",       "type",
                                         " the",     " and",
                                         "a",        "b",
                                         "\xc3",     "\xa9",
                                         "\xc3\xa9", "\xf0\x9f",
                                         "\x98\x80", "\xe2\x82\xac",
                                         "    ",     "        ",
                                         "{}",       "[]",
                                         "[[",       "]]",
                                         "}}",       "caf\xc3\xa9",
                                         "x\xc3",    "\"]",
                                         "\x01",     "\n",
                                         "\n\n",     "\t",
                                         "child",    "next",
                                         "value",    "kind"};
    memset(w, 0, sizeof *w);
    w->random = 88172645463325252u;
    size_t *at = (size_t *)xcalloc(n + 1, sizeof *at), k = 0;
    for (; k < n; k++) {
        at[k] = w->bytes.len;
        if (k < 256) {
            buf_add(&w->bytes, (char[]){(char)k}, 1);
        } else if (k < 256 + COUNT_OF(pieces)) {
            buf_puts(&w->bytes, pieces[k - 256]);
        } else {
            for (uint32_t parts = 1 + walker_below(w, 3); parts > 0; parts--)
                if (walker_below(w, 2))
                    buf_puts(&w->bytes, pieces[walker_below(w, COUNT_OF(pieces))]);
                else
                    buf_add(&w->bytes, (char[]){(char)(' ' + walker_below(w, 95))}, 1);
        }
    }
    at[k] = w->bytes.len;
    w->tokens = (struct token_bytes *)xcalloc(n + 1, sizeof *w->tokens);
    for (k = 0; k < n; k++)
        w->tokens[k] =
            (struct token_bytes){w->bytes.data + at[k], at[k + 1] - at[k], (int32_t)k, false};
    free(at);
    w->tokens[n] = (struct token_bytes){"</s>", 4, (int32_t)n, false};
    w->n_tokens = n + 1;
    token_trie_init(&w->trie, w->tokens, w->n_tokens, n + 1, (int32_t[]){(int32_t)n}, 1);
    w->masks = grammar_masks_create(&w->trie, cache_bytes);
    w->allowed = (uint32_t *)xcalloc(mask_words(n + 1), sizeof *w->allowed);
}

static inline void walker_free(struct walker *w)
{
    free(w->tokens);
    free(w->allowed);
    buf_free(&w->bytes);
    grammar_masks_free(w->masks);
    token_trie_fini(&w->trie);
}

static inline bool walker_allowed(const struct walker *w, uint32_t id)
{
    return w->allowed[id / 32] >> id % 32 & 1;
}

/* The mask of s in w->allowed; with brute, false if it is not what trying each token says. */
static inline bool walker_mask(struct walker *w, const struct grammar *g,
                               const struct grammar_state *s, bool brute)
{
    uint32_t n = grammar_mask(w->masks, g, s, w->allowed), tried = 0;
    for (uint32_t id = 0; brute && id < w->n_tokens; id++) {
        struct grammar_state copy;
        bool may = grammar_may_end(s);
        if (id + 1 < w->n_tokens) {
            grammar_state_copy(&copy, s);
            may = grammar_accept(g, &copy, w->tokens[id].data, w->tokens[id].len);
        }
        if (may != walker_allowed(w, id))
            return false;
        tried += may;
    }
    return n > 0 && (!brute || n == tried);
}

/* A random token of the mask: often one of punctuation, so that texts end; only such when closing.
 */
static inline uint32_t walker_pick(struct walker *w, bool closing)
{
    static const char closers[] = "}]}]}]0by";
    uint32_t end = (uint32_t)w->n_tokens - 1;
    bool marks = walker_below(w, 2) == 0;
    if (walker_allowed(w, end) && (closing || walker_below(w, 4) == 0))
        return end;
    if (closing && walker_below(w, 2) && walker_allowed(w, '"'))
        return '"';
    for (int tries = 0; closing && walker_below(w, 4) > 0 && tries < 4; tries++) {
        uint32_t id = (uint8_t)closers[walker_below(w, sizeof closers - 1)];
        if (walker_allowed(w, id))
            return id;
    }
    for (int pass = 0; pass < 2; pass++) {
        uint32_t n = 0, chosen = end;
        for (uint32_t id = 0; id < w->n_tokens; id++) {
            const struct token_bytes *t = &w->tokens[id];
            bool mark = strspn(t->data, "\"{}[],:0123456789 \n") >= t->len;
            if (walker_allowed(w, id) && (mark || !marks || pass > 0) && walker_below(w, ++n) == 0)
                chosen = id;
        }
        if (n > 0)
            return chosen;
    }
    return end;
}

/* A text of the grammar. false when a mask was wrong or empty, or the text does not come to an end;
 * masks are compared with brute force at one of `brute_every` places. */
static inline bool walker_text(struct walker *w, const struct grammar *g, uint64_t seed,
                               uint32_t length, uint32_t brute_every, struct buf *out)
{
    struct grammar_state s;
    w->random = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
    grammar_start(g, &s);
    for (uint32_t i = 0; i < length + 20000; i++) {
        if (!walker_mask(w, g, &s, walker_below(w, brute_every) == 0))
            return false;
        uint32_t id = walker_pick(w, i >= length);
        const struct token_bytes *t = &w->tokens[id];
        if (!walker_allowed(w, id))
            return false;
        if (id + 1 == w->n_tokens)
            return true;
        if (!grammar_accept(g, &s, t->data, t->len))
            return false;
        buf_add(out, t->data, t->len);
    }
    return false;
}

/* The text is one of the grammar's, by bytes at once and token by token through masks. */
static inline bool walker_accepts(struct walker *w, const struct grammar *g, const char *text,
                                  size_t len)
{
    struct grammar_state s;
    grammar_start(g, &s);
    if (!grammar_accept(g, &s, text, len) || !grammar_may_end(&s))
        return false;
    for (int way = 0; way < 3; way++) {
        grammar_start(g, &s);
        for (size_t at = 0; at < len;) {
            uint32_t n = 0, chosen = 0;
            for (uint32_t id = 0; id + 1 < w->n_tokens; id++) {
                const struct token_bytes *t = &w->tokens[id];
                if (t->len <= len - at && memcmp(t->data, text + at, t->len) == 0 &&
                    walker_below(w, ++n) == 0)
                    chosen = id;
            }
            walker_mask(w, g, &s, false);
            if (!walker_allowed(w, chosen) ||
                !grammar_accept(g, &s, w->tokens[chosen].data, w->tokens[chosen].len))
                return false;
            at += w->tokens[chosen].len;
        }
        walker_mask(w, g, &s, false);
        if (!walker_allowed(w, (uint32_t)w->n_tokens - 1))
            return false;
    }
    return true;
}

#endif
