/*
 * draft_len.h - how many tokens each sequence drafts in the next round.
 *
 * Maximises expected tokens over time: sum_i (1 + sum_{k<=K_i} s_ik) / T(K), where the survival
 * s_ik = prod_{j<=k} beta_ij is the chance that position k is accepted, beta is estimated from what
 * earlier rounds showed, and T comes from pass times measured at start-up and since (Leviathan et
 * al. 2211.17192 for the objective; SmartSpec, 2406.14066, for the batch):
 *   T = base + fixed + sum_{k=1..max K} draft(slots still drafting at k) + verify(sum_i (K_i + 1))
 * Proposals that the host makes (lookup, a grammar's) cost no draft step; what tells whether one
 * will stand is how far the text agreed with its earlier occurrence, which grows with each accepted
 * token.
 *
 * Exactness: K of a round is a function of earlier rounds alone, and of those only of positions up
 * to and including the first rejection; no drafted token of this round is looked at.
 *
 * `struct acceptance` is embedded per request; `struct pass_cost`, and a `struct
 * acceptance_evidence` that all requests share, exist once per engine. Engine thread alone.
 */
#ifndef SPECD_DRAFT_LEN_H
#define SPECD_DRAFT_LEN_H

#include "drafters/drafter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- measured cost --------------------------------------------------------------------------- */

#define PASS_POINTS_MAX 32

/* Pass time by number of rows: piecewise linear through the points, never falling. */
struct pass_curve {
    int32_t n;
    int32_t rows[PASS_POINTS_MAX]; /* ascending */
    double ns[PASS_POINTS_MAX];    /* as measured */
    double up[PASS_POINTS_MAX];    /* forced monotone: what is interpolated */
};

struct pass_cost {
    struct pass_curve verify; /* one verify pass */
    struct pass_curve draft;  /* one draft step, its draw included; empty: no draft model */
    double fixed_ns;          /* host work and submission of any round */
};

void pass_cost_init(struct pass_cost *cost);
/* Adds or replaces the point at `rows` (>= 1). Points beyond PASS_POINTS_MAX are a bug. */
void pass_cost_set_verify(struct pass_cost *cost, int32_t rows, double ns);
void pass_cost_set_draft(struct pass_cost *cost, int32_t rows, double ns);
/* Nanoseconds; 0 for 0 rows or an empty curve. Below the first point and beyond the last one the
 * curve goes on straight. */
double pass_cost_verify(const struct pass_cost *cost, int32_t rows);
double pass_cost_draft(const struct pass_cost *cost, int32_t rows);

/* What a real round took, which moves the table a little: the machine is rarely as idle as while it
 * was measured. Times of passes alone: how long sampling takes depends on tokens beyond a
 * rejection, which no policy may see. host_ns: of the round's wall time, what the device did not
 * use. */
void pass_cost_learn_verify(struct pass_cost *cost, int32_t rows, double ns);
void pass_cost_learn_host(struct pass_cost *cost, double host_ns);

/* A small text file, written aside and renamed. key: one line naming model, device, threads and
 * whatever else the times depend on. Both 0 or SPECD_EFILE. A file with another key, another
 * format, a bad sum or absurd numbers does not load and leaves cost as it was. */
int pass_cost_save(const struct pass_cost *cost, const char *path, const char *key);
int pass_cost_load(struct pass_cost *cost, const char *path, const char *key);

/* ---- acceptance ------------------------------------------------------------------------------ */

/* Decayed sums of observed acceptance, by enum drafter_type. */
struct acceptance_evidence {
    float sum[DRAFT_TYPES][ACCEPTANCE_BUCKETS];
    float weight[DRAFT_TYPES][ACCEPTANCE_BUCKETS];
};

/* The estimate of a bucket starts from what all requests showed there, and that from the drafter's
 * prior or the bucket before, whichever is higher. */
struct acceptance {
    struct acceptance_evidence own;
    struct acceptance_evidence *shared; /* borrowed, or NULL */
};

void acceptance_init(struct acceptance *p, struct acceptance_evidence *shared);
/* What a round showed: overlap[k] = sum min(p, q) at position k + 1 (or 0 and 1 for outcomes), for
 * the positions up to and including the first rejection: n = min(accepted + 1, drafted). match:
 * what propose said of position 1. */
void acceptance_observe(struct acceptance *p, const struct drafter *drafter, int32_t match,
                        const float *overlap, int32_t n);
/* Estimated acceptance at position 1..SPECD_K_MAX, given that those before it were accepted. */
double acceptance_estimate(const struct acceptance *p, const struct drafter *drafter, int32_t match,
                           int32_t position);

/* ---- the choice ------------------------------------------------------------------------------ */

/* Drafting that promises less over K = k_min is left: what a drafted token costs beside the passes,
 * its law and the host's work on it, is in no table. */
#define DRAFT_GAIN_MIN 1.04
#define DRAFT_PROBE_EVERY 16 /* rounds, at least */
#define DRAFT_PLAIN_EVERY 64

struct draft_len_seq {
    const struct acceptance *acceptance;
    const struct drafter *drafter; /* NULL only where k_max is 0 */
    int32_t match;                 /* see drafter.h */
    /* 0 <= k_min <= k_max <= SPECD_K_MAX. k_max: the smallest of the request's bound, the room left
     * and, from the host, the tokens proposed. k_min = k_max fixes K. */
    int32_t k_min, k_max;
    int32_t k; /* out */
};

/*
 * Sets seqs[i].k for the round. base_ns: time the round takes besides, such as prompt chunks in it.
 * Each DRAFT_PROBE_EVERY-th round_no, or less often where it costs much, one slot, in turn, drafts
 * one token also where K = 0 came out and k_max allows it: what it shows is shared.
 * And each DRAFT_PLAIN_EVERY-th round, between two of these, nobody drafts more than k_min: what a
 * round costs without is known only from such. n <= SPECD_SLOTS_MAX.
 */
void draft_len_choose(const struct pass_cost *cost, struct draft_len_seq *seqs, int32_t n,
                      double base_ns, uint64_t round_no);

#endif
