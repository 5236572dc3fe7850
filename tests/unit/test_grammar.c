/*
 * Grammars: which bytes may come at which place, what is refused, states as values, and masks
 * against brute force. Texts of many schemas are compared with the package jsonschema in
 * tests/oracle/test_grammar.py.
 *
 * links: specd_grammar specd_text specd_model specd_json specd_base
 */
#include "chat_json.h"
#include "grammar/cache.h"
#include "grammar/chars.h"
#include "grammar_walk.h"
#include "specd/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct grammar *compile(const char *schema)
{
    struct chat_json j;
    struct grammar *g = NULL;
    char err[512] = "not JSON";
    if (!schema) {
        assert_int_equal(grammar_compile(&g, NULL, err, sizeof err), 0);
        return g;
    }
    if (!chat_json_read(&j, schema) || grammar_compile(&g, j.values, err, sizeof err) != 0)
        fail_msg("%s: %s", schema, err);
    chat_json_free(&j);
    return g;
}

static void expect_values_refused(const struct chat_value *schema, const char *message)
{
    struct grammar *g = NULL;
    char err[512] = "";
    assert_int_equal(grammar_compile(&g, schema, err, sizeof err), SPECD_EINVAL);
    assert_null(g);
    assert_string_equal(err, message);
}

static void expect_refused(const char *schema, const char *message)
{
    struct chat_json j;
    assert_true(chat_json_read(&j, schema));
    expect_values_refused(j.values, message);
    chat_json_free(&j);
}

/* 2: a whole text, after which nothing may come; 1: a whole text; 0: a beginning; -1: none. */
static int outcome(const struct grammar *g, const char *text)
{
    struct grammar_state s;
    grammar_start(g, &s);
    if (!grammar_accept(g, &s, text, strlen(text)))
        return -1;
    return grammar_is_over(&s) ? 2 : grammar_may_end(&s) ? 1 : 0;
}

static void expect(const char *schema, const char *text, int expected)
{
    struct grammar *g = compile(schema);
    if (outcome(g, text) != expected)
        fail_msg("%s: %s: %d, not %d", schema ? schema : "object", text, outcome(g, text),
                 expected);
    grammar_unref(g);
}

/* A list in place of a schema: its texts as they are. */
static void test_texts(void **state)
{
    (void)state;
    static const char list[] = "[\"yes\", \"no\", \"yes, so\", \" a\\n\", \"yes\", \"\\\"\"]";
    expect(list, "no", 2);
    expect(list, "yes", 1);
    expect(list, "yes, ", 0);
    expect(list, "yes, so", 2);
    expect(list, " a\n", 2);
    expect(list, "\"", 2);
    expect(list, "\"yes", -1);
    expect(list, " no", -1);
    expect(list, "no ", -1);
    expect(list, "\n", -1);
    expect_refused("[]", "schema: no value satisfies it");
    expect_refused("[\"a\", \"\"]", "schema /1: must be a text, and not empty");
    expect_refused("[\"a\", [\"b\"]]", "schema /1: must be a text, and not empty");
}

static void swap_quotes(struct buf *b)
{
    for (size_t i = 0; i < b->len; i++)
        b->data[i] = b->data[i] == '\'' ? '"' : b->data[i];
}

/* Alternatives that the first property tells apart: of many it comes first, of a few it need not.
 */
static void test_tagged_unions(void **state)
{
#define TAGGED(tag, members, required)                                  \
    "{'type':'object','properties':{'kind':{'const':'" tag "'}" members \
    "},'required':['kind'" required "],'additionalProperties':false}"
    static const char schema[] =
        "{'anyOf':[" TAGGED("a", ",'x':{'type':'integer'}", ",'x'") "," TAGGED(
            "ab", ",'x':{'type':'null'},'y':{'type':'null'}", "") "," TAGGED("a", "", "");
    static const char *const good[] = {"{'kind': 'a', 'x': 1}", "\n{\n 'kind':'a',\n 'x':1\n}",
                                       "{'kind':'a'}",          "{'kind':'ab'}",
                                       "{'kind':'ab' }",        "{'kind':'ab', 'y':null,'x':null}",
                                       "{'kind':'k13','v':13}"};
    static const char *const bad[] = {
        "{'kind':'ab', 'x':1", "{'kind':'a', 'y'",    "{'kind':'a',}", "{'kind':'a','kind'", "{}",
        "{'kind':'b",          "{'kind':'k13','v':12"};
    (void)state;
    for (int said = 0, n = 14; n <= 1000; n += said ? 986 : 0, said++) {
        struct buf text = {0};
        buf_puts(&text, schema);
        for (int i = 0; i < n - 1; i++)
            buf_printf(&text,
                       ",{'type':'object','properties':{'kind':{'type':'string','const':'k%d'},'v':"
                       "{'const':%d}},'required':['v','kind'],'additionalProperties':false}",
                       i + 1, i + 1);
        buf_puts(&text, said == 1 ? "],'discriminator':{'propertyName':'kind'}}" : "]}");
        for (size_t i = 0; i < COUNT_OF(good) + COUNT_OF(bad); i++) {
            struct buf quoted = {0}, value = {0};
            bool is_good = i < COUNT_OF(good);
            buf_puts(&quoted, text.data);
            buf_puts(&value, is_good ? good[i] : bad[i - COUNT_OF(good)]);
            swap_quotes(&quoted);
            swap_quotes(&value);
            expect(quoted.data, value.data, is_good ? 2 : -1);
            buf_clear(&value);
            buf_puts(&value, "{'x'");
            swap_quotes(&value);
            expect(quoted.data, value.data, said == 0 ? 0 : -1);
            buf_free(&quoted);
            buf_free(&value);
        }
        buf_free(&text);
    }
}

