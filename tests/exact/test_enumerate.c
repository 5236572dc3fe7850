/*
 * Exactness without statistics: every branch of the shipped control flow (specd/verify.h) over laws
 * of 2 or 3 tokens that depend on the whole text before them, walked with its rational probability
 * (walker.h). The law of the tokens that one round, two rounds or three yield, the target's own
 * continuation filled in where they are fewer than compared, must be the target's identically;
 * whatever may choose K from round to round is tried too, and what must not is caught.
 *
 * links: specd_base
 */
#include "exact/suite.h"
#include "exact/walker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SEQUENCES 729

static void walk_path(struct chooser *c, const struct plan *plan, int total, struct modular *law)
{
    struct outcome before = {0};
    int32_t tokens[LEN_MAX + K_MAX];

    c->depth = c->len = c->context[0] = 0;
    c->weight = (struct modular){{1, 1}};
    for (int s = 0; s < STREAMS; s++)
        numbers_renew(c, (enum stream)s);
    for (int round = 0; round < plan->n_rounds; round++)
        before = walk_round(c, plan, plan_k(plan, round, &before), tokens);
    continue_target(c->q, tokens, c->len, total, c->context[0], c->weight, law);
}

/* True if the law of the first `total` tokens is the target's. */
static bool plan_exact(const struct laws *q, const struct laws *p, const struct plan *plan,
                       int total)
{
    static struct modular got[SEQUENCES], want[SEQUENCES];
    struct chooser c = {.q = q, .p = p, .wrong = plan->wrong, .coupled = plan->coupled};
    int32_t tokens[LEN_MAX];

    memset(got, 0, sizeof(got));
    memset(want, 0, sizeof(want));
    do
        walk_path(&c, plan, total, got);
    while (path_next(&c));
    continue_target(q, tokens, 0, total, 0, (struct modular){{1, 1}}, want);
    return memcmp(got, want, sizeof(got)) == 0;
}

/* ---- laws to try ----------------------------------------------------------------------------- */

enum shape { RANDOM, EQUAL, DISJOINT, POINT_DRAFT, GREEDY, PENALISED, TRIMMED, SHAPES };

static void law_random(int *w, int n_vocab, int largest)
{
    int sum = 0;

    for (int x = 0; x < n_vocab; x++)
        sum += w[x] = rand() % (largest + 1);
    if (sum == 0)
        w[rand() % n_vocab] = 1;
}

static void law_one_hot(int *w, int n_vocab)
{
    memset(w, 0, (size_t)n_vocab * sizeof(w[0]));
    w[rand() % n_vocab] = 1;
}

/* One law for every context, but a token that the text holds already has a third of its mass. */
static void laws_penalise(struct laws *l, int largest)
{
    int base[V_MAX];

    law_random(base, l->n_vocab, largest);
    base[0] += base[0] == 0;
    base[1] += base[1] == 0;
    for (int context = 0; context < CONTEXTS; context++) {
        bool seen[V_MAX] = {false};

        for (int rest = context; rest > 0; rest = (rest - 1) / l->n_vocab)
            seen[(rest - 1) % l->n_vocab] = true;
        for (int x = 0; x < l->n_vocab; x++)
            l->w[context][x] = base[x] * (seen[x] ? 1 : 3);
    }
}

static void laws_make(struct laws *q, struct laws *p, int n_vocab, enum shape shape, int largest)
{
    q->n_vocab = p->n_vocab = n_vocab;
    p->left_out = shape == TRIMMED ? 1u << rand() % n_vocab : 0;
    for (int i = 0; i < CONTEXTS; i++) {
        law_random(q->w[i], n_vocab, largest);
        law_random(p->w[i], n_vocab, largest);
        if (shape == EQUAL)
            memcpy(p->w[i], q->w[i], sizeof(p->w[i]));
        if (shape == GREEDY)
            law_one_hot(q->w[i], n_vocab);
        if (shape == POINT_DRAFT || (shape == GREEDY && rand() % 2))
            law_one_hot(p->w[i], n_vocab);
        for (int x = 0; shape == TRIMMED && x < n_vocab; x++)
            p->w[i][x]++; /* of what is left, some is possible */
        if (shape == DISJOINT) {
            memset(q->w[i], 0, sizeof(q->w[i]));
            q->w[i][n_vocab - 1] = 1;
            p->w[i][0]++;
            p->w[i][n_vocab - 1] = 0;
        }
    }
    if (shape == PENALISED) {
        laws_penalise(q, largest);
        laws_penalise(p, largest);
    }
}

static const struct plan modes[] = {
    {.mode = "ratio", .verify = verify_ratio},
    {.mode = "block", .verify = verify_block},
    {.mode = "coupled", .verify = verify_coupled, .coupled = true},
};

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_one_round(void **state)
{
    static struct laws q, p;
    int n = 0;

    (void)state;
    srand(1);
    for (int n_vocab = 2; n_vocab <= V_MAX; n_vocab++) {
        for (int k = 0; k <= K_MAX; k++) {
            for (int trial = 0; trial < SHAPES * (k < 4 ? 8 : 2); trial++) {
                laws_make(&q, &p, n_vocab, (enum shape)(trial % SHAPES), 4);
                for (size_t m = 0; m < COUNT_OF(modes); m++, n++) {
                    struct plan plan = modes[m];

                    plan.k = k;
                    plan.n_rounds = 1;
                    if (!plan_exact(&q, &p, &plan, k + 1))
                        fail_msg("%s: V %d, K %d, shape %d", plan.mode, n_vocab, k, trial % SHAPES);
                }
            }
        }
    }
    report("enumeration", "what=one_round,_V_2..3,_K_0..4 laws=%d", n);
}

