/* The kernels in plain C: the definition that the vector kernels are tested against. */
#define LANES_ISA 0
#define QROWS_IN_PAIRS false
#include "qrows_body.h"

#include "kernel.h"

#include <math.h>

/* ---- integers -------------------------------------------------------------------------------- */

/* Of one run of a row: the sums over columns 0 .. 15 and over 16 .. 31. */
static void run_sums(const struct qrow *row, struct quant_code code, const struct quant_run *w,
                     int32_t sums[2])
{
    sums[0] = sums[1] = 0;
    for (int k = 0; k < RUN / 4; k++) {
        int8_t x[4];
        memcpy(x, &row->words[k], sizeof(x));
        for (int b = 0; b < 4; b++)
            sums[k / 4] += quant_integer(code, w->q[4 * k + b]) * x[b];
    }
}

static int32_t run_sum(enum dtype t, const struct qrow *row, const struct quant_run *w)
{
    int32_t sums[2];
    run_sums(row, quant_code(t), w, sums);
    if (head_is_split(panel_form(t).head))
        return (int8_t)w->scale[0] * sums[0] + (int8_t)w->scale[1] * sums[1];
    return sums[0] + sums[1];
}

/* The sum of minima times activations: J of the order. */
static int32_t min_sum(const struct qrow *row, const struct quant_run *w)
{
    int32_t sum = 0;
    for (int c = 0; c < RUN; c++) {
        int8_t x[4];
        memcpy(x, &row->words[c / 4], sizeof(x));
        sum += w->min[c / 16] * x[c % 4];
    }
    return sum;
}

/* Scales of halves that are no integers. */
static void add_halves(enum dtype t, const struct qrow *row, const struct qrow *low,
                       const struct quant_run *w, float *f)
{
    int32_t sums[2], lows[2];
    run_sums(row, quant_code(t), w, sums);
    if (row->hot)
        run_sums(low, quant_code(t), w, lows);
    for (int i = 0; i < 2; i++) {
        int32_t sum = row->hot ? sums[i] * 128 + lows[i] : sums[i];
        *f = fmaf((float)sum * row->scale, e4m3_to_f32(w->scale[i]) * 0.5f, *f);
    }
}

/* One row and channel over one run; block: the sum F of HEAD_K16. */
static void add_run(enum dtype t, const struct qrow *row, const struct qrow *low,
                    const struct quant_run *w, bool block_ends, float *block, float *f)
{
    const enum panel_head head = panel_form(t).head;
    float d = f16_to_f32(w->d), m = f16_to_f32(w->m);
    if (head_is_apart(head)) {
        add_halves(t, row, low, w, f);
        return;
    }
    int32_t sum = run_sum(t, row, w);
    if (row->hot)
        sum = sum * 128 + run_sum(t, low, w);
    if (head == HEAD_K16) {
        *block = fmaf((float)sum, row->scale, *block);
        if (!block_ends)
            return;
        *f = fmaf(*block, d, *f);
        *block = 0;
        return;
    }
    if (head == HEAD_POWER)
        d = float_of_power(w->scale[0]);
    if (head == HEAD_K) {
        d *= (float)w->scale[0];
        m *= -(float)w->min[0];
    }
    if (head == HEAD_K_SIGNED)
        d *= (float)(int8_t)w->scale[0];
    *f = fmaf((float)sum * row->scale, d, *f);
    if (head == HEAD_K16_MIN) {
        int32_t mins = min_sum(row, w);
        if (row->hot)
            mins = mins * 128 + min_sum(low, w);
        *f = fmaf(-((float)mins * row->scale), m, *f);
    } else if (head_has_min(head))
        *f = fmaf(m, row->sum, *f);
}

static void dots(enum dtype t, int R, const struct dots_args *a)
{
    for (int channel = 0; channel < PANEL; channel++) {
        float f[FLOAT_TILE] = {0}, block[FLOAT_TILE] = {0};
        for (int run = 0; run < a->n_runs; run++) {
            const struct qrow *row = a->tile + (ptrdiff_t)run * R, *low = a->low + run;
            struct quant_run w;
            panel_get(t, a->w, (size_t)run, channel, &w);
            for (int r = 0; r < R; r++)
                add_run(t, row + r, low + (ptrdiff_t)r * a->n_runs, &w, run % 8 == 7, &block[r],
                        &f[r]);
        }
        for (int r = 0; r < R; r++)
            a->y[r * PANEL + channel] = f[r];
    }
}

/* ---- floats ---------------------------------------------------------------------------------- */

static float weight_at(enum dtype t, const char *panel, int c, int channel)
{
    const uint16_t *half = (const uint16_t *)(const void *)panel;
    if (t == DT_F32)
        return ((const float *)(const void *)panel)[c * PANEL + channel];
    if (t == DT_BF16)
        return bf16_to_f32(half[(c / 2 * PANEL + channel) * 2 + c % 2]);
    return f16_to_f32(half[c * PANEL + channel]);
}

static void floats(enum dtype t, int n_panels, int n_rows, const struct floats_args *a)
{
    for (int p = 0; p < n_panels; p++)
        for (int c = 0; c < a->n_cols; c++)
            for (int i = 0; i < PANEL; i++) {
                float w = weight_at(t, a->w + (size_t)p * a->w_stride, c, i);
                for (int row = 0; row < n_rows; row++) {
                    float *acc = a->acc + (p * n_rows + row) * PANEL + i;
                    *acc = fmaf(w, a->x[(size_t)row * a->x_stride + (size_t)c], *acc);
                }
            }
}

static void decode(enum dtype t, const void *panel, int first, int n, float *out)
{
    for (int run = 0; run < n; run++)
        for (int channel = 0; channel < PANEL; channel++) {
            struct quant_run r;
            float values[RUN];
            panel_get(t, panel, (size_t)(first + run), channel, &r);
            quant_values(t, &r, values);
            for (int c = 0; c < RUN; c++)
                out[(run * RUN + c) * PANEL + channel] = values[c];
        }
}

static const struct float_kernels float_kernels = {FLOAT_TILE, 2, floats, decode};
const struct kernels kernels_portable = {FLOAT_TILE, dots, quantise, &float_kernels};
