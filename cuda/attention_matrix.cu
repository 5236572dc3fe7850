/*
 * attention_matrix.cu - attention on the matrix units, in the way of FlashAttention (Dao 2023) and
 * Flash-Decoding: scores stay in registers, sums and values are rescaled as the maximum grows, and
 * long contexts are split among blocks.
 *
 * A block works on up to 64 queries of a span that share a kv head, 16 to a warp, and goes through
 * a tile in steps of 64 positions, 32 with D = 256. While scores are computed the step's values are
 * on their way, while values are summed the next step's keys. KV_FP8 comes to a place of its own
 * and is widened from there.
 *
 *   scores   q . k in f32 over D in steps of 16
 *   weights  fix_exp of the distance to the largest score of the tile so far, rounded to bf16; the
 *            sum is of these: a lane its 16 of a step, four lanes at the tile's end
 *   values   over the step's positions by 16
 *   tiles    as in attention.cu: in ascending order, by tiles_join, here or in the second stage
 *
 * A row's bits depend on its query, keys, values and position alone: rows of a matrix do not meet.
 * Positions that a query does not see have weight zero, which a NaN or an infinity stored there, by
 * a later row of the same pass or by whoever has the block behind a window now, would survive. So
 * where a step has positions that not all of a warp's rows see, and such a number, it is left out
 * of the product and added for the rows that see it.
 *
 * 4 D flop for each query and position it sees. Predicted on an H100, not measured: shared memory
 * feeds one 16 by 8 by 16 product in 2 cycles, as fast as mma.sync takes them, and the exponentials
 * add a third: about 250 Tflop/s for prompts. Llama-3.1-8B, 2048 rows from position 0: 34 Gflop a
 * layer, 0.14 ms; from position 30000 on 2 ms. Verification of 5 rows (20 queries, two warps) over
 * 32768 positions of one slot: 134 MB a layer by 1024 items, 50 us, bound by memory.
 */
#include "attention.cuh"

#define WARPS 4
#define THREADS (WARPS * WARP)
#define STEP(D) ((D) > 128 ? 32 : 64) /* positions: what registers allow */
#define ROWS_OF_WARP 16
#define TILES(D) (STEP(D) / 8) /* of a step, of the products' width */

static_assert(WARPS * ROWS_OF_WARP == ATTENTION_QUERIES_MATRIX, "a warp has 16 queries");
static_assert(STEP(64) % SPECD_BLOCK_TOKENS == 0 && STEP(256) % SPECD_BLOCK_TOKENS == 0,
              "whole blocks");

/* What a lane has of its warp's 16 queries: two rows, g and g + 8 of lane 4 g + t. */
template <int D> struct state_of_lane {
    int begin[2], last[2]; /* what the two rows see, up to their own positions; -1: no query */
    float tile_max[2], tile_sum[2];
    float values[D / 8][4]; /* of the tile: columns 8 j + 2 t and the next, of both rows */
};

struct room {
    char *q, *keys, *values; /* bf16 (64, D), (STEP, D) twice, rows piece_stride apart */
    float *results;          /* (64, D) of the tiles before */
    float2 *laws; /* (2, THREADS) their maximum and sum, a lane's copy of both its rows */
    char *stage;  /* (STEP, D) e4m3, if the pool's are */
};

/* ---- loading --------------------------------------------------------------------------------- */

/* Rows behind the item's queries are zero. */
template <int D>
DEVICE void queries_copy(char *q, const struct attention_input &in, const struct work &w)
{
    const int stride = piece_stride(D, 2), copies = D * 2 / COPY_BYTES;

    for (int i = (int)threadIdx.x; i < ATTENTION_QUERIES_MATRIX * copies; i += THREADS) {
        int query = i / copies, at = i % copies;
        int64_t from = work_at_matrix(w, in, MIN(query, w.item.n - 1));
        copy_async(q + query * stride + at * COPY_BYTES, in.q + from + at * (COPY_BYTES / 2),
                   query < w.item.n ? COPY_BYTES : 0);
    }
}

