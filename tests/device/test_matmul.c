/*
 * The CPU device's matrix product.
 *
 * links: device_tests
 *
 * Three judges. Bits: kernels of every instruction set, numbers of rows and of threads, neighbours
 * in a stage. A model of kernel.h's order written here from its table, with a quantiser of its own:
 * every output has its bits, and not those of a model with a planted fault (blocks summed in the
 * wrong order, sums that saturate). And double precision: the distance to sum of w x is within what
 * rounding x to its scale and each sum to a float can make.
 */
#include "tensors.h"

#include "specd/quant.h"
#include "specd/util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define T_MAX 70
static float hot_above = 6; /* times the row's root mean square */

static const enum dtype integers[] = {INTEGER_TYPES};
static const enum dtype kinds[] = {INTEGER_TYPES, F8_TYPES, FLOAT_TYPES};

struct product {
    int rows, cols, x_stride, y_stride;
    float *x, *bias;
    struct tensor t;
    struct weight w;
};

/* x: (T_MAX, cols), of every kind that a row can be: most about normal, with single values that
 * stand out and make their run hot. NaN where nothing may be read. */
static void fill_rows(struct product *p)
{
    for (int i = 0; i < T_MAX * p->x_stride; i++)
        p->x[i] = i % p->x_stride < p->cols ? random_float() : NAN;
    for (int t = 0; t < T_MAX; t++) {
        float *x = p->x + (ptrdiff_t)t * p->x_stride;
        for (int i = 0; i < t % 4; i++)
            x[(size_t)(random_byte() * 256 + random_byte()) % (size_t)p->cols] *= 40;
        for (int c = 0; c < p->cols && t % 9 == 0; c++)
            x[c] *= t % 2 ? 1e3f : 0x1p-60f;
    }
}

static struct product product_of(struct tensor t)
{
    struct product p = {.rows = (int)t.rows, .cols = (int)t.cols, .t = t};
    p.x_stride = (p.cols + 8 + 7) / 8 * 8;
    p.y_stride = p.rows + 3;
    p.w = weight_make(&p.t, WEIGHT_NATIVE);
    p.w.scale = random_byte() % 2 ? 1 : random_float() * 30;
    p.x = xaligned(64, (size_t)(T_MAX * p.x_stride) * sizeof(*p.x));
    fill_rows(&p);
    p.bias = xmalloc(t.rows * sizeof(*p.bias));
    for (uint32_t r = 0; r < t.rows; r++)
        p.bias[r] = random_float();
    return p;
}

static struct product product_make(enum dtype type, uint32_t rows, uint32_t cols)
{
    return product_of(tensor_make(type, rows, cols));
}

static void product_free(struct product *p)
{
    tensor_free(&p->t);
    free(p->w.data);
    free(p->x);
    free(p->bias);
}

/* Rows t0 .. t0 + T of the product; what matmul must not touch stays 12345. */
static float *multiply(const struct product *p, struct pool *pool, int t0, int T,
                       enum activations kind)
{
    size_t n = (size_t)(T * p->y_stride);
    float *y = xmalloc(n * sizeof(*y));
    for (size_t i = 0; i < n; i++)
        y[i] = 12345;
    struct arena count = {0}, arena = {0};
    struct qrows q;
    struct matmul_input in = {
        p->x + (ptrdiff_t)t0 * p->x_stride, p->x_stride, T, p->cols, NULL, NULL, NULL, false};
    struct matmul_job job = {&p->w, p->bias, y, p->y_stride, false};
    if (kind == ACTIVATIONS_INT8 && dtype_is_quantised(p->w.type)) {
        qrows_layout(&q, T, p->cols, &count);
        assert_int_equal(arena_open(&arena, count.used), 0);
        qrows_layout(&q, T, p->cols, &arena);
        q.hot = hot_above;
        in.q = &q;
    }
    matmul(pool, &job, 1, &in);
    arena_close(&arena);
    for (size_t i = 0; i < n; i++)
        if (i % (size_t)p->y_stride >= (size_t)p->rows)
            assert_true(y[i] == 12345);
    return y;
}

