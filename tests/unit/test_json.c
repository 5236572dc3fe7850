/*
 * The JSON reader: what passes, what is refused and where, what the values read as; and the writer.
 *
 * links: specd_server specd_base
 */
#include "specd/json.h"
#include "specd/json_write.h"

#include "rnd.h"
#include "specd/error.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static struct json *parse(const char *text)
{
    struct json *doc = NULL;
    char err[256];
    if (json_parse(&doc, text, strlen(text), err, sizeof err) != 0)
        fail_msg("%s: %s", text, err);
    return doc;
}

static void refuse(const char *text, size_t len, const char *why)
{
    struct json *doc = NULL;
    char err[256] = "";
    assert_int_equal(json_parse(&doc, text, len, err, sizeof err), SPECD_EJSON);
    if (!strstr(err, why))
        fail_msg("%s: '%s' does not say '%s'", text, err, why);
}

static void test_accepted(void **state)
{
    static const char *const texts[] = {
        "null",
        " true\r\n\t",
        "0",
        "-0.5e+10",
        "\"\"",
        "[]",
        "{}",
        "[1,[2,{\"a\":[]}]]",
        "{\"\":0}",
        "\"\\u00e9\\ud83d\\ude00\"",
        "\"\xf4\x8f\xbf\xbf\"",
        "1E2",
        "[0,-0]",
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        json_free(parse(texts[i]));
}

static void test_refused(void **state)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        {"", "byte 0: unexpected end"},
        {"  ", "byte 2: unexpected end"},
        {"[1,]", "byte 3"},
        {"{\"a\":1,}", "byte 7: expected a member name"},
        {"{\"a\" 1}", "expected ':'"},
        {"[1 2]", "byte 3: expected ',' or ']'"},
        {"{\"a\":1", "expected ',' or '}'"},
        {"1 2", "byte 2: more than one value"},
        {"nul", "unexpected character"},
        {"NaN", "unexpected character"},
        {"x", "unexpected character"},
        {"01", "malformed number"},
        {"1.", "malformed number"},
        {"-", "malformed number"},
        {"1e", "malformed number"},
        {"1e400", "out of range"},
        {"\"a", "unterminated string"},
        {"\"a\\", "malformed escape"},
        {"\"\\x\"", "malformed escape"},
        {"\"\\u12g4\"", "malformed \\u escape"},
        {"{\"a\\u0000\":1}", "byte 9: \\u0000 in a name"},
        {"{\"\\ud800\":1}", "lone surrogate in a name"},
        {"{\"\\ud800\\u0041\":1}", "lone surrogate in a name"},
        {"[{\"\\udc00\":1}]", "lone surrogate in a name"},
        {"\"\\ud800\\u00g1\"", "malformed \\u escape"},
        {"\"\t\"", "control character"},
        {"\"\x80\"", "invalid UTF-8"},
        {"\"\xc0\x80\"", "invalid UTF-8"},
        {"\"\xe0\x80\x80\"", "invalid UTF-8"},
        {"\"\xed\xa0\x80\"", "invalid UTF-8"},
        {"\"\xf0\x80\x80\x80\"", "invalid UTF-8"},
        {"\"\xf4\x90\x80\x80\"", "invalid UTF-8"},
        {"\"\xe2\x82\"", "invalid UTF-8"},
        {"\"\xe2\x82", "invalid UTF-8"},
        {"{\"a\":1,\"b\":2,\"a\":3}", "duplicate key 'a'"},
        {"[0,{\"x\":{\"k\":1,\"\\u006b\":2}}]", "duplicate key 'k' in [1].x"},
        {"{\"a\":[0,{\"b\":[1,1e400]}]}", "number out of range in a[1].b[1]"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        refuse(rows[i].text, strlen(rows[i].text), rows[i].why);
    refuse("\"a\0b\"", 5, "control character");
    refuse("1\0", 2, "more than one value");
}

#define U_FFFD "\xef\xbf\xbd"

/* What C strings or UTF-8 can't hold is replaced in values, and only that. */
static void test_replaced(void **state)
{
    static const char *const rows[][2] = {
        {"\"\\u0000\"", U_FFFD},
        {"\"a\\u0000b\\ud83d\\ude00\"", "a" U_FFFD "b\xf0\x9f\x98\x80"},
        {"\"\\ud800\"", U_FFFD},
        {"\"\\ud800\\u0041\"", U_FFFD "A"},
        {"\"\\ud800\\ud83d\\ude00\"", U_FFFD "\xf0\x9f\x98\x80"},
        {"\"\\udc00\\ud800\\n\"", U_FFFD U_FFFD "\n"},
        {"\"\\\\u0000\"", "\\u0000"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char why[128];
        struct json *doc = parse(rows[i][0]);
        assert_string_equal(json_string(doc), rows[i][1]);
        json_free(doc);
        bool plain = strstr(rows[i][0], "\\\\u") != NULL;
        int rc = json_parse_file(&doc, rows[i][0], strlen(rows[i][0]), why, sizeof why);
        assert_int_equal(rc, plain ? 0 : SPECD_EJSON);
        if (plain)
            json_free(doc);
    }
    struct json *doc = parse("{\"a\":\"\\u0000\",\"b\":[1.10,\"\\udfff\",20]}");
    assert_string_equal(json_string(json_get(doc, "a")), U_FFFD);
    assert_string_equal(json_number_text(json_first(json_get(doc, "b"))), "1.10");
    json_free(doc);
}

/* Names may repeat, and hold what is replaced; what is no JSON is refused all the same. */
static void test_lax(void **state)
{
    static const char text[] =
        "{\"a\":1,\"a\":\"x\\u0000y\",\"b\":{\"c\":0,\"c\":0},\"\\ud800\":2}";
    static const char *const bad[] = {"{\"a\":1,}", "NaN", "1e400", "{} {}", ""};
    struct json *doc = NULL;
    char why[128];
    (void)state;
    assert_int_equal(json_scan_lax(text, strlen(text), why, sizeof why), 0);
    assert_int_equal(json_parse_lax(&doc, text, strlen(text), why, sizeof why), 0);
    assert_int_equal(json_count(doc), 4);
    assert_true(json_number(json_get(doc, "a")) == 1);
    assert_string_equal(json_string(json_next(json_first(doc))), "x" U_FFFD "y");
    assert_true(json_number(json_get(doc, U_FFFD)) == 2);
    json_free(doc);
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(json_parse_lax(&doc, bad[i], strlen(bad[i]), why, sizeof why),
                         SPECD_EJSON);
}

/* As Python's json.loads: checked against it by hand. */
static void test_loads(void **state)
{
    static const char text[] =
        "[NaN, Infinity,-Infinity ,1e400,-1e400,{\"a\":1,\"a\":NaN},\"NaN\"]";
    static const char *const bad[] = {"nan",       "NaNa",   "-NaN", "+Infinity", "Inf",
                                      "[Infinit]", "\"\t\"", "01",   "1.",        "[1,]",
                                      "{'a':1}",   "N",      "-I"};
    static const char *const texts[] = {"NaN", "Infinity", "-Infinity", "1e400", "-1e400"};
    static const double values[] = {NAN, INFINITY, -INFINITY, INFINITY, -INFINITY};
    struct json *doc = NULL;
    char why[128];
    (void)state;
    assert_int_equal(json_loads(&doc, text, strlen(text), why, sizeof why), 0);
    const struct json *v = json_first(doc);
    for (size_t i = 0; i < COUNT_OF(values); i++, v = json_next(v)) {
        assert_string_equal(json_number_text(v), texts[i]);
        assert_true(json_number(v) == values[i] || (isnan(values[i]) && isnan(json_number(v))));
    }
    assert_true(isnan(json_number(json_next(json_first(v)))));
    assert_string_equal(json_string(json_next(v)), "NaN");
    json_free(doc);
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(json_loads(&doc, bad[i], strlen(bad[i]), why, sizeof why), SPECD_EJSON);
    refuse("[NaN]", 5, "unexpected character");
}

/* Nothing is read beyond the length, though the text goes on. */
static void test_length_bounds(void **state)
{
    (void)state;
    refuse("[1]", 2, "expected ',' or ']'");
    refuse("tru", 3, "unexpected character");
    refuse("\"\xc3\xa9\"", 2, "invalid UTF-8");
    refuse("\"\\u00e9\"", 5, "malformed \\u escape");
}

static void test_limits(void **state)
{
    struct buf b = {0};
    (void)state;
    for (int depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
        buf_clear(&b);
        for (int i = 0; i < depth; i++)
            buf_puts(&b, "[");
        for (int i = 0; i < depth; i++)
            buf_puts(&b, "]");
        if (depth <= JSON_DEPTH_MAX)
            json_free(parse(b.data));
        else
            refuse(b.data, b.len, "nested too deeply");
    }
    buf_clear(&b);
    buf_puts(&b, "[");
    for (int i = 0; i < JSON_VALUES_MAX; i++)
        buf_puts(&b, "1,");
    buf_puts(&b, "1]");
    refuse(b.data, b.len, "too many values");
    buf_clear(&b);
    for (int i = 0; i < 64; i++)
        buf_puts(&b, "1");
    refuse(b.data, b.len, "number too long");
    buf_free(&b);
}

static void test_values(void **state)
{
    struct json *doc = parse("{\"t\":true,\"f\":false,\"n\":null,\"s\":\"a\\nb\",\"i\":-3,"
                             "\"d\":1.5,\"a\":[1,2,3],\"o\":{\"T\":0}}");
    const struct json *a = json_get(doc, "a");
    int64_t i = 0;
    (void)state;
    assert_int_equal(json_type(doc), JSON_OBJECT);
    assert_int_equal(json_count(doc), 8);
    assert_true(json_bool(json_get(doc, "t")));
    assert_false(json_bool(json_get(doc, "f")));
    assert_int_equal(json_type(json_get(doc, "n")), JSON_NULL);
    assert_string_equal(json_string(json_get(doc, "s")), "a\nb");
    assert_true(json_integer(json_get(doc, "i"), &i) && i == -3);
    assert_false(json_integer(json_get(doc, "d"), &i));
    assert_true(json_number(json_get(doc, "d")) == 1.5);
    assert_int_equal(json_count(a), 3);
    assert_true(json_integer(json_next(json_first(a)), &i) && i == 2);
    assert_null(json_get(doc, "T"));
    assert_non_null(json_get(json_get(doc, "o"), "T"));
    json_free(doc);
}

static void test_integers(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        int64_t value;
    } rows[] = {
        {"9007199254740991", true, 9007199254740991},
        {"-9007199254740991", true, -9007199254740991},
        {"9007199254740992", false, 0},
        {"9007199254740993", false, 0},
        {"1e3", true, 1000},
        {"1e300", false, 0},
        {"0.1", false, 0},
        {"-0", true, 0},
        {"\"1\"", false, 0},
        {"true", false, 0},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct json *doc = parse(rows[i].text);
        int64_t v = 0;
        assert_int_equal(json_integer(doc, &v), rows[i].ok);
        assert_int_equal(v, rows[i].value);
        json_free(doc);
    }
}

/* Every number keeps its text, in whatever depth and order. */
static void test_number_texts(void **state)
{
    struct json *doc =
        parse("{\"a\":12345678901234567890,\"b\":[1.10,[-0],{\"c\":1E+2}],\"d\":\"7\"}");
    const struct json *b = json_get(doc, "b");
    (void)state;
    assert_string_equal(json_number_text(json_get(doc, "a")), "12345678901234567890");
    assert_string_equal(json_number_text(json_first(b)), "1.10");
    assert_string_equal(json_number_text(json_first(json_next(json_first(b)))), "-0");
    assert_string_equal(json_number_text(json_first(json_next(json_next(json_first(b))))), "1E+2");
    assert_null(json_number_text(json_get(doc, "d")));
    json_free(doc);
    doc = parse(" 9007199254740993 ");
    assert_string_equal(json_number_text(doc), "9007199254740993");
    json_free(doc);
    refuse("[1,1e123456789]", 15, "byte 3: number out of range");
    refuse("[1,2,1e400,3]", 13, "out of range");
}

/* Each pair against what exact arithmetic says: the same value times a power of ten, spelled in
 * another way, and a neighbour in the last digit. */
static void test_decimals(void **state)
{
    static const char *const rising[] = {"-1e400",
                                         "-9007199254740993",
                                         "-9007199254740992",
                                         "-10",
                                         "-9.5",
                                         "-0.10",
                                         "-1e-400",
                                         "-0.0",
                                         "1e-99999999",
                                         "1e-400",
                                         "0.099",
                                         "0.1",
                                         "0.10000000000000000000001",
                                         "1",
                                         "1.5",
                                         "9",
                                         "10",
                                         "99",
                                         "100.5",
                                         "9007199254740992",
                                         "9007199254740993",
                                         "9.007199254740994e15",
                                         "12345678901234567890",
                                         "12345678901234567891",
                                         "1e99999999"};
    static const char *const equal[][2] = {{"0", "-0.00e5"},
                                           {"1.10", "1.1"},
                                           {"100", "1e2"},
                                           {"0.001", "1E-3"},
                                           {"12345678901234567890", "1234567890123456789.0e+1"},
                                           {"-0.05", "-5e-2"},
                                           {"10e-1", "1"}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rising); i++)
        for (size_t k = 0; k < COUNT_OF(rising); k++) {
            struct json_decimal a = json_decimal(rising[i]), b = json_decimal(rising[k]);
            assert_int_equal(json_decimal_compare(&a, &b), (i > k) - (i < k));
        }
    for (size_t i = 0; i < COUNT_OF(equal); i++) {
        struct json_decimal a = json_decimal(equal[i][0]), b = json_decimal(equal[i][1]);
        assert_int_equal(json_decimal_compare(&a, &b), 0);
        assert_int_equal(json_decimal_compare(&b, &a), 0);
    }
    struct json_decimal d = json_decimal("-120.50e3");
    assert_true(d.negative && d.n_digits == 4 && d.exponent == 6);
    assert_memory_equal(d.digits, "1205", 4);
}

