/*
 * Answers under a schema: always a beginning of a text that the schema allows, a whole one where
 * they end by themselves; the same with drafts as without, alone and beside others; and what is
 * refused.
 *
 * links: specd_grammar specd_text specd_model specd_json specd_base
 * labels: hostile exact
 */
#include "../chat_json.h"
#include "harness.h"
#include "grammar/grammar.h"
#include "specd/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <math.h>

#ifdef SPECD_HOSTILE
#define PROMPT 5
#define ANSWER 30
#else
#define PROMPT 40
#define ANSWER 200
#endif
#define LAW_DRAWS 250
#define FIELD "response_format"

static const char small[] = "{\"enum\":[\"red\",\"green\",\"blue\",[1,2,3],{\"a\":true}]}";
static const char record[] =
    "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"id\",\"tags\"],"
    "\"properties\":{\"id\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":999},"
    "\"tags\":{\"type\":\"array\",\"items\":{\"enum\":[\"red\",\"green\",\"blue\"]},"
    "\"minItems\":2,\"maxItems\":3},\"name\":{\"type\":\"string\",\"maxLength\":6}}}";

/* Free text: what is watched for comes in every answer, and in none. */
static const char often[] =
    "[{\"behind\":[\"e\"],\"schema\":{\"enum\":[\"red\",\"green\",[1,2,3]]}},"
    "{\"behind\":[\"a\",\"t\"],\"schema\":{\"enum\":[{\"a\":true},\"a\"]}}]";
static const char never[] =
    "[{\"behind\":[\"\\\"name\\\"\",\":\",\"\\\"get_weather\\\"\",\",\",\"\\\"arguments\\\"\",\":"
    "\"],\"schema\":{\"type\":\"object\"}},"
    "{\"behind\":[\"<function=get_weather>\"],\"schema\":{\"type\":\"object\"}}]";

/* One schema at a time: its document outlives the requests that carry it. */
static struct chat_json doc;

static void use_schema(const char *schema)
{
    chat_json_free(&doc);
    assert_true(chat_json_read(&doc, schema));
}

/* Most places are open to all tokens, and some to those of one letter alone. */
static void use_rare_heads(void)
{
    struct buf schema = {0};
    for (const char *first = "%&*+=@^~|#"; *first; first++)
        for (char second = 'a'; second <= 'z'; second++)
            buf_printf(&schema, "%c{\"behind\":[\"%c\",\"%c\"],\"schema\":{}}",
                       schema.len > 0 ? ',' : '[', *first, second);
    buf_puts(&schema, "]");
    use_schema(schema.data);
    buf_free(&schema);
}

static struct engine *start(enum drafter_type drafter)
{
    struct engine_config c = test_config("target");
    c.drafters[0] = drafter;
    c.n_drafters = drafter == DRAFT_NONE ? 0 : 1;
    c.draft_path = drafter == DRAFT_MODEL ? model_path("draft") : NULL;
    c.n_ctx = PROMPT + ANSWER;
    return engine_start(&c);
}

/* The schema in use, from a law of its own seed. */
static struct request *answer(uint32_t prompt, uint64_t seed)
{
    struct request *req = prompt_request(prompt, PROMPT, ANSWER, false);
    req->params.ignore_eos = false;
    req->params.law.temperature = 1.0f;
    req->params.has_seed = true;
    req->params.seed = seed;
    req->format = (struct request_format){true, doc.values, FIELD};
    return req;
}

static struct request *plain_answer(uint32_t prompt, uint64_t seed)
{
    struct request *req = answer(prompt, seed);
    req->params.spec.enabled = false;
    return req;
}

static void run(struct engine *e, struct request *req)
{
    request_submit(e, req);
    request_wait(req);
    if (req->output.finish == FINISH_ERROR)
        fail_msg("%s", req->output.message);
}

/* Returns whether the text is whole. */
static bool check_text(const struct request *req)
{
    const struct request_output *o = &req->output;
    struct grammar *g;
    struct grammar_state s;
    char err[256];
    assert_int_equal(grammar_compile(&g, req->format.schema, err, sizeof err), 0);
    grammar_start(g, &s);
    if (!grammar_accept(g, &s, o->text.data, o->text.len))
        fail_msg("not of the schema: %.*s", (int)o->text.len, o->text.data);
    grammar_unref(g);
    if (o->finish == FINISH_STOP && !grammar_may_end(&s))
        fail_msg("ended before its end: %.*s", (int)o->text.len, o->text.data);
    return o->finish == FINISH_STOP;
}

static void assert_same_text(const struct request *a, const struct request *b)
{
    assert_int_equal(a->output.text.len, b->output.text.len);
    assert_memory_equal(a->output.text.data, b->output.text.data, a->output.text.len);
    assert_int_equal(a->output.finish, b->output.finish);
    assert_int_equal(a->output.n_tokens, b->output.n_tokens);
}

