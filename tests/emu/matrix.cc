/*
 * The matrix unit, emulated: fragments as the PTX ISA lays them out over the lanes of a warp.
 */
#include "emu.h"

#define LANES 32
#define EVERY_LANE 0xffffffffu

static float bf16_half(uint64_t words, int half)
{
    return __uint_as_float((uint32_t)(words >> (16 * half)) << 16);
}

static uint32_t element(const void *row, int column)
{
    uint16_t bits;

    memcpy(&bits, (const char *)row + column * (int)sizeof(bits), sizeof(bits));
    return bits;
}

void emu_matrix_load4(emu_site site, uint32_t out[4], const void *row, bool transposed)
{
    uint64_t rows[LANES];
    int g = emu_lane() / 4, t = emu_lane() % 4;

    if ((uintptr_t)row % 16)
        emu_trap(site, "a matrix row is not aligned");
    if (!emu_is_shared(row, 16))
        emu_trap(site, "a matrix row is not in this block's shared memory");
    emu_warp_exchange(site, EVERY_LANE, (uint64_t)(uintptr_t)row, -1, rows);
    for (int i = 0; i < 4; i++) {
        uint32_t half[2];
        for (int h = 0; h < 2; h++) {
            int r = transposed ? 2 * t + h : g, c = transposed ? g : 2 * t + h;
            half[h] = element((const void *)(uintptr_t)rows[8 * i + r], c);
        }
        out[i] = half[0] | half[1] << 16;
    }
}

void emu_matrix_mul(emu_site site, float d[4], const uint32_t a[4], const uint32_t b[2])
{
    uint64_t a_low[LANES], a_high[LANES], b_all[LANES];
    int g = emu_lane() / 4, t = emu_lane() % 4;

    emu_warp_exchange(site, EVERY_LANE, (uint64_t)a[1] << 32 | a[0], -1, a_low);
    emu_warp_exchange(site, EVERY_LANE, (uint64_t)a[3] << 32 | a[2], -1, a_high);
    emu_warp_exchange(site, EVERY_LANE, (uint64_t)b[1] << 32 | b[0], -1, b_all);
    for (int i = 0; i < 4; i++) {
        int row_half = i / 2, column = 2 * t + i % 2;
        double sum = (double)d[i];
        for (int k = 0; k < 16; k++) {
            const uint64_t *from = k < 8 ? a_low : a_high;
            float x = bf16_half(from[4 * g + k % 8 / 2], 2 * row_half + k % 2);
            float y = bf16_half(b_all[4 * column + k % 8 / 2], 2 * (k / 8) + k % 2);
            sum += (double)x * (double)y;
        }
        d[i] = (float)sum;
    }
}
