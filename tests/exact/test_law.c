/*
 * Laws, cuts and draws of cpu/law.c against the obvious computation of oracle.h, for the kernels
 * of every instruction set, which must agree bit for bit; and against real-valued softmax.
 * SPECD_EXACT_FULL=1 tries ten times as many rows.
 *
 * links: specd_cpu
 */
#include "exact/oracle.h"
#include "exact/suite.h"
#include "isa.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static int trials(int quick)
{
    return suite_full() ? 10 * quick : quick;
}

static const int32_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 511, 512, 513, 1000, 1531};

struct row {
    int32_t n;
    float *logits;
    uint64_t *scratch;
    uint16_t *counts[2];
    struct sample_params params;
    struct law_context context;
};

static void row_alloc(struct row *r, int32_t n)
{
    *r = (struct row){.n = n};
    r->logits = xcalloc((size_t)n, sizeof(float));
    r->scratch = xaligned(64, (size_t)n * 8);
    for (int i = 0; i < 2; i++)
        r->counts[i] = xcalloc((size_t)n, sizeof(uint16_t));
}

static void row_free(struct row *r)
{
    free(r->logits);
    free(r->scratch);
    free(r->counts[0]);
    free(r->counts[1]);
}

static float pick(const float *values, size_t n)
{
    return values[(size_t)rand() % n];
}
#define PICK(...) pick((const float[]){__VA_ARGS__}, COUNT_OF(((const float[]){__VA_ARGS__})))

static int32_t bias_ids[4];
static uint32_t allowed_ids[SPECD_VOCAB_MAX / 32];
static const float bias_values[4] = {-INFINITY, 2.5f, -100.0f, 100.0f};

/* Parameters and adjustments at random, each off half of the time. */
static void row_params(struct row *r)
{
    struct sample_params *p = &r->params;

    *p = (struct sample_params){.bias_ids = bias_ids, .bias = bias_values};
    p->target = (struct law_params){
        .temperature = PICK(0.0f, 1.0f, 1.0f, 0.3f, 1.5f, 2.0f, 1e-42f),
        .top_k = (int32_t)PICK(0, 0, 1, 2, 7, 40, 1000),
        .top_p = PICK(1.0f, 1.0f, 0.9f, 0.5f, 0x1p-40f, 0.999999f),
        .min_p = PICK(0.0f, 0.0f, 0.05f, 0.5f, 0x1p-44f, 0.999f),
        .presence = PICK(0.0f, 1.5f, -2.0f),
        .frequency = PICK(0.0f, 0.3f, 2.0f),
        .repetition = PICK(1.0f, 1.3f, 0.5f, 1e-40f),
    };
    r->context = (struct law_context){.params = p, .law = &p->target, .position = 10};
    if (rand() % 2) {
        for (int32_t i = 0; i < r->n; i++)
            r->counts[1][i] =
                (uint16_t)((r->counts[0][i] = rand() % 5 ? 0 : (uint16_t)(rand() % 4)) +
                           rand() % 2);
        r->context.counts_generated = r->counts[0];
        r->context.counts_all = r->counts[1];
    }
    if (rand() % 2) {
        p->n_bias = rand() % 5;
        for (int i = 0; i < p->n_bias; i++)
            bias_ids[i] = (rand() % r->n) / 4 * 4 + i; /* some beyond the end; each once */
    }
    if (rand() % 2) {
        p->n_ends = 2;
        p->ends[0] = (struct end_token){rand() % r->n, rand() % 2 ? 11 : 10};
        p->ends[1] = (struct end_token){r->n - 1, rand() % 2 ? 11 : 10};
    }
    if (rand() % 4 == 0) {
        for (int32_t i = 0; i <= (r->n - 1) / 32; i++)
            allowed_ids[i] = (uint32_t)rand() << 16 ^ (uint32_t)rand();
        p->allowed = allowed_ids;
    }
}

