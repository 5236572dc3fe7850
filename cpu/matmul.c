/*
 * Cuts Y = X W^T into blocks of rows of X and panels of W, and spreads these over the pool in one
 * stage. kernel.h has the order of accumulation, which no cut can change: a kernel runs over all
 * columns of a panel and its rows.
 *
 * Decoding passes are one block of one or a few tiles. A prompt's blocks are as many rows as stay
 * in the second-level cache; a panel passes through the first-level one tile by tile.
 */
#include "matmul.h"
#include "kernel.h"

#include "specd/util.h"

#include <stdatomic.h>

#define BLOCK_BYTES (512 << 10) /* of the rows of a block */
#define BLOCK_ROWS 128          /* at most */
#define FEW_FLOATS 16384        /* of rows, up to which each thread makes them for itself */
#define DECODE_RUNS 8           /* of all panels that are widened at once */

const struct kernels *kernels_get(void)
{
    static const struct kernels *const table[ISA_COUNT] = {
        [ISA_PORTABLE] = &kernels_portable,
#if defined(__x86_64__)
        [ISA_AVX2] = &kernels_avx2,
        [ISA_AVX_VNNI] = &kernels_avx_vnni,
        [ISA_VNNI_256] = &kernels_vnni_256,
        [ISA_AVX512] = &kernels_avx512,
#endif
    };
    return table[cpu_isa()];
}

struct stage {
    const struct matmul_group *groups;
    int n_groups;
    const struct kernels *kernels;
    bool few;                     /* each thread makes the rows of the only group for itself */
    int end;                      /* panels of all jobs, blocks and groups being counted through */
    int unit;                     /* panels that are claimed at once, at least */
    _Alignas(64) atomic_int next; /* panel */
};

/* What a thread multiplies. */
struct rows {
    const float *x;
    size_t x_stride;
    struct qrows q;
};

/* Private to a thread, on its stack. */
struct scratch {
    _Alignas(64) float acc[BLOCK_ROWS * PANEL];
    _Alignas(64) float values[DECODE_RUNS * RUN * PANEL];
    struct rows rows;
    /* where these lie, if the thread made them */
    _Alignas(64) float x[FEW_FLOATS];
    struct qrow tiles[FEW_FLOATS / RUN], low[FEW_FLOATS / RUN];
};

/* Neighbouring panels of one job against the rows of a block. */
struct task {
    const struct matmul_group *group;
    const struct matmul_job *job;
    int panel, n_panels;
    int tile, end_tile;
};

static int first_row(const struct matmul_group *g, int tile)
{
    return part_first(g->in.n_rows, g->n_tiles, tile);
}

static const char *panel_at(const struct weight *w, int panel)
{
    return (const char *)w->data + (size_t)panel * panel_bytes(w->type, w->cols);
}

static inline __attribute__((always_inline)) void
store_values(const struct matmul_job *job, int first, int n, float *acc, float *restrict y)
{
    const float *restrict bias = job->bias ? job->bias + first : NULL;
    const float scale = job->w->scale;
    for (int i = 0; i < n && scale != 1.0f; i++)
        acc[i] *= scale;
    for (int i = 0; i < n && bias; i++)
        acc[i] += bias[i];
    for (int i = 0; i < n && job->adds; i++)
        acc[i] += y[i];
    memcpy(y, acc, (size_t)n * sizeof(*y));
}

/* Outputs of one panel and n rows from `row` on. acc: (n, PANEL), used up */
static void store(const struct matmul_job *job, int panel, int row, int n, float *acc)
{
    int first = panel * PANEL, width = MIN(PANEL, job->w->rows - first);
    for (int t = 0; t < n; t++, acc += PANEL) {
        float *y = job->y + (ptrdiff_t)(row + t) * job->y_stride + first;
        if (width == PANEL)
            store_values(job, first, PANEL, acc, y);
        else
            store_values(job, first, width, acc, y);
    }
}

static void multiply_integers(const struct stage *s, struct task t, struct scratch *scratch)
{
    const struct qrows *q = &scratch->rows.q;
    for (int p = t.panel; p < t.panel + t.n_panels; p++)
        for (int tile = t.tile; tile < t.end_tile; tile++) {
            int row = first_row(t.group, tile), n = first_row(t.group, tile + 1) - row;
            struct dots_args a = {
                .w = (const uint8_t *)panel_at(t.job->w, p),
                .tile = qrows_tile(q, tile),
                .low = qrows_low(q, row),
                .n_runs = q->cols / RUN,
                .y = scratch->acc,
            };
            s->kernels->dots(t.job->w->type, n, &a);
            store(t.job, p, row, n, scratch->acc);
        }
}

