/*
 * quant_unpack.h - runs out of GGUF's blocks, as inline functions: where the type is a constant,
 * what is left of quant_unpack_inline is a few operations on words. quant.h says what the numbers
 * mean.
 */
#ifndef SPECD_QUANT_UNPACK_H
#define SPECD_QUANT_UNPACK_H

#include "specd/quant.h"
#include "specd/util.h"

#define QUANT_FN static inline __attribute__((always_inline, unused))

/* The files are little-endian, as are the machines this runs on; blocks have no alignment. */
QUANT_FN uint16_t load16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

QUANT_FN uint32_t load32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

/* ---- blocks of 32: the low nibbles of 16 bytes, then their high nibbles ---------------------- */

/* q[i] |= (p[i] >> shift & mask) << up, eight bytes at a time. */
QUANT_FN void add_bits(int8_t *q, const uint8_t *p, int n, int shift, uint8_t mask, int up)
{
#pragma GCC unroll 4
    for (int i = 0; i < n; i += 8) {
        uint64_t from, to;
        memcpy(&from, p + i, 8);
        memcpy(&to, q + i, 8);
        to |= (from >> shift & mask * 0x0101010101010101u) << up;
        memcpy(q + i, &to, 8);
    }
}

QUANT_FN void nibbles_16(const uint8_t *qs, int8_t q[RUN])
{
    add_bits(q, qs, 16, 0, 15, 0);
    add_bits(q + 16, qs, 16, 4, 15, 0);
}

/* Bit i of a byte, times all bytes, masked with bit i in byte i, is above zero where it was set. */
QUANT_FN void add_fifth_bits(uint32_t high, int8_t q[RUN])
{
#pragma GCC unroll 4
    for (int i = 0; i < RUN; i += 8) {
        uint64_t bits = (high >> i & 255) * 0x0101010101010101u & 0x8040201008040201u, to;
        bits = (bits + 0x7F7F7F7F7F7F7F7Fu) >> 3 & 0x1010101010101010u;
        memcpy(&to, q + i, 8);
        to |= bits;
        memcpy(q + i, &to, 8);
    }
}

QUANT_FN void unpack_q8_0(const uint8_t *b, struct quant_run *out)
{
    out->d = load16(b);
    memcpy(out->q, b + 2, RUN);
}

QUANT_FN void unpack_q4_0(const uint8_t *b, struct quant_run *out)
{
    out->d = load16(b);
    nibbles_16(b + 2, out->q);
}

QUANT_FN void unpack_q4_1(const uint8_t *b, struct quant_run *out)
{
    out->d = load16(b);
    out->m = load16(b + 2);
    nibbles_16(b + 4, out->q);
}

QUANT_FN void unpack_q5_0(const uint8_t *b, struct quant_run *out)
{
    out->d = load16(b);
    nibbles_16(b + 6, out->q);
    add_fifth_bits(load32(b + 2), out->q);
}

QUANT_FN void unpack_q5_1(const uint8_t *b, struct quant_run *out)
{
    out->d = load16(b);
    out->m = load16(b + 2);
    nibbles_16(b + 8, out->q);
    add_fifth_bits(load32(b + 4), out->q);
}

/* ---- blocks of 256: 8 runs under a common d, and dmin where there is a minimum --------------- */

/* Eight 6-bit scales and eight 6-bit minima in 12 bytes: the first four of each are the low six
 * bits of bytes 0-3 and 4-7; the others take four bits from bytes 8-11 and two from above. */
QUANT_FN void scale_and_min(const uint8_t *s, int run, struct quant_run *out)
{
    if (run < 4) {
        out->scale[0] = s[run] & 63;
        out->min[0] = s[run + 4] & 63;
    } else {
        out->scale[0] = (uint8_t)((s[run + 4] & 15) | (s[run - 4] >> 6) << 4);
        out->min[0] = (uint8_t)(s[run + 4] >> 4 | (s[run] >> 6) << 4);
    }
    out->scale[1] = out->scale[0];
    out->min[1] = out->min[0];
}

/* Each 32 bytes hold two runs: low nibbles, then high nibbles. */
QUANT_FN void nibbles_32(const uint8_t *qs, int run, int8_t q[RUN])
{
    add_bits(q, qs + run / 2 * 32, RUN, run % 2 * 4, 15, 0);
}

QUANT_FN void unpack_q4_k(const uint8_t *b, int run, struct quant_run *out)
{
    out->d = load16(b);
    out->m = load16(b + 2);
    scale_and_min(b + 4, run, out);
    nibbles_32(b + 16, run, out->q);
}

QUANT_FN void unpack_q5_k(const uint8_t *b, int run, struct quant_run *out)
{
    out->d = load16(b);
    out->m = load16(b + 2);
    scale_and_min(b + 4, run, out);
    nibbles_32(b + 48, run, out->q);
    add_bits(out->q, b + 16, RUN, run, 1, 4);
}

/* Two halves of four runs. Runs 0 and 1 of a half are the low nibbles of its 64 bytes, 2 and 3 the
 * high ones; one byte of the 32 at qh has two more bits for each of the four. */
