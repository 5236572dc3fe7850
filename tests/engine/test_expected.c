/*
 * Drafts from what a client expects, and from others' outputs: answers are what they are without,
 * and much of them is drafted.
 *
 * labels: hostile exact
 */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef SPECD_HOSTILE
#define PROMPT 9
#define ANSWER 40
#else
#define PROMPT 40
#define ANSWER 200
#endif
#define FIRST (3 + '0') /* of the tokens that are one byte each, those that no other token has */
#define LETTERS ('Z' - '0' + 1)

static struct engine *start(enum drafter_type a, enum drafter_type b, bool shared)
{
    struct engine_config c = test_config("target");
    c.drafters[0] = a;
    c.drafters[1] = b;
    c.n_drafters = a == DRAFT_NONE ? 0 : b == DRAFT_NONE ? 1 : 2;
    c.draft_path = a == DRAFT_MODEL || b == DRAFT_MODEL ? model_path("draft") : NULL;
    c.n_ctx = PROMPT + ANSWER;
    c.lookup_shared = shared;
    return engine_start(&c);
}

/* An answer of letters: its text says which tokens it has. sampled: with a seed, in coupled mode.
 */
static struct request *ask(uint32_t prompt, bool sampled)
{
    struct request *req = prompt_request(prompt, PROMPT, ANSWER, false);
    req->params.allowed_ids = xmalloc(LETTERS * sizeof *req->params.allowed_ids);
    for (int32_t i = 0; i < LETTERS; i++)
        req->params.allowed_ids[req->params.n_allowed++] = FIRST + i;
    if (sampled) {
        req->params.law.temperature = 1.0f;
        req->params.has_seed = true;
        req->params.seed = prompt;
    }
    return req;
}

static void expect_text(struct request *req, const char *text, size_t len)
{
    struct buf copy = {0};
    buf_add(&copy, text, len);
    req->source = xcalloc(1, sizeof *req->source);
    atomic_init(&req->source->refs, 1);
    req->prediction = req->source->prediction = buf_take(&copy);
    req->prediction_len = len;
}

/* Letters changed, left out and put in. */
static void expect_edited(struct request *req, const struct buf *text)
{
    struct buf edited = {0};
    for (size_t i = 0; i < text->len; i++) {
        if (i % 29 != 3)
            buf_add(&edited, i % 41 == 7 ? "!" : text->data + i, 1);
        if (i % 37 == 11)
            buf_puts(&edited, "12");
    }
    expect_text(req, edited.data, edited.len);
    buf_free(&edited);
}

static void run(struct engine *e, struct request *req)
{
    request_submit(e, req);
    request_wait(req);
    if (req->output.finish == FINISH_ERROR)
        fail_msg("%s", req->output.message);
}

static struct request *plain(struct engine *e, uint32_t prompt, bool sampled)
{
    struct request *req = ask(prompt, sampled);
    req->params.spec.enabled = false;
    run(e, req);
    return req;
}

static void assert_same(const struct request *a, const struct request *b)
{
    assert_int_equal(a->output.n_tokens, b->output.n_tokens);
    for (size_t i = 0; i < a->output.n_tokens; i++)
        assert_int_equal(a->output.tokens[i].id, b->output.tokens[i].id);
}

/* ---- predictions ----------------------------------------------------------------------------- */

static void compare(struct engine *e, uint32_t prompt, bool sampled, int fixed)
{
    struct request *without = plain(e, prompt, sampled), *with = ask(prompt, sampled);
    struct request *wrong = ask(prompt, sampled);
    const struct request_stats *s = &with->output.stats;
    expect_edited(with, &without->output.text);
    expect_text(wrong, "This is something else altogether.", 34);
    with->params.spec.fixed = wrong->params.spec.fixed = fixed;
    run(e, with);
    run(e, wrong);
    assert_same(with, without);
    assert_same(wrong, without);
    assert_true(s->prediction_drafted >= s->prediction_accepted);
    assert_true(s->n_drafted >= s->prediction_drafted && s->n_accepted >= s->prediction_accepted);
    if (fixed > 0) {
        assert_true(s->prediction_accepted > ANSWER / 4);
        assert_true(s->rounds < ANSWER * 3 / 4);
        assert_non_null(strstr("prediction mixed", s->drafter));
    }
    request_unref(without);
    request_unref(with);
    request_unref(wrong);
}

