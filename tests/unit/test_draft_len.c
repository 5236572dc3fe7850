/*
 * How many tokens to draft, by which drafter, and for whom rows of the draft model are computed:
 * the choice of K against a search of every combination, and whole days of rounds in made-up
 * worlds, some of them hostile, in which the budget must hold.
 *
 * links: specd_engine specd_base
 */
#include "rnd.h"
#include "draft_len.h"

#include "specd/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the choice ------------------------------------------------------------------------------ */

/* A request whose every position was accepted with about this probability. */
static void make_acceptance(struct acceptance *p, const struct drafter *d, float first, float later)
{
    float overlap[SPECD_K_MAX];
    for (int i = 0; i < SPECD_K_MAX; i++)
        overlap[i] = i == 0 ? first : later;
    acceptance_init(p, NULL, false);
    for (int i = 0; i < 60; i++)
        acceptance_observe(p, d, 2, overlap, SPECD_K_MAX);
}

static void flat_cost(struct draft_len *d, double verify, double draft)
{
    *d = (struct draft_len){.rounds = 1};
    pass_cost_set(&d->cost, PASS_VERIFY, 1, verify);
    pass_cost_set(&d->cost, PASS_VERIFY, 4096, verify);
    pass_cost_set(&d->cost, PASS_STEP, 1, draft);
    pass_cost_set(&d->cost, PASS_STEP, 4096, draft);
    pass_cost_set(&d->cost, PASS_FILL, 1, draft / 10);
    pass_cost_set(&d->cost, PASS_FILL, 1000, draft * 100);
}

/* One drafter, nothing lacking. */
static struct draft_len_seq one_drafter(const struct acceptance *a, struct draft_state *state,
                                        const struct drafter *d, int32_t match, int32_t k_min,
                                        int32_t k_max)
{
    return (struct draft_len_seq){.acceptance = a,
                                  .state = state,
                                  .options = {{d, match, MIN(k_max, SPECD_K_MAX)}},
                                  .n_options = k_max > 0,
                                  .k_min = k_min,
                                  .rest = 1e6};
}

static int32_t choose_one(struct draft_len *d, const struct acceptance *p,
                          const struct drafter *drafter, int32_t k_min, int32_t k_max)
{
    struct draft_state state = {0};
    struct draft_len_seq s = one_drafter(p, &state, drafter, 2, k_min, k_max);
    draft_len_choose(d, &s, 1);
    return s.k;
}

static void test_extremes(void **state)
{
    (void)state;
    static struct draft_len d;
    struct acceptance good, bad;
    make_acceptance(&good, &model_drafter, 1, 1);
    make_acceptance(&bad, &model_drafter, 0, 0);
    flat_cost(&d, 1000, 1);
    assert_int_equal(choose_one(&d, &good, &model_drafter, 0, SPECD_K_MAX), SPECD_K_MAX);
    assert_int_equal(choose_one(&d, &good, &model_drafter, 0, 2), 2);
    assert_int_equal(choose_one(&d, &good, &model_drafter, 0, 0), 0);
    flat_cost(&d, 1000, 200);
    assert_int_equal(choose_one(&d, &bad, &model_drafter, 0, SPECD_K_MAX), 0);
    assert_int_equal(choose_one(&d, &bad, &model_drafter, 2, 3), 2);
    flat_cost(&d, 1000, 1100); /* dearer than what it saves */
    assert_int_equal(choose_one(&d, &good, &model_drafter, 0, SPECD_K_MAX), 0);
    draft_len_choose(&d, NULL, 0);
}

/* Leviathan's best K at a verify cost that does not grow: acceptance .8, draft at a tenth: 6. */
static void test_best_k_of_one(void **state)
{
    (void)state;
    static struct draft_len d;
    struct acceptance p;
    flat_cost(&d, 1000, 100);
    make_acceptance(&p, &model_drafter, 0.8f, 0.8f);
    int32_t k = choose_one(&d, &p, &model_drafter, 0, SPECD_K_MAX);
    assert_in_range(k, MIN(5, SPECD_K_MAX), MIN(7, SPECD_K_MAX));
}

