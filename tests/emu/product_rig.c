#include "product_rig.h"

#include "rig.h"

#include "specd/quant.h"
#include "specd/util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

float bf16_value(uint16_t bits)
{
    return bf16_to_f32(bits);
}

double product_gated(enum product_end end, double gate)
{
    double u = sqrt(2 / M_PI) * (gate + 0.044715 * gate * gate * gate);

    return end == PRODUCT_SILU_MUL ? gate / (1 + exp(-gate)) : gate / 2 * (1 + tanh(u));
}

static float random_float(void)
{
    return (float)(rand() % 20001 - 10000) * 1e-4f;
}

/* ---- a file's rows --------------------------------------------------------------------------- */

static void put16(uint8_t *at, uint16_t v)
{
    memcpy(at, &v, sizeof(v));
}

/* e4m3 numbers times a power of two, the largest there is among them: the scale comes out as that
 * power. */
static void row_of_fp8(float *row, int32_t k)
{
    float scale = ldexpf(1, -rand() % 8 - 4);

    for (int32_t i = 0; i < k; i++) {
        int e = rand() % 16, m = rand() % 8;
        if (e == 15 && m == 7)
            m = 6; /* NaN's place */
        row[i] = e == 0 ? ldexpf((float)m, -9) : ldexpf((float)(8 + m), e - 10);
        row[i] *= rand() % 2 ? scale : -scale;
    }
    row[rand() % k] = 448 * scale;
}

static void row_make(enum product_type type, enum dtype file, uint8_t *row, int32_t k)
{
    size_t bytes = dtype_row_bytes(file, (size_t)k);
    size_t d_at = file == DT_Q3_K ? 108 : file == DT_Q2_K ? 80 : 0;

    if (type == PRODUCT_FP8 && file == DT_F32) {
        row_of_fp8((float *)row, k);
        return;
    }
    if (file == DT_BF16 || file == DT_F32) {
        for (int32_t i = 0; i < k; i++) {
            uint16_t h = bf16_from_f32(random_float());
            float f = bf16_to_f32(h);
            memcpy(row + (size_t)i * (size_t)dtype_bytes(file),
                   file == DT_F32 ? (void *)&f : (void *)&h, (size_t)dtype_bytes(file));
        }
        return;
    }
    for (size_t i = 0; i < bytes; i++)
        row[i] = (uint8_t)(rand() >> 7);
    for (size_t at = 0; at < bytes; at += (size_t)dtype_bytes(file)) {
        if (dtype_is_f8(file)) { /* no NaN */
            float scale = file == DT_F8 ? 0.01f + 1e-6f * (float)(rand() % 1000) : 0x3p-8f;
            memcpy(row + at, &scale, sizeof(scale));
            for (size_t i = 4; i < 36; i++)
                row[at + i] &= (row[at + i] & 0x7f) == 0x7f ? 0x80 : 0xff;
        } else if (file == DT_NVFP4) {
            for (size_t i = 0; i < 4; i++)
                row[at + i] = rand() % 8 ? (uint8_t)(rand() % 64) : 0x7f;
        } else if (file == DT_MXFP4)
            row[at] = (uint8_t)(120 + rand() % 8);
        else
            put16(row + at + d_at, f16_from_f32(random_float() * 0.1f));
        if (file == DT_Q4_1 || file == DT_Q4_K || file == DT_Q2_K)
            put16(row + at + d_at + 2, f16_from_f32(random_float() * 0.5f));
    }
}

/* |d q| + |m|. */
static void sizes_of(enum dtype file, const uint8_t *row, int32_t k, float *out)
{
    for (int32_t i = 0; i < k; i += RUN) {
        struct quant_run r;
        quant_unpack(file, row, (size_t)(i / RUN), &r);
        float d = fabsf(f16_to_f32(r.d)), m = fabsf(f16_to_f32(r.m)), values[RUN];
        quant_values(file, &r, values);
        for (int j = 0; j < RUN; j++) {
            if (file == DT_Q4_K || file == DT_Q2_K)
                out[i + j] = d * (float)(r.scale[j / 16] * r.q[j]) + m * (float)r.min[j / 16];
            else if (file == DT_Q4_1)
                out[i + j] = d * (float)r.q[j] + m;
            else
                out[i + j] = fabsf(values[j]);
        }
    }
}

/* ---- matrices -------------------------------------------------------------------------------- */

/* In two calls, as two threads would. */
static void pack(struct product_matrix *m, const uint8_t *rows, size_t row_bytes,
                 const float *scale)
{
    void *packed = xaligned(64, m->plan.bytes);
    int32_t border = m->n / 32 * 16;

    memset(packed, 0xa5, m->plan.bytes);
    product_pack_start(&m->plan, packed);
    for (int half = 0; half < m->halves; half++) {
        const uint8_t *of = rows + (size_t)half * (size_t)m->n * row_bytes;
        product_pack(&m->plan, packed, (enum product_half)half, of + (size_t)border * row_bytes,
                     m->file, row_bytes, scale[half], border, m->n - border);
        product_pack(&m->plan, packed, (enum product_half)half, of, m->file, row_bytes, scale[half],
                     0, border);
    }
    m->device = device_copy(packed, m->plan.bytes);
    free(packed);
}

