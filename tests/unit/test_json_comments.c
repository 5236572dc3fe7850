/*
 * Comments of configuration files: what is blanked, and what only looks like a comment.
 *
 * links: specd_server specd_base
 */
#include "specd/json.h"

#include "specd/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_blanked(void **state)
{
    static const struct {
        const char *text, *blanked;
    } rows[] = {
        {"", ""},
        {"{}", "{}"},
        {"// a\n{}", "    \n{}"},
        {"# a\r\n{}#", "   \r\n{} "},
        {"{\"a\":1} // end", "{\"a\":1}       "},
        {"{\"a//b\":\"#c\"}", "{\"a//b\":\"#c\"}"},
        {"{\"a\\\"//b\":1}//", "{\"a\\\"//b\":1}  "},
        {"{\"a\\\\\"://b\n1}", "{\"a\\\\\":   \n1}"},
        {"1 / 2", "1 / 2"},
        {"/", "/"},
        {"\"open # //", "\"open # //"},
        {"\"open\\", "\"open\\"},
        {"/* no */", "/* no */"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        size_t len = strlen(rows[i].text);
        char *exact = xmalloc(len + 1); /* no byte more, for the address sanitizer */
        memcpy(exact, rows[i].text, len + 1);
        json_blank_comments(exact, len);
        assert_string_equal(exact, rows[i].blanked);
        free(exact);
    }
}

/* Bodies of requests have none. */
static void test_not_for_bodies(void **state)
{
    static const char *const texts[] = {"{} // a", "# a\n{}", "{/**/}"};
    struct json *doc;
    char err[200];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        assert_true(json_parse(&doc, texts[i], strlen(texts[i]), err, sizeof err) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blanked),
        cmocka_unit_test(test_not_for_bodies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
