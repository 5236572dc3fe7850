#include "matmul.h"
#include "panel.h"

#include "specd/quant_unpack.h"
#include "specd/util.h"

#include <stdlib.h>

/* ---- the panel layout ------------------------------------------------------------------------ */

/* What packing is made of is inlined where the type is a constant. */
#define INLINE static inline __attribute__((always_inline))

/* Where a run lies, and the scales of its 16 channels. */
struct place {
    uint8_t *head, *lines;
    int in_block; /* number of the run in its block */
};

INLINE struct place place_of(enum dtype t, const void *panel, size_t run)
{
    struct panel_block b = panel_block(t);
    size_t runs = (size_t)b.runs;
    uint8_t *head = (uint8_t *)(uintptr_t)panel + run / runs * panel_unit_bytes(t);
    return (struct place){head, head + b.head_bytes + run % runs * b.run_bytes, (int)(run % runs)};
}

static void get_scales(enum dtype t, struct place at, int row, struct quant_run *out)
{
    const uint8_t *d = at.head + 2 * row, *scale = at.head + HEAD_SCALES + row;
    switch (panel_form(t).head) {
    case HEAD_D:
        out->d = load16(d + at.in_block * PANEL * 2);
        return;
    case HEAD_D_M:
        break;
    case HEAD_WIDE:
        memcpy(&out->wide, at.head + 4 * row, sizeof(out->wide));
        return;
    case HEAD_POWER:
        out->scale[0] = out->scale[1] = at.head[at.in_block * PANEL + row];
        return;
    case HEAD_E4M3:
        for (int i = 0; i < 2; i++)
            out->scale[i] = at.head[(2 * at.in_block + i) * PANEL + row];
        return;
    case HEAD_K:
        out->scale[0] = out->scale[1] = scale[at.in_block * PANEL];
        out->min[0] = out->min[1] = scale[HEAD_MINS - HEAD_SCALES + at.in_block * PANEL];
        break;
    case HEAD_K_SIGNED:
        out->d = f16_from_f32(float_of_bits(load32(at.head + 4 * row)));
        out->scale[0] = out->scale[1] = scale[at.in_block * PANEL];
        return;
    case HEAD_K16:
        out->d = f16_from_f32(float_of_bits(load32(at.head + 4 * row)));
        for (int i = 0; i < 2; i++)
            out->scale[i] = scale[(2 * at.in_block + i) * PANEL];
        return;
    case HEAD_K16_MIN:
        for (int i = 0; i < 2; i++) {
            out->scale[i] = scale[(2 * at.in_block + i) * PANEL] & 15;
            out->min[i] = scale[(2 * at.in_block + i) * PANEL] >> 4;
        }
        break;
    }
    out->d = load16(d);
    out->m = load16(d + PANEL * 2);
}

INLINE void put_scales(enum dtype t, struct place at, int row, const struct quant_run *r)
{
    uint8_t *d = at.head + 2 * row, *scale = at.head + HEAD_SCALES + row;
    float wide = f16_to_f32(r->d);
    switch (panel_form(t).head) {
    case HEAD_D:
        memcpy(d + at.in_block * PANEL * 2, &r->d, sizeof(r->d));
        return;
    case HEAD_D_M:
        break;
    case HEAD_WIDE:
        memcpy(at.head + 4 * row, &r->wide, sizeof(r->wide));
        return;
    case HEAD_POWER:
        at.head[at.in_block * PANEL + row] = r->scale[0];
        return;
    case HEAD_E4M3:
        for (int i = 0; i < 2; i++)
            at.head[(2 * at.in_block + i) * PANEL + row] = r->scale[i];
        return;
    case HEAD_K:
        scale[at.in_block * PANEL] = r->scale[0];
        scale[HEAD_MINS - HEAD_SCALES + at.in_block * PANEL] = r->min[0];
        break;
    case HEAD_K_SIGNED:
        if (at.in_block == 0)
            memcpy(at.head + 4 * row, &wide, sizeof(wide));
        scale[at.in_block * PANEL] = r->scale[0];
        return;
    case HEAD_K16:
        if (at.in_block == 0)
            memcpy(at.head + 4 * row, &wide, sizeof(wide));
        for (int i = 0; i < 2; i++)
            scale[(2 * at.in_block + i) * PANEL] = r->scale[i];
        return;
    case HEAD_K16_MIN:
        for (int i = 0; i < 2; i++)
            scale[(2 * at.in_block + i) * PANEL] = (uint8_t)(r->scale[i] | r->min[i] << 4);
        break;
    }
    memcpy(d, &r->d, sizeof(r->d));
    memcpy(d + PANEL * 2, &r->m, sizeof(r->m));
}

