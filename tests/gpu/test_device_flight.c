/*
 * As many rounds in flight as the device takes, over slots that come and go at random: every token
 * and log-probability is that of its sequence decoded alone, one token a round.
 *
 * Mode coupled, so that a token depends on the seed and its position and not on drafts. Drafts are
 * the model's, or the host's and then right, wrong or no ids at all; slots end, reach their limit,
 * are set anew while rounds that name them run, lag behind with their draft's rows and catch up.
 */
#include "device/rig.h"

#ifdef SPECD_EMU
#include "seeded.h"
#else
#define seeded_run(tests) (srand((unsigned)clock_ns()), cmocka_run_group_tests(tests, NULL, NULL))
#endif

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SLOTS 4
#define TEXTS 6 /* that slots are set to */
#define CTX 80
#define K 3

/* A request and what must come of it. */
struct text {
    struct sample_params params;
    int32_t tokens[CTX], n_prompt, limit, len; /* len: with all that is generated */
    float logprobs[CTX];
    int32_t bias_ids[2];
    float bias[2];
};

/* A slot as the engine knows it. */
struct slot_known {
    const struct text *text;
    int32_t len, draft_len, submitted; /* submitted: rows of the target in rounds so far */
    int32_t in_flight;                 /* rounds that decode it */
    bool drafts_in_flight, ended;
    uint32_t owner; /* counts texts */
};

/* What a round in flight named. */
struct named {
    uint32_t owners[SLOTS];
    int32_t chunk_end[SLOTS]; /* of the draft's rows; 0: none */
    int32_t n_seqs;
};

struct play {
    struct rig *r;
    struct text texts[TEXTS];
    struct slot_known slots[SLOTS];
    struct named flights[2];
    uint64_t n_submitted, n_collected;
    int32_t n_tokens; /* committed */
};

static struct model_pair *pair;

static int32_t below(int32_t n)
{
    return rand() % n;
}

static struct sample_params params_random(struct text *t)
{
    struct sample_params p = rig_params();

    p.seed = (uint64_t)rand();
    p.mode = VERIFY_COUPLED;
    p.target.temperature = p.draft.temperature = below(3) == 0 ? 0.0f : 0.9f;
    p.n_logprobs = below(4) - 1;
    if (below(2))
        p.target.frequency = p.draft.frequency = 0.4f;
    if (below(2))
        p.target.repetition = 1.2f;
    if (below(2)) {
        p.n_bias = 2;
        t->bias_ids[0] = below(PAIR_VOCAB / 2);
        t->bias_ids[1] = t->bias_ids[0] + 1 + below(PAIR_VOCAB / 3);
        t->bias[0] = 2.0f;
        t->bias[1] = -INFINITY;
        p.bias_ids = t->bias_ids;
        p.bias = t->bias;
    }
    p.n_ends = 1;
    p.ends[0] = (struct end_token){below(PAIR_VOCAB), 0};
    return p;
}

static void set(struct rig *r, int32_t slot, const struct text *t)
{
    struct slot_config config = {.params = t->params,
                                 .tokens = t->tokens,
                                 .n_tokens = t->n_prompt,
                                 .n_prompt = t->n_prompt,
                                 .limit = t->limit};

    assert_int_equal(r->ops->slot_set(r->dev, slot, &config), 0);
}

/* Alone, one token a round. */
static void text_make(struct rig *r, struct text *t)
{
    uint32_t flags = 0;

    t->params = params_random(t);
    t->n_prompt = 2 + below(PAIR_PROMPT_LEN - 2);
    t->limit = t->n_prompt + 1 + below(CTX - t->n_prompt);
    memcpy(t->tokens, pair->prompts[below(PAIR_PROMPTS)], (size_t)t->n_prompt * sizeof(int32_t));
    set(r, 0, t);
    rig_prefill(r, 0, MODEL_TARGET, 0, t->n_prompt - 1, 64);
    for (t->len = t->n_prompt; t->len < t->limit && !(flags & SEQ_END); t->len++) {
        rig_clear(r);
        rig_seq(r, 0, 0);
        rig_run(r);
        assert_int_equal(r->result.seqs[0].n_tokens, 1);
        t->tokens[t->len] = r->result.seqs[0].tokens[0];
        t->logprobs[t->len] = r->result.seqs[0].own ? r->result.seqs[0].own[0].logprob : 0.0f;
        flags = r->result.seqs[0].flags;
    }
}

/* ---- planning -------------------------------------------------------------------------------- */

static void renew(struct play *p, int32_t slot)
{
    struct slot_known *s = &p->slots[slot];

    *s = (struct slot_known){.text = &p->texts[below(TEXTS)], .owner = s->owner + 1};
    s->len = s->text->n_prompt;
    set(p->r, slot, s->text);
}

static void host_draft(struct round_seq *seq, const struct slot_known *s)
{
    seq->source = DRAFT_FROM_HOST;
    for (int32_t i = 0; i < seq->k; i++) {
        bool right = below(4) > 0 && s->len + i < s->text->len;

        seq->host_draft[i] = right ? s->text->tokens[s->len + i] : below(PAIR_VOCAB + 2) - 1;
    }
}

