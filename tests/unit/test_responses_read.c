/*
 * The body of Responses as a chat's: messages, tools, template variables. (What is refused is
 * tested over HTTP.)
 *
 * links: specd_server specd_fake specd_base
 */
#include "call_bodies.h"

/* What bounds the work on a tree does so in one that was rewritten. */
static size_t check_size(const struct json *v)
{
    size_t size = 1;
    for (const struct json *m = json_first(v); m; m = json_next(m))
        size += check_size(m);
    assert_true(json_size(v) >= size);
    return size;
}

/* A body in the words of JSON, with ' for its quotes. */
static struct request *request_of(const char *body)
{
    struct buf text = {0};
    buf_puts(&text, body);
    for (size_t i = 0; i < text.len; i++)
        text.data[i] = text.data[i] == '\'' ? '"' : text.data[i];
    struct request *req = only_request(CALL_RESPONSES, text.data, 0);
    check_size(req->chat.messages);
    if (req->chat.tools)
        check_size(req->chat.tools);
    buf_free(&text);
    return req;
}

static void expect_messages(const char *input, const char *expected)
{
    struct buf body = {0};
    buf_printf(&body, "{'input':%s}", input);
    struct request *req = request_of(body.data);
    expect_json(req->chat.messages, expected);
    request_unref(req);
    buf_free(&body);
}

#define USER "{'role':'user','content':'u'}"

static void test_messages(void **state)
{
    (void)state;
    expect_messages("'x'", "[{'role':'user','content':'x'}]");
    expect_messages("'x','instructions':'i'",
                    "[{'role':'system','content':'i'},{'role':'user','content':'x'}]");
    expect_messages("[]", "[{'role':'user','content':''}]");
    expect_messages("[{'type':'message','id':'m','status':'completed','role':'developer','content':"
                    "'d'}," USER ",{'role':'system','content':''}]",
                    "[{'role':'developer','content':'d'}," USER ",{'role':'system','content':''}]");
    expect_messages(
        "[{'role':'user','content':[{'type':'input_text','text':'a'},{'text':'b','type'"
        ":'input_text'}]},{'role':'assistant','content':[{'type':'output_text','text':"
        "'c','annotations':[],'logprobs':[]},{'type':'refusal','refusal':'d'}]},"
        "{'role':'assistant','content':'e'}," USER ",{'role':'assistant'}]",
        "[{'role':'user','content':[{'text':'a','type':'text'},{'text':'b','type':'text'}]},"
        "{'role':'assistant','content':[{'annotations':[],'logprobs':[],'text':'c','type':'text'},"
        "{'text':'d','type':'text'},{'type':'text','text':'e'}]}," USER "]");
}

#define CALL_1 "{'type':'function_call','id':'fc','call_id':'1','name':'f','arguments':'{}'}"
#define CALL_2 "{'type':'function_call','call_id':'2','name':'g','arguments':'{no'}"
#define MADE(id, name, arguments) \
    "{'id':'" id "','type':'function','function':{'name':'" name "','arguments':" arguments "}}"
#define SAYS(text) "{'role':'assistant','content':" text

