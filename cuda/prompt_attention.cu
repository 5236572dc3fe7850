/*
 * prompt_attention.cu - attention of prompt rows on the matrix units, in the way of FlashAttention
 * (Dao 2023): scores stay in registers, sums and values are rescaled as the maximum grows.
 *
 * A block works on 64 queries of a span that share a kv head, 16 to a warp, and goes through the
 * positions in steps of 64 counted from 0. While scores are computed the step's values are on their
 * way, while values are summed the next keys.
 *
 *   scores   q . k in f32 over D in steps of 16
 *   weights  fix_exp of the distance to the largest score so far, rounded to bf16 for the product;
 *            the sum is of what was not rounded: a lane its 16 of a step, then four lanes at the
 * end values   over the step's positions by 16
 *
 * A row's bits depend on its query, keys, values and position alone: rows of a matrix do not meet.
 * Positions past a query's own have weight zero; a NaN stored there, in the same prompt, would
 * reach it.
 *
 * 4 D flop for each query and position it sees. Predicted on an H100, not measured: shared memory
 * feeds one 16 by 8 by 16 product in 2 cycles, as fast as mma.sync takes them, and the exponentials
 * add a third: about 250 Tflop/s. Llama-3.1-8B, 2048 rows from position 0: 34 Gflop a layer, 0.14
 * ms; at position 30000 2 ms.
 */
#include "attention.cuh"

#define WARPS 4
#define THREADS (WARPS * WARP)
#define STEP 64
#define ROWS_OF_WARP 16
#define TILES_OF_STEP (STEP / 8) /* products' width */

static_assert(WARPS * ROWS_OF_WARP == PROMPT_QUERIES, "a warp has 16 queries");
static_assert(STEP % SPECD_BLOCK_TOKENS == 0, "a step is whole blocks");

/* What a lane has of its warp's 16 queries: two rows, g and g + 8 of lane 4 g + t. */
template <int D> struct state_of_lane {
    int last[2]; /* positions of the two rows; -1: no query */
    float max[2], sum[2];
    float values[D / 8][4];
};

/* ---- loading --------------------------------------------------------------------------------- */

/* Rows behind the item's queries are zero. */
template <int D>
DEVICE void queries_copy(char *q, const struct attention_input &in, const struct work &w)
{
    const int stride = piece_stride(D, 2), copies = D * 2 / COPY_BYTES;

    for (int i = (int)threadIdx.x; i < PROMPT_QUERIES * copies; i += THREADS) {
        int query = i / copies, at = i % copies;
        int64_t from = work_at_matrix(w, in, MIN(query, w.item.n - 1));
        copy_async(q + query * stride + at * COPY_BYTES, in.q + from + at * (COPY_BYTES / 2),
                   query < w.item.n ? COPY_BYTES : 0);
    }
}

/* Keys or values of positions first..first+STEP, zeros from position `end` on. */
template <int D>
DEVICE void step_copy(char *to, const struct attention_input &in, const struct work &w,
                      const int32_t *blocks, bool values, int first, int end)
{
    piece_copy(to, piece_stride(D, 2), in.kv, blocks + first / SPECD_BLOCK_TOKENS, w.kv_head,
               values, 0, MIN(STEP, end - first), STEP, THREADS);
    copy_commit();
}

/* ---- one step -------------------------------------------------------------------------------- */

/* The addresses that matrix_load4 wants, of the 16 by 16 elements at (row, column): the second
 * eight rows are matrix 1 and 3 with by_rows, else 2 and 3. */
template <int D> DEVICE const char *square_at(const char *base, int row, int column, bool by_rows)
{
    int lane = (int)threadIdx.x % WARP, m = lane / 8;

    row += lane % 8 + 8 * (by_rows ? m % 2 : m / 2);
    column += 8 * (by_rows ? m / 2 : m % 2);
    return base + row * piece_stride(D, 2) + 2 * column;
}