static void test_space(void **state)
{
    (void)state;
    expect(NULL, "{}", 2);
    expect(NULL, " {}", 2);
    expect(NULL, "\n{ }", 2);
    expect(NULL, "\n\n", -1);
    expect(NULL, "{} ", -1);
    expect(NULL, "{  }", -1);
    expect(NULL, "{\"a\": 1, \"b\":2}", 2);
    expect(NULL, "{\"a\" :", -1);
    expect(NULL, "{\"a\":  1", -1);
    expect(NULL, "{\"a\":\n", -1);
    expect(NULL, "{\n\t\t\"a\":[\n\t\t\t1\n\t\t]\n}", 2);
    expect(NULL, "{\n \t", -1);
    expect(NULL, "{\n\t ", -1);
    expect(NULL, "{\n\n", -1);
    expect(NULL, "{\n                                        ", 0); /* 40 */
    expect(NULL, "{\n                                         ", -1);
    expect(NULL, "{\n\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t", 0); /* 16 */
    expect(NULL, "{\n\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t", -1);
    expect(NULL, "[", -1);
}

static void test_strings(void **state)
{
    (void)state;
    static const char *const whole[] = {"\"\"",
                                        "\"a\\u0041\\n\\/\\\"\"",
                                        "\"\\ud83d\\ude00\"",
                                        "\"\\uD83D\\uDE00\"",
                                        "\"\xc3\xa9\"",
                                        "\"\xed\x9f\xbf\"",
                                        "\"\xf4\x8f\xbf\xbf\"",
                                        "\"\x7f\"",
                                        "\"\\uFFFF\"",
                                        "\"\\ud7ff\""};
    static const char *const never[] = {
        "\"\n",        "\"\x01",       "\"\\x",          "\"\\u00g",       "\"\\ude00",
        "\"\\ud83d\"", "\"\\ud83d\\n", "\"\\ud83d\\u00", "\"\\ud83d\\ud8", "\"\xc0",
        "\"\xc1",      "\"\xe0\x80",   "\"\xed\xa0",     "\"\xf0\x80",     "\"\xf4\x90",
        "\"\xf5",      "\"\x80",       "\"\xc3\"",       "\"\xff",         "'"};
    for (size_t i = 0; i < COUNT_OF(whole); i++)
        expect("{\"type\": \"string\"}", whole[i], 2);
    for (size_t i = 0; i < COUNT_OF(never); i++)
        expect("{\"type\": \"string\"}", never[i], -1);
    /* One character each: two bytes, four, a pair of escapes. */
    expect("{\"type\": \"string\", \"maxLength\": 3}", "\"\xc3\xa9\xf0\x9f\x98\x80\\ud83d\\ude00\"",
           2);
    expect("{\"type\": \"string\", \"maxLength\": 2}", "\"\xc3\xa9\xf0\x9f\x98\x80\\", -1);
    expect("{\"type\": \"string\", \"minLength\": 2}", "\"\xc3\xa9\"", -1);
    expect("{\"pattern\": \"^\\\\s\\\\S$\"}", "\"\\n\\\"\"", 2);
    expect("{\"pattern\": \"^\\\\s\\\\S$\"}", "\"\\n\xef\xbb\xbf", -1);
    expect("{\"pattern\": \"^(?<name>a)\\\\x62{2}$\"}", "\"abb\"", 2);
}

static void test_numbers(void **state)
{
    (void)state;
    static const char *const never[] = {"01",   "-01", "+1",   ".5", "1.e",
                                        "1e+e", "--",  "1.2.", "0x", "1e123"};
    for (size_t i = 0; i < COUNT_OF(never); i++)
        expect("{\"type\": \"number\"}", never[i], -1);
    expect("{\"type\": \"number\"}", "-0.5E+10", 2);
    expect("{\"type\": \"number\"}", "1", 1);
    expect("{\"type\": \"number\"}", "1.", 0);
    expect("{\"type\": \"integer\"}", "-0", -1);
    expect("{\"type\": \"integer\"}", "999999999999999999", 2);
    expect("{\"type\": \"integer\"}", "1.", -1);
    expect("{\"type\": \"integer\", \"minimum\": 0, \"maximum\": 150}", "150", 2);
    expect("{\"type\": \"integer\", \"minimum\": 0, \"maximum\": 150}", "151", -1);
    expect("{\"type\": \"integer\", \"minimum\": 0, \"maximum\": 150}", "-", -1);
}

/* Every integer near the limits, against the limits themselves. */
static void test_integer_limits(void **state)
{
    (void)state;
    for (int lo = -120; lo < 130; lo += 7)
        for (int hi = lo; hi < 140; hi += 9) {
            char schema[100], text[20];
            snprintf(schema, sizeof schema, "{\"type\":\"integer\",\"minimum\":%d,\"maximum\":%d}",
                     lo, hi);
            struct grammar *g = compile(schema);
            for (int v = -1300; v<1300; v += v> - 140 && v < 150 ? 1 : 13) {
                snprintf(text, sizeof text, "%d", v);
                if ((outcome(g, text) > 0) != (v >= lo && v <= hi))
                    fail_msg("%s: %d", schema, v);
            }
            grammar_unref(g);
        }
}

