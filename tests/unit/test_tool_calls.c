/*
 * Calls of tools in the words of several model families: whole, and in pieces of every size, which
 * must give the same; and what only looks like a call, which must come out as it went in.
 *
 * links: specd_server specd_fake specd_base
 */
#include "tool_calls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Feeds text in pieces and prints what came out: content, then a line for each call. */
static void parse(const char *text, size_t piece, bool one, struct buf *to)
{
    static const char offered[] = "get_weather\0add"; /* and the NUL of the array */
    struct buf names = {0}, content = {0}, calls = {0};
    struct tool_output out = {0};
    buf_add(&names, offered, sizeof offered);
    struct tool_parser *p = tool_parser_new(&names, one);
    size_t len = strlen(text);
    for (size_t at = 0; at <= len; at += piece) {
        size_t n = MIN(piece, len - at);
        tool_parser_feed(p, text + at, n, at + piece > len, &out);
        buf_add(&content, out.content.data ? out.content.data : "", out.content.len);
        for (int i = 0; i < out.n_calls; i++) {
            assert_int_equal(strlen(out.calls[i].id), TOOL_CALL_ID_SIZE - 1);
            buf_printf(&calls, "\n%s %s", out.calls[i].name, out.calls[i].arguments);
        }
        tool_output_clear(&out);
    }
    buf_clear(to);
    buf_add(to, content.data ? content.data : "", content.len);
    buf_add(to, calls.data ? calls.data : "", calls.len);
    tool_parser_free(p);
    tool_output_free(&out);
    buf_free(&names);
    buf_free(&content);
    buf_free(&calls);
}

static void expect(const char *text, bool one, const char *expected)
{
    struct buf got = {0};
    for (size_t piece = 1; piece <= strlen(text) + 1; piece++) {
        parse(text, piece, one, &got);
        if (strcmp(got.data, expected) != 0)
            fail_msg("%s\nin pieces of %zu: %s\nnot: %s", text, piece, got.data, expected);
    }
    buf_free(&got);
}

static void test_shapes(void **state)
{
    static const char *const rows[][2] = {
        {"<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Bern\"}}\n"
         "</tool_call>",
         "\nget_weather {\"city\": \"Bern\"}"},
        {"I look it up.\n\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1, "
         "\"b\": [2, {\"}\": \"]\\\"\"}]}}\n</tool_call>\n<tool_call>{\"arguments\":{},\"name\":"
         "\"other\"}</tool_call>\n",
         "I look it up.\nadd {\"a\": 1, \"b\": [2, {\"}\": \"]\\\"\"}]}\nother {}"},
        {"<tool_call>{\"name\":\"add\",\"arguments\":{}}\n{\"name\":\"add\"}</tool_call> done",
         "done\nadd {}\nadd {}"},
        {"<tool_call>{\"name\":\"add\",\"arguments\":\"{\\\"a\\\": 1}\"}", "\nadd {\"a\": 1}"},
        {"<tool_call>{\"name\":\"add\",\"arguments\":\"\"}", "\nadd {}"},
        {"{\"name\": \"get_weather\", \"parameters\": {\"id\": 12345678901234567890}}",
         "\nget_weather {\"id\": 12345678901234567890}"},
        {"\n {\"type\": \"function\", \"name\": \"add\", \"parameters\": {\"a\": \"1\"}}; "
         "{\"name\": \"add\", \"parameters\": {\"a\": \"2\"}}",
         "\nadd {\"a\": \"1\"}\nadd {\"a\": \"2\"}"},
        {"<|python_tag|>{\"name\": \"other\", \"parameters\": {\"q\": \"\\u00e9\"}}",
         "\nother {\"q\": \"\\u00e9\"}"},
        {"[TOOL_CALLS] [{\"name\": \"add\", \"arguments\": {\"a\": 1}}, "
         "{\"name\": \"get_weather\", \"arguments\": {}}]",
         "\nadd {\"a\": 1}\nget_weather {}"},
        {"[{\"name\": \"add\", \"arguments\": {\"a\": 1}}]", "\nadd {\"a\": 1}"},
        {"[TOOL_CALLS]add{\"a\": 1}[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Bern\"}",
         "\nadd {\"a\": 1}\nget_weather {\"city\": \"Bern\"}"},
        {"{\"type\":\"function\",\"function\":{\"name\":\"add\",\"arguments\":{\"a\": 1 }}}",
         "\nadd {\"a\": 1 }"},
        /* what a grammar lets a model write, and a strict reader would refuse */
        {"\n{\n  \"name\": \"add\",\n  \"parameters\": {\"a\": 1, \"a\": \"\\u0000\"}\n}",
         "\nadd {\"a\": 1, \"a\": \"\\u0000\"}"},
        {"[ {\"name\":\"add\",\"parameters\":{}},\n\t{\"name\":\"add\",\"arguments\":{\"}\":0}} ]",
         "\nadd {}\nadd {\"}\":0}"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        expect(rows[i][0], false, rows[i][1]);
}

static void test_text(void **state)
{
    static const char *const rows[] = {
        "",
        " \n",
        "No tools here. \n",
        "a < b <tool_ <tool_call",
        "  {\"answer\": 42}",
        "{\"name\": \"Bob\", \"age\": 3} is unknown",
        "[1, 2, 3]",
        "[TOOL_CALLS] none today",
        "[TOOL_CALLS]",
        "[",
        "{",
        "{}",
        "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}",
        "<tool_call>not JSON</tool_call>",
        "<tool_call>{\"name\": \"add\", \"arguments\": [1]}</tool_call>",
        "<tool_call>{\"name\": 3}</tool_call>",
        "<tool_call>{\"name\": \"add\", \"arguments\": \"a\"}</tool_call>",
        "<tool_call>{\"name\": \"add\", \"arguments\": \"{\\\"a\\\": 1\"}</tool_call>",
        "<tool_call>{'name': 'add'}</tool_call>",
        "<|python_tag|>print(1)",
        "An object: {\"name\": \"add\", \"parameters\": {}}",
        "[{\"name\": \"add\"}, {\"name\": \"nobody\"}]",
        "[{\"name\": \"add\"}, 1]",
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        expect(rows[i], false, rows[i]);
}

static void test_one(void **state)
{
    (void)state;
    expect("<tool_call>{\"name\":\"add\"}</tool_call><tool_call>{\"name\":\"b\"}</tool_call>", true,
           "\nadd {}");
    expect("[TOOL_CALLS][{\"name\":\"a\"},{\"name\":\"b\"}]", true, "\na {}");
}

/* Text that can be no call is not held back. */
static void test_prompt(void **state)
{
    static const char *const rows[][2] = {{"Hello", "Hello"},         {"Hello <", "Hello"},
                                          {"{\"answer", "{\"answer"}, {"{\"na", ""},
                                          {"x {\"na", "x {\"na"},     {"[1", "[1"}};
    struct buf names = {0};
    struct tool_output out = {0};
    (void)state;
    buf_add(&names, "f", 2);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct tool_parser *p = tool_parser_new(&names, false);
        tool_parser_feed(p, rows[i][0], strlen(rows[i][0]), false, &out);
        assert_string_equal(out.content.data ? out.content.data : "", rows[i][1]);
        tool_output_clear(&out);
        tool_parser_free(p);
    }
    tool_output_free(&out);
    buf_free(&names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_one),
        cmocka_unit_test(test_prompt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
