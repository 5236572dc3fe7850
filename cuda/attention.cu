/*
 * attention.cu - attention of few rows over long contexts, with plain fused multiply-adds.
 *
 * A block works on one item: some queries of a span that share a kv head, and one tile or all. Keys
 * of 64 positions at a time come through shared memory, then values, the next pieces on their way
 * while one is used; every warp has queries of its own, so within a tile nothing moves between
 * warps. A lane has two positions of a piece for scores, two neighbours of every 64 elements of a
 * head for values.
 *
 *   score    sum over d ascending, one fmaf each
 *   sum      lane l adds positions l, l + 32, ... of the tile, a butterfly joins the lanes
 *   values   sum over positions ascending, one fmaf each
 *   tiles    in ascending order, by tiles_join; then divided by the sum
 *
 * Positions past a query's own are not multiplied by zero but left out: what is stored there, in
 * the same slot, may be anything.
 *
 * KV_FP8 waits in shared memory as it is in the pool while the pieces before are used, and is
 * widened when all have done with those: a barrier more for each piece, and less room than bf16
 * takes.
 *
 * K and V are read once for up to 32 queries (5 rows of a group of 4 are 20). Predicted on an H100,
 * not measured, Llama-3.1-8B (G = 8, D = 128): 4 KB a position and layer. One slot at 1024
 * positions: 4 MB by 32 blocks, each of whose eight pieces takes the longer of memory's latency and
 * its arithmetic, 1 us: about 13 us with the start and the merge, and no less for fewer positions.
 * At 32768: 134 MB by 1024 items, 45 us for up to 8 queries. With 20 queries 40 flop a byte, twice
 * the device's balance: 90 us; attention_matrix.cu is for those.
 */
#include "attention.cuh"

#define WARPS 4
#define THREADS (WARPS * WARP)
#define PIECE 64
#define SCORES_OF_LANE (ATTENTION_TILE / WARP)
#define CHUNK (2 * WARP) /* elements of a head that a warp has side by side */

/* What shared memory has of an element of the pool. */
template <class KV> struct in_shared {
    typedef KV type;
};
template <> struct in_shared<struct fp8> {
    typedef uint16_t type;
};
#define IS_STAGED(KV) (sizeof(KV) == 1)

/* ---- elements of keys and values ------------------------------------------------------------- */

