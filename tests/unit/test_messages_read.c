/*
 * Bodies of Anthropic's Messages as requests: what becomes of blocks, tools and the system's text.
 *
 * links: specd_server specd_fake specd_base
 */
#include "call_bodies.h"

#define USER "{\"role\":\"user\",\"content\":\"x\"}"

/* In JSON, with ' for ". */
static struct call read(const char *text)
{
    struct buf body = {0};
    buf_puts(&body, text);
    for (size_t i = 0; i < body.len; i++)
        body.data[i] = body.data[i] == '\'' ? '"' : body.data[i];
    struct call c = parsed(CALL_MESSAGES, body.data);
    buf_free(&body);
    return c;
}

/* A content's part, as chat has it. */
#define PART(text) "{'type':'text','text':'" text "'}"

static void expect_messages(const char *text, const char *expected)
{
    struct call c = read(text);
    expect_json(c.prompts[0].source, expected);
    call_free(&c);
}

static void expect_refused(const char *text, const char *param, const char *message)
{
    struct call c;
    struct api_error e;
    struct buf body = {0};
    buf_puts(&body, text);
    for (size_t i = 0; i < body.len; i++)
        body.data[i] = body.data[i] == '\'' ? '"' : body.data[i];
    assert_true(call_parse(&c, CALL_MESSAGES, &body_info, body.data, body.len, &e) < 0);
    assert_int_equal(e.code, SPECD_EINVAL);
    assert_string_equal(e.param, param);
    assert_string_equal(e.message, message);
    call_free(&c);
    buf_free(&body);
}

static void test_contents(void **state)
{
    (void)state;
    expect_messages("{'system':'S','messages':[{'role':'user','content':'a'},"
                    "{'role':'assistant','content':[{'type':'text','text':'b'},"
                    "{'type':'text','text':'c','citations':null}]},"
                    "{'role':'system','content':[{'type':'text','text':'d'}]},"
                    "{'role':'user','content':[]}]}",
                    "[{'role':'system','content':[" PART("S") "]},{'role':'user','content':[" PART(
                        "a") "]},"
                             "{'role':'assistant','content':[" PART(
                                 "b") ",{'type':'text','text':'c','citations':null}]},"
                                      "{'role':'system','content':[" PART(
                                          "d") "]},{'role':'user','content':[]}]");
    expect_messages("{'system':[{'type':'text','text':'S','cache_control':{'type':'ephemeral'}},"
                    "{'type':'text','text':'T'}],'messages':[{'role':'user','content':'a'}]}",
                    "[{'role':'system','content':[{'type':'text','text':'S','cache_control':{'type'"
                    ":'ephemeral'}}," PART("T") "]},"
                                                "{'role':'user','content':[" PART("a") "]}]");
}

static void test_calls_and_results(void **state)
{
    (void)state;
    expect_messages(
        "{'messages':[{'role':'user','content':'x'},{'role':'assistant','content':["
        "{'type':'thinking','thinking':'hm','signature':'foreign'},"
        "{'type':'redacted_thinking','data':'?'},{'type':'thinking','thinking':'so'},"
        "{'type':'text','text':'I look.'},"
        "{'type':'tool_use','id':'toolu_1','name':'f','input':{'a':[1,2.50]}},"
        "{'type':'tool_use','id':'b','name':'g'}]},"
        "{'role':'user','content':[{'type':'text','text':'and'},"
        "{'type':'tool_result','tool_use_id':'toolu_1','content':'one'},"
        "{'type':'tool_result','tool_use_id':'b','is_error':false,'content':["
        "{'type':'text','text':'two'},{'type':'text','text':'three'}]},"
        "{'type':'text','text':'then'}]},"
        "{'role':'user','content':[{'type':'tool_result','tool_use_id':'b'},"
        "{'type':'tool_result','tool_use_id':'b','is_error':true,'content':'no file'}]}]}",
        "[{'role':'user','content':[" PART("x") "]},{'role':'assistant','content':[" PART(
            "I look.") "],'tool_calls':["
                       "{'id':'toolu_1','type':'function','function':{'name':'f','arguments':{'a':["
                       "1,2.50]}}},"
                       "{'id':'b','type':'function','function':{'name':'g','arguments':{}}}],"
                       "'reasoning_content':'hm\\nso'},"
                       "{'role':'tool','content':[" PART(
                           "one") "],'tool_call_id':'toolu_1'},"
                                  "{'role':'tool','content':[" PART("two") "," PART(
                                      "three") "],'tool_call_id':'b'},"
                                               "{'role':'user','content':[" PART("and") "," PART(
                                                   "then") "]},"
                                                           "{'role':'tool','content':[],'tool_call_"
                                                           "id':'b'},"
                                                           "{'role':'tool','content':[" PART(
                                                               "Error:") "," PART("no file") "],'"
                                                                                             "tool_"
                                                                                             "call_"
                                                                                             "id':'"
                                                                                             "b'}"
                                                                                             "]");
}

