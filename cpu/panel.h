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
 * 16 lanes, and word k = 0..7 of a channel its columns 4k .. 4k + 3. Weights are unsigned codes,
 * their low bits in lines first, a line for each bit, then the high ones:
 *   8 low bits  line k is word k; of q8_0 each byte plus 128
 *   4 low bits  low nibbles of line g are word 2g, high nibbles word 2g + 1
 *   2 low bits  bits 2j of the bytes of line g are word 4g + j
 *   1 high bit  one line, whose bit k of byte b is that of column 4k + b
 *   2 high bits two lines, whose bits 2(k % 4) and the next of byte b, in line k / 4, are these
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

/* How a block's head has the scales of its channels. */
enum panel_head {
    HEAD_D,        /* f16 d[2][16], of two runs */
    HEAD_D_M,      /* f16 d[16], m[16] */
    HEAD_POWER,    /* u8 e[4][16], of four runs: 2^(e - 128) */
    HEAD_E4M3,     /* u8 scale[2][2][16], of two runs, half of e4m3's number each */
    HEAD_K,        /* f16 d[16], m[16], u8 scale[8][16], min[8][16] */
    HEAD_K_SIGNED, /* f32 d[16], i8 scale[8][16] */
    HEAD_K16,      /* f32 d[16], i8 scale[8][2][16] (of columns 0-15 and 16-31) */
    HEAD_K16_MIN,  /* f16 d[16], m[16], u8 scale[8][2][16], a minimum in the high nibbles */
    HEAD_WIDE,     /* f32 d[16], of numbers that are no integers */
};

#define HEAD_SCALES 64 /* where scales of 256 columns begin; HEAD_K: minima 128 bytes on */
#define HEAD_MINS 192

/* A code stands for an integer: itself plus `raised`, less `offset`; or, less `offset`, its number
 * in a table of 16 unsigned bytes. */
struct panel_form {
    enum panel_head head;
    int low_bits, high_bits, raised, offset;
    const int8_t *table; /* of the integers themselves, or NULL */
};

static inline __attribute__((always_inline)) struct panel_form panel_form(enum dtype t)
{
    switch (t) {
    case DT_Q8_0: /* signed in files */
        return (struct panel_form){HEAD_D, 8, 0, 0, 128, NULL};
    case DT_Q4_0:
        return (struct panel_form){HEAD_D, 4, 0, 0, 8, NULL};
    case DT_Q4_1:
        return (struct panel_form){HEAD_D_M, 4, 0, 0, 0, NULL};
    case DT_Q5_0:
        return (struct panel_form){HEAD_D, 4, 1, 0, 16, NULL};
    case DT_Q5_1:
        return (struct panel_form){HEAD_D_M, 4, 1, 0, 0, NULL};
    case DT_Q2_K:
        return (struct panel_form){HEAD_K16_MIN, 2, 0, 0, 0, NULL};
    case DT_Q3_K: /* less 4 */
        return (struct panel_form){HEAD_K16, 2, 1, 28, 32, NULL};
    case DT_Q4_K:
        return (struct panel_form){HEAD_K, 4, 0, 0, 0, NULL};
    case DT_Q5_K:
        return (struct panel_form){HEAD_K, 4, 1, 0, 0, NULL};
    case DT_IQ4_NL:
        return (struct panel_form){HEAD_D, 4, 0, 0, 128, quant_table_iq4};
    case DT_IQ4_XS:
        return (struct panel_form){HEAD_K_SIGNED, 4, 0, 0, 128, quant_table_iq4};
    case DT_MXFP4:
        return (struct panel_form){HEAD_POWER, 4, 0, 0, 128, quant_table_fp4};
    case DT_NVFP4: /* sums of 16 columns begin at -32 times those of q, as q6_K's */
        return (struct panel_form){HEAD_E4M3, 4, 0, 0, 32, quant_table_fp4};
    case DT_F8:
    case DT_F8_ROW:
        return (struct panel_form){HEAD_WIDE, 8, 0, 0, 0, NULL};
    default: /* q6_K */
        return (struct panel_form){HEAD_K16, 4, 2, 0, 32, NULL};
    }
}

static inline __attribute__((always_inline)) bool head_has_min(enum panel_head h)
{
    return h == HEAD_D_M || h == HEAD_K || h == HEAD_K16_MIN;
}

/* An integer scale for each 16 columns. */
static inline __attribute__((always_inline)) bool head_is_split(enum panel_head h)
{
    return h == HEAD_K16 || h == HEAD_K16_MIN;
}

/* One that is no integer: what is done after a run of 32 is done after each 16. */
static inline __attribute__((always_inline)) bool head_is_apart(enum panel_head h)
{
    return h == HEAD_E4M3;
}

/* Whether weights multiply activations as integers. */
static inline bool dtype_is_integer(enum dtype t)
{
    return dtype_is_quantised(t) && panel_form(t).head != HEAD_WIDE;
}

struct panel_block {
    int runs; /* whose scales the head holds */
    size_t head_bytes, run_bytes;
};

static inline __attribute__((always_inline)) struct panel_block panel_block(enum dtype t)
{
    struct panel_form f = panel_form(t);
    size_t run_bytes = (size_t)(f.low_bits + f.high_bits) * LINE;
    switch (f.head) {
    case HEAD_D:
    case HEAD_E4M3:
        return (struct panel_block){2, 64, run_bytes};
    case HEAD_D_M:
    case HEAD_WIDE:
        return (struct panel_block){1, 64, run_bytes};
    case HEAD_POWER:
        return (struct panel_block){4, 64, run_bytes};
    case HEAD_K_SIGNED:
        return (struct panel_block){8, 192, run_bytes};
    default:
        return (struct panel_block){8, 320, run_bytes};
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

#endif
