/*
 * Negative controls: samplers that are wrong in one known way must fail the joint test that the
 * shipped one passes with the same models, keys and number of draws. The faults in verification sit
 * in a chooser of this file, which without a fault decides exactly as law_verify; the others in
 * toy.h. One fault shows in no statistics, u at the wrong end of its interval or a test that is not
 * strict: test_chooser.c counts it out.
 *
 * links: specd_cpu
 */
#include "exact/stats.h"
#include "exact/suite.h"
#include "exact/toy_law.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BINS_MAX 1300

/* ---- a chooser with faults ------------------------------------------------------------------- */

struct mass {
    double b;
};

struct chooser {
    const struct verify_input *in;
    enum fault fault;
};

#include "specd/verify.h"

static double coin(const struct chooser *c, int k)
{
    return noise_coin(c->in->seed, NOISE_ACCEPT, c->in->len + k, c->in->round) * 0x1p-32;
}

SPECD_HD struct mass mass_one(void)
{
    return (struct mass){1};
}

SPECD_HD int32_t chooser_drafted(const struct chooser *c, int k)
{
    return c->in->drafted[k];
}

SPECD_HD int32_t chooser_target(struct chooser *c, int k)
{
    struct noise n = noise_target(c->in->seed, c->in->len + k);

    return law_draw(&c->in->q[k], &n);
}

SPECD_HD int32_t chooser_residual(struct chooser *c, int k, struct mass b)
{
    struct noise n = noise_target(c->in->seed, c->in->len + k);
    bool fallback;

    if (c->fault == FAULT_RESIDUAL_IS_TARGET)
        return law_draw(&c->in->q[k], &n);
    return law_draw_residual(&c->in->q[k], &c->in->p[k], b.b, &n, &fallback);
}

SPECD_HD bool chooser_accept(struct chooser *c, int k)
{
    double p = law_prob(&c->in->p[k], c->in->drafted[k]);
    double q = law_prob(&c->in->q[k], c->in->drafted[k]);

    return c->fault == FAULT_ACCEPT_ALWAYS || coin(c, k) * p < q;
}

SPECD_HD struct mass chooser_extend(struct chooser *c, int k, struct mass b)
{
    double p = law_prob(&c->in->p[k], c->in->drafted[k]);
    double q = law_prob(&c->in->q[k], c->in->drafted[k]);

    return (struct mass){b.b * q < p ? b.b * q / p : 1};
}

SPECD_HD bool chooser_keep_last(struct chooser *c, int k, struct mass b)
{
    return coin(c, k) < b.b;
}

SPECD_HD bool chooser_keep(struct chooser *c, int k, struct mass b)
{
    double a = law_residual_mass(&c->in->q[k + 1], &c->in->p[k + 1], b.b);

    return (a == 0 && b.b == 1) || coin(c, k) * (a + (1 - b.b)) < a;
}

static void verify_here(const struct verify_input *in, struct seq_result *out, enum fault fault)
{
    struct chooser c = {in, fault};
    int32_t last = -1;
    int n = in->mode == VERIFY_BLOCK     ? verify_block(&c, in->k, &last)
            : in->mode == VERIFY_COUPLED ? verify_coupled(&c, in->k, &last)
                                         : verify_ratio(&c, in->k, &last);

    memset(out, 0, sizeof(*out));
    memcpy(out->tokens, in->drafted, (size_t)n * sizeof(out->tokens[0]));
    out->tokens[n] = last;
    out->n_accepted = n;
    out->n_tokens = n + 1;
}

static void verify_accept_always(const struct verify_input *in, struct seq_result *out)
{
    verify_here(in, out, FAULT_ACCEPT_ALWAYS);
}

static void verify_residual_is_target(const struct verify_input *in, struct seq_result *out)
{
    verify_here(in, out, FAULT_RESIDUAL_IS_TARGET);
}

static void verify_both(const struct verify_input *in, struct seq_result *out)
{
    struct seq_result here;

    verify_here(in, &here, FAULT_NONE);
    law_verify(in, out);
    assert_int_equal(out->n_accepted, here.n_accepted);
    assert_memory_equal(out->tokens, here.tokens, (size_t)here.n_tokens * sizeof(here.tokens[0]));
}

/* ---- the controls ---------------------------------------------------------------------------- */

