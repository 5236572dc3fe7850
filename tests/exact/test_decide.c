/*
 * Decision tables: law_verify against a plain transcription of the three papers' rules over the
 * brute-force laws of oracle.h, for random pairs of laws with zeros, ties, point masses, disjoint
 * and equal supports, broken rows, ends of text and forced acceptance. SPECD_EXACT_FULL=1 tries
 * twenty times as many.
 *
 * links: specd_cpu
 */
#include "exact/oracle.h"
#include "exact/suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define K_MAX (SPECD_K_MAX < 8 ? SPECD_K_MAX : 8)

/* One slot's round: laws as specd and as the oracle see them. */
struct table {
    int32_t n_vocab, k;
    float *logits[2][K_MAX + 1];
    struct law q[K_MAX + 1], p[K_MAX];
    struct oracle_law oq[K_MAX + 1], op[K_MAX];
    int32_t drafted[K_MAX];
    struct sample_params params[2];
    int kinds[2]; /* enum row_shape of the target's and the draft's rows; -1: any */
    uint64_t *scratch;
    struct verify_input in;
};

struct decision {
    int n_accepted, n_tokens;
    int32_t tokens[K_MAX + 1];
    double overlap[K_MAX];
    uint32_t flags;
};

/* ---- the rules, transcribed ------------------------------------------------------------------ */

static double coin(const struct table *t, enum noise_stream stream, int k)
{
    struct philox w = philox4x32(
        (struct philox){{0, (uint32_t)(t->in.len + k), (uint32_t)stream, t->in.round}}, t->in.seed);

    return w.w[0] * 0x1p-32;
}

static int32_t target_draw(struct table *t, int k)
{
    struct noise n = {t->in.seed, (uint32_t)(t->in.len + k), NOISE_TARGET, 0};

    return oracle_draw(&t->oq[k], NULL, 1, n);
}

static int32_t residual_draw(struct table *t, int k, double b, uint32_t *flags)
{
    struct noise n = {t->in.seed, (uint32_t)(t->in.len + k), NOISE_TARGET, 0};
    int32_t id = oracle_draw(&t->oq[k], &t->op[k], b, n);

    if (id >= 0)
        return id;
    if (!t->q[k].one_hot)
        *flags |= SEQ_RESIDUAL_FALLBACK;
    return target_draw(t, k);
}

static bool is_end(const struct table *t, int32_t id)
{
    for (int i = 0; i < t->in.n_ends; i++) {
        if (t->in.ends[i].id == id)
            return true;
    }
    return false;
}

static double path_ratio(const struct table *t, int k)
{
    return oracle_prob(&t->oq[k], t->drafted[k]) / oracle_prob(&t->op[k], t->drafted[k]);
}

/* Returns the accepted length; *last is the token after it, *numeric: a broken law was needed. */
static int decide_tokens(struct table *t, int k, int32_t *last, uint32_t *flags)
{
    bool coupled = t->in.mode == VERIFY_COUPLED && t->in.synthetic_acceptance < 0;
    int n = 0;

    for (; n < k; n++) {
        double p = oracle_prob(&t->op[n], t->drafted[n]), q;
        bool accept;

        if (t->oq[n].bad) {
            *flags = SEQ_NUMERIC;
            return 0;
        }
        q = oracle_prob(&t->oq[n], t->drafted[n]);
        if (t->in.synthetic_acceptance >= 0)
            accept = coin(t, NOISE_SYNTHETIC, n) < (double)t->in.synthetic_acceptance;
        else if (coupled)
            accept = target_draw(t, n) == t->drafted[n];
        else
            accept = coin(t, NOISE_ACCEPT, n) * p < q;
        if (!accept) {
            *last = coupled ? target_draw(t, n) : residual_draw(t, n, 1, flags);
            return n;
        }
    }
    return n;
}

static int decide_block(struct table *t, int k, int32_t *last, uint32_t *flags)
{
    double b = 1, b_kept = 1;
    int n = 0;

    for (int i = 0; i <= k - (k > 0 && is_end(t, t->drafted[k - 1])); i++) {
        if (t->oq[i].bad) {
            *flags = SEQ_NUMERIC;
            return 0;
        }
    }
    for (int i = 0; i < k; i++) {
        double h;

        b = b * oracle_prob(&t->oq[i], t->drafted[i]) < oracle_prob(&t->op[i], t->drafted[i])
                ? b * path_ratio(t, i)
                : 1;
        if (i + 1 < k) {
            double a = oracle_residual_mass(&t->oq[i + 1], &t->op[i + 1], b);

            h = a + 1 - b > 1e-15 ? a / (a + 1 - b) : 1;
        } else {
            h = b;
        }
        if (coin(t, NOISE_ACCEPT, i) < h) {
            n = i + 1;
            b_kept = b;
        }
    }
    if (n < k)
        *last = residual_draw(t, n, b_kept, flags);
    return n;
}

static struct decision decide(struct table *t)
{
    struct decision d = {0};
    int32_t last = -1;
    int k = 0, n;

