/*
 * attention_body.h - attention's two products in terms of lanes.h; compiled once per instruction
 * set, as part of ops_body.h.
 *
 *   scores (m, positions) = queries (m, D) x keys,              sums over D
 *   values (m, D)        += weights (m, positions) x values,    sums over positions
 *
 * Keys and values are read where they lie, and bf16 becomes f32 in registers: of the 32 bits that
 * hold rows 2p and 2p + 1 of a lane (kvmem.h) a shift leaves the first and a mask the second. Every
 * sum takes its terms in ascending order, one fused multiply-add each, so neither the tiles nor the
 * lanes show in a bit.
 */
#include "lanes.h"
#include "ops.h"

#include <stdbool.h>
#include <stddef.h>

/* Compilers would leave a tile in memory. Without vector registers there is nothing to gain. */
#if LANES_ISA == 0
#define UNROLLED
#elif defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 8")
#endif

/* What the registers hold beside a vector of the block and the factors of its rows. */
#define TILE_ROWS (WIDE == 16 ? 6 : 3)
#define TILE_VECTORS 4
#define COLUMN_VECTORS (KV_LANES / WIDE)

/* UNROLLED is no statement: */
/* clang-format off */
struct tile {
    wide sum[TILE_ROWS][TILE_VECTORS];
    const char *block[TILE_VECTORS]; /* where each vector's lanes of row 0 are */
    const char *next[TILE_VECTORS];  /* and of a block that comes later */
};

/* Lane c of a block's rows: 4 bytes for an f32, or for a pair of bf16. */
LANES_FN const char *block_lane(const void *block, int c)
{
    return (const char *)block + (ptrdiff_t)c * 4;
}

/* sum += a(:, row) * the block's row. `odd` is row % 2, where the compiler can see it. */
LANES_FN void tile_step(struct tile *t, const bool narrow, const int rows, const int vectors,
                        const float *a, int a_stride, int row, const bool odd, int width)
{
    wide x[TILE_ROWS];
    UNROLLED for (int i = 0; i < rows; i++)
        x[i] = wide_set(a[(ptrdiff_t)i * a_stride + row]);
    UNROLLED for (int j = 0; j < vectors; j++) {
        ptrdiff_t offset = (ptrdiff_t)(narrow ? row / 2 : row) * width * 4;
        const void *at = t->block[j] + offset;
        if (!narrow || !odd)
            __builtin_prefetch(t->next[j] + offset, 0, 2);
        wide y = !narrow ? wide_load(at) : odd ? wide_load_odd(at) : wide_load_even(at);
        UNROLLED for (int i = 0; i < rows; i++)
            t->sum[i][j] = wide_fma(x[i], y, t->sum[i][j]);
    }
}

/* Calls fn(rows, ...) for all of m queries, some rows at a time. */
#define EACH_TILE(m, tile_of_rows)                 \
    do {                                           \
        int i = 0;                                 \
        for (; i + TILE_ROWS <= m; i += TILE_ROWS) \
            tile_of_rows(TILE_ROWS);               \
        for (; i + 3 <= m; i += 3)                 \
            tile_of_rows(3);                       \
        if (i + 2 == m)                            \
            tile_of_rows(2);                       \
        if (i + 1 == m)                            \
            tile_of_rows(1);                       \
    } while (0)

/* ---- scores ---------------------------------------------------------------------------------- */

LANES_FN void scores_tile(const bool narrow, const int rows, const int vectors, float *s,
                          int stride, const float *q, int q_stride, const void *const *keys,
                          int dim)
{
    struct tile t = {0};
    UNROLLED for (int j = 0; j < vectors; j++) {
        t.block[j] = block_lane(keys[j / COLUMN_VECTORS], j % COLUMN_VECTORS * WIDE);
        t.next[j] = block_lane(keys[KV_AHEAD + j / COLUMN_VECTORS], j % COLUMN_VECTORS * WIDE);
    }
    int d = 0;
    for (; d + 2 <= dim; d += 2) {
        tile_step(&t, narrow, rows, vectors, q, q_stride, d, false, KV_LANES);
        tile_step(&t, narrow, rows, vectors, q, q_stride, d + 1, true, KV_LANES);
    }
    if (d < dim)
        tile_step(&t, narrow, rows, vectors, q, q_stride, d, false, KV_LANES);
    /* In this order: what a short block leaves behind its end, the next one overwrites. */
    UNROLLED for (int j = 0; j < vectors; j++) {
        int at = j / COLUMN_VECTORS * SPECD_BLOCK_TOKENS + j % COLUMN_VECTORS * WIDE;
        UNROLLED for (int i = 0; i < rows; i++)
            wide_store(s + (ptrdiff_t)i * stride + at, t.sum[i][j]);
    }
}

