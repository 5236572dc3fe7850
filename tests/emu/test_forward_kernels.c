/*
 * cuda/embed.cu, norm.cu and qkv.cu on the emulator against the formulas in double: odd
 * widths, padding rows, and that a row's bits do not depend on the pass.
 *
 * links: product_rig
 */
#include "forward_rig.h"
#include "layer.h"
#include "product_rig.h"
#include "specd/error.h"
#include "specd/util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CTX 70
#define VOCAB 40
#define POISON 0xee

static float *floats_make(size_t n, float size)
{
    float *x = device_take(n * sizeof(*x));

    for (size_t i = 0; i < n; i++)
        x[i] = ((float)rand() / (float)RAND_MAX * 2.0f - 1.0f) * size;
    return x;
}

static void *poison_make(size_t bytes)
{
    return memset(device_take(bytes), POISON, bytes);
}

/* Device memory with what other device memory holds now. */
static void *again(const void *from, size_t bytes)
{
    return memcpy(device_take(bytes), from, bytes);
}

/* A pass of n live rows, each of another slot and anywhere, and padding up to the capacity. */
static struct pass pass_of(const struct device_state *s, int32_t n, int32_t capacity)
{
    struct pass p = pass_make(s, capacity, capacity, 1, 0);

    for (int32_t i = 0; i < capacity; i++)
        p.rows[i] = i < n ? (struct pass_row){i, rand() % CTX} : (struct pass_row){-1, 0};
    *p.counts = (struct pass_counts){.n_rows = n};
    return p;
}

static struct device_state slots_make(int32_t n)
{
    struct device_state s = state_make(n, CTX, n * (CTX / SPECD_BLOCK_TOKENS + 1) + 5, 0, VOCAB);

    for (int32_t i = 0; i < n; i++) {
        s.slots[i].len = CTX;
        slot_blocks_make(&s, i, CTX);
        for (int32_t j = 0; j < CTX; j++)
            s.slots[i].tokens[j] = rand() % (VOCAB + 5); /* some for a draft's smaller table */
    }
    return s;
}

static void sync(void)
{
    assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
}

static void assert_near(double got, double expect, double relative, double absolute)
{
    if (!(fabs(got - expect) <= fabs(expect) * relative + absolute))
        fail_msg("%g, not %g", got, expect);
}
#define BF16_ERROR (0x1p-8 + 0x1p-20) /* of rounding to nearest, and of f32 before */

static void assert_untouched(const void *from, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal(((const unsigned char *)from)[i], POISON);
}

/* ---- embed ----------------------------------------------------------------------------------- */

/* Every row is the token's weights as the file has them, and nothing but rows is written. */
static void check_embed(enum product_type type, enum dtype file, int32_t C)
{
    float scale = rand() % 2 ? 1.0f : 25.25f;
    int32_t T = 5, capacity = 7;
    struct device_state s = slots_make(T);
    struct pass p = pass_of(&s, T, capacity);
    struct product_matrix m;
    float *x = poison_make((size_t)(capacity * C) * sizeof(float));

    matrix_make(&m, type, file, false, VOCAB, C);
    assert_int_equal(launch_embed(x, &m.plan, m.device, scale, &s, &p, capacity, NULL), 0);
    sync();
    for (int32_t i = 0; i < T * C; i++) {
        const struct pass_row *row = &p.rows[i / C];
        int32_t token = MIN(s.slots[row->slot].tokens[row->pos], VOCAB - 1);
        float expect = m.values[token * C + i % C] * scale;

        if (!(x[i] == expect))
            fail_msg("type %d width %d token %d: element %d is %g, not %g", type, C, token, i % C,
                     (double)x[i], (double)expect);
    }
    assert_untouched(x + T * C, (size_t)((capacity - T) * C) * sizeof(float));
    matrix_free(&m);
    device_free_all();
}