template <int D> DEVICE void step_scores(float s[TILES_OF_STEP][4], const char *q, const char *keys)
{
    int warp = (int)threadIdx.x / WARP;

    UNROLL
    for (int j = 0; j < TILES_OF_STEP; j++)
        s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0.0f;
    UNROLL
    for (int d = 0; d < D; d += 16) {
        uint32_t a[4], b[4];
        matrix_load4(a, square_at<D>(q, warp * ROWS_OF_WARP, d, true));
        UNROLL
        for (int j = 0; j < TILES_OF_STEP; j += 2) {
            matrix_load4(b, square_at<D>(keys, 8 * j, d, false));
            matrix_mul(s[j], a, b);
            matrix_mul(s[j + 1], a, b + 2);
        }
    }
}

/* Scores -> weights; sum and values are brought to the new maximum. */
template <int D>
DEVICE void step_weights(struct state_of_lane<D> &my, float s[TILES_OF_STEP][4], int first)
{
    int column = first + 2 * ((int)threadIdx.x % 4);

    UNROLL
    for (int r = 0; r < 2; r++) {
        float max = my.max[r], sum = 0.0f;
        UNROLL
        for (int j = 0; j < TILES_OF_STEP; j++) {
            UNROLL
            for (int e = 0; e < 2; e++) {
                if (column + 8 * j + e > my.last[r])
                    s[j][2 * r + e] = -INFINITY;
                max = fmaxf(max, s[j][2 * r + e]);
            }
        }
        max = fmaxf(max, __shfl_xor_sync(ALL_LANES, max, 1));
        max = fmaxf(max, __shfl_xor_sync(ALL_LANES, max, 2));
        UNROLL
        for (int j = 0; j < TILES_OF_STEP; j++) {
            UNROLL
            for (int e = 0; e < 2; e++) {
                s[j][2 * r + e] = attention_exp(s[j][2 * r + e] - max);
                sum += s[j][2 * r + e];
            }
        }
        float before = attention_exp(my.max[r] - max);
        my.max[r] = max;
        my.sum[r] = fmaf(my.sum[r], before, sum);
        UNROLL
        for (int j = 0; j < D / 8; j++) {
            my.values[j][2 * r] *= before;
            my.values[j][2 * r + 1] *= before;
        }
    }
}

/* What a product gave a lane is what the next one wants of it. */
template <int D>
DEVICE void step_values(struct state_of_lane<D> &my, const float s[TILES_OF_STEP][4],
                        const char *values)
{
    UNROLL
    for (int j = 0; j < TILES_OF_STEP; j += 2) {
        uint32_t b[4];
        uint32_t a[4] = {bf16_pair_of(s[j][0], s[j][1]), bf16_pair_of(s[j][2], s[j][3]),
                         bf16_pair_of(s[j + 1][0], s[j + 1][1]),
                         bf16_pair_of(s[j + 1][2], s[j + 1][3])};
        UNROLL
        for (int d = 0; d < D / 8; d += 2) {
            matrix_load4_transposed(b, square_at<D>(values, 8 * j, 8 * d, true));
            matrix_mul(my.values[d], a, b);
            matrix_mul(my.values[d + 1], a, b + 2);
        }
    }
}

/* ---- items ----------------------------------------------------------------------------------- */

template <int D>
DEVICE void lane_start(struct state_of_lane<D> &my, const struct attention_input &in,
                       const struct work &w)
{
    int first = (int)threadIdx.x / WARP * ROWS_OF_WARP + (int)threadIdx.x % WARP / 4;

    UNROLL
    for (int r = 0; r < 2; r++) {
        int query = first + 8 * r;
        my.last[r] = query < w.item.n ? work_position(w, in.group, query) : -1;
        my.max[r] = -INFINITY;
        my.sum[r] = 0.0f;
    }
    UNROLL
    for (int j = 0; j < D / 8; j++)
        my.values[j][0] = my.values[j][1] = my.values[j][2] = my.values[j][3] = 0.0f;
}