static bool same_row(const struct product *p, const float *a, const float *b)
{
    return memcmp(a, b, (size_t)p->rows * sizeof(*a)) == 0;
}

static void check_same(const struct product *p, const float *a, const float *b, int T,
                       const char *what)
{
    for (int t = 0; t < T; t++)
        if (!same_row(p, a + (ptrdiff_t)t * p->y_stride, b + (ptrdiff_t)t * p->y_stride))
            fail_msg("%s %dx%d row %d of %d: %s (%s)", dtype_name(p->w.type), p->rows, p->cols, t,
                     T, what, isa_name(cpu_isa()));
}

/* ---- a model of the order -------------------------------------------------------------------- */

enum fault { FAULT_NONE, FAULT_ORDER, FAULT_SATURATION };

/* One run of a row, quantised by the definition in qrows.h. */
struct model_run {
    int x[RUN];
    float scale;
    bool hot;
};

/* Eight sums, joined by halves: the root mean square of the row as the device takes it. */
static float row_rms(const float *x, int n)
{
    float s[8] = {0};
    for (int i = 0; i < n; i++)
        s[i % 8] = fmaf(x[i], x[i], s[i % 8]);
    float sum = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
    return sqrtf(sum / (float)n);
}

static struct model_run model_quantise(const float *x, float rms)
{
    struct model_run r = {.scale = 0};
    float a = 0;
    for (int i = 0; i < RUN; i++) {
        if (!isfinite(x[i])) {
            r.scale = NAN;
            return r;
        }
        a = fmaxf(a, fabsf(x[i]));
    }
    if (a < 0x1p-100f)
        return r;
    r.hot = a > hot_above * rms;
    float steps = r.hot ? 16129 : 127, inv = steps / a;
    r.scale = a / steps;
    for (int i = 0; i < RUN; i++)
        r.x[i] = (int)nearbyintf(x[i] * inv);
    return r;
}

/* What kernel.h's table says of a type. */
struct model_type {
    int offset;          /* what unsigned weights are above what they stand for */
    const int8_t *table; /* what codes stand for */
    bool halves;         /* scales, and minima, of 16 columns */
    bool blocks;         /* that are summed up before d */
    bool scaled, signed_scale, with_min, powers, e4m3;
};

static struct model_type model_type(enum dtype t)
{
    static const int8_t iq4[] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                 1,    13,   25,  38,  53,  69,  89,  113};
    static const int8_t fp4[] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    switch (t) {
    case DT_Q8_0:
        return (struct model_type){.offset = 128};
    case DT_Q4_0:
        return (struct model_type){.offset = 8};
    case DT_Q5_0:
        return (struct model_type){.offset = 16};
    case DT_Q4_1:
    case DT_Q5_1:
        return (struct model_type){.with_min = true};
    case DT_Q2_K:
        return (struct model_type){.halves = true, .scaled = true, .with_min = true};
    case DT_Q4_K:
    case DT_Q5_K:
        return (struct model_type){.scaled = true, .with_min = true};
    case DT_Q3_K:
    case DT_Q6_K:
        return (struct model_type){.offset = 32, .halves = true, .blocks = true};
    case DT_IQ4_NL:
        return (struct model_type){.offset = 128, .table = iq4};
    case DT_IQ4_XS:
        return (struct model_type){
            .offset = 128, .table = iq4, .scaled = true, .signed_scale = true};
    case DT_MXFP4:
        return (struct model_type){.offset = 128, .table = fp4, .powers = true};
    case DT_NVFP4:
        return (struct model_type){.offset = 32, .table = fp4, .e4m3 = true};
    default:
        fail_msg("%s is not in the model", dtype_name(t));
        return (struct model_type){.offset = 0};
    }
}

/* What a weight stands for. */
static int model_integer(enum dtype t, int q)
{
    struct model_type type = model_type(t);
    return type.table ? type.table[q] : t == DT_Q8_0 ? q : t == DT_Q3_K ? q - 4 : q - type.offset;
}

