#include "draft_choice.h"

#include "specd/util.h"

#include <math.h>
#include <stdlib.h>

/* Of a plain round's time: what rows for later may add to a round. Others should not notice much,
 * and who is alone waits for its own rows: the fewer pieces, the less each row costs. */
#define FILL_SHARE 1.0
#define FILL_SHARE_ALONE 2.0
#define FILL_ROWS_MIN 16
#define FILL_GAIN_MIN 1.3    /* rows must promise this much more than they cost */
#define FILL_GAIN_SCARCE 1.5 /* and so much more where no more may be lost */
#define COHORT_PASSES 2
#define SEEN_MIN 8        /* first positions: before others showed so many, a drafter is on trial */
#define TRIAL_ROUNDS 2.0  /* plain rounds' worth of rows for a trial, unless one needs more */
#define TRIAL_TOKENS 24   /* drafted in it, unless it looks bad */
#define TRIAL_LOSS 0.15   /* of a token's time in a round: beyond that it looks bad */
#define TRIAL_STEPS 2     /* that are counted in its price */
#define TRIAL_CREDIT 0.5  /* of what may be invested: one against the table costs no more */
#define TRIAL_PIECES 6    /* of rows: before so many no price is believed */
#define TRIALS_EARLY 4    /* against the table, at rounds 4, 16, 64, 256 */
#define PROBE_SHARE 0.006 /* of the time, for each drafter */

/* ---- prices ---------------------------------------------------------------------------------- */

/* Rows that a round may compute for later without getting much longer. */
static int32_t piece_rows(const struct choice *c)
{
    double most_ns = (c->n == 1 ? FILL_SHARE_ALONE : FILL_SHARE) * c->plain_ns;
    return MAX(pass_cost_rows(&c->d->cost, PASS_FILL, most_ns, 1 << 16), FILL_ROWS_MIN);
}

static double fill_price(const struct choice *c, int32_t rows)
{
    int32_t piece = piece_rows(c), whole = rows / piece, rest = rows % piece;
    return whole * pass_cost_at(&c->d->cost, PASS_FILL, piece) +
           pass_cost_at(&c->d->cost, PASS_FILL, rest);
}

/* Whether a trial of that price is too dear. A table may be wrong, and would never be put right if
 * nothing were tried because of it. */
static bool is_dear(const struct choice *c, double price)
{
    return c->d->cost.curves[PASS_FILL].n_learned >= TRIAL_PIECES &&
           price > TRIAL_CREDIT * c->d->budget.investments_ns;
}

/* Tokens for which rows are of use once they are there: until the answer ends, in rounds in which
 * the host has no drafts, or until rows lack again. */
static double horizon_of(const struct choice *c, const struct draft_len_seq *s)
{
    const struct draft_state *state = s->state;
    double wait = (double)s->lag / MAX(MIN(piece_rows(c), s->fill_max), 1); /* rounds */
    double horizon = fmax(s->rest - wait, 0) * (1 - state->host_share);
    return state->run > 0 && state->host_share > 0 ? fmin(horizon, state->run) : horizon;
}

/* Of a sequence that goes by itself. */
static enum draft_why why_not_alone(const struct choice *c, const struct draft_len_seq *s,
                                    const struct draft_option *o)
{
    double saved = c->token_ns - prospect_of(c, s, o).token_ns;
    double price = fill_price(c, s->lag) * (s->state->filling ? 1 : FILL_GAIN_MIN);
    if (saved <= 0)
        return DRAFT_WHY_NOT_PAYING;
    return horizon_of(c, s) * saved < price ? DRAFT_WHY_REST : DRAFT_WHY_NONE;
}

/* ---- cohorts --------------------------------------------------------------------------------- */

/*
 * Draft steps cost about the same for one sequence as for all, and so does a pass over few rows
 * that are lacking. So whether a sequence's rows pay depends on who else drafts. Each brings, in a
 * round of so many steps, what its tokens save, less what it adds to passes, less its rows' price
 * by the rounds that they last. Who brings something is in, and together they must bring more than
 * the steps cost.
 */
struct member {
    struct draft_len_seq *s;
    double survival[SPECD_K_MAX + 1]; /* summed up to k: tokens that k drafts bring */
    double rows_ns;                   /* price of the rows it lacks */
    double horizon;                   /* tokens for which they are of use */
    bool affordable;                  /* the budget has room for the rows it lacks */
};

struct cohort {
    struct member members[SPECD_SLOTS_MAX];
    int32_t n;
    int32_t steps;   /* 0: they do not pay */
    double token_ns; /* what a token is worth */
    double added_ns; /* by each drafted token of each, beside the steps */
};

