/*
 * product_walk.cuh - which tiles, rows and units of K a warp of a product works on, and the copies
 * that bring them: the ring in shared memory.
 *
 * A stage of the ring is a unit of each warp's tiles of weights, (8 warps, MT, unit), and behind
 * them a unit of x for each slice of the block, (slices, 2 halves, NT, 32 lanes) of 16 bytes: what
 * lane 4 g + t wants, row g of the tile, eight k from 8 t on. Lanes read both without conflicts of
 * banks; a warp reads 64 bytes of each of 8 rows of x at a time.
 */
#ifndef SPECD_CUDA_PRODUCT_WALK_CUH
#define SPECD_CUDA_PRODUCT_WALK_CUH

#include "product_weights.cuh"

#define ROW_TILE 8
#define X_AT_ONCE 4 /* stages whose x is on its way together before the first step */

/* ---- where a warp works ---------------------------------------------------------------------- */

/* A warp's part: tiles first_tile.. of weights, units first .. last, as one slice or as all. */
struct product_part {
    int lane, warp;
    int rank;                     /* of the block in its team */
    int channel_warp, slice_warp; /* its place in the block */
    int first_tile;               /* of the warp */
    int wanted;                   /* bit m: its tile first_tile + m is wanted */
    int first, last;              /* units */
    int row0, live;               /* first row of the block; rows of the pass */
    int row_tiles;                /* of the block that have rows */
};

DEVICE int slice_border(const struct product_args &p, int slice)
{
    /* A power of two: no division. */
    return (int)((unsigned)p.units * (unsigned)slice >> (__ffs(p.slices) - 1));
}

DEVICE bool is_sliced(const struct product_args &p)
{
    return p.slice_warps * p.team > 1;
}

/* The first unit of those that warps at place `slice_warp` walk, and the one behind. */
DEVICE int walk_border(const struct product_args &p, int rank, int slice_warp)
{
    if (!is_sliced(p))
        return slice_warp == 0 ? 0 : p.units;
    return slice_border(p, rank * p.slice_warps + slice_warp);
}

/* All but what depends on the rows of the pass. */
template <int MT, int NT> DEVICE struct product_part part_of(const struct product_args &p)
{
    struct product_part w;
    int warp = (int)threadIdx.x / WARP;

    w.lane = (int)threadIdx.x % WARP;
    w.warp = warp;
    w.rank = cluster_rank();
    w.slice_warp = warp / p.channel_warps;
    w.channel_warp = warp % p.channel_warps;
    w.first_tile = ((int)blockIdx.y * p.channel_warps + w.channel_warp) * MT;
    w.wanted = (1 << MT) - 1;
    w.first = walk_border(p, w.rank, w.slice_warp);
    w.last = walk_border(p, w.rank, w.slice_warp + 1);
    w.row0 = (int)blockIdx.x / p.team * NT * ROW_TILE;
    return w;
}

DEVICE bool tile_is_wanted(const struct product_args &p, int tile)
{
    return tile < p.tiles && (!p.wanted || p.wanted[tile]);
}

/* Which of the warp's tiles are; false if none of the block's is. All blocks of a team have the
 * same. */
template <int MT> DEVICE bool tiles_want(const struct product_args &p, struct product_part &part)
{
    grid_wait();
    part.wanted = 0;
    UNROLL
    for (int m = 0; m < MT; m++)
        part.wanted |= tile_is_wanted(p, part.first_tile + m) ? 1 << m : 0;
    return __syncthreads_or(part.wanted);
}

/* Rows of the pass, which a kernel ahead may have counted. */
DEVICE int rows_live(const struct product_args &p)
{
    grid_wait();
    return *p.n_rows;
}

/* ---- the ring -------------------------------------------------------------------------------- */