/* sum of w x over columns first .. first + n. Saturation: as if unsigned weights were multiplied
 * and added up in 16 bits, and the offset taken off at the end. */
static int model_sum(enum dtype t, const struct quant_run *w, const struct model_run *x, int first,
                     int n, enum fault fault)
{
    int sum = 0, saturated = 0, total = 0, offset = model_type(t).offset;
    for (int c = first; c < first + n; c++) {
        int v = model_integer(t, w->q[c]);
        sum += v * x->x[c];
        saturated = MAX(-32768, MIN(32767, saturated + (v + offset) * x->x[c]));
        total += x->x[c];
    }
    return fault == FAULT_SATURATION ? saturated - offset * total : sum;
}

static float model_output(const struct product *p, const float *x, int channel, enum fault fault)
{
    enum dtype t = p->w.type;
    const struct model_type type = model_type(t);
    const int n = p->cols / RUN;
    const char *row = (const char *)p->t.data + (size_t)channel * dtype_row_bytes(t, p->t.cols);
    float f = 0, F = 0, rms = row_rms(x, p->cols);
    for (int i = 0; i < n; i++) {
        int run = fault == FAULT_ORDER ? n - 1 - i : i;
        struct quant_run w;
        struct model_run xs = model_quantise(x + run * RUN, rms);
        quant_unpack(t, row, (size_t)run, &w);
        float d = f16_to_f32(w.d), m = f16_to_f32(w.m);
        int sums[2], totals[2] = {0};
        for (int h = 0; h < 2; h++) {
            sums[h] = model_sum(t, &w, &xs, 16 * h, 16, fault);
            for (int c = 16 * h; c < 16 * h + 16; c++)
                totals[h] += xs.x[c];
        }
        int sum = sums[0] + sums[1], total = totals[0] + totals[1];
        if (type.halves) {
            sum = (int8_t)w.scale[0] * sums[0] + (int8_t)w.scale[1] * sums[1];
            total = w.min[0] * totals[0] + w.min[1] * totals[1];
        }
        for (int h = 0; h < 2 && type.e4m3; h++) {
            int e = w.scale[h] >> 3, fraction = w.scale[h] & 7;
            d = e == 0 ? ldexpf((float)fraction, -10) : ldexpf((float)(8 + fraction), e - 11);
            f = fmaf((float)sums[h] * xs.scale, d, f);
        }
        if (type.e4m3)
            continue;
        if (type.blocks) {
            F = fmaf((float)sum, xs.scale, F);
            if (i % 8 == 7) {
                f = fmaf(F, d, f);
                F = 0;
            }
            continue;
        }
        if (type.powers)
            d = ldexpf(1, w.scale[0] - 128);
        else if (type.scaled && !type.halves)
            d *= type.signed_scale ? (float)(int8_t)w.scale[0] : (float)w.scale[0];
        f = fmaf((float)sum * xs.scale, d, f);
        if (type.with_min && type.halves)
            f = fmaf(-(xs.scale * (float)total), m, f);
        else if (type.with_min)
            f = fmaf(type.scaled ? -(m * (float)w.min[0]) : m, xs.scale * (float)total, f);
    }
    return f * p->w.scale + p->bias[channel];
}

/* Rows t0 .. t0 + T against the model; returns how many outputs differ in their bits. */
static int model_differs(const struct product *p, const float *y, int t0, int T, enum fault fault)
{
    int n = 0;
    for (int t = 0; t < T; t++)
        for (int r = 0; r < p->rows; r++) {
            float f = model_output(p, p->x + (ptrdiff_t)(t0 + t) * p->x_stride, r, fault);
            const float *got = y + (ptrdiff_t)t * p->y_stride + r;
            n += memcmp(&f, got, sizeof(f)) != 0 && !(isnan(f) && isnan(*got));
        }
    return n;
}

/* ---- double precision ------------------------------------------------------------------------ */