    while (k < t->k && !t->op[k].bad && (k == 0 || !is_end(t, t->drafted[k - 1])))
        k++;
    n = t->in.mode == VERIFY_BLOCK && t->in.synthetic_acceptance < 0
            ? decide_block(t, k, &last, &d.flags)
            : decide_tokens(t, k, &last, &d.flags);
    if (n == k && !(n > 0 && is_end(t, t->drafted[n - 1])) && !(d.flags & SEQ_NUMERIC)) {
        if (t->oq[n].bad)
            d.flags = SEQ_NUMERIC;
        else
            last = target_draw(t, n);
    }
    if (d.flags & SEQ_NUMERIC)
        return d;
    memcpy(d.tokens, t->drafted, (size_t)n * sizeof(d.tokens[0]));
    d.n_accepted = d.n_tokens = n;
    if (last >= 0)
        d.tokens[d.n_tokens++] = last;
    if (is_end(t, d.tokens[d.n_tokens - 1]))
        d.flags |= SEQ_END;
    for (int i = 0; i < k && i <= n; i++)
        d.overlap[i] = 1 - oracle_residual_mass(&t->oq[i], &t->op[i], 1);
    return d;
}

/* ---- rounds to try --------------------------------------------------------------------------- */

static void params_make(struct sample_params *p)
{
    static const float temperatures[] = {1, 1, 0.5f, 1.5f, 0};

    *p = (struct sample_params){.target = {.temperature = temperatures[rand() % 5],
                                           .top_k = rand() % 3 ? 0 : 3,
                                           .top_p = rand() % 3 ? 1 : 0.8f,
                                           .min_p = rand() % 3 ? 0 : 0.1f,
                                           .repetition = 1}};
}

/* Rows of the draft: unrelated to the target's, equal, close, or of other support. */
static void rows_make(struct table *t, int k)
{
    enum row_shape shape = (enum row_shape)(rand() % ROW_SHAPES);
    int relation = rand() % 5;

    if (t->kinds[0] >= 0) {
        row_make(t->logits[0][k], t->n_vocab, (enum row_shape)t->kinds[0]);
        row_make(t->logits[1][k], t->n_vocab, (enum row_shape)t->kinds[1]);
        return;
    }
    row_make(t->logits[0][k], t->n_vocab, shape);
    row_make(t->logits[1][k], t->n_vocab, relation == 0 ? ROW_HOLES : shape);
    for (int32_t i = 0; i < t->n_vocab; i++) {
        if (relation == 1)
            t->logits[1][k][i] = t->logits[0][k][i];
        if (relation == 2)
            t->logits[1][k][i] = t->logits[0][k][i] + (float)random_unit();
        if (relation == 3) /* disjoint */
            t->logits[(i ^ k) & 1][k][i] = -INFINITY;
    }
    if (rand() % 40 == 0)
        t->logits[rand() % 2][k][rand() % t->n_vocab] = rand() % 2 ? NAN : INFINITY;
}

/* A drafted token as the device would draw it, or a host's guess with a point mass. */
static void draft_make(struct table *t, int k, bool host)
{
    struct noise n = noise_proposal(t->in.seed, t->in.mode, t->in.len + k, t->in.round);

    if (host) {
        int32_t id = rand() % 3 ? law_draw(&t->q[k], &n) : rand() % t->n_vocab;

        law_point(&t->p[k], t->n_vocab, id);
        memset(t->op[k].w, 0, (size_t)t->n_vocab * sizeof(t->op[k].w[0]));
        t->op[k].w[id] = t->op[k].sum = LAW_ONE;
        t->op[k].bad = false;
    }
    t->drafted[k] = law_draw(&t->p[k], &n);
}

static void table_make(struct table *t, int32_t n_vocab, int k, int q_kind, int p_kind)
{
    static struct end_token ends[2];
    bool host = rand() % 4 == 0;

    *t = (struct table){.n_vocab = n_vocab,
                        .k = k,
                        .kinds = {q_kind, p_kind},
                        .scratch = xaligned(64, 8 * (size_t)n_vocab)};
    t->in =
        (struct verify_input){.q = t->q,
                              .p = t->p,
                              .drafted = t->drafted,
                              .k = k,
                              .len = rand() % 1000,
                              .round = (uint32_t)rand(),
                              .seed = (uint64_t)rand() * 65537,
                              .mode = (enum verify_mode)(rand() % 3),
                              .synthetic_acceptance = rand() % 10 ? -1.0f : (float)random_unit(),
                              .ends = ends,
                              .n_ends = rand() % 3};
    params_make(&t->params[0]);
    params_make(&t->params[1]);
    if (rand() % 2)
        t->params[1] = t->params[0];
    ends[0].id = rand() % n_vocab;
    ends[1].id = n_vocab - 1;
    for (int i = 0; i <= k; i++) {
        struct law_context c[2];

        for (int m = 0; m < 2; m++) {
            t->logits[m][i] = xcalloc((size_t)n_vocab, sizeof(float));
            c[m] = (struct law_context){
                .params = &t->params[m], .law = &t->params[m].target, .position = t->in.len + i};
        }
        rows_make(t, i);
        law_build(&t->q[i], t->logits[0][i], n_vocab, &c[0], t->scratch);
        oracle_build(&t->oq[i], t->logits[0][i], n_vocab, &c[0]);
        if (i < k) {
            law_build(&t->p[i], t->logits[1][i], n_vocab, &c[1], t->scratch);
            oracle_build(&t->op[i], t->logits[1][i], n_vocab, &c[1]);
            draft_make(t, i, host);
        }
    }
}

