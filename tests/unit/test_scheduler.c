/* links: specd_engine specd_cpu
 * labels: hostile */
/*
 * The scheduler against a made-up device, with one and with two rounds in flight: random arrivals,
 * acceptances, ends, stalls and cancels in small pools. The invariants hold after every plan,
 * everybody finishes, rounds fit the slots as they are when the rounds run, and no block or slot
 * that a round in flight may write is anybody else's or frozen.
 */
#include "scheduler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static uint64_t rng_state;

static uint32_t rnd(uint32_t n)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % n;
}

#define CONTEXT 64
#define SLOTS 6

static struct seq *make_seq(int32_t vocab, enum drafter_type drafter)
{
    struct request *req = request_new();
    struct seq *q = seq_new(req);
    int32_t n = 1 + (int32_t)rnd(CONTEXT / 2);
    int32_t ids[CONTEXT];
    for (int32_t i = 0; i < n; i++)
        ids[i] = (int32_t)rnd((uint32_t)vocab);
    seq_set_prompt(q, ids, n);
    q->limit = n + 1 + (int32_t)rnd((uint32_t)(CONTEXT - n));
    q->k_max = q->k_max_model = (int32_t)rnd(SPECD_K_MAX + 1);
    q->k_fixed = rnd(3) == 0 ? q->k_max : -1;
    q->k_max_model = q->k_max;
    req->client = rnd(4);
    req->priority = rnd(2) ? (int32_t)rnd(21) - 10 : 0;
    acceptance_init(&q->acceptance, NULL, false);
    if (drafter != DRAFT_NONE)
        q->drafters[q->n_drafters++].drafter = drafter_of(drafter);
    q->about = (struct draft_text){.n_ctx = CONTEXT, .n_prompt = q->n_prompt};
    return q;
}

/* ---- the device in miniature: slots of its own, and up to two rounds that it has not played ----
 */

struct fake_slot {
    int32_t len, rows[MODEL_ROLES], limit;
    bool ended;
};

struct fake_round {
    struct round round;
    uint64_t number;
    uint64_t owner[SLOTS]; /* arrival; 0: the round doesn't name the slot */
    /* Rows that it writes: the target's from first_written on, the draft's in a range. */
    int32_t n_blocks[SLOTS], first_written[SLOTS], blocks[SLOTS][CONTEXT];
    int32_t draft_from[SLOTS], draft_to[SLOTS];
};

static struct fake_slot slots[SLOTS];
static struct fake_round rounds[2];
static int n_rounds, most_rounds;
static uint64_t n_into_index, n_model_drafts,
    n_fills;              /* draft rows into frozen blocks, and others */
static uint64_t n_shared; /* preemptions for another client's share */

static void note_owner(struct fake_round *f, const struct sched *s, int32_t slot)
{
    const struct seq *q = s->slots[slot];
    assert_non_null(q);
    f->owner[slot] = q->share.arrival;
    f->n_blocks[slot] = q->n_blocks;
    memcpy(f->blocks[slot], q->blocks, (size_t)q->n_blocks * sizeof *q->blocks);
}

/* Where the round's rows begin, as far as the slots know: rounds before it may yet move on. */
static void note_rows(struct fake_round *f)
{
    for (int32_t i = 0; i < SLOTS; i++) {
        f->first_written[i] = f->draft_from[i] = INT32_MAX;
        f->draft_to[i] = 0;
    }
    for (int32_t i = 0; i < f->round.n_chunks; i++) {
        const struct round_chunk *c = &f->round.chunks[i];
        if (c->role == MODEL_TARGET) {
            f->first_written[c->slot] = c->start;
        } else {
            f->draft_from[c->slot] = c->start;
            f->draft_to[c->slot] = c->start + c->n;
        }
    }
    for (int32_t i = 0; i < f->round.n_seqs; i++) {
        const struct round_seq *rs = &f->round.seqs[i];
        const struct fake_slot *slot = &slots[rs->slot];
        f->first_written[rs->slot] = MIN(f->first_written[rs->slot], slot->rows[MODEL_TARGET]);
        if (rs->source != DRAFT_FROM_MODEL || rs->k == 0)
            continue;
        f->draft_from[rs->slot] = MIN(f->draft_from[rs->slot], slot->rows[MODEL_DRAFT]);
        f->draft_to[rs->slot] = slot->len - 1 + rs->k;
    }
}

/* What a round in flight may write into belongs to the sequence it was planned for. */
static void check_deferred(const struct sched *s)
{
    for (int i = 0; i < n_rounds; i++) {
        const struct fake_round *f = &rounds[i];
        for (int32_t slot = 0; slot < SLOTS; slot++) {
            if (f->owner[slot] == 0)
                continue;
            assert_true(!s->slots[slot] || s->slots[slot]->share.arrival == f->owner[slot]);
            for (int32_t b = f->first_written[slot] / SPECD_BLOCK_TOKENS; b < f->n_blocks[slot];
                 b++) {
                for (const struct seq *q = s->first; q; q = q->next) {
                    for (int32_t j = 0; q->share.arrival != f->owner[slot] && j < q->n_blocks; j++)
                        assert_int_not_equal(q->blocks[j], f->blocks[slot][b]);
                }
            }
        }
    }
}

