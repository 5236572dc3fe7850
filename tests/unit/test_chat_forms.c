/*
 * Conversations in the form that a chat template takes: what templates want, each by a small one of
 * its kind, what becomes of messages that it has no place for, and that no text is lost without an
 * error. All templates and forms at large: tests/oracle/check_forms.py.
 *
 * links: specd_jinja specd_json specd_base
 */
#include "jinja/chat.h"
#include "specd/error.h"
#include "specd/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Single quotes stand for double ones. */
static struct json *json_of(const char *text)
{
    struct json *doc;
    char err[128], *copy = xstrdup(text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    if (json_loads(&doc, copy, strlen(copy), err, sizeof err) < 0)
        fail_msg("%s: %s", text, err);
    free(copy);
    return doc;
}

static int render(const char *source, const char *messages, const char *tools, struct buf *out,
                  char *err, size_t errlen)
{
    struct chat_template *t;
    struct json *m = json_of(messages), *list = tools ? json_of(tools) : NULL;
    struct chat_vars vars = {
        .options = {.messages = m, .tools = list}, .bos_token = "<s>", .field = "messages"};
    int rc = chat_template_create(&t, source, false, err, errlen);
    assert_int_equal(rc, 0);
    rc = chat_render(t, &vars, out, NULL, err, errlen);
    chat_template_free(t);
    json_free(m);
    json_free(list);
    return rc;
}

static void expect(const char *source, const char *messages, const char *tools, const char *prompt)
{
    struct buf out = {0};
    char err[256] = "";
    if (render(source, messages, tools, &out, err, sizeof err) < 0)
        fail_msg("%s\n%s", source, err);
    assert_string_equal(out.data, prompt);
    buf_free(&out);
}

static void expect_error(const char *source, const char *messages, const char *reason)
{
    struct buf out = {0};
    char err[256] = "";
    buf_puts(&out, "before");
    assert_int_equal(render(source, messages, NULL, &out, err, sizeof err), SPECD_EINVAL);
    assert_string_equal(err, reason);
    assert_string_equal(out.data, "before");
    buf_free(&out);
}

#define EACH(body) "{% for m in messages %}" body "{% endfor %}"
#define CONTENT "<{{ m.role }}>{{ m.content }}"
#define CALLS(body) "{% for t in m.tool_calls or [] %}[{{ t.function.name }} " body "]{% endfor %}"
#define OBJECT CALLS("{% for k, v in t.function.arguments.items() %}{{ k }}={{ v }};{% endfor %}")
#define JOINED CALLS("{{ 'x' + t['function']['arguments'] }}")
#define OR_NOT "<{{ m.role }}>{{ m.content or '' }}"

#define CALL(id, name, arguments) \
    "{'id':'" id "','type':'function','function':{'name':'" name "'" arguments "}}"
#define CALLER(content, calls) "{'role':'assistant'" content ",'tool_calls':[" calls "]}"
#define RESULT(id, text) "{'role':'tool','tool_call_id':'" id "','content':'" text "'}"
#define USER(text) "{'role':'user','content':'" text "'}"
#define SYSTEM(text) "{'role':'system','content':'" text "'}"
#define DEVELOPER(text) "{'role':'developer','content':'" text "'}"
#define ASSISTANT(text) "{'role':'assistant','content':'" text "'}"
#define ONE_CALL              \
    "[" USER("a") "," CALLER( \
        ",'content':null",    \
        CALL("call_1", "f", ",'arguments':'{\\'x\\': 1}'")) "," RESULT("call_1", "r") "]"

/* ---- roles */

static void test_developer(void **state)
{
    static const char branches[] = EACH(
        "{% if m.role == 'system' %}S:{{ m.content }}{% elif m.role == 'user' %}U:{{ m.content "
        "}}{% elif m.role == 'assistant' %}A:{{ m.content }}{% endif %}");
    static const char strict[] = EACH("{% if m.role not in ['user', 'developer'] %}{{ "
                                      "raise_exception('role') }}{% endif %}" CONTENT);
    static const char none[] =
        EACH("{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}" CONTENT);
    (void)state;
    expect(branches, "[" DEVELOPER("b") "," USER("a") "]", NULL, "S:bU:a");
    expect(EACH(CONTENT), "[" DEVELOPER("b") "," USER("a") "]", NULL, "<system>b<user>a");
    expect(EACH(CONTENT), "[" USER("a") "," ASSISTANT("c") "," DEVELOPER("b") "," USER("d") "]",
           NULL, "<user>a<assistant>c<system>b<user>d");
    expect(strict, "[" SYSTEM("b") "," USER("a") "]", NULL, "<developer>b<user>a");
    expect(strict, "[" DEVELOPER("b") "," USER("a") "]", NULL, "<developer>b<user>a");
    expect(none, "[" DEVELOPER("b") "," USER("a") "]", NULL, "<user>b<user>a");
}

static void test_systems(void **state)
{
    static const char first[] = EACH("{% if m.role == 'system' and not loop.first %}{{ "
                                     "raise_exception('no') }}{% endif %}" CONTENT);
    static const char last[] = "{% set ns = namespace(s='') %}" EACH(
        "{% if m.role == 'system' %}{% set ns.s = m.content %}"
        "{% endif %}") "[{{ ns.s }}]" EACH("{% if m.role != 'system' %}" CONTENT "{% endif %}");
    static const char turns[] =
        EACH("{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns') }}"
             "{% endif %}" CONTENT);
    static const char many[] = "[" SYSTEM("a") "," DEVELOPER("b") "," USER("c") "," ASSISTANT(
        "d") "," SYSTEM("e") "," USER("f") "]";
    (void)state;
    expect(first, many, NULL, "<system>a\n\nb<user>c<assistant>d<user>e<user>f");
    expect(last, many, NULL, "[a\n\nb]<user>c<assistant>d<user>e<user>f");
    expect(turns, many, NULL, "<user>a\n\nb\n\nc<assistant>d<user>e\n\nf");
    expect(EACH(CONTENT), many, NULL, "<system>a<system>b<user>c<assistant>d<system>e<user>f");
    /* not between a call and its result */
    expect(
        "{% if messages[1:] | selectattr('role', 'equalto', 'system') | list %}"
        "{{ raise_exception('no') }}{% endif %}" EACH(OR_NOT OBJECT),
        "[" USER("a") "," CALLER("", CALL("1", "f", "")) "," SYSTEM("b") "," RESULT("1", "r") "]",
        NULL, "<user>a<assistant>[f ]<tool>r<user>b");
}

/* ---- contents */

static void test_parts(void **state)
{
    static const char *const templates[] = {
        EACH("<{{ m.role }}>{% for p in m.content | selectattr('type', 'equalto', 'text') %}"
             "{{ p['text'] }}{% endfor %}"),
        EACH("<{{ m.role }}>{% for p in m.content %}{% if p['type'] == 'image' %}<img>{% elif "
             "p['type'] == 'text' %}{{ p['text'] }}{% endif %}{% endfor %}"),
        EACH("<{{ m.role }}>{% if m.role == 'user' %}{{ m.content | map(attribute='text') | join }}"
             "{% else %}{{ m.content }}{% endif %}"),
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(templates); i++) {
        expect(templates[i], "[" USER("a") "," ASSISTANT("b") "]", NULL, "<user>a<assistant>b");
        expect(templates[i],
               "[{'role':'user','content':[{'type':'text','text':'a'},"
               "{'type':'text','text':'b'}]}]",
               NULL, "<user>ab");
    }
    expect(EACH(CONTENT),
           "[{'role':'user','content':[{'type':'text','text':'a'},"
           "{'type':'text','text':'b'}]}]",
           NULL, "<user>a\nb");
    expect(EACH("<{{ m.role }}>{{ m.content[0].text }}"),
           "[{'role':'user','content':[{'type':'text','text':'a'},{'type':'text','text':'b'}]}]",
           NULL, "<user>a\nb");
    expect(EACH("<{{ m.content | tojson }}>"),
           "[{'role':'user','content':[{'type':'text','text':'a'}]}]", NULL, "<\"a\">");
    expect(EACH(CONTENT),
           "[" USER("a") ",{'role':'assistant','content':[{'type':'refusal',"
                         "'refusal':'no'}]}]",
           NULL, "<user>a<assistant>no");
}

static void test_empty_contents(void **state)
{
    static const char absent[] =
        EACH("<{{ m.role }}>{% if 'content' in m %}{{ m.content }}{% else %}" OBJECT "{% endif %}");
    static const char none[] = EACH("<{{ m.role }}>{% if m.content is none %}" OBJECT
                                    "{% else %}{{ m.content }}{% endif %}");
    static const char added[] = EACH("{{ '<' + m.role + '>' + m['content'] }}" OBJECT);
    static const char trimmed[] = EACH("<{{ m.role }}>{{ m['content'] | trim }}" OBJECT);
    static const char *const contents[] = {"", ",'content':null", ",'content':''",
                                           ",'content':' '"};
    static const char *const templates[] = {absent, none, added, trimmed, EACH(OR_NOT OBJECT)};
    char messages[400];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(contents); i++) {
        snprintf(messages, sizeof messages,
                 "[" USER("a") ",{'role':'assistant'%s,'tool_calls':[%s]}," RESULT("1", "r") "]",
                 contents[i], CALL("1", "f", ",'arguments':{'x':1}"));
        for (size_t k = 0; k < COUNT_OF(templates); k++)
            expect(templates[k], messages, NULL, "<user>a<assistant>[f x=1;]<tool>r");
    }
    expect(EACH(CONTENT "{% if 'tool_calls' in m %}!{% endif %}"),
           "[" USER("a") ",{'role':'assistant','content':null,'tool_calls':[]}]", NULL,
           "<user>a<assistant>");
}

