/*
 * Exactness without statistics: every branch of the shipped control flow (specd/verify.h), walked
 * with its probability, for context-dependent laws over 2 or 3 tokens and up to 4 drafted ones. The
 * law of the next K + 1 tokens, the target's own continuation filled in after a round that yields
 * fewer, must be the target's identically.
 *
 * Probabilities of single decisions are fractions of integers, compared and subtracted exactly. The
 * products and sums over paths would outgrow any machine integer, so they are carried out modulo
 * two primes near 2^61: rational arithmetic still, and two different rationals of this size agree
 * modulo both with a chance of 2^-122.
 *
 * links: specd_base
 */
#include "specd/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define V_MAX 3
#define K_MAX 4
#define SEQUENCES 243 /* 3^5 */
#define CONTEXTS 121  /* 1 + 3 + ... + 3^4 */
#define DEPTH_MAX 16

/* ---- numbers --------------------------------------------------------------------------------- */

struct frac {
    __int128 num, den; /* den > 0, reduced */
};

static __int128 gcd(__int128 a, __int128 b)
{
    while (b != 0) {
        __int128 t = a % b;

        a = b;
        b = t;
    }
    return a < 0 ? -a : a;
}

static __int128 product(__int128 a, __int128 b)
{
    __int128 out;

    ASSERT(!__builtin_mul_overflow(a, b, &out));
    return out;
}

static struct frac frac(__int128 num, __int128 den)
{
    __int128 g = gcd(num, den);

    return (struct frac){num / g, den / g};
}

static struct frac frac_mul(struct frac a, struct frac b)
{
    return frac(product(a.num, b.num), product(a.den, b.den));
}

static struct frac frac_sub(struct frac a, struct frac b)
{
    return frac(product(a.num, b.den) - product(b.num, a.den), product(a.den, b.den));
}

static struct frac frac_add(struct frac a, struct frac b)
{
    return frac_sub(a, (struct frac){-b.num, b.den});
}

static struct frac frac_div(struct frac a, struct frac b)
{
    ASSERT(b.num > 0);
    return frac(product(a.num, b.den), product(a.den, b.num));
}

static struct frac frac_min1(struct frac a)
{
    return a.num < a.den ? a : frac(1, 1);
}

static struct frac frac_max0(struct frac a)
{
    return a.num > 0 ? a : frac(0, 1);
}

/* A rational modulo two primes. */
static const uint64_t primes[2] = {(1ull << 61) - 1, (1ull << 61) - 31};

struct modular {
    uint64_t r[2];
};

static uint64_t mod_power(uint64_t x, uint64_t e, uint64_t prime)
{
    uint64_t y = 1;

    for (; e > 0; e >>= 1) {
        if (e & 1)
            y = (uint64_t)((unsigned __int128)y * x % prime);
        x = (uint64_t)((unsigned __int128)x * x % prime);
    }
    return y;
}

static struct modular modular_times(struct modular m, struct frac f)
{
    for (int i = 0; i < 2; i++) {
        uint64_t num = (uint64_t)(f.num % primes[i]), den = (uint64_t)(f.den % primes[i]);

        ASSERT(f.num >= 0 && den != 0);
        m.r[i] = (uint64_t)((unsigned __int128)m.r[i] * num % primes[i]);
        m.r[i] = (uint64_t)((unsigned __int128)m.r[i] * mod_power(den, primes[i] - 2, primes[i]) %
                            primes[i]);
    }
    return m;
}

static void modular_add(struct modular *m, struct modular x)
{
    for (int i = 0; i < 2; i++)
        m->r[i] = (m->r[i] + x.r[i]) % primes[i];
}

/* ---- the chooser that walks every branch ----------------------------------------------------- */

/* Laws by context: integer weights after each sequence of up to K tokens. */
struct laws {
    int n_vocab;
    int w[CONTEXTS][V_MAX];
};

enum control { SOUND, ACCEPT_ALWAYS, RESIDUAL_IS_TARGET, RESIDUAL_IGNORES_B };

struct mass {
    struct frac b;
};

/* A path is the list of options taken; the next path differs in the last one that has another. */
struct chooser {
    const struct laws *q, *p;
    enum control control;
    int32_t drafted[K_MAX];
    int context[K_MAX + 1]; /* of x~_0 .. x~_{k-1} */
    int depth, n_taken;
    int taken[DEPTH_MAX];
    struct frac options[DEPTH_MAX][V_MAX];
    int n_options[DEPTH_MAX];
    struct modular weight;
};

#include "specd/verify.h"

static int next_possible(const struct frac *options, int n, int from)
{
    while (from < n && options[from].num == 0)
        from++;
    return from;
}

