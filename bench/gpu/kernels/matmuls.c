/*
 * Every matrix of a pass times a few rows, in every tiling that fits: results may not differ by a
 * bit, times do.
 */
#include "kernels.h"

#include "overlap.h"
#include "product_impl.h"
#include "specd/util.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATTERN_UNITS 61           /* of packed weights: a prime, so that tiles differ */
#define COMPARED ((size_t)1 << 20) /* bytes at the start of a result, and at its end */
#define BYTES_OF_RUN 2e9           /* fewer launches of what is larger */
#define FEWEST 4                   /* launches of a graph */
#define PREFETCH 16                /* units a warp, where L2 is asked for what is behind the ring */

struct matmul {
    const struct kernels *k;
    struct product_plan plan;
    struct product_call call;
    struct product_tiling tiling;
    int rows;
    unsigned char *weights; /* (copies) */
    size_t copy_bytes;
    int copies, launches;
    uint8_t *want, *got; /* host, what is compared; want: of the first tiling */
    bool has_want;
};

static int launch(void *arg, int i, cudaStream_t stream)
{
    struct matmul *m = arg;
    m->call.weights = m->weights + (size_t)(i % m->copies) * m->copy_bytes;
    return launch_product(&m->call, &m->tiling, stream);
}

/* ---- data ------------------------------------------------------------------------------------ */

static enum product_type packed_type(enum weight_type type)
{
    return type == WEIGHT_FP8    ? PRODUCT_FP8
           : type == WEIGHT_Q8_0 ? PRODUCT_INT8
           : type == WEIGHT_INT4 ? PRODUCT_INT4
                                 : PRODUCT_BF16;
}

/* Units of a tile of random weights of about 1 / sqrt(K). */
static unsigned char *pattern_make(enum product_type type, int64_t k, size_t *bytes)
{
    int32_t length = PATTERN_UNITS * PRODUCT_UNIT;
    size_t n = (size_t)PRODUCT_CHANNELS * (size_t)length;
    float *rows = xmalloc(n * sizeof(*rows));
    struct product_plan p;
    for (size_t i = 0; i < n; i++)
        rows[i] = kernels_random() * sqrtf(3.0f / (float)k);
    if (product_plan_of(&p, type, false, PRODUCT_CHANNELS, length) != 0)
        kernels_die("matmul: no such pattern");
    unsigned char *packed = xaligned(64, p.bytes);
    product_pack_start(&p, packed);
    product_pack(&p, packed, PRODUCT_GATE, rows, DT_F32, (size_t)length * sizeof(*rows), 1, 0,
                 PRODUCT_CHANNELS);
    free(rows);
    *bytes = product_tile_bytes(&p);
    return packed;
}

/* Scales of FP8's channels, behind the units of each copy. */
static void scales_fill(const struct matmul *m)
{
    static const float scales[] = {1.0f / 448, 0.75f / 448, 1.25f / 448};
    size_t bytes = m->plan.bytes - m->plan.scales_at;
    for (int i = 0; i < m->copies && bytes > 0; i++)
        kernels_fill(m->weights + (size_t)i * m->copy_bytes + m->plan.scales_at, bytes, scales,
                     sizeof(scales));
}

static void weights_make(struct matmul *m)
{
    size_t unit = (size_t)PRODUCT_UNIT_BYTES(m->plan.type), pattern_bytes;
    unsigned char *pattern = pattern_make(m->plan.type, m->plan.k, &pattern_bytes);
    m->copy_bytes = (m->plan.bytes + unit - 1) / unit * unit;
    m->copies = (int)(m->k->rotate / m->copy_bytes) + 1;
    m->weights = kernels_take((size_t)m->copies * m->copy_bytes);
    kernels_fill(m->weights, (size_t)m->copies * m->copy_bytes, pattern, pattern_bytes);
    scales_fill(m);
    free(pattern);
}

static void rows_make(struct matmul *m, enum pass_kernel kernel, int rows)
{
    size_t n = (size_t)rows * (size_t)m->plan.k;
    bool narrow = m->plan.paired;
    uint16_t *x = xmalloc(n * sizeof(*x));
    for (size_t i = 0; i < n; i++) {
        float f = kernels_random();
        uint32_t bits;
        memcpy(&bits, &f, sizeof(bits));
        x[i] = (uint16_t)(bits >> 16);
    }
    int32_t count = rows;
    m->rows = rows;
    m->call = (struct product_call){
        .plan = &m->plan,
        .x = kernels_copy(x, n * sizeof(*x)),
        .x_stride = m->plan.k,
        .n_rows = kernels_copy(&count, sizeof(count)),
        .end = narrow                                    ? PRODUCT_SILU_MUL
               : kernel == PASS_O || kernel == PASS_DOWN ? PRODUCT_ADD
                                                         : PRODUCT_STORE,
        .out = kernels_take((size_t)rows * (size_t)m->plan.n * (narrow ? 2 : 4)),
        .out_stride = m->plan.n,
    };
    free(x);
}

