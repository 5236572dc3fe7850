#include "matmul.h"
#include "panel.h"

#include "specd/util.h"

#include <stdlib.h>

/* ---- the panel layout ------------------------------------------------------------------------ */

size_t panel_unit_bytes(enum dtype t)
{
    switch (t) {
    case DT_F32:
        return PANEL * sizeof(float);
    case DT_BF16:
        return PANEL * 2 * sizeof(uint16_t);
    case DT_Q8_0:
        return sizeof(struct run_q8_0);
    case DT_Q4_0:
        return sizeof(struct run_q4_0);
    case DT_Q4_1:
        return sizeof(struct run_q4_1);
    case DT_Q5_0:
        return sizeof(struct run_q5_0);
    case DT_Q5_1:
        return sizeof(struct run_q5_1);
    case DT_Q4_K:
        return sizeof(struct block_q4_k);
    case DT_Q5_K:
        return sizeof(struct block_q5_k);
    case DT_Q6_K:
        return sizeof(struct block_q6_k);
    default:
        return 0;
    }
}

/* Shift that brings the high bits of column 8g + k down to bit 0. */
static int high_shift(enum dtype t, int g, int k)
{
    return (k + 1) % 8 * 4 + (t == DT_Q6_K ? g % 2 * 2 : g);
}

void panel_get(enum dtype t, const void *panel, size_t run, int row, struct quant_run *out)
{
    struct run_view v = run_at(t, (void *)(uintptr_t)panel, run); /* which is only read */
    *out = (struct quant_run){.d = v.d[row]};
    if (v.m)
        out->m = v.m[row];
    for (int i = 0; i < 2 && v.scale[i]; i++)
        out->scale[i] = v.scale[i][row];
    if (v.min)
        out->min = v.min[row];
    for (int c = 0; c < RUN; c++) {
        int g = c / 8, k = c % 8;
        if (v.bytes) {
            out->q[c] = v.bytes[c][row];
            continue;
        }
        uint32_t q = v.q[g][row] >> (4 * k) & 15;
        if (v.h) {
            uint32_t high = v.h[t == DT_Q6_K ? g / 2 : 0][row] >> high_shift(t, g, k);
            q |= (high & (t == DT_Q6_K ? 3 : 1)) << 4;
        }
        out->q[c] = (int8_t)q;
    }
}

void panel_put(enum dtype t, void *panel, size_t run, int row, const struct quant_run *r)
{
    struct run_view v = run_at(t, panel, run);
    uint32_t q[4] = {0}, h[2] = {0};
    for (int c = 0; c < RUN; c++) {
        int g = c / 8, k = c % 8;
        uint32_t u = (uint8_t)r->q[c];
        if (v.bytes)
            v.bytes[c][row] = r->q[c];
        q[g] |= (u & 15) << (4 * k);
        h[t == DT_Q6_K ? g / 2 : 0] |= (u >> 4 & 3) << high_shift(t, g, k);
    }
    for (int g = 0; g < 4 && v.q; g++)
        v.q[g][row] = q[g];
    for (int i = 0; i < (t == DT_Q6_K ? 2 : 1) && v.h; i++)
        v.h[i][row] = h[i];
    v.d[row] = r->d;
    if (v.m)
        v.m[row] = r->m;
    for (int i = 0; i < 2 && v.scale[i]; i++)
        v.scale[i][row] = r->scale[i];
    if (v.min)
        v.min[row] = r->min;
}

/* ---- planning -------------------------------------------------------------------------------- */

static int kept_type(const struct tensor *t, enum weight_type want, enum dtype *type)
{
    switch (want) {
    case WEIGHT_NATIVE:
        *type = t->type == DT_F16 ? DT_F32 : t->type;
        return 0;
    case WEIGHT_F32:
        *type = DT_F32;
        return 0;
    case WEIGHT_BF16:
        *type = DT_BF16;
        return 0;
    case WEIGHT_Q8_0:
        *type = DT_Q8_0;
        return 0;
    default:
        return SPECD_EINVAL;
    }
}