static void test_embed(void **state)
{
    static const int32_t plain[] = {8, 24, 576, 2056}, grouped[] = {32, 96, 608, 2048};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(plain); i++) {
        check_embed(PRODUCT_BF16, DT_BF16, plain[i]);
        check_embed(PRODUCT_FP8, DT_F32, plain[i]);
        check_embed(PRODUCT_INT8, DT_Q8_0, grouped[i]);
        check_embed(PRODUCT_INT4, DT_Q4_0, grouped[i]);
        check_embed(PRODUCT_INT4_MIN, DT_Q4_1, grouped[i]);
        check_embed(PRODUCT_INT4_K, DT_Q4_K, (grouped[i] + 255) / 256 * 256);
        check_embed(PRODUCT_INT8, DT_Q3_K, (grouped[i] + 255) / 256 * 256);
        check_embed(PRODUCT_IQ4, DT_IQ4_XS, (grouped[i] + 255) / 256 * 256);
        check_embed(PRODUCT_IQ4, DT_IQ4_NL, grouped[i]);
        check_embed(PRODUCT_FP4, DT_MXFP4, grouped[i]);
        check_embed(PRODUCT_NVFP4, DT_NVFP4, (grouped[i] + 63) / 64 * 64);
        check_embed(PRODUCT_FP8_32, DT_F8, grouped[i]);
        check_embed(PRODUCT_INT2_K, DT_Q2_K, (grouped[i] + 255) / 256 * 256);
    }
}

/* ---- norms ----------------------------------------------------------------------------------- */

static void check_norm_row(const struct norm *n, const float *before, const uint16_t *y, int32_t t)
{
    int32_t C = n->width;
    double squares = 0.0, o_squares = 0.0;

    for (int32_t i = 0; n->o && i < C; i++)
        o_squares += (double)n->o[t * C + i] * (double)n->o[t * C + i];
    for (int32_t i = 0; i < C; i++) {
        double o = n->o ? (double)n->o[t * C + i] : 0.0;
        if (n->o_w)
            o *= (double)n->o_w[i] / sqrt(o_squares / C + (double)n->eps);
        float sum = n->x[t * C + i];

        if (n->o_w)
            assert_near((double)sum, (double)before[t * C + i] + o, 1e-6, fabs(o) * 1e-6);
        else
            assert_true(sum == before[t * C + i] + (float)o);
        squares += (double)sum * (double)sum;
    }
    for (int32_t i = 0; i < C; i++)
        assert_near((double)bf16_number(y[i]),
                    n->w ? (double)n->x[t * C + i] / sqrt(squares / C + (double)n->eps) *
                               (double)n->w[i]
                         : (double)n->x[t * C + i],
                    BF16_ERROR, 1e-30);
}

static struct norm norm_make(int32_t width, int32_t capacity, bool adds)
{
    size_t n = (size_t)(width * capacity);

    return (struct norm){
        .y = poison_make(n * 2),
        .x = floats_make(n, 3.0f),
        .o = adds ? floats_make(n, 2.0f) : NULL,
        .o_w = adds && rand() % 2 ? floats_make((size_t)width, 1.5f) : NULL,
        .w = floats_make((size_t)width, 1.5f),
        .eps = 1e-5f,
        .width = width,
    };
}

static void test_norm(void **state)
{
    static const int32_t widths[] = {8, 40, 576, 1024, 1032, 4096};

    (void)state;
    for (size_t w = 0; w < 4 * COUNT_OF(widths); w++) {
        int32_t C = widths[w / 4], T = 4, capacity = 6;
        struct device_state s = slots_make(T);
        struct pass p = pass_of(&s, T, capacity);
        struct norm n = norm_make(C, capacity, w % 2);
        float *before = again(n.x, (size_t)(capacity * C) * sizeof(float));

        if (rand() % 3 == 0)
            n.w = NULL;
        assert_int_equal(launch_norm(&n, &p, capacity, NULL), 0);
        sync();
        for (int32_t t = 0; t < T; t++)
            check_norm_row(&n, before, n.y + t * C, t);
        assert_untouched(n.y + T * C, (size_t)((capacity - T) * C) * 2);
        assert_memory_equal(n.x + T * C, before + T * C, (size_t)((capacity - T) * C) * 4);
        device_free_all();
    }
}