static void expect_system(const char *block, const char *expected)
{
    static const struct {
        const char *before, *behind;
    } forms[] = {{"", ""}, {"[{'type':'text','text':", "}]"}};
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        struct buf body = {0}, messages = {0};
        buf_printf(&body, "{'system':%s'%s'%s,'messages':[" USER "]}", forms[i].before, block,
                   forms[i].behind);
        if (*expected)
            buf_printf(&messages, "[{'role':'system','content':[" PART("%s") "]},", expected);
        buf_printf(&messages, "%s{'role':'user','content':[" PART("x") "]}]", *expected ? "" : "[");
        expect_messages(body.data, messages.data);
        buf_free(&body);
        buf_free(&messages);
    }
}

/* The line that changes in each request is left out, where it begins the text and as it is. */
static void test_billing_line(void **state)
{
    static const char line[] =
        "x-anthropic-billing-header: cc_version=2.1.37.3e8; cc_entrypoint=cli; cch=a1b2c;";
    struct buf text = {0};
    (void)state;
    expect_system(line, "");
    buf_printf(&text, "%s\\nYou code.", line);
    expect_system(text.data, "You code.");
    static const char *const kept[] = {
        "Say x-anthropic-billing-header: cch=a1b2c;", "x-anthropic-billing-header:",
        "x-anthropic-billing-header: what is it?",    "x-anthropic-billing-header: cch=a1b2c",
        "x-anthropic-billing-header: cch=a1b2c; and", " x-anthropic-billing-header: cch=a1b2c;",
    };
    for (size_t i = 0; i < COUNT_OF(kept); i++)
        expect_system(kept[i], kept[i]);
    expect_messages(
        "{'system':[{'type':'text','text':'x-anthropic-billing-header: cch=12345;'},"
        "{'type':'text','text':'A'},{'type':'text','text':"
        "'x-anthropic-billing-header: cch=12345;'}],'messages':[" USER "]}",
        "[{'role':'system','content':[" PART("A") "," PART(
            "x-anthropic-billing-header: cch=12345;") "]},"
                                                      "{'role':'user','content':[" PART("x") "]}]");
    expect_messages(
        "{'messages':[{'role':'system','content':"
        "'x-anthropic-billing-header: cch=12345;'}," USER "]}",
        "[{'role':'system','content':[" PART(
            "x-anthropic-billing-header: cch=12345;") "]},"
                                                      "{'role':'user','content':[" PART("x") "]}]");
    buf_free(&text);
}

static void test_tools(void **state)
{
    struct call c = read(
        "{'messages':[" USER "],'tools':[{'name':'f','description':'d','input_schema':{'type':"
        "'object'},'strict':true,'cache_control':{}},{'type':'web_search_20250305','name':'w'},"
        "{'type':'custom','name':'g','input_schema':{}}]}");
    (void)state;
    expect_json(c.tools,
                "[{'type':'function','function':{'name':'f','description':'d','strict':true,"
                "'parameters':{'type':'object'}}},"
                "{'type':'function','function':{'name':'g','parameters':{}}}]");
    assert_int_equal(c.tool_choice, TOOLS_AUTO);
    call_free(&c);
    static const struct {
        const char *choice;
        enum tool_choice expected;
        bool parallel;
    } choices[] = {
        {"{'type':'auto'}", TOOLS_AUTO, true},
        {"{'type':'none'}", TOOLS_NONE, true},
        {"{'type':'any'}", TOOLS_REQUIRED, true},
        {"{'type':'any','disable_parallel_tool_use':true}", TOOLS_REQUIRED, false},
        {"{'type':'tool','name':'f','disable_parallel_tool_use':null}", TOOLS_NAMED, true}};
    for (size_t i = 0; i < COUNT_OF(choices); i++) {
        struct buf body = {0};
        buf_printf(&body,
                   "{'messages':[" USER "],'tools':[{'name':'f','input_schema':{}}],"
                   "'tool_choice':%s}",
                   choices[i].choice);
        c = read(body.data);
        assert_int_equal(c.tool_choice, choices[i].expected);
        assert_int_equal(c.parallel_tools, choices[i].parallel);
        assert_true(choices[i].expected != TOOLS_NAMED || strcmp(c.tool_name, "f") == 0);
        call_free(&c);
        buf_free(&body);
    }
}

static void test_fields(void **state)
{
    struct call c = read("{'model':'claude-\\u00e9','max_tokens':0,'stop_sequences':['a','bc'],"
                         "'thinking':{'type':'disabled'},'metadata':{'user_id':'u'},"
                         "'chat_template_kwargs':{'x':1},'messages':[" USER "]}");
    (void)state;
    assert_string_equal(c.repeats.data, "\"claude-\xc3\xa9\"");
    assert_true(c.prompt_only);
    assert_int_equal(c.params.n_stops, 2);
    expect_json(c.kwargs, "{'x':1,'enable_thinking':false}");
    call_free(&c);
    c = read("{'max_tokens':5,'thinking':{'type':'adaptive'},'messages':[" USER "]}");
    assert_string_equal(c.repeats.data, "\"\"");
    assert_false(c.prompt_only || c.continue_final);
    expect_json(c.kwargs, "{'enable_thinking':true}");
    call_free(&c);
}

