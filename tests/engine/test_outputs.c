/*
 * What a request asks for beside tokens: log-probabilities, the prompt given back and scored,
 * several completions of one prompt, and limits on which tokens may come.
 *
 * labels: hostile exact
 */
#include "harness.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#ifdef SPECD_HOSTILE
#define PROMPT 9
#define ANSWER 12
#define LONGER 20 /* two fit the pool at first, and not in the end */
#else
#define PROMPT 85
#define ANSWER 24
#define LONGER 40
#endif
#define TOP 4

static struct engine *start(int k)
{
    struct engine_config c = test_config("target");
    c.drafters[0] = DRAFT_MODEL;
    c.n_drafters = 1;
    c.draft_path = model_path("draft");
    c.draft_fixed = k;
    c.n_ctx = 256;
    return engine_start(&c);
}

static struct request *sampled(uint32_t prompt, uint64_t seed)
{
    struct request *req = prompt_request(prompt, PROMPT, ANSWER, false);
    req->params.law.temperature = 1.2f;
    req->params.has_seed = true;
    req->params.seed = seed;
    return req;
}

static void run(struct engine *e, struct request *req)
{
    request_submit(e, req);
    request_wait(req);
    assert_int_not_equal(req->output.finish, FINISH_ERROR);
}

static void assert_fails(struct engine *e, struct request *req, int error, const char *word)
{
    request_submit(e, req);
    request_wait(req);
    assert_int_equal(req->output.finish, FINISH_ERROR);
    assert_int_equal(req->output.error, error);
    assert_non_null(strstr(req->output.message, word));
    request_unref(req);
}

/* ---- log-probabilities ----------------------------------------------------------------------- */

static const struct token_logprob *logprobs_at(const struct request *req, size_t i)
{
    return req->output.logprobs + i * (1 + TOP);
}

static void check_logprobs(const struct request *req)
{
    for (size_t i = 0; i < req->output.n_tokens; i++) {
        const struct token_logprob *at = logprobs_at(req, i);
        assert_int_equal(at[0].id, req->output.tokens[i].id);
        assert_true(at[0].logprob < 0 && at[0].logprob <= at[1].logprob);
        for (int k = 2; k <= TOP; k++)
            assert_true(at[k].logprob <= at[k - 1].logprob && at[k].id != at[k - 1].id);
    }
}

static struct request *with_logprobs(uint32_t prompt, uint64_t seed)
{
    struct request *req = sampled(prompt, seed);
    req->params.n_logprobs = TOP;
    return req;
}

/* Of accepted tokens as of any other: those of plain decoding, bit for bit, whatever the law. */
static void test_speculation_keeps_logprobs(void **state)
{
    (void)state;
    struct engine *e = start(-1);
    for (uint32_t p = 0; p < 3; p++) {
        struct request *plain = with_logprobs(p, p);
        plain->params.spec.enabled = false;
        run(e, plain);
        check_logprobs(plain);
        for (int k = 1; k < 5; k++) {
            struct request *req = with_logprobs(p, p);
            req->params.spec.fixed = k;
            run(e, req);
            assert_true(req->output.stats.n_accepted > 0);
            assert_int_equal(req->output.n_tokens, ANSWER);
            assert_memory_equal(req->output.logprobs, plain->output.logprobs,
                                ANSWER * (1 + TOP) * sizeof(struct token_logprob));
            request_unref(req);
        }
        request_unref(plain);
    }
    engine_close(e);
}

/* ---- the prompt given back ------------------------------------------------------------------- */

/* A prompt made of another's prompt and answer, with echo. */
static struct request *echo_of(const struct request *req, int32_t max_tokens)
{
    struct request *echo = prompt_request(0, PROMPT + ANSWER, max_tokens, false);
    memcpy(echo->prompt_ids, req->prompt_ids, PROMPT * sizeof(int32_t));
    for (int i = 0; i < ANSWER; i++)
        echo->prompt_ids[PROMPT + i] = req->output.tokens[i].id;
    echo->params.echo = true;
    echo->params.n_logprobs = TOP;
    return echo;
}

static void check_echo(const struct request *echo, const struct request *answered)
{
    const struct request_echo *o = &echo->output.echo;
    size_t bytes = 0;
    assert_int_equal(o->n_tokens, PROMPT + ANSWER);
    assert_int_equal(o->n_scored, PROMPT + ANSWER);
    for (int32_t i = 0; i < o->n_tokens; i++) {
        assert_int_equal(o->tokens[i].id, echo->prompt_ids[i]);
        bytes += o->tokens[i].text_len;
        if (i > 0)
            assert_int_equal(o->logprobs[i * (1 + TOP)].id, echo->prompt_ids[i]);
    }
    assert_int_equal(bytes, o->text.len);
    assert_memory_equal(o->logprobs + PROMPT * (1 + TOP), answered->output.logprobs,
                        ANSWER * (1 + TOP) * sizeof(struct token_logprob));
}