/* Weights that bring every number of row t next to where bf16 rounds the other way: a scale that
 * differs in its last bit shows. */
static void weights_on_edge(const struct norm *n, int32_t t)
{
    const float *x = n->x + t * n->width;
    double squares = 0.0;

    for (int32_t i = 0; i < n->width; i++)
        squares += (double)x[i] * (double)x[i];
    for (int32_t i = 0; i < n->width; i++)
        ((float *)(uintptr_t)n->w)[i] =
            (float)((1.0 + 0x1p-8) / (double)x[i] * sqrt(squares / n->width + (double)n->eps));
}

/* Row t by itself, in a pass of another capacity, gives the bits it gave among others. */
static void test_norm_bits(void **state)
{
    static const int32_t widths[] = {576, 2048, 4104};
    const int32_t T = 5;

    (void)state;
    for (size_t w = 0; w < 4 * COUNT_OF(widths); w++) {
        size_t C = (size_t)widths[w / 4];
        int32_t t = rand() % T;
        struct device_state s = slots_make(T);
        struct pass p = pass_of(&s, T, T + rand() % 4), alone = pass_of(&s, 1, 1);
        struct norm n = norm_make((int32_t)C, T, false), one = n;

        weights_on_edge(&n, t);
        one.x = n.x + (size_t)t * C;
        one.y = poison_make(C * 2);
        assert_int_equal(launch_norm(&n, &p, p.max_rows, NULL), 0);
        assert_int_equal(launch_norm(&one, &alone, 1, NULL), 0);
        sync();
        assert_memory_equal(one.y, n.y + (size_t)t * C, C * 2);
        device_free_all();
    }
}

static void test_logit_norm(void **state)
{
    const int32_t C = 136, T = 6, rows[] = {1, 2, 5};

    (void)state;
    for (int adds = 0; adds < 2; adds++) {
        struct device_state s = slots_make(T);
        struct pass p = pass_of(&s, T, T);
        struct norm n = norm_make(C, T, adds);
        float *before = again(n.x, (size_t)(T * C) * sizeof(float));

        memcpy(p.logit_rows, rows, sizeof(rows));
        p.counts->n_logits = COUNT_OF(rows);
        assert_int_equal(launch_logit_norm(&n, &p, T, NULL), 0);
        sync();
        for (int i = 0; i < (int)COUNT_OF(rows); i++)
            check_norm_row(&n, before, n.y + i * C, rows[i]);
        assert_untouched(n.y + (int)COUNT_OF(rows) * C,
                         (size_t)(T - (int)COUNT_OF(rows)) * (size_t)C * 2);
        assert_memory_equal(n.x, before, (size_t)C * sizeof(float)); /* row 0 wants none */
        device_free_all();
    }
}

/* Two norms in a row, each over its own elements; what is behind them stays. */
static void test_wide_norms(void **state)
{
    static const int32_t widths[][2] = {{8, 8}, {40, 16}, {1024, 256}, {4096, 1032}};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(widths); i++) {
        int32_t q = widths[i][0], k = widths[i][1], stride = q + 2 * k, T = 3, capacity = 5;
        struct device_state s = slots_make(T);
        struct pass p = pass_of(&s, T, capacity);
        size_t all = (size_t)(stride * capacity);
        struct wide_norms n = {
            .x = floats_make(all, 3.0f),
            .stride = stride,
            .w = floats_make((size_t)(q + k), 1.5f),
            .eps = 1e-5f,
            .widths = {q, k},
        };
        float *before = again(n.x, all * sizeof(float));

        assert_int_equal(launch_wide_norms(&n, &p, capacity, NULL), 0);
        sync();
        for (int32_t t = 0; t < T; t++) {
            const float *row = before + t * stride;
            double squares[2] = {0.0, 0.0};
            for (int32_t j = 0; j < q + k; j++)
                squares[j >= q] += (double)row[j] * (double)row[j];
            for (int32_t j = 0; j < q + k; j++)
                assert_near((double)n.x[t * stride + j],
                            (double)row[j] * (double)n.w[j] /
                                sqrt(squares[j >= q] / (j < q ? q : k) + (double)n.eps),
                            1e-6, 1e-30);
            assert_memory_equal(n.x + t * stride + q + k, row + q + k, (size_t)k * sizeof(float));
        }
        assert_memory_equal(n.x + T * stride, before + T * stride,
                            (size_t)((capacity - T) * stride) * sizeof(float));
        device_free_all();
    }
}

