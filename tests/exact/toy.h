/*
 * toy.h - generation by speculative sampling with models of a few tokens, through the functions and
 * random keys that serve requests (law_build, law_draw, noise_proposal, law_verify). toy_law.h has
 * the exact law of what it should yield.
 *
 * A toy run can be made wrong in one way at a time (enum fault): the tests must notice each.
 * Single-threaded: the logits of the last model used are kept in a table.
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
    FAULT_PENALTIES_LAG,  /* penalties count the committed text only */
    FAULT_DRAFT_ROUNDED,  /* p in the ratio comes from rounded logits */
    FAULT_DRAFT_OVER_ALL, /* p in the ratio has mass on ids that are not drafted */
    FAULT_DRAFT_OTHERS,   /* p in the ratio is over the ids that another request drafts */
};

/* How K is chosen from round to round. K_BY_REJECTED looks at laws past the first rejection, as no
 * policy may: harmless while each round has random numbers of its own, biased without. */
enum schedule { K_FIXED, K_BY_ROUND, K_BY_ACCEPTED, K_BY_OVERLAP, K_BY_REJECTED };

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
    double coupled_least;     /* what coupled verification accepts at least: o / (2 - o) */
};

struct toy_state {
    const struct toy *toy;
    uint64_t seed;
    int32_t tokens[TOY_TOKENS_MAX + TOY_K_MAX + 1];
    int32_t len; /* committed; one prompt token */
    uint32_t round;
    int32_t last_accepted;
    float overlap;          /* mean of the last round, positions up to its first rejection */
    float rejected_overlap; /* past it */
    uint16_t counts[2][TOY_K_MAX + 1][2][TOY_V_MAX];
    struct law q[TOY_K_MAX + 1], p[TOY_K_MAX], p_seen[TOY_K_MAX];
    float restricted[TOY_K_MAX][TOY_V_MAX]; /* logits of p */
    struct sample_params unwarped;
    uint64_t scratch[TOY_V_MAX];
};

/* A number in [-1, 1) that depends on every argument. */
static inline float toy_noise(uint64_t model, uint32_t a, uint32_t b, uint32_t c)
{
    struct philox w = philox4x32((struct philox){{a, b, c, 77}}, model);

    return (float)w.w[0] * 0x1p-31f - 1.0f;
}

/* The logits of one model, by number of tokens before and by the last two of them. */
struct toy_table {
    uint64_t model;
    float closeness, sharpness;
    int32_t n_vocab;
    float z[2][TOY_TOKENS_MAX + TOY_K_MAX + 2][TOY_V_MAX * TOY_V_MAX][TOY_V_MAX];
};

static inline void toy_table_row(struct toy_table *t, uint32_t n, uint32_t context)
{
    for (uint32_t x = 0; x < (uint32_t)t->n_vocab; x++) {
        float target = toy_noise(t->model, x, context, n);
        float other = toy_noise(t->model + 1, x, context, n);

        t->z[0][n][context][x] = t->sharpness * target;
        t->z[1][n][context][x] =
            t->sharpness * (t->closeness * target + (1 - t->closeness) * other);
    }
}

static inline const struct toy_table *toy_table_of(const struct toy *t)
{
    static struct toy_table table;

    if (table.model == t->model && table.closeness == t->closeness &&
        table.sharpness == t->sharpness && table.n_vocab == t->n_vocab)
        return &table;
    table.model = t->model;
    table.closeness = t->closeness;
    table.sharpness = t->sharpness;
    table.n_vocab = t->n_vocab;
    for (uint32_t n = 0; n < COUNT_OF(table.z[0]); n++) {
        for (uint32_t context = 0; context < COUNT_OF(table.z[0][0]); context++)
            toy_table_row(&table, n, context);
    }
    return &table;
}

/* Logits after tokens[0..n): of the last two tokens and the position. Valid until another toy's. */
static inline const float *toy_logits(const struct toy *t, int role, const int32_t *tokens,
                                      int32_t n)
{
    int32_t context = tokens[n - 1] * TOY_V_MAX + (n > 1 ? tokens[n - 2] : 0);

    return toy_table_of(t)->z[role][n][context];
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

    if (toy_penalises(law)) {
        toy_counts(s->tokens, s->len + (s->toy->fault == FAULT_PENALTIES_LAG ? 0 : k),
                   s->counts[role][k]);
        c.counts_generated = s->counts[role][k][0];
        c.counts_all = s->counts[role][k][1];
    }
    const float *logits = toy_logits(s->toy, role, s->tokens, s->len + k);
    if (role == 1 && params->draft_ids) {
        memcpy(s->restricted[k], logits, sizeof(s->restricted[k]));
        law_restrict(s->restricted[k], s->toy->n_vocab, params->draft_ids);
        logits = s->restricted[k];
    }
    law_build(l, logits, s->toy->n_vocab, &c, s->scratch);
}

