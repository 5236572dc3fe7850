/*
 * cuda/rows.cu and cuda/advance.cu on the emulator against what device.h says, written down once
 * more, and against the host's own check of the round: random slots and rounds, every set of rows,
 * windows of prompts, items and merges of attention's work, counts and the advance.
 *
 * links: emu_rig
 */
#include "advance.h"
#include "forward_rig.h"
#include "specd/round_check.h"
#include "specd/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SLOTS 12
#define CTX 900
#define K_MAX MIN(5, SPECD_K_MAX)
#define VOCAB 50
#define ROWS_MAX 4000

static struct device_state s;
static struct round *begun;

/* A slot that may decode, or not: too far behind, at its limit, never set, stopped. */
static void slot_random(int32_t i)
{
    struct device_slot *slot = &s.slots[i];
    size_t counts = (size_t)(s.k_max + 1) * VOCAB;

    slot->len = 1 + rand() % (CTX - 20);
    slot->n_prompt = rand() % 3 ? slot->len : rand() % slot->len;
    slot->limit = slot->len + rand() % 12;
    slot->rows[MODEL_TARGET] = rand() % 6 ? slot->len - 1 : rand() % slot->len;
    slot->rows[MODEL_DRAFT] =
        rand() % 4 && slot->len > 2 ? slot->len - 1 - rand() % 2 : rand() % slot->len;
    slot->round = (uint32_t)rand();
    slot->stopped = rand() % 9 == 0;
    slot->counting = rand() % 2;
    slot->counts_all = device_take(counts * 2);
    slot->counts_generated = device_take(counts * 2);
    memset(slot->counts_all, 0, counts * 2);
    memset(slot->counts_generated, 0, counts * 2);
    for (int32_t j = 0; j < slot->len; j++) {
        slot->tokens[j] = rand() % VOCAB;
        slot->counts_all[slot->tokens[j]]++;
        slot->counts_generated[slot->tokens[j]] += j >= slot->n_prompt;
    }
    slot_blocks_make(&s, i, CTX);
    if (rand() % 11 == 0)
        slot->len = 0;
}

static void seq_random(struct round_seq *seq, int32_t slot)
{
    seq->slot = slot;
    seq->k = rand() % (K_MAX + 3);
    seq->source = rand() % 3 ? DRAFT_FROM_MODEL : DRAFT_FROM_HOST;
    for (int32_t k = 0; k < SPECD_K_MAX; k++)
        seq->host_draft[k] = rand() % 12 ? rand() % VOCAB : rand() % 2 ? -1 : VOCAB;
}

static void chunks_random(int32_t slot)
{
    const struct device_slot *of = &s.slots[slot];

    for (int role = 0; role < MODEL_ROLES; role++) {
        int32_t start = of->rows[role];

        if (of->len - 1 - start > 0 && rand() % 2)
            begun->chunks[begun->n_chunks++] = (struct round_chunk){
                slot, (enum model_role)role, start, 1 + rand() % (of->len - 1 - start),
                role == MODEL_TARGET && rand() % 3 == 0};
    }
}

static void round_random(void)
{
    int n_slots = 1 + rand() % SLOTS;

    s = state_make(n_slots, CTX, SLOTS * (CTX / SPECD_BLOCK_TOKENS + 2), K_MAX, VOCAB);
    if (rand() % 8 == 0)
        s.n_vocab_draft = 0;
    if (rand() % 2)
        s.k_draft = 1 + rand() % K_MAX;
    begun = &state_round(&s)->round;
    state_round(&s)->n_steps = rand() % 4 ? K_MAX : rand() % (K_MAX + 1);
    for (int32_t i = 0; i < n_slots; i++) {
        slot_random(i);
        chunks_random(i);
        if (rand() % 5)
            seq_random(&begun->seqs[begun->n_seqs++], i);
    }
}

/* ---- turns ----------------------------------------------------------------------------------- */

static int32_t expect_k(const struct round_seq *seq)
{
    const struct device_slot *slot = &s.slots[seq->slot];
    int32_t k = MIN(seq->k, s.k_max);

    if (slot->stopped || slot->len < 1 || slot->len >= slot->limit ||
        slot->rows[MODEL_TARGET] + 1 != slot->len)
        return -1;
    while (slot->len + k + 1 > slot->limit)
        k--;
    if (seq->source == DRAFT_FROM_MODEL) {
        if (s.n_vocab_draft == 0 || slot->len - slot->rows[MODEL_DRAFT] > SPECD_DRAFT_LAG_MAX)
            return 0;
        return MIN(MIN(k, s.k_draft), s.round->n_steps);
    }
    for (int32_t i = 0; i < k; i++) {
        if (seq->host_draft[i] < 0 || seq->host_draft[i] >= VOCAB)
            return i;
    }
    return k;
}

