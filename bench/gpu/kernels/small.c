/* What stands between the matmuls of a pass and attention. */
#include "kernels.h"

#include "layer.h"
#include "specd/util.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define EMBED_TOKENS 4096 /* of the table: a pass reads one row of it for each token */

struct small_run {
    const struct shape *shape;
    struct pass_rig rig;
    struct norm norm;
    struct qkv qkv;
    struct product_plan table;
    void *packed;
    float *x;
};

static int launch_the_rows(void *arg, int i, cudaStream_t stream)
{
    const struct small_run *r = arg;
    (void)i;
    return pass_rig_rows(&r->rig, r->shape, ATTENTION_QUERIES_FEW, stream);
}

static int launch_the_embed(void *arg, int i, cudaStream_t stream)
{
    const struct small_run *r = arg;
    (void)i;
    return launch_embed(r->x, &r->table, r->packed, 1.0f, &r->rig.state, &r->rig.pass, r->rig.rows,
                        stream);
}

static int launch_the_norm(void *arg, int i, cudaStream_t stream)
{
    const struct small_run *r = arg;
    (void)i;
    return launch_norm(&r->norm, &r->rig.pass, r->rig.rows, stream);
}

static int launch_the_rotation(void *arg, int i, cudaStream_t stream)
{
    const struct small_run *r = arg;
    (void)i;
    return launch_qkv(&r->qkv, &r->rig.state, &r->rig.pass, r->rig.rows, stream);
}

static float *floats(size_t n)
{
    float *host = xmalloc(n * sizeof(*host));
    for (size_t i = 0; i < n; i++)
        host[i] = kernels_random();
    float *device = kernels_copy(host, n * sizeof(*host));
    free(host);
    return device;
}

static float *rotation_make(int n_ctx, int dim)
{
    float inv_freq[ATTENTION_DIM_MAX / 2];
    float *host = xmalloc((size_t)n_ctx * (size_t)dim * sizeof(*host));
    for (int i = 0; i < dim / 2; i++)
        inv_freq[i] = (float)pow(500000.0, -2.0 * i / dim);
    rope_table(host, inv_freq, 1.0f, dim, 0, n_ctx);
    float *device = kernels_copy(host, (size_t)n_ctx * (size_t)dim * sizeof(*host));
    free(host);
    return device;
}

static void run_make(struct small_run *r, const struct kernels *k, const struct shape *s, int rows)
{
    size_t T = (size_t)rows, C = s->embd, wide = (s->heads + 2 * s->kv_heads) * s->head_dim;
    struct kv_layer kv = {
        .type = KV_BF16, .n_kv_heads = (int32_t)s->kv_heads, .head_dim = (int32_t)s->head_dim};

    *r = (struct small_run){.shape = s};
    pass_rig_make(&r->rig, k, s, rows, k->context, ATTENTION_QUERIES_FEW, true);
    r->x = floats(T * C);
    r->norm = (struct norm){.y = kernels_take(T * C * sizeof(uint16_t)),
                            .x = r->x,
                            .w = floats(C),
                            .eps = 1e-5f,
                            .width = (int32_t)C};
    kv.blocks = kernels_take((size_t)r->rig.state.n_blocks * kv_layer_block_bytes(&kv));
    r->qkv = (struct qkv){.qkv = floats(T * wide),
                          .rotation = rotation_make(k->context, (int)s->head_dim),
                          .rope = ROPE_HALVES,
                          .rope_dim = (int32_t)s->head_dim,
                          .q_scale = 1.0f / sqrtf((float)s->head_dim),
                          .q = kernels_take(T * wide * sizeof(uint16_t)),
                          .kv = kv,
                          .n_heads = (int32_t)s->heads};
    if (product_plan_of(&r->table, PRODUCT_BF16, false, EMBED_TOKENS, (int64_t)C) != 0)
        kernels_die("embed: no such matrix");
    r->packed = kernels_take(r->table.bytes);
    kernels_zero(r->packed, r->table.bytes);
}

void kernels_small(struct kernels *k)
{
    static const struct {
        enum pass_kernel kernel;
        kernel_launch *launch;
    } all[] = {{PASS_ROWS, launch_the_rows},
               {PASS_EMBED, launch_the_embed},
               {PASS_NORM, launch_the_norm},
               {PASS_ROTATE, launch_the_rotation}};
    printf("\n## Small kernels\n\n| shape | kernel | rows | predicted us | us |\n"
           "|---|---|---:|---:|---:|\n");
    for (int i = 0; i < KERNEL_SHAPES * 2; i++) {
        int which = i / 2, rows = i % 2 ? 5 : 1;
        const struct shape *s = k->shapes[which];
        struct small_run r;
        run_make(&r, k, s, rows);
        for (size_t j = 0; j < COUNT_OF(all); j++) {
            double us = kernels_time(k, all[j].launch, &r, k->launches);
            printf("| %s | %s | %d | %.1f | %.2f |\n", s->name, pass_kernel_name(all[j].kernel),
                   rows,
                   predict_kernel(s, WEIGHT_BF16, all[j].kernel, rows, k->context, &k->rates) * 1e6,
                   us);
            if (rows == 1)
                k->us[which][all[j].kernel] = us;
        }
        kernels_free();
    }
}
