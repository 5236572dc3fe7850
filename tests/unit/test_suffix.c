/*
 * The suffix automaton against brute force over all positions of random texts in few letters.
 *
 * links: specd_engine specd_base
 * labels: hostile
 */
#include "rnd.h"
#include "drafters/suffix.h"

#include "specd/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SHORT 70
#define ROOM 20

/* Random tokens among `letters`, with stretches copied from earlier. */
static void make_text(uint64_t *s, int32_t *t, int32_t n, uint32_t letters)
{
    for (int32_t i = 0; i < n;) {
        int32_t span = 1 + (int32_t)rnd(s, 12), from = i ? (int32_t)rnd(s, (uint32_t)i) : 0;
        bool copy = i > 0 && rnd(s, 2);
        for (int32_t j = 0; j < span && i < n; j++, i++)
            t[i] = copy ? t[from + j] : (int32_t)rnd(s, letters) - 1;
    }
}

static bool ends_with(const int32_t *t, int32_t end, const int32_t *what, int32_t len)
{
    return end >= len && memcmp(t + end - len, what, (size_t)len * sizeof *t) == 0;
}

/* Where `what` first ends in t[0..n); -1: nowhere. */
static int32_t first_end(const int32_t *t, int32_t n, const int32_t *what, int32_t len)
{
    for (int32_t end = len; end <= n; end++) {
        if (ends_with(t, end, what, len))
            return end;
    }
    return -1;
}

/* The longest end of other[0..m) that occurs in t[0..n). */
static int32_t longest_end(const int32_t *t, int32_t n, const int32_t *other, int32_t m)
{
    int32_t len = MIN(n, m);
    while (len > 0 && first_end(t, n, other + m - len, len) < 0)
        len--;
    return len;
}

/* Each token follows somewhere what is before it in the text and the draft, as far back as at.len
 * tokens; where the text ends, less of it must. */
static void check_follow(const struct suffix *x, const int32_t *t, int32_t n, struct suffix_at at,
                         const int32_t *what)
{
    int32_t out[ROOM], text[SHORT + ROOM];
    assert_int_equal(suffix_follow(x, at, out, ROOM), ROOM);
    memcpy(text, what, (size_t)at.len * sizeof *text);
    memcpy(text + at.len, out, sizeof out);
    int32_t len = at.len;
    for (int32_t i = 0; i < ROOM; i++, len++) {
        const int32_t *before = text + at.len + i - len;
        if (first_end(t, n - 1, before, len) < 0) /* it stands at the text's end alone */
            len = longest_end(t, n - 1, before, len);
        assert_true(first_end(t, n, text + at.len + i - len, len + 1) >= 0);
    }
}

static void test_against_brute_force(void **state)
{
    (void)state;
    uint64_t s = clock_ns();
    print_message("seed %llu\n", (unsigned long long)s);
    for (int i = 0; i < 600; i++) {
        int32_t t[SHORT], other[SHORT];
        uint32_t letters = 1 + rnd(&s, 5);
        make_text(&s, t, SHORT, letters);
        make_text(&s, other, SHORT, letters + rnd(&s, 2));
        struct suffix *x = suffix_create();
        struct suffix_at at = {0};
        for (int32_t n = 1, m = 0; n <= SHORT; n++) {
            suffix_append(x, t + n - 1, 1);
            assert_int_equal(suffix_n_tokens(x), n);
            struct suffix_at end = suffix_repeat(x);
            assert_int_equal(end.len, longest_end(t, n - 1, t, n));
            assert_int_equal(suffix_end(x, end), first_end(t, n, t + n - end.len, end.len));
            check_follow(x, t, n, end, t + n - end.len);
            if (n % (1 + i % 7) != 0) /* the text grows below what is read in it */
                continue;
            suffix_read(x, &at, other[m++]);
            assert_true(at.len <= longest_end(t, n, other, m));
            assert_int_equal(suffix_end(x, at), first_end(t, n, other + m - at.len, at.len));
            check_follow(x, t, n, at, other + m - at.len);
        }
        at = (struct suffix_at){0};
        for (int32_t m = 1; m <= SHORT; m++) {
            suffix_read(x, &at, other[m - 1]);
            assert_int_equal(at.len, longest_end(t, SHORT, other, m));
        }
        suffix_free(x);
    }
}

