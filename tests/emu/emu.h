/*
 * emu.h - what a kernel sees of the GPU, on the host: threads, barriers, warps, shared memory.
 *
 * cuda/common.cuh includes it instead of the CUDA headers when SPECD_EMU is defined; the same .cu
 * files then compile as C++. Every GPU thread is a fiber (fiber.h); a launch runs cluster after
 * cluster, blocks in a random order, and whenever a thread waits, a random ready one goes on. The
 * order follows from a seed (SPECD_EMU_SEED, printed on failure), so a missing barrier shows in
 * some schedules and can be replayed. Memory is the host's: each shared array is an allocation of
 * its own, filled with noise before each block, so that AddressSanitizer sees overruns.
 *
 * It is stricter than hardware: a barrier that some thread of the block left out, or that two
 * threads reach at different lines, a warp operation whose named lanes do not all come, and lanes
 * that do not exist end the process with a message. So does all that the real thing ignores,
 * forbids or leaves undefined; each part names its text, of the CUDA C++ Programming Guide ("CUDA")
 * or the PTX ISA ("ISA"). What it cannot see: __launch_bounds__, which the real launch checks.
 */
#ifndef SPECD_EMU_H
#define SPECD_EMU_H

#include "emu_runtime.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <tuple>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

struct uint3 {
    unsigned x, y, z;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
static inline struct float2 make_float2(float x, float y)
{
    return {x, y};
}
static inline struct float4 make_float4(float x, float y, float z, float w)
{
    return {x, y, z, w};
}
static inline struct uint2 make_uint2(unsigned x, unsigned y)
{
    return {x, y};
}

/* ---- threads --------------------------------------------------------------------------------- */

struct emu_block;

struct emu_position {
    struct uint3 thread, block;
    struct dim3 block_dim, grid_dim;
    int cluster_rank, cluster_size;
};

/* Of the running fiber; one launch runs at a time. */
extern const struct emu_position *emu_here;

#define threadIdx (emu_here->thread)
#define blockIdx (emu_here->block)
#define blockDim (emu_here->block_dim)
#define gridDim (emu_here->grid_dim)
static const int warpSize = 32;

struct emu_site {
    const char *file;
    int line;
};
#define EMU_SITE (emu_site{__FILE__, __LINE__})

/* CUDA: Synchronization Functions; ISA: barrier, barrier.cluster, whose .aligned forms all threads
 * of a warp execute together. Barriers of a block return how many threads came with a true
 * predicate. */
int emu_block_barrier(emu_site site, bool predicate);
void emu_cluster_barrier(emu_site site);
void emu_yield(void); /* lets another thread run, as it may at any time */

#define __syncthreads() ((void)emu_block_barrier(EMU_SITE, false))
#define __syncthreads_count(p) emu_block_barrier(EMU_SITE, p)
#define __syncthreads_or(p) (emu_block_barrier(EMU_SITE, p) > 0)
#define __syncthreads_and(p) (emu_block_barrier(EMU_SITE, !(p)) == 0)

/* ---- warps ----------------------------------------------------------------------------------- */

/* CUDA: Warp Vote Functions, Warp Shuffle Functions, Warp Reduce Functions; ISA: shfl.sync,
 * vote.sync, redux.sync, bar.warp.sync. */

/* All lanes of `mask` bring 64 bits; out gets what lane `from` brought, or with from < 0 what each
 * of the 32 did. */
void emu_warp_exchange(emu_site site, unsigned mask, uint64_t mine, int from, uint64_t *out);
int emu_lane(void);

template <class T> T emu_shuffle(emu_site site, unsigned mask, T value, int from)
{
    static_assert(std::is_arithmetic<T>::value && (sizeof(T) == 4 || sizeof(T) == 8),
                  "a shuffle moves a number of 32 or 64 bits");
    uint64_t bits = 0, got;
    memcpy(&bits, &value, sizeof(T));
    emu_warp_exchange(site, mask, bits, from, &got);
    memcpy(&value, &got, sizeof(T));
    return value;
}

/* Source lanes of the shuffle variants for sections of `width` lanes: an index is taken modulo
 * width; whoever would get something from outside its section gets its own. */
int emu_from_index(emu_site site, int from, int width);
int emu_from_down(emu_site site, unsigned delta, int width);
int emu_from_up(emu_site site, unsigned delta, int width);
int emu_from_xor(emu_site site, int bits, int width);

#define EMU_WIDTH_(w, ...) w
#define __shfl_sync(mask, v, from, ...) \
    emu_shuffle(EMU_SITE, mask, v,      \
                emu_from_index(EMU_SITE, from, EMU_WIDTH_(__VA_ARGS__ __VA_OPT__(, ) 32)))
#define __shfl_down_sync(mask, v, n, ...) \
    emu_shuffle(EMU_SITE, mask, v,        \
                emu_from_down(EMU_SITE, n, EMU_WIDTH_(__VA_ARGS__ __VA_OPT__(, ) 32)))
#define __shfl_up_sync(mask, v, n, ...) \
    emu_shuffle(EMU_SITE, mask, v,      \
                emu_from_up(EMU_SITE, n, EMU_WIDTH_(__VA_ARGS__ __VA_OPT__(, ) 32)))
#define __shfl_xor_sync(mask, v, n, ...) \
    emu_shuffle(EMU_SITE, mask, v,       \
                emu_from_xor(EMU_SITE, n, EMU_WIDTH_(__VA_ARGS__ __VA_OPT__(, ) 32)))

unsigned emu_ballot(emu_site site, unsigned mask, bool predicate);
#define __ballot_sync(mask, p) emu_ballot(EMU_SITE, mask, p)
#define __any_sync(mask, p) (emu_ballot(EMU_SITE, mask, p) != 0)
#define __all_sync(mask, p) (emu_ballot(EMU_SITE, mask, !(p)) == 0)
#define __syncwarp(...) \
    ((void)emu_ballot(EMU_SITE, EMU_WIDTH_(__VA_ARGS__ __VA_OPT__(, ) 0xffffffffu), false))

template <class T, class F> T emu_warp_reduce(emu_site site, unsigned mask, T value, F combine)
{
    static_assert(std::is_integral<T>::value && sizeof(T) == 4,
                  "reductions are of 32-bit integers");
    uint64_t all[32], bits = 0;
    T sum = value;
    bool any = false;
    memcpy(&bits, &value, sizeof(T));
    emu_warp_exchange(site, mask, bits, -1, all);
    for (int i = 0; i < 32; i++) {
        if (!(mask >> i & 1))
            continue;
        T x;
        memcpy(&x, &all[i], sizeof(T));
        sum = any ? combine(sum, x) : x;
        any = true;
    }
    return sum;
}
#define __reduce_add_sync(mask, v) \
    emu_warp_reduce(EMU_SITE, mask, v, [](auto a, auto b) { return a + b; })
#define __reduce_max_sync(mask, v) \
    emu_warp_reduce(EMU_SITE, mask, v, [](auto a, auto b) { return a > b ? a : b; })
#define __reduce_min_sync(mask, v) \
    emu_warp_reduce(EMU_SITE, mask, v, [](auto a, auto b) { return a < b ? a : b; })

/* ---- shared memory --------------------------------------------------------------------------- */

/* CUDA: __shared__; ISA: mapa. The block's array that is declared at `site` (an address that only
 * this declaration has), aligned as its type is and no better. */
void *emu_shared(const void *site, size_t align, size_t bytes);
void *emu_dynamic_shared(void);
/* The same place in the shared memory of another block of the cluster. */
void *emu_peer(void *mine, int rank);

/* ---- what cuda/ptx.cuh has names for --------------------------------------------------------- */

/* The copy happens when it is waited for; until then the destination holds noise. */
void emu_copy_async(emu_site site, void *to, const void *from, int bytes);
void emu_copy_commit(void);
void emu_copy_wait(int groups_left);
void emu_copy_wait_but(int groups_left); /* 0 to 6 */
/* Whether p .. p + bytes lies in one array of the running block's shared memory. */
bool emu_is_shared(const void *p, size_t bytes);

void emu_matrix_load4(emu_site site, uint32_t out[4], const void *row, bool transposed);
void emu_matrix_mul(emu_site site, float d[4], const uint32_t a[4], const uint32_t b[2]);

/* What is ahead in the stream has ended when it returns; see emu_run_ahead. */
void emu_grid_wait(emu_site site);

/* ---- atomics: the host runs one thread at a time, but lets others in between ------------------
 */

void emu_atomic_gap(void);

/* CUDA: Atomic Functions. */
template <class T, class F> T emu_atomic(T *at, F change)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "atomics are of 32 or 64 bits");
    emu_atomic_gap();
    T old = *at;
    *at = change(old);
    return old;
}
/* The second parameter takes no part in deduction: literals convert, as with CUDA's overloads. */
template <class T> struct emu_same {
    typedef T type;
};
template <class T> using emu_arg = typename emu_same<T>::type;

