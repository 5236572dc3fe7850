/*
 * UTF-8 and what Unicode says of characters: every code point, and random bytes. Values against
 * Python and Hugging Face's tokenizers: tests/oracle.
 *
 * links: specd_base
 */
#include "specd/unicode.h"
#include "specd/utf8.h"
#include "unit/rnd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool is_surrogate(uint32_t cp)
{
    return cp >= 0xD800 && cp < 0xE000;
}

static void test_every_character(void **state)
{
    (void)state;
    for (uint32_t cp = 0; cp < CP_END; cp++) {
        char text[5] = {0};
        uint32_t back = 1;
        size_t n, read;
        if (is_surrogate(cp))
            continue;
        n = utf8_write(cp, text);
        assert_int_equal(utf8_read(text, n, &back, &read), UTF8_OK);
        assert_int_equal(back, cp);
        assert_int_equal(read, n);
        assert_int_equal(utf8_length(text, n), n);
        assert_int_equal(utf8_prev(text, n, &back), n);
        assert_int_equal(back, cp);
        for (size_t cut = 1; cut < n; cut++) {
            assert_int_equal(utf8_read(text, cut, &back, &read), UTF8_CUT);
            assert_int_equal(read, cut);
            assert_int_equal(utf8_length(text, cut), 0);
        }
    }
}

static void test_what_is_none(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t bad; /* bytes that count as one U+FFFD: Unicode 3.9, table 3-8 */
    } cases[] = {
        {"\x80", 1},         {"\xC0\xAF", 1},
        {"\xE0\x80\xBF", 1}, {"\xED\xA0\x80", 1},
        {"\xF4\x90\x80", 1}, {"\xFF", 1},
        {"\xE1\x80z", 2},    {"\xF1\x80\x80z", 3},
        {"\xF0\x80\x80", 1}, {"\xF8\x88\x80\x80", 1},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint32_t cp;
        size_t n;
        assert_int_equal(utf8_read(cases[i].bytes, strlen(cases[i].bytes), &cp, &n), UTF8_BAD);
        assert_int_equal(n, cases[i].bad);
        utf8_next(cases[i].bytes, strlen(cases[i].bytes), &cp);
        assert_int_equal(cp, UTF8_INVALID);
    }
}

static size_t random_bytes(uint64_t *seed, char *out, size_t max)
{
    static const char pool[] = "ab \xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xED\xA0\xFF\x80\x85\xC2";
    size_t n = rnd(seed, (uint32_t)max);
    for (size_t i = 0; i < n; i++)
        out[i] = pool[rnd(seed, sizeof pool - 1)];
    return n;
}

/* Whatever the pieces, the text comes out as if it had come at once. */
static void test_pieces(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (int round = 0; round < 20000; round++) {
        struct utf8_tail whole = {0}, pieces = {0};
        struct buf a = {0}, b = {0};
        char text[40];
        size_t len = random_bytes(&seed, text, sizeof text);
        utf8_feed(&whole, text, len, &a);
        utf8_finish(&whole, &a);
        for (size_t at = 0, n; at < len; at += n) {
            n = 1 + rnd(&seed, (uint32_t)(len - at));
            utf8_feed(&pieces, text + at, n, &b);
            assert_int_equal(utf8_valid_run(b.data ? b.data : "", b.len), b.len);
        }
        utf8_finish(&pieces, &b);
        assert_int_equal(a.len, b.len);
        assert_true(a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
        buf_free(&a);
        buf_free(&b);
    }
}

/* Forwards, backwards and by number, characters have the same borders. */
static void test_borders(void **state)
{
    (void)state;
    uint64_t seed = 8;
    for (int round = 0; round < 20000; round++) {
        char text[40];
        size_t len = random_bytes(&seed, text, sizeof text), count = 0;
        for (size_t at = 0; at < len; count++) {
            uint32_t forward, backward;
            assert_int_equal(utf8_offset(text, len, count), at);
            size_t n = utf8_next(text + at, len - at, &forward);
            at += n;
            assert_int_equal(utf8_prev(text, at, &backward), n);
            assert_int_equal(forward, backward);
        }
        assert_int_equal(utf8_count(text, len), count);
    }
}

static void test_classes_and_cases(void **state)
{
    (void)state;
    uint8_t *classes = malloc(CP_END);
    memset(classes, 0xEE, CP_END);
    cp_class_fill(classes);
    for (uint32_t cp = 0; cp < CP_END; cp++) {
        assert_int_equal(classes[cp], cp_class(cp));
        uint32_t up = cp_upper(cp), low = cp_lower(cp);
        assert_true(up < CP_END && low < CP_END && cp_title(cp) < CP_END);
        if (up != cp || low != cp) /* letters, some numbers and symbols, one mark */
            assert_int_not_equal(cp_class(cp), CP_C);
        assert_false(cp_is_title(cp) && cp_class(cp) != CP_L);
        assert_true(!cp_is_white_space(cp) || !cp_is_printable(cp) || cp == ' ');
    }
    assert_int_equal(cp_class(CP_END), CP_C);
    assert_int_equal(cp_class(UTF8_INVALID), CP_C);
    assert_int_equal(cp_lower(UTF8_INVALID), UTF8_INVALID);
    assert_int_equal(cp_class(0x1C8A), CP_L); /* new in Unicode 16 */
    assert_int_equal(cp_class(0x1FAE9), CP_S);
    assert_int_equal(cp_title(0x1C6), 0x1C5);
    assert_int_equal(cp_title('a'), 'A');
    free(classes);
}

/* A normal form is its own, and what is no combining character stays where it is. */
static void test_normal_form(void **state)
{
    (void)state;
    static const uint32_t pool[] = {'a',  'q',    0x300,  0x301,  0x327,  0x1100, 0x1161, 0x11A8,
                                    0xC0, 0x1E14, 0x212B, 0x3099, 0x304B, 0xAC00, 0x345};
    uint64_t seed = 9;
    for (int round = 0; round < 20000; round++) {
        struct buf in = {0}, once = {0}, twice = {0};
        for (size_t n = 1 + rnd(&seed, 12); n > 0; n--) {
            char c[4];
            buf_add(&in, c, utf8_write(pool[rnd(&seed, COUNT_OF(pool))], c));
        }
        nfc_append(in.data, in.len, NULL, &once, NULL);
        nfc_append(once.data, once.len, NULL, &twice, NULL);
        assert_string_equal(once.data, twice.data);
        buf_free(&in);
        buf_free(&once);
        buf_free(&twice);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_character),
        cmocka_unit_test(test_what_is_none),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_borders),
        cmocka_unit_test(test_classes_and_cases),
        cmocka_unit_test(test_normal_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
