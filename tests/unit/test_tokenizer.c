/*
 * The tokenizer as a whole: added tokens, BOS and EOS, bytes that are no UTF-8, normalisation, the
 * space prefix, sharing between threads. Ids against other programs: tests/oracle.
 *
 * links: specd_text specd_model specd_base
 * labels: thread
 */
#include "specd/error.h"
#include "specd/unicode.h"
#include "text/tokenizer.h"
#include "unit/vocab_maker.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MARK "\xE2\x96\x81"

static struct tokenizer *make(struct vocab *v)
{
    struct tokenizer *t;
    char err[200];
    assert_int_equal(tokenizer_create(&t, v, err, sizeof err), 0);
    vocab_free(v);
    return t;
}

/* The tokens' texts as the vocabulary spells them, with '|' between. */
static char *spelled(const struct tokenizer *t, const char *text, size_t len, unsigned flags,
                     const struct encode_options *options)
{
    int32_t *ids;
    size_t n;
    struct buf out = {0};
    assert_int_equal(tokenizer_encode(t, text, len, flags, options, &ids, &n), 0);
    buf_puts(&out, "");
    for (size_t i = 0; i < n; i++) {
        const struct vocab_token *token = &tokenizer_vocab(t)->tokens[ids[i]];
        buf_puts(&out, i ? "|" : "");
        buf_add(&out, token->text, token->len);
    }
    free(ids);
    return buf_take(&out);
}

static void check(const struct tokenizer *t, const char *text, unsigned flags, const char *expected)
{
    char *got = spelled(t, text, strlen(text), flags, NULL);
    assert_string_equal(got, expected);
    free(got);
}

/* Braces in marked stand around a client's parts of the text, which has none. */
static void check_parts(const struct tokenizer *t, const char *marked, const char *expected)
{
    struct buf text = {0};
    struct text_spans client = {0};
    size_t begin = 0;
    for (const char *c = marked; *c; c++) {
        if (*c == '{')
            begin = text.len;
        else if (*c == '}')
            text_spans_add(&client, begin, text.len);
        else
            buf_add(&text, c, 1);
    }
    struct encode_options options = {.client = &client};
    char *got = spelled(t, text.data, text.len, ENCODE_SPECIAL, &options);
    assert_string_equal(got, expected);
    free(got);
    text_spans_free(&client);
    buf_free(&text);
}

static struct vocab bpe_vocab(void)
{
    struct vocab v = vocab_new(VOCAB_BPE, PRE_GPT2);
    vocab_put_alphabet(&v);
    vocab_put_merge(&v, "a", "b");
    vocab_put_merge(&v, "ab", "c");
    return v;
}

static void test_added_tokens(void **state)
{
    (void)state;
    struct vocab v = bpe_vocab();
    vocab_put(&v, "<s>", TOKEN_CONTROL);
    vocab_put(&v, "<s><s>", TOKEN_CONTROL);
    vocab_put(&v, "<u>", TOKEN_USER_DEFINED);
    vocab_put(&v, "<u>x", TOKEN_CONTROL);
    vocab_put(&v, "bc", TOKEN_USER_DEFINED);
    struct tokenizer *t = make(&v);
    check(t, "abc<s>ab", ENCODE_SPECIAL, "a|bc|<s>|ab");
    check(t, "<s><s><s>", ENCODE_SPECIAL, "<s><s>|<s>");
    check(t, "<s>", 0, "<|s|>");
    check(t, "<u>x<u>", ENCODE_SPECIAL, "<u>x|<u>");
    check(t, "<u>x<u>", 0, "<u>|x|<u>"); /* the longest of those allowed */
    check(t, "<u", ENCODE_SPECIAL, "<|u");
    check(t, "", ENCODE_SPECIAL, "");
    tokenizer_free(t);
}