/* Eight neighbours. */
DEVICE void eight_load(float out[8], const uint16_t *from)
{
    uint4 b = *(const uint4 *)from;
    uint32_t words[4] = {b.x, b.y, b.z, b.w};

    UNROLL
    for (int i = 0; i < 4; i++) {
        out[2 * i] = __uint_as_float(words[i] << 16);
        out[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
}

DEVICE void eight_load(float out[8], const float *from)
{
    float4 a = *(const float4 *)from, b = *(const float4 *)(from + 4);
    float all[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};

    UNROLL
    for (int i = 0; i < 8; i++)
        out[i] = all[i];
}

DEVICE float2 two_load(const uint16_t *from)
{
    uint32_t b = *(const uint32_t *)from;

    return make_float2(__uint_as_float(b << 16), __uint_as_float(b & 0xffff0000u));
}

DEVICE float2 two_load(const float *from)
{
    return *(const float2 *)from;
}

/* ---- shared memory --------------------------------------------------------------------------- */

template <int NQ> struct room {
    float *q, *result, *scores; /* (WARPS * NQ, D), the same, (WARPS * NQ, ATTENTION_TILE) */
    char *pieces;               /* all that are held; or one, and the others' bytes */
    char *stage;                /* these */
    int32_t *ids;               /* (BLOCKS_OF_TILE) */
};

/* Of one piece in use. */
template <class KV> static __host__ __device__ inline int piece_bytes(int dim)
{
    return PIECE * piece_stride(dim, sizeof(typename in_shared<KV>::type));
}

/* Of it and those on their way. */
template <class KV> static __host__ __device__ inline int pieces_bytes(int dim, int held)
{
    return piece_bytes<KV>(dim) + (held - 1) * (IS_STAGED(KV) ? PIECE * dim : piece_bytes<KV>(dim));
}

template <class KV, int NQ> static size_t room_bytes(int dim, int held)
{
    return sizeof(float) * WARPS * NQ * (size_t)(2 * dim + ATTENTION_TILE) +
           (size_t)pieces_bytes<KV>(dim, held) + sizeof(int32_t) * BLOCKS_OF_TILE;
}

template <class KV, int NQ> DEVICE struct room<NQ> room_at(char *base, int dim, int held) {
    struct room<NQ> r;

    r.q = (float *)base;
    r.result = r.q + WARPS * NQ * dim;
    r.scores = r.result + WARPS * NQ * dim;
    r.pieces = (char *)(r.scores + WARPS * NQ * ATTENTION_TILE);
    r.stage = r.pieces + piece_bytes<KV>(dim);
    r.ids = (int32_t *)(r.pieces + pieces_bytes<KV>(dim, held));
    return r;
}

/* ---- one tile -------------------------------------------------------------------------------- */

/* A warp's queries: number i of it is the item's number warp + WARPS * i. */
template <int NQ, int NC>
struct queries {
    int n, warp, lane;
    int begin[NQ], last[NQ]; /* the positions it sees */
    float max[NQ], sum[NQ], tile_max[NQ], tile_sum[NQ];
    float values[NQ][NC][2]; /* of the tile, elements CHUNK * c + 2 * lane */
};

template <class KV, int NQ, int NC>
DEVICE void piece_scores(const struct queries<NQ, NC> &my, const struct room<NQ> &room,
                         const char *keys, int dim, int tile, int piece)
{
    float acc[NQ][2] = {};
    const KV *k0 = (const KV *)(keys + my.lane * piece_stride(dim, sizeof(KV)));
    const KV *k1 = (const KV *)(keys + (my.lane + WARP) * piece_stride(dim, sizeof(KV)));

    NO_UNROLL
    for (int d = 0; d < dim; d += 8) {
        float a[8], b[8];
        eight_load(a, k0 + d);
        eight_load(b, k1 + d);
        UNROLL
        for (int i = 0; i < NQ; i++) {
            if (i >= my.n)
                break;
            float q[8];
            eight_load(q, room.q + (my.warp + WARPS * i) * dim + d);
            UNROLL
            for (int j = 0; j < 8; j++) {
                acc[i][0] = fmaf(q[j], a[j], acc[i][0]);
                acc[i][1] = fmaf(q[j], b[j], acc[i][1]);
            }
        }
    }
    int at = piece * PIECE + my.lane, pos = tile * ATTENTION_TILE + at;
    UNROLL
    for (int i = 0; i < NQ; i++) {
        if (i >= my.n)
            break;
        float *scores = room.scores + (my.warp + WARPS * i) * ATTENTION_TILE + at;
        bool first = pos >= my.begin[i] && pos <= my.last[i];
        bool second = pos + WARP >= my.begin[i] && pos + WARP <= my.last[i];
        scores[0] = first ? acc[i][0] : -INFINITY;
        scores[WARP] = second ? acc[i][1] : -INFINITY;
    }
}

/* Whether query i sees a position of the tile. */
template <int NQ, int NC> DEVICE bool sees_tile(const struct queries<NQ, NC> &my, int i, int tile)
{
    return my.last[i] >= tile * ATTENTION_TILE && my.begin[i] < (tile + 1) * ATTENTION_TILE;
}

/* Scores -> weights, of one query of the warp: of positions first..n_scores. */
DEVICE void tile_weigh(float *scores, int lane, int first, int n_scores, float *max, float *sum)
{
    float s[SCORES_OF_LANE], largest = -INFINITY, total = 0.0f;

    UNROLL
    for (int j = 0; j < SCORES_OF_LANE; j++) {
        bool is_there = WARP * j >= first && WARP * j < n_scores;
        s[j] = is_there ? scores[WARP * j + lane] : -INFINITY;
        largest = fmaxf(largest, s[j]);
    }
    for (int d = WARP / 2; d > 0; d /= 2)
        largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, d));
    UNROLL
    for (int j = 0; j < SCORES_OF_LANE; j++) {
        float w = attention_exp(s[j] - largest);
        total += w;
        if (WARP * j >= first && WARP * j < n_scores)
            scores[WARP * j + lane] = w;
    }
    for (int d = WARP / 2; d > 0; d /= 2)
        total += __shfl_xor_sync(ALL_LANES, total, d);
    *max = largest;
    *sum = total;
}

