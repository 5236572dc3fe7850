/*
 * Logits of the device against the double-precision reference: every architecture, shape and weight
 * type, over texts that cross attention's tiles.
 *
 * links: device_tests specd_cpu
 *
 * Tolerance on the CPU: |difference| <= 2e-5 (f32 KV) or 5e-4 (bf16 KV, where a rounding may fall
 * either way) of the largest logit. Observed: below 5e-6 and 1e-4. On the GPU activations are bf16:
 * 3e-2; observed: below 1.2e-2.
 */
#include "device/reference.h"
#include "device/rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define F32_TOLERANCE 2e-5
#define BF16_TOLERANCE 5e-4
#define GPU_TOLERANCE 3e-2

static double tolerance(enum kv_type kv)
{
    return !rig_is_cpu() ? GPU_TOLERANCE : kv == KV_F32 ? F32_TOLERANCE : BF16_TOLERANCE;
}

static int32_t *random_text(int32_t n, uint32_t n_vocab, uint64_t seed)
{
    int32_t *tokens = xmalloc((size_t)n * sizeof(*tokens));
    for (int32_t i = 0; i < n; i++)
        tokens[i] = (int32_t)(random_next(&seed) % n_vocab);
    return tokens;
}

static double largest(const double *x, size_t n)
{
    double max = 0.0;
    for (size_t i = 0; i < n; i++)
        max = fmax(max, fabs(x[i]));
    return max;
}

static double largest_difference(const float *a, const double *b, size_t n)
{
    double max = 0.0;
    for (size_t i = 0; i < n; i++)
        max = fmax(max, isfinite(a[i]) ? fabs((double)a[i] - b[i]) : INFINITY);
    return max;
}

struct forward_case {
    const char *name;
    struct model_shape shape;
    int n;
    enum kv_type kv;
    enum weight_type weights;
    enum activations activations;
    enum { ON_ALL, ON_CPU, ON_GPU } only; /* a shape or type that only this device has */
    double tolerance;                     /* 0: the usual one */
};

/* What a device cannot run it refuses when it is asked for a plan, naming the reason. */
static void check_refusal(const struct forward_case *c, const struct model *m)
{
    struct device_setup setup = rig_setup(m, NULL);
    struct device_plan plan;
    struct device *dev;
    char err[256] = "";
    setup.kv = c->kv;
    setup.weights[MODEL_TARGET] = c->weights;
    setup.activations = c->activations;
    assert_int_equal(rig_ops()->open(&dev, -1, err, sizeof(err)), 0);
    assert_int_equal(rig_ops()->plan(dev, &setup, &plan, err, sizeof(err)), SPECD_EINVAL);
    assert_true(strlen(err) > 0);
    rig_ops()->close(dev);
}

/* Prefills all but the last few tokens, then looks at the logits of the verify rows. */
static double worst_difference(const struct forward_case *c, const struct model *m,
                               const struct model *reference)
{
    enum { ROWS = SPECD_K_MAX < 5 ? SPECD_K_MAX + 1 : 6 };
    struct device_setup setup = rig_setup(m, NULL);
    setup.kv = c->kv;
    setup.weights[MODEL_TARGET] = c->weights;
    setup.activations = c->activations;
    setup.threads = 2;
    struct rig *r = rig_new(&setup, c->shape.seed);
    struct sample_params params = rig_params();
    int32_t *tokens = random_text(c->n, m->n_vocab, c->shape.seed);
    double *want = xcalloc((size_t)c->n * m->n_vocab, sizeof(*want)), worst = 0.0;
    int32_t len = c->n - ROWS + 1;
    reference_forward(reference, NULL, 0, tokens, c->n, c->kv == KV_BF16, want);

    rig_slot(r, 2, &params, tokens, len, 512);
    rig_prefill(r, 2, MODEL_TARGET, 0, len - 1, 37);
    rig_clear(r);
    struct round_seq *seq = rig_seq(r, 2, ROWS - 1);
    seq->source = DRAFT_FROM_HOST;
    for (int i = 0; i < ROWS - 1; i++)
        seq->host_draft[i] = tokens[len + i];
    rig_run(r);
    assert_int_equal(r->result.seqs[0].n_drafted, ROWS - 1);
    for (int i = 0; i < ROWS; i++) {
        const double *row = want + (size_t)(len - 1 + i) * m->n_vocab;
        const float *got = rig_logits(r, MODEL_TARGET, 0, i);
        worst = fmax(worst, largest_difference(got, row, m->n_vocab) / largest(row, m->n_vocab));
    }
    free(want);
    free(tokens);
    rig_free(r);
    return worst;
}

