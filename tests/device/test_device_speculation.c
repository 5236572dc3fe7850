/*
 * Speculation gives the text of plain decoding, whatever drafts, and slots advance round by round
 * as device.h says.
 *
 *
 *
 * links: device_tests specd_cpu
 * labels: hostile
 */
#include "device/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VOCAB PAIR_VOCAB
#define PROMPT PAIR_PROMPT_LEN
#define LIMIT 80
#define SLOTS PAIR_PROMPTS
#define LAYERS PAIR_LAYERS

static const uint32_t all_layers[LAYERS] = {0, 1, 2}, some_layers[] = {0, 2};

/* ---- decoding to the end, in any way --------------------------------------------------------- */

enum drafts { DRAFTS_NONE, DRAFTS_MODEL, DRAFTS_HOST, DRAFTS_MIXED };

/* What a slot is expected to be; checked after each round. */
struct stream {
    int32_t tokens[LIMIT], len, draft_len;
    int n_rounds, n_drafted, n_accepted;
    bool ended;
};

struct plan {
    struct sample_params params;
    enum drafts drafts;
    int32_t k; /* -1: varies by slot and round */
    int32_t prompt_len;
    const struct stream *oracle; /* (SLOTS) texts that host drafts come from, every 5th wrong */
    bool perfect;                /* the draft model is never wrong */
};

static int32_t k_of(const struct plan *p, int slot, int round)
{
    static const int32_t ks[] = {3, 0, 8, 1, 2, 5};
    return MIN(p->k >= 0 ? p->k : ks[(size_t)(slot + round) % COUNT_OF(ks)], SPECD_K_MAX);
}

static bool from_host(const struct plan *p, int slot, int round)
{
    return p->drafts == DRAFTS_HOST || (p->drafts == DRAFTS_MIXED && (slot + round / 2) % 2 == 0);
}

static void add_stream(struct rig *r, const struct plan *p, const struct stream *s, int32_t slot,
                       int round)
{
    struct round_seq *seq = rig_seq(r, slot, p->drafts == DRAFTS_NONE ? 0 : k_of(p, slot, round));
    if (!from_host(p, slot, round)) {
        bool lags = p->drafts != DRAFTS_NONE && s->len - s->draft_len > SPECD_DRAFT_LAG_MAX;
        if (lags && round % 3 != 0) /* sometimes caught up in the same round, sometimes not */
            rig_chunk(r, slot, MODEL_DRAFT, s->draft_len, s->len - 1 - s->draft_len);
        return;
    }
    seq->source = DRAFT_FROM_HOST;
    for (int32_t i = 0; i < seq->k; i++) {
        int32_t at = s->len + i, id = at < LIMIT ? p->oracle[slot].tokens[at] : 0;
        seq->host_draft[i] = at % 5 == 0 ? (id + 1) % VOCAB : id;
    }
}

static int32_t draft_len_expected(const struct rig *r, const struct stream *s,
                                  const struct round_seq *seq, const struct seq_result *out)
{
    int32_t have = s->draft_len;
    for (int32_t i = 0; i < r->round.n_chunks; i++) {
        if (r->round.chunks[i].slot == seq->slot)
            have = r->round.chunks[i].start + r->round.chunks[i].n;
    }
    if (seq->source == DRAFT_FROM_HOST || out->n_drafted == 0)
        return have;
    /* Fed: all up to len - 1, then all drafted tokens but the last. */
    int32_t fed = s->len + out->n_drafted - 1, good = s->len + out->n_accepted;
    return MIN(MIN(fed, good), out->len - 1);
}

static void take(struct rig *r, const struct plan *p, struct stream *s, const struct round_seq *seq,
                 const struct seq_result *out)
{
    if (p->perfect && seq->source == DRAFT_FROM_MODEL)
        assert_int_equal(out->n_accepted, out->n_drafted);
    assert_int_equal(out->slot, seq->slot);
    assert_in_range(out->n_tokens, 1, out->n_drafted + 1);
    assert_in_range(out->n_accepted, 0, out->n_drafted);
    assert_true(out->n_drafted <= seq->k);
    assert_int_equal(out->len, s->len + out->n_tokens);
    assert_int_equal(out->rows[MODEL_TARGET], out->len - 1);
    assert_true(out->len <= LIMIT);
    int32_t draft_len = draft_len_expected(r, s, seq, out);
    assert_int_equal(out->rows[MODEL_DRAFT], draft_len);
    memcpy(s->tokens + s->len, out->tokens, (size_t)out->n_tokens * sizeof(int32_t));
    s->len = out->len;
    s->draft_len = out->rows[MODEL_DRAFT];
    s->n_rounds++;
    s->n_drafted += out->n_drafted;
    s->n_accepted += out->n_accepted;
    s->ended = (out->flags & SEQ_END) || s->len == LIMIT;
}

