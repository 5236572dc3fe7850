/*
 * panel.h - how weights lie in memory: panels of 16 rows, interleaved. Private to cpu/'s matrix
 * files.
 *
 * A panel holds 16 consecutive rows ("channels"; the last panel of a matrix is filled up with
 * zeros), so that each lane of a vector register works for one output and no lane is ever added to
 * another: a result does not depend on the vector's width, and scales and results are vectors like
 * everything else. All instruction sets read the same bytes.
 *   F32    float w[cols][16]
 *   BF16   uint16_t w[ceil(cols / 2)][16][2]    two columns share a 32-bit lane
 *   F16    uint16_t w[cols][16]
 *   quantised: blocks of one or more runs of 32 columns; a head with the scales, then the runs.
 * Of a quantised run a 32-bit lane holds four columns of one channel: a "line" is the 64 bytes of
 * 16 lanes, and word k = 0..7 of a channel its columns 4k .. 4k + 3. Weights are unsigned.
 *   4, 5 and 6 bits: low nibbles of line g are word 2g, high nibbles word 2g + 1; four lines
 *   5 bits: one more line, whose bit k of byte b is the fifth bit of column 4k + b
 *   6 bits: two more, whose bits 2(k % 4) of byte b and the next, in line k / 4, are the highest
 *   q8_0: line k is word k, each weight plus 128
 * Every line is aligned: blocks that are no multiple of 64 bytes, or that keep the high bits of a
 * block apart from the low ones, were measured up to three times slower from memory.
 */
#ifndef SPECD_CPU_PANEL_H
#define SPECD_CPU_PANEL_H

#include "specd/quant.h"

#include <stddef.h>
#include <stdint.h>

#define PANEL 16  /* rows */
#define SUPER 256 /* columns of a K type's block: 8 runs */
#define LINE 64   /* bytes: a 32-bit lane of each channel */

/* Of one panel. Heads: q4_0, q5_0, q8_0: f16 d[2][16]; q4_1, q5_1: f16 d[16], m[16];
 * q4_K, q5_K: f16 d[16], m[16], u8 scale[8][16], min[8][16];
 * q6_K: f32 d[16], i8 scale[8][2][16] (of columns 0-15 and 16-31). */
struct panel_block {
    int runs; /* whose scales the head holds */
    size_t head_bytes, run_bytes;
};

#define HEAD_SCALES 64 /* where scales of K types begin; q4_K, q5_K: minima 128 bytes on */
#define HEAD_MINS 192

static inline __attribute__((always_inline)) struct panel_block panel_block(enum dtype t)
{
    switch (t) {
    case DT_Q8_0:
        return (struct panel_block){2, 64, 8 * LINE};
    case DT_Q4_0:
        return (struct panel_block){2, 64, 4 * LINE};
    case DT_Q4_1:
        return (struct panel_block){1, 64, 4 * LINE};
    case DT_Q5_0:
        return (struct panel_block){2, 64, 5 * LINE};
    case DT_Q5_1:
        return (struct panel_block){1, 64, 5 * LINE};
    case DT_Q4_K:
        return (struct panel_block){8, 320, 4 * LINE};
    case DT_Q5_K:
        return (struct panel_block){8, 320, 5 * LINE};
    default: /* q6_K */
        return (struct panel_block){8, 320, 6 * LINE};
    }
}

static inline int panel_count(int rows)
{
    return (rows + PANEL - 1) / PANEL;
}

/* Columns that a type stores together; what a row's end leaves of them is zero. */
static inline int panel_unit(enum dtype t)
{
    return dtype_is_quantised(t) ? panel_block(t).runs * RUN : t == DT_BF16 ? 2 : 1;
}

static inline size_t panel_unit_bytes(enum dtype t)
{
    if (t == DT_F32)
        return PANEL * sizeof(float);
    if (t == DT_F16)
        return PANEL * sizeof(uint16_t);
    if (t == DT_BF16)
        return PANEL * 2 * sizeof(uint16_t);
    struct panel_block b = panel_block(t);
    return b.head_bytes + (size_t)b.runs * b.run_bytes;
}

/* Bytes of the first `cols` columns of a panel; of all of them: from panel to panel. */
static inline size_t panel_bytes(enum dtype t, int cols)
{
    int unit = panel_unit(t);
    return (size_t)((cols + unit - 1) / unit) * panel_unit_bytes(t);
}

/* One row's run out of a panel of a quantised type. */
void panel_get(enum dtype t, const void *panel, size_t run, int row, struct quant_run *out);

/* What is taken off a stored weight: 8, 16, 32 or, where it is stored as signed in the file, 128.
 */
static inline __attribute__((always_inline)) int dtype_offset(enum dtype t)
{
    return t == DT_Q4_0 ? 8 : t == DT_Q5_0 ? 16 : t == DT_Q6_K ? 32 : t == DT_Q8_0 ? 128 : 0;
}

static inline __attribute__((always_inline)) bool dtype_has_min(enum dtype t)
{
    return t == DT_Q4_1 || t == DT_Q5_1 || t == DT_Q4_K || t == DT_Q5_K;
}

/* Bits above the nibble. */
static inline __attribute__((always_inline)) int dtype_high_bits(enum dtype t)
{
    return t == DT_Q6_K ? 2 : t == DT_Q5_0 || t == DT_Q5_1 || t == DT_Q5_K;
}

#endif
