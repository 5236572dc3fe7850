/*
 * Prompt lookup against a naive search of the whole history.
 *
 * links: specd_engine specd_base
 */
#include "drafters/drafter.h"

#include "specd/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define K_MAX 16
#define MIN_MATCH 2

static void expect(void *l, int32_t k_max, const int32_t *want, int32_t n)
{
    int32_t out[K_MAX], match;
    assert_int_equal(lookup_drafter.propose(l, k_max, out, &match), n);
    if (n > 0)
        assert_memory_equal(out, want, (size_t)n * sizeof out[0]);
}

static void *history(const int32_t *tokens, int32_t n)
{
    void *l = lookup_drafter.begin(n, NULL);
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
    void *l = lookup_drafter.begin(100, NULL);
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

static void test_longest_then_latest(void **state)
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

/* ---- against a naive search ------------------------------------------------------------------ */

static uint32_t rnd(uint64_t *s, uint32_t below)
{
    *s = *s * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(*s >> 33) % below;
}

static int32_t agree(const int32_t *t, int32_t a, int32_t b)
{
    int32_t len = 0;
    while (len <= a && len < 32 && t[a - len] == t[b - len])
        len++;
    return len;
}

static int32_t naive_draft(const int32_t *t, int32_t n, int32_t k_max, int32_t *out, int32_t *match)
{
    int32_t best = MIN_MATCH - 1, end = -1;
    for (int32_t i = n - 2; i >= 0; i--) {
        if (agree(t, i, n - 1) > best) {
            best = agree(t, i, n - 1);
            end = i;
        }
    }
    *match = end < 0 ? 0 : best;
    if (end < 0)
        return 0;
    int32_t k = MIN(k_max, 2 * best), period = n - 1 - end;
    for (int32_t i = 0; i < k; i++)
        out[i] = t[end + 1 + i % period];
    return k;
}

/* Random tokens among `letters`, with stretches copied from earlier. */
static void make_text(uint64_t *s, int32_t *t, int32_t n, uint32_t letters)
{
    for (int32_t i = 0; i < n;) {
        int32_t span = 1 + (int32_t)rnd(s, 40), from = i ? (int32_t)rnd(s, (uint32_t)i) : 0;
        bool copy = i > 0 && rnd(s, 2);
        for (int32_t j = 0; j < span && i < n; j++, i++)
            t[i] = copy ? t[from + j] : (int32_t)rnd(s, letters);
    }
}

#define LONG 3000

/* In few letters a short text has few enough occurrences that the search sees them all; in many
 * letters also a long one has, while the history grows past its first memory several times. */
static void test_against_naive(void **state)
{
    (void)state;
    uint64_t s = 9;
    int32_t t[LONG], out[K_MAX], want[K_MAX], match, want_match, proposed = 0;
    for (int i = 0; i < 400; i++) {
        void *l = lookup_drafter.begin(LONG, NULL);
        int32_t n = i % 8 ? 60 : LONG;
        make_text(&s, t, n, i % 8 ? 2 + rnd(&s, 6) : 3000);
        for (int32_t at = 0; at < n;) {
            int32_t more = MIN(1 + (int32_t)rnd(&s, 5), n - at);
            if (rnd(&s, 50) == 0)
                more = n - at;
            lookup_drafter.observe(l, t + at, more);
            at += more;
            int32_t k = naive_draft(t, at, K_MAX, want, &want_match);
            assert_int_equal(lookup_drafter.propose(l, K_MAX, out, &match), k);
            assert_int_equal(match, want_match);
            assert_memory_equal(out, want, (size_t)k * sizeof out[0]);
            proposed += k > 0;
        }
        lookup_drafter.forget(l);
    }
    assert_true(proposed > 5000);
}

/* Where the search is cut short it must still propose something that did follow. */
static void test_crowded_history(void **state)
{
    (void)state;
    uint64_t s = 3;
    int32_t t[LONG], out[K_MAX], match;
    for (int i = 0; i < 10; i++) {
        make_text(&s, t, LONG, 2);
        void *l = history(t, LONG), *again = lookup_drafter.begin(LONG, NULL);
        int32_t k = lookup_drafter.propose(l, K_MAX, out, &match);
        assert_true(k >= 2 * MIN_MATCH);
        bool found = false;
        for (int32_t end = LONG - 2; end >= 0 && !found; end--) {
            bool same = 2 * agree(t, end, LONG - 1) >= k;
            for (int32_t j = 0; j < k && same; j++)
                same = out[j] == t[end + 1 + j % (LONG - 1 - end)];
            found = same;
        }
        assert_true(found);
        for (int32_t at = 0; at < LONG; at++) /* how it was appended does not matter */
            lookup_drafter.observe(again, t + at, 1);
        expect(again, K_MAX, out, k);
        lookup_drafter.forget(again);
        lookup_drafter.forget(l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_to_find),     cmocka_unit_test(test_continuation),
        cmocka_unit_test(test_longest_then_latest), cmocka_unit_test(test_loop_goes_round),
        cmocka_unit_test(test_against_naive),       cmocka_unit_test(test_crowded_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