static void table_free(struct table *t)
{
    for (int i = 0; i <= t->k; i++) {
        free(t->logits[0][i]);
        free(t->logits[1][i]);
        oracle_free(&t->oq[i]);
        if (i < t->k)
            oracle_free(&t->op[i]);
    }
    free(t->scratch);
}

static void check_round(struct table *t)
{
    struct decision want = decide(t);
    struct seq_result got;

    memset(&got, 0xa5, sizeof(got));
    law_verify(&t->in, &got);
    assert_int_equal(got.flags, want.flags);
    assert_int_equal(got.n_accepted, want.n_accepted);
    assert_int_equal(got.n_tokens, want.n_tokens);
    for (int i = 0; i < want.n_tokens; i++)
        assert_int_equal(got.tokens[i], want.tokens[i]);
    for (int i = 0; i < t->k && i <= want.n_accepted && !(want.flags & SEQ_NUMERIC); i++) {
        if (!t->op[i].bad && (i == 0 || !is_end(t, t->drafted[i - 1])))
            assert_true(fabs(got.overlap[i] - want.overlap[i]) < 1e-6);
    }
}

struct seen {
    int rounds, accepted, numeric, ended, fallback;
};

static void try_round(struct table *t, struct seen *seen)
{
    struct decision d;

    check_round(t);
    d = decide(t);
    seen->rounds++;
    seen->accepted += d.n_accepted;
    seen->numeric += (d.flags & SEQ_NUMERIC) != 0;
    seen->ended += (d.flags & SEQ_END) != 0;
    seen->fallback += (d.flags & SEQ_RESIDUAL_FALLBACK) != 0;
    table_free(t);
}

static void try_rounds(int32_t n_vocab, int n, struct seen *seen)
{
    for (int i = 0; i < n; i++) {
        struct table t;

        table_make(&t, n_vocab, rand() % (K_MAX + 1), -1, -1);
        try_round(&t, seen);
    }
}

static void seen_report(const struct seen *seen, const char *what)
{
    report("decisions", "what=%s rounds=%d accepted=%d numeric=%d ended=%d empty_residuals=%d",
           what, seen->rounds, seen->accepted, seen->numeric, seen->ended, seen->fallback);
}

static void test_decisions(void **state)
{
    static const int32_t sizes[] = {1, 2, 3, 5, 8, 17, 33, 257};
    struct seen seen = {0};
    int scale = suite_full() ? 20 : 1;

    (void)state;
    srand(7);
    for (size_t s = 0; s < COUNT_OF(sizes); s++)
        try_rounds(sizes[s], 2000 * scale, &seen);
    try_rounds(49152, 6 * scale, &seen);
    try_rounds(128256, 2 * scale, &seen);
    seen_report(&seen, "random_pairs,_V_1..128256");
    /* The table reaches what it is meant to reach. */
    assert_true(seen.accepted > 1000 && seen.numeric > 100 && seen.ended > 100);
    assert_true(seen.fallback > 10);
}

/* Every kind of target row against every kind of draft row, broken ones included. */
static void test_every_pair(void **state)
{
    static const struct {
        int32_t n_vocab;
        int quick, full; /* rounds of each pair */
    } sizes[] = {{3, 30, 300}, {8, 10, 100}, {129, 10, 100}, {49152, 0, 3}, {128256, 0, 1}};
    struct seen seen = {0};

    (void)state;
    srand(8);
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        for (int pair = 0; pair < ROW_KINDS * ROW_KINDS; pair++) {
            int n = suite_full() ? sizes[s].full : sizes[s].quick;

            /* The quick set meets large vocabularies with one draft row for each target row. */
            if (n == 0 && pair % ROW_KINDS == (pair / ROW_KINDS + (int)s) % ROW_KINDS)
                n = 1;
            for (int i = 0; i < n; i++) {
                struct table t;

                int k = sizes[s].full < 10 ? 1 + pair % 3 : i % 4;

                table_make(&t, sizes[s].n_vocab, MIN(k, K_MAX), pair / ROW_KINDS, pair % ROW_KINDS);
                t.in.mode = (enum verify_mode)((pair + i) % 3);
                try_round(&t, &seen);
            }
        }
    }
    seen_report(&seen, "every_kind_of_row_against_every");
    assert_true(seen.accepted > 1000 && seen.numeric > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decisions),
        cmocka_unit_test(test_every_pair),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
