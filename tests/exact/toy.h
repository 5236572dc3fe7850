/*
 * toy.h - generation by speculative sampling with models of a few tokens, through the functions and
 * random keys that serve requests (law_build, law_draw, noise_proposal, law_verify), and the exact
 * law of what it should yield, computed in long double from the target's logits alone.
 *
 * A toy run can be made wrong in one way at a time (enum fault): the tests must notice each.
 */
#ifndef SPECD_TEST_TOY_H
#define SPECD_TEST_TOY_H

#include "law.h"
#include "specd/util.h"

#include <math.h>
#include <string.h>

#define TOY_V_MAX 8
#define TOY_TOKENS_MAX 32
#define TOY_K_MAX (SPECD_K_MAX < 8 ? SPECD_K_MAX : 8)

enum fault {
    FAULT_NONE,
    FAULT_ACCEPT_ALWAYS,
    FAULT_RESIDUAL_IS_TARGET,
    FAULT_BONUS_UNWARPED,
    FAULT_SHARED_STREAMS, /* the proposal races with the residual's noise */
    FAULT_K_BY_OWN_TOKEN, /* a drafted token is verified if its own probability is large */
    FAULT_NO_ROUND,       /* acceptance and proposal keyed by seed and position alone */
    FAULT_K_BY_REJECTED,  /* as above, and K follows the overlap past the first rejection */
    FAULT_PENALTIES_LAG,  /* penalties count the committed text only */
    FAULT_DRAFT_ROUNDED,  /* p in the ratio comes from rounded logits */
};

/* How K is chosen from round to round. */
enum schedule { K_FIXED, K_BY_ROUND, K_BY_ACCEPTED };

struct toy {
    const char *name;
    int32_t n_vocab;
    float closeness; /* of the draft to the target: 1 equal, 0 unrelated */
    float sharpness; /* of both */
    struct sample_params params;
    enum verify_mode mode;
    enum schedule schedule;
    int k;
    int n_tokens;   /* to generate */
    uint64_t model; /* which logits */
    enum fault fault;
    void (*verify)(const struct verify_input *in, struct seq_result *out);
};

/* What happened over many runs. */
struct toy_totals {
    uint64_t rounds, verified, accepted;
    double overlap, variance; /* expected accepted, given what was verified; and its variance */
};

struct toy_state {
    const struct toy *toy;
    uint64_t seed;
    int32_t tokens[TOY_TOKENS_MAX + TOY_K_MAX + 1];
    int32_t len; /* committed; one prompt token */
    uint32_t round;
    int32_t last_accepted;
    float rejected_overlap;
    float logits[2][TOY_K_MAX + 1][TOY_V_MAX];
    uint16_t counts[2][TOY_K_MAX + 1][2][TOY_V_MAX];
    struct law q[TOY_K_MAX + 1], p[TOY_K_MAX], p_seen[TOY_K_MAX];
    struct sample_params unwarped;
    uint64_t scratch[TOY_V_MAX];
};

/* A number in [-1, 1) that depends on every argument. */
static inline float toy_noise(uint64_t model, uint32_t a, uint32_t b, uint32_t c)
{
    struct philox w = philox4x32((struct philox){{a, b, c, 77}}, model);

    return (float)w.w[0] * 0x1p-31f - 1.0f;
}

/* Logits after tokens[0..n): of the last two tokens and the position. */
static inline void toy_logits(const struct toy *t, int role, const int32_t *tokens, int32_t n,
                              float *out)
{
    uint32_t context = (uint32_t)(tokens[n - 1] * TOY_V_MAX + (n > 1 ? tokens[n - 2] : 0));

    for (uint32_t x = 0; x < (uint32_t)t->n_vocab; x++) {
        float target = toy_noise(t->model, x, context, (uint32_t)n);
        float other = toy_noise(t->model + 1, x, context, (uint32_t)n);

        out[x] = t->sharpness *
                 (role == 0 ? target : t->closeness * target + (1 - t->closeness) * other);
    }
}

static inline void toy_counts(const int32_t *tokens, int32_t n, uint16_t counts[2][TOY_V_MAX])
{
    memset(counts, 0, 2 * sizeof(counts[0]));
    for (int32_t i = 0; i < n; i++) {
        counts[0][tokens[i]] += i > 0;
        counts[1][tokens[i]]++;
    }
}

static inline bool toy_penalises(const struct law_params *p)
{
    return p->presence != 0 || p->frequency != 0 || p->repetition != 1;
}

