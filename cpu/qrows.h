/*
 * qrows.h - rows of activations as small integers: what integer matrix kernels multiply with.
 *
 * A row x is quantised once per matrix product, in runs of 32 columns, by one function whose bits
 * do not depend on the instruction set:
 *   a       the largest |x| of the run, found among bit patterns, so that NaN and infinity win
 *   q       nearest-even(x * (127 / a)), -127 .. 127, with a scale of a / 127
 *   hot     where a > QROWS_HOT times the row's root mean square: 7 more bits. X = nearest-even(x *
 *           (16129 / a)) = 128 * high + low, high in -126 .. 126, low in -64 .. 63, scale a / 16129.
 *           A single large value would otherwise round its 31 neighbours away: in SmolLM2 and
 *           Qwen2.5 some channels of every row stand out twentyfold.
 *   a < 2^-100                 scale 0 and q 0 (127 / a could overflow)
 *   a infinite or NaN          scale NaN and q 0: this row's products become NaN, no other's do
 * The rms is that of ops.h's rms_norm: eight lanes, one fused multiply-add at a time.
 *
 * Rows lie interleaved in tiles, as many rows as the kernels in use take at once, so that one
 * pointer serves a kernel for all of them: of each run first word k of every row, then word k + 1.
 * A tile also says which of its rows are hot in a run: only if one is does a kernel look at the
 * second plane, which is zero for the others and so changes no bit of theirs.
 */
#ifndef SPECD_CPU_QROWS_H
#define SPECD_CPU_QROWS_H

#include "arena.h"

#include <stddef.h>
#include <stdint.h>

#define QROWS_HOT 8.0f

struct kernels;

struct qrows {
    int32_t *plane, *low; /* the tiles' records, see below; the second plane's */
    int max_rows, max_cols;
    int n_rows, cols, n_tiles; /* from qrows_begin on */
    const struct kernels *kernels;
};

/* Room for max_rows rows of max_cols columns. */
void qrows_layout(struct qrows *q, int max_rows, int max_cols, struct arena *a);
/* Makes ready for n_rows rows of cols columns, a multiple of 32. All rows are then to be put. */
void qrows_begin(struct qrows *q, int n_rows, int cols);
/* Quantises one row; any thread, rows in any order. x: (cols) */
void qrows_put(const struct qrows *q, int row, const float *x);

/* Tile i has rows qrows_first(q, i) .. qrows_first(q, i + 1). */
static inline int qrows_first(const struct qrows *q, int tile)
{
    return (int)((int64_t)tile * q->n_rows / q->n_tiles);
}

/* ---- records: 32-bit words of one run of a tile of R rows, [R] each ---------------------------
 *   words 0-7    the integers of 4 columns each
 *   pairs[3]     two i16: the sums over these words' bytes 0 and 1, and over bytes 2 and 3; of
 *                columns 0-15, of columns 16-31, of all
 *   scale        float
 * and in the first plane, which is a whole number of 16 bytes
 *   sum          float: scale times the sum of the run's integers
 *   hot          16 bytes, not by R: 1 for each row that is hot here
 * In the second plane scale is that of 128 * high + low, for rows that are not hot, too. */

enum { QROW_WORDS, QROW_PAIRS = 8, QROW_SCALE = 11, QROW_SUM = 12 };

static inline size_t plane_words(int R)
{
    return (size_t)R * 13 + 4;
}

static inline size_t low_words(int R)
{
    return (size_t)R * 12;
}

/* A tile's records. */
static inline const int32_t *qrows_plane(const struct qrows *q, int tile)
{
    size_t runs = (size_t)q->cols / 32, first = (size_t)qrows_first(q, tile);
    return q->plane + runs * (first * 13 + (size_t)tile * 4);
}

static inline const int32_t *qrows_low(const struct qrows *q, int tile)
{
    return q->low + (size_t)q->cols / 32 * low_words(qrows_first(q, tile));
}

#endif
