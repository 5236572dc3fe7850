/*
 * The merge loop: byte-level and SentencePiece BPE against the definition written out naively, and
 * the shapes of text that make careless implementations quadratic (times are printed, not judged).
 *
 * links: specd_text specd_model specd_base
 */
#include "specd/error.h"
#include "text/tokenizer.h"
#include "unit/vocab_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORD_MAX 64

static uint64_t seed = 88172645463325252u;

static uint32_t below(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed >> 33) % n);
}

static struct tokenizer *make(struct vocab *v)
{
    struct tokenizer *t;
    char err[200];
    assert_int_equal(tokenizer_create(&t, v, err, sizeof err), 0);
    vocab_free(v);
    return t;
}

static void check(const struct tokenizer *t, const char *text, size_t len, const int32_t *expected,
                  size_t n)
{
    int32_t *ids;
    size_t n_ids;
    assert_int_equal(tokenizer_encode(t, text, len, ENCODE_SPECIAL, NULL, &ids, &n_ids), 0);
    assert_int_equal(n_ids, n);
    if (n > 0)
        assert_memory_equal(ids, expected, n * sizeof *ids);
    free(ids);
}

/* A text cut into symbols, and how soon two texts join: lower is sooner, negative never. */
struct naive {
    const char *text;
    size_t starts[WORD_MAX + 1], n;
};
typedef double naive_rank(const struct vocab *v, const char *l, size_t nl, const char *r,
                          size_t nr);

static void naive_merge(struct naive *x, const struct vocab *v, naive_rank *rank)
{
    for (;;) {
        double best = -1;
        size_t at = 0;
        for (size_t i = 0; i + 1 < x->n; i++) {
            const size_t *s = x->starts + i;
            double r = rank(v, x->text + s[0], s[1] - s[0], x->text + s[1], s[2] - s[1]);
            if (r >= 0 && (best < 0 || r < best)) {
                best = r;
                at = i;
            }
        }
        if (best < 0)
            return;
        memmove(x->starts + at + 1, x->starts + at + 2, (x->n - at - 1) * sizeof x->starts[0]);
        x->n--;
    }
}

static bool same(const char *a, size_t na, const char *b, size_t nb)
{
    return na == nb && memcmp(a, b, na) == 0;
}

/* Letters are written as themselves in the byte alphabet. */
static double rank_of_pair(const struct vocab *v, const char *l, size_t nl, const char *r,
                           size_t nr)
{
    for (uint32_t i = v->n_merges; i > 0; i--) {
        const struct vocab_merge *m = &v->merges[i - 1];
        if (same(l, nl, m->left, m->left_len) && same(r, nr, m->right, m->right_len))
            return i - 1;
    }
    return -1;
}

static int32_t token_of(const struct vocab *v, const char *s, size_t n)
{
    for (uint32_t i = 0; i < v->n_tokens; i++)
        if (same(v->tokens[i].text, v->tokens[i].len, s, n))
            return (int32_t)i;
    return -1;
}

static double rank_of_score(const struct vocab *v, const char *l, size_t nl, const char *r,
                            size_t nr)
{
    (void)r;
    int32_t id = token_of(v, l, nl + nr);
    return id < 0 ? -1 : 1000 - (double)v->tokens[id].score;
}

static size_t random_word(char *word, uint32_t letters)
{
    size_t n = 1 + below(WORD_MAX - 1);
    for (size_t i = 0; i < n; i++)
        word[i] = (char)('a' + below(letters));
    return n;
}

static void check_naive(const struct vocab *v, const struct tokenizer *t, naive_rank *rank,
                        uint32_t letters)
{
    for (int i = 0; i < 300; i++) {
        char word[WORD_MAX];
        int32_t expected[WORD_MAX];
        struct naive x = {.text = word, .n = random_word(word, letters)};
        for (size_t k = 0; k <= x.n; k++)
            x.starts[k] = k;
        size_t len = x.n;
        naive_merge(&x, v, rank);
        for (size_t k = 0; k < x.n; k++)
            expected[k] = token_of(v, word + x.starts[k], x.starts[k + 1] - x.starts[k]);
        check(t, word, len, expected, x.n);
    }
}