static bool round_of_streams(struct rig *r, const struct plan *p, struct stream *streams, int round)
{
    rig_clear(r);
    for (int32_t i = 0; i < SLOTS; i++) {
        if (!streams[i].ended)
            add_stream(r, p, &streams[i], i, round);
    }
    if (r->round.n_seqs == 0)
        return false;
    rig_run(r);
    assert_int_equal(r->result.n_seqs, r->round.n_seqs);
    for (int32_t i = 0; i < r->round.n_seqs; i++)
        take(r, p, &streams[r->round.seqs[i].slot], &r->round.seqs[i], &r->result.seqs[i]);
    return true;
}

static void decode(struct rig *r, const struct model_pair *f, const struct plan *p,
                   struct stream *streams)
{
    int32_t n = p->prompt_len ? p->prompt_len : PROMPT;
    memset(streams, 0, SLOTS * sizeof(*streams));
    r->n_free = 2 * r->setup.n_slots * ((r->setup.n_ctx - 1) / SPECD_BLOCK_TOKENS + 1);
    for (int32_t i = 0; i < SLOTS; i++) {
        struct sample_params params = p->params;
        params.seed += (uint64_t)i;
        memcpy(streams[i].tokens, f->prompts[i], (size_t)n * sizeof(int32_t));
        streams[i].len = n;
        rig_slot(r, i, &params, f->prompts[i], n, LIMIT);
        rig_prefill(r, i, MODEL_TARGET, 0, n - 1, 8);
        if (p->drafts == DRAFTS_MODEL || p->drafts == DRAFTS_MIXED) {
            rig_prefill(r, i, MODEL_DRAFT, 0, n - 1, 8);
            streams[i].draft_len = n - 1;
        }
    }
    for (int round = 0; round_of_streams(r, p, streams, round);)
        round++;
}

static void assert_same_texts(const struct stream *a, const struct stream *b)
{
    for (int i = 0; i < SLOTS; i++) {
        assert_int_equal(a[i].len, b[i].len);
        assert_memory_equal(a[i].tokens, b[i].tokens, (size_t)a[i].len * sizeof(int32_t));
    }
}

static struct device_setup setup_of(const struct model_pair *f, bool draft_model,
                                    const uint32_t *layers, uint32_t n_layers)
{
    struct device_setup s = rig_setup(f->target, draft_model ? f->draft : NULL);
    s.self_layers = layers;
    s.n_self_layers = n_layers;
    s.n_ctx = 96;
    s.threads = 2;
    return s;
}

/* ---- speculation changes nothing ------------------------------------------------------------- */

/* The tests mean little if the text repeats itself. */
static void assert_varied(const struct stream *s)
{
    bool seen[VOCAB] = {false};
    int n = 0;
    for (int i = PROMPT; i < s->len; i++) {
        n += !seen[s->tokens[i]];
        seen[s->tokens[i]] = true;
    }
    assert_true(n >= 12);
}

/* On a device that runs in an emulator, the richest mixture stands for all. */
static bool is_quick(void)
{
    return getenv("SPECD_TEST_QUICK") != NULL;
}