/* One step costs more than any slot gains alone, and far less than all of them gain together. */
static void test_shared_step(void **state)
{
    (void)state;
    static struct draft_len d;
    struct acceptance p;
    struct draft_state states[16] = {0};
    struct draft_len_seq s[16];
    flat_cost(&d, 1000, 150);
    make_acceptance(&p, &model_drafter, 0.9f, 0.1f);
    for (int i = 0; i < 16; i++)
        s[i] = one_drafter(&p, &states[i], &model_drafter, 0, 0, 3);
    draft_len_choose(&d, s, 16);
    for (int i = 0; i < 16; i++)
        assert_int_equal(s[i].k, 1);
}

/* Each round takes the drafter that gains most; equals go by the list; a fixed K by the list
 * alone. */
static void test_which_drafter(void **state)
{
    (void)state;
    static struct draft_len d;
    struct acceptance a;
    struct draft_state st = {0};
    const float yes[1] = {1}, no[1] = {0};
    flat_cost(&d, 1000, 300);
    make_acceptance(&a, &model_drafter, 0.9f, 0.9f);
    struct draft_len_seq s = one_drafter(&a, &st, &lookup_drafter, 2, 0, 3), t;
    s.options[s.n_options++] = (struct draft_option){&model_drafter, 0, 3};
    for (int i = 0; i < 60; i++)
        acceptance_observe(&a, &lookup_drafter, 2, no, 1);
    t = s;
    draft_len_choose(&d, &t, 1);
    assert_true(t.option == 1 && t.k > 0); /* the look-up never stands */
    t.fixed = true;
    t.k_min = 3;
    draft_len_choose(&d, &t, 1);
    assert_true(t.option == 0 && t.k == 3);
    s.options[0].match = 12;
    for (int i = 0; i < 60; i++)
        acceptance_observe(&a, &lookup_drafter, 12, yes, 1);
    t = s;
    draft_len_choose(&d, &t, 1);
    assert_true(t.option == 0 && t.k == 3); /* it always stands, and costs no steps */
    flat_cost(&d, 1000, 0);
    make_acceptance(&a, &model_drafter, 1, 1);
    s.options[0] = (struct draft_option){&self_drafter, 0, 3};
    s.options[1] = s.options[0];
    draft_len_choose(&d, &s, 1);
    assert_int_equal(s.option, 0);
}

/* Rows that lack are computed where the rest of the answer pays for them, in pieces no longer than
 * two rounds, or one where others decode, too; K is 0 until they are there. */
static void test_rows(void **state)
{
    (void)state;
    static struct draft_len d;
    struct acceptance a;
    struct draft_state st = {0};
    flat_cost(&d, 1000, 200); /* a row costs 20: 50 in a round's time */
    make_acceptance(&a, &model_drafter, 0.9f, 0.9f);
    struct draft_len_seq s = one_drafter(&a, &st, &model_drafter, 0, 0, 4);
    s.lag = s.fill_max = 200;
    s.rest = 5;
    draft_len_choose(&d, &s, 1);
    assert_true(s.k == 0 && s.fill == 0 && s.why == DRAFT_WHY_REST);
    s.rest = 500;
    int rounds = 0;
    while (s.lag > 0) {
        draft_len_choose(&d, &s, 1);
        assert_in_range(s.fill, 1, 101);
        assert_true(s.fill == s.lag || (s.k == 0 && s.why == DRAFT_WHY_UNFILLED));
        s.lag = s.fill_max = s.lag - s.fill;
        rounds++;
    }
    assert_in_range(rounds, 2, 4);
    assert_true(s.k > 0);
    s.lag = 200; /* somebody else writes there */
    s.fill_max = 0;
    draft_len_choose(&d, &s, 1);
    assert_true(s.k == 0 && s.fill == 0 && s.why == DRAFT_WHY_SHARED);
    make_acceptance(&a, &model_drafter, 0.1f, 0.1f);
    st = (struct draft_state){0};
    s.fill_max = 200;
    draft_len_choose(&d, &s, 1);
    assert_true(s.k == 0 && s.fill == 0 && s.why == DRAFT_WHY_NOT_PAYING);
    s.fixed = true; /* as a fixed K will have it */
    s.k_min = s.options[0].k_max;
    draft_len_choose(&d, &s, 1);
    assert_true(s.fill == 200 && s.k == s.options[0].k_max);
}

