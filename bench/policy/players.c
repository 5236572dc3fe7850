#include "players.h"

#include "specd/util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- fixed ----------------------------------------------------------------------------------- */

static void fixed_choose(struct player *p, struct play *g)
{
    const struct fixed_player *f = (const struct fixed_player *)p;
    for (int32_t i = 0; i < g->n_slots; i++) {
        struct slot *s = &g->slots[i];
        for (int32_t o = 0; s->busy && f->k > 0 && o < s->n_options && s->option < 0; o++) {
            bool model = option_is_model(&s->options[o]);
            if (model ? !f->model : !f->lookup)
                continue;
            s->option = o;
            if (model)
                s->fill = MIN(slot_lag(s), FILL_MAX);
            if (!model || s->fill == slot_lag(s))
                s->k = MIN(f->k, s->options[o].k_max);
        }
    }
}

void fixed_init(struct fixed_player *f, int32_t k, bool model, bool lookup)
{
    *f = (struct fixed_player){
        .player.choose = fixed_choose, .k = k, .model = model, .lookup = lookup};
}

#define MAX_TOKENS 1024 /* that a request allows; its answer ends before */

/* ---- the policy ------------------------------------------------------------------------------ */

static void policy_enter(struct player *p, struct play *g, struct slot *s)
{
    struct policy_player *q = (struct policy_player *)p;
    acceptance_init(&s->acceptance, &q->policy.acceptance, g->scenario->text.drawn);
    s->acceptance.kind = TEXT_PROSE;
}

static void policy_choose(struct player *p, struct play *g)
{
    struct policy_player *q = (struct policy_player *)p;
    struct draft_len_seq seqs[SPECD_SLOTS_MAX];
    struct slot *of[SPECD_SLOTS_MAX];
    int32_t n = 0;
    for (int32_t i = 0; i < g->n_slots; i++) {
        struct slot *s = &g->slots[i];
        if (!s->busy)
            continue;
        seqs[n] = (struct draft_len_seq){
            .acceptance = &s->acceptance,
            .state = &s->state,
            .n_options = s->n_options,
            .lag = g->scenario->model ? slot_lag(s) : 0,
            .fill_max = FILL_MAX,
            .rest = answer_len_rest(&q->policy.lens, s->prompt, s->n, MAX_TOKENS - s->n),
        };
        memcpy(seqs[n].options, s->options, sizeof s->options);
        of[n++] = s;
    }
    draft_len_choose(&q->policy, seqs, n);
    for (int32_t i = 0; i < n; i++) {
        bool drafts = seqs[i].option >= 0 && seqs[i].k > 0;
        of[i]->option = drafts ? seqs[i].option : -1;
        of[i]->k = drafts ? seqs[i].k : 0;
        of[i]->fill = MIN(seqs[i].fill, slot_lag(of[i]));
        of[i]->probe = seqs[i].probe;
    }
}

static void policy_learn(struct player *p, struct play *g, const struct draft_times *t)
{
    struct policy_player *q = (struct policy_player *)p;
    struct draft_outcome seen[SPECD_SLOTS_MAX];
    int32_t n = 0;
    for (int32_t i = 0; i < g->n_slots; i++) {
        struct slot *s = &g->slots[i];
        if (!s->busy)
            continue;
        const struct draft_option *o = s->k > 0 ? &s->options[s->option] : NULL;
        if (!o)
            acceptance_rest(&s->acceptance);
        else if (!q->blind)
            acceptance_observe(&s->acceptance, o->drafter, o->match, s->overlap,
                               MIN(s->accepted + 1, s->k));
        seen[n++] = (struct draft_outcome){
            .state = &s->state,
            .decoded = true,
            .k = s->k,
            .accepted = s->accepted,
            .fill = s->fill,
            .model = o && option_is_model(o),
            .probe = s->probe,
        };
    }
    draft_len_learn(&q->policy, seen, n, t);
    pass_cost_learn_host(&q->policy.cost, g->machine->truth.host_ns * g->speed);
}

static void policy_leave(struct player *p, struct play *g, struct slot *s)
{
    struct policy_player *q = (struct policy_player *)p;
    (void)g;
    answer_len_observe(&q->policy.lens, s->prompt, s->n);
}

/* The table from start-up: the truth, or what the scenario makes of it. */
static void spoil(struct pass_cost *table, const struct scenario *sc)
{
    struct pass_curve verify = table->curves[PASS_VERIFY];
    for (int32_t i = 0; i < verify.n; i++)
        pass_cost_set(table, PASS_VERIFY, verify.rows[i],
                      verify.ns[0] + (verify.ns[i] - verify.ns[0]) * sc->table_rows);
    for (int kind = PASS_STEP; kind <= PASS_FILL; kind++) {
        struct pass_curve c = table->curves[kind];
        for (int32_t i = 0; i < c.n; i++)
            pass_cost_set(table, (enum pass_kind)kind, c.rows[i], c.ns[i] * sc->table_step);
    }
}

void policy_init(struct policy_player *p, const struct scenario *sc, const struct machine *m)
{
    memset(p, 0, sizeof *p);
    p->player = (struct player){policy_enter, policy_choose, policy_learn, policy_leave};
    p->policy.cost = m->truth;
    if (sc->table_step > 0)
        spoil(&p->policy.cost, sc);
}

/* ---- the oracle ------------------------------------------------------------------------------ */

/* Position k of a slot, which might be drafted. */
struct place {
    double survival;
    int32_t slot, k;
    bool model;
};

