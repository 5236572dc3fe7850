/*
 * Products of cuda/ on the emulator against sums in double precision of the weights a file's blocks
 * stand for: all types, shapes that fill no tile, live counts below the capacity, every end, random
 * tilings and schedules. What a row of x has beyond K, and rows beyond the live count, are NaN.
 *
 * Tolerance: a rounding to f32 for each operation of the matrix unit and each group, so
 * (K / 16 + K / 32 + 32) 2^-24 of the sum of magnitudes.
 *
 * links: product_rig
 */
#include "product_rig.h"
#include "rig.h"

#include "specd/util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct {
    enum product_type type;
    enum dtype file;
} kinds[] = {
    {PRODUCT_BF16, DT_BF16},   {PRODUCT_BF16, DT_F32},   {PRODUCT_FP8, DT_F32},
    {PRODUCT_INT8, DT_Q8_0},   {PRODUCT_INT4, DT_Q4_0},  {PRODUCT_INT4_MIN, DT_Q4_1},
    {PRODUCT_INT4_K, DT_Q4_K}, {PRODUCT_INT8, DT_Q5_0},  {PRODUCT_INT8, DT_Q3_K},
    {PRODUCT_IQ4, DT_IQ4_NL},  {PRODUCT_IQ4, DT_IQ4_XS}, {PRODUCT_FP4, DT_MXFP4},
    {PRODUCT_FP8, DT_F8_ROW},  {PRODUCT_FP8_32, DT_F8},  {PRODUCT_INT2_K, DT_Q2_K},
    {PRODUCT_NVFP4, DT_NVFP4},
};

static const int32_t all_n[] = {1, 8, 15, 16, 17, 64, 320};
static const int32_t all_k[] = {32, 45, 64, 96, 160, 333, 576, 1536};
static const int32_t all_rows[] = {1, 2, 3, 5, 8, 9, 16, 17, 33, 64, 130};

/* ---- the reference --------------------------------------------------------------------------- */

struct sum {
    double value, error;
};

static struct sum sum_of(const struct product_matrix *m, const struct product_rows *r, int32_t row,
                         int32_t channel)
{
    const float *w = m->values + (size_t)channel * (size_t)m->k;
    const float *size = m->sizes + (size_t)channel * (size_t)m->k;
    double value = 0, magnitude = 0;

    for (int32_t k = 0; k < m->k; k++) {
        double x = (double)bf16_value(r->host[row * r->stride + k]);
        value += x * (double)w[k];
        magnitude += fabs(x) * (double)size[k];
    }
    return (struct sum){value, (m->k / 16.0 + m->k / 32.0 + 32) * 0x1p-24 * magnitude};
}

static struct sum expected(const struct product_matrix *m, const struct product_rows *r,
                           enum product_end end, const float *bias, int32_t row, int32_t n)
{
    struct sum s = sum_of(m, r, row, n);

    if (product_end_is_paired(end)) {
        struct sum up = sum_of(m, r, row, m->n + n);
        s.value += bias ? (double)bias[n] : 0;
        up.value += bias ? (double)bias[m->n + n] : 0;
        s.error += fabs(s.value) * 0x1p-22;
        up.error += fabs(up.value) * 0x1p-22;
        double gate = product_gated(end, s.value);
        double error = 1.1 * s.error * fabs(up.value) + up.error * (fabs(gate) + s.error);
        return (struct sum){gate * up.value, error + 0x1p-8 * fabs(gate * up.value) + 1e-30};
    }
    if (bias)
        s.value += (double)bias[n];
    if (end == PRODUCT_ADD)
        s.value += (double)(row * m->n + n + 1);
    s.error += fabs(s.value) * 0x1p-22 + 1e-30;
    return s;
}

