/*
 * The CPU device's number formats, resident weights and matrix product.
 *
 * links: specd_cpu
 *
 * Products are compared with double precision (tolerance TOL of the sum of |w x|), and bit for bit
 * with each other: one row against many, 1, 2 and 3 threads, portable against AVX2.
 */
#include "matmul.h"

#include "specd/quant.h"
#include "specd/util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Columns are added one after another in f32: the error grows with their number, 1280 at most
 * here. The worst seen is 4.3e-7. */
#define TOL 2e-6
#define T_MAX 70

static uint64_t random_state;

static uint8_t random_byte(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint8_t)(random_state >> 56);
}

static float random_float(void) /* about normal, deviation 1 */
{
    float sum = 0;
    for (int i = 0; i < 6; i++)
        sum += (float)random_byte() / 127.5f - 1;
    return sum / 1.42f;
}

/* ---- file tensors of random blocks ----------------------------------------------------------- */

static int scale_offsets(enum dtype t, int at[2])
{
    at[0] = t == DT_Q6_K ? 208 : 0;
    at[1] = 2;
    if (t == DT_F32 || t == DT_BF16)
        return 0;
    return t == DT_Q4_1 || t == DT_Q5_1 || t == DT_Q4_K || t == DT_Q5_K ? 2 : 1;
}

static void put16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, sizeof(v));
}

/* Random blocks whose values are of weight-like size. */
static struct tensor tensor_make(enum dtype type, uint32_t rows, uint32_t cols)
{
    size_t bytes = dtype_row_bytes(type, cols) * rows, block = (size_t)dtype_bytes(type);
    uint8_t *data = xmalloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        data[i] = random_byte();
    for (size_t b = 0; b < bytes; b += block) {
        int at[2], n = scale_offsets(type, at);
        for (int i = 0; i < n; i++)
            put16(data + b + at[i], f16_from_f32(random_float() * 0.01f));
        float f = random_float() * 0.05f;
        if (type == DT_F32)
            memcpy(data + b, &f, sizeof(f));
        if (type == DT_BF16)
            put16(data + b, bf16_from_f32(f));
    }
    return (struct tensor){data, type, rows, cols};
}

static void tensor_free(struct tensor *t)
{
    free((void *)(uintptr_t)t->data);
}

static struct weight weight_make(const struct tensor *t, enum weight_type want)
{
    enum dtype type;
    size_t bytes;
    char err[256];
    if (weight_plan(t, want, &type, &bytes, err, sizeof(err)) != 0)
        fail_msg("%s", err);
    struct weight w;
    weight_pack(&w, t, type, xaligned(64, bytes));
    assert_int_equal(w.type, type);
    return w;
}

/* Columns that every type can have, the K types among them. */
static uint32_t some_cols(enum dtype t, int which)
{
    static const uint32_t k[] = {256, 1280}, block[] = {96, 1088}, free_[] = {101, 1057};
    return dtype_block(t) == 256 ? k[which] : dtype_block(t) == 32 ? block[which] : free_[which];
}

static const enum dtype kept[] = {DT_F32,  DT_BF16, DT_Q8_0, DT_Q4_0, DT_Q4_1,
                                  DT_Q5_0, DT_Q5_1, DT_Q4_K, DT_Q5_K, DT_Q6_K};

/* ---- formats --------------------------------------------------------------------------------- */

/* Hashes (FNV-1a) of the f32 bytes that the Python package `gguf` decodes from the same blocks;
 * quant_golden.py prints this table. */
static const struct {
    enum dtype type;
    uint64_t hash;
} golden[] = {
    {DT_F16, 0x5161acc933fc0e98},  {DT_Q4_0, 0x87689494020ecf55}, {DT_Q4_1, 0x8438a355275722c5},
    {DT_Q5_0, 0x77736719434f8494}, {DT_Q5_1, 0x5e522df25dad052b}, {DT_Q8_0, 0xae2ed2108bd6b4c0},
    {DT_Q4_K, 0x9173a4b8760ed3e2}, {DT_Q5_K, 0xdd8d70c07ffccc18}, {DT_Q6_K, 0x8dca1d2cc8bfadc8},
};

static uint64_t fnv1a(const void *data, size_t n)
{
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const uint8_t *)data)[i]) * 0x100000001b3;
    return h;
}