/* scale: of each half. */
static void make_scaled(struct product_matrix *m, enum product_type type, enum dtype file,
                        bool paired, int32_t n, int32_t k, const void *rows, const float scale[2])
{
    size_t row_bytes = dtype_row_bytes(file, (size_t)k);
    size_t all;

    *m = (struct product_matrix){.file = file, .n = n, .k = k, .halves = paired ? 2 : 1};
    assert_int_equal(product_plan_of(&m->plan, type, paired, n, k), 0);
    assert_true(product_packs(type, file));
    if (scale[0] != 1.0f || scale[1] != 1.0f)
        product_plan_scale(&m->plan);
    all = (size_t)(m->halves * n);
    m->values = xcalloc(all * (size_t)k, sizeof(float));
    m->sizes = xcalloc(all * (size_t)k, sizeof(float));
    for (size_t i = 0; i < all; i++) {
        const uint8_t *row = (const uint8_t *)rows + i * row_bytes;
        float *v = m->values + i * (size_t)k, *s = m->sizes + i * (size_t)k;
        quant_decode(file, row, (size_t)k, v);
        if (dtype_is_quantised(file))
            sizes_of(file, row, k, s);
        for (int32_t j = 0; j < k && !dtype_is_quantised(file); j++)
            s[j] = fabsf(v[j]);
        for (int32_t j = 0; j < k; j++) {
            v[j] *= scale[i / (size_t)n];
            s[j] *= fabsf(scale[i / (size_t)n]);
        }
    }
    pack(m, rows, row_bytes, scale);
}

void matrix_make_from(struct product_matrix *m, enum product_type type, enum dtype file,
                      bool paired, int32_t n, int32_t k, const void *rows)
{
    make_scaled(m, type, file, paired, n, k, rows, (const float[]){1, 1});
}

/* Of four bits, so that a channel's scale times it is exact. */
static float random_scale(void)
{
    return ldexpf((float)(8 + rand() % 8), -rand() % 8) * (rand() % 4 ? 1.0f : -1.0f);
}

void matrix_make(struct product_matrix *m, enum product_type type, enum dtype file, bool paired,
                 int32_t n, int32_t k)
{
    size_t row_bytes = dtype_row_bytes(file, (size_t)k), all = (size_t)(paired ? 2 * n : n);
    uint8_t *rows = xaligned(16, all * row_bytes);

    for (size_t i = 0; i < all; i++)
        row_make(type, file, rows + i * row_bytes, k);
    bool scaled = rand() % 2;
    const float scale[] = {scaled ? random_scale() : 1, scaled && paired ? random_scale() : 1};
    make_scaled(m, type, file, paired, n, k, rows, scale);
    free(rows);
}

