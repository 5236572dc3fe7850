/*
 * Products of many rows (cuda/gemm.h) on the emulator, with its twin of cuBLASLt, against sums in
 * double: every type and end, odd sizes, 1 to 300 rows, matrices in ranges of channels, devices
 * with and without fp8 units and scales in the library.
 *
 * Tolerance: weights are those that bf16 has, so 2^-20 of the sum of magnitudes; where x becomes
 * e4m3, half of its last place: 2^-4 of each |x|, and 2^-10 of the row's scale, times |w|.
 *
 * links: product_rig
 */
#include "gemm.h"

#include "emu_cublaslt.h"
#include "gemm_lt.h"
#include "product_kinds.h"

#include "specd/error.h"
#include "specd/quant.h"

#include <math.h>
#include <stdlib.h>

#define ROWS_MAX 300

/* ---- products -------------------------------------------------------------------------------- */

struct gemm_rig {
    struct gpu_arena arena;
    struct gemm *gemm;
    int major, minor;
};

static void rig_open(struct gemm_rig *rig, size_t max_elements, int major, int minor)
{
    struct gemm_sizes sizes = {
        .max_rows = ROWS_MAX,
        .max_elements = max_elements,
        .max_k = 1536,
        .max_paired = 100,
        .has_fp8 = true,
    };
    struct gpu_arena count = {0};

    *rig = (struct gemm_rig){.major = major, .minor = minor};
    assert_int_equal(gemm_open(&rig->gemm, &sizes, major, minor, &count), 0);
    assert_null(rig->gemm);
    assert_int_equal(gpu_arena_open(&rig->arena, count.used), 0);
    assert_int_equal(gemm_open(&rig->gemm, &sizes, major, minor, &rig->arena), 0);
    assert_non_null(rig->gemm);
    assert_int_equal(rig->arena.used, count.used);
}

static void rig_close(struct gemm_rig *rig)
{
    gemm_close(rig->gemm);
    gpu_arena_close(&rig->arena);
}

struct sum {
    double value, error;
};

/* e4m3: x is rounded too. */
static struct sum sum_of(const struct product_matrix *m, const struct product_rows *r, bool e4m3,
                         int32_t row, int32_t channel)
{
    const float *w = m->values + (size_t)channel * (size_t)m->k;
    double value = 0, magnitude = 0, error = 0, peak = 0;

    for (int32_t k = 0; k < m->k; k++)
        peak = fmax(peak, fabs((double)bf16_value(r->host[row * r->stride + k])));
    for (int32_t k = 0; k < m->k; k++) {
        double x = (double)bf16_value(r->host[row * r->stride + k]);
        double weight = (double)bf16_value(bf16_from_f32(w[k]));
        value += x * weight;
        magnitude += fabs(x * weight);
        error += fabs(weight) * (fabs(x) * 0x1p-4 + peak / 448 * 0x1p-10);
    }
    return (struct sum){value, magnitude * 0x1p-20 + (e4m3 ? error * 1.001 : 0) + 1e-30};
}

struct gemm_case {
    const struct product_matrix *m;
    const struct product_rows *r;
    enum product_end end;
    float *bias; /* or NULL */
    bool e4m3;
    int32_t stride;
};

static struct sum expected(const struct gemm_case *c, int32_t row, int32_t n)
{
    struct sum s = sum_of(c->m, c->r, c->e4m3, row, n);

    if (product_end_is_paired(c->end)) {
        struct sum up = sum_of(c->m, c->r, c->e4m3, row, c->m->n + n);
        s.value += c->bias ? (double)c->bias[n] : 0;
        up.value += c->bias ? (double)c->bias[c->m->n + n] : 0;
        s.error += fabs(s.value) * 0x1p-21;
        up.error += fabs(up.value) * 0x1p-21;
        double gate = product_gated(c->end, s.value);
        double error = 1.1 * s.error * fabs(up.value) + up.error * (fabs(gate) + 1.1 * s.error);
        return (struct sum){gate * up.value, error + 0x1p-8 * fabs(gate * up.value)};
    }
    s.value += c->bias ? (double)c->bias[n] : 0;
    s.value += c->end == PRODUCT_ADD ? (double)(row + n) : 0;
    s.error += fabs(s.value) * 0x1p-21;
    return s;
}

