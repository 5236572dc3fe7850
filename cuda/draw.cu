/*
 * draw.cu - laws -> drafted tokens, by the exponential race of specd/law.h: argmax of W / E.
 *
 * One pass over the row by a team. Random words are made for a group of four only if one of it can
 * still win, an entry's logarithm only if its weight is not hopeless. A row with all mass on one
 * token costs a few loads.
 *
 * Predicted on an H100 with 8 blocks of 512 threads to a row of V = 128256, not measured: 64 KB a
 * block out of L2, 16032 exponentials and 4008 Philox counters, about 5 us. One launch.
 */
#include "law.cuh"

/* grid: (parts, rows), teams of `parts`   block: any   dynamic smem: part_bytes */
static __global__ void __launch_bounds__(SAMPLING_THREADS_MAX, 1)
    draw_kernel(const struct device_law *laws /* (rows) */, int32_t *tokens /* (rows) */)
{
    grid_release();
    grid_wait();
    struct device_law l = laws[blockIdx.y];
    int32_t id = l.top;

    if (l.n_vocab == 0)
        return;
    if (!l.one_hot && !l.bad) {
        struct noise noise = noise_proposal(l.params->seed, l.params->mode, l.position, l.round);
        struct team t = team_start();
        struct part part = part_start(t, l.n_vocab, l.params);
        id = team_draw(t, &l, &part, &noise);
    }
    if (cluster_rank() == 0 && threadIdx.x == 0)
        tokens[blockIdx.y] = id;
}

int launch_draws(const struct device_law *laws, int32_t *tokens, int n_rows, int n_vocab,
                 struct sampling_shape shape, cudaStream_t stream)
{
    SAMPLING_ASSERT(shape, n_vocab);
    LAUNCH_TEAMS(draw_kernel, shape.parts, dim3((unsigned)shape.parts, (unsigned)n_rows),
                 (unsigned)shape.threads, part_bytes(n_vocab, shape.parts), stream, laws, tokens);
    return LAUNCH_RESULT();
}