/* What others showed must not reach a sequence that goes by itself: another with its seed may be
 * ahead of it. */
static void test_alone(void **state)
{
    (void)state;
    static struct draft_len d;
    struct acceptance mine, others;
    int32_t k[2][2]; /* alone or not; others bad or good */
    for (int i = 0; i < 4; i++) {
        bool alone = i / 2, good = i % 2;
        struct draft_state states[8] = {0};
        struct draft_len_seq s[8];
        flat_cost(&d, 1000, 400);
        make_acceptance(&mine, &model_drafter, 0.8f, 0.8f);
        make_acceptance(&others, &model_drafter, good ? 0.95f : 0.05f, good ? 0.95f : 0.05f);
        for (int j = 0; j < 8; j++)
            s[j] = one_drafter(j ? &others : &mine, &states[j], &model_drafter, 0, 0, 3);
        s[0].alone = alone;
        draft_len_choose(&d, s, 8);
        k[alone][good] = s[0].k;
    }
    assert_true(k[true][0] > 0 && k[true][0] == k[true][1]);
    assert_int_not_equal(k[false][0], k[false][1]);
}

/* Nobody's rows pay alone, all of them together do; but first a few show what the drafter is worth,
 * and if it is worth nothing it stays at that. */
static void test_cohort(void **state)
{
    (void)state;
    static struct draft_len d;
    static struct acceptance_shared shared;
    for (int good = 0; good < 2; good++) {
        struct acceptance a[32];
        struct draft_state states[32] = {0};
        struct draft_len_seq s[32];
        int filled[2] = {0};
        shared = (struct acceptance_shared){0};
        flat_cost(&d, 1000, 200); /* a row costs 20 */
        for (int i = 0; i < 32; i++) {
            acceptance_init(&a[i], &shared, false);
            s[i] = one_drafter(&a[i], &states[i], &model_drafter, 0, 0, 4);
            s[i].lag = s[i].fill_max = 20 + i;
            s[i].rest = 200;
        }
        for (int round = 0; round < 60; round++) {
            draft_len_choose(&d, s, 32);
            float overlap = good ? 0.9f : 0.05f;
            for (int i = 0; i < 32; i++) {
                s[i].lag = s[i].fill_max = s[i].lag - s[i].fill;
                filled[round > 2] += s[i].fill > 0;
                if (s[i].k > 0)
                    acceptance_observe(&a[i], &model_drafter, 0, &overlap, 1);
            }
            d.budget =
                (struct draft_budget){.begun = true, .drafts_ns = 1e4, .investments_ns = 3e4};
        }
        print_message("rows in %d rounds of sequences, then in %d\n", filled[0], filled[1]);
        assert_in_range(filled[0], 2, 15);
        assert_true(good ? filled[1] >= 25 : filled[1] <= 10);
    }
}

/* ---- against every combination --------------------------------------------------------------- */

#define N_MAX 3
#define K_TOP 3

static bool drafts_by_model(const struct draft_len_seq *s)
{
    return s->options[0].drafter == &model_drafter;
}

static double estimate(const struct acceptance *a, const struct drafter *d, int32_t match,
                       int32_t position)
{
    double out[SPECD_K_MAX];
    assert_true(position <= SPECD_K_MAX);
    acceptance_estimate(a, d, match, out, position);
    return out[position - 1];
}

