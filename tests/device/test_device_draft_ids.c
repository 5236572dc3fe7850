/*
 * draft_ids: a draft step computes some ids only. A logit is that of a step over all ids, bit for
 * bit, whatever the other slots draft; of ids that are not a slot's own the law has no mass; and a
 * slot that bans leave nothing to draft goes on without drafts.
 *
 * links: device_tests specd_cpu
 * labels: thread hostile
 */
#include "device/rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VOCAB 203
#define VOCAB_MORE 219 /* of a draft with more padding */
#define WORDS ((VOCAB - 1) / 32 + 1)
#define PROMPT 13
#define LIMIT 60
#define K MIN(3, SPECD_K_MAX)
#define SLOTS 4

static uint64_t seed = 9;

/* ---- models and ids -------------------------------------------------------------------------- */

static const struct pair_case {
    const char *name;
    uint32_t draft_vocab;
    enum dtype type;
    bool untied, self;
} pair_cases[] = {
    {"fewer ids, tied, f32", 187, DT_F32, false, false},
    {"more ids, q8_0", VOCAB_MORE, DT_Q8_0, true, false},
    {"self, bf16", 0, DT_BF16, true, true},
};

struct pair {
    struct model *target, *draft; /* no draft: the target's first layer */
    int32_t n_draft;              /* ids that can be drafted */
    struct device_setup setup;
};

static const uint32_t some_layers[] = {0, 1};

/* Models of one seed agree often if they were made with as many ids: those that one has not are cut
 * off. */
static struct model *model_of(struct model_shape shape, uint32_t n_layers, uint32_t n_vocab)
{
    shape.n_vocab = VOCAB_MORE;
    shape.n_layers = n_layers;
    shape.sharpness = 1.0f; /* flat: which ids there are decides what is drawn */
    struct model *m = model_random(&shape);
    m->n_vocab = m->embed.rows = m->output.rows = n_vocab;
    return m;
}

static struct pair pair_of(const struct pair_case *c)
{
    struct model_shape shape = pair_shape;
    struct pair p = {.n_draft = VOCAB};
    shape.type = c->type;
    shape.untied = c->untied;
    p.target = model_of(shape, PAIR_LAYERS, VOCAB);
    if (!c->self) {
        p.draft = model_of(shape, PAIR_LAYERS - 1, c->draft_vocab);
        p.n_draft = (int32_t)MIN(c->draft_vocab, VOCAB);
    }
    p.setup = rig_setup(p.target, p.draft);
    p.setup.self_layers = c->self ? some_layers : NULL;
    p.setup.n_self_layers = c->self ? COUNT_OF(some_layers) : 0;
    p.setup.n_ctx = 96;
    p.setup.k_max = K;
    p.setup.threads = 2;
    p.setup.trims_draft = true;
    return p;
}

static void pair_drop(struct pair *p)
{
    model_random_free(p->target);
    if (p->draft)
        model_random_free(p->draft);
}

static bool has(const uint32_t *ids, int32_t id)
{
    return ids[id / 32] >> id % 32 & 1;
}

/* The lowest ids, and some at random: few, so that whole tiles are empty. */
static void ids_make(uint32_t ids[WORDS], int32_t n_lowest, int n_random)
{
    memset(ids, 0, WORDS * sizeof(*ids));
    for (int32_t id = 0; id < n_lowest; id++)
        ids[id / 32] |= 1u << id % 32;
    for (int i = 0; i < n_random; i++) {
        int32_t id = (int32_t)(random_next(&seed) % VOCAB);
        ids[id / 32] |= 1u << id % 32;
    }
}

static void prompt_make(int32_t *tokens, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        tokens[i] = (int32_t)(random_next(&seed) % VOCAB);
}

static struct sample_params params_of(enum verify_mode mode, float temperature, const uint32_t *ids)
{
    struct sample_params p = rig_params();
    p.target.temperature = p.draft.temperature = temperature;
    p.mode = mode;
    p.seed = 31;
    p.draft_ids = ids;
    return p;
}

static void start(struct rig *r, int32_t slot, const struct sample_params *params,
                  const int32_t *prompt)
{
    rig_slot(r, slot, params, prompt, PROMPT, LIMIT);
    rig_prefill(r, slot, MODEL_TARGET, 0, PROMPT - 1, PROMPT);
    rig_prefill(r, slot, MODEL_DRAFT, 0, PROMPT - 1, PROMPT);
}

/* ---- logits ---------------------------------------------------------------------------------- */

/* `whole`: the same row over all ids; NULL: not known. */
static void check_row(const float *row, const float *whole, const uint32_t *ids, int32_t n)
{
    for (int32_t id = 0; id < n; id++) {
        if (!has(ids, id))
            assert_true(row[id] == -INFINITY);
        else if (whole)
            assert_memory_equal(&row[id], &whole[id], sizeof(*row));
        else
            assert_true(isfinite(row[id]));
    }
}