/* Keys or values of positions first..first+STEP(D), zeros from position `end` on. */
template <int D, bool FP8>
DEVICE void step_copy(const struct room &room, const struct attention_input &in,
                      const struct work &w, const int32_t *blocks, bool values, int first, int end)
{
    const int32_t *ids = blocks + first / SPECD_BLOCK_TOKENS;
    int n = MIN(STEP(D), end - first);

    if (FP8)
        piece_stage(room.stage, in.kv, ids, w.kv_head, values, 0, n, D, STEP(D), THREADS);
    else
        piece_copy(values ? room.values : room.keys, piece_stride(D, 2), in.kv, ids, w.kv_head,
                   values, 0, n, STEP(D), THREADS);
    copy_commit();
}

/* They are there, for all threads; and all have done with what was computed before. */
template <int D, bool FP8> DEVICE void step_wait(const struct room &room, bool values)
{
    copy_wait<0>();
    if (FP8)
        piece_widen(values ? room.values : room.keys, piece_stride(D, 2), room.stage, D, STEP(D),
                    THREADS);
    __syncthreads();
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

template <int D> DEVICE void step_scores(float s[TILES(D)][4], const char *q, const char *keys)
{
    int warp = (int)threadIdx.x / WARP;

    UNROLL
    for (int j = 0; j < TILES(D); j++)
        s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0.0f;
    UNROLL
    for (int d = 0; d < D; d += 16) {
        uint32_t a[4], b[4];
        matrix_load4(a, square_at<D>(q, warp * ROWS_OF_WARP, d, true));
        UNROLL
        for (int j = 0; j < TILES(D); j += 2) {
            matrix_load4(b, square_at<D>(keys, 8 * j, d, false));
            matrix_mul(s[j], a, b);
            matrix_mul(s[j + 1], a, b + 2);
        }
    }
}

/* Scores -> weights, two in a word for each of the two rows; sum and values are brought to the new
 * maximum. */
template <int D>
DEVICE void step_weights(struct state_of_lane<D> &my, uint32_t weights[TILES(D)][2],
                         float s[TILES(D)][4], int first)
{
    int column = first + 2 * ((int)threadIdx.x % 4);

    UNROLL
    for (int r = 0; r < 2; r++) {
        float max = my.tile_max[r], sum = 0.0f;
        UNROLL
        for (int j = 0; j < TILES(D); j++) {
            UNROLL
            for (int e = 0; e < 2; e++) {
                int pos = column + 8 * j + e;
                if (pos < my.begin[r] || pos > my.last[r])
                    s[j][2 * r + e] = -INFINITY;
                max = fmaxf(max, s[j][2 * r + e]);
            }
        }
        max = fmaxf(max, __shfl_xor_sync(ALL_LANES, max, 1));
        max = fmaxf(max, __shfl_xor_sync(ALL_LANES, max, 2));
        float zero = max == -INFINITY ? 0.0f : max; /* the row has seen nothing of the tile yet */
        UNROLL
        for (int j = 0; j < TILES(D); j++) {
            weights[j][r] = bf16_pair_of(attention_exp(s[j][2 * r] - zero),
                                         attention_exp(s[j][2 * r + 1] - zero));
            sum += __uint_as_float(weights[j][r] << 16);
            sum += __uint_as_float(weights[j][r] & 0xffff0000u);
        }
        float before = attention_exp(my.tile_max[r] - zero);
        my.tile_max[r] = max;
        my.tile_sum[r] = fmaf(my.tile_sum[r], before, sum);
        UNROLL
        for (int j = 0; j < D / 8; j++) {
            my.values[j][2 * r] *= before;
            my.values[j][2 * r + 1] *= before;
        }
    }
}

/* Where a product left a lane's scores is where the next one wants the weights. */
template <int D>
DEVICE void step_values(struct state_of_lane<D> &my, const uint32_t weights[TILES(D)][2],
                        const char *values)
{
    UNROLL
    for (int j = 0; j < TILES(D); j += 2) {
        uint32_t a[4] = {weights[j][0], weights[j][1], weights[j + 1][0], weights[j + 1][1]}, b[4];
        UNROLL
        for (int d = 0; d < D / 8; d += 2) {
            matrix_load4_transposed(b, square_at<D>(values, 8 * j, 8 * d, true));
            matrix_mul(my.values[d], a, b);
            matrix_mul(my.values[d + 1], a, b + 2);
        }
    }
}

/* Whether values of the step are NaN or infinite; the same for all lanes. */
template <int D> DEVICE bool step_has_faults(const char *values)
{
    const int pieces = D * 2 / COPY_BYTES;
    uint32_t zero = 0;

    NO_UNROLL
    for (int i = (int)threadIdx.x % WARP; i < STEP(D) * pieces; i += WARP) {
        uint4 v =
            *(const uint4 *)(values + i / pieces * piece_stride(D, 2) + i % pieces * COPY_BYTES);
        zero = bf16x2_fma(v.x, 0, zero);
        zero = bf16x2_fma(v.y, 0, zero);
        zero = bf16x2_fma(v.z, 0, zero);
        zero = bf16x2_fma(v.w, 0, zero);
    }
    return __any_sync(ALL_LANES, (zero & 0x7fff7fffu) != 0);
}

/* A word of two positions' values without what is NaN or infinite, in the halves of `mask`. */
DEVICE uint32_t faults_dropped(uint32_t word, uint32_t mask)
{
    uint32_t bad = ((word & 0x7f807f80u) + 0x00800080u) >> 15 & 0x00010001u;

    return word & ~(bad * 0xffffu & mask);
}

/* step_values where faults outside positions begin..end, which all of the warp's rows see, are left
 * out. */
template <int D>
DEVICE void step_values_sound(struct state_of_lane<D> &my, const uint32_t weights[TILES(D)][2],
                              const char *values, int first, int begin, int end)
{
    int at = first + 2 * ((int)threadIdx.x % 4); /* the lane's first */

    UNROLL
    for (int j = 0; j < TILES(D); j += 2) {
        uint32_t a[4] = {weights[j][0], weights[j][1], weights[j + 1][0], weights[j + 1][1]}, b[4];
        uint32_t mask[2];
        UNROLL
        for (int i = 0; i < 2; i++) {
            int pos = at + 8 * (j + i);
            mask[i] = pos >= begin && pos < end ? 0 : 0x0000ffffu;
            mask[i] |= pos + 1 >= begin && pos + 1 < end ? 0 : 0xffff0000u;
        }
        UNROLL
        for (int d = 0; d < D / 8; d += 2) {
            matrix_load4_transposed(b, square_at<D>(values, 8 * j, 8 * d, true));
            UNROLL
            for (int i = 0; i < 4; i++)
                b[i] = faults_dropped(b[i], mask[i % 2]);
            matrix_mul(my.values[d], a, b);
            matrix_mul(my.values[d + 1], a, b + 2);
        }
    }
}

/* And then added by the rows that see position `at` of the step, which is at `pos`. */
template <int D>
DEVICE void step_faults_add(struct state_of_lane<D> &my, const uint32_t weights[TILES(D)][2],
                            const char *values, int at, int pos)
{
    const char *from = values + at * piece_stride(D, 2) + 4 * ((int)threadIdx.x % 4);
    float w[2];

    UNROLL
    for (int r = 0; r < 2; r++) {
        uint32_t word = 0;
        UNROLL
        for (int j = 0; j < TILES(D); j++)
            word |= weights[j][r] & (0u - (uint32_t)(at / 8 == j));
        word = __shfl_sync(ALL_LANES, word, (int)threadIdx.x % WARP / 4 * 4 + at % 8 / 2);
        w[r] = __uint_as_float(at % 2 ? word & 0xffff0000u : word << 16);
    }
    UNROLL
    for (int d = 0; d < D / 8; d++) {
        uint32_t word = *(const uint32_t *)(from + 16 * d);
        UNROLL
        for (int e = 0; e < 4; e++) {
            float v = __uint_as_float(e % 2 ? word & 0xffff0000u : word << 16);
            if (!isfinite(v) && my.begin[e / 2] <= pos && my.last[e / 2] >= pos)
                my.values[d][e] += w[e / 2] * v;
        }
    }
}

/* What a warp's rows see: all of them begin..end, some of them any_begin..any_end. */
struct warp_sees {
    int any_begin, begin, end, any_end;
};

/* step_values with faults in the step. */
template <int D>
DEVICE void step_values_faulty(struct state_of_lane<D> &my, const uint32_t weights[TILES(D)][2],
                               const char *values, int first, const struct warp_sees &sees)
{
    step_values_sound(my, weights, values, first, sees.begin, sees.end);
    NO_UNROLL
    for (int pos = MAX(sees.any_begin, first); pos < MIN(sees.any_end, first + STEP(D)); pos++) {
        if (pos < sees.begin || pos >= sees.end)
            step_faults_add(my, weights, values, pos - first, pos);
    }
}

/* ---- tiles ----------------------------------------------------------------------------------- */

template <int D> DEVICE void tile_start(struct state_of_lane<D> &my)
{
    UNROLL
    for (int r = 0; r < 2; r++) {
        my.tile_max[r] = -INFINITY;
        my.tile_sum[r] = 0.0f;
    }
    UNROLL
    for (int j = 0; j < D / 8; j++)
        my.values[j][0] = my.values[j][1] = my.values[j][2] = my.values[j][3] = 0.0f;
}

/* What follows a tile: its four lanes of a row agree on the sum. */
template <int D> DEVICE void tile_end(struct state_of_lane<D> &my)
{
    UNROLL
    for (int r = 0; r < 2; r++) {
        my.tile_sum[r] += __shfl_xor_sync(ALL_LANES, my.tile_sum[r], 1);
        my.tile_sum[r] += __shfl_xor_sync(ALL_LANES, my.tile_sum[r], 2);
    }
}

/* The lane's numbers of a row of results. */
DEVICE int lane_row(int r)
{
    int lane = (int)threadIdx.x % WARP;

    return (int)threadIdx.x / WARP * ROWS_OF_WARP + lane / 4 + 8 * r;
}
DEVICE int lane_column(void)
{
    return 2 * ((int)threadIdx.x % 4);
}

/* Whether the lane's row r sees a position of the tile. */
template <int D> DEVICE bool sees_tile(const struct state_of_lane<D> &my, int r, int tile)
{
    return my.last[r] >= tile * ATTENTION_TILE && my.begin[r] < (tile + 1) * ATTENTION_TILE;
}

/* The tile joins those before it. A lane meets its own numbers only. */
template <int D>
DEVICE void tile_join(const struct state_of_lane<D> &my, const struct room &room, int tile)
{
    UNROLL
    for (int r = 0; r < 2; r++) {
        if (!sees_tile(my, r, tile))
            continue;
        struct blend w = {0.0f, 1.0f};
        float2 law = make_float2(my.tile_max[r], my.tile_sum[r]);
        bool is_first = my.begin[r] >= tile * ATTENTION_TILE;
        if (!is_first) {
            law = room.laws[r * THREADS + (int)threadIdx.x];
            w = tiles_join(&law.x, &law.y, my.tile_max[r], my.tile_sum[r]);
        }
        room.laws[r * THREADS + (int)threadIdx.x] = law;
        float *row = room.results + lane_row(r) * D + lane_column();
        UNROLL
        for (int j = 0; j < D / 8; j++) {
            float2 y = make_float2(my.values[j][2 * r], my.values[j][2 * r + 1]);
            if (!is_first) {
                float2 before = *(const float2 *)(row + 8 * j);
                y.x = blend_value(w, before.x, y.x);
                y.y = blend_value(w, before.y, y.y);
            }
            *(float2 *)(row + 8 * j) = y;
        }
    }
}

/* ---- items ----------------------------------------------------------------------------------- */

template <int D>
DEVICE void lane_start(struct state_of_lane<D> &my, const struct attention_input &in,
                       const struct work &w)
{
    UNROLL
    for (int r = 0; r < 2; r++) {
        my.last[r] = lane_row(r) < w.item.n ? work_position(w, in.group, lane_row(r)) : -1;
        my.begin[r] = first_seen(in, my.last[r]);
    }
}

/* The same for all lanes of the warp. */
DEVICE struct warp_sees warp_start(const struct attention_input &in, const struct work &w)
{
    struct warp_sees s = {0, 0, 0, 0};
    int first = lane_row(0) / ROWS_OF_WARP * ROWS_OF_WARP;

    if (first < w.item.n) {
        int low = work_position(w, in.group, first);
        int high = work_position(w, in.group, MIN(first + ROWS_OF_WARP, w.item.n) - 1);
        s.any_begin = first_seen(in, low);
        s.begin = first_seen(in, high);
        s.end = low + 1;
        s.any_end = high + 1;
    }
    return s;
}

template <int D>
DEVICE void partials_store(const struct state_of_lane<D> &my, const struct attention_input &in,
                           const struct work &w)
{
    UNROLL
    for (int r = 0; r < 2; r++) {
        if (!sees_tile(my, r, w.item.tile))
            continue;
        float *to = work_partial(w, in, lane_row(r));
        UNROLL
        for (int j = 0; j < D / 8; j++)
            *(float2 *)(to + lane_column() + 8 * j) =
                make_float2(my.values[j][2 * r], my.values[j][2 * r + 1]);
        if (lane_column() == 0)
            *(float2 *)(to + D) = make_float2(my.tile_max[r], my.tile_sum[r]);
    }
}

template <int D>
DEVICE void results_store(const struct state_of_lane<D> &my, const struct room &room,
                          const struct attention_input &in, const struct work &w)
{
    UNROLL
    for (int r = 0; r < 2; r++) {
        if (my.last[r] < 0)
            continue;
        const float *from = room.results + lane_row(r) * D + lane_column();
        float sum = room.laws[r * THREADS + (int)threadIdx.x].y;
        uint16_t *to = in.out + work_at_matrix(w, in, lane_row(r)) + lane_column();
        UNROLL
        for (int j = 0; j < D / 8; j++)
            *(uint32_t *)(to + 8 * j) = bf16_pair_of(from[8 * j] / sum, from[8 * j + 1] / sum);
    }
}

template <int D, bool FP8> static size_t room_bytes(void)
{
    return (ATTENTION_QUERIES_MATRIX + 2 * STEP(D)) * (size_t)piece_stride(D, 2) +
           sizeof(float) * ATTENTION_QUERIES_MATRIX * D + sizeof(float2) * 2 * THREADS +
           (FP8 ? STEP(D) * D : 0);
}

/* All threads. The keys of the item's first step are on their way. begin, end: of positions. */
template <int D, bool FP8>
DEVICE void tile_run(struct state_of_lane<D> &my, const struct room &room,
                     const struct attention_input &in, const struct work &w, const int32_t *blocks,
                     int tile, int begin, int end, const struct warp_sees &sees)
{
    int tile_end_at = MIN(end, (tile + 1) * ATTENTION_TILE);

    tile_start(my);
    NO_UNROLL
    for (int first = MAX(begin, tile * ATTENTION_TILE); first < tile_end_at; first += STEP(D)) {
        uint32_t weights[TILES(D)][2];
        bool seen = first < sees.any_end && first + STEP(D) > sees.any_begin;
        step_wait<D, FP8>(room, false);
        step_copy<D, FP8>(room, in, w, blocks, true, first, end);
        if (seen) {
            float s[TILES(D)][4];
            step_scores<D>(s, room.q, room.keys);
            step_weights(my, weights, s, first);
        }
        step_wait<D, FP8>(room, true);
        if (first + STEP(D) < end)
            step_copy<D, FP8>(room, in, w, blocks, false, first + STEP(D), end);
        if (!seen)
            continue;
        bool by_all = first >= sees.begin && MIN(first + STEP(D), end) <= sees.end;
        if (!by_all && step_has_faults<D>(room.values))
            step_values_faulty(my, weights, room.values, first, sees);
        else
            step_values(my, weights, room.values);
    }
    tile_end(my);
}

template <int D, bool FP8>
DEVICE void item_run(const struct room &room, const struct attention_input &in,
                     const struct work &w, const int32_t *blocks)
{
    struct state_of_lane<D> my;
    /* What any query sees, from a step's start on. */
    int begin = first_seen(in, work_position(w, in.group, 0)) / STEP(D) * STEP(D);
    int end = work_position(w, in.group, w.item.n - 1) + 1;
    int tile = MAX(w.item.tile, begin / ATTENTION_TILE);
    const struct warp_sees sees = warp_start(in, w);

    if (w.item.tile >= 0)
        end = MIN(end, (w.item.tile + 1) * ATTENTION_TILE);
    if (end <= tile * ATTENTION_TILE)
        return;
    __syncthreads(); /* all warps have done the item before */
    queries_copy<D>(room.q, in, w);
    step_copy<D, FP8>(room, in, w, blocks, false, MAX(begin, tile * ATTENTION_TILE), end);
    lane_start(my, in, w);
    if (w.item.tile >= 0) {
        tile_run<D, FP8>(my, room, in, w, blocks, tile, begin, end, sees);
        partials_store(my, in, w);
        return;
    }
    NO_UNROLL
    for (; tile * ATTENTION_TILE < end; tile++) {
        tile_run<D, FP8>(my, room, in, w, blocks, tile, begin, end, sees);
        tile_join(my, room, tile);
    }
    results_store(my, room, in, w);
}

/* grid: any   block: THREADS   dynamic smem: room_bytes */
template <int D, bool FP8>
static __global__ void __launch_bounds__(THREADS, D > 128 ? 1 : 2)
    attention_matrix_kernel(struct attention_input in, struct device_state s, struct pass p)
{
    grid_release();
    grid_wait();
    DYNAMIC_SHARED(char, base);
    struct room room;
    int n = p.counts->n_items * in.kv.n_kv_heads;

    room.q = base;
    room.keys = room.q + ATTENTION_QUERIES_MATRIX * piece_stride(D, 2);
    room.values = room.keys + STEP(D) * piece_stride(D, 2);
    room.results = (float *)(room.values + STEP(D) * piece_stride(D, 2));
    room.laws = (float2 *)(room.results + ATTENTION_QUERIES_MATRIX * D);
    room.stage = (char *)(room.laws + 2 * THREADS);
    NO_UNROLL
    for (int i = (int)blockIdx.x; i < n; i += (int)gridDim.x) {
        struct work w = work_at(p, i, in.kv.n_kv_heads);
        item_run<D, FP8>(room, in, w, s.slots[w.span.slot].blocks + in.kv.entries);
    }
}

template <int D, bool FP8>
static int launch_kernel(const struct device_state *state, const struct pass *pass,
                         const struct attention_input *in, int n_blocks, cudaStream_t stream)
{
    static const cudaError_t allowed = cudaFuncSetAttribute(
        attention_matrix_kernel<D, FP8>, cudaFuncAttributeMaxDynamicSharedMemorySize,
        (int)room_bytes<D, FP8>());
    int rc = CUDA_RESULT(allowed);

    ASSERT((room_bytes<D, FP8>()) <= attention_shared_bytes(&in->kv));
    if (rc != 0)
        return rc;
    LAUNCH((attention_matrix_kernel<D, FP8>), (unsigned)n_blocks, THREADS, (room_bytes<D, FP8>()),
           stream, *in, *state, *pass);
    rc = LAUNCH_RESULT();
    return rc != 0 ? rc : launch_merge(pass, in, n_blocks, stream);
}

template <int D>
static int launch_type(const struct device_state *state, const struct pass *pass,
                       const struct attention_input *in, int n_blocks, cudaStream_t stream)
{
    if (in->kv.type == KV_FP8)
        return launch_kernel<D, true>(state, pass, in, n_blocks, stream);
    return launch_kernel<D, false>(state, pass, in, n_blocks, stream);
}

int launch_attention_matrix(const struct device_state *state, const struct pass *pass,
                            const struct attention_input *in, int n_blocks, cudaStream_t stream)
{
    ASSERT((in->kv.type == KV_BF16 || in->kv.type == KV_FP8) && n_blocks > 0);
    switch (in->kv.head_dim) {
    case 64:
        return launch_type<64>(state, pass, in, n_blocks, stream);
    case 80:
        return launch_type<80>(state, pass, in, n_blocks, stream);
    case 96:
        return launch_type<96>(state, pass, in, n_blocks, stream);
    case 128:
        return launch_type<128>(state, pass, in, n_blocks, stream);
    case 256:
        return launch_type<256>(state, pass, in, n_blocks, stream);
    default:
        return SPECD_EINVAL;
    }
}