static inline int toy_k(const struct toy_state *s)
{
    const struct toy *t = s->toy;

    switch (t->schedule) {
    case K_BY_ROUND:
        return (int)((s->round * 5 + 2) % (uint32_t)(t->k + 1));
    case K_BY_ACCEPTED:
        return s->last_accepted == 0 ? 1 : t->k;
    case K_BY_OVERLAP:
        return s->overlap < 0.6f ? 1 : t->k;
    case K_BY_REJECTED:
        return s->rejected_overlap > 0.6f ? t->k : 0;
    case K_FIXED:
        break;
    }
    return t->k;
}

/* What p would be had its logits been stored with few bits, or been computed for other ids. */
static inline void toy_spoil_draft(struct toy_state *s, int k)
{
    static _Thread_local float spoilt[TOY_K_MAX][TOY_V_MAX];
    const float *whole = toy_logits(s->toy, 1, s->tokens, s->len + k);
    uint32_t v = (uint32_t)s->toy->n_vocab, others;

    s->p_seen[k] = s->p[k];
    switch (s->toy->fault) {
    case FAULT_DRAFT_ROUNDED:
        for (uint32_t x = 0; x < v; x++)
            spoilt[k][x] = nearbyintf(s->p[k].logits[x] * 4) / 4;
        break;
    case FAULT_DRAFT_OVER_ALL:
        memcpy(spoilt[k], whole, sizeof(spoilt[k]));
        break;
    case FAULT_DRAFT_OTHERS: /* the next ids, going round */
        memcpy(spoilt[k], whole, sizeof(spoilt[k]));
        others = s->toy->params.draft_ids[0] << 1 | s->toy->params.draft_ids[0] >> (v - 1);
        law_restrict(spoilt[k], (int32_t)v, &others);
        break;
    default:
        return;
    }
    law_build(&s->p_seen[k], spoilt[k], (int32_t)v, &s->p[k].context, s->scratch);
}

static inline struct noise toy_proposal_noise(const struct toy_state *s, int k)
{
    uint32_t round = s->toy->fault == FAULT_NO_ROUND ? 0 : s->round;

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
        toy_spoil_draft(s, i);
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

    if (s->toy->fault == FAULT_NO_ROUND)
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
        totals->coupled_least += r->overlap[i] / (2 - r->overlap[i]);
    }
}

/* What the next round's K may follow, and (rejected_overlap) what it may not. */
static inline void toy_observe(struct toy_state *s, const struct seq_result *r, int k)
{
    int n = MIN(k, r->n_accepted + 1);

    s->last_accepted = r->n_accepted;
    s->overlap = n > 0 ? 0 : 1;
    for (int i = 0; i < n; i++)
        s->overlap += r->overlap[i] / (float)n;
    s->rejected_overlap = 1;
    if (r->n_accepted + 2 < k)
        s->rejected_overlap =
            (float)law_overlap(&s->q[r->n_accepted + 2], &s->p[r->n_accepted + 2]);
}

/* One sequence: toy->n_tokens tokens after the prompt, into out. */
static inline void toy_generate(const struct toy *t, uint64_t seed, int32_t *out,
                                struct toy_totals *totals)
{
    struct toy_state s;

    s.toy = t;
    s.seed = seed;
    s.tokens[0] = 0;
    s.len = s.last_accepted = 1;
    s.round = 0;
    s.overlap = s.rejected_overlap = 1;
    s.unwarped = (struct sample_params){.target = {.temperature = 1, .top_p = 1, .repetition = 1}};
    for (; s.len < 1 + t->n_tokens; s.round++) {
        struct seq_result r = {0};
        int k = toy_draft(&s, toy_k(&s));

        toy_verify(&s, k, &r);
        ASSERT(r.n_tokens == r.n_accepted + 1);
        toy_observe(&s, &r, k);
        memcpy(s.tokens + s.len, r.tokens, (size_t)r.n_tokens * sizeof(r.tokens[0]));
        s.len += r.n_tokens;
        toy_account(&r, k, totals);
    }
    memcpy(out, s.tokens + 1, (size_t)t->n_tokens * sizeof(out[0]));
}

#endif