static void test_properties(void **state)
{
    (void)state;
    static const char open[] = "{\"properties\": {\"a\": {\"type\": \"integer\"}, \"ab\": true,"
                               "\"\xc3\xa9\": true}, \"required\": [\"ab\"]}";
    expect(open, "{\"a\": 1, \"ab\": 2, \"x\": 3}", 2);
    expect(open, "{\"ab\": 2, \"x\": 1, \"\xc3\xa9\": 3, \"a\": 1}", 2);
    expect(open, "{\"ab\": 2, \"a", 0);
    expect(open, "{\"ab\": 2, \"ab", -1);
    expect(open, "{\"a\": 2, \"ab\":1}", 2); /* one declared name begins another */
    expect(open, "{\"a\": 2, \"ac", -1);     /* but no other begins with one that has come */
    expect(open, "{\"a\": 2, \"a\"", -1);
    expect(open, "{\"ab\": 2, \"ac\":1, \"a\":1}", 2);
    expect(open, "{\"ac", -1); /* others wait for what is required */
    expect(open, "{\"ab\": 2, \"abc", -1);
    expect(open, "{\"ab\": 2, \"\xc3\xa9\":1}", 2);
    expect(open, "{\"ab\": 2, \"\xc3\xa8\":1, \"\xc3\xa9\":1}", 2);
    expect(open, "{\"\xc3\xa9\": 2, \"\xc3\xa8\":1, \"\xc3\xa9", -1);
    expect(open, "{\"ab\": 2, \"\\u0061", -1); /* would be "a" in other letters */
    expect(open, "{\"ab\": 2, \"x\\u0061\":1}", 2);
    expect(open, "{\"a\": 1}", -1);
    expect(open, "{}", -1);
    expect(open, "{\"x", -1);
}

/* Every order of every subset that holds what is required, and every change that is none. */
static void test_any_order(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "ab", "abc", "b", "\\\"q"};
    char schema[400];
    for (unsigned required = 0; required < 32; required += 5)
        for (int open = 0; open < 2; open++) {
            int n = snprintf(schema, sizeof schema,
                             "{\"additionalProperties\":%s,\"properties\":{\"a\":{\"const\":0},"
                             "\"ab\":{\"const\":1},\"abc\":{\"const\":2},\"b\":{\"const\":3},"
                             "\"\\\"q\":{\"const\":4}},\"required\":[",
                             open ? "true" : "false");
            for (unsigned i = 0, any = 0; i < 5; i++)
                if (required >> i & 1)
                    n += snprintf(schema + n, sizeof schema - (size_t)n, "%s\"%s\"",
                                  any++ ? "," : "", names[i]);
            snprintf(schema + n, sizeof schema - (size_t)n, "]}");
            struct grammar *g = compile(schema);
            for (unsigned code = 0; code < 6 * 6 * 6 * 6 * 6; code++) {
                char text[200] = "{";
                unsigned used = 0, length = 0, value = code;
                bool twice = false;
                for (; value > 0 && value % 6 > 0; value /= 6, length++) {
                    unsigned i = value % 6 - 1;
                    twice = twice || used >> i & 1;
                    used |= 1u << i;
                    n = (int)strlen(text);
                    snprintf(text + n, sizeof text - (size_t)n, "%s\"%s\":%u", length ? "," : "",
                             names[i], i);
                }
                if (value > 0)
                    continue; /* a code of no list */
                strcat(text, "}");
                bool good = !twice && (required & ~used) == 0;
                if (outcome(g, text) != (good ? 2 : -1))
                    fail_msg("%s: %s", schema, text);
            }
            grammar_unref(g);
        }
}

/* More names than a set has bits for: in groups, each of them in any order. */
static void test_many_names(void **state)
{
    (void)state;
    for (int n = 63; n < 200; n += n < 66 ? 1 : 61) {
        struct buf schema = {0}, text = {0};
        buf_puts(&schema, "{\"properties\":{\"n0\":true");
        for (int i = 1; i < n; i++)
            buf_printf(&schema, ",\"n%d\":true", i);
        buf_printf(&schema, "},\"required\":[\"n%d\"]}", n - 1);
        struct grammar *g = compile(schema.data);
        buf_puts(&text, "{");
        for (int from = 0, most = n <= 64 ? 64 : 63; from < n; from += most)
            for (int i = MIN(from + most, n); i-- > from;)
                buf_printf(&text, "%s\"n%d\":%d", text.len > 1 ? "," : "", i, i);
        buf_puts(&text, ",\"other\":1}");
        if (outcome(g, text.data) != 2)
            fail_msg("%d names: %s", n, text.data);
        assert_int_equal(outcome(g, "{}"), -1);
        buf_clear(&text);
        buf_printf(&text, "{\"n%d\":1,\"x\":2,\"n%d", n - 1, n - 1);
        assert_int_equal(outcome(g, text.data), -1);
        assert_int_equal(outcome(g, "{\"n0\":1,\"n0"), -1);
        grammar_unref(g);
        buf_free(&schema);
        buf_free(&text);
    }
}

static void test_depth(void **state)
{
    (void)state;
    struct grammar *g = compile("{\"type\": \"array\"}");
    struct grammar_state s;
    int depth = 0;
    for (grammar_start(g, &s); grammar_accept(g, &s, "[", 1); depth++)
        assert_true(depth < 200);
    assert_in_range(depth, 32, GRAMMAR_STACK_MAX);
    for (; depth > 0; depth--)
        assert_true(grammar_accept(g, &s, "]", 1));
    assert_true(grammar_is_over(&s));
    grammar_unref(g);
}

/* As deep as the stack goes, in a schema whose values need frames of their own: there is a way on
 * at every byte, and out again. */