template <int NQ, int NC>
DEVICE void tile_weights(struct queries<NQ, NC> &my, const struct room<NQ> &room, int tile,
                         int first, int n_scores)
{
    __syncwarp();
    UNROLL
    for (int i = 0; i < NQ; i++) {
        if (i < my.n && sees_tile(my, i, tile))
            tile_weigh(room.scores + (my.warp + WARPS * i) * ATTENTION_TILE, my.lane, first,
                       n_scores, &my.tile_max[i], &my.tile_sum[i]);
        UNROLL
        for (int c = 0; c < NC; c++)
            my.values[i][c][0] = my.values[i][c][1] = 0.0f;
    }
    __syncwarp();
}

template <int NC, class KV>
DEVICE void position_load(float2 v[NC], const KV *row, int lane, int dim)
{
    UNROLL
    for (int c = 0; c < NC; c++) {
        int d = CHUNK * c + 2 * lane;
        v[c] = d < dim ? two_load(row + d) : make_float2(0.0f, 0.0f);
    }
}

template <int NC> DEVICE void position_add(float values[NC][2], float w, const float2 v[NC])
{
    UNROLL
    for (int c = 0; c < NC; c++) {
        values[c][0] = fmaf(w, v[c].x, values[c][0]);
        values[c][1] = fmaf(w, v[c].y, values[c][1]);
    }
}

/* Positions at..at+4 of the tile, which all queries of the warp see. */
template <class KV, int NQ, int NC>
DEVICE void quad_add(struct queries<NQ, NC> &my, const struct room<NQ> &room, const char *values,
                     int dim, int at)
{
    int stride = piece_stride(dim, sizeof(KV));
    float2 v[4][NC];

    UNROLL
    for (int j = 0; j < 4; j++)
        position_load<NC>(v[j], (const KV *)(values + (at % PIECE + j) * stride), my.lane, dim);
    UNROLL
    for (int i = 0; i < NQ; i++) {
        if (i >= my.n)
            break;
        float4 w = *(const float4 *)(room.scores + (my.warp + WARPS * i) * ATTENTION_TILE + at);
        position_add<NC>(my.values[i], w.x, v[0]);
        position_add<NC>(my.values[i], w.y, v[1]);
        position_add<NC>(my.values[i], w.z, v[2]);
        position_add<NC>(my.values[i], w.w, v[3]);
    }
}

/* Position `at` of the tile that starts at `first`, of the queries that see it. */
template <class KV, int NQ, int NC>
DEVICE void single_add(struct queries<NQ, NC> &my, const struct room<NQ> &room, const char *values,
                       int dim, int first, int at)
{
    float2 v[NC];

    position_load<NC>(v, (const KV *)(values + at % PIECE * piece_stride(dim, sizeof(KV))), my.lane,
                      dim);
    UNROLL
    for (int i = 0; i < NQ; i++) {
        if (i < my.n && first + at >= my.begin[i] && first + at <= my.last[i])
            position_add<NC>(my.values[i], room.scores[(my.warp + WARPS * i) * ATTENTION_TILE + at],
                             v);
    }
}

/* n: positions of the tile that the item sees. */
template <class KV, int NQ, int NC>
DEVICE void piece_values(struct queries<NQ, NC> &my, const struct room<NQ> &room,
                         const char *values, int dim, int tile, int piece, int n)
{
    int first = tile * ATTENTION_TILE, at = piece * PIECE, end = MIN(n, at + PIECE);
    int begin = at, common = end; /* what all queries see */

    UNROLL
    for (int i = 0; i < NQ; i++) {
        common = i < my.n ? MIN(common, my.last[i] + 1 - first) : common;
        begin = i < my.n ? MAX(begin, my.begin[i] - first) : begin;
    }
    NO_UNROLL
    for (; at < MIN((begin + 3) / 4 * 4, end); at++)
        single_add<KV>(my, room, values, dim, first, at);
    NO_UNROLL
    for (; at + 4 <= common; at += 4)
        quad_add<KV>(my, room, values, dim, at);
    NO_UNROLL
    for (; at < end; at++)
        single_add<KV>(my, room, values, dim, first, at);
}

