/*
 * From a body to what the answer must be: response_format, json_schema and forced tools. Bodies are
 * written with ' for ", as print_value prints strings.
 *
 * links: specd_server specd_fake specd_grammar specd_text specd_model specd_base
 */
#include "call_bodies.h"
#include "rnd.h"
#include "grammar/grammar.h"
#include "specd/error.h"
#include "tool_watch.h"

#include <stdio.h>

#define USER "'messages':[{'role':'user','content':'x'}]"
#define F "{'type':'function','function':{'name':'f'}}"

/* {PROMPT,members} with quotes, in place. */
static const char *body_of(struct buf *b, const char *prompt, const char *members)
{
    buf_clear(b);
    buf_printf(b, "{%s,%s}", prompt, members);
    for (size_t i = 0; i < b->len; i++)
        if (b->data[i] == '\'')
            b->data[i] = '"';
    return b->data;
}

static void expect_format(enum call_route route, const char *members, const char *field,
                          const char *schema)
{
    struct buf body = {0};
    const char *prompt = route == CALL_CHAT ? USER : "'prompt':'x'";
    struct request *req = only_request(route, body_of(&body, prompt, members), 0);
    assert_true(req->format.json);
    assert_string_equal(req->format.field, field);
    if (schema)
        expect_tree(req->format.schema, schema);
    else
        assert_null(req->format.schema);
    request_unref(req);
    buf_free(&body);
}

static void refuse_format(enum call_route route, const char *members, const char *param)
{
    struct buf body = {0};
    refuse(route, body_of(&body, route == CALL_CHAT ? USER : "'prompt':'x'", members), param);
    buf_free(&body);
}

static void test_formats(void **state)
{
    static const enum call_route routes[] = {CALL_COMPLETION, CALL_CHAT, CALL_NATIVE};
    static const struct {
        const char *members, *field, *schema;
    } rows[] = {
        {"'response_format':{'type':'json_object'}", "response_format", NULL},
        {"'response_format':{'type':'json_object','schema':null}", "response_format", NULL},
        {"'response_format':{'type':'json_object','schema':{'maximum':2.5}}", "response_format",
         "{maximum:2.5}"},
        {"'response_format':{'type':'json_schema','json_schema':{'name':'n','strict':true,"
         "'schema':{'enum':[1,'a',null,true]}}}",
         "response_format", "{enum:[1,'a',null,true]}"},
        {"'response_format':{'type':'json_schema','json_schema':{'schema':{}}}", "response_format",
         "{}"},
        {"'response_format':{'type':'json_schema','json_schema':{'name':null}}", "response_format",
         NULL},
        {"'response_format':{'type':'json_schema','schema':{'type':'object'}}", "response_format",
         "{type:'object'}"},
        {"'json_schema':{'items':{}},'response_format':{'type':'text'}", "json_schema",
         "{items:{}}"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows) * COUNT_OF(routes); i++) {
        size_t row = i / COUNT_OF(routes);
        expect_format(routes[i % COUNT_OF(routes)], rows[row].members, rows[row].field,
                      rows[row].schema);
    }
}

static void test_no_format(void **state)
{
    struct buf body = {0};
    struct request *req = only_request(
        CALL_CHAT, body_of(&body, USER, "'response_format':{'type':'text'},'json_schema':null"), 0);
    (void)state;
    assert_false(req->format.json);
    assert_null(req->format.schema);
    request_unref(req);
    buf_free(&body);
}

static void test_bad_formats(void **state)
{
    static const char *const bad[] = {
        "{}",
        "'json_object'",
        "{'type':'xml'}",
        "{'type':'json_schema'}",
        "{'type':'json_schema','json_schema':true}",
        "{'type':'json_schema','json_schema':{'name':1,'schema':{}}}",
        "{'type':'json_schema','json_schema':{'schema':true}}",
        "{'type':'json_schema','schema':false}",
        "{'type':'json_object','schema':[]}",
    };
    struct buf members = {0};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        buf_clear(&members);
        buf_printf(&members, "'response_format':%s", bad[i]);
        refuse_format(CALL_COMPLETION, members.data, "response_format");
    }
    refuse_format(CALL_NATIVE, "'json_schema':true", "json_schema");
    refuse_format(CALL_NATIVE, "'grammar':'root ::= x'", "grammar");
    refuse_format(CALL_NATIVE, "'json_schema':{},'response_format':{'type':'json_object'}",
                  "response_format");
    refuse_format(CALL_NATIVE, "'response_format':{'type':'json_object'},'json_schema':{}",
                  "json_schema");
    buf_clear(&members);
    buf_puts(&members, "'json_schema':{'enum':[0");
    for (int i = 0; i < CALL_VALUES_MAX; i++)
        buf_puts(&members, ",0");
    buf_puts(&members, "]}");
    refuse_format(CALL_COMPLETION, members.data, "json_schema");
    buf_free(&members);
}