static double brings(const struct cohort *t, const struct member *m, int32_t steps)
{
    double tokens = m->survival[steps], rounds = fmax(m->horizon, 1) / (1 + tokens);
    return tokens * t->token_ns - steps * t->added_ns - m->rows_ns / rounds;
}

/* For how many steps those that can be afforded bring most; returns how long a token takes then.
 * Members add step_ns a step each, and a step's remaining cost is all members' together. */
static double find_steps(const struct choice *c, struct cohort *t)
{
    double best = (DRAFT_GAIN_MIN - 1) * c->plain_ns, token_ns = c->token_ns;
    int32_t n = 0, best_steps = 0;
    double best_added = 0;
    for (int32_t i = 0; i < t->n; i++)
        n += t->members[i].affordable;
    double step_ns = n > 1 ? (c->step_ns[n] - c->step_ns[1]) / (n - 1) : 0;
    for (int32_t steps = 1; n > 0 && steps <= SPECD_K_MAX; steps++) {
        double rows_ns = c->verify_ns[c->n + n * steps] - c->verify_ns[c->n];
        double sum = -steps * (c->step_ns[n] - n * step_ns), tokens = 0;
        t->added_ns = rows_ns / (n * steps) + step_ns + laws_ns(c, true);
        for (int32_t i = 0; i < t->n; i++) {
            const struct member *m = &t->members[i];
            double net = m->affordable ? brings(t, m, steps) : 0;
            if (net > 0) {
                sum += net;
                tokens += m->survival[steps];
            }
        }
        if (sum > best) {
            best = sum;
            best_steps = steps;
            best_added = t->added_ns;
            token_ns = (c->plain_ns + tokens * t->token_ns - sum) / (c->n + tokens);
        }
    }
    t->steps = best_steps;
    t->added_ns = best_added;
    return token_ns;
}

static void plan_cohort(const struct choice *c, struct cohort *t)
{
    t->token_ns = c->token_ns;
    for (int pass = 0; pass < COHORT_PASSES; pass++) {
        double token_ns = find_steps(c, t);
        if (t->steps == 0)
            return;
        if (pass + 1 < COHORT_PASSES)
            t->token_ns = fmin(t->token_ns, token_ns);
    }
}

/* Whoever fills already first, then who gets most for its price. */
static int compare(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    if (x->s->state->filling != y->s->state->filling)
        return x->s->state->filling ? -1 : 1;
    double left = x->rows_ns * y->horizon, right = y->rows_ns * x->horizon;
    if (left != right)
        return left < right ? -1 : 1;
    return x->s < y->s ? -1 : 1;
}

/* Rows for a round in which the host's drafts promise more would lack again after it. */
static bool host_is_better(const struct choice *c, const struct draft_len_seq *s,
                           const struct draft_option *model)
{
    if (s->n_options == 1)
        return false;
    double gain_ns = prospect_of(c, s, model).gain_ns;
    for (int32_t i = 0; i < s->n_options; i++) {
        if (!is_model(&s->options[i]) && prospect_of(c, s, &s->options[i]).gain_ns >= gain_ns)
            return true;
    }
    return false;
}

static void add_member(struct cohort *t, struct draft_len_seq *s, const struct draft_option *o,
                       double horizon)
{
    struct member *m = &t->members[t->n++];
    double beta[SPECD_K_MAX], survival = 1;
    *m = (struct member){.s = s, .horizon = horizon};
    acceptance_estimate(s->acceptance, o->drafter, o->match, beta, o->k_max);
    for (int32_t k = 1; k <= SPECD_K_MAX; k++) {
        survival *= k <= o->k_max ? beta[k - 1] : 0;
        m->survival[k] = m->survival[k - 1] + survival;
    }
}

/* ---- trials ---------------------------------------------------------------------------------- */

struct trier {
    struct draft_len_seq *s;
    int32_t option;
    double price; /* beside the steps, which all share */
};

static int cheaper(const void *a, const void *b)
{
    const struct trier *x = a, *y = b;
    if (x->price != y->price)
        return x->price < y->price ? -1 : 1;
    return x->s < y->s ? -1 : 1;
}

