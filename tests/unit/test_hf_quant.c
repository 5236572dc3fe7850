/*
 * Quantised weights of Hugging Face folders: rows as the formulas of hf_quant.h have them, in
 * double precision, and not as formulas with a fault have them; what does not fit is refused by
 * name.
 *
 * links: specd_model
 */
#include "model/hf_quant.h"

#include "specd/error.h"
#include "specd/model.h"
#include "specd/quant.h"
#include "specd/util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N 24
#define K 320
#define GROUP 64
#define GROUPS (K / GROUP)

static uint64_t random_state = 1;

static uint32_t random_bits(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 32);
}

static float random_scale(void)
{
    float f = ldexpf(1 + (float)(random_bits() % 1024) / 1024, -(int)(random_bits() % 8) - 4);
    return random_bits() % 4 ? f : -f;
}

/* ---- a folder's tensors ---------------------------------------------------------------------- */

struct folder {
    struct tensor_dir dir;
    struct hf_sources sources;
    void *data[12];
    int n;
};

static void *add(struct folder *f, const char *name, enum dtype type, enum raw_type raw,
                 uint64_t rows, uint64_t cols)
{
    size_t bytes = (size_t)(rows * cols) * (raw == RAW_I32    ? 4
                                            : raw == RAW_NONE ? (size_t)dtype_bytes(type)
                                                              : 1);
    void *data = xaligned(64, (bytes + 63) / 64 * 64);
    struct tensor_entry e = {.name = xstrdup(name),
                             .file = "m.safetensors",
                             .type = type,
                             .raw = raw,
                             .n_dims = 2,
                             .shape = {rows, cols},
                             .data = data,
                             .bytes = bytes};
    tensor_dir_add(&f->dir, &e);
    f->data[f->n++] = data;
    return data;
}

static int bind(struct folder *f, const struct hf_quant *q, char err[300])
{
    snprintf(err, 300, "no message");
    assert_int_equal(tensor_dir_seal(&f->dir, err, 300), 0);
    return hf_quant_bind(&f->sources, &f->dir, q, err, 300);
}

static void folder_free(struct folder *f)
{
    tensor_dir_fini(&f->dir);
    hf_sources_fini(&f->sources);
    for (int i = 0; i < f->n; i++)
        free(f->data[i]);
    *f = (struct folder){0};
}

/* The bound tensor's values, rows made in two calls, the second behind a split. */
static float *values_of(struct folder *f, enum dtype type)
{
    static const char name[] = "x.weight";
    const struct tensor_entry *e = tensor_dir_find(&f->dir, name);
    assert_non_null(e);
    assert_true(e->source && e->raw == RAW_NONE && e->type == type);
    assert_true(e->n_dims == 2 && e->shape[0] == N && e->shape[1] == K);
    for (size_t i = 0; i < f->dir.n; i++) /* what it was made of is not left over */
        assert_true(f->dir.entries[i].used || &f->dir.entries[i] == e);
    struct tensor t = {.data = e->data, .type = type, .rows = N, .cols = K, .source = e->source};
    size_t row_bytes = dtype_row_bytes(type, K);
    char *room = xmalloc(N * row_bytes);
    float *out = xmalloc(N * K * sizeof *out);
    memset(room, 0xa5, N * row_bytes);
    assert_ptr_equal(tensor_rows(&t, 0, 7, room), room);
    t.first_row = 7;
    assert_ptr_equal(tensor_rows(&t, 0, N - 7, room + 7 * row_bytes), room + 7 * row_bytes);
    quant_decode(type, room, N * K, out);
    free(room);
    return out;
}

/* ---- fp8 ------------------------------------------------------------------------------------- */

static double e4m3(uint8_t b)
{
    int e = b >> 3 & 15, m = b & 7;
    double v = e == 0 ? ldexp(m, -9) : ldexp(8 + m, e - 10);
    return b & 0x80 ? -v : v;
}

enum scaling { BY_TENSOR, BY_ROW, BY_BLOCK };