/* ---- forced tools */

#define CALL_WITH(name, key)                                                               \
    "{type:'object',properties:{name:{const:'" name "'}," key ":{$ref:'#/$defs/tool:" name \
    "'}},required:['name','" key "'],additionalProperties:false}"
#define CALLS_OF(name) CALL_WITH(name, "arguments") "," CALL_WITH(name, "parameters")
#define NAME_FIRST "discriminator:{propertyName:'name'}"
#define ONE "{$ref:'#/$defs/call'}"
#define ONE_OR_MORE ONE ",{type:'array',minItems:1,maxItems:128,items:" ONE "}"

/* A reference of its own, no parameters, an $id, and a name that was there before. */
#define TOOLS                                                                                      \
    "'tools':[{'type':'function','function':{'name':'f','parameters':{'properties':{'a':{'$ref':"  \
    "'#/$defs/x'}},'$defs':{'x':{}}}}},{'type':'function','function':{'name':'g'}},"               \
    "{'type':'function','function':{'name':'h.1','parameters':{'$id':'mine','type':'object'}}}," F \
    "]"
#define F_PARAMETERS \
    "tool:f:{$id:'tool:f',type:'object',properties:{a:{$ref:'#/$defs/x'}},$defs:{x:{}}}"
#define ONLY_F \
    "{anyOf:[" ONE "],$defs:{call:{anyOf:[" CALLS_OF("f") "]," NAME_FIRST "}," F_PARAMETERS "}}"

static void test_required(void **state)
{
    (void)state;
    expect_format(CALL_CHAT, TOOLS ",'tool_choice':'required'", "tools",
                  "{anyOf:[" ONE_OR_MORE "],$defs:{call:{anyOf:[" CALLS_OF("f") "," CALLS_OF(
                      "g") "," CALLS_OF("h.1") "]," NAME_FIRST "}," F_PARAMETERS
                                               ",tool:g:{$id:'tool:g',type:'object'},"
                                               "tool:h.1:{$id:'mine',type:'object'}}}");
    expect_format(CALL_CHAT, "'tools':[" F "],'tool_choice':'required','parallel_tool_calls':false",
                  "tools",
                  "{anyOf:[" ONE
                  "],$defs:{call:{anyOf:[" CALLS_OF("f") "]," NAME_FIRST
                                                         "},tool:f:{$id:'tool:f',type:'object'}}}");
}

static void test_named(void **state)
{
    (void)state;
    expect_format(CALL_CHAT, TOOLS ",'tool_choice':{'type':'function','function':{'name':'f'}}",
                  "tools", ONLY_F);
    expect_format(CALL_CHAT, TOOLS ",'tool_choice':{'type':'function','name':'f'}", "tools",
                  ONLY_F);
    expect_format(CALL_CHAT,
                  "'response_format':{'type':'json_object'}," TOOLS
                  ",'tool_choice':{'type':'function','name':'f'}",
                  "tools", ONLY_F);
}

/* Those that are allowed, in either shape, are forced or looked for. */
static void test_allowed(void **state)
{
#define FLAT(mode) "{'type':'allowed_tools','mode':'" mode "','tools':[{'name':'f'}]}"
#define NESTED(mode)                                              \
    "{'type':'allowed_tools','allowed_tools':{'mode':'" mode "'," \
    "'tools':[{'type':'function','function':{'name':'f'}}]}}"
    static const char *const required[] = {FLAT("required"), NESTED("required")};
    static const char *const open[] = {FLAT("auto"), NESTED("auto")};
    struct buf members = {0}, body = {0};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(required); i++) {
        buf_clear(&members);
        buf_printf(&members, TOOLS ",'parallel_tool_calls':false,'tool_choice':%s", required[i]);
        expect_format(CALL_CHAT, members.data, "tools", ONLY_F);
        buf_clear(&members);
        buf_printf(&members, TOOLS ",'tool_choice':%s", open[i]);
        struct call c = parsed(CALL_CHAT, body_of(&body, USER, members.data));
        assert_true(c.offer.closed);
        assert_int_equal(c.grammar.n, 0);
        assert_int_equal(c.offer.bytes.len, 7);
        assert_string_equal(c.offer.bytes.data + 1, "f");
        call_free(&c);
    }
    buf_free(&members);
    buf_free(&body);
}

