/*
 * What products of many rows are made of, on the emulator: packed matrices as plain ones, exactly,
 * and rows of x in e4m3, each code the nearest there is, ties even.
 *
 * links: product_rig
 */
#include "gemm_rows.h"

#include "forward_rig.h"
#include "product_kinds.h"

#include "specd/quant.h"

#include <math.h>
#include <stdlib.h>

/* ---- unpacking ------------------------------------------------------------------------------- */

/* Rows of one half, as they should be, and nothing in the gaps between them. */
static void check_rows(const struct product_matrix *m, int half, const uint16_t *out,
                       const struct product_unpacked *to)
{
    int32_t wide = (m->k + 15) / 16 * 16;

    for (int32_t i = 0; i < to->n; i++) {
        const uint16_t *row = out + i * to->stride;
        const float *want =
            m->values + ((size_t)half * (size_t)m->n + (size_t)(to->first + i)) * (size_t)m->k;
        for (int32_t k = 0; k < wide; k++) {
            float expect = k < m->k ? bf16_value(bf16_from_f32(want[k])) : 0;
            if (!(bf16_value(row[k]) == expect))
                fail_msg("type %d n %d k %d half %d channel %d: element %d is %g, not %g",
                         m->plan.type, m->n, m->k, half, to->first + i, k,
                         (double)bf16_value(row[k]), (double)expect);
        }
        assert_marked(row + wide, (size_t)(to->stride - wide) * sizeof(*row));
    }
    assert_marked(out + to->n * to->stride, sizeof(*out));
}

static void check_unpack(size_t kind, bool paired, int32_t n, int32_t k)
{
    struct product_matrix m;
    struct product_unpacked to = {.stride = (k + 15) / 16 * 16 + 16 * (rand() % 2)};
    size_t bytes;

    matrix_make(&m, kinds[kind].type, kinds[kind].file, paired, n, k);
    to.first = rand() % n;
    to.n = 1 + rand() % (n - to.first);
    bytes = ((size_t)to.n * (size_t)to.stride + 1) * sizeof(uint16_t);
    to.out = paired && rand() % 3 == 0 ? NULL : marked(bytes);
    to.up = paired && (!to.out || rand() % 2) ? marked(bytes) : NULL;
    assert_int_equal(launch_product_unpack(&m.plan, m.device, &to, NULL), 0);
    sync();
    if (to.out)
        check_rows(&m, 0, to.out, &to);
    if (to.up)
        check_rows(&m, 1, to.up, &to);
    matrix_free(&m);
    device_free_all();
}

static void test_unpack(void **state)
{
    static const int32_t all_n[] = {1, 8, 15, 16, 33, 70}, all_k[] = {32, 65, 96, 520, 1100};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds) * COUNT_OF(all_n) * COUNT_OF(all_k); i++) {
        size_t kind = i % COUNT_OF(kinds), shape = i / COUNT_OF(kinds);
        check_unpack(kind, rand() % 3 == 0, all_n[shape % COUNT_OF(all_n)],
                     k_fit(kind, all_k[shape / COUNT_OF(all_n)]));
    }
}

/* Codes times scales are the weights. */
static void test_unpack_codes(void **state)
{
    (void)state;
    for (int turn = 0; turn < 12; turn++) {
        struct product_matrix m;
        int32_t n = 1 + rand() % 40, k = 1 + rand() % 200;
        struct product_unpacked to = {.stride = (k + 15) / 16 * 16, .n = n};
        uint8_t *codes = to.out = marked((size_t)n * (size_t)to.stride);

        matrix_make(&m, PRODUCT_FP8, DT_F32, false, n, k);
        assert_int_equal(launch_product_unpack_codes(&m.plan, m.device, &to, NULL), 0);
        sync();
        const float *scales = (const float *)((const char *)m.device + m.plan.scales_at);
        for (int32_t i = 0; i < n; i++) {
            for (int32_t j = 0; j < to.stride; j++) {
                double got = e4m3_number(codes[i * to.stride + j]) * (double)scales[i];
                assert_true(got == (j < k ? (double)m.values[i * k + j] : 0));
            }
        }
        matrix_free(&m);
        device_free_all();
    }
}

