/*
 * dots.h - the integer kernels, compiled once per instruction set, in the order of kernel.h.
 *
 * One function is written over the type and the number R of rows as compile-time constants and
 * instantiated for each pair. Its integer sums, R * HALVES vectors, stay in registers over a run of
 * 32 columns; what comes after a run is a few operations a row.
 *
 * AVX2 multiplies by vpmaddubsw, which saturates a pair of products, and adds pairs in 16 bits.
 * Neither ever overflows, for activations within -127 .. 127:
 *   4 bits            8 pairs of 2 * 15 * 127: 30480: a whole run fits
 *   an offset         sums begin at -offset * (the sum of the same x) and may wrap on the way; what
 *                     they end at is the sum of (u - offset) x: 16 * 16 * 127 = 32512 of a run in
 *                     q5_0, and 8 * 32 * 127 = 32512 of half a run in q3_K and q6_K,
 *                     8 * 12 * 127 = 12192 in nvfp4
 *   q5_1, q5_K        4 pairs of 2 * 31 * 127: 31496: half a run
 *   q8_0, tables      2 * 255 * 127 = 64770 would saturate: see dot_signed
 * (u, before the offset, is below 64 but in these, so that no single pair exceeds 2 * 63 * 127.)
 */
#include "kernel.h"
#include "vectors.h"

#define DOTS_MOST 10 /* rows that any instance has */

/* Word k of a run: four columns of each channel of half h, as unsigned bytes. */
INLINE vi word_of(const enum dtype t, const uint8_t *run, const int h, const int k)
{
    const struct panel_form f = panel_form(t);
    const uint8_t *line = run + h * VECTOR_BYTES, *high = line + f.low_bits * LINE;
    if (f.low_bits == 8)
        return vi_load(line + k * LINE);
    const int words = 8 / f.low_bits, mask = f.low_bits == 4 ? 0x0F0F0F0F : 0x03030303;
    vi q = vi_up(vi_load(line + k / words * LINE), -(k % words * f.low_bits)) & vi_set(mask);
    if (f.high_bits == 1)
        q |= vi_up(vi_load(high), f.low_bits - k) & vi_set(0x01010101 << f.low_bits);
    if (f.high_bits == 2)
        q |= vi_up(vi_load(high + k / 4 * LINE), f.low_bits - k % 4 * 2) & vi_set(0x30303030);
    if (f.raised)
        q += vi_set(f.raised * 0x01010101);
    if (f.table)
        q = vi_lookup(f.table, f.offset, q);
    return q;
}

/* Whether the two halves of a run are summed apart: for their scales, or to fit 16 bits. */
INLINE bool is_split(const enum dtype t)
{
    const struct panel_form f = panel_form(t);
    return head_is_split(f.head) || head_is_apart(f.head) ||
           (!WORD_DOTS && f.high_bits > 0 && f.offset == 0);
}

/* Whether weights are multiplied as signed bytes. */
INLINE bool is_signed(const enum dtype t)
{
    return !WORD_DOTS && panel_form(t).offset == 128;
}

/* Where sums begin: of half `part` where halves are summed apart. */
INLINE vi start_of(const enum dtype t, const int part, const struct qrow *row)
{
    switch (panel_form(t).offset) {
    case 8:
        return vi_set(row->starts[START_8]);
    case 16:
        return twice(vi_set(row->starts[START_8])); /* sums of 16 bits: each by itself */
    case 32:
        return vi_set(row->starts[START_32 + part]);
    case 128:
        return vi_set(WORD_DOTS ? row->starts[START_128] : 0);
    default:
        return vi_set(0);
    }
}

/* Parts of a run that are added to f by themselves. */
INLINE int n_parts(const enum dtype t)
{
    return head_is_apart(panel_form(t).head) ? 2 : 1;
}

/* s[r][h]: the integers I over a run, or a part of it, of R rows, or of one row's low integers.
 * scales: of 16 columns, where those have integers. */