static void test_way_out(void **state)
{
    (void)state;
    struct grammar *g = compile(
        "{\"properties\": {\"n\": {\"anyOf\": [{\"type\": \"array\", \"items\": {\"$ref\": \"#\"},"
        "\"minItems\": 1, \"maxItems\": 1}, {\"type\": \"integer\"}]}}, \"required\": [\"n\"],"
        "\"additionalProperties\": false}");
    struct grammar_state s, t;
    static const char in[] = "{\"n\":[";
    grammar_start(g, &s);
    for (int depth = 0;; depth++) {
        assert_in_range(depth, 0, 200);
        bool ok = true;
        for (size_t i = 0; i < 6 && ok; i++) {
            ok = grammar_accept(g, &s, &in[i], 1);
            bool way = false;
            for (int byte = 0; byte < 256; byte++)
                way = way || grammar_step(g, &s, (uint8_t)byte, &t);
            assert_true(way);
        }
        if (!ok)
            break;
    }
    assert_true(grammar_accept(g, &s, "7}", 2));
    while (!grammar_is_over(&s))
        assert_true(grammar_accept(g, &s, "]}", 2));
    grammar_unref(g);
}

/* A pointer begins at the innermost schema with an $id: documents may be put into one another. */
static void test_resources(void **state)
{
    (void)state;
    static const char schema[] =
        "{\"$defs\": {\"n\": {\"const\": 1}, \"in\": {\"$id\": \"x:in\", \"items\": {\"$ref\": "
        "\"#/$defs/n\"}, \"$defs\": {\"n\": {\"const\": 2}, \"anchor\": {\"$id\": \"#a\", "
        "\"$ref\": \"#/$defs/n\"}}}}, \"prefixItems\": [{\"$ref\": \"#/$defs/n\"}, {\"$ref\": "
        "\"#/$defs/in\"}, {\"$ref\": \"#/$defs/in/$defs/n\"}, {\"$ref\": "
        "\"#/$defs/in/$defs/anchor\"}, {\"$ref\": \"#/$defs/n\"}], \"items\": false}";
    expect(schema, "[1,[2,2],2,2,1]", 2);
    expect(schema, "[2", -1);
    expect(schema, "[1,[1", -1);
    expect(schema, "[1,[2],1", -1);
    expect(schema, "[1,[2],2,1", -1);
}

/* What must follow a beginning, up to where there is a choice. */
static void expect_forced(const char *schema, const char *before, const char *forced)
{
    struct grammar *g = compile(schema);
    struct grammar_state s;
    grammar_start(g, &s);
    assert_true(grammar_accept(g, &s, before, strlen(before)));
    for (; *forced; forced++) {
        assert_int_equal(grammar_forced(g, &s), (uint8_t)*forced);
        assert_true(grammar_accept(g, &s, forced, 1));
    }
    assert_int_equal(grammar_forced(g, &s), -1);
    grammar_unref(g);
}

static void test_forced(void **state)
{
    (void)state;
    static const char pair[] =
        "{\"required\": [\"height\"], \"properties\": {\"height\": {\"type\": "
        "\"number\"}, \"help\": {}}, \"additionalProperties\": false}";
    expect_forced(pair, "", "");
    expect_forced(pair, "{\"", "he");
    expect_forced(pair, "{\"hel", "p\":");
    expect_forced(pair, "{\"height\":1,\"", "help\":");
    expect_forced(pair, "{\"help\":1,\"", "height\":");
    expect_forced("{\"properties\": {\"height\": {}, \"help\": {}}}", "{\"", "");
    expect_forced("{\"enum\": [\"red\", \"rest\", 10]}", "\"", "re");
    expect_forced("{\"enum\": [\"red\", \"rest\", 10]}", "\"res", "t\"");
    expect_forced("{\"enum\": [1, 10]}", "1", ""); /* the end is a choice, too */
    expect_forced("{\"type\": \"string\", \"maxLength\": 0}", "\"", "");
    expect_forced("{\"type\": \"null\"}", "n", "ull");
}

static void test_longest_tokens(void **state)
{
    (void)state;
    static const struct token_bytes tokens[] = {
        {"a", 1, 3, false},
                                                {"abc", 3, 5, false},
                                                {"abd", 3, 1, false},
                                                {"b", 1, 0, false},
                                                {"\xff", 1, 4, false}};
    static const struct {
        const char *text;
        int32_t id;
        size_t len;
    } cases[] = {{"abcd", 5, 3}, {"abx", 3, 1}, {"ab", 3, 1},       {"abd", 1, 3},
                 {"b", 0, 1},    {"c", -1, 0},  {"\xff\xff", 4, 1}, {"", -1, 0}};
    static const int32_t no_end;
    struct token_trie trie;
    token_trie_init(&trie, tokens, COUNT_OF(tokens), 6, &no_end, 0);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        size_t len = 0;
        assert_int_equal(token_trie_longest(&trie, cases[i].text, strlen(cases[i].text), &len),
                         cases[i].id);
        assert_int_equal(len, cases[i].len);
    }
    token_trie_fini(&trie);
}

static struct grammar *get(struct grammar_cache *c, const char *schema)
{
    struct chat_json j;
    struct grammar *g;
    char err[256];
    assert_true(chat_json_read(&j, schema));
    assert_int_equal(grammar_cache_get(c, &g, j.values, err, sizeof err), 0);
    chat_json_free(&j);
    return g;
}

