/*
 * Verification and log-probabilities of cuda/ on the emulator against cpu/law_verify.c and
 * cpu/logprobs.c, token for token and bit for bit: random rounds in every mode with related and
 * unrelated laws, broken rows, end tokens, host drafts, forced acceptance and vocabularies of two
 * sizes.
 *
 * links: emu_rig
 */
#include "exact/oracle.h"
#include "logprobs.h"
#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define K_MAX (SPECD_K_MAX < 5 ? SPECD_K_MAX : 5)
#define TURNS 3

/* One sequence's round on both devices. */
struct turn {
    struct rig_slot slot;
    int32_t k, len, n_draft; /* n_draft: the draft's vocabulary */
    uint32_t round;
    float synthetic;
    bool host; /* drafts are the host's */
    struct rig_row q[K_MAX + 1], p[K_MAX];
    struct law cpu_q[K_MAX + 1], cpu_p[K_MAX];
    int32_t drafted[K_MAX];
};

/* What was launched, in device memory: laws q of a turn lie together, laws p by step. */
struct launched {
    struct device_law *q, *p; /* (TURNS, K_MAX + 1), (K_MAX, TURNS) */
    int32_t *drafted;         /* (TURNS, K_MAX) */
    struct device_turn *turns;
    struct seq_result *results;
    struct device_logprobs *logprobs;
};

static struct {
    int rounds, accepted, drafted, numeric, ended, fallback, compared, alternatives;
} seen;

/* ---- making ---------------------------------------------------------------------------------- */

/* Rows of the draft: unrelated to the target's, equal, close, or of other support. */
static void rows_make(float *q, float *p, int32_t n, int32_t n_draft)
{
    enum row_shape shape = (enum row_shape)(rand() % ROW_SHAPES);
    int relation = rand() % 5;

    row_make(q, n, shape);
    row_make(p, n_draft, relation == 0 ? ROW_HOLES : shape);
    for (int32_t i = 0; i < n_draft; i++) {
        if (relation == 1)
            p[i] = q[i];
        if (relation >= 2)
            p[i] = q[i] + (relation - 2) * (float)random_unit();
    }
    if (rand() % 50 == 0)
        q[rand() % n] = rand() % 2 ? NAN : INFINITY;
    if (rand() % 50 == 0)
        p[rand() % n_draft] = rand() % 2 ? NAN : INFINITY;
}

static void turn_make(struct turn *t, struct device_law *q, struct device_law *p, int32_t n_vocab)
{
    *t = (struct turn){.k = rand() % (K_MAX + 1),
                       .len = rand() % 1000,
                       .round = (uint32_t)rand(),
                       .synthetic = rand() % 8 ? -1.0f : (float)random_unit(),
                       .host = rand() % 4 == 0};
    rig_slot_make(&t->slot, n_vocab);
    t->n_draft = rand() % 4 ? n_vocab : 1 + rand() % n_vocab;
    for (int k = 0; k <= t->k; k++) {
        float *zq = xcalloc((size_t)n_vocab, sizeof(float));
        float *zp = xcalloc((size_t)n_vocab, sizeof(float));

        rows_make(zq, zp, n_vocab, t->n_draft);
        rig_row_make(&t->q[k], &q[k], &t->slot, &t->slot.params.target, zq, n_vocab, t->len + k,
                     t->round);
        if (k < t->k)
            rig_row_make(&t->p[k], &p[k * TURNS], &t->slot, &t->slot.params.draft, zp, t->n_draft,
                         t->len + k, t->round);
        else
            free(zp);
    }
}

static void turn_free(struct turn *t)
{
    for (int k = 0; k <= t->k; k++)
        rig_row_free(&t->q[k]);
    for (int k = 0; k < t->k; k++)
        rig_row_free(&t->p[k]);
    rig_slot_free(&t->slot);
}

/* ---- the device's round ---------------------------------------------------------------------- */

/* Laws p and their draws, a step at a time as in a round; a host's drafts replace them. */
static void draft(struct turn *turns, struct launched *d, int32_t n_vocab,
                  struct sampling_shape shape)
{
    int32_t tokens[TURNS], *on_device = device_take(sizeof(tokens));

