/*
 * fixmath.h: errors against long double over the whole range, the properties that laws and races
 * rely on, and a hash of the outputs, which must be the same for every compiler, optimisation level
 * and processor. Samples are strided; SPECD_EXACT_FULL=1 makes them 61 times denser. (Every float
 * and every random word was walked once: exp 2^-23.64, log 2^-23.05, exponential 2^-22.20.)
 *
 * links: specd_base
 */
#include "specd/law.h"
#include "specd/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static uint32_t stride(uint32_t quick)
{
    return getenv("SPECD_EXACT_FULL") ? quick / 61 : quick;
}

static double relative(long double got, long double want)
{
    return (double)fabsl(got / want - 1.0L);
}

static void test_exp_error(void **state)
{
    double worst = 0;

    (void)state;
    for (uint32_t sign = 0; sign <= 1; sign++) {
        for (uint64_t bits = 0; bits <= 0x42ae0000u /* 87 */; bits += stride(1009)) {
            float x = fix_from_bits((uint32_t)bits | sign << 31);
            double e = relative(fix_exp(x), expl(x));

            worst = MAX(worst, e);
        }
    }
    print_message("exp: worst relative error 2^%.2f\n", log2(worst));
    assert_true(worst < 0x1p-23 * 0.7);
}

static void test_log_error(void **state)
{
    double worst = 0;

    (void)state;
    for (uint64_t bits = 0x00800000u; bits < 0x7f800000u; bits += stride(1511)) {
        float x = fix_from_bits((uint32_t)bits);

        if (x != 1.0f)
            worst = fmax(worst, relative(fix_log(x), logl(x)));
    }
    print_message("log: worst relative error 2^%.2f\n", log2(worst));
    assert_true(worst < 0x1p-22);
    assert_true(fix_log(1.0f) == 0.0f);
}

static double exponential_error(uint32_t bits)
{
    long double u = ((long double)bits + 0.5L) * 0x1p-32L;

    return relative(fix_exponential(bits), -log1pl(-u));
}

static void test_exponential_error(void **state)
{
    double worst = 0;

    (void)state;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += stride(4099)) {
        double e = exponential_error((uint32_t)bits);

        worst = MAX(worst, e);
    }
    for (uint32_t i = 0; i < 5000; i++) {
        double low = exponential_error(i), high = exponential_error(UINT32_MAX - i);
        double seam = exponential_error(0x4afb0cccu - 2500 + i);

        worst = fmax(worst, fmax(seam, fmax(low, high)));
    }
    print_message("exponential: worst relative error 2^%.2f\n", log2(worst));
    assert_true(worst < 0x1p-22);
}

/* The bounds by which a race skips entries without looking. */
static void test_exponential_bounds(void **state)
{
    (void)state;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += bits < 100000 ? 1 : stride(997)) {
        double e = fix_exponential((uint32_t)bits);

        if (!(e >= (double)bits * RACE_U && e > RACE_U_MIN * 1.5 && e < 22.9))
            fail_msg("exponential of %llu is %a", (unsigned long long)bits, e);
    }
}

/* exp(0) is 1 and no weight is above it, so the largest logit has the largest weight; below -30.5
 * weights are 0. */
static void test_weights_range(void **state)
{
    uint32_t end = fix_to_bits(-33.0f), begin = fix_to_bits(-0.0f);

    (void)state;
    assert_true(fix_exp44(0.0f) == LAW_ONE && fix_exp44(-0.0f) == LAW_ONE);
    assert_true(fix_exp44(-30.5f) == 0 && fix_exp44(-INFINITY) == 0 && fix_exp44(-30.49f) == 1);
    for (uint64_t bits = begin; bits < end; bits += stride(61)) {
        if (fix_exp44f(fix_from_bits((uint32_t)bits)) > (float)LAW_ONE)
            fail_msg("weight of %a above 1", fix_from_bits((uint32_t)bits));
    }
}

/* A weight is the floor of exp times 2^44, and a float that holds it loses nothing. */
static void test_weights_floor(void **state)
{
    (void)state;
    for (int i = 0; i < 400000; i++) {
        float x = -32.0f * (float)i / 400000.0f;
        long double want = expl(x) * 0x1p44L;
        uint64_t w = fix_exp44(x);

        assert_true(fabsl((long double)w - want) <= 1.0L + want * 0x1p-23L);
        assert_true((uint64_t)(float)w == w && (float)w == fix_exp44f(x));
    }
}

/* ---- the same bits everywhere ---------------------------------------------------------------- */

static inline uint64_t hash_add(uint64_t h, uint32_t bits)
{
    h = (h ^ bits) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

struct hashes {
    uint64_t exp, log, exponential, weight;
};

#define HASH_BODY                                                                    \
    struct hashes h = {0, 0, 0, 0};                                                  \
    for (uint32_t i = 0; i < 300000; i++) {                                          \
        uint32_t bits = i * 14221u;                                                  \
        float x = fix_from_bits(bits % 0x42ae0000u | (i & 1u) << 31);                \
        float pos = fix_from_bits(0x00800000u + bits % 0x7f000000u);                 \
        h.exp = hash_add(h.exp, fix_to_bits(fix_exp(x)));                            \
        h.log = hash_add(h.log, fix_to_bits(fix_log(pos)));                          \
        h.exponential = hash_add(h.exponential, fix_to_bits(fix_exponential(bits))); \
        h.weight = hash_add(h.weight, fix_to_bits(law_weight(-pos, 1.0f, 0.7f)));    \
    }                                                                                \
    return h;

static struct hashes hash_plain(void)
{
    HASH_BODY
}

#if defined(__x86_64__)
/* fmaf as an instruction, where hash_plain calls the library's. */
__attribute__((target("avx2,fma"))) static struct hashes hash_fused(void)
{
    HASH_BODY
}
#endif

static void check_hashes(struct hashes h)
{
    print_message("exp %016llx log %016llx exponential %016llx weight %016llx\n",
                  (unsigned long long)h.exp, (unsigned long long)h.log,
                  (unsigned long long)h.exponential, (unsigned long long)h.weight);
    assert_true(h.exp == 0xc2e7b5e83e3e7626u);
    assert_true(h.log == 0x6c3fac8b846dfc3du);
    assert_true(h.exponential == 0x97ff7385ef257a52u);
    assert_true(h.weight == 0x42db89a2d9a00fd4u);
}

static void test_same_bits(void **state)
{
    (void)state;
    check_hashes(hash_plain());
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        check_hashes(hash_fused());
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp_error),         cmocka_unit_test(test_log_error),
        cmocka_unit_test(test_exponential_error), cmocka_unit_test(test_exponential_bounds),
        cmocka_unit_test(test_weights_range),     cmocka_unit_test(test_weights_floor),
        cmocka_unit_test(test_same_bits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
