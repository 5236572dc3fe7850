#include "qrows.h"

#include "kernel.h"
#include "specd/util.h"

void qrows_layout(struct qrows *q, int max_rows, int max_cols, struct arena *a)
{
    size_t runs = ((size_t)max_cols + RUN - 1) / RUN, rows = (size_t)max_rows;
    *q = (struct qrows){.max_records = runs * rows, .hot = QROWS_HOT};
    q->tiles = arena_take(a, runs, rows * sizeof(*q->tiles));
    q->low = arena_take(a, runs, rows * sizeof(*q->low));
}

void qrows_begin(struct qrows *q, int n_rows, int cols)
{
    ASSERT(n_rows >= 1 && cols % RUN == 0 &&
           (size_t)n_rows * (size_t)(cols / RUN) <= q->max_records);
    q->kernels = kernels_get();
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
    q->kernels->quantise(x, q->cols, q->hot, qrows_tile(q, tile) + row - first, R,
                         qrows_low(q, row));
}
