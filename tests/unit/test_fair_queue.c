/*
 * Clients take turns: shares and waits of the fair queue, over random arrivals.
 *
 * links: specd_base
 */
#include "specd/fair_queue.h"
#include "specd/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <stdio.h>

#define CLIENTS 12
#define COST_MAX 1000

struct job {
    struct fair_item item;
    int client;
    uint64_t cost, put_at; /* work done by then */
    struct job *older;     /* of its client */
    bool over;
};

struct sim {
    struct fair_queue q;
    uint64_t seed, done; /* work */
    struct job *newest[CLIENTS];
    uint64_t served[CLIENTS], longest_wait[CLIENTS];
    int n_taken, n_put;
};

static uint64_t draw(struct sim *s, uint64_t n)
{
    s->seed = s->seed * 6364136223846793005u + 1442695040888963407u;
    return (s->seed >> 33) % n;
}

static struct job *put(struct sim *s, int client, uint64_t cost)
{
    struct job *j = calloc(1, sizeof *j);
    memset(&j->item, 0xa5, sizeof j->item);
    j->client = client;
    j->cost = cost;
    j->put_at = s->done;
    j->older = s->newest[client];
    s->newest[client] = j;
    s->n_put++;
    fair_put(&s->q, &j->item, 1000 + (uint64_t)client * 77, cost);
    return j;
}

static void take(struct sim *s)
{
    struct job *j = (struct job *)(void *)fair_take(&s->q);
    assert_non_null(j);
    assert_false(j->over);
    assert_true(!j->older || j->older->over); /* in order */
    j->over = true;
    s->longest_wait[j->client] = MAX(s->longest_wait[j->client], s->done - j->put_at);
    s->done += j->cost;
    s->served[j->client] += j->cost;
    s->n_taken++;
}

static void finish(struct sim *s)
{
    while (s->q.n > 0)
        take(s);
    assert_null(fair_take(&s->q));
    assert_int_equal(s->n_taken, s->n_put);
    for (int c = 0; c < CLIENTS; c++) {
        assert_int_equal(fair_waiting(&s->q, 1000 + (uint64_t)c * 77), 0);
        for (struct job *j = s->newest[c], *older; j; j = older) {
            older = j->older;
            assert_true(j->over);
            free(j);
        }
    }
    fair_clear(&s->q);
}

/* 100,000 arrivals; client 0 sends nine tenths of them and the largest, clients 1 to 10 always have
 * something waiting, client 11 comes now and then with one small thing. */
static void test_shares(void **state)
{
    (void)state;
    struct sim s = {.seed = 20261129};
    uint64_t before[CLIENTS];
    for (int i = 0; i < 2000; i++)
        put(&s, 0, COST_MAX);
    while (s.n_put < 100000) {
        for (int c = 1; c <= 10; c++) {
            while (fair_waiting(&s.q, 1000 + (uint64_t)c * 77) < 2)
                put(&s, c, 1 + draw(&s, COST_MAX));
        }
        while (s.q.n < 2000)
            put(&s, 0, COST_MAX);
        if (draw(&s, 40) == 0 && fair_waiting(&s.q, 1000 + 11 * 77) == 0)
            put(&s, 11, 1 + draw(&s, 20));
        take(&s);
        if (s.n_taken == 1000)
            memcpy(before, s.served, sizeof before);
    }
    uint64_t least = UINT64_MAX, most = 0;
    for (int c = 0; c <= 10; c++) {
        least = MIN(least, s.served[c] - before[c]);
        most = MAX(most, s.served[c] - before[c]);
    }
    assert_true((double)most < 1.1 * (double)least);
    /* Who asks for one thing waits for one item of each other client, and the one being done. */
    assert_true(s.longest_wait[11] > 0);
    assert_true(s.longest_wait[11] <= 12 * COST_MAX);
    finish(&s);
}

static void test_a_long_line_of_one(void **state)
{
    (void)state;
    struct sim s = {.seed = 7};
    for (int i = 0; i < 100; i++)
        put(&s, 0, COST_MAX);
    put(&s, 11, 1);
    take(&s);
    take(&s);
    assert_int_equal(s.served[11], 1); /* second: it came when the first was taken at the latest */
    finish(&s);
}

static void test_a_pause_earns_nothing(void **state)
{
    (void)state;
    struct sim s = {.seed = 3};
    for (int i = 0; i < 50; i++)
        put(&s, 0, 10);
    for (int i = 0; i < 40; i++)
        take(&s);
    for (int i = 0; i < 50; i++)
        put(&s, 1, 10);
    for (int i = 0; i < 20; i++)
        take(&s);
    assert_in_range(s.served[1], 90, 110); /* not all of it, for having been away */
    finish(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_a_long_line_of_one),
        cmocka_unit_test(test_a_pause_earns_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