/* ---- one tiling ------------------------------------------------------------------------------ */

static size_t out_bytes(const struct matmul *m)
{
    return (size_t)m->rows * (size_t)m->plan.n *
           (m->plan.paired ? sizeof(uint16_t) : sizeof(float));
}

/* Of `bytes` at `at`: every one a number, and not all zero. */
static void check_numbers(const struct matmul *m, const uint8_t *at, size_t bytes)
{
    bool any = false;
    for (size_t i = 0; i < bytes; i += m->plan.paired ? 2 : 4) {
        uint32_t bits = 0; /* bf16 is the upper half of f32 */
        memcpy((char *)&bits + (m->plan.paired ? 2 : 0), at + i, m->plan.paired ? 2 : 4);
        if ((bits & 0x7f800000) == 0x7f800000)
            kernels_die("matmul: a result is no number");
        any = any || bits << 1 != 0;
    }
    if (!any)
        kernels_die("matmul: all results are zero");
}

/* The first tiling's result is what the others' must be. False if the launch is refused. */
static bool check_result(struct matmul *m)
{
    size_t all = out_bytes(m), part = MIN(all, COMPARED);
    kernels_zero(m->call.out, all);
    if (launch(m, 0, m->k->stream) != 0)
        return false;
    kernels_read(m->got, m->call.out, part);
    kernels_read(m->got + part, (const uint8_t *)m->call.out + all - part, part);
    if (m->has_want && memcmp(m->got, m->want, 2 * part) != 0)
        kernels_die("matmul: tilings give different bits");
    if (!m->has_want) {
        check_numbers(m, m->got, 2 * part);
        memcpy(m->want, m->got, 2 * part);
        m->has_want = true;
    }
    return true;
}

static double time_it(struct matmul *m, const struct product_tiling *t)
{
    m->tiling = *t;
    return check_result(m) ? kernels_time(m->k, launch, m, m->launches) : -1;
}

/* ---- all tilings ----------------------------------------------------------------------------- */

/* false: this machine has no room for it. */
static bool complete(const struct matmul *m, struct product_tiling *t)
{
    const struct product_machine *machine = &m->k->machine.product;
    int tiles = t->channel_warps * t->weight_tiles;
    t->channel_blocks = (m->plan.tiles + tiles - 1) / tiles;
    t->row_blocks = (m->rows + 8 * t->row_tiles - 1) / (8 * t->row_tiles);
    t->shared = product_shared_bytes(&m->plan, t);
    return t->shared <= machine->shared_block && (t->team == 1 || machine->clusters) &&
           product_tiling_is_valid(t, &m->plan);
}

static bool same(const struct product_tiling *a, const struct product_tiling *b)
{
    return a->weight_tiles == b->weight_tiles && a->slice_warps == b->slice_warps &&
           a->team == b->team && a->stages == b->stages;
}

static const char *text(const struct product_tiling *t, char buf[48])
{
    snprintf(buf, 48, "%dx%d w%d t%d s%d", t->weight_tiles, t->row_tiles, t->slice_warps, t->team,
             t->stages);
    return buf;
}

