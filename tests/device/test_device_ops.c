/*
 * The vector operations: portable, AVX2 and AVX-512 agree bit for bit at every length, and all
 * agree with double precision. Attention's products are in test_device_attention.
 *
 * links: device_tests specd_cpu
 */
#include "device/models.h"
#include "ops.h"
#include "matmul.h"
#include "specd/util.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define N_MAX 67

static void random_floats(float *x, int n, float size, uint64_t *seed)
{
    for (int i = 0; i < n; i++)
        x[i] = size * ((float)(random_next(seed) >> 40) * 0x1p-23f - 1.0f);
}

/* What one table makes of random input, all of it in one place. */
struct results {
    uint16_t narrow[N_MAX];
    float norm[N_MAX], silu[N_MAX], gelu[N_MAX], soft[N_MAX], soft_max, soft_sum, blend[N_MAX];
    float quotient[N_MAX], turned[2][N_MAX], exps[4];
};

static void run(const struct ops *ops, int n, struct results *r)
{
    uint64_t seed = 5;
    float x[N_MAX], w[N_MAX], rotation[2 * N_MAX];
    memset(r, 0, sizeof(*r));
    random_floats(x, n, 4.0f, &seed);
    random_floats(w, n, 2.0f, &seed);
    ops->narrow(r->narrow, x, n);
    ops->rms_norm(r->norm, x, w, n, 1e-5f);
    ops->silu_mul(r->silu, x, w, n);
    ops->gelu_mul(r->gelu, x, w, n);
    memcpy(r->soft, x, sizeof(float) * (size_t)n);
    r->soft_sum = ops->exp_sum(r->soft, n, &r->soft_max);
    memcpy(r->blend, x, sizeof(float) * (size_t)n);
    ops->blend(r->blend, 0.3f, w, 0.7f, n);
    ops->divide(r->quotient, x, 3.7f, n);
    random_floats(rotation, 2 * n, 1.0f, &seed);
    for (int i = 0; i < 2; i++) {
        memcpy(r->turned[i], x, sizeof(float) * (size_t)n);
        ops->rotate(r->turned[i], rotation, n / 2 * 2, i == 1, 0.3f);
    }
    for (int i = 0; i < 4; i++)
        r->exps[i] = ops->exp(x[0] * (float)(10 * i));
}

static void test_tables_agree(void **state)
{
    static struct results portable, other;
    const struct ops *tables[OPS_TABLES];
    (void)state;
    for (int t = 1, count = ops_tables(tables); t < count; t++) {
        for (int n = 1; n <= N_MAX; n++) {
            run(&ops_portable, n, &portable);
            run(tables[t], n, &other);
            assert_memory_equal(&portable, &other, sizeof(portable));
        }
    }
}

static void assert_close(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance * fmax(1.0, fabs(want))))
        print_error("%.9g, expected %.9g\n", got, want);
    assert_true(fabs(got - want) <= tolerance * fmax(1.0, fabs(want)));
}

/* The same input as run() makes. */
static void check_values(const struct ops *ops, int n)
{
    static struct results r;
    uint64_t seed = 5;
    float x[N_MAX], w[N_MAX], rotation[2 * N_MAX];
    random_floats(x, n, 4.0f, &seed);
    random_floats(w, n, 2.0f, &seed);
    run(ops, n, &r);
    double squares = 0.0, sum = 0.0;
    for (int i = 0; i < n; i++) {
        squares += (double)x[i] * (double)x[i];
        sum += exp((double)x[i] - (double)r.soft_max);
        assert_true(x[i] <= r.soft_max);
    }
    assert_close(r.soft_sum, sum, 1e-6);
    for (int i = 0; i < n; i++) {
        double z = x[i], v = w[i];
        assert_close(r.norm[i], z * v / sqrt(squares / n + 1e-5), 1e-6);
        double u = sqrt(2 / M_PI) * (z + 0.044715 * z * z * z);
        assert_close(r.silu[i], z / (1.0 + exp(-z)) * v, 1e-6);
        assert_close(r.gelu[i], z / 2 * (1 + tanh(u)) * v, 1e-6);
        assert_close(r.soft[i], exp(z - (double)r.soft_max), 1e-6);
        assert_close(r.blend[i], 0.3 * z + 0.7 * v, 1e-6);
        assert_close(r.quotient[i], z / 3.7, 1e-6);
    }
    random_floats(rotation, 2 * n, 1.0f, &seed);
    for (int i = 0, even = n / 2 * 2; i < even; i++) {
        double z = x[i], cosine = rotation[i], sine = rotation[even + i];
        assert_close(r.turned[0][i], 0.3 * (z * cosine + x[(i + even / 2) % even] * sine), 1e-6);
        assert_close(r.turned[1][i], 0.3 * (z * cosine + x[i ^ 1] * sine), 1e-6);
    }
}

