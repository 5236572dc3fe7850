/*
 * The production chooser's own questions, which the enumeration takes for granted: a coin says yes
 * with the probability it is asked for within 2^-32, a race draws each entry in proportion to its
 * weight, by chi-squared over the keys of production and by integration over all random words.
 *
 * links: specd_cpu
 */
#include "exact/stats.h"
#include "exact/suite.h"
#include "exact/oracle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* ---- coins ----------------------------------------------------------------------------------- */

typedef bool accept_fn(uint32_t bits, double p, double q);

static bool accept_shipped(uint32_t bits, double p, double q)
{
    return law_accepts(bits, p, q);
}

/* What others shipped: u in (0, 1] with <, u in (0, 1] with <=, u in [0, 1) with <=, division. */
static bool accept_open(uint32_t bits, double p, double q)
{
    return ((double)bits + 1) * 0x1p-32 * p < q;
}

static bool accept_open_or_equal(uint32_t bits, double p, double q)
{
    return ((double)bits + 1) * 0x1p-32 * p <= q;
}

static bool accept_or_equal(uint32_t bits, double p, double q)
{
    return (double)bits * 0x1p-32 * p <= q;
}

static bool accept_divided(uint32_t bits, double p, double q)
{
    return !(q / p < (double)bits * 0x1p-32);
}

/* Exactly min(2^32, ceil(2^32 q / p)) of the 2^32 words accept, for p > 0. */
static bool accept_right(accept_fn *accept)
{
    static const double values[] = {0,         0x1p-1074, 0x1p-60,     1e-9, 0.25,
                                    1.0 / 3.0, 0.5,       1 - 0x1p-53, 1};

    for (size_t i = 0; i < COUNT_OF(values); i++) {
        for (size_t j = 1; j < COUNT_OF(values); j++) {
            double q = values[i], p = values[j];
            double n = q < p ? ceil(0x1p32 * (q / p)) : 0x1p32;

            if (n > 0 && !accept((uint32_t)(n - 1), p, q) && p > 0x1p-1000)
                return false;
            if (n < 0x1p32 && accept((uint32_t)n, p, q) && p > 0x1p-1000)
                return false;
            if (accept(0, p, q) != (q > 0))
                return false;
        }
    }
    return true;
}

/* Which of the 2^32 words say yes: all below a count, found by bisection. */
static double yes_words(accept_fn *accept, double p, double q)
{
    uint64_t low = 0, high = 1ull << 32; /* words below low accept, from high on do not */

    while (low < high) {
        uint64_t middle = (low + high) / 2;

        if (accept((uint32_t)middle, p, q))
            low = middle + 1;
        else
            high = middle;
    }
    return (double)low;
}

static void test_accept_edges(void **state)
{
    static const struct {
        const char *name;
        accept_fn *accept;
    } wrong[] = {{"u_in_(0,1]_with_<", accept_open},
                 {"u_in_(0,1]_with_<=", accept_open_or_equal},
                 {"u_in_[0,1)_with_<=", accept_or_equal},
                 {"u_in_[0,1)_against_q/p", accept_divided}};

    (void)state;
    assert_true(accept_right(accept_shipped));
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        accept_fn *accept = wrong[i].accept;

        report("coin_controls", "fault=%s of_mass_0=%.0f of_equal_mass=%.0f of_mass_2^-33=%.0f",
               wrong[i].name, yes_words(accept, 0.5, 0), yes_words(accept, 0.3, 0.3),
               yes_words(accept, 1, 0x1p-33));
        assert_false(accept_right(accept));
    }
    report("coin_controls", "fault=shipped of_mass_0=%.0f of_equal_mass=%.0f of_mass_2^-33=%.0f",
           yes_words(accept_shipped, 0.5, 0), yes_words(accept_shipped, 0.3, 0.3),
           yes_words(accept_shipped, 1, 0x1p-33));
}

/* q / p of two laws in integers, and how far the share of words that accept is from it. */
static void test_accept_probability(void **state)
{
    struct sample_params params = {.target = {.temperature = 1, .top_p = 1, .repetition = 1}};
    struct law_context c = {.params = &params, .law = &params.target};
    float rows[2][33];
    uint64_t scratch[33];
    double worst = 0;
    int n = 0;

    (void)state;
    srand(11);
    for (int trial = 0; trial < (suite_full() ? 20000 : 1000); trial++) {
        struct law q, p;

        row_make(rows[0], 33, (enum row_shape)(rand() % ROW_SHAPES));
        row_make(rows[1], 33, (enum row_shape)(rand() % ROW_SHAPES));
        law_build(&q, rows[0], 33, &c, scratch);
        law_build(&p, rows[1], 33, &c, scratch);
        for (int32_t x = 0; x < 33; x++) {
            long double wq = law_weight_of(&q, x), wp = law_weight_of(&p, x), want, got;

            if (wp == 0)
                continue;
            want = fminl(1, wq / (long double)q.sum / (wp / (long double)p.sum));
            got = yes_words(accept_shipped, law_prob(&p, x), law_prob(&q, x)) * 0x1p-32L;
            worst = fmax(worst, (double)fabsl(got - want) * 0x1p32);
            n++;
        }
    }
    report("chooser", "what=acceptance_probability cases=%d worst=%.4f_x_2^-32 allowed=1_x_2^-32",
           n, worst);
    assert_true(worst < 1.0001);
}

/* ---- races ----------------------------------------------------------------------------------- */