static double rate(const struct draft_len *d, const struct draft_len_seq *s, int32_t n,
                   const int32_t *k)
{
    double tokens = 0, ns = d->cost.host_ns;
    int32_t rows = 0, laws = 0;
    for (int32_t i = 0; i < n; i++) {
        const struct draft_option *o = &s[i].options[0];
        double survival = 1;
        tokens += 1;
        rows += 1 + k[i];
        laws += 1 + (drafts_by_model(&s[i]) ? 2 : 1) * k[i];
        for (int32_t j = 1; j <= k[i]; j++)
            tokens += survival *= estimate(s[i].acceptance, o->drafter, o->match, j);
    }
    for (int32_t step = 1; step <= K_TOP; step++) {
        int32_t drafting = 0;
        for (int32_t i = 0; i < n; i++)
            drafting += drafts_by_model(&s[i]) && k[i] >= step;
        ns += pass_cost_at(&d->cost, PASS_STEP, drafting);
    }
    return tokens / (ns + pass_cost_at(&d->cost, PASS_VERIFY, rows) + laws * d->cost.sample_ns);
}

static int32_t k_max_of(const struct draft_len_seq *s)
{
    return s->n_options > 0 ? s->options[0].k_max : 0;
}

static double best_rate(const struct draft_len *d, const struct draft_len_seq *s, int32_t n)
{
    double best = 0;
    for (int code = 0; code < 64; code++) {
        int32_t k[N_MAX] = {code % 4, code / 4 % 4, code / 16};
        bool allowed = true;
        for (int32_t i = 0; i < N_MAX; i++)
            allowed =
                allowed && (i >= n ? k[i] == 0 : k[i] >= s[i].k_min && k[i] <= k_max_of(&s[i]));
        if (allowed)
            best = MAX(best, rate(d, s, n, k));
    }
    return best;
}

static void random_cost(uint64_t *r, struct draft_len *d)
{
    *d = (struct draft_len){.rounds = 1};
    struct pass_cost *c = &d->cost;
    double verify = 1000, draft = 1000 * rnd_unit(r) * 0.6;
    c->host_ns = rnd(r, 3) ? 20 : 2000;
    c->sample_ns = rnd(r, 3) ? 0 : 10;
    for (int32_t rows = 1; rows <= 16; rows++) {
        pass_cost_set(c, PASS_VERIFY, rows, verify);
        pass_cost_set(c, PASS_STEP, rows, draft);
        verify += rnd_unit(r) * (rnd(r, 3) ? 60 : 400);
        draft += rnd_unit(r) * 10;
    }
}

/* The way of draft_len_choose need not meet the very best combination; it must come close, always,
 * and meet it mostly. */
static void test_against_search(void **state)
{
    (void)state;
    uint64_t r = 11;
    int exact = 0, rounds = 3000, speculated = 0;
    for (int round = 0; round < rounds; round++) {
        static struct draft_len d;
        struct acceptance p[N_MAX];
        struct draft_state states[N_MAX] = {0};
        struct draft_len_seq s[N_MAX];
        int32_t n = 1 + (int32_t)rnd(&r, N_MAX), k[N_MAX], least[N_MAX];
        random_cost(&r, &d);
        for (int32_t i = 0; i < n; i++) {
            const struct drafter *o = rnd(&r, 3) ? &model_drafter : &lookup_drafter;
            make_acceptance(&p[i], o, (float)rnd_unit(&r), (float)rnd_unit(&r));
            int32_t k_max = (int32_t)rnd(&r, K_TOP + 1);
            int32_t k_min = rnd(&r, 5) ? 0 : (int32_t)rnd(&r, (uint32_t)k_max + 1);
            s[i] = one_drafter(&p[i], &states[i], o, 2 + (int32_t)rnd(&r, 4), k_min, k_max);
        }
        draft_len_choose(&d, s, n);
        for (int32_t i = 0; i < n; i++) {
            k[i] = s[i].k;
            assert_in_range(k[i], s[i].k_min, k_max_of(&s[i]));
            speculated += k[i] > s[i].k_min;
        }
        for (int32_t i = 0; i < n; i++)
            least[i] = s[i].k_min;
        double got = rate(&d, s, n, k), best = best_rate(&d, s, n);
        double floor = rate(&d, s, n, least);
        assert_true(got >= 0.9 * best);
        assert_true(got == floor || got >= DRAFT_GAIN_MIN * floor * (1 - 1e-12));
        exact += got >= best * (1 - 1e-12) || (got == floor && best < DRAFT_GAIN_MIN * floor);
    }
    assert_true(exact >= rounds * 99 / 100);
    assert_true(speculated > rounds / 2);
}