static void decodes_as_gguf_does(void **state)
{
    (void)state;
    enum { BLOCKS = 64 };
    for (size_t i = 0; i < COUNT_OF(golden); i++) {
        enum dtype t = golden[i].type;
        size_t block = (size_t)dtype_bytes(t), n = (size_t)dtype_block(t) * BLOCKS;
        uint8_t *data = xmalloc(block * BLOCKS);
        random_state = 1;
        for (size_t b = 0; b < block * BLOCKS; b++)
            data[b] = random_byte();
        int at[2], n_scales = scale_offsets(t, at);
        for (size_t b = 0; b < BLOCKS; b++)
            for (int s = 0; s < n_scales; s++)
                data[b * block + (size_t)at[s] + 1] &= 0xBF;
        float *values = xmalloc(n * sizeof(*values));
        struct tensor tensor = {data, t, 1, (uint32_t)n};
        tensor_to_f32(&tensor, values);
        if (fnv1a(values, n * sizeof(*values)) != golden[i].hash)
            fail_msg("%s decodes differently", dtype_name(t));
        free(values);
        free(data);
    }
}

static void converts_small_floats(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        if ((h & 0x7FFF) > 0x7C00) {
            assert_true(isnan(f16_to_f32((uint16_t)h)));
            continue;
        }
        assert_int_equal(f16_from_f32(f16_to_f32((uint16_t)h)), h);
        assert_int_equal(bf16_from_f32(bf16_to_f32((uint16_t)h)) & 0xFF80, h & 0xFF80);
    }
    assert_int_equal(f16_from_f32(1 + 0x1p-11f), 0x3C00); /* ties to even */
    assert_int_equal(f16_from_f32(1 + 0x3p-11f), 0x3C02);
    assert_int_equal(f16_from_f32(0x1p-25f), 0);
    assert_int_equal(f16_from_f32(0x3p-25f), 2);
    assert_int_equal(f16_from_f32(65519.0f), 0x7BFF);
    assert_int_equal(f16_from_f32(65520.0f), 0x7C00);
    assert_int_equal(bf16_from_f32(1 + 0x1p-8f), 0x3F80);
    assert_int_equal(bf16_from_f32(1 + 0x3p-8f), 0x3F82);
    assert_true(isnan(bf16_to_f32(bf16_from_f32(float_of_bits(0x7F800001)))));
    assert_true(isinf(bf16_to_f32(bf16_from_f32(INFINITY))));
}

/* ---- resident weights ------------------------------------------------------------------------ */

static void native_rows_read_back(void **state)
{
    (void)state;
    random_state = 2;
    for (size_t i = 0; i < COUNT_OF(kept); i++) {
        uint32_t cols = some_cols(kept[i], 0);
        struct tensor t = tensor_make(kept[i], 37, cols);
        struct weight w = weight_make(&t, WEIGHT_NATIVE);
        assert_int_equal(w.type, kept[i]);
        float *all = xmalloc(37 * cols * sizeof(*all)), *row = xmalloc(cols * sizeof(*row));
        tensor_to_f32(&t, all);
        for (int r = 0; r < 37; r++) {
            weight_row(&w, r, row);
            assert_memory_equal(row, all + (size_t)r * cols, cols * sizeof(*row));
        }
        free(all);
        free(row);
        free(w.data);
        tensor_free(&t);
    }
}

static void check_converted(const struct tensor *t, enum weight_type want)
{
    struct weight w = weight_make(t, want);
    float *all = xmalloc((size_t)t->rows * t->cols * sizeof(*all));
    float *row = xmalloc(t->cols * sizeof(*row));
    tensor_to_f32(t, all);
    for (uint32_t r = 0; r < t->rows; r++) {
        const float *v = all + (size_t)r * t->cols;
        weight_row(&w, (int)r, row);
        for (uint32_t c = 0; c < t->cols; c++) {
            float max = 0; /* of its run of 32 */
            for (uint32_t j = c / RUN * RUN; j < MIN(c / RUN * RUN + RUN, t->cols); j++)
                max = fmaxf(max, fabsf(v[j]));
            if (want == WEIGHT_F32 || want == WEIGHT_NATIVE)
                assert_true(row[c] == v[c]);
            else if (want == WEIGHT_BF16)
                assert_true(row[c] == bf16_to_f32(bf16_from_f32(v[c])));
            else /* half a step, and the scale's own rounding */
                assert_true(fabsf(row[c] - v[c]) <= max / 127 * 0.57f);
        }
    }
    free(all);
    free(row);
    free(w.data);
}

static void converts_weights(void **state)
{
    (void)state;
    random_state = 3;
    for (enum dtype type = 0; type < DT_COUNT; type++) {
        struct tensor t = tensor_make(type, 19, 256);
        check_converted(&t, WEIGHT_F32);
        check_converted(&t, WEIGHT_BF16);
        if (type != DT_Q8_0)
            check_converted(&t, WEIGHT_Q8_0);
        if (type == DT_F16)
            check_converted(&t, WEIGHT_NATIVE);
        tensor_free(&t);
    }
    float zeros[RUN] = {0};
    struct tensor zero = {zeros, DT_F32, 1, RUN};
    check_converted(&zero, WEIGHT_Q8_0);
}

