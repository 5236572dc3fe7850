#include "cmocka.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { PASSED, FAILED, SKIPPED }; /* setjmp's own value is PASSED */

static jmp_buf end_of_test;

_Noreturn void lite_fail(const char *file, int line, const char *fmt, ...)
{
    va_list args;
    fprintf(stderr, "%s:%d: ", file, line);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    longjmp(end_of_test, FAILED);
}

_Noreturn void lite_skip(void)
{
    longjmp(end_of_test, SKIPPED);
}

void lite_compare(long long a, long long b, int equal, const char *text, const char *file, int line)
{
    if ((a == b) != !!equal)
        lite_fail(file, line, "%s: %lld %s %lld", text, a, equal ? "!=" : "==", b);
}

void lite_memory(const void *a, const void *b, size_t n, const char *text, const char *file,
                 int line)
{
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < n; i++) {
        if (x[i] != y[i])
            lite_fail(file, line, "%s: byte %zu of %zu: %02x, %02x", text, i, n, x[i], y[i]);
    }
}

void lite_range(uint64_t x, uint64_t low, uint64_t high, const char *text, const char *file,
                int line)
{
    if (x < low || x > high)
        lite_fail(file, line, "%s: %llu is not in %llu .. %llu", text, (unsigned long long)x,
                  (unsigned long long)low, (unsigned long long)high);
}

void lite_near(double a, double b, double epsilon, const char *text, const char *file, int line)
{
    if (!(fabs(a - b) <= epsilon)) /* NaN is never near */
        lite_fail(file, line, "%s: %.9g, %.9g", text, a, b);
}

static int run_one(const struct CMUnitTest *t)
{
    void *state = t->initial_state;
    int end = setjmp(end_of_test);
    if (end == PASSED) {
        if (t->setup_func && t->setup_func(&state) != 0)
            lite_fail(__FILE__, __LINE__, "the setup of %s", t->name);
        t->test_func(&state);
        if (t->teardown_func && t->teardown_func(&state) != 0)
            lite_fail(__FILE__, __LINE__, "the teardown of %s", t->name);
    }
    return end;
}

int lite_run(const char *group, const struct CMUnitTest *tests, size_t n, lite_fixture *setup,
             lite_fixture *teardown)
{
    static const char *const words[] = {"ok", "FAILED", "skipped"};
    int counts[3] = {0};
    void *state = NULL;
    if (setup && setup(&state) != 0) {
        fprintf(stderr, "the setup of %s failed\n", group);
        return 1;
    }
    for (size_t i = 0; i < n; i++) {
        struct CMUnitTest test = tests[i];
        if (!test.initial_state)
            test.initial_state = state;
        fprintf(stderr, "  %s ...\n", test.name);
        int end = run_one(&test);
        counts[end]++;
        fprintf(stderr, "  %s: %s\n", test.name, words[end]);
    }
    if (teardown && teardown(&state) != 0)
        counts[FAILED]++;
    fprintf(stderr, "%s: %d passed, %d failed, %d skipped\n", group, counts[PASSED], counts[FAILED],
            counts[SKIPPED]);
    return counts[FAILED];
}