/* All that the rows should hold, and the gaps between them. */
static void check_out(const struct gemm_case *c, const uint8_t *out, size_t element)
{
    int32_t n = c->m->n;

    for (int32_t row = 0; row < c->r->n; row++) {
        const uint8_t *at = out + (size_t)row * (size_t)c->stride * element;
        for (int32_t i = 0; i < n; i++) {
            struct sum want = expected(c, row, i);
            double got = element == 2 ? (double)bf16_value(((const uint16_t *)(const void *)at)[i])
                                      : (double)((const float *)(const void *)at)[i];
            if (!(fabs(got - want.value) <= want.error))
                fail_msg("type %d n %d k %d rows %d end %d e4m3 %d: row %d channel %d is %g, not "
                         "%g within %g",
                         c->m->plan.type, n, c->m->k, c->r->n, c->end, c->e4m3, row, i, got,
                         want.value, want.error);
        }
        assert_marked(at + (size_t)n * element, (size_t)(c->stride - n) * element);
    }
}

static void case_run(struct gemm_rig *rig, const struct gemm_case *c)
{
    size_t element = product_end_is_paired(c->end) ? sizeof(uint16_t) : sizeof(float);
    int32_t rows = c->r->n;
    uint8_t *out = marked((size_t)rows * (size_t)c->stride * element);
    struct product_call call = {
        .plan = &c->m->plan,
        .weights = c->m->device,
        .x = c->r->device,
        .x_stride = c->r->stride,
        .n_rows = c->r->n_device,
        .end = c->end,
        .out = out,
        .out_stride = c->stride,
        .bias = c->bias ? device_copy(c->bias, product_bias_floats(c->m) * sizeof(float)) : NULL,
    };
    cudaStream_t stream;

    for (int32_t i = 0; c->end == PRODUCT_ADD && i < rows * c->m->n; i++)
        ((float *)(void *)out)[i / c->m->n * c->stride + i % c->m->n] =
            (float)(i / c->m->n + i % c->m->n);
    assert_int_equal(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
    assert_int_equal(gemm_run(rig->gemm, &call, rows, stream), 0);
    assert_int_equal(cudaStreamDestroy(stream), cudaSuccess);
    check_out(c, out, element);
}

/* A random matrix and rows. e4m3: whether the library has such products. */
static void check(struct gemm_rig *rig, size_t kind, int32_t n, int32_t k, int32_t rows,
                  enum product_end end, bool e4m3)
{
    struct product_matrix m;
    struct product_rows r;
    struct gemm_case c = {.m = &m, .r = &r, .end = end, .stride = n};

    c.stride += rand() % 2 ? 4 * (rand() % 3) : rand() % 3;
    c.e4m3 = e4m3 && kinds[kind].type == PRODUCT_FP8 && n % 16 == 0;
    matrix_make(&m, kinds[kind].type, kinds[kind].file, product_end_is_paired(end), n, k);
    c.bias = rand() % 2 ? product_bias(&m) : NULL;
    rows_make(&r, rows, rows, k);
    case_run(rig, &c);
    free(c.bias);
    rows_free(&r);
    matrix_free(&m);
    device_free_all();
}

static void check_all(struct gemm_rig *rig, bool e4m3)
{
    static const int32_t all_n[] = {1, 16, 17, 48, 96}, all_rows[] = {1, 2, 7, 33, 64};

    for (size_t i = 0; i < COUNT_OF(kinds) * COUNT_OF(all_n) * 3; i++) {
        size_t kind = i % COUNT_OF(kinds), shape = i / COUNT_OF(kinds) % COUNT_OF(all_n);
        enum product_end end =
            (enum product_end)(i / COUNT_OF(kinds) / COUNT_OF(all_n)); /* each of four */
        check(rig, kind, all_n[shape], k_fit(kind, 1 + rand() % 300),
              all_rows[(size_t)rand() % COUNT_OF(all_rows)], end, e4m3);
    }
}

/* Devices: H100, one whose library does not scale, one without e4m3 in the library, A100. */
static void test_products(void **state)
{
    static const struct {
        int major, minor;
        bool outer, e4m3;
    } devices[] = {
        {9, 0, true, true}, {8, 9, false, true}, {9, 0, false, false}, {8, 0, true, true}};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(devices); i++) {
        bool e4m3 = devices[i].e4m3 && devices[i].major * 10 + devices[i].minor >= 89;
        struct emu_cublaslt_counts before = emu_cublaslt_counted(), after;
        struct gemm_rig rig;

        emu_cublaslt_allow(devices[i].outer, devices[i].e4m3);
        rig_open(&rig, 200 * 1536, devices[i].major, devices[i].minor);
        check_all(&rig, e4m3);
        rig_close(&rig);
        after = emu_cublaslt_counted();
        assert_true((after.e4m3 > before.e4m3) == e4m3);
        assert_true((after.outer > before.outer) == (e4m3 && devices[i].outer));
    }
    emu_cublaslt_allow(true, true);
}