static void test_client_parts(void **state)
{
    (void)state;
    struct vocab v = bpe_vocab();
    vocab_put(&v, "<s>", TOKEN_CONTROL);
    vocab_put(&v, "<s>x", TOKEN_CONTROL);
    vocab_put(&v, "<u>", TOKEN_USER_DEFINED);
    struct tokenizer *t = make(&v);
    check_parts(t, "<s>{<s>}<s>", "<s>|<|s|>|<s>");
    check_parts(t, "{<s}>|<{s}>|<s{>}|{a}<s>{b}", "<|s|>|||<|s|>|||<|s|>|||a|<s>|b");
    check_parts(t, "<s>x<s>{x}{<s>}x", "<s>x|<s>|x|<|s|>|x");  /* the longest that is all its own */
    check_parts(t, "a{b}c{a}b{c<u>}<{u}>", "abc|abc|<u>|<u>"); /* merges go across, as do others */
    check_parts(t, "{<s>", "<s>");                             /* a part without an end is none */
    tokenizer_free(t);

    v = bpe_vocab();
    v.nfc = true;
    int32_t late = vocab_put(&v, "<\xC3\xA9>", TOKEN_CONTROL); /* found in composed text */
    v.tokens[late].normalized = true;
    t = make(&v);
    check_parts(t, "<e\xCC\x81>", "<\xC3\xA9>");
    check_parts(t, "<e\xCC\x81>{<e\xCC\x81>}<e\xCC\x81>",
                "<\xC3\xA9>|<|\xC3\x83|\xC2\xA9|>|<\xC3\xA9>");
    check_parts(t, "<e{\xCC\x81}>", "<|\xC3\x83|\xC2\xA9|>"); /* half of a letter */
    check_parts(t, "{e\xCC\x81}<\xC3\xA9>", "\xC3\x83|\xC2\xA9|<\xC3\xA9>");
    check_parts(t, "{\xC3\xA9}<\xC3\xA9>{\xC3\xA9}<{\xC3\xA9}>", /* nothing to compose */
                "\xC3\x83|\xC2\xA9|<\xC3\xA9>|\xC3\x83|\xC2\xA9|<|\xC3\x83|\xC2\xA9|>");
    tokenizer_free(t);
}

static void test_added_tokens_take_space(void **state)
{
    (void)state;
    struct vocab v = bpe_vocab();
    int32_t left = vocab_put(&v, "<l>", TOKEN_CONTROL);
    int32_t right = vocab_put(&v, "<r>", TOKEN_CONTROL);
    v.tokens[left].lstrip = true;
    v.tokens[right].rstrip = true;
    struct tokenizer *t = make(&v);
    check(t, "a \n\xE3\x80\x80<l> b", ENCODE_SPECIAL, "a|<l>|\xC4\xA0|b");
    check(t, "a <r> \t b", ENCODE_SPECIAL, "a|\xC4\xA0|<r>|b");
    check(t, "<r>  <l>", ENCODE_SPECIAL, "<r>|<l>");
    check(t, "\x80<l>", ENCODE_SPECIAL, "\xC4\xA2|<l>");
    tokenizer_free(t);
}

static void test_bos_and_eos(void **state)
{
    (void)state;
    struct vocab v = bpe_vocab();
    v.bos = vocab_put(&v, "<s>", TOKEN_CONTROL);
    v.eos = vocab_put(&v, "</s>", TOKEN_CONTROL);
    v.add_bos = true;
    struct tokenizer *t = make(&v);
    check(t, "ab", 0, "ab");
    check(t, "ab", ENCODE_BOS, "<s>|ab");
    check(t, "", ENCODE_BOS, "<s>");
    check(t, "<s>ab", ENCODE_BOS | ENCODE_SPECIAL, "<s>|<s>|ab");
    tokenizer_free(t);
}

static void test_normalisation(void **state)
{
    (void)state;
    struct vocab v = bpe_vocab();
    v.nfc = true;
    vocab_put(&v, "\xC3\xA9", TOKEN_USER_DEFINED);                /* e acute: looked for before */
    int32_t late = vocab_put(&v, "\xC3\xA8", TOKEN_USER_DEFINED); /* e grave: after */
    v.tokens[late].normalized = true;
    struct tokenizer *t = make(&v);
    check(t, "\xC3\xA9", 0, "\xC3\xA9");
    check(t, "e\xCC\x81", 0, "\xC3\x83|\xC2\xA9");
    check(t, "e\xCC\x80", 0, "\xC3\xA8");
    tokenizer_free(t);
}

static void test_nfc(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"e\xCC\x81", "\xC3\xA9"},
        {"q\xCC\x87\xCC\xA3", "q\xCC\xA3\xCC\x87"},               /* order of classes */
        {"\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", "\xED\x95\x9C"}, /* hangul */
        {"\xE0\xA5\x98", "\xE0\xA4\x95\xE0\xA4\xBC"},             /* never composed */
        {"\xE2\x84\xAB", "\xC3\x85"},                             /* singleton */
        {"a\xCC\x81\xCC\x81", "\xC3\xA1\xCC\x81"},
        {"a\xCD\x86\xCC\x81", "a\xCD\x86\xCC\x81"}, /* blocked by its own class */
        {"\xCC\x81"
         "e",
         "\xCC\x81"
         "e"},                                        /* nothing before it */
        {"\xE0\xA7\x87\xE0\xA6\xBE", "\xE0\xA7\x8B"}, /* two starters */
        {"\xE1\xBA\x9B\xCC\xA3", "\xE1\xBA\x9B\xCC\xA3"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buf out = {0};
        assert_false(nfc_is_trivial(cases[i].in, strlen(cases[i].in)));
        nfc_append(cases[i].in, strlen(cases[i].in), NULL, &out, NULL);
        assert_string_equal(out.data, cases[i].out);
        buf_free(&out);
    }
    assert_true(nfc_is_trivial("caf\xC3\xA9", 5));
}

