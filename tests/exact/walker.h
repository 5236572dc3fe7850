/*
 * walker.h - every branch of the shipped control flow (specd/verify.h), walked with its probability
 * over one or more rounds.
 *
 * Randomness is modelled as production keys it: a uniform number for each (stream, position). A
 * decision knows of its number only the interval in which earlier decisions have put it; a coin
 * asks whether it lies below h, a draw in which step of the cumulated law. Proposal and acceptance
 * numbers are new in each round, because the round number is in their counter; with `keyed` they
 * are not, and a number consulted in one round answers again in the next. Coupled verification
 * shares the target's numbers with the draft. So the enumeration sees what a missing round number
 * or a shared stream does, identically and not by chance.
 *
 * The includer of this file is one test program: the functions of the chooser are defined here.
 */
#ifndef SPECD_TEST_WALKER_H
#define SPECD_TEST_WALKER_H

#include "exact/rational.h"

#include <string.h>

#define V_MAX 3
#define K_MAX 4
#define LEN_MAX 10
#define CONTEXTS 1093 /* 1 + 3 + ... + 3^6 */
#define DEPTH_MAX 24

/* Laws by context: integer weights after each sequence of tokens. */
struct laws {
    int n_vocab;
    unsigned left_out; /* bits of ids that have no mass: not in a draft's vocabulary */
    int w[CONTEXTS][V_MAX];
};

enum wrong {
    SOUND,
    ACCEPT_ALWAYS,
    RESIDUAL_IS_TARGET,
    RESIDUAL_IGNORES_B,
    TARGET_LAGS,       /* the target's laws do not see what was drafted */
    SHARED_STREAMS,    /* proposals use the numbers of the residual */
    KEYED,             /* proposal and acceptance numbers by position alone */
    K_BY_OWN_TOKEN,    /* a drafted token is verified only if its own probability is large */
    RATIO_OVER_ALL,    /* p in the ratio has mass on ids that are not in the draft's vocabulary */
    RESIDUAL_OVER_ALL, /* p in the residual has */
};

/* How many tokens a round drafts. K_BY_REJECTED looks at what was drafted past the first rejection:
 * harmless with new numbers each round, fatal without. */
enum policy { K_FIXED, K_BY_ACCEPTED, K_BY_OVERLAP, K_BY_TEXT, K_BY_REJECTED, POLICIES };

struct mass {
    struct frac b;
};

struct interval {
    struct frac lo, hi;
};

enum stream { STREAM_TARGET, STREAM_ACCEPT, STREAM_PROPOSAL, STREAMS };