static void check_law(const struct law *l, const struct oracle_law *o)
{
    assert_int_equal(l->bad, o->bad);
    if (o->bad) {
        assert_int_equal(law_draw(l, &(struct noise){1, 2, 3, 4}), 0);
        return;
    }
    assert_int_equal(l->top, o->top);
    assert_true(l->sum == o->sum);
    for (int32_t i = 0; i < o->n; i++) {
        if (law_weight_of(l, i) != o->w[i])
            fail_msg("weight %d of %d: %llu, not %llu", i, o->n,
                     (unsigned long long)law_weight_of(l, i), (unsigned long long)o->w[i]);
    }
    assert_true(law_weight_of(l, -1) == 0 && law_weight_of(l, o->n) == 0);
}

static void check_draws(const struct law *l, const struct oracle_law *o, int n)
{
    for (int i = 0; i < n && !o->bad; i++) {
        struct noise noise = {(uint64_t)rand() << 20, (uint32_t)rand(), NOISE_TARGET, 0};

        assert_int_equal(law_draw(l, &noise), oracle_draw(o, NULL, 1, noise));
    }
}

/* Parts of a row, the last one first. */
static void run_backwards(void *with, int n, void (*fn)(void *arg, int i), void *arg)
{
    (void)with;
    while (n-- > 0)
        fn(arg, n);
}

static const enum isa sets[] = {ISA_COUNT, ISA_AVX2, ISA_PORTABLE};

static void check_row(struct row *r)
{
    struct oracle_law o;
    struct law l;

    oracle_build(&o, r->logits, r->n, &r->context);
    for (size_t i = 0; i < 2 * COUNT_OF(sets); i++) {
        struct law_threads threads = {run_backwards, NULL, 2 + (int)i};

        cpu_limit(sets[i / 2]);
        r->context.threads = i % 2 ? &threads : NULL;
        law_build(&l, r->logits, r->n, &r->context, r->scratch);
        check_law(&l, &o);
        check_draws(&l, &o, 3);
    }
    r->context.threads = NULL;
    cpu_limit(ISA_COUNT);
    oracle_free(&o);
}

static void test_build_and_draw(void **state)
{
    (void)state;
    srand(3);
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        struct row r;

        row_alloc(&r, sizes[s]);
        for (int t = 0; t < trials(r.n > 100 ? 30 : 150); t++) {
            row_make(r.logits, r.n, (enum row_shape)(t % ROW_SHAPES));
            row_params(&r);
            check_row(&r);
        }
        row_free(&r);
    }
}

static void test_large_vocabularies(void **state)
{
    static const int32_t large[] = {49152, 128256, SPECD_VOCAB_MAX};

    (void)state;
    srand(4);
    for (size_t s = 0; s < COUNT_OF(large); s++) {
        struct row r;

        row_alloc(&r, large[s]);
        for (int t = 0; t < trials(2); t++) {
            row_make(r.logits, r.n, t % 2 ? ROW_PEAKED : ROW_SMOOTH);
            row_params(&r);
            r.params.target.temperature = 1.0f;
            r.params.target.repetition = 1.0f;
            check_row(&r);
        }
        row_free(&r);
    }
}

/* Rows long enough that the cut is looked for in a window guessed from a sample of them, some made
 * so that the sample lies: entries 16 apart are much larger or smaller than the others. */
static void test_cuts_of_long_rows(void **state)
{
    (void)state;
    srand(9);
    for (int t = 0; t < trials(400); t++) {
        struct row r;
        int lie = t % 3;

        row_alloc(&r, 1024 + rand() % 4000);
        row_make(r.logits, r.n, (enum row_shape)(t % ROW_SHAPES));
        for (int32_t i = 0; i < r.n && lie > 0; i += 16)
            r.logits[i] += lie == 1 ? 4.0f : -4.0f;
        row_params(&r);
        r.params.target.top_k = rand() % 2 ? 0 : 1 + rand() % r.n;
        r.params.target.top_p = PICK(1.0f, 0.999f, 0.9f, 0.5f, 0.1f);
        r.params.target.temperature = PICK(1.0f, 0.3f, 5.0f);
        check_row(&r);
        row_free(&r);
    }
}

