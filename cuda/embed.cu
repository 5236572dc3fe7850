/*
 * embed.cu - x[t] = table[token(t)], bf16 (V, C) -> f32 (T, C).
 *
 * 6 C bytes a row. Predicted on an H100, not measured: C = 4096 and up to 64 rows, about 2 us, all
 * of it latency: slot, token, row.
 */
#include "common.cuh"
#include "layer.h"

#define THREADS 256
#define AT_ONCE 8 /* elements: 16 bytes of the table */

/* grid: capacity   block: THREADS */
static __global__ void __launch_bounds__(THREADS)
    embed_kernel(float *x /* (T, C) */, const uint16_t *table /* (V, C) */, int32_t n_vocab,
                 int32_t width, struct device_state s, struct pass p)
{
    struct pass_row row = p.rows[blockIdx.x];

    if (row.slot < 0)
        return;
    int32_t token = s.slots[row.slot].tokens[row.pos];
    const uint16_t *from = table + (int64_t)MAX(MIN(token, n_vocab - 1), 0) * width;
    float *to = x + (int64_t)blockIdx.x * width;
    for (int i = AT_ONCE * (int)threadIdx.x; i < width; i += AT_ONCE * THREADS) {
        uint4 b = *(const uint4 *)(from + i);
        *(float4 *)(to + i) = bf16_four(make_uint2(b.x, b.y));
        *(float4 *)(to + i + 4) = bf16_four(make_uint2(b.z, b.w));
    }
}

int launch_embed(float *x, const uint16_t *table, int32_t n_vocab, int32_t width,
                 const struct device_state *state, const struct pass *pass, int32_t capacity,
                 cudaStream_t stream)
{
    ASSERT(width % AT_ONCE == 0 && n_vocab > 0 && capacity <= pass->max_rows);
    LAUNCH(embed_kernel, (unsigned)capacity, THREADS, 0, stream, x, table, n_vocab, width, *state,
           *pass);
    return LAUNCH_RESULT();
}
