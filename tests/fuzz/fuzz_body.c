/*
 * The body of a generating request: JSON reader, dialects, field table, prompts, and the requests
 * made of them. The first byte picks the route.
 *
 * links: specd_server specd_fake specd_base
 */
#include "fuzz.h"

#include "call.h"

#include <string.h>

static const enum call_route routes[] = {CALL_COMPLETION, CALL_CHAT, CALL_NATIVE, CALL_RESPONSES,
                                         CALL_MESSAGES};

/* Returns what is behind it. */
static const struct chat_value *touch_value(const struct chat_value *v, volatile size_t *sink)
{
    const struct chat_value *next = v + 1;
    *sink += (v->key ? strlen(v->key) : 0) + (v->kind == CHAT_STRING ? strlen(v->s) : 0);
    for (uint32_t i = 0; (v->kind == CHAT_LIST || v->kind == CHAT_DICT) && i < v->n; i++) {
        ASSERT((v->kind == CHAT_DICT) == (next->key != NULL));
        next = touch_value(next, sink);
    }
    return next;
}

/* What a request holds must be there, and end. */
static void touch(const struct request *req)
{
    volatile size_t sink = req->prompt_len ? strlen(req->prompt) : 0;
    const struct json *const read[] = {req->chat.messages, req->chat.tools, req->chat.kwargs};
    struct buf printed = {0};
    for (size_t i = 0; i < COUNT_OF(read); i++)
        json_print(read[i], &printed);
    for (const struct json *m = json_first(req->chat.messages); m; m = json_next(m)) {
        const struct json *content = json_get(m, "content");
        sink += strlen(json_string(json_get(m, "role")));
        bool parts = json_type(content) == JSON_ARRAY;
        ASSERT(parts || json_type(content) == JSON_STRING || json_type(content) == JSON_NULL);
        for (const struct json *part = parts ? json_first(content) : NULL; part;
             part = json_next(part))
            ASSERT(json_string(json_get(part, "text")) || json_string(json_get(part, "refusal")));
    }
    sink += printed.len;
    buf_free(&printed);
    ASSERT(!req->prediction || strlen(req->prediction) == req->prediction_len);
    ASSERT(req->format.json ? req->format.field != NULL : req->format.schema == NULL);
    if (req->format.schema)
        touch_value(req->format.schema, &sink);
    for (int32_t i = 0; i < req->params.n_stops; i++)
        ASSERT(strlen(req->params.stops[i]) == req->params.stop_lens[i]);
    for (size_t i = 0; i < req->n_prompt_ids; i++)
        ASSERT(req->prompt_ids[i] >= 0);
    for (int32_t i = 0; i < req->params.n_bias; i++)
        ASSERT(req->params.bias_ids[i] >= 0 && req->params.bias[i] <= 100);
    ASSERT(req->params.law.temperature >= 0 && req->params.law.top_p > 0);
    ASSERT(req->params.max_tokens == -1 || req->params.max_tokens > 0);
    (void)sink;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct engine_info info = {.n_vocab = 1000};
    struct buf body = {0};
    struct call c;
    struct api_error e = {0};
    if (size < 1)
        return 0;
    buf_add(&body, data + 1, size - 1);
    enum call_route route = routes[(uint8_t)(data[0] - '0') % COUNT_OF(routes)];
    int rc = call_parse(&c, route, &info, body.data, body.len, &e);
    ASSERT(rc == 0 || (e.message[0] && specd_error_status(e.code) == 400));
    for (size_t i = 0; rc == 0 && i < c.n_prompts; i++) {
        struct request *req = call_request(&c, i, i % 2);
        touch(req);
        request_unref(req);
    }
    call_free(&c);
    buf_free(&body);
    return 0;
}