/* Draft rows that f writes into the block at i of a slot's table: [*from, *to), none if empty. */
static void draft_rows_in(const struct fake_round *f, int32_t slot, int32_t i, int32_t *from,
                          int32_t *to)
{
    *from = MAX(f->draft_from[slot] - i * SPECD_BLOCK_TOKENS, 0);
    *to = MIN(f->draft_to[slot] - i * SPECD_BLOCK_TOKENS, SPECD_BLOCK_TOKENS);
}

/* The round that runs next writes no target row into a block of the prefix index, and no draft row
 * of a block that anybody may count on, or that another slot of a round in flight writes. */
static void check_index(const struct sched *s)
{
    const struct fake_round *f = &rounds[0];
    for (int32_t slot = 0; n_rounds > 0 && slot < SLOTS; slot++) {
        if (f->owner[slot] == 0 || slots[slot].ended)
            continue;
        for (int32_t i = 0; i < f->n_blocks[slot]; i++) {
            int32_t block = f->blocks[slot][i], from, to;
            if ((i + 1) * SPECD_BLOCK_TOKENS > f->first_written[slot])
                assert_false(kv_is_indexed(s->kv, block));
            draft_rows_in(f, slot, i, &from, &to);
            if (from >= to)
                continue;
            assert_true(kv_draft_rows(s->kv, &block, 1, 0) <= from);
            n_into_index += kv_is_indexed(s->kv, block);
            for (int32_t j = 0; j < n_rounds; j++) {
                for (int32_t other = 0; other < SLOTS; other++) {
                    for (int32_t k = 0; k < rounds[j].n_blocks[other]; k++) {
                        if (other == slot || rounds[j].owner[other] == 0 || slots[other].ended ||
                            rounds[j].blocks[other][k] != block)
                            continue;
                        draft_rows_in(&rounds[j], other, k, &from, &to);
                        assert_true(from >= to);
                    }
                }
            }
        }
    }
}

static void submit_round(struct sched *s, const struct round *r)
{
    struct fake_round *f = &rounds[n_rounds++];
    *f = (struct fake_round){.round = *r, .number = s->flight.submitted};
    most_rounds = MAX(most_rounds, n_rounds);
    int32_t rows[MODEL_ROLES] = {0};
    for (int32_t i = 0; i < r->n_seqs; i++)
        note_owner(f, s, r->seqs[i].slot);
    for (int32_t i = 0; i < r->n_chunks; i++) {
        const struct round_chunk *c = &r->chunks[i];
        note_owner(f, s, c->slot);
        rows[c->role] += c->n;
        for (int32_t j = 0; j < i; j++) /* one chunk per slot and model */
            assert_false(c->slot == r->chunks[j].slot && c->role == r->chunks[j].role);
    }
    assert_true(rows[MODEL_TARGET] <= s->max_rows && rows[MODEL_DRAFT] <= s->max_rows);
    for (int32_t i = 0; i < s->n_slots; i++) {
        struct seq *q = s->slots[i];
        if (q && q->slot_is_new) { /* the begin of a round in flight must not see this */
            for (int j = 0; j < n_rounds - 1; j++)
                assert_int_equal(rounds[j].owner[i], 0);
            slots[i] = (struct fake_slot){.len = q->len,
                                          .rows = {q->cached_target_len, q->cached_draft_len},
                                          .limit = q->limit};
            q->slot_is_new = false;
        }
    }
    note_rows(f);
    check_deferred(s);
}

static void play_chunk(const struct fake_round *f, const struct round_chunk *c)
{
    struct fake_slot *slot = &slots[c->slot];
    int32_t *rows = &slot->rows[c->role];
    assert_int_equal(c->start, *rows);
    n_fills += c->role == MODEL_DRAFT;
    assert_true(c->n > 0 && c->start + c->n <= slot->len - 1);
    assert_true(c->start + c->n <= f->n_blocks[c->slot] * SPECD_BLOCK_TOKENS);
    *rows += c->n;
}