    for (int k = 0; k < K_MAX; k++) {
        assert_int_equal(launch_laws(d->p + k * TURNS, TURNS, n_vocab, shape, NULL), 0);
        assert_int_equal(launch_draws(d->p + k * TURNS, on_device, TURNS, n_vocab, shape, NULL), 0);
        device_read(tokens, on_device, sizeof(tokens));
        for (int i = 0; i < TURNS; i++) {
            struct turn *t = &turns[i];

            if (k >= t->k)
                continue;
            t->drafted[k] = t->host && rand() % 3 == 0 ? rand() % n_vocab : tokens[i];
            if (t->host) {
                struct device_law *at = d->p + k * TURNS + i, point;

                device_read(&point, at, sizeof(point));
                device_law_point(&point, t->drafted[k]);
                point.n_vocab = n_vocab;
                assert_int_equal(cudaMemcpy(at, &point, sizeof(point), cudaMemcpyHostToDevice), 0);
                law_point(&t->p[k].cpu, n_vocab, t->drafted[k]);
            } else {
                struct noise noise =
                    noise_proposal(t->slot.params.seed, t->slot.params.mode, t->len + k, t->round);

                assert_int_equal(tokens[i], law_draw(&t->p[k].cpu, &noise));
            }
        }
    }
}

static void round_run(struct turn *turns, struct launched *d, int32_t n_vocab,
                      struct sampling_shape shape)
{
    struct device_turn on_host[TURNS + 1];

    assert_int_equal(launch_laws(d->q, TURNS * (K_MAX + 1), n_vocab, shape, NULL), 0);
    draft(turns, d, n_vocab, shape);
    d->results = device_take((TURNS + 1) * sizeof(*d->results));
    d->logprobs = device_take(TURNS * (K_MAX + 1) * sizeof(*d->logprobs));
    memset(on_host, 0xa5, sizeof(on_host));
    for (int i = 0; i < TURNS; i++) {
        on_host[i] = (struct device_turn){
            .q = d->q + i * (K_MAX + 1),
            .p = d->p + i,
            .p_stride = TURNS,
            .drafted = device_copy(turns[i].drafted, sizeof(turns[i].drafted)),
            .k = turns[i].k,
            .len = turns[i].len,
            .round = turns[i].round,
            .params = turns[i].slot.device,
            .synthetic_acceptance = turns[i].synthetic,
            .out = d->results + i,
            .n_overlaps = 12345,
        };
    }
    on_host[TURNS].k = -1; /* padding */
    d->turns = device_copy(on_host, sizeof(on_host));
    assert_int_equal(launch_verify(d->turns, TURNS + 1, K_MAX, n_vocab, shape, NULL), 0);
    assert_int_equal(
        launch_logprobs(d->turns, d->logprobs, TURNS, K_MAX, n_vocab, shape_random(), NULL), 0);
}

/* ---- comparing ------------------------------------------------------------------------------- */

static void check_result(struct turn *t, const struct seq_result *got, int32_t n_overlaps)
{
    struct seq_result want = {0};
    struct verify_input in = {
        .q = t->cpu_q,
        .p = t->cpu_p,
        .drafted = t->drafted,
        .k = t->k,
        .len = t->len,
        .round = t->round,
        .seed = t->slot.params.seed,
        .mode = t->slot.params.mode,
        .synthetic_acceptance = t->synthetic,
        .ends = t->slot.params.ends,
        .n_ends = t->slot.params.n_ends,
    };

    for (int k = 0; k <= t->k; k++)
        t->cpu_q[k] = t->q[k].cpu;
    for (int k = 0; k < t->k; k++)
        t->cpu_p[k] = t->p[k].cpu;
    for (int k = 0; k < SPECD_K_MAX; k++)
        want.overlap[k] = -1.0f;
    law_verify(&in, &want);
    assert_int_equal(got->flags, want.flags);
    assert_int_equal(got->n_accepted, want.n_accepted);
    assert_int_equal(got->n_tokens, want.n_tokens);
    for (int i = 0; i < want.n_tokens; i++)
        assert_int_equal(got->tokens[i], want.tokens[i]);
    for (int k = 0; k < t->k; k++) {
        assert_int_equal(k < n_overlaps, want.overlap[k] != -1.0f);
        if (k < n_overlaps)
            assert_true(got->overlap[k] == want.overlap[k]);
    }
    seen.rounds++;
    seen.drafted += t->k;
    seen.accepted += want.n_accepted;
    seen.numeric += (want.flags & SEQ_NUMERIC) != 0;
    seen.ended += (want.flags & SEQ_END) != 0;
    seen.fallback += (want.flags & SEQ_RESIDUAL_FALLBACK) != 0;
}

/* The CPU sums in double, the device in integers: what they may differ by is exp's error and the
 * rounding of large results. */
static void check_same(float got, float want)
{
    assert_true(got == want);
    seen.compared++;
}

static uint64_t sum_of(const float *z, int32_t n, float max)
{
    uint64_t sum = 0;

    for (int32_t i = 0; i < n; i++)
        sum += fix_exp44(z[i] - max);
    return sum;
}

