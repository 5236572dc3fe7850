/*
 * Single rounds: the clamps on K, ends, limits, log-probabilities; and rounds and slots in trouble.
 *
 * links: device_tests specd_cpu
 * labels: thread hostile
 */
#include "device/rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VOCAB PAIR_VOCAB
#define PROMPT PAIR_PROMPT_LEN
#define LIMIT 80
#define SLOTS PAIR_PROMPTS
#define LAYERS PAIR_LAYERS

static const uint32_t all_layers[LAYERS] = {0, 1, 2}, some_layers[] = {0, 2};

static struct device_setup setup_of(const struct model_pair *f, bool draft_model,
                                    const uint32_t *layers, uint32_t n_layers)
{
    struct device_setup s = rig_setup(f->target, draft_model ? f->draft : NULL);
    s.self_layers = layers;
    s.n_self_layers = n_layers;
    s.n_ctx = 96;
    s.threads = 2;
    return s;
}

/* ---- single rounds --------------------------------------------------------------------------- */

static struct rig *rig_of_prompt(const struct model_pair *f, const struct device_setup *setup,
                                 const struct sample_params *params, int32_t limit)
{
    struct rig *r = rig_new(setup, 5);
    rig_slot(r, 0, params, f->prompts[0], PROMPT, limit);
    rig_prefill(r, 0, MODEL_TARGET, 0, PROMPT - 1, PROMPT);
    rig_clear(r);
    return r;
}

static const struct seq_result *run_one(struct rig *r, int32_t k)
{
    rig_seq(r, 0, k);
    rig_run(r);
    rig_clear(r);
    return &r->result.seqs[0];
}

static void test_lag(void **state)
{
    struct device_setup setup = setup_of(*state, true, NULL, 0);
    struct sample_params params = rig_params();
    struct rig *r = rig_of_prompt(*state, &setup, &params, LIMIT);
    assert_int_equal(run_one(r, 3)->n_drafted, 0); /* nothing of the draft is there */
    assert_int_equal(r->result.seqs[0].rows[MODEL_DRAFT], 0);
    rig_chunk(r, 0, MODEL_DRAFT, 0, PROMPT - 2);
    run_one(r, 0);
    assert_int_equal(r->result.seqs[0].rows[MODEL_DRAFT], PROMPT - 2);
    assert_int_equal(run_one(r, 3)->n_drafted, 0); /* 4 rows behind */
    rig_chunk(r, 0, MODEL_DRAFT, PROMPT - 2,
              r->result.seqs[0].len - SPECD_DRAFT_LAG_MAX - PROMPT + 2);
    assert_int_equal(run_one(r, 3)->n_drafted, 3); /* as far behind as allowed */
    rig_free(r);
}

static void test_limits(void **state)
{
    struct device_setup setup = setup_of(*state, false, all_layers, LAYERS);
    struct sample_params params = rig_params();
    setup.k_max = 2;
    struct rig *r = rig_of_prompt(*state, &setup, &params, PROMPT + 5);
    rig_prefill(r, 0, MODEL_DRAFT, 0, PROMPT - 1, PROMPT);
    rig_clear(r);
    assert_int_equal(run_one(r, 3)->n_drafted, 2); /* k_max */
    assert_int_equal(r->result.seqs[0].len, PROMPT + 3);
    assert_int_equal(run_one(r, 2)->n_drafted, 1); /* two tokens of room, one is the target's */
    assert_int_equal(r->result.seqs[0].len, PROMPT + 5);
    rig_seq(r, 0, 0);
    assert_int_equal(r->ops->begin(r->dev, &r->round), SPECD_EINVAL);
    rig_free(r);

    setup.k_max = 3;
    setup.k_draft = 1;
    r = rig_of_prompt(*state, &setup, &params, PROMPT + 9);
    rig_prefill(r, 0, MODEL_DRAFT, 0, PROMPT - 1, PROMPT);
    rig_clear(r);
    assert_int_equal(run_one(r, 3)->n_drafted, 1); /* k_draft: of the model's */
    rig_free(r);
}