/* The law of the token at position len + k, given the drafted tokens before it. */
static inline void toy_law(struct toy_state *s, struct law *l, int role, int k,
                           const struct sample_params *params)
{
    const struct law_params *law = role == 0 ? &params->target : &params->draft;
    struct law_context c = {.params = params, .law = law, .position = s->len + k};

    toy_logits(s->toy, role, s->tokens, s->len + k, s->logits[role][k]);
    if (toy_penalises(law)) {
        toy_counts(s->tokens, s->len + (s->toy->fault == FAULT_PENALTIES_LAG ? 0 : k),
                   s->counts[role][k]);
        c.counts_generated = s->counts[role][k][0];
        c.counts_all = s->counts[role][k][1];
    }
    law_build(l, s->logits[role][k], s->toy->n_vocab, &c, s->scratch);
}

static inline int toy_k(const struct toy_state *s)
{
    const struct toy *t = s->toy;

    if (t->fault == FAULT_K_BY_REJECTED)
        return s->rejected_overlap > 0.6f ? t->k : 0;
    if (t->schedule == K_BY_ROUND)
        return (int)((s->round * 5 + 2) % (uint32_t)(t->k + 1));
    if (t->schedule == K_BY_ACCEPTED)
        return s->last_accepted == 0 ? 1 : t->k;
    return t->k;
}

/* What p would be had its logits been stored with few bits. */
static inline void toy_round_draft(struct toy_state *s, int k)
{
    static _Thread_local float rounded[TOY_K_MAX][TOY_V_MAX];

    s->p_seen[k] = s->p[k];
    if (s->toy->fault != FAULT_DRAFT_ROUNDED)
        return;
    for (int32_t x = 0; x < s->toy->n_vocab; x++)
        rounded[k][x] = nearbyintf(s->logits[1][k][x] * 4) / 4;
    law_build(&s->p_seen[k], rounded[k], s->toy->n_vocab, &s->p[k].context, s->scratch);
}

static inline struct noise toy_proposal_noise(const struct toy_state *s, int k)
{
    uint32_t round =
        s->toy->fault == FAULT_NO_ROUND || s->toy->fault == FAULT_K_BY_REJECTED ? 0 : s->round;

    if (s->toy->fault == FAULT_SHARED_STREAMS)
        return noise_target(s->seed, s->len + k);
    return noise_proposal(s->seed, s->toy->mode, s->len + k, round);
}

/* Drafts up to k tokens; returns how many are to be verified. */
static inline int toy_draft(struct toy_state *s, int k)
{
    for (int i = 0; i < k; i++) {
        struct noise n = toy_proposal_noise(s, i);

        toy_law(s, &s->p[i], 1, i, &s->toy->params);
        toy_round_draft(s, i);
        s->tokens[s->len + i] = law_draw(&s->p[i], &n);
        if (s->toy->fault == FAULT_K_BY_OWN_TOKEN &&
            law_prob(&s->p[i], s->tokens[s->len + i]) < 0.3)
            return i;
    }
    return k;
}

static inline void toy_verify(struct toy_state *s, int k, struct seq_result *out)
{
    struct verify_input in = {.q = s->q,
                              .p = s->p_seen,
                              .drafted = s->tokens + s->len,
                              .k = k,
                              .len = s->len,
                              .round = s->round,
                              .seed = s->seed,
                              .mode = s->toy->mode,
                              .synthetic_acceptance = -1};

    if (s->toy->fault == FAULT_NO_ROUND || s->toy->fault == FAULT_K_BY_REJECTED)
        in.round = 0;
    for (int i = 0; i <= k; i++) {
        bool unwarped = i == k && s->toy->fault == FAULT_BONUS_UNWARPED;

        toy_law(s, &s->q[i], 0, i, unwarped ? &s->unwarped : &s->toy->params);
    }
    s->toy->verify(&in, out);
}

static inline void toy_account(const struct seq_result *r, int k, struct toy_totals *totals)
{
    totals->rounds++;
    totals->accepted += (uint64_t)r->n_accepted;
    for (int i = 0; i < k && i <= r->n_accepted; i++) {
        totals->verified++;
        totals->overlap += r->overlap[i];
        totals->variance += r->overlap[i] * (1 - r->overlap[i]);
    }
}

/* One sequence: toy->n_tokens tokens after the prompt, into out. */
static inline void toy_generate(const struct toy *t, uint64_t seed, int32_t *out,
                                struct toy_totals *totals)
{
    struct toy_state s = {.toy = t, .seed = seed, .len = 1, .last_accepted = 1};