/* Row `row` of a slot's counts is about so many drafted tokens behind the committed ones. */
static void check_counts(const struct device_slot *slot, int32_t row)
{
    int32_t all[VOCAB] = {0}, generated[VOCAB] = {0};

    for (int32_t i = 0; i < slot->len + row; i++) {
        all[slot->tokens[i]]++;
        generated[slot->tokens[i]] += i >= slot->n_prompt;
    }
    for (int32_t id = 0; slot->counting && id < VOCAB; id++) {
        assert_int_equal(slot->counts_all[row * VOCAB + id], all[id]);
        assert_int_equal(slot->counts_generated[row * VOCAB + id], generated[id]);
    }
}

static struct slot_view view_of(const void *slots, int32_t i)
{
    const struct device_slot *slot = &((const struct device_slot *)slots)[i];

    return (struct slot_view){.blocks = slot->blocks,
                              .len = slot->len,
                              .limit = slot->limit,
                              .rows = {slot->rows[MODEL_TARGET], slot->rows[MODEL_DRAFT]},
                              .n_logprobs = -1};
}

/* Each sequence alone, as the host's check has it before the kernels run: the same K, and a
 * sequence that the host refuses is one that the kernel leaves out. */
static void check_host(void)
{
    const struct slot_shape shape = {.n_slots = s.n_slots,
                                     .n_ctx = s.n_ctx,
                                     .k_max = s.k_max,
                                     .k_draft = s.k_draft,
                                     .n_blocks = (s.n_ctx - 1) / SPECD_BLOCK_TOKENS + 1,
                                     .n_vocab = s.n_vocab};
    const struct round_limits limits = {&shape, {true, true}, s.n_vocab_draft};
    struct round *alone = xcalloc(1, sizeof(*alone));
    int32_t k[SPECD_SLOTS_MAX];

    alone->n_seqs = 1;
    for (int32_t i = 0; i < begun->n_seqs; i++) {
        const struct round_seq *seq = &alone->seqs[0];

        alone->seqs[0] = begun->seqs[i];
        if (s.slots[seq->slot].stopped) /* the host does not know yet */
            continue;
        if (round_check(alone, &limits, view_of, s.slots, k) == 0)
            k[0] = round_k_recorded(seq->source, k[0], s.round->n_steps);
        else
            k[0] = -1;
        assert_int_equal(s.turns[i].k, k[0]);
    }
    free(alone);
}

static void check_turns(void)
{
    int32_t row = 0;

    assert_int_equal(launch_turns_begin(&s, NULL), 0);
    assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
    check_host();
    for (int32_t i = 0; i < begun->n_seqs; i++) {
        const struct round_turn *t = &s.turns[i];
        const struct device_slot *slot = &s.slots[t->slot];

        assert_int_equal(t->slot, begun->seqs[i].slot);
        assert_int_equal(t->k, expect_k(&begun->seqs[i]));
        assert_int_equal(t->source, begun->seqs[i].source);
        assert_int_equal(t->first_row, row);
        row += t->k + 1;
        if (t->source == DRAFT_FROM_HOST) {
            for (int32_t k = 0; k < t->k; k++) {
                assert_int_equal(slot->tokens[slot->len + k], begun->seqs[i].host_draft[k]);
                check_counts(slot, k + 1);
            }
        }
    }
}

/* ---- passes ---------------------------------------------------------------------------------- */

static struct pass_row expect_rows[ROWS_MAX];
static int32_t expect_logit_rows[ROWS_MAX], expect_turns[ROWS_MAX], n_rows, n_logits;

static void expect_span(int32_t slot, int32_t turn, int32_t pos, int32_t n, int32_t logits)
{
    for (int32_t i = 0; i < n; i++) {
        if (i >= n - logits) {
            expect_logit_rows[n_logits] = n_rows;
            expect_turns[n_logits++] = turn;
        }
        expect_rows[n_rows++] = (struct pass_row){slot, pos + i};
    }
}