static void test_answers_follow_schemas(void **state)
{
    (void)state;
    static const char *const schemas[] = {small, record, "{\"type\":\"integer\"}",
                                          "{\"type\":[\"boolean\",\"null\"]}", often};
    struct engine *e = start(DRAFT_LOOKUP);
    int n_whole = 0;
    for (size_t i = 0; i < COUNT_OF(schemas); i++) {
        use_schema(schemas[i]);
        for (uint32_t seed = 0; seed < 6; seed++) {
            struct request *req = answer(seed, seed);
            run(e, req);
            n_whole += check_text(req);
            request_unref(req);
        }
    }
    assert_true(n_whole >= 6);
    engine_close(e);
}

/* Nothing but the end may follow: the answer ends there, wherever the request would have it end. */
static void test_whole_answers_end(void **state)
{
    (void)state;
    struct engine *e = start(DRAFT_NONE);
    use_schema(small);
    for (uint32_t seed = 0; seed < 4; seed++) {
        struct request *req = answer(seed, seed);
        req->params.ignore_eos = true;
        req->params.min_tokens = ANSWER;
        run(e, req);
        assert_true(check_text(req));
        request_unref(req);
    }
    engine_close(e);
}

/* ---- drafts ---------------------------------------------------------------------------------- */

/* The answer to a prompt that is made of an answer: lookup has what to propose, to the very end. */
static struct request *repeat(const struct request *before, uint64_t seed)
{
    const struct request_output *o = &before->output;
    struct request *req = answer(0, seed);
    for (size_t i = 0; i < PROMPT && o->n_tokens > 0; i++)
        req->prompt_ids[i] = o->tokens[i % o->n_tokens].id;
    return req;
}

static void check_drafts(struct engine *e, uint64_t seed, float temperature, int32_t top_k,
                         int32_t *n_accepted)
{
    struct request *first = plain_answer((uint32_t)seed, seed);
    run(e, first);
    struct request *plain = repeat(first, seed);
    plain->params.spec.enabled = false;
    plain->params.law.temperature = temperature;
    plain->params.law.top_k = top_k;
    run(e, plain);
    check_text(plain);
    for (int k = 1; k <= 4; k++) {
        struct request *req = repeat(first, seed);
        req->params.law.temperature = temperature;
        req->params.law.top_k = top_k;
        req->params.spec.fixed = k;
        run(e, req);
        assert_same_text(req, plain);
        *n_accepted += req->output.stats.n_accepted;
        request_unref(req);
    }
    request_unref(plain);
    request_unref(first);
}

static void test_drafts_change_nothing(void **state)
{
    (void)state;
    int32_t n_accepted = 0;
    struct engine *e = start(DRAFT_LOOKUP);
    for (uint64_t seed = 0; seed < 12; seed++) {
        use_schema(seed < 5 ? record : seed < 8 ? small : often);
        check_drafts(e, seed, seed % 2 ? 1.0f : 0.0f, 0, &n_accepted);
    }
#ifndef SPECD_HOSTILE /* too short to repeat anything */
    assert_true(n_accepted > 0);
#endif
    engine_close(e);
}

/* A draft model drafts free text, without masks: what its rounds draw where one would be needed is
 * drawn again, though the grammar may allow it: top-k is of what a mask leaves. */
static void test_draft_models_draft_free_text(void **state)
{
    (void)state;
    int32_t n_accepted = 0;
    struct engine *e = start(DRAFT_MODEL);
    use_rare_heads();
    for (uint64_t seed = 0; seed < 8; seed++)
        check_drafts(e, seed, seed % 4 ? 2.0f : 0.0f, 6, &n_accepted);
#ifndef SPECD_HOSTILE
    assert_true(n_accepted > 0);
#endif
    engine_close(e);
}

static void assert_same_ids(const struct request *a, const struct request *b)
{
    assert_same_text(a, b);
    for (size_t i = 0; i < a->output.n_tokens; i++)
        assert_int_equal(a->output.tokens[i].id, b->output.tokens[i].id);
}