static void check_case(const struct forward_case *c)
{
    struct model *m = model_random(&c->shape);
    if (c->only == (rig_is_cpu() ? ON_GPU : ON_CPU)) {
        check_refusal(c, m);
        model_random_free(m);
        return;
    }
    double worst = worst_difference(c, m, m);
    print_message("%-32s %.1e\n", c->name, worst);
    assert_true(worst <= (c->tolerance > 0 ? c->tolerance : tolerance(c->kv)));
    model_random_free(m);
}

#define SHAPE(h, g, d, ...)                                                                    \
    {                                                                                          \
        .n_layers = 2, .n_heads = h, .n_kv_heads = g, .head_dim = d, .n_embd = 64, .n_ff = 96, \
        .n_vocab = 67, __VA_ARGS__                                                             \
    }

/* bits: of layers. */
#define EXPERTS(bits, n, k, ff) \
    .experts = bits, .n_experts = n, .n_experts_used = k, .n_ff_expert = ff

static void test_architectures(void **state)
{
    (void)state;
    static const struct forward_case cases[] = {
        {.name = "llama, pairs",
         .shape = SHAPE(4, 4, 16, .rope = ROPE_PAIRS, .seed = 101),
         .n = 40,
         .kv = KV_F32},
        {.name = "llama, halves",
         .shape = SHAPE(4, 2, 16, .rope = ROPE_HALVES, .seed = 102),
         .n = 40,
         .kv = KV_F32},
        {.name = "llama, part of a head rotates",
         .shape = SHAPE(2, 1, 32, .rope = ROPE_PAIRS, .rope_dim = 20, .seed = 103),
         .n = 40,
         .kv = KV_F32},
        {.name = "llama, what rotates is longer",
         .shape = SHAPE(4, 2, 16, .rope = ROPE_HALVES, .rope_magnitude = 1.25f, .seed = 107),
         .n = 40,
         .kv = KV_F32},
        {.name = "smollm3, nothing rotates in some layers",
         .shape = SHAPE(4, 2, 16, .rope = ROPE_PAIRS, .no_rope = 2, .seed = 108),
         .n = 40,
         .kv = KV_F32},
        {.name = "llama, untied",
         .shape = SHAPE(2, 2, 16, .untied = true, .seed = 104),
         .n = 20,
         .kv = KV_F32},
        {.name = "qwen2, biases",
         .shape = SHAPE(4, 2, 16, .rope = ROPE_HALVES, .biases = true, .seed = 105),
         .n = 40,
         .kv = KV_F32},
        {.name = "qwen3, q and k norms",
         .shape = SHAPE(4, 1, 24, .rope = ROPE_HALVES, .qk_norms = true, .seed = 106),
         .n = 40,
         .kv = KV_F32},
        {.name = "a window, by tables of its own",
         .shape = SHAPE(4, 2, 16, .rope = ROPE_HALVES, .window = 11, .windowed = 1, .seed = 109),
         .n = 60,
         .kv = KV_F32},
        {.name = "windows alone, of one position",
         .shape = SHAPE(4, 2, 16, .rope = ROPE_PAIRS, .window = 1, .windowed = 3, .seed = 110),
         .n = 40,
         .kv = KV_F32},
        {.name = "gemma3",
         .shape = SHAPE(4, 2, 32, .rope = ROPE_HALVES, .window = 8, .windowed = 1, .seed = 111,
                        .gate = GATE_GELU_TANH, .post_norms = true, .qk_norms = true,
                        .embd_scale = 8.0f, .attn_scale = 0.25f),
         .n = 60,
         .kv = KV_F32},
        {.name = "llama, biases everywhere",
         .shape = SHAPE(4, 2, 16, .rope = ROPE_PAIRS, .biases = true,
                        .more = PART_BIT(PART_O_BIAS) | PART_BIT(PART_FFN_BIAS), .seed = 112),
         .n = 40,
         .kv = KV_F32},
        {.name = "gelu and post norms, biases everywhere",
         .shape = SHAPE(4, 2, 16, .gate = GATE_GELU_TANH, .biases = true, .post_norms = true,
                        .more = PART_BIT(PART_O_BIAS) | PART_BIT(PART_FFN_BIAS), .seed = 113),
         .n = 40,
         .kv = KV_F32},
        {.name = "olmo2, norms behind blocks alone",
         .shape = SHAPE(4, 2, 24, .rope = ROPE_HALVES, .post_norms = true,
                        .more = PART_BIT(PART_QK_NORM_WIDE), .less = PART_BIT(PART_PRE_NORM),
                        .seed = 114),
         .n = 60,
         .kv = KV_F32},
        {.name = "olmo2, biases",
         .shape = SHAPE(6, 3, 16, .rope = ROPE_HALVES, .post_norms = true, .biases = true,
                        .more = PART_BIT(PART_QK_NORM_WIDE) | PART_BIT(PART_O_BIAS),
                        .less = PART_BIT(PART_PRE_NORM), .untied = true, .seed = 115),
         .n = 40,
         .kv = KV_F32},
        {.name = "qwen3moe",
         .shape = SHAPE(4, 2, 16, .rope = ROPE_HALVES, .qk_norms = true, EXPERTS(3, 8, 2, 40),
                        .experts_normed = true, .seed = 116),
         .n = 60,
         .kv = KV_F32},
        {.name = "qwen2moe",
         .shape = SHAPE(4, 2, 16, .rope = ROPE_HALVES, .biases = true, EXPERTS(3, 5, 3, 24),
                        .n_ff_shared = 48, .seed = 117),
         .n = 60,
         .kv = KV_F32},
        {.name = "experts in one layer, norms behind",
         .shape = SHAPE(4, 2, 16, EXPERTS(1, 33, 7, 8), .post_norms = true, .gate = GATE_GELU_TANH,
                        .seed = 118),
         .n = 40,
         .kv = KV_F32},
        {.name = "all experts, one of them",
         .shape = SHAPE(4, 2, 16, EXPERTS(3, 1, 1, 64), .untied = true, .seed = 119),
         .n = 20,
         .kv = KV_F32},
        {.name = "scales of matrices, biases everywhere",
         .shape = SHAPE(4, 2, 16, .biases = true, .scaled = true, .type = DT_F16,
                        .more = PART_BIT(PART_O_BIAS) | PART_BIT(PART_FFN_BIAS), .seed = 120),
         .n = 40,
         .kv = KV_F32},
        {.name = "scales of experts, post norms",
         .shape = SHAPE(4, 2, 16, EXPERTS(3, 5, 3, 32), .n_ff_shared = 64, .scaled = true,
                        .post_norms = true, .untied = true, .type = DT_BF16, .seed = 121),
         .n = 60,
         .kv = KV_F32},
        {.name = "feed-forwards of other widths",
         .shape = SHAPE(4, 2, 16, .untied = true, .layer_ff = {168, 40}, .seed = 120),
         .n = 40,
         .kv = KV_F32},
        {.name = "a narrow one, then experts",
         .shape = SHAPE(4, 2, 16, EXPERTS(2, 5, 2, 24), .layer_ff = {8, 120}, .biases = true,
                        .more = PART_BIT(PART_FFN_BIAS), .changed = 1, .seed = 121),
         .n = 40,
         .kv = KV_F32},
        {.name = "more heads, the same groups",
         .shape = SHAPE(4, 2, 16, .layer_heads = {0, 10}, .layer_kv_heads = {0, 5}, .seed = 122),
         .n = 60,
         .kv = KV_F32},
        {.name = "fewer kv heads, of larger groups",
         .shape = SHAPE(12, 4, 16, .layer_kv_heads = {0, 1}, .biases = true, .seed = 123),
         .n = 60,
         .kv = KV_F32},
        {.name = "all sizes by layer, norms over all heads",
         .shape = SHAPE(4, 4, 24, .rope = ROPE_HALVES, .layer_heads = {3, 8},
                        .layer_kv_heads = {1, 2}, .layer_ff = {24, 136}, .window = 9, .windowed = 2,
                        .post_norms = true, .more = PART_BIT(PART_QK_NORM_WIDE),
                        .less = PART_BIT(PART_PRE_NORM), .seed = 124),
         .n = 60,
         .kv = KV_F32},
        {.name = "one token", .shape = SHAPE(2, 1, 16, .seed = 5), .n = 6, .kv = KV_F32},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        check_case(&cases[i]);
}

static void copy_expert(struct tensor *t, uint32_t from, uint32_t to)
{
    char *data = (char *)(uintptr_t)t->data;
    size_t bytes = t->rows * dtype_row_bytes(t->type, t->cols);
    memcpy(data + to * bytes, data + from * bytes, bytes);
}

/* The router cannot tell two experts apart: the first of them is taken. A reference that takes the
 * other is another model. */
static void test_ties(void **state)
{
    static const struct forward_case c = {
        .name = "ties", .shape = SHAPE(4, 2, 16, EXPERTS(3, 2, 1, 40), .seed = 116), .n = 30};
    struct model *m = model_random(&c.shape), *last = model_random(&c.shape);
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct model_layer *l = &m->layers[i], *other = &last->layers[i];
        float *router = (float *)(uintptr_t)l->w_router.data;
        memcpy(router + l->w_router.cols, router, l->w_router.cols * sizeof(*router));
        copy_expert(&other->w_gate_experts, 1, 0);
        copy_expert(&other->w_up_experts, 1, 0);
        copy_expert(&other->w_down_experts, 1, 0);
        memcpy((float *)(uintptr_t)other->w_router.data, router,
               2 * l->w_router.cols * sizeof(*router));
    }
    double first = worst_difference(&c, m, m), other = worst_difference(&c, m, last);
    print_message("ties: %.1e, to the last %.1e\n", first, other);
    assert_true(first <= tolerance(c.kv) && other > 3 * tolerance(c.kv));
    model_random_free(m);
    model_random_free(last);
}

