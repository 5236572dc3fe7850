/*
 * The life of requests: limits, stops, cancels, a bounded queue, time-outs, slow readers, drain.
 *
 * labels: thread hostile
 */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct engine *start_with(int slots, int queue)
{
    struct engine_config c = test_config("target");
    c.n_slots = slots;
    c.max_queue = queue;
    c.drafters[0] = DRAFT_LOOKUP;
    c.n_drafters = 1;
    return engine_start(&c);
}

static int finish_error(struct request *req)
{
    request_wait(req);
    pthread_mutex_lock(&req->output.lock);
    int error = req->output.finish == FINISH_ERROR ? req->output.error : 0;
    pthread_mutex_unlock(&req->output.lock);
    return error;
}

static void test_length_and_counts(void **state)
{
    (void)state;
    struct engine *e = start_with(4, 8);
    struct tokens t;
    generate(e, prompt_request(1, 10, 7, false), &t);
    assert_int_equal(t.n, 7);
    assert_int_equal(t.finish, FINISH_LENGTH);
    assert_int_equal(t.stats.n_prompt, 10);
    assert_int_equal(t.stats.n_generated, 7);
    generate(e, prompt_request(1, 1, 1, false), &t); /* one prompt token, one answer token */
    assert_int_equal(t.n, 1);
    engine_close(e);
}

static void test_context_is_refused_with_numbers(void **state)
{
    (void)state;
    struct engine_config c = test_config("target");
    c.n_ctx = 64;
    struct engine *e = engine_start(&c);
    struct request *req = prompt_request(1, 64, 4, false);
    request_submit(e, req);
    assert_int_equal(finish_error(req), SPECD_ECONTEXT);
    assert_non_null(strstr(req->output.message, "64"));
    request_unref(req);

    struct tokens t; /* 63 leave room for one */
    generate(e, prompt_request(1, 63, 4, false), &t);
    assert_int_equal(t.n, 1);
    assert_int_equal(t.finish, FINISH_LENGTH);

    req = prompt_request(1, 4, 4, false);
    req->prompt_ids[2] = 1 << 30;
    request_submit(e, req);
    assert_int_equal(finish_error(req), SPECD_EINVAL);
    assert_non_null(strstr(req->output.message, "index 2"));
    request_unref(req);
    engine_close(e);
}

static void test_stop_ids(void **state)
{
    (void)state;
    struct engine *e = start_with(4, 8);
    struct tokens all, stopped;
    generate(e, prompt_request(3, 20, 30, false), &all);
    struct request *req = prompt_request(3, 20, 30, false);
    req->params.stop_ids[0] = all.id[12];
    req->params.n_stop_ids = 1;
    generate(e, req, &stopped);
    size_t first = 0;
    while (all.id[first] != all.id[12])
        first++;
    assert_int_equal(stopped.n, first + 1);
    assert_int_equal(stopped.finish, FINISH_STOP);
    engine_close(e);
}

/* Cancelled before it is looked at, in prefill, mid-stream, and after its end. */
static void test_cancel_at_any_point(void **state)
{
    (void)state;
    struct engine_config c = test_config("target");
    c.max_rows = 4; /* prefill takes many rounds */
    struct engine *e = engine_start(&c);
    for (size_t wait = 0; wait < 4; wait++) {
        /* Forty tokens fit behind it: the cancel has to come before the last. */
        struct request *req = prompt_request((uint32_t)wait, 24, -1, true);
        request_submit(e, req);
        if (wait == 1)
            usleep(2000);
        if (wait > 1)
            request_wait_tokens(req, wait);
        engine_cancel(e, req);
        assert_int_equal(finish_error(req), SPECD_ECANCELED);
        engine_cancel(e, req);
        request_unref(req);
    }
    struct tokens t; /* the engine is well */
    generate(e, prompt_request(1, 10, 7, false), &t);
    assert_int_equal(t.n, 7);
    engine_close(e);
}

static void test_hang_up_cancels(void **state)
{
    (void)state;
    int fds[2];
    struct engine *e = start_with(1, 8);
    struct request *req = prompt_request(1, 10, -1, true);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    req->client_fd = fds[0];
    request_submit(e, req);
    request_wait_tokens(req, 1);
    close(fds[1]);
    assert_int_equal(finish_error(req), SPECD_ECANCELED);
    request_unref(req);
    struct engine_stats stats;
    struct tokens t;
    generate(e, prompt_request(1, 10, 7, false), &t);
    engine_stats(e, &stats);
    assert_int_equal(stats.disconnects, 1);
    engine_close(e);
}

