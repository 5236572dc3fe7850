/*
 * Two rounds in flight: they do overlap, and nothing but time changes. Answers of all kinds are bit
 * for bit those of one round in flight, whoever else comes, goes or is cut off meanwhile.
 *
 * labels: thread hostile exact
 */
#include "deferred_device.h"
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(SPECD_HOSTILE) || defined(__SANITIZE_THREAD__) /* few blocks, or 50 x slower */
#define PROMPT 17
#define ANSWER 16
#else
#define PROMPT 40
#define ANSWER 40
#endif
#ifdef __SANITIZE_THREAD__
#define DISORDERS 2
#define MANY 10
#define AFTER_LEAST 7 /* rounds before a fault: this and 7 */
#else
#define DISORDERS 6
#define MANY 40
#define AFTER_LEAST 0
#endif
#define MIXED 12 /* answers compared */
#define NOISE 6  /* others, which are cancelled */
#define TOP 3

static struct engine *start(int depth, const enum drafter_type drafters[2], int n_drafters)
{
    struct engine_config c = test_config("target");
    deferred_depth(depth);
    c.device = &deferred_device_ops;
    memcpy(c.drafters, drafters, 2 * sizeof *drafters);
    c.n_drafters = n_drafters;
    c.draft_path = model_path("draft");
    c.n_ctx = 128;
    return engine_start(&c);
}

static const enum drafter_type by_model[2] = {DRAFT_MODEL};
static const enum drafter_type by_lookup[2] = {DRAFT_LOOKUP};
static const enum drafter_type by_both[2] = {DRAFT_LOOKUP, DRAFT_MODEL};

/* ---- what the engine says of itself ---------------------------------------------------------- */

struct look {
    struct engine *engine;
    atomic_bool stop;
    int in_flight, ahead; /* how often a round was seen in flight; and a time that is yet to come */
};

static void *look_on(void *arg)
{
    struct look *l = arg;
    while (!atomic_load(&l->stop)) {
        struct engine_liveness p;
        engine_liveness(l->engine, &p);
        uint64_t now = clock_ns();
        l->in_flight += p.round_ns != 0;
        l->ahead += p.round_ns > now || p.iterated_ns > now;
        usleep(20);
    }
    return NULL;
}

static void test_liveness(void **state)
{
    struct engine *e = start(2, by_model, 1);
    struct look l = {.engine = e};
    struct engine_liveness p, later;
    struct tokens got;
    pthread_t thread;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, look_on, &l), 0);
    for (int i = 0; i < 3; i++)
        generate(e, prompt_request(1, PROMPT, ANSWER, false), &got);
    atomic_store(&l.stop, true);
    pthread_join(thread, NULL);
    assert_true(l.in_flight > 0);
    assert_int_equal(l.ahead, 0);
    usleep(300000); /* idle: nothing in flight, and the loop turns by its timer */
    engine_liveness(e, &p);
    usleep(300000);
    engine_liveness(e, &later);
    assert_true(p.round_ns == 0 && later.round_ns == 0);
    assert_true(p.iterated_ns > 0 && later.iterated_ns > p.iterated_ns);
    assert_true(p.slowest_ns > 0 && p.slowest_ns < 10000000000u);
    engine_close(e);
}

/* ---- whether they overlap -------------------------------------------------------------------- */

static struct deferred_counts counts_of(const enum drafter_type drafters[2], int n_drafters, int k)
{
    struct engine *e = start(2, drafters, n_drafters);
    struct deferred_counts before = deferred_counts(), after; /* of the warm-up */
    struct tokens got;
    struct request *req = prompt_request(1, PROMPT, ANSWER, false);
    req->params.spec.fixed = k;
    generate(e, req, &got);
    engine_close(e);
    after = deferred_counts();
    assert_int_equal(got.n, ANSWER);
    return (struct deferred_counts){.rounds = after.rounds - before.rounds,
                                    .overlapped = after.overlapped - before.overlapped,
                                    .dropped = after.dropped - before.dropped};
}

static void test_rounds_overlap(void **state)
{
    (void)state;
    for (int k = 0; k <= 3; k++) {
        struct deferred_counts c = counts_of(by_model, 1, k);
        assert_true(c.rounds >= ANSWER / (k + 1));
        assert_true(c.overlapped >= c.rounds / 2);
    }
}