static void test_predictions_change_nothing(void **state)
{
    (void)state;
    static const enum drafter_type drafters[][2] = {{DRAFT_LOOKUP, DRAFT_NONE},
                                                    {DRAFT_MODEL, DRAFT_LOOKUP}};
    static const int ks[] = {1, 3, SPECD_K_MAX - 1, -1};
    for (size_t d = 0; d < COUNT_OF(drafters); d++) {
        struct engine *e = start(drafters[d][0], drafters[d][1], false);
        for (uint32_t i = 0; i < 2 * COUNT_OF(ks); i++)
            compare(e, i, i >= COUNT_OF(ks), ks[i % COUNT_OF(ks)]);
        engine_close(e);
    }
}

/* With a fixed K in ratio mode the answer depends on the drafts: the same ones, the same answer. */
static void test_replay(void **state)
{
    (void)state;
    struct engine *e = start(DRAFT_LOOKUP, DRAFT_NONE, false);
    struct request *without = plain(e, 1, true), *twice[2];
    for (int i = 0; i < 2; i++) {
        twice[i] = ask(1, true);
        twice[i]->params.spec.mode = MODE_RATIO;
        twice[i]->params.spec.fixed = 2;
        expect_edited(twice[i], &without->output.text);
        run(e, twice[i]);
    }
    assert_same(twice[0], twice[1]);
    assert_int_equal(twice[0]->output.stats.prediction_accepted,
                     twice[1]->output.stats.prediction_accepted);
    request_unref(without);
    request_unref(twice[0]);
    request_unref(twice[1]);
    engine_close(e);
}

/* Choices of one prompt share what was made of the prediction, in whatever order they come. */
static void test_choices(void **state)
{
    (void)state;
    enum { N = 4 };
    struct engine *e = start(DRAFT_LOOKUP, DRAFT_NONE, false);
    struct request *without = plain(e, 2, false), *reqs[N];
    for (int i = 0; i < N; i++) {
        reqs[i] = ask(2, false);
        reqs[i]->params.spec.fixed = 2;
        reqs[i]->stream = i == 0; /* the last one comes while it is under way */
        expect_edited(reqs[i], &without->output.text);
        if (i > 0) {
            request_ref(reqs[0]);
            reqs[i]->parent = reqs[0];
        }
        if (i == N - 1)
            request_wait_tokens(reqs[0], 3);
        request_submit(e, reqs[i]);
    }
    for (int i = 0; i < N; i++) {
        request_wait(reqs[i]);
        assert_same(reqs[i], without);
        assert_true(reqs[i]->output.stats.prediction_accepted > ANSWER / 4);
    }
    for (int i = 0; i < N; i++)
        request_unref(reqs[i]);
    request_unref(without);
    engine_close(e);
}

static void test_who_may_draft(void **state)
{
    (void)state;
    struct engine *e = start(DRAFT_LOOKUP, DRAFT_NONE, false), *none = start(0, 0, false);
    struct request *reqs[5];
    for (int i = 0; i < 5; i++) {
        reqs[i] = ask(3, false);
        reqs[i]->params.spec.fixed = 2;
        if (i != 2)
            expect_text(reqs[i], "01234", 5);
    }
    reqs[0]->params.spec.drafter = DRAFT_LOOKUP;
    reqs[1]->params.spec.enabled = false;
    reqs[2]->params.spec.drafter = DRAFT_PREDICTION;
    reqs[3]->params.spec.drafter = DRAFT_PREDICTION;
    for (int i = 0; i < 5; i++)
        run(i == 4 ? none : e, reqs[i]);
    for (int i = 0; i < 5; i++)
        assert_int_equal(reqs[i]->output.stats.prediction_drafted > 0, i == 3);
    assert_non_null(strstr(reqs[2]->output.stats.disabled_because, "prediction"));
    assert_non_null(reqs[4]->output.stats.disabled_because);
    for (int i = 0; i < 5; i++)
        request_unref(reqs[i]);
    engine_close(e);
    engine_close(none);
}

