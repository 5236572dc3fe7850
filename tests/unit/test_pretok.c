/*
 * Where the families' pre-tokenizers cut: '|' marks a cut. The oracle tests compare every character
 * with Hugging Face; these are the cases that tell the families apart.
 *
 * links: specd_text specd_base
 */
#include "text/pretok.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check(enum vocab_pre pre, const char *expected)
{
    struct pretok *p;
    char err[200];
    assert_int_equal(pretok_create(&p, pre, err, sizeof err), 0);
    struct buf text = {0}, got = {0};
    for (const char *c = expected; *c; c++)
        if (*c != '|')
            buf_add(&text, c, 1);
    struct splitter *s = splitter_create(p);
    splitter_begin(s, text.data, text.len);
    for (size_t at = 0, end; at < text.len; at = end) {
        assert_int_equal(splitter_next(s, at, &end), 0);
        assert_true(end > at && end <= text.len);
        if (at > 0)
            buf_puts(&got, "|");
        buf_add(&got, text.data + at, end - at);
    }
    assert_string_equal(got.data, expected);
    splitter_free(s);
    pretok_free(p);
    buf_free(&text);
    buf_free(&got);
}

static void test_gpt2(void **state)
{
    (void)state;
    check(PRE_GPT2, "Hello| world|,| it|'s| 2024|!!|\n|\n|x");
    check(PRE_GPT2, "don|'t| we|'ll| I|'|M| they|'re");
    check(PRE_GPT2, "a|  | b|   ");
    check(PRE_GPT2, "12345| 678| ½");
    check(PRE_GPT2, "caf\xC3\xA9| \xE6\x97\xA5\xE6\x9C\xAC|\xE3\x80\x82");
}

static void test_smollm_cuts_at_digits(void **state)
{
    (void)state;
    check(PRE_SMOLLM, "a|1|2|3| b");
    check(PRE_SMOLLM, "x| |1| |2|  |3"); /* white space before a digit is not split again */
    check(PRE_SMOLLM, "x|  | y");
    check(PRE_SMOLLM, "\xD9\xA1|\xD9\xA2|\xC2\xBD|a|'s");
}

static void test_llama3(void **state)
{
    (void)state;
    check(PRE_LLAMA3, "Hello| world|'S| |123|456|7|x|'LL|ama");
    check(PRE_LLAMA3, "it|'\xC5\xBF"); /* long s folds to s */
    check(PRE_LLAMA3, "a|.\n\n|b|\n\n|\t|\tc");
    check(PRE_LLAMA3, "x|  \n  \n|  | y");
    check(PRE_LLAMA3, "(foo|)| [|bar|]");
    check(PRE_DBRX, "Hello| world|'S| |123|456|7|x|'LL|ama");
}

static void test_qwen2(void **state)
{
    (void)state;
    check(PRE_QWEN2, "a| |1|2|3|x|'LL|ama");
    check(PRE_QWEN2, "x|\r\n\r\n|\ty");
}

/* llama.cpp's expressions for tokenizers that it does not know. */
static void test_default(void **state)
{
    (void)state;
    check(PRE_DEFAULT, "don|'|t| |123|456|7| |89|x");
    check(PRE_DEFAULT, "\xC2\xBD|123|45|  | |6|\n|7");
    check(PRE_DEFAULT, "a| |!?|b|  |$$");
}

/* U+180E stopped being white space in Unicode 6.3, and U+200B never was any. U+0085 is. */
static void test_white_space(void **state)
{
    (void)state;
    check(PRE_GPT2, "a| \xE1\xA0\x8E|b");
    check(PRE_GPT2, "a|\xC2\x85|\xC2\x85|b");
    check(PRE_LLAMA3, "a|\xE1\xA0\x8E"
                      "b");
    check(PRE_LLAMA3, "a|\xE3\x80\x80"
                      "b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gpt2),    cmocka_unit_test(test_smollm_cuts_at_digits),
        cmocka_unit_test(test_llama3),  cmocka_unit_test(test_qwen2),
        cmocka_unit_test(test_default), cmocka_unit_test(test_white_space),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