/* Sizes of what is added for weight c of a row: with a minimum, of both parts. */
static void row_sizes(const struct product *p, int row, double *value, double *size)
{
    enum dtype t = p->w.type;
    const char *from = (const char *)p->t.data + (size_t)row * dtype_row_bytes(t, p->t.cols);
    float *v = xmalloc((size_t)p->cols * sizeof(*v));
    weight_row(&p->w, row, v);
    for (int c = 0; c < p->cols; c++) {
        value[c] = (double)v[c];
        size[c] = fabs(value[c]);
        if (!dtype_is_quantised(t))
            continue;
        struct quant_run r;
        quant_unpack(t, from, (size_t)(c / RUN), &r);
        double m = fabs((double)f16_to_f32(r.m) * (double)p->w.scale);
        size[c] += 2 * m * (double)MAX(MAX(r.min[0], r.min[1]), 1);
    }
    free(v);
}

/* |y - sum of w x|, w times the matrix's scale, is at most the sum of |w| times half a step of x (a
 * run's a / 127, a / 16129 in a hot one, plus what a / 127 itself is rounded by), and for each of
 * the sums' roundings, 2 to 4 a run, or one a column, and two of the scale, 2^-24 of the sum of all
 * sizes. */
static void check_values(const struct product *p, const float *y, int T, enum activations kind)
{
    double *value = xmalloc((size_t)p->cols * sizeof(double));
    double *size = xmalloc((size_t)p->cols * sizeof(double));
    bool rounds_x =
        kind == ACTIVATIONS_INT8 && dtype_is_quantised(p->w.type) && !dtype_is_f8(p->w.type);
    double roundings = rounds_x ? 4.0 * p->cols / RUN + 5 : p->cols + 3.0;
    for (int r = 0; r < p->rows; r++) {
        row_sizes(p, r, value, size);
        for (int t = 0; t < T; t++) {
            const float *x = p->x + (ptrdiff_t)t * p->x_stride;
            double sum = (double)p->bias[r], all = fabs(sum), step = 0, bound = 0;
            float rms = row_rms(x, p->cols);
            for (int c = 0; c < p->cols; c++) {
                if (rounds_x && c % RUN == 0) {
                    struct model_run run = model_quantise(x + c, rms);
                    step = (double)run.scale * (0.5 + 1e-2);
                }
                sum += value[c] * (double)x[c];
                all += size[c] * (fabs((double)x[c]) + step);
                bound += fabs(value[c]) * step;
            }
            bound += roundings * 0x1p-24 * all + 0x1p-120;
            double diff = fabs(sum - (double)y[(ptrdiff_t)t * p->y_stride + r]);
            if (!(diff <= bound))
                fail_msg("%s %dx%d row %d, output %d: off by %g, allowed %g", dtype_name(p->w.type),
                         p->rows, p->cols, t, r, diff, bound);
        }
    }
    free(value);
    free(size);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static const int some_T[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 16, 17, 33, 64, T_MAX};

/* By every instruction set: each T against the rows taken one by one, with 1, 2 and 3 threads. */
static void check_product(const struct product *p, struct pool *pools[3], enum activations kind)
{
    float *single = xmalloc((size_t)(T_MAX * p->y_stride) * sizeof(*single));
    cpu_limit(ISA_PORTABLE);
    for (int t = 0; t < T_MAX; t++) {
        float *y = multiply(p, pools[0], t, 1, kind);
        memcpy(single + (ptrdiff_t)t * p->y_stride, y, (size_t)p->y_stride * sizeof(*y));
        free(y);
    }
    check_values(p, single, T_MAX, kind);
    for (int isa = ISA_PORTABLE; isa < ISA_COUNT; isa++) {
        cpu_limit((enum isa)isa);
        for (size_t i = 0; i < COUNT_OF(some_T) && (int)cpu_isa() == isa; i++) {
            int T = some_T[isa == ISA_PORTABLE ? COUNT_OF(some_T) - 1 : i];
            float *y = multiply(p, pools[i % 3], 0, T, kind);
            check_same(p, y, single, T, "not as by itself in the portable kernel");
            free(y);
            if (isa == ISA_PORTABLE)
                break;
        }
    }
    free(single);
}

static void products_have_one_result(void **state)
{
    struct pool **pools = *state;
    static const uint32_t rows[] = {1, 37, 150};
    random_state = 4;
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        for (int which = 0; which < 2; which++)
            for (size_t r = 0; r < COUNT_OF(rows); r++) {
                if (which == 1 && rows[r] == 150)
                    continue;
                struct product p = product_make(kinds[i], rows[r], some_cols(kinds[i], which));
                check_product(&p, pools, ACTIVATIONS_INT8);
                product_free(&p);
            }
}

/* Any shape and number of rows, with 1 to 3 threads. */
static void random_products(void **state)
{
    struct pool **pools = *state;
    random_state = 11;
    for (int i = 0; i < 60; i++) {
        enum dtype type = kinds[random_byte() % COUNT_OF(kinds)];
        uint32_t unit = (uint32_t)dtype_block(type), rows = 1 + random_byte() % 90;
        struct product p = product_make(type, rows, unit * (1 + random_byte() % (600 / unit)));
        int first = random_byte() % 30, T = 1 + random_byte() % 40, isa = ISA_PORTABLE;
        cpu_limit(ISA_PORTABLE);
        float *plain = multiply(&p, pools[0], first, T, ACTIVATIONS_INT8);
        while (++isa < ISA_COUNT) {
            cpu_limit((enum isa)isa);
            float *y = multiply(&p, pools[random_byte() % 3], first, T, ACTIVATIONS_INT8);
            check_same(&p, y, plain, T, "not as in the portable kernel");
            free(y);
        }
        free(plain);
        product_free(&p);
    }
}

/* With float activations a type's bits are those of the same values kept as f32. */
static void float_activations_are_exact(void **state)
{
    static const enum dtype types[] = {INTEGER_TYPES, F8_TYPES};
    struct pool **pools = *state;
    random_state = 5;
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        struct product p = product_make(types[i], 37, some_cols(types[i], 1));
        check_product(&p, pools, ACTIVATIONS_F32);
        float *y = multiply(&p, pools[0], 0, T_MAX, ACTIVATIONS_F32);
        float scale = p.w.scale;
        free(p.w.data);
        p.w = weight_make(&p.t, WEIGHT_F32);
        p.w.scale = scale;
        float *wide = multiply(&p, pools[0], 0, T_MAX, ACTIVATIONS_INT8);
        check_same(&p, y, wide, T_MAX, "not as weights kept in f32");
        free(y);
        free(wide);
        product_free(&p);
    }
}

