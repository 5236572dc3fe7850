/*
 * Products of many rows: channels are unpacked a range at a time, multiplied by cuBLASLt, and
 * finished where the library's sums are not yet what is asked for.
 *
 * On paper, not measured; an H100 with 3.35 TB/s, 800 TFLOP/s of bf16 and 1600 of fp8 as cuBLASLt
 * gets them, 480 through mma.sync, which is what launch_product has. Per weight, picoseconds, T
 * rows, b bytes packed:
 *
 *   launch_product   max(b / 3.35, T / 240)
 *   bf16             (b + 2) / 3.35 to unpack + max(2 / 3.35, T / 400)
 *   e4m3             (b + 1) / 3.35 + max(1 / 3.35, T / 800)
 *   gate and up      8 T / K / 3.35 more: their sums, in f32, are written and read once
 *
 * They are equal at so many rows (gate and up: K = 4096)
 *
 *   e4m3 205 (256)   INT4 459 (706)   INT4_MIN, INT4_K 470 (723)   FP8 widened 537 (826)
 *   INT8 549 (844)   BF16 716 (1102)
 *
 * and at 2048 rows it is 8.5 against 3.2 (e4m3), 5.9 (INT4), 6.0 (INT8), 6.3 (BF16): what unpacking
 * costs does not grow with the rows. Matrices that stay in the L2 cache between the two steps, some
 * 20 MB, do better than this says. Nothing but time and rounding depends on the choice.
 *
 * Accumulation of e4m3 products is the precise one (CUBLASLT_MATMUL_DESC_FAST_ACCUM off).
 */
#include "gemm.h"

#include "gemm_lt.h"
#include "gemm_rows.h"
#include "specd/error.h"
#include "specd/util.h"

#include <stdlib.h>

#define MIB ((size_t)1 << 20)
#define WEIGHTS_BYTES (256 * MIB) /* scratch at the most */
#define SUMS_BYTES (128 * MIB)
#define RANGE 16       /* channels: ranges are whole tiles of what is packed */
#define RANGE_WIDE 256 /* and where they are long, whole tiles of the library's kernels */

struct gemm {
    struct gemm_lt lt;
    void *weights; /* a range of channels, plain */
    size_t weights_bytes;
    float *sums; /* of a range, (rows, n) or (rows, 2, n); NULL: no call needs it */
    size_t n_sums;
    uint8_t *x; /* e4m3 (max_rows, max_k) */
    float *x_scales;
    int32_t max_rows;
    bool fp8; /* the device multiplies e4m3 */
};

/* ---- memory ---------------------------------------------------------------------------------- */

static int64_t padded(int64_t k)
{
    return (k + 15) / 16 * 16;
}

/* For a range of both halves at the least. */
static size_t weights_bytes(const struct gemm_sizes *s)
{
    size_t least = 2 * RANGE * (size_t)padded(s->max_k) * sizeof(uint16_t);
    size_t all = s->max_elements > WEIGHTS_BYTES / 2 ? WEIGHTS_BYTES : 2 * s->max_elements;

    return MAX(least, all);
}

/* e4m3 products that the library does not scale need it too. */
static size_t sums_count(const struct gemm_sizes *s, bool fp8)
{
    size_t rows = (size_t)s->max_rows;
    size_t channels = MAX(2 * (size_t)s->max_paired, fp8 ? (size_t)4096 : 0);

    if (channels == 0)
        return 0;
    return MAX(MIN(rows * channels, SUMS_BYTES / sizeof(float)), rows * 2 * RANGE);
}

/* The documentation's recommendation. */
static size_t workspace_bytes(int major)
{
    return major >= 9 ? 32 * MIB : 4 * MIB;
}

static void layout(struct gemm *g, const struct gemm_sizes *s, int major, struct gpu_arena *a)
{
    g->lt.workspace_bytes = workspace_bytes(major);
    g->lt.workspace = gpu_take(a, 1, g->lt.workspace_bytes);
    g->weights_bytes = weights_bytes(s);
    g->weights = gpu_take(a, 1, g->weights_bytes);
    g->n_sums = sums_count(s, g->fp8);
    g->sums = gpu_take(a, g->n_sums, sizeof(float));
    if (!g->fp8)
        return;
    g->x = gpu_take(a, (size_t)s->max_rows, (size_t)padded(s->max_k));
    g->x_scales = gpu_take(a, (size_t)s->max_rows, sizeof(float));
}

