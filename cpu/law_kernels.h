/*
 * law_kernels.h - the loops over a piece of a row that laws are made of: portable, AVX2, AVX-512.
 *
 * All sets give the same bits: every element-wise result comes from the operations of specd/law.h
 * in the same order, and every reduction is an integer sum or a maximum. Pieces are at most
 * LAW_CHUNK entries, so that they stay in the first cache; only the last of a row may be shorter.
 */
#ifndef SPECD_CPU_LAW_KERNELS_H
#define SPECD_CPU_LAW_KERNELS_H

#include "isa.h"
#include "specd/law.h"

#define LAW_CHUNK 512 /* a multiple of 32 */

struct law_total {
    uint64_t count, mass;
};

struct law_kernels {
    /* Largest of z, -infinity for none; false if one is NaN or +infinity. */
    bool (*max)(const float *z, int n, float *max);
    /* w = the weights of entries first .. first + n, 0 for those that are not kept; true if any is
     * positive. */
    bool (*weights)(const float *z, int n, int32_t first, float max, float scale, float cut_w,
                    int32_t cut_id, float *w);
    uint64_t (*sum)(const float *w, int n);
    void (*widen)(const float *w, int n, double *r);
    /* Writes the ids, counted from first, of entries with lo <= w < hi, and returns how many; adds
     * the entries with w >= hi to above. lo > 0. */
    int (*collect)(const float *w, int n, int32_t first, float lo, float hi, int32_t *ids,
                   struct law_total *above);
    /* r = max(b q - p, 0) with q = wq / sq and p = wp / sp; true if any is positive. */
    bool (*residual)(const float *wq, double sq, const float *wp, double sp, double b, int n,
                     double *r);
    /* Sum of floor(r 2^62), for r in [0, 1]. */
    uint64_t (*mass)(const double *r, int n);
    /* Entries first .. first + n with mass r enter the race; first is a multiple of 4. */
    void (*race)(const double *r, int n, int32_t first, const struct noise *noise,
                 struct race *race);
};

extern const struct law_kernels law_kernels_portable;
#ifdef __x86_64__
extern const struct law_kernels law_kernels_avx2, law_kernels_avx512;
#endif

/* Entries whose scaled logit is below this weigh less than cut_w: the margin is a thousand times
 * the errors of exp and log. */
static inline float law_cut_logit(float cut_w)
{
    return cut_w > 0.0f ? fix_log(cut_w * 0x1p-44f) - 1e-3f : -INFINITY;
}

static inline const struct law_kernels *law_kernels_pick(void)
{
#ifdef __x86_64__
    if (cpu_has_avx512())
        return &law_kernels_avx512;
    if (cpu_has_avx2())
        return &law_kernels_avx2;
#endif
    return &law_kernels_portable;
}

#endif