/* Where piece i waits to be widened. */
template <int NQ>
DEVICE char *stage_of(const struct room<NQ> &room, const struct attention_input &in, int i)
{
    return room.stage + i % (in.pieces_held - 1) * PIECE * in.kv.head_dim;
}

/* The first n positions of a piece that starts at `first` are on their way. i: its number among the
 * tile's, keys then values. */
template <class KV, int NQ>
DEVICE void piece_start(const struct room<NQ> &room, const struct attention_input &in,
                        int32_t kv_head, int i, bool values, int first, int n)
{
    int dim = in.kv.head_dim;

    if (IS_STAGED(KV))
        piece_stage(stage_of(room, in, i), in.kv, room.ids, kv_head, values, first, n, dim, n,
                    THREADS);
    else
        piece_copy(room.pieces + i % in.pieces_held * piece_bytes<KV>(dim),
                   piece_stride(dim, sizeof(KV)), in.kv, room.ids, kv_head, values, first, n, n,
                   THREADS);
}

/* All threads. begin, n: the positions of the tile that the item sees end at n, and none is in a
 * piece ahead of begin's. */
template <class KV, int NQ, int NC>
DEVICE void tile_run(struct queries<NQ, NC> &my, const struct room<NQ> &room,
                     const struct attention_input &in, const struct work &work,
                     const struct device_state &s, int tile, int begin, int n)
{
    typedef typename in_shared<KV>::type element;
    int skipped = begin / PIECE, pieces = (n + PIECE - 1) / PIECE - skipped;
    int dim = in.kv.head_dim, ahead = in.pieces_held - 1;

    __syncthreads(); /* the queries are there, and nobody uses ids and pieces any more */
    tile_ids(room.ids, s, in.kv, work.span.slot, tile, n);
    __syncthreads();
    NO_UNROLL
    for (int i = -ahead; i < 2 * pieces; i++) {
        if (i >= 0) {
            copy_wait_but(ahead - 1);
            __syncthreads();
            if (IS_STAGED(KV))
                piece_widen(room.pieces, piece_stride(dim, sizeof(element)), stage_of(room, in, i),
                            dim, MIN(PIECE, n - (skipped + i % pieces) * PIECE), THREADS);
        }
        if (i + ahead < 2 * pieces) {
            int next = (skipped + (i + ahead) % pieces) * PIECE;
            piece_start<KV>(room, in, work.kv_head, i + ahead, i + ahead >= pieces, next,
                            MIN(PIECE, n - next));
        }
        copy_commit(); /* empty groups, too: how many may be left is a count of groups */
        if (i < 0)
            continue;
        if (IS_STAGED(KV))
            __syncthreads();
        const char *piece =
            room.pieces + (IS_STAGED(KV) ? 0 : i % in.pieces_held * piece_bytes<KV>(dim));
        if (i < pieces)
            piece_scores<element>(my, room, piece, dim, tile, skipped + i);
        if (i == pieces)
            tile_weights(my, room, tile, skipped * PIECE, (skipped + pieces) * PIECE);
        if (i >= pieces)
            piece_values<element>(my, room, piece, dim, tile, skipped + i - pieces, n);
    }
}

/* ---- items ----------------------------------------------------------------------------------- */

template <int NQ, int NC>
DEVICE void queries_load(struct queries<NQ, NC> &my, const struct room<NQ> &room,
                         const struct attention_input &in, const struct work &work)
{
    int quads = in.kv.head_dim / 4;

    my.lane = (int)threadIdx.x % WARP;
    my.warp = (int)threadIdx.x / WARP;
    my.n = (work.item.n - my.warp + WARPS - 1) / WARPS;
    UNROLL
    for (int i = 0; i < NQ; i++) {
        my.last[i] = work_position(work, in.group, my.warp + WARPS * i);
        my.begin[i] = first_seen(in, my.last[i]);
        my.max[i] = my.sum[i] = my.tile_max[i] = my.tile_sum[i] = 0.0f;
    }
    for (int i = (int)threadIdx.x; i < work.item.n * quads; i += THREADS) {
        const uint16_t *from = in.q + work_at_matrix(work, in, i / quads) + 4 * (i % quads);
        *(float4 *)(room.q + 4 * i) = bf16_four(*(const uint2 *)from);
    }
}

