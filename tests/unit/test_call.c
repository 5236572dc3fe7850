/*
 * From a body to requests: what is copied, and that it outlives the body. (Which values are taken
 * and refused is tested over HTTP.)
 *
 * links: specd_server specd_fake specd_base
 */
#include "call_bodies.h"

#include <stdio.h>

static void test_chat(void **state)
{
    struct request *req = only_request(
        CALL_CHAT,
        "{\"messages\":[{\"role\":\"system\",\"content\":\"S\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
        "{\"type\":\"text\",\"text\":\"b\"}]},{\"role\":\"assistant\",\"content\":null}],"
        "\"stop\":[\"x\\n\",\"yy\"],\"cache_salt\":\"pepper\",\"stream\":true}",
        0);
    (void)state;
    assert_int_equal(req->kind, PROMPT_CHAT);
    expect_json(req->chat.messages, "[{'role':'system','content':'S'},"
                                    "{'role':'user','content':[{'type':'text','text':'a'},"
                                    "{'type':'text','text':'b'}]},"
                                    "{'role':'assistant','content':null}]");
    assert_int_equal(req->params.n_stops, 2);
    assert_string_equal(req->params.stops[0], "x\n");
    assert_int_equal(req->params.stop_lens[1], 2);
    assert_string_equal(req->cache_salt, "pepper");
    assert_true(req->stream);
    assert_int_equal(req->params.max_tokens, -1);
    request_unref(req);
}

static void test_tools(void **state)
{
    struct request *req = only_request(
        CALL_CHAT,
        "{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"refusal\":null,\"audio\":[],"
        "\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":"
        "\"{\\\"x\\\":[1,2.50]}\"}},{\"function\":{\"name\":\"g\",\"arguments\":\"no\"}}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"a\",\"content\":\"1\",\"arguments\":\"{}\"}],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}],"
        "\"chat_template_kwargs\":{\"deep\":{\"t\":true,\"n\":null}},"
        "\"continue_final_message\":true}",
        0);
    (void)state;
    const struct json *call = json_first(req->chat.messages);
    expect_json(json_get(call, "tool_calls"),
                "[{'id':'a','function':{'name':'f','arguments':'{\\'x\\':[1,2.50]}'}},"
                "{'function':{'name':'g','arguments':'no'}}]");
    expect_json(json_get(json_next(call), "arguments"), "'{}'");
    expect_json(req->chat.tools, "[{'type':'function','function':{'name':'f','parameters':{}}}]");
    expect_json(req->chat.kwargs, "{'deep':{'t':true,'n':null}}");
    assert_true(req->chat.continue_final && !req->chat.add_generation_prompt);
    request_unref(req);
    req = only_request(CALL_CHAT,
                       "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[],"
                       "\"tool_choice\":\"none\"}",
                       0);
    assert_null(req->chat.tools);
    assert_true(req->chat.add_generation_prompt);
    request_unref(req);
}

static void test_long_chat(void **state)
{
    struct buf body = {0};
    (void)state;
    buf_puts(&body, "{\"messages\":[");
    for (int i = 0; i < 1000; i++)
        buf_printf(&body, "%s{\"role\":\"user\",\"content\":\"message %d\"}", i ? "," : "", i);
    buf_puts(&body, "],\"stop\":\"end\"}");
    struct request *req = only_request(CALL_CHAT, body.data, 0);
    const struct json *m = json_first(req->chat.messages);
    assert_int_equal(json_count(req->chat.messages), 1000);
    for (int i = 0; i < 1000; i++, m = json_next(m)) {
        char expected[20];
        snprintf(expected, sizeof expected, "message %d", i);
        assert_string_equal(json_string(json_get(m, "content")), expected);
    }
    assert_string_equal(req->params.stops[0], "end");
    request_unref(req);
    buf_free(&body);
}

/* Of a body with far more in it than a template reads, that is copied; numbers as they came. */
static void test_large(void **state)
{
    struct buf body = {0};
    (void)state;
    buf_puts(&body, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"n\":1.0,\"tool_calls\":"
                    "[{\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":NaN}\"}}]}],"
                    "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":"
                    "{\"enum\":[1e2,9007199254740993]}}},\"unknown\":[0");
    for (int i = 0; i < 30000; i++)
        buf_puts(&body, ",0");
    buf_puts(&body, "]}");
    struct request *req = only_request(CALL_CHAT, body.data, 0);
    expect_json(req->chat.messages, "[{'role':'user','content':'x','n':1.0,'tool_calls':"
                                    "[{'function':{'name':'f','arguments':'{\\'a\\':NaN}'}}]}]");
    assert_null(req->chat.tools);
    assert_null(req->chat.kwargs);
    expect_tree(req->format.schema, "{enum:[1e2,9007199254740993]}");
    assert_true(json_size(req->source->body) < 30);
    request_unref(req);
    buf_free(&body);
}