LANES_FN void scores_column(const bool narrow, const int vectors, float *s, int stride,
                            const float *q, int q_stride, const void *const *keys, int m, int dim)
{
#define TILE(rows)                                                        \
    scores_tile(narrow, rows, vectors, s + (ptrdiff_t)i * stride, stride, \
                q + (ptrdiff_t)i * q_stride, q_stride, keys, dim)
    EACH_TILE(m, TILE);
#undef TILE
}

LANES_FN void scores_of(const bool narrow, float *s, int stride, const float *q, int q_stride,
                        const void *const *keys, int n_blocks, int m, int dim)
{
    const int n = TILE_VECTORS / COLUMN_VECTORS;
    int b = 0;
    for (; b + n <= n_blocks; b += n)
        scores_column(narrow, TILE_VECTORS, s + b * SPECD_BLOCK_TOKENS, stride, q, q_stride,
                      keys + b, m, dim);
    for (; b < n_blocks; b++)
        scores_column(narrow, COLUMN_VECTORS, s + b * SPECD_BLOCK_TOKENS, stride, q, q_stride,
                      keys + b, m, dim);
}

LANES_TARGET static void scores(enum kv_type type, float *s, int stride, const float *q,
                                int q_stride, const void *const *keys, int n_blocks, int m, int dim)
{
    if (type == KV_F32)
        scores_of(false, s, stride, q, q_stride, keys, n_blocks, m, dim);
    else
        scores_of(true, s, stride, q, q_stride, keys, n_blocks, m, dim);
}

/* ---- values ---------------------------------------------------------------------------------- */

LANES_FN void values_tile(const bool narrow, const int rows, const int vectors, float *v,
                          int stride, const float *p, int p_stride, const void *const *values,
                          int from, int to, int c, int width)
{
    struct tile t = {0};
    UNROLLED for (int i = 0; i < rows; i++)
        UNROLLED for (int j = 0; j < vectors; j++)
            t.sum[i][j] = wide_load(v + (ptrdiff_t)i * stride + j * WIDE);
    while (from < to) {
        int block = from / SPECD_BLOCK_TOKENS, r = from % SPECD_BLOCK_TOKENS;
        int end = r + to - from < SPECD_BLOCK_TOKENS ? r + to - from : SPECD_BLOCK_TOKENS;
        const float *a = p + from - r;
        from += end - r;
        UNROLLED for (int j = 0; j < vectors; j++) {
            t.block[j] = block_lane(values[block], c + j * WIDE);
            t.next[j] = block_lane(values[block + KV_AHEAD], c + j * WIDE);
        }
        if (r % 2 == 1)
            tile_step(&t, narrow, rows, vectors, a, p_stride, r++, true, width);
        for (; r + 2 <= end; r += 2) {
            tile_step(&t, narrow, rows, vectors, a, p_stride, r, false, width);
            tile_step(&t, narrow, rows, vectors, a, p_stride, r + 1, true, width);
        }
        if (r < end)
            tile_step(&t, narrow, rows, vectors, a, p_stride, r, false, width);
    }
    UNROLLED for (int i = 0; i < rows; i++)
        UNROLLED for (int j = 0; j < vectors; j++)
            wide_store(v + (ptrdiff_t)i * stride + j * WIDE, t.sum[i][j]);
}

/* Lanes c and on of the values. */
LANES_FN void values_column(const bool narrow, const int vectors, float *v, int stride,
                            const float *p, int p_stride, const void *const *values, int from,
                            int to, int m, int c, int width)
{
#define TILE(rows)                                                            \
    values_tile(narrow, rows, vectors, v + (ptrdiff_t)i * stride + c, stride, \
                p + (ptrdiff_t)i * p_stride, p_stride, values, from, to, c, width)
    EACH_TILE(m, TILE);
#undef TILE
}

LANES_FN void values_of(const bool narrow, float *v, int stride, const float *p, int p_stride,
                        const void *const *values, int from, int to, int m, int width)
{
    int c = 0;
    for (; c + TILE_VECTORS * WIDE <= width; c += TILE_VECTORS * WIDE)
        values_column(narrow, TILE_VECTORS, v, stride, p, p_stride, values, from, to, m, c, width);
    for (; c < width; c += KV_LANES)
        values_column(narrow, COLUMN_VECTORS, v, stride, p, p_stride, values, from, to, m, c,
                      width);
}

LANES_TARGET static void values(enum kv_type type, float *v, int stride, const float *p,
                                int p_stride, const void *const *blocks, int from, int to, int m,
                                int width)
{
    if (type == KV_F32)
        values_of(false, v, stride, p, p_stride, blocks, from, to, m, width);
    else
        values_of(true, v, stride, p, p_stride, blocks, from, to, m, width);
}
/* clang-format on */