#define PLAIN                                         \
    {                                                 \
        .temperature = 1, .top_p = 1, .repetition = 1 \
    }
#define SHARP                                            \
    {                                                    \
        .temperature = 0.6f, .top_p = 1, .repetition = 1 \
    }
#define PENALTIES                                                                          \
    {                                                                                      \
        .temperature = 1, .top_p = 1, .presence = 1, .frequency = 0.5f, .repetition = 1.4f \
    }

static const uint32_t two_ids = 1u << 1 | 1u << 3;

#define FOUR_IDS .n_vocab = 4, .closeness = 0.6f, .sharpness = 2, .n_tokens = 3, .model = 5
#define ALIKE(law) .params = {.target = law, .draft = law}
#define DRAFTS_TWO .params = {.target = PLAIN, .draft = PLAIN, .draft_ids = &two_ids}

/* The model, K and number of draws of each, sound and with the fault. */
static const struct control {
    struct toy toy;
    uint64_t n;
} controls[] = {
    {{.name = "accept always",
      FOUR_IDS,
      ALIKE(PLAIN),
      .k = 3,
      .fault = FAULT_ACCEPT_ALWAYS,
      .verify = verify_accept_always},
     20000},
    {{.name = "residual = q",
      FOUR_IDS,
      ALIKE(PLAIN),
      .k = 3,
      .fault = FAULT_RESIDUAL_IS_TARGET,
      .verify = verify_residual_is_target},
     20000},
    {{.name = "residual = q, block",
      FOUR_IDS,
      ALIKE(PLAIN),
      .mode = VERIFY_BLOCK,
      .k = 3,
      .fault = FAULT_RESIDUAL_IS_TARGET,
      .verify = verify_residual_is_target},
     20000},
    {{.name = "bonus unwarped",
      FOUR_IDS,
      ALIKE(SHARP),
      .k = 2,
      .fault = FAULT_BONUS_UNWARPED,
      .verify = law_verify},
     20000},
    {{.name = "shared streams",
      FOUR_IDS,
      ALIKE(PLAIN),
      .k = 3,
      .fault = FAULT_SHARED_STREAMS,
      .verify = law_verify},
     40000},
    {{.name = "K by the drafted token",
      FOUR_IDS,
      ALIKE(PLAIN),
      .k = 3,
      .fault = FAULT_K_BY_OWN_TOKEN,
      .verify = law_verify},
     20000},
    {{.name = "penalties lag",
      FOUR_IDS,
      ALIKE(PENALTIES),
      .k = 3,
      .fault = FAULT_PENALTIES_LAG,
      .verify = law_verify},
     20000},
    {{.name = "p from rounded logits",
      FOUR_IDS,
      ALIKE(PLAIN),
      .k = 3,
      .fault = FAULT_DRAFT_ROUNDED,
      .verify = law_verify},
     100000},
    {{.name = "p over ids that are not drafted",
      FOUR_IDS,
      DRAFTS_TWO,
      .k = 3,
      .fault = FAULT_DRAFT_OVER_ALL,
      .verify = law_verify},
     20000},
    {{.name = "the same, block",
      FOUR_IDS,
      DRAFTS_TWO,
      .mode = VERIFY_BLOCK,
      .k = 3,
      .fault = FAULT_DRAFT_OVER_ALL,
      .verify = law_verify},
     20000},
    {{.name = "p over another's ids",
      FOUR_IDS,
      DRAFTS_TWO,
      .k = 3,
      .fault = FAULT_DRAFT_OTHERS,
      .verify = law_verify},
     20000},
    {{.name = "block without the round number",
      .n_vocab = 3,
      .closeness = 0.5f,
      .sharpness = 2,
      ALIKE(PLAIN),
      .mode = VERIFY_BLOCK,
      .k = 4,
      .n_tokens = 4,
      .model = 5,
      .fault = FAULT_NO_ROUND,
      .verify = law_verify},
     100000},
    {{.name = "no round number, K by what was rejected",
      .n_vocab = 3,
      .closeness = 0.4f,
      .sharpness = 3,
      ALIKE(PLAIN),
      .schedule = K_BY_REJECTED,
      .k = 4,
      .n_tokens = 4,
      .model = 2,
      .fault = FAULT_NO_ROUND,
      .verify = law_verify},
     50000},
};

