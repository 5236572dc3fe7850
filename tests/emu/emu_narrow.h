/*
 * emu_narrow.h - arithmetic on words of narrow numbers, on the host: twins of functions of
 * cuda/ptx.cuh.
 */
#ifndef SPECD_EMU_NARROW_H
#define SPECD_EMU_NARROW_H

#include "emu.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float emu_float_of_f16(uint32_t bits)
{
    uint32_t sign = (bits & 0x8000) << 16, mag = bits & 0x7fff;

    if (mag >= 0x7c00)
        return __uint_as_float(sign | 0x7f800000 | mag << 13);
    if (mag < 0x400)
        return __uint_as_float(sign | __float_as_uint((float)mag * 0x1p-24f));
    return __uint_as_float(sign | ((mag << 13) + (112u << 23)));
}

/* p + c, and where that is not exact, of the two neighbours the odd one: a second rounding, to
 * fewer bits, then gives what one rounding would. p: a product of two bf16, exact. */
static inline double emu_sum_to_odd(double p, double c)
{
    double sum = p + c, of_c = sum - p, lost = (p - (sum - of_c)) + (c - of_c);
    uint64_t bits;

    memcpy(&bits, &sum, sizeof(bits));
    if (isfinite(sum) && lost != 0 && bits % 2 == 0)
        sum = nextafter(sum, lost > 0 ? (double)INFINITY : -(double)INFINITY);
    return sum;
}

/* The same for a number that does not fit into a float. */
static inline uint32_t emu_float_to_odd(double x)
{
    float f = (float)x;

    if (isnan(x) || (double)f == x)
        return __float_as_uint(f);
    if (fabs((double)f) > fabs(x))
        f = nextafterf(f, 0.0f);
    return __float_as_uint(f) | 1;
}

static inline uint32_t emu_bf16x2_fma(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t out = 0;

    for (int shift = 0; shift < 32; shift += 16) {
        float x = __uint_as_float(a >> shift << 16), y = __uint_as_float(b >> shift << 16);
        float z = __uint_as_float(c >> shift << 16);
        uint32_t u = emu_float_to_odd(emu_sum_to_odd((double)x * (double)y, (double)z));
        uint32_t nan = (u & 0x7fffffff) > 0x7f800000;
        out |= (nan ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16) << shift;
    }
    return out;
}

static inline uint32_t emu_bytes_pick(emu_site site, uint32_t a, uint32_t b, uint32_t which)
{
    uint64_t bytes = (uint64_t)b << 32 | a;
    uint32_t out = 0;

    if (which > 0xffff)
        emu_trap(site, "prmt has four digits and ignores the rest");
    for (int i = 0; i < 4; i++) {
        uint32_t digit = which >> (4 * i), byte = (uint32_t)(bytes >> (8 * (digit & 7)) & 0xff);
        if (digit & 8)
            byte = byte & 0x80 ? 0xff : 0;
        out |= byte << (8 * i);
    }
    return out;
}

/* CUDA: Integer Intrinsics. Three bits a digit where prmt has four, and the rest ignored. */
static inline uint32_t emu_byte_perm(emu_site site, uint32_t x, uint32_t y, uint32_t which)
{
    if (which & 0xffff8888u)
        emu_trap(site, "__byte_perm has digits up to 7 and ignores the rest");
    return emu_bytes_pick(site, x, y, which);
}
#define __byte_perm(x, y, which) emu_byte_perm(EMU_SITE, x, y, which)

#endif