/* The template gets all tools, the parser looks for those that may be called. */
static void test_offered(void **state)
{
    static const char required[] = "\0f\0\x3f"
                                   "a\0\0\0g\0\0\0h.1\0"; /* a of any type */
    struct buf body = {0};
    struct call c = parsed(CALL_CHAT, body_of(&body, USER, TOOLS ",'tool_choice':'required'"));
    (void)state;
    assert_int_equal(c.offer.bytes.len, sizeof required);
    assert_memory_equal(c.offer.bytes.data, required, sizeof required);
    call_free(&c);
    body_of(&body, USER, TOOLS ",'tool_choice':{'type':'function','name':'f'}");
    c = parsed(CALL_CHAT, body.data);
    assert_true(call_wants_tools(&c));
    assert_int_equal(c.offer.bytes.len, 7);
    assert_string_equal(c.offer.bytes.data + 1, "f");
    call_free(&c);
    struct request *req = only_request(CALL_CHAT, body.data, 0);
    assert_int_equal((int)json_count(req->chat.tools), 4);
    request_unref(req);
    buf_free(&body);
}

/* ---- strict tools */

#define BEHIND(pieces, more, optional, schema) \
    "{behind:[" pieces "]" more optional ",schema:" schema "}"
#define HEADS_OF(f, optional, first, others)                                                            \
    BEHIND("'\"name\"',':','\"" f "\"',',','\"arguments\"',':'", "", optional, first)                   \
    "," BEHIND("'\"name\"',':','\"" f "\"',',','\"parameters\"',':'", "", optional, others) "," BEHIND( \
        "'\"function\"',':','\"" f "\"',',','\"arguments\"',':'", "", optional,                         \
        others) "," BEHIND("'\"function\"',':','\"" f "\"',',','\"parameters\"',':'", "",               \
                           optional,                                                                    \
                           others) "," BEHIND("'<function=" f ">'", ",parameters:true", optional,       \
                                              others) "," BEHIND("'[TOOL_CALLS]','" f "','{'", "",      \
                                                                 optional,                              \
                                                                 others) "," BEHIND("'[TOOL_"           \
                                                                                    "CALLS]','" f       \
                                                                                    "','[ARGS]'",       \
                                                                                    "", optional,       \
                                                                                    others)
#define HEADS(f, optional) \
    HEADS_OF(f, optional, "{$id:'tool:" f "',type:'object'}", "{$ref:'tool:" f "'}")

/* Each with a member of what says how strict it is. */
#define FUNCTION_TOOL(name, more) "{'type':'function','function':{'name':'" name "'" more "}}"
#define FLAT_TOOL(name, more) "{'type':'function','name':'" name "'" more "}"
#define BLOCK_TOOL(name, more) "{'name':'" name "','input_schema':{}" more "}"

static void expect_strict(enum call_route route, const char *members, const char *schema)
{
    struct buf body = {0};
    const char *prompt = route == CALL_RESPONSES ? "'input':'x'" : USER ",'max_tokens':9";
    struct request *req = only_request(route, body_of(&body, prompt, members), 0);
    assert_true(req->format.json == (schema != NULL));
    if (schema)
        expect_tree(req->format.schema, schema);
    else
        assert_null(req->format.schema);
    if (schema)
        assert_string_equal(req->format.field, "tools");
    request_unref(req);
    buf_free(&body);
}