/* A fixed K is what it would be with one round in flight. */
static void check_fixed_k(const struct sched *s, const struct round_seq *rs, int32_t k)
{
    const struct fake_slot *slot = &slots[rs->slot];
    const struct seq *q = s->slots[rs->slot];
    if (!q || q->k_fixed < 0 || rs->source != DRAFT_FROM_MODEL || q->n_drafters == 0 ||
        (k > 0 && slot->len - slot->rows[MODEL_DRAFT] > SPECD_DRAFT_LAG_MAX))
        return;
    int32_t room = MIN(MIN(MIN(q->k_fixed, s->k_draft), slot->limit - slot->len - 1),
                       s->draft_ctx - slot->len);
    bool first = slot->len == q->n_prompt;
    assert_int_equal(k, q->draft_kv && !first ? MAX(room, 0) : 0);
}

/* Draws what the round commits for one slot and advances it. */
static void play_seq(const struct sched *s, const struct fake_round *f, const struct round_seq *rs,
                     int32_t vocab, struct seq_result *out)
{
    struct fake_slot *slot = &slots[rs->slot];
    *out = (struct seq_result){.slot = rs->slot};
    if (slot->ended)
        return;
    assert_int_equal(slot->rows[MODEL_TARGET], slot->len - 1);
    assert_true(slot->len < slot->limit);
    int32_t k = MIN(rs->k, slot->limit - slot->len - 1);
    bool by_model = rs->source == DRAFT_FROM_MODEL && k > 0;
    assert_true(slot->len + k <= f->n_blocks[rs->slot] * SPECD_BLOCK_TOKENS);
    assert_true(!by_model || slot->len - slot->rows[MODEL_DRAFT] <= SPECD_DRAFT_LAG_MAX);
    assert_true(!by_model || slot->len + k <= s->draft_ctx);
    check_fixed_k(s, rs, k);
    n_model_drafts += by_model;
    out->n_accepted = (int32_t)rnd((uint32_t)k + 1);
    out->n_tokens = out->n_accepted + 1;
    for (int32_t i = 0; i < out->n_tokens; i++)
        out->tokens[i] = (int32_t)rnd((uint32_t)vocab);
    if (by_model)
        slot->rows[MODEL_DRAFT] = slot->len + MIN(out->n_accepted, k - 1);
    slot->len += out->n_tokens;
    slot->rows[MODEL_TARGET] = slot->len - 1;
    slot->ended = slot->len >= slot->limit || rnd(40) == 0;
    out->flags = slot->ended ? SEQ_END : 0;
    out->len = slot->len;
    out->rows[MODEL_TARGET] = slot->rows[MODEL_TARGET];
    out->rows[MODEL_DRAFT] = slot->rows[MODEL_DRAFT];
}

/* What commit.c does with a result. Returns sequences that ended. */
static int commit_result(struct sched *s, uint64_t number, const struct seq_result *r)
{
    struct seq *q = s->slots[r->slot];
    if (!q || !flight_part(q, number))
        return 0;
    assert_true(r->n_tokens > 0);
    seq_append(q, r->tokens, r->n_tokens);
    q->target_len = r->rows[MODEL_TARGET];
    q->draft_len = r->rows[MODEL_DRAFT];
    sched_commit(s, q);
    if (r->flags & SEQ_END || rnd(40) == 0) {
        sched_remove(s, q);
        seq_free(q);
        return 1;
    }
    if (rnd(30) == 0)
        sched_evict(s, q, SEQ_STALLED);
    return 0;
}

/* The oldest round runs and is collected. */
static int play_round(struct sched *s, int32_t vocab)
{
    static struct fake_round f;
    static struct seq_result results[SLOTS];
    int ended = 0;
    f = rounds[0];
    rounds[0] = rounds[1];
    n_rounds--;
    for (int32_t i = 0; i < f.round.n_chunks; i++)
        play_chunk(&f, &f.round.chunks[i]);
    for (int32_t i = 0; i < f.round.n_seqs; i++)
        play_seq(s, &f, &f.round.seqs[i], vocab, &results[i]);
    note_rows(&rounds[0]);
    sched_retire(s, f.number);
    for (int32_t i = 0; i < f.round.n_seqs; i++)
        ended += commit_result(s, f.number, &results[i]);
    return ended;
}

/* Somebody leaves, whatever is in flight. */
static int cancel_one(struct sched *s)
{
    struct seq *q = s->first;
    for (uint32_t n = rnd(4); n > 0 && q; n--)
        q = q->next;
    if (!q)
        return 0;
    sched_remove(s, q);
    seq_free(q);
    return 1;
}

static void wake_stalled(struct sched *s)
{
    for (struct seq *q = s->first; q; q = q->next) {
        if (q->state == SEQ_STALLED && rnd(3) == 0)
            sched_ready(s, q);
    }
}

