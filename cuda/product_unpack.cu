/*
 * product_unpack.cu - a packed matrix as a plain row-major one: bf16, or e4m3 codes as they are.
 *
 * A warp takes a unit of a tile: reads it as the product kernels do, 16 bytes a lane, and has of
 * each of 16 channels eight neighbours in k a lane, four lanes next to each other; it writes them
 * in pieces of 16 bytes (codes: 8), whole sectors of 32 bytes.
 *
 * Bytes a weight: what it has packed, and 2 written (codes: 1). Predicted on an H100, not measured,
 * at 3.35 TB/s: 14336 x 4096 bf16 235 MB, 70 us; int8 180 MB, 54 us; int4 151 MB, 45 us; codes 117
 * MB, 35 us. Widening is some 50 instructions a lane for 32 weights, hidden behind them.
 */
#include "product_values.cuh"

#define THREADS 256
#define WARPS (THREADS / WARP)

struct unpack_args {
    const unsigned char *units;
    const float *scales; /* of the packed channels, or NULL */
    struct product_unpacked to;
    int32_t k, n_units, first_tile;
    bool paired;
};

/* Whose row a lane's channel is, g or g + 8 of the tile; NULL: nobody's. */
template <class T> DEVICE T *row_of(const struct unpack_args &u, int tile, int g, int side)
{
    int channel = u.paired ? 8 * tile + g : PRODUCT_CHANNELS * tile + g + 8 * side;
    T *out = (T *)(u.paired && side ? u.to.up : u.to.out);

    if (!out || channel < u.to.first || channel >= u.to.first + u.to.n)
        return NULL;
    return out + (channel - u.to.first) * u.to.stride;
}

/* Where half h of a unit has a lane's first k; false: beyond the row. */
DEVICE bool k_of(const struct unpack_args &u, int unit, int lane, int h, int *k)
{
    *k = PRODUCT_UNIT * unit + 32 * h + LANE_K * (lane % 4);
    return *k < (u.k + 15) / 16 * 16;
}

/* grid: (tiles, units / WARPS)   block: THREADS, a unit for each warp */
template <enum product_type TYPE>
static __global__ void __launch_bounds__(THREADS) unpack_kernel(const struct unpack_args u)
{
    grid_release();
    grid_wait();
    int lane = (int)threadIdx.x % WARP, tile = u.first_tile + (int)blockIdx.x;
    int unit = (int)blockIdx.y * WARPS + (int)threadIdx.x / WARP;
    float scales[2] = {1, 1}, v[2][LANE_K];
    int k;

    if (unit >= u.n_units)
        return;
    const unsigned char *from =
        u.units + ((size_t)tile * (size_t)u.n_units + (size_t)unit) * PRODUCT_UNIT_BYTES(TYPE);
    for (int c = 0; u.scales && c < 2; c++)
        scales[c] = u.scales[PRODUCT_CHANNELS * tile + lane / 4 + 8 * c];
    UNROLL
    for (int h = 0; h < 2; h++) {
        values_read<TYPE>(from, lane, h, scales, v);
        UNROLL
        for (int c = 0; c < 2; c++) {
            uint16_t *row = row_of<uint16_t>(u, tile, lane / 4, c);
            if (row && k_of(u, unit, lane, h, &k))
                *(uint4 *)(row +
                           k) = {bf16_pair_of(v[c][0], v[c][1]), bf16_pair_of(v[c][2], v[c][3]),
                                 bf16_pair_of(v[c][4], v[c][5]), bf16_pair_of(v[c][6], v[c][7])};
        }
    }
}

/* As unpack_kernel. A word has bytes of channels g + 8, g, g + 8, g. */
static __global__ void __launch_bounds__(THREADS) unpack_codes_kernel(const struct unpack_args u)
{
    grid_release();
    grid_wait();
    int lane = (int)threadIdx.x % WARP, tile = u.first_tile + (int)blockIdx.x;
    int unit = (int)blockIdx.y * WARPS + (int)threadIdx.x / WARP;
    int k;

    if (unit >= u.n_units)
        return;
    const uint4 *from =
        (const uint4 *)(u.units + ((size_t)tile * (size_t)u.n_units + (size_t)unit) *
                                      PRODUCT_UNIT_BYTES(PRODUCT_FP8)) +
        lane;
    UNROLL
    for (int h = 0; h < 2; h++) {
        uint4 w = from[h * WARP];
        UNROLL
        for (int c = 0; c < 2; c++) {
            uint32_t which = c ? 0x6420u : 0x7531u;
            uint8_t *row = row_of<uint8_t>(u, tile, lane / 4, c);
            if (row && k_of(u, unit, lane, h, &k))
                *(uint2 *)(row + k) =
                    make_uint2(bytes_pick(w.x, w.y, which), bytes_pick(w.z, w.w, which));
        }
    }
}

static struct unpack_args args_of(const struct product_plan *p, const void *packed,
                                  const struct product_unpacked *to)
{
    const unsigned char *units = (const unsigned char *)packed;
    int32_t of_tile = p->paired ? PRODUCT_CHANNELS / 2 : PRODUCT_CHANNELS;

    ASSERT(to->first >= 0 && to->n > 0 && to->n <= p->n - to->first);
    ASSERT(to->stride % 16 == 0 && to->stride >= p->k && (p->paired || !to->up));
    ASSERT((uintptr_t)to->out % 16 == 0 && (uintptr_t)to->up % 16 == 0);
    return {units,    p->scaled ? (const float *)(units + p->scales_at) : NULL,
            *to,      p->k,
            p->units, to->first / of_tile,
            p->paired};
}

static dim3 grid_of(const struct product_plan *p, const struct product_unpacked *to)
{
    int32_t of_tile = p->paired ? PRODUCT_CHANNELS / 2 : PRODUCT_CHANNELS;
    int32_t tiles = (to->first + to->n - 1) / of_tile - to->first / of_tile + 1;

    return dim3((unsigned)tiles, (unsigned)((p->units + WARPS - 1) / WARPS));
}

int launch_product_unpack(const struct product_plan *p, const void *packed,
                          const struct product_unpacked *to, cudaStream_t stream)
{
    struct unpack_args u = args_of(p, packed, to);

#define X(TYPE) LAUNCH(unpack_kernel<TYPE>, grid_of(p, to), THREADS, 0, stream, u)
    PRODUCT_TYPE_SWITCH(p->type, X)
#undef X
    return LAUNCH_RESULT();
}

int launch_product_unpack_codes(const struct product_plan *p, const void *packed,
                                const struct product_unpacked *to, cudaStream_t stream)
{
    struct unpack_args u = args_of(p, packed, to);

    ASSERT(p->type == PRODUCT_FP8);
    LAUNCH(unpack_codes_kernel, grid_of(p, to), THREADS, 0, stream, u);
    return LAUNCH_RESULT();
}