static void test_calls(void **state)
{
    (void)state;
    expect_messages("[" USER "," CALL_1 "," CALL_2 "," USER "]",
                    "[" USER "," SAYS("''") ",'tool_calls':[" MADE("1", "f", "'{}'") "," MADE(
                        "2", "g", "'{no'") "]}," USER "]");
    expect_messages(
        "[{'type':'reasoning','id':'rs','summary':[],'content':null,'encrypted_content':'z'},"
        "{'type':'reasoning','summary':[{'type':'summary_text','text':'s'}],'content':[]},"
        "{'type':'reasoning','summary':[{'type':'summary_text','text':'r'}]},"
        "{'role':'assistant','content':'t'}," CALL_1 ",{'type':'web_search_call'},"
        "{'type':'function_call_output','call_id':'1','output':'o'},"
        "{'type':'function_call_output','call_id':'2','output':[{'type':'input_text','text':'a'},"
        "{'type':'input_text','text':'b'}]},"
        "{'type':'reasoning','summary':[],'content':[{'type':'reasoning_text','text':'x'}]}]",
        "[" SAYS("[{'type':'text','text':'t'}]") ",'reasoning_content':'r','tool_calls':[" MADE(
            "1", "f", "'{}'") "]},"
                              "{'role':'tool','content':'o','tool_call_id':'1'},"
                              "{'role':'tool','content':[{'text':'a','type':'text'},{'text':'b','"
                              "type':'text'}],'tool_call_id':'2'}]");
    expect_messages(
        "[{'type':'custom_tool_call','call_id':'1','name':'p','input':'i'},"
        "{'type':'custom_tool_call_output','call_id':'1','output':'o'},"
        "{'type':'function_call','call_id':'2','name':'f'},"
        "{'type':'function_call','call_id':'3','name':'f','arguments':{'a':[1]}}]",
        "[" SAYS("''") ",'tool_calls':[" MADE(
            "1", "p",
            "{'input':'i'}") "]},"
                             "{'role':'tool','content':'o','tool_call_id':'1'}," SAYS(
                                 "''") ",'tool_calls':[" MADE("2", "f",
                                                              "'{}'") "," MADE("3", "f",
                                                                               "{'a':[1]}") "]}]");
}

static void test_tools(void **state)
{
    (void)state;
    struct request *req = request_of(
        "{'input':'x','tools':[{'type':'web_search'},{'type':'function','name':'f','description':"
        "'d','parameters':{'type':'object'},'strict':true},{'type':'namespace','tools':[]},"
        "{'type':'custom','name':'p','format':{'type':'text'}},{'type':'function','name':'g'}],"
        "'tool_choice':'auto'}");
    expect_json(req->chat.tools,
                "[{'type':'function','function':{'name':'f','description':'d','parameters':{'type':"
                "'object'},'strict':true}},{'type':'function','function':{'name':'p','parameters':"
                "{'type':'object','properties':{'input':{'type':'string'}},'required':['input'],"
                "'additionalProperties':false}}},{'type':'function','function':{'name':'g'}}]");
    assert_true(req->format.json); /* as strict tools have it */
    request_unref(req);
    req = request_of("{'input':'x','tools':[{'type':'function','name':'f'},{'type':'function',"
                     "'name':'g'}],'tool_choice':{'type':'function','name':'g'}}");
    assert_true(req->format.json);
    request_unref(req);
}

static void test_effort(void **state)
{
    static const struct {
        const char *fields, *kwargs;
    } rows[] = {
        {"'reasoning':{'effort':'low'}", "{'enable_thinking':true,'reasoning_effort':'low'}"},
        {"'reasoning':{'effort':'none','summary':'auto'}",
         "{'enable_thinking':false,'reasoning_effort':'none'}"},
        {"'reasoning':{'effort':'high'},'chat_template_kwargs':{'reasoning_effort':1,'x':2}",
         "{'reasoning_effort':1,'x':2,'enable_thinking':true}"},
        {"'reasoning':{'effort':null}", "null"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf body = {0};
        buf_printf(&body, "{'input':'x',%s}", rows[i].fields);
        struct request *req = request_of(body.data);
        expect_json(req->chat.kwargs, rows[i].kwargs);
        request_unref(req);
        buf_free(&body);
    }
}

/* Values are told apart from what was asked for beside them: what a long history makes is a
 * document of its own. */
static void test_long(void **state)
{
    struct buf body = {0};
    (void)state;
    buf_puts(&body, "{'input':[" USER);
    for (int i = 0; i < 3000; i++)
        buf_printf(&body,
                   ",{'type':'function_call','call_id':'%d','name':'f','arguments':'{}'},"
                   "{'type':'function_call_output','call_id':'%d','output':'o%d'}",
                   i, i, i);
    buf_puts(&body, "]}");
    struct request *req = request_of(body.data);
    assert_int_equal(json_count(req->chat.messages), 6001);
    request_unref(req);
    buf_free(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages), cmocka_unit_test(test_calls), cmocka_unit_test(test_tools),
        cmocka_unit_test(test_effort),   cmocka_unit_test(test_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