static void test_cache(void **state)
{
    (void)state;
    static const char *const schemas[] = {"{}",
                                          "{\"type\": \"string\"}",
                                          "{\"type\": [\"string\"]}",
                                          "{\"minLength\": 1}",
                                          "{\"minLength\": 2}",
                                          "{\"const\": [1, [2]]}",
                                          "{\"const\": [1, 2, []]}",
                                          "{\"const\": [[1], 2]}",
                                          "{\"const\": {\"a\": \"b\"}}",
                                          "{\"const\": {\"ab\": \"\"}}",
                                          "{\"const\": true}",
                                          "{\"const\": false}",
                                          "{\"const\": null}",
                                          "{\"const\": 0.5}"};
    struct grammar_cache *c = grammar_cache_create();
    uint64_t ids[COUNT_OF(schemas)];
    for (size_t i = 0; i < COUNT_OF(schemas); i++) {
        struct grammar *g = get(c, schemas[i]);
        ids[i] = grammar_id(g);
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(ids[i], ids[k]);
        grammar_unref(g);
    }
    struct grammar *held = get(c, schemas[1]);
    assert_int_equal(grammar_id(held), ids[1]);
    for (int i = 0; i < 2 * GRAMMAR_CACHE_MAX; i++) { /* others take its place */
        char schema[64];
        snprintf(schema, sizeof schema, "{\"const\": %d}", i);
        grammar_unref(get(c, schema));
    }
    struct grammar *again = get(c, schemas[1]), *any, *same;
    assert_int_not_equal(grammar_id(again), ids[1]);
    char err[64];
    assert_int_equal(grammar_cache_get(c, &any, NULL, err, sizeof err), 0);
    assert_int_equal(grammar_cache_get(c, &same, NULL, err, sizeof err), 0);
    assert_ptr_equal(any, same);
    grammar_cache_free(c);
    struct grammar_state s;
    grammar_start(held, &s);
    assert_true(grammar_accept(held, &s, "\"x\"", 3));
    grammar_unref(held);
    grammar_unref(again);
    grammar_unref(any);
    grammar_unref(same);
}

#define LONG_NAME "0123456789012345678901234567890123456789"

static void test_refused(void **state)
{
    (void)state;
    expect_refused("{\"properties\": {\"age\": {\"type\": \"int\"}}}",
                   "schema /properties/age/type: must be null, boolean, string, integer, number, "
                   "array or object, or a list");
    expect_refused("{\"anyOf\": [true, {\"not\": {}}]}",
                   "schema /anyOf/1: the keyword \"not\" is not supported");
    expect_refused(
        "{\"$defs\": {\"d\": {\"pattern\": \"(\"}}, \"items\": {\"$ref\": \"#/$defs/d\"}}",
        "schema /$defs/d/pattern: at byte 1: a group is not closed");
    expect_refused("{\"properties\": {\"" LONG_NAME LONG_NAME LONG_NAME "\": {\"not\": {}}}}",
                   "schema ..." LONG_NAME LONG_NAME ": the keyword \"not\" is not supported");
    expect_refused("{\"$ref\": \"#\"}",
                   "schema: $ref leads back to itself without a value between, or more than 100 "
                   "alternatives lie within each other");
    expect_refused("{\"type\": \"array\", \"items\": {\"$ref\": \"#\"}, \"minItems\": 1}",
                   "schema: no value satisfies it");
    static const struct chat_value no_text[] = {{.kind = CHAT_DICT, .n = 1},
                                                {.kind = CHAT_DICT, .key = "properties", .n = 1},
                                                {.kind = CHAT_BOOL, .key = "\xff", .b = true}};
    expect_values_refused(no_text, "schema /properties/\xff: a text in it is not UTF-8");
}

/* However many constants there are, none is given up, nor one that begins another. */
static void test_enum(void **state)
{
    (void)state;
    struct buf schema = {0};
    char text[20];
    buf_puts(&schema, "{\"enum\": [0");
    for (int i = 1; i < 1000; i++)
        buf_printf(&schema, ",%d,\"%d\",%d", i, i, i);
    buf_puts(&schema, "]}");
    struct grammar *g = compile(schema.data);
    for (int i = 0; i < 2000; i++) {
        snprintf(text, sizeof text, "%d", i);
        assert_int_equal(outcome(g, text) > 0, i < 1000);
        snprintf(text, sizeof text, "\"%d\"", i);
        assert_int_equal(outcome(g, text), i > 0 && i < 1000 ? 2 : -1);
    }
    grammar_unref(g);
    buf_free(&schema);
}

/* A schema that is nested, wide or repeated beyond its limits. */
static void test_limits(void **state)
{
    (void)state;
    struct chat_value deep[GRAMMAR_DEPTH_MAX + 3];
    struct buf wide = {0};
    for (size_t i = 0; i + 1 < COUNT_OF(deep); i++)
        deep[i] = (struct chat_value){.kind = CHAT_DICT, .key = "items", .n = 1};
    deep[COUNT_OF(deep) - 1] = (struct chat_value){.kind = CHAT_BOOL, .key = "items"};
    expect_values_refused(deep, "schema: nested more than 64 levels deep");
    buf_puts(&wide, "{\"enum\": [0");
    for (int i = 0; i < GRAMMAR_ENUM_MAX; i++)
        buf_printf(&wide, ",%d", i);
    buf_puts(&wide, "]}");
    expect_refused(wide.data, "schema /enum: must be a list of 1 to 10000 values");
    buf_clear(&wide);
    buf_puts(&wide, "{\"enum\": [0");
    for (int i = 1; i < 2000; i++)
        buf_printf(&wide, ",\"%0200d\"", i);
    buf_puts(&wide, "]}");
    grammar_unref(compile(wide.data));
    buf_free(&wide);
}