template <class T> T atomicAdd(T *at, emu_arg<T> v)
{
    return emu_atomic(at, [=](T old) { return (T)(old + v); });
}
template <class T> T atomicMax(T *at, emu_arg<T> v)
{
    return emu_atomic(at, [=](T old) { return old > v ? old : v; });
}
template <class T> T atomicMin(T *at, emu_arg<T> v)
{
    return emu_atomic(at, [=](T old) { return old < v ? old : v; });
}
template <class T> T atomicOr(T *at, emu_arg<T> v)
{
    return emu_atomic(at, [=](T old) { return old | v; });
}
template <class T> T atomicAnd(T *at, emu_arg<T> v)
{
    return emu_atomic(at, [=](T old) { return old & v; });
}
template <class T> T atomicExch(T *at, emu_arg<T> v)
{
    return emu_atomic(at, [=](T) { return v; });
}
template <class T> T atomicCAS(T *at, emu_arg<T> expected, emu_arg<T> v)
{
    return emu_atomic(at, [=](T old) { return old == expected ? v : old; });
}
static inline void __threadfence(void)
{
    emu_yield();
}
static inline void __threadfence_system(void)
{
    emu_yield();
}
static inline void __threadfence_block(void) {}
static inline void __nanosleep(unsigned)
{
    emu_yield();
}

