/*
 * product.h - matrix products of decode and verify rows on the GPU (and of prompt rows with
 * --reproducible), for host code.
 *
 *   y(T, N) = x(T, K) . W(N, K)^T     x bf16, y f32, sums in f32 on the matrix unit
 *
 * A row of y depends on that row of x and on W alone, bit for bit: not on T, nor on the row's place
 * in the pass, the capacity a launch was made for, its tiling or the GPU's size. The order of every
 * sum is fixed by the matrix: K is cut into `slices` runs of units of 64, a function of (N, K); a
 * slice is one chain of matrix operations in ascending k; slices are added in ascending order,
 * ((s0 + s1) + s2) + ... Which warp or block computes which slice is the tiling's business and
 * changes nothing.
 *
 * Weights are packed once, on the host, into the order in which lanes of a warp read them;
 * quantised ones keep their integers and scales, widened only in registers:
 *
 *   BF16                         sum of w x
 *   FP8       e4m3, f32 scale    s_n * (sum of w x), as f8_row has it
 *   INT8      f16 scale per 32   sum over groups of d * (sum of q x), as q8_0 has it; q5_0 and q3_K
 *                                in 8 bits, the latter's scales of 16 weights multiplied into q
 *   INT4      f16 scale per 32   the same, q in -8..7: q4_0
 *   INT4_MIN  and f16 minimum    d * (sum of q x) + m * (sum of x), q in 0..15: q4_1
 *   INT4_K    the same with d = d' * u6, m = -(m' * v6), d' and m' f16 per 256: q4_K
 *   IQ4       f32 scale per 32   d * (sum of table[q] x): iq4_nl; iq4_xs, whose d is f16 by 6 bits
 *   FP4       2^e per 32         the same with e2m1's numbers, twice: mxfp4
 *   NVFP4     e4m3 per 16        sum of (scale * w) x, w e2m1's number: nvfp4
 *   FP8_32    e4m3, f32 per 32   d * (sum of w x): f8
 *   INT2_K    of 16, of 256      d' * (sum of u4 q x) - m' * (sum of v4 x), q in 0..3: q2_K
 *
 * A group's inner sum starts from zero and is added with one fused multiplication. N is padded to
 * 16 channels, K to 64, with zeros.
 *
 * Host functions are pure but for launch_product. Sizes come from a model file that was checked;
 * product_plan_of refuses what does not fit. Errors are negative SPECD_E*.
 */
#ifndef SPECD_CUDA_PRODUCT_H
#define SPECD_CUDA_PRODUCT_H

#include "cudart.h"
#include "specd/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PRODUCT_UNIT 64     /* k */
#define PRODUCT_CHANNELS 16 /* of a tile: the side of the matrix unit that weights are on */
#define PRODUCT_SLICES_MAX 8
#define PRODUCT_WARPS 8 /* of a block */

enum product_type {
    PRODUCT_BF16,
    PRODUCT_FP8,
    PRODUCT_INT8,
    PRODUCT_INT4,
    PRODUCT_INT4_MIN,
    PRODUCT_INT4_K,
    PRODUCT_IQ4,
    PRODUCT_FP4,
    PRODUCT_FP8_32,
    PRODUCT_INT2_K,
    PRODUCT_NVFP4,
    PRODUCT_TYPES
};

enum product_end {
    PRODUCT_STORE,    /* y (+ bias) */
    PRODUCT_ADD,      /* out += y (+ bias) */
    PRODUCT_SILU_MUL, /* out = silu(gate) * up in bf16; paired matrices only, and they no other */
    PRODUCT_GELU_MUL  /* the same with GELU by tanh */
};
static inline bool product_end_is_paired(enum product_end end)
{
    return end == PRODUCT_SILU_MUL || end == PRODUCT_GELU_MUL;
}

/* ---- the matrix ------------------------------------------------------------------------------ */

struct product_plan {
    enum product_type type;
    bool paired;    /* two matrices of n channels, gate and up, in one */
    bool scaled;    /* channels have scales: FP8's always, others' if product_plan_scale said so */
    int32_t n, k;   /* channels of the output, length of a row of x */
    int32_t tiles;  /* of 16 channels of weights */
    int32_t units;  /* of 64 k */
    int32_t slices; /* of the sum: see above */
    size_t scales_at; /* scaled: f32 scales, (16 * tiles), behind the units */
    size_t bytes;     /* of the packed matrix */
};

/* SPECD_EINVAL if a side is not in 1 .. 2^21, or K no whole number of groups of a type that has
 * them. */
int product_plan_of(struct product_plan *p, enum product_type type, bool paired, int64_t n,
                    int64_t k);
/* Room for a scale of every channel: what its sums are times, before a bias. */
void product_plan_scale(struct product_plan *p);
/* A type that has a file's numbers as they are; BF16 for f32, f16, q5_1, q5_K and q6_K, which are
 * rounded to it. */
enum product_type product_type_of(enum dtype file);
/* Whether rows of `file` can be packed as `type`. product_type_of's keeps a file's blocks as they
 * are; those before INT4_MIN take any file's numbers, rounded to nearest. */
