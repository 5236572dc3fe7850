/*
 * pace.h - how many tokens each sequence drafts in the next round.
 *
 * Maximises expected tokens over time: sum_i (1 + sum_{k<=K_i} s_ik) / T(K), where the survival
 * s_ik = prod_{j<=k} beta_ij is the chance that position k is accepted, beta is estimated from what
 * the request's earlier rounds showed, and T comes from pass times measured at start-up (Leviathan
 * et al. 2211.17192 for the objective; SmartSpec, 2406.14066, for the batch):
 *   T = base + fixed + sum_{k=1..max K} draft(slots still drafting at k) + verify(sum_i (K_i + 1))
 * Proposals that the host makes (lookup) cost no draft step.
 *
 * Exactness (DESIGN rule 5): K of a round is a function of earlier rounds alone, and of those only
 * positions up to and including the first rejection; no drafted token of this round is looked at.
 *
 * `struct pace` is embedded per request, `struct pace_cost` once per engine. Engine thread alone.
 */
#ifndef SPECD_PACE_H
#define SPECD_PACE_H

#include "specd/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- measured cost --------------------------------------------------------------------------- */

#define PACE_POINTS_MAX 32

/* Pass time by number of rows: piecewise linear through the points, never falling. */
struct pace_curve {
    int32_t n;
    int32_t rows[PACE_POINTS_MAX]; /* ascending */
    double ns[PACE_POINTS_MAX];    /* as measured */
    double up[PACE_POINTS_MAX];    /* forced monotone: what is interpolated */
};

struct pace_cost {
    struct pace_curve verify; /* one verify pass, sampling included */
    struct pace_curve draft;  /* one draft step, its draw included; empty: no draft model */
    double fixed_ns;          /* host work and submission of any round */
};

void pace_cost_init(struct pace_cost *cost);
/* Adds or replaces the point at `rows` (>= 1). Points beyond PACE_POINTS_MAX are a bug. */
void pace_cost_set_verify(struct pace_cost *cost, int32_t rows, double ns);
void pace_cost_set_draft(struct pace_cost *cost, int32_t rows, double ns);
/* Nanoseconds; 0 for 0 rows or an empty curve. Below the first point and beyond the last one the
 * curve goes on straight. */
double pace_cost_verify(const struct pace_cost *cost, int32_t rows);
double pace_cost_draft(const struct pace_cost *cost, int32_t rows);

/* A small text file, written aside and renamed. key: one line naming model, device, threads and
 * whatever else the times depend on. Both 0 or SPECD_EFILE. A file with another key, another
 * format, a bad sum or absurd numbers does not load and leaves cost as it was. */
int pace_cost_save(const struct pace_cost *cost, const char *path, const char *key);
int pace_cost_load(struct pace_cost *cost, const char *path, const char *key);

/* ---- acceptance of one request --------------------------------------------------------------- */

enum pace_drafter { PACE_MODEL, PACE_LOOKUP, PACE_DRAFTERS };

#define PACE_BUCKETS 5 /* positions 1, 2, 3-4, 5-8, 9 and later */

/* Decayed sums of observed acceptance; the estimate of a bucket starts from that of the bucket
 * before it, the first from a prior. */
struct pace {
    float sum[PACE_DRAFTERS][PACE_BUCKETS];
    float weight[PACE_DRAFTERS][PACE_BUCKETS];
};

void pace_init(struct pace *p);
/* What a round showed: overlap[k] = sum min(p, q) at position k + 1 (or 0 and 1 for outcomes), for
 * the positions up to and including the first rejection: n = min(accepted + 1, drafted). */
void pace_observe(struct pace *p, enum pace_drafter drafter, const float *overlap, int32_t n);
/* Estimated acceptance at position 1..SPECD_K_MAX, given that those before it were accepted. */
double pace_estimate(const struct pace *p, enum pace_drafter drafter, int32_t position);

/* ---- the choice ------------------------------------------------------------------------------ */

#define PACE_PROBE_EVERY 16 /* rounds */

struct pace_seq {
    const struct pace *pace;
    enum pace_drafter drafter;
    /* 0 <= k_min <= k_max <= SPECD_K_MAX. k_max: the smallest of the request's bound, the room left
     * and, for lookup, the tokens it proposes. k_min = k_max fixes K. */
    int32_t k_min, k_max;
    int32_t k; /* out */
};

/*
 * Sets seqs[i].k for the round. base_ns: time the round takes besides, such as prompt chunks in it.
 * Each PACE_PROBE_EVERY-th round_no drafts one token also where K = 0 came out and k_max allows it,
 * all slots in the same round since they share the draft step. n <= SPECD_SLOTS_MAX.
 */
void pace_choose(const struct pace_cost *cost, struct pace_seq *seqs, int32_t n, double base_ns,
                 uint64_t round_no);

#endif