static void plan_chunks(struct play *p, struct named *named, int32_t slot)
{
    struct slot_known *s = &p->slots[slot];
    int32_t left = s->len - 1 - s->submitted;

    if (s->in_flight == 0 && left > 0) {
        int32_t n = below(3) ? left : 1 + below(left);

        rig_chunk(p->r, slot, MODEL_TARGET, s->submitted, n);
        s->submitted += n;
    }
    if (s->in_flight == 0 && !s->drafts_in_flight && s->len - 1 > s->draft_len && below(2)) {
        int32_t n = 1 + below(s->len - 1 - s->draft_len);

        rig_chunk(p->r, slot, MODEL_DRAFT, s->draft_len, n);
        named->chunk_end[slot] = s->draft_len + n;
        s->drafts_in_flight = true;
    }
}

static void plan_seq(struct play *p, int32_t slot)
{
    struct slot_known *s = &p->slots[slot];

    if (s->submitted < s->len - 1 || s->len + s->in_flight >= s->text->limit || below(8) == 0)
        return;
    struct round_seq *seq = rig_seq(p->r, slot, below(K + 2));

    if (below(3) == 0)
        host_draft(seq, s);
    s->in_flight++;
}

static void plan(struct play *p)
{
    struct named *named = &p->flights[p->n_submitted++ % 2];

    rig_clear(p->r);
    memset(named, 0, sizeof(*named));
    for (int32_t i = 0; i < SLOTS; i++) {
        int32_t slot = (i + (int32_t)p->n_submitted) % SLOTS;

        if (p->slots[slot].ended || p->slots[slot].len == p->slots[slot].text->limit ||
            below(30) == 0)
            renew(p, slot);
        plan_chunks(p, named, slot);
        plan_seq(p, slot);
        named->owners[slot] = p->slots[slot].owner;
    }
    rig_submit(p->r);
}

/* ---- what came of it ------------------------------------------------------------------------- */

static void check_tokens(struct play *p, struct slot_known *s, const struct seq_result *r)
{
    const struct text *t = s->text;

    for (int32_t i = 0; i < r->n_tokens; i++) {
        int32_t at = s->len + i;

        assert_in_range(at, 0, t->len - 1);
        assert_int_equal(r->tokens[i], t->tokens[at]);
        assert_int_equal(r->own != NULL, t->params.n_logprobs >= 0);
        if (r->own) {
            assert_int_equal(r->own[i].id, t->tokens[at]);
            assert_true(r->own[i].logprob == t->logprobs[at]);
        }
    }
    assert_int_equal(r->len, s->len + r->n_tokens);
    assert_int_equal(r->rows[MODEL_TARGET], r->len - 1);
    assert_in_range(r->rows[MODEL_DRAFT], 0, r->len - 1);
    s->len = r->len;
    s->submitted = s->len - 1;
    s->draft_len = r->rows[MODEL_DRAFT];
    s->ended = s->ended || (r->flags & SEQ_END);
    p->n_tokens += r->n_tokens;
}

static void collect(struct play *p)
{
    const struct named *named = &p->flights[p->n_collected++ % 2];

    rig_wait(p->r);
    for (int32_t slot = 0; slot < SLOTS; slot++) {
        if (named->chunk_end[slot] > 0 && p->slots[slot].owner == named->owners[slot]) {
            p->slots[slot].draft_len = named->chunk_end[slot];
            p->slots[slot].drafts_in_flight = false;
        }
    }
    for (int32_t i = 0; i < p->r->result.n_seqs; i++) {
        const struct seq_result *r = &p->r->result.seqs[i];
        struct slot_known *s = &p->slots[r->slot];

        if (s->owner != named->owners[r->slot])
            continue;
        s->in_flight--;
        assert_true(r->n_tokens > 0 || s->ended || s->len == s->text->limit);
        check_tokens(p, s, r);
    }
}

static void run(bool eager)
{
    struct device_setup setup = rig_setup(pair->target, pair->draft);
    struct play *p = xcalloc(1, sizeof(*p));
    struct device_info info;

    setup.n_slots = SLOTS;
    setup.n_ctx = CTX;
    setup.k_max = MIN(K, SPECD_K_MAX);
    setup.eager = eager;
    p->r = rig_new(&setup, (uint64_t)rand());
    p->r->ops->describe(p->r->dev, &info);
    for (int32_t i = 0; i < SLOTS; i++)
        rig_slot(p->r, i, &(struct sample_params){.n_logprobs = -1}, pair->prompts[0], 2, 3);
    for (int32_t i = 0; i < TEXTS; i++)
        text_make(p->r, &p->texts[i]);
    for (int32_t i = 0; i < SLOTS; i++)
        renew(p, i);
    for (int32_t i = 0; i < 160; i++) {
        if (p->n_submitted - p->n_collected < (uint64_t)info.rounds_in_flight && below(4) > 0)
            plan(p);
        else if (p->n_submitted > p->n_collected)
            collect(p);
    }
    while (p->n_submitted > p->n_collected)
        collect(p);
    assert_true(p->n_tokens > 100);
    rig_free(p->r);
    free(p);
}

static void test_graphs(void **state)
{
    (void)state;
    run(false);
}

static void test_eager(void **state)
{
    (void)state;
    run(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_graphs), cmocka_unit_test(test_eager)};

    pair = pair_new();
    int failed = seeded_run(tests);

    pair_free(pair);
    return failed;
}
