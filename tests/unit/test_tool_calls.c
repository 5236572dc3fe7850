/*
 * Calls of tools in the words of several model families: whole, at every cut and every pair of
 * cuts, which must give the same; what only looks like a call, which must come out as it went in;
 * calls that break off; and how early what is certain comes out.
 *
 * links: specd_server specd_fake specd_base
 */
#include "tool_calls.h"

#include "rnd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CALL(name, arguments) "(" name " " arguments ")"

static bool strict; /* are the tools? */

/* get_weather(city, days, when), add: nothing is known of its parameters. */
static void offer(struct tool_offer *o)
{
    static const char bytes[] = "\0"
                                "get_weather\0"
                                "\x08"
                                "city\0"
                                "\x04"
                                "days\0"
                                "\x09"
                                "when\0"
                                "\x10"
                                "hours\0"
                                "\x02"
                                "now\0"
                                "\0"
                                "\0"
                                "add\0"; /* and the NUL of the array */
    buf_add(&o->bytes, bytes, sizeof bytes);
    o->strict = strict;
    if (strict)
        o->bytes.data[0] = o->bytes.data[sizeof bytes - sizeof "?add\0"] = TOOL_STRICT;
}

/* What came, as text: a call that has ended is CALL, one that is open lacks the bracket. */
struct heard {
    struct buf text;
    int n_calls;
    bool open;
};

static void hear(struct heard *h, const struct tool_output *out)
{
    for (int i = 0; i < out->n_events; i++) {
        const struct tool_event *e = &out->events[i];
        const char *bytes = out->bytes.data + e->at;
        assert_true(e->at + e->len <= out->bytes.len);
        assert_true(h->open == (e->kind == TOOL_ARGUMENTS || e->kind == TOOL_END));
        if (i > 0 && (e->kind == TOOL_TEXT || e->kind == TOOL_ARGUMENTS))
            assert_int_not_equal(e->kind, e[-1].kind);
        if (e->kind == TOOL_BEGIN) {
            assert_int_equal(strlen(e->id), TOOL_CALL_ID_SIZE - 1);
            h->n_calls++;
        }
        if (e->kind != TOOL_TEXT)
            assert_int_equal(e->call, h->n_calls - 1);
        assert_true(e->kind == TOOL_END ? e->len == 0 : e->len > 0);
        buf_puts(&h->text, e->kind == TOOL_BEGIN ? "(" : "");
        buf_add(&h->text, bytes, e->len);
        buf_puts(&h->text, e->kind == TOOL_BEGIN ? " " : e->kind == TOOL_END ? ")" : "");
        h->open = e->kind == TOOL_BEGIN || e->kind == TOOL_ARGUMENTS;
    }
}

/* Feeds text in pieces that end at the cuts, which are in order, and at its end. */
static void parse(const char *text, const size_t *cuts, int n_cuts, bool one, struct buf *to)
{
    struct tool_offer o = {0};
    struct tool_output out = {0};
    struct heard h = {.text = *to};
    offer(&o);
    struct tool_parser *p = tool_parser_new(&o, one);
    size_t at = 0, len = strlen(text);
    buf_clear(&h.text);
    buf_puts(&h.text, "");
    for (int i = 0; i <= n_cuts; i++) {
        size_t end = i < n_cuts ? cuts[i] : len;
        tool_parser_feed(p, text + at, end - at, i == n_cuts, &out);
        hear(&h, &out);
        assert_int_equal(tool_parser_n_calls(p), h.n_calls);
        tool_output_clear(&out);
        at = end;
    }
    assert_false(h.open);
    *to = h.text;
    tool_parser_free(p);
    tool_output_free(&out);
    buf_free(&o.bytes);
}

static void check(const char *text, const size_t *cuts, int n_cuts, bool one, const char *expected)
{
    static struct buf got;
    parse(text, cuts, n_cuts, one, &got);
    if (strcmp(got.data, expected) != 0)
        fail_msg("%s\ncut %d times, at %zu: %s\nnot: %s", text, n_cuts, n_cuts ? cuts[0] : 0,
                 got.data, expected);
}

