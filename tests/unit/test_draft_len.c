/*
 * How many tokens to draft: cost curves and their file, the estimate of acceptance, and the choice
 * of K against a search of every combination.
 *
 * links: specd_engine specd_base
 */
#include "draft_len.h"

#include "specd/error.h"
#include "specd/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static uint32_t rnd(uint64_t *s, uint32_t below)
{
    *s = *s * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(*s >> 33) % below;
}

static double rnd_unit(uint64_t *s)
{
    return rnd(s, 1 << 20) / (double)(1 << 20);
}

static void assert_near(double a, double b)
{
    assert_true(fabs(a - b) <= 1e-9 * (1 + fabs(b)));
}

/* ---- cost ------------------------------------------------------------------------------------ */

static void test_curve(void **state)
{
    (void)state;
    struct pass_cost c;
    pass_cost_init(&c);
    assert_near(pass_cost_draft(&c, 5), 0);
    pass_cost_set_verify(&c, 16, 200);
    assert_near(pass_cost_verify(&c, 1), 200);
    assert_near(pass_cost_verify(&c, 32), 400);
    pass_cost_set_verify(&c, 1, 100);
    pass_cost_set_verify(&c, 4, 130);
    pass_cost_set_verify(&c, 8, 120); /* noise: taken for 130 */
    assert_near(pass_cost_verify(&c, 0), 0);
    assert_near(pass_cost_verify(&c, 1), 100);
    assert_near(pass_cost_verify(&c, 2), 110);
    assert_near(pass_cost_verify(&c, 6), 130);
    assert_near(pass_cost_verify(&c, 12), 165);
    assert_near(pass_cost_verify(&c, 24), 270);
    pass_cost_set_verify(&c, 4, 110); /* measured anew */
    assert_near(pass_cost_verify(&c, 4), 110);
    assert_near(pass_cost_verify(&c, 8), 120);
    for (int32_t rows = 1; rows < 100; rows++)
        assert_true(pass_cost_verify(&c, rows) <= pass_cost_verify(&c, rows + 1));
}

static void test_curve_below_first_point(void **state)
{
    (void)state;
    struct pass_cost c;
    pass_cost_init(&c);
    pass_cost_set_draft(&c, 4, 40);
    pass_cost_set_draft(&c, 8, 60);
    assert_near(pass_cost_draft(&c, 2), 30);
    pass_cost_set_draft(&c, 8, 400); /* steep: never below nothing */
    assert_near(pass_cost_draft(&c, 1), 0);
}

/* Rounds of least..16 rows in a world where they take 100 and 10 a row. */
static void learn_world(struct pass_cost *c, int32_t least)
{
    uint64_t r = 4;
    for (int i = 0; i < 3000; i++) {
        int32_t rows = least + (int32_t)rnd(&r, (uint32_t)(17 - least));
        pass_cost_learn_verify(c, rows, (100 + 10 * rows) * (0.9 + 0.2 * rnd_unit(&r)));
    }
}

/* Real rounds correct a table that was measured wrong, in either direction, wherever they run. */
static void test_learned_cost(void **state)
{
    (void)state;
    struct pass_cost c;
    pass_cost_init(&c);
    pass_cost_learn_verify(&c, 3, 100); /* an empty table stays empty */
    pass_cost_set_verify(&c, 1, 900);
    pass_cost_learn_verify(&c, 1, 100); /* one point tells no slope */
    assert_near(pass_cost_verify(&c, 1), 900);
    pass_cost_set_verify(&c, 2, 100);
    pass_cost_set_verify(&c, 8, 120);
    pass_cost_set_verify(&c, 16, 5000);
    struct pass_cost low = c;
    pass_cost_set_verify(&low, 1, 10);
    learn_world(&c, 4); /* never sees the first points, which were far too high */
    learn_world(&low, 1);
    for (int32_t rows = 1; rows <= 16; rows++) {
        if (rows >= 4)
            assert_true(fabs(pass_cost_verify(&c, rows) / (100 + 10 * rows) - 1) < 0.1);
        assert_true(fabs(pass_cost_verify(&low, rows) / (100 + 10 * rows) - 1) < 0.1);
    }
    struct pass_cost d = c;
    pass_cost_learn_verify(&c, 4, 1e12); /* an outlier moves little; beyond the table, nothing */
    assert_true(pass_cost_verify(&c, 4) < 1.3 * pass_cost_verify(&d, 4));
    d = c;
    pass_cost_learn_verify(&c, 17, 1);
    pass_cost_learn_verify(&c, 0, 1);
    pass_cost_learn_verify(&c, 4, 0);
    assert_memory_equal(&c, &d, sizeof c);

    for (int i = 0; i < 200; i++)
        pass_cost_learn_host(&c, 50);
    pass_cost_learn_host(&c, -1e9); /* clocks that disagree */
    assert_true(fabs(c.fixed_ns - 50) < 1);
}