static void keeps_the_order(void **state)
{
    struct pool **pools = *state;
    random_state = 6;
    for (size_t i = 0; i < COUNT_OF(integers); i++) {
        struct product p = product_make(integers[i], 33, some_cols(integers[i], 1));
        float *y = multiply(&p, pools[1], 0, 12, ACTIVATIONS_INT8);
        assert_int_equal(model_differs(&p, y, 0, 12, FAULT_NONE), 0);
        assert_true(model_differs(&p, y, 0, 12, FAULT_ORDER) > 12 * 33 / 4);
        free(y);
        product_free(&p);
    }
}

/* More runs are hot in models that want it: the same products by the same order. */
static void finer_rows(void **state)
{
    struct pool **pools = *state;
    random_state = 16;
    for (size_t i = 0; i < COUNT_OF(integers); i++) {
        struct product p = product_make(integers[i], 33, some_cols(integers[i], 1));
        hot_above = 1.5f;
        float *y = multiply(&p, pools[1], 0, 12, ACTIVATIONS_INT8);
        assert_int_equal(model_differs(&p, y, 0, 12, FAULT_NONE), 0);
        check_values(&p, y, 12, ACTIVATIONS_INT8);
        hot_above = 6;
        assert_true(model_differs(&p, y, 0, 12, FAULT_NONE) > 0);
        free(y);
        product_free(&p);
    }
}