/* All rows of a block, in tiles. acc: (n_panels, n_rows of a tile, PANEL), tile after tile. */
static void multiply_block(const struct stage *s, struct task t, enum dtype type,
                           struct floats_args a)
{
    int row = first_row(t.group, t.tile), n_rows = first_row(t.group, t.end_tile) - row;
    int n_tiles = (n_rows + s->kernels->floats->rows - 1) / s->kernels->floats->rows;
    const float *x = a.x + (size_t)row * a.x_stride;
    float *acc = a.acc;
    for (int i = 0; i < n_tiles; i++) {
        int first = part_first(n_rows, n_tiles, i), n = part_first(n_rows, n_tiles, i + 1) - first;
        a.x = x + (size_t)first * a.x_stride;
        a.acc = acc + (ptrdiff_t)first * t.n_panels * PANEL;
        s->kernels->floats->multiply(type, t.n_panels, n, &a);
    }
}

static void multiply_floats(const struct stage *s, struct task t, struct scratch *scratch)
{
    const struct weight *w = t.job->w;
    int row = first_row(t.group, t.tile), n_rows = first_row(t.group, t.end_tile) - row;
    struct floats_args a = {
        .w = panel_at(w, t.panel),
        .w_stride = panel_bytes(w->type, w->cols),
        .n_cols = w->cols,
        .x = scratch->rows.x,
        .x_stride = scratch->rows.x_stride,
        .acc = scratch->acc,
    };
    memset(scratch->acc, 0, sizeof(float) * (size_t)(n_rows * t.n_panels * PANEL));
    if (!dtype_is_quantised(w->type)) {
        multiply_block(s, t, w->type, a);
    } else {
        const char *panel = a.w;
        const size_t stride = a.w_stride;
        a.w = (const char *)scratch->values;
        for (int run = 0, n; run < w->cols / RUN; run += n) {
            n = MIN(DECODE_RUNS / t.n_panels, w->cols / RUN - run);
            a.n_cols = n * RUN;
            a.w_stride = (size_t)(a.n_cols * PANEL) * sizeof(float);
            for (int p = 0; p < t.n_panels; p++)
                s->kernels->floats->decode(w->type, panel + (size_t)p * stride, run, n,
                                           scratch->values + p * a.n_cols * PANEL);
            multiply_block(s, t, DT_F32, a);
            a.x += n * RUN;
        }
    }
    for (int p = 0; p < t.n_panels; p++)
        store(t.job, t.panel + p, row, n_rows, scratch->acc + (ptrdiff_t)p * n_rows * PANEL);
}

/* ---- a thread's share ------------------------------------------------------------------------ */

/* Panels first .. end of the stage's. */
struct range {
    int first, end;
};

static int panels_of(const struct weight *w)
{
    return w->panels ? w->n_panels : panel_count(w->rows);
}

/* Much at first, little towards the end, so that threads finish together even when another process
 * takes a core for a while. */
static struct range claim(struct stage *s, int n_parts)
{
    int next = atomic_load_explicit(&s->next, memory_order_relaxed), all = s->end, n;
    do {
        n = (all - next) / (2 * n_parts) / s->unit * s->unit;
        n = MIN(MAX(n, s->unit), all - next);
    } while (n > 0 && !atomic_compare_exchange_weak_explicit(
                          &s->next, &next, next + n, memory_order_relaxed, memory_order_relaxed));
    return (struct range){next, next + n};
}

/* What a range begins with. from: a group where or before which it does. */
static struct task task_at(const struct stage *s, struct range r, const struct matmul_group *from)
{
    const struct matmul_group *g = from, *last = s->groups + s->n_groups - 1;
    while (g < last && g[1].first <= r.first)
        g++;
    const struct matmul_job *job = g->jobs;
    int block = (r.first - g->first) / g->n_panels, panel = (r.first - g->first) % g->n_panels;
    for (; panel >= panels_of(job->w); job++)
        panel -= panels_of(job->w);
    struct task t = {
        .group = g,
        .job = job,
        .panel = panel,
        .n_panels = MIN(r.end - r.first, panels_of(job->w) - panel),
        .tile = part_first(g->n_tiles, g->n_blocks, block),
        .end_tile = part_first(g->n_tiles, g->n_blocks, block + 1),
    };
    if (job->w->panels) { /* those that lie side by side */
        const int32_t *p = job->w->panels + panel;
        int n = 1;
        while (n < t.n_panels && p[n] == p[0] + n)
            n++;
        t.panel = p[0];
        t.n_panels = n;
    }
    return t;
}

/* Rows first .. end, whose place is x, and in q if it is not NULL. */
static void make_rows(const struct matmul_input *in, float *x, size_t x_stride,
                      const struct qrows *q, int first, int end)
{
    for (int row = first; row < end; row++) {
        float *to = x + (size_t)row * x_stride;
        if (in->make)
            in->make(in->arg, row, to);
        if (q)
            qrows_put(q, row, to);
    }
}