/* Options are (n) probabilities up to a common factor; those of zero are never taken. */
static int choose(struct chooser *c, const struct frac *options, int n)
{
    struct frac sum = frac(0, 1);
    int d = c->depth++;

    ASSERT(d < DEPTH_MAX);
    if (d == c->n_taken) {
        memcpy(c->options[d], options, (size_t)n * sizeof(options[0]));
        c->n_options[d] = n;
        c->taken[d] = next_possible(options, n, 0);
        c->n_taken++;
    }
    ASSERT(c->taken[d] < n);
    for (int i = 0; i < n; i++)
        sum = frac_add(sum, options[i]);
    c->weight = modular_times(c->weight, frac_div(options[c->taken[d]], sum));
    return c->taken[d];
}

static bool choose_yes(struct chooser *c, struct frac probability)
{
    struct frac options[2] = {frac_sub(frac(1, 1), probability), probability};

    return choose(c, options, 2) == 1;
}

/* False when every path has been walked. */
static bool path_next(struct chooser *c)
{
    while (c->n_taken > 0) {
        int d = c->n_taken - 1;

        c->taken[d] = next_possible(c->options[d], c->n_options[d], c->taken[d] + 1);
        if (c->taken[d] < c->n_options[d])
            return true;
        c->n_taken--;
    }
    return false;
}

static struct frac prob(const struct laws *l, int context, int x)
{
    int sum = 0;

    for (int i = 0; i < l->n_vocab; i++)
        sum += l->w[context][i];
    return frac(l->w[context][x], sum);
}

static struct frac residual_at(const struct chooser *c, int k, struct frac b, int x)
{
    struct frac q = prob(c->q, c->context[k], x), p = prob(c->p, c->context[k], x);

    return frac_max0(frac_sub(frac_mul(b, q), p));
}

static int context_after(int n_vocab, int context, int x)
{
    return context * n_vocab + 1 + x;
}

SPECD_HD struct mass mass_one(void)
{
    return (struct mass){frac(1, 1)};
}

SPECD_HD int32_t chooser_drafted(const struct chooser *c, int k)
{
    return c->drafted[k];
}

SPECD_HD int32_t chooser_target(struct chooser *c, int k)
{
    struct frac options[V_MAX];

    for (int x = 0; x < c->q->n_vocab; x++)
        options[x] = prob(c->q, c->context[k], x);
    return choose(c, options, c->q->n_vocab);
}

SPECD_HD int32_t chooser_residual(struct chooser *c, int k, struct mass b)
{
    struct frac options[V_MAX];
    bool any = false;

    if (c->control == RESIDUAL_IS_TARGET)
        return chooser_target(c, k);
    if (c->control == RESIDUAL_IGNORES_B)
        b = mass_one();
    for (int x = 0; x < c->q->n_vocab; x++) {
        options[x] = residual_at(c, k, b.b, x);
        any |= options[x].num > 0;
    }
    return any ? choose(c, options, c->q->n_vocab) : chooser_target(c, k);
}

SPECD_HD bool chooser_accept(struct chooser *c, int k)
{
    struct mass b = chooser_extend(c, k, mass_one());

    return c->control == ACCEPT_ALWAYS || choose_yes(c, b.b);
}

SPECD_HD struct mass chooser_extend(struct chooser *c, int k, struct mass b)
{
    struct frac q = prob(c->q, c->context[k], c->drafted[k]);
    struct frac p = prob(c->p, c->context[k], c->drafted[k]);

    return (struct mass){frac_min1(frac_div(frac_mul(b.b, q), p))};
}

SPECD_HD bool chooser_keep_last(struct chooser *c, int k, struct mass b)
{
    (void)k;
    return choose_yes(c, b.b);
}

SPECD_HD bool chooser_keep(struct chooser *c, int k, struct mass b)
{
    struct frac a = frac(0, 1), below = frac_sub(frac(1, 1), b.b);

    for (int x = 0; x < c->q->n_vocab; x++)
        a = frac_add(a, residual_at(c, k + 1, b.b, x));
    if (a.num == 0 && below.num == 0)
        return true;
    return choose_yes(c, frac_div(a, frac_add(a, below)));
}

/* ---- the law of a round ---------------------------------------------------------------------- */

typedef int verify_fn(struct chooser *c, int n_drafted, int32_t *last);

/* Index of a sequence of exactly n tokens; contexts index sequences of any length. */
static int sequence_index(const int32_t *tokens, int n, int n_vocab)
{
    int index = 0;

    for (int i = 0; i < n; i++)
        index = index * n_vocab + tokens[i];
    return index;
}

/* Adds weight times the target's law of tokens[n..total). */
static void continue_target(const struct laws *q, int32_t *tokens, int n, int total, int context,
                            struct modular weight, struct modular *law)
{
    if (n == total) {
        modular_add(&law[sequence_index(tokens, total, q->n_vocab)], weight);
        return;
    }
    for (int x = 0; x < q->n_vocab; x++) {
        tokens[n] = x;
        continue_target(q, tokens, n + 1, total, context_after(q->n_vocab, context, x),
                        modular_times(weight, prob(q, context, x)), law);
    }
}

