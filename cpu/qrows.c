#include "qrows.h"

#include "kernel.h"
#include "specd/util.h"

/* The smallest number of rows that some kernel has for its largest tile: bounds their number. */
#define TILE_MIN 4

void qrows_layout(struct qrows *q, int max_rows, int max_cols, struct arena *a)
{
    size_t runs = ((size_t)max_cols + RUN - 1) / RUN, rows = (size_t)max_rows;
    *q = (struct qrows){.max_rows = max_rows, .max_cols = max_cols};
    q->tiles = arena_take(a, runs, (rows * QROW_WORDS + (rows / TILE_MIN + 1) * 4) * 4);
    q->low = arena_take(a, runs, rows * LOW_WORDS * 4);
}

void qrows_begin(struct qrows *q, int n_rows, int cols)
{
    ASSERT(n_rows >= 1 && n_rows <= q->max_rows && cols <= q->max_cols && cols % RUN == 0);
    q->kernels = kernels_get();
    ASSERT(q->kernels->rows >= TILE_MIN);
    q->n_rows = n_rows;
    q->cols = cols;
    q->n_tiles = (n_rows + q->kernels->rows - 1) / q->kernels->rows;
}

void qrows_put(const struct qrows *q, int row, const float *x)
{
    int tile = (int)((int64_t)row * q->n_tiles / q->n_rows);
    while (qrows_first(q, tile + 1) <= row)
        tile++;
    while (qrows_first(q, tile) > row)
        tile--;
    int first = qrows_first(q, tile), R = qrows_first(q, tile + 1) - first;
    q->kernels->quantise(x, q->cols, R, row - first, qrows_tile(q, tile), qrows_low(q, row));
}
