#include "text/piece.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Tokens that only fill a table up to a round size: never drawn, so their names do not matter. */
static bool is_padding(const struct vocab_token *t)
{
    static const char *const names[] = {"[pad", "<pad", "<unused", "[unused", "<|unused"};
    if (t->type == TOKEN_UNUSED || t->len == 0)
        return true;
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (t->len >= strlen(names[i]) && strncasecmp(t->text, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

static uint32_t used_tokens(const struct vocab *v)
{
    uint32_t n = v->n_tokens;
    while (n > 0 && is_padding(&v->tokens[n - 1]))
        n--;
    return n;
}

/* The bytes of a token as a message can show them, cut to fit. */
static void quote(const struct vocab *v, uint32_t id, char *out, size_t cap)
{
    struct buf bytes = {0};
    piece_append(v, id, &bytes);
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < bytes.len && at + 5 < cap; i++) {
        unsigned char c = (unsigned char)bytes.data[i];
        at += (size_t)snprintf(out + at, cap - at, c < 0x20 || c > 0x7E ? "\\x%02X" : "%c", c);
    }
    buf_free(&bytes);
}

static bool same_token(const struct vocab *a, const struct vocab *b, uint32_t id, struct buf *x,
                       struct buf *y)
{
    buf_clear(x);
    buf_clear(y);
    piece_append(a, id, x);
    piece_append(b, id, y);
    return x->len == y->len && (x->len == 0 || memcmp(x->data, y->data, x->len) == 0);
}

bool vocab_matches(const struct vocab *target, const struct vocab *draft, char *err, size_t errlen)
{
    uint32_t n = MIN(used_tokens(target), used_tokens(draft));
    struct buf x = {0}, y = {0};
    uint32_t id = 0;
    while (id < n && same_token(target, draft, id, &x, &y))
        id++;
    buf_free(&x);
    buf_free(&y);
    if (id == n)
        return true;
    char a[64], b[64];
    quote(target, id, a, sizeof a);
    quote(draft, id, b, sizeof b);
    snprintf(err, errlen,
             "the draft's vocabulary differs from the target's: token %u is \"%s\" there and "
             "\"%s\" in the target (%u and %u tokens)",
             id, b, a, draft->n_tokens, target->n_tokens);
    return false;
}
