/*
 * Which vocabularies a draft may have.
 *
 * links: specd_text specd_model specd_base
 */
#include "text/tokenizer.h"
#include "unit/vocab_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct vocab base(void)
{
    struct vocab v = vocab_new(VOCAB_BPE, PRE_GPT2);
    vocab_put_alphabet(&v);
    vocab_put_bytes(&v, " the\n", 5);
    vocab_put(&v, "<|end|>", TOKEN_CONTROL);
    return v;
}

static void check(struct vocab *a, struct vocab *b, const char *why)
{
    char err[300] = "";
    assert_int_equal(vocab_matches(a, b, err, sizeof err), why == NULL);
    if (why)
        assert_non_null(strstr(err, why));
    assert_int_equal(vocab_matches(b, a, err, sizeof err), why == NULL);
    vocab_free(a);
    vocab_free(b);
}

static void test_equal(void **state)
{
    (void)state;
    struct vocab a = base(), b = base();
    b.tokens[257].type = TOKEN_USER_DEFINED; /* converters differ on this */
    check(&a, &b, NULL);
}

static void test_padding_at_the_end(void **state)
{
    (void)state;
    struct vocab a = base(), b = base();
    vocab_put(&a, "[PAD258]", TOKEN_USER_DEFINED);
    vocab_put(&a, "<pad>", TOKEN_CONTROL);
    vocab_put(&a, "x", TOKEN_UNUSED);
    check(&a, &b, NULL);
    a = base();
    b = base();
    vocab_put(&a, "<|tool|>", TOKEN_CONTROL); /* in the other one's padding */
    vocab_put(&b, "[PAD258]", TOKEN_UNUSED);
    vocab_put(&b, "[PAD259]", TOKEN_UNUSED);
    check(&a, &b, NULL);
}

static void test_differences_are_named(void **state)
{
    (void)state;
    struct vocab a = base(), b = base();
    vocab_put(&a, "one", TOKEN_NORMAL);
    vocab_put(&b, "two", TOKEN_NORMAL);
    check(&a, &b, "token 258 is \"two\"");
    a = base();
    b = base();
    b.tokens[256].text[0] = 'x';
    check(&a, &b, "\" the\\x0A\" in the target");
    a = base();
    b = base();
    vocab_put(&a, "<unused0>", TOKEN_NORMAL); /* padding in the middle is a token like others */
    vocab_put(&a, "one", TOKEN_NORMAL);
    vocab_put(&b, "<pad>", TOKEN_NORMAL);
    vocab_put(&b, "one", TOKEN_NORMAL);
    check(&a, &b, "token 258");
}

/* The two kinds spell a space differently: what counts is the bytes. */
static void test_spelling_does_not_matter(void **state)
{
    (void)state;
    struct vocab a = vocab_new(VOCAB_BPE, PRE_GPT2), b = vocab_new(VOCAB_SPM, PRE_GPT2);
    vocab_put_bytes(&a, " \xC3\xA9", 3);
    vocab_put_bytes(&a, "A", 1);
    vocab_put(&b, "\xE2\x96\x81\xC3\xA9", TOKEN_NORMAL);
    vocab_put(&b, "<0x41>", TOKEN_BYTE);
    check(&a, &b, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_padding_at_the_end),
        cmocka_unit_test(test_differences_are_named),
        cmocka_unit_test(test_spelling_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
