/*
 * The matrix unit, emulated: fragments as the PTX ISA lays them out over the lanes of a warp.
 */
#include "cluster.h"

#define EVERY_LANE 0xffffffffu

static uint32_t element(const void *row, int column)
{
    uint16_t bits;

    memcpy(&bits, (const char *)row + column * (int)sizeof(bits), sizeof(bits));
    return bits;
}

void emu_matrix_load4(emu_site site, uint32_t out[4], const void *row, bool transposed)
{
    uint64_t rows[WARP];
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

/* It only touches fragments: sanitizers would make it slow and show nothing. */
#define NOT_WATCHED __attribute__((no_sanitize("address", "undefined")))

NOT_WATCHED static double bf16_half(uint32_t word, int half)
{
    uint32_t bits = word >> (16 * half) << 16;
    float value;

    memcpy(&value, &bits, sizeof(bits));
    return (double)value;
}

/* d plus the products of a row, of the upper or the lower eight that four lanes hold, and a column,
 * of four others. */
NOT_WATCHED static float add_products(float d, const uint32_t (*row)[6], int lower,
                                      const uint32_t (*column)[6])
{
    double sum = (double)d;

    for (int k = 0; k < 16; k++) {
        int lane = k % 8 / 2;
        sum += bf16_half(row[lane][2 * (k / 8) + lower], k % 2) *
               bf16_half(column[lane][4 + k / 8], k % 2);
    }
    return (float)sum;
}

void emu_matrix_mul(emu_site site, float d[4], const uint32_t a[4], const uint32_t b[2])
{
    thread *self = run->current;
    int lane = self->index % WARP, g = lane / 4, t = lane % 4;
    auto *all = self->block->warps[(size_t)(self->index / WARP)].fragments[self->n_products++ % 2];
    uint64_t nothing;

    memcpy(all[lane], a, 4 * sizeof(*a));
    memcpy(all[lane] + 4, b, 2 * sizeof(*b));
    emu_warp_exchange(site, EVERY_LANE, 0, lane, &nothing);
    for (int i = 0; i < 4; i++)
        d[i] = add_products(d[i], all + 4 * g, i / 2, all + 4 * (2 * t + i % 2));
}
