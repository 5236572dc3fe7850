/*
 * Attention of the CPU device over random shapes: every instruction set, any number of threads,
 * gives the bits that the order in attention.h gives when it is written down one number at a time.
 *
 * links: device_tests specd_cpu
 * labels: thread hostile
 */
#include "attention.h"
#include "device/models.h"
#include "specd/quant.h"
#include "specd/util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SPANS_MAX 3
#define N_CTX 700
#define ROWS_MAX 40
#define BLOCKS ((N_CTX + SPECD_BLOCK_TOKENS - 1) / SPECD_BLOCK_TOKENS) /* of a sequence */

struct rig {
    struct net net;
    struct net_layer layers[2];
    struct kvmem kv;
    struct arena kv_arena, arena;
    struct attention attention;
    struct span spans[SPANS_MAX];
    int32_t *blocks; /* (SPANS_MAX, BLOCKS) */
    int n_spans, n_rows, stride;
    float *k, *v;            /* (SPANS_MAX, N_CTX, G, D), as the KV type keeps them */
    float *q, *out, *wanted; /* (ROWS_MAX, stride) */
};

static int below(int n, uint64_t *seed)
{
    return (int)(random_next(seed) % (uint64_t)n);
}

static float random_float(uint64_t *seed)
{
    return (float)(random_next(seed) >> 40) * 0x1p-23f - 1.0f;
}

static float kept(enum kv_type type, float x)
{
    uint32_t bits = (uint32_t)bf16_from_f32(x) << 16;
    float y;
    memcpy(&y, &bits, sizeof(y));
    return type == KV_F32 ? x : y;
}

static float *row_of(const struct rig *r, float *kv, int span, int pos)
{
    return kv + (size_t)(span * N_CTX + pos) * (size_t)(r->layers[1].n_kv_heads * r->net.head_dim);
}

/* ---- the order, one number at a time --------------------------------------------------------- */

/* result, max and sum of one tile, of its positions first..n. */
static void tile_of(const struct rig *r, int span, const float *q, int g, int tile, int first,
                    int n, float *result, float *max, float *sum)
{
    int D = r->net.head_dim;
    float scores[ATTENTION_TILE];
    for (int j = first; j < n; j++) {
        const float *k = row_of(r, r->k, span, tile * ATTENTION_TILE + j) + g * D;
        scores[j] = 0.0f;
        for (int d = 0; d < D; d++)
            scores[j] = fmaf(q[d], k[d], scores[j]);
    }
    *sum = ops_portable.exp_sum(scores + first, n - first, max);
    for (int d = 0; d < D; d++) {
        result[d] = 0.0f;
        for (int j = first; j < n; j++) {
            const float *v = row_of(r, r->v, span, tile * ATTENTION_TILE + j) + g * D;
            result[d] = fmaf(scores[j], v[d], result[d]);
        }
    }
}

/* The first position that a row at `pos` sees. */
static int first_of(const struct rig *r, int pos)
{
    return r->layers[1].window > 0 ? MAX(pos + 1 - r->layers[1].window, 0) : 0;
}

static void reference(const struct rig *r, int span, int row, int head, float *out)
{
    int D = r->net.head_dim, seen = r->spans[span].pos + row + 1, first = first_of(r, seen - 1);
    const float *q = r->q + (r->spans[span].row + row) * r->stride + head * D;
    int g = head / (r->layers[1].n_heads / r->layers[1].n_kv_heads);
    float result[MODEL_HEAD_DIM_MAX], max = 0.0f, sum = 0.0f;
    for (int t = first / ATTENTION_TILE, start = t; t * ATTENTION_TILE < seen; t++) {
        float tile[MODEL_HEAD_DIM_MAX], tile_max, tile_sum;
        int n = MIN(seen - t * ATTENTION_TILE, ATTENTION_TILE);
        tile_of(r, span, q, g, t, MAX(first - t * ATTENTION_TILE, 0), n, tile, &tile_max,
                &tile_sum);
        float most = t > start && max > tile_max ? max : tile_max;
        float a = t > start ? ops_portable.exp(max - most) : 0.0f,
              b = ops_portable.exp(tile_max - most);
        for (int d = 0; d < D; d++)
            result[d] = t > start ? fmaf(result[d], a, tile[d] * b) : tile[d];
        sum = t > start ? sum * a + tile_sum * b : tile_sum;
        max = most;
    }
    for (int d = 0; d < D; d++)
        out[d] = result[d] / sum;
}

