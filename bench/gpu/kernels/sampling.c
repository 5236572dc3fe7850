/* Laws, draws and verification over one vocabulary. */
#include "kernels.h"

#include "sampling.h"
#include "specd/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define K 4
#define LAWS (2 * K + 1) /* q of K + 1 positions, then p of K */

struct sampling_run {
    int32_t n_vocab;
    int rows;
    struct device_law *laws; /* (LAWS) */
    struct device_turn *turn;
    struct seq_result *result;
    int32_t *drafted;
    struct sampling_shape shape;
};

static int launch_the_laws(void *arg, int i, cudaStream_t stream)
{
    const struct sampling_run *r = arg;
    (void)i;
    return launch_laws(r->laws, r->rows, r->n_vocab, r->shape, stream);
}

static int launch_the_draw(void *arg, int i, cudaStream_t stream)
{
    const struct sampling_run *r = arg;
    (void)i;
    return launch_draws(r->laws + K + 1, r->drafted, r->rows, r->n_vocab, r->shape, stream);
}

static int launch_the_verification(void *arg, int i, cudaStream_t stream)
{
    const struct sampling_run *r = arg;
    (void)i;
    return launch_verify(r->turn, 1, r->rows - 1, r->n_vocab, r->shape, stream);
}

/* Draft and target have one law, so all drafts are accepted, the longest way through. */
static void run_make(struct sampling_run *r, const struct kernels *k, struct law_params law,
                     int rows)
{
    size_t V = (size_t)k->n_vocab;
    float *logits = xmalloc(V * sizeof(*logits));
    struct device_law laws[LAWS];
    const struct sample_params params = {
        .target = law, .draft = law, .seed = 1, .mode = VERIFY_RATIO, .n_logprobs = -1};

    *r = (struct sampling_run){.n_vocab = k->n_vocab, .rows = rows};
    struct sample_params *on_device = kernels_copy(&params, sizeof(params));
    memset(laws, 0, sizeof(laws));
    for (int i = 0; i <= K; i++) {
        for (size_t j = 0; j < V; j++)
            logits[j] = 6.0f * kernels_random();
        laws[i] = (struct device_law){.logits = kernels_copy(logits, V * sizeof(*logits)),
                                      .params = on_device,
                                      .law = &on_device->target,
                                      .n_vocab = k->n_vocab,
                                      .position = 100 + i};
        if (i < K)
            laws[K + 1 + i] = laws[i];
    }
    free(logits);
    r->laws = kernels_copy(laws, sizeof(laws));
    r->drafted = kernels_take(LAWS * sizeof(*r->drafted));
    r->result = kernels_take(sizeof(*r->result));
    const struct device_turn turn = {.q = r->laws,
                                     .p = r->laws + K + 1,
                                     .p_stride = 1,
                                     .drafted = r->drafted,
                                     .k = rows - 1,
                                     .len = 100,
                                     .params = on_device,
                                     .synthetic_acceptance = -1,
                                     .out = r->result};
    r->turn = kernels_copy(&turn, sizeof(turn));
}

/* Makes all laws and draws all drafts, so that what is timed next finds them; the result. */
static struct seq_result settle(struct sampling_run *r, const struct kernels *k)
{
    struct seq_result result;
    kernels_zero(r->result, sizeof(result));
    if (launch_laws(r->laws, LAWS, r->n_vocab, r->shape, k->stream) != 0 ||
        launch_draws(r->laws + K + 1, r->drafted, K, r->n_vocab, r->shape, k->stream) != 0 ||
        launch_verify(r->turn, 1, r->rows - 1, r->n_vocab, r->shape, k->stream) != 0)
        kernels_die("sampling");
    kernels_read(&result, r->result, sizeof(result));
    return result;
}

/* One block to a row gives what several do. */
static void check_result(struct sampling_run *r, const struct kernels *k)
{
    struct sampling_shape usual = r->shape;
    struct seq_result several = settle(r, k);
    r->shape.parts = 1;
    struct seq_result one = settle(r, k);
    r->shape = usual;
    settle(r, k);
    if (several.n_accepted != r->rows - 1 || several.n_tokens != r->rows ||
        memcmp(several.tokens, one.tokens, (size_t)r->rows * sizeof(*one.tokens)) != 0 ||
        memcmp(several.overlap, one.overlap, (size_t)(r->rows - 1) * sizeof(*one.overlap)) != 0)
        kernels_die("verification: not what one block to a row gives");
}

static void print(const char *name, const char *law, int rows, double predicted, double us)
{
    printf("| %s | %s | %d | ", name, law, rows);
    if (predicted > 0)
        printf("%.1f", predicted);
    printf(" | %.2f |\n", us);
}

void kernels_sampling(struct kernels *k)
{
    static const struct {
        const char *name;
        struct law_params law;
    } laws[] = {
        {"temperature 1", {.temperature = 1, .top_p = 1, .repetition = 1}},
        {"top-k 40, top-p 0.9", {.temperature = 1, .top_k = 40, .top_p = 0.9f, .repetition = 1}}};
    printf("\n## Sampling, V = %d\n\n| kernel | law | rows | predicted us | us |\n"
           "|---|---|---:|---:|---:|\n",
           k->n_vocab);
    for (size_t i = 0; i < COUNT_OF(laws) * 2; i++) {
        int rows = i % 2 ? K + 1 : 1;
        const char *name = laws[i / 2].name;
        bool plain = i / 2 == 0;
        struct sampling_run r;
        run_make(&r, k, laws[i / 2].law, rows);
        r.shape = sampling_shape_of(rows, k->n_vocab, k->machine.product.n_multiprocessors,
                                    k->machine.product.clusters);
        check_result(&r, k);
        print("law", name, rows, plain ? sampling_us.law : 0,
              kernels_time(k, launch_the_laws, &r, k->launches));
        if (rows == 1)
            print("draw", name, rows, plain ? sampling_us.draw : 0,
                  kernels_time(k, launch_the_draw, &r, k->launches));
        settle(&r, k);
        print(rows > 1 ? "verify, overlaps" : "verify", name, rows,
              plain ? sampling_us.verify + (rows > 1 ? sampling_us.overlaps : 0) : 0,
              kernels_time(k, launch_the_verification, &r, k->launches));
        kernels_free();
    }
}