/* Who might try the drafter, the cheapest first; 0 if somebody has it draft already. */
static int32_t list_triers(const struct choice *c, enum drafter_type type, struct trier *triers)
{
    int32_t n = 0;
    for (int32_t i = 0; i < c->n; i++) {
        struct draft_len_seq *s = &c->seqs[(c->d->rounds + (uint64_t)i) % (uint64_t)c->n];
        for (int32_t o = 0; o < s->n_options; o++) {
            if (s->options[o].drafter->type != type)
                continue;
            if ((s->k > 0 && s->option == o) || s->state->filling)
                return 0;
            bool model = is_model(&s->options[o]);
            if (s->alone || k_is_given(s) || (s->k > 0 && model) ||
                (s->lag > 0 && model && s->fill_max == 0))
                continue;
            double price = TRIAL_STEPS * laws_ns(c, model) + c->verify_ns[c->n + TRIAL_STEPS] -
                           c->verify_ns[c->n];
            if (model && s->lag > 0)
                price += fill_price(c, s->lag);
            if (s->k > 0) /* instead of the other drafter's */
                price += fmax(prospect_of(c, s, &s->options[s->option]).gain_ns, 0);
            triers[n++] = (struct trier){s, o, price};
            break;
        }
    }
    qsort(triers, (size_t)n, sizeof triers[0], cheaper);
    return n;
}

/* Who has the rows drafts at once, others get theirs first, and draft for about what these cost. A
 * host's drafts are tried by one, in this round. All together cost no more than most_ns, or one of
 * them most_one_ns. */
static bool start_trial(struct choice *c, enum drafter_type type, double most_ns,
                        double most_one_ns)
{
    struct trier triers[SPECD_SLOTS_MAX];
    int32_t n = list_triers(c, type, triers), tried = 0;
    bool model = n > 0 && is_model(&triers[0].s->options[triers[0].option]);
    double price = 0, step_ns = model ? c->step_ns[1] : 0;
    while (tried < (model ? n : MIN(n, 1))) {
        double sum = price + triers[tried].price;
        if (TRIAL_STEPS * step_ns + sum > (tried == 0 ? fmax(most_ns, most_one_ns) : most_ns))
            break;
        price = sum;
        tried++;
    }
    for (int32_t i = 0; i < tried; i++) {
        struct draft_len_seq *s = triers[i].s;
        if (model) {
            double rounds = fmin(price / step_ns, (double)TRIAL_TOKENS / tried);
            s->state->probes = MAX((int32_t)rounds, 1);
        } else {
            s->option = triers[i].option;
            s->k = MIN(TRIAL_STEPS, s->options[s->option].k_max);
            s->probe = true;
        }
    }
    return tried > 0;
}

/* ---- who gets rows --------------------------------------------------------------------------- */

static void note_lag(struct draft_len_seq *s)
{
    struct draft_state *state = s->state;
    if (s->lag > 0 && state->run_now > 0) {
        state->run = state->run > 0 ? (state->run + state->run_now) / 2 : state->run_now;
        state->run_now = 0;
    }
    if (s->lag == 0)
        state->filling = false;
}

/* Which members' rows can be afforded: those that fill already, and others as far as the credit
 * goes. */
static void find_affordable(const struct choice *c, struct cohort *t)
{
    double credit = c->d->budget.investments_ns;
    qsort(t->members, (size_t)t->n, sizeof t->members[0], compare);
    for (int32_t i = 0; i < t->n; i++) {
        struct member *m = &t->members[i];
        m->affordable = m->rows_ns <= 0 || m->s->state->filling || credit > 0;
        if (m->affordable)
            credit -= m->rows_ns;
    }
}

static enum draft_why why_not(const struct choice *c, const struct cohort *t,
                              const struct member *m)
{
    if (!draft_budget_allows_drafts(&c->d->budget) || !m->affordable)
        return DRAFT_WHY_BUDGET;
    if (t->steps == 0)
        return prospect_of(c, m->s, &m->s->options[model_option(m->s)]).gain_ns > 0
                   ? DRAFT_WHY_REST
                   : DRAFT_WHY_NOT_PAYING;
    if (m->survival[t->steps] * t->token_ns <= t->steps * t->added_ns)
        return DRAFT_WHY_NOT_PAYING;
    return brings(t, m, t->steps) <= 0 ? DRAFT_WHY_REST : DRAFT_WHY_NONE;
}

/* How much more than they cost rows must promise. Answers end when they end, so that some rows are
 * lost: the less may still be lost, the surer is what is taken. */
static double margin_of(const struct choice *c)
{
    double full = DRAFT_BUDGET_ROUNDS_INVESTMENTS * c->plain_ns;
    double left = c->d->budget.begun ? c->d->budget.investments_ns / full : 1;
    return FILL_GAIN_MIN + FILL_GAIN_SCARCE * (1 - fmin(fmax(left, 0), 1));
}

static bool is_unknown(const struct choice *c, enum drafter_type type)
{
    return c->d->acceptance.all.weight[type][0] < SEEN_MIN;
}

/* Decides for all that go with the others. Before the drafter has shown what it is worth, a trial
 * does. */