/* Microseconds of the best; prints every one if that is asked for. */
static double sweep(struct matmul *m, const char *name, const struct product_tiling *usual,
                    struct product_tiling *best)
{
    static const int teams[] = {0, 1, 2, 4}; /* 0: a warp walks all of K */
    double least = INFINITY;
    for (int i = 0; i < 2 * (int)COUNT_OF(teams) * PRODUCT_STAGES_MAX; i++) {
        int team = teams[i / PRODUCT_STAGES_MAX % (int)COUNT_OF(teams)];
        struct product_tiling t = *usual; /* row tiles follow from the rows */
        char buf[48];
        t.weight_tiles = 1 + i / PRODUCT_STAGES_MAX / (int)COUNT_OF(teams);
        t.stages = 1 + i % PRODUCT_STAGES_MAX;
        t.team = MAX(team, 1);
        t.slice_warps = team == 0 ? 1 : m->plan.slices / t.team;
        t.channel_warps = t.slice_warps > 0 ? PRODUCT_WARPS / t.slice_warps : 0;
        if (t.slice_warps == 0 || (team == 1 && m->plan.slices == 1) || !complete(m, &t))
            continue;
        double us = time_it(m, &t);
        if (m->k->every)
            printf("%s %s shared %zu blocks %d: %.2f us%s\n", name, text(&t, buf), t.shared,
                   t.channel_blocks * t.row_blocks * t.team, us,
                   us < 0            ? " (refused)"
                   : same(&t, usual) ? " (the planner's)"
                                     : "");
        if (us > 0 && us < least) {
            least = us;
            *best = t;
        }
    }
    return least;
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* A row of the table, kept until every tiling has been printed. */
struct line {
    char text[256];
};

static void measure(struct kernels *k, int which, enum pass_kernel kernel, enum weight_type type,
                    int rows, struct line *line)
{
    const struct shape *s = k->shapes[which];
    struct matmul m = {.k = k};
    bool paired = kernel == PASS_GATE_UP;
    int64_t n, length;
    char name[96], a[48], b[48];

    pass_matrix(s, kernel, &n, &length);
    if (product_plan_of(&m.plan, packed_type(type), paired, paired ? n / 2 : n, length) != 0)
        kernels_die("matmul: no such matrix");
    weights_make(&m);
    rows_make(&m, kernel, rows);
    m.launches = MAX(FEWEST, MIN(k->launches, (int)(BYTES_OF_RUN / (double)m.plan.bytes)));
    m.want = xmalloc(2 * COMPARED);
    m.got = xmalloc(2 * COMPARED);
    struct product_tiling usual = product_tiling_of(&m.plan, rows, &k->machine.product);
    struct product_tiling best = usual;
    double us = time_it(&m, &usual);
    snprintf(name, sizeof(name), "%s, %s, %s, %d rows:", s->name, pass_kernel_name(kernel),
             weight_name(type), rows);
    double least = sweep(&m, name, &usual, &best);
    launch_overlap_allow(false);
    double apart = time_it(&m, &usual);
    launch_overlap_allow(true);
    struct product_tiling fetching = usual;
    fetching.prefetch = PREFETCH;
    double ahead = time_it(&m, &fetching);
    double bytes = (double)m.plan.bytes, bandwidth = k->rates.bandwidth;
    char paper[16] = ""; /* which knows few rows */
    if (rows <= 8)
        snprintf(paper, sizeof(paper), "%.1f",
                 predict_kernel(s, type, kernel, rows, k->context, &k->rates) * 1e6);
    snprintf(line->text, sizeof(line->text),
             "| %s | %s | %s | %d | %s | %s | %.2f | %.0f | %.1f %% | %.2f | %.2f | %s | %.2f | "
             "%.1f %% |",
             s->name, pass_kernel_name(kernel), weight_name(type), rows, paper, text(&usual, a), us,
             bytes / us * 1e-3, bytes / us * 1e8 / bandwidth, apart, ahead, text(&best, b), least,
             bytes / least * 1e8 / bandwidth);
    if (type == WEIGHT_BF16 && rows == 1)
        k->us[which][kernel] = us;
    free(m.want);
    free(m.got);
    kernels_free();
}

void kernels_matmuls(struct kernels *k)
{
    static const enum weight_type types[] = {WEIGHT_BF16, WEIGHT_Q8_0, WEIGHT_FP8, WEIGHT_INT4};
    static const int rows[] = {1, 5, 64};
    static const enum pass_kernel matrices[] = {PASS_QKV, PASS_O, PASS_GATE_UP, PASS_DOWN,
                                                PASS_HEAD};
    static struct line lines[COUNT_OF(types) * COUNT_OF(rows) * COUNT_OF(matrices) * KERNEL_SHAPES];
    int n = 0;

    if (k->every)
        printf("\n## Every tiling\n\n```\n");
    for (size_t t = 0; t < (k->quick ? 1 : COUNT_OF(types)); t++) {
        for (size_t r = 0; r < (k->quick ? 1 : COUNT_OF(rows)); r++) {
            for (int i = 0; i < KERNEL_SHAPES * (int)COUNT_OF(matrices); i++) {
                if (kernels_go_on(k))
                    measure(k, i / (int)COUNT_OF(matrices), matrices[i % (int)COUNT_OF(matrices)],
                            types[t], rows[r], &lines[n++]);
                fflush(stdout);
            }
        }
    }
    if (k->every)
        printf("```\n");
    printf(
        "\n## Matmuls\n\n"
        "A tiling is weight x row tiles of a warp, warps of a block that share a sum (w), blocks "
        "of a team (t), stages (s). Launches overlap, but under \"in order\". Prefetch: with %d "
        "units behind the ring asked of L2; what that is worth shows between kernels that read no "
        "weights. What is refused is negative.\n\n"
        "| shape | matrix | weights | rows | predicted us | the planner's | us | GB/s | of "
        "bandwidth | in order us | prefetch us | best | us | of bandwidth |\n"
        "|---|---|---|---:|---:|---|---:|---:|---:|---:|---:|---|---:|---:|\n",
        PREFETCH);
    for (int i = 0; i < n; i++)
        printf("%s\n", lines[i].text);
}