/* Bytes that are no UTF-8 become tokens that give exactly these bytes back. */
static void test_any_bytes_round_trip(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (enum vocab_pre pre = PRE_GPT2; pre <= PRE_COUNT; pre++) {
        struct vocab v = bpe_vocab();
        if (pre < PRE_COUNT) {
            v.pre = pre;
        } else {
            vocab_free(&v);
            v = vocab_new(VOCAB_SPM, PRE_GPT2);
            vocab_put_byte_tokens(&v);
            vocab_put_scored(&v, "\xC3\xA9", 0);
            vocab_put_scored(&v, MARK, 0);
        }
        struct tokenizer *t = make(&v);
        for (int round = 0; round < 2000; round++) {
            static const char bytes[] = "ab c\xC3\xA9\xF0\x9F\x98\x80\xED\xA0\x80\xFF\xE2\x96 1\n'";
            char text[24];
            size_t len = round % sizeof text, n;
            for (size_t i = 0; i < len; i++) {
                seed = seed * 1664525u + 1013904223u;
                text[i] = bytes[(seed >> 16) % (sizeof bytes - 1)];
            }
            int32_t *ids;
            struct buf back = {0};
            assert_int_equal(tokenizer_encode(t, text, len, 0, NULL, &ids, &n), 0);
            for (size_t i = 0; i < n; i++) {
                size_t piece_len;
                const char *piece = tokenizer_piece(t, ids[i], true, &piece_len);
                buf_add(&back, piece, piece_len);
            }
            assert_int_equal(back.len, len);
            if (len > 0)
                assert_memory_equal(back.data, text, len);
            buf_free(&back);
            free(ids);
        }
        tokenizer_free(t);
    }
}

static struct tokenizer *spm(enum space_prefix prefix)
{
    struct vocab v = vocab_new(VOCAB_SPM, PRE_GPT2);
    v.unk = vocab_put(&v, "<unk>", TOKEN_UNKNOWN);
    vocab_put(&v, "<s>", TOKEN_CONTROL);
    vocab_put(&v, "<u>", TOKEN_USER_DEFINED);
    vocab_put(&v, "<0x41>", TOKEN_BYTE);
    vocab_put_scored(&v, MARK, -9);
    vocab_put_scored(&v, "a", -9);
    vocab_put_scored(&v, "b", -9);
    vocab_put_scored(&v, MARK "a", -1);
    vocab_put_scored(&v, "ab", -2);
    vocab_put_scored(&v, MARK MARK, -3);
    v.add_space_prefix = true;
    v.space_prefix = prefix;
    return make(&v);
}

static void test_space_prefix(void **state)
{
    (void)state;
    struct tokenizer *t = spm(PREFIX_SENTENCE);
    check(t, "ab", 0, MARK "a|b");
    check(t, " ab", 0, MARK "|" MARK "a|b");
    check(t, "a<s>a<u>a", ENCODE_SPECIAL, MARK "a|<s>|" MARK "a|<u>|a");
    check(t, "<u>a", ENCODE_SPECIAL, MARK "|<u>|a");
    check(t, "<s><u>", ENCODE_SPECIAL, "<s>|" MARK "|<u>");
    check(t, "", ENCODE_SPECIAL, "");
    check(t, "<s>", ENCODE_SPECIAL, "<s>");
    tokenizer_free(t);
    t = spm(PREFIX_STRETCH);
    check(t, "<u>a<u>b", ENCODE_SPECIAL, "<u>|" MARK "a|<u>|" MARK "|b");
    tokenizer_free(t);
    t = spm(PREFIX_MISSING);
    check(t, "a<u> b<u>b", ENCODE_SPECIAL, MARK "a|<u>|" MARK "|b|<u>|" MARK "|b");
    tokenizer_free(t);
    t = spm(PREFIX_FIRST);
    check(t, "a<s>a", ENCODE_SPECIAL, MARK "a|<s>|a");
    check(t, "<s>a", ENCODE_SPECIAL, "<s>|a");
    check(t, " b", ENCODE_SPECIAL, MARK "|b");
    tokenizer_free(t);
}

