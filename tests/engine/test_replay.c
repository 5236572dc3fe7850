/*
 * A seed means the same tokens always: sampled output in every mode at a fixed K, and coupled
 * output at any K, alone and among 15 noisy neighbours, with prefix hits, in other chunks, with
 * other threads, preempted, and asked for again by the seed and mode that an answer reports.
 *
 * labels: hostile exact
 */
#include "harness.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#ifdef SPECD_HOSTILE
#define PROMPT 21
#define ANSWER 24
#else
#define PROMPT 45
#define ANSWER 40
#endif
#define PROMPTS 3
#define NEIGHBOURS 15

static const int32_t bias_ids[] = {3, 40, 77};
static const float bias_values[] = {2.0f, -INFINITY, 1.5f};

struct setting {
    const char *name;
    enum mode_choice mode;
    int k; /* fixed; -1: adapt */
    enum drafter_type drafters[2];
    int n_drafters;
    int32_t draft_vocab; /* ids of 320 that the draft model drafts, beside the prompt's; 0: all */
};

/* The settings of one mode promise the same tokens where `k` is the same; coupled ones always. */
static const struct setting settings[] = {
    {"ratio, model", MODE_RATIO, 3, {DRAFT_MODEL}, 1, 0},
    {"ratio, lookup and model", MODE_RATIO, 2, {DRAFT_LOOKUP, DRAFT_MODEL}, 2, 0},
    {"block, model", MODE_BLOCK, 3, {DRAFT_MODEL}, 1, 0},
    {"block, lookup and model", MODE_BLOCK, 2, {DRAFT_LOOKUP, DRAFT_MODEL}, 2, 0},
    {"ratio, model of 90 ids", MODE_RATIO, 3, {DRAFT_MODEL}, 1, 90},
    {"block, lookup and model of 90 ids", MODE_BLOCK, 2, {DRAFT_LOOKUP, DRAFT_MODEL}, 2, 90},
    {"coupled, K adapts, 90 ids", MODE_COUPLED, -1, {DRAFT_MODEL}, 1, 90},
    {"coupled, K adapts", MODE_COUPLED, -1, {DRAFT_LOOKUP, DRAFT_MODEL}, 2, 0},
};

static struct engine_config config_of(const struct setting *s)
{
    struct engine_config c = test_config("target");
    memcpy(c.drafters, s->drafters, sizeof s->drafters);
    c.n_drafters = s->n_drafters;
    c.draft_path = model_path("draft");
    c.draft_vocab = s->draft_vocab;
    c.n_slots = NEIGHBOURS + 1;
    c.n_ctx = 256;
    return c;
}

/* Every parameter of a law takes part. */
static struct request *sampled(uint32_t prompt, const struct setting *s)
{
    struct request *req = prompt_request(prompt, PROMPT, ANSWER, false);
    struct request_params *p = &req->params;
    p->law = (struct law_params){.temperature = 1.1f,
                                 .top_k = 60,
                                 .top_p = 0.95f,
                                 .min_p = 0.01f,
                                 .presence = 0.4f,
                                 .frequency = 0.3f,
                                 .repetition = 1.2f};
    p->n_bias = COUNT_OF(bias_ids);
    p->bias_ids = xmalloc(sizeof bias_ids);
    p->bias = xmalloc(sizeof bias_values);
    memcpy(p->bias_ids, bias_ids, sizeof bias_ids);
    memcpy(p->bias, bias_values, sizeof bias_values);
    p->has_seed = true;
    p->seed = 7000 + prompt;
    p->spec.mode = s->mode;
    p->spec.fixed = s->k;
    return req;
}

/* Each prompt twice, the second time with its prefix in the cache. */
static void compare_alone(struct engine *e, const struct setting *s, const struct tokens *expected,
                          const char *what)
{
    struct tokens got;
    for (uint32_t i = 0; i < 2 * PROMPTS; i++) {
        generate(e, sampled(i % PROMPTS, s), &got);
        assert_same_tokens(&expected[i % PROMPTS], &got, what);
    }
}

/* Neighbours differ in prompt, length, mode, K and law. They come and go meanwhile, or all run at
 * once. */
static void compare_among_neighbours(struct engine *e, const struct setting *s, bool at_once,
                                     const struct tokens *expected, const char *what)
{
    struct request *noise[NEIGHBOURS], *reqs[PROMPTS];
    struct tokens got;
    hold_outputs(at_once);
    for (int i = 0; i < NEIGHBOURS; i++) {
        noise[i] = prompt_request(50 + (uint32_t)i, 5 + 4 * i, ANSWER / 2 + 2 * i, i % 2);
        noise[i]->params.law.temperature = 0.2f * (float)(i % 8);
        noise[i]->params.spec.mode = (enum mode_choice)(i % 4);
        noise[i]->params.spec.fixed = i % 5 - 1;
        if (i < NEIGHBOURS / 2)
            request_submit(e, noise[i]);
    }
    if (!at_once)
        request_wait_tokens(noise[0], 2);
    for (uint32_t i = 0; i < PROMPTS; i++) {
        reqs[i] = sampled(i, s);
        request_submit(e, reqs[i]);
    }
    for (int i = NEIGHBOURS / 2; i < NEIGHBOURS; i++)
        request_submit(e, noise[i]);
    hold_outputs(false);
    for (int i = 0; i < PROMPTS; i++) {
        request_wait(reqs[i]);
        request_tokens(reqs[i], &got);
        assert_same_tokens(&expected[i], &got, what);
    }
    for (int i = 0; i < NEIGHBOURS; i++) {
        request_wait(noise[i]);
        request_unref(noise[i]);
    }
}