/* Decodes with params plainly, then in every way that `setup` allows. */
static void check_speculation(const struct model_pair *f, const struct device_setup *setup,
                              const struct sample_params *params)
{
    static const int32_t ks[] = {0, 1, 3, 8, -1};
    struct stream plain[SLOTS], got[SLOTS];
    struct rig *r = rig_new(setup, 5);
    struct plan plan = {.params = *params};
    decode(r, f, &plan, plain);
    for (int i = 0; i < SLOTS; i++)
        assert_varied(&plain[i]);
    plan.oracle = plain;
    for (enum drafts d = is_quick() ? DRAFTS_MIXED : DRAFTS_MODEL; d <= DRAFTS_MIXED; d++) {
        for (size_t i = is_quick() ? COUNT_OF(ks) - 1 : 0; i < COUNT_OF(ks); i++) {
            plan.drafts = d;
            plan.k = ks[i];
            decode(r, f, &plan, got);
            assert_same_texts(got, plain);
            if (ks[i] >= 3 || is_quick()) /* some of each */
                assert_true(got[0].n_accepted > 0 && got[0].n_accepted < got[0].n_drafted);
        }
    }
    rig_free(r);
}

static struct sample_params coupled(void)
{
    struct sample_params p = rig_params();
    p.target.temperature = p.draft.temperature = 1.0f;
    p.target.top_k = 20;
    p.draft.min_p = 0.05f;
    p.mode = VERIFY_COUPLED;
    p.seed = 77;
    return p;
}

static void test_self_draft(void **state)
{
    struct device_setup setup = setup_of(*state, false, some_layers, COUNT_OF(some_layers));
    struct sample_params greedy = rig_params(), sampled = coupled();
    check_speculation(*state, &setup, &greedy);
    check_speculation(*state, &setup, &sampled);
}

/* Ids that end the text have no mass before a position: a drafted one, too. Several positions, as
 * rounds of good drafts must straddle them. */
static void test_masked_positions(void **state)
{
    struct device_setup setup = setup_of(*state, false, some_layers, COUNT_OF(some_layers));
    struct sample_params p = rig_params();
    p.n_ends = 16;
    for (int32_t from = PROMPT + 40; from < PROMPT + (is_quick() ? 41 : 45); from++) {
        for (int i = 0; i < p.n_ends; i++)
            p.ends[i] = (struct end_token){3 * i, from + i % 2};
        check_speculation(*state, &setup, &p);
    }
}

static void test_draft_model(void **state)
{
    struct device_setup setup = setup_of(*state, true, NULL, 0);
    struct sample_params greedy = rig_params(), sampled = coupled();
    check_speculation(*state, &setup, &greedy);
    setup.kv = KV_BF16;
    setup.max_rows = 5;
    check_speculation(*state, &setup, &sampled);
}

/* Penalties at a drafted position see the drafts before it. */
static void test_penalties(void **state)
{
    struct device_setup setup = setup_of(*state, true, NULL, 0);
    struct sample_params p = rig_params();
    p.target.repetition = p.draft.repetition = 1.5f;
    p.target.presence = 0.5f;
    p.target.frequency = 0.3f;
    check_speculation(*state, &setup, &p);
}

/* A draft of a third of the ids. */
static void test_draft_ids(void **state)
{
    static const uint32_t ids[] = {0x249249ff, 0x04924924};
    struct device_setup setup = setup_of(*state, true, NULL, 0);
    struct sample_params greedy = rig_params(), sampled = coupled();
    setup.trims_draft = true;
    greedy.draft_ids = sampled.draft_ids = ids;
    check_speculation(*state, &setup, &greedy);
    check_speculation(*state, &setup, &sampled);
}

/* So large a penalty that no token comes twice. */
static void test_presence(void **state)
{
    struct device_setup setup = setup_of(*state, false, all_layers, LAYERS);
    struct rig *r = rig_new(&setup, 5);
    struct stream streams[SLOTS];
    struct plan plan = {.params = rig_params(), .drafts = DRAFTS_MODEL, .k = 3};
    plan.params.target.presence = 1000.0f;
    decode(r, *state, &plan, streams);
    for (int i = 0; i < SLOTS; i++) {
        bool seen[VOCAB] = {false};
        for (int j = PROMPT; j < streams[i].len; j++) {
            assert_false(seen[streams[i].tokens[j]]);
            seen[streams[i].tokens[j]] = true;
        }
    }
    rig_free(r);
}