/* Those of other types keep their places. */
static void test_strict(void **state)
{
#define OTHER_TOOL "{'type':'web_search'}"
#define STRICT ",'strict':true"
#define FREE ",'strict':false"
#define MINE "{$id:'mine',type:'object'}"
    static const struct {
        enum call_route route;
        const char *tools, *schema;
    } rows[] = {
        {CALL_CHAT,
         OTHER_TOOL "," FUNCTION_TOOL("f", FREE) "," FUNCTION_TOOL(
             "g", STRICT) "," OTHER_TOOL "," FUNCTION_TOOL("h", "") "," FUNCTION_TOOL("i", STRICT),
         "[" HEADS("g", "") "," HEADS("i", "") "]"},
        {CALL_CHAT, FUNCTION_TOOL("f", STRICT ",'parameters':{'$id':'mine','type':'object'}"),
         "[" HEADS_OF("f", "", MINE, MINE) "]"},
        {CALL_RESPONSES,
         FLAT_TOOL("f", FREE) "," OTHER_TOOL
                              "," FLAT_TOOL("g", ",'parameters':{'type':'string'}") "," FLAT_TOOL(
                                  "h", ",'strict':null") "," FLAT_TOOL("i", STRICT),
         "[" HEADS("h", ",optional:true") "," HEADS("i", "") "]"},
        {CALL_MESSAGES,
         "{'type':'bash_20250124','name':'bash'}," BLOCK_TOOL("f", "") "," BLOCK_TOOL("g", STRICT),
         "[" HEADS("g", "") "]"},
        {CALL_CHAT, FUNCTION_TOOL("f", "") "," FUNCTION_TOOL("g", FREE), NULL},
        {CALL_MESSAGES, BLOCK_TOOL("f", ""), NULL},
    };
    static const char *const choices[] = {
        "'none'", "{'type':'allowed_tools','mode':'auto','tools':[{'name':'f'}]}"};
    struct buf members = {0};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        buf_clear(&members);
        buf_printf(&members, "'tools':[%s]", rows[i].tools);
        expect_strict(rows[i].route, members.data, rows[i].schema);
    }
    for (size_t i = 0; i < COUNT_OF(choices); i++) {
        buf_clear(&members);
        buf_printf(&members, "'tools':[%s],'tool_choice':%s", rows[0].tools, choices[i]);
        expect_strict(CALL_CHAT, members.data, NULL);
    }
    buf_clear(&members);
    buf_printf(&members, "'tools':[%s],'response_format':{'type':'json_object'}", rows[0].tools);
    expect_format(CALL_CHAT, members.data, "response_format", NULL);
    buf_free(&members);
}

/* Places in the list are told as the client's own. */
static void expect_named(enum call_route route, const char *tools, const char *field)
{
    struct buf body = {0}, members = {0};
    struct api_error e = {.code = SPECD_EINVAL};
    buf_printf(&members, "'tools':[%s]", tools);
    const char *prompt = route == CALL_RESPONSES ? "'input':'x'" : USER ",'max_tokens':9";
    struct call c = parsed(route, body_of(&body, prompt, members.data));
    snprintf(e.message, sizeof e.message, "tools: schema /%d/schema/properties/a: is odd",
             (int)(c.grammar.n - 1) * TOOL_HEADS);
    grammar_tools_name(&c.grammar, &e);
    buf_clear(&members);
    buf_printf(&members, "%s: schema /properties/a: is odd", field);
    assert_string_equal(e.message, members.data);
    assert_string_equal(e.param, field);
    grammar_tools_name(&c.grammar, &e);
    assert_string_equal(e.message, members.data);
    call_free(&c);
    buf_free(&body);
    buf_free(&members);
}

static void test_bad_strict(void **state)
{
    struct buf body = {0};
    (void)state;
    expect_named(CALL_CHAT, OTHER_TOOL "," FUNCTION_TOOL("f", "") "," FUNCTION_TOOL("g", STRICT),
                 "tools[2].function.parameters");
    expect_named(CALL_RESPONSES, FLAT_TOOL("f", "") "," OTHER_TOOL "," FLAT_TOOL("g", STRICT),
                 "tools[2].parameters");
    expect_named(CALL_MESSAGES, "{'type':'bash_20250124','name':'bash'}," BLOCK_TOOL("g", STRICT),
                 "tools.1.input_schema");
    refuse_format(CALL_CHAT, "'tools':[" OTHER_TOOL "," FUNCTION_TOOL("f", ",'strict':1") "]",
                  "tools");
    refuse_format(CALL_CHAT,
                  "'tools':[" OTHER_TOOL
                  "," FUNCTION_TOOL("f", STRICT ",'parameters':{'type':'array'}") "]",
                  "tools[1].function.parameters");
    refuse(CALL_RESPONSES,
           body_of(&body, "'input':'x'",
                   "'tools':[" FLAT_TOOL("f", STRICT ",'parameters':{'type':['object']}") "]"),
           "tools[0].parameters");
    refuse(CALL_MESSAGES,
           body_of(&body, USER ",'max_tokens':9",
                   "'tools':[{'name':'f','strict':true,'input_schema':{'type':'null'}}]"),
           "tools.0.input_schema");
    buf_free(&body);
}