/* Scoring an answer as part of a prompt gives the log-probabilities it had when it was drawn. */
static void test_echo_scores_what_was_drawn(void **state)
{
    static const int32_t lengths[] = {0, 1, ANSWER};
    (void)state;
    struct engine *e = start(3);
    for (uint32_t p = 0; p < 3; p++) {
        struct request *answered = with_logprobs(p, 100 + p);
        run(e, answered);
        struct request *echo = echo_of(answered, lengths[p]);
        run(e, echo);
        check_echo(echo, answered);
        assert_int_equal(echo->output.finish, FINISH_LENGTH);
        assert_int_equal(echo->output.n_tokens, lengths[p]);
        assert_int_equal(echo->output.stats.n_cached, 0);
        request_unref(echo);
        request_unref(answered);
    }
    engine_close(e);
}

/* Several at once, in a pool where they push each other out. */
static void test_echo_preempted(void **state)
{
    enum { N = 6 };
    struct engine_config c = test_config("target");
    struct engine_stats stats;
    struct request *answered[N], *echo[N];
    (void)state;
    struct engine *e = start(-1);
    for (int i = 0; i < N; i++)
        run(e, answered[i] = with_logprobs((uint32_t)i, 40 + (uint64_t)i));
    engine_close(e);
    c.n_ctx = 256;
    c.kv_bytes = 200 * 1024;
    e = engine_start(&c);
    hold_outputs(true);
    for (int i = 0; i < N; i++)
        request_submit(e, echo[i] = echo_of(answered[i], LONGER));
    hold_outputs(false);
    for (int i = 0; i < N; i++) {
        request_wait(echo[i]);
        check_echo(echo[i], answered[i]);
        assert_int_equal(echo[i]->output.n_tokens, LONGER);
        request_unref(echo[i]);
        request_unref(answered[i]);
    }
    engine_stats(e, &stats);
    assert_true(stats.preemptions > 0);
    engine_close(e);
}

static void test_echo_without_scores(void **state)
{
    (void)state;
    struct engine *e = start(3);
    struct request *req = prompt_request(3, PROMPT, 0, false);
    req->params.echo = true;
    run(e, req);
    assert_int_equal(req->output.echo.n_tokens, PROMPT);
    assert_int_equal(req->output.n_tokens, 0);
    assert_null(req->output.echo.logprobs);
    request_unref(req);

    req = prompt_request(3, 1, 0, false); /* one token: nothing to score */
    req->params.echo = true;
    req->params.n_logprobs = 0;
    run(e, req);
    assert_int_equal(req->output.finish, FINISH_LENGTH);
    request_unref(req);
    engine_close(e);
}

/* ---- several completions of one prompt ------------------------------------------------------- */

#define CHOICES 4

static void make_choices(struct request *reqs[CHOICES], uint32_t prompt, uint64_t seed)
{
    for (int i = 0; i < CHOICES; i++) {
        reqs[i] = sampled(prompt, seed + (uint64_t)i);
        if (i > 0) {
            reqs[i]->parent = reqs[0];
            request_ref(reqs[0]);
        }
    }
}

/* Each is what it is when asked for alone, and only the first computes the shared blocks. */
static void test_choices_share_the_prompt(void **state)
{
    struct tokens alone, got;
    struct request *reqs[CHOICES];
    (void)state;
    struct engine *e = start(3);
    make_choices(reqs, 9, 500);
    for (int i = 0; i < CHOICES; i++)
        request_submit(e, reqs[i]);
    for (int i = 0; i < CHOICES; i++) {
        request_wait(reqs[i]);
        int32_t shared = (PROMPT - 2) / SPECD_BLOCK_TOKENS * SPECD_BLOCK_TOKENS;
        assert_int_equal(reqs[i]->output.stats.n_cached, i > 0 ? shared : 0);
    }
    for (int i = 0; i < CHOICES; i++) {
        request_tokens(reqs[i], &got);
        generate(e, sampled(9, 500 + (uint64_t)i), &alone);
        assert_same_tokens(&alone, &got, "choice");
    }
    engine_close(e);
}

/* A parent that goes, at whatever moment, leaves choices that end as they should. */
static void test_parent_goes(void **state)
{
    struct tokens expected, got;
    struct request *reqs[CHOICES];
    (void)state;
    struct engine *e = start(3);
    generate(e, sampled(11, 601), &expected);
    for (int moment = 0; moment < 12; moment++) {
        make_choices(reqs, 11, 600);
        for (int i = 0; i < CHOICES; i++) {
            request_submit(e, reqs[i]);
            if (i == moment)
                engine_cancel(e, reqs[0]);
        }
        if (moment >= CHOICES) {
            request_wait_tokens(reqs[0], moment % 2 ? 1 : 0);
            engine_cancel(e, reqs[0]);
        }
        for (int i = 0; i < CHOICES; i++)
            request_wait(reqs[i]);
        request_tokens(reqs[1], &got);
        assert_same_tokens(&expected, &got, "choice of a cancelled parent");
        for (int i = 0; i < CHOICES; i++)
            if (i != 1)
                request_unref(reqs[i]);
    }
    engine_close(e);
}

