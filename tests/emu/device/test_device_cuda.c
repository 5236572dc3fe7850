/*
 * The CUDA device's own ways to fail and to hurry, on the emulator: what it allocates is what it
 * planned, memory that is not there, faults in the middle of a round, two rounds in flight over
 * sequences that end in the first.
 */
#include "device/rig.h"
#include "seeded.h"

/* Both devices have a header of this name. */
#include "../../../cuda/device_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PROMPT PAIR_PROMPT_LEN

static struct model_pair *pair;

static struct device_setup setup_make(void)
{
    struct device_setup s = rig_setup(pair->target, pair->draft);

    s.n_ctx = 96;
    s.k_max = MIN(3, SPECD_K_MAX);
    return s;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static uint64_t planned(const struct device_plan *p, int32_t n_blocks)
{
    return p->weights_bytes[MODEL_TARGET] + p->weights_bytes[MODEL_DRAFT] + p->activation_bytes +
           p->slot_bytes + p->workspace_bytes + p->graph_bytes +
           (p->block_bytes + p->window_block_bytes) * (uint64_t)n_blocks;
}

/* The plan rounds every part up. */
static void test_plan_is_what_is_taken(void **state)
{
    struct device_setup setup = setup_make();
    size_t before = emu_memory_in_use();
    struct rig *r = rig_new(&setup, 1);
    uint64_t plan = planned(&r->plan, r->n_free);

    (void)state;
    assert_in_range(emu_memory_in_use() - before, plan / 2, plan);
    assert_true(r->plan.graph_bytes > 0);
    rig_free(r);
    assert_int_equal(emu_memory_in_use(), before);
}

/* Nothing more is taken by rounds, the first of each graph included. */
static void test_rounds_take_nothing(void **state)
{
    struct device_setup setup = setup_make();
    struct sample_params params = rig_params();
    struct rig *r = rig_new(&setup, 2);
    size_t taken = emu_memory_in_use();

    (void)state;
    for (int32_t i = 0; i < 2; i++)
        rig_slot(r, i, &params, pair->prompts[i], PROMPT, 90);
    for (int32_t i = 0; i < 2; i++) {
        rig_prefill(r, i, MODEL_TARGET, 0, PROMPT - 1, 64);
        rig_prefill(r, i, MODEL_DRAFT, 0, PROMPT - 1, 64);
    }
    for (int32_t n = 1; n <= 2; n++) {
        for (int32_t k = 0; k <= setup.k_max; k++) {
            rig_clear(r);
            for (int32_t i = 0; i < n; i++)
                rig_seq(r, i, k);
            rig_run(r);
        }
    }
    assert_int_equal(emu_memory_in_use(), taken);
    rig_free(r);
}

/* Whatever does not fit, the reason is told and nothing is left behind. */
static void test_no_memory(void **state)
{
    struct device_setup setup = setup_make();
    size_t before = emu_memory_in_use();
    struct rig *r = rig_new(&setup, 1);
    uint64_t plan = planned(&r->plan, r->n_free);
    int32_t n_blocks = r->n_free;
    int refused = 0;

    (void)state;
    rig_free(r);
    for (uint64_t limit = plan / 16; limit < plan; limit += plan / 16) {
        struct device *dev;
        char err[256] = "";

        assert_int_equal(cuda_device_ops.open(&dev, -1, err, sizeof(err)), 0);
        emu_memory_limit(before + limit);
        int rc = cuda_device_ops.model_load(dev, &setup, NULL, NULL, err, sizeof(err));

        if (rc == 0)
            rc = cuda_device_ops.pool_create(dev, n_blocks, 0, NULL, NULL, err, sizeof(err));
        if (rc != 0) {
            assert_int_equal(rc, SPECD_ENOMEM);
            assert_non_null(strstr(err, "memory"));
            refused++;
        }
        cuda_device_ops.close(dev);
        emu_memory_limit((size_t)1 << 30);
        assert_int_equal(emu_memory_in_use(), before);
    }
    assert_true(refused >= 6);
}

/* A load that failed may be tried again, once there is memory. */
static void test_load_again(void **state)
{
    struct device_setup setup = setup_make();
    size_t before = emu_memory_in_use();
    struct device_plan plan;
    struct device *dev;
    char err[256] = "";

    (void)state;
    assert_int_equal(cuda_device_ops.open(&dev, -1, err, sizeof(err)), 0);
    assert_int_equal(cuda_device_ops.plan(dev, &setup, &plan, err, sizeof(err)), 0);
    for (int i = 1; i <= 3; i++) { /* within the target, within the draft, enough */
        uint64_t room = i == 1   ? plan.weights_bytes[MODEL_TARGET] / 2
                        : i == 2 ? plan.weights_bytes[MODEL_TARGET] + 1024
                                 : (uint64_t)1 << 29;

        emu_memory_limit(before + room);
        int rc = cuda_device_ops.model_load(dev, &setup, NULL, NULL, err, sizeof(err));

        assert_int_equal(rc, i == 3 ? 0 : SPECD_ENOMEM);
        if (rc != 0)
            assert_int_equal(emu_memory_in_use(), before);
    }
    assert_int_equal(cuda_device_ops.pool_create(dev, 8, 0, NULL, NULL, err, sizeof(err)), 0);
    cuda_device_ops.close(dev);
    emu_memory_limit((size_t)1 << 30);
    assert_int_equal(emu_memory_in_use(), before);
}

/* What could not be had while the bandwidth was measured is no fault of a later launch. */
static void test_open_without_memory(void **state)
{
    struct device_setup setup = setup_make();
    size_t before = emu_memory_in_use();
    struct device_info info;
    struct device *dev;
    char err[256] = "";

    (void)state;
    emu_memory_limit(before + 2); /* not even a number's */
    assert_int_equal(cuda_device_ops.open(&dev, -1, err, sizeof(err)), 0);
    emu_memory_limit((size_t)1 << 30);
    cuda_device_ops.describe(dev, &info);
    assert_true(info.read_bandwidth == 0.0);
    assert_int_equal(cuda_device_ops.model_load(dev, &setup, NULL, NULL, err, sizeof(err)), 0);
    assert_int_equal(cuda_device_ops.pool_create(dev, 8, 0, NULL, NULL, err, sizeof(err)), 0);
    cuda_device_ops.close(dev);
}

/* ---- shapes ---------------------------------------------------------------------------------- */

/* Attention packs passes of one or two rows to a sequence tightly: such shapes are not padded. */
static void test_shapes_of_few_rows(void **state)
{
    struct round_shape shapes[GRAPHS_MAX];
    struct device_setup setup = setup_make();

    (void)state;
    for (int32_t n_slots = 1; n_slots <= 16; n_slots *= 4) {
        setup.n_slots = n_slots;
        int n = graph_shapes(shapes, &setup, true);

        assert_in_range(n, 1, GRAPHS_MAX);
        for (int32_t k = 0; k <= 1; k++) {
            struct round_shape want = {n_slots, k, n_slots * (k + 1)};
            bool found = false;

            for (int i = 0; i < n; i++)
                found = found || memcmp(&shapes[i], &want, sizeof(want)) == 0;
            assert_true(found);
        }
    }
}

/* Long drafts of the host take no graphs from those of a model: the largest batch has its own. */
static void test_shapes_of_long_drafts(void **state)
{
    struct round_shape shapes[GRAPHS_MAX];
    struct device_setup setup = setup_make();
    bool found = false;

    (void)state;
    setup.n_slots = 256;
    setup.k_max = 15;
    setup.k_draft = 8;
    int n = graph_shapes(shapes, &setup, true);

    for (int i = 0; i < n; i++) {
        assert_true(shapes[i].n_steps <= 8);
        found = found || (shapes[i].n_seqs == 256 && shapes[i].n_steps == 8);
    }
    assert_true(found);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void test_refusals(void **state)
{
    struct device_setup setup = setup_make();
    struct device_plan plan;
    struct device *dev;
    char err[256] = "";

    (void)state;
    assert_int_equal(cuda_device_ops.open(&dev, -1, err, sizeof(err)), 0);
    setup.max_rows = 65535;
    assert_int_equal(cuda_device_ops.plan(dev, &setup, &plan, err, sizeof(err)), 0);
    setup.max_rows = 65536; /* grids are not that high */
    assert_int_equal(cuda_device_ops.plan(dev, &setup, &plan, err, sizeof(err)), SPECD_EINVAL);
    assert_non_null(strstr(err, "65535"));
    setup = setup_make();
    setup.activations = ACTIVATIONS_F32;
    assert_int_equal(cuda_device_ops.plan(dev, &setup, &plan, err, sizeof(err)), SPECD_EINVAL);
    assert_non_null(strstr(err, "activations"));
    cuda_device_ops.close(dev);
}

/* Devices before sm_90 have less, and some of sm_8x much less. */
static void test_little_shared_memory(void **state)
{
    static const struct {
        uint32_t head_dim;
        enum kv_type kv;
        size_t kib; /* of a block */
        bool fits;
    } table[] = {
        {256, KV_F32, 227, true}, {256, KV_F32, 163, false}, {256, KV_BF16, 163, true},
        {256, KV_FP8, 99, false}, {128, KV_BF16, 99, true},  {128, KV_FP8, 99, true},
        {128, KV_F32, 99, false},
    };
    struct device *dev;
    char err[256];

    (void)state;
    assert_int_equal(cuda_device_ops.open(&dev, -1, err, sizeof(err)), 0);
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct model_shape shape = pair_shape;
        struct device_plan plan;

        shape.head_dim = table[i].head_dim;
        shape.rope_dim = 0;
        struct model *model = model_random(&shape);
        struct device_setup setup = rig_setup(model, NULL);

        setup.kv = table[i].kv;
        dev->machine.product.shared_block = table[i].kib << 10;
        int rc = cuda_device_ops.plan(dev, &setup, &plan, err, sizeof(err));

        assert_int_equal(rc, table[i].fits ? 0 : SPECD_EINVAL);
        if (rc != 0)
            assert_non_null(strstr(err, "shared memory"));
        model_random_free(model);
    }
    cuda_device_ops.close(dev);
}

/* ---- faults ---------------------------------------------------------------------------------- */

struct outcome {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int n_done;
};

static void on_done(void *arg)
{
    struct outcome *o = arg;

    pthread_mutex_lock(&o->lock);
    o->n_done++;
    pthread_cond_signal(&o->cond);
    pthread_mutex_unlock(&o->lock);
}

static struct device *device_make(const struct device_setup *setup, struct outcome *o)
{
    struct device *dev;
    char err[256];

