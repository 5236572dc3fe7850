/*
 * The joint law of sequences under coupled verification, see joint.h; and coupled output is plain
 * output, token for token.
 *
 * links: specd_cpu
 */
#include "exact/joint.h"

static void test_joint_law(void **state)
{
    (void)state;
    joint_test(VERIFY_COUPLED);
}

/* Plain decoding is K = 0, and gives the same tokens in every mode; coupled gives them for any K
 * and draft. */
static void test_coupled_is_plain(void **state)
{
    struct toy_totals totals = {0};

    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct toy t = {.n_vocab = 5,
                        .closeness = 0.5f,
                        .sharpness = 2,
                        .params = params_cases[seed % COUNT_OF(params_cases)].params,
                        .n_tokens = 20,
                        .model = seed,
                        .verify = law_verify};
        int32_t plain[TOY_TOKENS_MAX], other[TOY_TOKENS_MAX];

        toy_generate(&t, seed, plain, &totals);
        for (int mode = 0; mode < 3; mode++) {
            t.mode = (enum verify_mode)mode;
            t.k = 0;
            toy_generate(&t, seed, other, &totals);
            assert_memory_equal(plain, other, 20 * sizeof(plain[0]));
        }
        for (t.k = 1; t.k <= TOY_K_MAX; t.k++) {
            t.closeness = 0.1f * (float)t.k;
            t.schedule = (enum schedule)(t.k % 3);
            toy_generate(&t, seed, other, &totals);
            assert_memory_equal(plain, other, 20 * sizeof(plain[0]));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_joint_law),
        cmocka_unit_test(test_coupled_is_plain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