/* ---- calls */

static void test_arguments(void **state)
{
    static const char dumped[] = EACH(OR_NOT CALLS("{{ t.function.arguments | tojson }}"));
    static const char either[] =
        EACH(OR_NOT CALLS("{% if t.function.arguments is string %}{{ t.function.arguments }}"
                          "{% else %}{{ t.function.arguments | tojson }}{% endif %}"));
#define WITH(arguments) \
    "[" USER("a") "," CALLER("", CALL("1", "f", arguments)) "," RESULT("1", "r") "]"
    (void)state;
    expect(EACH(OR_NOT JOINED), ONE_CALL, NULL, "<user>a<assistant>[f x{\"x\": 1}]<tool>r");
    expect(EACH(OR_NOT OBJECT), ONE_CALL, NULL, "<user>a<assistant>[f x=1;]<tool>r");
    expect(dumped, ONE_CALL, NULL, "<user>a<assistant>[f {\"x\": 1}]<tool>r");
    expect(either, WITH(",'arguments':'{\\'x\\':1.10}'"), NULL,
           "<user>a<assistant>[f {\"x\":1.10}]<tool>r");
    expect(EACH(OR_NOT JOINED), WITH(",'arguments':{'x':9007199254740993,'y':[1.0]}"), NULL,
           "<user>a<assistant>[f x{\"x\": 9007199254740993, \"y\": [1.0]}]<tool>r");
    static const char *const nothing[] = {WITH(""), WITH(",'arguments':null"),
                                          WITH(",'arguments':''"), WITH(",'arguments':{}")};
    for (size_t i = 0; i < COUNT_OF(nothing); i++) {
        expect(EACH(OR_NOT JOINED), nothing[i], NULL, "<user>a<assistant>[f x{}]<tool>r");
        expect(EACH(OR_NOT OBJECT), nothing[i], NULL, "<user>a<assistant>[f ]<tool>r");
        expect(dumped, nothing[i], NULL, "<user>a<assistant>[f {}]<tool>r");
    }
}