static void shuffle_merges(struct vocab *v)
{
    for (uint32_t i = v->n_merges; i > 1; i--) {
        uint32_t j = below(i);
        struct vocab_merge m = v->merges[j];
        v->merges[j] = v->merges[i - 1];
        v->merges[i - 1] = m;
    }
}

/* Merges of tokens that earlier ones made, in random order: ranks need not rise with length, and
 * pairs may be listed twice. */
static void put_random_merges(struct vocab *v)
{
    char *tokens[54];
    uint32_t n = 0;
    for (; n < 4; n++)
        tokens[n] = xstrdup((char[]){(char)('a' + n), 0});
    for (int i = 0; i < 50; i++) {
        const char *l = tokens[below(n)], *r = tokens[below(n)];
        if (strlen(l) + strlen(r) > 12)
            continue;
        vocab_put_merge(v, l, r);
        struct buf sum = {0};
        buf_printf(&sum, "%s%s", l, r);
        tokens[n++] = buf_take(&sum);
    }
    while (n > 0)
        free(tokens[--n]);
    shuffle_merges(v);
}

static void test_pairs_join_in_the_order_of_the_list(void **state)
{
    (void)state;
    for (int round = 0; round < 40; round++) {
        struct vocab v = vocab_new(VOCAB_BPE, PRE_GPT2);
        vocab_put_alphabet(&v);
        put_random_merges(&v);
        struct tokenizer *t;
        assert_int_equal(tokenizer_create(&t, &v, NULL, 0), 0);
        check_naive(&v, t, rank_of_pair, 1 + below(4));
        tokenizer_free(t);
        vocab_free(&v);
    }
}

static void test_scores_decide_in_sentencepiece(void **state)
{
    (void)state;
    for (int round = 0; round < 40; round++) {
        uint32_t letters = 1 + below(4);
        struct vocab v = vocab_new(VOCAB_SPM, PRE_GPT2);
        for (uint32_t c = 0; c < letters; c++)
            vocab_put_scored(&v, (char[]){(char)('a' + c), 0}, 0);
        for (int i = 0; i < 60; i++) {
            char word[8] = "";
            for (size_t n = 2 + below(4), k = 0; k < n; k++)
                word[k] = (char)('a' + below(letters));
            if (token_of(&v, word, strlen(word)) < 0)
                vocab_put_scored(&v, word, -(float)below(20)); /* with ties */
        }
        struct tokenizer *t;
        assert_int_equal(tokenizer_create(&t, &v, NULL, 0), 0);
        check_naive(&v, t, rank_of_score, letters);
        tokenizer_free(t);
        vocab_free(&v);
    }
}

static void test_leftmost_pair_first(void **state)
{
    (void)state;
    struct vocab v = vocab_new(VOCAB_BPE, PRE_GPT2);
    vocab_put_alphabet(&v);
    int32_t aa = vocab_put_merge(&v, "a", "a");
    struct tokenizer *t = make(&v);
    check(t, "aaa", 3, (int32_t[]){aa, 'a'}, 2);
    check(t, "aaaaa", 5, (int32_t[]){aa, aa, 'a'}, 3);
    tokenizer_free(t);
}

/* What a family does when a byte has no token. */
static void test_bytes_without_a_token(void **state)
{
    (void)state;
    for (int unk = 0; unk < 2; unk++) {
        struct vocab v = vocab_new(VOCAB_BPE, PRE_GPT2);
        vocab_put_bytes(&v, "a", 1);
        vocab_put_bytes(&v, "b", 1);
        v.unk = vocab_put(&v, "<unk>", TOKEN_CONTROL);
        v.unk_bytes = unk;
        int32_t ab = vocab_put_merge(&v, "a", "b");
        struct tokenizer *t = make(&v);
        if (unk)
            check(t, "axb", 3, (int32_t[]){0, 2, 1}, 3);
        else
            check(t, "axb", 3, &ab, 1); /* what is left out does not keep neighbours apart */
        check(t, "x", 1, (int32_t[]){2}, (size_t)unk);
        tokenizer_free(t);
    }
}