/* Empty, longer than the context, of bytes and control tokens. */
static void test_odd_predictions(void **state)
{
    (void)state;
    struct engine *e = start(DRAFT_LOOKUP, DRAFT_NONE, false);
    struct request *without = plain(e, 4, false), *req;
    struct buf text = {0};
    expect_text(req = ask(4, false), "", 0);
    run(e, req);
    assert_same(req, without);
    request_unref(req);
    for (int i = 0; i < 50000; i++)
        buf_printf(&text, "%d\xc3\xa9<s></s><|im_end|>", i);
    expect_text(req = ask(4, false), text.data, text.len);
    req->params.spec.fixed = 2;
    run(e, req);
    assert_same(req, without);
    request_unref(req);
    request_unref(without);
    buf_free(&text);
    engine_close(e);
}

/* ---- others' outputs ------------------------------------------------------------------------- */

/* Sampled, with a seed: little repeats within the answer. Coupled, as a seed has it by itself. */
static struct request *salted(const char *salt)
{
    struct request *req = ask(5, true);
    req->params.law.temperature = 2.0f;
    req->cache_salt = salt ? xstrdup(salt) : NULL;
    req->params.spec.min = req->params.spec.max = 3; /* K is no matter of time, and not fixed */
    return req;
}

static int32_t accepted(struct engine *e, struct request *req, const struct request *same)
{
    run(e, req);
    if (same)
        assert_same(req, same);
    int32_t n = req->output.stats.n_accepted;
    request_unref(req);
    return n;
}

/* The same question again: its answer is at hand for those with the salt, and nobody else. */
static void test_shared_lookup(void **state)
{
    (void)state;
    struct engine *e = start(DRAFT_LOOKUP, DRAFT_NONE, true), *off = start(DRAFT_LOOKUP, 0, false);
    struct request *first = salted("a");
    run(e, first);
    int32_t alone = first->output.stats.n_accepted;
    assert_true(alone < ANSWER / 4);
    assert_true(accepted(e, salted("a"), first) > ANSWER / 2);
    assert_int_equal(accepted(e, salted("b"), first), alone);
    assert_int_equal(accepted(e, salted(NULL), first), alone);
    assert_int_equal(accepted(e, salted(NULL), first), alone);
    for (int i = 0; i < 2; i++)
        assert_int_equal(accepted(off, salted("a"), first), alone);
    engine_close(e);
    engine_close(off);
    request_unref(first);
}

/* An answer that must replay is the same, by as many drafts, whatever others got. */
static void test_replays_do_not_look(void **state)
{
    (void)state;
    struct engine *e = start(DRAFT_LOOKUP, DRAFT_NONE, true);
    struct request *got[3] = {salted("a"), salted("a"), salted("a")};
    for (int i = 0; i < 3; i++) {
        run(e, got[0]);
        for (int j = 1; j < 3; j++) {
            struct request *req = salted(i == 0 ? "none yet" : "a");
            req->params.spec.mode = j == 1 ? MODE_RATIO : MODE_COUPLED;
            if (j == 2) {
                req->params.spec.min = req->params.spec.max = -1;
                req->params.spec.fixed = 3;
            }
            run(e, req);
            if (i > 0) {
                assert_same(req, got[j]);
                assert_int_equal(req->output.stats.n_accepted, got[j]->output.stats.n_accepted);
                assert_int_equal(req->output.stats.n_drafted, got[j]->output.stats.n_drafted);
            }
            request_unref(got[j]);
            got[j] = req;
        }
        request_unref(got[0]);
        got[0] = salted("a");
    }
    for (int i = 0; i < 3; i++)
        request_unref(got[i]);
    engine_close(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_predictions_change_nothing),
        cmocka_unit_test(test_replay),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_who_may_draft),
        cmocka_unit_test(test_odd_predictions),
        cmocka_unit_test(test_shared_lookup),
        cmocka_unit_test(test_replays_do_not_look),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