static void check_fp8(enum scaling by, const char *scale_name, enum dtype scale_type)
{
    const uint32_t block[2] = {16, 128};
    uint32_t rows = by == BY_TENSOR ? 1 : by == BY_ROW ? N : (N - 1) / block[0] + 1;
    uint32_t cols = by == BY_BLOCK ? (K - 1) / block[1] + 1 : 1;
    struct folder f = {0};
    char err[300];
    uint8_t *codes = add(&f, "x.weight", DT_F32, RAW_F8_E4M3, N, K);
    void *scales = add(&f, scale_name, scale_type, RAW_NONE, rows, cols);
    add(&f, "x.input_scale", DT_F32, RAW_NONE, 1, 1);
    for (int i = 0; i < N * K; i++)
        codes[i] = (uint8_t)(random_bits() % 0x7f | (random_bits() & 0x80));
    float *scale = xmalloc(rows * cols * sizeof *scale);
    for (uint32_t i = 0; i < rows * cols; i++) {
        scale[i] = random_scale();
        uint16_t half = bf16_from_f32(scale[i]);
        if (scale_type == DT_BF16)
            scale[i] = bf16_to_f32(half);
        memcpy((uint8_t *)scales + i * (size_t)dtype_bytes(scale_type),
               scale_type == DT_BF16 ? (void *)&half : (void *)&scale[i],
               (size_t)dtype_bytes(scale_type));
    }
    codes[5 * K + 70] = 0xff; /* NaN */
    if (bind(&f, &(struct hf_quant){.method = HF_FP8, .block = {block[0], block[1]}}, err) != 0)
        fail_msg("%s", err);
    float *got = values_of(&f, by == BY_BLOCK ? DT_F8 : DT_F8_ROW);
    int differ = 0;
    for (int n = 0; n < N; n++) {
        for (int k = 0; k < K; k++) {
            uint32_t at = by == BY_TENSOR ? 0
                          : by == BY_ROW  ? (uint32_t)n
                                          : (uint32_t)n / block[0] * cols + (uint32_t)k / block[1];
            float want = (float)(e4m3(codes[n * K + k]) * (double)scale[at]);
            if (n == 5 && k / 32 == 70 / 32)
                assert_true(isnan(got[n * K + k]));
            else
                assert_true(got[n * K + k] == want);
            differ += want != (float)(e4m3(codes[n * K + k]) / (double)scale[at]);
        }
    }
    assert_true(differ > N * K / 2); /* to divide by the "inverse" shows */
    free(got);
    free(scale);
    folder_free(&f);
}

static void test_fp8(void **state)
{
    (void)state;
    check_fp8(BY_BLOCK, "x.weight_scale_inv", DT_F32);
    check_fp8(BY_BLOCK, "x.weight_scale", DT_BF16);
    check_fp8(BY_ROW, "x.weight_scale", DT_BF16);
    check_fp8(BY_ROW, "x.weight_scale", DT_F32);
    check_fp8(BY_TENSOR, "x.weight_scale", DT_F32);
}

/* ---- nvfp4 ----------------------------------------------------------------------------------- */

struct nvfp4 {
    uint8_t *codes, *scales;
    float *of_all;
};

static struct nvfp4 nvfp4_put(struct folder *f, bool divides)
{
    const char *own = divides ? "x.weight_packed" : "x.weight";
    const char *of_all = divides ? "x.weight_global_scale" : "x.weight_scale_2";
    struct nvfp4 m = {add(f, own, DT_F32, RAW_U8, N, K / 2),
                      add(f, "x.weight_scale", DT_F32, RAW_F8_E4M3, N, K / 16),
                      add(f, of_all, DT_F32, RAW_NONE, 1, 1)};
    add(f, divides ? "x.input_global_scale" : "x.input_scale", DT_F32, RAW_NONE, 1, 1);
    for (int i = 0; i < N * K / 2; i++)
        m.codes[i] = (uint8_t)random_bits();
    for (int i = 0; i < N * K / 16; i++)
        m.scales[i] = (uint8_t)(random_bits() % 0x7f);
    m.scales[3] = 0x80; /* -0 */
    *m.of_all = random_scale();
    return m;
}