static void test_host_drafts_that_are_no_ids(void **state)
{
    struct device_setup setup = setup_of(*state, false, NULL, 0);
    struct sample_params params = rig_params();
    struct rig *r = rig_of_prompt(*state, &setup, &params, LIMIT);
    struct round_seq *seq = rig_seq(r, 0, 3);
    seq->source = DRAFT_FROM_HOST;
    seq->host_draft[1] = VOCAB;
    rig_run(r);
    assert_int_equal(r->result.seqs[0].n_drafted, 1);
    rig_clear(r);
    seq = rig_seq(r, 0, 3);
    seq->source = DRAFT_FROM_HOST;
    seq->host_draft[0] = -1;
    rig_run(r);
    assert_int_equal(r->result.seqs[0].n_drafted, 0);
    assert_int_equal(r->result.seqs[0].n_tokens, 1);
    rig_free(r);
}

/* Greedy text with its n-th new token declared the end. */
static void test_end_of_generation(void **state)
{
    const struct model_pair *f = *state;
    struct device_setup setup = setup_of(f, false, all_layers, LAYERS);
    struct sample_params params = rig_params();
    struct rig *r = rig_of_prompt(f, &setup, &params, LIMIT);
    int32_t text[4];
    for (int i = 0; i < 4; i++)
        text[i] = run_one(r, 0)->tokens[0];
    rig_free(r);

    params.n_ends = 2;
    params.ends[0].id = VOCAB - 1;
    params.ends[1].id = text[1];
    int first = text[0] == text[1] ? 0 : 1;
    r = rig_of_prompt(f, &setup, &params, LIMIT);
    rig_prefill(r, 0, MODEL_DRAFT, 0, PROMPT - 1, PROMPT);
    rig_clear(r);
    const struct seq_result *out = run_one(r, 3);
    assert_int_equal(out->flags, SEQ_END);
    assert_int_equal(out->n_tokens, first + 1);
    assert_int_equal(out->tokens[first], text[1]);
    assert_int_equal(out->len, PROMPT + first + 1);
    assert_true(out->rows[MODEL_DRAFT] <= out->len - 1);
    rig_free(r);

    params.ends[1].from = PROMPT + 2; /* later: the same id has no mass before */
    r = rig_of_prompt(f, &setup, &params, LIMIT);
    assert_true(run_one(r, 0)->tokens[0] != text[1]);
    assert_true(run_one(r, 0)->tokens[0] != text[1]);
    rig_free(r);
}

static void test_logprobs(void **state)
{
    struct device_setup setup = setup_of(*state, false, all_layers, LAYERS);
    struct sample_params params = rig_params();
    params.n_logprobs = 5;
    struct rig *r = rig_of_prompt(*state, &setup, &params, LIMIT);
    rig_prefill(r, 0, MODEL_DRAFT, 0, PROMPT - 1, PROMPT);
    rig_clear(r);
    const struct seq_result *out = run_one(r, 2);
    assert_int_equal(out->n_tokens, 3);
    for (int i = 0; i < out->n_tokens; i++) {
        const struct token_logprob *top = out->top + 5 * i;
        assert_int_equal(out->own[i].id, out->tokens[i]);
        assert_int_equal(top[0].id, out->tokens[i]); /* greedy */
        assert_float_equal(top[0].logprob, out->own[i].logprob, 0.0f);
        for (int j = 1; j < 5; j++)
            assert_true(top[j].logprob <= top[j - 1].logprob && top[j].id != top[j - 1].id);
        assert_true(top[0].logprob < 0.0f && top[0].logprob > -5.0f);
    }
    rig_free(r);
}

