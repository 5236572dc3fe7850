/*
 * The stop-string matcher against a naive one that looks at the whole text after every byte.
 *
 * links: specd_engine specd_base
 */
#include "rnd.h"
#include "stop.h"

#include "specd/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct stop_matcher *matcher(const char *const *strings, int32_t n)
{
    size_t lens[16];
    for (int32_t i = 0; i < n; i++)
        lens[i] = strlen(strings[i]);
    return stop_matcher_create(strings, lens, n);
}

static int32_t feed(struct stop_matcher *m, const char *text, size_t *safe)
{
    return stop_matcher_feed(m, text, strlen(text), safe);
}

static void test_first_letters_are_held(void **state)
{
    (void)state;
    const char *stops[] = {"\n\nUser:", "</s>"};
    struct stop_matcher *m = matcher(stops, 2);
    size_t safe;
    assert_int_equal(feed(m, "Hello\n", &safe), -1);
    assert_int_equal(safe, 5);
    assert_int_equal(feed(m, "\nUse", &safe), -1);
    assert_int_equal(safe, 5);
    assert_int_equal(feed(m, "ful </", &safe), -1);
    assert_int_equal(safe, 14);
    assert_int_equal(feed(m, "", &safe), -1);
    assert_int_equal(safe, 14);
    assert_int_equal(feed(m, "s\n\n\nUser", &safe), -1); /* three newlines: one goes */
    assert_int_equal(safe, 18);
    assert_int_equal(feed(m, ": never seen", &safe), 0);
    assert_int_equal(safe, 18);
    stop_matcher_free(m);
}

static void test_first_to_complete_wins(void **state)
{
    (void)state;
    const char *stops[] = {"abcde", "bc", "xyz", "z", "yz"};
    size_t safe;
    struct stop_matcher *m = matcher(stops, 5);
    assert_int_equal(feed(m, "-abcde", &safe), 1);
    assert_int_equal(safe, 2);
    stop_matcher_free(m);
    m = matcher(stops, 5);
    assert_int_equal(feed(m, "-xyz", &safe), 2); /* all three end here: the longest */
    assert_int_equal(safe, 1);
    stop_matcher_free(m);
}

static void test_skip(void **state)
{
    (void)state;
    const char *stops[] = {"stop"};
    size_t safe;
    struct stop_matcher *m = matcher(stops, 1);
    assert_int_equal(stop_matcher_skip(m, strlen("a stop s")), 8);
    assert_int_equal(feed(m, "top, sto", &safe), -1); /* its beginning was skipped */
    assert_int_equal(safe, 13);
    stop_matcher_free(m);
    m = matcher(stops, 1);
    assert_int_equal(feed(m, "st", &safe), -1);
    assert_int_equal(safe, 0);
    assert_int_equal(stop_matcher_skip(m, 3), 5);
    assert_int_equal(feed(m, "op", &safe), -1);
    assert_int_equal(safe, 7);
    stop_matcher_free(m);
    stop_matcher_free(NULL);
}

static void test_none_and_empty(void **state)
{
    (void)state;
    const char *stops[] = {"", "ab", ""};
    size_t safe;
    struct stop_matcher *m = stop_matcher_create(NULL, NULL, 0);
    assert_int_equal(feed(m, "anything", &safe), -1);
    assert_int_equal(safe, 8);
    stop_matcher_free(m);
    m = matcher(stops, 3);
    assert_int_equal(feed(m, "xa", &safe), -1);
    assert_int_equal(safe, 1);
    assert_int_equal(feed(m, "b", &safe), 1);
    assert_int_equal(safe, 1);
    stop_matcher_free(m);
}

/* Whole characters in, whole characters out, although é and è begin with the same byte. */
static void test_characters_stay_whole(void **state)
{
    (void)state;
    const char *stops[] = {"\xc3\xa8!"};
    size_t safe;
    struct stop_matcher *m = matcher(stops, 1);
    assert_int_equal(feed(m, "caf\xc3\xa9", &safe), -1);
    assert_int_equal(safe, 5);
    assert_int_equal(feed(m, "\xc3\xa8", &safe), -1);
    assert_int_equal(safe, 5);
    stop_matcher_free(m);
}

/* 16 strings of 64 KiB that all agree but for their last byte, and a text that makes naive matchers
 * start over at each byte: done in well under a second, or it is not linear. */