    s.unwarped.target = (struct law_params){.temperature = 1, .top_p = 1, .repetition = 1};
    s.rejected_overlap = 1;
    for (; s.len < 1 + t->n_tokens; s.round++) {
        struct seq_result r = {0};
        int k = toy_draft(&s, toy_k(&s));

        toy_verify(&s, k, &r);
        ASSERT(r.n_tokens == r.n_accepted + 1);
        s.rejected_overlap = 1;
        if (r.n_accepted + 2 < k)
            s.rejected_overlap = (float)law_overlap(&s.q[r.n_accepted + 2], &s.p[r.n_accepted + 2]);
        memcpy(s.tokens + s.len, r.tokens, (size_t)r.n_tokens * sizeof(r.tokens[0]));
        s.len += r.n_tokens;
        s.last_accepted = r.n_accepted;
        toy_account(&r, k, totals);
    }
    memcpy(out, s.tokens + 1, (size_t)t->n_tokens * sizeof(out[0]));
}

/* ---- the exact law --------------------------------------------------------------------------- */

/* The target's law after tokens[0..n), in long double and by sorting. */
static inline void toy_exact(const struct toy *t, const int32_t *tokens, int32_t n,
                             long double *law)
{
    const struct law_params *p = &t->params.target;
    uint16_t counts[2][TOY_V_MAX];
    float logits[TOY_V_MAX];
    long double z[TOY_V_MAX], max = -INFINITY, total = 0, reach = 0, kept = 0;
    int order[TOY_V_MAX], v = t->n_vocab, keep = 0;

    toy_logits(t, 0, tokens, n, logits);
    toy_counts(tokens, n, counts);
    for (int x = 0; x < v; x++) {
        z[x] = logits[x];
        if (counts[1][x] > 0)
            z[x] = z[x] > 0 ? z[x] / p->repetition : z[x] * p->repetition;
        z[x] -= p->frequency * counts[0][x] + (counts[0][x] > 0 ? p->presence : 0);
    }
    for (int i = 0; i < t->params.n_bias; i++)
        z[t->params.bias_ids[i]] += t->params.bias[i];
    for (int x = 0; x < v; x++)
        max = fmaxl(max, z[x]);
    for (int x = 0; x < v; x++) {
        int at = x;

        law[x] = expl((z[x] - max) / p->temperature);
        for (; at > 0 && law[order[at - 1]] < law[x]; at--)
            order[at] = order[at - 1];
        order[at] = x;
    }
    while (keep < (p->top_k > 0 && p->top_k < v ? p->top_k : v))
        total += law[order[keep++]];
    for (int i = 0; i < keep; i++) {
        if (reach >= p->top_p * total || law[order[i]] < p->min_p)
            keep = i;
        else
            reach += law[order[i]];
    }
    kept = reach;
    for (int i = 0; i < v; i++)
        law[order[i]] = i < keep ? law[order[i]] / kept : 0;
}

/* The law of all sequences of n_tokens, indexed with the first token most significant. */
static inline void toy_joint(const struct toy *t, int32_t *tokens, int depth, long double weight,
                             double **at)
{
    long double law[TOY_V_MAX];

    if (depth == t->n_tokens) {
        *(*at)++ = (double)weight;
        return;
    }
    toy_exact(t, tokens, 1 + depth, law);
    for (int x = 0; x < t->n_vocab; x++) {
        tokens[1 + depth] = x;
        toy_joint(t, tokens, depth + 1, weight * law[x], at);
    }
}

static inline int toy_bins(const struct toy *t)
{
    int n = 1;

    for (int i = 0; i < t->n_tokens; i++)
        n *= t->n_vocab;
    return n;
}

/* Generates n sequences and counts them; law and count: (toy_bins). */
static inline void toy_run(const struct toy *t, uint64_t first_seed, uint64_t n, uint64_t *count,
                           double *law, struct toy_totals *totals)
{
    int32_t tokens[TOY_TOKENS_MAX] = {0};
    double *at = law;

    memset(count, 0, (size_t)toy_bins(t) * sizeof(count[0]));
    toy_joint(t, tokens, 0, 1, &at);
    for (uint64_t i = 0; i < n; i++) {
        int bin = 0;

        toy_generate(t, first_seed + i, tokens, totals);
        for (int j = 0; j < t->n_tokens; j++)
            bin = bin * t->n_vocab + tokens[j];
        count[bin]++;
    }
}

#endif