/* Values without the number for all, and as if a byte's columns were exchanged. */
static int nvfp4_differs(const struct nvfp4 *m, const float *got, int exchanged)
{
    static const double numbers[] = {0, .5, 1, 1.5, 2, 3, 4, 6};
    int n_differ = 0;
    for (int i = 0; i < N * K; i++) {
        int code = m->codes[i / 2] >> (i + exchanged) % 2 * 4 & 15;
        double v = numbers[code & 7] * e4m3(m->scales[i / 16] & 0x7f);
        n_differ += got[i] != (float)(code & 8 ? -v : v);
    }
    return n_differ;
}

static void test_nvfp4(void **state)
{
    (void)state;
    for (int divides = 0; divides < 2; divides++) {
        struct folder f = {0};
        struct nvfp4 m = nvfp4_put(&f, divides);
        char err[300];
        if (bind(&f, &(struct hf_quant){.method = HF_NVFP4}, err) != 0)
            fail_msg("%s", err);
        float *got = values_of(&f, DT_NVFP4);
        const float *scale = tensor_dir_find(&f.dir, "x.weight")->scale;
        assert_true(*scale == (divides ? 1 / *m.of_all : *m.of_all));
        assert_int_equal(nvfp4_differs(&m, got, 0), 0);
        assert_true(nvfp4_differs(&m, got, 1) > N * K / 2);
        free(got);
        folder_free(&f);
    }
}

/* ---- int4 ------------------------------------------------------------------------------------ */

/* A matrix by its formula, and its words as published. */
struct int4 {
    int q[K][N], z[GROUPS][N], group[K];
    float s[GROUPS][N];
};

static void int4_fill(struct int4 *m, bool centred, bool scattered, int least_zero)
{
    for (int k = 0; k < K; k++) {
        m->group[k] = scattered ? (int)(random_bits() % GROUPS) : k / GROUP;
        for (int n = 0; n < N; n++)
            m->q[k][n] = (int)(random_bits() % 16);
    }
    for (int g = 0; g < GROUPS; g++) {
        for (int n = 0; n < N; n++) {
            m->z[g][n] = centred ? 8 : (int)(random_bits() % 16) + least_zero;
            m->s[g][n] = random_scale();
        }
    }
}

static void put_scales(struct folder *f, const struct int4 *m, bool wide)
{
    void *scales = add(f, "x.scales", wide ? DT_F32 : DT_F16, RAW_NONE, GROUPS, N);
    for (int i = 0; i < GROUPS * N; i++) {
        float s = m->s[i / N][i % N];
        if (wide)
            ((float *)scales)[i] = s;
        else
            ((uint16_t *)scales)[i] = f16_from_f32(s);
    }
}

static void put_gptq(struct folder *f, const struct int4 *m, int less, bool wide)
{
    uint32_t *words = add(f, "x.qweight", DT_F32, RAW_I32, K / 8, N);
    uint32_t *zeros = add(f, "x.qzeros", DT_F32, RAW_I32, GROUPS, N / 8);
    uint32_t *groups = add(f, "x.g_idx", DT_F32, RAW_I32, 1, K);
    memset(words, 0, K / 8 * N * 4);
    memset(zeros, 0, GROUPS * N / 8 * 4);
    for (int k = 0; k < K; k++) {
        groups[k] = (uint32_t)m->group[k];
        for (int n = 0; n < N; n++)
            words[k / 8 * N + n] |= (uint32_t)m->q[k][n] << 4 * (k % 8);
    }
    for (int g = 0; g < GROUPS; g++) {
        for (int n = 0; n < N; n++)
            zeros[g * (N / 8) + n / 8] |= (uint32_t)(m->z[g][n] - less) << 4 * (n % 8);
    }
    put_scales(f, m, wide);
}

static void put_awq(struct folder *f, const struct int4 *m)
{
    static const int order[] = {0, 2, 4, 6, 1, 3, 5, 7}; /* the row of each nibble */
    uint32_t *words = add(f, "x.qweight", DT_F32, RAW_I32, K, N / 8);
    uint32_t *zeros = add(f, "x.qzeros", DT_F32, RAW_I32, GROUPS, N / 8);
    memset(words, 0, K * (N / 8) * 4);
    memset(zeros, 0, GROUPS * (N / 8) * 4);
    for (int c = 0; c < N / 8; c++) {
        for (int i = 0; i < 8; i++) {
            for (int k = 0; k < K; k++)
                words[k * (N / 8) + c] |= (uint32_t)m->q[k][8 * c + order[i]] << 4 * i;
            for (int g = 0; g < GROUPS; g++)
                zeros[g * (N / 8) + c] |= (uint32_t)m->z[g][8 * c + order[i]] << 4 * i;
        }
    }
    put_scales(f, m, false);
}