static void test_bad_rows(void **state)
{
    static const float poison[] = {NAN, -NAN, INFINITY};
    struct row r;

    (void)state;
    row_alloc(&r, 700);
    for (size_t s = 0; s < COUNT_OF(poison); s++) {
        for (int32_t at = 0; at < r.n; at += 23) {
            row_make(r.logits, r.n, ROW_SMOOTH);
            row_params(&r);
            r.logits[at] = poison[s];
            check_row(&r);
        }
    }
    for (int32_t i = 0; i < r.n; i++)
        r.logits[i] = -INFINITY;
    row_params(&r);
    check_row(&r);
    row_free(&r);
}

/* Masks that leave nothing make a row that is no law. */
static void test_everything_masked(void **state)
{
    float logits[3] = {1, 2, 3};
    static const int32_t ids[2] = {0, 1};
    static const float bias[2] = {-INFINITY, -INFINITY};
    struct sample_params p = {.target = {.temperature = 1, .top_p = 1, .repetition = 1},
                              .n_bias = 2,
                              .bias_ids = ids,
                              .bias = bias,
                              .n_ends = 1,
                              .ends = {{2, 5}}};
    struct law_context c = {.params = &p, .law = &p.target, .position = 4};
    uint64_t scratch[8];
    struct law l;

    (void)state;
    law_build(&l, logits, 3, &c, scratch);
    assert_true(l.bad);
    c.position = 5;
    law_build(&l, logits, 3, &c, scratch);
    assert_true(!l.bad && l.top == 2 && law_prob(&l, 2) == 1.0);
}

/* The mass top-p must reach is rounded up, whatever the sum. */
static void test_top_p_mass(void **state)
{
    static const float top_p[] = {0x1p-149f, 0x1p-32f, 0.1f, 0.5f, 0.9f, 0.95f, 0x1.fffffep-1f};

    (void)state;
    srand(8);
    for (int i = 0; i < 10000; i++) {
        uint64_t sum = ((uint64_t)rand() << 32 ^ (uint64_t)rand() << 8) >> rand() % 30;
        float p = top_p[i % (int)COUNT_OF(top_p)];
        unsigned __int128 want = (unsigned __int128)sum * (uint64_t)((double)p * 0x1p32);

        want = (want + 0xffffffffu) >> 32;
        assert_true(law_top_p_mass(p, sum) == (want > 0 ? (uint64_t)want : 1));
    }
    assert_true(law_top_p_mass(0.5f, 4) == 2 && law_top_p_mass(0.5f, 5) == 3);
}

/* Entries may come in any order; of equals the lowest id leads; no mass never leads. */
static void test_race_order(void **state)
{
    static const struct race entries[] = {{1.5, 7}, {2.5, 9}, {2.5, 4}, {0, 1}, {2.5, 6}};

    (void)state;
    for (size_t shift = 0; shift < COUNT_OF(entries); shift++) {
        struct race r = race_start();

        for (size_t i = 0; i < COUNT_OF(entries); i++) {
            const struct race *e = &entries[(i + shift) % COUNT_OF(entries)];

            race_enter(&r, e->score, e->id);
        }
        assert_int_equal(r.id, 4);
    }
    struct race none = race_start();
    race_enter(&none, 0, 3);
    assert_int_equal(none.id, -1);
}

/* Residuals over two laws of different vocabularies, point masses included. */
static void check_residual(const struct law *q, const struct law *p, const struct oracle_law *oq,
                           const struct oracle_law *op)
{
    static const double b[] = {1.0, 1.0, 0.75, 0x1p-30, 0.0};

    for (size_t i = 0; i < COUNT_OF(b); i++) {
        struct noise noise = {(uint64_t)rand(), (uint32_t)rand(), NOISE_TARGET, 0};
        int32_t want = oracle_draw(oq, op, b[i], noise);
        bool fallback, empty = want < 0 && !q->one_hot;

        if (want < 0)
            want = oracle_draw(oq, NULL, 1, noise);
        assert_int_equal(law_draw_residual(q, p, b[i], &noise, &fallback), want);
        assert_int_equal(fallback, empty);
        double mass = law_residual_mass(q, p, b[i]);
        assert_true(fabs(mass - oracle_residual_mass(oq, op, b[i])) < 1e-12);
        for (size_t j = 0; j < COUNT_OF(sets); j++) {
            cpu_limit(sets[j]);
            assert_true(law_residual_mass(q, p, b[i]) == mass);
            assert_int_equal(law_draw_residual(q, p, b[i], &noise, &fallback), want);
        }
        cpu_limit(ISA_COUNT);
    }
    assert_true(fabs(law_overlap(q, p) - (1 - oracle_residual_mass(oq, op, 1))) < 1e-12);
}

