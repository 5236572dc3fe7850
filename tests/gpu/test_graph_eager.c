/*
 * Captured graphs against the same kernels launched one by one, two rounds in flight against one,
 * and launches that overlap against launches that do not: the same tokens, lengths, flags, overlaps
 * and log-probabilities, bit for bit, in the rounds after a rejection too.
 *
 * Two devices get one script of random rounds: some of the slots, any K, drafts of the model or of
 * the host, every mode, all ids or some to draft. Blocks are handed out in another order to each,
 * which may change nothing.
 */
#include "device/rig.h"

#ifdef SPECD_CUDA_DEVICE
#include "../../cuda/overlap.h"
#endif

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SLOTS PAIR_PROMPTS
#define LIMIT 200
#define ROUNDS 80 /* or $SPECD_TEST_ROUNDS */
#define LOGPROBS 3

static uint64_t seed = 20;

static int32_t pick(int32_t n)
{
    return (int32_t)(random_next(&seed) % (uint64_t)n);
}

static int rounds_wanted(void)
{
    const char *text = getenv("SPECD_TEST_ROUNDS");
    return text ? MAX(atoi(text), 1) : ROUNDS;
}

static struct rig *rig_of(const struct model_pair *pair, bool eager, uint64_t order)
{
    struct device_setup setup = rig_setup(pair->target, pair->draft);
    setup.eager = eager;
    setup.trims_draft = true;
    return rig_new(&setup, order);
}

/* Slot i as both devices get it. */
static struct sample_params params_of(int32_t i)
{
    static const enum verify_mode modes[] = {VERIFY_RATIO, VERIFY_BLOCK, VERIFY_COUPLED,
                                             VERIFY_RATIO};
    static const uint32_t ids[SLOTS][2] = {{0}, {0xffff7777, 7}, {0xffff}, {0x7777ffff, 0x770000}};
    struct sample_params p = rig_params();
    p.draft_ids = i > 0 ? ids[i] : NULL;
    p.seed = (uint64_t)i * 77 + 5;
    p.mode = modes[i % 4];
    p.target.temperature = p.draft.temperature = i == 3 ? 0.0f : 1.0f;
    p.target.top_p = p.draft.top_p = i == 1 ? 0.9f : 1.0f;
    p.target.repetition = p.draft.repetition = i == 2 ? 1.2f : 1.0f;
    p.n_logprobs = i % 2 ? LOGPROBS : -1;
    return p;
}

static void start(struct rig *r, const struct model_pair *pair)
{
    for (int32_t i = 0; i < SLOTS; i++) {
        struct sample_params p = params_of(i);
        rig_slot(r, i, &p, pair->prompts[i], PAIR_PROMPT_LEN, LIMIT);
        rig_prefill(r, i, MODEL_TARGET, 0, PAIR_PROMPT_LEN - 1, 7);
        rig_prefill(r, i, MODEL_DRAFT, 0, PAIR_PROMPT_LEN - 1, 20);
    }
}

static void round_random(struct rig *r)
{
    rig_clear(r);
    for (int32_t i = 0; i < SLOTS; i++) {
        if (pick(5) == 0 && r->round.n_seqs + SLOTS - i > 1)
            continue;
        struct round_seq *s = rig_seq(r, i, pick(r->setup.k_max + 1));
        if (pick(4) == 0) {
            s->source = DRAFT_FROM_HOST;
            for (int32_t j = 0; j < s->k; j++)
                s->host_draft[j] = pick(PAIR_VOCAB);
        }
    }
}

static void assert_logprobs_equal(const struct token_logprob *a, const struct token_logprob *b,
                                  int32_t n)
{
    assert_int_equal(!a, !b);
    for (int32_t i = 0; a && i < n; i++) {
        assert_int_equal(a[i].id, b[i].id);
        assert_memory_equal(&a[i].logprob, &b[i].logprob, sizeof(float));
    }
}

static void assert_seqs_equal(const struct seq_result *a, const struct seq_result *b)
{
    int32_t n = MIN(a->n_accepted + 1, a->n_drafted);
    assert_int_equal(a->slot, b->slot);
    assert_int_equal(a->n_drafted, b->n_drafted);
    assert_int_equal(a->n_accepted, b->n_accepted);
    assert_int_equal(a->n_tokens, b->n_tokens);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->len, b->len);
    assert_int_equal(a->rows[MODEL_TARGET], b->rows[MODEL_TARGET]);
    assert_int_equal(a->rows[MODEL_DRAFT], b->rows[MODEL_DRAFT]);
    assert_memory_equal(a->tokens, b->tokens, (size_t)a->n_tokens * sizeof(int32_t));
    if (n > 0)
        assert_memory_equal(a->overlap, b->overlap, (size_t)n * sizeof(float));
    assert_logprobs_equal(a->own, b->own, a->n_tokens);
    assert_logprobs_equal(a->top, b->top, a->n_tokens * LOGPROBS);
}