/* Where nothing comes that is watched for, an answer is the one without a grammar, bit for bit. */
static void check_free_text(enum drafter_type drafter)
{
    static const enum mode_choice modes[] = {MODE_AUTO, MODE_RATIO, MODE_BLOCK, MODE_COUPLED};
    struct engine *e = start(drafter);
    int32_t n_accepted = 0;
    use_schema(never);
    for (uint32_t i = 0; i < 16; i++) {
        struct request *first = plain_answer(i, i), *reqs[2];
        first->format = (struct request_format){0};
        run(e, first);
        for (int watched = 0; watched < 2; watched++) {
            struct request *req = repeat(first, i);
            req->params.law.temperature = i % 8 < 2 ? 0.0f : 0.7f;
            req->params.spec.mode = modes[i / 2 % 4];
            req->params.spec.enabled = i % 2;
            req->params.spec.fixed = 3;
            req->params.ignore_eos = i % 3 == 0;
            if (!watched)
                req->format = (struct request_format){0};
            run(e, req);
            reqs[watched] = req;
        }
        assert_same_ids(reqs[0], reqs[1]);
        assert_int_equal(reqs[0]->output.stats.n_drafted, reqs[1]->output.stats.n_drafted);
        n_accepted += reqs[1]->output.stats.n_accepted;
        request_unref(reqs[0]);
        request_unref(reqs[1]);
        request_unref(first);
    }
#ifndef SPECD_HOSTILE
    assert_true(n_accepted > 0);
#endif
    engine_close(e);
}

static void test_free_text_is_free(void **state)
{
    (void)state;
    check_free_text(DRAFT_LOOKUP);
    check_free_text(DRAFT_MODEL);
}

/* The law stays that under masks, though rounds without them are cut. */
#define LAW_TOKENS 6
#define LAW_IDS 512
static void count_ids(struct engine *e, enum mode_choice mode, bool drafts, int n,
                      int32_t counts[LAW_TOKENS][LAW_IDS])
{
    int32_t n_drafted = 0;
    for (int i = 0; i < n; i++) {
        struct request *req = answer(1, (uint64_t)i + (drafts ? 0 : 1u << 20));
        req->params.max_tokens = LAW_TOKENS;
        req->params.ignore_eos = true;
        req->params.law.top_k = 20;
        req->params.spec.mode = mode;
        req->params.spec.enabled = drafts;
        req->params.spec.fixed = drafts ? 2 : -1;
        run(e, req);
        n_drafted += req->output.stats.n_drafted;
        for (size_t t = 0; t < req->output.n_tokens; t++)
            counts[t][req->output.tokens[t].id % LAW_IDS]++;
        request_unref(req);
    }
    assert_true(n_drafted > n || !drafts);
}

static void test_law_of_drafted_free_text(void **state)
{
    (void)state;
    static const enum mode_choice modes[] = {MODE_RATIO, MODE_BLOCK};
    static int32_t plain[LAW_TOKENS][LAW_IDS], drafted[LAW_TOKENS][LAW_IDS];
    struct engine *e = start(DRAFT_MODEL);
    use_rare_heads();
    memset(plain, 0, sizeof plain);
    count_ids(e, MODE_RATIO, false, LAW_DRAWS, plain);
    for (size_t m = 0; m < COUNT_OF(modes); m++) {
        double chi = 0;
        int n = 0;
        memset(drafted, 0, sizeof drafted);
        count_ids(e, modes[m], true, LAW_DRAWS, drafted);
        for (int t = 0; t < LAW_TOKENS; t++) {
            for (int id = 0; id < LAW_IDS; id++) {
                double sum = plain[t][id] + drafted[t][id], d = plain[t][id] - drafted[t][id];
                if (sum < 20)
                    continue;
                chi += d * d / sum;
                n++;
            }
        }
        double sigmas = (chi - n) / sqrt(2.0 * n);
        print_message("mode %zu: %d counts, %.2f sigmas\n", m, n, sigmas);
        assert_true(n > LAW_TOKENS && sigmas < 5);
    }
    engine_close(e);
}

/* Names of members need no model and no earlier text. */
static void test_what_must_follow_is_drafted(void **state)
{
    (void)state;
    struct engine *e = start(DRAFT_MODEL);
    use_schema(record);
    struct request *req = answer(1, 1), *plain = plain_answer(1, 1);
    struct request *bounded = answer(1, 1);
    req->params.spec.fixed = bounded->params.spec.fixed = 3;
    bounded->params.spec.max = 1; /* which a fixed K is above, as without a schema */
    run(e, req);
    run(e, bounded);
    run(e, plain);
    assert_same_text(req, plain);
    assert_int_equal(bounded->output.stats.rounds, req->output.stats.rounds);
    assert_true(req->output.stats.n_accepted > 0);
    if (strcmp(req->output.stats.drafter, "mixed") != 0)
        assert_string_equal(req->output.stats.drafter, "grammar");
    request_unref(req);
    request_unref(bounded);
    request_unref(plain);
    engine_close(e);
}