/* ---- random passes --------------------------------------------------------------------------- */

static void random_shape(struct rig *r, uint64_t *seed)
{
    static const int dims[] = {2, 7, 16, 20, 33, 64, 80, 96, 128};
    *r = (struct rig){.net = {.n_layers = 2, .head_dim = dims[below(COUNT_OF(dims), seed)]},
                      .n_spans = 1 + below(SPANS_MAX, seed)};
    r->net.layers = r->layers;
    for (int i = 0; i < 2; i++) {
        r->layers[i].n_kv_heads = 1 + below(3, seed);
        r->layers[i].n_heads = r->layers[i].n_kv_heads * (1 + below(7, seed));
    }
    r->layers[1].window = below(2, seed) ? 0 : 1 + below(below(2, seed) ? 30 : 400, seed);
    r->layers[0].window = r->layers[1].window; /* the table has no more blocks than it wants */
    for (int i = 0; i < r->n_spans; i++) {
        int n = 1 + below(below(2, seed) ? 3 : ROWS_MAX / SPANS_MAX, seed);
        r->spans[i] = (struct span){.pos = below(N_CTX - n, seed), .n = n, .row = r->n_rows};
        r->n_rows += n;
    }
    r->stride = MAX(r->layers[0].n_heads, r->layers[1].n_heads) * r->net.head_dim + below(5, seed);
    r->blocks = xcalloc(SPANS_MAX * BLOCKS, sizeof(*r->blocks));
    for (int32_t i = 0; i < SPANS_MAX * BLOCKS; i++)
        r->blocks[i] = i;
    random_shuffle(r->blocks, SPANS_MAX * BLOCKS, seed);
    for (int i = 0; i < r->n_spans; i++)
        r->spans[i].blocks = r->blocks + i * BLOCKS;
}

static void allocate(struct rig *r, enum kv_type type, int threads)
{
    const struct net *const nets[MODEL_ROLES] = {&r->net};
    struct device_setup setup = {
        .n_slots = SPANS_MAX, .n_ctx = N_CTX, .max_rows = ROWS_MAX, .k_max = 4};
    struct arena counted[2] = {{0}, {0}};
    size_t kv_floats =
        (size_t)SPANS_MAX * N_CTX * (size_t)(r->layers[1].n_kv_heads * r->net.head_dim);
    kvmem_init(&r->kv, nets, type);
    kvmem_layout(&r->kv, SPANS_MAX * BLOCKS, 0, 0, &counted[0]);
    attention_layout(&r->attention, nets, &setup, threads, &counted[1]);
    assert_int_equal(arena_open(&r->kv_arena, counted[0].used), 0);
    assert_int_equal(arena_open(&r->arena, counted[1].used), 0);
    kvmem_layout(&r->kv, SPANS_MAX * BLOCKS, 0, 0, &r->kv_arena);
    attention_layout(&r->attention, nets, &setup, threads, &r->arena);
    r->k = xcalloc(kv_floats, sizeof(float));
    r->v = xcalloc(kv_floats, sizeof(float));
    r->q = xcalloc((size_t)(ROWS_MAX * r->stride), sizeof(float));
    r->out = xcalloc((size_t)(ROWS_MAX * r->stride), sizeof(float));
    r->wanted = xcalloc((size_t)(ROWS_MAX * r->stride), sizeof(float));
}

/* What blocks hold beyond a sequence's end, behind its window and of another layer must not matter:
 * NaN, here.
 * Where no row sees any position of a block, the table has no block at all. */