static void check_perfect(const struct model_pair *f, const struct device_setup *setup)
{
    struct rig *r = rig_new(setup, 5);
    struct stream plain[SLOTS], got[SLOTS];
    struct plan plan = {.params = rig_params()};
    decode(r, f, &plan, plain);
    plan.oracle = plain;
    plan.perfect = true;
    plan.k = -1;
    for (enum drafts d = DRAFTS_MODEL; d <= DRAFTS_MIXED; d++) {
        plan.drafts = d;
        decode(r, f, &plan, got);
        assert_same_texts(got, plain);
    }
    plan.drafts = DRAFTS_MODEL;
    plan.params.target.temperature = plan.params.draft.temperature = 1.0f;
    decode(r, f, &plan, got);
    plan.params.mode = VERIFY_BLOCK;
    decode(r, f, &plan, got);
    rig_free(r);
}

/* The target as its own draft is never rejected, at any temperature: so the draft's KV is right
 * after every mixture of rounds. */
static void test_perfect_draft(void **state)
{
    const struct model_pair *f = *state;
    struct device_setup self = setup_of(f, false, all_layers, LAYERS);
    struct device_setup twin = setup_of(f, false, NULL, 0);
    twin.models[MODEL_DRAFT] = f->target;
    check_perfect(f, &self);
    check_perfect(f, &twin);
}

/* Rows of the draft model that were left out, and computed later in any pieces, are the rows of a
 * draft that never lagged: each round accepts the same tokens, by the same chances, bit for bit. */
static void test_rows_made_later(void **state)
{
    const struct model_pair *f = *state;
    struct device_setup setup = setup_of(f, true, NULL, 0);
    struct sample_params params = coupled();
    struct rig *r = rig_new(&setup, 11);
    struct stream s = {.len = PROMPT};
    int32_t k = MIN(3, SPECD_K_MAX), n_blocks = r->n_free, accepted = 0;
    uint64_t random = 4;
    memcpy(s.tokens, f->prompts[0], sizeof f->prompts[0]);
    rig_slot(r, 0, &params, s.tokens, s.len, LIMIT);
    rig_prefill(r, 0, MODEL_TARGET, 0, s.len - 1, 8);
    rig_prefill(r, 0, MODEL_DRAFT, 0, s.len - 1, 8);
    while (s.len < LIMIT - 1) {
        rig_clear(r);
        rig_seq(r, 0, k);
        rig_run(r);
        struct seq_result never = r->result.seqs[0];

        r->n_free = n_blocks / 2; /* slot 1, again and again: the same text without draft rows */
        rig_slot(r, 1, &params, s.tokens, s.len, LIMIT);
        rig_prefill(r, 1, MODEL_TARGET, 0, s.len - 1, 8);
        int32_t there = (int32_t)(random_next(&random) % (uint64_t)s.len);
        rig_prefill(r, 1, MODEL_DRAFT, 0, there, 1 + (int32_t)(random_next(&random) % 9));
        if (s.len - there > SPECD_DRAFT_LAG_MAX)
            rig_prefill(r, 1, MODEL_DRAFT, there, s.len - 1,
                        1 + (int32_t)(random_next(&random) % 9));
        rig_clear(r);
        rig_seq(r, 1, k);
        rig_run(r);
        const struct seq_result *later = &r->result.seqs[0];
        assert_int_equal(later->n_drafted, never.n_drafted);
        assert_int_equal(later->n_accepted, never.n_accepted);
        int32_t shown = MIN(never.n_accepted + 1, never.n_drafted);
        assert_memory_equal(later->overlap, never.overlap, (size_t)shown * sizeof(float));
        assert_memory_equal(later->tokens, never.tokens, (size_t)never.n_tokens * sizeof(int32_t));

        memcpy(s.tokens + s.len, never.tokens, (size_t)never.n_tokens * sizeof(int32_t));
        s.len = never.len;
        accepted += never.n_accepted;
        if (never.flags & SEQ_END)
            break;
    }
    assert_true(accepted > 5);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_self_draft),       cmocka_unit_test(test_draft_model),
        cmocka_unit_test(test_masked_positions), cmocka_unit_test(test_penalties),
        cmocka_unit_test(test_presence),         cmocka_unit_test(test_perfect_draft),
        cmocka_unit_test(test_rows_made_later),  cmocka_unit_test(test_draft_ids),
    };
    return cmocka_run_group_tests(tests, pair_setup, pair_teardown);
}