/* All bits of all weights set, signed ones at both ends, against activations that are all at the
 * end of their range: the largest sums there are. */
static struct product extreme_product(enum dtype type, uint8_t bytes, float sign)
{
    struct tensor t = tensor_make(type, 16, 256);
    uint8_t *data = (uint8_t *)(uintptr_t)t.data;
    size_t block = (size_t)dtype_bytes(type), n = dtype_row_bytes(type, 256) * 16 / block;
    for (size_t b = 0; b < n; b++) {
        int at[2], n_scales = scale_offsets(type, at);
        memset(data + b * block, bytes, block);
        for (int i = 0; i < n_scales; i++)
            memcpy(data + b * block + at[i], &(uint16_t){0x2101}, 2);
        if (type == DT_MXFP4)
            data[b * block] = 120;
    }
    struct product p = product_of(t);
    for (int r = 0; r < T_MAX; r++)
        for (int c = 0; c < p.cols; c++)
            p.x[r * p.x_stride + c] = r % 3 == 2       ? (c % 32 ? 0 : sign)
                                      : r % 3 && c % 2 ? -sign
                                                       : sign;
    /* hot runs: one run of ends in a row that is zero otherwise */
    for (int c = 0; c < p.cols; c++)
        p.x[c] = c < RUN ? sign : 0;
    return p;
}

static void nothing_saturates(void **state)
{
    struct pool **pools = *state;
    static const uint8_t patterns[] = {0xFF, 0x00, 0x7F, 0x80, 0x81};
    random_state = 7;
    for (size_t i = 0; i < COUNT_OF(integers); i++) {
        /* the fault sums halves of runs: 16 * 15 * 127 = 30480 is all that 4 bits can come to */
        bool fits = integers[i] == DT_Q4_0 || integers[i] == DT_Q4_1 || integers[i] == DT_Q4_K ||
                    integers[i] == DT_Q2_K;
        int caught = 0;
        for (size_t b = 0; b < 2 * COUNT_OF(patterns); b++) {
            struct product p = extreme_product(integers[i], patterns[b / 2], b % 2 ? -3.7f : 3.7f);
            check_product(&p, pools, ACTIVATIONS_INT8);
            float *y = multiply(&p, pools[0], 0, 12, ACTIVATIONS_INT8);
            assert_int_equal(model_differs(&p, y, 0, 12, FAULT_NONE), 0);
            caught += model_differs(&p, y, 0, 12, FAULT_SATURATION) > 0;
            free(y);
            product_free(&p);
        }
        assert_true(fits ? caught == 0 : caught > 0);
    }
}

/* Rows that are zero, tiny, huge or not numbers change no bit of the others, and what they become
 * is what it should be. */
