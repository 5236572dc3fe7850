/*
 * floats.h - the float kernels, compiled once per instruction set, in the order of kernel.h.
 *
 * Weights of 16 bits are widened in registers and multiplied by fused multiply-add, one column
 * after the other. vdpbf16ps would do two columns at once, but it takes both activations and
 * denormals for less than they are (it wants bf16 rows, reads denormals as zero), and no other
 * instruction rounds as it does: the bits would be those of one maker's AVX-512 only.
 */
#include "kernel.h"
#include "vectors.h"

/* Column k of eight, of half h. */
INLINE vf column(const enum dtype t, const char *w, const int h, const int k)
{
    const int at = h * (PANEL / HALVES);
    if (t == DT_F32)
        return vf_load(w + (k * PANEL + at) * 4);
    if (t == DT_F16)
        return vf_f16(w + (k * PANEL + at) * 2);
    vi pair = vi_load(w + (k / 2 * PANEL + at) * 4);
    return (vf)(k % 2 ? pair & vi_set((int32_t)0xFFFF0000) : vi_up(pair, 16));
}

INLINE size_t column_bytes(const enum dtype t)
{
    return t == DT_F32 ? LINE : LINE / 2;
}

/* f += columns k of all panels times x */
INLINE void add_column(const enum dtype t, const int np, const int nt, const char *const w[GROUP],
                       const int k, const float *x, size_t x_stride,
                       vf f[GROUP][FLOAT_TILE][HALVES])
{
    EACH(p, np)
    {
        vf v[HALVES];
        EACH(h, HALVES) v[h] = column(t, w[p], h, k);
        EACH(r, nt)
        {
            vf b = vf_set(x[(size_t)r * x_stride + (size_t)k]);
            EACH(h, HALVES) f[p][r][h] = vf_fma(v[h], b, f[p][r][h]);
        }
    }
}

INLINE void floats_of(const enum dtype t, const int np, const int nt, const struct floats_args *a)
{
    const size_t eight = 8 * column_bytes(t);
    const char *w[GROUP];
    const float *x = a->x;
    vf f[GROUP][FLOAT_TILE][HALVES];
    EACH(p, np)
    EACH(r, nt)
    EACH(h, HALVES) f[p][r][h] = vf_load(a->acc + (p * nt + r) * PANEL + h * (PANEL / HALVES));
    EACH(p, np) w[p] = a->w + (size_t)p * a->w_stride;
    int c = 0;
    for (; c + 8 <= a->n_cols; c += 8, x += 8) {
        EACH(p, np)
        {
            for (size_t i = 0; i < eight; i += LINE)
                FETCH(nt > 2, w[p] + i);
        }
        EACH(k, 8) add_column(t, np, nt, w, k, x, a->x_stride, f);
        EACH(p, np) w[p] += eight;
    }
    for (; c + 2 <= a->n_cols; c += 2, x += 2) {
        EACH(k, 2) add_column(t, np, nt, w, k, x, a->x_stride, f);
        EACH(p, np) w[p] += 2 * column_bytes(t);
    }
    if (c < a->n_cols)
        add_column(t, np, nt, w, 0, x, a->x_stride, f);
    EACH(p, np)
    EACH(r, nt)
    EACH(h, HALVES) vf_store(a->acc + (p * nt + r) * PANEL + h * (PANEL / HALVES), f[p][r][h]);
}

/* ---- integers as floats ---------------------------------------------------------------------- */

/* Products of d and small integers are exact, so that quant_values' one rounding is the addition.
 */
