/*
 * ptx.cuh - what CUDA C++ has no words for, one small function each, with a twin for the emulator
 * of tests/emu: clusters, asynchronous copies, the matrix unit, narrow floats. No other file but
 * common.cuh may tell the two builds apart.
 *
 * "ISA" names the section of the PTX ISA (8.x and 9.x) that a function and its twin follow. A twin
 * does what the text says and ends the process where the text says nothing, or that it is
 * undefined. An intrinsic of CUDA C++ is no substitute for an instruction: __byte_perm takes three
 * bits of a digit where prmt takes four. scripts/check-kernels.py reads what nvcc makes of this
 * file.
 */
#ifndef SPECD_CUDA_PTX_CUH
#define SPECD_CUDA_PTX_CUH

#ifdef SPECD_EMU
#include "emu.h"
#include "emu_narrow.h"
#else
#include <cuda_runtime.h>
#include <stdint.h>
#endif

/* Before a loop whose body is better there once, and one over an array that is to stay in
 * registers. */
#ifdef SPECD_EMU
#define NO_UNROLL
#define UNROLL
#else
#define NO_UNROLL _Pragma("unroll 1")
#define UNROLL _Pragma("unroll")
#endif

#define DEVICE static __device__ __forceinline__

/* ---- clusters: blocks that run at the same time and see one another's shared memory ---------- */

/* ISA: Special Registers: %cluster_ctarank, %cluster_nctarank; Parallel Synchronization and
 * Communication Instructions: barrier.cluster; Data Movement and Conversion Instructions: mapa.
 * Devices before sm_90 have none: there a cluster is one block. */
#define CLUSTER_MAX 8

#ifdef SPECD_EMU

DEVICE int cluster_rank(void)
{
    return emu_here->cluster_rank;
}
DEVICE int cluster_size(void)
{
    return emu_here->cluster_size;
}
#define cluster_barrier() emu_cluster_barrier(EMU_SITE)
template <class T> DEVICE T *cluster_peer(T *mine, int rank)
{
    return (T *)emu_peer((void *)mine, rank);
}

#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

DEVICE int cluster_rank(void)
{
    uint32_t r;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
    return (int)r;
}
DEVICE int cluster_size(void)
{
    uint32_t n;
    asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(n));
    return (int)n;
}
/* All threads of all blocks; what they wrote before, shared or global, is seen after. */
DEVICE void cluster_barrier(void)
{
    asm volatile("barrier.cluster.arrive.release.aligned;\n"
                 "barrier.cluster.wait.acquire.aligned;" ::
                     : "memory");
}
/* The same place in the shared memory of block `rank` of the cluster, as a generic address. That
 * block must have started and not have ended. */
template <class T> DEVICE T *cluster_peer(T *mine, int rank)
{
    uint64_t out;
    asm("mapa.u64 %0, %1, %2;" : "=l"(out) : "l"((uint64_t)mine), "r"(rank));
    return (T *)out;
}

#else

DEVICE int cluster_rank(void)
{
    return 0;
}
DEVICE int cluster_size(void)
{
    return 1;
}
DEVICE void cluster_barrier(void)
{
    __syncthreads();
}
template <class T> DEVICE T *cluster_peer(T *mine, int)
{
    return mine;
}

#endif

/* ---- launches that overlap: a kernel may start before those ahead of it have ended ----------- */

/* ISA: Parallel Synchronization and Communication Instructions: griddepcontrol.
 * grid_wait: returns when every kernel ahead in the stream has ended and what they wrote is seen.
 * Before it a kernel touches nothing but its arguments, its shared memory and weights, which never
 * change: a kernel ahead may still write what is read, or read what is written. Each waits for the
 * one ahead alone, and that one has ended only if it waited too: so every thread of every kernel
 * comes here, also one that has nothing to do. To come again costs nothing.
 * grid_release: when all blocks have come here, or ended, the next kernel may start where there is
 * room; it sees no more of this one for that. */
#ifdef SPECD_EMU

#define grid_wait() emu_grid_wait(EMU_SITE)
DEVICE void grid_release(void) {}

#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

