/*
 * joint.h - the law of whole sequences, as production draws them, for one mode of verification.
 *
 * Toy models of four tokens, real keys, several rounds. For each K from 1 to 8, each way in which K
 * may follow the rounds before it and each set of parameters, the joint law of the first 5 tokens,
 * which take more than two rounds on average, is compared with the target's by chi-squared and G.
 * The seeds are fixed: a sound sampler would fail one of these comparisons with probability 1e-6
 * each, once and for all. The full run draws 10^6 tokens of each law, the quick one a few laws of
 * each set and fewer tokens (suite_draws).
 */
#ifndef SPECD_TEST_JOINT_H
#define SPECD_TEST_JOINT_H

#include "exact/stats.h"
#include "exact/suite.h"
#include "exact/toy_law.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define JOINT_TOKENS 5
#define JOINT_BINS 1024
#define JOINT_LAWS_MAX 256

static const char *const mode_names[] = {"ratio", "block", "coupled"};
static const char *const schedule_names[] = {"fixed", "by round", "by accepted", "by overlap",
                                             "by rejected"};

static const int32_t bias_ids[2] = {1, 3};
static const float bias_values[2] = {1.5f, -INFINITY}, bias_soft[2] = {0.7f, -0.4f};
static const uint32_t allowed_ids = 1u << 0 | 1u << 2 | 1u << 3;
static const uint32_t two_ids = 1u << 0 | 1u << 2, other_ids = 1u << 1 | 1u << 2;

#define PLAIN                                         \
    {                                                 \
        .temperature = 1, .top_p = 1, .repetition = 1 \
    }
#define AT(t)                                           \
    {                                                   \
        .temperature = (t), .top_p = 1, .repetition = 1 \
    }
#define PENALTIES                                                                             \
    {                                                                                         \
        .temperature = 1, .top_p = 1, .presence = 0.6f, .frequency = 0.4f, .repetition = 1.3f \
    }
#define EVERYTHING                                                                         \
    {                                                                                      \
        .temperature = 0.8f, .top_k = 3, .top_p = 0.95f, .min_p = 0.02f, .presence = 0.3f, \
        .frequency = -0.2f, .repetition = 1.2f                                             \
    }

/* Draft parameters differ from the target's where both are given. */
static const struct params_case {
    const char *name;
    struct sample_params params;
    bool few_k; /* K = 2, 4 and 8 are enough */
} params_cases[] = {
    {.name = "T 1", .params = {.target = PLAIN, .draft = PLAIN}},
    {.name = "T 0.3", .params = {.target = AT(0.3f), .draft = AT(0.3f)}},
    {.name = "T 1.5", .params = {.target = AT(1.5f), .draft = AT(1.5f)}},
    {.name = "T 1.5, draft 0.7", .params = {.target = AT(1.5f), .draft = AT(0.7f)}},
    {.name = "T 0, draft 1", .params = {.target = AT(0), .draft = PLAIN}, .few_k = true},
    {.name = "T 1, draft 0", .params = {.target = PLAIN, .draft = AT(0)}, .few_k = true},
    {.name = "top-k 3, draft plain",
     .params = {.target = {.temperature = 1, .top_k = 3, .top_p = 1, .repetition = 1},
                .draft = PLAIN}},
    {.name = "top-p 0.8, draft plain",
     .params = {.target = {.temperature = 1, .top_p = 0.8f, .repetition = 1}, .draft = PLAIN}},
    {.name = "min-p 0.2, draft 0.05",
     .params = {.target = {.temperature = 1, .top_p = 1, .min_p = 0.2f, .repetition = 1},
                .draft = {.temperature = 1, .top_p = 1, .min_p = 0.05f, .repetition = 1}}},
    {.name = "penalties", .params = {.target = PENALTIES, .draft = PENALTIES}},
    {.name = "penalties, draft plain",
     .params = {.target = PENALTIES, .draft = PLAIN},
     .few_k = true},
    {.name = "bias and ban",
     .params =
         {.target = PLAIN, .draft = PLAIN, .n_bias = 2, .bias_ids = bias_ids, .bias = bias_values}},
    {.name = "min tokens",
     .params = {.target = PLAIN, .draft = PLAIN, .ends = {{2, 3}, {0, 2}}, .n_ends = 2},
     .few_k = true},
    {.name = "allowed ids",
     .params = {.target = PLAIN, .draft = PLAIN, .allowed = &allowed_ids},
     .few_k = true},
    {.name = "everything at once",
     .params = {.target = EVERYTHING,
                .draft = {.temperature = 0.8f, .top_p = 0.9f, .presence = 0.3f, .repetition = 1.2f},
                .n_bias = 2,
                .bias_ids = bias_ids,
                .bias = bias_soft,
                .ends = {{0, 2}},
                .n_ends = 1},
     .few_k = true},
    {.name = "draft of two ids",
     .params = {.target = PLAIN, .draft = PLAIN, .draft_ids = &two_ids}},
    {.name = "draft without ids at times", /* 1 never may come, 2 not before position 3 */
     .params = {.target = PLAIN,
                .draft = AT(0.7f),
                .allowed = &allowed_ids,
                .draft_ids = &other_ids,
                .ends = {{2, 3}},
                .n_ends = 1},
     .few_k = true},
};