static void walk_path(struct chooser *c, int k, verify_fn *verify, struct modular *law)
{
    int32_t tokens[K_MAX + 1], last;
    int n, context;

    c->depth = 0;
    c->weight = (struct modular){{1, 1}};
    for (int i = 0; i < k; i++) {
        struct frac options[V_MAX];

        for (int x = 0; x < c->p->n_vocab; x++)
            options[x] = prob(c->p, c->context[i], x);
        c->drafted[i] = choose(c, options, c->p->n_vocab);
        c->context[i + 1] = context_after(c->p->n_vocab, c->context[i], c->drafted[i]);
    }
    n = verify(c, k, &last);
    memcpy(tokens, c->drafted, (size_t)n * sizeof(tokens[0]));
    tokens[n] = last;
    context = context_after(c->q->n_vocab, c->context[n], last);
    continue_target(c->q, tokens, n + 1, k + 1, context, c->weight, law);
}

/* True if the round's law is the target's. */
static bool round_exact(const struct laws *q, const struct laws *p, int k, verify_fn *verify,
                        enum control control)
{
    static struct modular got[SEQUENCES], want[SEQUENCES];
    struct chooser c = {.q = q, .p = p, .control = control};
    int32_t tokens[K_MAX + 1];

    memset(got, 0, sizeof(got));
    memset(want, 0, sizeof(want));
    do
        walk_path(&c, k, verify, got);
    while (path_next(&c));
    continue_target(q, tokens, 0, k + 1, 0, (struct modular){{1, 1}}, want);
    return memcmp(got, want, sizeof(got)) == 0;
}

/* ---- laws to try ----------------------------------------------------------------------------- */

enum shape { RANDOM, EQUAL, DISJOINT, POINT_DRAFT, GREEDY, SHAPES };

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

static void laws_make(struct laws *q, struct laws *p, int n_vocab, enum shape shape)
{
    q->n_vocab = p->n_vocab = n_vocab;
    for (int i = 0; i < CONTEXTS; i++) {
        law_random(q->w[i], n_vocab, 4);
        law_random(p->w[i], n_vocab, 4);
        if (shape == EQUAL)
            memcpy(p->w[i], q->w[i], sizeof(p->w[i]));
        if (shape == GREEDY)
            law_one_hot(q->w[i], n_vocab);
        if (shape == POINT_DRAFT || (shape == GREEDY && rand() % 2))
            law_one_hot(p->w[i], n_vocab);
        if (shape == DISJOINT) {
            memset(q->w[i], 0, sizeof(q->w[i]));
            q->w[i][n_vocab - 1] = 1;
            p->w[i][0]++;
            p->w[i][n_vocab - 1] = 0;
        }
    }
}

static const struct {
    const char *name;
    verify_fn *verify;
} modes[] = {{"ratio", verify_ratio}, {"block", verify_block}, {"coupled", verify_coupled}};

static void test_rounds_exact(void **state)
{
    static struct laws q, p;
    int n = 0;

    (void)state;
    srand(1);
    for (int n_vocab = 2; n_vocab <= V_MAX; n_vocab++) {
        for (int k = 0; k <= K_MAX; k++) {
            for (int shape = 0; shape < SHAPES; shape++) {
                for (int trial = 0; trial < (k < 4 ? 8 : 2); trial++) {
                    laws_make(&q, &p, n_vocab, (enum shape)shape);
                    for (size_t m = 0; m < COUNT_OF(modes); m++, n++) {
                        if (!round_exact(&q, &p, k, modes[m].verify, SOUND))
                            fail_msg("%s: V %d, K %d, shape %d", modes[m].name, n_vocab, k, shape);
                    }
                }
            }
        }
    }
    print_message("%d pairs of laws, identical\n", n);
}

/* The method sees what it must see. */
static void test_controls_caught(void **state)
{
    static struct laws q, p;

    (void)state;
    srand(2);
    laws_make(&q, &p, 3, RANDOM);
    for (int k = 1; k <= 3; k++) {
        assert_false(round_exact(&q, &p, k, verify_ratio, ACCEPT_ALWAYS));
        assert_false(round_exact(&q, &p, k, verify_ratio, RESIDUAL_IS_TARGET));
        assert_false(round_exact(&q, &p, k, verify_block, RESIDUAL_IS_TARGET));
        assert_true(k == 1 || !round_exact(&q, &p, k, verify_block, RESIDUAL_IGNORES_B));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounds_exact),
        cmocka_unit_test(test_controls_caught),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