/* Whole, byte by byte, at each cut and each pair of them. */
static void expect(const char *text, bool one, const char *expected)
{
    size_t len = strlen(text), *all = calloc(len + 1, sizeof *all);
    for (size_t i = 0; i < len; i++)
        all[i] = i;
    check(text, NULL, 0, one, expected);
    check(text, all, (int)len, one, expected);
    for (size_t a = 0; a <= len; a++)
        for (size_t b = a; b <= len; b++)
            check(text, (size_t[]){a, b}, 2, one, expected);
    free(all);
}

static const char *const spellings[][2] = {
    {"<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Bern\"}}\n"
     "</tool_call>",
     CALL("get_weather", "{\"city\": \"Bern\"}")},
    {"I look it up.\n\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1, "
     "\"b\": [2, {\"}\": \"]\\\"\"}]}}\n</tool_call>\n<tool_call>{\"arguments\":{},\"name\":"
     "\"other\"}</tool_call>\n",
     "I look it up." CALL("add", "{\"a\": 1, \"b\": [2, {\"}\": \"]\\\"\"}]}") CALL("other", "{}")},
    {"<tool_call>{\"name\":\"add\",\"arguments\":{}}\n{\"name\":\"add\"}</tool_call> done",
     CALL("add", "{}") CALL("add", "{}") "done"},
    {"<tool_call>{\"name\":\"add\",\"arguments\":\"{\\\"a\\\": 1}\"}", CALL("add", "{\"a\": 1}")},
    {"<tool_call>{\"name\":\"add\",\"arguments\":\"\"}", CALL("add", "{}")},
    {"<tool_call>{\"arguments\":\"{\\\"a\\\": [1]}\", \"id\":3, \"name\":\"\\u0061dd\"}",
     CALL("add", "{\"a\": [1]}")},
    {"<tool_call>{\"arguments\": {\"a\": {\"name\": \"x\"}} ,\"type\":[1],\"name\":\"add\", \"x\":{"
     "\"name\":\"y\"}}</tool_call>",
     CALL("add", "{\"a\": {\"name\": \"x\"}}")},
    {"<tool_call>{\"name\":\"add\",\"arguments\":null,\"parameters\":{\"a\":-1.5e+3}}</tool_call>",
     CALL("add", "{\"a\":-1.5e+3}")},
    {"{\"name\": \"get_weather\", \"parameters\": {\"id\": 12345678901234567890}}",
     CALL("get_weather", "{\"id\": 12345678901234567890}")},
    {"\n {\"type\": \"function\", \"name\": \"add\", \"parameters\": {\"a\": \"1\"}}; "
     "{\"name\": \"add\", \"parameters\": {\"a\": \"2\"}}",
     CALL("add", "{\"a\": \"1\"}") CALL("add", "{\"a\": \"2\"}")},
    {"<|python_tag|>{\"name\": \"other\", \"parameters\": {\"q\": \"\\u00e9\"}}",
     CALL("other", "{\"q\": \"\\u00e9\"}")},
    {"[TOOL_CALLS] [{\"name\": \"add\", \"arguments\": {\"a\": 1}, \"id\": \"x\"}, "
     "{\"name\": \"get_weather\", \"arguments\": {}}]",
     CALL("add", "{\"a\": 1}") CALL("get_weather", "{}")},
    {"[{\"name\": \"add\", \"arguments\": {\"a\": 1}}]", CALL("add", "{\"a\": 1}")},
    {"[TOOL_CALLS]add{\"a\": 1}[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Bern\"}",
     CALL("add", "{\"a\": 1}") CALL("get_weather", "{\"city\": \"Bern\"}")},
    {"[TOOL_CALLS]add[CALL_ID]a1b2c3d4e[ARGS]{\"a\": 1}Well", CALL("add", "{\"a\": 1}") "Well"},
    {"{\"type\":\"function\",\"function\":{\"name\":\"add\",\"arguments\":{\"a\": 1 }}}",
     CALL("add", "{\"a\": 1 }")},
    {"{\"function\":{\"arguments\":{\"a\":{}},\"name\":\"add\"},\"id\":\"1\"} ",
     CALL("add", "{\"a\":{}}")},
    {"{\"function\":\"add\",\"arguments\":{}}", CALL("add", "{}")},
    /* what a grammar lets a model write, and a strict reader would refuse */
    {"\n{\n  \"name\": \"add\",\n  \"parameters\": {\"a\": 1, \"a\": \"\\u0000\"}\n}",
     CALL("add", "{\"a\": 1, \"a\": \"\\u0000\"}")},
    {"[ {\"name\":\"add\",\"parameters\":{}},\n\t{\"name\":\"add\",\"arguments\":{\"}\":0}} ]",
     CALL("add", "{}") CALL("add", "{\"}\":0}")},
    /* coders' */
    {"Sure:\n```json\n{\"name\": \"add\", \"arguments\": {\"a\": \"\\u00e9\xc3\xa9\"}}\n```\nDone.",
     "Sure:" CALL("add", "{\"a\": \"\\u00e9\xc3\xa9\"}") "Done."},
    {"```xml\n<tools>\n{\"name\": \"add\", \"arguments\": {}}\n{\"name\": \"get_weather\", "
     "\"arguments\": {\"city\": \"x\"}}\n</tools>\n```",
     CALL("add", "{}") CALL("get_weather", "{\"city\": \"x\"}")},
    {"<tools>[{\"name\": \"add\", \"arguments\": {}}]</tools>", CALL("add", "{}")},
    {"```\n{\"name\": \"add\", \"arguments\": {}}", CALL("add", "{}")},
    {"```json\n<tool_call>\n{\"name\": \"add\"}\n</tool_call>\n``` x", CALL("add", "{}") "x"},
    {"<tool_call>\n<function=get_weather>\n<parameter=city>\nBern \"<\n</parameter>\n"
     "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
     CALL("get_weather", "{\"city\": \"Bern \\\"<\", \"days\": 3}")},
    {"<function=get_weather><parameter=city></parameter><parameter=when>None</parameter>"
     "<parameter=hours>[1, 2]</parameter><parameter=now>\nTrue\n</parameter></function>!",
     CALL("get_weather", "{\"city\": \"\", \"when\": null, \"hours\": [1, 2], \"now\": true}") "!"},
    {"<function=get_weather><parameter=days>three\n\n</parameter><parameter=when>5</parameter>"
     "<parameter=other>{\"a\":\"</p\"}</parameter></function>",
     CALL("get_weather", "{\"days\": \"three\\n\", \"when\": \"5\", \"other\": {\"a\":\"</p\"}}")},
    {"<function=add>\n</function><function=add>{\"a\": 1}</function>",
     CALL("add", "{}") CALL("add", "{\"a\": 1}")},
    {"<tool_call><function=new><parameter=k>a\nb</parameter></tool_call>",
     CALL("new", "{\"k\": \"a\\nb\"}")},
};

