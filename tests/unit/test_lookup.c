/*
 * Prompt lookup: what is drafted, how much, and from whose text.
 *
 * links: specd_engine specd_base
 * labels: hostile
 */
#include "rnd.h"
#include "drafters/drafter.h"
#include "drafters/lookup_pool.h"

#include "specd/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define K_MAX 16

static void *begin(struct lookup_pool *shared)
{
    return lookup_drafter.begin(&(struct draft_text){.n_ctx = 1000, .shared = shared});
}

static void expect(void *l, int32_t k_max, const int32_t *want, int32_t n)
{
    int32_t out[K_MAX], match;
    assert_int_equal(lookup_drafter.propose(l, k_max, out, &match), n);
    if (n > 0)
        assert_memory_equal(out, want, (size_t)n * sizeof out[0]);
}

static void *history(const int32_t *tokens, int32_t n)
{
    void *l = begin(NULL);
    lookup_drafter.observe(l, tokens, n);
    return l;
}
#define HISTORY(...) \
    history((const int32_t[]){__VA_ARGS__}, COUNT_OF(((const int32_t[]){__VA_ARGS__})))
#define EXPECT(l, k, ...) \
    expect(l, k, (const int32_t[]){__VA_ARGS__}, COUNT_OF(((const int32_t[]){__VA_ARGS__})))

static void test_nothing_to_find(void **state)
{
    (void)state;
    void *l = begin(NULL);
    expect(l, 8, NULL, 0);
    lookup_drafter.observe(l, (const int32_t[]){1}, 1);
    expect(l, 8, NULL, 0);
    lookup_drafter.observe(l, (const int32_t[]){2, 3, 4, 5, 2},
                           5); /* one equal token is not enough */
    expect(l, 8, NULL, 0);
    lookup_drafter.observe(l, NULL, 0);
    lookup_drafter.forget(l);
}

static void test_continuation(void **state)
{
    (void)state;
    void *l = HISTORY(1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3);
    EXPECT(l, 8, 4, 5, 6, 7, 8, 1); /* three tokens match: six are proposed */
    EXPECT(l, 2, 4, 5);
    expect(l, 0, NULL, 0);
    lookup_drafter.forget(l);
}

static void test_longest_then_most_frequent_then_latest(void **state)
{
    (void)state;
    void *l = HISTORY(1, 2, 3, 4, 50, 9, 9, 2, 3, 4, 60, 8, 8, 3, 4, 70, 1, 2, 3, 4);
    EXPECT(l, 1, 50);
    lookup_drafter.forget(l);
    l = HISTORY(3, 4, 50, 9, 3, 4, 60, 8, 3, 4);
    EXPECT(l, 1, 60);
    lookup_drafter.forget(l);
    l = HISTORY(7, 3, 4, 50, 9, 3, 4, 60, 8, 7, 3, 4);
    EXPECT(l, 1, 50);
    lookup_drafter.forget(l);
    l = HISTORY(3, 4, 50, 9, 3, 4, 50, 7, 3, 4, 60, 8, 3, 4);
    EXPECT(l, 1, 50);
    lookup_drafter.forget(l);
}

static void test_loop_goes_round(void **state)
{
    (void)state;
    void *l = HISTORY(1, 2, 3, 1, 2, 3, 1, 2);
    EXPECT(l, 10, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3);
    lookup_drafter.forget(l);
    l = HISTORY(5, 5, 5);
    EXPECT(l, 9, 5, 5, 5, 5);
    lookup_drafter.forget(l);
}

/* Twice as many tokens as agree, for whatever length; nothing behind what was asked for. */
static void test_how_much(void **state)
{
    (void)state;
    uint64_t s = clock_ns();
    enum { N = 3000 };
    static int32_t t[N];
    for (int i = 0; i < 50; i++) {
        int32_t length = 2 + (int32_t)rnd(&s, i % 2 ? N / 2 - 200 : 10), out[K_MAX + 1], match;
        for (int32_t j = 0; j < N; j++)
            t[j] = 100 + j;
        for (int32_t j = 0; j < length; j++)
            t[N - length + j] = t[100 + j];
        void *l = history(t, N);
        for (int32_t room = 0; room <= K_MAX; room++) {
            memset(out, 0x5a, sizeof out);
            int32_t n = lookup_drafter.propose(l, room, out, &match);
            assert_int_equal(match, length);
            assert_int_equal(n, MIN(room, 2 * length));
            assert_memory_equal(out, t + 100 + length, (size_t)n * sizeof *out);
            for (int32_t j = n; j <= K_MAX; j++)
                assert_int_equal(out[j], 0x5a5a5a5a);
        }
        lookup_drafter.forget(l);
    }
}

/* ---- others' outputs ------------------------------------------------------------------------- */

static const int32_t output[] = {1, 2, 3, 4, 5, 6, 7, 8};

