#include "device/attention_bench.h"

#include "attention.h"
#include "specd/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYERS 30
#define HEADS 9
#define KV_HEADS 3
#define DIM 64
#define ROWS_MAX 64
#define REPEATS_MAX 1000
#define POSITIONS_MAX 4096

struct rig {
    struct pool *pool;
    struct net net;
    struct net_layer layers[LAYERS]; /* without windows */
    struct kvmem kv;
    struct arena kv_arena, arena;
    struct attention attention;
    int32_t *blocks;
    float *q, *out; /* (ROWS_MAX, HEADS, DIM) */
};

static float noise(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) * 0x1p-23f - 1.0f;
}

static void open_arenas(struct rig *r, const struct device_setup *setup, int n_blocks)
{
    const struct net *const nets[MODEL_ROLES] = {&r->net};
    struct arena counted[2] = {{0}, {0}};
    kvmem_init(&r->kv, nets, KV_BF16);
    kvmem_layout(&r->kv, n_blocks, 0, 0, &counted[0]);
    attention_layout(&r->attention, nets, setup, setup->threads, &counted[1]);
    if (arena_open(&r->kv_arena, counted[0].used) != 0 ||
        arena_open(&r->arena, counted[1].used) != 0)
        exit(1);
    kvmem_layout(&r->kv, n_blocks, 0, 0, &r->kv_arena);
    attention_layout(&r->attention, nets, setup, setup->threads, &r->arena);
}

static void rig_open(struct rig *r, int threads)
{
    uint32_t seed = 1;
    float row[2][KV_HEADS * DIM];
    int n_blocks = (POSITIONS_MAX + ROWS_MAX) / SPECD_BLOCK_TOKENS;
    struct device_setup setup = {.n_slots = 1,
                                 .n_ctx = POSITIONS_MAX + ROWS_MAX,
                                 .max_rows = ROWS_MAX,
                                 .k_max = SPECD_K_MAX,
                                 .threads = threads};
    *r = (struct rig){.net = {.n_layers = LAYERS, .head_dim = DIM}};
    r->net.layers = r->layers;
    for (int i = 0; i < LAYERS; i++) {
        r->layers[i].n_heads = HEADS;
        r->layers[i].n_kv_heads = KV_HEADS;
    }
    r->pool = pool_create(threads);
    open_arenas(r, &setup, n_blocks);
    r->blocks = xcalloc((size_t)n_blocks, sizeof(*r->blocks));
    r->q = xcalloc(ROWS_MAX * HEADS * DIM, sizeof(*r->q));
    r->out = xcalloc(ROWS_MAX * HEADS * DIM, sizeof(*r->out));
    for (int i = 0; i < ROWS_MAX * HEADS * DIM; i++)
        r->q[i] = noise(&seed) * 0.3f;
    for (int32_t b = 0; b < n_blocks; b++) {
        r->blocks[b] = b;
        for (int i = 0; i < SPECD_BLOCK_TOKENS * LAYERS; i++) {
            for (int j = 0; j < 2 * KV_HEADS * DIM; j++)
                row[j / (KV_HEADS * DIM)][j % (KV_HEADS * DIM)] = noise(&seed);
            kvmem_write(&r->kv, MODEL_TARGET, i / SPECD_BLOCK_TOKENS, b, i % SPECD_BLOCK_TOKENS,
                        row[0], row[1]);
        }
    }
}

static void rig_close(struct rig *r)
{
    pool_free(r->pool);
    arena_close(&r->kv_arena);
    arena_close(&r->arena);
    free(r->blocks);
    free(r->q);
    free(r->out);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t pass_ns(struct rig *r, int rows, int positions, int repeats)
{
    uint64_t ns[REPEATS_MAX];
    const struct span span = {.blocks = r->blocks, .pos = positions - rows, .n = rows};
    for (int i = 0; i <= repeats; i++) { /* the first warms up */
        uint64_t start = clock_ns();
        attention_begin(&r->attention, &r->kv, &r->net, MODEL_TARGET, &span, 1, pool_size(r->pool));
        for (int layer = 0; layer < LAYERS; layer++)
            attention_run(&r->attention, r->pool, layer, r->q, HEADS * DIM, r->out, HEADS * DIM);
        ns[MAX(i - 1, 0)] = clock_ns() - start;
    }
    qsort(ns, (size_t)repeats, sizeof(*ns), compare);
    return ns[repeats / 2];
}

void attention_print(int threads, int repeats)
{
    static const int rows[] = {1, 5, 9, 64}, positions[] = {512, 4096};
    struct rig r;
    rig_open(&r, threads);
    printf(
        "| positions | rows | attention ms | GMAC/s | GB/s of KV |\n|---:|---:|---:|---:|---:|\n");
    for (size_t i = 0; i < COUNT_OF(rows) * COUNT_OF(positions); i++) {
        int n = positions[i / COUNT_OF(rows)], T = rows[i % COUNT_OF(rows)];
        double ns = (double)pass_ns(&r, T, n, MIN(repeats, REPEATS_MAX));
        double elements = (double)n * LAYERS * DIM;
        printf("| %d | %d | %.2f | %.1f | %.1f |\n", n, T, ns * 1e-6,
               2.0 * elements * HEADS * T / ns, 2.0 * elements * KV_HEADS * sizeof(uint16_t) / ns);
        fflush(stdout);
    }
    rig_close(&r);
}