/* A path is the list of options taken; the next path differs in the last one that has another. */
struct chooser {
    const struct laws *q, *p;
    enum wrong wrong;
    bool coupled;
    int len;                    /* tokens committed before this round */
    int32_t drafted[K_MAX + 1]; /* of this round */
    int context[K_MAX + 1];     /* of x~_0 .. x~_{k-1} */
    struct interval numbers[STREAMS][LEN_MAX];
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

/* Options are (n) probabilities up to the common factor `sum`; those of zero are never taken. */
static int choose(struct chooser *c, const struct frac *options, int n, struct frac sum)
{
    int d = c->depth++;

    ASSERT(d < DEPTH_MAX);
    if (d == c->n_taken) {
        memcpy(c->options[d], options, (size_t)n * sizeof(options[0]));
        c->n_options[d] = n;
        c->taken[d] = next_possible(options, n, 0);
        c->n_taken++;
    }
    ASSERT(c->taken[d] < n);
    c->weight = modular_times(c->weight, frac_div(options[c->taken[d]], sum));
    return c->taken[d];
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

/* In which of n steps, of widths that sum to 1, the number of (stream, position k) lies. */
static int locate(struct chooser *c, enum stream stream, int k, const struct frac *widths, int n)
{
    struct interval *u = &c->numbers[stream][c->len + k], step[V_MAX];
    struct frac options[V_MAX], end = FRAC_0;
    int taken;

    for (int i = 0; i < n; i++) {
        struct frac begin = end;

        end = frac_add(end, widths[i]);
        step[i] = (struct interval){frac_max(u->lo, begin), frac_min(u->hi, end)};
        options[i] = frac_max(frac_sub(step[i].hi, step[i].lo), FRAC_0);
    }
    taken = choose(c, options, n, frac_sub(u->hi, u->lo));
    *u = step[taken];
    return taken;
}

static bool below(struct chooser *c, int k, struct frac h)
{
    struct frac widths[2] = {h, frac_sub(FRAC_1, h)};

    return locate(c, STREAM_ACCEPT, k, widths, 2) == 0;
}

static int draw(struct chooser *c, enum stream stream, int k, struct frac *masses, int n)
{
    struct frac sum = FRAC_0;

    for (int i = 0; i < n; i++)
        sum = frac_add(sum, masses[i]);
    for (int i = 0; i < n; i++)
        masses[i] = frac_div(masses[i], sum);
    return locate(c, stream, k, masses, n);
}

static struct frac prob_without(const struct laws *l, unsigned left_out, int context, int x)
{
    int sum = 0;

    for (int i = 0; i < l->n_vocab; i++)
        sum += left_out >> i & 1 ? 0 : l->w[context][i];
    return frac(left_out >> x & 1 ? 0 : l->w[context][x], sum);
}

static struct frac prob(const struct laws *l, int context, int x)
{
    return prob_without(l, l->left_out, context, x);
}

static struct frac target_prob(const struct chooser *c, int k, int x)
{
    return prob(c->q, c->context[c->wrong == TARGET_LAGS ? 0 : k], x);
}

static struct frac residual_at(const struct chooser *c, int k, struct frac b, int x)
{
    unsigned left_out = c->wrong == RESIDUAL_OVER_ALL ? 0 : c->p->left_out;
    struct frac p = prob_without(c->p, left_out, c->context[k], x);

    return frac_max(frac_sub(frac_mul(b, target_prob(c, k, x)), p), FRAC_0);
}

static int context_after(int n_vocab, int context, int x)
{
    int next = context * n_vocab + 1 + x;

    ASSERT(next < CONTEXTS);
    return next;
}

SPECD_HD struct mass mass_one(void)
{
    return (struct mass){FRAC_1};
}

SPECD_HD int32_t chooser_drafted(const struct chooser *c, int k)
{
    return c->drafted[k];
}

SPECD_HD int32_t chooser_target(struct chooser *c, int k)
{
    struct frac masses[V_MAX];

    for (int x = 0; x < c->q->n_vocab; x++)
        masses[x] = target_prob(c, k, x);
    return draw(c, STREAM_TARGET, k, masses, c->q->n_vocab);
}

SPECD_HD int32_t chooser_residual(struct chooser *c, int k, struct mass b)
{
    struct frac masses[V_MAX];
    bool any = false;

    if (c->wrong == RESIDUAL_IS_TARGET)
        return chooser_target(c, k);
    if (c->wrong == RESIDUAL_IGNORES_B)
        b = mass_one();
    for (int x = 0; x < c->q->n_vocab; x++) {
        masses[x] = residual_at(c, k, b.b, x);
        any |= masses[x].num > 0;
    }
    return any ? draw(c, STREAM_TARGET, k, masses, c->q->n_vocab) : chooser_target(c, k);
}

SPECD_HD struct mass chooser_extend(struct chooser *c, int k, struct mass b)
{
    struct frac q = target_prob(c, k, c->drafted[k]);
    unsigned left_out = c->wrong == RATIO_OVER_ALL ? 0 : c->p->left_out;
    struct frac p = prob_without(c->p, left_out, c->context[k], c->drafted[k]);

    return (struct mass){frac_min(frac_div(frac_mul(b.b, q), p), FRAC_1)};
}

SPECD_HD bool chooser_accept(struct chooser *c, int k)
{
    struct mass b = chooser_extend(c, k, mass_one());

    return c->wrong == ACCEPT_ALWAYS || below(c, k, b.b);
}

SPECD_HD bool chooser_keep_last(struct chooser *c, int k, struct mass b)
{
    return below(c, k, b.b);
}

SPECD_HD bool chooser_keep(struct chooser *c, int k, struct mass b)
{
    struct frac a = FRAC_0, lost = frac_sub(FRAC_1, b.b);

    for (int x = 0; x < c->q->n_vocab; x++)
        a = frac_add(a, residual_at(c, k + 1, b.b, x));
    if (a.num == 0 && lost.num == 0)
        return true;
    return below(c, k, frac_div(a, frac_add(a, lost)));
}

/* ---- rounds ---------------------------------------------------------------------------------- */

typedef int verify_fn(struct chooser *c, int n_drafted, int32_t *last);

struct plan {
    const char *mode;
    verify_fn *verify;
    bool coupled;
    int k, n_rounds;
    enum policy policy;
    enum wrong wrong;
};

/* What a policy may know of the round before, and (rejected) what it must not. */
struct outcome {
    int n_accepted;
    int32_t last;
    struct frac overlap; /* sum of min(p, q), positions up to the first rejection */
    bool rejected;       /* the token drafted after the first rejected one was token 0 */
};

static struct frac overlap_at(const struct chooser *c, int k)
{
    struct frac sum = FRAC_0;

    for (int x = 0; x < c->q->n_vocab; x++)
        sum = frac_add(sum, frac_min(target_prob(c, k, x), prob(c->p, c->context[k], x)));
    return sum;
}

static int plan_k(const struct plan *plan, int round, const struct outcome *before)
{
    if (round == 0 || plan->policy == K_FIXED)
        return plan->k;
    if (plan->policy == K_BY_ACCEPTED)
        return before->n_accepted == 0 ? 0 : plan->k;
    if (plan->policy == K_BY_OVERLAP)
        return frac_less(before->overlap, frac(1, 2)) ? 1 : plan->k;
    if (plan->policy == K_BY_TEXT)
        return before->last == 0 ? plan->k : 0;
    return before->rejected ? 0 : plan->k;
}

/* Drafts up to k tokens; returns how many are to be verified. */
static int draft(struct chooser *c, int k)
{
    enum stream stream = c->coupled || c->wrong == SHARED_STREAMS ? STREAM_TARGET : STREAM_PROPOSAL;

    for (int i = 0; i < k; i++) {
        struct frac masses[V_MAX];

        for (int x = 0; x < c->p->n_vocab; x++)
            masses[x] = prob(c->p, c->context[i], x);
        c->drafted[i] = draw(c, stream, i, masses, c->p->n_vocab);
        c->context[i + 1] = context_after(c->p->n_vocab, c->context[i], c->drafted[i]);
        if (c->wrong == K_BY_OWN_TOKEN &&
            frac_less(prob(c->p, c->context[i], c->drafted[i]), frac(1, 2)))
            return i;
    }
    return k;
}

static void numbers_renew(struct chooser *c, enum stream stream)
{
    for (int i = 0; i < LEN_MAX; i++)
        c->numbers[stream][i] = (struct interval){FRAC_0, FRAC_1};
}

/* One round; appends to tokens. */
static struct outcome walk_round(struct chooser *c, const struct plan *plan, int k, int32_t *tokens)
{
    struct outcome out = {.overlap = FRAC_0};

    if (c->wrong != KEYED) {
        numbers_renew(c, STREAM_ACCEPT);
        numbers_renew(c, STREAM_PROPOSAL);
    }
    k = draft(c, k);
    out.n_accepted = plan->verify(c, k, &out.last);
    for (int i = 0; i < k && i <= out.n_accepted; i++)
        out.overlap = frac_add(out.overlap, overlap_at(c, i));
    out.rejected = out.n_accepted + 1 < k && c->drafted[out.n_accepted + 1] == 0;
    memcpy(tokens + c->len, c->drafted, (size_t)out.n_accepted * sizeof(tokens[0]));
    c->len += out.n_accepted;
    tokens[c->len++] = out.last;
    c->context[0] = context_after(c->q->n_vocab, c->context[out.n_accepted], out.last);
    return out;
}

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
    if (n >= total) {
        modular_add(&law[sequence_index(tokens, total, q->n_vocab)], weight);
        return;
    }
    for (int x = 0; x < q->n_vocab; x++) {
        tokens[n] = x;
        continue_target(q, tokens, n + 1, total, context_after(q->n_vocab, context, x),
                        modular_times(weight, prob(q, context, x)), law);
    }
}

#endif