/* What json.loads makes of a text, and what stays one. */
static void test_what_arguments_say(void **state)
{
    static const char *const rows[][2] = {
        {"{\\'id\\':12345678901234567890123,\\'x\\':1.10e+05}",
         "{\"id\": 12345678901234567890123, \"x\": 1.10e+05}"},
        {"{\\'a\\':NaN,\\'b\\':[-Infinity]}", "{\"a\": NaN, \"b\": [-Infinity]}"},
        {"{\\'a\\':1,\\'a\\':2}", "{\"a\": 2}"},
        {"{\\'a\\':\\'\\\\u0000\\\\ud800\\'}", "{\"a\": \"\xef\xbf\xbd\xef\xbf\xbd\"}"},
        {"[1]", "\"[1]\""},
        {"{a:1}", "\"{a:1}\""},
    };
    char messages[400], prompt[200];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        snprintf(messages, sizeof messages,
                 "[" USER("a") "," CALLER("", CALL("1", "f", ",'arguments':'%s'")) "," RESULT(
                     "1", "r") "]",
                 rows[i][0]);
        snprintf(prompt, sizeof prompt, "<user>a<assistant>[f %s]<tool>r", rows[i][1]);
        expect(EACH(OR_NOT CALLS("{{ t.function.arguments | tojson }}")), messages, NULL, prompt);
    }
}

