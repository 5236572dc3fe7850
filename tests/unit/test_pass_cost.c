/*
 * What passes cost: curves, what rounds teach them whatever the clock does, and the file they are
 * kept in.
 *
 * links: specd_engine specd_base
 */
#include "rnd.h"
#include "pass_cost.h"

#include "specd/error.h"
#include "specd/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void assert_near(double a, double b)
{
    assert_true(fabs(a - b) <= 1e-9 * (1 + fabs(b)));
}

/* ---- curves ------------------------------------------------------------------------------------
 */

static void test_curve(void **state)
{
    (void)state;
    struct pass_cost c;
    pass_cost_init(&c);
    assert_near(pass_cost_at(&c, PASS_STEP, 5), 0);
    pass_cost_set(&c, PASS_VERIFY, 16, 200);
    assert_near(pass_cost_at(&c, PASS_VERIFY, 1), 200);
    assert_near(pass_cost_at(&c, PASS_VERIFY, 32), 400);
    pass_cost_set(&c, PASS_VERIFY, 1, 100);
    pass_cost_set(&c, PASS_VERIFY, 4, 130);
    pass_cost_set(&c, PASS_VERIFY, 8, 120); /* noise: taken for 130 */
    assert_near(pass_cost_at(&c, PASS_VERIFY, 0), 0);
    assert_near(pass_cost_at(&c, PASS_VERIFY, 1), 100);
    assert_near(pass_cost_at(&c, PASS_VERIFY, 2), 110);
    assert_near(pass_cost_at(&c, PASS_VERIFY, 6), 130);
    assert_near(pass_cost_at(&c, PASS_VERIFY, 12), 165);
    assert_near(pass_cost_at(&c, PASS_VERIFY, 24), 270);
    pass_cost_set(&c, PASS_VERIFY, 4, 110); /* measured anew */
    assert_near(pass_cost_at(&c, PASS_VERIFY, 4), 110);
    assert_near(pass_cost_at(&c, PASS_VERIFY, 8), 120);
    for (int32_t rows = 1; rows < 100; rows++)
        assert_true(pass_cost_at(&c, PASS_VERIFY, rows) <= pass_cost_at(&c, PASS_VERIFY, rows + 1));
}

static void test_curve_below_first_point(void **state)
{
    (void)state;
    struct pass_cost c;
    pass_cost_init(&c);
    pass_cost_set(&c, PASS_STEP, 4, 40);
    pass_cost_set(&c, PASS_STEP, 8, 60);
    assert_near(pass_cost_at(&c, PASS_STEP, 2), 30);
    pass_cost_set(&c, PASS_STEP, 8, 400); /* steep: never below a share */
    assert_near(pass_cost_at(&c, PASS_STEP, 1), 10);
}

/* Rounds of least..16 rows in a world where they take 100 and 10 a row. */
static void learn_world(struct pass_cost *c, int32_t least)
{
    uint64_t r = 4;
    for (int i = 0; i < 3000; i++) {
        int32_t rows = least + (int32_t)rnd(&r, (uint32_t)(17 - least));
        pass_cost_learn(c, PASS_VERIFY, rows, (100 + 10 * rows) * (0.9 + 0.2 * rnd_unit(&r)));
    }
}

/* Real rounds correct a table that was measured wrong, in either direction, wherever they run. */
static void test_learned_cost(void **state)
{
    (void)state;
    struct pass_cost c;
    pass_cost_init(&c);
    pass_cost_learn(&c, PASS_VERIFY, 3, 100); /* an empty table stays empty */
    pass_cost_set(&c, PASS_VERIFY, 1, 900);
    pass_cost_set(&c, PASS_VERIFY, 2, 100);
    pass_cost_set(&c, PASS_VERIFY, 8, 120);
    pass_cost_set(&c, PASS_VERIFY, 16, 5000);
    struct pass_cost low = c;
    pass_cost_set(&low, PASS_VERIFY, 1, 10);
    learn_world(&c, 4); /* never sees the first points, which were far too high */
    learn_world(&low, 1);
    for (int32_t rows = 1; rows <= 16; rows++) {
        if (rows >= 4)
            assert_true(fabs(pass_cost_at(&c, PASS_VERIFY, rows) / (100 + 10 * rows) - 1) < 0.1);
        assert_true(fabs(pass_cost_at(&low, PASS_VERIFY, rows) / (100 + 10 * rows) - 1) < 0.1);
    }
}

