/*
 * product.cuh - y(T, N) = x(T, K) . W(N, K)^T for a type of weights; product.h says what is
 * promised of the sums, product_impl.h how weights lie.
 *
 * Weights are on the M side of mma.m16n8k16 (16 channels), rows of x on its N side (8), also when
 * there is one row: the same instruction in the same order for any T is what makes a row's result
 * independent of the others. A block of 8 warps walks K in steps of a unit, 64 k, through a ring of
 * `stages` units in shared memory that asynchronous copies fill: each warp its own tiles' weights,
 * all together x, in the order in which lanes read it (16 bytes each, no bank conflicts). Warps
 * side by side in N share x; others hold other slices of the sum. When slices have ended their sums
 * meet in shared memory, over the blocks of a team if it has several, and are added in ascending
 * order. No atomics, no memory beside the operands.
 *
 * Predicted, not measured, for an H200 (4.3 TB/s over 132 processors: 33 bytes a nanosecond each;
 * at some 700 ns of latency 23 KB on their way at the least, 32 to 64 KB to be safe):
 *
 *   bytes       weights from memory once (blocks of rows run side by side and share them in L2);
 *               x from L2, 2 T K for each block across the channels, which tilings keep below half
 *               of the weights' up to 64 rows (int4: 0.9)
 *   on the way  weights of 4096 x 4096, per processor: bf16 96 KB up to 16 rows, 64 KB at 64;
 *               int8 119 KB, 85; int4 63 KB throughout
 *   issue       instructions in the loop over those a warp has time for while memory delivers its
 *               unit, 1 to 8 rows: bf16 190 of 464, int8 with two tiles 360 of 494, int4 with two
 *               275 of 261: the last is bound by issue, and widening is most of it
 *   time        4096 x 4096, 1 to 8 rows: bf16 33.5 MB 7.8 us, int8 4.1 us, int4 2.2 us; and 2.7
 *               us for the launch, the first bytes and the merge of slices, which small matrices
 *               feel: less where launches overlap (overlap.h), the ring is full when x comes then.
 *               64 rows, bf16: 2.1 GFLOP are 3.6 us at the 600 TFLOPS of mma.sync, hidden behind
 *               the weights; from some 110 rows on the matrix unit is the limit
 *   residency   registers for two blocks a processor up to 8 rows, with room for small kernels
 *               beside (bf16 79 a thread), one above (at most 255); none spill on sm_80, 90, 100
 *               (scripts/check-spills.sh). Shared memory is what two blocks fill a processor with
 */
#ifndef SPECD_CUDA_PRODUCT_CUH
#define SPECD_CUDA_PRODUCT_CUH

#include "product_walk.cuh"
#include "gate.cuh"

/* ---- the sums -------------------------------------------------------------------------------- */

/* One tile of weights by one of rows, half a unit: a is two operations' operands, b a lane's eight
 * elements of x, ones the sums of x over the group, or of x times minima. */
template <enum product_type TYPE>
DEVICE void half_multiply(float acc[4], const uint32_t a[2][4], const uint4 &b,
                          const struct group_scales &s, const float ones[4])
{
    const uint32_t low[2] = {b.x, b.y}, high[2] = {b.z, b.w};
    float inner[4] = {0, 0, 0, 0};

    if (!HAS_GROUPS(TYPE)) {
        matrix_mul(acc, a[0], low);
        matrix_mul(acc, a[1], high);
        return;
    }
    matrix_mul(inner, a[0], low);
    matrix_mul(inner, a[1], high);
    UNROLL
    for (int i = 0; i < 4; i++) {
        acc[i] = fmaf(s.d[i / 2], inner[i], acc[i]);
        if (HAS_MINIMA(TYPE))
            acc[i] = fmaf(s.m[i / 2], ones[i], acc[i]);
    }
}

/* A matrix of the same in all of a lane's k, say ones, gives the sums of x that minima want. */
DEVICE void same_multiply(float out[4], uint32_t first, uint32_t second, const uint4 &b)
{
    const uint32_t a[4] = {first, second, first, second};
    const uint32_t low[2] = {b.x, b.y}, high[2] = {b.z, b.w};

    out[0] = out[1] = out[2] = out[3] = 0;
    matrix_mul(out, a, low);
    matrix_mul(out, a, high);
}