/* above: a fault, what zeros are too much. */
static int differs(const struct int4 *m, const float *got, int above)
{
    int n_differ = 0;
    for (int n = 0; n < N; n++) {
        for (int k = 0; k < K; k++) {
            int g = m->group[k];
            float want = (float)((double)m->s[g][n] * (m->q[k][n] - m->z[g][n] - above));
            n_differ += got[n * K + k] != want;
        }
    }
    return n_differ;
}

static void check_int4(struct folder *f, const struct int4 *m, const struct hf_quant *q,
                       enum dtype type)
{
    char err[300];
    if (bind(f, q, err) != 0)
        fail_msg("%s", err);
    float *got = values_of(f, type);
    assert_int_equal(differs(m, got, 0), 0);
    assert_true(differs(m, got, 1) == N * K);
    free(got);
    folder_free(f);
}

static void test_gptq(void **state)
{
    const struct hf_quant first = {.method = HF_GPTQ, .group = GROUP, .zeros_are_shifted = true};
    const struct hf_quant second = {.method = HF_GPTQ, .group = GROUP};
    struct folder f = {0};
    struct int4 *m = xmalloc(sizeof *m);
    (void)state;
    int4_fill(m, true, false, 0);
    put_gptq(&f, m, 1, false);
    memset(add(&f, "x.bias", DT_F16, RAW_NONE, 1, N), 0, N * 2); /* written for every matrix */
    check_int4(&f, m, &first, DT_Q4_0);
    int4_fill(m, false, false, 1);
    put_gptq(&f, m, 1, false);
    check_int4(&f, m, &first, DT_Q5_0);
    int4_fill(m, false, false, 0);
    put_gptq(&f, m, 0, false);
    check_int4(&f, m, &second, DT_Q5_0);
    int4_fill(m, false, true, 1); /* act-order */
    put_gptq(&f, m, 1, false);
    check_int4(&f, m, &first, DT_F32);
    int4_fill(m, true, false, 0);
    m->s[2][3] = 1.00001f;
    put_gptq(&f, m, 1, true);
    check_int4(&f, m, &first, DT_F32);
    int4_fill(m, true, false, 0);
    put_gptq(&f, m, 1, true);
    check_int4(&f, m, &first, DT_Q4_0);
    free(m);
}

static void test_awq(void **state)
{
    const struct hf_quant q = {.method = HF_AWQ, .group = GROUP};
    struct folder f = {0};
    struct int4 *m = xmalloc(sizeof *m);
    (void)state;
    int4_fill(m, false, false, 0);
    put_awq(&f, m);
    check_int4(&f, m, &q, DT_Q5_0);
    int4_fill(m, true, false, 0);
    put_awq(&f, m);
    check_int4(&f, m, &q, DT_Q4_0);
    free(m);
}

/* ---- what does not fit ----------------------------------------------------------------------- */

static void assert_refused(struct folder *f, const struct hf_quant *q, const char *tensor,
                           const char *reason)
{
    char err[300];
    assert_int_equal(bind(f, q, err), SPECD_EFILE);
    if (!strstr(err, "m.safetensors") || !strstr(err, tensor) || !strstr(err, reason))
        fail_msg("%s: expected %s, %s", err, tensor, reason);
    folder_free(f);
}