static void test_whole_words(void **state)
{
    (void)state;
    struct vocab v = vocab_new(VOCAB_BPE, PRE_LLAMA3);
    vocab_put_alphabet(&v);
    int32_t xyz = vocab_put_bytes(&v, "xyz", 3); /* no merges lead there */
    vocab_put(&v, "abc", TOKEN_CONTROL);
    v.ignore_merges = true;
    struct tokenizer *t = make(&v);
    check(t, "xyz", 3, &xyz, 1);
    check(t, "xyza", 4, (int32_t[]){'x', 'y', 'z', 'a'}, 4);
    int32_t *ids;
    size_t n;
    assert_int_equal(tokenizer_encode(t, "abc", 3, 0, NULL, &ids, &n), 0);
    assert_int_equal(n, 3); /* a word never becomes a control token */
    free(ids);
    tokenizer_free(t);
}

static void test_a_merge_of_no_tokens_is_refused(void **state)
{
    (void)state;
    struct vocab v = vocab_new(VOCAB_BPE, PRE_GPT2);
    vocab_put_alphabet(&v);
    vocab_put_merge(&v, "a", "b");
    vocab_put_merge(&v, "ab", "c");
    free(v.tokens[--v.n_tokens].text);
    struct tokenizer *t = NULL;
    char err[200];
    assert_int_equal(tokenizer_create(&t, &v, err, sizeof err), SPECD_EFILE);
    assert_non_null(strstr(err, "merge 1"));
    assert_null(t);
    vocab_free(&v);
}

/* ---- worst cases ----------------------------------------------------------------------------- */

#ifdef __SANITIZE_ADDRESS__
#define BIG ((size_t)64 << 10)
#else
#define BIG ((size_t)512 << 10)
#endif
#define HUGE_WORD (8 * BIG)

/* A vocabulary in which everything joins: a, aa, aaaa, ... and pairs of all letters. */
static struct vocab greedy_vocab(enum vocab_pre pre)
{
    struct vocab v = vocab_new(VOCAB_BPE, pre);
    vocab_put_alphabet(&v);
    for (int a = 'a'; a <= 'z'; a++)
        for (int b = 'a'; b <= 'z'; b++)
            vocab_put_merge(&v, (char[]){(char)a, 0}, (char[]){(char)b, 0});
    for (size_t n = 2; n <= 32; n *= 2) {
        char run[64] = "";
        memset(run, 'a', n);
        vocab_put_merge(&v, run, run);
        memset(run, ' ', n / 2);
        run[n / 2] = 0;
        vocab_put_merge(&v, run, run);
    }
    vocab_put(&v, "<|x|>", TOKEN_CONTROL);
    vocab_put(&v, "<|xyz", TOKEN_USER_DEFINED);
    return v;
}

static void fill(char *text, size_t len, const char *unit)
{
    size_t n = strlen(unit);
    for (size_t i = 0; i < len; i++)
        text[i] = unit[i % n];
}

static void fill_letters(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        text[i] = (char)('a' + below(26));
}

static void encode_timed(const struct tokenizer *t, const char *name, const char *text, size_t len)
{
    int32_t *ids;
    size_t n;
    uint64_t start = clock_ns();
    assert_int_equal(tokenizer_encode(t, text, len, ENCODE_SPECIAL, NULL, &ids, &n), 0);
    print_message("    %7zu bytes of %-24s %8zu ids  %7.1f ms\n", len, name, n,
                  (double)(clock_ns() - start) / 1e6);
    free(ids);
}