static void strange_rows_keep_to_themselves(void **state)
{
    struct pool **pools = *state;
    random_state = 8;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct product p = product_make(kinds[i], 37, 1024);
        float *before = multiply(&p, pools[0], 0, 20, ACTIVATIONS_INT8);
        float *row[8];
        for (int r = 0; r < 8; r++)
            row[r] = p.x + (ptrdiff_t)(2 * r + 1) * p.x_stride;
        row[0][700] = NAN;
        row[1][3] = INFINITY;
        row[2][1023] = -INFINITY;
        memset(row[3], 0, (size_t)p.cols * sizeof(float));
        for (int c = 0; c < p.cols; c++) {
            row[4][c] = c == 500 ? 1e30f : 0;
            row[5][c] *= 0x1p-140f; /* denormal */
            row[6][c] = c % RUN ? 0x1p-101f : 0x1p-99f;
            row[7][c] = float_of_bits(0x7F7FFFFF); /* the largest */
        }
        for (int isa = ISA_PORTABLE; isa < ISA_COUNT; isa++) {
            cpu_limit((enum isa)isa);
            float *y = multiply(&p, pools[1], 0, 20, ACTIVATIONS_INT8);
            for (int t = 0; t < 20; t++)
                if (t % 2 == 0 || t > 16)
                    assert_true(same_row(&p, y + t * p.y_stride, before + t * p.y_stride));
            for (int r = 0; r < p.rows; r++) {
                for (int j = 0; j < 3; j++)
                    assert_false(isfinite(y[(2 * j + 1) * p.y_stride + r]));
                assert_true(y[7 * p.y_stride + r] == p.bias[r]);
                float expected = 0, *w = xmalloc((size_t)p.cols * sizeof(*w));
                weight_row(&p.w, r, w);
                expected = w[500] * 1e30f;
                assert_true(fabsf(y[9 * p.y_stride + r] - expected) <=
                            fabsf(expected) * 0.01f + 1e24f);
                assert_true(fabsf(y[11 * p.y_stride + r] - p.bias[r]) <= 1e-6f);
                free(w);
            }
            if (dtype_is_quantised(kinds[i]) && !dtype_is_f8(kinds[i]))
                assert_int_equal(model_differs(&p, y, 0, 20, FAULT_NONE), 0);
            free(y);
        }
        free(before);
        product_free(&p);
    }
}

/* Fewer columns than a vector or a pair has. */
static void narrow_products(void **state)
{
    static const enum dtype narrow[] = {FLOAT_TYPES};
    random_state = 9;
    for (uint32_t cols = 1; cols < 10; cols++)
        for (size_t i = 0; i < COUNT_OF(narrow); i++) {
            struct product p = product_make(narrow[i], 17, cols);
            check_product(&p, *state, ACTIVATIONS_INT8);
            product_free(&p);
        }
}

/* Some panels of a matrix: their outputs are those of the whole product, others are not touched. */
static void parts_of_a_matrix(void **state)
{
    struct pool **pools = *state;
    enum { ROWS = 16 * 37 + 5, PANELS = ROWS / 16 + 1 };
    random_state = 11;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct product p = product_make(kinds[i], ROWS, 512);
        for (int trial = 0; trial < 6; trial++) {
            uint32_t wanted[ROWS / 32 + 1] = {0};
            int32_t panels[PANELS];
            int T = (int)(trial * 5) + 1;
            enum activations kind = trial % 3 ? ACTIVATIONS_INT8 : ACTIVATIONS_F32;
            p.w.panels = NULL;
            float *whole = multiply(&p, pools[0], 0, T, kind);
            for (int row = 0; row < ROWS && trial > 0; row++)
                if (row / 100 % 2 == 0 && random_float() > 0.9f)
                    wanted[row / 32] |= 1u << row % 32;
            p.w.n_panels = panels_with(wanted, ROWS, panels);
            p.w.panels = panels;
            assert_true(p.w.n_panels < PANELS && (trial == 0) == (p.w.n_panels == 0));
            float *part = multiply(&p, pools[trial % 3], 0, T, kind);
            for (int t = 0; t < T; t++)
                for (int row = 0; row < ROWS; row++) {
                    float expected = 12345;
                    for (int n = 0; n < p.w.n_panels; n++)
                        if (panels[n] == row / 16)
                            expected = whole[t * p.y_stride + row];
                    if (wanted[row / 32] >> row % 32 & 1)
                        assert_true(expected == whole[t * p.y_stride + row]);
                    assert_true(part[t * p.y_stride + row] == expected);
                }
            free(whole);
            free(part);
        }
        product_free(&p);
    }
}