/* How many sequences rejected a draft. */
static int assert_results_equal(const struct round_result *a, const struct round_result *b)
{
    int rejected = 0;
    assert_int_equal(a->n_seqs, b->n_seqs);
    for (int32_t i = 0; i < a->n_seqs; i++) {
        assert_seqs_equal(&a->seqs[i], &b->seqs[i]);
        rejected += a->seqs[i].n_accepted < a->seqs[i].n_drafted;
    }
    return rejected;
}

static void test_graphs_change_nothing(void **state)
{
    struct model_pair *pair = pair_new();
    struct rig *graph = rig_of(pair, false, 3), *eager = rig_of(pair, true, 4);
    int rejected = 0, n = rounds_wanted();

    (void)state;
    start(graph, pair);
    start(eager, pair);
    for (int i = 0; i < n; i++) {
        round_random(graph);
        eager->round = graph->round;
        rig_run(graph);
        rig_run(eager);
        rejected += assert_results_equal(&graph->result, &eager->result);
    }
    printf("RESULT graph_eager device=%s rounds=%d rejections=%d\n", graph->ops->name, n, rejected);
    assert_in_range(rejected, n / 4, n * SLOTS);
    rig_free(graph);
    rig_free(eager);
    pair_free(pair);
}

/* The second is submitted before the first is read; drafts of the host would need its tokens. */
static void test_rounds_in_flight(void **state)
{
    struct model_pair *pair = pair_new();
    struct rig *two = rig_of(pair, false, 5), *one = rig_of(pair, false, 6);
    struct device_info info;
    int n = 0;

    (void)state;
    two->ops->describe(two->dev, &info);
    start(two, pair);
    start(one, pair);
    for (int i = 0; i < rounds_wanted() / 4 && info.rounds_in_flight > 1; i++) {
        struct round rounds[2];
        for (int j = 0; j < 2; j++) {
            rig_clear(two);
            for (int32_t s = 0; s < SLOTS; s++)
                rig_seq(two, s, pick(5));
            rounds[j] = two->round;
            rig_submit(two);
        }
        for (int j = 0; j < 2; j++, n++) {
            rig_wait(two);
            one->round = rounds[j];
            rig_run(one);
            assert_results_equal(&two->result, &one->result);
        }
    }
    rig_free(two);
    rig_free(one);
    pair_free(pair);
    if (n == 0)
        skip();
}

/* ---- launches that overlap ------------------------------------------------------------------- */

#ifdef SPECD_CUDA_DEVICE
/* Graphs keep what they were captured with; what is launched beside them, or without them, has what
 * holds then. */
static int overlap_run(const struct model_pair *pair, bool eager, int n)
{
    int rejected = 0;

    launch_overlap_allow(false);
    struct rig *apart = rig_of(pair, eager, 7);
    start(apart, pair);
    launch_overlap_allow(true);
    struct rig *overlapping = rig_of(pair, eager, 8);
    start(overlapping, pair);
    for (int i = 0; i < n; i++) {
        round_random(overlapping);
        apart->round = overlapping->round;
        rig_run(overlapping);
        launch_overlap_allow(false);
        rig_run(apart);
        launch_overlap_allow(true);
        rejected += assert_results_equal(&overlapping->result, &apart->result);
    }
    rig_free(overlapping);
    rig_free(apart);
    return rejected;
}

static void test_overlap_changes_nothing(void **state)
{
    (void)state;
    if (rig_is_cpu() || !launch_overlaps())
        skip();
    struct model_pair *pair = pair_new();
    int n = rounds_wanted(), rejected = 0;

    for (int eager = 0; eager < 2; eager++)
        rejected += overlap_run(pair, eager, n);
    printf("RESULT overlap rounds=%d rejections=%d\n", 2 * n, rejected);
    pair_free(pair);
}
#else
static void test_overlap_changes_nothing(void **state)
{
    (void)state;
    skip();
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_graphs_change_nothing),
                                       cmocka_unit_test(test_rounds_in_flight),
                                       cmocka_unit_test(test_overlap_changes_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
