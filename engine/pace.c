#include "pace.h"

#include "specd/util.h"

#include <stdlib.h>
#include <string.h>

#define DECAY 0.9f       /* of an observation's weight with each later one at its position */
#define PRIOR_WEIGHT 2.0 /* observations that a bucket's starting estimate is worth */

static const double prior[PACE_DRAFTERS] = {[PACE_MODEL] = 0.7, [PACE_LOOKUP] = 0.5};

/* ---- acceptance ------------------------------------------------------------------------------ */

static int bucket_of(int32_t position)
{
    return position <= 2 ? position - 1 : position <= 4 ? 2 : position <= 8 ? 3 : 4;
}

void pace_init(struct pace *p)
{
    memset(p, 0, sizeof *p);
}

void pace_observe(struct pace *p, enum pace_drafter drafter, const float *overlap, int32_t n)
{
    ASSERT(n >= 0 && n <= SPECD_K_MAX);
    for (int32_t i = 0; i < n; i++) {
        int b = bucket_of(i + 1);
        float x = overlap[i] > 0 ? MIN(overlap[i], 1.0f) : 0.0f; /* NaN counts as rejected */
        p->sum[drafter][b] = p->sum[drafter][b] * DECAY + x;
        p->weight[drafter][b] = p->weight[drafter][b] * DECAY + 1.0f;
    }
}

static void estimate_buckets(const struct pace *p, enum pace_drafter d, double out[PACE_BUCKETS])
{
    double start = prior[d];
    for (int b = 0; b < PACE_BUCKETS; b++) {
        out[b] = (p->sum[d][b] + PRIOR_WEIGHT * start) / (p->weight[d][b] + PRIOR_WEIGHT);
        start = out[b];
    }
}

double pace_estimate(const struct pace *p, enum pace_drafter drafter, int32_t position)
{
    ASSERT(position >= 1);
    double estimates[PACE_BUCKETS];
    estimate_buckets(p, drafter, estimates);
    return estimates[bucket_of(position)];
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
static int32_t list_candidates(const struct pace_seq *seqs, int32_t n, struct choice *c,
                               struct tally *t)
{
    int32_t listed = 0;
    for (int32_t i = 0; i < n; i++) {
        const struct pace_seq *s = &seqs[i];
        ASSERT(s->k_min >= 0 && s->k_min <= s->k_max && s->k_max <= SPECD_K_MAX);
        t->tokens += 1;
        t->rows += 1;
        if (s->k_max == 0)
            continue;
        double beta[PACE_BUCKETS], survival = 1;
        estimate_buckets(s->pace, s->drafter, beta);
        for (int32_t k = 1; k <= s->k_max; k++) {
            survival *= beta[bucket_of(k)];
            struct candidate slot = {survival, (int16_t)i, (int8_t)k, s->drafter == PACE_MODEL};
            if (k <= s->k_min)
                tally_add(t, &slot, c->draft_ns);
            else
                c->candidates[listed++] = slot;
        }
    }
    qsort(c->candidates, (size_t)listed, sizeof c->candidates[0], compare);
    return listed;
}

static int32_t deepest(const struct pace_seq *seqs, int32_t n)
{
    int32_t deep = 0;
    for (int32_t i = 0; i < n; i++) {
        if (seqs[i].drafter == PACE_MODEL)
            deep = MAX(deep, seqs[i].k_max);
    }
    return deep;
}

static bool is_within(const struct candidate *c, int32_t depth)
{
    return !c->model || c->k <= depth;
}

/*
 * Opening a draft step costs the same for one slot as for all, so admitting positions one at a time
 * while each pays for itself would stop before the step that pays for all together. Instead: for
 * each number of draft steps, admit the positions it allows from the likeliest down, and keep the
 * best point met on any of these ways.
 */
void pace_choose(const struct pace_cost *cost, struct pace_seq *seqs, int32_t n, double base_ns,
                 uint64_t round_no)
{
    ASSERT(n >= 0 && n <= SPECD_SLOTS_MAX && cost->verify.n > 0);
    struct choice c;
    for (int32_t i = 0; i <= n; i++)
        c.draft_ns[i] = pace_cost_draft(cost, i);
    struct tally least = {.draft_ns = base_ns + cost->fixed_ns};
    int32_t listed = list_candidates(seqs, n, &c, &least);
    for (int32_t rows = least.rows; rows <= least.rows + listed; rows++)
        c.verify_ns[rows] = pace_cost_verify(cost, rows);

    double best_tokens = least.tokens, best_ns = least.draft_ns + c.verify_ns[least.rows];
    int32_t best_depth = 0, best_admitted = 0, deep = deepest(seqs, n);
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
                best_depth = depth;
                best_admitted = j + 1;
            }
        }
    }

    for (int32_t i = 0; i < n; i++)
        seqs[i].k = seqs[i].k_min;
    for (int32_t j = 0; j < best_admitted; j++) {
        if (is_within(&c.candidates[j], best_depth))
            seqs[c.candidates[j].seq].k = c.candidates[j].k;
    }
    for (int32_t i = 0; i < n && round_no % PACE_PROBE_EVERY == 0; i++) {
        if (seqs[i].k == 0)
            seqs[i].k = MIN(1, seqs[i].k_max);
    }
}
