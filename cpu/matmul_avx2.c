/*
 * The kernels for AVX2, FMA and F16C; kernel.h has the order they keep.
 *
 * One function is written over the type, `np` panels and `nt` rows of x as compile-time constants
 * and instantiated for SHAPES. Its accumulators, np * 2 * nt vectors, stay in registers: at least 8
 * where possible, which hides the latency of FMA (4 cycles, two a cycle), at most 12 of the 16.
 * Decoding a column costs the same few operations for any nt, so from two rows on the multiply
 * units are the limit, below that the memory.
 */
#include "kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <stdbool.h>

#define AVX2 __attribute__((target("avx2,fma,f16c")))

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
#define INLINE static AVX2
#define UNROLL
#else
#define INLINE static inline __attribute__((always_inline)) AVX2
#define UNROLL _Pragma("GCC unroll 16")
#endif
/* clang-format off: it takes EACH for a call */
#define EACH(i, n) UNROLL for (int i = 0; i < (n); i++)
/* Makes the compiler forget what it loaded from here, so that packed columns are operands from the
 * first-level cache and not registers that accumulators are spilled for. */
#define FORGET(pointer) __asm__("" : "+r"(pointer))

/* [panel][half][row of x]; half: rows 0-7 and 8-15 of the panel */
struct sums {
    __m256 v[GROUP][2][TILE];
};

/* Constants, read as operands for the same reason. */
#define EIGHT(v)               \
    {                          \
        v, v, v, v, v, v, v, v \
    }
struct masks {
    uint32_t nibble[7][8];             /* the four bits of column k */
    uint32_t fifth[7][8], sixth[7][8]; /* the high bits of column k, once shifted by group */
    uint32_t bf16[8];
};
static const _Alignas(32) struct masks masks = {
    {EIGHT(0xF), EIGHT(0xF0), EIGHT(0xF00), EIGHT(0xF000), EIGHT(0xF0000), EIGHT(0xF00000),
     EIGHT(0xF000000)},
    {EIGHT(0x10), EIGHT(0x100), EIGHT(0x1000), EIGHT(0x10000), EIGHT(0x100000), EIGHT(0x1000000),
     EIGHT(0x10000000)},
    {EIGHT(0x30), EIGHT(0x300), EIGHT(0x3000), EIGHT(0x30000), EIGHT(0x300000), EIGHT(0x3000000),
     EIGHT(0x30000000)},
    EIGHT(0xFFFF0000),
};

/* Eight columns of one panel. */
struct columns {
    const char *q; /* floats, bytes or packed nibbles */
    __m256i *high; /* [half], packed high bits of these eight */
};

INLINE __m256i load_ints(const void *p)
{
    return _mm256_load_si256((const __m256i *)p);
}

INLINE __m256 load_bytes(const void *p, const bool is_signed)
{
    __m128i b = _mm_loadl_epi64((const __m128i *)p);
    return _mm256_cvtepi32_ps(is_signed ? _mm256_cvtepi8_epi32(b) : _mm256_cvtepu8_epi32(b));
}

INLINE __m256 load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)p));
}

/* Lines of what this thread will read next: `bytes` of them, at the pace of the reading. */
INLINE void fetch(const char *p, const size_t bytes)
{
    UNROLL for (size_t i = 0; i < bytes; i += 64) _mm_prefetch(p + i, _MM_HINT_T2);
}

/* ---- columns --------------------------------------------------------------------------------- */

INLINE int high_bits(const enum dtype t)
{
    return t == DT_Q6_K ? 2 : t == DT_Q5_0 || t == DT_Q5_1 || t == DT_Q5_K;
}

/* q * up of column k of eight. The last one comes from the top, where a signed conversion would go
 * wrong, down to bit 0. */
