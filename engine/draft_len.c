#include "draft_choice.h"

#include "specd/util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SHARE_RATE 0.03f
#define LEAP_MAX 2 /* a time further off what was expected is not believed at once */

/* ---- what drafting costs and gains ----------------------------------------------------------- */

/* A round in the making. */
struct tally {
    double tokens;                  /* expected */
    double ns;                      /* the verify pass excepted */
    int32_t rows;                   /* of the verify pass */
    int32_t steps[SPECD_K_MAX + 1]; /* slots that draft at step k with the model */
};

/* What k drafted tokens of one sequence add to a round in which all that may draft do alike. */
static double added_ns(const struct choice *c, bool model, int32_t k)
{
    int32_t slots = MAX(c->n_drafting, 1), sharing = MAX(c->n_model, 1);
    double verify = (c->verify_ns[c->n + slots * k] - c->verify_ns[c->n]) / slots;
    double steps = model ? k * c->step_ns[sharing] / sharing : 0;
    return verify + steps + k * laws_ns(c, model);
}

struct prospect prospect_of(const struct choice *c, const struct draft_len_seq *s,
                            const struct draft_option *o)
{
    double beta[SPECD_K_MAX], survival = 1, tokens = 1;
    struct prospect best = {-INFINITY, c->token_ns, 0};
    acceptance_estimate(s->acceptance, o->drafter, o->match, beta, o->k_max);
    for (int32_t k = 1; k <= o->k_max; k++) {
        survival *= beta[k - 1];
        tokens += survival;
        double added = added_ns(c, is_model(o), k), gain = (tokens - 1) * c->token_ns - added;
        if (gain > best.gain_ns) {
            best.gain_ns = gain;
            best.k = k;
        }
        best.token_ns = fmin(best.token_ns, (c->token_ns + added) / tokens);
    }
    return best;
}

/* ---- which drafter --------------------------------------------------------------------------- */

/* The one that gains most; the list breaks ties. With a fixed K nothing measured may choose. */
static void choose_option(const struct choice *c, struct draft_len_seq *s)
{
    double best = -INFINITY;
    s->option = -1;
    for (int32_t i = 0; i < (s->fixed ? MIN(s->n_options, 1) : s->n_options); i++) {
        const struct draft_option *o = &s->options[i];
        if (!is_ready(s, o))
            continue;
        double gain = s->n_options == 1 ? 0 : prospect_of(c, s, o).gain_ns;
        if (gain > best) {
            best = gain;
            s->option = i;
        }
    }
}

static int32_t k_max_of(const struct draft_len_seq *s)
{
    return s->option < 0 ? 0 : s->options[s->option].k_max;
}

/* ---- how many tokens ------------------------------------------------------------------------- */