/* The largest round there can be: bounds of the tables, and no more time than a round has. */
static void test_full_house(void **state)
{
    (void)state;
    static struct draft_len d;
    static struct acceptance p[SPECD_SLOTS_MAX];
    static struct draft_state states[SPECD_SLOTS_MAX];
    static struct draft_len_seq s[SPECD_SLOTS_MAX];
    uint64_t r = 2;
    flat_cost(&d, 1000, 1);
    for (int i = 0; i < SPECD_SLOTS_MAX; i++) {
        make_acceptance(&p[i], &model_drafter, 1, (float)rnd_unit(&r) * 0.2f + 0.8f);
        s[i] = one_drafter(&p[i], &states[i], &model_drafter, 0, 0, SPECD_K_MAX);
    }
    draft_len_choose(&d, s, SPECD_SLOTS_MAX);
    for (int i = 0; i < SPECD_SLOTS_MAX; i++)
        assert_in_range(s[i].k, 1, SPECD_K_MAX);
}

/* ---- days of rounds -------------------------------------------------------------------------- */

/*
 * One client after another, with answers of `answer` tokens to prompts of `prompt`, through the
 * policy as the engine drives it. Times are those of the world, which the policy only gets to know
 * round by round: a plain round takes 1000, a step `step`, a row more `row`, a row of a prompt a
 * twentieth of a step.
 */
struct world {
    double step, row;
    double (*acceptance)(int64_t round, uint64_t *random);
    double (*clock)(int64_t round); /* what the world's time is multiplied with; NULL: 1 */
    bool outcomes_lie;              /* the estimate sees 1 whatever was accepted */
    int32_t prompt, answer;
    int64_t tokens;
    double ns, plain_ns;  /* taken; what it would have been without drafts */
    int64_t rounds, drafted;
};

static double world_verify(const struct world *w, int32_t rows)
{
    return 1000 + w->row * (rows - 1);
}

static double world_fill(const struct world *w, int32_t rows)
{
    return rows > 0 ? MAX(w->step, w->step / 20 * rows) : 0;
}

static void good_table(struct draft_len *d, const struct world *w)
{
    *d = (struct draft_len){0};
    for (int32_t rows = 1; rows <= 16; rows *= 2) {
        pass_cost_set(&d->cost, PASS_VERIFY, rows, world_verify(w, rows));
        pass_cost_set(&d->cost, PASS_STEP, rows, w->step);
    }
    for (int32_t rows = 1; rows <= 512; rows *= 2)
        pass_cost_set(&d->cost, PASS_FILL, rows, world_fill(w, rows));
}

static void run_request(struct draft_len *d, struct world *w, struct acceptance_shared *shared,
                        uint64_t *r)
{
    struct acceptance a;
    struct draft_state state = {0};
    int32_t len = w->prompt, draft_len = 0;
    acceptance_init(&a, shared, false);
    while (len < w->prompt + w->answer) {
        struct draft_len_seq s = one_drafter(&a, &state, &model_drafter, 0, 0, 4);
        if (len == w->prompt)
            s.n_options = 0;
        s.lag = len - draft_len > SPECD_DRAFT_LAG_MAX ? len - 1 - draft_len : 0;
        s.fill_max = s.lag;
        s.rest = answer_len_rest(&d->lens, w->prompt, len - w->prompt, w->answer * 2);
        draft_len_choose(d, &s, 1);
        draft_len += s.fill;
        double p = w->acceptance(w->rounds, r), scale = w->clock ? w->clock(w->rounds) : 1;
        int32_t accepted = 0;
        while (accepted < s.k && rnd_unit(r) < p)
            accepted++;
        float overlap[SPECD_K_MAX];
        for (int32_t k = 0; k < s.k; k++)
            overlap[k] = w->outcomes_lie ? 1 : (float)(k < accepted);
        if (s.k > 0) {
            acceptance_observe(&a, &model_drafter, 0, overlap, MIN(accepted + 1, s.k));
            draft_len = len + MIN(accepted, s.k - 1);
        }
        len += accepted + 1;
        struct draft_times t = {.verify_ns = scale * world_verify(w, s.k + 1),
                                .step_ns = scale * w->step * s.k,
                                .fill_ns = scale * world_fill(w, s.fill)};
        struct draft_outcome o = {.state = &state,
                                  .decoded = true,
                                  .k = s.k,
                                  .accepted = accepted,
                                  .fill = s.fill,
                                  .model = s.k > 0,
                                  .probe = s.probe};
        draft_len_learn(d, &o, 1, &t);
        double real = scale > 0.1 && scale < 10 ? scale : 1; /* a clock may lie, time does not */
        w->ns += real * (world_verify(w, s.k + 1) + w->step * s.k + world_fill(w, s.fill));
        w->plain_ns += real * world_verify(w, 1) * (accepted + 1);
        w->rounds++;
        w->drafted += s.k;
    }
    answer_len_observe(&d->lens, w->prompt, len - w->prompt);
    w->tokens += len - w->prompt;
}