/* A busy machine slows every pass: that rounds of 4 rows take three times as long says nothing of
 * what 16 rows would cost beside them. */
static void test_learned_load(void **state)
{
    (void)state;
    struct pass_cost c;
    pass_cost_init(&c);
    for (int32_t rows = 1; rows <= 64; rows *= 2)
        pass_cost_set_verify(&c, rows, 100 + 10 * rows);
    double before = pass_cost_verify(&c, 16) / pass_cost_verify(&c, 4);
    for (int i = 0; i < 200; i++)
        pass_cost_learn_verify(&c, 4, 3 * (100 + 10 * 4));
    assert_true(fabs(pass_cost_verify(&c, 4) / (3 * 140) - 1) < 0.02);
    assert_true(fabs(pass_cost_verify(&c, 16) / pass_cost_verify(&c, 4) / before - 1) < 0.25);
}

static char *temp_path(void)
{
    char *path = xstrdup("/tmp/specd-pace-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    return path;
}

static void write_text(const char *path, const void *data, size_t len)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static size_t read_text(const char *path, char *out, size_t size)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t len = fread(out, 1, size, f);
    fclose(f);
    return len;
}

static void make_cost(struct pass_cost *c)
{
    pass_cost_init(c);
    c->fixed_ns = 20000;
    pass_cost_set_verify(c, 1, 9e6);
    pass_cost_set_verify(c, 5, 1.1e7);
    pass_cost_set_verify(c, 512, 3e8);
    pass_cost_set_draft(c, 1, 8e5);
}

static void test_file_round_trip(void **state)
{
    (void)state;
    const char *key = "model \xc3\xa9 q8_0 / cpu, 2 threads";
    char *path = temp_path();
    struct pass_cost c, d;
    make_cost(&c);
    assert_int_equal(pass_cost_save(&c, path, key), 0);
    memset(&d, 0, sizeof d);
    assert_int_equal(pass_cost_load(&d, path, key), 0);
    assert_memory_equal(&c, &d, sizeof c);

    pass_cost_init(&d);
    assert_int_equal(pass_cost_load(&d, path, "model"), SPECD_EFILE);
    assert_int_equal(pass_cost_load(&d, path, "another"), SPECD_EFILE);
    assert_int_equal(pass_cost_load(&d, "/nonexistent/file", key), SPECD_EFILE);
    assert_int_equal(pass_cost_save(&c, "/nonexistent/file", key), SPECD_EFILE);
    assert_int_equal(pass_cost_save(&c, path, "two\nlines"), SPECD_EFILE);
    assert_int_equal(d.verify.n, 0);
    assert_int_equal(pass_cost_load(&d, path, key), 0); /* the failures left it alone */
    unlink(path);
    free(path);
}

static void test_file_damage(void **state)
{
    (void)state;
    char *path = temp_path(), text[4096];
    struct pass_cost c, untouched, d;
    make_cost(&c);
    pass_cost_init(&untouched);
    d = untouched;
    assert_int_equal(pass_cost_save(&c, path, "key"), 0);
    size_t len = read_text(path, text, sizeof text);
    for (size_t i = 0; i < len; i++) {
        write_text(path, text, i);
        assert_int_equal(pass_cost_load(&d, path, "key"), SPECD_EFILE);
        for (int bit = 0; bit < 8; bit++) {
            text[i] ^= (char)(1 << bit);
            write_text(path, text, len);
            assert_int_equal(pass_cost_load(&d, path, "key"), SPECD_EFILE);
            text[i] ^= (char)(1 << bit);
        }
    }
    char *big = xcalloc(1, 100000);
    write_text(path, big, 100000);
    assert_int_equal(pass_cost_load(&d, path, "key"), SPECD_EFILE);
    free(big);
    assert_memory_equal(&d, &untouched, sizeof d);
    unlink(path);
    free(path);
}