static void check_setting(const struct setting *s, struct tokens expected[PROMPTS])
{
    struct engine_config c = config_of(s);
    struct engine *e = engine_start(&c);
    for (uint32_t i = 0; i < PROMPTS; i++)
        generate(e, sampled(i, s), &expected[i]);
    compare_alone(e, s, expected, s->name);
    compare_among_neighbours(e, s, false, expected, s->name);
    engine_close(e);

    c.threads = 1;
    c.max_rows = 5; /* the prompt in ten chunks */
    e = engine_start(&c);
    compare_alone(e, s, expected, "in chunks, with one thread");
    engine_close(e);
}

static void test_every_setting(void **state)
{
    static struct tokens expected[PROMPTS];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(settings); i++)
        check_setting(&settings[i], expected);
}

/* A pool that holds little more than one sequence. */
static void test_preempted(void **state)
{
    static struct tokens expected[PROMPTS];
    struct engine_stats stats;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        const struct setting *s = &settings[i];
        struct engine_config c = config_of(s);
        struct engine *e = engine_start(&c);
        for (uint32_t p = 0; p < PROMPTS; p++)
            generate(e, sampled(p, s), &expected[p]);
        engine_close(e);
        c.n_ctx = 128;
        c.kv_bytes = SMALL_POOL;
        e = engine_start(&c);
        compare_among_neighbours(e, s, true, expected, "preempted");
        engine_stats(e, &stats);
        assert_true(stats.preemptions > 0);
        engine_close(e);
    }
}

/* Coupled output is plain output, at any K and with any drafter; so is K = 0 in every mode. */
static void test_coupled_is_plain(void **state)
{
    static struct tokens expected[PROMPTS];
    struct setting plain = {"plain", MODE_COUPLED, 0, {DRAFT_LOOKUP, DRAFT_MODEL}, 2, 0};
    struct tokens got;
    (void)state;
    struct engine_config c = config_of(&plain);
    struct engine *e = engine_start(&c);
    for (uint32_t p = 0; p < PROMPTS; p++) {
        struct request *req = sampled(p, &plain);
        req->params.spec.enabled = false;
        generate(e, req, &expected[p]);
        assert_int_equal(expected[p].stats.n_drafted, 0);
    }
    for (int i = 0; i < 9; i++) {
        struct setting s = plain;
        s.k = i < 6 ? (int[]){-1, 1, 2, 3, 5, 8}[i] : 0;
        s.mode = i < 6 ? MODE_COUPLED : (enum mode_choice)(i - 6);
        for (uint32_t p = 0; p < PROMPTS; p++) {
            generate(e, sampled(p, &s), &got);
            assert_same_tokens(&expected[p], &got, "not plain");
        }
    }
    engine_close(e);
}

/* Choices of one request have one prompt, and so the ids that it adds. */
static void test_choices_draft_alike(void **state)
{
    struct setting s = {"choice", MODE_RATIO, 3, {DRAFT_MODEL}, 1, 90};
    struct engine_config c = config_of(&s);
    struct engine *e = engine_start(&c);
    struct request *reqs[4];
    struct tokens alone, got;
    (void)state;
    for (int i = 0; i < 4; i++) {
        reqs[i] = sampled(1, &s);
        reqs[i]->params.seed = 60 + (uint64_t)i;
        if (i > 0) {
            reqs[i]->parent = reqs[0];
            request_ref(reqs[0]);
        }
    }
    for (int i = 0; i < 4; i++)
        request_submit(e, reqs[i]);
    for (int i = 0; i < 4; i++)
        request_wait(reqs[i]);
    for (int i = 0; i < 4; i++) {
        struct request *req = sampled(1, &s);
        req->params.seed = 60 + (uint64_t)i;
        request_tokens(reqs[i], &got);
        generate(e, req, &alone);
        assert_same_tokens(&alone, &got, s.name);
    }
    engine_close(e);
}

/* Without a seed, an answer says which one and which mode it ran with, and these give it again. */
static void test_unseeded_replays(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        struct engine_config c = config_of(&settings[i]);
        struct engine *e = engine_start(&c);
        struct tokens first, other, again;
        struct request *req = sampled(0, &settings[i]);
        req->params.has_seed = false;
        generate(e, req, &first);
        req = sampled(0, &settings[i]);
        req->params.has_seed = false;
        generate(e, req, &other);
        assert_true(first.stats.seed != other.stats.seed && first.stats.seed < 1ull << 53);
        req = sampled(0, &settings[i]);
        req->params.seed = first.stats.seed;
        req->params.spec.mode = (enum mode_choice)((int)first.stats.mode + 1);
        generate(e, req, &again);
        assert_same_tokens(&first, &again, "replay");
        engine_close(e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_setting),    cmocka_unit_test(test_preempted),
        cmocka_unit_test(test_coupled_is_plain), cmocka_unit_test(test_choices_draft_alike),
        cmocka_unit_test(test_unseeded_replays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