#define EACH_BYTE 0x01010101u

void panel_get(enum dtype t, const void *panel, size_t run, int row, struct quant_run *out)
{
    const struct panel_form form = panel_form(t);
    struct place at = place_of(t, panel, run);
    const uint8_t *lane = at.lines + 4 * row, *high = lane + form.low_bits * LINE;
    int words = 8 / form.low_bits; /* of a line */
    *out = (struct quant_run){.d = 0};
    get_scales(t, at, row, out);
    for (int k = 0; k < RUN / 4; k++) {
        uint32_t word = load32(lane + k / words * LINE);
        if (form.low_bits == 8)
            word ^= (uint32_t)form.offset * EACH_BYTE;
        else
            word = word >> k % words * form.low_bits & ((1u << form.low_bits) - 1) * EACH_BYTE;
        if (form.high_bits == 1)
            word |= (load32(high) >> k & EACH_BYTE) << form.low_bits;
        else if (form.high_bits == 2)
            word |= (load32(high + k / 4 * LINE) >> (k % 4 * 2) & 3 * EACH_BYTE) << form.low_bits;
        memcpy(out->q + 4 * k, &word, sizeof(word));
    }
}

/* Words are joined from the lowest, so that each line is written once. */
INLINE void put_run(const enum dtype t, void *panel, size_t run, int row, const struct quant_run *r)
{
    const struct panel_form form = panel_form(t);
    struct place at = place_of(t, panel, run);
    uint8_t *lane = at.lines + 4 * row;
    const uint32_t mask = ((1u << form.low_bits) - 1) * EACH_BYTE;
    const int words = 8 / form.low_bits;
    uint32_t low = 0, high[2] = {0};
    put_scales(t, at, row, r);
#pragma GCC unroll 8
    for (int k = 0; k < RUN / 4; k++) {
        uint32_t word = load32(r->q + 4 * k), above = word >> form.low_bits;
        if (form.low_bits == 8)
            low = word ^ (uint32_t)form.offset * EACH_BYTE;
        else
            low |= (word & mask) << k % words * form.low_bits;
        if (k % words == words - 1) {
            memcpy(lane + k / words * LINE, &low, sizeof(low));
            low = 0;
        }
        if (form.high_bits == 1)
            high[0] |= (above & EACH_BYTE) << k;
        else if (form.high_bits == 2)
            high[k / 4] |= (above & 3 * EACH_BYTE) << k % 4 * 2;
    }
    for (int i = 0; i < form.high_bits; i++)
        memcpy(lane + (form.low_bits + i) * LINE, &high[i], sizeof(high[i]));
}

/* ---- planning -------------------------------------------------------------------------------- */

