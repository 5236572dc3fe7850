/*
 * Sizes and refusals of the device: what plan says is what is allocated, and what cannot work is
 * refused by name.
 *
 * links: device_tests specd_cpu
 * labels: hostile
 */
#include "device/rig.h"
#include "device_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct model_shape shape = {.n_layers = 3,
                                         .n_heads = 6,
                                         .n_kv_heads = 2,
                                         .head_dim = 20,
                                         .n_embd = 64,
                                         .n_ff = 96,
                                         .layer_kv_heads = {0, 3, 0},
                                         .n_vocab = 61,
                                         .untied = true,
                                         .biases = true,
                                         .qk_norms = true,
                                         .type = DT_BF16,
                                         .seed = 1};
static const uint32_t layers[] = {0, 2};

struct fixture {
    struct model *model, *draft;
    struct device *dev; /* opened, for plans */
};

static void check_allocation(const struct device_setup *setup)
{
    struct rig *r = rig_new(setup, 1);
    struct device *d = r->dev;
    for (int i = 0; i < MODEL_ROLES; i++)
        assert_int_equal(d->weights[i].used, r->plan.weights_bytes[i]);
    assert_int_equal(d->slot_arena.used, r->plan.slot_bytes);
    assert_int_equal(d->activation_arena.used, r->plan.activation_bytes);
    assert_int_equal(d->workspace_arena.used, r->plan.workspace_bytes);
    assert_int_equal(d->kv_arena.used, r->plan.block_bytes * (uint64_t)d->kv.n_blocks);
    rig_free(r);
}

static void test_plan_is_what_is_allocated(void **state)
{
    struct fixture *f = *state;
    struct device_setup setup = rig_setup(f->model, NULL);
    check_allocation(&setup);
    setup.self_layers = layers;
    setup.n_self_layers = COUNT_OF(layers);
    setup.threads = 3;
    check_allocation(&setup);
    setup = rig_setup(f->model, f->draft);
    setup.kv = KV_BF16;
    setup.weights[MODEL_DRAFT] = WEIGHT_Q8_0;
    setup.n_slots = 7;
    setup.max_rows = 3;
    check_allocation(&setup);
}

static void test_block_bytes(void **state)
{
    struct fixture *f = *state;
    struct device_setup setup = rig_setup(f->model, NULL);
    struct device_plan plan;
    char err[256];
    /* Of a kv head, keys of D = 20 for at least 16 positions, values of 20 rounded up to 32. */
    uint64_t elements = 20 * 16 + 32 * SPECD_BLOCK_TOKENS;
    assert_int_equal(cpu_device_ops.plan(f->dev, &setup, &plan, err, sizeof(err)), 0);
    assert_int_equal(plan.block_bytes, (2 + 3 + 2) * elements * 4);
    setup.kv = KV_BF16;
    setup.n_self_layers = COUNT_OF(layers);
    setup.self_layers = layers;
    assert_int_equal(cpu_device_ops.plan(f->dev, &setup, &plan, err, sizeof(err)), 0);
    assert_int_equal(plan.block_bytes, (2 + 3 + 2 + 2 + 2) * elements * 2);
    assert_int_equal(plan.weights_bytes[MODEL_DRAFT], 0);
}

/* Laws of the draft model are sized by its own bound, not by the host's longer drafts. */
static void test_draft_logits(void **state)
{
    struct fixture *f = *state;
    struct device_setup setup = rig_setup(f->model, f->draft);
    struct device_plan all, few;
    char err[256];
    setup.n_slots = 7;
    setup.k_max = SPECD_K_MAX;
    assert_int_equal(cpu_device_ops.plan(f->dev, &setup, &all, err, sizeof(err)), 0);
    setup.k_draft = 1;
    assert_int_equal(cpu_device_ops.plan(f->dev, &setup, &few, err, sizeof(err)), 0);
    uint64_t logits = (uint64_t)7 * (SPECD_K_MAX - 1) * f->draft->n_vocab * sizeof(float);
    assert_true(all.activation_bytes + all.workspace_bytes >=
                few.activation_bytes + few.workspace_bytes + logits);
}

