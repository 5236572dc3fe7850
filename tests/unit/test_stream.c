/*
 * The frames of a stream: what OpenAI's clients and the WHATWG's parser take them for.
 *
 * links: specd_server specd_fake specd_base
 */
#include "specd/json_write.h"
#include "stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_frames(void **state)
{
    struct buf b = {0};
    (void)state;
    sse_begin(&b);
    json_lit(&b, "{}");
    sse_end(&b);
    sse_ping(&b);
    sse_done(&b);
    assert_string_equal(b.data, "data: {}\n\n: ping\n\ndata: [DONE]\n\n");
    buf_free(&b);
}

/* Whatever text a token has, its event stays one line. */
static void test_text_makes_no_line(void **state)
{
    char text[256];
    struct buf b = {0};
    (void)state;
    for (int i = 0; i < 255; i++)
        text[i] = (char)(i % 127 + 1);
    sse_begin(&b);
    json_str(&b, text, 255);
    sse_end(&b);
    assert_null(memchr(b.data, '\r', b.len));
    assert_ptr_equal(memchr(b.data, '\n', b.len), b.data + b.len - 2);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames),
        cmocka_unit_test(test_text_makes_no_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