template <int D>
DEVICE void lane_store(struct state_of_lane<D> &my, const struct attention_input &in,
                       const struct work &w)
{
    int lane = (int)threadIdx.x % WARP;
    int first = (int)threadIdx.x / WARP * ROWS_OF_WARP + lane / 4;

    UNROLL
    for (int r = 0; r < 2; r++) {
        float sum = my.sum[r];
        sum += __shfl_xor_sync(ALL_LANES, sum, 1);
        sum += __shfl_xor_sync(ALL_LANES, sum, 2);
        if (my.last[r] < 0)
            continue;
        uint16_t *out = in.out + work_at_matrix(w, in, first + 8 * r) + 2 * (lane % 4);
        UNROLL
        for (int j = 0; j < D / 8; j++)
            *(uint32_t *)(out + 8 * j) =
                bf16_pair_of(my.values[j][2 * r] / sum, my.values[j][2 * r + 1] / sum);
    }
}

template <int D>
DEVICE void item_run(char *q, char *keys, char *values, const struct attention_input &in,
                     const struct work &w, const int32_t *blocks)
{
    struct state_of_lane<D> my;
    int warp_first = (int)threadIdx.x / WARP * ROWS_OF_WARP;
    int end = work_position(w, in.group, w.item.n - 1) + 1; /* of what any query sees */
    int warp_end =
        warp_first >= w.item.n
            ? 0
            : work_position(w, in.group, MIN(warp_first + ROWS_OF_WARP, w.item.n) - 1) + 1;

    __syncthreads(); /* all warps have done the item before */
    queries_copy<D>(q, in, w);
    step_copy<D>(keys, in, w, blocks, false, 0, end);
    lane_start(my, in, w);
    NO_UNROLL
    for (int first = 0; first < end; first += STEP) {
        float s[TILES_OF_STEP][4];
        copy_wait<0>();
        __syncthreads();
        step_copy<D>(values, in, w, blocks, true, first, end);
        if (first < warp_end) {
            step_scores<D>(s, q, keys);
            step_weights(my, s, first);
        }
        copy_wait<0>();
        __syncthreads();
        if (first + STEP < end)
            step_copy<D>(keys, in, w, blocks, false, first + STEP, end);
        if (first < warp_end)
            step_values(my, s, values);
    }
    lane_store(my, in, w);
}

/* grid: any   block: THREADS   dynamic smem: 3 * 64 * piece_stride */
template <int D>
static __global__ void __launch_bounds__(THREADS, D > 128 ? 1 : 2)
    prompt_attention_kernel(struct attention_input in, struct device_state s, struct pass p)
{
    DYNAMIC_SHARED(char, q);
    char *keys = q + PROMPT_QUERIES * piece_stride(D, 2),
         *values = keys + STEP * piece_stride(D, 2);
    int n = p.counts->n_items * in.kv.n_kv_heads;

    NO_UNROLL
    for (int i = (int)blockIdx.x; i < n; i += (int)gridDim.x) {
        struct work w = work_at(p, i, in.kv.n_kv_heads);
        item_run<D>(q, keys, values, in, w, s.slots[w.span.slot].blocks);
    }
}

template <int D>
static int launch_kernel(const struct device_state *state, const struct pass *pass,
                         const struct attention_input *in, int n_blocks, cudaStream_t stream)
{
    const size_t bytes = (PROMPT_QUERIES + 2 * STEP) * (size_t)piece_stride(D, 2);
    static const cudaError_t allowed = cudaFuncSetAttribute(
        prompt_attention_kernel<D>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    int rc = CUDA_RESULT(allowed);

    if (rc != 0)
        return rc;
    LAUNCH(prompt_attention_kernel<D>, (unsigned)n_blocks, THREADS, bytes, stream, *in, *state,
           *pass);
    return LAUNCH_RESULT();
}

int launch_prompt_attention(const struct device_state *state, const struct pass *pass,
                            const struct attention_input *in, int n_blocks, cudaStream_t stream)
{
    ASSERT(in->kv.type == KV_BF16 && pass->max_partials == 0 && n_blocks > 0);
    switch (in->kv.head_dim) {
    case 64:
        return launch_kernel<64>(state, pass, in, n_blocks, stream);
    case 80:
        return launch_kernel<80>(state, pass, in, n_blocks, stream);
    case 96:
        return launch_kernel<96>(state, pass, in, n_blocks, stream);
    case 128:
        return launch_kernel<128>(state, pass, in, n_blocks, stream);
    case 256:
        return launch_kernel<256>(state, pass, in, n_blocks, stream);
    default:
        return SPECD_EINVAL;
    }
}