/* More rows, longer sums: one of each type. */
static void test_large(void **state)
{
    struct gemm_rig rig;

    (void)state;
    rig_open(&rig, 200 * 1536, 9, 0);
    for (size_t kind = 0; kind < COUNT_OF(kinds); kind++)
        check(&rig, kind, 64 + rand() % 17, k_fit(kind, 1500) / 256 * 256,
              GEMM_ROWS_MIN + rand() % (ROWS_MAX - GEMM_ROWS_MIN + 1),
              (enum product_end)(rand() % 4), true);
    rig_close(&rig);
}

/* Scratch for less than the matrix. */
static void test_ranges(void **state)
{
    struct gemm_rig rig;
    unsigned long products = emu_cublaslt_counted().products;

    (void)state;
    rig_open(&rig, 1, 9, 0); /* 32 channels of 1536 */
    for (size_t i = 0; i < 3 * COUNT_OF(kinds); i++)
        check(&rig, i % COUNT_OF(kinds), 80 + 16 * (rand() % 2) + rand() % 2, 1536, 1 + rand() % 12,
              (enum product_end)(i / COUNT_OF(kinds)), true);
    assert_true(emu_cublaslt_counted().products >= products + 2 * 3 * COUNT_OF(kinds));
    rig_close(&rig);
}

/* A product of a shape that was there before asks the library nothing. */
static void test_kept(void **state)
{
    struct gemm_rig rig;
    unsigned long asked;

    (void)state;
    rig_open(&rig, 200 * 1536, 9, 0);
    for (int turn = 0; turn < 5; turn++) {
        struct product_matrix m;
        struct product_rows r;
        struct gemm_case c = {.m = &m, .r = &r, .stride = 32};

        matrix_make(&m, PRODUCT_INT8, DT_Q8_0, false, 32, 64);
        rows_make(&r, 9, 9, 64);
        r.stride = 64;
        for (int32_t i = 0; i < 9 * 64; i++)
            r.host[i] = bf16_from_f32((float)(rand() % 5 - 2));
        rows_upload(&r);
        asked = emu_cublaslt_counted().asked;
        case_run(&rig, &c);
        assert_int_equal(emu_cublaslt_counted().asked, asked + (turn == 0));
        rows_free(&r);
        matrix_free(&m);
        device_free_all();
    }
    rig_close(&rig);
}

