/*
 * panel.h - how weights lie in memory: panels of 16 rows, interleaved. Private to cpu/'s matrix
 * files.
 *
 * A panel holds 16 consecutive rows (the last panel of a matrix is filled up with zeros), column
 * after column, so that a vector register holds one column of 8 or 16 rows: each lane accumulates
 * one output, in column order, and no lane is ever added to another. That makes a result
 * independent of the vector width, and scales and results are vectors like everything else.
 *   F32    float w[cols][16]
 *   BF16   uint16_t w[ceil(cols / 2)][16][2]    two columns share a 32-bit lane
 *   quantised: runs of 32 columns, one of the structs below each; K types in blocks of 8 runs
 * The four low bits of a quantised weight: column 8g + k of a run is nibble k of q[g][row].
 * Fifth bits: bit 4(k + 1) + g of h[row]; fifth and sixth bits of q6_K: bits 4(k + 1) + 2(g % 2)
 * and the next of h[g / 2][row]; k + 1 modulo 8. So one shift by group brings the high bits of all
 * its nibbles but the last to where they belong: above them.
 */
#ifndef SPECD_CPU_PANEL_H
#define SPECD_CPU_PANEL_H

#include "specd/quant.h"

#include <stddef.h>
#include <stdint.h>

#define PANEL 16  /* rows */
#define SUPER 256 /* columns of a K type's block: 8 runs */

struct run_q8_0 {
    uint16_t d[PANEL];
    int8_t q[RUN][PANEL];
};
struct run_q4_0 {
    uint16_t d[PANEL];
    uint32_t q[4][PANEL];
};
struct run_q4_1 {
    uint16_t d[PANEL], m[PANEL];
    uint32_t q[4][PANEL];
};
struct run_q5_0 {
    uint16_t d[PANEL];
    uint32_t q[4][PANEL], h[PANEL];
};
struct run_q5_1 {
    uint16_t d[PANEL], m[PANEL];
    uint32_t q[4][PANEL], h[PANEL];
};
struct run_q4_k {
    uint8_t scale[PANEL], min[PANEL];
    uint32_t q[4][PANEL];
};
struct block_q4_k {
    uint16_t d[PANEL], m[PANEL];
    struct run_q4_k runs[SUPER / RUN];
};
struct run_q5_k {
    uint8_t scale[PANEL], min[PANEL];
    uint32_t q[4][PANEL], h[PANEL];
};
struct block_q5_k {
    uint16_t d[PANEL], m[PANEL];
    struct run_q5_k runs[SUPER / RUN];
};
struct run_q6_k {
    int8_t scale[2][PANEL]; /* of columns 0-15 and 16-31 */
    uint32_t q[4][PANEL], h[2][PANEL];
};
struct block_q6_k {
    uint16_t d[PANEL];
    struct run_q6_k runs[SUPER / RUN];
};

static inline int panel_count(int rows)
{
    return (rows + PANEL - 1) / PANEL;
}

/* Columns that a type stores together; a panel of `cols` columns is a whole number of them. */
static inline int panel_unit(enum dtype t)
{
    return t == DT_BF16 ? 2 : dtype_block(t);
}

/* Bytes of panel_unit columns of one panel; 0 for a type that is not kept (F16). */
size_t panel_unit_bytes(enum dtype t);

/* Bytes of the first `cols` columns of a panel; of all of them: from panel to panel. */
static inline size_t panel_bytes(enum dtype t, int cols)
{
    int unit = panel_unit(t);
    return (size_t)((cols + unit - 1) / unit) * panel_unit_bytes(t);
}

/* Where the pieces of a run lie. Absent pieces are NULL. */
struct run_view {
    uint16_t *d, *m;         /* [PANEL] */
    uint8_t *scale[2], *min; /* [PANEL] */
    uint32_t (*q)[PANEL];    /* [4], or NULL in q8_0 */
    uint32_t (*h)[PANEL];    /* [1] fifth bits, [2] in q6_K */
    int8_t (*bytes)[PANEL];  /* [RUN], q8_0 */
};

static inline __attribute__((always_inline)) struct run_view run_at(enum dtype t, void *panel,
                                                                    size_t run)
{
    size_t inner = run % (SUPER / RUN), outer = run / (SUPER / RUN); /* K types */
    switch (t) {
    case DT_Q8_0: {
        struct run_q8_0 *b = (struct run_q8_0 *)panel + run;
        return (struct run_view){.d = b->d, .bytes = b->q};
    }
    case DT_Q4_0: {
        struct run_q4_0 *b = (struct run_q4_0 *)panel + run;
        return (struct run_view){.d = b->d, .q = b->q};
    }
    case DT_Q4_1: {
        struct run_q4_1 *b = (struct run_q4_1 *)panel + run;
        return (struct run_view){.d = b->d, .m = b->m, .q = b->q};
    }
    case DT_Q5_0: {
        struct run_q5_0 *b = (struct run_q5_0 *)panel + run;
        return (struct run_view){.d = b->d, .q = b->q, .h = &b->h};
    }
    case DT_Q5_1: {
        struct run_q5_1 *b = (struct run_q5_1 *)panel + run;
        return (struct run_view){.d = b->d, .m = b->m, .q = b->q, .h = &b->h};
    }
    case DT_Q4_K: {
        struct block_q4_k *b = (struct block_q4_k *)panel + outer;
        struct run_q4_k *r = &b->runs[inner];
        return (struct run_view){b->d, b->m, {r->scale, r->scale}, r->min, r->q, NULL, NULL};
    }
    case DT_Q5_K: {
        struct block_q5_k *b = (struct block_q5_k *)panel + outer;
        struct run_q5_k *r = &b->runs[inner];
        return (struct run_view){b->d, b->m, {r->scale, r->scale}, r->min, r->q, &r->h, NULL};
    }
    default: { /* q6_K */
        struct block_q6_k *b = (struct block_q6_k *)panel + outer;
        struct run_q6_k *r = &b->runs[inner];
        uint8_t *s0 = (uint8_t *)r->scale[0], *s1 = (uint8_t *)r->scale[1];
        return (struct run_view){b->d, NULL, {s0, s1}, NULL, r->q, r->h, NULL};
    }
    }
}

/* One row's run out of, or into, a panel of a quantised type. */
void panel_get(enum dtype t, const void *panel, size_t run, int row, struct quant_run *out);
void panel_put(enum dtype t, void *panel, size_t run, int row, const struct quant_run *r);

#endif
