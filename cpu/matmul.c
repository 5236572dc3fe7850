/*
 * Cuts Y = X W^T into blocks of rows of X, chunks of columns and groups of panels, prepares X for
 * the kernels, and spreads the panels over the pool. kernel.h has the order of accumulation.
 *
 * A stage (one pool_run) is one block of rows over one chunk of columns, such that its part of X
 * fits the scratch of a thread; partial sums wait in Y. Decoding passes are one stage as a rule.
 */
#include "matmul.h"
#include "kernel.h"

#include "specd/util.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <stdatomic.h>

#define ROWS_MAX 64         /* of X in a stage: a weight is read once for all of them */
#define X_FLOATS (64 << 10) /* of X in a stage, 256 KiB: stays in the second-level cache */

static bool force_portable;

struct stage {
    const struct matmul_job *jobs;
    const float *x; /* first row and column of the stage */
    size_t x_stride;
    int row, n_rows;
    int col, n_cols;
    bool first, last; /* chunk of columns */
    bool avx2;
    bool prepare; /* some weight is prescaled */
    int n_panels; /* of all jobs */
    int unit;     /* panels that are claimed at once, at least */
    _Alignas(64) atomic_int next;
};

/* Private to a thread, on its stack. */
struct scratch {
    _Alignas(64) float x[X_FLOATS]; /* (n_rows, n_cols) divided by `up` */
    float sums[X_FLOATS / RUN * SUMS];
    float acc[GROUP * TILE * PANEL];
};

/* Neighbouring panels of one job, GROUP at most. */
struct group {
    const struct matmul_job *job;
    int panel, n;
};

/* ---- one group of panels --------------------------------------------------------------------- */

static void load_acc(const struct stage *s, struct group g, int row, int n_rows, float *acc)
{
    memset(acc, 0, (size_t)(g.n * n_rows * PANEL) * sizeof(*acc));
    if (s->first)
        return;
    for (int p = 0; p < g.n; p++)
        for (int t = 0; t < n_rows; t++, acc += PANEL) {
            int first = (g.panel + p) * PANEL, n = MIN(PANEL, g.job->w->rows - first);
            const float *y = g.job->y + (size_t)(s->row + row + t) * (size_t)g.job->y_stride;
            memcpy(acc, y + first, (size_t)n * sizeof(*acc));
        }
}

static void store_acc(const struct stage *s, struct group g, int row, int n_rows, const float *acc)
{
    const float *bias = s->last ? g.job->bias : NULL;
    for (int p = 0; p < g.n; p++)
        for (int t = 0; t < n_rows; t++, acc += PANEL) {
            int first = (g.panel + p) * PANEL, n = MIN(PANEL, g.job->w->rows - first);
            float *y = g.job->y + (size_t)(s->row + row + t) * (size_t)g.job->y_stride;
            for (int i = 0; i < n; i++)
                y[first + i] = bias ? acc[i] + bias[first + i] : acc[i];
        }
}

/* Where the stage's columns of a group start. */
static const char *group_data(const struct stage *s, struct group g)
{
    const struct weight *w = g.job->w;
    return (const char *)w->data + (size_t)g.panel * panel_bytes(w->type, w->cols) +
           panel_bytes(w->type, s->col);
}

/* One call of a kernel. */
static void mul_tile(const struct stage *s, struct group g, int row, int n_rows, const char *next,
                     struct scratch *scratch)
{
    enum dtype type = g.job->w->type;
    size_t n_cols = (size_t)s->n_cols, sums_stride = n_cols / RUN * SUMS;
    struct kernel_args a = {
        .w = group_data(s, g),
        .w_stride = panel_bytes(type, g.job->w->cols),
        .next = next,
        .n_cols = s->n_cols,
        .x = s->x + (size_t)row * s->x_stride,
        .x_stride = s->x_stride,
        .sums = scratch->sums + (size_t)row * sums_stride,
        .sums_stride = sums_stride,
        .acc = scratch->acc,
    };
    if (dtype_is_prescaled(type)) {
        a.x = scratch->x + (size_t)row * n_cols;
        a.x_stride = n_cols;
    }
    load_acc(s, g, row, n_rows, a.acc);
    if (s->avx2)
        kernel_avx2(type, g.n, n_rows, &a);
    else
        kernel_portable(type, g.n, n_rows, &a);
    store_acc(s, g, row, n_rows, a.acc);
}

/* A group against all rows of the stage: it stays in the cache for all tiles, and while the first
 * one reads it, the next group is fetched. (Left to itself the hardware sees several short streams;
 * measured 9.8 and 15.8 GB/s without and with, q4_1, one row, one core.) */