/* ---- q, k, v --------------------------------------------------------------------------------- */

static void rotate(double *head, const struct qkv *in, int32_t pos)
{
    int32_t n = in->rope_dim / 2;

    for (int32_t i = 0; i < n; i++) {
        int32_t a = in->rope == ROPE_PAIRS ? 2 * i : i, b = in->rope == ROPE_PAIRS ? a + 1 : a + n;
        double cosine = (double)in->rotation[(pos * n + i) * 2];
        double sine = (double)in->rotation[(pos * n + i) * 2 + 1], x = head[a], y = head[b];

        head[a] = x * cosine - y * sine;
        head[b] = x * sine + y * cosine;
    }
}

static void expect_head(double *out, const struct qkv *in, int32_t t, int32_t head, int32_t pos)
{
    int32_t D = in->kv.head_dim, n_heads = in->n_heads + 2 * in->kv.n_kv_heads;
    bool is_q = head < in->n_heads, is_v = head >= in->n_heads + in->kv.n_kv_heads;
    const float *norm = is_q ? in->q_norm : is_v ? NULL : in->k_norm;
    double squares = 0.0;

    for (int32_t d = 0; d < D; d++) {
        out[d] = (double)in->qkv[(t * n_heads + head) * D + d];
        out[d] += in->bias ? (double)in->bias[head * D + d] : 0.0;
        squares += out[d] * out[d];
    }
    for (int32_t d = 0; norm && d < D; d++)
        out[d] *= (double)norm[d] / sqrt(squares / D + (double)in->eps);
    if (!is_v)
        rotate(out, in, pos);
    for (int32_t d = 0; is_q && d < D; d++)
        out[d] *= (double)in->q_scale;
}

/* The element of the pool that holds a key or value. */
static double kv_number(const struct kv_layer *kv, int32_t block, int32_t of, int32_t pos,
                        int32_t d)
{
    int64_t plane = (int64_t)block * 2 * kv->n_kv_heads + of; /* of: keys' heads, then values' */
    int64_t at = (plane * SPECD_BLOCK_TOKENS + pos % SPECD_BLOCK_TOKENS) * kv->head_dim + d;

    if (kv->type == KV_F32)
        return (double)((const float *)kv->blocks)[at];
    if (kv->type == KV_FP8)
        return e4m3_number(((const uint8_t *)kv->blocks)[at]);
    return (double)bf16_number(((const uint16_t *)kv->blocks)[at]);
}

static void check_qkv(const struct qkv *in, const struct device_state *s, const struct pass *p,
                      int32_t T)
{
    int32_t D = in->kv.head_dim, n_heads = in->n_heads + 2 * in->kv.n_kv_heads;
    double expect[ATTENTION_DIM_MAX];

    for (int32_t t = 0; t < T; t++) {
        struct pass_row row = p->rows[t];
        int32_t block = s->slots[row.slot].blocks[row.pos / SPECD_BLOCK_TOKENS];

        for (int32_t h = 0; h < n_heads; h++) {
            expect_head(expect, in, t, h, row.pos);
            for (int32_t d = 0; d < D; d++) {
                bool is_q = h < in->n_heads;
                double got = is_q ? (double)bf16_number(in->q[(t * in->n_heads + h) * D + d])
                                  : kv_number(&in->kv, block, h - in->n_heads, row.pos, d);

                if (!is_q && in->kv.type == KV_FP8)
                    assert_near(got, expect[d], 0x1.001p-4, 0x1.001p-10);
                else
                    assert_near(got, expect[d],
                                is_q || in->kv.type == KV_BF16 ? BF16_ERROR : 0x1p-20, 2e-6);
            }
        }
    }
}

