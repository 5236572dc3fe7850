/*
 * The thread pool: every part runs once per stage, and a stage ends when all have.
 *
 * links: specd_cpu
 */
#include "pool.h"

#include "specd/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <cmocka.h>

#define PARTS_MAX 8

/* Plain memory on purpose: only the pool orders what the stages write and read. */
struct stage {
    int n_parts;
    int ran[PARTS_MAX];
    long carried[PARTS_MAX]; /* in each stage a part adds what all parts had in the last */
    long carry_next[PARTS_MAX];
    int slow_part; /* sleeps; -1: none */
};

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static void run_part(void *arg, int part, int n_parts)
{
    struct stage *s = arg;
    if (part == s->slow_part)
        pause_ms(2);
    if (part == 0)
        s->n_parts = n_parts;
    s->ran[part]++;
    long sum = 1;
    for (int i = 0; i < n_parts; i++)
        sum += s->carried[i];
    s->carry_next[part] = sum % 1000003;
}

/* Runs n stages; leader_ms: what the leader does between them. */
static void run_stages(struct pool *p, int n, int slow_part, long leader_ms)
{
    struct stage s = {.slow_part = slow_part};
    long expected = 0;
    for (int i = 0; i < n; i++) {
        pool_run(p, run_part, &s);
        expected = (1 + expected * pool_size(p)) % 1000003;
        assert_int_equal(s.n_parts, pool_size(p));
        for (int part = 0; part < pool_size(p); part++) {
            assert_int_equal(s.ran[part], i + 1);
            assert_int_equal(s.carry_next[part], expected);
        }
        memcpy(s.carried, s.carry_next, sizeof(s.carried));
        if (leader_ms > 0)
            pause_ms(leader_ms);
    }
}

static void every_part_runs_once(void **state)
{
    (void)state;
    for (int n = 1; n <= PARTS_MAX; n++) {
        struct pool *p = pool_create(n);
        assert_int_equal(pool_size(p), n);
        run_stages(p, n <= 3 ? 2000 : 100, -1, 0);
        pool_free(p);
    }
}

/* Longer than anybody spins: workers sleep between stages, the leader while one is slow. */
static void sleepers_are_woken(void **state)
{
    (void)state;
    struct pool *p = pool_create(3);
    run_stages(p, 20, -1, 2);
    run_stages(p, 20, 0, 0);
    run_stages(p, 20, 2, 0);
    pool_free(p);
}

static void free_without_running(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++)
        pool_free(pool_create(1 + i % 4));
    struct pool *p = pool_create(2);
    pause_ms(5); /* asleep by now */
    pool_free(p);
    pool_free(NULL);
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Between rounds the cores belong to others. */
static void idle_pool_uses_no_cpu(void **state)
{
    (void)state;
    struct pool *p = pool_create(4);
    run_stages(p, 3, -1, 0);
    double before = cpu_seconds();
    pause_ms(200);
    assert_true(cpu_seconds() - before < 0.02);
    pool_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_part_runs_once),
        cmocka_unit_test(sleepers_are_woken),
        cmocka_unit_test(free_without_running),
        cmocka_unit_test(idle_pool_uses_no_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