/* Slots that draft different ids, side by side, against each alone and over all ids. */
static void check_logits(const struct pair_case *c)
{
    struct pair p = pair_of(c);
    struct rig *r = rig_new(&p.setup, 3);
    uint32_t ids[SLOTS][WORDS];
    int32_t prompts[SLOTS][PROMPT];
    float whole[SLOTS][VOCAB];
    struct sample_params all = params_of(VERIFY_RATIO, 1.0f, NULL);
    for (int i = 0; i < SLOTS; i++) {
        ids_make(ids[i], i == 0 ? 0 : 37, 3 + i);
        prompt_make(prompts[i], PROMPT);
        start(r, i, &all, prompts[i]);
        rig_clear(r);
        rig_seq(r, i, 1);
        rig_run(r);
        memcpy(whole[i], rig_logits(r, MODEL_DRAFT, 0, 0), (size_t)p.n_draft * sizeof(float));
    }
    for (int mixed = 0; mixed < 2; mixed++) { /* a slot of all ids beside the others changes none */
        r->n_free = 2 * r->setup.n_slots * ((r->setup.n_ctx - 1) / SPECD_BLOCK_TOKENS + 1);
        for (int i = 0; i < SLOTS; i++) {
            struct sample_params own = params_of(VERIFY_RATIO, 1.0f, ids[i]);
            start(r, i, mixed && i == 2 ? &all : &own, prompts[i]);
        }
        rig_clear(r);
        for (int i = 0; i < SLOTS; i++)
            rig_seq(r, i, K);
        rig_run(r);
        for (int i = 0; i < SLOTS; i++) {
            if (mixed && i == 2) {
                assert_memory_equal(rig_logits(r, MODEL_DRAFT, i, 0), whole[i],
                                    (size_t)p.n_draft * sizeof(float));
                continue;
            }
            for (int k = 0; k < K; k++)
                check_row(rig_logits(r, MODEL_DRAFT, i, k), k == 0 ? whole[i] : NULL, ids[i],
                          p.n_draft);
        }
    }
    rig_free(r);
    pair_drop(&p);
}

static void test_logits(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(pair_cases); i++)
        check_logits(&pair_cases[i]);
}

/* ---- texts ----------------------------------------------------------------------------------- */

struct text {
    int32_t tokens[LIMIT], len;
    int n_drafted, n_accepted;
};

/* Slot 1 decodes to its limit beside n_mates others; every `again` rounds it is set anew, as after
 * a preemption, and its KV computed again. */
static struct text decode(const struct pair *p, const struct sample_params *params,
                          const int32_t *prompt, int32_t k, int n_mates, int again)
{
    struct rig *r = rig_new(&p->setup, 4);
    uint32_t mate_ids[SLOTS][WORDS];
    int32_t mate_prompt[PROMPT], mate_len[SLOTS] = {0};
    struct text t = {.len = PROMPT};
    memcpy(t.tokens, prompt, PROMPT * sizeof(*prompt));
    start(r, 1, params, prompt);
    for (int i = 0; i < n_mates; i++) {
        ids_make(mate_ids[i], 50, 40);
        struct sample_params mate = params_of(VERIFY_RATIO, 1.5f, mate_ids[i]);
        prompt_make(mate_prompt, PROMPT);
        start(r, i + 2, &mate, mate_prompt);
        mate_len[i] = PROMPT;
    }
    const int32_t end = getenv("SPECD_TEST_QUICK") ? LIMIT / 2 : LIMIT;
    for (uint32_t round = 1; t.len < end; round++) {
        rig_clear(r);
        for (int i = n_mates - 1; i >= 0 && mate_len[i] < LIMIT - 1; i--)
            rig_seq(r, i + 2, K);
        int at = r->round.n_seqs;
        rig_seq(r, 1, k);
        rig_run(r);
        const struct seq_result *out = &r->result.seqs[at];
        assert_in_range(out->n_tokens, 1, K + 1);
        memcpy(t.tokens + t.len, out->tokens, (size_t)out->n_tokens * sizeof(int32_t));
        t.len = out->len;
        t.n_drafted += out->n_drafted;
        t.n_accepted += out->n_accepted;
        for (int i = 0; i < at; i++)
            mate_len[r->result.seqs[i].slot - 2] = r->result.seqs[i].len;
        if (again == 0 || (int)round % again != 0 || t.len >= end)
            continue;
        struct slot_config config = {.params = *params,
                                     .tokens = t.tokens,
                                     .n_tokens = t.len,
                                     .n_prompt = PROMPT,
                                     .limit = LIMIT,
                                     .round = round};
        assert_int_equal(r->ops->slot_set(r->dev, 1, &config), 0);
        rig_prefill(r, 1, MODEL_TARGET, 0, t.len - 1, 7);
        rig_prefill(r, 1, MODEL_DRAFT, 0, t.len - 1, 7);
    }
    rig_free(r);
    t.len = end;
    memset(t.tokens + end, 0, (size_t)(LIMIT - end) * sizeof *t.tokens);
    return t;
}