static void test_unknown_characters(void **state)
{
    (void)state;
    struct tokenizer *t = spm(PREFIX_FIRST);
    check(t, "aAb", 0, MARK "a|<0x41>|b");
    check(t, "axyzb", 0, MARK "a|<unk>|b"); /* one for a run */
    check(t, "x y", 0, MARK "|<unk>|" MARK "|<unk>");
    check(t, "<s>", 0, MARK "|<unk>");
    tokenizer_free(t);
}

static void test_pieces(void **state)
{
    (void)state;
    struct tokenizer *t = spm(PREFIX_FIRST);
    size_t len;
    tokenizer_piece(t, 1, false, &len);
    assert_int_equal(len, 0);
    assert_memory_equal(tokenizer_piece(t, 1, true, &len), "<s>", 3);
    assert_memory_equal(tokenizer_piece(t, 3, false, &len), "A", 1);
    assert_int_equal(len, 1);
    assert_memory_equal(tokenizer_piece(t, 7, false, &len), " a", 2);
    assert_int_equal(len, 2);
    tokenizer_piece(t, -1, true, &len);
    assert_int_equal(len, 0);
    tokenizer_piece(t, (int32_t)tokenizer_n_vocab(t), true, &len);
    assert_int_equal(len, 0);
    tokenizer_free(t);
}

static void test_the_byte_alphabet(void **state)
{
    (void)state;
    struct vocab v = bpe_vocab();
    struct tokenizer *t = make(&v);
    for (int b = 0; b < 256; b++) {
        size_t len;
        const char *piece = tokenizer_piece(t, b, true, &len);
        assert_int_equal(len, 1);
        assert_int_equal((unsigned char)piece[0], b);
    }
    tokenizer_free(t);
}

static void test_inconsistent_vocabularies(void **state)
{
    (void)state;
    struct tokenizer *t;
    char err[200] = "";
    struct vocab v = vocab_new(VOCAB_BPE, PRE_GPT2);
    assert_int_equal(tokenizer_create(&t, &v, err, sizeof err), SPECD_EFILE);
    vocab_put_alphabet(&v);
    v.eos = 256;
    assert_int_equal(tokenizer_create(&t, &v, err, sizeof err), SPECD_EFILE);
    assert_non_null(strstr(err, "eos"));
    v.eos = -1;
    v.pre = (enum vocab_pre)17;
    assert_int_equal(tokenizer_create(&t, &v, err, sizeof err), SPECD_EFILE);
    v.pre = PRE_GPT2;
    v.kind = (enum vocab_kind)7;
    assert_int_equal(tokenizer_create(&t, &v, err, sizeof err), SPECD_EFILE);
    vocab_free(&v);
}

struct job {
    const struct tokenizer *t;
    char *expected;
};
#define SHARED_TEXT "abc It's 123 <s>ab\xC3\xA9  \n\xFF abcabc"

static void *encode_often(void *arg)
{
    struct job *job = arg;
    for (int i = 0; i < 200; i++) {
        char *got = spelled(job->t, SHARED_TEXT, strlen(SHARED_TEXT), ENCODE_SPECIAL, NULL);
        assert_string_equal(got, job->expected);
        free(got);
    }
    return NULL;
}

static void test_threads_share_it(void **state)
{
    (void)state;
    struct vocab v = bpe_vocab();
    v.pre = PRE_LLAMA3;
    vocab_put(&v, "<s>", TOKEN_CONTROL);
    struct job job = {.t = make(&v)};
    job.expected = spelled(job.t, SHARED_TEXT, strlen(SHARED_TEXT), ENCODE_SPECIAL, NULL);
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, encode_often, &job), 0);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);
    free(job.expected);
    tokenizer_free((struct tokenizer *)job.t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_added_tokens),
        cmocka_unit_test(test_client_parts),
        cmocka_unit_test(test_added_tokens_take_space),
        cmocka_unit_test(test_bos_and_eos),
        cmocka_unit_test(test_normalisation),
        cmocka_unit_test(test_nfc),
        cmocka_unit_test(test_any_bytes_round_trip),
        cmocka_unit_test(test_space_prefix),
        cmocka_unit_test(test_unknown_characters),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_the_byte_alphabet),
        cmocka_unit_test(test_inconsistent_vocabularies),
        cmocka_unit_test(test_threads_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