/* Every choice has its own: it outlives the document. */
static void test_prediction(void **state)
{
    (void)state;
    struct request *req =
        only_request(CALL_CHAT,
                     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],"
                     "\"prediction\":{\"type\":\"content\",\"content\":\"a\\nb\"}}",
                     0);
    assert_string_equal(req->prediction, "a\nb");
    assert_int_equal(req->prediction_len, 3);
    request_unref(req);
    req = only_request(CALL_COMPLETION,
                       "{\"prompt\":\"x\",\"prediction\":{\"type\":\"content\",\"content\":["
                       "{\"type\":\"text\",\"text\":\"one\"},{\"type\":\"text\",\"text\":\"\"},"
                       "{\"type\":\"text\",\"text\":\"two\"}]}}",
                       0);
    assert_string_equal(req->prediction, "one\n\ntwo");
    request_unref(req);
    req = only_request(
        CALL_NATIVE, "{\"prompt\":\"x\",\"prediction\":{\"type\":\"content\",\"content\":[]}}", 0);
    assert_int_equal(req->prediction_len, 0);
    request_unref(req);
    refuse(CALL_CHAT, "{\"messages\":[],\"prediction\":\"x\"}", "prediction");
}

static void test_prompts(void **state)
{
    static const char body[] = "{\"prompt\":[\"one\",[1,2,999],\"three\"],\"temperature\":0.5,"
                               "\"top_k\":7,\"seed\":9007199254740991,"
                               "\"speculative\":{\"fixed\":2,\"drafter\":\"lookup\"}}";
    struct request *req = only_request(CALL_COMPLETION, body, 0);
    (void)state;
    assert_int_equal(req->kind, PROMPT_TEXT);
    assert_string_equal(req->prompt, "one");
    assert_int_equal(req->prompt_len, 3);
    assert_true(req->params.law.temperature == 0.5f);
    assert_int_equal(req->params.law.top_k, 7);
    assert_true(req->params.has_seed && req->params.seed == 9007199254740991ull);
    assert_int_equal(req->params.spec.fixed, 2);
    assert_int_equal(req->params.spec.drafter, DRAFT_LOOKUP);
    assert_int_equal(req->params.max_tokens, 16);
    request_unref(req);
    req = only_request(CALL_COMPLETION, body, 1);
    assert_int_equal(req->kind, PROMPT_TOKENS);
    assert_int_equal(req->n_prompt_ids, 3);
    assert_int_equal(req->prompt_ids[2], 999);
    request_unref(req);
}

static void test_one_or_many(void **state)
{
    static const struct {
        const char *body;
        size_t n;
        bool many;
    } rows[] = {{"{\"prompt\":\"a\"}", 1, false},    {"{\"prompt\":[\"a\"]}", 1, true},
                {"{\"prompt\":[1,2]}", 1, false},    {"{\"prompt\":[[1,2]]}", 1, true},
                {"{\"prompt\":[[1],[2]]}", 2, true}, {"{\"prompt\":\"\"}", 1, false}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct call c = parsed(CALL_NATIVE, rows[i].body);
        assert_int_equal(c.n_prompts, rows[i].n);
        assert_int_equal(c.many, rows[i].many);
        call_free(&c);
    }
}

/* One flag of the table says that a field is for later; its range is checked all the same. */
static void test_later(void **state)
{
    (void)state;
    refuse(CALL_COMPLETION, "{\"prompt\":\"a\",\"presence_penalty\":3}", "presence_penalty");
    refuse(CALL_CHAT, "{\"messages\":[],\"logprobs\":7}", "logprobs");
    refuse(CALL_NATIVE, "{\"prompt\":\"a\",\"speculative\":{\"mode\":\"best\"}}",
           "speculative.mode");
    refuse(CALL_COMPLETION, "{\"prompt\":[5,1000]}", "prompt");
    refuse(CALL_COMPLETION, "{\"prompt\":\"a\",\"max_tokens\":0}", "max_tokens");
    refuse(CALL_NATIVE, "{\"prompt\":\"a\",\"n_predict\":0}", "n_predict");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chat),    cmocka_unit_test(test_long_chat),
        cmocka_unit_test(test_prompts), cmocka_unit_test(test_one_or_many),
        cmocka_unit_test(test_later),   cmocka_unit_test(test_tools),
        cmocka_unit_test(test_large),   cmocka_unit_test(test_prediction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