static void test_choices_fail_together(void **state)
{
    struct request *reqs[CHOICES];
    (void)state;
    struct engine *e = start(3);
    make_choices(reqs, 11, 600);
    for (int i = 0; i < CHOICES; i++) {
        free(reqs[i]->prompt_ids);
        reqs[i]->prompt_ids = xcalloc(300, sizeof(int32_t)); /* the context has 256 */
        reqs[i]->n_prompt_ids = 300;
        request_submit(e, reqs[i]);
    }
    for (int i = CHOICES; i-- > 0;) {
        request_wait(reqs[i]);
        assert_int_equal(reqs[i]->output.error, SPECD_ECONTEXT);
        request_unref(reqs[i]);
    }
    engine_close(e);
}

/* ---- which tokens may come ------------------------------------------------------------------- */

static int32_t *ids(const int32_t *from, int32_t n)
{
    return memcpy(xmalloc((size_t)n * sizeof *from), from, (size_t)n * sizeof *from);
}

static void test_allowed_and_banned(void **state)
{
    static const int32_t some[] = {5, 9, 120, 130};
    (void)state;
    struct engine *e = start(3);
    struct request *req = sampled(1, 1);
    req->params.n_allowed = 4;
    req->params.allowed_ids = ids(some, 4);
    req->params.n_bias = 1;
    req->params.bias_ids = ids(some + 1, 1);
    req->params.bias = xcalloc(1, sizeof(float));
    req->params.bias[0] = -INFINITY;
    run(e, req);
    for (size_t i = 0; i < req->output.n_tokens; i++) {
        int32_t id = req->output.tokens[i].id;
        assert_true(id == 5 || id == 120 || id == 130);
    }
    request_unref(req);

    req = sampled(1, 1); /* nothing is left */
    req->params.n_allowed = 1;
    req->params.allowed_ids = ids(some, 1);
    req->params.n_bias = 1;
    req->params.bias_ids = ids(some, 1);
    req->params.bias = xcalloc(1, sizeof(float));
    req->params.bias[0] = -INFINITY;
    assert_fails(e, req, SPECD_EINVAL, "allowed_token_ids");
    engine_close(e);
}

/* A stop id ends the answer where it first comes, but not before min_tokens, and until then it has
 * no mass at all. */
static void test_stop_ids_and_min_tokens(void **state)
{
    struct tokens free_run, got;
    (void)state;
    struct engine *e = start(3);
    generate(e, sampled(2, 77), &free_run);
    int32_t stop = free_run.id[5];
    size_t first = 0;
    while (free_run.id[first] != stop)
        first++;
    struct request *req = sampled(2, 77);
    req->params.n_stop_ids = 1;
    req->params.stop_ids[0] = stop;
    generate(e, req, &got);
    assert_int_equal(got.n, first + 1);
    assert_int_equal(got.finish, FINISH_STOP);
    assert_memory_equal(got.id, free_run.id, got.n * sizeof got.id[0]);

    req = sampled(2, 77);
    req->params.n_stop_ids = 1;
    req->params.stop_ids[0] = stop;
    req->params.min_tokens = 10;
    generate(e, req, &got);
    assert_true(got.n > 10);
    for (int i = 0; i < 10; i++)
        assert_int_not_equal(got.id[i], stop);
    engine_close(e);
}

/* A strong penalty forbids repetition altogether: accepted tokens count as soon as they stand. */
static void test_penalties(void **state)
{
    (void)state;
    struct engine *e = start(4);
    for (int what = 0; what < 2; what++) {
        struct request *req = sampled(4, 5);
        bool seen[512] = {false};
        req->params.law = (struct law_params){.temperature = 0.5f, .top_p = 1, .repetition = 1};
        if (what == 0)
            req->params.law.presence = 1000; /* beyond the API's range, on purpose */
        else
            req->params.law.frequency = 1000;
        run(e, req);
        assert_true(req->output.stats.n_drafted > 0);
        for (size_t i = 0; i < req->output.n_tokens; i++) {
            int32_t id = req->output.tokens[i].id;
            assert_false(seen[id]);
            seen[id] = true;
        }
        request_unref(req);
    }
    engine_close(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_speculation_keeps_logprobs),
        cmocka_unit_test(test_echo_scores_what_was_drawn),
        cmocka_unit_test(test_echo_preempted),
        cmocka_unit_test(test_echo_without_scores),
        cmocka_unit_test(test_choices_share_the_prompt),
        cmocka_unit_test(test_parent_goes),
        cmocka_unit_test(test_choices_fail_together),
        cmocka_unit_test(test_allowed_and_banned),
        cmocka_unit_test(test_stop_ids_and_min_tokens),
        cmocka_unit_test(test_penalties),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