static void add(struct lookup_pools *all, const char *salt, const int32_t *ids, int32_t n)
{
    struct lookup_pool *p = lookup_pool_of(all, salt);
    lookup_pool_add(p, ids, n);
    lookup_pool_unref(p);
}

static void *text_with(struct lookup_pools *all, const char *salt, const int32_t *ids, int32_t n)
{
    struct lookup_pool *p = lookup_pool_of(all, salt);
    void *l = begin(p);
    lookup_pool_unref(p); /* it has its own */
    lookup_drafter.observe(l, ids, n);
    return l;
}

static void test_outputs_of_one_salt(void **state)
{
    (void)state;
    struct lookup_pools *all = lookup_pools_create();
    add(all, "a", output, COUNT_OF(output));
    void *same = text_with(all, "a", (const int32_t[]){9, 2, 3, 4}, 4);
    void *other = text_with(all, "b", (const int32_t[]){9, 2, 3, 4}, 4);
    EXPECT(same, 8, 5, 6, 7, 8); /* to the output's end, and not beyond */
    expect(other, 8, NULL, 0);
    lookup_drafter.observe(same, (const int32_t[]){5, 6, 7, 8}, 4);
    expect(same, 8, NULL, 0);
    add(all, "a", (const int32_t[]){30, 3, 4, 40}, 4); /* while it is read */
    lookup_drafter.observe(same, (const int32_t[]){9, 3, 4}, 3);
    EXPECT(same, 1, 5); /* its own text agrees in as much */
    lookup_drafter.observe(same, (const int32_t[]){30, 3, 4}, 3);
    EXPECT(same, 1, 40);
    lookup_drafter.forget(same);
    lookup_drafter.forget(other);
    lookup_pools_free(all);
}

/* The oldest outputs go, and a place in them is none any more. */
static void test_old_outputs_go(void **state)
{
    (void)state;
    enum { N = LOOKUP_OUTPUT_TOKENS };
    int32_t *ids = xcalloc(N, sizeof *ids), next = 1000;
    struct lookup_pools *all = lookup_pools_create();
    add(all, "a", output, COUNT_OF(output));
    void *l = text_with(all, "a", (const int32_t[]){1, 2, 3}, 3);
    EXPECT(l, 2, 4, 5);
    for (int i = 0; i <= 10; i++) {
        for (int32_t j = 0; j < N; j++)
            ids[j] = next++;
        add(all, "a", ids, N);
        if (i == 4)
            EXPECT(l, 2, 4, 5); /* in the older text now */
        assert_true(lookup_pools_tokens(all) <= 3 * LOOKUP_TEXT_TOKENS);
    }
    expect(l, 2, NULL, 0);
    lookup_drafter.observe(l, ids, 5);
    EXPECT(l, 2, ids[5], ids[6]);
    lookup_drafter.forget(l);
    lookup_pools_free(all);
    free(ids);
}

/* Any number of salts and outputs: the sum stays below the limit, also while all are read. */
static void test_pools_are_bounded(void **state)
{
    (void)state;
    uint64_t s = clock_ns();
    enum { N = LOOKUP_OUTPUT_TOKENS + 50, READERS = 40 };
    int32_t *ids = xcalloc(N, sizeof *ids), out[K_MAX], match;
    void *readers[READERS] = {NULL};
    struct lookup_pools *all = lookup_pools_create();
    for (int i = 0; i < 1500; i++) {
        char salt[32];
        snprintf(salt, sizeof salt, "%u", rnd(&s, i % 3 ? 20 : 100000));
        int32_t n = 1 + (int32_t)rnd(&s, i % 5 ? 60 : N);
        for (int32_t j = 0; j < n; j++)
            ids[j] = (int32_t)rnd(&s, 50);
        void **r = &readers[rnd(&s, READERS)];
        if (*r)
            lookup_drafter.forget(*r);
        *r = text_with(all, salt, ids, MIN(n, 100));
        add(all, salt, ids, n);
        assert_true(lookup_pools_tokens(all) <= LOOKUP_POOL_TOKENS);
        for (int j = 0; j < READERS; j++) {
            if (!readers[j])
                continue;
            lookup_drafter.observe(readers[j], ids, 1);
            n = lookup_drafter.propose(readers[j], K_MAX, out, &match);
            for (int32_t k = 0; k < n; k++)
                assert_in_range(out[k], 0, 49);
        }
    }
    for (int j = 0; j < READERS; j++) {
        if (readers[j])
            lookup_drafter.forget(readers[j]);
    }
    lookup_pools_free(all);
    free(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_to_find),
        cmocka_unit_test(test_continuation),
        cmocka_unit_test(test_longest_then_most_frequent_then_latest),
        cmocka_unit_test(test_loop_goes_round),
        cmocka_unit_test(test_how_much),
        cmocka_unit_test(test_outputs_of_one_salt),
        cmocka_unit_test(test_old_outputs_go),
        cmocka_unit_test(test_pools_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
