/* The kernel in plain C: the definition that the vector kernels are tested against. */
#include "kernel.h"

#include <math.h>

/* 32 columns of 16 rows, as the order in kernel.h wants them. */
struct tile {
    float q[RUN][PANEL]; /* q * up */
    float d[2][PANEL];   /* of columns 0-15 and 16-31 */
    float m[PANEL];
};

static const float up[8] = {1, 0x1p4f, 0x1p8f, 0x1p12f, 0x1p16f, 0x1p20f, 0x1p24f, 1};

static void tile_scales(enum dtype t, const struct quant_run *r, int row, struct tile *tile)
{
    float d = f16_to_f32(r->d), m = f16_to_f32(r->m);
    tile->d[0][row] = tile->d[1][row] = d;
    tile->m[row] = m;
    if (t == DT_Q4_K || t == DT_Q5_K) {
        tile->d[0][row] = tile->d[1][row] = d * (float)r->scale[0];
        tile->m[row] = -(m * (float)r->min);
    }
    for (int i = 0; i < 2 && t == DT_Q6_K; i++)
        tile->d[i][row] = d * (float)(int8_t)r->scale[i];
}

static void tile_load(enum dtype t, const char *panel, size_t run, struct tile *tile)
{
    for (int row = 0; row < PANEL; row++) {
        struct quant_run r;
        panel_get(t, panel, run, row, &r);
        tile_scales(t, &r, row, tile);
        for (int c = 0; c < RUN; c++)
            tile->q[c][row] = (float)r.q[c] * (dtype_is_prescaled(t) ? up[c % 8] : 1.0f);
    }
}

/* Columns c .. c + n of a tile. */
static void tile_mul(enum dtype t, const struct tile *tile, int c, int n, const float *x, float sum,
                     float acc[PANEL])
{
    bool has_min = t == DT_Q4_1 || t == DT_Q5_1 || t == DT_Q4_K || t == DT_Q5_K;
    int offset = dtype_offset(t);
    float s[PANEL];
    for (int i = 0; i < PANEL; i++)
        s[i] = offset ? (float)-offset * sum : 0;
    for (int j = c; j < c + n; j++)
        for (int i = 0; i < PANEL; i++)
            s[i] = fmaf(tile->q[j][i], x[j], s[i]);
    for (int i = 0; i < PANEL; i++) {
        acc[i] = fmaf(tile->d[c / 16][i], s[i], acc[i]);
        if (has_min)
            acc[i] = fmaf(tile->m[i], sum, acc[i]);
    }
}

static void mul_quantised(enum dtype t, const char *panel, int n_rows, const struct kernel_args *a,
                          float *acc)
{
    for (size_t run = 0; run < (size_t)a->n_cols / RUN; run++) {
        struct tile tile;
        tile_load(t, panel, run, &tile);
        for (int row = 0; row < n_rows; row++) {
            const float *x = a->x + (size_t)row * a->x_stride + run * RUN;
            const float *sums = a->sums + (size_t)row * a->sums_stride + run * SUMS;
            float *out = acc + row * PANEL;
            if (t == DT_Q6_K) {
                tile_mul(t, &tile, 0, 16, x, sums[0], out);
                tile_mul(t, &tile, 16, 16, x, sums[1], out);
            } else {
                tile_mul(t, &tile, 0, RUN, x, sums[SUM_ALL], out);
            }
        }
    }
}

static void mul_f32(const char *panel, int n_rows, const struct kernel_args *a, float *acc)
{
    const float *w = (const float *)(const void *)panel;
    for (int row = 0; row < n_rows; row++) {
        const float *x = a->x + (size_t)row * a->x_stride;
        float *out = acc + row * PANEL;
        for (int c = 0; c < a->n_cols; c++)
            for (int i = 0; i < PANEL; i++)
                out[i] = fmaf(w[c * PANEL + i], x[c], out[i]);
    }
}

static void mul_bf16(const char *panel, int n_rows, const struct kernel_args *a, float *acc)
{
    const uint16_t *w = (const uint16_t *)(const void *)panel;
    for (int row = 0; row < n_rows; row++) {
        const float *x = a->x + (size_t)row * a->x_stride;
        float *out = acc + row * PANEL;
        for (int c = 0; c < a->n_cols; c++)
            for (int i = 0; i < PANEL; i++)
                out[i] = fmaf(bf16_to_f32(w[(c / 2 * PANEL + i) * 2 + c % 2]), x[c], out[i]);
    }
}

static float sum_16(const float *x)
{
    float s[8];
    for (int i = 0; i < 8; i++)
        s[i] = x[i] + x[i + 8];
    for (int i = 0; i < 4; i++)
        s[i] += s[i + 4];
    return (s[0] + s[2]) + (s[1] + s[3]);
}

void prepare_portable(const float *x, int n_cols, float *scaled, float *sums)
{
    for (int c = 0; c < n_cols; c++)
        scaled[c] = x[c] / up[c % 8];
    for (int c = 0; c < n_cols; c += RUN, sums += SUMS) {
        sums[0] = sum_16(x + c);
        sums[1] = sum_16(x + c + 16);
        sums[SUM_ALL] = sums[0] + sums[1];
    }
}

void kernel_portable(enum dtype t, int n_panels, int n_rows, const struct kernel_args *a)
{
    for (int p = 0; p < n_panels; p++) {
        const char *panel = a->w + (size_t)p * a->w_stride;
        float *acc = a->acc + p * n_rows * PANEL;
        if (t == DT_F32)
            mul_f32(panel, n_rows, a, acc);
        else if (t == DT_BF16)
            mul_bf16(panel, n_rows, a, acc);
        else
            mul_quantised(t, panel, n_rows, a, acc);
    }
}