static void mul_group(const struct stage *s, struct group g, struct group next,
                      struct scratch *scratch)
{
    int n_tiles = (s->n_rows + TILE - 1) / TILE;
    size_t stride = panel_bytes(g.job->w->type, g.job->w->cols);
    for (int i = 0; i < n_tiles; i++) {
        int row = i * s->n_rows / n_tiles, n_rows = (i + 1) * s->n_rows / n_tiles - row;
        for (int p = 0; p < g.n;) {
            int n = s->avx2 ? kernel_avx2_panels(n_rows, g.n - p) : 1;
            struct group part = {g.job, g.panel + p, n};
            const char *fetch = group_data(s, i == 0 ? next : g) + (size_t)p * stride;
            mul_tile(s, part, row, n_rows, fetch, scratch);
            p += n;
        }
    }
}

/* ---- a thread's share ------------------------------------------------------------------------ */

static void prepare(const struct stage *s, struct scratch *scratch)
{
    float *scaled = scratch->x, *sums = scratch->sums;
    for (int t = 0; t < s->n_rows && s->prepare; t++) {
        const float *x = s->x + (size_t)t * s->x_stride;
        if (s->avx2)
            prepare_avx2(x, s->n_cols, scaled, sums);
        else
            prepare_portable(x, s->n_cols, scaled, sums);
        scaled += s->n_cols;
        sums += s->n_cols / RUN * SUMS;
    }
}

/* Panels first .. end, all jobs' panels being counted through. */
struct range {
    int first, end;
};

/* Much at first, little towards the end, so that threads finish together even when another process
 * takes a core for a while. */
static struct range claim(struct stage *s, int n_parts)
{
    int next = atomic_load_explicit(&s->next, memory_order_relaxed), n;
    do {
        n = (s->n_panels - next) / (2 * n_parts) / s->unit * s->unit;
        n = MIN(MAX(n, s->unit), s->n_panels - next);
    } while (n > 0 && !atomic_compare_exchange_weak_explicit(
                          &s->next, &next, next + n, memory_order_relaxed, memory_order_relaxed));
    return (struct range){next, next + n};
}

static struct group group_at(const struct stage *s, struct range r)
{
    const struct matmul_job *job = s->jobs;
    int panel = r.first;
    for (; panel >= panel_count(job->w->rows); job++)
        panel -= panel_count(job->w->rows);
    int n = MIN(r.end - r.first, panel_count(job->w->rows) - panel);
    return (struct group){job, panel, MIN(n, GROUP)};
}

/* Ranges are claimed one ahead, so that there always is a next group to fetch. */
static void run_part(void *arg, int part, int n_parts)
{
    (void)part;
    struct stage *s = arg;
    struct scratch scratch; /* not cleared: large, and filled where it is used */
    struct range now = claim(s, n_parts), then;
    if (now.first == now.end)
        return;
    prepare(s, &scratch);
    then = claim(s, n_parts);
    for (struct group g = group_at(s, now), next; g.n > 0; g = next) {
        now.first += g.n;
        if (now.first == now.end) {
            now = then;
            then = claim(s, n_parts);
        }
        next = (struct group){g.job, g.panel, 0};
        if (now.first < now.end)
            next = group_at(s, now);
        mul_group(s, g, next, &scratch);
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

void matmul(struct pool *p, const struct matmul_job *jobs, int n_jobs, const float *x, int x_stride,
            int T)
{
    int cols = jobs[0].w->cols;
    struct stage s = {.jobs = jobs, .x_stride = (size_t)x_stride};
    s.avx2 = cpu_has_avx2() && !force_portable;
    for (int i = 0; i < n_jobs; i++) {
        ASSERT(jobs[i].w->cols == cols);
        s.n_panels += panel_count(jobs[i].w->rows);
        s.prepare |= dtype_is_prescaled(jobs[i].w->type);
    }
    s.unit = claim_unit(s.n_panels, pool_size(p));
    for (s.row = 0; s.row < T; s.row += s.n_rows) {
        s.n_rows = MIN(T - s.row, ROWS_MAX);
        int chunk = X_FLOATS / s.n_rows / SUPER * SUPER;
        for (s.col = 0; s.col < cols; s.col += s.n_cols) {
            s.n_cols = MIN(cols - s.col, chunk);
            s.x = x + (size_t)s.row * s.x_stride + s.col;
            s.first = s.col == 0;
            s.last = s.col + s.n_cols == cols;
            atomic_store_explicit(&s.next, 0, memory_order_relaxed);
            pool_run(p, run_part, &s);
        }
    }
}

/* ---- choice of kernel ------------------------------------------------------------------------ */

static bool detect_avx2(void)
{
#if defined(__x86_64__)
    unsigned eax, ebx, ecx, edx; /* f16c has no name in clang's __builtin_cpu_supports */
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
#else
    return false;
#endif
}

bool cpu_has_avx2(void)
{
    static atomic_int known; /* 0: not yet; cpuid costs 10 us in a virtual machine */
    int k = atomic_load_explicit(&known, memory_order_relaxed);
    if (k == 0) {
        k = detect_avx2() ? 1 : -1;
        atomic_store_explicit(&known, k, memory_order_relaxed);
    }
    return k > 0;
}

void cpu_force_portable(bool on)
{
    force_portable = on;
}