/* A reference that adds biases before it scales, and one that takes the next expert's scale, are
 * other models. */
static void test_scales(void **state)
{
    static const struct forward_case c = {
        .name = "scales",
        .shape = SHAPE(4, 2, 16, EXPERTS(2, 4, 2, 40), .biases = true, .scaled = true,
                       .more = PART_BIT(PART_O_BIAS) | PART_BIT(PART_FFN_BIAS), .changed = 1,
                       .seed = 122),
        .n = 30};
    struct model *m = model_random(&c.shape), *late = model_random(&c.shape);
    struct model *next = model_random(&c.shape);
    struct model_layer *experts = &next->layers[1];
    struct tensor *of_experts[] = {&experts->w_gate_experts, &experts->w_up_experts,
                                   &experts->w_down_experts};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct model_layer *l = &late->layers[i];
        const struct tensor *of[] = {&l->wq, &l->wk, &l->wv, &l->wo, &l->w_down};
        struct tensor *biases[] = {&l->bq, &l->bk, &l->bv, &l->bo, &l->b_down};
        for (size_t j = 0; j < COUNT_OF(of); j++) {
            for (uint32_t e = 0; biases[j]->data && e < biases[j]->cols; e++)
                ((float *)(uintptr_t)biases[j]->data)[e] *= *of[j]->scale;
        }
    }
    for (int i = 0; i < 3; i++) {
        float *scale = (float *)(uintptr_t)of_experts[i]->scale, first = scale[0];
        for (int e = 0; e < 4; e++)
            scale[e] = e < 3 ? scale[e + 1] : first;
    }
    double none = worst_difference(&c, m, m), biased = worst_difference(&c, m, late);
    double other = worst_difference(&c, m, next);
    print_message("scales: %.1e, behind biases %.1e, of another expert %.1e\n", none, biased,
                  other);
    assert_true(none <= tolerance(c.kv) && biased > 3 * tolerance(c.kv) &&
                other > 3 * tolerance(c.kv));
    model_random_free(m);
    model_random_free(late);
    model_random_free(next);
}