static void simulate(uint64_t seed, int depth)
{
    static const enum drafter_type kinds[] = {DRAFT_NONE, DRAFT_MODEL, DRAFT_LOOKUP};
    rng_state = seed;
    int32_t vocab = 2 + (int32_t)rnd(6);
    int32_t pool = blocks_for(CONTEXT) + (int32_t)rnd(12);
    struct kv *kv = kv_create(pool);
    static struct draft_len drafts;
    struct sched s;
    static struct round round;
    drafts = (struct draft_len){0};
    pass_cost_set(&drafts.cost, PASS_VERIFY, 1, 1e6);
    pass_cost_set(&drafts.cost, PASS_VERIFY, 8, 1.5e6);
    pass_cost_set(&drafts.cost, PASS_STEP, 1, 1e5);
    pass_cost_set(&drafts.cost, PASS_FILL, 1, 1e4);
    sched_init(&s, kv, &drafts);
    s.n_slots = 1 + (int32_t)rnd(SLOTS);
    s.max_rows = 1 + (int32_t)rnd(40);
    s.mixed_rows = 1 + (int32_t)rnd((uint32_t)s.max_rows);
    s.k_draft = 1 + (int32_t)rnd(SPECD_K_MAX);
    s.draft_ctx = rnd(2) ? CONTEXT / (1 + (int32_t)rnd(2)) : 0;

    int total = 40, started = 0, ended = 0, plans = 0;
    while (ended < total) {
        if (started < total && rnd(3) == 0) {
            enum drafter_type d = kinds[rnd(3)];
            if (d == DRAFT_MODEL && s.draft_ctx == 0)
                d = DRAFT_NONE;
            struct seq *q = make_seq(vocab, d);
            started++;
            sched_add(&s, q);
            sched_ready(&s, q);
        }
        wake_stalled(&s);
        bool planned = n_rounds < depth && sched_plan(&s, &round, 1);
        if (planned)
            submit_round(&s, &round);
        assert_true(sched_is_valid(&s));
        if (n_rounds > 0 && (!planned || rnd(3) == 0))
            ended += play_round(&s, vocab);
        if (rnd(60) == 0)
            ended += cancel_one(&s);
        assert_true(sched_is_valid(&s));
        check_index(&s);
        assert_true(++plans < 100000); /* nobody starves */
    }
    while (n_rounds > 0)
        play_round(&s, vocab);
    assert_int_equal(kv_n_used(kv), 0);
    n_shared += s.preemptions[PREEMPT_SHARE];
    sched_fini(&s);
    kv_free(kv);
}

static void test_random_days(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++)
        simulate(seed, 1);
    assert_int_equal(most_rounds, 1);
    assert_true(n_shared > 1000);
}

static void test_two_in_flight(void **state)
{
    (void)state;
    n_into_index = n_model_drafts = n_fills = n_shared = 0;
    for (uint64_t seed = 1; seed <= 600; seed++)
        simulate(seed, 2);
    assert_int_equal(most_rounds, 2);
    assert_true(n_into_index > 100 && n_model_drafts > 1000 && n_fills > 1000);
    assert_true(n_shared > 1000);
}

static struct seq *enter(struct sched *s, uint64_t client, int32_t n)
{
    int32_t ids[CONTEXT];
    struct seq *q = make_seq(2, DRAFT_NONE);
    for (int32_t i = 0; i < n; i++)
        ids[i] = (int32_t)rnd(1000);
    seq_set_prompt(q, ids, n);
    q->limit = n + 2;
    q->req->client = client;
    q->req->priority = 0;
    sched_add(s, q);
    sched_ready(s, q);
    return q;
}

/* A short prompt beside another client's long ones, which would take sixty rounds. */
static void test_prompts_in_turn(void **state)
{
    (void)state;
    struct kv *kv = kv_create(8 * blocks_for(CONTEXT));
    static struct draft_len drafts;
    struct sched s;
    static struct round round;
    drafts = (struct draft_len){0};
    pass_cost_set(&drafts.cost, PASS_VERIFY, 1, 1e6);
    sched_init(&s, kv, &drafts);
    s.n_slots = SLOTS;
    s.max_rows = s.mixed_rows = 4;
    for (int i = 0; i < 4; i++)
        enter(&s, 1, CONTEXT - 3);
    for (int i = 0; i < 3; i++) {
        assert_true(sched_plan(&s, &round, 1));
        submit_round(&s, &round);
        play_round(&s, 2);
    }
    struct seq *q = enter(&s, 2, 9);
    bool computed = false;
    for (int n = 1; !computed; n++) {
        assert_true(n <= 6);
        assert_true(sched_plan(&s, &round, 1));
        submit_round(&s, &round);
        const struct round_part *part = flight_part(q, s.flight.submitted);
        computed = part && part->rows[MODEL_TARGET] == q->n_prompt - 1;
        play_round(&s, 2); /* q may be gone afterwards */
    }
    while (s.first) {
        struct seq *done = s.first;
        sched_remove(&s, done);
        seq_free(done);
    }
    sched_fini(&s);
    kv_free(kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_days),
        cmocka_unit_test(test_two_in_flight),
        cmocka_unit_test(test_prompts_in_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