/* Lookup needs the text: only the round after a prompt's chunk may go at once. */
static void test_lookup_waits(void **state)
{
    (void)state;
    struct deferred_counts c = counts_of(by_lookup, 1, 2);
    assert_true(c.rounds >= ANSWER / 3);
    assert_true(c.overlapped <= 1);
    c = counts_of(by_both, 2, 2);
    assert_true(c.overlapped <= 1);
    c = counts_of(by_both, 2, 0);
    assert_true(c.overlapped >= c.rounds / 2); /* it drafts nothing */
}

/* A stop id ends a sequence on the device while the next round is under way. */
static void test_ended_meanwhile(void **state)
{
    (void)state;
    struct tokens all, got;
    int dropped = 0;
    struct engine *e = start(2, by_model, 1);
    for (uint32_t p = 0; p < 8; p++) {
        generate(e, prompt_request(p, PROMPT, ANSWER, false), &all);
        struct request *req = prompt_request(p, PROMPT, ANSWER, false);
        req->params.stop_ids[0] = all.id[ANSWER / 2];
        req->params.n_stop_ids = 1;
        generate(e, req, &got);
        assert_int_equal(got.finish, FINISH_STOP);
        assert_true(got.n > 0 && got.n <= ANSWER / 2 + 1);
        assert_memory_equal(got.id, all.id, got.n * sizeof *got.id);
        dropped = deferred_counts().dropped;
    }
    assert_true(dropped > 0);
    engine_close(e);
}

/* ---- the same answers ------------------------------------------------------------------------ */

static void sample(struct request *req, enum mode_choice mode, int k)
{
    req->params.law.temperature = 1.1f;
    req->params.law.repetition = 1.2f;
    req->params.has_seed = true;
    req->params.seed = 99;
    req->params.spec.mode = mode;
    req->params.spec.fixed = k;
}

/* Kinds of requests whose answers are promised. */
static struct request *mixed(int i)
{
    int32_t n = PROMPT / 2 + (i * 7) % (PROMPT / 2);
    struct request *req = prompt_request((uint32_t)i % 9, n, ANSWER, i % 2);
    struct request_params *p = &req->params;
    switch (i % 6) {
    case 0: /* greedy, K adapts */
        break;
    case 1:
        sample(req, MODE_COUPLED, -1);
        break;
    case 2:
        sample(req, MODE_RATIO, 2);
        break;
    case 3:
        sample(req, MODE_BLOCK, 3);
        p->n_logprobs = TOP;
        break;
    case 4: /* the prompt scored */
        p->echo = true;
        p->n_logprobs = TOP;
        break;
    case 5: /* texts that are likely to come: bytes are tokens of their own in these models */
        sample(req, MODE_COUPLED, 1);
        p->stops[0] = "e";
        p->stop_lens[0] = 1;
        p->n_stops = 1;
        p->min_tokens = 2;
        break;
    }
    return req;
}

struct answer {
    struct tokens tokens;
    struct token_logprob logprobs[ANSWER * (1 + TOP)];
    struct token_logprob scores[PROMPT * (1 + TOP)];
};

static void take_answer(struct request *req, struct answer *out)
{
    request_wait(req);
    const struct request_output *o = &req->output;
    memset(out, 0, sizeof *out);
    if (o->logprobs)
        memcpy(out->logprobs, o->logprobs, o->n_tokens * (1 + TOP) * sizeof *o->logprobs);
    if (o->echo.logprobs)
        memcpy(out->scores, o->echo.logprobs,
               (size_t)o->echo.n_tokens * (1 + TOP) * sizeof *o->echo.logprobs);
    request_tokens(req, &out->tokens);
}

static void run_all(struct engine *e, unsigned disorder, struct answer answers[MIXED])
{
    struct request *reqs[MIXED], *noise[NOISE];
    unsigned x = disorder;
    for (int i = 0, j = 0; i < MIXED; i++) {
        request_submit(e, reqs[i] = mixed(i));
        x = x * 1664525u + 1013904223u;
        if (disorder && i % 2 == 0 && j < NOISE) {
            noise[j] = prompt_request(300 + x % 5, 3 + (int32_t)(x >> 20) % PROMPT, -1, true);
            noise[j]->params.law.temperature = 1.0f;
            request_submit(e, noise[j++]);
        }
    }
    for (int j = 0; disorder && j < NOISE; j++) { /* cut off wherever it is by then */
        x = x * 1664525u + 1013904223u;
        request_wait_tokens(noise[j], (x >> 24) % 4);
        usleep((x >> 16) % 500);
        engine_cancel(e, noise[j]);
    }
    for (int i = 0; i < MIXED; i++)
        take_answer(reqs[i], &answers[i]);
    for (int j = 0; disorder && j < NOISE; j++) {
        request_wait(noise[j]);
        request_unref(noise[j]);
    }
}