static void plan_refuses(void **state)
{
    (void)state;
    enum dtype type;
    size_t bytes;
    char err[256];
    struct tensor t = {NULL, DT_F32, 10, 40};
    assert_int_equal(weight_plan(&t, WEIGHT_FP8, &type, &bytes, err, sizeof(err)), SPECD_EINVAL);
    assert_non_null(strstr(err, "fp8"));
    assert_int_equal(weight_plan(&t, WEIGHT_INT4, &type, &bytes, err, sizeof(err)), SPECD_EINVAL);
    assert_int_equal(weight_plan(&t, WEIGHT_Q8_0, &type, &bytes, err, sizeof(err)), SPECD_EINVAL);
    assert_non_null(strstr(err, "40"));
    t = (struct tensor){NULL, DT_Q4_K, 10, 128};
    assert_int_equal(weight_plan(&t, WEIGHT_F32, &type, &bytes, err, sizeof(err)), SPECD_EINVAL);
    t = (struct tensor){NULL, DT_F32, UINT32_MAX, 8};
    assert_int_equal(weight_plan(&t, WEIGHT_F32, &type, &bytes, err, sizeof(err)), SPECD_EINVAL);
    t = (struct tensor){NULL, DT_Q4_1, 32, 64};
    assert_int_equal(weight_plan(&t, WEIGHT_NATIVE, &type, &bytes, err, sizeof(err)), 0);
    assert_int_equal(bytes, 32 * 2 * 20); /* no larger than in the file */
}

/* ---- products -------------------------------------------------------------------------------- */

struct product {
    int rows, cols, x_stride, y_stride;
    float *x, *bias, *values; /* values: the weights as f32 */
    struct tensor t;
    struct weight w;
};

static struct product product_make(enum dtype type, uint32_t rows, uint32_t cols)
{
    struct product p = {.rows = (int)rows, .cols = (int)cols};
    p.x_stride = (p.cols + 8 + 7) / 8 * 8;
    p.y_stride = p.rows + 3;
    p.t = tensor_make(type, rows, cols);
    p.w = weight_make(&p.t, WEIGHT_NATIVE);
    p.values = xmalloc((size_t)rows * cols * sizeof(*p.values));
    tensor_to_f32(&p.t, p.values);
    p.x = xaligned(64, (size_t)(T_MAX * p.x_stride) * sizeof(*p.x));
    for (int i = 0; i < T_MAX * p.x_stride; i++) /* NaN where nothing may be read */
        p.x[i] = i % p.x_stride < p.cols ? random_float() : NAN;
    for (int c = 0; c < p.cols; c++) {
        p.x[c] *= 1e3f;                   /* a row of large numbers */
        p.x[p.x_stride + c] *= 0x1p-126f; /* and one around the smallest normal number */
    }
    p.bias = xmalloc(rows * sizeof(*p.bias));
    for (uint32_t r = 0; r < rows; r++)
        p.bias[r] = random_float();
    return p;
}

static void product_free(struct product *p)
{
    tensor_free(&p->t);
    free(p->w.data);
    free(p->values);
    free(p->x);
    free(p->bias);
}

/* Rows t0 .. t0 + T of the product; what matmul must not touch stays 12345. */
static float *multiply(const struct product *p, struct pool *pool, int t0, int T, bool bias)
{
    size_t n = (size_t)(T * p->y_stride);
    float *y = xmalloc(n * sizeof(*y));
    for (size_t i = 0; i < n; i++)
        y[i] = 12345;
    struct matmul_job job = {&p->w, bias ? p->bias : NULL, y, p->y_stride};
    matmul(pool, &job, 1, p->x + t0 * p->x_stride, p->x_stride, T);
    for (size_t i = 0; i < n; i++)
        if (i % (size_t)p->y_stride >= (size_t)p->rows)
            assert_true(y[i] == 12345);
    return y;
}

static void check_values(const struct product *p, const float *y, int T, bool bias)
{
    for (int t = 0; t < T; t++)
        for (int r = 0; r < p->rows; r++) {
            double sum = bias ? (double)p->bias[r] : 0, scale = fabs(sum);
            for (int c = 0; c < p->cols; c++) {
                double v = (double)p->values[r * p->cols + c] * (double)p->x[t * p->x_stride + c];
                sum += v;
                scale += fabs(v);
            }
            double diff = fabs(sum - (double)y[t * p->y_stride + r]);
            if (!(diff <= TOL * scale + 0x1p-120))
                fail_msg("%s %dx%d row %d of %d, output %d: off by %g of %g", dtype_name(p->w.type),
                         p->rows, p->cols, t, T, r, diff, scale);
        }
}

