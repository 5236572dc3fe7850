/*
 * fixmath.h: errors over the whole range, the properties that laws and races rely on, and a hash of
 * the outputs, which must be the same for every compiler, optimisation level and processor.
 * SPECD_EXACT_FULL=1 looks at every float and every random word, a quick run at one in a thousand.
 *
 * References are the library's double functions, right to 2^-52; where the error is worst it is
 * taken again from long double.
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

/* Functions are compiled twice: with fmaf as a call of the library, which is what portable builds
 * have, and as an instruction, without which the full run would take hours. */
#if defined(__x86_64__)
#define FUSED __attribute__((target("avx2,fma")))
#else
#define FUSED
#endif
#define EVERYWHERE static inline __attribute__((always_inline))

static bool can_fuse(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return true;
#endif
}

/* Of every how many arguments one is tried. */
static uint64_t stride(uint64_t quick)
{
    return suite_full() && can_fuse() ? 1 : quick;
}

/* Arguments, by the 32 bits that make them, and the largest error among them. */
struct sweep {
    uint64_t first, last, step;
    uint64_t n, worst_at;
    double worst;
};

enum function { EXP, LOG, EXPONENTIAL };

/* u = (bits + 1/2) 2^-32 and 1 - u have 33 bits: exact in a double, whose log is then exact to the
 * last place even where 1 - u is close to 1. */
EVERYWHERE double error_of(enum function f, uint32_t bits)
{
    float x = fix_from_bits(bits);

    if (f == EXP)
        return fabs((double)fix_exp(x) / exp((double)x) - 1);
    if (f == LOG)
        return x == 1.0f ? (double)fix_log(x) : fabs((double)fix_log(x) / log((double)x) - 1);
    return fabs((double)fix_exponential(bits) / -log((2.0 * (double)~bits + 1) * 0x1p-33) - 1);
}

static double error_long(enum function f, uint32_t bits)
{
    long double x = fix_from_bits(bits), u = ((long double)bits + 0.5L) * 0x1p-32L;

    if (f == EXP)
        return (double)fabsl(fix_exp((float)x) / expl(x) - 1);
    if (f == LOG)
        return (double)fabsl(fix_log((float)x) / logl(x) - 1);
    return (double)fabsl(fix_exponential(bits) / -log1pl(-u) - 1);
}

/* The bounds by which a race skips entries without looking. */
EVERYWHERE bool is_bounded(uint32_t bits)
{
    double e = fix_exponential(bits);

    return e >= (double)bits * RACE_U && e > RACE_U_MIN * 1.5 && e < 22.9;
}

EVERYWHERE void sweep_any(struct sweep *s, enum function f)
{
    for (uint64_t bits = s->first; bits <= s->last; bits += s->step, s->n++) {
        double e = error_of(f, (uint32_t)bits);

        if (!(e <= s->worst)) { /* a NaN too */
            s->worst = e;
            s->worst_at = bits;
        }
        if (f == EXPONENTIAL && !is_bounded((uint32_t)bits))
            fail_msg("exponential of %llu is out of bounds", (unsigned long long)bits);
    }
}

static void sweep_plain(struct sweep *s, enum function f)
{
    if (f == EXP)
        sweep_any(s, EXP);
    else if (f == LOG)
        sweep_any(s, LOG);
    else
        sweep_any(s, EXPONENTIAL);
}

FUSED static void sweep_fused(struct sweep *s, enum function f)
{
    if (f == EXP)
        sweep_any(s, EXP);
    else if (f == LOG)
        sweep_any(s, LOG);
    else
        sweep_any(s, EXPONENTIAL);
}

static struct sweep sweep(enum function f, uint64_t first, uint64_t last, uint64_t step)
{
    struct sweep s = {.first = first, .last = last, .step = step, .worst = -1};

    if (can_fuse())
        sweep_fused(&s, f);
    else
        sweep_plain(&s, f);
    return s;
}