DEVICE void grid_wait(void)
{
    asm volatile("griddepcontrol.wait;" ::: "memory");
}
DEVICE void grid_release(void)
{
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

#else /* launch_overlaps is false */

DEVICE void grid_wait(void) {}
DEVICE void grid_release(void) {}

#endif

/* ---- bf16: the upper half of a float --------------------------------------------------------- */

struct bf16 {
    uint16_t bits;
};

DEVICE float bf16_to_float(struct bf16 x)
{
    return __uint_as_float((uint32_t)x.bits << 16);
}

/* To nearest, ties to even; NaN stays NaN. Integers alone, so both builds give the same bits. */
DEVICE struct bf16 bf16_of_float(float x)
{
    uint32_t u = __float_as_uint(x);
    struct bf16 r;

    if (x != x)
        r.bits = (uint16_t)(u >> 16 | 0x40);
    else
        r.bits = (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
    return r;
}

/* Four neighbours. */
DEVICE float4 bf16_four(uint2 two)
{
    return make_float4(__uint_as_float(two.x << 16), __uint_as_float(two.x & 0xffff0000u),
                       __uint_as_float(two.y << 16), __uint_as_float(two.y & 0xffff0000u));
}

/* Two in a word, as the matrix unit takes them, by bf16_of_float, but a NaN becomes 0x7fff: the
 * device has an instruction for it.
 * ISA: Data Movement and Conversion Instructions: cvt; its first source is the upper half. */
#ifdef SPECD_EMU
DEVICE uint32_t bf16_pair_of(float low, float high)
{
    return (low == low ? bf16_of_float(low).bits : 0x7fffu) |
           (uint32_t)(high == high ? bf16_of_float(high).bits : 0x7fffu) << 16;
}
#else
DEVICE uint32_t bf16_pair_of(float low, float high)
{
    uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}
#endif

/* ---- words of narrow numbers ----------------------------------------------------------------- */

/* float_of_f16: the low 16 bits; exact. ISA: Data Movement and Conversion Instructions: cvt.
 * bf16x2_fma: a b + c of two bf16 in a word each, rounded once, subnormals kept; which NaN is not
 * said. ISA: Half Precision Floating Point Instructions: fma.
 * bytes_pick: byte i of the result is byte `digit i` of b:a, four hexadecimal digits counted from
 * the right; with 8 more, eight times that byte's highest bit. ISA: Data Movement and Conversion
 * Instructions: prmt, the generic form.
 * bits_put: (a & mask) | into, as the one instruction it is; with two constants the compiler makes
 * two. ISA: Logic and Shift Instructions: lop3. */
#ifdef SPECD_EMU

#define float_of_f16(bits) emu_float_of_f16(bits)
#define bf16x2_fma(a, b, c) emu_bf16x2_fma(a, b, c)
#define bytes_pick(a, b, which) emu_bytes_pick(EMU_SITE, a, b, which)
#define bits_put(a, mask, into) (((a) & (mask)) | (into))

#else

DEVICE float float_of_f16(uint32_t bits)
{
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"((uint16_t)bits));
    return f;
}
DEVICE uint32_t bf16x2_fma(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t d;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
DEVICE uint32_t bytes_pick(uint32_t a, uint32_t b, uint32_t which)
{
    uint32_t d;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(which));
    return d;
}
DEVICE uint32_t bits_put(uint32_t a, uint32_t mask, uint32_t into)
{
    uint32_t d;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(d) : "r"(a), "r"(mask), "r"(into));
    return d;
}
#endif

/* ---- e4m3: sign, 4 bits of exponent, 3 of mantissa; 0x7f and 0xff are NaN -------------------- */

struct fp8 {
    uint8_t bits;
};

/* To nearest, ties to even; what is too large becomes 448, the largest. NaN stays NaN, and so that
 * it still shows, infinity becomes one. Integers and one exact sum, for devices before sm_89. */
DEVICE struct fp8 fp8_of_float(float x)
{
    uint32_t u = __float_as_uint(x), mag = u & 0x7fffffffu, code;
    struct fp8 r;

    if (mag >= 0x7f800000u) {
        code = 0x7f;
    } else if (mag < 0x3c800000u) { /* below 2^-6: multiples of 2^-9, as floats from 2^14 on are */
        code = __float_as_uint(__uint_as_float(mag) + 16384.0f) - 0x46800000u;
    } else {
        code = (mag - (120u << 23) + 0x7ffffu + (mag >> 20 & 1)) >> 20;
        code = code < 0x7e ? code : 0x7e;
    }
    r.bits = (uint8_t)((u >> 24 & 0x80) | code);
    return r;
}

/* Four neighbours, exactly. Exponent and mantissa shifted to their places in bf16 are 2^-120 of the
 * number; a byte of `nans` has its highest bit set where that would hide a NaN. */
DEVICE uint2 bf16_of_fp8(uint32_t four)
{
    uint32_t nans = (four & 0x7f7f7f7fu) + 0x01010101u;
    uint32_t low = bytes_pick(four, 0, 0x1404), high = bytes_pick(four, 0, 0x3424);
    uint2 r;

    low = bits_put(low, 0x80008000u, low >> 4 & 0x07f007f0u);
    high = bits_put(high, 0x80008000u, high >> 4 & 0x07f007f0u);
    r.x = bf16x2_fma(low, 0x7b807b80u, 0x80008000u) | bytes_pick(nans, 0, 0x9988);
    r.y = bf16x2_fma(high, 0x7b807b80u, 0x80008000u) | bytes_pick(nans, 0, 0xbbaa);
    return r;
}

/* ---- loads that pass by L1 --------------------------------------------------------------------
 */

/* ISA: Data Movement and Conversion Instructions: ld (.cg), cp.async.bulk.prefetch.
 * load_l2: of what other processors write while this kernel waits for them. l2_prefetch: a hint, of
 * one thread; `bytes` and the address are multiples of 16. Devices before sm_90 do nothing. */
#ifdef SPECD_EMU
DEVICE uint4 load_l2(const uint4 *from)
{
    return *from;
}
#define l2_prefetch(from, bytes) emu_l2_prefetch(EMU_SITE, from, bytes)
#else
DEVICE uint4 load_l2(const uint4 *from)
{
    return __ldcg(from);
}
DEVICE void l2_prefetch(const void *from, uint32_t bytes)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes));
#endif
}
#endif

