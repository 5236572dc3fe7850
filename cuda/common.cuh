/*
 * common.cuh - what every kernel file uses: launches, shared memory, error mapping, reductions over
 * a team. Nothing here knows of models or laws.
 *
 * A team is the blocks that work on one item together: a cluster (ptx.cuh) of 1 to CLUSTER_MAX
 * blocks along x. All reductions give every thread of the team the same result; they are of
 * operations that need no order, so the result does not depend on the team's size or its blocks'.
 */
#ifndef SPECD_CUDA_COMMON_CUH
#define SPECD_CUDA_COMMON_CUH

#include "overlap.h"
#include "ptx.cuh"
#include "specd/error.h"

/* util.h is C: its functions have C names, and C++ spells noreturn differently. */
#define _Noreturn __attribute__((noreturn))
extern "C" {
#include "specd/util.h"
}
#undef _Noreturn

#define WARP 32
#define WARPS_MAX 32 /* of a block */
#define ALL_LANES 0xffffffffu

/* ---- shared memory and launches -------------------------------------------------------------- */

/* SHARED(type, name) and SHARED_ARRAY(type, name, n): `name` is a reference, or a pointer; aligned
 * as the type is. DYNAMIC_SHARED(type, name): what the launch asked for, 16-byte aligned. The twins
 * follow the CUDA C++ Programming Guide: __shared__, Thread Block Clusters, Programmatic Dependent
 * Launch and Synchronization, and for limits Technical Specifications per Compute Capability. */
#ifdef SPECD_EMU

