/* links: specd_engine specd_cpu
 * labels: hostile */
/*
 * The scheduler against a made-up device: random arrivals, acceptances, ends and stalls in small
 * pools; the invariants hold after every turn, everybody finishes, and the round is well formed.
 */
#include "scheduler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>

static uint64_t rng_state;

static uint32_t rnd(uint32_t n)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % n;
}

#define CONTEXT 64

static struct seq *make_seq(int32_t vocab, enum drafter_type drafter, uint64_t arrival)
{
    struct request *req = request_new();
    struct seq *q = seq_new(req);
    int32_t n = 1 + (int32_t)rnd(CONTEXT / 2);
    int32_t ids[CONTEXT];
    for (int32_t i = 0; i < n; i++)
        ids[i] = (int32_t)rnd((uint32_t)vocab);
    seq_set_prompt(q, ids, n);
    q->limit = n + 1 + (int32_t)rnd((uint32_t)(CONTEXT - n));
    q->k_max = (int32_t)rnd(SPECD_K_MAX + 1);
    q->k_fixed = rnd(3) == 0 ? q->k_max : -1;
    q->arrival = arrival;
    pace_init(&q->pace, NULL);
    if (drafter != DRAFT_NONE)
        q->drafters[q->n_drafters++] = drafter;
    if (drafter == DRAFT_LOOKUP) {
        q->lookup = lookup_create(CONTEXT);
        lookup_append(q->lookup, ids, n);
    }
    return q;
}

static void check_round(const struct sched *s, const struct round *r)
{
    for (int32_t i = 0; i < r->n_seqs; i++) {
        const struct round_seq *rs = &r->seqs[i];
        const struct seq *q = s->slots[rs->slot];
        assert_non_null(q);
        assert_int_equal(q->target_len, q->len - 1);
        assert_true(rs->k >= 0 && q->len + rs->k + 1 <= q->limit);
        assert_true(q->len + rs->k <= q->n_blocks * SPECD_BLOCK_TOKENS);
        if (q->k_fixed >= 0 && rs->source == DRAFT_FROM_MODEL && q->n_drafters > 0 &&
            q->len - q->draft_len <= SPECD_DRAFT_LAG_MAX)
            assert_int_equal(rs->k, q->draft_kv ? MIN(MIN(q->k_fixed, q->limit - q->len - 1),
                                                      MAX(s->draft_ctx - q->len, 0))
                                                : 0);
    }
    int32_t rows[MODEL_ROLES] = {0};
    for (int32_t i = 0; i < r->n_chunks; i++) {
        const struct round_chunk *c = &r->chunks[i];
        const struct seq *q = s->slots[c->slot];
        assert_true(c->n > 0 && c->start >= 0 && c->start + c->n <= q->len - 1);
        rows[c->role] += c->n;
        for (int32_t j = 0; j < i; j++) /* one chunk per slot and model */
            assert_false(c->slot == r->chunks[j].slot && c->role == r->chunks[j].role);
    }
    assert_true(rows[MODEL_TARGET] <= s->max_rows && rows[MODEL_DRAFT] <= s->max_rows);
}

/* What the device and commit.c do with a round, in miniature. Returns sequences that ended. */
static int play_round(struct sched *s, const struct round *r, int32_t vocab)
{
    int ended = 0;
    for (int32_t i = 0; i < r->n_seqs; i++) {
        struct seq *q = s->slots[r->seqs[i].slot];
        int32_t accepted = (int32_t)rnd((uint32_t)r->seqs[i].k + 1), ids[SPECD_K_MAX + 1];
        for (int32_t k = 0; k <= accepted; k++)
            ids[k] = (int32_t)rnd((uint32_t)vocab);
        bool by_model = r->seqs[i].source == DRAFT_FROM_MODEL && r->seqs[i].k > 0;
        int32_t drafted_rows = q->len + MIN(accepted, r->seqs[i].k - 1);
        if (by_model)
            q->draft_len = drafted_rows;
        seq_append(q, ids, accepted + 1);
        if (q->lookup)
            lookup_append(q->lookup, ids, accepted + 1);
        q->target_len = q->len - 1;
        kv_commit(s->kv, NULL, q->tokens, q->target_len,
                  s->draft_ctx > 0 ? q->draft_len : INT32_MAX, !q->draft_kv, q->blocks,
                  q->n_blocks);
        if (q->len >= q->limit || rnd(40) == 0) {
            sched_remove(s, q);
            seq_free(q);
            ended++;
        } else if (rnd(30) == 0) {
            sched_evict(s, q, SEQ_STALLED);
        }
    }
    return ended;
}

static void wake_stalled(struct sched *s)
{
    for (struct seq *q = s->first; q; q = q->next) {
        if (q->state == SEQ_STALLED && rnd(3) == 0)
            sched_ready(s, q);
    }
}

static void simulate(uint64_t seed)
{
    static const enum drafter_type kinds[] = {DRAFT_NONE, DRAFT_MODEL, DRAFT_LOOKUP};
    rng_state = seed;
    int32_t vocab = 2 + (int32_t)rnd(6);
    int32_t pool = blocks_for(CONTEXT) + (int32_t)rnd(12);
    struct kv *kv = kv_create(pool);
    struct pace_cost cost;
    struct sched s;
    static struct round round;
    pace_cost_init(&cost);
    pace_cost_set_verify(&cost, 1, 1e6);
    pace_cost_set_verify(&cost, 8, 1.5e6);
    pace_cost_set_draft(&cost, 1, 1e5);
    sched_init(&s, kv, &cost);
    s.n_slots = 1 + (int32_t)rnd(6);
    s.max_rows = 1 + (int32_t)rnd(40);
    s.mixed_rows = 1 + (int32_t)rnd((uint32_t)s.max_rows);
    s.draft_ctx = rnd(2) ? CONTEXT / (1 + (int32_t)rnd(2)) : 0;

    int total = 40, started = 0, ended = 0, turns = 0;
    while (ended < total) {
        if (started < total && rnd(3) == 0) {
            enum drafter_type d = kinds[rnd(3)];
            if (d == DRAFT_MODEL && s.draft_ctx == 0)
                d = DRAFT_NONE;
            struct seq *q = make_seq(vocab, d, (uint64_t)++started);
            sched_add(&s, q);
            sched_ready(&s, q);
        }
        wake_stalled(&s);
        if (sched_plan(&s, &round, 1)) {
            check_round(&s, &round);
            assert_true(sched_is_valid(&s));
            ended += play_round(&s, &round, vocab);
        }
        assert_true(sched_is_valid(&s));
        assert_true(++turns < 100000); /* nobody starves */
    }
    assert_int_equal(kv_n_used(kv), 0);
    kv_free(kv);
}

static void test_random_days(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++)
        simulate(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_days)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