static void test_values(void **state)
{
    (void)state;
    for (int n = 1; n <= N_MAX; n++)
        check_values(ops_get(), n);
}

static void test_exp(void **state)
{
    const struct ops *ops = ops_get();
    (void)state;
    for (int i = -87000; i < 87000; i += 7) {
        double x = (double)(float)(i * 1e-3), want = exp(x);
        assert_true(fabs(ops->exp((float)x) - want) < 3e-7 * want);
    }
    assert_true(ops->exp(0.0f) == 1.0f);
    assert_true(ops->exp(-1000.0f) == 0.0f);
    assert_true(ops->exp(-INFINITY) == 0.0f);
    assert_true(isfinite(ops->exp(1000.0f)));
}

/* Whatever is no number must show in the result, or one bad request would go unnoticed. */
static void test_nan_stays(void **state)
{
    const struct ops *tables[OPS_TABLES];
    (void)state;
    for (int t = 0, count = ops_tables(tables); t < count; t++) {
        for (int at = 0; at < 19; at++) {
            float s[19], gelu[19], up[19], max;
            for (int i = 0; i < 19; i++) {
                s[i] = (float)i;
                up[i] = 1.0f;
            }
            s[at] = NAN;
            tables[t]->gelu_mul(gelu, s, up, 19);
            tables[t]->silu_mul(s, s, up, 19);
            assert_true(isnan(s[at]) && isnan(gelu[at]));
            assert_true(isnan(tables[t]->exp_sum(s, 19, &max)));
        }
        assert_true(isnan(tables[t]->exp(NAN)));
    }
}

static void test_narrow(void **state)
{
    static const float x[] = {1.0f,
                              1.0f + 0x1p-8f,           /* tie: to even */
                              1.0f + 0x1p-7f + 0x1p-8f, /* tie: to even */
                              1.0f + 0x1p-8f + 0x1p-20f,
                              -INFINITY,
                              FLT_MAX,
                              -0.0f};
    static const uint16_t y[] = {0x3f80, 0x3f80, 0x3f82, 0x3f81, 0xff80, 0x7f80, 0x8000};
    const struct ops *tables[OPS_TABLES];
    (void)state;
    for (int t = 0, count = ops_tables(tables); t < count; t++)
        for (int at = 0; at < 16; at++) {
            float from[40];
            uint16_t to[41];
            for (int i = 0; i < 40; i++)
                from[i] = i % 16 == at ? NAN : x[i % 7];
            to[40] = 12345;
            tables[t]->narrow(to, from, 40);
            assert_int_equal(to[40], 12345);
            for (int i = 0; i < 40; i++) {
                if (i % 16 == at)
                    assert_true((to[i] & 0x7f80) == 0x7f80 && (to[i] & 0x7f) != 0);
                else
                    assert_int_equal(to[i], y[i % 7]);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_agree), cmocka_unit_test(test_values),
        cmocka_unit_test(test_exp),          cmocka_unit_test(test_nan_stays),
        cmocka_unit_test(test_narrow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