static double speedup(struct world w, void (*table)(struct draft_len *, const struct world *),
                      int32_t requests, struct draft_len *d)
{
    static struct acceptance_shared shared;
    uint64_t r = 5;
    shared = (struct acceptance_shared){0};
    table(d, &w);
    for (int32_t i = 0; i < requests; i++)
        run_request(d, &w, &shared, &r);
    return w.plain_ns / w.ns;
}

static double always_90(int64_t round, uint64_t *r)
{
    (void)round;
    (void)r;
    return 0.9;
}

static double always_5(int64_t round, uint64_t *r)
{
    (void)round;
    (void)r;
    return 0.05;
}

static double drops(int64_t round, uint64_t *r)
{
    (void)r;
    return round / 200 % 2 ? 0.02 : 0.95;
}

/* Good for as long as it takes to be believed, then bad until it is given up. */
static double teases(int64_t round, uint64_t *r)
{
    (void)r;
    return round / 12 % 2 ? 0 : 0.95;
}

static double wanders(int64_t round, uint64_t *r)
{
    (void)round;
    return rnd(r, 2) ? 0.9 : 0.1;
}

static double clock_jumps(int64_t round)
{
    return round % 50 == 7 ? 1e9 : round % 50 == 31 ? 0 : round % 50 == 40 ? 1e-9 : 1;
}

static double load_comes_and_goes(int64_t round)
{
    return round / 300 % 2 ? 3 : 1;
}

/* Steps and rows seem to cost nothing, plain rounds much. */
static void rosy_table(struct draft_len *d, const struct world *w)
{
    good_table(d, w);
    for (int32_t rows = 1; rows <= 16; rows *= 2) {
        pass_cost_set(&d->cost, PASS_VERIFY, rows, 5000);
        pass_cost_set(&d->cost, PASS_STEP, rows, 1);
    }
    for (int32_t rows = 1; rows <= 512; rows *= 2)
        pass_cost_set(&d->cost, PASS_FILL, rows, 1);
}

/* Drafting seems to cost more than anything it could save. */
static void gloomy_table(struct draft_len *d, const struct world *w)
{
    good_table(d, w);
    for (int32_t rows = 1; rows <= 16; rows *= 2)
        pass_cost_set(&d->cost, PASS_STEP, rows, 20 * w->step);
}

#define WORLD(p)                                                             \
    {                                                                        \
        .step = 300, .row = 50, .acceptance = p, .prompt = 60, .answer = 150 \
    }

static void test_days(void **state)
{
    (void)state;
    static struct draft_len d;
    struct world w = WORLD(always_90);
    /* K = 2 gives 2.71 tokens for 1700, K = 3 3.44 for 2050: 1.6 and 1.68, less what rows cost */
    assert_true(speedup(w, good_table, 20, &d) > 1.45);
    assert_true(d.budget.regret_ns < 0.001 * d.budget.busy_ns);
    assert_true(speedup(w, rosy_table, 20, &d) > 1.4);
    assert_true(speedup(w, gloomy_table, 40, &d) > 1.3);
    w.clock = clock_jumps;
    assert_true(speedup(w, good_table, 20, &d) > 1.35);
    w.clock = load_comes_and_goes;
    assert_true(speedup(w, good_table, 20, &d) > 1.4);
    w.acceptance = drops;
    assert_true(speedup(w, good_table, 20, &d) > 1.1);
    struct world short_answers = WORLD(always_90); /* too short for the prompt's rows to pay */
    short_answers.prompt = 2000;
    short_answers.answer = 10;
    assert_true(speedup(short_answers, good_table, 100, &d) > 0.97);
}