INLINE void decode_run(const enum dtype t, const uint8_t *head, const int in_block,
                       const uint8_t *run, float *out)
{
    const struct panel_form form = panel_form(t);
    const bool has_min = head_has_min(form.head);
    EACH(h, HALVES)
    {
        const int at = h * (PANEL / HALVES);
        const uint8_t *scales = head + HEAD_SCALES + in_block * PANEL + at;
        const uint8_t *halves = scales + in_block * PANEL;
        for (int k = 0; k < RUN / 4; k++) {
            vf d = head_d(t, head, in_block * n_parts(t) + (n_parts(t) > 1 ? k / 4 : 0), at),
               m = has_min ? head_m(head, at) : vf_set(0);
            if (form.head == HEAD_K) {
                d *= vf_of_int(vi_u8(scales));
                m *= -vf_of_int(vi_u8(head + HEAD_MINS + in_block * PANEL + at));
            }
            if (form.head == HEAD_K_SIGNED)
                d *= vf_of_int(vi_i8(scales));
            if (form.head == HEAD_K16)
                d *= vf_of_int(vi_i8(halves + k / 4 * PANEL));
            if (form.head == HEAD_K16_MIN) {
                vi both = vi_u8(halves + k / 4 * PANEL);
                d *= vf_of_int(both & 15);
                m *= -vf_of_int(vi_up(both, -4));
            }
            vi word = word_of(t, run, h, k);
            EACH(b, 4)
            {
                vi u = (vi_up(word, -8 * b) & 0xFF) - form.offset;
                vf number = form.head == HEAD_WIDE ? vf_e4m3(u) : vf_of_int(u), v = d * number;
                vf_store(out + (4 * k + b) * PANEL + at, has_min ? v + m : v);
            }
        }
    }
}

INLINE void decode_runs(const enum dtype t, const void *panel, int first, int n, float *out)
{
    const struct panel_block b = panel_block(t);
    for (int j = first; j < first + n; j++, out += RUN * PANEL) {
        const uint8_t *head = (const uint8_t *)panel + (size_t)(j / b.runs) * panel_unit_bytes(t);
        const uint8_t *run = head + b.head_bytes + (size_t)(j % b.runs) * b.run_bytes;
        decode_run(t, head, j % b.runs, run, out);
    }
}

/* f8 comes this way always, the others for oracles. */
TARGET static void decode(enum dtype t, const void *panel, int first, int n, float *out)
{
    if (dtype_is_f8(t))
        decode_runs(DT_F8, panel, first, n, out);
    else
        decode_runs(t, panel, first, n, out);
}

/* ---- instances ------------------------------------------------------------------------------- */

/* clang-format off */
#if VECTOR_BYTES == 64
#define FLOATS_ROWS 8
#define FLOATS_PAIRS 3
#define SHAPES(X, t) X(t, 1, 1) X(t, 1, 2) X(t, 1, 3) X(t, 1, 4) X(t, 1, 5) X(t, 1, 6) X(t, 1, 7) \
    X(t, 1, 8) X(t, 2, 2) X(t, 2, 3) X(t, 4, 1)
#else
#define FLOATS_ROWS 6
#define FLOATS_PAIRS 2
#define SHAPES(X, t) X(t, 1, 1) X(t, 1, 2) X(t, 1, 3) X(t, 1, 4) X(t, 1, 5) X(t, 1, 6) \
    X(t, 2, 2) X(t, 4, 1)
#endif
#define FLOATS(t, np, nt) \
    TARGET static void floats_##t##_##np##_##nt(const struct floats_args *a) \
    { floats_of(DT_##t, np, nt, a); }
#define FLOATS_ENTRY(t, np, nt) [DT_##t][np][nt] = floats_##t##_##np##_##nt,
/* clang-format on */

SHAPES(FLOATS, F32)
SHAPES(FLOATS, BF16)
SHAPES(FLOATS, F16)

static floats_fn *const floats_table[DT_COUNT][GROUP + 1][FLOATS_ROWS + 1] = {
    SHAPES(FLOATS_ENTRY, F32) SHAPES(FLOATS_ENTRY, BF16) SHAPES(FLOATS_ENTRY, F16)};

static void floats(enum dtype t, int n_panels, int n_rows, const struct floats_args *a)
{
    floats_table[t][n_panels][n_rows](a);
}