static void test_queue_is_bounded(void **state)
{
    (void)state;
    enum { SLOTS = 2, QUEUE = 3 };
    struct engine *e = start_with(SLOTS, QUEUE);
    struct request *reqs[SLOTS + QUEUE];
    for (int i = 0; i < SLOTS + QUEUE; i++) {
        reqs[i] = prompt_request((uint32_t)i, 10, -1, true);
        request_submit(e, reqs[i]);
    }
    struct request *extra = prompt_request(9, 10, 4, false);
    assert_int_equal(engine_submit(e, extra), SPECD_EBUSY);
    for (int i = 0; i < SLOTS + QUEUE; i++) {
        engine_cancel(e, reqs[i]);
        finish_error(reqs[i]);
        request_unref(reqs[i]);
    }
    struct tokens t;
    generate(e, extra, &t); /* there is room again */
    assert_int_equal(t.n, 4);
    engine_close(e);
}

static void test_time_out(void **state)
{
    (void)state;
    struct engine_config c = test_config("target");
    c.request_timeout_ms = 100;
    c.n_ctx = 0;
    struct engine *e = engine_start(&c);
    struct request *req = prompt_request(1, 10, 100000, true);
    request_submit(e, req);
    int error = finish_error(req); /* a fast machine may reach the context's end first */
    assert_true(error == SPECD_ETIMEOUT || req->output.finish == FINISH_LENGTH);
    request_unref(req);
    engine_close(e);
}

static void test_drain_lets_streams_finish(void **state)
{
    (void)state;
    struct engine *e = start_with(2, 8);
    struct request *req = prompt_request(1, 10, 40, true);
    request_submit(e, req);
    request_wait_tokens(req, 1);
    engine_drain(e, 60000);
    while (engine_state(e) == ENGINE_READY)
        usleep(1000);
    struct request *late = prompt_request(2, 10, 4, false);
    assert_int_equal(engine_submit(e, late), SPECD_EDRAINING);
    request_unref(late);
    struct tokens t;
    request_wait(req);
    request_tokens(req, &t);
    assert_int_equal(t.n, 40);
    while (engine_state(e) != ENGINE_STOPPED)
        usleep(1000);
    engine_close(e);
}

static void test_drain_deadline_ends_streams(void **state)
{
    (void)state;
    struct engine *e = start_with(2, 8);
    struct request *req = prompt_request(1, 10, -1, true);
    request_submit(e, req);
    request_wait_tokens(req, 1);
    engine_drain(e, 0);
    int error = finish_error(req);
    assert_true(error == SPECD_EDRAINING || req->output.finish == FINISH_LENGTH);
    request_unref(req);
    engine_close(e);
}

static void test_close_ends_everything(void **state)
{
    (void)state;
    struct engine *e = start_with(1, 8);
    struct request *reqs[4];
    for (uint32_t i = 0; i < 4; i++) {
        reqs[i] = prompt_request(i, 10, -1, true);
        request_submit(e, reqs[i]);
    }
    engine_close(e);
    for (int i = 0; i < 4; i++) {
        assert_int_not_equal(reqs[i]->output.finish, FINISH_NONE);
        request_unref(reqs[i]);
    }
}

/* A repeated prompt is found in the prefix index, and the answer is the same. */
static void test_prefix_hits(void **state)
{
    (void)state;
    struct engine *e = start_with(2, 8);
    struct tokens a, b;
    int32_t n = 3 * SPECD_BLOCK_TOKENS + 3;
    generate(e, prompt_request(7, n, 5, false), &a);
    generate(e, prompt_request(7, n, 5, false), &b);
    assert_int_equal(a.stats.n_cached, 0);
    assert_int_equal(b.stats.n_cached, 3 * SPECD_BLOCK_TOKENS);
    assert_same_tokens(&a, &b, "prefix hit");
    struct request *salted = prompt_request(7, n, 5, false);
    salted->cache_salt = xstrdup("mine");
    generate(e, salted, &b);
    assert_int_equal(b.stats.n_cached, 0);
    engine_close(e);
}

static void test_bad_models_are_named(void **state)
{
    (void)state;
    struct engine_config c = test_config("target");
    struct engine *e;
    char err[512];
    int exit_code;
    c.model_path = "/nonexistent/model.gguf";
    assert_int_equal(engine_open(&e, &c, err, sizeof err), 0);
    while (engine_state(e) == ENGINE_LOADING)
        usleep(1000);
    assert_int_equal(engine_state(e), ENGINE_FAILED);
    assert_non_null(strstr(engine_failure(e, &exit_code), "/nonexistent/model.gguf"));
    assert_int_equal(exit_code, 1);
    engine_close(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_length_and_counts),
        cmocka_unit_test(test_context_is_refused_with_numbers),
        cmocka_unit_test(test_stop_ids),
        cmocka_unit_test(test_cancel_at_any_point),
        cmocka_unit_test(test_hang_up_cancels),
        cmocka_unit_test(test_queue_is_bounded),
        cmocka_unit_test(test_time_out),
        cmocka_unit_test(test_drain_lets_streams_finish),
        cmocka_unit_test(test_drain_deadline_ends_streams),
        cmocka_unit_test(test_close_ends_everything),
        cmocka_unit_test(test_prefix_hits),
        cmocka_unit_test(test_bad_models_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