/* A clock that jumps, and rounds that something held up. */
static void test_outliers(void **state)
{
    (void)state;
    struct pass_cost c;
    pass_cost_init(&c);
    for (int32_t rows = 1; rows <= 16; rows *= 2)
        pass_cost_set(&c, PASS_VERIFY, rows, 100 + 10 * rows);
    for (int i = 0; i < 10; i++)
        pass_cost_learn(&c, PASS_VERIFY, 4, 140);
    struct pass_cost d = c;
    pass_cost_learn(&c, PASS_VERIFY, 0, 1);
    pass_cost_learn(&c, PASS_VERIFY, 4, 0);
    pass_cost_learn(&c, PASS_VERIFY, 4, -1e18);
    pass_cost_learn(&c, PASS_VERIFY, 4, NAN);
    assert_memory_equal(&c, &d, sizeof c);
    pass_cost_learn(&c, PASS_VERIFY, 4, 1e18);
    assert_true(pass_cost_at(&c, PASS_VERIFY, 4) < 1.15 * pass_cost_at(&d, PASS_VERIFY, 4));
    for (int i = 0; i < 100; i++) { /* each tenth round is a hundred times too long or too short */
        double odd = i % 20 == 0 ? 100 : i % 20 == 10 ? 0.01 : 1;
        pass_cost_learn(&c, PASS_VERIFY, 1 << i % 5, odd * (100 + 10 * (1 << i % 5)));
    }
    for (int32_t rows = 1; rows <= 16; rows *= 2)
        assert_true(fabs(pass_cost_at(&c, PASS_VERIFY, rows) / (100 + 10 * rows) - 1) < 0.25);

    for (int i = 0; i < 200; i++)
        pass_cost_learn_host(&c, 50);
    pass_cost_learn_host(&c, -1e9); /* clocks that disagree */
    assert_true(fabs(c.host_ns - 50) < 1);
    pass_cost_learn_host(&c, 1e15);
    assert_true(c.host_ns < 80);
}

/* A host that changes its speed is followed within a few dozen rounds, all rows alike. */
static void test_learned_speed(void **state)
{
    (void)state;
    struct pass_cost c;
    uint64_t r = 9;
    pass_cost_init(&c);
    for (int32_t rows = 1; rows <= 16; rows *= 2)
        pass_cost_set(&c, PASS_VERIFY, rows, 100 + 10 * rows);
    for (int change = 0; change < 6; change++) {
        double slow = (const double[]){1, 3, 0.5, 2, 1, 4}[change];
        for (int i = 0; i < 36; i++) {
            int32_t rows = i % 9 == 0 ? 1 : 3;
            pass_cost_learn(&c, PASS_VERIFY, rows,
                            slow * (100 + 10 * rows) * (0.95 + 0.1 * rnd_unit(&r)));
        }
        for (int32_t rows = 1; rows <= 16; rows++)
            assert_true(fabs(pass_cost_at(&c, PASS_VERIFY, rows) / slow / (100 + 10 * rows) - 1) <
                        0.2);
    }
}

/* A table whose shape is wrong, as from a busy start, lasts no longer than some rounds, even where
 * one number of rows is rare. */
static void test_learned_shape(void **state)
{
    (void)state;
    for (int low = 0; low < 2; low++) {
        struct pass_cost c;
        pass_cost_init(&c);
        pass_cost_set(&c, PASS_VERIFY, 1, low ? 40 : 150); /* truth: 100, 120, 190 */
        pass_cost_set(&c, PASS_VERIFY, 3, low ? 200 : 151);
        pass_cost_set(&c, PASS_VERIFY, 10, low ? 210 : 600);
        for (int i = 0; i < 200; i++) {
            int32_t rows = i % 20 == 0 ? 1 : 3;
            pass_cost_learn(&c, PASS_VERIFY, rows, rows == 1 ? 100 : 120);
        }
        assert_true(fabs(pass_cost_at(&c, PASS_VERIFY, 1) / 100 - 1) < 0.2);
        assert_true(fabs(pass_cost_at(&c, PASS_VERIFY, 3) / 120 - 1) < 0.1);
    }
}