static void compare_with_one(const enum drafter_type drafters[2], int n_drafters)
{
    static struct answer expected[MIXED], got[MIXED];
    struct engine *e = start(1, drafters, n_drafters);
    run_all(e, 0, expected);
    engine_close(e);
    e = start(2, drafters, n_drafters);
    for (unsigned disorder = 0; disorder < DISORDERS; disorder++) {
        run_all(e, disorder, got);
        for (int i = 0; i < MIXED; i++) {
            assert_same_tokens(&expected[i].tokens, &got[i].tokens, "two in flight");
            assert_int_equal(expected[i].tokens.finish, got[i].tokens.finish);
            assert_memory_equal(expected[i].logprobs, got[i].logprobs, sizeof got[i].logprobs);
            assert_memory_equal(expected[i].scores, got[i].scores, sizeof got[i].scores);
        }
    }
    engine_close(e);
}

static void test_same_answers(void **state)
{
    (void)state;
    compare_with_one(by_model, 1);
    compare_with_one(by_both, 2);
    compare_with_one(by_lookup, 1);
}

/* ---- comings and goings ---------------------------------------------------------------------- */

/* Everything that was held is given back, deferred frees included. */
static void test_cancels_leave_nothing(void **state)
{
    enum { AT_ONCE = 8 };
    struct request *reqs[AT_ONCE];
    struct engine_stats stats;
    struct tokens got;
    unsigned x = 5;
    (void)state;
    struct engine *e = start(2, by_model, 1);
    for (int i = 0; i < MANY; i++) {
        for (int j = 0; j < AT_ONCE; j++) {
            x = x * 1664525u + 1013904223u;
            reqs[j] = prompt_request(x >> 28, 2 + (int32_t)(x >> 8) % PROMPT, -1, true);
            request_submit(e, reqs[j]);
        }
        for (int j = 0; j < AT_ONCE; j++) {
            x = x * 1664525u + 1013904223u;
            usleep((x >> 16) % 300);
            engine_cancel(e, reqs[(j + i) % AT_ONCE]);
        }
        for (int j = 0; j < AT_ONCE; j++) {
            request_wait(reqs[j]);
            request_unref(reqs[j]);
        }
    }
    generate(e, prompt_request(1, PROMPT, ANSWER, false), &got);
    do {
        usleep(60 * 1000); /* counters are published once a turn, at least when the timer comes */
        engine_stats(e, &stats);
    } while (stats.running > 0);
    assert_int_equal(stats.blocks_used, 0);
    engine_close(e);
}

static void test_cancel_takes_two_rounds(void **state)
{
    (void)state;
    struct engine *e = start(2, by_model, 1);
    for (size_t i = 0; i < 10; i++) {
        struct request *req = prompt_request((uint32_t)i, PROMPT, -1, true);
        request_submit(e, req);
        request_wait_tokens(req, 1 + i);
        engine_cancel(e, req);
        int before = deferred_counts().rounds;
        request_wait(req);
        assert_true(deferred_counts().rounds - before <= 2);
        request_unref(req);
    }
    engine_close(e);
}

/* ---- rows of the draft model ----------------------------------------------------------------- */

/* No client waits for the draft model: nothing of it runs for a request whose first token is not
 * out, whatever K and however many rounds are in flight. */
static void test_first_token_first(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct engine *e = start(1 + i % 2, i % 3 ? by_model : by_both, i % 3 ? 1 : 2);
        int before = deferred_counts().filled, early = deferred_counts().early; /* warm-up's */
        struct request *reqs[4];
        struct tokens got;
        for (uint32_t j = 0; j < COUNT_OF(reqs); j++) { /* the last has its prefix in the cache */
            reqs[j] = prompt_request(j % 3, PROMPT, ANSWER, false);
            reqs[j]->params.spec.fixed = i < 2 ? 3 : -1;
            reqs[j]->params.spec.min = i < 2 ? -1 : 1;
            request_submit(e, reqs[j]);
            if (j == 2)
                request_wait(reqs[2]);
        }
        for (size_t j = 0; j < COUNT_OF(reqs); j++) {
            request_wait(reqs[j]);
            request_tokens(reqs[j], &got);
            assert_true(got.stats.n_drafted > 0);
        }
        assert_true(deferred_counts().filled > before);
        assert_int_equal(deferred_counts().early, early);
        engine_close(e);
    }
}