/* The same numbers as a product gives back for rows that are one at one place. */
static void check_identity(size_t kind, int32_t n, int32_t k)
{
    struct product_machine machine = machine_random();
    struct product_matrix m;
    struct product_rows r;
    struct product_tiling t;
    float *y = xcalloc((size_t)(k * n), sizeof(*y));
    struct product_unpacked to = {.stride = (k + 15) / 16 * 16, .n = n};
    uint16_t *rows = to.out = marked((size_t)n * (size_t)to.stride * sizeof(uint16_t));

    matrix_make(&m, kinds[kind].type, kinds[kind].file, false, n, k);
    rows_make(&r, k, k, k);
    for (int32_t i = 0; i < k * k; i++)
        r.host[i / k * r.stride + i % k] = i / k == i % k ? 0x3f80 : 0;
    rows_upload(&r);
    t = product_tiling_of(&m.plan, k, &machine);
    product_run(&m, &r, &m.plan, &t, PRODUCT_STORE, NULL, y);
    assert_int_equal(launch_product_unpack(&m.plan, m.device, &to, NULL), 0);
    sync();
    for (int32_t i = 0; i < n * k; i++)
        assert_true(bf16_value(rows[i / k * to.stride + i % k]) ==
                    bf16_value(bf16_from_f32(y[i % k * n + i / k])));
    rows_free(&r);
    matrix_free(&m);
    free(y);
    device_free_all();
}

static void test_identity(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < COUNT_OF(kinds); kind++)
        check_identity(kind, 20, k_fit(kind, 70));
}

/* ---- rows of x ------------------------------------------------------------------------------- */

/* ties: numbers of which many lie in the middle between two codes, and none near it. */
static void check_quantized(const uint8_t *out, float scale, const uint16_t *x, int32_t k,
                            int32_t stride, bool ties)
{
    double peak = 0;

    for (int32_t i = 0; i < k; i++)
        peak = fmax(peak, fabs((double)bf16_value(x[i])));
    assert_true(fabs((double)scale - (peak > 0 ? peak / 448 : 1)) <= (double)scale * 0x1p-23);
    for (int32_t i = 0; i < stride; i++) {
        double v = i < k ? (double)bf16_value(x[i]) : 0, at = v / (double)scale;
        double step = ldexp(1, MAX(ilogb(at == 0 ? 1e-9 : at), -6) - 3);

        double error = fabs(e4m3_number(out[i]) - at);
        assert_true(error <= step * 0.50001);
        assert_true(!ties || error < step * 0.49999 || out[i] % 2 == 0);
    }
}

static void test_quantize(void **state)
{
    static const int32_t all_k[] = {1, 8, 16, 33, 100, 2048, 4104};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(all_k); i++) {
        int32_t k = all_k[i], n = 5, stride = (k + 15) / 16 * 16;
        struct product_rows r;
        uint8_t *out = marked((size_t)(n * stride));
        float *scales = device_take((size_t)n * sizeof(float));

        rows_make(&r, n, n, k);
        for (int32_t j = 0; j < k; j++) {
            r.host[j] = 0;
            r.host[r.stride + j] = bf16_from_f32(ldexpf((float)(rand() % 9 - 4), -(rand() % 30)));
        }
        r.host[4 * r.stride + k - 1] = 0x7f81; /* NaN */
        rows_upload(&r);
        assert_int_equal(launch_quantize_rows(out, scales, r.device, r.stride, n, k, stride, NULL),
                         0);
        sync();
        for (int32_t j = 0; j < 4; j++)
            check_quantized(out + j * stride, scales[j], r.host + j * r.stride, k, stride, j == 1);
        assert_true(isnan(scales[4]) && isnan(e4m3_number(out[4 * stride + k - 1])));
        rows_free(&r);
        device_free_all();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unpack),
        cmocka_unit_test(test_unpack_codes),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_quantize),
    };
    if (product_prepare(232448))
        return 1;
    return seeded_run(tests);
}