static void fill(struct rig *r, uint64_t *seed)
{
    int n = r->layers[1].n_kv_heads * r->net.head_dim, n_nan = 3 * r->net.head_dim;
    float *nan = xcalloc((size_t)n_nan, sizeof(*nan));
    for (int i = 0; i < n_nan; i++)
        nan[i] = NAN;
    for (int i = 0; i < r->n_spans; i++) {
        for (int pos = 0; pos < BLOCKS * SPECD_BLOCK_TOKENS; pos++) {
            int32_t *block = &r->blocks[i * BLOCKS + pos / SPECD_BLOCK_TOKENS];
            int end = r->spans[i].pos + r->spans[i].n, first = first_of(r, r->spans[i].pos);
            bool used = pos >= first && pos < end;
            if (pos / SPECD_BLOCK_TOKENS < first / SPECD_BLOCK_TOKENS)
                *block = -1;
            if (*block < 0)
                continue;
            float *k = used ? row_of(r, r->k, i, pos) : nan,
                  *v = used ? row_of(r, r->v, i, pos) : nan;
            for (int j = 0; used && j < n; j++) {
                k[j] = kept(r->kv.type, random_float(seed));
                v[j] = kept(r->kv.type, random_float(seed));
            }
            kvmem_write(&r->kv, MODEL_TARGET, 1, *block, pos % SPECD_BLOCK_TOKENS, k, v);
            kvmem_write(&r->kv, MODEL_TARGET, 0, *block, pos % SPECD_BLOCK_TOKENS, nan, nan);
        }
    }
    for (int i = 0; i < r->n_rows * r->stride; i++)
        r->q[i] = 3.0f * random_float(seed);
    free(nan);
}

static void discard(struct rig *r)
{
    arena_close(&r->kv_arena);
    arena_close(&r->arena);
    free(r->blocks);
    free(r->k);
    free(r->v);
    free(r->q);
    free(r->out);
    free(r->wanted);
}

static void compare(struct rig *r, struct pool *pool)
{
    const struct ops *tables[OPS_TABLES];
    size_t row_bytes = (size_t)(r->layers[1].n_heads * r->net.head_dim) * sizeof(float);
    for (int t = 0, count = ops_tables(tables); t < count; t++) {
        memset(r->out, 0, (size_t)(ROWS_MAX * r->stride) * sizeof(float));
        attention_begin(&r->attention, &r->kv, &r->net, MODEL_TARGET, r->spans, r->n_spans,
                        pool_size(pool));
        r->attention.ops = tables[t];
        attention_run(&r->attention, pool, 0, r->q, r->stride, r->out, r->stride);
        attention_run(&r->attention, pool, 1, r->q, r->stride, r->out, r->stride);
        for (int row = 0; row < r->n_rows; row++)
            assert_memory_equal(r->out + row * r->stride, r->wanted + row * r->stride, row_bytes);
    }
}

static void run(enum kv_type type, int threads, int passes, uint64_t seed)
{
    struct pool *pool = pool_create(threads);
    for (int n = 0; n < passes; n++) {
        struct rig r;
        random_shape(&r, &seed);
        allocate(&r, type, threads);
        fill(&r, &seed);
        for (int i = 0; i < r.n_spans; i++)
            for (int row = 0; row < r.spans[i].n; row++)
                for (int h = 0; h < r.layers[1].n_heads; h++)
                    reference(&r, i, row, h,
                              r.wanted + (r.spans[i].row + row) * r.stride + h * r.net.head_dim);
        compare(&r, pool);
        discard(&r);
    }
    pool_free(pool);
}

static void test_f32(void **state)
{
    (void)state;
    run(KV_F32, 1, 15, 1);
    run(KV_F32, 3, 15, 2);
}

static void test_bf16(void **state)
{
    (void)state;
    run(KV_BF16, 1, 30, 3);
    run(KV_BF16, 3, 30, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
