/*
 * vocab_maker.h - small vocabularies for tests: built token by token, freed with vocab_free.
 */
#ifndef SPECD_TEST_VOCAB_MAKER_H
#define SPECD_TEST_VOCAB_MAKER_H

#include "model/vocab.h"
#include "specd/utf8.h"
#include "specd/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline struct vocab vocab_new(enum vocab_kind kind, enum vocab_pre pre)
{
    return (struct vocab){.kind = kind, .pre = pre, .bos = -1, .eos = -1, .unk = -1, .pad = -1};
}

static inline int32_t vocab_put(struct vocab *v, const char *text, enum token_type type)
{
    if ((v->n_tokens & (v->n_tokens - 1)) == 0) /* room for twice as many at 0, 1, 2, 4, ... */
        v->tokens = xrealloc(v->tokens, (2 * (size_t)v->n_tokens + 1) * sizeof *v->tokens);
    v->tokens[v->n_tokens] =
        (struct vocab_token){.text = xstrdup(text), .len = (uint32_t)strlen(text), .type = type};
    return (int32_t)v->n_tokens++;
}

static inline int32_t vocab_put_scored(struct vocab *v, const char *text, float score)
{
    int32_t id = vocab_put(v, text, TOKEN_NORMAL);
    v->tokens[id].score = score;
    return id;
}

/* GPT-2's spelling of bytes, written down apart from the program's. */
static inline void vocab_spell(const char *bytes, size_t len, struct buf *out)
{
    uint32_t letters[256], next = 0x100;
    for (uint32_t b = 0; b < 256; b++) {
        bool own = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        letters[b] = own ? b : next++;
    }
    for (size_t i = 0; i < len; i++) {
        char utf8[4];
        buf_add(out, utf8, utf8_write(letters[(unsigned char)bytes[i]], utf8));
    }
}

static inline int32_t vocab_put_bytes(struct vocab *v, const char *bytes, size_t len)
{
    struct buf text = {0};
    vocab_spell(bytes, len, &text);
    int32_t id = vocab_put(v, text.data, TOKEN_NORMAL);
    buf_free(&text);
    return id;
}

/* Byte b gets id b. */
static inline void vocab_put_alphabet(struct vocab *v)
{
    for (int b = 0; b < 256; b++)
        vocab_put_bytes(v, &(char){(char)b}, 1);
}

static inline void vocab_put_byte_tokens(struct vocab *v)
{
    for (unsigned b = 0; b < 256; b++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", b);
        vocab_put(v, text, TOKEN_BYTE);
    }
}

/* Adds the merge and, if it is not there yet, the token it makes. Returns that token. */
static inline int32_t vocab_put_merge(struct vocab *v, const char *left, const char *right)
{
    struct buf l = {0}, r = {0}, sum = {0};
    vocab_spell(left, strlen(left), &l);
    vocab_spell(right, strlen(right), &r);
    buf_add(&sum, l.data, l.len);
    buf_add(&sum, r.data, r.len);
    v->merges = xrealloc(v->merges, (v->n_merges + 1) * sizeof *v->merges);
    v->merges[v->n_merges++] = (struct vocab_merge){
        .left = l.data, .right = r.data, .left_len = (uint32_t)l.len, .right_len = (uint32_t)r.len};
    int32_t id = -1;
    for (uint32_t i = 0; i < v->n_tokens && id < 0; i++)
        if (strcmp(v->tokens[i].text, sum.data) == 0)
            id = (int32_t)i;
    if (id < 0)
        id = vocab_put(v, sum.data, TOKEN_NORMAL);
    buf_free(&sum);
    return id;
}

#endif