/* Matrices of different types and sizes that share X, as in one stage of a layer. */
static void several_jobs_at_once(void **state)
{
    struct pool **pools = *state;
    random_state = 10;
    struct product p[COUNT_OF(kinds)];
    struct matmul_job jobs[COUNT_OF(kinds)];
    struct arena count = {0}, arena = {0};
    struct qrows q;
    qrows_layout(&q, T_MAX, 512, &count);
    assert_int_equal(arena_open(&arena, count.used), 0);
    qrows_layout(&q, T_MAX, 512, &arena);
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        p[i] = product_make(kinds[i], 10 + 61 * (uint32_t)i, 512);
        memcpy(p[i].x, p[0].x, (size_t)(T_MAX * p[i].x_stride) * sizeof(*p[i].x));
    }
    for (int T = 1; T < T_MAX; T += 8) {
        for (size_t i = 0; i < COUNT_OF(kinds); i++) {
            float *y = xmalloc((size_t)(T * p[i].y_stride) * sizeof(*y));
            jobs[i] = (struct matmul_job){&p[i].w, p[i].bias, y, p[i].y_stride, false};
        }
        struct matmul_input in = {p[0].x, p[0].x_stride, T, 512, NULL, NULL, &q, false};
        matmul(pools[T % 3], jobs, COUNT_OF(jobs), &in);
        for (size_t i = 0; i < COUNT_OF(kinds); i++) {
            float *alone = multiply(&p[i], pools[1], 0, T, ACTIVATIONS_INT8);
            check_same(&p[i], jobs[i].y, alone, T, "depends on its neighbours");
            free(alone);
            free(jobs[i].y);
        }
    }
    arena_close(&arena);
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        product_free(&p[i]);
}

static void copy_row(const void *arg, int row, float *to)
{
    const struct product *p = arg;
    memcpy(to, p->x + (ptrdiff_t)row * p->x_stride, (size_t)p->cols * sizeof(*to));
}

/* Rows that are made on the way, few and many; results that are added to what is there. */
static void rows_made_and_added(void **state)
{
    struct pool **pools = *state;
    random_state = 12;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct product p = product_make(kinds[i], 75, 768);
        struct arena count = {0}, arena = {0};
        struct qrows q;
        qrows_layout(&q, T_MAX, p.cols, &count);
        assert_int_equal(arena_open(&arena, count.used), 0);
        qrows_layout(&q, T_MAX, p.cols, &arena);
        for (int T = 1; T <= T_MAX; T += 23) {
            size_t n = (size_t)(T * p.y_stride);
            float *plain = multiply(&p, pools[0], 0, T, ACTIVATIONS_INT8);
            float *y = xmalloc(n * sizeof(*y)), *sum = xmalloc(n * sizeof(*y));
            float *x = xaligned(64, (size_t)(T * p.cols) * sizeof(*x));
            memset(x, 0xff, (size_t)(T * p.cols) * sizeof(*x));
            for (size_t j = 0; j < n; j++) {
                y[j] = random_float();
                sum[j] = y[j] + plain[j];
            }
            struct matmul_job job = {&p.w, p.bias, y, p.y_stride, true};
            struct matmul_input in = {x, p.cols, T, p.cols, copy_row, &p, &q, false};
            matmul(pools[T % 3], &job, 1, &in);
            check_same(&p, y, sum, T, "made and added");
            free(plain);
            free(y);
            free(sum);
            free(x);
        }
        arena_close(&arena);
        product_free(&p);
    }
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

static int no_limit(void **state)
{
    (void)state;
    cpu_limit(ISA_COUNT);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(products_have_one_result, no_limit),
        cmocka_unit_test_teardown(random_products, no_limit),
        cmocka_unit_test_teardown(float_activations_are_exact, no_limit),
        cmocka_unit_test_teardown(keeps_the_order, no_limit),
        cmocka_unit_test_teardown(finer_rows, no_limit),
        cmocka_unit_test_teardown(nothing_saturates, no_limit),
        cmocka_unit_test_teardown(strange_rows_keep_to_themselves, no_limit),
        cmocka_unit_test_teardown(narrow_products, no_limit),
        cmocka_unit_test_teardown(several_jobs_at_once, no_limit),
        cmocka_unit_test_teardown(rows_made_and_added, no_limit),
        cmocka_unit_test_teardown(parts_of_a_matrix, no_limit),
    };
    return cmocka_run_group_tests(tests, pools_make, pools_free);
}