#define TWO_CALLS                                                                 \
    "[" USER("a") "," CALLER(                                                     \
        ",'content':'t'",                                                         \
        CALL("toolu_long1", "f", "") "," CALL(                                    \
            "call_abcDEF123", "g", "")) "," RESULT("call_abcDEF123",              \
                                                   "s") "," RESULT("toolu_long1", \
                                                                   "r") "," USER("b") "]"

static void test_several_calls(void **state)
{
    static const char one[] = EACH(OR_NOT "{% if m.tool_calls and m.tool_calls | length != 1 %}"
                                          "{{ raise_exception('one call') }}{% endif %}" OBJECT);
    static const char first[] =
        EACH(OR_NOT "{% if m.tool_calls %}[{{ m.tool_calls[0].function.name }} "
                    "{{ m.tool_calls[0].function.arguments | tojson }}]{% endif %}");
    (void)state;
    expect(EACH(OR_NOT OBJECT), TWO_CALLS, NULL,
           "<user>a<assistant>t[f ][g ]<tool>s<tool>r<user>b");
    expect(one, TWO_CALLS, NULL, "<user>a<assistant>t[f ]<tool>r<assistant>[g ]<tool>s<user>b");
    expect(first, TWO_CALLS, NULL,
           "<user>a<assistant>t[f {}]<tool>r<assistant>[g {}]<tool>s<user>b");
}

static void test_text_beside_calls(void **state)
{
    static const char either[] =
        EACH("<{{ m.role }}>{% if m.tool_calls %}" OBJECT "{% else %}{{ m.content }}{% endif %}");
    static const char turns[] = "{% set ns = namespace(n=0) %}" EACH(
        "{% if m.role == 'user' or (m.role == 'assistant' and not m.tool_calls) %}"
        "{% if (m.role == 'user') != (ns.n % 2 == 0) %}{{ raise_exception('turns') }}{% endif %}"
        "{% set ns.n = ns.n + 1 %}{% endif %}<{{ m.role }}>{% if m.tool_calls %}" OBJECT
        "{% else %}{{ m.content }}{% endif %}");
    static const char messages[] =
        "[" USER("a") "," CALLER(",'content':'t'", CALL("1", "f", "")) "," RESULT(
            "1", "r") "," ASSISTANT("c") "," USER("d") "]";
    (void)state;
    expect(either, messages, NULL, "<user>a<assistant>t<assistant>[f ]<tool>r<assistant>c<user>d");
    expect(turns, messages, NULL,
           "<user>a<assistant>t\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>"
           "<user><tool_response>\nr\n</tool_response><assistant>c<user>d");
}

static void test_ids(void **state)
{
    static const char nine[] =
        EACH(OR_NOT "{% for t in m.tool_calls or [] %}{% if t.id | length != 9 %}{{ "
                    "raise_exception('nine') }}{% endif %}[{{ t.id }}]{% endfor %}" OBJECT
                    "{% if m.role == 'tool' %}{% if m.tool_call_id | length != 9 %}"
                    "{{ raise_exception('nine') }}{% endif %}[{{ m.tool_call_id }}]{% endif %}");
    struct buf out = {0};
    char err[128], *first, *again;
    (void)state;
    assert_int_equal(render(nine, TWO_CALLS, NULL, &out, err, sizeof err), 0);
    first = strstr(out.data, "t[");
    assert_non_null(first);
    assert_memory_equal(first + 11, "][abcDEF123][f ][g ]", 20);
    again = strstr(out.data, "r[");
    assert_non_null(again);
    assert_memory_equal(first + 1, again + 1, 11);
    assert_non_null(strstr(out.data, "<tool>s[abcDEF123]"));
    buf_free(&out);
    /* a result without an id is of the next call */
    expect(
        EACH(OR_NOT OBJECT "{% if m.role == 'tool' %}[{{ m.tool_call_id }}]{% endif %}"),
        "[" USER("a") "," CALLER(
            "", CALL("x", "f", "") "," CALL(
                    "y", "g", "")) ","
                                   "{'role':'tool','content':'r'},{'role':'tool','content':'s'}]",
        NULL, "<user>a<assistant>[f ][g ]<tool>r[x]<tool>s[y]");
    expect(
        EACH("{% if m.role == 'tool' %}{{ '<' + m.name + '>' + m.content }}{% else %}" OR_NOT OBJECT
             "{% endif %}"),
        ONE_CALL, NULL, "<user>a<assistant>[f x=1;]<f>r");
}