static void decide(struct choice *c, struct cohort *t)
{
    int32_t lacking = 0;
    for (int32_t i = 0; i < t->n; i++)
        lacking += t->members[i].s->lag;
    if (lacking == 0)
        return;
    double row_ns = fill_price(c, lacking) / lacking, margin = margin_of(c);
    bool tried = false;
    enum drafter_type type = DRAFT_NONE;
    for (int32_t i = 0; i < t->n; i++) {
        struct draft_len_seq *s = t->members[i].s;
        t->members[i].rows_ns = row_ns * s->lag * (s->state->filling ? 1 : margin);
        t->members[i].affordable = true;
        tried = tried || s->state->probes > 0;
        type = s->options[model_option(s)].drafter->type;
    }
    bool unknown = is_unknown(c, type);
    if (!unknown)
        find_affordable(c, t);
    plan_cohort(c, t);
    if (unknown && !tried && t->steps > 0)
        start_trial(c, type, TRIAL_ROUNDS * c->plain_ns,
                    c->d->budget.begun ? c->d->budget.investments_ns : INFINITY);
    for (int32_t i = 0; i < t->n; i++) {
        struct draft_len_seq *s = t->members[i].s;
        if (s->lag == 0)
            continue;
        s->why = s->state->probes > 0 ? DRAFT_WHY_NONE : why_not(c, t, &t->members[i]);
        s->state->filling = s->why == DRAFT_WHY_NONE && (!unknown || s->state->probes > 0);
    }
}

void choose_rows(struct choice *c)
{
    struct cohort t;
    int32_t left = piece_rows(c);
    t.n = 0;
    for (int32_t i = 0; i < c->n; i++) {
        struct draft_len_seq *s = &c->seqs[i];
        int32_t o = model_option(s);
        s->fill = 0;
        if (o < 0 || (s->fixed && o > 0))
            continue;
        note_lag(s);
        if (k_is_given(s)) {
            s->state->filling = s->lag > 0;
        } else if (host_is_better(c, s, &s->options[o])) {
            s->state->filling = false;
        } else if (s->alone && s->lag > 0) {
            s->why = why_not_alone(c, s, &s->options[o]);
            s->state->filling = s->why == DRAFT_WHY_NONE;
        } else if (!s->alone && (s->lag == 0 || s->fill_max > 0)) {
            if (is_dear(c, fill_price(c, s->lag)))
                s->state->probes = 0;
            add_member(&t, s, &s->options[o], horizon_of(c, s));
        }
    }
    decide(c, &t);
    for (int32_t i = 0; i < c->n; i++) {
        struct draft_len_seq *s = &c->seqs[i];
        if (s->lag == 0 || !s->state->filling || model_option(s) < 0)
            continue;
        s->fill = MIN(s->lag, s->fill_max);
        if (k_is_given(s))
            continue;
        s->fill = MIN(s->fill, left);
        left -= s->fill;
    }
}

/* Those whose rows a trial has paid for. */
static void go_on_trying(struct choice *c)
{
    for (int32_t i = 0; i < c->n; i++) {
        struct draft_len_seq *s = &c->seqs[i];
        int32_t o = model_option(s);
        if (s->state->probes == 0 || o < 0 || !is_ready(s, &s->options[o]))
            continue;
        s->state->probes--;
        if (prospect_of(c, s, &s->options[o]).gain_ns < -TRIAL_LOSS * c->token_ns)
            s->state->probes = 0;
        s->probe = true;
        if (s->k == 0) {
            s->option = o;
            s->k = MIN(TRIAL_STEPS, s->options[o].k_max);
        }
    }
}

/* By the clock. Where nothing was ever drafted, because the table from start-up says so, a few come
 * early. */
static void probe(struct choice *c, enum drafter_type type)
{
    struct draft_trials *t = &c->d->trials[type];
    double now = c->d->budget.busy_ns, share_ns = PROBE_SHARE * (now - t->at_ns);
    bool early = t->n < TRIALS_EARLY && c->d->acceptance.all.weight[type][0] == 0 &&
                 c->d->rounds >= UINT64_C(4) << 2 * t->n;
    if (!start_trial(c, type, early ? TRIAL_ROUNDS * c->plain_ns : share_ns, early ? INFINITY : 0))
        return;
    t->at_ns = now;
    t->n++;
}

void choose_probes(struct choice *c)
{
    if (c->measured)
        return;
    if (draft_budget_allows_investments(&c->d->budget)) {
        for (int type = DRAFT_NONE + 1; type < DRAFT_TYPES; type++)
            probe(c, (enum drafter_type)type);
    }
    go_on_trying(c);
}