/* The tile's values join those of the tiles before. A lane meets its own elements only. */
template <int NQ, int NC>
DEVICE void tile_join(struct queries<NQ, NC> &my, const struct room<NQ> &room, int dim, int tile)
{
    UNROLL
    for (int i = 0; i < NQ; i++) {
        if (i >= my.n || !sees_tile(my, i, tile))
            continue;
        struct blend w = {0.0f, 1.0f};
        bool is_first = my.begin[i] >= tile * ATTENTION_TILE;
        if (!is_first) {
            w = tiles_join(&my.max[i], &my.sum[i], my.tile_max[i], my.tile_sum[i]);
        } else {
            my.max[i] = my.tile_max[i];
            my.sum[i] = my.tile_sum[i];
        }
        float *result = room.result + (my.warp + WARPS * i) * dim;
        UNROLL
        for (int c = 0; c < NC; c++) {
            int d = CHUNK * c + 2 * my.lane;
            for (int j = 0; j < 2 && d < dim; j++)
                result[d + j] = is_first ? my.values[i][c][j]
                                         : blend_value(w, result[d + j], my.values[i][c][j]);
        }
    }
}

template <int NQ, int NC>
DEVICE void partial_store(const struct queries<NQ, NC> &my, const struct attention_input &in,
                          const struct work &work)
{
    int dim = in.kv.head_dim;

    UNROLL
    for (int i = 0; i < NQ; i++) {
        if (i >= my.n || !sees_tile(my, i, work.item.tile))
            continue;
        float *to = work_partial(work, in, my.warp + WARPS * i);
        UNROLL
        for (int c = 0; c < NC; c++) {
            int d = CHUNK * c + 2 * my.lane;
            if (d < dim)
                *(float2 *)(to + d) = make_float2(my.values[i][c][0], my.values[i][c][1]);
        }
        if (my.lane == 0)
            *(float2 *)(to + dim) = make_float2(my.tile_max[i], my.tile_sum[i]);
    }
}

template <int NQ, int NC>
DEVICE void result_store(const struct queries<NQ, NC> &my, const struct room<NQ> &room,
                         const struct attention_input &in, const struct work &work)
{
    int dim = in.kv.head_dim;

    UNROLL
    for (int i = 0; i < NQ; i++) {
        int query = my.warp + WARPS * i;
        if (i >= my.n)
            break;
        const float *result = room.result + query * dim;
        uint16_t *to = in.out + work_at_matrix(work, in, query);
        UNROLL
        for (int c = 0; c < NC; c++) {
            int d = CHUNK * c + 2 * my.lane;
            if (d < dim)
                *(uint32_t *)(to + d) =
                    bf16_pair_of(result[d] / my.sum[i], result[d + 1] / my.sum[i]);
        }
    }
}

template <class KV, int NQ, int NC>
DEVICE void item_run(const struct room<NQ> &room, const struct attention_input &in,
                     const struct work &work, const struct device_state &s)
{
    struct queries<NQ, NC> my;
    /* Positions the item sees. */
    int begin = first_seen(in, work_position(work, in.group, 0));
    int n = work_position(work, in.group, work.item.n - 1) + 1;
    int tile = MAX(work.item.tile, begin / ATTENTION_TILE);
    int end = work.item.tile >= 0 ? work.item.tile + 1 : (n + ATTENTION_TILE - 1) / ATTENTION_TILE;

    if (n <= tile * ATTENTION_TILE || tile >= end)
        return;
    __syncthreads(); /* the item before has been done by all warps */
    queries_load(my, room, in, work);
    NO_UNROLL
    for (; tile < end; tile++) {
        tile_run<KV>(my, room, in, work, s, tile, MAX(begin - tile * ATTENTION_TILE, 0),
                     MIN(n - tile * ATTENTION_TILE, ATTENTION_TILE));
        if (work.item.tile < 0)
            tile_join(my, room, in.kv.head_dim, tile);
    }
    if (work.item.tile >= 0)
        partial_store(my, in, work);
    else
        result_store(my, room, in, work);
}

