/*
 * The bitwise contract of device.h: a row's logits depend on the weights and its sequence alone.
 *
 * links: device_tests specd_cpu
 * labels: hostile
 *
 * One text is decoded at its last positions in a plain way, and then in every other way: with
 * other rows, chunks, slots, blocks, threads and batch sizes. All bits must agree.
 */
#include "device/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VOCAB 67
#define LEN 290 /* crosses a tile of attention */
#define ROWS 3  /* decoded positions: LEN - 1 and on; ROWS - 1 <= the smallest K limit */

/* A layer of llama's blocks, and one of as many others as a layer can have, and of other sizes. */
static const struct model_shape shape = {
    .n_layers = 2,
    .n_heads = 6,
    .n_kv_heads = 2,
    .head_dim = 16,
    .n_embd = 64,
    .n_ff = 96,
    .layer_heads = {0, 8},
    .layer_kv_heads = {0, 1},
    .layer_ff = {0, 160},
    .n_vocab = VOCAB,
    .window = 100,
    .windowed = 2,
    .changed = 2,
    .more = PART_BIT(PART_QKV_BIAS) | PART_BIT(PART_O_BIAS) | PART_BIT(PART_FFN_BIAS) |
            PART_BIT(PART_QK_NORM_WIDE) | PART_BIT(PART_POST_NORM),
    .less = PART_BIT(PART_PRE_NORM),
    .type = DT_Q8_0,
    .scaled = true,
    .seed = 11};

struct fixture {
    struct model *model;
    int32_t text[LEN + ROWS];
    float logits[ROWS][VOCAB]; /* decoded plainly */
};

/* How the text is decoded; zero is the plain way. */
struct way {
    int32_t slot;
    int threads, max_rows; /* 0: 1, 512 */
    int32_t step;          /* prompt chunk, 0: whole */
    uint64_t blocks_seed;
    bool verify_rows; /* the rows of one verify pass instead of one decode each */
    int companions;   /* other slots that decode or prefill in the same rounds */
    enum kv_type kv;
};

static void copy_logits(struct rig *r, int seq, int i, float out[VOCAB])
{
    memcpy(out, rig_logits(r, MODEL_TARGET, seq, i), VOCAB * sizeof(float));
}

/* Other slots, each with a text of another length. */
static void add_companions(struct rig *r, const struct way *w, const struct fixture *f)
{
    struct sample_params params = rig_params();
    for (int32_t i = 1; i <= w->companions; i++) {
        int32_t slot = (w->slot + i) % r->setup.n_slots;
        rig_slot(r, slot, &params, f->text + 7 * i, 30 * i, 512);
        rig_prefill(r, slot, MODEL_TARGET, 0, 30 * i - 1 - 20 * (i % 2), 50);
    }
}

/* Odd ones prefill, a token a round, the others decode with K = 2. */
static void companions_round(struct rig *r, const struct way *w, int round)
{
    for (int32_t i = 1; i <= w->companions; i++) {
        int32_t slot = (w->slot + i) % r->setup.n_slots;
        if (i % 2 == 1) {
            rig_chunk(r, slot, MODEL_TARGET, 30 * i - 21 + 3 * round, 3);
        } else {
            struct round_seq *seq = rig_seq(r, slot, 2);
            seq->source = DRAFT_FROM_HOST;
            seq->host_draft[0] = i;
            seq->host_draft[1] = round;
        }
    }
}

/* The token after the text is dictated by a slot_set, as sampling would not follow the text. */
static void decode_one(struct rig *r, const struct way *w, const struct fixture *f, int i,
                       float out[VOCAB])
{
    struct slot_config config = {.params = rig_params(),
                                 .tokens = f->text,
                                 .n_tokens = LEN + i,
                                 .n_prompt = LEN,
                                 .limit = 512,
                                 .rows = {LEN + i - 1, 0}};
    assert_int_equal(r->ops->slot_set(r->dev, w->slot, &config), 0);
    rig_clear(r);
    companions_round(r, w, i);
    rig_seq(r, w->slot, 0);
    rig_run(r);
    copy_logits(r, r->round.n_seqs - 1, 0, out);
}

static void decode_rows(struct rig *r, const struct way *w, const struct fixture *f,
                        float out[ROWS][VOCAB])
{
    rig_clear(r);
    companions_round(r, w, 0);
    struct round_seq *seq = rig_seq(r, w->slot, ROWS - 1);
    seq->source = DRAFT_FROM_HOST;
    memcpy(seq->host_draft, f->text + LEN, (ROWS - 1) * sizeof(int32_t));
    rig_run(r);
    for (int i = 0; i < ROWS; i++)
        copy_logits(r, r->round.n_seqs - 1, i, out[i]);
}