/* ---- reasoning */

static void test_reasoning(void **state)
{
    static const char thinks[] = EACH("<{{ m.role }}>{{ m.thinking }}|{{ m.content }}");
    static const char drops[] =
        EACH("<{{ m.role }}>{{ m.content.split('</think>')[-1] if m.content else '' }}");
    (void)state;
    expect(thinks, "[" USER("a") ",{'role':'assistant','content':'b','reasoning_content':'c'}]",
           NULL, "<user>|a<assistant>c|b");
    expect(thinks, "[" USER("a") ",{'role':'assistant','content':'b','reasoning':'c'}]", NULL,
           "<user>|a<assistant>c|b");
    expect(drops,
           "[" USER("a") ",{'role':'assistant','content':'<think>c</think>b',"
                         "'reasoning_content':'c'}]",
           NULL, "<user>a<assistant>b");
}

/* ---- thoughts */

/* How an answer begins: with none, or one that may come, or one that the prompt has begun. */
static void expect_thought(const char *source, const char *messages, bool prompt, bool goes_on,
                           const char *open, bool begun)
{
    struct chat_template *t;
    struct json *m = json_of(messages);
    struct chat_vars vars = {.options = {.messages = m,
                                         .add_generation_prompt = prompt && !goes_on,
                                         .continue_final = goes_on}};
    struct buf out = {0};
    struct text_spans client = {0};
    char err[256] = "";
    assert_int_equal(chat_template_create(&t, source, false, err, sizeof err), 0);
    if (chat_render(t, &vars, &out, &client, err, sizeof err) < 0)
        fail_msg("%s\n%s", source, err);
    struct thinking thinking = chat_thinking(t, &vars.options, &out, &client);
    if (open)
        assert_string_equal(thinking.tags->open, open);
    else
        assert_null(thinking.tags);
    if (thinking.begun != begun)
        fail_msg("%s\n%s: begun is %d", source, out.data, thinking.begun);
    text_spans_free(&client);
    buf_free(&out);
    chat_template_free(t);
    json_free(m);
}

static void test_thoughts(void **state)
{
    static const char plain[] = EACH(CONTENT);
    static const char splits[] = EACH("<{{ m.role }}>{{ m.content.split('</think>')[-1] }}");
    static const char whole[] = EACH(CONTENT) "{# </think> #}";
    static const char opens[] =
        EACH(CONTENT) "{% if add_generation_prompt %}<assistant><think>\n{% endif %}";
    static const char closes[] =
        EACH(CONTENT) "{% if add_generation_prompt %}{{ '<think>\n\n</think>\n' }}{% endif %}";
    static const char asks[] = EACH(CONTENT) "{{ 'Here is my ' + 'response:' }}"
                                             "{# 'Here is my thought process:' #}";
    static const char user[] = "[" USER("a") "]", tag[] = "[" USER("<think>") "]",
                      begun[] = "[" USER("a") "," ASSISTANT("<think>b</think>c <think>d") "]",
                      over[] = "[" USER("<think>") "," ASSISTANT("<think>b</think>c") "]";
    (void)state;
    expect_thought(plain, user, true, false, NULL, false);
    expect_thought(plain, begun, true, true, NULL, false);
    expect_thought(splits, user, true, false, "<think>", false);
    expect_thought(opens, user, true, false, "<think>", true);
    expect_thought(opens, user, false, false, "<think>", false);
    expect_thought(opens, tag, true, false, "<think>", true);
    expect_thought(closes, user, true, false, "<think>", false);
    expect_thought(asks, user, true, false, "Here is my thought process:", false);
    expect_thought(EACH("[INST]{{ m.content }}{# [/THINK] #}"), user, true, false, "[THINK]",
                   false);
    /* what a message spells begins none, but for an answer that goes on */
    expect_thought(whole, tag, true, false, "<think>", false);
    expect_thought(whole, tag, false, false, "<think>", false);
    expect_thought(whole, begun, false, true, "<think>", true);
    expect_thought(whole, over, false, true, NULL, false);
    expect_thought(opens, over, false, true, NULL, false);
}

