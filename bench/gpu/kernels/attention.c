/* Attention of one slot's rows: kinds, contexts, split and merged or in one piece. */
#include "kernels.h"

#include "attention.h"
#include "specd/util.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { FEW, FEW_AHEAD, MANY, MATRIX, KINDS };

static const struct {
    const char *name;
    int queries, blocks; /* to an item, of the grid for each multiprocessor */
    int pieces;          /* held in shared memory */
} kinds[KINDS] = {
    [FEW] = {"few", ATTENTION_QUERIES_FEW, 4, ATTENTION_PIECES},
    [FEW_AHEAD] = {"few, 8 pieces", ATTENTION_QUERIES_FEW, 1, ATTENTION_PIECES_MAX},
    [MANY] = {"many", ATTENTION_QUERIES_MANY, 2, ATTENTION_PIECES},
    [MATRIX] = {"matrix", ATTENTION_QUERIES_MATRIX, 2, ATTENTION_PIECES},
};

struct attention_run {
    const struct kernels *k;
    struct pass_rig rig;
    struct attention_input in;
    enum kind kind;
    char *layers; /* (n_layers) of keys and values */
    size_t layer_bytes;
    int n_layers;
};

static int launch(void *arg, int i, cudaStream_t stream)
{
    struct attention_run *r = arg;
    int blocks = kinds[r->kind].blocks * r->k->machine.product.n_multiprocessors;

    r->in.kv.blocks = r->layers + (size_t)(i % r->n_layers) * r->layer_bytes;
    r->in.pieces_held = kinds[r->kind].pieces;
    if (r->kind == MATRIX)
        return launch_attention_matrix(&r->rig.state, &r->rig.pass, &r->in, blocks, stream);
    return launch_attention(&r->rig.state, &r->rig.pass, &r->in, kinds[r->kind].queries, blocks,
                            stream);
}

/* ---- data ------------------------------------------------------------------------------------ */

#define PATTERN 65521 /* numbers: a prime, so that positions differ */

static uint16_t bf16_cut(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return (uint16_t)(bits >> 16);
}

static void data_make(struct attention_run *r, const struct shape *s, int rows, int context)
{
    uint16_t *pattern = xmalloc(PATTERN * sizeof(*pattern));
    size_t out = (size_t)rows * s->heads * s->head_dim * sizeof(uint16_t);
    size_t blocks = (size_t)(context + SPECD_BLOCK_TOKENS - 1) / SPECD_BLOCK_TOKENS;

    for (int i = 0; i < PATTERN; i++)
        pattern[i] = bf16_cut(kernels_random());
    r->in = (struct attention_input){
        .kv = {.type = KV_BF16,
               .n_kv_heads = (int32_t)s->kv_heads,
               .head_dim = (int32_t)s->head_dim},
        .group = (int32_t)(s->heads / s->kv_heads),
        .capacity = rows,
    };
    r->layer_bytes = blocks * kv_layer_block_bytes(&r->in.kv);
    r->n_layers = (int)(r->k->rotate / r->layer_bytes) + 1;
    r->layers = kernels_take((size_t)r->n_layers * r->layer_bytes);
    kernels_fill(r->layers, (size_t)r->n_layers * r->layer_bytes, pattern, PATTERN * 2);
    /* As if scaled by 1 / sqrt(D): no score stands out. */
    for (int i = 0; i < PATTERN; i++)
        pattern[i] = bf16_cut(kernels_random() / sqrtf((float)s->head_dim));
    void *q = kernels_take(out);
    kernels_fill(q, out, pattern, PATTERN * 2);
    r->in.q = q;
    r->in.out = kernels_take(out);
    free(pattern);
}

/* ---- one case -------------------------------------------------------------------------------- */

/* The first result of the rows on plain arithmetic, and on the matrix units. */
struct expected {
    uint16_t *rows[2];
};

static void check_result(struct attention_run *r, const struct shape *s, struct expected *e)
{
    size_t n = (size_t)r->rig.rows * s->heads * s->head_dim;
    uint16_t **want = &e->rows[r->kind == MATRIX], *got = xmalloc(n * sizeof(*got));

    kernels_zero(r->in.out, n * sizeof(*got));
    if (launch(r, 0, r->k->stream) != 0)
        kernels_die("attention");
    kernels_read(got, r->in.out, n * sizeof(*got));
    for (size_t i = 0; i < n; i++) {
        if ((got[i] & 0x7f80) == 0x7f80)
            kernels_die("attention: a result is no number");
    }
    if (*want && memcmp(*want, got, n * sizeof(*got)) != 0)
        kernels_die("attention: the same rows, launched otherwise, have other bits");
    if (!*want)
        *want = got;
    else
        free(got);
}

static void measure(struct kernels *k, int which, int rows, int context)
{
    const struct shape *s = k->shapes[which];
    struct expected expected = {{NULL}};
    struct attention_run r = {.k = k};
    double bytes = shape_kv_bytes(s) / s->layers * context;
    bool few = rows * (int)(s->heads / s->kv_heads) <= ATTENTION_QUERIES_FEW;

    data_make(&r, s, rows, context);
    for (int i = 0; i < 2 * KINDS; i++) {
        bool split = i % 2 == 0;
        r.kind = (enum kind)(i / 2);
        if (!kernels_go_on(k))
            continue;
        pass_rig_make(&r.rig, k, s, rows, context, kinds[r.kind].queries, split);
        r.in.partial =
            kernels_take(sizeof(float) * (size_t)MAX(r.rig.pass.max_partials, 1) *
                         attention_partial_floats(1, (int32_t)s->heads, (int32_t)s->head_dim));
        check_result(&r, s, &expected);
        /* One block alone is slow enough to be measured by few. */
        double us = kernels_time(k, launch, &r, split ? k->launches : 5);
        bool usual = split && r.kind == (few ? FEW : MANY);
        printf("| %s | %d | %d | %s | %s | ", s->name, context, rows, kinds[r.kind].name,
               split ? "split" : "whole");
        if (usual)
            printf("%.1f",
                   predict_kernel(s, WEIGHT_BF16, PASS_ATTENTION, rows, context, &k->rates) * 1e6);
        printf(" | %.2f | %.0f |%s\n", us, bytes / us * 1e-3,
               usual ? " as decoding has it |" : " |");
        if (usual && rows == 1 && context == k->context)
            k->us[which][PASS_ATTENTION] = us;
    }
    free(expected.rows[0]);
    free(expected.rows[1]);
    kernels_free();
    fflush(stdout);
}

void kernels_attention(struct kernels *k)
{
    static const int contexts[] = {512, 1024, 4096, 32768};
    printf("\n## Attention, one slot, bf16\n\n"
           "split: tiles of %d positions side by side, then merged. whole: one block does all.\n\n"
           "| shape | positions | rows | kind | tiles | predicted us | us | GB/s | |\n"
           "|---|---:|---:|---|---|---:|---:|---:|---|\n",
           ATTENTION_TILE);
    for (int which = 0; which < KERNEL_SHAPES; which++) {
        for (size_t i = 0; i < COUNT_OF(contexts) * 2; i++) {
            int context = contexts[i / 2], rows = i % 2 ? 5 : 1;
            if (k->context < contexts[0]) /* tiny */
                context = i / 2 == 0 ? k->context : 300;
            if (k->context < contexts[0] && i / 2 > 1)
                break;
            if (!k->quick || rows == 1)
                measure(k, which, rows, context);
        }
    }
}