/* Short schemas that would take minutes, or for ever, to compile. */
static void test_work(void **state)
{
    (void)state;
    static const char too_large[] = "schema /pattern: its automaton is too large, itself or with "
                                    "those before it";
    struct buf many = {0};
    expect_refused("{\"pattern\": \"^(((((){1000}){1000}){1000}){1000}){1000}$\"}", too_large);
    expect_refused("{\"pattern\": \"^(((((a{0}){1000}){1000}){1000}){1000}){1000}$\"}", too_large);
    expect_refused("{\"pattern\": \"(a|b)*a(a|b){20}\"}", too_large);
    grammar_unref(compile("{\"pattern\": \"^(((a?){800}){3})*$\"}"));
    grammar_unref(compile("{\"pattern\": \"^.{1,2000}$\"}"));
    buf_puts(&many, "{\"prefixItems\": [true");
    for (int i = 0; i < 100; i++)
        buf_printf(&many, ",{\"pattern\": \"(a|b)*a(a|b){11}%d\"}", i);
    buf_puts(&many, "]}");
    struct chat_json j;
    struct grammar *g = NULL;
    char err[256];
    assert_true(chat_json_read(&j, many.data));
    assert_int_equal(grammar_compile(&g, j.values, err, sizeof err), SPECD_EINVAL);
    assert_non_null(strstr(err, "its automaton is too large"));
    chat_json_free(&j);
    buf_clear(&many);
    buf_puts(&many, "{\"$defs\": {\"0\": true");
    for (int i = 1; i < 10000; i++)
        buf_printf(&many, ",\"%d\": true", i);
    buf_puts(&many, "}, \"anyOf\": [true");
    for (int i = 1; i < 5000; i++)
        buf_puts(&many, ",{\"$ref\": \"#/$defs/9999\"}");
    buf_puts(&many, "]}");
    expect_refused(many.data, "schema /anyOf/1999/$ref: it takes too much work: too many $ref to "
                              "places among many others, alternatives within each other, or too "
                              "large patterns");
    buf_clear(&many);
    buf_puts(&many, "{\"allOf\": [true");
    for (int i = 0; i < 10; i++)
        buf_printf(&many,
                   ",{\"anyOf\": [{\"minLength\":%d},{\"minLength\":%d},{\"maxLength\":%d},"
                   "{\"maxLength\":%d}]}",
                   i, i + 20, i + 40, i + 60);
    buf_puts(&many, "]}");
    expect_refused(many.data, "schema /allOf/1/anyOf/2: more than 4096 places that $ref names");
    expect_refused("{\"type\": \"integer\", \"multipleOf\": 1000000007}",
                   "schema: multipleOf takes too many states");
    buf_free(&many);
}

/* Numbers are what the schema wrote, to the last digit. */
static void test_exact_numbers(void **state)
{
    (void)state;
    static const char narrow[] = "{\"type\": \"integer\", \"minimum\": 1234567890123456789, "
                                 "\"maximum\": 1234567890123456790}";
    static const char one[] = "{\"type\": \"integer\", \"minimum\": 9007199254740993, "
                              "\"maximum\": 9007199254740993}";
    static const char among[] = "{\"enum\": [9007199254740993, 9007199254740992], "
                                "\"minimum\": 9007199254740993}";
    expect("{\"const\": 1234567890123456789}", "1234567890123456789", 2);
    expect("{\"enum\": [9007199254740993, 12345678901234567890]}", "12345678901234567890", 2);
    expect("{\"enum\": [9007199254740993, 12345678901234567890]}", "9007199254740992", -1);
    expect("{\"enum\": [1.50, 1E3]}", "1.50", 2);
    expect("{\"type\": \"integer\", \"enum\": [1.5, 1E3, 2.0]}", "1E3", 2);
    expect("{\"type\": \"integer\", \"enum\": [1.5, 1E3, 2.0]}", "1.5", -1);
    expect(narrow, "1234567890123456789", 2);
    expect(narrow, "1234567890123456790", 2);
    expect(narrow, "1234567890123456788", -1);
    expect(narrow, "1234567890123456791", -1);
    expect(narrow, "1234567890123456768", -1);
    expect(one, "9007199254740993", 2);
    expect(one, "9007199254740992", -1);
    expect(among, "9007199254740993", 2);
    expect(among, "9007199254740992", -1);
    expect("{\"allOf\": [{\"enum\": [9007199254740993, 1]}, {\"enum\": [9007199254740992, 1.0]}]}",
           "1", 2);
    struct grammar_cache *c = grammar_cache_create();
    struct grammar *a = get(c, "{\"const\": 9007199254740993.5}");
    struct grammar *b = get(c, "{\"const\": 9007199254740993.4}");
    assert_int_not_equal(grammar_id(a), grammar_id(b));
    grammar_unref(a);
    grammar_unref(b);
    grammar_cache_free(c);
}

/* Decimals near the limits, on a grid of thousandths, against whole numbers. */
static void test_decimal_limits(void **state)
{
    (void)state;
    for (int lo = -1300; lo < 1300; lo += 317)
        for (int hi = lo; hi < lo + 2400; hi += 423)
            for (int kind = 0; kind < 8; kind++) {
                char schema[200], text[32], err[256];
                int step = kind & 4 ? 25 : 1;
                snprintf(schema, sizeof schema,
                         "{\"type\":\"number\",\"%s\":%s%d.%03d,\"%s\":%s%d.%03d%s}",
                         kind & 1 ? "exclusiveMinimum" : "minimum", lo < 0 ? "-" : "",
                         abs(lo) / 1000, abs(lo) % 1000, kind & 2 ? "exclusiveMaximum" : "maximum",
                         hi < 0 ? "-" : "", abs(hi) / 1000, abs(hi) % 1000,
                         step > 1 ? ",\"multipleOf\":0.025" : "");
                struct chat_json j;
                struct grammar *g = NULL;
                assert_true(chat_json_read(&j, schema));
                int rc = grammar_compile(&g, j.values, err, sizeof err);
                chat_json_free(&j);
                bool any = kind < 4 && hi > lo; /* what lies between thousandths */
                for (int v = lo - 60; v <= hi + 60; v++) {
                    bool good = (kind & 1 ? v > lo : v >= lo) && (kind & 2 ? v < hi : v <= hi) &&
                                v % step == 0;
                    any = any || good;
                    snprintf(text, sizeof text, "%s%d.%03d", v < 0 ? "-" : "", abs(v) / 1000,
                             abs(v) % 1000);
                    if (g && (outcome(g, text) > 0) != good)
                        fail_msg("%s: %s", schema, text);
                }
                if ((rc == 0) != any)
                    fail_msg("%s: %s", schema, err);
                grammar_unref(g);
            }
}

