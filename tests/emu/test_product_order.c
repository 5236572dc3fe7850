/*
 * A row's product does not depend, bit for bit, on the other rows, their number, its place, the
 * capacity, the tiling, the machine or the schedule: each row alone in the tiling of one row is
 * what everything else is compared with. And the comparison can fail: a sum cut elsewhere shows.
 *
 * links: product_rig
 */
#include "product_rig.h"
#include "rig.h"

#include "specd/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N 40
#define K 1024 /* eight slices */
#define ROWS 24
#define CAPACITY 150

static const enum dtype files[PRODUCT_TYPES] = {
    [PRODUCT_BF16] = DT_BF16,   [PRODUCT_FP8] = DT_F32,       [PRODUCT_INT8] = DT_Q8_0,
    [PRODUCT_INT4] = DT_Q4_0,   [PRODUCT_INT4_MIN] = DT_Q4_1, [PRODUCT_INT4_K] = DT_Q4_K,
    [PRODUCT_IQ4] = DT_IQ4_XS,  [PRODUCT_FP4] = DT_MXFP4,     [PRODUCT_FP8_32] = DT_F8,
    [PRODUCT_NVFP4] = DT_NVFP4, [PRODUCT_INT2_K] = DT_Q2_K,
};

struct alone {
    struct product_matrix m;
    struct product_rows rows;
    float *out; /* (ROWS, N) */
};

/* Runs rows from[0..n) of a->rows together. */
static void run(const struct alone *a, const int32_t *from, int32_t n, int32_t capacity,
                const struct product_plan *plan, const struct product_tiling *t, float *out)
{
    struct product_rows r;

    rows_pick(&r, &a->rows, from, n, capacity);
    product_run(&a->m, &r, plan, t, a->m.plan.paired ? PRODUCT_SILU_MUL : PRODUCT_STORE, NULL, out);
    rows_free(&r);
}

static void alone_make(struct alone *a, enum product_type type, bool paired)
{
    static const struct product_machine h100 = {132, 232448, 233472, true};
    struct product_tiling t;

    matrix_make(&a->m, type, files[type], paired, N, K);
    rows_make(&a->rows, ROWS, ROWS, K);
    a->out = xcalloc(ROWS * N, sizeof(float));
    t = product_tiling_of(&a->m.plan, 1, &h100);
    for (int32_t i = 0; i < ROWS; i++)
        run(a, &i, 1, 1, &a->m.plan, &t, a->out + i * N);
}

static void alone_free(struct alone *a)
{
    rows_free(&a->rows);
    matrix_free(&a->m);
    free(a->out);
    device_free_all();
}

/* n of the rows at random, each as often as it comes: how many differ from themselves alone. */
static int rows_that_differ(const struct alone *a, int32_t n, int32_t capacity,
                            const struct product_plan *plan, const struct product_tiling *t)
{
    int32_t from[CAPACITY];
    float *out = xcalloc((size_t)(n * N), sizeof(float));
    int differ = 0;

    for (int32_t i = 0; i < n; i++)
        from[i] = rand() % ROWS;
    run(a, from, n, capacity, plan, t, out);
    for (int32_t i = 0; i < n; i++)
        differ += memcmp(out + i * N, a->out + from[i] * N, N * sizeof(float)) != 0;
    free(out);
    return differ;
}

static void check_type(enum product_type type, bool paired)
{
    static const int32_t counts[] = {1, 2, 3, 5, 8, 9, 16, 17, 33, 64, 65, 130};
    struct alone a;

    alone_make(&a, type, paired);
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        int32_t capacity = counts[i] + (rand() % 2 ? rand() % 20 : 0);
        struct product_machine machine = machine_random();
        struct product_tiling usual = product_tiling_of(&a.m.plan, capacity, &machine);
        struct product_tiling any = tiling_random(&a.m.plan, capacity);

        assert_int_equal(rows_that_differ(&a, counts[i], capacity, &a.m.plan, &usual), 0);
        assert_int_equal(rows_that_differ(&a, counts[i], capacity, &a.m.plan, &any), 0);
    }
    alone_free(&a);
}

#define TEST(name, type, paired)          \
    static void test_##name(void **state) \
    {                                     \
        (void)state;                      \
        check_type(type, paired);         \
    }
TEST(bf16, PRODUCT_BF16, false)
TEST(fp8, PRODUCT_FP8, false)
TEST(int8, PRODUCT_INT8, false)
TEST(int4, PRODUCT_INT4, false)
TEST(int4_min, PRODUCT_INT4_MIN, false)
TEST(int4_k, PRODUCT_INT4_K, false)
TEST(iq4, PRODUCT_IQ4, false)
TEST(fp4, PRODUCT_FP4, false)
TEST(nvfp4, PRODUCT_NVFP4, false)
TEST(fp8_32, PRODUCT_FP8_32, false)
TEST(int2_k, PRODUCT_INT2_K, false)
TEST(paired, PRODUCT_INT8, true)

/* Every count from 1 to 64, each in the tiling its capacity gets. */
static void test_every_count(void **state)
{
    struct product_machine machine = machine_random();
    struct alone a;

    (void)state;
    alone_make(&a, PRODUCT_BF16, false);
    for (int32_t n = 1; n <= 64; n++) {
        struct product_tiling t = product_tiling_of(&a.m.plan, n, &machine);
        assert_int_equal(rows_that_differ(&a, n, n, &a.m.plan, &t), 0);
    }
    alone_free(&a);
}

/* Slices that depend on the number of rows are what must never be. */
static void test_other_slices_show(void **state)
{
    struct product_machine machine = {132, 232448, 233472, true};

    (void)state;
    for (int type = 0; type < PRODUCT_TYPES; type++) {
        struct alone a;
        struct product_plan cut;
        struct product_tiling t;

        alone_make(&a, (enum product_type)type, false);
        cut = a.m.plan;
        assert_int_equal(cut.slices, 8);
        cut.slices = 4;
        t = product_tiling_of(&cut, 9, &machine);
        assert_true(rows_that_differ(&a, 9, 9, &cut, &t) > 4);
        alone_free(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bf16),        cmocka_unit_test(test_fp8),
        cmocka_unit_test(test_int8),        cmocka_unit_test(test_int4),
        cmocka_unit_test(test_int4_min),    cmocka_unit_test(test_int4_k),
        cmocka_unit_test(test_iq4),         cmocka_unit_test(test_fp4),
        cmocka_unit_test(test_nvfp4),       cmocka_unit_test(test_fp8_32),
        cmocka_unit_test(test_int2_k),      cmocka_unit_test(test_paired),
        cmocka_unit_test(test_every_count), cmocka_unit_test(test_other_slices_show),
    };
    if (product_prepare(232448))
        return 1;
    return seeded_run(tests);
}