static void test_refusals(void **state)
{
    const struct hf_quant none = {.method = HF_PLAIN},
                          fp8 = {.method = HF_FP8, .block = {128, 128}};
    const struct hf_quant gptq = {.method = HF_GPTQ, .group = GROUP, .zeros_are_shifted = true};
    const struct hf_quant ordered = {HF_GPTQ, .group = GROUP, .act_order = true};
    struct folder f = {0};
    struct int4 *m = xmalloc(sizeof *m);
    (void)state;
    int4_fill(m, true, false, 0);

    add(&f, "x.weight", DT_F32, RAW_F8_E4M3, N, K);
    assert_refused(&f, &none, "x.weight", "F8_E4M3, which specd reads in folders quantised");
    add(&f, "x.weight", DT_F32, RAW_F8_E4M3, N, K);
    assert_refused(&f, &fp8, "x.weight", "no weight_scale");
    add(&f, "x.weight", DT_F32, RAW_F8_E4M3, N, K);
    add(&f, "x.weight_scale", DT_F32, RAW_NONE, 2, 1);
    assert_refused(&f, &fp8, "x.weight_scale", "expected one number");
    add(&f, "x.weight", DT_F32, RAW_F8_E4M3, N, 33);
    add(&f, "x.weight_scale", DT_F32, RAW_NONE, 1, 1);
    assert_refused(&f, &fp8, "x.weight", "24 x 33 weights");
    add(&f, "x.other", DT_F32, RAW_I32, N, K);
    assert_refused(&f, &gptq, "x.other", "I32");
    add(&f, "x.qweight", DT_F32, RAW_I32, K / 8, N);
    assert_refused(&f, &gptq, "x.qweight", "qzeros of i32, 5 x 3");
    add(&f, "x.qweight", DT_F32, RAW_I32, K / 8, N);
    add(&f, "x.qzeros", DT_F32, RAW_I32, GROUPS, N / 8);
    assert_refused(&f, &gptq, "x.qweight", "scales, 5 x 24 floats");
    put_gptq(&f, m, 1, false);
    ((uint32_t *)f.data[2])[17] = GROUPS;
    assert_refused(&f, &gptq, "x.g_idx", "column 17 is of group 5, but there are 5");
    put_awq(&f, m);
    assert_refused(&f, &ordered, "x.qweight", "qzeros");
    add(&f, "x.qweight", DT_F32, RAW_I32, K / 8, N);
    add(&f, "x.qzeros", DT_F32, RAW_I32, GROUPS, N / 8);
    put_scales(&f, m, false);
    assert_refused(&f, &ordered, "x.qweight", "g_idx of i32, 320 numbers");
    put_gptq(&f, m, 1, false);
    add(&f, "x.weight", DT_F32, RAW_NONE, N, K);
    assert_refused(&f, &gptq, "x.weight", "two tensors");
    free(m);
}

static void test_nvfp4_refusals(void **state)
{
    const struct hf_quant q = {.method = HF_NVFP4};
    struct folder f = {0};
    struct nvfp4 m;
    (void)state;
    add(&f, "x.weight", DT_F32, RAW_U8, N, K / 2);
    assert_refused(&f, &(struct hf_quant){.method = HF_FP8}, "x.weight", "U8, which specd reads");
    add(&f, "x.weight", DT_F32, RAW_U8, N, K / 2);
    assert_refused(&f, &q, "x.weight", "weight_scale of f8_e4m3, 24 x 20");
    add(&f, "x.weight", DT_F32, RAW_U8, N, 48);
    assert_refused(&f, &q, "x.weight", "rows of 96 weights, expected whole 64s");
    add(&f, "x.weight_packed", DT_F32, RAW_U8, N, K / 2);
    add(&f, "x.weight_scale", DT_F32, RAW_F8_E4M3, N, K / 16);
    add(&f, "x.weight_scale_2", DT_F32, RAW_NONE, 1, 1);
    assert_refused(&f, &q, "x.weight_packed", "expected a weight_global_scale, one number");
    m = nvfp4_put(&f, true);
    *m.of_all = 0;
    assert_refused(&f, &q, "x.weight_global_scale", "0 is no scale");
    m = nvfp4_put(&f, false);
    m.scales[17] = 0x7f;
    assert_refused(&f, &q, "x.weight_scale", "number 17 is below zero or none");
    m = nvfp4_put(&f, false);
    m.scales[18] = 0x81;
    assert_refused(&f, &q, "x.weight_scale", "number 18 is below zero or none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fp8),   cmocka_unit_test(test_gptq),
        cmocka_unit_test(test_awq),   cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_nvfp4), cmocka_unit_test(test_nvfp4_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
