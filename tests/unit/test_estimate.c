/*
 * How likely a drafted token is to stand: what a request shows, what others showed, turns within a
 * text, and kinds of text.
 *
 * links: specd_engine specd_base
 */
#include "acceptance.h"
#include "rnd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_near(double a, double b)
{
    assert_true(fabs(a - b) <= 1e-9 * (1 + fabs(b)));
}

static double estimate(const struct acceptance *a, const struct drafter *d, int32_t match,
                       int32_t position)
{
    double out[SPECD_K_MAX];
    assert_true(position <= SPECD_K_MAX);
    acceptance_estimate(a, d, match, out, position);
    return out[position - 1];
}

static void test_estimate(void **state)
{
    (void)state;
    struct acceptance p, fresh;
    acceptance_init(&p, NULL, false);
    double prior = estimate(&p, &model_drafter, 2, 1);
    assert_true(prior > 0.3 && prior < 0.95);
    assert_near(estimate(&p, &model_drafter, 2, SPECD_K_MAX), prior);

    float overlap[SPECD_K_MAX];
    for (int i = 0; i < SPECD_K_MAX; i++)
        overlap[i] = i == 0 ? 0.9f : 0.4f;
    for (int i = 0; i < 100; i++)
        acceptance_observe(&p, &model_drafter, 2, overlap, 2);
    double first = estimate(&p, &model_drafter, 2, 1), second = estimate(&p, &model_drafter, 2, 2);
    assert_true(fabs(first - 0.9) < 0.05);
    assert_true(second > 0.4 && second < 0.5);
    /* never seen: as the position before it */
    assert_near(estimate(&p, &model_drafter, 2, 3), second);
    /* the other drafter has learned nothing */
    acceptance_init(&fresh, NULL, false);
    for (int k = 1; k <= SPECD_K_MAX; k++)
        assert_near(estimate(&p, &lookup_drafter, 2, k), estimate(&fresh, &lookup_drafter, 2, k));
    /* what comes after the first rejection is not looked at */
    struct acceptance q = p, r = p;
    acceptance_observe(&q, &model_drafter, 2, overlap, 1);
    overlap[1] = 1.0f;
    acceptance_observe(&r, &model_drafter, 2, overlap, 1);
    assert_memory_equal(&q, &r, sizeof q);
}

static void test_estimate_forgets(void **state)
{
    (void)state;
    struct acceptance p;
    acceptance_init(&p, NULL, false);
    const float yes[1] = {1}, no[1] = {0};
    for (int i = 0; i < 1000; i++)
        acceptance_observe(&p, &lookup_drafter, 2, yes, 1);
    assert_true(estimate(&p, &lookup_drafter, 2, 1) > 0.9);
    for (int i = 0; i < 40; i++)
        acceptance_observe(&p, &lookup_drafter, 2, no, 1);
    assert_true(estimate(&p, &lookup_drafter, 2, 1) < 0.15);
    const float odd[3] = {NAN, -1.0f, 7.0f};
    for (int i = 0; i < 50; i++)
        acceptance_observe(&p, &lookup_drafter, 2, odd, 3);
    for (int k = 1; k <= SPECD_K_MAX; k++) {
        double e = estimate(&p, &lookup_drafter, 2, k);
        assert_true(e >= 0 && e <= 1);
    }
}

/* What counts for lookup is how far the text agreed: a position further on is a longer agreement.
 */
static void test_estimate_by_match(void **state)
{
    (void)state;
    struct acceptance p;
    const float no[1] = {0}, yes[1] = {1};
    acceptance_init(&p, NULL, false);
    double chance = estimate(&p, &lookup_drafter, 2, 1);
    assert_true(chance < 0.5);
    for (int32_t match = 2; match < 20; match++) {
        assert_true(estimate(&p, &lookup_drafter, match + 1, 1) >=
                    estimate(&p, &lookup_drafter, match, 1));
        assert_near(estimate(&p, &lookup_drafter, match, 2),
                    estimate(&p, &lookup_drafter, match + 1, 1));
    }
    for (int i = 0; i < 50; i++) {
        acceptance_observe(&p, &lookup_drafter, 2, no, 1);
        acceptance_observe(&p, &lookup_drafter, 12, yes, 1);
    }
    assert_true(estimate(&p, &lookup_drafter, 2, 1) < 0.1);
    assert_true(estimate(&p, &lookup_drafter, 9, 2) > 0.9);
    assert_true(estimate(&p, &lookup_drafter, 3, 1) >= 0.4); /* short ones say nothing of it */
}