template <enum product_type TYPE, int MT, int NT> struct product_ring {
    static const int UNIT = PRODUCT_UNIT_BYTES(TYPE);
    static const int WEIGHTS = PRODUCT_WARPS * MT * UNIT;
    static const int X = NT * 2 * PRODUCT_PIECE; /* of a slice */
};

/* What a lane copies next: of its warp's weights, and of x, which the warps of a slice share. Both
 * go on by a unit. */
struct product_walk {
    const unsigned char *weights;
    const uint16_t *x;        /* of the first row, k of this lane */
    int weights_left, x_left; /* units */
    int k_left;               /* elements from the lane's first on; none are left at <= 0 */
};

template <enum product_type TYPE, int MT, int NT>
DEVICE struct product_walk walk_start(const struct product_args &p, const struct product_part &part)
{
    struct product_walk w;
    int k = part.first * PRODUCT_UNIT + 8 * (part.lane % 4);
    int row = part.row0 + ROW_TILE * part.channel_warp + part.lane / 4;

    w.weights = p.weights +
                ((size_t)part.first_tile * (size_t)p.units + (size_t)part.first) *
                    PRODUCT_UNIT_BYTES(TYPE) +
                16 * part.lane;
    w.x = p.x + (size_t)row * (size_t)p.x_stride + k;
    w.weights_left = part.first_tile < p.tiles && part.wanted ? part.last - part.first : 0;
    w.x_left = part.last - part.first;
    w.k_left = p.k - k;
    return w;
}

template <enum product_type TYPE, int MT, int NT>
DEVICE void weights_copy(const struct product_args &p, const struct product_part &part,
                         struct product_walk &w, unsigned char *stage)
{
    typedef product_ring<TYPE, MT, NT> ring;
    unsigned char *to = stage + part.warp * MT * ring::UNIT + 16 * part.lane;

    if (w.weights_left-- <= 0)
        return;
    UNROLL
    for (int m = 0; m < MT; m++) {
        const unsigned char *from = w.weights + (size_t)m * (size_t)p.units * ring::UNIT;
        if (m > 0 && part.first_tile + m >= p.tiles)
            break;
        if (!(part.wanted >> m & 1))
            continue;
        UNROLL
        for (int at = 0; at < ring::UNIT; at += PRODUCT_PIECE) {
            if (at + PRODUCT_PIECE <= ring::UNIT || 16 * part.lane < ring::UNIT - at)
                copy_async_once(to + m * ring::UNIT + at, from + at);
        }
    }
    w.weights += ring::UNIT;
}

/* L2 fetches what of a warp's weights lies behind the ring, as far as the launch asks for it: for
 * the time in which this kernel waits for the one ahead and memory would idle. */
template <enum product_type TYPE, int MT, int NT>
DEVICE void weights_prefetch(const struct product_args &p, const struct product_part &part,
                             const struct product_walk &w)
{
    int units = MIN(p.prefetch, w.weights_left);

    if (part.lane >= MT || part.first_tile + part.lane >= p.tiles || units <= 0 ||
        !(part.wanted >> part.lane & 1))
        return;
    l2_prefetch(w.weights - 16 * part.lane +
                    (size_t)part.lane * (size_t)p.units * PRODUCT_UNIT_BYTES(TYPE),
                (uint32_t)units * PRODUCT_UNIT_BYTES(TYPE));
}

/* The first n of eight bf16; the others are zero. */
DEVICE uint4 first_of_eight(const uint4 &v, int n)
{
    uint32_t word[4] = {v.x, v.y, v.z, v.w};

    UNROLL
    for (int i = 0; i < 4; i++)
        word[i] = n >= 2 * i + 2 ? word[i] : n == 2 * i + 1 ? word[i] & 0xffffu : 0;
    return {word[0], word[1], word[2], word[3]};
}

/* x of X_AT_ONCE stages, or of n_stages if those are fewer: a lane's eight k of each half of a
 * unit. All loads come first, so that they wait together. */