static void check_string(const char *s, size_t len, const char *json)
{
    struct buf b = {0};
    json_str(&b, s, len);
    assert_string_equal(b.data, json);
    struct json *doc = parse(b.data);
    if (strlen(s) == len)
        assert_string_equal(json_string(doc), s);
    json_free(doc);
    buf_free(&b);
}

static void test_write_strings(void **state)
{
    (void)state;
    check_string("", 0, "\"\"");
    check_string("a\"b\\c/", 6, "\"a\\\"b\\\\c/\"");
    check_string("\b\f\n\r\t\x01\x1f\x7f", 8, "\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\"");
    check_string("\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa", 9, "\"\\u2028\\u2029\xe2\x80\xaa\"");
    check_string("\xc3\xa9\xf0\x9f\x98\x80", 6, "\"\xc3\xa9\xf0\x9f\x98\x80\"");
    check_string("abc", 1, "\"a\"");
}

/* Cut off in the middle, overlong, a surrogate, a lone byte: one U+FFFD per byte. */
static void test_write_invalid(void **state)
{
    struct buf b = {0};
    (void)state;
    json_str(&b, "\xc3\xa9\xc3", 3);
    json_str(&b, "\xf0\x9f\x98", 3);
    json_str(&b, "a\xc0\xafz", 4);
    assert_string_equal(b.data, "\"\xc3\xa9\xef\xbf\xbd\""
                                "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""
                                "\"a\xef\xbf\xbd\xef\xbf\xbdz\"");
    buf_free(&b);
}