/* A sampled text is a function of its seed, prompt and K, whichever slot it sits in. */
static void test_slot_does_not_matter(void **state)
{
    const struct model_pair *f = *state;
    struct device_setup setup = setup_of(f, false, some_layers, COUNT_OF(some_layers));
    struct sample_params p = rig_params();
    struct seq_result first[8];
    p.target.temperature = p.draft.temperature = 1.0f;
    p.n_ends = 10; /* ids whose mass depends on the position */
    for (int i = 0; i < p.n_ends; i++)
        p.ends[i] = (struct end_token){6 * i, PROMPT + 3};
    for (int32_t slot = 0; slot < 2; slot++) {
        struct rig *r = rig_new(&setup, (uint64_t)slot);
        rig_slot(r, slot, &p, f->prompts[0], PROMPT, LIMIT);
        for (int role = 0; role < MODEL_ROLES; role++)
            rig_prefill(r, slot, (enum model_role)role, 0, PROMPT - 1, PROMPT);
        for (size_t i = 0; i < COUNT_OF(first); i++) {
            rig_clear(r);
            rig_seq(r, slot, 3);
            rig_run(r);
            const struct seq_result *out = &r->result.seqs[0];
            if (slot == 0)
                first[i] = *out;
            assert_int_equal(out->n_tokens, first[i].n_tokens);
            assert_int_equal(out->n_accepted, first[i].n_accepted);
            assert_memory_equal(out->tokens, first[i].tokens,
                                (size_t)out->n_tokens * sizeof(int32_t));
            assert_memory_equal(out->overlap, first[i].overlap, sizeof(out->overlap));
        }
        rig_free(r);
    }
}

/* ---- trouble --------------------------------------------------------------------------------- */

/* A text with a token whose embedding is no number has NaN logits and commits nothing; the others'
 * texts are what they are without it. */
static void test_one_bad_slot(void **state)
{
    const struct model_pair *f = *state;
    enum { BAD = VOCAB, ROUNDS = 5 };
    struct model_shape shape = pair_shape;
    shape.untied = true;
    shape.n_vocab = VOCAB + 1;
    struct model *m = model_random(&shape);
    ((float *)m->embed.data)[BAD * shape.n_embd] = NAN;
    struct device_setup setup = rig_setup(m, NULL);
    setup.threads = 2;
    setup.self_layers = some_layers;
    setup.n_self_layers = COUNT_OF(some_layers);
    int32_t texts[2][LIMIT], bad_prompt[PROMPT], lens[2];
    memcpy(bad_prompt, f->prompts[1], sizeof(bad_prompt));
    bad_prompt[3] = BAD;
    for (int with = 0; with < 2; with++) {
        struct sample_params params = rig_params();
        params.target.temperature = params.draft.temperature = 1.0f;
        struct rig *r = rig_new(&setup, 1);
        rig_slot(r, 0, &params, f->prompts[0], PROMPT, LIMIT);
        rig_slot(r, 1, &params, bad_prompt, PROMPT, LIMIT);
        rig_prefill(r, 0, MODEL_TARGET, 0, PROMPT - 1, PROMPT);
        rig_prefill(r, 0, MODEL_DRAFT, 0, PROMPT - 1, PROMPT);
        rig_prefill(r, 1, MODEL_TARGET, 0, PROMPT - 1, PROMPT);
        rig_prefill(r, 1, MODEL_DRAFT, 0, PROMPT - 2, PROMPT);
        lens[with] = 0;
        for (int i = 0; i < ROUNDS; i++) {
            rig_clear(r);
            if (with)
                rig_seq(r, 1, 3);
            rig_seq(r, 0, 3);
            rig_run(r);
            const struct seq_result *out = &r->result.seqs[with];
            memcpy(texts[with] + lens[with], out->tokens, (size_t)out->n_tokens * sizeof(int32_t));
            lens[with] += out->n_tokens;
            assert_int_equal(out->flags & SEQ_NUMERIC, 0);
            out = &r->result.seqs[0];
            /* A device with two rounds in flight has stopped the slot after the first. */
            assert_true(!with || (i > 0 && !rig_is_cpu()) || out->flags == SEQ_NUMERIC);
            assert_true(!with || (out->n_tokens == 0 && out->len == PROMPT &&
                                  out->rows[MODEL_DRAFT] == PROMPT - 2));
        }
        rig_free(r);
    }
    assert_int_equal(lens[0], lens[1]);
    assert_memory_equal(texts[0], texts[1], (size_t)lens[0] * sizeof(int32_t));
    model_random_free(m);
}

