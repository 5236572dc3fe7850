/*
 * attention_merge.cu - partial results of attention's tiles -> the row's result, by tiles_join in
 * ascending order: the second stage of attention.cu and attention_matrix.cu.
 *
 * A warp has 64 elements of one head of one row and eight tiles on their way at a time. 4 (D + 2)
 * bytes a tile and head. Predicted on an H100, not measured: 1024 positions about 2 us, nearly all
 * of it the launch; 32768 positions, 20 queries and 8 kv heads: 11 MB, 13 us.
 */
#include "attention.cuh"

#define WARPS 4
#define THREADS (WARPS * WARP)
#define CHUNK (2 * WARP) /* elements of a head that a warp has side by side */
#define MERGE_AT_ONCE 8  /* tiles whose values are on their way together */

/* Of one head's elements d and d + 1. start: the first tile the row sees. */
DEVICE void merge_run(const struct attention_input &in, const struct attention_merge &m, int start,
                      int head, int d)
{
    int dim = in.kv.head_dim, n_heads = in.kv.n_kv_heads * in.group;
    int64_t stride = (int64_t)n_heads * (dim + 2);
    const float *from = in.partial + ((int64_t)m.partial * n_heads + head) * (dim + 2);
    float max = 0.0f, sum = 0.0f, y0 = 0.0f, y1 = 0.0f;

    for (int first = start; first < m.n_tiles; first += MERGE_AT_ONCE) {
        float2 x[MERGE_AT_ONCE], law[MERGE_AT_ONCE];
        UNROLL
        for (int j = 0; j < MERGE_AT_ONCE; j++) {
            if (first + j >= m.n_tiles)
                break;
            x[j] = *(const float2 *)(from + (first + j) * stride + d);
            law[j] = *(const float2 *)(from + (first + j) * stride + dim);
        }
        UNROLL
        for (int j = 0; j < MERGE_AT_ONCE; j++) {
            if (first + j >= m.n_tiles)
                break;
            if (first + j == start) {
                max = law[j].x;
                sum = law[j].y;
                y0 = x[j].x;
                y1 = x[j].y;
                continue;
            }
            struct blend w = tiles_join(&max, &sum, law[j].x, law[j].y);
            y0 = blend_value(w, y0, x[j].x);
            y1 = blend_value(w, y1, x[j].y);
        }
    }
    *(uint32_t *)(in.out + ((int64_t)m.row * n_heads + head) * dim + d) =
        bf16_pair_of(y0 / sum, y1 / sum);
}

/* grid: any   block: THREADS; a warp has CHUNK elements of a head. At most 64 registers a thread,
 * so that blocks of the product behind it, which start early, find room beside. */
static __global__ void __launch_bounds__(THREADS, 8)
    merge_kernel(struct attention_input in, struct pass p)
{
    grid_release();
    grid_wait();
    int dim = in.kv.head_dim, n_heads = in.kv.n_kv_heads * in.group;
    int chunks = (dim + CHUNK - 1) / CHUNK, n = p.counts->n_merges * n_heads * chunks;
    int warp = (int)blockIdx.x * WARPS + (int)threadIdx.x / WARP;

    NO_UNROLL
    for (int i = warp; i < n; i += (int)gridDim.x * WARPS) {
        int d = i % chunks * CHUNK + 2 * ((int)threadIdx.x % WARP);
        if (d >= dim)
            continue;
        const struct attention_merge m = p.merges[i / chunks / n_heads];
        int start = first_seen(in, p.rows[m.row].pos) / ATTENTION_TILE;
        merge_run(in, m, start, i / chunks % n_heads, d);
    }
}

int launch_merge(const struct pass *pass, const struct attention_input *in, int n_blocks,
                 cudaStream_t stream)
{
    int dim = in->kv.head_dim, n_heads = in->kv.n_kv_heads * in->group;
    int chunks = (dim + CHUNK - 1) / CHUNK;
    int64_t warps = (int64_t)MIN(in->capacity, pass->max_partials) * n_heads * chunks;

    if (pass->max_partials == 0)
        return 0;
    /* No more blocks than can have work: idle ones would keep the product behind from starting. */
    LAUNCH(merge_kernel, (unsigned)MIN((warps + WARPS - 1) / WARPS, n_blocks), THREADS, 0, stream,
           *in, *pass);
    return LAUNCH_RESULT();
}