static void test_write_numbers(void **state)
{
    struct buf b = {0};
    (void)state;
    json_int(&b, INT64_MIN);
    json_lit(&b, " ");
    json_int(&b, 0);
    json_lit(&b, " ");
    json_uint(&b, UINT64_MAX);
    json_lit(&b, " ");
    json_int(&b, -7);
    assert_string_equal(b.data, "-9223372036854775808 0 18446744073709551615 -7");
    buf_free(&b);
}

/* ---- builders */

static void expect_printed(const struct json *v, const char *text)
{
    struct buf b = {0};
    json_print(v, &b);
    assert_string_equal(b.data, text);
    buf_free(&b);
}

static void test_builders(void **state)
{
    (void)state;
    struct json *doc = parse("{\"a\":[1,{\"b\":[2,3]},\"x\"],\"c\":null}");
    struct json *list = json_new_array(doc), *object = json_new_object(doc);
    struct json *a = json_detach(doc, json_get(doc, "a"));
    expect_printed(doc, "{\"c\":null}");
    assert_int_equal(json_size(doc), 2);
    struct json *inner = json_detach(a, json_next(json_first(a)));
    expect_printed(a, "[1,\"x\"]");
    assert_true(json_append(list, json_new_string(doc, "text")));
    assert_true(json_append(list, json_detach(a, json_next(json_first(a)))));
    assert_true(json_append(list, json_new_bool(doc, true)));
    assert_true(json_append(a, json_new_bool(doc, false)));
    expect_printed(a, "[1,false]");
    assert_true(json_set(object, "list", list));
    assert_true(json_set(object, "inner", inner));
    assert_true(json_set(object, "list", a)); /* in place of the former, behind the others */
    assert_int_equal(json_size(object), 1 + 4 + 3);
    assert_true(json_set(doc, "o", object));
    assert_true(json_set(doc, "l", list));
    expect_printed(doc, "{\"c\":null,\"o\":{\"inner\":{\"b\":[2,3]},\"list\":[1,false]},"
                        "\"l\":[\"text\",\"x\",true]}");
    assert_int_equal(json_size(doc), 1 + 1 + 8 + 4);
    assert_int_equal(json_count(doc), 3);
    json_detach(doc, json_get(doc, "c"));
    json_detach(doc, json_get(doc, "l"));
    expect_printed(doc, "{\"o\":{\"inner\":{\"b\":[2,3]},\"list\":[1,false]}}");
    assert_null(json_detach(doc, json_get(doc, "none")));
    assert_false(json_append(NULL, list));
    assert_false(json_set(object, "x", NULL));
    json_free(doc);
}