static bool same_text(const struct text *a, const struct text *b)
{
    return a->len == b->len && memcmp(a->tokens, b->tokens, sizeof(a->tokens)) == 0;
}

static const enum verify_mode modes[] = {VERIFY_RATIO, VERIFY_BLOCK, VERIFY_COUPLED};

/* On a device that runs in an emulator, one mode stands for all. */
static size_t n_modes(void)
{
    return getenv("SPECD_TEST_QUICK") ? 1 : COUNT_OF(modes);
}

/* The same text alone, beside others that draft other ids, and after being set anew; and the ids do
 * matter: with the same seed, other ids give another text in the modes that look at p. */
static void test_texts_are_ones_own(void **state)
{
    struct pair p = pair_of(&pair_cases[0]);
    uint32_t ids[WORDS], others[WORDS];
    int32_t prompt[PROMPT];
    (void)state;
    ids_make(ids, 100, 8);
    for (int i = 0; i < WORDS; i++)
        others[i] = ~ids[i];
    prompt_make(prompt, PROMPT);
    for (size_t m = 0; m < n_modes(); m++) {
        struct sample_params own = params_of(modes[m], 1.0f, ids);
        struct sample_params other = params_of(modes[m], 1.0f, others);
        struct text alone = decode(&p, &own, prompt, K, 0, 0);
        struct text beside = decode(&p, &own, prompt, K, 2, 0);
        struct text anew = decode(&p, &own, prompt, K, 1, 4);
        struct text plain = decode(&p, &own, prompt, 0, 0, 0);
        struct text changed = decode(&p, &other, prompt, K, 0, 0);
        print_message("%d of %d drafts accepted\n", alone.n_accepted, alone.n_drafted);
        assert_in_range(alone.n_accepted, 1, alone.n_drafted - 1);
        assert_true(same_text(&alone, &beside));
        assert_true(same_text(&alone, &anew));
        assert_int_equal(same_text(&alone, &plain), modes[m] == VERIFY_COUPLED);
        assert_int_equal(same_text(&alone, &changed), modes[m] == VERIFY_COUPLED);
    }
    pair_drop(&p);
}

/* What follows of a draft that has no ids: that of K = 0, in every mode. */
static void test_nothing_to_draft(void **state)
{
    struct pair p = pair_of(&pair_cases[0]);
    uint32_t ids[WORDS], allowed[WORDS], none[WORDS] = {0};
    int32_t prompt[PROMPT];
    (void)state;
    ids_make(ids, 0, 9);
    for (int i = 0; i < WORDS; i++)
        allowed[i] = ~ids[i];
    prompt_make(prompt, PROMPT);
    for (size_t m = 0; m < 2 * n_modes(); m++) {
        struct sample_params params = params_of(modes[m / 2], 1.0f, m % 2 ? none : ids);
        params.allowed = m % 2 ? NULL : allowed;
        struct text drafted = decode(&p, &params, prompt, K, 1, 0);
        struct text plain = decode(&p, &params, prompt, 0, 0, 0);
        assert_int_equal(drafted.n_accepted, 0);
        assert_true(same_text(&drafted, &plain));
    }
    pair_drop(&p);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* No copy of the output matrix is made; and where there is no room for ids, they are refused. */
static void test_room(void **state)
{
    struct pair p = pair_of(&pair_cases[0]);
    uint32_t ids[WORDS] = {1};
    int32_t token = 0;
    struct slot_config config = {
        .params = params_of(VERIFY_RATIO, 1.0f, ids), .tokens = &token, .n_tokens = 1, .limit = 9};
    (void)state;
    struct rig *with = rig_new(&p.setup, 3);
    p.setup.trims_draft = false;
    struct rig *without = rig_new(&p.setup, 3);
    for (int role = 0; role < MODEL_ROLES; role++)
        assert_int_equal(with->plan.weights_bytes[role], without->plan.weights_bytes[role]);
    assert_in_range(with->plan.slot_bytes, without->plan.slot_bytes + SLOTS * WORDS * 4,
                    without->plan.slot_bytes + SLOTS * 1024);
    assert_int_equal(with->ops->slot_set(with->dev, 0, &config), 0);
    assert_int_equal(without->ops->slot_set(without->dev, 0, &config), SPECD_EINVAL);
    rig_free(with);
    rig_free(without);
    pair_drop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_texts_are_ones_own),
        cmocka_unit_test(test_nothing_to_draft),
        cmocka_unit_test(test_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