/* Several requests find one prompt in the cache without the draft model's rows, which one of them
 * computes for all, or several in turn. Each answers as when it is alone. */
static void test_shared_rows(void **state)
{
    enum { N = 4 };
    static struct tokens expected[N];
    struct request *reqs[N];
    struct tokens got;
    (void)state;
    for (int depth = 1; depth <= 2; depth++) {
        for (int run = 0; run < 2 + 2 * MANY / 10; run++) {
            struct engine *e = start(depth, by_model, 1);
            struct request *first = prompt_request(7, PROMPT, 2, false);
            first->params.spec.enabled = false;
            generate(e, first, &got);
            for (int j = 0; j < N; j++) {
                reqs[j] = prompt_request(7, PROMPT, ANSWER, false);
                reqs[j]->params.law.temperature = 1.0f;
                reqs[j]->params.has_seed = true;
                reqs[j]->params.seed = 100 + (uint64_t)j;
                reqs[j]->params.spec.mode = j % 2 ? MODE_RATIO : MODE_BLOCK;
                reqs[j]->params.spec.fixed = SPECD_K_MAX < 3 + j ? SPECD_K_MAX : 2 + j;
                if (run == 0)
                    generate(e, reqs[j], &expected[j]);
                else
                    request_submit(e, reqs[j]);
            }
            for (int j = 0; run > 0 && j < N; j++) {
                request_wait(reqs[j]);
                request_tokens(reqs[j], &got);
                assert_same_tokens(&expected[j], &got, "shared rows");
                assert_int_equal(expected[j].stats.n_drafted, got.stats.n_drafted);
            }
            engine_close(e);
        }
    }
}

/* ---- faults ---------------------------------------------------------------------------------- */

static void fail_at(enum deferred_fault fault, int depth, int after)
{
    enum { N = 6 };
    struct request *reqs[N];
    int exit_code = 0;
    struct engine *e = start(depth, by_model, 1);
    deferred_break(fault, after);
    for (int i = 0; i < N; i++) {
        reqs[i] = prompt_request((uint32_t)i, PROMPT, -1, true);
        if (engine_submit(e, reqs[i]) != 0) { /* it has failed already */
            reqs[i]->output.finish = FINISH_ERROR;
            reqs[i]->output.error = SPECD_EDEVICE;
        }
    }
    for (int i = 0; i < N; i++)
        request_wait(reqs[i]);
    uint64_t began = clock_ns();
    while (engine_state(e) != ENGINE_FAILED && clock_ns() - began < 1000000000u)
        usleep(1000);
    assert_int_equal(engine_state(e), ENGINE_FAILED);
    assert_string_equal(engine_failure(e, &exit_code), "device fault");
    assert_int_equal(exit_code, 70);
    for (int i = 0; i < N; i++) {
        assert_int_equal(reqs[i]->output.finish, FINISH_ERROR);
        assert_int_equal(reqs[i]->output.error, SPECD_EDEVICE);
        request_unref(reqs[i]);
    }
    struct request *late = prompt_request(1, 3, 3, false);
    assert_int_equal(engine_submit(e, late), SPECD_EDEVICE);
    request_unref(late);
    engine_close(e);
}

static void test_faults(void **state)
{
    static const enum deferred_fault faults[] = {FAULT_POLL, FAULT_COLLECT, FAULT_BEGIN, FAULT_END};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(faults); i++) {
        for (int depth = 1; depth <= 2; depth++) {
            for (int after = AFTER_LEAST; after <= 7; after += 7)
                fail_at(faults[i], depth, after);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_liveness),
        cmocka_unit_test(test_rounds_overlap),
        cmocka_unit_test(test_lookup_waits),
        cmocka_unit_test(test_ended_meanwhile),
        cmocka_unit_test(test_same_answers),
        cmocka_unit_test(test_cancel_takes_two_rounds),
        cmocka_unit_test(test_cancels_leave_nothing),
        cmocka_unit_test(test_first_token_first),
        cmocka_unit_test(test_shared_rows),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