static void expect_pass(const struct pass_request *r)
{
    n_rows = n_logits = 0;
    for (int32_t i = 0; r->set == ROWS_PROMPT && i < begun->n_chunks; i++) {
        const struct round_chunk *c = &begun->chunks[i];

        if (c->role == r->role && !s.slots[c->slot].stopped)
            expect_span(c->slot, i, c->start, c->n, c->score ? c->n : 0);
    }
    for (int32_t i = 0; r->set != ROWS_PROMPT && i < begun->n_seqs; i++) {
        const struct round_turn *t = &s.turns[i];
        const struct device_slot *slot = &s.slots[t->slot];

        if (r->set == ROWS_VERIFY && t->k >= 0)
            expect_span(t->slot, i, slot->len - 1, t->k + 1, t->k + 1);
        else if (r->set == ROWS_STEP && t->source == DRAFT_FROM_MODEL && t->k >= r->step)
            for (int32_t pos = r->step == 1 ? slot->rows[MODEL_DRAFT] : slot->len - 2 + r->step;
                 pos <= slot->len - 2 + r->step; pos++)
                expect_span(t->slot, i, pos, 1, pos == slot->len - 2 + r->step);
    }
}

/* Every head of every row meets every tile that it sees in exactly one item. */
static void check_work(const struct pass *p, const struct pass_request *r)
{
    static char done[ROWS_MAX][8][CTX / ATTENTION_TILE + 1];
    static int32_t merges[ROWS_MAX];
    int32_t n_partials = 0;

    memset(done, 0, sizeof(done));
    memset(merges, 0, sizeof(merges));
    for (int32_t i = 0; i < p->counts->n_items; i++) {
        const struct attention_item *item = &p->items[i];
        const struct pass_span *span = &p->spans[item->span];

        assert_true(item->n >= 1 && item->n <= r->queries && item->first >= 0);
        assert_true(item->first + item->n <= span->n * r->group);
        assert_true((item->tile >= 0) == (span->partial >= 0));
        for (int32_t q = item->first; q < item->first + item->n; q++) {
            int32_t row = span->row + q / r->group, last = p->rows[row].pos / ATTENTION_TILE;

            for (int32_t t = 0; t <= last; t++)
                done[row][q % r->group][t] += item->tile == t || item->tile < 0;
        }
    }
    for (int32_t i = 0; i < p->counts->n_merges; i++) {
        merges[p->merges[i].row] += p->merges[i].n_tiles;
        assert_true(p->merges[i].partial + p->merges[i].n_tiles <= p->max_partials);
    }
    for (int32_t i = 0; i < p->counts->n_spans; i++) {
        const struct pass_span *span = &p->spans[i];
        int32_t tiles = (span->pos + span->n - 1) / ATTENTION_TILE + 1;

        for (int32_t j = 0; j < span->n; j++) {
            int32_t last = p->rows[span->row + j].pos / ATTENTION_TILE;

            assert_int_equal(p->rows[span->row + j].slot, span->slot);
            assert_int_equal(p->rows[span->row + j].pos, span->pos + j);
            assert_int_equal(merges[span->row + j], span->partial >= 0 ? last + 1 : 0);
            for (int32_t g = 0; g < r->group; g++) {
                for (int32_t t = 0; t <= last; t++)
                    assert_int_equal(done[span->row + j][g][t], 1);
            }
        }
        if (span->partial >= 0) {
            assert_int_equal(span->partial, n_partials);
            n_partials += span->n * tiles;
        }
    }
    assert_true(n_partials <= p->max_partials);
}

/* Of rows r->first..r->first+n, those that want logits, in order. */
static void check_logits(const struct pass *p, const struct pass_request *r, int32_t n)
{
    int32_t found = 0;

    for (int32_t i = 0; i < n_logits; i++) {
        if (expect_logit_rows[i] < r->first || expect_logit_rows[i] >= r->first + n)
            continue;
        assert_int_equal(p->logit_rows[found], expect_logit_rows[i] - r->first);
        assert_int_equal(p->turn_of_logit[found++], expect_turns[i]);
    }
    assert_int_equal(p->counts->n_logits, found);
    for (; found < r->capacity; found++)
        assert_int_equal(p->logit_rows[found], -1);
}

/* The pass holds expected rows first..first+capacity. */
static void check_pass(struct pass_request r)
{
    struct pass p;
    int32_t partials = rand() % 3 * 20, n;

    r.group = 1 + rand() % 8;
    r.queries = rand() % 2 ? 8 : 32;
    expect_pass(&r);
    r.capacity = r.set == ROWS_PROMPT ? n_rows / 8 + 1 + rand() % 700 : n_rows + 1 + rand() % 3;
    do {
        p = pass_make(&s, r.capacity, r.capacity + rand() % 3,
                      pass_items_max(r.capacity, s.n_slots, partials, r.group, r.queries),
                      partials);
        assert_int_equal(launch_rows(&s, &p, &r, NULL), 0);
        assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
        n = MIN(r.capacity, n_rows - r.first);
        assert_int_equal(p.counts->n_rows, n);
        assert_memory_equal(p.rows, expect_rows + r.first, (size_t)n * sizeof(*p.rows));
        for (int32_t i = n; i < r.capacity; i++)
            assert_int_equal(p.rows[i].slot, -1);
        check_logits(&p, &r, n);
        check_work(&p, &r);
        r.first += n;
    } while (r.first < n_rows);
}