static void test_residual(void **state)
{
    (void)state;
    srand(5);
    for (int t = 0; t < trials(500); t++) {
        struct row a, b;
        struct oracle_law oq, op;
        struct law q, p;

        row_alloc(&a, 1 + rand() % (t % 10 ? 40 : 1600));
        row_alloc(&b, t % 3 ? a.n : 1 + rand() % (2 * a.n));
        row_make(a.logits, a.n, (enum row_shape)(rand() % ROW_SHAPES));
        row_make(b.logits, b.n, (enum row_shape)(rand() % ROW_SHAPES));
        for (int32_t i = 0; i < a.n && i < b.n && t % 4 == 0; i++) /* nearly equal laws */
            b.logits[i] = rand() % 4 ? a.logits[i] : nextafterf(a.logits[i], 0);
        row_params(&a);
        b.params = a.params;
        b.context = (struct law_context){.params = &b.params, .law = &b.params.target};
        b.params.n_bias = a.params.n_bias = a.params.n_ends = b.params.n_ends = 0;
        oracle_build(&oq, a.logits, a.n, &a.context);
        oracle_build(&op, b.logits, b.n, &b.context);
        law_build(&q, a.logits, a.n, &a.context, a.scratch);
        law_build(&p, b.logits, b.n, &b.context, b.scratch);
        if (rand() % 4 == 0) {
            int32_t id = rand() % op.n;

            law_point(&p, op.n, id);
            memset(op.w, 0, (size_t)op.n * sizeof(op.w[0]));
            op.w[id] = op.sum = LAW_ONE;
        }
        if (!q.bad && !p.bad) /* a copy of a row with holes may be all holes */
            check_residual(&q, &p, &oq, &op);
        oracle_free(&oq);
        oracle_free(&op);
        row_free(&a);
        row_free(&b);
    }
}

/* Without cuts a law is softmax, up to what specd/law.h states. */
static void test_close_to_softmax(void **state)
{
    struct row r;
    struct law l;
    double worst = 0;

    (void)state;
    srand(6);
    row_alloc(&r, 1000);
    for (int t = 0; t < trials(50); t++) {
        long double sum = 0, max = -INFINITY;
        float temperature = PICK(0.3f, 1.0f, 1.5f);

        row_make(r.logits, r.n, t % 2 ? ROW_PEAKED : ROW_SMOOTH);
        r.params.target = (struct law_params){temperature, 0, 1, 0, 0, 0, 1};
        r.context = (struct law_context){.params = &r.params, .law = &r.params.target};
        law_build(&l, r.logits, r.n, &r.context, r.scratch);
        for (int32_t i = 0; i < r.n; i++)
            max = fmaxl(max, r.logits[i]);
        for (int32_t i = 0; i < r.n; i++)
            sum += expl((r.logits[i] - max) / temperature);
        for (int32_t i = 0; i < r.n; i++) {
            long double x = (r.logits[i] - max) / temperature, p = expl(x) / sum;
            long double allowed = p * (1 - x) * 0x1p-22L + 0x1p-44L;

            worst = MAX(worst, (double)(fabsl(law_prob(&l, i) - p) / allowed));
        }
    }
    print_message("worst error: %.2f of what is allowed\n", worst);
    assert_true(worst < 1.0);
    row_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_build_and_draw),    cmocka_unit_test(test_large_vocabularies),
        cmocka_unit_test(test_cuts_of_long_rows), cmocka_unit_test(test_bad_rows),
        cmocka_unit_test(test_everything_masked), cmocka_unit_test(test_top_p_mass),
        cmocka_unit_test(test_race_order),        cmocka_unit_test(test_residual),
        cmocka_unit_test(test_close_to_softmax),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
