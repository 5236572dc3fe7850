/*
 * embed.cu - x[t] = row token(t) of a packed matrix (V, C), widened to f32 (T, C).
 *
 * Bytes a row: 4 C written, and twice the row's codes read, for the 32-byte sectors of a packed
 * matrix hold two channels each. Predicted on an H100, not measured: C = 4096 and up to 64 rows,
 * about 2 us, all of it latency: slot, token, row.
 */
#include "layer.h"
#include "product_values.cuh"

#define THREADS 256
#define PER_UNIT (PRODUCT_UNIT / LANE_K) /* pieces of a row in a unit */

struct embed_table {
    const unsigned char *units;
    const float *scales; /* of the channels, or NULL */
    int32_t n, k, n_units;
    float scale; /* of all */
};

/* grid: capacity   block: THREADS, eight elements a thread */
template <enum product_type TYPE>
static __global__ void __launch_bounds__(THREADS)
    embed_kernel(float *x /* (T, C) */, const struct embed_table e, struct device_state s,
                 struct pass p)
{
    grid_release();
    grid_wait();
    struct pass_row row = p.rows[blockIdx.x];

    if (row.slot < 0)
        return;
    int32_t channel = MAX(MIN(s.slots[row.slot].tokens[row.pos], e.n - 1), 0);
    int tile = channel / PRODUCT_CHANNELS, side = channel % PRODUCT_CHANNELS / 8;
    const unsigned char *units =
        e.units + (size_t)tile * (size_t)e.n_units * PRODUCT_UNIT_BYTES(TYPE);
    const float scale = e.scales ? e.scales[channel] : 1.0f;
    const float scales[2] = {scale, scale};
    float *to = x + (int64_t)blockIdx.x * e.k;
    for (int i = (int)threadIdx.x; i < e.k / LANE_K; i += THREADS) {
        int unit = i / PER_UNIT, h = i / 4 % 2, lane = channel % 8 * 4 + i % 4;
        float both[2][LANE_K], v[LANE_K];

        values_read<TYPE>(units + (size_t)unit * PRODUCT_UNIT_BYTES(TYPE), lane, h, scales, both);
        UNROLL
        for (int j = 0; j < LANE_K; j++)
            v[j] = (side ? both[1][j] : both[0][j]) * e.scale;
        *(float4 *)(to + LANE_K * i) = make_float4(v[0], v[1], v[2], v[3]);
        *(float4 *)(to + LANE_K * i + 4) = make_float4(v[4], v[5], v[6], v[7]);
    }
}

int launch_embed(float *x, const struct product_plan *plan, const void *packed, float scale,
                 const struct device_state *state, const struct pass *pass, int32_t capacity,
                 cudaStream_t stream)
{
    const unsigned char *units = (const unsigned char *)packed;
    const float *scales = plan->scaled ? (const float *)(units + plan->scales_at) : NULL;
    struct embed_table e = {units, scales, plan->n, plan->k, plan->units, scale};

    ASSERT(!plan->paired && plan->k % LANE_K == 0 && capacity <= pass->max_rows);
#define X(TYPE) \
    LAUNCH(embed_kernel<TYPE>, (unsigned)capacity, THREADS, 0, stream, x, e, *state, *pass)
    PRODUCT_TYPE_SWITCH(plan->type, X)
#undef X
    return LAUNCH_RESULT();
}
