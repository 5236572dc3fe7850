#include "draft_len.h"

#include "specd/util.h"

#include <stdlib.h>
#include <string.h>

/* Weight of an observation, with each later one in its bucket: of one request's, of all requests'.
 */
#define DECAY 0.93f
#define SHARED_DECAY 0.995f
/* Observations that a starting estimate is worth: the prior to a request, the prior to what all
 * requests showed, and that to a request, at most. */
#define PRIOR_WEIGHT 2.0
#define SHARED_PRIOR_WEIGHT 8.0
#define SHARED_WEIGHT_MAX 4.0
#define PROBE_SHARE 0.01 /* of the time, about: what probes may cost */

/* ---- acceptance ------------------------------------------------------------------------------ */

static int bucket_of(const struct drafter *drafter, int32_t match, int32_t position)
{
    int32_t x = drafter->by_match ? MAX(match, 2) + position - 2 : position;
    return x <= 2 ? x - 1 : x <= 4 ? 2 : x <= 8 ? 3 : x <= 16 ? 4 : 5;
}

void acceptance_init(struct acceptance *p, struct acceptance_evidence *shared)
{
    *p = (struct acceptance){.shared = shared};
}

static void evidence_add(struct acceptance_evidence *e, enum drafter_type d, int bucket, float x,
                         float decay)
{
    e->sum[d][bucket] = e->sum[d][bucket] * decay + x;
    e->weight[d][bucket] = e->weight[d][bucket] * decay + 1.0f;
}

void acceptance_observe(struct acceptance *p, const struct drafter *drafter, int32_t match,
                        const float *overlap, int32_t n)
{
    ASSERT(n >= 0 && n <= SPECD_K_MAX);
    for (int32_t i = 0; i < n; i++) {
        int b = bucket_of(drafter, match, i + 1);
        float x = overlap[i] > 0 ? MIN(overlap[i], 1.0f) : 0.0f; /* NaN counts as rejected */
        evidence_add(&p->own, drafter->type, b, x, DECAY);
        if (p->shared)
            evidence_add(p->shared, drafter->type, b, x, SHARED_DECAY);
    }
}

/* A mean of what was seen and a starting estimate, which counts as `weight` observations. */
static double mean_with(const struct acceptance_evidence *e, enum drafter_type d, int bucket,
                        double start, double weight)
{
    return (e->sum[d][bucket] + weight * start) / (e->weight[d][bucket] + weight);
}

static void estimate_buckets(const struct acceptance *p, const struct drafter *drafter,
                             double out[ACCEPTANCE_BUCKETS])
{
    enum drafter_type d = drafter->type;
    double before = 0;
    for (int b = 0; b < ACCEPTANCE_BUCKETS; b++) {
        double start = MAX(drafter->prior[b], before), weight = PRIOR_WEIGHT;
        if (p->shared) {
            start = mean_with(p->shared, d, b, start, SHARED_PRIOR_WEIGHT);
            weight += MIN((double)p->shared->weight[d][b], SHARED_WEIGHT_MAX);
        }
        before = out[b] = mean_with(&p->own, d, b, start, weight);
    }
}

double acceptance_estimate(const struct acceptance *p, const struct drafter *drafter, int32_t match,
                           int32_t position)
{
    ASSERT(position >= 1);
    double estimates[ACCEPTANCE_BUCKETS];
    estimate_buckets(p, drafter, estimates);
    return estimates[bucket_of(drafter, match, position)];
}

/* ---- the choice ------------------------------------------------------------------------------ */

/* Position k of a sequence, which might be drafted. */
struct candidate {
    double survival;
    int16_t seq;
    int8_t k;
    bool model; /* costs a draft step */
};

/* A round in the making. */
struct tally {
    double tokens; /* expected */
    double draft_ns;
    int32_t rows;                   /* of the verify pass */
    int32_t steps[SPECD_K_MAX + 1]; /* slots that draft at step k with the model */
};

struct choice {
    struct candidate candidates[SPECD_SLOTS_MAX * SPECD_K_MAX];
    double verify_ns[SPECD_SLOTS_MAX * (SPECD_K_MAX + 1) + 1]; /* by rows */
    double draft_ns[SPECD_SLOTS_MAX + 1];
};

static void tally_add(struct tally *t, const struct candidate *c, const double *draft_ns)
{
    t->tokens += c->survival;
    t->rows++;
    if (c->model) {
        int32_t slots = t->steps[c->k]++;
        t->draft_ns += draft_ns[slots + 1] - draft_ns[slots];
    }
}

/* Likeliest first. Survival never grows with k, so a sequence's positions keep their order. */
static int compare(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->survival != y->survival)
        return x->survival > y->survival ? -1 : 1;
    if (x->k != y->k)
        return x->k - y->k;
    return x->seq - y->seq;
}