INLINE void run_sums(const enum dtype t, const int R, const int of_part, const uint8_t *run,
                     const uint8_t *scales, const struct qrow *rows, vi s[DOTS_MOST][HALVES])
{
    const enum panel_head head = panel_form(t).head;
    vi a[DOTS_MOST][HALVES];
    EACH(part, 2)
    {
        if (n_parts(t) > 1 && part != of_part)
            continue;
        if (part == 0 || is_split(t)) {
            EACH(r, R)
            EACH(h, HALVES) a[r][h] = start_of(t, part, &rows[r]);
        }
#if !WORD_DOTS
        if (is_signed(t)) { /* half by half: both would not stay in registers */
            EACH(h, HALVES)
            EACH(i, 4)
            {
                const int k = 4 * part + i;
                vi w = word_of(t, run, h, k) ^ vi_set((int32_t)0x80808080);
                EACH(r, R) a[r][h] = dot_signed(a[r][h], w, vi_set(rows[r].words[k]));
            }
        }
#endif
        EACH(i, 4)
        {
            const int k = 4 * part + i;
            vi w[HALVES];
            if (is_signed(t))
                continue;
            EACH(h, HALVES) w[h] = word_of(t, run, h, k);
            EACH(r, R)
            {
                vi x = vi_set(rows[r].words[k]);
                EACH(h, HALVES) a[r][h] = dot(a[r][h], w[h], x);
            }
        }
        if (!is_split(t) && part == 0)
            continue;
        EACH(h, HALVES)
        {
            const uint8_t *of_half = scales + part * PANEL + h * (PANEL / HALVES);
            vi sc = vi_set(1);
            if (head == HEAD_K16)
                sc = vi_i8(of_half);
            if (head == HEAD_K16_MIN)
                sc = vi_u8(of_half) & 15;
            EACH(r, R)
            {
#if WORD_DOTS
                vi all = head_is_split(head) ? a[r][h] * sc : a[r][h];
#else
                vi all = a[r][h];
                if (head_is_split(head)) /* the scale in both halves of a lane */
                    all = madd(all, vi_up(sc, 16) | (sc & 0xFFFF));
                else if (!is_signed(t))
                    all = madd(all, vi_set(0x10001));
#endif
                s[r][h] = is_split(t) && part > of_part ? s[r][h] + all : all;
            }
        }
    }
}

INLINE bool any_hot(const int R, const struct qrow *rows)
{
    int32_t any = 0;
    EACH(r, R) any |= rows[r].hot;
    return any != 0;
}

/* Makes the sums of hot rows those of high and low integers. */
INLINE void add_low(const enum dtype t, const int R, const int part, const uint8_t *run,
                    const uint8_t *scales, const struct qrow *rows, const struct qrow *low,
                    size_t low_stride, vi s[DOTS_MOST][HALVES])
{
    EACH(r, R)
    {
        vi l[DOTS_MOST][HALVES];
        if (!rows[r].hot)
            continue;
        run_sums(t, 1, part, run, scales, low + (size_t)r * low_stride, l);
        EACH(h, HALVES) s[r][h] = vi_up(s[r][h], 7) + l[0][h];
    }
}

/* What a head's scales of its channels begin with: d, m. in_block: the number of the run, or of the
 * part of one. */
INLINE vf head_d(const enum dtype t, const uint8_t *head, const int in_block, const int at)
{
    vi e;
    switch (panel_form(t).head) {
    case HEAD_D:
        return vf_f16(head + in_block * PANEL * 2 + at * 2);
    case HEAD_POWER: /* float_of_power */
        e = vi_u8(head + in_block * PANEL + at);
        return (vf)(((e < 2) & vi_up(e + 1, 21)) | ((e >= 2) & vi_up(e - 1, 23)));
    case HEAD_E4M3:
        return vf_half_e4m3(head + in_block * PANEL + at);
    case HEAD_K_SIGNED:
    case HEAD_K16:
    case HEAD_WIDE:
        return vf_load(head + at * 4);
    default:
        return vf_f16(head + at * 2);
    }
}

INLINE vf head_m(const uint8_t *head, const int at)
{
    return vf_f16(head + PANEL * 2 + at * 2);
}

/* J of a row and half a vector of minima, in pairs of 16 bits. */
INLINE vi min_sum(vi mins, const struct qrow *row, const struct qrow *low)
{
    vi sum = madd(mins, vi_set(row->starts[HALF_SUMS]));
    if (row->hot)
        sum = vi_up(sum, 7) + madd(mins, vi_set(low->starts[HALF_SUMS]));
    return sum;
}

/* Adds a run to f; where scales are of 16 columns and there is no minimum, to the sum of its block.
 */
INLINE void add_run(const enum dtype t, const int R, const uint8_t *head, const int in_block,
                    const struct qrow *rows, const struct qrow *low, size_t low_stride,
                    vi s[DOTS_MOST][HALVES], vf f[DOTS_MOST][HALVES])
{
    const enum panel_head kind = panel_form(t).head;
    EACH(h, HALVES)
    {
        const int at = h * (PANEL / HALVES);
        const uint8_t *scales = head + HEAD_SCALES + at;
        vf d = vf_set(0), m = d;
        vi mins = vi_set(0);
        if (kind != HEAD_K16)
            d = head_d(t, head, in_block, at);
        if (head_has_min(kind))
            m = head_m(head, at);
        if (kind == HEAD_K) {
            d *= vf_of_int(vi_u8(scales + in_block * PANEL));
            m *= vf_of_int(vi_u8(head + HEAD_MINS + in_block * PANEL + at));
        }
        if (kind == HEAD_K_SIGNED)
            d *= vf_of_int(vi_i8(scales + in_block * PANEL));
        if (kind == HEAD_K16_MIN) {
            vi first = vi_u8(scales + 2 * in_block * PANEL);
            vi second = vi_u8(scales + (2 * in_block + 1) * PANEL);
            mins = vi_up(first, -4) | (vi_up(second, 12) & 0xF0000);
        }
        EACH(r, R)
        {
            vf v = vf_of_int(s[r][h]);
            if (kind == HEAD_K16) {
                f[r][h] = vf_fma(v, vf_set(rows[r].scale), f[r][h]);
                continue;
            }
            f[r][h] = vf_fma(v * vf_set(rows[r].scale), d, f[r][h]);
            if (kind == HEAD_K)
                f[r][h] = vf_fnma(m, vf_set(rows[r].sum), f[r][h]);
            else if (kind == HEAD_D_M)
                f[r][h] = vf_fma(m, vf_set(rows[r].sum), f[r][h]);
            else if (kind == HEAD_K16_MIN) {
                vi j = min_sum(mins, &rows[r], low + (size_t)r * low_stride);
                f[r][h] = vf_fnma(vf_of_int(j) * vf_set(rows[r].scale), m, f[r][h]);
            }
        }
    }
}