/* What looks like the last two and is none: token by token, nothing looks past the first rejection,
 * so while K does not either, old numbers there are as good as new. */
static const struct control harmless = {{.name = "ratio without the round number, K fixed",
                                         .n_vocab = 3,
                                         .closeness = 0.5f,
                                         .sharpness = 2,
                                         ALIKE(PLAIN),
                                         .k = 4,
                                         .n_tokens = 4,
                                         .model = 5,
                                         .fault = FAULT_NO_ROUND,
                                         .verify = law_verify},
                                        100000};

static struct fit run_toy(const struct toy *t, uint64_t n)
{
    static uint64_t count[BINS_MAX];
    static double law[BINS_MAX];
    struct toy_totals totals = {0};

    ASSERT(toy_bins(t) <= BINS_MAX);
    toy_run(t, 0, n, count, law, &totals);
    return fit_law(count, law, toy_bins(t), n);
}

/* Valid until the next call. */
static const char *tiny(double p)
{
    static char text[32];

    snprintf(text, sizeof(text), p < 1e-300 ? "<1e-300" : "%.0e", p);
    return text;
}

static void test_controls_caught(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(controls); i++) {
        struct toy sound = controls[i].toy;
        struct fit wrong, right;

        sound.k = MIN(sound.k, TOY_K_MAX);
        wrong = run_toy(&sound, controls[i].n);
        sound.fault = FAULT_NONE;
        sound.verify = verify_both;
        right = run_toy(&sound, controls[i].n);
        report("controls",
               "fault=%s chi2=%.0f G=%.0f df=%.0f p=%s tv=%.4f sound_chi2=%.1f sound_p=%.3f "
               "sound_tv=%.4f",
               report_word(sound.name), wrong.chi2, wrong.g, wrong.df, tiny(wrong.p), wrong.tv,
               right.chi2, right.p, right.tv);
        assert_true(wrong.p < 1e-9 && wrong.p_g < 1e-9);
        assert_true(right.p > 1e-6 && right.p_g > 1e-6);
    }
}

static void test_harmless(void **state)
{
    struct fit f = run_toy(&harmless.toy, harmless.n);

    (void)state;
    print_message("%s: chi2 %.1f df %.0f p %.3f\n", harmless.toy.name, f.chi2, f.df, f.p);
    assert_true(f.p > 1e-6 && f.p_g > 1e-6);
}

/* The tail itself, at values from tables. */
static void test_chi2_tail(void **state)
{
    (void)state;
    assert_true(fabs(chi2_tail(3.841459, 1) - 0.05) < 1e-6);
    assert_true(fabs(chi2_tail(18.307038, 10) - 0.05) < 1e-6);
    assert_true(fabs(chi2_tail(149.449253, 100) - 0.001) < 1e-6);
    assert_true(fabs(chi2_tail(82.358135, 100) - 0.9) < 1e-6);
    assert_true(chi2_tail(400, 100) < 1e-30 && chi2_tail(0, 5) == 1);
}

/* Both statistics, the merging of rare bins and the impossible, by hand. */
static void test_fit(void **state)
{
    static const double law[] = {0.5, 0.25, 0.25}, rare[] = {0.9, 0.06, 0.03, 0.01};
    static const uint64_t even[] = {50, 25, 25}, off[] = {60, 20, 20}, few[] = {88, 7, 4, 1};
    static const double zero[] = {1, 0};
    static const uint64_t one[] = {99, 1};
    struct fit f = fit_law(even, law, 3, 100);

    (void)state;
    assert_true(f.chi2 == 0 && f.g == 0 && f.df == 2 && f.p == 1 && f.tv == 0);
    f = fit_law(off, law, 3, 100);
    assert_true(fabs(f.chi2 - 4) < 1e-12 && fabs(f.tv - 0.1) < 1e-12);
    assert_true(fabs(f.g - 2 * (60 * log(1.2) + 40 * log(0.8))) < 1e-12);
    f = fit_law(few, rare, 4, 100); /* 3 and 1 are too few: one bin with 6 */
    assert_true(f.df == 1 && fabs(f.chi2 - (4.0 / 90 + 4.0 / 10)) < 1e-12);
    assert_true(fit_law(one, zero, 2, 100).p == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chi2_tail),
        cmocka_unit_test(test_fit),
        cmocka_unit_test(test_controls_caught),
        cmocka_unit_test(test_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