/* Tiles of rows c .. c + GROUP: all loads, then all products. */
template <enum product_type TYPE, int MT, int NT, int GROUP>
DEVICE void group_multiply(float acc[MT][NT][4], int c, const uint32_t a[MT][2][4], const uint4 *x,
                           const struct group_scales scales[MT])
{
    uint4 b[GROUP];

    UNROLL
    for (int i = 0; i < GROUP; i++)
        b[i] = x[i * WARP];
    UNROLL
    for (int i = 0; i < GROUP; i++) {
        float ones[4];
        if (HAS_MINIMA(TYPE) && !HAS_HALVES(TYPE))
            same_multiply(ones, 0x3f803f80u, 0x3f803f80u, b[i]);
        UNROLL
        for (int m = 0; m < MT; m++) {
            if (HAS_MINIMA(TYPE) && HAS_HALVES(TYPE))
                same_multiply(ones, scales[m].min[0], scales[m].min[1], b[i]);
            half_multiply<TYPE>(acc[m][c + i], a[m], b[i], scales[m], ones);
        }
    }
}

/* Tiles of rows without a live one are left out four at a time; what shared memory happens to hold
 * for the others gives sums nobody stores. */
template <enum product_type TYPE, int MT, int NT>
DEVICE void unit_multiply(float acc[MT][NT][4], const struct product_part &part,
                          const unsigned char *stage)
{
    typedef product_ring<TYPE, MT, NT> ring;
    const unsigned char *weights = stage + part.warp * MT * ring::UNIT;
    const uint4 *x = (const uint4 *)(stage + ring::WEIGHTS + part.slice_warp * ring::X) + part.lane;
    const int GROUP = NT < 4 ? NT : 4;
    uint32_t words[MT][2 * PIECE_WORDS];

    UNROLL
    for (int h = 0; h < 2; h++) {
        struct group_scales scales[MT];
        uint32_t a[MT][2][4];

        UNROLL
        for (int m = 0; m < MT; m++) {
            const unsigned char *unit = weights + m * ring::UNIT;
            codes_load<TYPE>(unit, part.lane, h, words[m]);
            codes_widen<TYPE>(words[m], h, 0, a[m][0]);
            codes_widen<TYPE>(words[m], h, 1, a[m][1]);
            scales[m] = scales_load<TYPE>(unit, part.lane, h);
            codes_scale<TYPE>(scales[m], a[m][0]);
            codes_scale<TYPE>(scales[m], a[m][1]);
        }
        UNROLL
        for (int c = 0; c < NT; c += GROUP) {
            if (NT > GROUP && c >= part.row_tiles)
                break;
            group_multiply<TYPE, MT, NT, GROUP>(acc, c, a, x + (h * NT + c) * WARP, scales);
        }
    }
}

/* A slice has ended: its sum goes to the warp's place, behind those of earlier slices if the warp
 * walks all of them. */
template <int MT, int NT>
DEVICE void slice_end(float acc[MT][NT][4], const struct product_part &part, float4 *sums,
                      bool first)
{
    sums += part.warp * MT * NT * WARP + part.lane;
    UNROLL
    for (int m = 0; m < MT; m++) {
        UNROLL
        for (int c = 0; c < NT; c++) {
            float *s = acc[m][c];
            float4 &sum = sums[(m * NT + c) * WARP];
            if (first) {
                sum = {s[0], s[1], s[2], s[3]};
            } else {
                float4 before = sum;
                sum = {before.x + s[0], before.y + s[1], before.z + s[2], before.w + s[3]};
            }
            s[0] = s[1] = s[2] = s[3] = 0;
        }
    }
}

/* The sum of all slices for piece `piece` of a warp's, held by the warps at place `channel_warp` of
 * the team's blocks. */
DEVICE float4 slices_add(const struct product_args &p, float4 *sums, int pieces, int channel_warp,
                         int piece, int lane)
{
    float4 total = {0, 0, 0, 0};

    for (int s = 0; s < p.slice_warps * p.team; s++) {
        int warp = s % p.slice_warps * p.channel_warps + channel_warp;
        float4 *at = sums + (warp * pieces + piece) * WARP + lane;
        float4 part = *cluster_peer(at, s / p.slice_warps);
        if (s == 0)
            total = part;
        else
            total = {total.x + part.x, total.y + part.y, total.z + part.z, total.w + part.w};
    }
    return total;
}

/* ---- what becomes of them -------------------------------------------------------------------- */

