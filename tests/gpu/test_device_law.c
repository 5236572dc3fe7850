/*
 * Sampled text of a whole device against the law that the device itself reports: with a vocabulary
 * of 20, the 20 alternatives of a token's log-probability are all of its law. Over many seeds, the
 * first three tokens must be spread as these laws say, with drafts and without, in every mode.
 *
 * One test of fit for each text before a token, summed over texts. What the laws should be is the
 * business of other tests.
 */
#include "device/rig.h"
#include "exact/stats.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define V SPECD_LOGPROBS_MAX
#define SLOTS 32
#define PROMPT 9
#define TOKENS 3              /* of each text that are looked at */
#define TEXTS (1 + V + V * V) /* that can stand before one of them */
#define BATCHES 250           /* of SLOTS texts */
#define P_LEAST 1e-6

struct counts {
    uint64_t n[V], all;
    double law[V];
};

static int32_t text_index(const int32_t *tokens, int32_t n)
{
    return n == 0 ? 0 : n == 1 ? 1 + tokens[0] : 1 + V + tokens[0] * V + tokens[1];
}

static void count(struct counts *of, const struct seq_result *s, int32_t *tokens, int32_t *n)
{
    for (int32_t i = 0; i < s->n_tokens && *n < TOKENS; i++) {
        struct counts *c = &of[text_index(tokens, *n)];
        for (int32_t j = 0; j < V; j++)
            c->law[s->top[i * V + j].id] = exp((double)s->top[i * V + j].logprob);
        c->n[s->tokens[i]]++;
        c->all++;
        tokens[(*n)++] = s->tokens[i];
    }
}

/* Sums to 1: the rounding of twenty floats is not what is tested. */
static void law_scale(double law[V])
{
    double sum = 0;
    for (int i = 0; i < V; i++)
        sum += law[i];
    assert_float_equal(sum, 1.0, 1e-5);
    for (int i = 0; i < V; i++)
        law[i] /= sum;
}

static void check_counts(struct counts *of, struct rig *r, enum verify_mode mode, int k)
{
    static const char *const modes[] = {"ratio", "block", "coupled"};
    double chi2 = 0, df = 0;
    uint64_t n = 0;
    for (int i = 0; i < TEXTS; i++) {
        if (of[i].all < 40)
            continue;
        law_scale(of[i].law);
        struct fit f = fit_law(of[i].n, of[i].law, V, of[i].all);
        assert_int_equal(f.impossible, 0);
        chi2 += f.chi2, df += f.df, n += of[i].all;
    }
    printf("RESULT device_law device=%s mode=%s K=%d tokens=%llu df=%.0f p=%.3g\n", r->ops->name,
           modes[mode], k, (unsigned long long)n, df, chi2_tail(chi2, df));
    assert_true(df >= 80);
    assert_true(chi2_tail(chi2, df) > P_LEAST);
}

static void slots_start(struct rig *r, const int32_t *prompt, enum verify_mode mode, uint64_t seed,
                        int32_t rows)
{
    for (int32_t i = 0; i < SLOTS; i++) {
        struct slot_config c = {.params = rig_params(),
                                .tokens = prompt,
                                .n_tokens = PROMPT,
                                .n_prompt = PROMPT,
                                .limit = 64,
                                .rows = {rows, rows}};
        c.params.target.temperature = c.params.draft.temperature = 1.0f;
        c.params.mode = mode;
        c.params.seed = seed * SLOTS + (uint64_t)i;
        c.params.n_logprobs = V;
        assert_int_equal(r->ops->slot_set(r->dev, i, &c), 0);
    }
}

static void check_mode(struct rig *r, const int32_t *prompt, enum verify_mode mode, int k)
{
    struct counts *of = xcalloc(TEXTS, sizeof(*of));
    for (uint64_t batch = 1; batch <= BATCHES; batch++) {
        int32_t tokens[SLOTS][TOKENS], n[SLOTS] = {0};
        slots_start(r, prompt, mode, batch, PROMPT - 1);
        for (int round = 0; round < TOKENS; round++) { /* each gives one at least */
            rig_clear(r);
            for (int32_t i = 0; i < SLOTS; i++)
                rig_seq(r, i, k);
            rig_run(r);
            for (int32_t i = 0; i < SLOTS; i++)
                count(of, &r->result.seqs[i], tokens[i], &n[i]);
        }
    }
    check_counts(of, r, mode, k);
    free(of);
}

static void test_laws(void **state)
{
    static const enum verify_mode modes[] = {VERIFY_RATIO, VERIFY_BLOCK, VERIFY_COUPLED};
    static const int32_t prompt[PROMPT] = {3, 1, 4, 1, 5, 9, 2, 6, 5};
    struct model_shape shape = pair_shape;
    (void)state;
    shape.n_vocab = V;
    struct model *target = model_random(&shape);
    shape.n_layers = 1;
    struct model *draft = model_random(&shape);
    struct device_setup setup = rig_setup(target, draft);
    setup.n_slots = SLOTS;
    setup.n_ctx = 64;
    struct rig *r = rig_new(&setup, 8);
    struct sample_params params = rig_params();
    for (int32_t i = 0; i < SLOTS; i++) {
        rig_slot(r, i, &params, prompt, PROMPT, 64);
        rig_prefill(r, i, MODEL_TARGET, 0, PROMPT - 1, PROMPT);
        rig_prefill(r, i, MODEL_DRAFT, 0, PROMPT - 1, PROMPT);
    }
    check_mode(r, prompt, VERIFY_RATIO, 0);
    for (size_t i = 0; i < COUNT_OF(modes); i++)
        check_mode(r, prompt, modes[i], 3);
    rig_free(r);
    model_random_free(target);
    model_random_free(draft);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_laws)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