/* Fills scratch->rows with those of a group. */
static void take_rows(const struct stage *s, const struct matmul_group *g, struct scratch *scratch)
{
    const struct matmul_input *in = &g->in;
    struct rows *rows = &scratch->rows;
    float *x = s->few && in->make ? scratch->x : in->x;
    rows->x = x;
    rows->x_stride = (size_t)(x == in->x ? in->x_stride : in->cols);
    if (g->integers && s->few) {
        rows->q = (struct qrows){.tiles = scratch->tiles, .low = scratch->low, .hot = in->q->hot};
        rows->q.max_records = FEW_FLOATS / RUN;
        qrows_begin(&rows->q, in->n_rows, in->cols);
    } else if (g->integers) {
        rows->q = *in->q;
    }
    if (s->few)
        make_rows(in, x, rows->x_stride, g->integers ? &rows->q : NULL, 0, in->n_rows);
}

static void run_part(void *arg, int part, int n_parts)
{
    (void)part;
    struct stage *s = arg;
    struct range r = claim(s, n_parts);
    struct scratch scratch; /* not cleared: large, and filled where it is used */
    const struct matmul_group *taken = NULL;
    for (; r.first < r.end; r = claim(s, n_parts))
        while (r.first < r.end) {
            struct task t = task_at(s, r, taken ? taken : s->groups);
            if (t.group != taken)
                take_rows(s, taken = t.group, &scratch);
            if (t.group->integers && dtype_is_integer(t.job->w->type)) {
                multiply_integers(s, t, &scratch);
            } else {
                int group = floats_panels(s->kernels->floats, t.group->in.n_rows);
                t.n_panels = t.n_panels < group ? 1 : group;
                multiply_floats(s, t, &scratch);
            }
            r.first += t.n_panels;
        }
}

/* The least that is claimed: as much as a kernel likes, unless some thread would get nothing. */
static int claim_unit(int n_panels, int n_parts)
{
    int unit = GROUP;
    while (unit > 1 && unit * n_parts > n_panels)
        unit /= 2;
    return unit;
}

/* Panels and blocks, which depend on the group alone. */
static void group_cut(struct matmul_group *g, int tile_rows)
{
    bool floats = false;
    g->integers = false;
    g->n_panels = 0;
    for (int i = 0; i < g->n_jobs; i++) {
        ASSERT(g->jobs[i].w->cols == g->in.cols);
        g->n_panels += panels_of(g->jobs[i].w);
        if (g->in.q && dtype_is_integer(g->jobs[i].w->type))
            g->integers = true;
        else
            floats = true;
    }
    size_t row_bytes = (size_t)g->in.cols * (floats ? sizeof(float) : sizeof(struct qrow) / RUN);
    int tiles = (int)MIN(BLOCK_BYTES / row_bytes, BLOCK_ROWS) / tile_rows;
    g->n_tiles = (g->in.n_rows + tile_rows - 1) / tile_rows;
    g->n_blocks = (g->n_tiles + MAX(tiles, 1) - 1) / MAX(tiles, 1);
}

void matmul_groups(struct pool *p, struct matmul_group *groups, int n_groups)
{
    struct stage s = {.groups = groups, .n_groups = n_groups, .kernels = kernels_get()};
    int n_panels = 0;
    for (int i = 0; i < n_groups; i++) {
        struct matmul_group *g = &groups[i];
        group_cut(g, s.kernels->rows);
        g->first = s.end;
        s.end += g->n_panels * g->n_blocks;
        n_panels += g->n_panels;
    }
    struct matmul_input *in = &groups->in;
    s.few = !in->ready && in->n_rows * (int64_t)in->cols <= FEW_FLOATS;
    if (!groups->integers)
        in->q = NULL;
    if (!s.few && !in->ready && (in->make || groups->integers))
        matmul_rows(p, in);
    s.unit = claim_unit(n_panels, pool_size(p));
    atomic_store_explicit(&s.next, 0, memory_order_relaxed);
    pool_run(p, run_part, &s);
}

void matmul(struct pool *p, const struct matmul_job *jobs, int n_jobs,
            const struct matmul_input *in)
{
    struct matmul_group g = {.jobs = jobs, .n_jobs = n_jobs, .in = *in};
    matmul_groups(p, &g, 1);
}

/* ---- many rows ------------------------------------------------------------------------------- */

static void rows_part(void *arg, int part, int n_parts)
{
    const struct matmul_input *in = arg;
    make_rows(in, in->x, (size_t)in->x_stride, in->q, part_first(in->n_rows, n_parts, part),
              part_first(in->n_rows, n_parts, part + 1));
}

void matmul_rows(struct pool *p, struct matmul_input *in)
{
    if (in->q)
        qrows_begin(in->q, in->n_rows, in->cols);
    pool_run(p, rows_part, in);
    in->ready = true;
}