/* Of all laws of one program. */
struct joint_sums {
    uint64_t tokens;
    int n;
    double p[2 * JOINT_LAWS_MAX];
    int n_p;
};

/* Of the laws of one set of parameters. */
struct joint_row {
    int n;
    uint64_t tokens;
    double p, p_g, tv, tv_noise; /* the least p, the largest TV beside what chance makes of it */
};

static void joint_check(const struct toy *t, struct joint_row *row, struct joint_sums *sums)
{
    static uint64_t count[JOINT_BINS];
    static double law[JOINT_BINS];
    uint64_t n = suite_draws(200000, 10000);
    struct toy_totals totals = {0};
    struct fit f;

    ASSERT(toy_bins(t) <= JOINT_BINS && sums->n < JOINT_LAWS_MAX);
    toy_run(t, (uint64_t)sums->n << 32, n, count, law, &totals);
    f = fit_law(count, law, toy_bins(t), n);
    print_message("%s K %d %-11s %-25s %.2f rounds  chi2 %6.1f G %6.1f df %3.0f p %.4f %.4f  "
                  "TV %.4f (chance %.4f)\n",
                  mode_names[t->mode], t->k, schedule_names[t->schedule], t->name,
                  (double)totals.rounds / (double)n, f.chi2, f.g, f.df, f.p, f.p_g, f.tv,
                  f.tv_noise);
    assert_true(f.p > 1e-6 && f.p_g > 1e-6);
    assert_true(totals.rounds >= 2 * n);
    sums->tokens += n * (uint64_t)t->n_tokens;
    sums->n++;
    if (f.df > 0)
        sums->p[sums->n_p++] = f.p;
    if (row->n == 0 || f.tv * row->tv_noise > row->tv * f.tv_noise) {
        row->tv = f.tv;
        row->tv_noise = f.tv_noise;
    }
    row->p = row->n == 0 ? f.p : fmin(row->p, f.p);
    row->p_g = row->n == 0 ? f.p_g : fmin(row->p_g, f.p_g);
    row->tokens += n * (uint64_t)t->n_tokens;
    row->n++;
}

static int compare_doubles(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* The p values of many sound tests are spread evenly: Kolmogorov's distance from that, times the
 * square root of their number. Beyond 2.7 with probability 1e-6. */
static double joint_spread(struct joint_sums *sums)
{
    double d = 0;

    qsort(sums->p, (size_t)sums->n_p, sizeof(sums->p[0]), compare_doubles);
    for (int i = 0; i < sums->n_p; i++)
        d = fmax(d, fmax((i + 1.0) / sums->n_p - sums->p[i], sums->p[i] - (double)i / sums->n_p));
    return d * sqrt(sums->n_p);
}

static bool joint_includes(enum verify_mode mode, size_t c, size_t i)
{
    if (!suite_full())
        return (i + c) % 3 == (size_t)mode;
    return !params_cases[c].few_k || i == 1 || i == 3 || i >= 7;
}

/* K fixed at 1 .. 8, then K that follows the rounds before in one of four ways. The quick set takes
 * every third. */
static void joint_case(enum verify_mode mode, size_t c, struct joint_sums *sums)
{
    struct joint_row row = {0};

    for (size_t i = 0; i < 8 + 1; i++) {
        struct toy t = {.name = params_cases[c].name,
                        .n_vocab = 4,
                        .closeness = 0.2f,
                        .sharpness = 2.5f,
                        .params = params_cases[c].params,
                        .mode = mode,
                        .k = MIN(i < 8 ? (int)i + 1 : 4, TOY_K_MAX),
                        .schedule = i < 8 ? K_FIXED : (enum schedule)(1 + (c + mode) % 4),
                        .n_tokens = JOINT_TOKENS,
                        .model = 5 + c,
                        .verify = law_verify};

        if (joint_includes(mode, c, i))
            joint_check(&t, &row, sums);
    }
    report("joint", "mode=%s params=%s laws=%d tokens=%llu p=%.5f p_g=%.5f tv=%.5f chance=%.5f",
           mode_names[mode], report_word(params_cases[c].name), row.n,
           (unsigned long long)row.tokens, row.p, row.p_g, row.tv, row.tv_noise);
}

static void joint_test(enum verify_mode mode)
{
    struct joint_sums sums = {0};
    double spread;

    for (size_t c = 0; c < COUNT_OF(params_cases); c++)
        joint_case(mode, c, &sums);
    spread = joint_spread(&sums);
    report("joint_sums", "mode=%s laws=%d tokens=%llu least_p=%.5f spread=%.2f", mode_names[mode],
           sums.n, (unsigned long long)sums.tokens, sums.p[0], spread);
    assert_true(spread < 2.7);
    assert_true(sums.tokens >= suite_draws(1000000, 1000000));
}

#endif