static void test_learned_steps(void **state)
{
    (void)state;
    struct pass_cost c;
    pass_cost_init(&c);
    pass_cost_set(&c, PASS_STEP, 1, 10);
    pass_cost_set(&c, PASS_STEP, 4, 10);
    const int32_t slots[3] = {4, 4, 1};
    for (int i = 0; i < 60; i++) {
        pass_cost_learn_steps(&c, slots, 3, 2 * 30 + 20);
        pass_cost_learn_steps(&c, &slots[2], 1, 20);
    }
    pass_cost_learn_steps(&c, slots, 0, 20);
    double all = 2 * pass_cost_at(&c, PASS_STEP, 4) + pass_cost_at(&c, PASS_STEP, 1);
    assert_true(fabs(all / 80 - 1) < 0.15);
    assert_true(fabs(pass_cost_at(&c, PASS_STEP, 1) / 20 - 1) < 0.15);
    /* far beyond the table: the slope is learned there, too */
    pass_cost_set(&c, PASS_FILL, 32, 100);
    for (int i = 0; i < 40; i++) {
        pass_cost_learn(&c, PASS_FILL, 512, 4000);
        pass_cost_learn(&c, PASS_FILL, 32, 100);
    }
    assert_true(fabs(pass_cost_at(&c, PASS_FILL, 512) / 4000 - 1) < 0.15);
    assert_true(fabs(pass_cost_at(&c, PASS_FILL, 32) / 100 - 1) < 0.15);
    int32_t rows = pass_cost_rows(&c, PASS_FILL, 2000, 4096);
    assert_true(pass_cost_at(&c, PASS_FILL, rows) <= 2000 &&
                pass_cost_at(&c, PASS_FILL, rows + 1) > 2000);
    assert_int_equal(pass_cost_rows(&c, PASS_FILL, 1e9, 77), 77);
    assert_int_equal(pass_cost_rows(&c, PASS_FILL, 0, 77), 0);
}

/* Sampling enters as a mean over many rounds: one round's own time moves nothing. */
static void test_learned_sampling(void **state)
{
    (void)state;
    struct pass_cost c;
    pass_cost_init(&c);
    pass_cost_learn_sample(&c, 4, 4000);
    assert_near(c.sample_ns, 0);
    for (int i = 0; i < 64 * 40; i++)
        pass_cost_learn_sample(&c, 2 + i % 3, 1000 * (2 + i % 3));
    assert_true(fabs(c.sample_ns / 1000 - 1) < 0.05);
    double before = c.sample_ns;
    pass_cost_learn_sample(&c, 1, 1e12);
    for (int i = 0; i < 63; i++)
        pass_cost_learn_sample(&c, 1, 1000);
    assert_true(c.sample_ns < 3 * before);
}

/* A busy machine slows every pass: that rounds of 4 rows take three times as long says nothing of
 * what 16 rows would cost beside them. */
static void test_learned_load(void **state)
{
    (void)state;
    struct pass_cost c;
    pass_cost_init(&c);
    for (int32_t rows = 1; rows <= 64; rows *= 2)
        pass_cost_set(&c, PASS_VERIFY, rows, 100 + 10 * rows);
    double before = pass_cost_at(&c, PASS_VERIFY, 16) / pass_cost_at(&c, PASS_VERIFY, 4);
    for (int i = 0; i < 200; i++)
        pass_cost_learn(&c, PASS_VERIFY, 4, 3 * (100 + 10 * 4));
    assert_true(fabs(pass_cost_at(&c, PASS_VERIFY, 4) / (3 * 140) - 1) < 0.02);
    assert_true(fabs(pass_cost_at(&c, PASS_VERIFY, 16) / pass_cost_at(&c, PASS_VERIFY, 4) / before -
                     1) < 0.25);
}

static char *temp_path(void)
{
    char *path = xstrdup("/tmp/specd-cost-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    return path;
}

static void write_text(const char *path, const void *data, size_t len)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static size_t read_text(const char *path, char *out, size_t size)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t len = fread(out, 1, size, f);
    fclose(f);
    return len;
}

static void make_cost(struct pass_cost *c)
{
    pass_cost_init(c);
    c->host_ns = 20000;
    c->sample_ns = 3000;
    pass_cost_set(c, PASS_VERIFY, 1, 9e6);
    pass_cost_set(c, PASS_VERIFY, 5, 1.1e7);
    pass_cost_set(c, PASS_VERIFY, 512, 3e8);
    pass_cost_set(c, PASS_STEP, 1, 8e5);
}

