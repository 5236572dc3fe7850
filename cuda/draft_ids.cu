/*
 * draft_ids.cu - a draft step whose slots draft some ids only: which tiles of the output its
 * product computes, and logits of the ids that a slot does not draft.
 *
 * Predicted on an H100, not measured: 2 us each, latency; V = 151936 and 16 slots read 0.3 MB of
 * masks, and write up to 10 MB of logits, 4 us.
 */
#include "common.cuh"
#include "layer.h"

#define THREADS 256

DEVICE const uint32_t *ids_of_row(const struct device_state &s, const struct pass &p, int row)
{
    return s.slots[s.turns[p.turn_of_logit[row]].slot].params.draft_ids;
}

/* A thread has a word of the masks: two tiles.
 * grid: words / THREADS   block: THREADS */
static __global__ void __launch_bounds__(THREADS)
    draft_tiles_kernel(struct device_state s, struct pass p)
{
    grid_release();
    grid_wait();
    int32_t word = (int32_t)(blockIdx.x * THREADS + threadIdx.x);
    uint32_t wanted = 0;

    if (2 * word >= s.n_draft_tiles)
        return;
    for (int i = 0; word < mask_words(s.n_vocab) && i < p.counts->n_logits; i++) {
        const uint32_t *ids = ids_of_row(s, p, i);
        wanted |= ids ? ids[word] : UINT32_MAX;
    }
    s.draft_tiles[2 * word] = (wanted & 0xffffu) != 0;
    s.draft_tiles[2 * word + 1] = wanted >> 16 != 0;
}

/* grid: (ids / THREADS, capacity)   block: THREADS */
static __global__ void __launch_bounds__(THREADS)
    draft_restrict_kernel(struct device_state s, struct pass p, float *logits, int64_t stride)
{
    grid_release();
    grid_wait();
    int row = (int)blockIdx.y;
    int32_t id = (int32_t)(blockIdx.x * THREADS + threadIdx.x);

    if (row >= p.counts->n_logits || id >= s.n_vocab_draft)
        return;
    const uint32_t *ids = ids_of_row(s, p, row);
    if (ids && !(ids[id / 32] >> id % 32 & 1))
        logits[row * stride + id] = -INFINITY;
}

/* ---- launchers ------------------------------------------------------------------------------- */

static unsigned blocks_for(int32_t n)
{
    return (unsigned)((n + THREADS - 1) / THREADS);
}

int launch_draft_tiles(const struct device_state *state, const struct pass *pass,
                       cudaStream_t stream)
{
    ASSERT(state->draft_tiles);
    LAUNCH(draft_tiles_kernel, blocks_for(state->n_draft_tiles / 2), THREADS, 0, stream, *state,
           *pass);
    return LAUNCH_RESULT();
}

int launch_draft_restrict(const struct device_state *state, const struct pass *pass, float *logits,
                          int64_t stride, int32_t capacity, cudaStream_t stream)
{
    ASSERT(capacity <= pass->max_logits && stride >= state->n_vocab_draft);
    LAUNCH(draft_restrict_kernel, dim3(blocks_for(state->n_vocab_draft), (unsigned)capacity),
           THREADS, 0, stream, *state, *pass, logits, stride);
    return LAUNCH_RESULT();
}