/* A lane's four sums: channels g and g + 8 of the tile, two rows. */
DEVICE void sums_store(const struct product_args &p, int tile, int row, int live, int lane,
                       const float4 &sums)
{
    const float sum[4] = {sums.x, sums.y, sums.z, sums.w};
    const bool paired = p.end == PRODUCT_SILU_MUL || p.end == PRODUCT_GELU_MUL;
    int g = lane / 4, first = tile * (paired ? ROW_TILE : PRODUCT_CHANNELS) + g;

    UNROLL
    for (int e = 0; e < 2; e++) {
        int64_t at = (int64_t)(row + e) * p.out_stride + first;
        float y[2] = {sum[e], sum[2 + e]};
        if (row + e >= live)
            break;
        UNROLL
        for (int r = 0; r < 2; r++) {
            if (p.channel_scales)
                y[r] = y[r] * p.channel_scales[tile * PRODUCT_CHANNELS + g + 8 * r];
            if (first + (paired ? 0 : 8 * r) >= p.n)
                continue;
            if (p.bias)
                y[r] = y[r] + p.bias[first + (paired ? p.n : 8) * r];
            if (paired)
                continue;
            float *out = (float *)p.out + at + 8 * r;
            *out = p.end == PRODUCT_ADD ? *out + y[r] : y[r];
        }
        if (paired && first < p.n)
            ((uint16_t *)p.out)[at] = bf16_of_float(gate_mul(p.end, y[0], y[1])).bits;
    }
}

/* Warps of the team share the pieces of its channels. */
template <int MT, int NT>
DEVICE void product_finish(const struct product_args &p, const struct product_part &part,
                           float4 *sums)
{
    int n = p.channel_warps * MT * NT;

    for (int i = part.rank * PRODUCT_WARPS + part.warp; i < n; i += p.team * PRODUCT_WARPS) {
        int piece = i % (MT * NT), channel_warp = i / (MT * NT), c = piece % NT;
        int tile = ((int)blockIdx.y * p.channel_warps + channel_warp) * MT + piece / NT;
        if (c >= part.row_tiles || !tile_is_wanted(p, tile))
            continue;
        float4 sum = slices_add(p, sums, MT * NT, channel_warp, piece, part.lane);
        sums_store(p, tile, part.row0 + ROW_TILE * c + 2 * (part.lane % 4), part.live, part.lane,
                   sum);
    }
}

/* ---- the kernel ------------------------------------------------------------------------------ */

DEVICE void team_barrier(const struct product_args &p)
{
    if (p.team > 1)
        cluster_barrier();
    else
        __syncthreads();
}

/* Makes the operands those of the block's group; false: there is none. */
DEVICE bool group_take(struct product_args &p)
{
    const struct product_group *g = p.groups + blockIdx.z;
    bool paired = p.end == PRODUCT_SILU_MUL || p.end == PRODUCT_GELU_MUL;

    grid_wait();
    if ((int)blockIdx.z >= *p.n_groups)
        return false;
    p.weights += (size_t)g->matrix * p.matrix_bytes;
    if (p.channel_scales)
        p.channel_scales += (size_t)g->matrix * (p.matrix_bytes / sizeof(float));
    p.x += (size_t)g->first * (size_t)p.x_stride;
    p.out = (char *)p.out + (size_t)g->first * (size_t)p.out_stride * (paired ? 2 : 4);
    p.n_rows = &g->n;
    return true;
}

/* grid: (row blocks x team, channel blocks, groups), teams along x   block: 8 warps
 * dynamic smem: a ring of `stages`, and 16 bytes a lane for each of the warps' MT x NT sums */