/* ---- in words */

static void test_told(void **state)
{
    static const char tools[] = "[{'type':'function','function':{'name':'f'}}]";
    static const char words[] =
        "You can call tools. Each line here describes one, as JSON:\n<tools>\n"
        "{\"type\":\"function\",\"function\":{\"name\":\"f\"}}\n</tools>\n"
        "To call a tool, write its name and its arguments, as JSON, in this form:\n<tool_call>\n"
        "{\"name\": \"the name\", \"arguments\": {...}}\n</tool_call>\nWhat it returns comes back "
        "to "
        "you between <tool_response> and </tool_response>.";
    char prompt[1000];
    (void)state;
    snprintf(prompt, sizeof prompt, "<system>%s<user>a", words);
    expect(EACH(CONTENT), "[" USER("a") "]", tools, prompt);
    snprintf(prompt, sizeof prompt, "<system>s\n\n%s<user>a", words);
    expect(EACH(CONTENT), "[" SYSTEM("s") "," USER("a") "]", tools, prompt);
    snprintf(
        prompt, sizeof prompt,
        "<system>%s<user>a<assistant><tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n"
        "</tool_call><user><tool_response>\nr\n</tool_response>",
        words);
    expect(EACH(CONTENT), ONE_CALL, tools, prompt);
    expect(
        EACH(CONTENT), TWO_CALLS, NULL,
        "<user>a<assistant>t\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n"
        "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call><user><tool_response>\ns\n"
        "</tool_response>\n<tool_response>\nr\n</tool_response><user>b");
    expect("{{ tools | tojson }}" EACH(CONTENT), "[" USER("a") "]", tools,
           "[{\"type\": \"function\", \"function\": {\"name\": \"f\"}}]<user>a");
    expect("{% for t in tools or [] %}{{ t.function.name + t.function.description }}{{ "
           "t.function.parameters.properties.items() | list }}{% endfor %}" EACH(CONTENT),
           "[" USER("a") "]", tools, "f[]<user>a");
}

/* ---- what has no place */

static void test_lost(void **state)
{
    static const char last[] = EACH("{% if loop.last %}" CONTENT "{% endif %}");
    static const char *const gone =
        "messages: the chat template has no place for the text of 'messages[0]'";
    (void)state;
    expect(last, "[" USER("a") "]", NULL, "<user>a");
    expect(last, "[" USER(" \\n") "," USER("a") "]", NULL, "<user>a");
    expect(last, "[" USER("zz") "," USER("a") "]", NULL, "<user>zz\n\na");
    expect_error(last, "[" USER("zz") "," ASSISTANT("b") "," USER("a") "]", gone);
    expect_error(
        EACH("{% if 'a' in m.content or messages | length < 5 %}" CONTENT "{% endif %}"),
        "[" USER("zz") "," ASSISTANT("a") "," USER("a") "," ASSISTANT("a") "," USER("a") "]", gone);
    /* changed, not lost */
    expect(EACH("<{{ m.content | upper }}>"), "[" USER("zz") "]", NULL, "<ZZ>");
    expect(EACH("<{{ m.content | tojson }}>"), "[" USER("z\\nz") "]", NULL, "<\"z\\nz\">");
    expect(EACH("{% if loop.index > 1 %}" CONTENT "{% endif %}") "{{ messages[0].content }}",
           "[" USER("first") "," USER("second") "]", NULL, "<user>secondfirst");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_developer),     cmocka_unit_test(test_systems),
        cmocka_unit_test(test_parts),         cmocka_unit_test(test_empty_contents),
        cmocka_unit_test(test_arguments),     cmocka_unit_test(test_what_arguments_say),
        cmocka_unit_test(test_several_calls), cmocka_unit_test(test_text_beside_calls),
        cmocka_unit_test(test_ids),           cmocka_unit_test(test_reasoning),
        cmocka_unit_test(test_thoughts),      cmocka_unit_test(test_told),
        cmocka_unit_test(test_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