INLINE __m256 nibble(const enum dtype t, const struct columns *c, const int h, const int k,
                     const struct masks *m)
{
    __m256i q = load_ints(c->q + h * 32);
    if (k < 7)
        q = _mm256_and_si256(q, load_ints(m->nibble[k]));
    else
        q = _mm256_srli_epi32(q, 28);
    if (high_bits(t) > 0) {
        __m256i high = k < 7 ? c->high[h] : _mm256_slli_epi32(c->high[h], 4);
        const uint32_t *mask = high_bits(t) == 1 ? m->fifth[k % 7] : m->sixth[k % 7];
        q = _mm256_or_si256(q, _mm256_and_si256(high, load_ints(mask)));
    }
    return _mm256_cvtepi32_ps(q);
}

/* Column k of eight of half h of a panel, as floats; times `up` where the type is packed so. */
INLINE __m256 column(const enum dtype t, const struct columns *c, const int h, const int k,
                     const struct masks *m)
{
    if (t == DT_F32)
        return _mm256_load_ps((const float *)(const void *)(c->q + k * 64 + h * 32));
    if (t == DT_BF16) {
        __m256i pair = load_ints(c->q + k / 2 * 64 + h * 32);
        if (k % 2 == 0)
            return _mm256_castsi256_ps(_mm256_slli_epi32(pair, 16));
        return _mm256_castsi256_ps(_mm256_and_si256(pair, load_ints(m->bf16)));
    }
    if (t == DT_Q8_0)
        return load_bytes(c->q + k * 16 + h * 8, true);
    return nibble(t, c, h, k, m);
}

/* s += column * x, for all panels and rows. With few rows the x stay in registers and columns come
 * and go; with many it is the other way round. */
INLINE void multiply(struct sums *s, const enum dtype type, const int np, const int nt,
                     struct columns *c, const int k, const float *x, size_t x_stride)
{
    const struct masks *m = &masks;
    FORGET(m);
    EACH(p, np)
    {
        FORGET(c[p].q);
        if (high_bits(type))
            FORGET(c[p].high);
    }
    if (nt <= 3) {
        __m256 xs[3];
        EACH(t, nt)
        xs[t] = _mm256_broadcast_ss(x + (size_t)t * x_stride);
        EACH(p, np)
        EACH(h, 2)
        {
            __m256 w = column(type, &c[p], h, k, m);
            EACH(t, nt)
            s->v[p][h][t] = _mm256_fmadd_ps(w, xs[t], s->v[p][h][t]);
        }
    } else {
        EACH(p, np)
        {
            __m256 w0 = column(type, &c[p], 0, k, m), w1 = column(type, &c[p], 1, k, m);
            EACH(t, nt)
            {
                __m256 v = _mm256_broadcast_ss(x + (size_t)t * x_stride);
                s->v[p][0][t] = _mm256_fmadd_ps(w0, v, s->v[p][0][t]);
                s->v[p][1][t] = _mm256_fmadd_ps(w1, v, s->v[p][1][t]);
            }
        }
    }
}

/* ---- x --------------------------------------------------------------------------------------- */