static void test_long_strings(void **state)
{
    (void)state;
    enum { LEN = 1 << 16, N = 16 };
    char *stops[N];
    size_t lens[N], safe = 0;
    for (int i = 0; i < N; i++) {
        stops[i] = xmalloc(LEN);
        memset(stops[i], 'a', LEN);
        stops[i][LEN - 1] = (char)('b' + i);
        lens[i] = LEN;
    }
    char *text = xmalloc(4 * LEN);
    memset(text, 'a', 4 * LEN);
    struct stop_matcher *m = stop_matcher_create((const char *const *)stops, lens, N);
    assert_int_equal(stop_matcher_feed(m, text, 4 * LEN, &safe), -1);
    assert_int_equal(safe, 3 * LEN + 1);
    assert_int_equal(feed(m, "e", &safe), 3);
    assert_int_equal(safe, 3 * LEN + 1);
    stop_matcher_free(m);
    free(text);
    for (int i = 0; i < N; i++)
        free(stops[i]);
}

/* ---- against the naive one ------------------------------------------------------------------- */

#define TEXT_MAX 400

struct naive {
    char text[TEXT_MAX];
    size_t len, from; /* from: stop strings may begin here */
    char strings[4][12];
    size_t lens[4];
    int32_t n;
};

static bool ends_with(const struct naive *v, const char *s, size_t len)
{
    return len <= v->len - v->from && memcmp(v->text + v->len - len, s, len) == 0;
}

static int32_t naive_hit(const struct naive *v)
{
    int32_t hit = -1;
    for (int32_t i = 0; i < v->n; i++) {
        if (ends_with(v, v->strings[i], v->lens[i]) && (hit < 0 || v->lens[i] > v->lens[hit]))
            hit = i;
    }
    return hit;
}

static size_t naive_safe(const struct naive *v)
{
    size_t held = 0;
    for (int32_t i = 0; i < v->n; i++) {
        for (size_t len = 1; len < v->lens[i]; len++) {
            if (ends_with(v, v->strings[i], len))
                held = MAX(held, len);
        }
    }
    return v->len - held;
}

/* Feeds one piece to both; true when a stop string ended the text. */
static bool feed_both(struct naive *v, struct stop_matcher *m, const char *piece, size_t len)
{
    size_t safe, before = naive_safe(v);
    int32_t hit = stop_matcher_feed(m, piece, len, &safe);
    assert_true(safe >= before);
    for (size_t i = 0; i < len; i++) {
        v->text[v->len++] = piece[i];
        int32_t want = naive_hit(v);
        if (want >= 0) {
            assert_true(hit >= 0);
            assert_int_equal(v->lens[hit], v->lens[want]);
            assert_memory_equal(v->strings[hit], v->strings[want], v->lens[want]);
            assert_int_equal(safe, v->len - v->lens[want]);
            return true;
        }
    }
    assert_int_equal(hit, -1);
    assert_int_equal(safe, naive_safe(v));
    return false;
}

static bool one_text(uint64_t *s)
{
    struct naive v = {.n = (int32_t)rnd(s, 5)};
    const char *strings[4];
    uint32_t letters = 2 + rnd(s, 2);
    for (int32_t i = 0; i < v.n; i++) {
        v.lens[i] = 1 + rnd(s, sizeof v.strings[0]);
        for (size_t j = 0; j < v.lens[i]; j++)
            v.strings[i][j] = (char)(rnd(s, letters) ? rnd(s, letters) : 0); /* NUL is a byte */
        strings[i] = v.strings[i];
    }
    struct stop_matcher *m = stop_matcher_create(strings, v.lens, v.n);
    bool over = false;
    while (!over && v.len < TEXT_MAX - 8) {
        char piece[8];
        size_t len = rnd(s, sizeof piece);
        for (size_t i = 0; i < len; i++)
            piece[i] = (char)rnd(s, letters);
        if (rnd(s, 40) == 0) {
            memcpy(v.text + v.len, piece, len);
            v.from = v.len += len;
            assert_int_equal(stop_matcher_skip(m, len), v.len);
        } else {
            over = feed_both(&v, m, piece, len);
        }
    }
    stop_matcher_free(m);
    return over;
}

static void test_against_naive(void **state)
{
    (void)state;
    uint64_t s = 5;
    int stopped = 0;
    for (int i = 0; i < 8000; i++)
        stopped += one_text(&s);
    assert_true(stopped > 2000 && stopped < 7500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_letters_are_held),
        cmocka_unit_test(test_first_to_complete_wins),
        cmocka_unit_test(test_skip),
        cmocka_unit_test(test_none_and_empty),
        cmocka_unit_test(test_characters_stay_whole),
        cmocka_unit_test(test_long_strings),
        cmocka_unit_test(test_against_naive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
