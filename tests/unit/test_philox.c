/*
 * Philox4x32-10 against its known answers, and the streams of specd/law.h against each other.
 *
 * links: specd_base
 * labels: exact
 */
#include "exact/suite.h"
#include "specd/law.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_known_answers(void **state)
{
    static const struct {
        struct philox ctr;
        uint64_t key;
        struct philox out;
    } cases[] = {
        {{{0, 0, 0, 0}}, 0, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
        {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
         0xffffffffffffffff,
         {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
        /* The digits of pi. */
        {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
         0x299f31d0a4093822,
         {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct philox out = philox4x32(cases[i].ctr, cases[i].key);

        assert_memory_equal(&out, &cases[i].out, sizeof(out));
    }
}

static int compare_words(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct philox));
}

/* Every decision of a few requests over a few rounds has words of its own. Two equal blocks of 128
 * bits among these would be a shared counter, not chance. */
static void test_streams_disjoint(void **state)
{
    enum { SEEDS = 2, POSITIONS = 24, ROUNDS = 5, GROUPS = 6, STREAMS = 4 };
    static struct philox words[SEEDS * POSITIONS * ROUNDS * GROUPS * STREAMS];
    size_t n = 0;

    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        for (uint32_t position = 0; position < POSITIONS; position++) {
            for (uint32_t group = 0; group < GROUPS; group++) {
                struct noise target = noise_target(seed, (int32_t)position);

                words[n++] = noise_words(&target, group);
                for (uint32_t round = 0; round < ROUNDS; round++) {
                    struct noise proposal =
                        noise_proposal(seed, VERIFY_RATIO, (int32_t)position, round);
                    struct noise accept = {seed, position, NOISE_ACCEPT, round};
                    struct noise synthetic = {seed, position, NOISE_SYNTHETIC, round};

                    words[n++] = noise_words(&proposal, group);
                    words[n++] = noise_words(&accept, group);
                    if (round > 0)
                        words[n++] = noise_words(&synthetic, group);
                }
            }
        }
    }
    assert_true(n <= COUNT_OF(words));
    qsort(words, n, sizeof(words[0]), compare_words);
    for (size_t i = 1; i < n; i++)
        assert_memory_not_equal(&words[i - 1], &words[i], sizeof(words[0]));
}

/* No bit of a coordinate is lost on the way into the counter: words at the ends of every range. */
static void test_whole_range(void **state)
{
    static const uint64_t seeds[] = {0, 1, 1ull << 31, 1ull << 32, (1ull << 53) - 1};
    static const uint32_t positions[] = {0, 1, 1 << 16, 1 << 24, INT32_MAX};
    static const uint32_t rounds[] = {1, 1 << 16, 1u << 31, UINT32_MAX};
    static const uint32_t groups[] = {0, 1, 255, SPECD_VOCAB_MAX / 4 - 1};
    static struct philox
        words[COUNT_OF(seeds) * COUNT_OF(positions) * COUNT_OF(rounds) * COUNT_OF(groups) * 3];
    size_t n = 0;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(words) / 3; i++) {
        uint64_t seed = seeds[i % COUNT_OF(seeds)];
        int32_t position = (int32_t)positions[i / COUNT_OF(seeds) % COUNT_OF(positions)];
        size_t rest = i / COUNT_OF(seeds) / COUNT_OF(positions);
        uint32_t round = rounds[rest % COUNT_OF(rounds)];
        uint32_t group = groups[rest / COUNT_OF(rounds)];
        struct noise target = noise_target(seed, position);
        struct noise accept = {seed, (uint32_t)position, NOISE_ACCEPT, round};
        struct noise proposal = noise_proposal(seed, VERIFY_BLOCK, position, round);

        if (round == rounds[0])
            words[n++] = noise_words(&target, group);
        words[n++] = noise_words(&accept, group);
        words[n++] = noise_words(&proposal, group);
        assert_int_equal(noise_words(&accept, 0).w[0],
                         noise_coin(seed, NOISE_ACCEPT, position, round));
    }
    qsort(words, n, sizeof(words[0]), compare_words);
    for (size_t i = 1; i < n; i++)
        assert_memory_not_equal(&words[i - 1], &words[i], sizeof(words[0]));
    report("philox", "known_answers=3 counters_at_the_ends_of_their_ranges=%zu,_all_different", n);
}

static bool noise_equal(struct noise a, struct noise b)
{
    return a.seed == b.seed && a.position == b.position && a.stream == b.stream &&
           a.round == b.round;
}

static void test_round_in_counter(void **state)
{
    struct noise target = noise_target(7, 11);

    (void)state;
    for (uint32_t round = 0; round < 3; round++) {
        struct noise coupled = noise_proposal(7, VERIFY_COUPLED, 11, round);
        struct noise ratio = noise_proposal(7, VERIFY_RATIO, 11, round);
        struct noise block = noise_proposal(7, VERIFY_BLOCK, 11, round);

        /* Coupled: the draft races with the target's own noise, in whatever round. */
        assert_true(noise_equal(coupled, target));
        assert_int_equal(ratio.round, round);
        assert_int_equal(ratio.stream, NOISE_PROPOSAL);
        assert_true(noise_equal(block, ratio));
    }
}

/* u - 1/2 summed over n draws, in units of its standard deviation. */
static double mean_z(double sum, double n)
{
    return sum / sqrt(n / 12.0);
}

/* Means, and products of neighbours in every coordinate of the counter, within 5 sigma. */
static void test_uncorrelated(void **state)
{
    enum { N = 200000 };
    double sum = 0, product[4] = {0};

    (void)state;
    for (uint32_t i = 0; i < N; i++) {
        double u = noise_coin(1, NOISE_ACCEPT, (int32_t)i, 3) * 0x1p-32 - 0.5;

        sum += u;
        product[0] += u * (noise_coin(1, NOISE_ACCEPT, (int32_t)i + 1, 3) * 0x1p-32 - 0.5);
        product[1] += u * (noise_coin(1, NOISE_ACCEPT, (int32_t)i, 4) * 0x1p-32 - 0.5);
        product[2] += u * (noise_coin(1, NOISE_PROPOSAL, (int32_t)i, 3) * 0x1p-32 - 0.5);
        product[3] += u * (noise_coin(2, NOISE_ACCEPT, (int32_t)i, 3) * 0x1p-32 - 0.5);
    }
    assert_true(fabs(mean_z(sum, N)) < 5.0);
    for (int i = 0; i < 4; i++)
        assert_true(fabs(product[i] * 12.0 / sqrt((double)N)) < 5.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers), cmocka_unit_test(test_streams_disjoint),
        cmocka_unit_test(test_whole_range),   cmocka_unit_test(test_round_in_counter),
        cmocka_unit_test(test_uncorrelated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
