/*
 * emu_narrow.h - arithmetic on words of narrow numbers, on the host: twins of functions of
 * cuda/ptx.cuh.
 */
#ifndef SPECD_EMU_NARROW_H
#define SPECD_EMU_NARROW_H

#include "emu.h"

#include <math.h>
#include <stdint.h>

static inline float emu_float_of_f16(uint32_t bits)
{
    uint32_t sign = (bits & 0x8000) << 16, mag = bits & 0x7fff;

    if (mag >= 0x7c00)
        return __uint_as_float(sign | 0x7f800000 | mag << 13);
    if (mag < 0x400)
        return __uint_as_float(sign | __float_as_uint((float)mag * 0x1p-24f));
    return __uint_as_float(sign | ((mag << 13) + (112u << 23)));
}

static inline uint32_t emu_bf16x2_fma(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t out = 0;

    for (int shift = 0; shift < 32; shift += 16) {
        float x = __uint_as_float(a >> shift << 16), y = __uint_as_float(b >> shift << 16);
        uint32_t u = __float_as_uint(fmaf(x, y, __uint_as_float(c >> shift << 16)));
        uint32_t nan = (u & 0x7fffffff) > 0x7f800000;
        out |= (nan ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16) << shift;
    }
    return out;
}

static inline uint32_t emu_bytes_pick(uint32_t a, uint32_t b, uint32_t which)
{
    uint64_t bytes = (uint64_t)b << 32 | a;
    uint32_t out = 0;

    for (int i = 0; i < 4; i++) {
        uint32_t digit = which >> (4 * i), byte = (uint32_t)(bytes >> (8 * (digit & 7)) & 0xff);
        if (digit & 8)
            byte = byte & 0x80 ? 0xff : 0;
        out |= byte << (8 * i);
    }
    return out;
}

#endif