static void expect(const int32_t *t, int32_t n, int32_t next)
{
    int32_t out;
    struct suffix *x = suffix_create();
    suffix_append(x, t, n);
    assert_int_equal(suffix_follow(x, suffix_repeat(x), &out, 1), 1);
    assert_int_equal(out, next);
    suffix_free(x);
}
#define EXPECT(next, ...) \
    expect((const int32_t[]){__VA_ARGS__}, COUNT_OF(((const int32_t[]){__VA_ARGS__})), next)

static void test_the_most_frequent_follows(void **state)
{
    (void)state;
    EXPECT(50, 1, 2, 50, 11, 1, 2, 60, 12, 1, 2, 50, 13, 1, 2);
    EXPECT(60, 1, 2, 50, 11, 1, 2, 60, 12, 1, 2); /* the latest of equals */
    EXPECT(50, 1, 2, 50, 11, 1, 2, 50, 12, 1, 2, 50, 13, 1, 2, 60, 14, 1, 2);
    EXPECT(60, 9, 1, 2, 60, 11, 1, 2, 50, 12, 1, 2, 50, 13, 9, 1, 2); /* more of it agrees */
}

/* The bytes of the text alone matter, not how they came. */
static void test_pieces_do_not_matter(void **state)
{
    (void)state;
    uint64_t s = clock_ns();
    enum { N = 5000 };
    static int32_t t[N];
    make_text(&s, t, N, 4);
    struct suffix *one = suffix_create(), *many = suffix_create();
    suffix_append(one, t, N);
    for (int32_t at = 0; at < N;) {
        int32_t n = (int32_t)rnd(&s, 40);
        n = MIN(n, N - at);
        suffix_append(many, t + at, n);
        at += n;
    }
    int32_t a[ROOM], b[ROOM];
    struct suffix_at at = suffix_repeat(one), same = suffix_repeat(many);
    assert_memory_equal(&at, &same, sizeof at);
    assert_int_equal(suffix_follow(one, at, a, ROOM), suffix_follow(many, at, b, ROOM));
    assert_memory_equal(a, b, sizeof a);
    assert_int_equal(suffix_bytes(one), suffix_bytes(many));
    suffix_free(one);
    suffix_free(many);
}

/* What the header says, for random texts and those that take the most states or edges. */
static void test_memory_follows_the_text(void **state)
{
    (void)state;
    uint64_t s = clock_ns();
    enum { N = 20000 };
    static int32_t t[N];
    for (int kind = 0; kind < 6; kind++) {
        make_text(&s, t, N, kind == 0 ? 2 : 1u << 17);
        for (int32_t i = 0; i < N && kind > 1; i++)
            t[i] = kind == 2   ? 7     /* aaaa */
                   : kind == 3 ? i > 0 /* abbb */
                   : kind == 4 ? i == 0       ? 1
                                 : i == N - 1 ? 3
                                              : 2 /* abbbc */
                               : (i < N / 2    ? i
                                  : i == N / 2 ? -1
                                               : t[i - N / 2 - 1]);
        struct suffix *x = suffix_create();
        suffix_append(x, t, N);
        assert_true(suffix_bytes(x) <= SUFFIX_BYTES_PER_TOKEN * (size_t)N + 16384);
        suffix_free(x);
    }
}

static void test_empty(void **state)
{
    (void)state;
    int32_t out;
    struct suffix *x = suffix_create();
    struct suffix_at at = suffix_repeat(x);
    assert_int_equal(at.len, 0);
    assert_int_equal(suffix_follow(x, at, &out, 1), 0);
    suffix_read(x, &at, 5);
    assert_int_equal(at.len, 0);
    assert_int_equal(suffix_end(x, at), 0);
    suffix_append(x, NULL, 0);
    assert_int_equal(suffix_n_tokens(x), 0);
    suffix_free(x);
    suffix_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_brute_force),
        cmocka_unit_test(test_the_most_frequent_follows),
        cmocka_unit_test(test_pieces_do_not_matter),
        cmocka_unit_test(test_memory_follows_the_text),
        cmocka_unit_test(test_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
