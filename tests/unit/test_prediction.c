/*
 * Drafts from a prediction: where the answer is in it, through edits of every kind.
 *
 * links: specd_engine specd_base
 * labels: hostile
 */
#include "rnd.h"
#include "drafters/drafter.h"
#include "drafters/prediction.h"

#include "specd/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROOM 16
#define N 400

static const int32_t prompt[] = {5, 6, 7};

static void *begin(const int32_t *ids, int32_t n)
{
    struct prediction *p = prediction_create(ids, n);
    void *f = prediction_drafter.begin(
        &(struct draft_text){.n_ctx = 2 * N, .n_prompt = COUNT_OF(prompt), .prediction = p});
    prediction_drafter.observe(f, prompt, COUNT_OF(prompt));
    prediction_unref(p); /* it has its own */
    return f;
}

static int32_t propose(void *f, int32_t room, int32_t *out, int32_t *match)
{
    memset(out, 0x5a, ROOM * sizeof *out);
    *match = -1;
    int32_t n = prediction_drafter.propose(f, room, out, match);
    assert_in_range(n, 0, room);
    assert_true(*match >= 0);
    for (int32_t i = n; i < ROOM; i++)
        assert_int_equal(out[i], 0x5a5a5a5a);
    return n;
}

/* The next token proposed is `want`; -1: none. */
static void expect(void *f, int32_t want)
{
    int32_t out[ROOM], match, n = propose(f, ROOM, out, &match);
    assert_int_equal(n > 0 ? out[0] : -1, want);
}

static void say(void *f, int32_t token)
{
    prediction_drafter.observe(f, &token, 1);
}

static void test_from_start_to_end(void **state)
{
    (void)state;
    static const int32_t ids[] = {10, 11, 12, 13};
    int32_t out[ROOM], match;
    void *f = begin(ids, 4);
    assert_int_equal(propose(f, ROOM, out, &match), 4);
    assert_memory_equal(out, ids, sizeof ids);
    assert_int_equal(propose(f, 2, out, &match), 2);
    assert_int_equal(propose(f, 0, out, &match), 0);
    for (int i = 0; i < 4; i++) {
        expect(f, ids[i]);
        say(f, ids[i]);
    }
    expect(f, -1); /* it is over */
    for (int i = 0; i < 300; i++)
        say(f, 99);
    expect(f, -1);
    prediction_drafter.forget(f);
}

static void test_no_prediction(void **state)
{
    (void)state;
    assert_null(prediction_create(NULL, 0));
    void *f = begin(NULL, 0);
    expect(f, -1);
    say(f, 3);
    expect(f, -1);
    prediction_drafter.forget(f);
}

/* 0, 1, 2, ... but in every ten the last two are the same, as line ends are. */
static void count_up(int32_t *ids)
{
    for (int32_t i = 0; i < N; i++)
        ids[i] = i % 10 >= 8 ? 1000 + i % 10 : i;
}

static void say_all(void *f, const int32_t *ids, int32_t from, int32_t to)
{
    for (int32_t i = from; i < to; i++)
        say(f, ids[i]);
}

static void test_edits(void **state)
{
    (void)state;
    int32_t ids[N];
    count_up(ids);
    void *f = begin(ids, N);
    say_all(f, ids, 0, 23);
    say(f, 777); /* one token for one */
    expect(f, ids[24]);
    say_all(f, ids, 24, 27);
    say(f, 777); /* two for one, and then two that stand in many places */
    say(f, 778);
    say_all(f, ids, 28, 30);
    expect(f, ids[30]);
    say_all(f, ids, 30, 40);
    say(f, 777); /* two tokens put in */
    say(f, 778);
    say(f, ids[40]);
    say(f, ids[41]);
    expect(f, ids[42]);
    say_all(f, ids, 42, 50);
    say_all(f, ids, 75, 77); /* some left out */
    expect(f, ids[77]);
    say_all(f, ids, 77, 90);
    say_all(f, ids, 310, 320); /* far away, and back */
    expect(f, ids[320]);
    say_all(f, ids, 200, 206);
    expect(f, ids[206]);
    prediction_drafter.forget(f);
}

/* A text that is not the prediction gets few drafts, and only where two tokens agree. */
static void test_another_text(void **state)
{
    (void)state;
    uint64_t s = clock_ns();
    int32_t ids[N], out[ROOM], match, drafted = 0;
    count_up(ids);
    void *f = begin(ids, N);
    for (int i = 0; i < N; i++) {
        say(f, 2000 + (int32_t)rnd(&s, 1000));
        drafted += propose(f, ROOM, out, &match);
    }
    assert_true(drafted <= 2 * ROOM);
    prediction_drafter.forget(f);
}

/* An answer made of the prediction by random edits: most of it is drafted, in any pieces alike, and
 * what is proposed always stands in the prediction. */
static void test_random_edits(void **state)
{
    (void)state;
    uint64_t s = clock_ns();
    print_message("seed %llu\n", (unsigned long long)s);
    for (int round = 0; round < 200; round++) {
        int32_t ids[N], answer[2 * N], n = 0, out[ROOM], again[ROOM], match, same;
        uint32_t letters = round % 2 ? 50 : 5000;
        for (int32_t i = 0; i < N; i++)
            ids[i] = (int32_t)rnd(&s, letters);
        for (int32_t i = 0; i < N && n < 2 * N - 8; i++) {
            uint32_t edit = rnd(&s, 60);
            for (uint32_t j = 0; edit == 0 && j < 1 + rnd(&s, 4); j++)
                answer[n++] = (int32_t)rnd(&s, letters); /* in */
            if (edit == 1)
                i += (int32_t)rnd(&s, 8); /* out */
            else
                answer[n++] = edit == 2 ? (int32_t)rnd(&s, letters) : ids[i];
        }
        void *f = begin(ids, N), *g = begin(ids, N);
        int32_t accepted = 0;
        for (int32_t at = 0; at < n;) {
            int32_t k = propose(f, ROOM, out, &match), agreed = 0;
            assert_int_equal(propose(g, ROOM, again, &same), k);
            assert_int_equal(match, same);
            assert_memory_equal(out, again, sizeof out);
            for (int32_t i = 0; i + k <= N && k > 0; i++) {
                if (memcmp(ids + i, out, (size_t)k * sizeof *out) == 0)
                    break;
                assert_true(i + k < N);
            }
            while (agreed < k && at + agreed < n && out[agreed] == answer[at + agreed])
                agreed++;
            int32_t more = MIN(agreed + 1, n - at);
            prediction_drafter.observe(f, answer + at, more);
            say_all(g, answer, at, at + more);
            at += more;
            accepted += agreed;
        }
        assert_true(accepted > n / 2);
        prediction_drafter.forget(f);
        prediction_drafter.forget(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_start_to_end),
        cmocka_unit_test(test_no_prediction),
        cmocka_unit_test(test_edits),
        cmocka_unit_test(test_another_text),
        cmocka_unit_test(test_random_edits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