int gemm_open(struct gemm **out, const struct gemm_sizes *s, int major, int minor,
              struct gpu_arena *a)
{
    struct gemm *g = xcalloc(1, sizeof(*g));
    int r;

    *out = NULL;
    g->max_rows = s->max_rows;
    g->fp8 = s->has_fp8 && 10 * major + minor >= 89;
    layout(g, s, major, a);
    r = a->is_open ? gemm_lt_open(&g->lt) : 0;
    if (r || !a->is_open)
        free(g);
    else
        *out = g;
    return r;
}

void gemm_close(struct gemm *g)
{
    if (!g)
        return;
    gemm_lt_close(&g->lt);
    free(g);
}

/* The head's formulas. */
bool gemm_is_faster(const struct gemm *g, const struct product_plan *p, int32_t rows)
{
    double weights = (double)p->n * (double)p->k * (p->paired ? 2 : 1);
    double packed = (double)p->bytes / weights, T = (double)rows;
    bool e4m3 = p->type == PRODUCT_FP8 && g->fp8;
    double plain = e4m3 ? 1 : 2, rate = e4m3 ? 800 : 400;
    double own = MAX(packed / 3.35, T / 240);
    double unpacking = (packed + plain) / 3.35, product = MAX(plain / 3.35, T / rate);
    double sums = p->paired ? 8 * T / (double)p->k / 3.35 : 0;

    return rows >= GEMM_ROWS_MIN && unpacking + product + sums < own;
}

/* ---- one range of channels ------------------------------------------------------------------- */

/* How a call is run: the same for all of its ranges but the last, which may be narrower. */
struct gemm_work {
    const struct product_call *call;
    int32_t rows;
    int32_t first, n; /* channels of the range */
    enum lt_way way;
    bool direct; /* the library's sums are what out gets */
};

static const float *channel_scales(const struct gemm_work *w)
{
    const struct product_plan *p = w->call->plan;
    const float *all = (const float *)((const char *)w->call->weights + p->scales_at);

    return all + (p->paired ? 2 * w->first : w->first);
}

static struct lt_product lt_product_of(const struct gemm *g, const struct gemm_work *w)
{
    const struct product_call *c = w->call;
    bool fp8 = w->way != LT_BF16;
    int32_t wide = (int32_t)padded(c->plan->k), n = c->plan->paired ? 2 * w->n : w->n;

    return (struct lt_product){
        .way = w->way,
        .weights = g->weights,
        .x = fp8 ? (const void *)g->x : c->x,
        .out = w->direct ? (float *)c->out + w->first : g->sums,
        .n = n,
        .k = fp8 ? wide : c->plan->k,
        .rows = w->rows,
        .w_stride = wide,
        .x_stride = fp8 ? wide : c->x_stride,
        .out_stride = w->direct ? c->out_stride : n,
        .channel_scales = w->way == LT_FP8_SCALED ? channel_scales(w) : NULL,
        .row_scales = w->way == LT_FP8_SCALED ? g->x_scales : NULL,
        .add = w->direct && c->end == PRODUCT_ADD,
    };
}

static int unpack(struct gemm *g, const struct gemm_work *w, cudaStream_t stream)
{
    const struct product_plan *p = w->call->plan;
    size_t element = w->way == LT_BF16 ? sizeof(uint16_t) : 1;
    struct product_unpacked to = {
        .out = g->weights,
        .stride = padded(p->k),
        .first = w->first,
        .n = w->n,
    };

    if (p->paired)
        to.up = (char *)g->weights + (size_t)w->n * (size_t)to.stride * element;
    if (w->way == LT_BF16)
        return launch_product_unpack(p, w->call->weights, &to, stream);
    return launch_product_unpack_codes(p, w->call->weights, &to, stream);
}