template <enum product_type TYPE, int MT, int NT>
static __global__ void __launch_bounds__(PRODUCT_WARPS *WARP, NT == 1 ? 2 : 1)
    product_kernel(const struct product_args args)
{
    typedef product_ring<TYPE, MT, NT> ring;
    DYNAMIC_SHARED(unsigned char, memory);
    struct product_args p = args;

    if (args.groups && !group_take(p))
        return;
    struct product_part part = part_of<MT, NT>(p);
    const int stage_bytes = ring::WEIGHTS + p.slice_warps * ring::X;
    const int n_steps = is_sliced(p) ? (p.units + p.slices - 1) / p.slices : p.units;
    float4 *sums = (float4 *)(memory + p.stages * stage_bytes);
    float acc[MT][NT][4] = {};

    if (p.wanted && !tiles_want<MT>(p, part))
        return;
    /* The first block of rows fills its ring with weights before the kernels ahead have ended and
     * it knows the number of rows. */
    if (part.row0 > 0 && part.row0 >= rows_live(p))
        return;
    struct product_walk walk = walk_start<TYPE, MT, NT>(p, part);
    NO_UNROLL
    for (int s = 0; s < p.stages - 1; s++) { /* a group each: the first step waits for one stage */
        weights_copy<TYPE, MT, NT>(p, part, walk, memory + s * stage_bytes);
        copy_commit();
    }
    weights_prefetch<TYPE, MT, NT>(p, part, walk);
    part.live = rows_live(p);
    part.row_tiles = MIN(NT, (part.live - part.row0 + ROW_TILE - 1) / ROW_TILE);
    x_bring<TYPE, MT, NT>(p, part, walk, memory, stage_bytes);
    if (part.live <= 0) {
        copy_wait<0>();
        return;
    }

    int slice = is_sliced(p) ? part.rank * p.slice_warps + part.slice_warp : 0;
    int next = slice_border(p, slice + 1), last_copy = MAX(n_steps - p.stages, 0);
    unsigned char *stage = memory, *ahead = memory + (p.stages - 1) * stage_bytes;
    bool first = true;
    NO_UNROLL
    for (int step = 0; step < n_steps; step++) {
        copy_wait_but(p.stages - 2);
        __syncthreads(); /* all have the step's unit, and have done with the one before */
        weights_copy<TYPE, MT, NT>(p, part, walk, ahead);
        x_copy<TYPE, MT, NT>(p, part, walk, ahead);
        copy_commit();
        if (step == last_copy) /* blocks of the next kernel find room as those of this one end */
            grid_release();
        if (part.first + step < part.last)
            unit_multiply<TYPE, MT, NT>(acc, part, stage);
        if (part.first + step + 1 == next) {
            slice_end<MT, NT>(acc, part, sums, first);
            next = slice_border(p, ++slice + 1);
            first = false;
        }
        ahead = stage; /* free once all have done with it */
        stage = stage + stage_bytes == (unsigned char *)sums ? memory : stage + stage_bytes;
    }
    copy_wait<0>();
    team_barrier(p);
    product_finish<MT, NT>(p, part, sums);
    if (p.team > 1)
        cluster_barrier(); /* a block's shared memory is there until all have read it */
}

/* ---- launchers ------------------------------------------------------------------------------- */

#define PRODUCT_SHAPES(X) X(1, 1) X(2, 1) X(2, 2) X(2, 4) X(2, 8) X(1, 16)

template <enum product_type TYPE> static int product_prepare_type(size_t shared_block)
{
    int r = 0;

#define X(mt, nt)                                                                         \
    if (!r)                                                                               \
        r = CUDA_RESULT(cudaFuncSetAttribute(product_kernel<TYPE, mt, nt>,                \
                                             cudaFuncAttributeMaxDynamicSharedMemorySize, \
                                             (int)shared_block));
    PRODUCT_SHAPES(X)
#undef X
    return r;
}

template <enum product_type TYPE>
static int product_launch_type(const struct product_args *a, const struct product_tiling *t,
                               cudaStream_t stream)
{
    dim3 grid((unsigned)(t->row_blocks * t->team), (unsigned)t->channel_blocks,
              (unsigned)MAX(a->max_groups, 1));

#define X(mt, nt)                                                                        \
    if (t->weight_tiles == mt && t->row_tiles == nt)                                     \
        LAUNCH_TEAMS((product_kernel<TYPE, mt, nt>), t->team, grid, PRODUCT_WARPS *WARP, \
                     t->shared, stream, *a);
    PRODUCT_SHAPES(X)
#undef X
    return LAUNCH_RESULT();
}

/* For one file of each type: kernels take their time to compile. */
#define PRODUCT_LAUNCHERS(TYPE, name)                                                       \
    int product_prepare_##name(size_t shared_block)                                         \
    {                                                                                       \
        return product_prepare_type<TYPE>(shared_block);                                    \
    }                                                                                       \
    int product_launch_##name(const struct product_args *a, const struct product_tiling *t, \
                              cudaStream_t stream)                                          \
    {                                                                                       \
        return product_launch_type<TYPE>(a, t, stream);                                     \
    }

#endif