/* What every keyword lets through and what it refuses, by itself and beside others. */
static void test_keywords(void **state)
{
    (void)state;
    static const struct {
        const char *schema, *good, *bad;
    } cases[] = {
        {"{\"type\":\"integer\",\"multipleOf\":6}", "-18", "20"},
        {"{\"type\":\"integer\",\"multipleOf\":2.5}", "15", "12"},
        {"{\"type\":\"number\",\"multipleOf\":0.01}", "12.34", "12.345"},
        {"{\"allOf\":[{\"multipleOf\":4},{\"multipleOf\":6},{\"type\":\"number\"}]}", "24", "18"},
        {"{\"type\":\"number\",\"minimum\":5,\"exclusiveMinimum\":true}", "5.1", "5.0"},
        {"{\"type\":\"string\",\"nullable\":true}", "null", "1"},
        {"{\"enum\":[\"a\",\"bcd\",4],\"minLength\":2}", "4", "\"a\""},
        {"{\"type\":\"string\",\"pattern\":\"^[a-z]+$\",\"minLength\":2,\"maxLength\":3}",
         "\"abc\"", "\"abcd\""},
        {"{\"type\":\"string\",\"pattern\":\"^[a-z]+$\",\"minLength\":2}", "\"ab\"", "\"a\""},
        {"{\"pattern\":\"^a\",\"allOf\":[{\"pattern\":\"z$\"}]}", "\"a z\"", "\"a y\""},
        {"{\"pattern\":\"^\\\\p{L}+$\"}", "\"\xc3\xa9\"", "\"1\""},
        {"{\"items\":[{\"const\":1},{\"const\":2}],\"additionalItems\":false}", "[1,2]", "[1,2,3]"},
        {"{\"items\":[{\"const\":1}],\"additionalItems\":{\"const\":5}}", "[1,5,5]", "[1,1]"},
        {"{\"items\":{\"enum\":[1,12,\"a\"]},\"uniqueItems\":true}", "[12,1,\"a\"]", "[1,12,1]"},
        {"{\"items\":{\"type\":\"boolean\"},\"uniqueItems\":true,\"minItems\":2}", "[true,false]",
         "[true]"},
        {"{\"items\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":3},\"uniqueItems\":true}",
         "[3,1]", "[3,3]"},
        {"{\"additionalProperties\":{\"const\":1},\"minProperties\":2}", "{\"a\":1,\"b\":1}",
         "{\"a\":1,\"a\":1}"},
        {"{\"properties\":{\"a\":true},\"maxProperties\":1}", "{\"a\":1}", "{\"a\":1,\"b\":1}"},
        {"{\"properties\":{\"a\":true},\"required\":[\"b\"],\"maxProperties\":1}", "{\"b\":1}",
         "{\"a\":1,\"b\":1}"},
        {"{\"patternProperties\":{\"^S_\":{\"const\":1}},\"additionalProperties\":false}",
         "{\"S_\":1}", "{\"S\":1}"},
        {"{\"patternProperties\":{\"^S\":{\"minimum\":3},\"T$\":{\"maximum\":4}},\"properties\":"
         "{\"ST\":{\"type\":\"integer\"}}}",
         "{\"ST\":4,\"S\":5,\"S T\":3.5,\"x\":[]}", "{\"S T\":5}"},
        {"{\"patternProperties\":{\"^S\":{\"minimum\":3}},\"properties\":{\"ST\":{\"type\":"
         "\"integer\"}}}",
         "{\"ST\":4}", "{\"ST\":2}"},
        {"{\"propertyNames\":{\"enum\":[\"a\",\"b\"]}}", "{\"b\":1,\"a\":2}", "{\"c\":1}"},
        {"{\"propertyNames\":{\"pattern\":\"^[ab]+$\",\"maxLength\":2}}", "{\"ab\":1}",
         "{\"aba\":1}"},
        {"{\"properties\":{\"a\":true,\"b\":true},\"anyOf\":[{\"required\":[\"a\"]},{\"required\":"
         "[\"b\"]}]}",
         "{\"b\":1}", "{\"c\":1}"},
        {"{\"allOf\":[{\"properties\":{\"a\":{\"minimum\":2}},\"required\":[\"a\"]},{"
         "\"properties\":"
         "{\"a\":{\"maximum\":3}}}],\"additionalProperties\":{\"type\":\"integer\"}}",
         "{\"a\":3}", "{\"a\":1}"},
        {"{\"$defs\":{\"d\":{\"$anchor\":\"x\",\"const\":1}},\"items\":{\"$ref\":\"#x\"}}", "[1]",
         "[2]"},
        {"{\"$id\":\"http://a/b/c\",\"$defs\":{\"d\":{\"$id\":\"e\",\"const\":1}},\"items\":"
         "{\"$ref\":\"http://a/b/e\"}}",
         "[1]", "[2]"},
        {"{\"$ref\":\"#/$defs/d\",\"maximum\":5,\"$defs\":{\"d\":{\"minimum\":3}}}", "4", "2"},
        {"{\"type\":\"string\",\"format\":\"phone\",\"foo\":{\"bar\":1},\"if\":true}", "\"x\"",
         "1"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct grammar *g = compile(cases[i].schema);
        if (outcome(g, cases[i].good) < 1 || outcome(g, cases[i].bad) > 0)
            fail_msg("%s: %s, %s", cases[i].schema, cases[i].good, cases[i].bad);
        grammar_unref(g);
    }
}