/* ---- a round --------------------------------------------------------------------------------- */

static struct advance advance_make(void)
{
    size_t n = (size_t)s.n_slots;

    return (struct advance){
        .p = device_take(n * K_MAX * sizeof(struct device_law)),
        .q = device_take(n * (K_MAX + 1) * sizeof(struct device_law)),
        .drawn = device_take(n * sizeof(int32_t)),
        .turns = device_take(n * sizeof(struct device_turn)),
        .results = device_take(n * sizeof(struct seq_result)),
        .draft_logits = device_take(n * K_MAX * 52 * sizeof(float)),
        .target_logits = device_take(n * (K_MAX + 1) * 52 * sizeof(float)),
        .draft_stride = 52,
        .target_stride = 52,
    };
}

static void check_law(const struct device_law *l, const struct device_slot *slot, int32_t i,
                      const struct law_params *law, const float *logits)
{
    assert_ptr_equal(l->params, &slot->params);
    assert_ptr_equal(l->law, law);
    assert_ptr_equal(l->logits, logits);
    assert_int_equal(l->position, slot->len + i);
    assert_int_equal(l->round, slot->round);
    assert_int_equal(l->n_vocab, VOCAB);
    assert_ptr_equal(l->counts_all, slot->counting ? slot->counts_all + i * VOCAB : NULL);
}

static void check_step(const struct advance *a, int step)
{
    struct pass p = pass_make(&s, 40, 40, 400, 0);
    struct pass_request r = {ROWS_STEP, MODEL_DRAFT, step, 0, 40, 4, 8};
    int32_t logit = 0;

    assert_int_equal(launch_rows(&s, &p, &r, NULL), 0);
    assert_int_equal(launch_step_laws(&s, &p, a, step, NULL), 0);
    for (int32_t i = 0; i < s.n_slots; i++)
        a->drawn[i] = rand() % VOCAB;
    assert_int_equal(launch_step_end(&s, &p, a, step, NULL), 0);
    assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
    for (int32_t i = 0; i < s.n_slots; i++) {
        const struct round_turn *t = &s.turns[i];
        const struct device_slot *slot = &s.slots[MAX(t->slot, 0)];
        const struct device_law *l = &a->p[(step - 1) * s.n_slots + i];

        if (i >= begun->n_seqs || t->source != DRAFT_FROM_MODEL || t->k < step) {
            assert_int_equal(l->n_vocab, 0);
            continue;
        }
        check_law(l, slot, step - 1, &slot->params.draft,
                  a->draft_logits + ((step - 1) * s.n_slots + logit++) * a->draft_stride);
        assert_int_equal(slot->tokens[slot->len + step - 1], a->drawn[i]);
        check_counts(slot, step);
    }
}

static void check_verify_begin(const struct advance *a)
{
    int32_t row = 0;

    assert_int_equal(launch_verify_begin(&s, a, NULL), 0);
    assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
    for (int32_t i = 0; i < s.n_slots; i++) {
        const struct device_turn *t = &a->turns[i];
        const struct round_turn *of = &s.turns[i];

        assert_int_equal(t->k, i < begun->n_seqs ? of->k : -1);
        if (t->k < 0)
            continue;
        const struct device_slot *slot = &s.slots[of->slot];
        assert_ptr_equal(t->q, a->q + row);
        assert_ptr_equal(t->drafted, slot->tokens + slot->len);
        assert_int_equal(t->len, slot->len);
        assert_int_equal(t->out->n_tokens, 0);
        for (int32_t k = 0; k <= t->k; k++, row++)
            check_law(&a->q[row], slot, k, &slot->params.target,
                      a->target_logits + row * a->target_stride);
        for (int32_t k = 0; of->source == DRAFT_FROM_HOST && k < t->k; k++) {
            assert_true(t->p[k * t->p_stride].one_hot);
            assert_int_equal(t->p[k * t->p_stride].top, t->drafted[k]);
        }
    }
    for (; row < s.n_slots * (s.k_max + 1); row++)
        assert_int_equal(a->q[row].n_vocab, 0);
}

