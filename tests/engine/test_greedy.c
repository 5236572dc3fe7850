/*
 * Greedy and seeded output with speculation is bit for bit the output without it: every drafter and
 * mixture, every K, alone and beside busy slots, with prompts in chunks, prefix hits and
 * preemption.
 *
 * labels: hostile exact
 */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#ifdef SPECD_HOSTILE
#define PROMPT 21
#define ANSWER 30
#else
#define PROMPT 45
#define ANSWER 60
#endif
#define PROMPTS 3

static const uint32_t some_layers[] = {0, 1, 5};
static const uint32_t all_layers[] = {0, 1, 2, 3, 4, 5};

struct drafting {
    const char *name;
    enum drafter_type drafters[2];
    int n;
    const char *draft; /* model */
    const uint32_t *layers;
    uint32_t n_layers;
};

static const struct drafting draftings[] = {
    {"model", {DRAFT_MODEL}, 1, "draft", NULL, 0},
    {"self", {DRAFT_SELF}, 1, NULL, some_layers, 3},
    {"self, all layers", {DRAFT_SELF}, 1, NULL, all_layers, 6},
    {"lookup", {DRAFT_LOOKUP}, 1, NULL, NULL, 0},
    {"lookup, model", {DRAFT_LOOKUP, DRAFT_MODEL}, 2, "draft", NULL, 0},
    {"lookup, self", {DRAFT_LOOKUP, DRAFT_SELF}, 2, NULL, some_layers, 3},
};

static struct tokens expected[PROMPTS];

static struct engine *start(const struct drafting *d, int k, int max_rows)
{
    struct engine_config c = test_config("target");
    memcpy(c.drafters, d->drafters, sizeof d->drafters);
    c.n_drafters = d->n;
    c.draft_path = d->draft ? model_path(d->draft) : NULL;
    c.self_layers = d->layers;
    c.n_self_layers = d->n_layers;
    c.draft_fixed = k;
    c.max_rows = max_rows;
    return engine_start(&c);
}

/* One at a time, then all at once beside a long neighbour that samples. */
static void compare(struct engine *e, const char *what)
{
    struct tokens got;
    for (uint32_t p = 0; p < PROMPTS; p++) {
        generate(e, prompt_request(p, PROMPT, ANSWER, false), &got);
        assert_same_tokens(&expected[p], &got, what);
    }
    struct request *noise = prompt_request(99, 7, 3 * ANSWER / 2, true);
    struct request *reqs[PROMPTS];
    noise->params.law.temperature = 1.5f;
    hold_outputs(true);
    request_submit(e, noise);
    for (uint32_t p = 0; p < PROMPTS; p++) {
        reqs[p] = prompt_request(p, PROMPT, ANSWER, false);
        request_submit(e, reqs[p]);
    }
    hold_outputs(false);
    for (uint32_t p = 0; p < PROMPTS; p++) {
        request_wait(reqs[p]);
        request_tokens(reqs[p], &got);
        assert_same_tokens(&expected[p], &got, what);
    }
    request_wait(noise);
    request_unref(noise);
}

static int plain(void **state)
{
    (void)state;
    struct engine_config c = test_config("target");
    struct engine *e = engine_start(&c);
    for (uint32_t p = 0; p < PROMPTS; p++)
        generate(e, prompt_request(p, PROMPT, ANSWER, false), &expected[p]);
    engine_close(e);
    return 0;
}

static void test_plain_is_stable(void **state)
{
    (void)state;
    struct engine_config c = test_config("target");
    struct engine *e = engine_start(&c);
    compare(e, "plain, again");
    engine_close(e);
}

static void test_speculation_changes_nothing(void **state)
{
    (void)state;
    static const int ks[] = {0, 1, 4, 8, -1};
    for (size_t d = 0; d < COUNT_OF(draftings); d++) {
        for (size_t i = 0; i < COUNT_OF(ks); i++) {
            char what[64];
            snprintf(what, sizeof what, "%s, K %d", draftings[d].name, ks[i]);
            struct engine *e = start(&draftings[d], ks[i], 512);
            compare(e, what);
            engine_close(e);
        }
    }
}

static void test_chunks_change_nothing(void **state)
{
    (void)state;
    static const int rows[] = {1, 5, 16, 17};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct engine *e = start(&draftings[4], 4, rows[i]);
        compare(e, "prompt in chunks");
        engine_close(e);
    }
}

/* With a seed the mode is coupled: sampled answers too are those of plain decoding, at any K. */
static void test_seeded_sampling_changes_nothing(void **state)
{
    (void)state;
    static const int ks[] = {0, 3, -1};
    struct tokens first[PROMPTS], got;
    for (size_t i = 0; i < COUNT_OF(ks); i++) {
        struct engine *e = start(&draftings[4], ks[i], 512);
        for (uint32_t p = 0; p < PROMPTS; p++) {
            struct request *req = prompt_request(p, PROMPT, ANSWER, false);
            req->params.law.temperature = 0.9f;
            req->params.law.top_p = 0.95f;
            req->params.has_seed = true;
            req->params.seed = 1000 + p;
            generate(e, req, i == 0 ? &first[p] : &got);
            assert_int_equal((i == 0 ? &first[p] : &got)->stats.mode, VERIFY_COUPLED);
            if (i > 0)
                assert_same_tokens(&first[p], &got, "coupled");
        }
        engine_close(e);
    }
}

/* A pool that holds little more than one sequence, for four slots: they push each other out and
 * come back. */
static void test_preemption_changes_nothing(void **state)
{
    (void)state;
    struct engine_config c = test_config("target");
    c.drafters[0] = DRAFT_MODEL;
    c.n_drafters = 1;
    c.draft_path = model_path("draft");
    c.n_ctx = 128;
    c.kv_bytes = SMALL_POOL;
    struct engine_stats stats;
    struct engine *e = engine_start(&c);
    for (int i = 0; i < 3; i++)
        compare(e, "preempted");
    engine_stats(e, &stats);
    assert_true(stats.preemptions > 0);
    engine_close(e);
}

static void test_draft_equal_to_target_is_accepted(void **state)
{
    (void)state;
    struct engine *e = start(&draftings[2], 3, 512);
    static const float temperatures[] = {0.0f, 1.0f};
    for (size_t i = 0; i < COUNT_OF(temperatures); i++) {
        struct tokens got;
        struct request *req = prompt_request(5, PROMPT, ANSWER, false);
        req->params.law.temperature = temperatures[i];
        generate(e, req, &got);
        assert_int_equal(got.stats.n_accepted, got.stats.n_drafted);
        assert_true(got.stats.n_drafted >= ANSWER / 2);
        assert_string_equal(got.stats.drafter, "self");
    }
    engine_close(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_is_stable),
        cmocka_unit_test(test_speculation_changes_nothing),
        cmocka_unit_test(test_chunks_change_nothing),
        cmocka_unit_test(test_seeded_sampling_changes_nothing),
        cmocka_unit_test(test_preemption_changes_nothing),
        cmocka_unit_test(test_draft_equal_to_target_is_accepted),
    };
    return cmocka_run_group_tests(tests, plain, NULL);
}
