/*
 * draft_budget.h - what drafting may lose.
 *
 * A round that drafts, or that brings the draft model's KV up, takes longer than one without, and
 * the tokens it brings save rounds to come: it spends and it earns, both in nanoseconds. Two
 * credits grow by a share of the time the server is busy.
 *
 * Drafts: takes in what drafts earn and pays for what they spend. Below zero nothing is drafted
 * that would not have to be, whatever the estimates promise.
 *
 * Investments: pays for rows of the draft model and for trials, and takes in what the sequences
 * they were made for earn afterwards, until they are repaid (the other credit does not get that,
 * too), and a tenth beyond. Below zero none are made; who has the rows drafts on.
 *
 * Neither grows beyond a few rounds' worth, that of investments by a tenth of what drafting has
 * earned, net, since the start: so over any stretch of time drafting loses no more than those
 * shares of it and a constant, whatever estimates or clocks say.
 *
 * Pure data. Engine thread. Nothing fails.
 */
#ifndef SPECD_DRAFT_BUDGET_H
#define SPECD_DRAFT_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#define DRAFT_BUDGET_DRAFTS 0.005 /* shares of the busy time */
#define DRAFT_BUDGET_INVESTMENTS 0.0125
/* Plain rounds' worth of credit, at most and at the start. */
#define DRAFT_BUDGET_ROUNDS_DRAFTS 10
#define DRAFT_BUDGET_ROUNDS_INVESTMENTS 30
#define DRAFT_WINDOW 128 /* rounds over which losses are told from noise */

struct draft_budget {
    double drafts_ns, investments_ns;    /* credits */
    double busy_ns, spent_ns, earned_ns; /* since the start */
    /* What windows of DRAFT_WINDOW rounds lost, summed over those that lost. */
    double regret_ns;
    double window_ns; /* spent less earned in the window so far */
    int32_t window_rounds;
    bool begun;
};

/* What a round took and gave. Tokens that have to be drafted (a fixed K) are left out of it. */
struct draft_balance {
    double busy_ns, plain_ns;         /* the round; one without drafts, estimated */
    double drafts_ns, investments_ns; /* spent */
    double earned_ns;                 /* by accepted tokens */
    double repaid_ns;                 /* of what that is net, what repays investments; may be < 0 */
};

void draft_budget_round(struct draft_budget *b, const struct draft_balance *round);
bool draft_budget_allows_drafts(const struct draft_budget *b);
bool draft_budget_allows_investments(const struct draft_budget *b);

#endif
