#include "draft_budget.h"

#include <math.h>

#define SURPLUS_SHARE 0.1 /* of what drafts earn, for further investments */

void draft_budget_round(struct draft_budget *b, const struct draft_balance *r)
{
    double most_drafts = DRAFT_BUDGET_ROUNDS_DRAFTS * r->plain_ns;
    double most_investments = DRAFT_BUDGET_ROUNDS_INVESTMENTS * r->plain_ns;
    double net = r->earned_ns - r->drafts_ns, spent = r->drafts_ns + r->investments_ns;
    if (!b->begun) {
        b->drafts_ns = most_drafts;
        b->investments_ns = most_investments;
    }
    b->begun = true;
    b->busy_ns += r->busy_ns;
    b->spent_ns += spent;
    b->earned_ns += r->earned_ns;
    double surplus = fmax(b->earned_ns - b->spent_ns, 0);
    b->drafts_ns =
        fmin(b->drafts_ns + DRAFT_BUDGET_DRAFTS * r->busy_ns + net - r->repaid_ns, most_drafts);
    b->investments_ns =
        fmin(b->investments_ns + DRAFT_BUDGET_INVESTMENTS * r->busy_ns - r->investments_ns +
                 r->repaid_ns + SURPLUS_SHARE * fmax(net - r->repaid_ns, 0),
             most_investments + SURPLUS_SHARE * surplus);

    b->window_ns += spent - r->earned_ns;
    if (++b->window_rounds < DRAFT_WINDOW)
        return;
    b->regret_ns += fmax(b->window_ns, 0);
    b->window_ns = 0;
    b->window_rounds = 0;
}

bool draft_budget_allows_drafts(const struct draft_budget *b)
{
    return !b->begun || b->drafts_ns > 0;
}

bool draft_budget_allows_investments(const struct draft_budget *b)
{
    return !b->begun || b->investments_ns > 0;
}