/* Arguments begin and end where the engine's grammar has them begin and end, in any text that it
 * lets come. */
static void test_watch(void **state)
{
    static const char *const parts[] = {
        "\"name\"",
        "\"function\"",
        "\"arguments\"",
        "\"parameters\"",
        ":",
        "\"f\"",
        "\"f.1\"",
        ",",
        "{",
        "}",
        " ",
        "\n\t",
        "<function=f>",
        "<function=f.1>",
        "</function>",
        "[TOOL_",
        "CALLS]",
        "f",
        "f.1",
        "[ARGS]",
        "\"",
        "\"a\"",
        "[",
        "]",
        "1",
        "\\",
        "x",
        "<parameter=a>",
        "</parameter>",
        "f>",
        "[TOOL_CALLS]f",
        "\"name\": \"f.1\", \"arguments\": ",
        "{\"a\": \"",
        "\"name\":\"f\",",
    };
    struct buf body = {0};
    struct call c = parsed(
        CALL_CHAT,
        body_of(&body, USER,
                "'tools':[" FUNCTION_TOOL("f", STRICT) "," FUNCTION_TOOL("g", "") "," FUNCTION_TOOL(
                    "f.1", STRICT ",'parameters':{'properties':{'a':{}}}") "]"));
    struct request *req = call_request(&c, 0, 0);
    struct grammar *g;
    char err[256] = "";
    uint64_t seed = 20;
    int begun[4] = {0};
    (void)state;
    if (grammar_compile(&g, req->format.schema, err, sizeof err) < 0)
        fail_msg("%s", err);
    for (int round = 0; round < 2000; round++) {
        struct tool_watch w = {.offer = &c.offer};
        struct grammar_state s;
        struct buf text = {0};
        grammar_start(g, &s);
        for (int i = 0; i < 60; i++) {
            const char *part = parts[rnd(&seed, COUNT_OF(parts))];
            for (; *part && grammar_accept(g, &s, part, 1); part++) {
                buf_add(&text, part, 1);
                begun[tool_watch_byte(&w, *part)]++;
                if ((w.state == WATCH_TEXT) != grammar_may_end(&s))
                    fail_msg("%.*s", (int)text.len, text.data);
            }
        }
        buf_free(&text);
    }
    assert_true(begun[1] > 500 && begun[2] == 0 && begun[3] > 500);
    grammar_unref(g);
    request_unref(req);
    call_free(&c);
    buf_free(&body);
}

/* ---- what a grammar of forced tools lets come */

/* A call alone, and behind another in a list. */
static void expect_accepted(const struct grammar *g, int i, const char *key)
{
    static const char *const shapes[][3] = {
        {"{\"name\": \"", "\", \"", "\": {}}"},
        {"[{\"name\":\"f\",\"arguments\":{}},{\"name\":\"", "\",\"", "\":{}}]"},
        {"\n[\n  {\n    \"name\": \"f\",\n    \"arguments\": {\n    }\n  },\n  {\n    \"name\": "
         "\"",
         "\",\n    \"", "\": {\n      \"x\": 1\n    }\n  }\n]"},
    };
    for (size_t n = 0; n < COUNT_OF(shapes); n++) {
        struct buf text = {0};
        struct grammar_state s;
        buf_printf(&text, "%sf%d%s%s%s", shapes[n][0], i, shapes[n][1], key, shapes[n][2]);
        grammar_start(g, &s);
        if (!grammar_accept(g, &s, text.data, text.len) || !grammar_is_over(&s))
            fail_msg("not accepted: %s", text.data);
        buf_free(&text);
    }
}

/* Each of n tools can be called, though all are open until the name is there. */
static void expect_reachable(const struct chat_value *schema, int n)
{
    struct grammar *g;
    char err[256] = "";
    if (grammar_compile(&g, schema, err, sizeof err) < 0)
        fail_msg("%d tools: %s", n, err);
    for (int i = 1; i < n; i++) {
        expect_accepted(g, i, "arguments");
        expect_accepted(g, i, "parameters");
    }
    grammar_unref(g);
}