/* How the draws differ: by request, by position, by round. */
enum sweep { BY_SEED, BY_POSITION, BY_ROUND, SWEEPS };
static const char *const sweep_names[] = {"seeds", "positions", "rounds"};

static struct noise noise_of(enum sweep sweep, uint32_t i)
{
    if (sweep == BY_ROUND)
        return noise_proposal(77, VERIFY_RATIO, 5, i);
    return sweep == BY_SEED ? noise_target(i * 0x9e3779b97f4aull, 9)
                            : noise_target(12345, (int32_t)i);
}

#define RACE_V_MAX 1531

static void check_race(const struct law *q, const struct law *p, double b, enum sweep sweep,
                       double *least)
{
    static uint64_t count[RACE_V_MAX];
    static double law[RACE_V_MAX];
    uint32_t n = (q->n_vocab > 100 ? 1u : 4u) * (suite_full() ? 400000 : 40000);
    double mass = 0;
    struct fit f;

    for (int32_t x = 0; x < q->n_vocab; x++) {
        law[x] = p ? fmax(b * law_prob(q, x) - law_prob(p, x), 0) : law_prob(q, x);
        mass += law[x];
        count[x] = 0;
    }
    for (int32_t x = 0; x < q->n_vocab; x++)
        law[x] /= mass;
    for (uint32_t i = 0; i < n; i++) {
        struct noise noise = noise_of(sweep, i);
        bool fallback;

        count[p ? law_draw_residual(q, p, b, &noise, &fallback) : law_draw(q, &noise)]++;
    }
    f = fit_law(count, law, q->n_vocab, n);
    print_message("V %4d, over %-9s %s: chi2 %7.1f G %7.1f df %4.0f p %.4f %.4f\n", q->n_vocab,
                  sweep_names[sweep], p ? "residual" : "law", f.chi2, f.g, f.df, f.p, f.p_g);
    assert_true(mass > 0 && f.p > 1e-6 && f.p_g > 1e-6);
    *least = fmin(*least, fmin(f.p, f.p_g));
}

static void test_race_law(void **state)
{
    static const int32_t sizes[] = {2, 3, 5, 64, RACE_V_MAX};
    struct sample_params params = {.target = {.temperature = 1, .top_p = 0.97f, .repetition = 1},
                                   .draft = {.temperature = 1.3f, .top_p = 1, .repetition = 1}};
    struct law_context cq = {.params = &params, .law = &params.target};
    struct law_context cp = {.params = &params, .law = &params.draft};
    static float rows[2][RACE_V_MAX];
    static uint64_t scratch[RACE_V_MAX];
    double least = 1;
    int n = 0;

    (void)state;
    srand(12);
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        for (int sweep = 0; sweep < SWEEPS; sweep++) {
            struct law q, p;

            for (int32_t i = 0; i < 2 * sizes[s]; i++)
                rows[i % 2][i / 2] = (float)(4 * random_unit());
            law_build(&q, rows[0], sizes[s], &cq, scratch);
            law_build(&p, rows[1], sizes[s], &cp, scratch);
            check_race(&q, NULL, 1, (enum sweep)sweep, &least);
            check_race(&q, &p, 1, (enum sweep)sweep, &least);
            check_race(&q, &p, 0.95, (enum sweep)sweep, &least);
            n += 3;
        }
    }
    report("chooser", "what=races,_chi2_and_G cases=%d worst=p_%.5f allowed=p_1e-6", n, least);
}

/* How many of the 2^32 words of the light entry beat the heavy one's score. */
static double words_that_win(double light, double heavy_score)
{
    uint64_t low = 0, high = 1ull << 32;

    while (low < high) {
        uint64_t middle = (low + high) / 2;

        if (race_score(light, (uint32_t)middle) > heavy_score)
            low = middle + 1;
        else
            high = middle;
    }
    return (double)low;
}

/* The light entry's chance against a heavy one of weight 1, integrated over the heavy one's words:
 * by the midpoint rule on intervals that shrink towards the pole of E, word by word at the end. */
static double win_probability(double light)
{
    double sum = words_that_win(light, race_score(1, UINT32_MAX));

    for (int octave = 1; octave <= 32; octave++) {
        double width = ldexp(1, 32 - octave), begin = 0x1p32 - 2 * width;
        double step = fmax(width / 2048, 1);

        for (double at = begin; at < begin + width; at += step)
            sum += words_that_win(light, race_score(1, (uint32_t)(at + step / 2))) * step;
    }
    return sum * 0x1p-64;
}

static void test_race_probability(void **state)
{
    static const double lights[] = {1, 0.75, 1.0 / 3, 1e-2, 1e-4, 1e-6};
    double worst = 0;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(lights); i++) {
        double want = lights[i] / (1 + lights[i]), error = fabs(win_probability(lights[i]) - want);

        print_message("weight %.6f of 1: off by %.3g of %.3g\n", lights[i], error, want);
        worst = fmax(worst, error / (want * 0x1p-21 + 0x1p-32));
    }
    report("chooser",
           "what=race_of_two,_integrated cases=%d worst=%.3f_of_allowed "
           "allowed=2^-21_relative_+_2^-32",
           (int)COUNT_OF(lights), worst);
    assert_true(worst < 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accept_edges),
        cmocka_unit_test(test_accept_probability),
        cmocka_unit_test(test_race_law),
        cmocka_unit_test(test_race_probability),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
