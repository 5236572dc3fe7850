/*
 * Acceptance accounting: an exact but wasteful sampler would pass every test of laws. Token by
 * token, what is accepted is the overlap of the laws within its interval; block verification
 * accepts no less; coupled no less than its bound. Equal laws accept everything, disjoint ones
 * nothing.
 *
 * links: specd_cpu
 */
#include "exact/suite.h"
#include "exact/toy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define AT(t)                                           \
    {                                                   \
        .temperature = (t), .top_p = 1, .repetition = 1 \
    }

static const struct sample_params plain = {.target = AT(1), .draft = AT(1)};

/* A draft equal to the target is always right. */
static void test_equal_accepts_all(void **state)
{
    int32_t out[TOY_TOKENS_MAX];

    (void)state;
    for (int mode = 0; mode < 3; mode++) {
        struct toy equal = {.n_vocab = 6,
                            .closeness = 1,
                            .sharpness = 3,
                            .params = plain,
                            .mode = (enum verify_mode)mode,
                            .k = MIN(4, TOY_K_MAX),
                            .n_tokens = 20,
                            .model = 1,
                            .verify = law_verify};
        struct toy greedy = equal;
        struct toy_totals all = {0};

        greedy.params.target.temperature = greedy.params.draft.temperature = 0;
        for (uint64_t seed = 0; seed < 2000; seed++) {
            toy_generate(&equal, seed, out, &all);
            toy_generate(&greedy, seed, out, &all);
        }
        assert_true(all.accepted == all.rounds * (uint64_t)equal.k);
        assert_true(fabs(all.overlap - (double)all.verified) < 1e-3);
    }
}

/* A draft of other support never is. */
static void test_disjoint_accepts_none(void **state)
{
    static const float target_row[4] = {-INFINITY, -INFINITY, 0.2f, 0.5f};
    static const float draft_row[4] = {0.3f, 0.1f, -INFINITY, -INFINITY};
    const struct sample_params *params = &plain;
    struct law_context c = {.params = params, .law = &params->target};
    struct law q[2], p;
    uint64_t scratch[4];

    (void)state;
    law_build(&p, draft_row, 4, &c, scratch);
    law_build(&q[0], target_row, 4, &c, scratch);
    q[1] = q[0];
    for (uint64_t seed = 0; seed < 6000; seed++) {
        enum verify_mode mode = (enum verify_mode)(seed % 3);
        struct noise n = noise_proposal(seed, mode, 1, 0);
        int32_t drafted = law_draw(&p, &n);
        struct verify_input in = {.q = q,
                                  .p = &p,
                                  .drafted = &drafted,
                                  .k = 1,
                                  .len = 1,
                                  .seed = seed,
                                  .mode = mode,
                                  .synthetic_acceptance = -1};
        struct seq_result r;

        law_verify(&in, &r);
        assert_true(drafted < 2 && r.n_accepted == 0 && r.tokens[0] >= 2);
        assert_true(r.overlap[0] == 0);
    }
}

static struct toy_totals totals_of(enum verify_mode mode, float temperature, int k, uint64_t n)
{
    struct toy t = {.n_vocab = 8,
                    .closeness = 0.6f,
                    .sharpness = 3,
                    .params = {.target = AT(temperature), .draft = AT(temperature)},
                    .mode = mode,
                    .k = k,
                    .n_tokens = 24,
                    .model = 9,
                    .verify = law_verify};
    struct toy_totals totals = {0};
    int32_t out[TOY_TOKENS_MAX];

    for (uint64_t seed = 0; seed < n; seed++)
        toy_generate(&t, seed, out, &totals);
    return totals;
}

static double per_round(const struct toy_totals *t)
{
    return (double)t->accepted / (double)t->rounds;
}

/* In ratio mode accepted minus overlap is a martingale, and in coupled mode accepted minus the
 * chance of equal tokens, which is at least o / (2 - o) (Daliri et al.). */
static void check_acceptance(float temperature, int k, uint64_t n)
{
    struct toy_totals ratio = totals_of(VERIFY_RATIO, temperature, k, n);
    struct toy_totals block = totals_of(VERIFY_BLOCK, temperature, k, n);
    struct toy_totals coupled = totals_of(VERIFY_COUPLED, temperature, k, n);
    double sigma = sqrt(ratio.variance), z = ((double)ratio.accepted - ratio.overlap) / sigma;
    double noise = 5 * sigma / (double)ratio.rounds;

    report("acceptance", "T=%.1f K=%d ratio=%.4f expected=%.4f sigma=%+.2f block=%.4f coupled=%.4f",
           (double)temperature, k, per_round(&ratio), ratio.overlap / (double)ratio.rounds, z,
           per_round(&block), per_round(&coupled));
    assert_true(fabs(z) < 5);
    assert_true(per_round(&block) > per_round(&ratio) - (k == 1 ? noise : 0));
    assert_true((double)coupled.accepted > coupled.coupled_least - 5 * sigma);
    assert_true(per_round(&coupled) < per_round(&ratio) + noise);
}

static void test_acceptance(void **state)
{
    static const float temperatures[] = {0.5f, 1, 1.5f};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(temperatures); i++) {
        for (int k = 1; k <= TOY_K_MAX; k *= 2)
            check_acceptance(temperatures[i], k, suite_full() ? 100000 : 4000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_accepts_all),
        cmocka_unit_test(test_disjoint_accepts_none),
        cmocka_unit_test(test_acceptance),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