static void test_many_tools(void **state)
{
    static const int numbers[] = {1, 2, 17, 65, CALL_TOOLS_MAX};
    struct buf members = {0}, body = {0};
    (void)state;
    for (size_t k = 0; k < COUNT_OF(numbers); k++) {
        buf_clear(&members);
        buf_puts(&members, "'tool_choice':'required','tools':[" F);
        for (int i = 1; i < numbers[k]; i++)
            buf_printf(&members, ",{'type':'function','function':{'name':'f%d'}}", i);
        buf_puts(&members, "]");
        struct request *req = only_request(CALL_CHAT, body_of(&body, USER, members.data), 0);
        expect_reachable(req->format.schema, numbers[k]);
        request_unref(req);
    }
    buf_free(&members);
    buf_free(&body);
}

static void test_bad_choices(void **state)
{
    static const char *const bad[] = {
        "'Any'",
        "'any '",
        "1",
        "{}",
        "{'type':'function'}",
        "{'type':'custom','name':'f'}",
        "{'type':'allowed_tools','mode':'auto'}",
        "{'type':'allowed_tools','mode':'none','tools':[]}",
        "{'type':'allowed_tools','mode':'required','tools':[]}",
        "{'type':'allowed_tools','mode':'auto','tools':[{'type':'function'}]}",
        "{'type':'allowed_tools','mode':'auto','tools':[{'name':'other'}]}",
        "{'type':'allowed_tools','allowed_tools':{'mode':'auto'}}",
        "{'type':'function','function':{}}",
        "{'type':'function','name':1}",
        "{'type':'function','function':{'name':'other'}}",
    };
    struct buf members = {0};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        buf_clear(&members);
        buf_printf(&members, "'tools':[" F "],'tool_choice':%s", bad[i]);
        refuse_format(CALL_CHAT, members.data, "tool_choice");
    }
    refuse_format(CALL_CHAT, "'tool_choice':'required'", "tool_choice");
    refuse_format(CALL_CHAT, "'tools':[],'tool_choice':'required'", "tool_choice");
    refuse_format(CALL_CHAT, "'tool_choice':{'type':'function','name':'f'}", "tool_choice");
    refuse_format(CALL_CHAT,
                  "'tool_choice':'required','tools':[{'type':'function','function':{'name':'f',"
                  "'parameters':{'type':'string'}}}]",
                  "tools[0].function.parameters");
    buf_free(&members);
}

/* Whatever a tool calls its parameters, a $ref in them stays in them. */
static void test_ids(void **state)
{
    static const char *const ids[] = {"'u:x'", "'#x'", "''", "null", "5"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        struct buf members = {0}, body = {0};
        struct grammar *g;
        char err[256] = "";
        buf_printf(&members,
                   "'tool_choice':'required','tools':[{'type':'function','function':{'name':'f',"
                   "'parameters':{'$id':%s,'type':'object','properties':{'a':{'$ref':'#/$defs/n'}},"
                   "'$defs':{'n':{'type':'integer'}}}}}]",
                   ids[i]);
        struct request *req = only_request(CALL_CHAT, body_of(&body, USER, members.data), 0);
        if (grammar_compile(&g, req->format.schema, err, sizeof err) < 0)
            fail_msg("%s: %s", ids[i], err);
        grammar_unref(g);
        request_unref(req);
        buf_free(&members);
        buf_free(&body);
    }
}

/* Choices share one copy, which lasts as long as any of them. */
static void test_shared(void **state)
{
    (void)state;
    struct buf body = {0};
    struct call c = parsed(CALL_COMPLETION,
                           body_of(&body, "'prompt':['x','y']", "'json_schema':{'enum':['a']}"));
    struct request *first = call_request(&c, 0, 0);
    struct request *second = call_request(&c, 1, 0);
    call_free(&c);
    assert_ptr_equal(second->format.schema, first->format.schema);
    assert_true(second->format.json);
    assert_string_equal(second->format.field, "json_schema");
    request_unref(first);
    expect_tree(second->format.schema, "{enum:['a']}");
    request_unref(second);
    buf_free(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),     cmocka_unit_test(test_no_format),
        cmocka_unit_test(test_bad_formats), cmocka_unit_test(test_required),
        cmocka_unit_test(test_named),       cmocka_unit_test(test_allowed),
        cmocka_unit_test(test_offered),     cmocka_unit_test(test_many_tools),
        cmocka_unit_test(test_bad_choices), cmocka_unit_test(test_shared),
        cmocka_unit_test(test_ids),         cmocka_unit_test(test_strict),
        cmocka_unit_test(test_bad_strict),  cmocka_unit_test(test_watch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