static void decode(const struct fixture *f, const struct way *w, float out[ROWS][VOCAB])
{
    struct device_setup setup = rig_setup(f->model, NULL);
    struct sample_params params = rig_params();
    setup.threads = MAX(w->threads, 1);
    setup.max_rows = w->max_rows ? w->max_rows : 512;
    setup.kv = w->kv;
    setup.reproducible = true;
    struct rig *r = rig_new(&setup, w->blocks_seed);
    add_companions(r, w, f);
    rig_slot(r, w->slot, &params, f->text, LEN, 512);
    rig_prefill(r, w->slot, MODEL_TARGET, 0, LEN - 1, w->step ? w->step : LEN);
    if (w->verify_rows) {
        decode_rows(r, w, f, out);
    } else {
        for (int i = 0; i < ROWS; i++)
            decode_one(r, w, f, i, out[i]);
    }
    rig_free(r);
}

static void check_ways(const struct fixture *f, const struct way *ways, size_t n)
{
    float plain[ROWS][VOCAB], got[ROWS][VOCAB];
    struct way way = {.kv = ways[0].kv};
    decode(f, &way, plain);
    for (size_t i = 0; i < n; i++) {
        decode(f, &ways[i], got);
        assert_memory_equal(got, plain, sizeof(plain));
    }
}

static void test_rows(void **state)
{
    static const struct way ways[] = {
        {.verify_rows = true},
        {.companions = 1},
        {.companions = 3},
        {.companions = 3, .verify_rows = true},
    };
    check_ways(*state, ways, COUNT_OF(ways));
}

static void test_chunks(void **state)
{
    static const struct way ways[] = {
        {.step = 1},
        {.step = 5},
        {.step = 16},
        {.step = 257},
        {.max_rows = 1},
        {.max_rows = 7, .step = 100},
        {.max_rows = 2, .companions = 3, .verify_rows = true},
    };
    check_ways(*state, ways, COUNT_OF(ways));
}

static void test_places(void **state)
{
    static const struct way ways[] = {
        {.slot = 3},
        {.blocks_seed = 99},
        {.slot = 2, .blocks_seed = 7, .companions = 2},
    };
    check_ways(*state, ways, COUNT_OF(ways));
}

static void test_threads(void **state)
{
    static const struct way ways[] = {
        {.threads = 2},
        {.threads = 3},
        {.threads = 2, .verify_rows = true},
        {.threads = 3, .companions = 3, .verify_rows = true, .step = 100, .max_rows = 64},
    };
    check_ways(*state, ways, COUNT_OF(ways));
}

static void test_bf16(void **state)
{
    static const struct way ways[] = {
        {.kv = KV_BF16, .threads = 2, .verify_rows = true},
        {.kv = KV_BF16, .step = 3, .companions = 2, .slot = 1, .blocks_seed = 5},
    };
    check_ways(*state, ways, COUNT_OF(ways));
}

/* Other kernels, the same bits: matrices (test_matmul.c has every instruction set) and the rest. */
static void test_portable(void **state)
{
    static const struct way ways[] = {{.threads = 2, .verify_rows = true}};
    const struct fixture *f = *state;
    float plain[ROWS][VOCAB], got[ROWS][VOCAB];
    decode(f, &ways[0], plain);
    rig_force_portable(true);
    decode(f, &ways[0], got);
    rig_force_portable(false);
    assert_memory_equal(got, plain, sizeof(plain));
}

static int setup_of(void **state, const struct model_shape *of)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    uint64_t seed = 3;
    f->model = model_random(of);
    for (int i = 0; i < LEN + ROWS; i++)
        f->text[i] = (int32_t)(random_next(&seed) % VOCAB);
    *state = f;
    return 0;
}

static int setup(void **state)
{
    return setup_of(state, &shape);
}

/* Rows meet at experts, as many at each as chance has it. */
static int setup_experts(void **state)
{
    struct model_shape experts = shape;
    experts.experts = 3;
    experts.n_experts = 6;
    experts.n_experts_used = 2;
    experts.n_ff_expert = 64;
    experts.n_ff_shared = 32;
    return setup_of(state, &experts);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    model_random_free(f->model);
    free(f);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),   cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_places), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_bf16),   cmocka_unit_test(test_portable),
    };
    const struct CMUnitTest experts[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_portable),
    };
    return cmocka_run_group_tests(tests, setup, teardown) +
           cmocka_run_group_tests(experts, setup_experts, teardown);
}