bool fuzz_seed(int i, struct buf *out)
{
    static const char *const seeds[] = {
        "0{\"prompt\":\"Once\",\"max_tokens\":3,\"stop\":[\"a\",\"bc\"],\"temperature\":0.5,"
        "\"seed\":12,\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
        "0{\"prompt\":[[1,2,3],\"x\"],\"top_k\":5,\"top_p\":0.9,\"min_p\":1e-3,\"n\":1,"
        "\"speculative\":{\"mode\":\"ratio\",\"max\":2,\"drafter\":\"lookup\",\"trace\":true}}",
        "1{\"messages\":[{\"role\":\"system\",\"content\":\"\\u00e9\\n\"},{\"role\":\"user\","
        "\"content\":[{\"type\":\"text\",\"text\":\"\xf0\x9f\x98\x80\"}]}],\"stop\":\"end\"}",
        "2{\"prompt\":[4,5],\"n_predict\":-1,\"repeat_penalty\":1.0,\"logit_bias\":{},"
        "\"cache_salt\":\"s\",\"response_format\":{\"type\":\"text\"},\"user\":null}",
        "0{\"prompt\":\"x\",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{"
        "\"name\":\"n\",\"strict\":true,\"schema\":{\"type\":\"object\",\"properties\":{"
        "\"a\":{\"enum\":[1,2.5,null]}},\"required\":[\"a\"],\"additionalProperties\":false}}}}",
        "0{\"prompt\":\"x\",\"response_format\":{\"type\":\"json_object\",\"schema\":{}}}",
        "2{\"prompt\":\"x\",\"json_schema\":{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":true}}}",
        "1{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"type\":\"function\","
        "\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{\"x\":{}}}}},"
        "{\"type\":\"function\",\"function\":{\"name\":\"g\"}}],\"tool_choice\":\"required\"}",
        "1{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":{"
        "\"name\":\"f\",\"arguments\":\"{}\"}}]}],\"tools\":[{\"type\":\"function\",\"function\":{"
        "\"name\":\"f\"}}],\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}},"
        "\"parallel_tool_calls\":false}",
        "3{\"instructions\":\"i\",\"input\":[{\"type\":\"message\",\"role\":\"user\",\"content\":[{"
        "\"type\":\"input_text\",\"text\":\"a\"}]},{\"type\":\"reasoning\",\"summary\":[],"
        "\"content\":"
        "null},{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\",\"arguments\":\"{\"},{"
        "\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":\"o\"},{\"role\":"
        "\"assistant\","
        "\"content\":\"t\"}],\"max_output_tokens\":9,\"reasoning\":{\"effort\":\"low\"}}",
        "3{\"input\":\"x\",\"tools\":[{\"type\":\"function\",\"name\":\"f\"},{\"type\":\"custom\","
        "\"name\":"
        "\"p\"},{\"type\":\"web_search\"}],\"tool_choice\":{\"type\":\"function\",\"name\":\"f\"},"
        "\"text\":{\"format\":{\"type\":\"json_schema\",\"schema\":{}}},\"include\":[\"x\"]}",
        "1{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"n\":2,\"prediction\":{\"type\":"
        "\"content\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":"
        "\"\"}]}}",
        "3{\"instructions\":\"i\",\"input\":[{\"role\":\"user\",\"content\":[{\"type\":"
        "\"input_text\",\"text\":\"x\"}]},{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":"
        "\"f\",\"arguments\":\"{}\"},{\"type\":\"function_call_output\",\"call_id\":\"c\","
        "\"output\":\"o\"}],\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"parameters\":{}}]}",
        "4{\"system\":[{\"type\":\"text\",\"text\":\"x-anthropic-billing-header: cch=a1b2c;\"}],"
        "\"max_tokens\":9,\"stop_sequences\":[\"a\"],\"thinking\":{\"type\":\"disabled\"},"
        "\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"assistant\",\"content\":["
        "{\"type\":\"thinking\",\"thinking\":\"t\"},{\"type\":\"text\",\"text\":\"y\"},"
        "{\"type\":\"tool_use\",\"id\":\"i\",\"name\":\"f\",\"input\":{\"a\":[1]}}]},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"i\","
        "\"is_error\":true,\"content\":[{\"type\":\"text\",\"text\":\"z\"}]},{\"type\":\"text\","
        "\"text\":\"w\"}]}],\"tools\":[{\"name\":\"f\",\"input_schema\":{}},{\"type\":\"w_1\"}],"
        "\"tool_choice\":{\"type\":\"tool\",\"name\":\"f\"}}",
        "4{\"max_tokens\":0,\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":{}}}"
        ","
        "\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"assistant\",\"content\":"
        "\"b\"}]}",
    };
    if (i >= (int)COUNT_OF(seeds))
        return false;
    buf_puts(out, seeds[i]);
    return true;
}