/* Saves a body under a sum that fits it. */
static int load_body(const char *body)
{
    char *path = temp_path(), text[8192];
    uint64_t sum = UINT64_C(0xcbf29ce484222325);
    for (const char *p = body; *p; p++)
        sum = (sum ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
    snprintf(text, sizeof text, "%ssum %016llx\n", body, (unsigned long long)sum);
    write_text(path, text, strlen(text));
    struct pass_cost c;
    pass_cost_init(&c);
    int rc = pass_cost_load(&c, path, "k");
    unlink(path);
    free(path);
    return rc;
}

static void test_file_lies(void **state)
{
    (void)state;
#define HEAD "specd-pace 1\nkey k\nfixed 5\n"
    assert_int_equal(load_body(HEAD "verify 1 5\nverify 2 5\n"), 0);
    const char *bad[] = {
        "",
        HEAD,
        "specd-pace 2\nkey k\nfixed 5\nverify 1 5\n",
        "specd-pace 1\nkey k\nfixed -5\nverify 1 5\n",
        "specd-pace 1\nkey k\nverify 1 5\n",
        HEAD "verify 0 5\n",
        HEAD "verify 1 0\n",
        HEAD "verify 1 -7\n",
        HEAD "verify 1 nan\n",
        HEAD "verify 1 5.5\n",
        HEAD "verify 99999999 5\n",
        HEAD "verify 1 99999999999999999999999999\n",
        HEAD "verify 18446744073709551617 5\n",
        HEAD "verify 2 5\nverify 2 6\n",
        HEAD "verify 2 5\nverify 1 6\n",
        HEAD "verify 1 5\nmore 1 2\n",
        HEAD "verify 1 5",
        HEAD "verify 1 5\n\n",
        HEAD "verify  1 5\n",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(load_body(bad[i]), SPECD_EFILE);
    char many[8192] = HEAD;
    for (int i = 1; i <= PASS_POINTS_MAX + 1; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "verify %d 5\n", i);
    assert_int_equal(load_body(many), SPECD_EFILE);
}

/* ---- acceptance ------------------------------------------------------------------------------ */

static void test_estimate(void **state)
{
    (void)state;
    struct acceptance p, fresh;
    acceptance_init(&p, NULL);
    double prior = acceptance_estimate(&p, &model_drafter, 2, 1);
    assert_true(prior > 0.3 && prior < 0.95);
    assert_near(acceptance_estimate(&p, &model_drafter, 2, SPECD_K_MAX), prior);

    float overlap[SPECD_K_MAX];
    for (int i = 0; i < SPECD_K_MAX; i++)
        overlap[i] = i == 0 ? 0.9f : 0.4f;
    for (int i = 0; i < 100; i++)
        acceptance_observe(&p, &model_drafter, 2, overlap, 2);
    double first = acceptance_estimate(&p, &model_drafter, 2, 1),
           second = acceptance_estimate(&p, &model_drafter, 2, 2);
    assert_true(fabs(first - 0.9) < 0.05);
    assert_true(second > 0.4 && second < 0.5);
    /* never seen: as the position before it */
    assert_near(acceptance_estimate(&p, &model_drafter, 2, 3), second);
    /* the other drafter has learned nothing */
    acceptance_init(&fresh, NULL);
    for (int k = 1; k <= SPECD_K_MAX; k++)
        assert_near(acceptance_estimate(&p, &lookup_drafter, 2, k),
                    acceptance_estimate(&fresh, &lookup_drafter, 2, k));
    /* what comes after the first rejection is not looked at */
    struct acceptance q = p, r = p;
    acceptance_observe(&q, &model_drafter, 2, overlap, 1);
    overlap[1] = 1.0f;
    acceptance_observe(&r, &model_drafter, 2, overlap, 1);
    assert_memory_equal(&q, &r, sizeof q);
}

static void test_estimate_forgets(void **state)
{
    (void)state;
    struct acceptance p;
    acceptance_init(&p, NULL);
    const float yes[1] = {1}, no[1] = {0};
    for (int i = 0; i < 1000; i++)
        acceptance_observe(&p, &lookup_drafter, 2, yes, 1);
    assert_true(acceptance_estimate(&p, &lookup_drafter, 2, 1) > 0.9);
    for (int i = 0; i < 40; i++)
        acceptance_observe(&p, &lookup_drafter, 2, no, 1);
    assert_true(acceptance_estimate(&p, &lookup_drafter, 2, 1) < 0.15);
    const float odd[3] = {NAN, -1.0f, 7.0f};
    for (int i = 0; i < 50; i++)
        acceptance_observe(&p, &lookup_drafter, 2, odd, 3);
    for (int k = 1; k <= SPECD_K_MAX; k++) {
        double e = acceptance_estimate(&p, &lookup_drafter, 2, k);
        assert_true(e >= 0 && e <= 1);
    }
}

/* What counts for lookup is how far the text agreed: a position further on is a longer agreement.
 */
static void test_estimate_by_match(void **state)
{
    (void)state;
    struct acceptance p;
    const float no[1] = {0}, yes[1] = {1};
    acceptance_init(&p, NULL);
    double chance = acceptance_estimate(&p, &lookup_drafter, 2, 1);
    assert_true(chance < 0.5);
    for (int32_t match = 2; match < 20; match++) {
        assert_true(acceptance_estimate(&p, &lookup_drafter, match + 1, 1) >=
                    acceptance_estimate(&p, &lookup_drafter, match, 1));
        assert_near(acceptance_estimate(&p, &lookup_drafter, match, 2),
                    acceptance_estimate(&p, &lookup_drafter, match + 1, 1));
    }
    for (int i = 0; i < 50; i++) {
        acceptance_observe(&p, &lookup_drafter, 2, no, 1);
        acceptance_observe(&p, &lookup_drafter, 12, yes, 1);
    }
    assert_true(acceptance_estimate(&p, &lookup_drafter, 2, 1) < 0.1);
    assert_true(acceptance_estimate(&p, &lookup_drafter, 9, 2) > 0.9);
    assert_true(acceptance_estimate(&p, &lookup_drafter, 3, 1) >=
                0.4); /* short ones say nothing of it */
}

/* A request starts where the others are, and what it shows itself soon weighs more. */
static void test_estimate_shared(void **state)
{
    (void)state;
    struct acceptance_evidence shared = {0};
    struct acceptance one, other;
    const float no[1] = {0}, yes[1] = {1};
    acceptance_init(&one, &shared);
    acceptance_init(&other, &shared);
    double before = acceptance_estimate(&other, &lookup_drafter, 4, 1);
    for (int i = 0; i < 300; i++)
        acceptance_observe(&one, &lookup_drafter, 4, no, 1);
    double after = acceptance_estimate(&other, &lookup_drafter, 4, 1);
    assert_true(before > 0.4 && after < 0.1);
    for (int i = 0; i < 30; i++)
        acceptance_observe(&other, &lookup_drafter, 4, yes, 1);
    assert_true(acceptance_estimate(&other, &lookup_drafter, 4, 1) > 0.6);
    assert_true(acceptance_estimate(&one, &lookup_drafter, 4, 1) < 0.1);
}

/* ---- the choice ------------------------------------------------------------------------------ */

/* A request whose every position was accepted with about this probability. */
static void make_acceptance(struct acceptance *p, const struct drafter *d, float first, float later)
{
    float overlap[SPECD_K_MAX];
    for (int i = 0; i < SPECD_K_MAX; i++)
        overlap[i] = i == 0 ? first : later;
    acceptance_init(p, NULL);
    for (int i = 0; i < 60; i++)
        acceptance_observe(p, d, 2, overlap, SPECD_K_MAX);
}

static void flat_cost(struct pass_cost *c, double verify, double draft)
{
    pass_cost_init(c);
    pass_cost_set_verify(c, 1, verify);
    pass_cost_set_verify(c, 4096, verify);
    pass_cost_set_draft(c, 1, draft);
    pass_cost_set_draft(c, 4096, draft);
}

static int32_t choose_one(const struct pass_cost *c, const struct acceptance *p,
                          const struct drafter *d, int32_t k_min, int32_t k_max)
{
    struct draft_len_seq s = {
        .acceptance = p, .drafter = d, .k_min = k_min, .k_max = k_max, .k = -1};
    draft_len_choose(c, &s, 1, 0, 1);
    return s.k;
}

static void test_extremes(void **state)
{
    (void)state;
    struct pass_cost c;
    struct acceptance good, bad;
    make_acceptance(&good, &model_drafter, 1, 1);
    make_acceptance(&bad, &model_drafter, 0, 0);
    flat_cost(&c, 1000, 1);
    assert_int_equal(choose_one(&c, &good, &model_drafter, 0, SPECD_K_MAX), SPECD_K_MAX);
    assert_int_equal(choose_one(&c, &good, &model_drafter, 0, 2), 2);
    assert_int_equal(choose_one(&c, &good, &model_drafter, 0, 0), 0);
    flat_cost(&c, 1000, 200);
    assert_int_equal(choose_one(&c, &bad, &model_drafter, 0, SPECD_K_MAX), 0);
    assert_int_equal(choose_one(&c, &bad, &model_drafter, 2, 3), 2);
    assert_int_equal(choose_one(&c, &bad, &model_drafter, 3, 3), 3);
    flat_cost(&c, 1000, 1100); /* dearer than what it saves */
    assert_int_equal(choose_one(&c, &good, &model_drafter, 0, SPECD_K_MAX), 0);
    /* what else the round takes makes drafting cheaper by comparison */
    struct draft_len_seq s = {.acceptance = &good, .drafter = &model_drafter, .k_max = 2};
    draft_len_choose(&c, &s, 1, 1e6, 1);
    assert_int_equal(s.k, 2);
    draft_len_choose(&c, &s, 0, 0, 1);
}

/* Leviathan's best K at a verify cost that does not grow: acceptance .8, draft at a tenth: 6. */
static void test_best_k_of_one(void **state)
{
    (void)state;
    struct pass_cost c;
    struct acceptance p;
    flat_cost(&c, 1000, 100);
    make_acceptance(&p, &model_drafter, 0.8f, 0.8f);
    int32_t k = choose_one(&c, &p, &model_drafter, 0, SPECD_K_MAX);
    assert_in_range(k, MIN(5, SPECD_K_MAX), MIN(7, SPECD_K_MAX));
}

static void test_probe(void **state)
{
    (void)state;
    struct pass_cost c;
    struct acceptance bad;
    flat_cost(&c, 1000, 100);
    make_acceptance(&bad, &model_drafter, 0, 0);
    int probes = 0;
    for (uint64_t round = 0; round < 10 * DRAFT_PROBE_EVERY; round++) {
        struct draft_len_seq s[3] = {
            {.acceptance = &bad, .drafter = &model_drafter, .k_max = 3},
            {.acceptance = &bad, .drafter = &model_drafter, .k_max = 0},
            {.acceptance = &bad, .drafter = &lookup_drafter, .k_min = 2, .k_max = 2}};
        draft_len_choose(&c, s, 3, 0, round);
        assert_true(s[0].k == 0 || s[0].k == 1);
        assert_int_equal(s[1].k, 0);
        assert_int_equal(s[2].k, 2);
        probes += s[0].k;
    }
    assert_int_equal(probes, 10);
}

/* With many slots one of them probes, and each has its turn. */
static void test_probe_takes_turns(void **state)
{
    (void)state;
    struct pass_cost c;
    struct acceptance bad;
    flat_cost(&c, 1000, 100);
    make_acceptance(&bad, &model_drafter, 0, 0);
    int probes[4] = {0};
    for (uint64_t round = 0; round < 40 * DRAFT_PROBE_EVERY; round++) {
        struct draft_len_seq s[4];
        int32_t drafted = 0;
        for (int i = 0; i < 4; i++)
            s[i] =
                (struct draft_len_seq){.acceptance = &bad, .drafter = &model_drafter, .k_max = 3};
        draft_len_choose(&c, s, 4, 0, round);
        for (int i = 0; i < 4; i++) {
            drafted += s[i].k;
            probes[i] += s[i].k;
        }
        assert_int_equal(drafted, round % DRAFT_PROBE_EVERY == 0);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(probes[i], 10);
}

/* Where drafting pays, a round without it comes now and then, or nobody would know what it costs; a
 * fixed K stays. */
static void test_plain_rounds(void **state)
{
    (void)state;
    struct pass_cost c;
    struct acceptance good;
    flat_cost(&c, 1000, 1);
    make_acceptance(&good, &model_drafter, 1, 1);
    int plain = 0;
    for (uint64_t round = 0; round < 4 * DRAFT_PLAIN_EVERY; round++) {
        struct draft_len_seq s[2] = {
            {.acceptance = &good, .drafter = &model_drafter, .k_max = 3},
            {.acceptance = &good, .drafter = &model_drafter, .k_min = 2, .k_max = 2}};
        draft_len_choose(&c, s, 2, 0, round);
        assert_true(s[0].k == 0 || s[0].k == 3);
        assert_int_equal(s[1].k, 2);
        plain += s[0].k == 0;
    }
    assert_int_equal(plain, 4);
}

/* A probe that takes as long as the round itself comes less often, but comes. */
static void test_dear_probes(void **state)
{
    (void)state;
    struct pass_cost c;
    struct acceptance bad;
    flat_cost(&c, 1000, 1000);
    make_acceptance(&bad, &model_drafter, 0, 0);
    int probes = 0;
    for (uint64_t round = 0; round < 64 * DRAFT_PROBE_EVERY; round++) {
        struct draft_len_seq s = {.acceptance = &bad, .drafter = &model_drafter, .k_max = 3};
        draft_len_choose(&c, &s, 1, 0, round);
        probes += s.k;
    }
    assert_in_range(probes, 8, 16); /* a hundredth of the time: 8 rounds of 500 */
}

/* One step costs more than any slot gains alone, and far less than all of them gain together. */
static void test_shared_step(void **state)
{
    (void)state;
    struct pass_cost c;
    struct acceptance p;
    flat_cost(&c, 1000, 150);
    make_acceptance(&p, &model_drafter, 0.9f, 0.1f);
    struct draft_len_seq s[16];
    for (int i = 0; i < 16; i++)
        s[i] = (struct draft_len_seq){.acceptance = &p, .drafter = &model_drafter, .k_max = 3};
    draft_len_choose(&c, s, 16, 0, 1);
    for (int i = 0; i < 16; i++)
        assert_int_equal(s[i].k, 1);
}

/* ---- against every combination --------------------------------------------------------------- */

#define N_MAX 3
#define K_TOP 3

static double rate(const struct pass_cost *c, const struct draft_len_seq *s, int32_t n,
                   const int32_t *k, double base)
{
    double tokens = 0, ns = base + c->fixed_ns;
    int32_t rows = 0;
    for (int32_t i = 0; i < n; i++) {
        double survival = 1;
        tokens += 1;
        rows += 1 + k[i];
        for (int32_t j = 1; j <= k[i]; j++)
            tokens += survival *= acceptance_estimate(s[i].acceptance, s[i].drafter, s[i].match, j);
    }
    for (int32_t step = 1; step <= K_TOP; step++) {
        int32_t drafting = 0;
        for (int32_t i = 0; i < n; i++)
            drafting += s[i].drafter == &model_drafter && k[i] >= step;
        ns += pass_cost_draft(c, drafting);
    }
    return tokens / (ns + pass_cost_verify(c, rows));
}

static double best_rate(const struct pass_cost *c, const struct draft_len_seq *s, int32_t n,
                        double base)
{
    double best = 0;
    for (int code = 0; code < 64; code++) {
        int32_t k[N_MAX] = {code % 4, code / 4 % 4, code / 16};
        bool allowed = true;
        for (int32_t i = 0; i < N_MAX; i++)
            allowed = allowed && (i >= n ? k[i] == 0 : k[i] >= s[i].k_min && k[i] <= s[i].k_max);
        if (allowed)
            best = MAX(best, rate(c, s, n, k, base));
    }
    return best;
}

static void random_cost(uint64_t *r, struct pass_cost *c)
{
    pass_cost_init(c);
    double verify = 1000, draft = 1000 * rnd_unit(r) * 0.6;
    c->fixed_ns = rnd(r, 3) ? 20 : 2000;
    for (int32_t rows = 1; rows <= 16; rows++) {
        pass_cost_set_verify(c, rows, verify);
        pass_cost_set_draft(c, rows, draft);
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
        struct pass_cost c;
        struct acceptance p[N_MAX];
        struct draft_len_seq s[N_MAX];
        int32_t n = 1 + (int32_t)rnd(&r, N_MAX), k[N_MAX], least[N_MAX];
        double base = rnd(&r, 4) ? 0 : rnd(&r, 2000);
        random_cost(&r, &c);
        for (int32_t i = 0; i < n; i++) {
            const struct drafter *d = rnd(&r, 3) ? &model_drafter : &lookup_drafter;
            make_acceptance(&p[i], d, (float)rnd_unit(&r), (float)rnd_unit(&r));
            int32_t k_max = (int32_t)rnd(&r, K_TOP + 1);
            int32_t k_min = rnd(&r, 5) ? 0 : (int32_t)rnd(&r, (uint32_t)k_max + 1);
            s[i] = (struct draft_len_seq){&p[i], d, 2 + (int32_t)rnd(&r, 4), k_min, k_max, -1};
        }
        draft_len_choose(&c, s, n, base, 1);
        for (int32_t i = 0; i < n; i++) {
            k[i] = s[i].k;
            assert_in_range(k[i], s[i].k_min, s[i].k_max);
            speculated += k[i] > s[i].k_min;
        }
        for (int32_t i = 0; i < n; i++)
            least[i] = s[i].k_min;
        double got = rate(&c, s, n, k, base), best = best_rate(&c, s, n, base);
        double floor = rate(&c, s, n, least, base);
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
    struct pass_cost c;
    struct acceptance p[SPECD_SLOTS_MAX];
    struct draft_len_seq s[SPECD_SLOTS_MAX];
    uint64_t r = 2;
    flat_cost(&c, 1000, 1);
    for (int i = 0; i < SPECD_SLOTS_MAX; i++) {
        make_acceptance(&p[i], &model_drafter, 1, (float)rnd_unit(&r) * 0.2f + 0.8f);
        s[i] = (struct draft_len_seq){&p[i], &model_drafter, 0, 0, SPECD_K_MAX, -1};
    }
    draft_len_choose(&c, s, SPECD_SLOTS_MAX, 0, 1);
    for (int i = 0; i < SPECD_SLOTS_MAX; i++)
        assert_in_range(s[i].k, 1, SPECD_K_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_curve),
        cmocka_unit_test(test_curve_below_first_point),
        cmocka_unit_test(test_learned_cost),
        cmocka_unit_test(test_learned_load),
        cmocka_unit_test(test_file_round_trip),
        cmocka_unit_test(test_file_damage),
        cmocka_unit_test(test_file_lies),
        cmocka_unit_test(test_estimate),
        cmocka_unit_test(test_estimate_forgets),
        cmocka_unit_test(test_estimate_by_match),
        cmocka_unit_test(test_estimate_shared),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_best_k_of_one),
        cmocka_unit_test(test_probe),
        cmocka_unit_test(test_probe_takes_turns),
        cmocka_unit_test(test_dear_probes),
        cmocka_unit_test(test_plain_rounds),
        cmocka_unit_test(test_shared_step),
        cmocka_unit_test(test_against_search),
        cmocka_unit_test(test_full_house),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