static void run_worst_cases(const struct tokenizer *t)
{
    static const struct {
        const char *name, *unit;
    } cases[] = {
        {"one letter", "a"},
        {"spaces", " "},
        {"spaces and newlines", "       \n"},
        {"newlines", "\n"},
        {"punctuation", "!"},
        {"digits", "1"},
        {"control tokens", "<|x|>"},
        {"almost control tokens", "<|xy"},
        {"bytes that are no UTF-8", "\xFF"},
        {"valid, invalid", "a\xFF"},
        {"combining marks", "\xCC\x81\xCC\xA3"},
        {"hangul", "\xEA\xB0\x81"},
        {"apostrophes", "'"},
        {"words", "abc "},
    };
    char *text = xmalloc(BIG);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        fill(text, BIG, cases[i].unit);
        encode_timed(t, cases[i].name, text, BIG);
    }
    fill_letters(text, BIG);
    encode_timed(t, "random letters", text, BIG);
    free(text);
}

static void test_worst_cases_bpe(void **state)
{
    (void)state;
    for (enum vocab_pre pre = PRE_GPT2; pre < PRE_COUNT; pre++) {
        print_message("  pre-tokenizer %d\n", (int)pre);
        struct vocab v = greedy_vocab(pre);
        v.nfc = pre == PRE_QWEN2;
        struct tokenizer *t = make(&v);
        run_worst_cases(t);
        tokenizer_free(t);
    }
}

static void test_worst_cases_spm(void **state)
{
    (void)state;
    struct vocab v = vocab_new(VOCAB_SPM, PRE_GPT2);
    vocab_put_byte_tokens(&v);
    for (int a = 'a'; a <= 'z'; a++)
        vocab_put_scored(&v, (char[]){(char)a, 0}, 0);
    for (size_t n = 2; n <= 32; n++) {
        char run[64] = "";
        memset(run, 'a', n);
        vocab_put_scored(&v, run, -(float)n);
    }
    vocab_put_scored(&v, "\xE2\x96\x81", -1);
    vocab_put_scored(&v, "\xE2\x96\x81\xE2\x96\x81", -2);
    v.add_space_prefix = true;
    struct tokenizer *t = make(&v);
    print_message("  SentencePiece\n");
    run_worst_cases(t);
    tokenizer_free(t);
}

static void test_huge_word(void **state)
{
    (void)state;
    struct vocab v = greedy_vocab(PRE_GPT2);
    struct tokenizer *t = make(&v);
    char *text = xmalloc(HUGE_WORD);
    fill(text, HUGE_WORD, "a");
    encode_timed(t, "one letter", text, HUGE_WORD);
    fill_letters(text, HUGE_WORD);
    encode_timed(t, "random letters", text, HUGE_WORD);
    free(text);
    tokenizer_free(t);
}

static void test_cancel(void **state)
{
    (void)state;
    struct vocab v = greedy_vocab(PRE_GPT2);
    struct tokenizer *t = make(&v);
    char *text = xmalloc(BIG);
    memset(text, 'a', BIG);
    atomic_bool cancel = true;
    int32_t *ids = NULL;
    size_t n;
    struct encode_options options = {.cancel = &cancel};
    assert_int_equal(tokenizer_encode(t, text, BIG, 0, &options, &ids, &n), SPECD_ECANCELED);
    assert_null(ids);
    free(text);
    tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs_join_in_the_order_of_the_list),
        cmocka_unit_test(test_scores_decide_in_sentencepiece),
        cmocka_unit_test(test_leftmost_pair_first),
        cmocka_unit_test(test_bytes_without_a_token),
        cmocka_unit_test(test_whole_words),
        cmocka_unit_test(test_a_merge_of_no_tokens_is_refused),
        cmocka_unit_test(test_worst_cases_bpe),
        cmocka_unit_test(test_worst_cases_spm),
        cmocka_unit_test(test_huge_word),
        cmocka_unit_test(test_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