static void test_spellings(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(spellings); i++)
        expect(spellings[i][0], false, spellings[i][1]);
}

static const char *const texts[] = {
    "",
    " \n",
    "No tools here. \n",
    "a < b <tool_ <tool_call",
    "  {\"answer\": 42}",
    "{\"name\": \"Bob\", \"age\": 3} is unknown",
    "{\"name\": \"add\", \"about\": \"adds\"}",
    "{\"type\": \"object\", \"properties\": {}}",
    "[1, 2, 3]",
    "[TOOL_CALLS] none today",
    "[TOOL_CALLS]",
    "[TOOL_CALLS]add[CALL_ID]x y",
    "[",
    "{",
    "{}",
    "x \n<tool_call> \n{\"name\": \"add\", \"arg",
    "<tool_call>not JSON</tool_call>",
    "<tool_call>{\"name\": \"add\", \"arguments\": [1]}</tool_call>",
    "<tool_call>{\"name\": 3}</tool_call>",
    "<tool_call>{\"name\": [1], \"function\": \"add\"}</tool_call>",
    "<tool_call>{\"name\": \"add\", \"arguments\": \"a\"}</tool_call>",
    "<tool_call>{\"name\": \"add\", \"arguments\": \"{\\\"a\\\": 1\"}</tool_call>",
    "<tool_call>{\"arguments\": {\"a\": 1}}</tool_call>",
    "<tool_call>{'name': 'add'}</tool_call>",
    "<|python_tag|>print(1)",
    "An object: {\"name\": \"add\", \"parameters\": {}}",
    "[{\"name\": \"add\"}, {\"name\": \"nobody\"}]",
    "[{\"name\": \"add\"}, 1]",
    "Like `x` and ```c\nint x;\n``` or ```json\n{\"name\": \"Bob\"}\n```",
    "```json\n{\"name\": \"add\"}\n```",
    "```jsonc\n{\"name\": \"add\", \"arguments\": {}}\n```",
    "<tools>none</tools>",
    "<function=nobody><parameter=a>1</parameter></function>",
    "<function=add>1</function>",
    "<function=add><parameter=a",
};