/* A request starts where the others are, and what it shows itself soon weighs more. */
static void test_estimate_shared(void **state)
{
    (void)state;
    static struct acceptance_shared shared;
    shared = (struct acceptance_shared){0};
    struct acceptance one, other;
    const float no[1] = {0}, yes[1] = {1};
    acceptance_init(&one, &shared, false);
    acceptance_init(&other, &shared, false);
    double before = estimate(&other, &lookup_drafter, 4, 1);
    for (int i = 0; i < 300; i++)
        acceptance_observe(&one, &lookup_drafter, 4, no, 1);
    double after = estimate(&other, &lookup_drafter, 4, 1);
    assert_true(before > 0.4 && after < 0.1);
    for (int i = 0; i < 30; i++)
        acceptance_observe(&other, &lookup_drafter, 4, yes, 1);
    assert_true(estimate(&other, &lookup_drafter, 4, 1) > 0.6);
    assert_true(estimate(&one, &lookup_drafter, 4, 1) < 0.1);
}

/* Code and prose, greedy and drawn, are estimated apart, each from what all text showed. */
static void test_estimate_by_kind(void **state)
{
    (void)state;
    static struct acceptance_shared shared;
    shared = (struct acceptance_shared){0};
    struct acceptance a;
    const float no[1] = {0}, yes[1] = {1};
    for (int i = 0; i < 400; i++) {
        acceptance_init(&a, &shared, false);
        a.kind = i % 2 ? TEXT_CODE : TEXT_PROSE;
        acceptance_observe(&a, &model_drafter, 0, i % 2 ? yes : no, 1);
    }
    acceptance_init(&a, &shared, false);
    a.kind = TEXT_CODE;
    double code = estimate(&a, &model_drafter, 0, 1);
    a.kind = TEXT_PROSE;
    double prose = estimate(&a, &model_drafter, 0, 1);
    acceptance_init(&a, &shared, true); /* drawn: never seen */
    a.kind = TEXT_CODE;
    double drawn = estimate(&a, &model_drafter, 0, 1);
    assert_true(code > 0.8 && prose < 0.2 && drawn > 0.35 && drawn < 0.65);
}

/* A text that turns is noticed within a few positions, and rounds that show nothing bring the
 * estimate back; but runs of luck with outcomes are no turn. */
static void test_turns(void **state)
{
    (void)state;
    struct acceptance p;
    const float high[1] = {0.9f}, low[1] = {0.1f};
    acceptance_init(&p, NULL, true);
    for (int i = 0; i < 60; i++)
        acceptance_observe(&p, &model_drafter, 0, high, 1);
    for (int i = 0; i < 4; i++)
        acceptance_observe(&p, &model_drafter, 0, low, 1);
    assert_true(estimate(&p, &model_drafter, 0, 1) < 0.4);
    assert_true(estimate(&p, &model_drafter, 0, 3) < 0.4); /* wherever it drafts */
    for (int i = 0; i < 60; i++)
        acceptance_rest(&p);
    assert_true(estimate(&p, &model_drafter, 0, 1) > 0.6);
    for (int i = 0; i < 4; i++)
        acceptance_observe(&p, &model_drafter, 0, high, 1);
    assert_true(estimate(&p, &model_drafter, 0, 1) > 0.8);

    uint64_t r = 3;
    int n = 4000, far = 0;
    acceptance_init(&p, NULL, false);
    for (int i = 0; i < n; i++) {
        float outcome = rnd_unit(&r) < 0.7;
        acceptance_observe(&p, &model_drafter, 0, &outcome, 1);
        far += fabs(estimate(&p, &model_drafter, 0, 1) - 0.7) > 0.3;
    }
    print_message("far off in %d of %d\n", far, n);
    assert_true(far < n / 50);
}

static enum text_kind kind_of(const char *text)
{
    struct text_marks marks = {0};
    for (size_t i = 0; text[i]; i++) /* in pieces as tokens come */
        text_marks_add(&marks, text + i, 1);
    return text_marks_kind(&marks);
}

static void test_text_kinds(void **state)
{
    (void)state;
    assert_int_equal(kind_of(""), TEXT_NEW);
    assert_int_equal(kind_of("Sure! Here is"), TEXT_NEW);
    assert_int_equal(kind_of("The history of the town goes back to the year 1204, when a ferry was "
                             "first mentioned; it's said that the river was wider then."),
                     TEXT_PROSE);
    assert_int_equal(kind_of("for (int i = 0; i < n; i++) {\n        sum += a[i] * b[i];\n    }\n"),
                     TEXT_CODE);
    assert_int_equal(kind_of("{\"name\": \"Ada\", \"age\": 36, \"tags\": [\"x\", \"y\"]}"),
                     TEXT_CODE);
    assert_int_equal(kind_of("def add(a, b):\n    total = a + b\n    return total\n\n\nclass A:\n"
                             "    def f(self):\n        pass\n"),
                     TEXT_CODE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_estimate),          cmocka_unit_test(test_estimate_forgets),
        cmocka_unit_test(test_estimate_by_match), cmocka_unit_test(test_estimate_shared),
        cmocka_unit_test(test_estimate_by_kind),  cmocka_unit_test(test_turns),
        cmocka_unit_test(test_text_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