static void test_file_round_trip(void **state)
{
    (void)state;
    const char *key = "model \xc3\xa9 q8_0 / cpu, 2 threads";
    char *path = temp_path();
    struct pass_cost c, d;
    make_cost(&c);
    assert_int_equal(pass_cost_save(&c, path, key), 0);
    memset(&d, 0, sizeof d);
    assert_int_equal(pass_cost_load(&d, path, key), 0);
    assert_memory_equal(&c, &d, sizeof c);

    pass_cost_init(&d);
    assert_int_equal(pass_cost_load(&d, path, "model"), SPECD_EFILE);
    assert_int_equal(pass_cost_load(&d, path, "another"), SPECD_EFILE);
    assert_int_equal(pass_cost_load(&d, "/nonexistent/file", key), SPECD_EFILE);
    assert_int_equal(pass_cost_save(&c, "/nonexistent/file", key), SPECD_EFILE);
    assert_int_equal(pass_cost_save(&c, path, "two\nlines"), SPECD_EFILE);
    assert_int_equal(d.curves[PASS_VERIFY].n, 0);
    assert_int_equal(pass_cost_load(&d, path, key), 0); /* the failures left it alone */
    unlink(path);
    free(path);
}

static void test_file_damage(void **state)
{
    (void)state;
    char *path = temp_path(), text[4096];
    struct pass_cost c, untouched, d;
    make_cost(&c);
    pass_cost_init(&untouched);
    d = untouched;
    assert_int_equal(pass_cost_save(&c, path, "key"), 0);
    size_t len = read_text(path, text, sizeof text);
    for (size_t i = 0; i < len; i++) {
        write_text(path, text, i);
        assert_int_equal(pass_cost_load(&d, path, "key"), SPECD_EFILE);
        for (int bit = 0; bit < 8; bit++) {
            text[i] ^= (char)(1 << bit);
            write_text(path, text, len);
            assert_int_equal(pass_cost_load(&d, path, "key"), SPECD_EFILE);
            text[i] ^= (char)(1 << bit);
        }
    }
    char *big = xcalloc(1, 100000);
    write_text(path, big, 100000);
    assert_int_equal(pass_cost_load(&d, path, "key"), SPECD_EFILE);
    free(big);
    assert_memory_equal(&d, &untouched, sizeof d);
    unlink(path);
    free(path);
}

/* Saves a body under a sum that fits it. */
static int load_body(const char *body)
{
    char *path = temp_path(), text[8192];
    snprintf(text, sizeof text, "%ssum %016llx\n", body,
             (unsigned long long)fnv1a(body, strlen(body)));
    write_text(path, text, strlen(text));
    struct pass_cost c;
    pass_cost_init(&c);
    int rc = pass_cost_load(&c, path, "k");
    unlink(path);
    free(path);
    return rc;
}

static void test_file_lies(void **state)
{
    (void)state;
#define HEAD "specd-pass-cost 1\nkey k\nhost 5\nsample 6\n"
    assert_int_equal(load_body(HEAD "verify 1 5\nverify 2 5\n"), 0);
    const char *bad[] = {
        "",
        HEAD,
        "specd-pass-cost 0\nkey k\nhost 5\nsample 6\nverify 1 5\n",
        "specd-pass-cost 1\nkey k\nhost -5\nsample 6\nverify 1 5\n",
        "specd-pass-cost 1\nkey k\nhost 5\nsample x\nverify 1 5\n",
        "specd-pass-cost 1\nkey k\nsample 6\nverify 1 5\n",
        HEAD "step 1 5\n",
        HEAD "verify 0 5\n",
        HEAD "verify 1 0\n",
        HEAD "verify 1 -7\n",
        HEAD "verify 1 nan\n",
        HEAD "verify 1 5.5\n",
        HEAD "verify 99999999 5\n",
        HEAD "verify 1 99999999999999999999999999\n",
        HEAD "verify 18446744073709551617 5\n",
        HEAD "verify 2 5\nverify 2 6\n",
        HEAD "verify 2 5\nverify 1 6\n",
        HEAD "verify 1 5\nmore 1 2\n",
        HEAD "verify 1 5",
        HEAD "verify 1 5\n\n",
        HEAD "verify  1 5\n",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(load_body(bad[i]), SPECD_EFILE);
    char many[8192] = HEAD;
    for (int i = 1; i <= PASS_POINTS_MAX + 1; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "verify %d 5\n", i);
    assert_int_equal(load_body(many), SPECD_EFILE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_curve),
        cmocka_unit_test(test_curve_below_first_point),
        cmocka_unit_test(test_learned_cost),
        cmocka_unit_test(test_learned_load),
        cmocka_unit_test(test_outliers),
        cmocka_unit_test(test_learned_speed),
        cmocka_unit_test(test_learned_shape),
        cmocka_unit_test(test_learned_steps),
        cmocka_unit_test(test_learned_sampling),
        cmocka_unit_test(test_file_round_trip),
        cmocka_unit_test(test_file_damage),
        cmocka_unit_test(test_file_lies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