static void test_states(void **state)
{
    (void)state;
    struct grammar *g = compile("{\"type\": \"array\", \"items\": {\"type\": \"string\"}}");
    struct grammar_state a, b, c;
    grammar_start(g, &a);
    assert_true(grammar_accept(g, &a, "[\"\",\"x", 6));
    memset(&b, 0x55, sizeof b);
    grammar_state_copy(&b, &a);
    assert_true(grammar_state_equal(&a, &b));
    assert_true(grammar_state_hash(&a) == grammar_state_hash(&b));
    assert_false(grammar_accept(g, &b, "y\"}", 3)); /* and nothing of it */
    assert_true(grammar_state_equal(&a, &b));
    assert_true(grammar_accept(g, &b, "y\",\"z", 5));
    assert_true(grammar_state_equal(&a, &b)); /* items are not counted */
    memset(&c, 0xAA, sizeof c);
    assert_true(grammar_step(g, &a, '"', &c));
    assert_false(grammar_state_equal(&a, &c));
    assert_false(grammar_may_end(&c));
    grammar_unref(g);
}

static const char *const schemas[] = {
    NULL,
    "{}",
    "{\"type\": \"string\", \"maxLength\": 5}",
    "{\"type\": \"string\", \"minLength\": 30, \"maxLength\": 40}",
    "{\"type\": \"string\", \"pattern\": \"^[a-z ]+[0-9]{2,3}$\"}",
    "{\"type\": \"array\", \"items\": {\"type\": [\"string\", \"number\"]}, \"maxItems\": 4}",
    "{\"anyOf\": [{\"type\": \"string\", \"maxLength\": 4}, {\"pattern\": \"^[a-z]*$\"}]}",
    "{\"anyOf\": [{\"type\": \"string\"}, {\"enum\": [\"a\", \"the\"]}]}",
    "{\"properties\": {\"name\": true, \"na\": {\"type\": \"null\"}, \"id\": {\"$ref\": \"#\"}}}",
    "{\"type\": \"array\", \"items\": {\"anyOf\": [{\"$ref\": \"#\"}, {\"format\": \"date\"}]}}",
};

static void walk_all(struct walker *w, uint64_t seeds)
{
    for (size_t i = 0; i < COUNT_OF(schemas); i++) {
        struct grammar *g = compile(schemas[i]);
        for (uint64_t seed = 0; seed < seeds; seed++) {
            struct buf text = {0};
            if (!walker_text(w, g, seed, (uint32_t)(seed * 3), 6, &text))
                fail_msg("%s, seed %d: %.*s", schemas[i] ? schemas[i] : "object", (int)seed,
                         (int)text.len, text.data);
            assert_true(outcome(g, text.data) > 0);
            buf_free(&text);
        }
        grammar_unref(g);
    }
}

/* Random texts through masks end, and masks are what trying every token says; kept or not. */
static void test_masks(void **state)
{
    (void)state;
    struct walker w;
    for (size_t cache = 0; cache < 3; cache++) {
        walker_init(&w, cache == 2 ? 6000 : 900, cache * 100000);
        walk_all(&w, cache == 2 ? 8 : 16);
        struct grammar_masks_stats stats = grammar_masks_stats(w.masks);
        assert_true(stats.n_masks > 500);
        assert_true(cache < 2 || stats.n_kept > 0);
        walker_free(&w);
    }
}

/* Sixty patterns at once over many tokens: the walk is cut, and what is left still spells all. */
static void test_long_walk(void **state)
{
    (void)state;
    struct walker w;
    struct buf schema = {0};
    struct grammar_state s;
    buf_puts(&schema, "{\"anyOf\": [false");
    for (int i = 0; i < 60; i++)
        buf_printf(&schema, ",{\"pattern\": \"^[^%c]{0,%d}$\"}", 'A' + i % 26, 30 + i);
    buf_puts(&schema, "]}");
    struct grammar *g = compile(schema.data);
    walker_init(&w, 80000, 0);
    grammar_start(g, &s);
    assert_true(grammar_accept(g, &s, "\"", 1));
    uint32_t found = 0, fitting = 0;
    grammar_mask(w.masks, g, &s, w.allowed);
    for (size_t i = 0; i < w.n_tokens - 1; i += i < 256 ? 1 : 8) {
        struct grammar_state after;
        grammar_state_copy(&after, &s);
        bool fits = grammar_accept(g, &after, w.tokens[i].data, w.tokens[i].len);
        bool allowed = w.allowed[i / 32] >> i % 32 & 1;
        found += allowed;
        fitting += fits;
        assert_true(fits || !allowed);
        assert_true(w.tokens[i].len > 1 || fits == allowed);
    }
    assert_true(found < fitting);
    walker_free(&w);
    grammar_unref(g);
    buf_free(&schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_space),          cmocka_unit_test(test_texts),
        cmocka_unit_test(test_tagged_unions),  cmocka_unit_test(test_strings),
        cmocka_unit_test(test_numbers),        cmocka_unit_test(test_integer_limits),
        cmocka_unit_test(test_properties),     cmocka_unit_test(test_depth),
        cmocka_unit_test(test_refused),        cmocka_unit_test(test_way_out),
        cmocka_unit_test(test_enum),           cmocka_unit_test(test_limits),
        cmocka_unit_test(test_states),         cmocka_unit_test(test_masks),
        cmocka_unit_test(test_resources),      cmocka_unit_test(test_forced),
        cmocka_unit_test(test_longest_tokens), cmocka_unit_test(test_cache),
        cmocka_unit_test(test_work),           cmocka_unit_test(test_long_walk),
        cmocka_unit_test(test_any_order),      cmocka_unit_test(test_many_names),
        cmocka_unit_test(test_exact_numbers),  cmocka_unit_test(test_decimal_limits),
        cmocka_unit_test(test_keywords),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
