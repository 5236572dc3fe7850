/*
 * Sizes of products: how a matrix is laid out and its sums are cut, and how a launch is spread over
 * the machine. Only the first decides about results.
 */
#include "product_impl.h"
#include "specd/error.h"
#include "specd/util.h"

#define SIDE_MAX ((int64_t)1 << 21) /* so that grids stay below 65536 blocks across */
#define TASKS                                                                          \
    2048 /* slices of tiles in a matrix: 2 blocks of 8 warps on each of 128 processors \
          */

/* ---- the matrix ------------------------------------------------------------------------------ */

/* A function of the matrix alone: every GPU, and every number of rows, adds up in the same order.
 * Narrow matrices are cut until there are TASKS pieces, as long as a slice has two units. */
static int32_t slices_of(int32_t tiles, int32_t units)
{
    int32_t slices = 1;

    while (slices < PRODUCT_SLICES_MAX && tiles * slices < TASKS && units >= 4 * slices)
        slices *= 2;
    return slices;
}

size_t product_tile_bytes(const struct product_plan *p)
{
    return (size_t)p->units * (size_t)PRODUCT_UNIT_BYTES(p->type);
}

static void size_up(struct product_plan *p)
{
    p->scales_at = p->bytes = (size_t)p->tiles * product_tile_bytes(p);
    if (p->scaled)
        p->bytes += (size_t)p->tiles * PRODUCT_CHANNELS * sizeof(float);
}

int product_plan_of(struct product_plan *p, enum product_type type, bool paired, int64_t n,
                    int64_t k)
{
    size_t group = type == PRODUCT_BF16 || type == PRODUCT_FP8        ? 1
                   : type == PRODUCT_INT4_K || type == PRODUCT_INT2_K ? 256
                   : type == PRODUCT_NVFP4                            ? 64
                                                                      : 32;
    if (n < 1 || n > SIDE_MAX || k < 1 || k > SIDE_MAX || (size_t)k % group)
        return SPECD_EINVAL;
    *p = (struct product_plan){.type = type,
                               .paired = paired,
                               .scaled = type == PRODUCT_FP8,
                               .n = (int32_t)n,
                               .k = (int32_t)k};
    p->tiles = (int32_t)((n + (paired ? 7 : 15)) / (paired ? 8 : 16));
    p->units = (int32_t)((k + PRODUCT_UNIT - 1) / PRODUCT_UNIT);
    p->slices = slices_of(p->tiles, p->units);
    size_up(p); /* sides of 2^21 are 2^43 bytes at most */
    return 0;
}

void product_plan_scale(struct product_plan *p)
{
    p->scaled = true;
    size_up(p);
}

struct product_plan product_plan_tiles(const struct product_plan *p, int32_t first, int32_t n)
{
    struct product_plan part = *p;
    int32_t channels = p->paired ? PRODUCT_CHANNELS / 2 : PRODUCT_CHANNELS;

    ASSERT(first >= 0 && n >= 1 && n <= p->tiles - first);
    part.n = MIN(n * channels, p->n - first * channels);
    part.tiles = n;
    size_up(&part);
    return part;
}

/* ---- the launch ------------------------------------------------------------------------------ */

static size_t stage_bytes(const struct product_plan *p, const struct product_tiling *t)
{
    return (size_t)(PRODUCT_WARPS * t->weight_tiles * PRODUCT_UNIT_BYTES(p->type)) +
           (size_t)(t->slice_warps * t->row_tiles * 8 * PRODUCT_UNIT * 2);
}

/* Where the slices' sums meet: 16 bytes of each lane for each pair of tiles. */
static size_t sums_bytes(const struct product_tiling *t)
{
    return (size_t)(PRODUCT_WARPS * t->weight_tiles * t->row_tiles * PRODUCT_PIECE);
}

size_t product_shared_bytes(const struct product_plan *p, const struct product_tiling *t)
{
    return (size_t)t->stages * stage_bytes(p, t) + sums_bytes(t);
}

static int blocks_across(const struct product_plan *p, const struct product_tiling *t)
{
    int tiles = t->channel_warps * t->weight_tiles;

    return (p->tiles + tiles - 1) / tiles;
}

/* Whether a block reads more than half as many bytes of x as of weights: x comes from L2, which
 * gives about twice what memory does, but all of it again for every block across the channels. */
