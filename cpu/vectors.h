/*
 * vectors.h - the vector operations that dots.h and floats.h are written in, for VECTOR_ISA, the
 * number of a set in isa.h.
 *
 * A panel's 16 channels are HALVES vectors: one of 512 bits or two of 256. vi is 32-bit integers,
 * vf floats; arithmetic on them is the compiler's own (a + b, a & b), the rest is below. dot adds
 * the products of four unsigned bytes of w with four signed bytes of x to each 32-bit lane; AVX2,
 * which has no such instruction, adds pairs of products to lanes of 16 bits (dots.h proves that
 * they fit). EACH loops are unrolled.
 */
#ifndef SPECD_CPU_VECTORS_H
#define SPECD_CPU_VECTORS_H

#include "isa.h"

#include <immintrin.h>
#include <stdint.h>

/* clang-format off */
#if VECTOR_ISA == 4
#define TARGET __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")))
#define VECTOR_BYTES 64
#elif VECTOR_ISA == 3
#define TARGET __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")))
#define VECTOR_BYTES 32
#elif VECTOR_ISA == 2
#define TARGET __attribute__((target("avx2,fma,f16c,avxvnni")))
#define VECTOR_BYTES 32
#else
#define TARGET __attribute__((target("avx2,fma,f16c")))
#define VECTOR_BYTES 32
#endif
#define HALVES (64 / VECTOR_BYTES)
#define WORD_DOTS (VECTOR_ISA != 1) /* dot adds to 32 bits */

/* Each instance is one unrolled function, but where a sanitizer would make a page of every
 * instruction: there the same code runs with variables for constants. */
#if defined(__has_feature)
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||   \
    HAS_FEATURE(address_sanitizer) || HAS_FEATURE(thread_sanitizer) || \
    HAS_FEATURE(undefined_behavior_sanitizer)
#define INLINE static __attribute__((unused)) TARGET
#define UNROLL
#else
#define INLINE static inline __attribute__((always_inline, unused)) TARGET
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define EACH(i, n) UNROLL for (int i = 0; i < (n); i++)

/* Makes gcc leave a chain of additions as it is: the tree it would build spills its leaves. */
#define KEEP(v) __asm__("" : "+x"(v))
/* Fetches ahead of what is read. With one row or two the processor's own prefetchers keep up with
 * the stream and do it better (q8_0, one row: .83 of merely reading, against 1.0 to 1.2; not so
 * with lines of high bits: q6_K 1.45, against 1.1). With more rows they fall behind: 9 took 1.9 times as long as
 * reading with lines fetched 4 KB ahead into the first-level cache, whose few pending misses the
 * rows need, and 1.45 times with lines fetched 8 to 16 KB ahead into the second-level one. */
#define FETCH(when, p)                                            \
    do {                                                          \
        if (when)                                                 \
            _mm_prefetch((const char *)(p) + 12288, _MM_HINT_T1); \
    } while (0)

typedef int32_t vi __attribute__((vector_size(VECTOR_BYTES)));
typedef uint32_t vu __attribute__((vector_size(VECTOR_BYTES)));
typedef float vf __attribute__((vector_size(VECTOR_BYTES)));

INLINE vi vi_load(const void *p) { return *(const vi *)p; }
INLINE vf vf_load(const void *p) { return *(const vf *)p; }
INLINE void vf_store(void *p, vf a) { *(vf *)p = a; }
INLINE vf vf_of_int(vi a) { return __builtin_convertvector(a, vf); }
/* Lanes of 32 bits up or, n < 0, down. */
INLINE vi vi_up(vi a, const int n) { return (vi)(n < 0 ? (vu)a >> -n : (vu)a << n); }

/* Of the low byte of each lane, the others zero: e4m3_to_f32, whose subnormal numbers would take
 * their time. As 2^-6 (1 + m / 8) less 2^-6 they are none. */
INLINE vf vf_e4m3(vi a)
{
    vi rest = vi_up(a & 0x7f, 20), is_small = rest < 1 << 23;
    vf v = (vf)(rest + (120 << 23) + (is_small & 1 << 23)) - (vf)(is_small & 121 << 23);
    return (vf)((vi)v | vi_up(a & 0x80, 24));
}