static int kept_type(const struct tensor *t, enum weight_type want, enum dtype *type)
{
    switch (want) {
    case WEIGHT_NATIVE:
        *type = t->type;
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

static void put_floats(enum dtype type, void *panel, int cols, int row, const float *v)
{
    uint16_t *half = panel;
    float *whole = panel;
    for (int c = 0; c < cols && type == DT_F32; c++)
        whole[c * PANEL + row] = v[c];
    for (int c = 0; c < cols && type == DT_BF16; c++)
        half[(c / 2 * PANEL + row) * 2 + c % 2] = bf16_from_f32(v[c]);
    for (int run = 0; run < cols / RUN && type == DT_Q8_0; run++) {
        struct quant_run r;
        quant_q8_0(v + run * RUN, &r);
        put_run(DT_Q8_0, panel, (size_t)run, row, &r);
    }
}

/* The file's own bits, of columns first .. end; a K type's block begins at `first`. Runs of a block
 * are unrolled: what depends on their number is a constant then. */
INLINE void put_runs(const enum dtype t, void *panel, int first, int end, int row, const void *from)
{
    const size_t block = (size_t)dtype_block(t) / RUN;
    for (size_t run = (size_t)first / RUN; run < (size_t)end / RUN; run += block) {
#pragma GCC unroll 8
        for (size_t i = 0; i < block; i++) {
            struct quant_run r;
            quant_unpack_inline(t, from, run / block * block + i, &r);
            put_run(t, panel, run / block * block + i, row, &r);
        }
    }
}

static void put_as_is(enum dtype t, void *panel, int first, int end, int row, const void *from)
{
    const char *bytes = from;
    char *out = panel;
    switch (t) {
    case DT_F32:
        for (int c = first; c < end; c++)
            memcpy(out + 4 * (c * PANEL + row), bytes + 4 * c, 4);
        return;
    case DT_F16:
        for (int c = first; c < end; c++)
            memcpy(out + 2 * (c * PANEL + row), bytes + 2 * c, 2);
        return;
    case DT_BF16: /* in pairs, but for the last of an odd number */
        for (int c = first; c + 1 < end; c += 2)
            memcpy(out + 2 * (c * PANEL + 2 * row), bytes + 2 * c, 4);
        if (end % 2)
            memcpy(out + 2 * ((end - 1) * PANEL + 2 * row), bytes + 2 * (end - 1), 2);
        return;
#define PUT_RUNS(t)                                \
    case t:                                        \
        put_runs(t, panel, first, end, row, from); \
        return;
        PUT_RUNS(DT_Q4_0)
        PUT_RUNS(DT_Q4_1)
        PUT_RUNS(DT_Q5_0)
        PUT_RUNS(DT_Q5_1)
        PUT_RUNS(DT_Q8_0)
        PUT_RUNS(DT_Q2_K)
        PUT_RUNS(DT_Q3_K)
        PUT_RUNS(DT_Q4_K)
        PUT_RUNS(DT_Q5_K)
        PUT_RUNS(DT_Q6_K)
        PUT_RUNS(DT_IQ4_NL)
        PUT_RUNS(DT_IQ4_XS)
        PUT_RUNS(DT_MXFP4)
        PUT_RUNS(DT_NVFP4)
        PUT_RUNS(DT_F8)
        PUT_RUNS(DT_F8_ROW)
    default:
        ASSERT(!"a type of weights");
    }
}

int weight_panels(const struct weight *w)
{
    return panel_count(w->rows);
}

int panels_with(const uint32_t *rows, int n_rows, int32_t *out)
{
    int n = 0;
    for (int p = 0; p < panel_count(n_rows); p++) {
        uint32_t of_panel = (1u << MIN(PANEL, n_rows - p * PANEL)) - 1;
        if (rows[p * PANEL / 32] >> p * PANEL % 32 & of_panel)
            out[n++] = p;
    }
    return n;
}

/* Some columns of all 16 rows at a time, so that what they share stays in the first cache. */
#define PACK_COLS 256

static void pack_as_is(const struct weight *w, const char *rows, int n, char *panel)
{
    size_t row_bytes = dtype_row_bytes(w->type, (size_t)w->cols);
    for (int first = 0; first < w->cols; first += PACK_COLS)
        for (int i = 0; i < n; i++)
            put_as_is(w->type, panel, first, MIN(first + PACK_COLS, w->cols), i,
                      rows + (size_t)i * row_bytes);
}

void weight_pack(const struct weight *w, const struct tensor *t, int first, int end)
{
    size_t stride = panel_bytes(w->type, w->cols), row_bytes = dtype_row_bytes(t->type, t->cols);
    float *values = w->type == t->type ? NULL : xmalloc(t->cols * sizeof(*values));
    char *room = t->source ? xmalloc(PANEL * row_bytes) : NULL;
    for (int p = first; p < end; p++) {
        char *panel = (char *)w->data + (size_t)p * stride;
        if ((p + 1) * PANEL > w->rows || w->cols % panel_unit(w->type))
            memset(panel, 0, stride); /* rows, or the last columns, that nothing else fills */
        int n = MIN(PANEL, w->rows - p * PANEL);
        const char *rows = tensor_rows(t, (uint32_t)(p * PANEL), (uint32_t)n, room);
        if (!values)
            pack_as_is(w, rows, n, panel);
        for (int i = 0; i < n && values; i++) {
            quant_decode(t->type, rows + (size_t)i * row_bytes, t->cols, values);
            put_floats(w->type, panel, w->cols, i, values);
        }
    }
    free(room);
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
    } else if (w->type == DT_F16) {
        const uint16_t *v = (const uint16_t *)(const void *)panel;
        for (int c = 0; c < w->cols; c++)
            out[c] = f16_to_f32(v[c * PANEL + i]);
    } else {
        for (int run = 0; run < w->cols / RUN; run++) {
            struct quant_run r;
            panel_get(w->type, panel, (size_t)run, i, &r);
            quant_values(w->type, &r, out + run * RUN);
        }
    }
    for (int c = 0; c < w->cols && w->scale != 1.0f; c++)
        out[c] *= w->scale;
}

void tensor_to_f32(const struct tensor *t, float *out)
{
    quant_decode(t->type, t->data, (size_t)t->rows * t->cols, out);
}
