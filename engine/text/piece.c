#include "text/piece.h"

#include "specd/utf8.h"

#include <string.h>

static bool printable_byte(uint32_t b)
{
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF);
}

/* The characters from U+0100 on stand for the unprintable bytes in ascending order:
 * 00..20, 7F..A0, AD. */
static int alphabet_byte(uint32_t cp)
{
    if (cp < 0x100)
        return printable_byte(cp) ? (int)cp : -1;
    uint32_t k = cp - 0x100;
    if (k <= 0x20)
        return (int)k;
    if (k <= 0x20 + 0x22)
        return (int)(k - 0x21 + 0x7F);
    return k == 0x43 ? 0xAD : -1;
}

bool piece_from_alphabet(const char *text, size_t len, struct buf *out)
{
    size_t before = out->len;
    buf_reserve(out, len);
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        size_t n;
        int byte = -1;
        if (utf8_read(text + i, len - i, &cp, &n) == UTF8_OK)
            byte = alphabet_byte(cp);
        if (byte < 0) {
            out->len = before;
            return false;
        }
        out->data[out->len++] = (char)byte;
        i += n;
    }
    return true;
}

int piece_byte(const char *text, size_t len)
{
    if (len != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

void piece_append_spaced(const char *text, size_t len, struct buf *out)
{
    const size_t mark = strlen(PIECE_SPACE);
    const char *end = text + len;
    while (text < end) {
        const char *at = memmem(text, (size_t)(end - text), PIECE_SPACE, mark);
        buf_add(out, text, (size_t)((at ? at : end) - text));
        if (!at)
            return;
        buf_add(out, " ", 1);
        text = at + mark;
    }
}

void piece_append(const struct vocab *v, uint32_t id, struct buf *out)
{
    const struct vocab_token *token = &v->tokens[id];
    bool plain = token->type == TOKEN_CONTROL || token->type == TOKEN_USER_DEFINED;
    if (v->kind == VOCAB_SPM) {
        int byte = token->type == TOKEN_BYTE ? piece_byte(token->text, token->len) : -1;
        if (byte >= 0)
            buf_add(out, &(char){(char)byte}, 1);
        else
            piece_append_spaced(token->text, token->len, out);
    } else if (plain || !piece_from_alphabet(token->text, token->len, out)) {
        buf_add(out, token->text, token->len);
    }
}