static bool reads_much_x(const struct product_plan *p, const struct product_tiling *t, int rows)
{
    return 2 * rows * PRODUCT_UNIT * 2 >
           t->channel_warps * t->weight_tiles * PRODUCT_UNIT_BYTES(p->type);
}

/* Wider blocks read x less often; the slices they no longer hold go to other blocks of the team. */
static void widen(const struct product_plan *p, struct product_tiling *t, int rows)
{
    while (t->slice_warps > 1 && reads_much_x(p, t, rows) &&
           p->tiles >= 2 * t->channel_warps * t->weight_tiles) {
        t->slice_warps /= 2;
        t->channel_warps *= 2;
        t->team *= 2;
    }
}

/* What passes of 1 to 8 rows choose freely, by type: this table is where numbers from a GPU go. */
static const struct few_rows {
    int narrow, wide; /* tiles of weights of a warp: in matrices of up to NARROW tiles, in others */
    int blocks;       /* of a multiprocessor, 1 or 2, if the grid has that many */
    int prefetch;     /* units */
} few_rows[PRODUCT_TYPES] = {
    [PRODUCT_BF16] = {1, 1, 2, 0}, /* 2 KB a unit: one tile fills the ring */
    [PRODUCT_FP8] = {1, 2, 2, 0},    [PRODUCT_INT8] = {1, 2, 2, 0},
    [PRODUCT_INT4] = {1, 2, 2, 0},   [PRODUCT_INT4_MIN] = {1, 2, 2, 0},
    [PRODUCT_INT4_K] = {1, 2, 2, 0}, [PRODUCT_IQ4] = {1, 2, 2, 0},
    [PRODUCT_FP4] = {1, 2, 2, 0},    [PRODUCT_FP8_32] = {1, 2, 2, 0},
    [PRODUCT_INT2_K] = {1, 2, 2, 0}, [PRODUCT_NVFP4] = {1, 2, 2, 0},
};
#define NARROW 128

/* As many stages as there is use and room for. Kernels of more rows have registers for one block a
 * multiprocessor. */
static void fill(const struct product_plan *p, struct product_tiling *t,
                 const struct product_machine *m)
{
    int blocks = blocks_across(p, t) * t->team * t->row_blocks;
    int together =
        t->row_tiles > 1 || blocks <= m->n_multiprocessors ? 1 : few_rows[p->type].blocks;
    size_t shared = m->shared_all / (size_t)together;
    size_t room = MIN(m->shared_block, shared - 1024); /* the system's share of a block */
    int steps = t->slice_warps * t->team > 1 ? (p->units + p->slices - 1) / p->slices : p->units;

    t->stages = MAX(2, MIN(PRODUCT_STAGES_MAX, steps + 1));
    while (t->stages > 2 && product_shared_bytes(p, t) > room)
        t->stages--;
}

/* Each block walks all of K: nothing to share, as long as there are blocks enough. */
static void walk_whole(struct product_tiling *t)
{
    t->slice_warps = t->team = 1;
    t->channel_warps = PRODUCT_WARPS;
}

struct product_tiling product_tiling_of(const struct product_plan *p, int capacity,
                                        const struct product_machine *m)
{
    struct product_tiling t = {.weight_tiles = 2, .row_tiles = 1, .team = 1};

    while (t.row_tiles < 16 && 8 * t.row_tiles < capacity)
        t.row_tiles *= 2;
    t.row_blocks = (capacity + 8 * t.row_tiles - 1) / (8 * t.row_tiles);
    if (t.row_tiles == 16) /* no registers for two tiles of weights */
        t.weight_tiles = 1;
    if (t.row_tiles == 1) {
        const struct few_rows *f = &few_rows[p->type];

        t.weight_tiles = p->tiles <= NARROW ? f->narrow : f->wide;
        t.prefetch = f->prefetch;
    }
    walk_whole(&t);
    if (t.row_tiles == 1 || blocks_across(p, &t) * t.row_blocks < m->n_multiprocessors) {
        t.slice_warps = p->slices;
        t.channel_warps = PRODUCT_WARPS / p->slices;
        if (m->clusters)
            widen(p, &t, MIN(capacity, 8 * t.row_tiles));
    }
    fill(p, &t, m);
    if (product_shared_bytes(p, &t) > m->shared_block) { /* many rows, no clusters, little memory */
        walk_whole(&t);
        fill(p, &t, m);
    }
    t.channel_blocks = blocks_across(p, &t);
    t.shared = product_shared_bytes(p, &t);
    return t;
}