#if VECTOR_BYTES == 64
INLINE vi vi_set(int32_t a) { return (vi)_mm512_set1_epi32(a); }
INLINE vf vf_set(float a) { return _mm512_set1_ps(a); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf vf_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
INLINE vf vf_f16(const void *p) { return _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)p)); }
INLINE vi vi_u8(const void *p) { return (vi)_mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)p)); }
INLINE vi vi_i8(const void *p) { return (vi)_mm512_cvtepi8_epi32(_mm_load_si128((const __m128i *)p)); }
/* Half of e4m3's numbers, of bytes without a sign: seven bits up they are 2^-8 of them in f16. */
INLINE vf vf_half_e4m3(const void *p)
{
    __m256i half = _mm256_cvtepu8_epi16(_mm_load_si128((const __m128i *)p));
    return _mm512_cvtph_ps(_mm256_slli_epi16(half, 7)) * vf_set(0x1p7f);
}
INLINE vi dot(vi s, vi w, vi x) { return (vi)_mm512_dpbusd_epi32((__m512i)s, (__m512i)w, (__m512i)x); }
/* Sums of two products of 16 bits. */
INLINE vi madd(vi a, vi b) { return (vi)_mm512_madd_epi16((__m512i)a, (__m512i)b); }
/* Each byte's number in a table of 16, plus `offset`; bytes are below 16. */
INLINE vi vi_lookup(const int8_t *table, const int offset, vi bytes)
{
    __m512i t = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)table));
    t = _mm512_add_epi8(t, _mm512_set1_epi8((char)offset));
    return (vi)_mm512_shuffle_epi8(t, (__m512i)bytes);
}
#else
INLINE vi vi_set(int32_t a) { return (vi)_mm256_set1_epi32(a); }
INLINE vf vf_set(float a) { return _mm256_set1_ps(a); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vf vf_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
INLINE vf vf_f16(const void *p) { return _mm256_cvtph_ps(_mm_load_si128((const __m128i *)p)); }
INLINE vi vi_u8(const void *p) { return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)); }
INLINE vi vi_i8(const void *p) { return (vi)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)); }
INLINE vf vf_half_e4m3(const void *p)
{
    __m128i half = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)p));
    return _mm256_cvtph_ps(_mm_slli_epi16(half, 7)) * vf_set(0x1p7f);
}
INLINE vi madd(vi a, vi b) { return (vi)_mm256_madd_epi16((__m256i)a, (__m256i)b); }
INLINE vi vi_lookup(const int8_t *table, const int offset, vi bytes)
{
    __m256i t = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)table));
    t = _mm256_add_epi8(t, _mm256_set1_epi8((char)offset));
    return (vi)_mm256_shuffle_epi8(t, (__m256i)bytes);
}
#if VECTOR_ISA == 3
INLINE vi dot(vi s, vi w, vi x) { return (vi)_mm256_dpbusd_epi32((__m256i)s, (__m256i)w, (__m256i)x); }
#elif VECTOR_ISA == 2
INLINE vi dot(vi s, vi w, vi x) { return (vi)_mm256_dpbusd_avx_epi32((__m256i)s, (__m256i)w, (__m256i)x); }
#else
INLINE vi dot(vi s, vi w, vi x)
{
    s = (vi)_mm256_add_epi16((__m256i)s, _mm256_maddubs_epi16((__m256i)w, (__m256i)x));
    KEEP(s);
    return s;
}
/* Each half of a lane. */
INLINE vi twice(vi a) { return (vi)_mm256_add_epi16((__m256i)a, (__m256i)a); }
/* Signed bytes w: |w| times x with w's sign. A pair is 2 * 128 * 127 = 32512 at most. */
INLINE vi dot_signed(vi s, vi w, vi x)
{
    __m256i v = _mm256_sign_epi8((__m256i)x, (__m256i)w);
    v = _mm256_maddubs_epi16(_mm256_abs_epi8((__m256i)w), v);
    s += (vi)_mm256_madd_epi16(v, _mm256_set1_epi16(1));
    KEEP(s);
    return s;
}
#endif
#endif
#if WORD_DOTS
INLINE vi twice(vi a) { return a + a; }
#endif
/* clang-format on */

#endif
