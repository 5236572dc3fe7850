/*
 * When the engine counts as hanging.
 *
 * links: specd_server specd_fake specd_base
 */
#include "server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MS 1000000ull
#define NOW (1000000 * MS)

static int64_t hangs(uint64_t turned_ms, uint64_t round_ms, uint64_t slowest_ms, const char *what)
{
    struct engine_liveness p = {.iterated_ns = turned_ms ? NOW - turned_ms * MS : 0,
                                .round_ns = round_ms ? NOW - round_ms * MS : 0,
                                .slowest_ns = slowest_ms * MS};
    const char *got;
    int64_t ms = liveness_hangs(&p, NOW, 30000, &got);
    if (what)
        assert_string_equal(got, what);
    return ms;
}

static void test_liveness(void **state)
{
    (void)state;
    assert_int_equal(hangs(0, 0, 0, NULL), 0); /* before the first turn */
    assert_int_equal(hangs(50, 0, 0, NULL), 0);
    assert_int_equal(hangs(30000, 0, 0, NULL), 0);
    assert_int_equal(hangs(30001, 0, 0, "the loop"), 30001);
    assert_int_equal(hangs(50, 30000, 10, NULL), 0);
    assert_int_equal(hangs(50, 30001, 10, "a round"), 30001);
    assert_int_equal(hangs(31000, 40000, 10, "a round"), 40000);
    assert_int_equal(hangs(40000, 31000, 10, "a round"), 31000); /* the loop may wait for it */
    /* Twenty times the slowest counts where that is more. */
    assert_int_equal(hangs(50, 40000, 2000, NULL), 0);
    assert_int_equal(hangs(50, 40001, 2000, "a round"), 40001);
    assert_int_equal(hangs(39000, 0, 2000, NULL), 0);
}

/* Clocks of two threads: what lies ahead is no age. */
static void test_ahead(void **state)
{
    struct engine_liveness p = {.iterated_ns = NOW + MS, .round_ns = NOW + MS};
    const char *what;
    (void)state;
    assert_int_equal(liveness_hangs(&p, NOW, 1, &what), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_liveness),
                                       cmocka_unit_test(test_ahead)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