QUANT_FN void unpack_q6_k(const uint8_t *b, int run, struct quant_run *out)
{
    int half = run / 4, r = run % 4;
    const uint8_t *ql = b + 64 * half + 32 * (r % 2);
    const uint8_t *qh = b + 128 + 32 * half;
    add_bits(out->q, ql, RUN, r / 2 * 4, 15, 0);
    add_bits(out->q, qh, RUN, 2 * r, 3, 4);
    memcpy(out->scale, b + 192 + 2 * run, 2);
    out->d = load16(b + 208);
}

/* Two halves of four runs, two bits of each in the 32 bytes of its half. */
QUANT_FN void pairs_32(const uint8_t *qs, int run, int8_t q[RUN])
{
    add_bits(q, qs + run / 4 * 32, RUN, run % 4 * 2, 3, 0);
}

/* A byte for 16 weights: scale in the low four bits, minimum in the high ones. */
QUANT_FN void unpack_q2_k(const uint8_t *b, int run, struct quant_run *out)
{
    pairs_32(b + 16, run, out->q);
    for (int i = 0; i < 2; i++) {
        out->scale[i] = b[2 * run + i] & 15;
        out->min[i] = b[2 * run + i] >> 4;
    }
    out->d = load16(b + 80);
    out->m = load16(b + 82);
}

/* 32 bytes with the third bit of a weight of each run. Sixteen scales of six bits, less 32: four
 * bits of j in byte j % 8, then two in byte 8 + j % 4. */
QUANT_FN void unpack_q3_k(const uint8_t *b, int run, struct quant_run *out)
{
    const uint8_t *s = b + 96;
    pairs_32(b + 32, run, out->q);
    add_bits(out->q, b, RUN, run, 1, 2);
    for (int i = 0; i < 2; i++) {
        int j = 2 * run + i, low = s[j % 8] >> j / 8 * 4 & 15, high = s[8 + j % 4] >> j / 4 * 2 & 3;
        out->scale[i] = (uint8_t)((low | high << 4) - 32);
    }
    out->d = load16(b + 108);
}

/* Eight scales of six bits, less 32: two bits of each in a word, then four. */
QUANT_FN void unpack_iq4_xs(const uint8_t *b, int run, struct quant_run *out)
{
    int low = b[4 + run / 2] >> run % 2 * 4 & 15, high = load16(b + 2) >> 2 * run & 3;
    out->d = load16(b);
    out->scale[0] = out->scale[1] = (uint8_t)((low | high << 4) - 32);
    nibbles_16(b + 8 + 16 * run, out->q);
}

QUANT_FN void unpack_mxfp4(const uint8_t *b, struct quant_run *out)
{
    out->scale[0] = out->scale[1] = b[0];
    nibbles_16(b + 1, out->q);
}

/* Four scales of 16 weights each, then the nibbles of each 16: of eight bytes the low ones, then
 * the high ones. A scale has no sign, whatever its highest bit; NaN's place means zero. */
QUANT_FN void unpack_nvfp4(const uint8_t *b, int run, struct quant_run *out)
{
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        uint8_t scale = b[2 * run + i];
        out->scale[i] = scale == 0x7f ? 0 : scale & 0x7f;
        add_bits(out->q + 16 * i, b + 4 + 16 * run + 8 * i, 8, 0, 15, 0);
        add_bits(out->q + 16 * i + 8, b + 4 + 16 * run + 8 * i, 8, 4, 15, 0);
    }
}

QUANT_FN void quant_unpack_inline(enum dtype t, const void *row, size_t run, struct quant_run *out)
{
    size_t runs = (size_t)dtype_block(t) / RUN;
    const uint8_t *b = (const uint8_t *)row + run / runs * (size_t)dtype_bytes(t);
    int inner = (int)(run % runs);
    *out = (struct quant_run){.d = 0};
    switch (t) {
    case DT_Q8_0:
        unpack_q8_0(b, out);
        return;
    case DT_Q4_0:
    case DT_IQ4_NL:
        unpack_q4_0(b, out);
        return;
    case DT_Q4_1:
        unpack_q4_1(b, out);
        return;
    case DT_Q5_0:
        unpack_q5_0(b, out);
        return;
    case DT_Q5_1:
        unpack_q5_1(b, out);
        return;
    case DT_Q2_K:
        unpack_q2_k(b, inner, out);
        return;
    case DT_Q3_K:
        unpack_q3_k(b, inner, out);
        return;
    case DT_Q4_K:
        unpack_q4_k(b, inner, out);
        return;
    case DT_Q5_K:
        unpack_q5_k(b, inner, out);
        return;
    case DT_Q6_K:
        unpack_q6_k(b, inner, out);
        return;
    case DT_IQ4_XS:
        unpack_iq4_xs(b, inner, out);
        return;
    case DT_MXFP4:
        unpack_mxfp4(b, out);
        return;
    case DT_NVFP4:
        unpack_nvfp4(b, inner, out);
        return;
    case DT_F8:
    case DT_F8_ROW:
        memcpy(&out->wide, b, sizeof(out->wide));
        memcpy(out->q, b + sizeof(out->wide), RUN);
        return;
    default:
        ASSERT(!"a quantised type");
    }
}

#endif