static void test_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        expect(texts[i], false, texts[i]);
}

/* Arguments that were begun end where they stop being JSON or with the text. */
static void test_broken(void **state)
{
    static const char *const rows[][2] = {
        {"<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1", CALL("add", "{\"a\": 1")},
        {"<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}", CALL("add", "{\"a\": 1}")},
        {"<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1 x}}</tool_call>",
         CALL("add", "{\"a\": 1 ") "x}}</tool_call>"},
        {"<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": \"x\ny\"}} <tool_call>{\"name\":"
         "\"add\"}",
         CALL("add", "{\"a\": \"x") "\ny\"}}" CALL("add", "{}")},
        {"<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}, 2}",
         CALL("add", "{\"a\": 1}") ", 2}"},
        {"[{\"name\": \"add\", \"arguments\": {}}, {\"name\": \"nobody\"}]",
         CALL("add", "{}") ", {\"name\": \"nobody\"}]"},
        {"[{\"name\": \"add\", \"arguments\": {}}, ", CALL("add", "{}")},
        {"[TOOL_CALLS]add{\"a\":[1,]}", CALL("add", "{\"a\":[1,") "]}"},
        {"[TOOL_CALLS]add{\"a\":1,}", CALL("add", "{\"a\":1,") "}"},
        {"[TOOL_CALLS]add{\"a\":01}", CALL("add", "{\"a\":0") "1}"},
        {"[TOOL_CALLS]add{\"a\":[1}", CALL("add", "{\"a\":[1") "}"},
        /* a call within what is none */
        {"a <<tool_call>{\"name\":\"add\"}", "a <" CALL("add", "{}")},
        {"<tool_call>{\"a\":[TOOL_CALLS]add{}", "<tool_call>{\"a\":" CALL("add", "{}")},
        {"``` ```json{\"name\":\"add\",\"arguments\":{}}```", "```" CALL("add", "{}")},
        {"<function=get_weather><parameter=city>\nBe\n</para",
         CALL("get_weather", "{\"city\": \"Be\\n</para")},
        {"<function=get_weather><parameter=days>1", CALL("get_weather", "{\"days\": ")},
        {"<function=get_weather><parameter=days>1</parameter>\n",
         CALL("get_weather", "{\"days\": 1")},
        {"<function=get_weather><parameter=days>1</parameter> what?",
         CALL("get_weather", "{\"days\": 1}") "what?"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        expect(rows[i][0], false, rows[i][1]);
}

/* Calls of strict tools: where a grammar has watched for their arguments, and nowhere else. */
static void test_strict(void **state)
{
#define INNER "{\"k\":\"<function=get_weather>{}\"}"
    static const char *const calls[][2] = {
        {"{\"name\" :\n\"add\" ,\t\"parameters\":\r {\"a\": 1}}", CALL("add", "{\"a\": 1}")},
        {"<tool_call>{\"type\":\"function\",\"function\":{\"name\":\"add\",\"arguments\":{}}}</"
         "tool_call>"
         "<tool_call>{\"function\":\"add\",\"parameters\":{},\"arguments\":1}</tool_call>",
         CALL("add", "{}") CALL("add", "{}")},
        {"[TOOL_CALLS] add {\"a\": 1}[TOOL_CALLS]get_weather[ARGS] {\"city\": \"Bern\"}",
         CALL("add", "{\"a\": 1}") CALL("get_weather", "{\"city\": \"Bern\"}")},
        {"<function=add></function><function=add>\n{\"a\": 1}</function><tool_call>\n"
         "<function=get_weather>\n<parameter=city>\n</function>\n</parameter>\n</function>",
         CALL("add", "{}") CALL("add", "{\"a\": 1}")
             CALL("get_weather", "{\"city\": \"</function>\"}")},
        {"<tool_call>{\"arguments\":{},\"name\":\"other\"}<tool_call>{\"name\":\"other\"}",
         CALL("other", "{}") CALL("other", "{}")},
        {"<tool_call>{\"name\":\"other\",\"name\":\"add\",\"arguments\":{}}", CALL("other", "{}")},
        /* arguments of others: taken for text, and behind those of a call */
        {"An object: {\"name\": \"add\", \"arguments\": " INNER "} <function=add>{}</function>",
         "An object: {\"name\": \"add\", \"arguments\": " INNER "}" CALL("add", "{}")},
        {"<tool_call>{\"name\":\"add\",\"arguments\":{},\"x\":\"<function=add>" INNER,
         CALL("add", "{}") ",\"x\":\"" CALL("add", INNER)},
        {"<function=add><parameter=a><function=add>{}</parameter></function>",
         CALL("add", "{\"a\": \"<function=add>{}\"}")},
    };
    static const char *const none[] = {
        "<tool_call>{\"arguments\":{},\"name\":\"add\"}</tool_call>",
        "<tool_call>{\"name\":\"add\",\"arguments\":\"{}\"}</tool_call>",
        "<tool_call>{\"arguments\":\"{}\",\"name\":\"add\"}</tool_call>",
        "<tool_call>{\"name\":\"add\"}</tool_call>",
        "<tool_call>{\"name\":\"\\u0061dd\",\"arguments\":{}}</tool_call>",
        "{\"name\":\"add\",\"id\":\"x\",\"arguments\":{}}",
        "<tool_call>{\"name\":\"get_weather\",\"name\":\"add\",\"arguments\":{}}</tool_call>",
        "[TOOL_CALLS]add[CALL_ID]a1b2c3d4e[ARGS]{\"a\": 1}",
        "An object: {\"name\": \"add\", \"arguments\": " INNER "}",
    };
    (void)state;
    strict = true;
    for (size_t i = 0; i < COUNT_OF(calls); i++)
        expect(calls[i][0], false, calls[i][1]);
    for (size_t i = 0; i < COUNT_OF(none); i++)
        expect(none[i], false, none[i]);
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        check(texts[i], NULL, 0, false, texts[i]);
    strict = false;
}

/* What was passed by counts: behind it arguments of another call go on, and those of none begin. */
static void test_passed(void **state)
{
    static const char passed[] = "<function=add>{\"a\": \"", text[] = "<function=add>{}\"}";
    struct tool_offer o = {0};
    struct tool_output out = {0};
    struct heard h = {0};
    (void)state;
    strict = true;
    offer(&o);
    struct tool_parser *p = tool_parser_new(&o, false);
    for (const char *c = passed; *c; c++)
        tool_parser_pass(p, *c);
    tool_parser_feed(p, text, sizeof text - 1, true, &out);
    hear(&h, &out);
    assert_int_equal(h.text.len, sizeof text - 1);
    assert_memory_equal(h.text.data, text, sizeof text - 1);
    strict = false;
    tool_parser_free(p);
    tool_output_free(&out);
    buf_free(&h.text);
    buf_free(&o.bytes);
}

static void test_one(void **state)
{
    (void)state;
    expect("<tool_call>{\"name\":\"add\"}</tool_call><tool_call>{\"name\":\"b\"}</tool_call>", true,
           CALL("add", "{}"));
    expect("[TOOL_CALLS][{\"name\":\"a\"},{\"name\":\"b\",\"arguments\":{\"a\":1}}]x", true,
           CALL("a", "{}") "x");
    expect("<function=add><parameter=a>1</parameter></function><function=add></function>", true,
           CALL("add", "{\"a\": 1}"));
}

static void test_many(void **state)
{
    struct buf text = {0}, expected = {0};
    (void)state;
    for (int i = 0; i < TOOL_CALLS_MAX + 2; i++) {
        buf_printf(&text, "<tool_call>{\"name\":\"f%d\"}</tool_call>\n", i);
        if (i < TOOL_CALLS_MAX)
            buf_printf(&expected, "(f%d {})", i);
    }
    check(text.data, NULL, 0, false, expected.data);
    buf_free(&text);
    buf_free(&expected);
}

/* Pieces of what is above, put together and cut at random: as it comes out byte by byte. */
static void test_random(void **state)
{
    uint64_t seed = 18;
    struct buf text = {0}, expected = {0};
    (void)state;
    for (int round = 0; round < 3000; round++) {
        size_t cuts[8], all[4096];
        strict = round % 2;
        buf_clear(&text);
        for (int i = 0; i < 4; i++) {
            uint32_t row = rnd(&seed, COUNT_OF(spellings) + COUNT_OF(texts));
            const char *part =
                row < COUNT_OF(spellings) ? spellings[row][0] : texts[row - COUNT_OF(spellings)];
            size_t len = strlen(part), from = rnd(&seed, 2) ? 0 : rnd(&seed, (uint32_t)len + 1);
            size_t n = rnd(&seed, 2) ? len - from : rnd(&seed, (uint32_t)(len - from) + 1);
            buf_add(&text, part + from, n);
        }
        for (size_t i = 0; i < text.len; i++)
            all[i] = i;
        parse(text.data, all, (int)text.len, false, &expected);
        for (size_t i = 0, least = 0; i < COUNT_OF(cuts); i++)
            cuts[i] = least += rnd(&seed, (uint32_t)(text.len - least) / 2 + 1);
        check(text.data, cuts, COUNT_OF(cuts), false, expected.data);
        check(text.data, NULL, 0, false, expected.data);
    }
    strict = false;
    buf_free(&text);
    buf_free(&expected);
}

/* What is certain is not held back: text that can be no call, a call's name, its arguments. */
static void test_prompt(void **state)
{
#define WEATHER "<tool_call>{\"name\": \"get_weather\", \"arguments\": "
    static const char *const rows[][2] = {
        {"Hello", "Hello"},
        {"Hello <", "Hello"},
        {"{\"answer", "{\"answer"},
        {"{\"na", ""},
        {"x {\"na", "x {\"na"},
        {"[1", "[1"},
        {"```p", "```p"},
        {"{\"name\": \"Bob\"", "{\"name\": \"Bob\""},
        {"{\"type\": \"object\", \"pr", "{\"type\": \"object\", \"pr"},
        {WEATHER, ""},
        {WEATHER "{", "(get_weather {"},
        {WEATHER "{\"city\": \"Be", "(get_weather {\"city\": \"Be"},
        {WEATHER "{\"city\": \"Bern\"}", "(get_weather {\"city\": \"Bern\"})"},
        {"{\"arguments\": {\"a\": 1}, \"name\": \"add\"", "(add {\"a\": 1})"},
        {"[TOOL_CALLS]add{\"a", "(add {\"a"},
        {"```json\n{\"name\": \"add\", \"arguments\": {\"a", "(add {\"a"},
        {"<function=get_weather>\n<parameter=city>", "(get_weather {\"city\": \""},
        {"<function=get_weather>\n<parameter=city>\nBe\n", "(get_weather {\"city\": \"Be"},
    };
    struct tool_offer o = {0};
    struct tool_output out = {0};
    (void)state;
    offer(&o);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct tool_parser *p = tool_parser_new(&o, false);
        struct heard h = {0};
        buf_puts(&h.text, "");
        tool_parser_feed(p, rows[i][0], strlen(rows[i][0]), false, &out);
        hear(&h, &out);
        assert_string_equal(h.text.data, rows[i][1]);
        tool_output_clear(&out);
        tool_parser_free(p);
        buf_free(&h.text);
    }
    tool_output_free(&out);
    buf_free(&o.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spellings), cmocka_unit_test(test_text),
        cmocka_unit_test(test_broken),    cmocka_unit_test(test_one),
        cmocka_unit_test(test_many),      cmocka_unit_test(test_random),
        cmocka_unit_test(test_prompt),    cmocka_unit_test(test_strict),
        cmocka_unit_test(test_passed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