static bool is_power(int x, int max)
{
    return x >= 1 && x <= max && (x & (x - 1)) == 0;
}

bool product_tiling_is_valid(const struct product_tiling *t, const struct product_plan *p)
{
    int workers = t->slice_warps * t->team;
    bool kernel = t->row_tiles == 1    ? is_power(t->weight_tiles, 2)
                  : t->row_tiles == 16 ? t->weight_tiles == 1
                                       : is_power(t->row_tiles, 8) && t->weight_tiles == 2;

    return kernel && is_power(t->slice_warps, PRODUCT_WARPS) &&
           t->channel_warps * t->slice_warps == PRODUCT_WARPS && is_power(t->team, 8) &&
           (workers == 1 || workers == p->slices) && t->stages >= 2 &&
           t->stages <= PRODUCT_STAGES_MAX && t->prefetch >= 0 && t->row_blocks >= 1 &&
           t->channel_blocks >= blocks_across(p, t) && t->shared >= product_shared_bytes(p, t);
}

/* ---- by type --------------------------------------------------------------------------------- */

int product_prepare(size_t shared_block)
{
    static int (*const prepare[PRODUCT_TYPES])(size_t) = {
        [PRODUCT_BF16] = product_prepare_bf16,         [PRODUCT_FP8] = product_prepare_fp8,
        [PRODUCT_INT8] = product_prepare_int8,         [PRODUCT_INT4] = product_prepare_int4,
        [PRODUCT_INT4_MIN] = product_prepare_int4_min, [PRODUCT_INT4_K] = product_prepare_int4_k,
        [PRODUCT_IQ4] = product_prepare_iq4,           [PRODUCT_FP4] = product_prepare_fp4,
        [PRODUCT_FP8_32] = product_prepare_fp8_32,     [PRODUCT_INT2_K] = product_prepare_int2_k,
        [PRODUCT_NVFP4] = product_prepare_nvfp4,
    };

    for (int i = 0; i < PRODUCT_TYPES; i++) {
        int r = prepare[i](shared_block);
        if (r)
            return r;
    }
    return 0;
}

int launch_product(const struct product_call *call, const struct product_tiling *t,
                   cudaStream_t stream)
{
    static int (*const launch[PRODUCT_TYPES])(const struct product_args *,
                                              const struct product_tiling *, cudaStream_t) = {
        [PRODUCT_BF16] = product_launch_bf16,         [PRODUCT_FP8] = product_launch_fp8,
        [PRODUCT_INT8] = product_launch_int8,         [PRODUCT_INT4] = product_launch_int4,
        [PRODUCT_INT4_MIN] = product_launch_int4_min, [PRODUCT_INT4_K] = product_launch_int4_k,
        [PRODUCT_IQ4] = product_launch_iq4,           [PRODUCT_FP4] = product_launch_fp4,
        [PRODUCT_FP8_32] = product_launch_fp8_32,     [PRODUCT_INT2_K] = product_launch_int2_k,
        [PRODUCT_NVFP4] = product_launch_nvfp4,
    };
    const struct product_plan *p = call->plan;
    const unsigned char *weights = call->weights;
    struct product_args a = {
        .weights = weights,
        .channel_scales = p->scaled ? (const float *)(weights + p->scales_at) : NULL,
        .x = call->x,
        .n_rows = call->n_rows,
        .out = call->out,
        .bias = call->bias,
        .wanted = call->wanted,
        .groups = call->groups,
        .n_groups = call->n_groups,
        .matrix_bytes = p->bytes,
        .max_groups = call->max_groups,
        .x_stride = call->x_stride,
        .out_stride = call->out_stride,
        .n = p->n,
        .k = p->k,
        .tiles = p->tiles,
        .units = p->units,
        .slices = p->slices,
        .channel_warps = t->channel_warps,
        .slice_warps = t->slice_warps,
        .team = t->team,
        .stages = t->stages,
        .prefetch = t->prefetch,
        .end = call->end,
    };

    ASSERT(product_tiling_is_valid(t, p));
    ASSERT(!call->groups || (call->max_groups >= 1 && call->max_groups <= 65535 && !call->bias));
    ASSERT((uintptr_t)call->x % 16 == 0 && call->x_stride % 8 == 0 && call->x_stride >= p->k);
    ASSERT((uintptr_t)weights % 16 == 0 && call->out_stride >= p->n);
    ASSERT(p->paired == product_end_is_paired(call->end));
    return launch[p->type](&a, t, stream);
}