static void refused(const struct fixture *f, const struct device_setup *setup, const char *names)
{
    struct device_plan plan;
    char err[256] = "";
    int rc = cpu_device_ops.plan(f->dev, setup, &plan, err, sizeof(err));
    if (rc != SPECD_EINVAL || !strstr(err, names))
        print_error("expected a refusal that names \"%s\", got %d \"%s\"\n", names, rc, err);
    assert_int_equal(rc, SPECD_EINVAL);
    assert_non_null(strstr(err, names));
}

static void test_setups_that_cannot_work(void **state)
{
    static const uint32_t too_high[] = {1, 3}, not_ascending[] = {1, 1};
    struct fixture *f = *state;
    struct device_setup ok = rig_setup(f->model, NULL), s = ok;
    s.models[MODEL_TARGET] = NULL;
    refused(f, &s, "target");
    s = ok, s.kv = KV_FP8;
    refused(f, &s, "fp8");
    s = ok, s.weights[MODEL_TARGET] = WEIGHT_INT4;
    refused(f, &s, "int4");
    s = ok, s.n_slots = SPECD_SLOTS_MAX + 1;
    refused(f, &s, "slots");
    s = ok, s.n_ctx = 0;
    refused(f, &s, "context");
    s = ok, s.max_rows = 0;
    refused(f, &s, "rows");
    s = ok, s.k_max = SPECD_K_MAX + 1;
    refused(f, &s, "draft");
    s = ok, s.self_layers = too_high, s.n_self_layers = 2;
    refused(f, &s, "layer 3");
    s.self_layers = not_ascending;
    refused(f, &s, "ascending");
    s.models[MODEL_DRAFT] = f->draft;
    refused(f, &s, "both");
}

static void refused_model(const struct fixture *f, const struct model *m, const char *names)
{
    struct device_setup s = rig_setup(f->model, m);
    refused(f, &s, names);
    s = rig_setup(m, NULL);
    refused(f, &s, names);
}

static void test_models_that_cannot_work(void **state)
{
    struct fixture *f = *state;
    struct model m = *f->model;
    struct model_layer bad[3];
    memcpy(bad, f->model->layers, sizeof(bad));
    m.n_layers = MODEL_LAYERS_MAX + 1;
    refused_model(f, &m, "layer count 257");
    m = *f->model, m.n_vocab = SPECD_VOCAB_MAX + 1;
    refused_model(f, &m, "vocabulary size");
    m = *f->model, m.head_dim = MODEL_HEAD_DIM_MAX + 2;
    refused_model(f, &m, "head size 258");
    m = *f->model, m.rope_dim = 22;
    refused_model(f, &m, "rope dimension count 22");
    m = *f->model, m.output.rows--;
    refused_model(f, &m, "output");
    m = *f->model, m.layers = bad;
    bad[1].n_kv_heads = 4;
    refused_model(f, &m, "layer 1: head count 6 is no multiple of the key/value head count 4");
    bad[1].n_kv_heads = 0;
    refused_model(f, &m, "layer 1: key/value head count 0");
    bad[1].n_kv_heads = 6;
    refused_model(f, &m, "layer 1: wk is ");
    bad[1].n_kv_heads = 3;
    bad[2].n_heads = 1026;
    refused_model(f, &m, "layer 2: head count 1026");
    bad[2].n_heads = 6;
    bad[1].n_ff = 1u << 30;
    refused_model(f, &m, "layer 1: feed-forward size 1073741824");
    bad[1].n_ff = 88;
    refused_model(f, &m, "layer 1: w_gate is 96 x 64, expected 88 x 64");
    bad[1].n_ff = 96;
    bad[2].wv.cols++;
    refused_model(f, &m, "layer 2: wv");
    bad[2].wv.cols--;
    bad[1].ffn_norm.data = NULL;
    refused_model(f, &m, "layer 1: ffn_norm is missing");
    bad[1].ffn_norm = bad[0].ffn_norm;
    bad[0].w_down.type = DT_Q4_K;
    refused_model(f, &m, "w_down");

    struct device_setup q8 = rig_setup(f->model, NULL); /* 120 columns are no whole blocks */
    q8.weights[MODEL_TARGET] = WEIGHT_Q8_0;
    refused(f, &q8, "target: layer 0: wo: rows of 120");
}