INLINE void dots_of(const enum dtype t, const int R, const struct dots_args *args)
{
    const struct panel_block b = panel_block(t);
    const uint8_t *head = args->w;
    const struct qrow *rows = args->tile, *low = args->low;
    const struct panel_form form = panel_form(t);
    const bool fetches = R > 2 || form.high_bits > 0;
    const int half = PANEL / HALVES;
    vf f[DOTS_MOST][HALVES]; /* HEAD_K16: of a block; what blocks add up to is in y */
    EACH(r, R) EACH(h, HALVES) f[r][h] = vf_set(0);
    if (form.head == HEAD_K16) {
        EACH(r, R) EACH(h, HALVES) vf_store(args->y + r * PANEL + h * half, f[r][h]);
    }
    for (int left = args->n_runs; left > 0; left -= b.runs) {
        const uint8_t *run = head + b.head_bytes;
        for (size_t i = 0; i < b.head_bytes; i += LINE)
            FETCH(fetches, head + i);
        for (int j = 0; j < b.runs && j < left; j++) {
            vi s[DOTS_MOST][HALVES];
            const uint8_t *scales = head + HEAD_SCALES + j * 2 * PANEL;
            for (size_t i = 0; i < b.run_bytes; i += LINE)
                FETCH(fetches, run + i);
            EACH(part, n_parts(t))
            {
                run_sums(t, R, part, run, scales, rows, s);
                if (any_hot(R, rows))
                    add_low(t, R, part, run, scales, rows, low, (size_t)args->n_runs, s);
                add_run(t, R, head, j * n_parts(t) + part, rows, low, (size_t)args->n_runs, s, f);
            }
            rows += R;
            low++;
            run += b.run_bytes;
        }
        for (int h = 0; h < HALVES && form.head == HEAD_K16; h++) {
            vf d = vf_load(head + h * VECTOR_BYTES);
            EACH(r, R)
            {
                float *y = args->y + r * PANEL + h * half;
                vf_store(y, vf_fma(f[r][h], d, vf_load(y)));
                f[r][h] = vf_set(0);
            }
        }
        head = run;
    }
    if (form.head == HEAD_K16)
        return;
    EACH(r, R) EACH(h, HALVES) vf_store(args->y + r * PANEL + h * half, f[r][h]);
}

/* ---- instances ------------------------------------------------------------------------------- */

/* clang-format off */
#if VECTOR_BYTES == 64
#define DOTS_ROWS 10
#define ROWS_OF(X, t) X(t, 1) X(t, 2) X(t, 3) X(t, 4) X(t, 5) X(t, 6) X(t, 7) X(t, 8) X(t, 9) X(t, 10)
#else /* 16 registers: two sums a row */
#define DOTS_ROWS 6
#define ROWS_OF(X, t) X(t, 1) X(t, 2) X(t, 3) X(t, 4) X(t, 5) X(t, 6)
#endif
#define QUANTISED(X)                                                                          \
    ROWS_OF(X, Q4_0) ROWS_OF(X, Q4_1) ROWS_OF(X, Q5_0) ROWS_OF(X, Q5_1) ROWS_OF(X, Q8_0)      \
    ROWS_OF(X, Q2_K) ROWS_OF(X, Q3_K) ROWS_OF(X, Q4_K) ROWS_OF(X, Q5_K) ROWS_OF(X, Q6_K)      \
    ROWS_OF(X, IQ4_NL) ROWS_OF(X, IQ4_XS) ROWS_OF(X, MXFP4) ROWS_OF(X, NVFP4)
#define DOTS(t, R) \
    TARGET static void dots_##t##_##R(const struct dots_args *a) { dots_of(DT_##t, R, a); }
#define DOTS_ENTRY(t, R) [DT_##t][R] = dots_##t##_##R,
/* clang-format on */

QUANTISED(DOTS)

static dots_fn *const dots_table[DT_COUNT][DOTS_ROWS + 1] = {QUANTISED(DOTS_ENTRY)};

static void dots(enum dtype t, int R, const struct dots_args *a)
{
    dots_table[t][R](a);
}