void matrix_free(struct product_matrix *m)
{
    free(m->values);
    free(m->sizes);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void rows_start(struct product_rows *r, int32_t n, int32_t capacity, int32_t k)
{
    *r = (struct product_rows){.n = n, .capacity = capacity, .k = k};
    r->stride = (k + 7) / 8 * 8 + 8 * (rand() % 3);
    r->host = xcalloc((size_t)(capacity * r->stride), sizeof(uint16_t));
    for (int32_t i = 0; i < capacity * r->stride; i++)
        r->host[i] = 0x7fff; /* NaN */
    r->n_device = device_copy(&n, sizeof(n));
}

void rows_upload(struct product_rows *r)
{
    r->device = device_copy(r->host, (size_t)(r->capacity * r->stride) * sizeof(uint16_t));
}

void rows_make(struct product_rows *r, int32_t n, int32_t capacity, int32_t k)
{
    rows_start(r, n, capacity, k);
    for (int32_t i = 0; i < n; i++) {
        for (int32_t j = 0; j < k; j++)
            r->host[i * r->stride + j] = bf16_from_f32(random_float() * (float)(1 + i % 3));
    }
    rows_upload(r);
}

void rows_pick(struct product_rows *r, const struct product_rows *of, const int32_t *from,
               int32_t n, int32_t capacity)
{
    rows_start(r, n, capacity, of->k);
    for (int32_t i = 0; i < n; i++)
        memcpy(r->host + i * r->stride, of->host + from[i] * of->stride,
               (size_t)of->k * sizeof(uint16_t));
    rows_upload(r);
}

void rows_free(struct product_rows *r)
{
    free(r->host);
}

/* ---- running --------------------------------------------------------------------------------- */

struct product_machine machine_random(void)
{
    static const struct product_machine machines[] = {
        {132, 232448, 233472, true},  /* H100 */
        {108, 166912, 167936, false}, /* A100 */
        {4, 232448, 233472, true},
    };

    return machines[rand() % 3];
}

struct product_tiling tiling_random(const struct product_plan *p, int capacity)
{
    static const int shapes[][2] = {{1, 1}, {2, 1}, {2, 2}, {2, 4}, {2, 8}, {1, 16}};
    struct product_machine m = machine_random();
    struct product_tiling t = product_tiling_of(p, capacity, &m);
    int s = rand() % 6, tiles;

    t.weight_tiles = shapes[s][0];
    t.row_tiles = shapes[s][1];
    t.slice_warps = rand() % 3 ? p->slices : 1;
    t.team = 1;
    while (t.slice_warps > 1 && rand() % 2) {
        t.slice_warps /= 2;
        t.team *= 2;
    }
    t.channel_warps = PRODUCT_WARPS / t.slice_warps;
    t.stages = 2 + rand() % (PRODUCT_STAGES_MAX - 1);
    t.prefetch = rand() % 2 ? rand() % 20 : 0;
    tiles = t.weight_tiles * t.channel_warps;
    t.channel_blocks = (p->tiles + tiles - 1) / tiles;
    t.row_blocks = (capacity + 8 * t.row_tiles - 1) / (8 * t.row_tiles);
    t.shared = 0;
    while (t.stages >= 2) {
        t.shared = product_shared_bytes(p, &t);
        if (t.shared <= 232448)
            return t;
        t.stages--;
    }
    return product_tiling_of(p, capacity, &m);
}

#define MARK 0xb5

/* What lies beyond the rows and the channels is as it was. */
static void check_untouched(const uint8_t *out, const struct product_rows *r, int32_t n,
                            int32_t stride, size_t size)
{
    for (int32_t i = 0; i < r->capacity; i++) {
        for (int32_t j = i < r->n ? n : 0; j < stride; j++) {
            for (size_t b = 0; b < size; b++)
                assert_int_equal(out[((size_t)i * (size_t)stride + (size_t)j) * size + b], MARK);
        }
    }
}

static uint8_t *out_make(const struct product_rows *r, int32_t n, int32_t stride, size_t bytes,
                         bool add)
{
    uint8_t *out = xmalloc(bytes);

    memset(out, MARK, bytes);
    for (int32_t i = 0; add && i < r->n * n; i++) {
        float v = (float)(i + 1);
        memcpy(out + (size_t)(i / n * stride + i % n) * sizeof(v), &v, sizeof(v));
    }
    return out;
}

float product_mark(void)
{
    float mark;

    memset(&mark, MARK, sizeof(mark));
    return mark;
}

size_t product_bias_floats(const struct product_matrix *m)
{
    return (size_t)m->n * (m->plan.paired ? 2 : 1);
}

float *product_bias(const struct product_matrix *m)
{
    size_t n = product_bias_floats(m);
    float *bias = xcalloc(n, sizeof(float));

    for (size_t i = 0; i < n; i++)
        bias[i] = (float)(rand() % 100);
    return bias;
}

void product_run(const struct product_matrix *m, const struct product_rows *r,
                 const struct product_plan *plan, const struct product_tiling *t,
                 enum product_end end, const float *bias, float *out)
{
    product_run_part(m, r, plan, t, end, bias, NULL, out);
}

void product_run_part(const struct product_matrix *m, const struct product_rows *r,
                      const struct product_plan *plan, const struct product_tiling *t,
                      enum product_end end, const float *bias, const uint8_t *wanted, float *out)
{
    bool narrow = product_end_is_paired(end);
    size_t size = narrow ? sizeof(uint16_t) : sizeof(float);
    int32_t stride = m->n + rand() % 4;
    size_t bytes = (size_t)(r->capacity * stride) * size;
    uint8_t *host = out_make(r, m->n, stride, bytes, end == PRODUCT_ADD);
    struct product_call call = {
        .plan = plan,
        .weights = m->device,
        .x = r->device,
        .x_stride = r->stride,
        .n_rows = r->n_device,
        .end = end,
        .out = device_copy(host, bytes),
        .out_stride = stride,
        .bias = bias ? device_copy(bias, product_bias_floats(m) * sizeof(float)) : NULL,
        .wanted = wanted ? device_copy(wanted, (size_t)plan->tiles) : NULL,
    };

    assert_int_equal(launch_product(&call, t, NULL), 0);
    device_read(host, call.out, bytes);
    check_untouched(host, r, m->n, stride, size);
    for (int32_t i = 0; i < r->n * m->n; i++) {
        const uint8_t *at = host + (size_t)(i / m->n * stride + i % m->n) * size;
        uint16_t h;
        memcpy(narrow ? (void *)&h : (void *)&out[i], at, size);
        if (narrow)
            out[i] = bf16_to_f32(h);
    }
    free(host);
}