/* ---- the rest -------------------------------------------------------------------------------- */

template <class T> T __ldg(const T *p)
{
    return *p;
}
long long clock64(void);
uint64_t emu_clock_ns(void); /* of the host */
/* CUDA: Integer Intrinsics. */
static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
static inline int __clz(int x)
{
    return x == 0 ? 32 : __builtin_clz((unsigned)x);
}
static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}
static inline unsigned __float_as_uint(float f)
{
    unsigned u;
    memcpy(&u, &f, sizeof(u));
    return u;
}
static inline float __uint_as_float(unsigned u)
{
    float f;
    memcpy(&f, &u, sizeof(f));
    return f;
}
[[noreturn]] void emu_trap(emu_site site, const char *what);
#define __trap() emu_trap(EMU_SITE, "trap")

/* ISA: cp.async.bulk.prefetch: address and size are multiples of 16. The ends are read, so
 * that a sanitizer sees it when they are not there. */
static inline void emu_l2_prefetch(emu_site site, const void *from, uint32_t bytes)
{
    const volatile char *at = (const volatile char *)from;

    if ((uintptr_t)from % 16 || bytes % 16 || bytes == 0)
        emu_trap(site, "a prefetch is not aligned");
    (void)at[0];
    (void)at[bytes - 1];
}

/* ---- launches -------------------------------------------------------------------------------- */

struct emu_launch {
    const char *name;
    const void *kernel;
    struct dim3 grid, block;
    int cluster; /* blocks of a cluster, along x */
    size_t dynamic_shared;
    size_t shared_allowed; /* dynamic: what cudaFuncSetAttribute allowed, 0 without */
    bool overlaps;         /* may start before the launch ahead has ended */
};

/* A kernel with its arguments, which are copied when it is launched. */
struct emu_call {
    virtual ~emu_call() {}
    virtual void operator()() const = 0;
};
template <class... P> struct emu_call_of : emu_call {
    void (*kernel)(P...);
    std::tuple<P...> args;
    template <class... A>
    emu_call_of(void (*k)(P...), A &&...a) : kernel(k), args(std::forward<A>(a)...)
    {
    }
    void operator()() const override { std::apply(kernel, args); }
};

/* Takes the call. What is wrong with the launch is left for cudaGetLastError. */
void emu_enqueue(const struct emu_launch *launch, cudaStream_t stream, emu_call *call);
/* Runs a random cluster of a launch as far as it comes before what is ahead has run: to grid_wait.
 * The launch and the call stay where they are until emu_run, which goes on with it, or
 * emu_give_up. */
struct emu_cluster;
emu_cluster *emu_run_ahead(const struct emu_launch *launch, const emu_call &call);
void emu_give_up(emu_cluster *ahead);
/* Runs a launch to its end. ahead: NULL, or a cluster that has been run ahead. */
void emu_run(const struct emu_launch *launch, const emu_call &call, emu_cluster *ahead);

template <class... P, class... A>
void emu_launch_kernel(const char *name, void (*kernel)(P...), bool overlaps, int cluster,
                       dim3 grid, dim3 block, size_t dynamic_shared, cudaStream_t stream,
                       A &&...args)
{
    emu_launch l = {name, (const void *)kernel, grid, block, cluster, dynamic_shared, 0, overlaps};
    emu_enqueue(&l, stream, new emu_call_of<P...>(kernel, std::forward<A>(args)...));
}

#endif