static void test_formats(void **state)
{
    static const char *const forms[] = {
        "'output_config':{'effort':'low','format':{'type':'json_schema','schema':{'type':'null'}}}"
        "}",
        "'output_format':{'type':'json_schema','schema':{'type':'null'}}}"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        struct buf body = {0};
        buf_printf(&body, "{'messages':[" USER "],%s", forms[i]);
        struct call c = read(body.data);
        assert_true(c.format.json);
        assert_string_equal(c.format.field, "output_config.format");
        expect_json(c.format.schema, "{'type':'null'}");
        call_free(&c);
        buf_free(&body);
    }
}

/* A last message of the assistant's is the beginning of the answer. */
static void test_beginnings(void **state)
{
    struct call c = read("{'messages':[" USER ",{'role':'assistant','content':'{'}]}");
    (void)state;
    assert_true(c.continue_final);
    call_free(&c);
    expect_messages("{'messages':[" USER ",{'role':'assistant','content':[{'type':'text','text':"
                    "' '}]}]}",
                    "[{'role':'user','content':[" PART("x") "]}]");
    c = read("{'messages':[" USER ",{'role':'assistant','content':[{'type':'text','text':'a'},"
             "{'type':'tool_use','id':'i','name':'f','input':{}}]}]}");
    assert_false(c.continue_final);
    call_free(&c);
}

static void test_errors(void **state)
{
    (void)state;
#define BLOCK(content) "{'messages':[" USER ",{'role':'user','content':" content "}]}"
    expect_refused("{}", "messages", "messages: must be a list of at least one message");
    expect_refused("{'messages':[]}", "messages",
                   "messages: must be a list of at least one message");
    expect_refused("{'messages':[1]}", "messages.0",
                   "messages.0.role: must be one of user, assistant and system");
    expect_refused("{'messages':[" USER ",{'role':'tool','content':'x'}]}", "messages.1",
                   "messages.1.role: must be one of user, assistant and system");
    expect_refused(BLOCK("3"), "messages.1.content",
                   "messages.1.content: must be a string or a list of blocks");
    expect_refused(BLOCK("['x']"), "messages.1.content.0",
                   "messages.1.content.0.type: must be a string");
    expect_refused(BLOCK("[{'type':'text','text':'a'},{'type':'image','source':{}}]"),
                   "messages.1.content.1",
                   "messages.1.content.1.type: a block 'image' is not supported here");
    expect_refused(BLOCK("[{'type':'tool_use','id':'a','name':'f','input':{}}]"),
                   "messages.1.content.0",
                   "messages.1.content.0.type: a block 'tool_use' is not supported here");
    expect_refused(BLOCK("[{'type':'text'}]"), "messages.1.content.0",
                   "messages.1.content.0.text: must be a string");
    expect_refused(BLOCK("[{'type':'tool_result'}]"), "messages.1.content.0",
                   "messages.1.content.0.tool_use_id: must be a string");
    expect_refused(BLOCK("[{'type':'tool_result','tool_use_id':'a','content':["
                         "{'type':'text','text':'a'},{'type':'document'}]}]"),
                   "messages.1.content.0.content.1",
                   "messages.1.content.0.content.1.type: a block 'document' is not supported here");
    expect_refused("{'messages':[{'role':'assistant','content':[{'type':'tool_use','id':'a',"
                   "'name':'f','input':[]}]}]}",
                   "messages.0.content.0", "messages.0.content.0.input: must be an object");
    expect_refused("{'messages':[" USER "],'system':[{'type':'image'}]}", "system.0",
                   "system.0.type: a block 'image' is not supported here");
    expect_refused("{'messages':[" USER "],'tools':[{'name':'f','input_schema':{}},{'name':'g'}]}",
                   "tools.1", "tools.1.input_schema: must be an object");
    expect_refused("{'messages':[" USER "],'tools':[{'name':'a b','input_schema':{}}]}", "tools.0",
                   "tools.0: must have a name of 1..64 letters, digits, _, - or ., and may have a "
                   "description, a string, and strict, true or false");
    expect_refused("{'messages':[" USER "],'tools':{}}", "tools", "tools: must be a list");
    expect_refused("{'messages':[" USER "],'tool_choice':'auto'}", "tool_choice",
                   "tool_choice.type: must be one of auto|any|none|tool");
    expect_refused("{'messages':[" USER "],'tool_choice':{'type':'tool'}}", "tool_choice",
                   "tool_choice.name: must be a string");
    expect_refused("{'messages':[" USER "],'thinking':true}", "thinking",
                   "thinking.type: must be a string");
#undef BLOCK
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contents),     cmocka_unit_test(test_calls_and_results),
        cmocka_unit_test(test_billing_line), cmocka_unit_test(test_tools),
        cmocka_unit_test(test_formats),      cmocka_unit_test(test_fields),
        cmocka_unit_test(test_beginnings),   cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