static void result_random(struct seq_result *out, const struct round_turn *t)
{
    out->n_accepted = rand() % (t->k + 1);
    out->n_tokens = rand() % 6 ? out->n_accepted + 1 : 1 + rand() % (out->n_accepted + 1);
    out->flags = rand() % 5 ? 0 : rand() % 2 ? SEQ_END : SEQ_NUMERIC;
    if (out->flags & SEQ_NUMERIC)
        out->n_accepted = out->n_tokens = 0;
    for (int32_t i = 0; i < out->n_tokens; i++)
        out->tokens[i] = rand() % VOCAB;
}

static void check_end(const struct advance *a)
{
    struct device_slot before[SLOTS];

    memcpy(before, s.slots, (size_t)s.n_slots * sizeof(before[0]));
    for (int32_t i = 0; i < begun->n_seqs; i++) {
        if (s.turns[i].k >= 0)
            result_random(&a->results[i], &s.turns[i]);
    }
    assert_int_equal(launch_turns_end(&s, a, NULL), 0);
    assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
    for (int32_t i = 0; i < begun->n_seqs; i++) {
        const struct round_turn *t = &s.turns[i];
        const struct seq_result *out = &a->results[i];
        const struct device_slot *slot = &s.slots[t->slot], *was = &before[t->slot];
        int32_t draft_len = was->rows[MODEL_DRAFT], n = out->n_tokens;

        assert_int_equal(out->slot, t->slot);
        assert_int_equal(out->n_drafted, MAX(t->k, 0));
        assert_int_equal(slot->len, was->len + n);
        assert_int_equal(slot->round, was->round + (t->k >= 0));
        assert_int_equal(slot->rows[MODEL_TARGET], n > 0 ? slot->len - 1 : was->rows[MODEL_TARGET]);
        if (n > 0 && t->source == DRAFT_FROM_MODEL && t->k > 0) {
            draft_len = MIN(was->len - 1 + t->k, was->len + out->n_accepted);
            draft_len = MIN(draft_len, slot->len - 1);
        }
        assert_int_equal(slot->rows[MODEL_DRAFT], draft_len);
        assert_int_equal(slot->stopped, t->k < 0 ? was->stopped : out->flags != 0);
        assert_int_equal(out->len, slot->len);
        assert_int_equal(out->rows[MODEL_TARGET], slot->rows[MODEL_TARGET]);
        assert_int_equal(out->rows[MODEL_DRAFT], slot->rows[MODEL_DRAFT]);
        assert_memory_equal(slot->tokens + was->len, out->tokens, (size_t)n * sizeof(int32_t));
        if (slot->len > 0)
            check_counts(slot, 0);
    }
}

static void check_prompt_end(enum model_role role)
{
    assert_int_equal(launch_prompt_end(&s, role, NULL), 0);
    assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
    for (int32_t i = 0; i < begun->n_chunks; i++) {
        const struct round_chunk *c = &begun->chunks[i];
        const struct device_slot *slot = &s.slots[c->slot];

        if (c->role == role && !slot->stopped)
            assert_int_equal(slot->rows[role], c->start + c->n);
    }
}

static void test_rounds(void **state)
{
    (void)state;
    for (int i = 0; i < 40; i++) {
        round_random();
        for (int role = 0; role < MODEL_ROLES; role++) {
            check_pass((struct pass_request){.set = ROWS_PROMPT, .role = (enum model_role)role});
            check_prompt_end((enum model_role)role);
        }
        struct advance a = advance_make();
        check_turns();
        for (int step = 1; step <= s.k_draft; step++) {
            check_pass((struct pass_request){.set = ROWS_STEP, .step = step});
            check_step(&a, step);
        }
        check_pass((struct pass_request){.set = ROWS_VERIFY});
        check_verify_begin(&a);
        check_end(&a);
        device_free_all();
    }
}

/* As many slots as there can be, chunks of both roles for each. */
static void test_most_slots(void **state)
{
    (void)state;
    s = state_make(SPECD_SLOTS_MAX, 40, SPECD_SLOTS_MAX * 41, 2, VOCAB);
    begun = &state_round(&s)->round;
    for (int32_t i = 0; i < SPECD_SLOTS_MAX; i++) {
        struct device_slot *slot = &s.slots[i];

        slot->len = 10 + rand() % 30;
        slot_blocks_make(&s, i, slot->len);
        chunks_random(i);
    }
    for (int role = 0; role < MODEL_ROLES; role++)
        check_pass((struct pass_request){.set = ROWS_PROMPT, .role = (enum model_role)role});
    device_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_most_slots),
    };
    return seeded_run(tests);
}
