/*
 * scores.cu - scored prompt rows: which token each predicts, and where its result goes.
 *
 * A round's scored rows are numbered chunk by chunk, so that the host knows where to find them
 * however many passes they came in. One small block; predicted on an H100, not measured: 3 us.
 */
#include "advance.h"
#include "common.cuh"

#define THREADS 256

/* Rows of scored chunks before this one's. */
DEVICE int32_t first_of_chunk(const struct round *round, int32_t chunk)
{
    int32_t n = 0;

    for (int32_t i = 0; i < chunk; i++)
        n += round->chunks[i].score ? round->chunks[i].n : 0;
    return n;
}

/* grid: 1   block: THREADS */
static __global__ void __launch_bounds__(THREADS)
    score_rows_kernel(struct device_state s, struct pass p,
                      struct device_score *rows, // (SPECD_SCORE_ROWS)
                      const float *logits, int64_t stride)
{
    grid_release();
    grid_wait();
    const struct round *round = &s.round->round;

    for (int i = (int)threadIdx.x; i < SPECD_SCORE_ROWS; i += THREADS)
        rows[i].n_vocab = 0;
    __syncthreads();
    for (int i = (int)threadIdx.x; i < p.counts->n_logits; i += THREADS) {
        int32_t chunk = p.turn_of_logit[i];
        const struct round_chunk *c = &round->chunks[chunk];
        const struct device_slot *slot = &s.slots[c->slot];
        int32_t pos = p.rows[p.logit_rows[i]].pos;
        int32_t at = first_of_chunk(round, chunk) + pos - c->start;
        if (at >= SPECD_SCORE_ROWS)
            __trap();
        rows[at].logits = logits + i * stride;
        rows[at].n_vocab = s.n_vocab;
        rows[at].id = slot->tokens[pos + 1];
        rows[at].n_top = MIN(MAX(slot->params.n_logprobs, 0), SPECD_LOGPROBS_MAX);
    }
}

int launch_score_rows(const struct device_state *state, const struct pass *pass,
                      struct device_score *rows, const float *logits, int64_t stride,
                      cudaStream_t stream)
{
    ASSERT(stride % 4 == 0);
    LAUNCH(score_rows_kernel, 1, THREADS, 0, stream, *state, *pass, rows, logits, stride);
    return LAUNCH_RESULT();
}