/* The order of calls, and slots that would be read out of bounds. */
static void test_calls_that_do_not_fit(void **state)
{
    struct fixture *f = *state;
    struct device_setup setup = rig_setup(f->model, NULL);
    const struct device_ops *ops = &cpu_device_ops;
    char err[256];
    assert_int_equal(ops->pool_create(f->dev, 8, 0, NULL, NULL, err, sizeof(err)), SPECD_EINVAL);
    struct round round = {.n_seqs = 0};
    assert_int_equal(ops->begin(f->dev, &round), SPECD_EINVAL);

    struct rig *r = rig_new(&setup, 1);
    int32_t tokens[] = {1, 2, 61}, block = r->n_free;
    struct slot_config ok = {
        .params = rig_params(), .tokens = tokens, .n_tokens = 2, .n_prompt = 2, .limit = 10};
    struct slot_config c = ok;
    assert_int_equal(ops->slot_set(r->dev, 0, &c), 0);
    assert_int_equal(ops->slot_set(r->dev, 4, &c), SPECD_EINVAL);
    c.n_tokens = 3;
    assert_int_equal(ops->slot_set(r->dev, 0, &c), SPECD_EINVAL);
    c = ok, c.limit = 513;
    assert_int_equal(ops->slot_set(r->dev, 0, &c), SPECD_EINVAL);
    c = ok, c.rows[MODEL_TARGET] = 2;
    assert_int_equal(ops->slot_set(r->dev, 0, &c), SPECD_EINVAL);
    c = ok, c.n_tokens = 0;
    assert_int_equal(ops->slot_set(r->dev, 0, &c), SPECD_EINVAL);
    c = ok, c.params.n_bias = 1, c.params.bias_ids = tokens + 2;
    assert_int_equal(ops->slot_set(r->dev, 0, &c), SPECD_EINVAL);
    assert_int_equal(ops->slot_blocks(r->dev, 0, 0, 1, &block), SPECD_EINVAL);
    block--;
    assert_int_equal(ops->slot_blocks(r->dev, 0, 512 / SPECD_BLOCK_TOKENS, 1, &block),
                     SPECD_EINVAL);
    assert_int_equal(ops->slot_blocks(r->dev, 0, 0, 1, &block), 0);
    assert_int_equal(ops->model_load(r->dev, &setup, NULL, NULL, err, sizeof(err)), SPECD_EINVAL);
    rig_free(r);
}

struct progress {
    uint64_t last[MODEL_ROLES], total[MODEL_ROLES];
};

static void on_progress(void *arg, enum model_role role, uint64_t done, uint64_t total)
{
    struct progress *p = arg;
    assert_true(done >= p->last[role] && done <= total);
    p->last[role] = done;
    p->total[role] = total;
}

static void test_open_and_load(void **state)
{
    struct fixture *f = *state;
    struct device_setup setup = rig_setup(f->model, f->draft);
    struct progress progress = {{0}, {0}};
    struct device_info info;
    struct device *dev;
    char err[256];
    setup.threads = 0;
    assert_int_equal(cpu_device_ops.open(&dev, -1, err, sizeof(err)), 0);
    cpu_device_ops.describe(dev, &info);
    assert_int_equal(info.rounds_in_flight, 1);
    assert_true(info.memory_free_bytes > 0 && info.memory_free_bytes <= info.memory_bytes);
    assert_true(info.read_bandwidth > 1e8 && info.read_bandwidth < 1e13);
    assert_true(strlen(info.name) > 0);
    assert_int_equal(
        cpu_device_ops.model_load(dev, &setup, on_progress, &progress, err, sizeof(err)), 0);
    for (int i = 0; i < MODEL_ROLES; i++)
        assert_true(progress.total[i] > 0 && progress.last[i] == progress.total[i]);
    cpu_device_ops.close(dev);
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    struct model_shape small = shape;
    char err[256];
    small.n_layers = 1;
    small.head_dim = 32;
    f->model = model_random(&shape);
    f->draft = model_random(&small);
    *state = f;
    return cpu_device_ops.open(&f->dev, -1, err, sizeof(err));
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    cpu_device_ops.close(f->dev);
    model_random_free(f->model);
    model_random_free(f->draft);
    free(f);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_is_what_is_allocated),
        cmocka_unit_test(test_block_bytes),
        cmocka_unit_test(test_draft_logits),
        cmocka_unit_test(test_setups_that_cannot_work),
        cmocka_unit_test(test_models_that_cannot_work),
        cmocka_unit_test(test_calls_that_do_not_fit),
        cmocka_unit_test(test_open_and_load),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
