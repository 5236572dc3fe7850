/*
 * cmocka.h - the few words of cmocka that tests of devices use, for machines without it: a GPU
 * machine that has a compiler and the CUDA toolkit, no packages and no network.
 *
 * Not a replacement: no mocks, no memory checks. A failed assertion ends its test with a longjmp to
 * the runner, as there; what it held stays allocated. One thread.
 */
#ifndef SPECD_TESTS_LITE_CMOCKA_H
#define SPECD_TESTS_LITE_CMOCKA_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef void lite_body(void **state);
typedef int lite_fixture(void **state);

struct CMUnitTest {
    const char *name;
    lite_body *test_func;
    lite_fixture *setup_func, *teardown_func;
    void *initial_state;
};

#define cmocka_unit_test(f) ((struct CMUnitTest){#f, f, NULL, NULL, NULL})
#define cmocka_unit_test_setup_teardown(f, setup, teardown) \
    ((struct CMUnitTest){#f, f, setup, teardown, NULL})

/* How many failed. Prints a line for each test and one for the group. */
#define cmocka_run_group_tests(tests, setup, teardown) \
    lite_run(#tests, tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)
int lite_run(const char *group, const struct CMUnitTest *tests, size_t n, lite_fixture *setup,
             lite_fixture *teardown);

/* Both end the running test. */
_Noreturn void lite_fail(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
_Noreturn void lite_skip(void);

/* Wide enough for any integer or pointer that tests compare; floats have macros of their own. */
void lite_compare(long long a, long long b, int equal, const char *text, const char *file,
                  int line);
void lite_memory(const void *a, const void *b, size_t n, const char *text, const char *file,
                 int line);
void lite_range(uint64_t x, uint64_t low, uint64_t high, const char *text, const char *file,
                int line);
void lite_near(double a, double b, double epsilon, const char *text, const char *file, int line);

#define lite_integer(x) ((long long)(x))
#define lite_address(x) ((long long)(uintptr_t)(x))

#define print_message(...) fprintf(stderr, __VA_ARGS__)
#define print_error(...) fprintf(stderr, __VA_ARGS__)
#define skip() lite_skip()
#define fail() lite_fail(__FILE__, __LINE__, "here")
#define fail_msg(...) lite_fail(__FILE__, __LINE__, __VA_ARGS__)
#define assert_true(x) lite_compare(!!(x), 1, 1, #x, __FILE__, __LINE__)
#define assert_false(x) lite_compare(!!(x), 0, 1, #x, __FILE__, __LINE__)
#define assert_int_equal(a, b) \
    lite_compare(lite_integer(a), lite_integer(b), 1, #a ", " #b, __FILE__, __LINE__)
#define assert_int_not_equal(a, b) \
    lite_compare(lite_integer(a), lite_integer(b), 0, #a ", " #b, __FILE__, __LINE__)
#define assert_ptr_equal(a, b) \
    lite_compare(lite_address(a), lite_address(b), 1, #a ", " #b, __FILE__, __LINE__)
#define assert_null(p) lite_compare(lite_address(p), 0, 1, #p, __FILE__, __LINE__)
#define assert_non_null(p) lite_compare(lite_address(p), 0, 0, #p, __FILE__, __LINE__)
#define assert_memory_equal(a, b, n) lite_memory(a, b, n, #a ", " #b, __FILE__, __LINE__)
#define assert_in_range(x, low, high) \
    lite_range((uint64_t)(x), (uint64_t)(low), (uint64_t)(high), #x, __FILE__, __LINE__)
#define assert_float_equal(a, b, e) lite_near(a, b, e, #a ", " #b, __FILE__, __LINE__)

#endif
