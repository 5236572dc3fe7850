/*
 * Streaming decode against Python's bytes.decode("utf-8", errors="replace"), and UTF-8 reading.
 *
 * links: specd_text specd_model specd_base
 */
#include "specd/utf8.h"
#include "text/tokenizer.h"
#include "unit/vocab_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MARK "\xE2\x96\x81"
#define R UTF8_REPLACEMENT

/* Byte b is token b. */
static struct tokenizer *bytes_tokenizer(void)
{
    struct vocab v = vocab_new(VOCAB_BPE, PRE_GPT2);
    vocab_put_alphabet(&v);
    vocab_put_bytes(&v, "\x9F\x98\x80z", 4); /* 256 */
    vocab_put(&v, "<|end|>", TOKEN_CONTROL); /* 257 */
    struct tokenizer *t;
    assert_int_equal(tokenizer_create(&t, &v, NULL, 0), 0);
    vocab_free(&v);
    return t;
}

/* From Python: bytes.fromhex(...).decode("utf-8", errors="replace"). */
static const struct {
    const char *bytes, *text;
} cases[] = {
    {"abc", "abc"},
    {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"},
    {"\x80", R},
    {"a\x80\x80"
     "b",
     "a" R R "b"},
    {"\xC3(", R "("},
    {"\xC3\xC3\xA9", R "\xC3\xA9"},
    {"\xE2\x82", R},
    {"\xE2\x82z", R "z"},
    {"\xE2(\xA1", R "(" R},
    {"\xF0\x9F\x98", R},
    {"\xF0\x9F\x98\xF0\x9F\x98\x80", R "\xF0\x9F\x98\x80"},
    {"\xF0\x9F(\x80", R "(" R},
    {"\xC0\xAF", R R},
    {"\xE0\x80\xAF", R R R},
    {"\xE0\xA0", R},
    {"\xED\xA0\x80", R R R},
    {"\xED\x9F\xBF", "\xED\x9F\xBF"},
    {"\xF0\x80\x80\xAF", R R R R},
    {"\xF4\x8F\xBF\xBF", "\xF4\x8F\xBF\xBF"},
    {"\xF4\x90\x80\x80", R R R R},
    {"\xF5\x80", R R},
    {"\xFF\xFE", R R},
};

static void feed(struct decoder *d, const struct tokenizer *t, const char *bytes, struct buf *out)
{
    for (; *bytes; bytes++)
        decoder_feed(d, t, (unsigned char)*bytes, true, out);
}

static void test_byte_by_byte(void **state)
{
    (void)state;
    struct tokenizer *t = bytes_tokenizer();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct decoder d = {0};
        struct buf out = {0};
        feed(&d, t, cases[i].bytes, &out);
        decoder_finish(&d, &out);
        assert_string_equal(out.data, cases[i].text);
        assert_int_equal(utf8_valid_run(out.data, out.len), out.len);
        buf_free(&out);
    }
    tokenizer_free(t);
}

/* The same bytes in one token each. */
static void test_whole_tokens(void **state)
{
    (void)state;
    struct vocab v = vocab_new(VOCAB_BPE, PRE_GPT2);
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        vocab_put_bytes(&v, cases[i].bytes, strlen(cases[i].bytes));
    struct tokenizer *t;
    assert_int_equal(tokenizer_create(&t, &v, NULL, 0), 0);
    vocab_free(&v);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct decoder d = {0};
        struct buf out = {0};
        decoder_feed(&d, t, (int32_t)i, true, &out);
        decoder_finish(&d, &out);
        assert_string_equal(out.data, cases[i].text);
        buf_free(&out);
    }
    tokenizer_free(t);
}

static void test_only_whole_characters_leave(void **state)
{
    (void)state;
    struct tokenizer *t = bytes_tokenizer();
    struct decoder d = {0};
    struct buf out = {0};
    feed(&d, t, "x\xF0", &out);
    assert_string_equal(out.data, "x");
    decoder_feed(&d, t, 256, true, &out);
    assert_string_equal(out.data, "x\xF0\x9F\x98\x80z");
    feed(&d, t, "\xE2\x82", &out);
    assert_int_equal(out.len, 6);
    decoder_feed(&d, t, 257, false, &out); /* a hidden control token does not come between */
    feed(&d, t, "\xAC", &out);
    assert_string_equal(out.data + 6, "\xE2\x82\xAC");
    decoder_feed(&d, t, 257, true, &out);
    decoder_feed(&d, t, -1, true, &out);
    decoder_feed(&d, t, 100000, true, &out);
    decoder_finish(&d, &out);
    assert_string_equal(out.data + 9, "<|end|>");
    buf_free(&out);
    tokenizer_free(t);
}

static void test_sentencepiece(void **state)
{
    (void)state;
    for (int prefix = 0; prefix < 2; prefix++) {
        struct vocab v = vocab_new(VOCAB_SPM, PRE_GPT2);
        vocab_put(&v, "<s>", TOKEN_CONTROL);
        vocab_put(&v, MARK "Hi", TOKEN_NORMAL);
        vocab_put(&v, MARK MARK, TOKEN_NORMAL);
        vocab_put(&v, "<0xC3>", TOKEN_BYTE);
        vocab_put(&v, "<0xA9>", TOKEN_BYTE);
        v.add_space_prefix = prefix;
        struct tokenizer *t;
        assert_int_equal(tokenizer_create(&t, &v, NULL, 0), 0);
        vocab_free(&v);
        struct decoder d = {0};
        struct buf out = {0};
        const int32_t ids[] = {0, 1, 1, 2, 3, 4, 3};
        for (size_t i = 0; i < COUNT_OF(ids); i++)
            decoder_feed(&d, t, ids[i], false, &out);
        decoder_finish(&d, &out);
        assert_string_equal(out.data, prefix ? "Hi Hi  \xC3\xA9" R : " Hi Hi  \xC3\xA9" R);
        buf_clear(&out);
        d = (struct decoder){.started = true}; /* text that continues a prompt */
        decoder_feed(&d, t, 1, false, &out);
        assert_string_equal(out.data, " Hi");
        d = (struct decoder){0};
        buf_clear(&out);
        decoder_feed(&d, t, 2, false, &out);
        decoder_feed(&d, t, 1, false, &out);
        assert_string_equal(out.data, prefix ? "  Hi" : "   Hi");
        buf_free(&out);
        tokenizer_free(t);
    }
}

static void test_utf8_writes_what_it_reads(void **state)
{
    (void)state;
    for (uint32_t cp = 1; cp < 0x110000; cp += cp < 0x3000 ? 1 : 37) {
        if (cp >= 0xD800 && cp < 0xE000)
            continue;
        char text[4];
        uint32_t back;
        size_t n = utf8_write(cp, text), len;
        assert_int_equal(utf8_read(text, n, &back, &len), UTF8_OK);
        assert_int_equal(len, n);
        assert_int_equal(back, cp);
        assert_int_equal(utf8_valid_run(text, n), n);
        for (size_t cut = 1; cut < n; cut++) {
            assert_int_equal(utf8_read(text, cut, &back, &len), UTF8_CUT);
            assert_int_equal(len, cut);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_whole_tokens),
        cmocka_unit_test(test_only_whole_characters_leave),
        cmocka_unit_test(test_sentencepiece),
        cmocka_unit_test(test_utf8_writes_what_it_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