/* grid: any   block: THREADS   dynamic smem: room_bytes */
template <class KV, int NQ, int NC>
static __global__ void __launch_bounds__(THREADS, NQ > 2 ? 2 : 4)
    attention_kernel(struct attention_input in, struct device_state s, struct pass p)
{
    grid_release();
    grid_wait();
    DYNAMIC_SHARED(char, base);
    struct room<NQ> room = room_at<KV, NQ>(base, in.kv.head_dim, in.pieces_held);
    int n = p.counts->n_items * in.kv.n_kv_heads;

    NO_UNROLL
    for (int i = (int)blockIdx.x; i < n; i += (int)gridDim.x)
        item_run<KV, NQ, NC>(room, in, work_at(p, i, in.kv.n_kv_heads), s);
}

/* ---- launchers ------------------------------------------------------------------------------- */

/* The widest kernel for D with the most queries: attention_matrix.cu's need less. D = 256 takes 226
 * KB with KV_F32, which sm_80 has not, else 162; D = 128 takes 130 and 98. */
size_t attention_shared_bytes(const struct kv_layer *kv)
{
    const int NQ = ATTENTION_QUERIES_MANY / WARPS;
    int chunks = kv->head_dim <= CHUNK ? 1 : kv->head_dim <= 2 * CHUNK ? 2 : 4;

    return kv->type == KV_F32 ? room_bytes<float, NQ>(CHUNK * chunks, ATTENTION_PIECES)
                              : room_bytes<uint16_t, NQ>(CHUNK * chunks, ATTENTION_PIECES);
}

template <class KV, int NQ, int NC>
static int launch_kernel(const struct device_state *state, const struct pass *pass,
                         const struct attention_input *in, int n_blocks, cudaStream_t stream)
{
    static size_t allowed;
    size_t room = room_bytes<KV, NQ>(in->kv.head_dim, in->pieces_held);

    if (room > allowed) {
        int rc = CUDA_RESULT(cudaFuncSetAttribute(
            attention_kernel<KV, NQ, NC>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)room));
        if (rc != 0)
            return rc;
        allowed = room;
    }
    LAUNCH((attention_kernel<KV, NQ, NC>), (unsigned)n_blocks, THREADS, room, stream, *in, *state,
           *pass);
    return LAUNCH_RESULT();
}

template <class KV, int NQ>
static int launch_width(const struct device_state *state, const struct pass *pass,
                        const struct attention_input *in, int n_blocks, cudaStream_t stream)
{
    if (in->kv.head_dim <= CHUNK)
        return launch_kernel<KV, NQ, 1>(state, pass, in, n_blocks, stream);
    if (in->kv.head_dim <= 2 * CHUNK)
        return launch_kernel<KV, NQ, 2>(state, pass, in, n_blocks, stream);
    return launch_kernel<KV, NQ, 4>(state, pass, in, n_blocks, stream);
}

template <class KV>
static int launch_type(const struct device_state *state, const struct pass *pass,
                       const struct attention_input *in, int queries, int n_blocks,
                       cudaStream_t stream)
{
    if (queries == ATTENTION_QUERIES_FEW)
        return launch_width<KV, ATTENTION_QUERIES_FEW / WARPS>(state, pass, in, n_blocks, stream);
    return launch_width<KV, ATTENTION_QUERIES_MANY / WARPS>(state, pass, in, n_blocks, stream);
}

int launch_attention(const struct device_state *state, const struct pass *pass,
                     const struct attention_input *in, int queries, int n_blocks,
                     cudaStream_t stream)
{
    int rc;

    ASSERT((queries == ATTENTION_QUERIES_FEW || queries == ATTENTION_QUERIES_MANY) && n_blocks > 0);
    if (!kv_layer_is_supported(&in->kv))
        return SPECD_EINVAL;
    ASSERT(in->pieces_held >= 2 && in->pieces_held <= ATTENTION_PIECES_MAX);
    if (in->kv.type == KV_F32)
        rc = launch_type<float>(state, pass, in, queries, n_blocks, stream);
    else if (in->kv.type == KV_BF16)
        rc = launch_type<uint16_t>(state, pass, in, queries, n_blocks, stream);
    else
        rc = launch_type<struct fp8>(state, pass, in, queries, n_blocks, stream);
    return rc != 0 ? rc : launch_merge(pass, in, n_blocks, stream);
}