static void tally_add(const struct choice *c, struct tally *t, const struct candidate *x)
{
    t->tokens += x->survival;
    t->ns += laws_ns(c, x->model);
    t->rows++;
    if (x->model) {
        int32_t slots = t->steps[x->k]++;
        t->ns += c->step_ns[slots + 1] - c->step_ns[slots];
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

/* Of a sequence to which others must say nothing: what they draft is what they showed. */
static int32_t k_alone(const struct choice *c, const struct draft_len_seq *s)
{
    if (s->option < 0)
        return 0;
    struct prospect p = prospect_of(c, s, &s->options[s->option]);
    return p.token_ns * DRAFT_GAIN_MIN < c->token_ns ? p.k : 0;
}

/* Counts what must be drafted into t and lists the positions beyond it. */
static int32_t list_candidates(struct choice *c, struct tally *t)
{
    bool allowed = draft_budget_allows_drafts(&c->d->budget);
    int32_t listed = 0;
    for (int32_t i = 0; i < c->n; i++) {
        struct draft_len_seq *s = &c->seqs[i];
        int32_t k_max = k_max_of(s), k_min = MIN(s->k_min, k_max);
        if (s->alone && !s->fixed)
            k_max = k_min = MAX(k_min, k_alone(c, s));
        t->tokens += 1;
        t->rows += 1;
        s->k = k_min;
        if (s->fixed || !allowed)
            k_max = k_min;
        if (k_max == 0)
            continue;
        const struct draft_option *o = &s->options[s->option];
        double beta[SPECD_K_MAX], survival = 1;
        acceptance_estimate(s->acceptance, o->drafter, o->match, beta, k_max);
        for (int32_t k = 1; k <= k_max; k++) {
            survival *= beta[k - 1];
            struct candidate x = {survival, (int16_t)i, (int8_t)k, is_model(o)};
            if (k <= k_min)
                tally_add(c, t, &x);
            else
                c->candidates[listed++] = x;
        }
    }
    qsort(c->candidates, (size_t)listed, sizeof c->candidates[0], compare);
    return listed;
}

static bool is_within(const struct candidate *x, int32_t depth)
{
    return !x->model || x->k <= depth;
}

/* What a round costs in which nobody drafts is known only from such: now and then there is one, and
 * more often in the beginning, when it may be known only from a busy machine's start. */
static bool is_measured(uint64_t round)
{
    bool power_of_two = (round & (round - 1)) == 0;
    return round >= 8 && (round % DRAFT_PLAIN_EVERY == 0 || power_of_two);
}

/*
 * Opening a draft step costs the same for one slot as for all, so admitting positions one at a time
 * while each pays for itself would stop before the step that pays for all together. Instead: for
 * each number of draft steps, admit the positions it allows from the likeliest down, and keep the
 * best point met on any of these ways.
 */
static void choose_lengths(struct choice *c)
{
    struct tally least = {.ns = c->d->cost.host_ns + c->n * c->d->cost.sample_ns};
    int32_t listed = list_candidates(c, &least), deep = 0;
    for (int32_t j = 0; j < listed; j++)
        deep = MAX(deep, c->candidates[j].model ? c->candidates[j].k : 0);

    double least_ns = least.ns + c->verify_ns[least.rows];
    double best_tokens = least.tokens, best_ns = least_ns;
    int32_t best_depth = 0, best_admitted = 0;
    for (int32_t depth = 0; depth <= deep; depth++) {
        struct tally t = least;
        for (int32_t j = 0; j < listed; j++) {
            if (!is_within(&c->candidates[j], depth))
                continue;
            tally_add(c, &t, &c->candidates[j]);
            double ns = t.ns + c->verify_ns[t.rows];
            if (t.tokens * best_ns > best_tokens * ns) {
                best_tokens = t.tokens;
                best_ns = ns;
                best_depth = depth;
                best_admitted = j + 1;
            }
        }
    }
    if (best_tokens * least_ns < DRAFT_GAIN_MIN * least.tokens * best_ns)
        best_admitted = 0;
    c->measured = best_admitted > 0 && is_measured(c->d->rounds);
    for (int32_t j = 0; j < best_admitted; j++) {
        struct draft_len_seq *s = &c->seqs[c->candidates[j].seq];
        if (is_within(&c->candidates[j], best_depth) && !c->measured)
            s->k = c->candidates[j].k;
        else if (c->measured)
            s->why = DRAFT_WHY_MEASURED;
    }
}

/* ---- all together ---------------------------------------------------------------------------- */

static void say_why(const struct choice *c, struct draft_len_seq *s)
{
    int32_t o = model_option(s);
    if (s->k > 0 || s->n_options == 0 || s->why != DRAFT_WHY_NONE)
        return;
    if (s->option < 0 && o >= 0)
        s->why = s->fill_max == 0 ? DRAFT_WHY_SHARED : DRAFT_WHY_UNFILLED;
    else if (!s->alone && !draft_budget_allows_drafts(&c->d->budget))
        s->why = DRAFT_WHY_BUDGET;
    else
        s->why = DRAFT_WHY_NOT_PAYING;
}

static void begin(struct choice *c)
{
    const struct pass_cost *cost = &c->d->cost;
    int32_t rows = c->n;
    c->n_drafting = c->n_model = 0;
    for (int32_t i = 0; i < c->n; i++) {
        struct draft_len_seq *s = &c->seqs[i];
        int32_t k_max = 0;
        for (int32_t o = 0; o < s->n_options; o++) {
            ASSERT(s->options[o].k_max >= 1 && s->options[o].k_max <= SPECD_K_MAX);
            k_max = MAX(k_max, s->options[o].k_max);
        }
        c->n_drafting += k_max > 0;
        c->n_model += model_option(s) >= 0;
        rows += k_max;
        s->option = -1;
        s->k = s->fill = 0;
        s->probe = false;
        if (s->n_options > 0)
            s->why = DRAFT_WHY_NONE;
    }
    rows = MAX(rows, c->n + c->n_drafting * SPECD_K_MAX);
    for (int32_t i = 0; i <= rows; i++)
        c->verify_ns[i] = pass_cost_at(cost, PASS_VERIFY, i);
    for (int32_t i = 0; i <= c->n; i++)
        c->step_ns[i] = pass_cost_at(cost, PASS_STEP, i);
    c->plain_ns = c->verify_ns[c->n] + cost->host_ns + c->n * cost->sample_ns;
    c->token_ns = c->plain_ns / MAX(c->n, 1);
}

void draft_len_choose(struct draft_len *d, struct draft_len_seq *seqs, int32_t n)
{
    ASSERT(n >= 0 && n <= SPECD_SLOTS_MAX && d->cost.curves[PASS_VERIFY].n > 0);
    struct choice c;
    c.d = d;
    c.seqs = seqs;
    c.n = n;
    begin(&c);
    choose_rows(&c);
    for (int32_t i = 0; i < n; i++)
        choose_option(&c, &seqs[i]);
    choose_lengths(&c);
    choose_probes(&c);
    for (int32_t i = 0; i < n; i++)
        say_why(&c, &seqs[i]);
    d->rounds++;
}

/* ---- what came of it ------------------------------------------------------------------------- */

/* What the sequences did in a round, summed. */
struct totals {
    int32_t decoded, drafted, drawn, fill; /* drawn: drafted by the model */
    int32_t steps[SPECD_K_MAX];            /* slots that drew at step k + 1 */
    int32_t n_steps;
};

static struct totals sum_up(const struct draft_outcome *seqs, int32_t n)
{
    struct totals t = {0};
    for (int32_t i = 0; i < n; i++) {
        t.decoded += seqs[i].decoded;
        t.drafted += seqs[i].k;
        t.fill += seqs[i].fill;
        if (!seqs[i].model)
            continue;
        t.drawn += seqs[i].k;
        t.n_steps = MAX(t.n_steps, seqs[i].k);
        for (int32_t k = 0; k < seqs[i].k; k++)
            t.steps[k]++;
    }
    return t;
}

static double sum_steps(const struct pass_cost *cost, const struct totals *t)
{
    double ns = 0;
    for (int32_t k = 0; k < t->n_steps; k++)
        ns += pass_cost_at(cost, PASS_STEP, t->steps[k]);
    return ns;
}

/* A time as far as it can be believed: clocks jump, and a round may have been held up by what has
 * nothing to do with it. */
static double plausible(double ns, double expected)
{
    return fmin(fmax(ns, expected / LEAP_MAX), LEAP_MAX * expected);
}

static double share(double ns, int32_t part, int32_t whole)
{
    return whole > 0 ? ns * part / whole : 0;
}

/* Of what was invested in a sequence, what it has earned since. */
static double repaid_by(const struct draft_state *s)
{
    return fmin(fmax(s->net_ns, 0), s->invested_ns);
}

/* Books a sequence's part of the round. */
static void book(const struct draft_outcome *s, double drafts_ns, double fill_ns, double earned_ns,
                 struct draft_balance *b)
{
    double invested = fill_ns + (s->probe ? drafts_ns : 0);
    drafts_ns -= s->probe ? drafts_ns : 0;
    if (s->state) {
        double before = repaid_by(s->state);
        s->state->invested_ns += invested;
        s->state->net_ns += earned_ns - drafts_ns;
        b->repaid_ns += repaid_by(s->state) - before;
    }
    b->drafts_ns += drafts_ns;
    b->investments_ns += invested;
    b->earned_ns += earned_ns;
}

static void note_tokens(struct draft_state *state, const struct draft_outcome *s)
{
    float tokens = 1 + (float)s->accepted, weight = MIN(SHARE_RATE * tokens, 1.0f);
    state->host_share += weight * ((s->k > 0 && !s->model) - state->host_share);
    if (s->model || state->run_now > 0)
        state->run_now += tokens;
}

void draft_len_learn(struct draft_len *d, const struct draft_outcome *seqs, int32_t n,
                     const struct draft_times *t)
{
    struct pass_cost *cost = &d->cost;
    struct totals sum = sum_up(seqs, n);
    int32_t rows = sum.decoded + sum.drafted;
    pass_cost_learn(cost, PASS_VERIFY, rows, t->verify_ns);
    pass_cost_learn(cost, PASS_FILL, sum.fill, t->fill_ns);
    pass_cost_learn_steps(cost, sum.steps, sum.n_steps, t->step_ns);
    pass_cost_learn_sample(cost, rows + sum.drawn, t->sample_ns);
    if (sum.decoded + sum.fill == 0)
        return;

    double verify_ns = plausible(t->verify_ns, pass_cost_at(cost, PASS_VERIFY, rows));
    double fill_ns = plausible(t->fill_ns, pass_cost_at(cost, PASS_FILL, sum.fill));
    double step_ns = plausible(t->step_ns, sum_steps(cost, &sum));
    double plain_ns = pass_cost_at(cost, PASS_VERIFY, sum.decoded);
    double beside_ns = cost->host_ns + cost->sample_ns * sum.decoded;
    double token_ns = sum.decoded > 0 ? (plain_ns + beside_ns) / sum.decoded : 0;
    struct draft_balance b = {
        .busy_ns = verify_ns + step_ns + fill_ns + beside_ns,
        .plain_ns = plain_ns + beside_ns,
    };
    for (int32_t i = 0; i < n; i++) {
        const struct draft_outcome *s = &seqs[i];
        int32_t drawn = s->model ? s->k : 0;
        double drafts_ns = share(verify_ns - plain_ns, s->k, sum.drafted) +
                           share(step_ns, drawn, sum.drawn) + cost->sample_ns * (s->k + drawn);
        if (!s->k_given)
            book(s, drafts_ns, share(fill_ns, s->fill, sum.fill), s->accepted * token_ns, &b);
        if (s->decoded && s->state)
            note_tokens(s->state, s);
    }
    if (sum.decoded > 0)
        draft_budget_round(&d->budget, &b);
}