int weight_plan(const struct tensor *t, enum weight_type want, enum dtype *type, size_t *bytes,
                char *err, size_t errlen)
{
    if (kept_type(t, want, type) != 0)
        return fail(SPECD_EINVAL, err, errlen,
                    "the CPU device has no kernel for weights kept as %s (it keeps native, f32, "
                    "bf16, q8_0)",
                    want == WEIGHT_FP8 ? "fp8" : "int4");
    if (t->rows == 0 || t->cols == 0 || t->rows > INT32_MAX - PANEL || t->cols > INT32_MAX - SUPER)
        return fail(SPECD_EINVAL, err, errlen, "a %u x %u matrix", t->rows, t->cols);
    if (t->cols % (uint32_t)dtype_block(*type) || t->cols % (uint32_t)dtype_block(t->type))
        return fail(SPECD_EINVAL, err, errlen,
                    "rows of %u weights cannot be kept as %s, which takes them %d at a time",
                    t->cols, dtype_name(*type), dtype_block(*type));
    size_t unit = (size_t)panel_unit(*type), panel;
    if (!size_mul((t->cols + unit - 1) / unit, panel_unit_bytes(*type), &panel) ||
        !size_mul(panel, (size_t)panel_count((int)t->rows), bytes))
        return fail(SPECD_EINVAL, err, errlen, "a %u x %u matrix is too large", t->rows, t->cols);
    return 0;
}

/* ---- packing --------------------------------------------------------------------------------- */

static const void *file_row(const struct tensor *t, size_t row)
{
    return (const char *)t->data + row * dtype_row_bytes(t->type, t->cols);
}

static void put_floats(enum dtype type, void *panel, int cols, int row, const float *v)
{
    if (type == DT_F32) {
        float *out = panel;
        for (int c = 0; c < cols; c++)
            out[c * PANEL + row] = v[c];
    } else if (type == DT_BF16) {
        uint16_t *out = panel;
        for (int c = 0; c < cols; c++)
            out[(c / 2 * PANEL + row) * 2 + c % 2] = bf16_from_f32(v[c]);
    } else {
        for (int run = 0; run < cols / RUN; run++) {
            struct quant_run r;
            quant_q8_0(v + run * RUN, &r);
            panel_put(type, panel, (size_t)run, row, &r);
        }
    }
}

static void put_blocks(enum dtype type, void *panel, int cols, int row, const void *blocks)
{
    for (size_t run = 0; run < (size_t)cols / RUN; run++) {
        struct quant_run r;
        quant_unpack(type, blocks, run, &r);
        panel_put(type, panel, run, row, &r);
    }
}

void weight_pack(struct weight *w, const struct tensor *t, enum dtype type, void *memory)
{
    *w = (struct weight){type, (int)t->rows, (int)t->cols, memory};
    size_t stride = panel_bytes(w->type, w->cols);
    bool as_is = dtype_is_quantised(type) && type == t->type;
    float *values = as_is ? NULL : xmalloc(t->cols * sizeof(*values));
    for (int p = 0; p < panel_count(w->rows); p++) {
        char *panel = (char *)memory + (size_t)p * stride;
        if ((p + 1) * PANEL > w->rows || type == DT_BF16)
            memset(panel, 0, stride); /* rows, or a last odd column, that nothing else fills */
        for (int i = 0; i < PANEL && p * PANEL + i < w->rows; i++) {
            const void *row = file_row(t, (size_t)p * PANEL + (size_t)i);
            if (as_is) {
                put_blocks(type, panel, w->cols, i, row);
            } else {
                quant_decode(t->type, row, t->cols, values);
                put_floats(type, panel, w->cols, i, values);
            }
        }
    }
    free(values);
}

/* ---- reading back ---------------------------------------------------------------------------- */

void weight_row(const struct weight *w, int row, float *out)
{
    const char *panel =
        (const char *)w->data + (size_t)(row / PANEL) * panel_bytes(w->type, w->cols);
    int i = row % PANEL;
    if (w->type == DT_F32) {
        const float *v = (const float *)(const void *)panel;
        for (int c = 0; c < w->cols; c++)
            out[c] = v[c * PANEL + i];
    } else if (w->type == DT_BF16) {
        const uint16_t *v = (const uint16_t *)(const void *)panel;
        for (int c = 0; c < w->cols; c++)
            out[c] = bf16_to_f32(v[(c / 2 * PANEL + i) * 2 + c % 2]);
    } else {
        for (int run = 0; run < w->cols / RUN; run++) {
            struct quant_run r;
            panel_get(w->type, panel, (size_t)run, i, &r);
            quant_values(w->type, &r, out + run * RUN);
        }
    }
}

void tensor_to_f32(const struct tensor *t, float *out)
{
    quant_decode(t->type, t->data, (size_t)t->rows * t->cols, out);
}