/* Drafts of a model are out of the host's sight: lookup stands in, or nothing. */
static void test_draft_models_stand_back(void **state)
{
    (void)state;
    struct engine *e = start(DRAFT_MODEL);
    use_schema(record);
    struct request *req = answer(1, 1), *only = answer(1, 1), *plain = plain_answer(1, 1);
    only->params.spec.drafter = DRAFT_MODEL;
    run(e, req);
    run(e, only);
    run(e, plain);
    check_text(req);
    assert_same_text(req, plain);
    assert_same_text(only, plain);
    assert_string_not_equal(req->output.stats.drafter, "model");
    assert_int_equal(only->output.stats.n_drafted, 0);
    assert_non_null(strstr(only->output.stats.disabled_because, "lookup"));
    request_unref(req);
    request_unref(only);
    request_unref(plain);
    engine_close(e);
}

/* ---- others ---------------------------------------------------------------------------------- */

static void test_beside_others(void **state)
{
    (void)state;
    enum { N = 6 };
    struct request *alone[N], *together[N];
    struct engine *e = start(DRAFT_LOOKUP);
    use_schema(record);
    for (uint32_t i = 0; i < N; i++) {
        for (int t = 0; t < 2; t++) {
            struct request *req = answer(i, i);
            if (i % 2) /* a plain one */
                req->format = (struct request_format){0};
            req->stream = i % 3 == 0;
            req->params.spec.fixed = 3;
            *(t ? &together[i] : &alone[i]) = req;
        }
        run(e, alone[i]);
    }
    for (int i = 0; i < N; i++)
        request_submit(e, together[i]);
    for (int i = 0; i < N; i++) {
        request_wait(together[i]);
        assert_same_text(together[i], alone[i]);
        request_unref(together[i]);
        request_unref(alone[i]);
    }
    engine_close(e);
}

static void test_choices(void **state)
{
    (void)state;
    enum { N = 4 };
    struct request *reqs[N];
    struct engine *e = start(DRAFT_LOOKUP);
    use_schema(record);
    for (uint32_t i = 0; i < N; i++) {
        reqs[i] = answer(3, i);
        if (i > 0) {
            request_ref(reqs[0]);
            reqs[i]->parent = reqs[0];
        }
        request_submit(e, reqs[i]);
    }
    for (uint32_t i = 0; i < N; i++) {
        struct request *alone = answer(3, i);
        request_wait(reqs[i]);
        run(e, alone);
        assert_same_text(reqs[i], alone);
        request_unref(alone);
    }
    for (int i = N - 1; i >= 0; i--)
        request_unref(reqs[i]);
    engine_close(e);
}

/* ---- refused --------------------------------------------------------------------------------- */

static void expect_error(struct engine *e, struct request *req, const char *word)
{
    request_submit(e, req);
    request_wait(req);
    assert_int_equal(req->output.finish, FINISH_ERROR);
    assert_int_equal(req->output.error, SPECD_EINVAL);
    if (strncmp(req->output.message, FIELD ": ", strlen(FIELD) + 2) != 0 ||
        !strstr(req->output.message, word))
        fail_msg("%s", req->output.message);
    request_unref(req);
}

static void test_refused(void **state)
{
    (void)state;
    static int32_t id_of_brace = -1;
    struct engine *e = start(DRAFT_LOOKUP);
    use_schema("{\"type\":\"object\",\"properties\":{\"a\":{\"not\":{}}}}");
    expect_error(e, answer(0, 0), "schema /properties/a: the keyword \"not\" is not supported");

    use_schema("{\"type\":\"object\"}");
    for (int32_t id = 0; id < 320 && id_of_brace < 0; id++) {
        size_t len;
        const char *bytes = engine_token_bytes(e, id, &len);
        if (len == 1 && *bytes == '{')
            id_of_brace = id;
    }
    struct request *none = answer(0, 0), *stuck = answer(0, 0);
    for (int i = 0; i < 2; i++) { /* no such text begins with this token; then none goes on */
        struct request *req = i ? stuck : none;
        req->params.n_allowed = 1;
        req->params.allowed_ids = xmalloc(sizeof(int32_t));
        req->params.allowed_ids[0] = i ? id_of_brace : id_of_brace + 1;
    }
    expect_error(e, none, "begins such a text");
    expect_error(e, stuck, "may follow the text so far");
    engine_close(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_follow_schemas),
        cmocka_unit_test(test_whole_answers_end),
        cmocka_unit_test(test_drafts_change_nothing),
        cmocka_unit_test(test_draft_models_draft_free_text),
        cmocka_unit_test(test_law_of_drafted_free_text),
        cmocka_unit_test(test_free_text_is_free),
        cmocka_unit_test(test_draft_models_stand_back),
        cmocka_unit_test(test_what_must_follow_is_drafted),
        cmocka_unit_test(test_beside_others),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    chat_json_free(&doc);
    return failed;
}