static void check(const struct product_matrix *m, const struct product_rows *r,
                  const struct product_tiling *t, enum product_end end)
{
    float *out = xcalloc((size_t)(r->n * m->n) + 1, sizeof(float));
    float *bias = rand() % 2 ? product_bias(m) : NULL;

    product_run(m, r, &m->plan, t, end, bias, out);
    for (int32_t i = 0; i < r->n * m->n; i++) {
        struct sum want = expected(m, r, end, bias, i / m->n, i % m->n);
        if (!(fabs((double)out[i] - want.value) <= want.error)) {
            print_error("type %d n %d k %d rows %d of %d tiling %d x %d, %d + %d warps, team %d, "
                        "%d stages: row %d channel %d is %g, not %g within %g\n",
                        m->plan.type, m->n, m->k, r->n, r->capacity, t->weight_tiles, t->row_tiles,
                        t->channel_warps, t->slice_warps, t->team, t->stages, i / m->n, i % m->n,
                        (double)out[i], want.value, want.error);
            fail();
        }
    }
    free(bias);
    free(out);
}

/* ---- all shapes ------------------------------------------------------------------------------ */

static void check_shape(size_t kind, int32_t n, int32_t k, int32_t rows, bool usual)
{
    int32_t capacity = rows > 0 && rand() % 2 ? rows : rows + 1 + rand() % 40;
    bool paired = rand() % 4 == 0;
    struct product_machine machine = machine_random();
    struct product_matrix m;
    struct product_rows r;
    struct product_tiling t;

    matrix_make(&m, kinds[kind].type, kinds[kind].file, paired, n, k);
    rows_make(&r, rows, capacity, k);
    t = usual ? product_tiling_of(&m.plan, capacity, &machine) : tiling_random(&m.plan, capacity);
    enum product_end ends[2][2] = {{PRODUCT_ADD, PRODUCT_STORE},
                                   {PRODUCT_SILU_MUL, PRODUCT_GELU_MUL}};
    check(&m, &r, &t, ends[paired][rand() % 2]);
    rows_free(&r);
    matrix_free(&m);
    device_free_all();
}

/* K a whole number of the file's blocks. */
static int32_t k_fit(size_t kind, int32_t k)
{
    int32_t group = dtype_block(kinds[kind].file);

    return (k + group - 1) / group * group;
}

/* Every channel count with every length of rows for each type, few rows; large ones, and those of a
 * kernel that had a type already, are thinned. */
static void test_shapes(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < COUNT_OF(kinds); kind++) {
        bool again = false;
        for (size_t i = 0; i < kind; i++)
            again |= kinds[i].type == kinds[kind].type;
        for (size_t n = 0; n < COUNT_OF(all_n); n++) {
            for (size_t k = 0; k < COUNT_OF(all_k); k++) {
                int32_t length = k_fit(kind, all_k[k]);
                if ((again || all_n[n] * length > 64 * 576) && rand() % 3)
                    continue;
                if (k == 0 || length != k_fit(kind, all_k[k - 1]))
                    check_shape(kind, all_n[n], length, 1 + rand() % 9, rand() % 2);
            }
        }
    }
}

/* Every number of rows for each type. */
static void test_rows(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < COUNT_OF(kinds); kind++) {
        for (size_t rows = 0; rows < COUNT_OF(all_rows); rows++)
            check_shape(kind, 17 + 8 * (rand() % 5), k_fit(kind, 160), all_rows[rows], rand() % 2);
    }
}

/* Rows of K that fill no group, and no 16 bytes: types without groups only. */
static void test_odd_k(void **state)
{
    static const int32_t odd[] = {1, 7, 9, 31, 33, 65, 100};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(odd); i++)
        check_shape(i % 3, 20, odd[i], 1 + rand() % 10, i % 2);
}

static void test_no_rows(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < COUNT_OF(kinds); kind++)
        check_shape(kind, 40, 256, 0, false);
}

/* Some tiles of the output: bit for bit what the whole product has there, and the rest is not
 * touched. */