/* Members taken out and put back at random: order and sizes as a list of numbers has them. */
static void test_builders_random(void **state)
{
    (void)state;
    int model[64], n = 0;
    uint64_t seed = (uint64_t)time(NULL);
    struct buf want = {0};
    struct json *doc = parse("[]");
    for (int step = 0; step < 2000; step++) {
        if (n < 64 && rnd(&seed, 2)) {
            char text[8];
            model[n++] = step % 1000;
            snprintf(text, sizeof text, "%d", step % 1000);
            assert_true(json_append(doc, json_new_string(doc, text)));
        } else if (n > 0) {
            int at = (int)rnd(&seed, (uint32_t)n--);
            const struct json *v = json_first(doc);
            for (int i = 0; i < at; i++)
                v = json_next(v);
            assert_ptr_equal(json_detach(doc, v), v);
            memmove(model + at, model + at + 1, (size_t)(n - at) * sizeof *model);
        }
        buf_clear(&want);
        buf_puts(&want, "[");
        for (int i = 0; i < n; i++)
            buf_printf(&want, "%s\"%d\"", i ? "," : "", model[i]);
        buf_puts(&want, "]");
        expect_printed(doc, want.data);
        assert_int_equal(json_size(doc), 1 + n);
    }
    buf_free(&want);
    json_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),      cmocka_unit_test(test_refused),
        cmocka_unit_test(test_replaced),      cmocka_unit_test(test_loads),
        cmocka_unit_test(test_lax),           cmocka_unit_test(test_length_bounds),
        cmocka_unit_test(test_limits),        cmocka_unit_test(test_values),
        cmocka_unit_test(test_number_texts),  cmocka_unit_test(test_decimals),
        cmocka_unit_test(test_integers),      cmocka_unit_test(test_write_strings),
        cmocka_unit_test(test_write_numbers), cmocka_unit_test(test_write_invalid),
        cmocka_unit_test(test_builders),      cmocka_unit_test(test_builders_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