/* Of sums that went straight to out only the bias is missing. */
static int finish(struct gemm *g, const struct gemm_work *w, cudaStream_t stream)
{
    const struct product_call *c = w->call;
    size_t element = product_end_is_paired(c->end) ? sizeof(uint16_t) : sizeof(float);
    struct gemm_finish f = {
        .sums = w->direct ? NULL : g->sums,
        .rows = w->rows,
        .n = w->n,
        .row_scales = w->way == LT_FP8 ? g->x_scales : NULL,
        .channel_scales = w->way == LT_FP8 ? channel_scales(w) : NULL,
        .bias = c->bias ? c->bias + w->first : NULL,
        .up_bias = c->bias ? c->bias + c->plan->n + w->first : NULL,
        .end = w->direct ? PRODUCT_ADD : c->end,
        .out = (char *)c->out + (size_t)w->first * element,
        .out_stride = c->out_stride,
    };

    if (w->direct && !c->bias)
        return 0;
    return launch_gemm_finish(&f, stream);
}

static int range_run(struct gemm *g, const struct gemm_work *w, cudaStream_t stream)
{
    struct lt_product p = lt_product_of(g, w);
    int r = unpack(g, w, stream);

    if (!r)
        r = gemm_lt_run(&g->lt, &p, stream);
    if (!r)
        r = finish(g, w, stream);
    return r;
}

/* ---- a call ---------------------------------------------------------------------------------- */

/* Channels that scratch holds, split evenly. */
static int32_t range_of(const struct gemm *g, const struct gemm_work *w)
{
    const struct product_plan *p = w->call->plan;
    size_t halves = p->paired ? 2 : 1, element = w->way == LT_BF16 ? sizeof(uint16_t) : 1;
    size_t fits = g->weights_bytes / (halves * (size_t)padded(p->k) * element);
    int32_t most, step, ranges;

    if (!w->direct)
        fits = MIN(fits, g->n_sums / (halves * (size_t)w->rows));
    most = (int32_t)MIN(fits, (size_t)p->n);
    if (most == p->n)
        return most;
    step = most >= RANGE_WIDE ? RANGE_WIDE : RANGE;
    most = most / step * step;
    ranges = (p->n + most - 1) / most;
    return (p->n + ranges * step - 1) / (ranges * step) * step;
}

static bool can_range(struct gemm *g, const struct gemm_work *w)
{
    struct lt_product p = lt_product_of(g, w);

    return gemm_lt_can(&g->lt, &p);
}

/* The first range and the last: those between are like the first. */
static bool can(struct gemm *g, struct gemm_work *w, enum lt_way way, bool direct)
{
    struct gemm_work last;

    w->way = way;
    w->direct = direct;
    w->n = range_of(g, w);
    last = *w;
    last.first = (w->call->plan->n - 1) / w->n * w->n;
    last.n = w->call->plan->n - last.first;
    return can_range(g, w) && can_range(g, &last);
}

/* Scales in the library save the way through scratch, and not every device's library has them;
 * e4m3 operands must be whole 16 bytes each way. */
static void way_choose(struct gemm *g, struct gemm_work *w)
{
    const struct product_call *c = w->call;
    bool direct = !product_end_is_paired(c->end);

    if (c->plan->type == PRODUCT_FP8 && g->fp8 && c->plan->n % 16 == 0) {
        bool aligned = (uintptr_t)c->out % 16 == 0 && c->out_stride % 4 == 0;

        if (CUBLAS_OUTER_SCALES && direct && aligned && can(g, w, LT_FP8_SCALED, true))
            return;
        if (can(g, w, LT_FP8, false))
            return;
    }
    w->way = LT_BF16;
    w->direct = direct;
    w->n = range_of(g, w);
}

int gemm_run(struct gemm *g, const struct product_call *call, int32_t rows, cudaStream_t stream)
{
    const struct product_plan *p = call->plan;
    struct gemm_work w = {.call = call, .rows = rows};
    int r = 0;

    ASSERT(rows >= 0 && rows <= g->max_rows);
    ASSERT((uintptr_t)call->x % 16 == 0 && call->x_stride % 8 == 0 && call->x_stride >= p->k);
    ASSERT(p->paired == product_end_is_paired(call->end));
    if (rows == 0)
        return 0;
    way_choose(g, &w);
    if (w.way != LT_BF16)
        r = launch_quantize_rows(g->x, g->x_scales, call->x, call->x_stride, rows, p->k,
                                 (int32_t)padded(p->k), stream);
    for (int32_t range = w.n; !r && w.first < p->n; w.first += range) {
        w.n = MIN(range, p->n - w.first);
        r = range_run(g, &w, stream);
    }
    return r;
}
