/*
 * qrows.h - rows of activations as small integers: what integer matrix kernels multiply with.
 *
 * A row x is quantised once per matrix product, in runs of 32 columns, by one function whose bits
 * do not depend on the instruction set:
 *   a    the largest |x| of the run, found among bit patterns, so that NaN and infinity win
 *   q    nearest-even(x * (127 / a)), -127 .. 127, with a scale of a / 127
 *   hot, where a is more than so many times the row's root mean square: 7 more bits.
 *        X = nearest-even(x * (16129 / a)) = 128 * high + low, with a scale of a / 16129;
 *        high is -126 .. 126, low -64 .. 63
 *   a < 2^-100           scale 0 and q 0 (127 / a could overflow)
 *   a infinite or NaN    scale NaN and q 0: this row's products become NaN, no other row's do
 *
 * A single large value would otherwise round its 31 neighbours away: in SmolLM2 and Qwen2.5 some
 * channels of every row stand out twentyfold. The root mean square is taken as ops.h's rms_norm
 * does: eight lanes, one fused multiply-add at a time.
 *
 * A run of a row is one record, a line of the cache. Records lie in tiles, as many rows as the
 * kernels in use take at once, run by run, so that one pointer serves a kernel for all its rows.
 * What low integers a run has lies in a record of the row's own: few have any.
 */
#ifndef SPECD_CPU_QROWS_H
#define SPECD_CPU_QROWS_H

#include "arena.h"
#include "pool.h"

#include <stddef.h>
#include <stdint.h>

/* A run is hot above so many times the root mean square; in models that 8 bits are too few for, of
 * which more runs are. */
#define QROWS_HOT 6.0f
#define QROWS_HOT_FINE 3.0f

struct kernels;

/* Where sums of (u - offset) q begin that add up u q, by the offset: -offset times the sum of q,
 * for an offset of 32 of columns 0-15 and 16-31. For kernels that add in 16 bits two such numbers,
 * of every other pair of columns (dots.h). HALF_SUMS is the sums of q themselves, of columns 0-15
 * in the low 16 bits, of 16-31 in the high ones. */
enum qrow_start { START_8, START_128, START_32, HALF_SUMS = START_32 + 2, STARTS };

/* One run of one row, or its low integers, which need the first two fields only. */
struct qrow {
    _Alignas(64) int32_t words[8]; /* the integers of 4 columns each; of hot rows the high ones */
    int32_t starts[STARTS];        /* by enum qrow_start */
    float scale;
    float sum; /* scale times the sum of the run's integers, X where hot */
    int32_t hot;
};

struct qrows {
    struct qrow *tiles; /* (tiles, runs, rows of the tile) */
    struct qrow *low;   /* (rows, runs) written where hot */
    size_t max_records;
    float hot;                 /* QROWS_HOT, unless it is set between two products */
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
    return part_first(q->n_rows, q->n_tiles, tile);
}

static inline struct qrow *qrows_tile(const struct qrows *q, int tile)
{
    return q->tiles + (size_t)q->cols / 32 * (size_t)qrows_first(q, tile);
}

static inline struct qrow *qrows_low(const struct qrows *q, int row)
{
    return q->low + (size_t)q->cols / 32 * (size_t)row;
}

#endif
