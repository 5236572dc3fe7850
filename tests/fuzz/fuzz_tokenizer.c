/*
 * Any text through every kind of tokenizer: what comes out decodes to what went in.
 *
 * links: specd_text specd_model specd_base
 */
#include "fuzz.h"

#include "specd/utf8.h"
#include "text/tokenizer.h"
#include "unit/vocab_maker.h"

#include <stdlib.h>
#include <string.h>

#define MARK "\xE2\x96\x81"

enum { KINDS = PRE_COUNT + 2 }; /* the families of BPE, SentencePiece by scores, with a prefix */

static struct tokenizer *tokenizers[KINDS];

static void put_specials(struct vocab *v)
{
    v->bos = vocab_put(v, "<s>", TOKEN_CONTROL);
    vocab_put(v, "<s>x", TOKEN_USER_DEFINED);
    vocab_put(v, "\xF0\x9F\x98\x80", TOKEN_USER_DEFINED);
}

static struct vocab bpe_vocab(enum vocab_pre pre)
{
    static const char *const merges[][2] = {
        {"a", "b"},   {"ab", "c"},          {" ", " "},       {"  ", "  "}, {"\xC3", "\xA9"},
        {" ", "a"},   {"1", "2"},           {"b", "c"},       {"a", "a"},   {"aa", "a"},
        {"\n", "\n"}, {"\xE2\x82", "\xAC"}, {"\xE2", "\x82"},
    };
    struct vocab v = vocab_new(VOCAB_BPE, pre);
    vocab_put_alphabet(&v);
    vocab_put_bytes(&v, "\xE2\x82", 2);
    for (size_t i = 0; i < COUNT_OF(merges); i++)
        vocab_put_merge(&v, merges[i][0], merges[i][1]);
    v.ignore_merges = pre == PRE_LLAMA3;
    put_specials(&v);
    return v;
}

static struct vocab spm_vocab(bool prefix)
{
    static const char *const pieces[] = {
        "a",         "b",        "ab", "abc", "\xC3\xA9", MARK,
        (MARK MARK), (MARK "a"), "aa", "aab", ("a" MARK), "\xE2\x82\xAC",
    };
    struct vocab v = vocab_new(VOCAB_SPM, PRE_GPT2);
    vocab_put_byte_tokens(&v);
    for (size_t i = 0; i < COUNT_OF(pieces); i++)
        vocab_put_scored(&v, pieces[i], (float)(i * 7 % 5));
    v.add_space_prefix = prefix;
    put_specials(&v);
    return v;
}

static const struct tokenizer *tokenizer_of(unsigned kind)
{
    if (!tokenizers[kind]) {
        struct vocab v =
            kind < PRE_COUNT ? bpe_vocab((enum vocab_pre)kind) : spm_vocab(kind > PRE_COUNT);
        ASSERT(tokenizer_create(&tokenizers[kind], &v, NULL, 0) == 0);
        vocab_free(&v);
    }
    return tokenizers[kind];
}

static bool has(const char *text, size_t len, const char *what)
{
    return memmem(text, len, what, strlen(what)) != NULL;
}

/* SentencePiece takes U+2581 for a space, and its prefix cannot be told from one. */
static bool round_trips(unsigned kind, const char *text, size_t len)
{
    return kind < PRE_COUNT || (kind == PRE_COUNT && !has(text, len, MARK));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    unsigned kind = data[0] % KINDS, flags = data[0] / KINDS % 2 ? ENCODE_SPECIAL : 0;
    const struct tokenizer *t = tokenizer_of(kind);
    const char *text = (const char *)data + 1;
    size_t len = size - 1, n, part = data[0] / KINDS / 2;
    struct text_spans client = {0}; /* every other part of so many bytes */
    for (size_t at = part; part > 0 && at < len; at += 2 * part)
        text_spans_add(&client, at, MIN(at + part, len));
    struct encode_options options = {.client = &client};
    int32_t *ids;
    ASSERT(tokenizer_encode(t, text, len, flags, &options, &ids, &n) == 0);
    struct buf bytes = {0}, decoded = {0};
    struct decoder d = {0};
    for (size_t i = 0; i < n; i++) {
        size_t piece_len;
        const char *piece = tokenizer_piece(t, ids[i], true, &piece_len);
        ASSERT(piece_len > 0 || ids[i] == tokenizer_vocab(t)->bos);
        if (round_trips(kind, text, len) &&
            tokenizer_vocab(t)->tokens[ids[i]].type == TOKEN_CONTROL) {
            size_t k = text_spans_find(client.items, client.n, bytes.len);
            ASSERT(k == client.n || client.items[k].begin >= bytes.len + piece_len);
        }
        buf_add(&bytes, piece, piece_len);
        decoder_feed(&d, t, ids[i], true, &decoded);
    }
    decoder_finish(&d, &decoded);
    if (round_trips(kind, text, len))
        ASSERT(bytes.len == len && (len == 0 || memcmp(bytes.data, text, len) == 0));
    if (decoded.data)
        ASSERT(utf8_valid_run(decoded.data, decoded.len) == decoded.len);
    text_spans_free(&client);
    buf_free(&bytes);
    buf_free(&decoded);
    free(ids);
    return 0;
}

bool fuzz_seed(int i, struct buf *out)
{
    static const char *const texts[] = {
        "Hello, abcabc it's 1234  \n\n  aaaa\t<s>x<s> caf\xC3\xA9 \xE2\x82\xAC\xF0\x9F\x98\x80 "
        "\xFF\xC3",
        MARK "a" MARK " \xED\xA0\x80 e\xCC\x81\xCC\xA3 \xE0\xA4\x95\xE0\xA4\xBC 'S'll\r\n\r\n",
    };
    if (i >= (int)COUNT_OF(texts) * 2 * KINDS)
        return false;
    buf_add(out, &(char){(char)(i % (2 * KINDS))}, 1);
    buf_puts(out, texts[i / (2 * KINDS)]);
    return true;
}