/* Where drafting cannot pay, it costs what the budget allows, and says so. */
static void test_hopeless_days(void **state)
{
    (void)state;
    static struct draft_len d;
    const struct world worlds[] = {
        WORLD(always_5),
        {.step = 900, .row = 400, .acceptance = always_90, .prompt = 60, .answer = 150},
        {.step = 300, .row = 50, .acceptance = always_5, .prompt = 2000, .answer = 400},
    };
    for (size_t i = 0; i < COUNT_OF(worlds); i++) {
        for (int table = 0; table < 3; table++) {
            double s = speedup(worlds[i],
                               table == 0   ? good_table
                               : table == 1 ? rosy_table
                                            : gloomy_table,
                               40, &d);
            print_message("hopeless %zu, table %d: %.4f, counted %.4f\n", i, table, s,
                          d.budget.regret_ns / d.budget.busy_ns);
            assert_true(s > 0.98);
            assert_true(d.budget.regret_ns < 0.02 * d.budget.busy_ns);
        }
    }
}

/* Traces made against the policy, and estimates that lie: the budget holds whatever happens. */
static void test_hostile_days(void **state)
{
    (void)state;
    static struct draft_len d;
    double (*const traces[])(int64_t, uint64_t *) = {teases, drops, wanders, always_5};
    for (size_t i = 0; i < 2 * COUNT_OF(traces); i++) {
        struct world w = WORLD(traces[i / 2]);
        w.outcomes_lie = i % 2;
        w.step = 600;
        double s = speedup(w, i % 3 ? rosy_table : good_table, 60, &d);
        print_message("hostile %zu: %.4f, counted %.4f\n", i, s,
                      d.budget.regret_ns / d.budget.busy_ns);
        assert_true(s > 0.97);
    }
}

/* ---- how long an answer will be -------------------------------------------------------------- */

static void test_answer_lengths(void **state)
{
    (void)state;
    struct answer_lens a = {0};
    double unseen = answer_len_rest(&a, 100, 1, 100000);
    assert_in_range((int)unseen, 50, 200);
    assert_true(answer_len_rest(&a, 100, 1, 7) <= 7);
    assert_true(answer_len_rest(NULL, 100, 500, 10000) >= 400);
    for (int i = 0; i < 50; i++) {
        answer_len_observe(&a, 20, 10);
        answer_len_observe(&a, 1000, 600);
    }
    assert_true(answer_len_rest(&a, 20, 1, 100000) < 80);
    assert_in_range((int)answer_len_rest(&a, 1000, 1, 100000), 400, 900);
    assert_true(answer_len_rest(&a, 1000, 600, 100000) < 500);
    assert_true(answer_len_rest(&a, 1000, 5000, 100000) > 1000); /* outlived all that was seen */
    for (int32_t n = 0; n < 5000; n += 7) {
        double rest = answer_len_rest(&a, 1000, n, 5000 - n);
        assert_true(rest >= 0 && rest <= 5000 - n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_extremes),       cmocka_unit_test(test_best_k_of_one),
        cmocka_unit_test(test_shared_step),    cmocka_unit_test(test_which_drafter),
        cmocka_unit_test(test_rows),           cmocka_unit_test(test_alone),
        cmocka_unit_test(test_cohort),         cmocka_unit_test(test_against_search),
        cmocka_unit_test(test_full_house),     cmocka_unit_test(test_days),
        cmocka_unit_test(test_hopeless_days),  cmocka_unit_test(test_hostile_days),
        cmocka_unit_test(test_answer_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