static void test_rounds_that_do_not_fit(void **state)
{
    struct device_setup setup = setup_of(*state, true, NULL, 0);
    struct sample_params params = rig_params();
    struct rig *r = rig_of_prompt(*state, &setup, &params, LIMIT);
    const struct device_ops *ops = r->ops;
    struct round ok = r->round;

    rig_chunk(r, 0, MODEL_TARGET, 0, 1); /* computed already */
    assert_int_equal(ops->begin(r->dev, &r->round), SPECD_EINVAL);
    r->round = ok;
    rig_chunk(r, 0, MODEL_DRAFT, 0, PROMPT); /* the last token belongs to a verify pass */
    assert_int_equal(ops->begin(r->dev, &r->round), SPECD_EINVAL);
    r->round = ok;
    rig_seq(r, 1, 0); /* never set */
    assert_int_equal(ops->begin(r->dev, &r->round), SPECD_EINVAL);
    r->round = ok;
    rig_seq(r, 0, 0); /* twice */
    rig_seq(r, 0, 0);
    assert_int_equal(ops->begin(r->dev, &r->round), SPECD_EINVAL);
    r->round = ok;
    rig_seq(r, SLOTS, 0);
    assert_int_equal(ops->begin(r->dev, &r->round), SPECD_EINVAL);

    r->round = ok;
    rig_seq(r, 0, 0);
    assert_int_equal(ops->begin(r->dev, &r->round), 0);
    assert_int_equal(ops->draw(r->dev, 1), SPECD_EINVAL); /* no logits to draw from */
    assert_int_equal(ops->verify(r->dev), SPECD_EINVAL);
    assert_int_equal(ops->end(r->dev), SPECD_EINVAL); /* a sequence, and no verification */
    assert_int_equal(ops->collect(r->dev, &r->result), SPECD_EINVAL);
    assert_int_equal(ops->poll(r->dev), 0);
    rig_chunk(r, 0, MODEL_DRAFT, 0, 5);
    assert_int_equal(ops->begin(r->dev, &r->round), 0);
    assert_int_equal(ops->forward(r->dev, MODEL_TARGET, ROWS_VERIFY, 0), 0);
    assert_int_equal(ops->verify(r->dev), 0);
    assert_int_equal(ops->end(r->dev), SPECD_EINVAL); /* a chunk, and no pass for it */
    rig_run(r);                                       /* and all is well */
    assert_int_equal(r->result.seqs[0].n_tokens, 1);
    rig_free(r);
}

/* Slots may be set while a round runs, even the ones in it; it takes effect at the next begin. */
static void test_staging(void **state)
{
    const struct model_pair *f = *state;
    struct device_setup setup = setup_of(f, false, NULL, 0);
    struct sample_params params = rig_params();
    struct rig *r = rig_of_prompt(f, &setup, &params, LIMIT);
    int32_t first = run_one(r, 0)->tokens[0];
    rig_seq(r, 0, 0);
    rig_submit(r);
    rig_slot(r, 0, &params, f->prompts[0], PROMPT, LIMIT);
    rig_slot(r, 1, &params, f->prompts[0], PROMPT, LIMIT);
    rig_wait(r);
    assert_int_equal(r->result.seqs[0].len, PROMPT + 2); /* the old text's round */
    rig_prefill(r, 0, MODEL_TARGET, 0, PROMPT - 1, PROMPT);
    rig_clear(r);
    assert_int_equal(run_one(r, 0)->tokens[0], first);
    assert_int_equal(r->result.seqs[0].len, PROMPT + 1);
    rig_free(r);
}

/* Closing waits for the round in flight. */
static void test_close_in_flight(void **state)
{
    struct device_setup setup = setup_of(*state, false, NULL, 0);
    struct sample_params params = rig_params();
    struct rig *r = rig_of_prompt(*state, &setup, &params, LIMIT);
    rig_seq(r, 0, 0);
    rig_submit(r);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lag),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_host_drafts_that_are_no_ids),
        cmocka_unit_test(test_end_of_generation),
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_slot_does_not_matter),
        cmocka_unit_test(test_one_bad_slot),
        cmocka_unit_test(test_rounds_that_do_not_fit),
        cmocka_unit_test(test_staging),
        cmocka_unit_test(test_close_in_flight),
    };
    return cmocka_run_group_tests(tests, pair_setup, pair_teardown);
}