/* What the library, or here its twin, would read or write outside of a matrix is refused. */
static void test_refused(void **state)
{
    struct gemm_lt *lt = xcalloc(1, sizeof(*lt));
    struct lt_product p = {
        .weights = device_take(32 * 48 * 2),
        .x = device_take(5 * 48 * 2),
        .out = device_take(5 * 32 * 4),
        .n = 32,
        .k = 48,
        .rows = 5,
        .w_stride = 48,
        .x_stride = 48,
        .out_stride = 32,
    };
    struct lt_product right = p;

    (void)state;
    assert_int_equal(gemm_lt_open(lt), 0);
    lt->workspace = device_take(4096);
    lt->workspace_bytes = 4096;
    assert_int_equal(gemm_lt_run(lt, &right, NULL), 0);
    p.rows = 6;
    assert_int_equal(gemm_lt_run(lt, &p, NULL), SPECD_EDEVICE);
    p = right;
    p.w_stride = 50;
    assert_int_equal(gemm_lt_run(lt, &p, NULL), SPECD_EDEVICE);
    p = right;
    p.out_stride = 31; /* rows would overlap */
    assert_int_equal(gemm_lt_run(lt, &p, NULL), SPECD_EDEVICE);
    p = right;
    p.way = LT_FP8_SCALED; /* without scales */
    assert_int_equal(gemm_lt_run(lt, &p, NULL), SPECD_EDEVICE);
    lt->workspace_bytes = 8192;
    assert_int_equal(gemm_lt_run(lt, &right, NULL), SPECD_EDEVICE);
    sync();
    gemm_lt_close(lt);
    free(lt);
    device_free_all();
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void test_fault(void **state)
{
    struct gemm_rig rig;
    struct product_matrix m;
    struct product_rows r;

    (void)state;
    rig_open(&rig, 200 * 1536, 9, 0);
    matrix_make(&m, PRODUCT_BF16, DT_BF16, false, 16, 16);
    rows_make(&r, 3, 3, 16);
    struct product_call call = {
        .plan = &m.plan,
        .weights = m.device,
        .x = r.device,
        .x_stride = r.stride,
        .out = device_take(3 * 16 * sizeof(float)),
        .out_stride = 16,
    };
    assert_int_equal(gemm_run(rig.gemm, &call, 0, NULL), 0);
    emu_fault_after(1, cudaErrorLaunchFailure);
    (void)gemm_run(rig.gemm, &call, 3, NULL);
    (void)cudaDeviceSynchronize();
    assert_int_equal(gemm_run(rig.gemm, &call, 3, NULL), SPECD_EDEVICE);
    emu_fault_after(0, cudaSuccess);
    rows_free(&r);
    matrix_free(&m);
    device_free_all();
    rig_close(&rig);
}

static void test_is_faster(void **state)
{
    struct gemm_rig h100, a100;

    (void)state;
    rig_open(&h100, 16, 9, 0);
    rig_open(&a100, 16, 8, 0);
    for (int type = 0; type < PRODUCT_TYPES; type++) {
        struct product_plan p;

        assert_int_equal(product_plan_of(&p, (enum product_type)type, false, 4096, 4096), 0);
        assert_false(gemm_is_faster(h100.gemm, &p, GEMM_ROWS_MIN - 1));
        assert_true(gemm_is_faster(h100.gemm, &p, 1024));
        assert_true(gemm_is_faster(h100.gemm, &p, 256) == (type == PRODUCT_FP8));
        assert_false(gemm_is_faster(a100.gemm, &p, 256));
        assert_int_equal(product_plan_of(&p, (enum product_type)type, true, 14336, 256), 0);
        assert_false(gemm_is_faster(a100.gemm, &p, 2048)); /* most of it would be sums */
    }
    rig_close(&h100);
    rig_close(&a100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),  cmocka_unit_test(test_large),
        cmocka_unit_test(test_ranges),    cmocka_unit_test(test_kept),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_fault),
        cmocka_unit_test(test_is_faster),
    };
    return seeded_run(tests);
}
