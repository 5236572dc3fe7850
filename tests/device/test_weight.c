/*
 * Number formats of files, and weights as the CPU device keeps them.
 *
 * links: device_tests
 */
#include "tensors.h"

#include "panel.h"
#include "specd/quant.h"
#include "specd/util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const enum dtype kept[] = {FLOAT_TYPES, INTEGER_TYPES, F8_TYPES};

/* ---- formats --------------------------------------------------------------------------------- */

/* Hashes (FNV-1a) of the f32 bytes that the Python package `gguf` decodes from the same blocks;
 * quant_golden.py prints this table. */
static const struct {
    enum dtype type;
    uint64_t hash;
} golden[] = {
    {DT_F16, 0x5161acc933fc0e98},    {DT_Q4_0, 0x87689494020ecf55},
    {DT_Q4_1, 0x8438a355275722c5},   {DT_Q5_0, 0x77736719434f8494},
    {DT_Q5_1, 0x5e522df25dad052b},   {DT_Q8_0, 0xae2ed2108bd6b4c0},
    {DT_Q4_K, 0x9173a4b8760ed3e2},   {DT_Q5_K, 0xdd8d70c07ffccc18},
    {DT_Q6_K, 0x8dca1d2cc8bfadc8},   {DT_Q2_K, 0x6765369c92f01f06},
    {DT_Q3_K, 0x6f1db29366cade16},   {DT_IQ4_NL, 0x19f37ad79e2c1fd2},
    {DT_IQ4_XS, 0x68c104c73af9e9c6}, {DT_MXFP4, 0x1ceac5d24992523a},
    {DT_NVFP4, 0x197c1bc3e376be1c},
};

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
        struct tensor tensor = {.data = data, .type = t, .rows = 1, .cols = (uint32_t)n};
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

/* Rows of a tensor, counted from another place, as those of one that makes them. */
struct copied {
    struct tensor_source source;
    struct tensor of;
};

static void copy_rows(const struct tensor_source *source, uint32_t first, uint32_t n, void *rows)
{
    const struct tensor *of = &((const struct copied *)(const void *)source)->of;
    size_t row = dtype_row_bytes(of->type, of->cols);
    assert_true(first + n <= of->rows);
    memcpy(rows, (const char *)of->data + first * row, n * row);
}

static void rows_are_made(void **state)
{
    static const enum weight_type wants[] = {WEIGHT_NATIVE, WEIGHT_BF16};
    (void)state;
    random_state = 4;
    for (size_t i = 0; i < COUNT_OF(kept); i++) {
        struct copied c = {{copy_rows}, tensor_make(kept[i], 60, some_cols(kept[i], 0))};
        size_t row = dtype_row_bytes(c.of.type, c.of.cols);
        for (size_t j = 0; j < COUNT_OF(wants); j++) {
            struct tensor plain = c.of, made = c.of;
            plain.data = (const char *)c.of.data + 23 * row;
            plain.rows = made.rows = 37;
            made.source = &c.source;
            made.first_row = 23;
            struct weight a = weight_make(&plain, wants[j]), b = weight_make(&made, wants[j]);
            assert_memory_equal(a.data, b.data, panel_bytes(a.type, a.cols) * 3);
            free(a.data);
            free(b.data);
        }
        tensor_free(&c.of);
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
    struct tensor zero = {.data = zeros, .type = DT_F32, .rows = 1, .cols = RUN};
    check_converted(&zero, WEIGHT_Q8_0);
}

static void plan_refuses(void **state)
{
    (void)state;
    enum dtype type;
    size_t bytes;
    char err[256];
    struct tensor t = {.data = NULL, .type = DT_F32, .rows = 10, .cols = 40};
    assert_int_equal(weight_plan(&t, WEIGHT_FP8, &type, &bytes, err, sizeof(err)), SPECD_EINVAL);
    assert_non_null(strstr(err, "fp8"));
    assert_int_equal(weight_plan(&t, WEIGHT_INT4, &type, &bytes, err, sizeof(err)), SPECD_EINVAL);
    assert_int_equal(weight_plan(&t, WEIGHT_Q8_0, &type, &bytes, err, sizeof(err)), SPECD_EINVAL);
    assert_non_null(strstr(err, "40"));
    t = (struct tensor){.data = NULL, .type = DT_Q4_K, .rows = 10, .cols = 128};
    assert_int_equal(weight_plan(&t, WEIGHT_F32, &type, &bytes, err, sizeof(err)), SPECD_EINVAL);
    t = (struct tensor){.data = NULL, .type = DT_F32, .rows = UINT32_MAX, .cols = 8};
    assert_int_equal(weight_plan(&t, WEIGHT_F32, &type, &bytes, err, sizeof(err)), SPECD_EINVAL);
    t = (struct tensor){.data = NULL, .type = DT_Q4_1, .rows = 32, .cols = 64};
    assert_int_equal(weight_plan(&t, WEIGHT_NATIVE, &type, &bytes, err, sizeof(err)), 0);
    assert_int_equal(bytes, 32 * 2 * 20); /* no larger than in the file */
    static const struct {
        enum dtype type;
        size_t bytes; /* of 256 weights */
    } kept_in[] = {{DT_Q2_K, 84},    {DT_Q3_K, 116},  {DT_IQ4_NL, 144},
                   {DT_IQ4_XS, 140}, {DT_MXFP4, 136}, {DT_NVFP4, 144}};
    for (size_t i = 0; i < COUNT_OF(kept_in); i++) {
        t = (struct tensor){.data = NULL, .type = kept_in[i].type, .rows = 32, .cols = 512};
        assert_int_equal(weight_plan(&t, WEIGHT_NATIVE, &type, &bytes, err, sizeof(err)), 0);
        assert_int_equal(bytes, 32 * 2 * kept_in[i].bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_as_gguf_does),  cmocka_unit_test(converts_small_floats),
        cmocka_unit_test(native_rows_read_back), cmocka_unit_test(converts_weights),
        cmocka_unit_test(rows_are_made),         cmocka_unit_test(plan_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