struct table {
    const struct play *g;
    double token_ns;
    int32_t n, sharing; /* busy slots, and those that may draft with the model */
    double speed;
};

static double true_ns(const struct table *t, enum pass_kind kind, int32_t rows)
{
    return t->speed * pass_cost_at(&t->g->machine->truth, kind, rows);
}

static double laws_ns(const struct table *t, bool model)
{
    return t->speed * t->g->machine->truth.sample_ns * (model ? 2 : 1);
}

/* The most that an option brings in a round in which all draft alike, and tokens with it. */
static double best_gain(const struct table *t, const struct slot *s, int32_t option,
                        double *accepted)
{
    const struct draft_option *o = &s->options[option];
    bool model = option_is_model(o);
    double survival = 1, sum = 0, best = 0;
    *accepted = 0;
    for (int32_t k = 1; k <= o->k_max; k++) {
        sum += survival *= text_chance(&t->g->scenario->text, s->request, s->n, k, !model);
        double rows =
            (true_ns(t, PASS_VERIFY, t->n + t->n * k) - true_ns(t, PASS_VERIFY, t->n)) / t->n;
        double steps = model ? k * true_ns(t, PASS_STEP, t->sharing) / t->sharing : 0;
        double gain = t->token_ns * sum - rows - steps - k * laws_ns(t, model);
        if (gain > best) {
            best = gain;
            *accepted = sum;
        }
    }
    return best;
}

/* Of the drafters that can, or whose rows are worth their price, the one that brings most. */
static void choose_option(const struct table *t, struct slot *s)
{
    double most = 0, accepted;
    int32_t lag = slot_lag(s);
    for (int32_t o = 0; o < s->n_options; o++) {
        double gain = best_gain(t, s, o, &accepted);
        if (option_is_model(&s->options[o]) && lag > 0) {
            double rounds = text_rest(&t->g->scenario->text, s->n) / (1 + accepted);
            if (gain * rounds <= true_ns(t, PASS_FILL, lag))
                continue;
            s->fill = MIN(lag, FILL_MAX);
            if (s->fill < lag)
                continue;
        }
        if (gain > most) {
            most = gain;
            s->option = o;
        }
    }
}

static int likelier(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->survival != y->survival)
        return x->survival > y->survival ? -1 : 1;
    return x->k != y->k ? x->k - y->k : x->slot - y->slot;
}

/* Places up to `depth` draft steps, from the likeliest down, as long as that makes the round worth
 * more; returns the worth and how many places were gone through. */
static double go_down(const struct table *t, const struct place *places, int32_t n, int32_t depth,
                      int32_t *gone)
{
    int32_t rows = t->n, steps[SPECD_K_MAX + 1] = {0};
    double worth = 0, best = 0, ns = 0, plain = true_ns(t, PASS_VERIFY, rows);
    *gone = 0;
    for (int32_t i = 0; i < n; i++) {
        const struct place *x = &places[i];
        if (x->model && x->k > depth)
            continue;
        if (x->model) {
            int32_t slots = steps[x->k]++;
            ns += true_ns(t, PASS_STEP, slots + 1) - true_ns(t, PASS_STEP, slots);
        }
        ns += laws_ns(t, x->model);
        worth += t->token_ns * x->survival;
        double net = worth - ns - (true_ns(t, PASS_VERIFY, ++rows) - plain);
        if (net > best) {
            best = net;
            *gone = i + 1;
        }
    }
    return best;
}

static void oracle_choose(struct player *p, struct play *g)
{
    static struct place places[SPECD_SLOTS_MAX * SPECD_K_MAX]; /* one simulation at a time */
    const struct oracle_player *q = (const struct oracle_player *)p;
    struct table t = {.g = g,
                      .token_ns = g->speed * q->token_ns[g->busy],
                      .n = g->busy,
                      .sharing = g->busy,
                      .speed = g->speed};
    int32_t n = 0, best_depth = 0, best_gone = 0;
    double best = 0;
    for (int32_t i = 0; i < g->n_slots; i++) {
        struct slot *s = &g->slots[i];
        double survival = 1;
        if (s->busy)
            choose_option(&t, s);
        for (int32_t k = 1; s->busy && s->option >= 0 && k <= s->options[s->option].k_max; k++) {
            bool model = option_is_model(&s->options[s->option]);
            survival *= text_chance(&g->scenario->text, s->request, s->n, k, !model);
            places[n++] = (struct place){survival, i, k, model};
        }
    }
    qsort(places, (size_t)n, sizeof places[0], likelier);
    for (int32_t depth = 0; depth <= SPECD_K_MAX; depth++) {
        int32_t gone;
        double worth = go_down(&t, places, n, depth, &gone);
        if (worth > best) {
            best = worth;
            best_depth = depth;
            best_gone = gone;
        }
    }
    for (int32_t i = 0; i < best_gone; i++) {
        if (!places[i].model || places[i].k <= best_depth)
            g->slots[places[i].slot].k = places[i].k;
    }
}

void oracle_init(struct oracle_player *o, const struct machine *m, const struct play *before)
{
    memset(o, 0, sizeof *o);
    o->player.choose = oracle_choose;
    for (int32_t n = 1; n <= SPECD_SLOTS_MAX; n++)
        o->token_ns[n] = before->tokens_of[n] > 0 ? before->ns_of[n] / (double)before->tokens_of[n]
                                                  : pass_cost_at(&m->truth, PASS_VERIFY, n) / n;
}