#define SHARED(type, name)    \
    static char name##_site_; \
    type &name = *(type *)emu_shared(&name##_site_, alignof(type), sizeof(type))
#define SHARED_ARRAY(type, name, n) \
    static char name##_site_;       \
    type *name = (type *)emu_shared(&name##_site_, alignof(type), sizeof(type) * (n))
#define DYNAMIC_SHARED(type, name) type *name = (type *)emu_dynamic_shared()

#define LAUNCH(kernel, grid, block, smem, stream, ...) \
    LAUNCH_TEAMS(kernel, 1, grid, block, smem, stream, __VA_ARGS__)
#define LAUNCH_TEAMS(kernel, size, grid, block, smem, stream, ...)                         \
    emu_launch_kernel(#kernel, kernel, launch_overlaps(), size, grid, block, smem, stream, \
                      __VA_ARGS__)

#else

#define SHARED(type, name)           \
    __shared__ type name##_storage_; \
    type &name = name##_storage_
#define SHARED_ARRAY(type, name, n)     \
    __shared__ type name##_storage_[n]; \
    type *name = name##_storage_
#define DYNAMIC_SHARED(type, name)                                        \
    extern __shared__ __align__(16) unsigned char specd_dynamic_shared[]; \
    type *name = (type *)specd_dynamic_shared

#define LAUNCH(kernel, grid, block, smem, stream, ...) \
    launch_teams<kernel>(1, grid, block, smem, stream, __VA_ARGS__)

/* grid.x is a multiple of `size`, the blocks of a team. */
template <auto KERNEL, class... A>
static void launch_teams(int size, dim3 grid, dim3 block, size_t smem, cudaStream_t stream,
                         A &&...args)
{
    /* A multiprocessor that runs one kernel divides L1 and shared memory anew for another only when
     * it is empty. With one division for all, small kernels start beside what a product leaves. */
    static const cudaError_t divided = cudaFuncSetAttribute(
        KERNEL, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
    cudaLaunchAttribute attrs[2] = {};
    cudaLaunchConfig_t config = {};

    (void)divided; /* a preference: a launch that fails says so itself */

    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = smem;
    config.stream = stream;
    config.attrs = attrs;
    if (size > 1) {
        cudaLaunchAttribute *cluster = &attrs[config.numAttrs++];
        cluster->id = cudaLaunchAttributeClusterDimension;
        cluster->val.clusterDim.x = (unsigned)size;
        cluster->val.clusterDim.y = cluster->val.clusterDim.z = 1;
    }
    if (launch_overlaps()) {
        cudaLaunchAttribute *overlap = &attrs[config.numAttrs++];
        overlap->id = cudaLaunchAttributeProgrammaticStreamSerialization;
        overlap->val.programmaticStreamSerializationAllowed = 1;
    }
    (void)cudaLaunchKernelEx(&config, KERNEL, static_cast<A &&>(args)...);
}
#define LAUNCH_TEAMS(kernel, size, grid, block, smem, stream, ...) \
    launch_teams<kernel>(size, grid, block, smem, stream, __VA_ARGS__)

#endif

/* ---- errors ---------------------------------------------------------------------------------- */

static inline int cuda_result(cudaError_t error, const char *file, int line)
{
    if (error == cudaSuccess)
        return 0;
    log_error("cuda: %s (%s:%d)", cudaGetErrorString(error), file, line);
    return SPECD_EDEVICE;
}
/* 0 or SPECD_EDEVICE, logged. */
#define CUDA_RESULT(call) cuda_result(call, __FILE__, __LINE__)
/* Of the launches before, as far as it is known by now. */
#define LAUNCH_RESULT() CUDA_RESULT(cudaGetLastError())

/* ---- teams ----------------------------------------------------------------------------------- */

struct team {
    int rank, size; /* of this block, blocks */
    int turn;       /* which of two buffers the next reduction uses */
};

/* To be called once, by all threads: a block's shared memory may be used when it has started. */
DEVICE struct team team_start(void)
{
    struct team t = {cluster_rank(), cluster_size(), 0};

    cluster_barrier();
    return t;
}

/* What a reduction moves: two words, so that a thread can bring a pair. */
struct words {
    uint64_t a, b;
};

DEVICE struct words words_from_lane_xor(struct words w, int bits)
{
    struct words r;

    r.a = __shfl_xor_sync(ALL_LANES, w.a, bits);
    r.b = __shfl_xor_sync(ALL_LANES, w.b, bits);
    return r;
}

/* combine(mine, other) for all threads of the team; blocks are whole warps. */
template <class F> DEVICE struct words team_reduce(struct team &t, struct words mine, F combine)
{
    SHARED_ARRAY(struct words, of_warp, WARPS_MAX);
    SHARED_ARRAY(struct words, of_block, 2 * CLUSTER_MAX);
    int warp = (int)threadIdx.x / WARP, n_warps = (int)blockDim.x / WARP;
    struct words *slots = of_block + t.turn * CLUSTER_MAX;

    for (int bits = WARP / 2; bits > 0; bits /= 2)
        mine = combine(mine, words_from_lane_xor(mine, bits));
    if (threadIdx.x % WARP == 0)
        of_warp[warp] = mine;
    __syncthreads();
    mine = of_warp[0];
    for (int i = 1; i < n_warps; i++)
        mine = combine(mine, of_warp[i]);
    /* Every block tells every other. The next reduction uses the other half of the slots: a slow
     * block may still be reading these. */
    if ((int)threadIdx.x < t.size)
        cluster_peer(slots, (int)threadIdx.x)[t.rank] = mine;
    t.turn ^= 1;
    cluster_barrier();
    mine = slots[0];
    for (int i = 1; i < t.size; i++)
        mine = combine(mine, slots[i]);
    return mine;
}

DEVICE uint64_t team_sum(struct team &t, uint64_t mine)
{
    struct words w = {mine, 0};

    w = team_reduce(t, w, [](struct words x, struct words y) {
        struct words sum = {x.a + y.a, 0};
        return sum;
    });
    return w.a;
}

DEVICE uint64_t team_max(struct team &t, uint64_t mine)
{
    struct words w = {mine, 0};

    w = team_reduce(t, w, [](struct words x, struct words y) { return x.a > y.a ? x : y; });
    return w.a;
}

/* ---- keys ------------------------------------------------------------------------------------ */

/* Unsigned order of the key is the order of the numbers; both zeros have one key. No NaN. */
DEVICE uint32_t key_of_float(float x)
{
    uint32_t bits = __float_as_uint(x == 0.0f ? 0.0f : x);

    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

DEVICE float float_of_key(uint32_t key)
{
    return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

/* Largest value first, lowest id at equal values. */
DEVICE uint64_t key_of_entry(float x, int32_t id)
{
    return (uint64_t)key_of_float(x) << 32 | (uint32_t)~id;
}

DEVICE int32_t id_of_key(uint64_t key)
{
    return (int32_t)(~key & UINT32_MAX);
}

#endif