static void check_same(const struct product *p, const float *a, const float *b, int T,
                       const char *what)
{
    for (int t = 0; t < T; t++)
        if (memcmp(a + t * p->y_stride, b + t * p->y_stride, (size_t)p->rows * sizeof(*a)) != 0)
            fail_msg("%s %dx%d row %d of %d: %s", dtype_name(p->w.type), p->rows, p->cols, t, T,
                     what);
}

static const int some_T[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 33, 64, T_MAX};

/* Every T against the rows taken one by one; with 1, 2 and 3 threads. */
static void check_product(const struct product *p, struct pool *pools[3])
{
    float *single = xmalloc((size_t)(T_MAX * p->y_stride) * sizeof(*single));
    for (int t = 0; t < T_MAX; t++) {
        float *y = multiply(p, pools[0], t, 1, true);
        memcpy(single + t * p->y_stride, y, (size_t)p->y_stride * sizeof(*y));
        free(y);
    }
    check_values(p, single, T_MAX, true);
    for (size_t i = 0; i < COUNT_OF(some_T); i++) {
        float *y = multiply(p, pools[i % 3], 0, some_T[i], true);
        check_same(p, y, single, some_T[i], "not as by itself");
        free(y);
    }
    for (int n = 1; n < 3; n++) {
        float *y = multiply(p, pools[n], 0, 5, true);
        check_same(p, y, single, 5, "depends on the number of threads");
        free(y);
    }
    cpu_force_portable(true);
    float *y = multiply(p, pools[2], 0, T_MAX, true);
    cpu_force_portable(false);
    check_same(p, y, single, T_MAX, "portable and vector kernels differ");
    free(y);
    free(single);
}

static void products_are_exact_and_repeatable(void **state)
{
    struct pool **pools = *state;
    static const uint32_t rows[] = {1, 37, 150};
    random_state = 4;
    for (size_t i = 0; i < COUNT_OF(kept); i++)
        for (int which = 0; which < 2; which++)
            for (size_t r = 0; r < COUNT_OF(rows); r++) {
                if (which == 1 && rows[r] == 150)
                    continue;
                struct product p = product_make(kept[i], rows[r], some_cols(kept[i], which));
                check_product(&p, pools);
                product_free(&p);
            }
}

/* Fewer columns than a vector or a pair has. */
static void narrow_products(void **state)
{
    struct pool **pools = *state;
    random_state = 5;
    for (uint32_t cols = 1; cols < 10; cols++)
        for (int i = 0; i < 2; i++) {
            struct product p = product_make(kept[i], 17, cols);
            check_product(&p, pools);
            product_free(&p);
        }
}

/* Matrices of different types and sizes that share X, as in one stage of a layer. */
static void several_jobs_at_once(void **state)
{
    struct pool **pools = *state;
    random_state = 6;
    struct product p[COUNT_OF(kept)];
    struct matmul_job jobs[COUNT_OF(kept)];
    for (size_t i = 0; i < COUNT_OF(kept); i++) {
        p[i] = product_make(kept[i], 10 + 61 * (uint32_t)i, 512);
        memcpy(p[i].x, p[0].x, (size_t)(T_MAX * p[i].x_stride) * sizeof(*p[i].x));
    }
    for (int T = 1; T < T_MAX; T += 8) {
        for (size_t i = 0; i < COUNT_OF(kept); i++) {
            float *y = xmalloc((size_t)(T * p[i].y_stride) * sizeof(*y));
            jobs[i] = (struct matmul_job){&p[i].w, i % 2 ? p[i].bias : NULL, y, p[i].y_stride};
        }
        matmul(pools[T % 3], jobs, COUNT_OF(jobs), p[0].x, p[0].x_stride, T);
        for (size_t i = 0; i < COUNT_OF(kept); i++) {
            float *alone = multiply(&p[i], pools[1], 0, T, i % 2);
            check_same(&p[i], jobs[i].y, alone, T, "depends on its neighbours");
            free(alone);
            free(jobs[i].y);
        }
    }
    for (size_t i = 0; i < COUNT_OF(kept); i++)
        product_free(&p[i]);
}

static int pools_make(void **state)
{
    static struct pool *pools[3];
    for (int i = 0; i < 3; i++)
        pools[i] = pool_create(i + 1);
    *state = pools;
    return 0;
}

static int pools_free(void **state)
{
    struct pool **pools = *state;
    for (int i = 0; i < 3; i++)
        pool_free(pools[i]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_as_gguf_does),
        cmocka_unit_test(converts_small_floats),
        cmocka_unit_test(native_rows_read_back),
        cmocka_unit_test(converts_weights),
        cmocka_unit_test(plan_refuses),
        cmocka_unit_test(products_are_exact_and_repeatable),
        cmocka_unit_test(narrow_products),
        cmocka_unit_test(several_jobs_at_once),
    };
    return cmocka_run_group_tests(tests, pools_make, pools_free);
}