/* The sum of all lanes. */
INLINE float sum_16(__m256 a, __m256 b)
{
    __m256 eight = _mm256_add_ps(a, b);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

AVX2 void prepare_avx2(const float *x, int n_cols, float *scaled, float *sums)
{
    const __m256 down =
        _mm256_setr_ps(1, 0x1p-4f, 0x1p-8f, 0x1p-12f, 0x1p-16f, 0x1p-20f, 0x1p-24f, 1);
    for (int c = 0; c < n_cols; c += RUN, sums += SUMS) {
        __m256 v[4];
        EACH(i, 4)
        {
            v[i] = _mm256_loadu_ps(x + c + 8 * i);
            _mm256_storeu_ps(scaled + c + 8 * i, _mm256_mul_ps(v[i], down));
        }
        sums[0] = sum_16(v[0], v[1]);
        sums[1] = sum_16(v[2], v[3]);
        sums[SUM_ALL] = sums[0] + sums[1];
    }
}

/* ---- floats ---------------------------------------------------------------------------------- */

INLINE void mul_floats(const enum dtype type, const int np, const int nt,
                       const struct kernel_args *a)
{
    const size_t column_bytes = type == DT_F32 ? 64 : 32;
    struct sums s;
    struct columns at[GROUP];
    EACH(p, np)
    EACH(t, nt)
    EACH(h, 2)
    s.v[p][h][t] = _mm256_loadu_ps(a->acc + (p * nt + t) * PANEL + h * 8);
    EACH(p, np)
    at[p] = (struct columns){a->w + (size_t)p * a->w_stride, NULL};
    const float *x = a->x;
    const char *next = a->next;
    int c = 0;
    for (; c + 8 <= a->n_cols; c += 8, x += 8) {
        fetch(next, (size_t)np * 8 * column_bytes);
        next += np * 8 * column_bytes;
        EACH(k, 8)
        multiply(&s, type, np, nt, at, k, x + k, a->x_stride);
        EACH(p, np)
        at[p].q += 8 * column_bytes;
    }
    for (; c + 2 <= a->n_cols; c += 2, x += 2) {
        EACH(k, 2)
        multiply(&s, type, np, nt, at, k, x + k, a->x_stride);
        EACH(p, np)
        at[p].q += 2 * column_bytes;
    }
    if (c < a->n_cols)
        multiply(&s, type, np, nt, at, 0, x, a->x_stride);
    EACH(p, np)
    EACH(t, nt)
    EACH(h, 2)
    _mm256_storeu_ps(a->acc + (p * nt + t) * PANEL + h * 8, s.v[p][h][t]);
}

/* ---- quantised types ------------------------------------------------------------------------- */

/* s = -offset * sum of x over these columns */
INLINE void start(struct sums *s, const int np, const int nt, const int offset, const float *sum,
                  size_t sums_stride)
{
    EACH(t, nt)
    {
        __m256 v = _mm256_setzero_ps();
        if (offset)
            v = _mm256_set1_ps((float)-offset * sum[(size_t)t * sums_stride]);
        EACH(p, np)
        EACH(h, 2)
        s->v[p][h][t] = v;
    }
}

/* Scale of half h of a panel's run; in q6_K, of its columns 0-15 or 16-31. */
INLINE __m256 scale_of(const enum dtype t, const struct run_view *r, const int part, const int h)
{
    __m256 d = load_f16(r->d + h * 8);
    if (t == DT_Q4_K || t == DT_Q5_K || t == DT_Q6_K)
        d = _mm256_mul_ps(d, load_bytes(r->scale[part] + h * 8, t == DT_Q6_K));
    return d;
}

INLINE __m256 min_of(const enum dtype t, const struct run_view *r, const int h)
{
    __m256 m = load_f16(r->m + h * 8);
    if (t == DT_Q4_K || t == DT_Q5_K)
        m = _mm256_xor_ps(_mm256_mul_ps(m, load_bytes(r->min + h * 8, false)),
                          _mm256_set1_ps(-0.0f));
    return m;
}

/* acc = d * s + acc, then + m * sum */
INLINE void finish(const struct sums *s, const enum dtype type, const int p, const int nt,
                   const struct run_view *r, const int part, const float *sum, size_t sums_stride,
                   float *acc)
{
    const bool has_min = type == DT_Q4_1 || type == DT_Q5_1 || type == DT_Q4_K || type == DT_Q5_K;
    EACH(h, 2)
    {
        __m256 d = scale_of(type, r, part, h), m = d;
        if (has_min)
            m = min_of(type, r, h);
        EACH(t, nt)
        {
            float *out = acc + t * PANEL + h * 8;
            __m256 v = _mm256_fmadd_ps(d, s->v[p][h][t], _mm256_loadu_ps(out));
            if (has_min)
                v = _mm256_fmadd_ps(m, _mm256_broadcast_ss(sum + (size_t)t * sums_stride), v);
            _mm256_storeu_ps(out, v);
        }
    }
}

/* Group g of eight columns; high: where its high bits can be put. */
INLINE struct columns columns_at(const enum dtype t, const struct run_view *r, int g,
                                 __m256i high[2])
{
    if (t == DT_Q8_0)
        return (struct columns){(const char *)r->bytes[g * 8], NULL};
    if (high_bits(t)) {
        const uint32_t *from = r->h[t == DT_Q6_K ? g / 2 : 0];
        __m128i shift = _mm_cvtsi32_si128(t == DT_Q6_K ? g % 2 * 2 : g);
        EACH(h, 2)
        high[h] = _mm256_srl_epi32(load_ints((const char *)(from + h * 8)), shift);
    }
    return (struct columns){(const char *)r->q[g], high};
}

INLINE void mul_quantised(const enum dtype type, const int np, const int nt,
                          const struct kernel_args *args)
{
    struct kernel_args a = *args;
    const int parts = type == DT_Q6_K ? 2 : 1;
    /* as in the file: scales of K types take a little more in a panel */
    const size_t run_bytes = dtype_row_bytes(type, SUPER) / (SUPER / RUN) * PANEL * (size_t)np;
    for (size_t run = 0; run < (size_t)a.n_cols / RUN; run++) {
        struct run_view r[GROUP];
        fetch(a.next, run_bytes);
        a.next += run_bytes;
        FORGET(a.acc);
        EACH(p, np)
        r[p] = run_at(type, (void *)(uintptr_t)(a.w + (size_t)p * a.w_stride), run);
        EACH(part, parts)
        {
            const float *sum = a.sums + run * SUMS + (parts == 2 ? part : SUM_ALL);
            struct sums s;
            start(&s, np, nt, dtype_offset(type), sum, a.sums_stride);
            for (int g = part * 4 / parts; g < (part + 1) * 4 / parts; g++) {
                struct columns c[GROUP];
                __m256i high[GROUP][2];
                EACH(p, np)
                c[p] = columns_at(type, &r[p], g, high[p]);
                EACH(k, 8)
                multiply(&s, type, np, nt, c, k, a.x + run * RUN + g * 8 + k, a.x_stride);
            }
            EACH(p, np)
            finish(&s, type, p, nt, &r[p], part, sum, a.sums_stride, a.acc + p * nt * PANEL);
        }
    }
}

/* ---- instances ------------------------------------------------------------------------------- */

#define SHAPES(X, type) \
    X(type, 1, 1)       \
    X(type, 1, 2)       \
    X(type, 1, 3)       \
    X(type, 1, 4) X(type, 1, 5) X(type, 1, 6) X(type, 2, 1) X(type, 2, 2) X(type, 4, 1)
#define TYPES(X)                                                                    \
    SHAPES(X, F32)                                                                  \
    SHAPES(X, BF16)                                                                 \
    SHAPES(X, Q8_0)                                                                 \
    SHAPES(X, Q4_0) SHAPES(X, Q4_1) SHAPES(X, Q5_0) SHAPES(X, Q5_1) SHAPES(X, Q4_K) \
        SHAPES(X, Q5_K) SHAPES(X, Q6_K)

#define KERNEL(type, np, nt)                                         \
    AVX2 static void type##_##np##_##nt(const struct kernel_args *a) \
    {                                                                \
        if (dtype_is_quantised(DT_##type))                           \
            mul_quantised(DT_##type, np, nt, a);                     \
        else                                                         \
            mul_floats(DT_##type, np, nt, a);                        \
    }
#define ENTRY(type, np, nt) [DT_##type][np][nt] = type##_##np##_##nt,

TYPES(KERNEL)

typedef void kernel_fn(const struct kernel_args *a);
static kernel_fn *const table[DT_COUNT][GROUP + 1][TILE + 1] = {TYPES(ENTRY)};

int kernel_avx2_panels(int n_rows, int n)
{
    if (n_rows == 1 && n >= 4)
        return 4;
    return n_rows <= 2 && n >= 2 ? 2 : 1;
}

void kernel_avx2(enum dtype t, int n_panels, int n_rows, const struct kernel_args *a)
{
    table[t][n_panels][n_rows](a);
}

#else

int kernel_avx2_panels(int n_rows, int n)
{
    (void)n_rows;
    (void)n;
    return 1;
}

void prepare_avx2(const float *x, int n_cols, float *scaled, float *sums)
{
    prepare_portable(x, n_cols, scaled, sums);
}

void kernel_avx2(enum dtype t, int n_panels, int n_rows, const struct kernel_args *a)
{
    kernel_portable(t, n_panels, n_rows, a);
}

#endif