    assert_int_equal(cuda_device_ops.open(&dev, 0, err, sizeof(err)), 0);
    assert_int_equal(cuda_device_ops.model_load(dev, setup, NULL, NULL, err, sizeof(err)), 0);
    assert_int_equal(cuda_device_ops.pool_create(dev, 64, 0, on_done, o, err, sizeof(err)), 0);
    return dev;
}

static int prompt_round(struct device *dev)
{
    static const int32_t blocks[] = {3, 1, 2, 0, 5, 4};
    struct sample_params params = rig_params();
    struct slot_config config = {.params = params,
                                 .tokens = pair->prompts[0],
                                 .n_tokens = PROMPT,
                                 .n_prompt = PROMPT,
                                 .limit = PROMPT + 3};
    struct round *round = xcalloc(1, sizeof(*round));
    const struct device_ops *ops = &cuda_device_ops;

    round->synthetic_acceptance = -1.0f;
    round->n_chunks = 1;
    round->chunks[0] = (struct round_chunk){0, MODEL_TARGET, 0, PROMPT - 1, false};
    assert_int_equal(ops->slot_set(dev, 0, &config), 0);
    assert_int_equal(ops->slot_blocks(dev, 0, 0, COUNT_OF(blocks), blocks), 0);
    int rc = ops->begin(dev, round);

    if (rc == 0)
        rc = ops->forward(dev, MODEL_TARGET, ROWS_PROMPT, 0);
    if (rc == 0)
        rc = ops->end(dev);
    free(round);
    return rc;
}

/* A fault is told by the verb that meets it or by poll, never by silence, and close still works. */
static void test_fault(void **state)
{
    struct device_setup setup = setup_make();
    int told_by_poll = 0, rc = SPECD_EDEVICE;

    (void)state;
    for (long n = 1; rc != 1; n += 3) { /* until the round is over before the fault */
        struct outcome o = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
        struct device *dev = device_make(&setup, &o);

        emu_fault_after(n, cudaErrorIllegalAddress);
        rc = prompt_round(dev);
        assert_true(rc == 0 || rc == SPECD_EDEVICE);
        if (rc == 0) {
            pthread_mutex_lock(&o.lock);
            while (o.n_done == 0)
                pthread_cond_wait(&o.cond, &o.lock);
            pthread_mutex_unlock(&o.lock);
            rc = cuda_device_ops.poll(dev);
            told_by_poll += rc < 0;
        }
        assert_true(rc == SPECD_EDEVICE || (rc == 1 && n > 20));
        cuda_device_ops.close(dev);
        emu_fault_after(0, cudaSuccess);
    }
    assert_true(told_by_poll > 0);
}

/* ---- time ------------------------------------------------------------------------------------ */

/* The device's clock may be set back: then a part of a round took no time, not centuries. */
static void test_clock_set_back(void **state)
{
    const uint64_t future = (uint64_t)1 << 63, minute = 60000000000;
    struct device_setup setup = setup_make();
    struct sample_params params = rig_params();
    struct rig *r = rig_new(&setup, 2);

    (void)state;
    rig_slot(r, 0, &params, pair->prompts[0], PROMPT, 90);
    rig_prefill(r, 0, MODEL_TARGET, 0, PROMPT - 1, 64);
    assert_int_equal(cudaMemcpy(&r->dev->rounds.state.clock->last_ns, &future, sizeof(future),
                                cudaMemcpyHostToDevice),
                     cudaSuccess);
    rig_clear(r);
    rig_seq(r, 0, 0);
    rig_run(r);
    assert_true(r->result.idle_ns == 0);
    assert_true(r->result.verify_ns > 0 && r->result.verify_ns < minute);
    rig_free(r);
}

/* ---- the way back ---------------------------------------------------------------------------- */

/* A copy behind a round would keep the next one waiting: the last kernel writes the results where
 * the host reads them, and only log-probabilities are copied. */
static void test_copies_to_host(void **state)
{
    struct device_setup setup = setup_make();
    struct sample_params params = rig_params();
    struct rig *r = rig_new(&setup, 2);

    (void)state;
    for (int32_t i = 0; i < 2; i++) {
        params.n_logprobs = i == 0 ? -1 : 2;
        rig_slot(r, i, &params, pair->prompts[i], PROMPT, 90);
    }
    uint64_t before = emu_copies_to_host();

    for (int32_t i = 0; i < 2; i++)
        rig_prefill(r, i, MODEL_TARGET, 0, PROMPT - 1, 64);
    for (int32_t k = 0; k < 3; k++) {
        rig_clear(r);
        rig_seq(r, 0, k);
        rig_run(r);
        assert_true(r->result.seqs[0].n_tokens > 0 && r->result.verify_ns > 0);
    }
    assert_int_equal(emu_copies_to_host(), before);
    rig_clear(r);
    rig_seq(r, 0, 1);
    rig_seq(r, 1, 1);
    rig_run(r);
    assert_int_equal(emu_copies_to_host(), before + 1);
    rig_free(r);
}

/* ---- two rounds in flight -------------------------------------------------------------------- */

static void submit(struct rig *r, int32_t k)
{
    rig_clear(r);
    rig_seq(r, 0, k);
    rig_seq(r, 1, k);
    rig_submit(r);
}

/* Slot 0 has room for two tokens more: the second round finds it full, and slot 1 goes on. */
static void test_end_in_the_first(void **state)
{
    struct device_setup setup = setup_make();
    struct sample_params params = rig_params();
    struct rig *r = rig_new(&setup, 2);
    int32_t len[2];

    (void)state;
    for (int32_t i = 0; i < 2; i++) {
        rig_slot(r, i, &params, pair->prompts[i], PROMPT, i == 0 ? PROMPT + 1 : 90);
        rig_prefill(r, i, MODEL_TARGET, 0, PROMPT - 1, 64);
        rig_prefill(r, i, MODEL_DRAFT, 0, PROMPT - 1, 64);
    }
    submit(r, 2);
    submit(r, 2);
    assert_int_equal(r->ops->begin(r->dev, &r->round), SPECD_EINVAL); /* two are enough */
    rig_wait(r);
    assert_int_equal(r->result.seqs[0].n_tokens, 1);
    len[0] = r->result.seqs[0].len;
    len[1] = r->result.seqs[1].len;
    rig_wait(r);
    assert_int_equal(r->result.seqs[0].n_tokens, 0);
    assert_int_equal(r->result.seqs[0].len, len[0]);
    assert_true(r->result.seqs[1].n_tokens > 0);
    assert_int_equal(r->result.seqs[1].len, len[1] + r->result.seqs[1].n_tokens);
    rig_free(r);
}

/* A slot gets a new owner while a round of the old one runs: the old results stay the old one's. */
static void test_new_owner_in_flight(void **state)
{
    struct device_setup setup = setup_make();
    struct sample_params params = rig_params();
    struct rig *r = rig_new(&setup, 3);

    (void)state;
    rig_slot(r, 0, &params, pair->prompts[0], PROMPT, 90);
    rig_prefill(r, 0, MODEL_TARGET, 0, PROMPT - 1, 64);
    rig_clear(r);
    rig_seq(r, 0, 0);
    rig_submit(r);
    rig_slot(r, 0, &params, pair->prompts[1], 5, 90);
    rig_clear(r);
    rig_chunk(r, 0, MODEL_TARGET, 0, 4);
    rig_submit(r);
    rig_wait(r);
    assert_int_equal(r->result.seqs[0].len, PROMPT + 1);
    rig_wait(r);
    rig_clear(r);
    rig_seq(r, 0, 0);
    rig_run(r);
    assert_int_equal(r->result.seqs[0].len, 6);
    rig_free(r);
}

static void verbs_of_seq(struct rig *r)
{
    assert_int_equal(r->ops->forward(r->dev, MODEL_TARGET, ROWS_VERIFY, 0), 0);
    assert_int_equal(r->ops->verify(r->dev), 0);
    assert_int_equal(r->ops->end(r->dev), 0);
}

/* What is set while a round is put together is the next one's; and a round that is given up for
 * another takes nothing with it. */
static void test_set_between_begin_and_end(void **state)
{
    struct device_setup setup = setup_make();
    struct sample_params params = rig_params();
    struct rig *r = rig_new(&setup, 3);

    (void)state;
    rig_slot(r, 0, &params, pair->prompts[0], PROMPT, 90);
    rig_prefill(r, 0, MODEL_TARGET, 0, PROMPT - 1, 64);
    rig_clear(r);
    rig_seq(r, 0, 0);
    assert_int_equal(r->ops->begin(r->dev, &r->round), 0);
    rig_slot(r, 0, &params, pair->prompts[1], 5, 90);
    verbs_of_seq(r);
    rig_clear(r);
    rig_chunk(r, 0, MODEL_TARGET, 0, 4);
    assert_int_equal(r->ops->begin(r->dev, &r->round), 0); /* given up */
    rig_submit(r);
    rig_wait(r);
    assert_int_equal(r->result.seqs[0].len, PROMPT + 1);
    rig_wait(r);
    rig_clear(r);
    rig_seq(r, 0, 0);
    rig_run(r);
    assert_int_equal(r->result.seqs[0].len, 6);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_is_what_is_taken),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_fault),
        cmocka_unit_test(test_end_in_the_first),
        cmocka_unit_test(test_new_owner_in_flight),
        cmocka_unit_test(test_load_again),
        cmocka_unit_test(test_open_without_memory),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_rounds_take_nothing),
        cmocka_unit_test(test_little_shared_memory),
        cmocka_unit_test(test_clock_set_back),
        cmocka_unit_test(test_copies_to_host),
        cmocka_unit_test(test_set_between_begin_and_end),
        cmocka_unit_test(test_shapes_of_few_rows),
        cmocka_unit_test(test_shapes_of_long_drafts),
    };

    pair = pair_new();
    int failed = seeded_run(tests);

    pair_free(pair);
    return failed;
}