static void check_logprobs(const struct turn *t, const struct seq_result *r,
                           const struct device_logprobs *got, int32_t n_vocab)
{
    struct token_logprob own[2], top[2][SPECD_LOGPROBS_MAX];
    int n_top = t->slot.params.n_logprobs;

    for (int i = 0; i < r->n_tokens && n_top >= 0; i++) {
        logprobs_of_row(t->q[i].logits, n_vocab, r->tokens[i], &own[0], top[0], n_top);
        logprobs_finish(&got[i], r->tokens[i], n_top, &own[1], top[1]);
        assert_true(got[i].sum == sum_of(t->q[i].logits, n_vocab, got[i].max));
        assert_int_equal(own[1].id, own[0].id);
        check_same(own[1].logprob, own[0].logprob);
        for (int j = 0; j < n_top; j++) {
            assert_int_equal(top[1][j].id, top[0][j].id);
            check_same(top[1][j].logprob, top[0][j].logprob);
            seen.alternatives++;
        }
    }
}

/* A token of a prompt: any id, any number of alternatives. */
static void check_score(const struct turn *t, int32_t n_vocab)
{
    struct token_logprob own[2], top[2][SPECD_LOGPROBS_MAX];
    struct device_logprobs got[2], *out = device_take(sizeof(got));
    struct device_score rows[2] = {
        {.n_vocab = 0},
        {.logits = device_copy(t->q[0].logits, (size_t)n_vocab * sizeof(float)),
         .n_vocab = n_vocab,
         .id = rand() % n_vocab,
         .n_top = rand() % (SPECD_LOGPROBS_MAX + 1)}};

    if (t->q[0].cpu.bad)
        return;
    assert_int_equal(
        launch_scores(device_copy(rows, sizeof(rows)), out, 2, n_vocab, shape_random(), NULL), 0);
    device_read(got, out, sizeof(got));
    logprobs_of_row(t->q[0].logits, n_vocab, rows[1].id, &own[0], top[0], rows[1].n_top);
    logprobs_finish(&got[1], rows[1].id, rows[1].n_top, &own[1], top[1]);
    check_same(own[1].logprob, own[0].logprob);
    for (int j = 0; j < rows[1].n_top; j++) {
        assert_int_equal(top[1][j].id, top[0][j].id);
        check_same(top[1][j].logprob, top[0][j].logprob);
    }
}

static void check_round(int32_t n_vocab, struct sampling_shape shape)
{
    struct device_law q[TURNS * (K_MAX + 1)] = {0}, p[K_MAX * TURNS] = {0};
    struct turn turns[TURNS];
    struct launched d;
    struct seq_result results[TURNS];
    struct device_logprobs logprobs[TURNS * (K_MAX + 1)];
    struct device_turn after[TURNS];

    for (int i = 0; i < TURNS; i++)
        turn_make(&turns[i], q + i * (K_MAX + 1), p + i, n_vocab);
    d.q = device_copy(q, sizeof(q));
    d.p = device_copy(p, sizeof(p));
    round_run(turns, &d, n_vocab, shape);
    device_read(results, d.results, sizeof(results));
    device_read(logprobs, d.logprobs, sizeof(logprobs));
    device_read(after, d.turns, sizeof(after));
    for (int i = 0; i < TURNS; i++) {
        check_result(&turns[i], &results[i], after[i].n_overlaps);
        check_logprobs(&turns[i], &results[i], logprobs + i * (K_MAX + 1), n_vocab);
        if (i == 0)
            check_score(&turns[i], n_vocab);
        turn_free(&turns[i]);
    }
    device_free_all();
}

static void test_small(void **state)
{
    static const int32_t sizes[] = {1, 2, 5, 31, 33, 64};

    (void)state;
    for (int i = 0; i < 90; i++)
        check_round(sizes[i % 6], (struct sampling_shape){i % 3 ? 32 : 64, 1 + i % 2});
}

static void test_middle(void **state)
{
    static const int32_t sizes[] = {512, 1000, 1531};

    (void)state;
    for (int i = 0; i < 12; i++)
        check_round(sizes[i % 3], shape_random());
}

static void test_large(void **state)
{
    (void)state;
    check_round(49152, (struct sampling_shape){128, 4});
}

/* The rounds above met everything worth meeting. */
static void test_seen(void **state)
{
    (void)state;
    print_message("%d rounds: %d of %d accepted, %d numeric, %d ended, %d fallback; %d "
                  "log-probabilities\n",
                  seen.rounds, seen.accepted, seen.drafted, seen.numeric, seen.ended, seen.fallback,
                  seen.compared);
    assert_true(seen.accepted > seen.drafted / 10 && seen.accepted < seen.drafted);
    assert_true(seen.numeric > 0 && seen.ended > 0 && seen.fallback > 0);
    assert_true(seen.alternatives > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_middle),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_seen),
    };
    return seeded_run(tests);
}