static void check_error(const char *name, const char *range, enum function f,
                        const struct sweep *parts, int n_parts, double bound)
{
    uint64_t n = 0;
    double worst = 0;

    for (int i = 0; i < n_parts; i++) {
        n += parts[i].n;
        worst = fmax(worst, error_long(f, (uint32_t)parts[i].worst_at));
        assert_true(parts[i].worst + 0x1p-50 < bound);
    }
    report("fixmath", "function=%s range=%s arguments=%llu worst=2^%.2f bound=2^%.1f", name, range,
           (unsigned long long)n, log2(worst), log2(bound));
    assert_true(worst < bound);
}

#define SIGN 0x80000000u

static void test_exp_error(void **state)
{
    uint64_t end = fix_to_bits(87.0f);
    struct sweep parts[] = {sweep(EXP, 0, end, stride(1009)),
                            sweep(EXP, SIGN, SIGN | end, stride(1009))};

    (void)state;
    check_error("exp", "-87..87", EXP, parts, 2, 0x1p-23 * 0.7);
    assert_true(fix_exp(0.0f) == 1.0f && fix_exp(-0.0f) == 1.0f);
}

static void test_log_error(void **state)
{
    struct sweep all = sweep(LOG, 0x00800000u, 0x7f7fffffu, stride(1511));

    (void)state;
    check_error("log", "positive_normal_floats", LOG, &all, 1, 0x1p-22);
    assert_true(fix_log(1.0f) == 0.0f);
}

static void test_exponential_error(void **state)
{
    uint32_t seam = 0x4afb0cccu; /* where the formula changes */
    struct sweep parts[] = {sweep(EXPONENTIAL, 0, UINT32_MAX, stride(997)),
                            sweep(EXPONENTIAL, 0, 100000, 1),
                            sweep(EXPONENTIAL, UINT32_MAX - 5000, UINT32_MAX, 1),
                            sweep(EXPONENTIAL, seam - 2500, seam + 2500, 1)};

    (void)state;
    check_error("exponential", "all_random_words", EXPONENTIAL, parts, suite_full() ? 1 : 4,
                0x1p-22);
}

EVERYWHERE void check_weights(uint64_t step)
{
    for (uint64_t bits = SIGN; bits < fix_to_bits(-33.0f); bits += step) {
        if (fix_exp44f(fix_from_bits((uint32_t)bits)) > (float)LAW_ONE)
            fail_msg("weight of %a above 1", (double)fix_from_bits((uint32_t)bits));
    }
}

FUSED static void check_weights_fused(uint64_t step)
{
    check_weights(step);
}

/* exp(0) is 1 and no weight is above it, so the largest logit has the largest weight; below -30.5
 * weights are 0. */
static void test_weights_range(void **state)
{
    (void)state;
    assert_true(fix_exp44(0.0f) == LAW_ONE && fix_exp44(-0.0f) == LAW_ONE);
    assert_true(fix_exp44(-30.5f) == 0 && fix_exp44(-INFINITY) == 0 && fix_exp44(-30.49f) == 1);
    if (can_fuse())
        check_weights_fused(stride(61));
    else
        check_weights(61);
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

EVERYWHERE struct hashes hash_any(void)
{
    struct hashes h = {0, 0, 0, 0};

    for (uint32_t i = 0; i < 300000; i++) {
        uint32_t bits = i * 14221u;
        float x = fix_from_bits(bits % 0x42ae0000u | (i & 1u) << 31);
        float pos = fix_from_bits(0x00800000u + bits % 0x7f000000u);

        h.exp = hash_add(h.exp, fix_to_bits(fix_exp(x)));
        h.log = hash_add(h.log, fix_to_bits(fix_log(pos)));
        h.exponential = hash_add(h.exponential, fix_to_bits(fix_exponential(bits)));
        h.weight = hash_add(h.weight, fix_to_bits(law_weight(-pos, 1.0f, 0.7f)));
    }
    return h;
}

static struct hashes hash_plain(void)
{
    return hash_any();
}

FUSED static struct hashes hash_fused(void)
{
    return hash_any();
}

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
    if (can_fuse())
        check_hashes(hash_fused());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp_error),         cmocka_unit_test(test_log_error),
        cmocka_unit_test(test_exponential_error), cmocka_unit_test(test_weights_range),
        cmocka_unit_test(test_weights_floor),     cmocka_unit_test(test_same_bits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
