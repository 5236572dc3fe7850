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
 *   q4_0, q5_0, q6_K  sums begin at -offset * (the sum of the same x) and may wrap on the way; what
 *                     they end at is the sum of (u - offset) x: 16 * 16 * 127 = 32512 of a run in
 *                     q5_0, and 8 * 32 * 127 = 32512 of half a run in q6_K
 *   q5_1, q5_K        4 pairs of 2 * 31 * 127: 31496: half a run
 *   q8_0              2 * 255 * 127 = 64770 would saturate: see dot_signed
 * (u, before the offset, is below 64 but in q8_0, so that no single pair exceeds 2 * 63 * 127.)
 */
#include "kernel.h"
#include "vectors.h"

#define DOTS_MOST 10 /* rows that any instance has */

/* Word k of a run: four columns of each channel of half h, as unsigned bytes. */
INLINE vi word_of(const enum dtype t, const uint8_t *run, const int h, const int k)
{
    const uint8_t *line = run + h * VECTOR_BYTES;
    if (t == DT_Q8_0)
        return vi_load(line + k * LINE);
    vi q = vi_load(line + k / 2 * LINE);
    q = (k % 2 ? vi_up(q, -4) : q) & vi_set(0x0F0F0F0F);
    if (dtype_high_bits(t) == 1)
        q |= vi_up(vi_load(line + 4 * LINE), 4 - k) & vi_set(0x10101010);
    if (dtype_high_bits(t) == 2)
        q |= vi_up(vi_load(line + (4 + k / 4) * LINE), 4 - k % 4 * 2) & vi_set(0x30303030);
    return q;
}

/* Whether the two halves of a run are summed apart: for their scales, or to fit 16 bits. */
INLINE bool is_split(const enum dtype t)
{
    return t == DT_Q6_K || (!WORD_DOTS && (t == DT_Q5_1 || t == DT_Q5_K));
}

/* Which of a row's starts: of half `part` where halves are summed apart; -1: sums begin at 0. */
INLINE int start_of(const enum dtype t, const int part)
{
    return t == DT_Q4_0                ? START_Q4_0
           : t == DT_Q5_0              ? START_Q5_0
           : t == DT_Q6_K              ? START_Q6_K + part
           : t == DT_Q8_0 && WORD_DOTS ? START_Q8_0
                                       : -1;
}

/* s[r][h]: the integers I over a run of R rows, or of one row's low integers. scales: q6_K's, of 16
 * channels twice. */
INLINE void run_sums(const enum dtype t, const int R, const uint8_t *run, const uint8_t *scales,
                     const struct qrow *rows, vi s[DOTS_MOST][HALVES])
{
    vi a[DOTS_MOST][HALVES];
    EACH(part, 2)
    {
        const int begin = start_of(t, part);
        if (part == 0 || is_split(t)) {
            EACH(r, R)
            EACH(h, HALVES)
            a[r][h] = vi_set(begin < 0 ? 0 : rows[r].starts[begin]);
        }
#if !WORD_DOTS
        if (t == DT_Q8_0) { /* half by half: both would not stay in registers */
            EACH(h, HALVES)
            EACH(i, 4)
            {
                const int k = 4 * part + i;
                vi w = word_of(t, run, h, k) ^ vi_set(0x80808080u);
                EACH(r, R) a[r][h] = dot_signed(a[r][h], w, vi_set(rows[r].words[k]));
            }
        }
#endif
        EACH(i, 4)
        {
            const int k = 4 * part + i;
            vi w[HALVES];
            if (!WORD_DOTS && t == DT_Q8_0)
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
            vi sc = vi_set(1);
            if (t == DT_Q6_K)
                sc = vi_i8(scales + part * PANEL + h * (PANEL / HALVES));
            EACH(r, R)
            {
#if WORD_DOTS
                vi all = t == DT_Q6_K ? a[r][h] * sc : a[r][h];
#else
                vi all = a[r][h];
                if (t == DT_Q6_K) /* the scale in both halves of a lane */
                    all = madd(all, vi_up(sc, 16) | (sc & 0xFFFF));
                else if (t != DT_Q8_0)
                    all = madd(all, vi_set(0x10001));
#endif
                s[r][h] = is_split(t) && part == 1 ? s[r][h] + all : all;
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
INLINE void add_low(const enum dtype t, const int R, const uint8_t *run, const uint8_t *scales,
                    const struct qrow *rows, const struct qrow *low, size_t low_stride,
                    vi s[DOTS_MOST][HALVES])
{
    EACH(r, R)
    {
        vi l[DOTS_MOST][HALVES];
        if (!rows[r].hot)
            continue;
        run_sums(t, 1, run, scales, low + (size_t)r * low_stride, l);
        EACH(h, HALVES) s[r][h] = vi_up(s[r][h], 7) + l[0][h];
    }
}

/* Adds a run to f; in q6_K to the sum of its block. */
INLINE void add_run(const enum dtype t, const int R, const uint8_t *head, const int in_block,
                    const struct qrow *rows, vi s[DOTS_MOST][HALVES], vf f[DOTS_MOST][HALVES])
{
    EACH(h, HALVES)
    {
        const int at = h * (PANEL / HALVES);
        vf d = vf_set(0), m = d;
        if (t == DT_Q4_0 || t == DT_Q5_0 || t == DT_Q8_0)
            d = vf_f16(head + in_block * PANEL * 2 + at * 2);
        if (dtype_has_min(t)) {
            d = vf_f16(head + at * 2);
            m = vf_f16(head + PANEL * 2 + at * 2);
        }
        if (t == DT_Q4_K || t == DT_Q5_K) {
            d *= vf_of_int(vi_u8(head + HEAD_SCALES + in_block * PANEL + at));
            m *= vf_of_int(vi_u8(head + HEAD_MINS + in_block * PANEL + at));
        }
        EACH(r, R)
        {
            vf v = vf_of_int(s[r][h]);
            if (t == DT_Q6_K) {
                f[r][h] = vf_fma(v, vf_set(rows[r].scale), f[r][h]);
                continue;
            }
            f[r][h] = vf_fma(v * vf_set(rows[r].scale), d, f[r][h]);
            if (t == DT_Q4_K || t == DT_Q5_K)
                f[r][h] = vf_fnma(m, vf_set(rows[r].sum), f[r][h]);
            else if (dtype_has_min(t))
                f[r][h] = vf_fma(m, vf_set(rows[r].sum), f[r][h]);
        }
    }
}

INLINE void dots_of(const enum dtype t, const int R, const struct dots_args *args)
{
    const struct panel_block b = panel_block(t);
    const uint8_t *head = args->w;
    const struct qrow *rows = args->tile, *low = args->low;
    const bool fetches = R > 2 || dtype_high_bits(t) > 0;
    const int half = PANEL / HALVES;
    vf f[DOTS_MOST][HALVES]; /* q6_K: of a block; what blocks add up to is in y */
    EACH(r, R) EACH(h, HALVES) f[r][h] = vf_set(0);
    if (t == DT_Q6_K) {
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
            run_sums(t, R, run, scales, rows, s);
            if (any_hot(R, rows))
                add_low(t, R, run, scales, rows, low, (size_t)args->n_runs, s);
            add_run(t, R, head, j, rows, s, f);
            rows += R;
            low++;
            run += b.run_bytes;
        }
        for (int h = 0; h < HALVES && t == DT_Q6_K; h++) {
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
    if (t == DT_Q6_K)
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
    ROWS_OF(X, Q4_K) ROWS_OF(X, Q5_K) ROWS_OF(X, Q6_K)
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