bool product_packs(enum product_type type, enum dtype file);

/* Which of a paired matrix. */
enum product_half { PRODUCT_GATE, PRODUCT_UP };

/* Tiles first..first+n alone: what a matrix is packed as when it is made piece by piece. Its
 * channels count from the first tile's (paired: 8 of each half to a tile). A piece's units and
 * scales are those that the whole has from first * units * unit bytes and from channel 16 * first
 * on. */
struct product_plan product_plan_tiles(const struct product_plan *p, int32_t first, int32_t n);
/* Of one tile: its units. */
size_t product_tile_bytes(const struct product_plan *p);

/* All of the matrix zero: what padding needs. */
void product_pack_start(const struct product_plan *p, void *packed /* (bytes), host */);
/* Channels first .. first + n_rows of the (paired: named) matrix, so that several tensors stack
 * into one product; times `scale`, 1 unless the plan is scaled. Rows lie `row_bytes` apart. Each
 * channel once. Threads may share a matrix where their parts meet at multiples of 16 channels
 * (paired: 8, one thread for both halves). */
void product_pack(const struct product_plan *p, void *packed, enum product_half half,
                  const void *rows, enum dtype file, size_t row_bytes, float scale, int32_t first,
                  int32_t n_rows);

/* ---- the launch ------------------------------------------------------------------------------ */

/* Rows first .. first + n of x and of out, for one of several matrices. */
struct product_group {
    int32_t matrix, first, n;
};

struct product_call {
    const struct product_plan *plan;
    const void *weights;   /* packed, in device memory, 16-byte aligned */
    const uint16_t *x;     /* (T, K) bf16, 16-byte aligned */
    int32_t x_stride;      /* elements, a multiple of 8 */
    const int32_t *n_rows; /* device: T when the kernel runs, <= capacity */
    enum product_end end;
    void *out;          /* (T, N) f32; of a paired matrix bf16 */
    int32_t out_stride; /* elements */
    const float *bias;  /* (N) device, of a paired matrix (2, N): gate, up; or NULL */
    /* (tiles) device: outputs of tiles that are 0 are not computed, and not written; whoever writes
     * it may be a kernel ahead. NULL: all are. */
    const uint8_t *wanted;
    /* Matrices of one plan behind one another, and *n_groups groups, at most max_groups, in device
     * memory, of at most as many rows each as the tiling is for; n_rows, bias and wanted are not
     * read. NULL: one matrix for all rows. */
    const struct product_group *groups;
    const int32_t *n_groups;
    int32_t max_groups;
};

/* What tilings depend on. */
struct product_machine {
    int n_multiprocessors;
    size_t shared_block; /* bytes a block can have */
    size_t shared_all;   /* bytes the blocks of a multiprocessor share */
    bool clusters;
};

/* A way to spread a product over the machine. Results do not depend on it. */
struct product_tiling {
    int weight_tiles;               /* a warp holds: 1 or 2, of 16 channels */
    int row_tiles;                  /* a warp holds: 1, 2, 4, 8, 16, of 8 rows */
    int channel_warps, slice_warps; /* of a block: product PRODUCT_WARPS */
    int team;                       /* blocks that share the slices of the same channels */
    int stages;                     /* of the ring of units, 2 .. PRODUCT_STAGES_MAX */
    int prefetch;                   /* units behind the ring that a warp asks L2 for at its start */
    int row_blocks, channel_blocks; /* of the grid */
    size_t shared;                  /* bytes of a block */
};
#define PRODUCT_STAGES_MAX 8

/* For up to `capacity` rows. */
struct product_tiling product_tiling_of(const struct product_plan *p, int capacity,
                                        const struct product_machine *m);
/* Of a block with the tiling's other fields. */
size_t product_shared_bytes(const struct product_plan *p, const struct product_tiling *t);
/* Whether the kernels can run it; product_tiling_of's can. */
bool product_tiling_is_valid(const struct product_tiling *t, const struct product_plan *p);

/* Lets every kernel use that much shared memory; once, before the first launch. */
int product_prepare(size_t shared_block);
int launch_product(const struct product_call *call, const struct product_tiling *tiling,
                   cudaStream_t stream);

/* ---- reading a packed matrix ------------------------------------------------------------------
 */

/* product_unpack.cu: rows `first` .. first + n of the matrix (of a paired one, of each half that
 * has a place to go), row-major with `stride` elements, a multiple of 16 and at least K; what a row
 * has beyond K up to a multiple of 16 becomes zero. Device memory, 16-byte aligned.
 *
 * launch_product_unpack: the f32 numbers that launch_embed gives, rounded to bf16, nearest even.
 * launch_product_unpack_codes: of PRODUCT_FP8 the e4m3 codes, without the channels' scales. */
struct product_unpacked {
    void *out; /* of a matrix that is not paired, or the gate's; NULL: not wanted */
    void *up;
    int64_t stride;
    int32_t first, n;
};
int launch_product_unpack(const struct product_plan *p, const void *packed,
                          const struct product_unpacked *to, cudaStream_t stream);
int launch_product_unpack_codes(const struct product_plan *p, const void *packed,
                                const struct product_unpacked *to, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