template <int NT>
DEVICE void x_bring_tile(const uint16_t *from, bool is_live, int k_left, int n_stages,
                         unsigned char *to, int stage_bytes)
{
    uint4 x[X_AT_ONCE][2];

    UNROLL
    for (int i = 0; i < 2 * X_AT_ONCE; i++) {
        int k = i / 2 * PRODUCT_UNIT + i % 2 * 32;
        x[i / 2][i % 2] = {0, 0, 0, 0};
        if (is_live && i / 2 < n_stages && k < k_left)
            x[i / 2][i % 2] = first_of_eight(load_l2((const uint4 *)(from + k)), k_left - k);
    }
    UNROLL
    for (int i = 0; i < 2 * X_AT_ONCE; i++) {
        if (i / 2 < n_stages)
            *(uint4 *)(to + i / 2 * stage_bytes + i % 2 * NT * PRODUCT_PIECE) = x[i / 2][i % 2];
    }
}

/* x of all stages but the last, to begin with, and by loads: asynchronous copies end in the order
 * in which they were asked for, so as copies they would arrive behind the weights of the whole
 * ring. Lanes have the places that x_copy gives them. */
template <enum product_type TYPE, int MT, int NT>
DEVICE void x_bring(const struct product_args &p, const struct product_part &part,
                    struct product_walk &w, unsigned char *memory, int stage_bytes)
{
    typedef product_ring<TYPE, MT, NT> ring;
    int n_stages = MIN(p.stages - 1, w.x_left);

    memory += ring::WEIGHTS + part.slice_warp * ring::X + 16 * part.lane;
    NO_UNROLL
    for (int s = 0; s < n_stages; s += X_AT_ONCE) {
        NO_UNROLL
        for (int c = part.channel_warp; c < part.row_tiles; c += p.channel_warps) {
            int row = ROW_TILE * (c - part.channel_warp);
            x_bring_tile<NT>(w.x + (size_t)row * (size_t)p.x_stride + s * PRODUCT_UNIT,
                             part.row0 + ROW_TILE * c + part.lane / 4 < part.live,
                             w.k_left - s * PRODUCT_UNIT, n_stages - s,
                             memory + s * stage_bytes + c * PRODUCT_PIECE, stage_bytes);
        }
    }
    w.x += n_stages * PRODUCT_UNIT;
    w.k_left -= n_stages * PRODUCT_UNIT;
    w.x_left -= n_stages;
}

/* A warp takes 8 rows at a time, a lane 8 k of one in each half. What lies beyond the rows or
 * beyond K is zero. */
template <enum product_type TYPE, int MT, int NT>
DEVICE void x_copy(const struct product_args &p, const struct product_part &part,
                   struct product_walk &w, unsigned char *stage)
{
    typedef product_ring<TYPE, MT, NT> ring;
    unsigned char *to = stage + ring::WEIGHTS + part.slice_warp * ring::X + 16 * part.lane;
    const uint16_t *from = w.x;
    int row = part.row0 + ROW_TILE * part.channel_warp + part.lane / 4;
    int bytes[2] = {MAX(0, MIN(16, 2 * w.k_left)), MAX(0, MIN(16, 2 * w.k_left - PRODUCT_UNIT))};

    if (w.x_left-- <= 0)
        return;
    NO_UNROLL
    for (int c = part.channel_warp; c < part.row_tiles; c += p.channel_warps) {
        UNROLL
        for (int h = 0; h < 2; h++) {
            bool there = row < part.live && bytes[h] > 0;
            copy_async(to + (h * NT + c) * PRODUCT_PIECE, there ? from + 32 * h : p.x,
                       there ? bytes[h] : 0);
        }
        row += ROW_TILE * p.channel_warps;
        from += (size_t)(ROW_TILE * p.channel_warps) * (size_t)p.x_stride;
    }
    w.x += PRODUCT_UNIT;
    w.k_left -= PRODUCT_UNIT;
}

#endif