static struct qkv qkv_make(int32_t D, int32_t group, int32_t n_kv, int32_t capacity)
{
    static const enum kv_type types[] = {KV_BF16, KV_F32, KV_FP8};
    size_t width = (size_t)((group + 2) * n_kv * D);
    int32_t rope_dim = (int32_t[]){0, D / 4 * 2, D}[rand() % 3];
    float inv_freq[ATTENTION_DIM_MAX / 2], *table;

    for (int32_t i = 0; i < rope_dim / 2; i++)
        inv_freq[i] = powf(10000.0f, -2.0f * (float)i / (float)rope_dim);
    table = device_take((size_t)(CTX * rope_dim) * sizeof(float));
    rope_table(table, inv_freq, 1.0f, rope_dim, 0, CTX);
    return (struct qkv){
        .qkv = floats_make(width * (size_t)capacity, 2.0f),
        .bias = rand() % 2 ? floats_make(width, 1.0f) : NULL,
        .q_norm = rand() % 2 ? floats_make((size_t)D, 1.0f) : NULL,
        .k_norm = rand() % 2 ? floats_make((size_t)D, 1.0f) : NULL,
        .eps = 1e-6f,
        .rotation = table,
        .rope = rand() % 2 ? ROPE_PAIRS : ROPE_HALVES,
        .rope_dim = rope_dim,
        .q_scale = rand() % 2 ? 1.0f / sqrtf((float)D) : 0.3f,
        .q = poison_make((size_t)(capacity * group * n_kv * D) * 2),
        .kv = {.type = types[rand() % (D % 16 == 0 ? 3 : 2)], .n_kv_heads = n_kv, .head_dim = D},
        .n_heads = group * n_kv,
    };
}

/* Bytes of the pool that are not poison: those of T rows, if rows are all that is written. */
static void check_pool_written(const struct kv_layer *kv, size_t bytes, int32_t T)
{
    size_t row = kv_layer_block_bytes(kv) / SPECD_BLOCK_TOKENS, written = 0;

    for (size_t i = 0; i < bytes; i++)
        written += ((const unsigned char *)kv->blocks)[i] != POISON;
    assert_true(written <= row * (size_t)T); /* a written byte may be that of the poison */
}

static void test_qkv(void **state)
{
    static const int32_t dims[] = {8, 64, 80, 96, 128, 256};

    (void)state;
    for (size_t i = 0; i < 8 * COUNT_OF(dims); i++) {
        int32_t T = 1 + rand() % 4, capacity = T + rand() % 3;
        struct device_state s = slots_make(T);
        struct pass p = pass_of(&s, T, capacity);
        struct qkv in = qkv_make(dims[i / 8], 1 + rand() % 8, 1 + rand() % 3, capacity);
        size_t bytes = kv_layer_block_bytes(&in.kv) * (size_t)s.n_blocks;
        size_t q_row = (size_t)(in.n_heads * in.kv.head_dim);

        in.kv.blocks = poison_make(bytes);
        assert_int_equal(launch_qkv(&in, &s, &p, capacity, NULL), 0);
        sync();
        check_qkv(&in, &s, &p, T);
        check_pool_written(&in.kv, bytes, T);
        assert_untouched(in.q + (size_t)T * q_row, (size_t)(capacity - T) * q_row * 2);

        /* The last row alone. */
        struct qkv one = in;
        struct pass alone = pass_of(&s, 1, 1);
        alone.rows[0] = p.rows[T - 1];
        one.qkv += (size_t)(T - 1) * (q_row + 2 * (size_t)(in.kv.n_kv_heads * in.kv.head_dim));
        one.q = poison_make(q_row * 2);
        void *before = again(in.kv.blocks, bytes);
        assert_int_equal(launch_qkv(&one, &s, &alone, 1, NULL), 0);
        sync();
        assert_memory_equal(one.q, in.q + (size_t)(T - 1) * q_row, q_row * 2);
        assert_memory_equal(before, in.kv.blocks, bytes);
        device_free_all();
    }
}