static void test_heads(void **state)
{
    (void)state;
    static const struct forward_case cases[] = {
        {.name = "group 1, D 64", .shape = SHAPE(2, 2, 64, .seed = 1), .n = 70, .kv = KV_F32},
        {.name = "group 2, D 80", .shape = SHAPE(4, 2, 80, .seed = 2), .n = 70, .kv = KV_F32},
        {.name = "group 3, D 64", .shape = SHAPE(9, 3, 64, .seed = 3), .n = 70, .kv = KV_F32},
        {.name = "group 4, D 128", .shape = SHAPE(4, 1, 128, .seed = 4), .n = 70, .kv = KV_F32},
        {.name = "group 8, D 64", .shape = SHAPE(8, 1, 64, .seed = 5), .n = 70, .kv = KV_F32},
        {.name = "group 40, D 8", .shape = SHAPE(40, 1, 8, .seed = 6), .n = 70, .kv = KV_F32},
        {.name = "D 12",
         .shape = SHAPE(4, 2, 12, .seed = 7),
         .n = 70,
         .kv = KV_F32,
         .only = ON_CPU},
        {.name = "D 256", .shape = SHAPE(2, 1, 256, .seed = 8), .n = 70, .kv = KV_F32},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        check_case(&cases[i]);
}

static void test_long_texts(void **state)
{
    (void)state;
    static const struct forward_case cases[] = {
        {.name = "257 tokens", .shape = SHAPE(4, 2, 16, .seed = 1), .n = 257, .kv = KV_F32},
        {.name = "259 tokens, bf16", .shape = SHAPE(4, 2, 16, .seed = 2), .n = 259, .kv = KV_BF16},
        {.name = "500 tokens, group 3",
         .shape = SHAPE(9, 3, 16, .seed = 3),
         .n = 500,
         .kv = KV_F32},
        {.name = "500 tokens, window of 300",
         .shape = SHAPE(9, 3, 16, .window = 300, .windowed = 2, .seed = 5),
         .n = 500,
         .kv = KV_F32},
        {.name = "505 tokens, window of 60, bf16",
         .shape = SHAPE(4, 2, 64, .window = 60, .windowed = 1, .seed = 6),
         .n = 505,
         .kv = KV_BF16},
        {.name = "500 tokens, heads by layer, bf16",
         .shape = SHAPE(4, 2, 64, .layer_heads = {9, 0}, .layer_kv_heads = {1, 4}, .window = 300,
                        .windowed = 2, .seed = 7),
         .n = 500,
         .kv = KV_BF16},
        {.name = "500 tokens, bf16", .shape = SHAPE(9, 3, 64, .seed = 4), .n = 500, .kv = KV_BF16},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        check_case(&cases[i]);
}

/* On the CPU, integer weights once with float activations, which lose nothing, and once with those
 * of 8 bits. These move each x by up to 1/254 of the largest of its 32. Observed: .009 to .029. */
static void test_weight_types(void **state)
{
    (void)state;
    for (int t = 0; t < DT_COUNT; t++) {
        struct forward_case c = {.name = dtype_name((enum dtype)t),
                                 .shape = SHAPE(4, 2, 64, .untied = true, .seed = 107),
                                 .n = 20,
                                 .kv = KV_F32};
        c.shape.type = (enum dtype)t;
        c.shape.n_embd = c.shape.n_ff = 256;
        c.activations = rig_is_cpu() ? ACTIVATIONS_F32 : ACTIVATIONS_INT8;
        c.shape.scaled = t % 2;
        check_case(&c);
        struct forward_case experts = c; /* who is chosen may hang on a bit: no activations of 8 */
        experts.name = "  experts";
        experts.shape.experts = 3;
        experts.shape.n_experts = 6;
        experts.shape.n_experts_used = 2;
        experts.shape.n_ff_expert = experts.shape.n_ff_shared = 256;
        experts.shape.scaled = t % 2 == 0;
        if (rig_is_cpu() || t == DT_Q8_0 || t == DT_F8_ROW)
            check_case(&experts);
        if (!rig_is_cpu() || dtype_block((enum dtype)t) == 1)
            continue;
        c.name = "  activations of 8 bits";
        c.activations = ACTIVATIONS_INT8;
        c.tolerance = 5e-2;
        check_case(&c);
    }
}

/* The draft's logits: rows of a prompt and a step, over layers of the target or a model of its
 * own sizes. */
static void check_draft(const struct device_setup *setup, const struct model *m,
                        const uint32_t *layers, uint32_t n_layers)
{
    enum { N = 30 };
    struct rig *r = rig_new(setup, 3);
    struct sample_params params = rig_params();
    int32_t *tokens = random_text(N, m->n_vocab, 9);
    double *want = xcalloc((size_t)N * m->n_vocab, sizeof(*want));
    const double *row = want + (size_t)(N - 1) * m->n_vocab;
    reference_forward(m, layers, n_layers, tokens, N, false, want);
    rig_slot(r, 0, &params, tokens, N, 512);
    rig_prefill(r, 0, MODEL_TARGET, 0, N - 1, 16);
    rig_prefill(r, 0, MODEL_DRAFT, 0, N - SPECD_DRAFT_LAG_MAX, 16);
    rig_clear(r);
    rig_seq(r, 0, 1);
    rig_run(r);
    double worst = largest_difference(rig_logits(r, MODEL_DRAFT, 0, 0), row, m->n_vocab);
    assert_true(worst <= tolerance(KV_F32) * largest(row, m->n_vocab));
    free(want);
    free(tokens);
    rig_free(r);
}

static void test_drafts(void **state)
{
    static const uint32_t layers[] = {0, 2};
    const struct model_shape large = {.n_layers = 3,
                                      .n_heads = 6,
                                      .n_kv_heads = 2,
                                      .head_dim = 16,
                                      .n_embd = 64,
                                      .n_ff = 96,
                                      .layer_heads = {0, 2, 9},
                                      .layer_kv_heads = {0, 2, 3},
                                      .layer_ff = {0, 8, 200},
                                      .n_vocab = 67,
                                      .seed = 1};
    const struct model_shape small = {.n_layers = 2,
                                      .n_heads = 2,
                                      .n_kv_heads = 2,
                                      .head_dim = 24,
                                      .n_embd = 32,
                                      .n_ff = 160,
                                      .layer_kv_heads = {1, 0},
                                      .n_vocab = 64,
                                      .rope = ROPE_HALVES,
                                      .seed = 2};
    struct model *target = model_random(&large), *draft = model_random(&small);
    struct device_setup setup = rig_setup(target, NULL);
    (void)state;
    setup.self_layers = layers;
    setup.n_self_layers = COUNT_OF(layers);
    check_draft(&setup, target, layers, COUNT_OF(layers));
    setup = rig_setup(target, draft);
    check_draft(&setup, draft, NULL, 0);
    model_random_free(target);
    model_random_free(draft);
}

/* Kept types that lose nothing of the file's. */
static void test_kept_types(void **state)
{
    (void)state;
    struct forward_case c = {.name = "q4_1 kept as f32",
                             .shape = SHAPE(4, 2, 16, .type = DT_Q4_1, .seed = 108),
                             .n = 20,
                             .kv = KV_F32,
                             .weights = WEIGHT_F32,
                             .only = ON_CPU};
    check_case(&c);
    c.name = "bf16 kept as bf16";
    c.shape.type = DT_BF16;
    c.weights = WEIGHT_BF16;
    c.only = ON_ALL;
    check_case(&c);
}

/* Types that lose something of every weight: e4m3 up to 2^-4 of it, 4-bit groups 1/14 of the
 * group's largest, int8 1/254; fp8 KV 2^-4. The models are small, so little averages out. Observed:
 * fp8 0.084, int4 0.26, fp8 KV 0.054, int8 0.017; on the CPU 0.029, as activations have 8 bits
 * there. */
static void test_lossy_types(void **state)
{
    (void)state;
    struct forward_case c = {.name = "fp8",
                             .shape = SHAPE(4, 2, 64, .type = DT_F32, .seed = 109),
                             .n = 40,
                             .kv = KV_BF16,
                             .weights = WEIGHT_FP8};
    c.only = ON_GPU;
    c.tolerance = 0.15;
    check_case(&c);
    c.name = "int4";
    c.weights = WEIGHT_INT4;
    c.tolerance = 0.4;
    check_case(&c);
    c.name = "bf16 weights, fp8 KV";
    c.weights = WEIGHT_BF16;
    c.kv = KV_FP8;
    c.tolerance = 0.1;
    check_case(&c);
    c.name = "int8";
    c.weights = WEIGHT_Q8_0;
    c.kv = KV_BF16;
    c.only = ON_ALL;
    c.tolerance = rig_is_cpu() ? 5e-2 : 3e-2;
    check_case(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_architectures), cmocka_unit_test(test_ties),
        cmocka_unit_test(test_scales),        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_long_texts),    cmocka_unit_test(test_weight_types),
        cmocka_unit_test(test_kept_types),    cmocka_unit_test(test_lossy_types),
        cmocka_unit_test(test_drafts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
