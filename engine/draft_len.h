/*
 * draft_len.h - who drafts in the next round, with which of its drafters, how many tokens, and for
 * whom the draft model's KV is brought up.
 *
 * Maximises expected tokens over time: sum_i (1 + sum_{k<=K_i} s_ik) / T(K), where the survival
 * s_ik = prod_{j<=k} beta_ij is the chance that position k is accepted (acceptance.h), and T comes
 * from measured times (pass_cost.h; Leviathan et al. 2211.17192 for the objective; SmartSpec,
 * 2406.14066, for the batch):
 *   T = host + sum_{k=1..max K} step(slots still drafting at k) + verify(sum_i (K_i + 1)) + laws
 * Proposals that the host makes (lookup, a grammar's) cost no draft step. A sequence offers each of
 * its drafters that has something to propose; the one that gains most drafts.
 *
 * Rows that the draft model lacks (the prompt, and what came in rounds without it) are an
 * investment: they are computed where what drafting saves over the expected rest of the answer is
 * more than they cost, in pieces that ride along in rounds in which the target decodes. Where
 * nothing is drafted, a probe now and then shows whether it would pay. What all this may lose is
 * bounded by draft_budget.h.
 *
 * Exactness: K of a round is a function of earlier rounds alone, and of those only of positions up
 * to and including the first rejection; no drafted token of this round is looked at. What other
 * requests showed moves K, too, but for a sequence that says otherwise (`alone`).
 *
 * Pure policy: no clock, no device; times and outcomes come in. `struct draft_len` exists once per
 * engine. Engine thread alone. Nothing fails.
 */
#ifndef SPECD_DRAFT_LEN_H
#define SPECD_DRAFT_LEN_H

#include "acceptance.h"
#include "answer_len.h"
#include "draft_budget.h"
#include "pass_cost.h"
#include "specd/draft_why.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Drafting that promises less over K = k_min is left: estimates are never exact. */
#define DRAFT_GAIN_MIN 1.03
#define DRAFT_PLAIN_EVERY 128 /* rounds */

struct draft_trials {
    double at_ns; /* budget.busy_ns at the last by the clock */
    int32_t n;    /* so many by the clock */
};

struct draft_len {
    struct pass_cost cost;
    struct acceptance_shared acceptance;
    struct draft_budget budget;
    struct answer_lens lens;
    uint64_t rounds;                         /* chosen */
    struct draft_trials trials[DRAFT_TYPES]; /* of each drafter */
};

/* ---- a choice -------------------------------------------------------------------------------- */

struct draft_option {
    const struct drafter *drafter;
    int32_t match; /* see drafter.h */
    /* >= 1: the smallest of the request's bound, the room left and, from the host, the tokens
     * proposed. */
    int32_t k_max;
};

/* What a sequence carries from round to round. Zero: a new one. */
struct draft_state {
    bool filling;       /* rows of the draft model are being computed for it */
    int32_t probes;     /* rounds that a probe has still to draft */
    double invested_ns; /* in rows and probes */
    double net_ns;      /* earned by what it drafted beside, less what that cost */
    float host_share;   /* of its tokens lately, those of rounds in which the host drafted */
    float run, run_now; /* tokens between catch-ups: lately, since the last; 0: not known */
};

struct draft_len_seq {
    const struct acceptance *acceptance;
    struct draft_state *state;
    struct draft_option options[DRAFT_TYPES]; /* in the order of the request's list */
    int32_t n_options;                        /* 0: it drafts nothing */
    /* K is at least this as far as an option goes. fixed: it is this, and drafted by the first
     * option. */
    int32_t k_min;
    bool fixed;
    bool alone; /* what other requests gained or lost says nothing to it */
    /* Rows that the draft model lacks before it can draft, and how many of them this round may
     * compute. */
    int32_t lag, fill_max;
    double rest; /* tokens expected to come */
    /* out */
    int32_t option; /* -1: none */
    int32_t k;
    int32_t fill; /* rows to compute; k > 0 of a model counts on them */
    bool probe;
    enum draft_why why; /* where k = 0; without options it stays what it was */
};

/* Chooses for the sequences that decode in the round, oldest first. n <= SPECD_SLOTS_MAX. A
 * sequence with k_min > 0 that lags gets all rows it may have, and k = 0 unless they suffice. */
void draft_len_choose(struct draft_len *d, struct draft_len_seq *seqs, int32_t n);

/* ---- and what came of it --------------------------------------------------------------------- */

/* Of a sequence in a round that ran. */
struct draft_outcome {
    struct draft_state *state; /* NULL: it is gone */
    bool decoded;
    int32_t k, accepted; /* drafted, accepted */
    int32_t fill;        /* rows of the draft model */
    bool model;          /* the draft model drafted */
    bool k_given;        /* K was the request's or the server's, not this policy's choice */
    bool probe;
};

struct draft_times {
    double verify_ns, step_ns, fill_ns, sample_ns; /* of the round */
};

void draft_len_learn(struct draft_len *d, const struct draft_outcome *seqs, int32_t n,
                     const struct draft_times *t);

#endif