static void check_part(size_t kind, int32_t n, int32_t rows, int share)
{
    struct product_matrix m;
    struct product_rows r;
    uint8_t wanted[64] = {0};
    float *whole = xcalloc((size_t)(rows * n), sizeof(float));
    float *part = xcalloc((size_t)(rows * n), sizeof(float)), mark = product_mark();

    matrix_make(&m, kinds[kind].type, kinds[kind].file, false, n, k_fit(kind, 576));
    rows_make(&r, rows, rows + rand() % 3, m.k);
    for (int32_t i = 0; i < m.plan.tiles; i++)
        wanted[i] = rand() % 100 < share;
    struct product_tiling t = tiling_random(&m.plan, r.capacity);
    struct product_tiling other = tiling_random(&m.plan, r.capacity);
    product_run(&m, &r, &m.plan, &other, PRODUCT_STORE, NULL, whole);
    product_run_part(&m, &r, &m.plan, &t, PRODUCT_STORE, NULL, wanted, part);
    for (int32_t i = 0; i < rows * n; i++) {
        const float *want = wanted[i % n / PRODUCT_CHANNELS] ? &whole[i] : &mark;
        assert_memory_equal(&part[i], want, sizeof(*want));
    }
    free(whole);
    free(part);
    rows_free(&r);
    matrix_free(&m);
    device_free_all();
}

static void test_parts(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < COUNT_OF(kinds); kind++) {
        for (int i = 0; i < 3; i++)
            check_part(kind, 300 + rand() % 700, 1 + rand() % 20, (const int[]){0, 10, 50}[i]);
    }
}

/* ---- packing --------------------------------------------------------------------------------- */

/* Rows of x that are one at one place give back the weights. */
static float *weights_read(const struct product_matrix *m)
{
    struct product_rows r;
    struct product_tiling t = tiling_random(&m->plan, m->k);
    float *out = xcalloc((size_t)(m->k * m->n), sizeof(float));

    rows_make(&r, m->k, m->k, m->k);
    for (int32_t i = 0; i < m->k; i++) {
        for (int32_t j = 0; j < m->k; j++)
            r.host[i * r.stride + j] = i == j ? 0x3f80 : 0;
    }
    rows_upload(&r);
    product_run(m, &r, &m->plan, &t, PRODUCT_STORE, NULL, out);
    rows_free(&r);
    return out;
}

/* Of arbitrary numbers each becomes a neighbour: half a step away at the most, of a 4-bit group's
 * sixteen steps one whole at the end that zero in the middle leaves short. */
static double step_of(enum product_type type, double v, double peak)
{
    switch (type) {
    case PRODUCT_BF16:
        return fabs(v) * 0x1p-8;
    case PRODUCT_FP8:
        return fmax(fabs(v) * 0x1p-4, peak / 448 * 0x1p-10) * 1.001;
    case PRODUCT_INT8:
        return peak / 127 * 0.51;
    default:
        return peak / 8 * 1.01;
    }
}

static void test_rounding(void **state)
{
    static const enum product_type types[] = {PRODUCT_BF16, PRODUCT_FP8, PRODUCT_INT8,
                                              PRODUCT_INT4};
    const int32_t n = 24, k = 32;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        struct product_matrix m;
        float *rows = xcalloc((size_t)(n * k), sizeof(float)), *got;

        for (int32_t j = 0; j < n * k; j++)
            rows[j] = (float)(rand() % 2001 - 1000) * 1.2345e-3f * ldexpf(1, -(rand() % 8));
        rows[k - 1] = 0;
        matrix_make_from(&m, types[i], DT_F32, false, n, k, rows);
        got = weights_read(&m);
        for (int32_t j = 0; j < n * k; j++) {
            double peak = 0;
            for (int32_t c = 0; c < k; c++)
                peak = fmax(peak, fabs((double)rows[j / k * k + c]));
            assert_true(fabs((double)(got[j % k * n + j / k] - rows[j])) <=
                        step_of(types[i], (double)rows[j], peak) + 1e-30);
        }
        free(got);
        free(rows);
        matrix_free(&m);
        device_free_all();
    }
}

/* A channel of zeros has no largest number to scale by. */
static void test_zeros(void **state)
{
    float rows[2 * 32] = {0};

    (void)state;
    for (int type = PRODUCT_BF16; type <= PRODUCT_INT4; type++) {
        struct product_matrix m;
        float *got;

        matrix_make_from(&m, (enum product_type)type, DT_F32, false, 2, 32, rows);
        got = weights_read(&m);
        for (int i = 0; i < 2 * 32; i++)
            assert_true(got[i] == 0.0f);
        free(got);
        matrix_free(&m);
        device_free_all();
    }
}

