/*
 * Masks by row: what a grammar says may follow each drafted token.
 *
 * links: device_tests specd_cpu
 * labels: thread hostile
 */
#include "device/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VOCAB PAIR_VOCAB
#define WORDS ((VOCAB - 1) / 32 + 1)
#define PROMPT PAIR_PROMPT_LEN
#define LIMIT 70
#define K MIN(3, SPECD_K_MAX)
#define COLOURS 3

static uint64_t seed = 5;

static struct rig *rig_make(const struct model_pair *f, const struct sample_params *params)
{
    struct device_setup setup = rig_setup(f->target, NULL);
    setup.n_ctx = 96;
    setup.k_max = K;
    struct rig *r = rig_new(&setup, 5);
    rig_slot(r, 1, params, f->prompts[0], PROMPT, LIMIT);
    rig_prefill(r, 1, MODEL_TARGET, 0, PROMPT - 1, PROMPT);
    return r;
}

static struct sample_params params_of(enum verify_mode mode, float temperature)
{
    struct sample_params p = rig_params();
    p.target.temperature = p.draft.temperature = temperature;
    p.mode = mode;
    return p;
}

static void colour_mask(uint32_t *mask, int colour)
{
    memset(mask, 0, WORDS * sizeof(*mask));
    for (int32_t id = 0; id < VOCAB; id++) {
        if (id % COLOURS == colour)
            mask[id / 32] |= 1u << id % 32;
    }
}

/* A round whose drafts are at random; row i may have the colour of its position. */
static const struct seq_result *coloured_round(struct rig *r, int32_t len, int32_t k)
{
    uint32_t masks[(SPECD_K_MAX + 1) * WORDS];
    rig_clear(r);
    struct round_seq *s = rig_seq(r, 1, k);
    s->source = DRAFT_FROM_HOST;
    s->masks = masks;
    for (int32_t i = 0; i <= k; i++)
        colour_mask(masks + i * WORDS, (len + i) % COLOURS);
    for (int32_t i = 0; i < k; i++) {
        int32_t id = (int32_t)(random_next(&seed) % VOCAB);
        s->host_draft[i] = i % 2 ? id : id / COLOURS * COLOURS + (len + i) % COLOURS;
        s->host_draft[i] = MIN(s->host_draft[i], VOCAB - 1);
    }
    rig_submit(r);
    memset(masks, 0xff, sizeof(masks)); /* begin has its own */
    rig_wait(r);
    return &r->result.seqs[0];
}

/* Returns how many random drafts were accepted. */
static int32_t check_colours(const struct model_pair *f, enum verify_mode mode, float temperature)
{
    struct sample_params p = params_of(mode, temperature);
    struct rig *r = rig_make(f, &p);
    int32_t len = PROMPT, accepted = 0;
    while (len < LIMIT) {
        const struct seq_result *out = coloured_round(r, len, (len + 1) % (K + 1));
        for (int32_t i = 0; i < out->n_tokens; i++)
            assert_int_equal(out->tokens[i] % COLOURS, (len + i) % COLOURS);
        accepted += out->n_accepted;
        len = out->len;
    }
    rig_free(r);
    return accepted;
}

static void test_each_row_has_its_own(void **state)
{
    static const enum verify_mode modes[] = {VERIFY_RATIO, VERIFY_BLOCK, VERIFY_COUPLED};
    int32_t accepted = 0;
    for (size_t i = 0; i < 2 * COUNT_OF(modes); i++)
        accepted += check_colours(*state, modes[i % COUNT_OF(modes)], 1.5f);
    assert_true(accepted > 0);
    check_colours(*state, VERIFY_RATIO, 0.0f);
}

/* One mask for all rows is what allowed_token_ids says, and beside it narrows further. */
static void test_same_as_allowed(void **state)
{
    uint32_t mask[WORDS], masks[(SPECD_K_MAX + 1) * WORDS];
    int32_t texts[2][LIMIT], lens[2];
    colour_mask(mask, 1);
    for (int i = 0; i <= K; i++)
        memcpy(masks + i * WORDS, mask, sizeof(mask));
    for (int by_row = 0; by_row < 2; by_row++) {
        struct sample_params p = params_of(VERIFY_COUPLED, 1.0f);
        p.allowed = by_row ? NULL : mask;
        struct rig *r = rig_make(*state, &p);
        lens[by_row] = PROMPT;
        while (lens[by_row] < LIMIT) {
            rig_clear(r);
            rig_seq(r, 1, 0)->masks = by_row ? masks : NULL;
            rig_run(r);
            texts[by_row][lens[by_row]] = r->result.seqs[0].tokens[0];
            lens[by_row] = r->result.seqs[0].len;
        }
        rig_free(r);
    }
    assert_int_equal(lens[0], lens[1]);
    assert_memory_equal(texts[0] + PROMPT, texts[1] + PROMPT,
                        (size_t)(lens[0] - PROMPT) * sizeof(int32_t));
}

static void test_not_with_a_draft_model(void **state)
{
    const struct model_pair *f = *state;
    struct device_setup setup = rig_setup(f->target, f->draft);
    struct sample_params p = rig_params();
    uint32_t masks[(SPECD_K_MAX + 1) * WORDS];
    struct rig *r = rig_new(&setup, 5);
    memset(masks, 0xff, sizeof(masks));
    rig_slot(r, 1, &p, f->prompts[0], PROMPT, LIMIT);
    rig_prefill(r, 1, MODEL_TARGET, 0, PROMPT - 1, PROMPT);
    rig_prefill(r, 1, MODEL_DRAFT, 0, PROMPT - 1, PROMPT);
    rig_clear(r);
    struct round_seq *s = rig_seq(r, 1, 1);
    s->masks = masks;
    assert_int_equal(r->ops->begin(r->dev, &r->round), SPECD_EINVAL);
    s->k = 0;
    rig_run(r);
    assert_int_equal(r->result.seqs[0].n_tokens, 1);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_row_has_its_own),
        cmocka_unit_test(test_same_as_allowed),
        cmocka_unit_test(test_not_with_a_draft_model),
    };
    return cmocka_run_group_tests(tests, pair_setup, pair_teardown);
}