/* Counts what k_min demands into t and lists the positions beyond it. */
static int32_t list_candidates(const struct draft_len_seq *seqs, int32_t n, struct choice *c,
                               struct tally *t)
{
    int32_t listed = 0;
    for (int32_t i = 0; i < n; i++) {
        const struct draft_len_seq *s = &seqs[i];
        ASSERT(s->k_min >= 0 && s->k_min <= s->k_max && s->k_max <= SPECD_K_MAX);
        t->tokens += 1;
        t->rows += 1;
        if (s->k_max == 0)
            continue;
        double beta[ACCEPTANCE_BUCKETS], survival = 1;
        estimate_buckets(s->acceptance, s->drafter, beta);
        for (int32_t k = 1; k <= s->k_max; k++) {
            survival *= beta[bucket_of(s->drafter, s->match, k)];
            struct candidate slot = {survival, (int16_t)i, (int8_t)k,
                                     s->drafter->source == DRAFT_FROM_MODEL};
            if (k <= s->k_min)
                tally_add(t, &slot, c->draft_ns);
            else
                c->candidates[listed++] = slot;
        }
    }
    qsort(c->candidates, (size_t)listed, sizeof c->candidates[0], compare);
    return listed;
}

static int32_t deepest(const struct draft_len_seq *seqs, int32_t n)
{
    int32_t deep = 0;
    for (int32_t i = 0; i < n; i++) {
        if (seqs[i].k_max > 0 && seqs[i].drafter->source == DRAFT_FROM_MODEL)
            deep = MAX(deep, seqs[i].k_max);
    }
    return deep;
}

static bool is_within(const struct candidate *c, int32_t depth)
{
    return !c->model || c->k <= depth;
}

/* How many rounds lie between probes: more where one costs much, since then it rarely finds that
 * drafting pays. ns: of the round without it. */
static uint64_t probe_period(const struct pass_cost *cost, int32_t rows, double ns)
{
    double extra =
        pass_cost_verify(cost, rows + 1) - pass_cost_verify(cost, rows) + pass_cost_draft(cost, 1);
    uint64_t period = DRAFT_PROBE_EVERY;
    while (extra > PROBE_SHARE * (double)period * (ns + extra))
        period *= 2;
    return period;
}

/* Of the slots that draft nothing and might, one drafts a token; another the next time. */
static void probe(struct draft_len_seq *seqs, int32_t n, uint64_t number)
{
    for (int32_t i = 0; i < n; i++) {
        struct draft_len_seq *s = &seqs[(number + (uint64_t)i) % (uint64_t)n];
        if (s->k == 0 && s->k_max > 0) {
            s->k = 1;
            return;
        }
    }
}

/*
 * Opening a draft step costs the same for one slot as for all, so admitting positions one at a time
 * while each pays for itself would stop before the step that pays for all together. Instead: for
 * each number of draft steps, admit the positions it allows from the likeliest down, and keep the
 * best point met on any of these ways.
 */
void draft_len_choose(const struct pass_cost *cost, struct draft_len_seq *seqs, int32_t n,
                      double base_ns, uint64_t round_no)
{
    ASSERT(n >= 0 && n <= SPECD_SLOTS_MAX && cost->verify.n > 0);
    struct choice c;
    for (int32_t i = 0; i <= n; i++)
        c.draft_ns[i] = pass_cost_draft(cost, i);
    struct tally least = {.draft_ns = base_ns + cost->fixed_ns};
    int32_t listed = list_candidates(seqs, n, &c, &least);
    for (int32_t rows = least.rows; rows <= least.rows + listed; rows++)
        c.verify_ns[rows] = pass_cost_verify(cost, rows);

    double least_ns = least.draft_ns + c.verify_ns[least.rows];
    double best_tokens = least.tokens, best_ns = least_ns;
    int32_t best_rows = least.rows, best_depth = 0, best_admitted = 0, deep = deepest(seqs, n);
    for (int32_t depth = 0; depth <= deep; depth++) {
        struct tally t = least;
        for (int32_t j = 0; j < listed; j++) {
            if (!is_within(&c.candidates[j], depth))
                continue;
            tally_add(&t, &c.candidates[j], c.draft_ns);
            double ns = t.draft_ns + c.verify_ns[t.rows];
            if (t.tokens * best_ns > best_tokens * ns) {
                best_tokens = t.tokens;
                best_ns = ns;
                best_rows = t.rows;
                best_depth = depth;
                best_admitted = j + 1;
            }
        }
    }

    for (int32_t i = 0; i < n; i++)
        seqs[i].k = seqs[i].k_min;
    if (best_tokens * least_ns < DRAFT_GAIN_MIN * least.tokens * best_ns)
        best_admitted = 0;
    if (round_no % DRAFT_PLAIN_EVERY == DRAFT_PLAIN_EVERY / 2 + DRAFT_PROBE_EVERY / 2)
        best_admitted = 0;
    for (int32_t j = 0; j < best_admitted; j++) {
        if (is_within(&c.candidates[j], best_depth))
            seqs[c.candidates[j].seq].k = c.candidates[j].k;
    }
    uint64_t period = probe_period(cost, best_rows, best_ns);
    if (round_no % period == 0)
        probe(seqs, n, round_no / period);
}