/* ---- asynchronous copies, global to shared memory -------------------------------------------- */

/* ISA: Data Movement and Conversion Instructions: cp.async, cp.async.commit_group,
 * cp.async.wait_group, createpolicy. The form that leaves L1 out (.cg) copies 16 bytes, no other
 * number.
 * 16 bytes, both ends aligned; of the source only the first `bytes` are read, zeros follow. A
 * thread groups what it started with copy_commit; copy_wait<N> returns when all but its last N
 * groups are there, for this thread: others see them after a barrier. */
#ifdef SPECD_EMU

#define copy_async(to_shared, from, bytes) emu_copy_async(EMU_SITE, to_shared, from, bytes)
DEVICE void copy_commit(void)
{
    emu_copy_commit();
}
template <int N> DEVICE void copy_wait(void)
{
    emu_copy_wait(N);
}
#define copy_async_once(to_shared, from) copy_async(to_shared, from, 16)
DEVICE void copy_wait_but(int groups)
{
    emu_copy_wait_but(groups);
}

#else

DEVICE void copy_async(void *to_shared, const void *from, int bytes)
{
    uint32_t to = (uint32_t)__cvta_generic_to_shared(to_shared);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
                 : "memory");
}
DEVICE void copy_commit(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int N> DEVICE void copy_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
/* All 16 bytes, which then are the first to leave L2: nobody else reads them in this pass. */
DEVICE void copy_async_once(void *to_shared, const void *from)
{
    uint32_t to = (uint32_t)__cvta_generic_to_shared(to_shared);
    uint64_t policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2;" ::"r"(to),
                 "l"(from), "l"(policy)
                 : "memory");
}
/* copy_wait for a number that is known late, 0 to 6. */
DEVICE void copy_wait_but(int groups)
{
    switch (groups) {
    case 6:
        return copy_wait<6>();
    case 5:
        return copy_wait<5>();
    case 4:
        return copy_wait<4>();
    case 3:
        return copy_wait<3>();
    case 2:
        return copy_wait<2>();
    case 1:
        return copy_wait<1>();
    default:
        return copy_wait<0>();
    }
}

#endif

/* ---- the clock ---------------------------------------------------------------------------------
 */

/* Nanoseconds that all kernels of the device agree on; its step is 32 ns to 1 us. ISA: Special
 * Registers: %globaltimer. */
#ifdef SPECD_EMU

DEVICE uint64_t device_clock_ns(void)
{
    return emu_clock_ns();
}

#else

DEVICE uint64_t device_clock_ns(void)
{
    uint64_t ns;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns));
    return ns;
}

#endif

/* ---- the matrix unit: all lanes of a warp together ------------------------------------------- */

/* ISA: Warp-level matrix load instruction: ldmatrix; Multiply-and-Accumulate Instruction: mma;
 * Matrix Fragments for mma.m16n8k16 with floating point type.
 * Lane l has g = l / 4 and t = l % 4 below; a word holds two bf16, the lower index in its low half.
 *
 * matrix_load4: four 8 x 8 matrices of bf16 out of shared memory; lane l brings the address of row
 * l % 8 of matrix l / 8 (16 bytes, aligned). out[i] = elements (g, 2t), (g, 2t + 1) of matrix i;
 * matrix_load4_transposed: elements (2t, g), (2t + 1, g).
 *
 * matrix_mul: d (16 x 8, float) += a (16 x 16) b (16 x 8).
 *
 *   a[0], a[1]: rows g, g + 8, columns 2t, 2t + 1
 *
 *   a[2], a[3]: the same rows, columns 2t + 8, 2t + 9
 *
 *   b[0], b[1]: column g, rows 2t, 2t + 1 and 2t + 8, 2t + 9
 *
 *   d[0], d[1]: row g, columns 2t, 2t + 1; d[2], d[3]: row g + 8
 *
 * How the hardware rounds inside is not specified; the twin sums in double and rounds once. */
#ifdef SPECD_EMU

#define matrix_load4(out, row) emu_matrix_load4(EMU_SITE, out, row, false)
#define matrix_load4_transposed(out, row) emu_matrix_load4(EMU_SITE, out, row, true)
#define matrix_mul(d, a, b) emu_matrix_mul(EMU_SITE, d, a, b)

#else

DEVICE void matrix_load4(uint32_t out[4], const void *row)
{
    uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(at)
                 : "memory");
}
DEVICE void matrix_load4_transposed(uint32_t out[4], const void *row)
{
    uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(at)
                 : "memory");
}
DEVICE void matrix_mul(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif

#endif