/* ---- plans ----------------------------------------------------------------------------------- */

static void test_plan(void **state)
{
    struct product_plan p;

    (void)state;
    assert_int_equal(product_plan_of(&p, PRODUCT_BF16, false, 4096, 4096), 0);
    assert_int_equal(p.bytes, (size_t)4096 * 4096 * 2);
    assert_int_equal(p.slices, 8);
    assert_int_equal(product_plan_of(&p, PRODUCT_BF16, true, 14336, 4096), 0);
    assert_int_equal(p.bytes, (size_t)2 * 14336 * 4096 * 2);
    assert_int_equal(p.slices, 2);
    assert_int_equal(product_plan_of(&p, PRODUCT_INT8, false, 4096, 4096), 0);
    assert_int_equal(p.bytes, (size_t)4096 * 4096 / 32 * 34); /* as in the file */
    assert_int_equal(product_plan_of(&p, PRODUCT_INT4, false, 4096, 4096), 0);
    assert_int_equal(p.bytes, (size_t)4096 * 4096 / 32 * 18);
    assert_int_equal(product_plan_of(&p, PRODUCT_FP4, false, 4096, 4096), 0);
    assert_int_equal(p.bytes, (size_t)4096 * 4096 / 32 * 17);
    assert_int_equal(product_plan_of(&p, PRODUCT_IQ4, false, 4096, 4096), 0);
    assert_int_equal(p.bytes, (size_t)4096 * 4096 / 32 * 20);
    assert_int_equal(product_plan_of(&p, PRODUCT_INT2_K, false, 4096, 4096), 0);
    assert_int_equal(p.bytes, (size_t)4096 * 4096 / 32 * 12);
    assert_int_equal(product_plan_of(&p, PRODUCT_FP8, false, 128256, 4096), 0);
    assert_int_equal(p.bytes, (size_t)128256 * 4096 + 128256 * sizeof(float));
    assert_int_equal(p.slices, 1);
    assert_int_equal(product_plan_of(&p, PRODUCT_BF16, false, 0, 64), SPECD_EINVAL);
    assert_int_equal(product_plan_of(&p, PRODUCT_BF16, false, 64, 0), SPECD_EINVAL);
    assert_int_equal(product_plan_of(&p, PRODUCT_BF16, false, INT64_MAX, 64), SPECD_EINVAL);
    assert_int_equal(product_plan_of(&p, PRODUCT_INT8, false, 64, 48), SPECD_EINVAL);
    assert_int_equal(product_plan_of(&p, PRODUCT_INT4_K, false, 64, 128), SPECD_EINVAL);
}

/* The tiling for any shape and machine can be run; wide ones fill the machine. */
static void test_tilings(void **state)
{
    static const int32_t sides[] = {1, 40, 576, 2048, 4096, 14336, 128256};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(sides) * COUNT_OF(sides) * PRODUCT_TYPES; i++) {
        size_t side = i / PRODUCT_TYPES;
        struct product_machine m = machine_random();
        struct product_plan p;

        if (product_plan_of(&p, (enum product_type)(i % PRODUCT_TYPES), rand() % 2,
                            sides[side % COUNT_OF(sides)], sides[side / COUNT_OF(sides)]))
            continue;
        for (int capacity = 1; capacity <= 600; capacity = capacity * 3 / 2 + 1) {
            struct product_tiling t = product_tiling_of(&p, capacity, &m);
            assert_true(product_tiling_is_valid(&t, &p));
            assert_true(t.shared <= m.shared_block);
            assert_true(m.clusters || t.team == 1);
            assert_true(t.row_blocks * t.row_tiles * 8 >= capacity);
            assert_true(p.n < 2048 || p.k < 1024 || capacity > 8 || m.n_multiprocessors != 132 ||
                        t.channel_blocks * t.team >= 64);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan),    cmocka_unit_test(test_tilings),
        cmocka_unit_test(test_zeros),   cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_no_rows), cmocka_unit_test(test_odd_k),
        cmocka_unit_test(test_rows),    cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_parts),
    };
    if (product_prepare(232448))
        return 1;
    return seeded_run(tests);
}