/* What is next to the codes, between two of them and next to that, and beyond them all. */
static float edge_number(int i)
{
    static const float beyond[] = {449.0f, 464.0f, 480.0f, 1e30f, 3.4e38f, 1e-30f, INFINITY, NAN};
    int code = i / 4 % 127;
    float x = (float)e4m3_number((uint8_t)code), next = (float)e4m3_number((uint8_t)(code + 1));
    float middle = (x + next) / 2.0f;

    if (code >= 126)
        x = beyond[i / 508 * 4 % 8 + i % 4];
    else
        x = i % 4 == 0   ? x
            : i % 4 == 1 ? middle
            : i % 4 == 2 ? nextafterf(middle, 0.0f)
                         : nextafterf(middle, 500.0f);
    return i / 1016 % 2 ? -x : x;
}

/* Values that come as they are: e4m3 to nearest, and faults still to be seen. */
static void test_fp8_codes(void **state)
{
    struct device_state s = slots_make(1);
    struct pass p = pass_of(&s, 1, 1);
    struct qkv in = qkv_make(256, 1, 8, 1);
    float *values = (float *)(uintptr_t)in.qkv + (size_t)16 * 256;

    (void)state;
    in.kv.type = KV_FP8;
    in.bias = NULL;
    in.kv.blocks = poison_make(kv_layer_block_bytes(&in.kv) * (size_t)s.n_blocks);
    for (int i = 0; i < 2048; i++)
        values[i] = edge_number(i);
    assert_int_equal(launch_qkv(&in, &s, &p, 1, NULL), 0);
    sync();
    int32_t block = s.slots[0].blocks[p.rows[0].pos / SPECD_BLOCK_TOKENS];
    for (int i = 0; i < 2048; i++) {
        double want = e4m3_number(e4m3_code((double)values[i]));
        double got = kv_number(&in.kv, block, 8 + i / 256, p.rows[0].pos, i % 256);

        if (isnan(want) ? !isnan(got) : got != want || signbit(got) != signbit(want))
            fail_msg("%a: %g, not %g", (double)values[i], got, want);
    }
    in.kv.head_dim = 72;
    in.rope_dim = 64;
    assert_int_equal(launch_qkv(&in, &s, &p, 1, NULL), SPECD_EINVAL);
    device_free_all();
}

static void test_rope_table(void **state)
{
    const float inv_freq[3] = {1.0f, 0.1f, 0.001f}, magnitude = 1.3f;
    float table[5 * 6];

    (void)state;
    rope_table(table, inv_freq, magnitude, 6, 100000, 5);
    for (int pos = 0; pos < 5; pos++) {
        for (int i = 0; i < 3; i++) {
            double angle = (double)(100000 + pos) * (double)inv_freq[i];

            assert_true(table[pos * 6 + 2 * i] == (float)(cos(angle) * (double)magnitude));
            assert_true(table[pos * 6 + 2 * i + 1] == (float)(sin(angle) * (double)magnitude));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embed),      cmocka_unit_test(test_norm),
        cmocka_unit_test(test_norm_bits),  cmocka_unit_test(test_logit_norm),
        cmocka_unit_test(test_wide_norms), cmocka_unit_test(test_qkv),
        cmocka_unit_test(test_rope_table), cmocka_unit_test(test_fp8_codes),
    };
    return seeded_run(tests);
}