/* Shapes of a run over several rounds that enumeration can afford. */
static const struct run {
    int n_vocab, k, n_rounds, total, trials;
} runs[] = {{2, 1, 3, 6, 1}, {2, 2, 2, 5, 2}, {2, 3, 2, 6, 1}, {3, 1, 2, 4, 2}, {3, 2, 2, 4, 1}};

static void test_rounds(void **state)
{
    static struct laws q, p;
    int n = 0;

    (void)state;
    srand(2);
    for (size_t i = 0; i < COUNT_OF(runs); i++) {
        int trials = SHAPES * POLICIES * runs[i].trials * (suite_full() ? 5 : 1);

        for (int trial = 0; trial < trials; trial++) {
            laws_make(&q, &p, runs[i].n_vocab, (enum shape)(trial % SHAPES), 3);
            for (size_t m = 0; m < COUNT_OF(modes); m++, n++) {
                struct plan plan = modes[m];

                plan.k = runs[i].k;
                plan.n_rounds = runs[i].n_rounds;
                plan.policy = (enum policy)(trial / SHAPES % POLICIES);
                if (!plan_exact(&q, &p, &plan, runs[i].total))
                    fail_msg("%s: V %d, K %d, shape %d, policy %d", plan.mode, runs[i].n_vocab,
                             plan.k, trial % SHAPES, (int)plan.policy);
            }
        }
    }
    report("enumeration", "what=two_and_three_rounds,_K_adapting laws=%d", n);
}

/* How many of 10 random pairs of laws come out exact over two rounds of K = 2. */
static int count_exact(struct plan plan, enum policy policy, enum wrong wrong, enum shape shape)
{
    static struct laws q, p;
    int n = 0;

    srand(3);
    plan.k = 2;
    plan.n_rounds = 2;
    plan.policy = policy;
    plan.wrong = wrong;
    for (int trial = 0; trial < 10; trial++) {
        laws_make(&q, &p, 3, shape, 4);
        n += plan_exact(&q, &p, &plan, 4);
    }
    return n;
}

enum { RATIO, BLOCK, COUPLED };

/* What is said to be wrong is. A pair of laws may survive a fault: equal ones by chance, say. */
static void test_controls_caught(void **state)
{
    static const struct {
        const char *name;
        int mode;
        enum policy policy;
        enum wrong wrong;
        enum shape shape;
    } controls[] = {
        {"accept_always", RATIO, K_FIXED, ACCEPT_ALWAYS, RANDOM},
        {"residual_=_q", RATIO, K_FIXED, RESIDUAL_IS_TARGET, RANDOM},
        {"residual_=_q", BLOCK, K_FIXED, RESIDUAL_IS_TARGET, RANDOM},
        {"block's_residual_without_b", BLOCK, K_FIXED, RESIDUAL_IGNORES_B, RANDOM},
        {"target_law_blind_to_the_draft", RATIO, K_FIXED, TARGET_LAGS, RANDOM},
        {"target_law_blind_to_the_draft", BLOCK, K_FIXED, TARGET_LAGS, RANDOM},
        {"shared_streams", RATIO, K_FIXED, SHARED_STREAMS, RANDOM},
        {"shared_streams", BLOCK, K_FIXED, SHARED_STREAMS, RANDOM},
        {"K_by_the_drafted_token", RATIO, K_FIXED, K_BY_OWN_TOKEN, RANDOM},
        {"K_by_the_drafted_token", BLOCK, K_FIXED, K_BY_OWN_TOKEN, RANDOM},
        {"p_in_the_ratio_over_ids_not_drafted", RATIO, K_FIXED, RATIO_OVER_ALL, TRIMMED},
        {"p_in_the_ratio_over_ids_not_drafted", BLOCK, K_FIXED, RATIO_OVER_ALL, TRIMMED},
        {"p_in_the_residual_over_ids_not_drafted", RATIO, K_FIXED, RESIDUAL_OVER_ALL, TRIMMED},
        {"p_in_the_residual_over_ids_not_drafted", BLOCK, K_FIXED, RESIDUAL_OVER_ALL, TRIMMED},
        {"no_round_in_the_counter", BLOCK, K_FIXED, KEYED, RANDOM},
        {"no_round,_K_by_what_was_rejected", RATIO, K_BY_REJECTED, KEYED, RANDOM},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(controls); i++) {
        struct plan plan = modes[controls[i].mode];
        int wrong = count_exact(plan, controls[i].policy, controls[i].wrong, controls[i].shape);
        int sound = count_exact(plan, controls[i].policy, SOUND, controls[i].shape);

        report("enumerated_controls", "fault=%s mode=%s sound=%d_of_10 faulty=%d_of_10",
               controls[i].name, plan.mode, sound, wrong);
        assert_int_equal(sound, 10);
        assert_true(wrong < 10);
    }
}

/* Where a fault is none: token by token nothing looks past the first rejection, so a round without
 * its number is exact while K does not either; and nothing a policy does can bend coupled output.
 */
static void test_harmless(void **state)
{
    (void)state;
    assert_int_equal(count_exact(modes[RATIO], K_FIXED, KEYED, RANDOM), 10);
    assert_int_equal(count_exact(modes[RATIO], K_BY_OVERLAP, KEYED, RANDOM), 10);
    assert_int_equal(count_exact(modes[COUPLED], K_BY_REJECTED, KEYED, RANDOM), 10);
    assert_int_equal(count_exact(modes[COUPLED], K_FIXED, K_BY_OWN_TOKEN, RANDOM), 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_round),
        cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_controls_caught),
        cmocka_unit_test(test_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
