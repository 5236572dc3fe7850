#include "play.h"

#include "specd/philox.h"
#include "specd/util.h"

#include <math.h>

#define K_MODEL 8 /* --draft-max */
#define LOAD_PERIODS 6
#define WANDER_KEPT 0.97 /* of a neighbour's load, from round to round */
#define WANDER_STEP 0.06 /* standard deviation of what comes to it */

bool option_is_model(const struct draft_option *o)
{
    return o->drafter->source == DRAFT_FROM_MODEL;
}

int32_t slot_lag(const struct slot *s)
{
    int32_t len = s->prompt + s->n;
    return len - s->draft_rows > SPECD_DRAFT_LAG_MAX ? MAX(len - 1 - s->draft_rows, 1) : 0;
}

/* ---- requests -------------------------------------------------------------------------------- */

/* Slots that take requests at this point: by the requests that ended, so for all players alike. */
static int32_t open_slots(const struct play *g)
{
    if (!g->scenario->load_changes)
        return g->n_slots;
    return g->ended * LOAD_PERIODS / g->requests % 2 == 0 ? g->n_slots : 1;
}

static void enter(struct play *g, struct player *p)
{
    int32_t open = open_slots(g);
    for (int32_t i = 0; i < open; i++) {
        struct slot *s = &g->slots[i];
        if (s->busy || g->entered == g->requests)
            continue;
        uint64_t request = g->entered++;
        *s = (struct slot){
            .busy = true,
            .request = request,
            .prompt = text_prompt(&g->scenario->text, request),
            .n = 1,
            .answer = MAX(text_answer(&g->scenario->text, request), 2),
        };
        if (p->enter)
            p->enter(p, g, s);
    }
}

static void leave(struct play *g, struct player *p)
{
    for (int32_t i = 0; i < g->n_slots; i++) {
        struct slot *s = &g->slots[i];
        if (!s->busy || s->n < s->answer)
            continue;
        if (p->leave)
            p->leave(p, g, s);
        s->busy = false;
        g->ended++;
    }
}

/* ---- a round --------------------------------------------------------------------------------- */

static void offer(const struct play *g, struct slot *s)
{
    const struct scenario *sc = g->scenario;
    s->n_options = 0;
    s->option = -1;
    s->k = s->fill = 0;
    s->probe = false;
    if (sc->in_turns && s->request / (uint64_t)g->n_slots % 2 == 1)
        return;
    if (sc->lookup) {
        int32_t match = 0, most = text_lookup(&sc->text, s->request, s->n, &match);
        if (most > 0)
            s->options[s->n_options++] =
                (struct draft_option){drafter_of(DRAFT_LOOKUP), match, MIN(most, SPECD_K_MAX)};
    }
    if (sc->model)
        s->options[s->n_options++] =
            (struct draft_option){drafter_of(DRAFT_MODEL), 0, MIN(K_MODEL, SPECD_K_MAX)};
}

/* What the text says of the drafts; the draft model's rows as the device writes them. */
static void verify(const struct play *g, struct slot *s)
{
    const struct text *t = &g->scenario->text;
    bool model = s->k > 0 && option_is_model(&s->options[s->option]);
    int32_t len = s->prompt + s->n;
    s->draft_rows += s->fill;
    ASSERT(!model || slot_lag(s) == 0);
    s->accepted = 0;
    while (s->accepted < s->k &&
           text_stands(t, s->request, s->n, s->accepted + 1, !model, &s->overlap[s->accepted]))
        s->accepted++;
    if (model)
        s->draft_rows = len + MIN(s->accepted, s->k - 1);
    s->n += MIN(s->accepted + 1, s->answer - s->n);
}

static double normal(const struct play *g, int32_t which)
{
    struct philox ctr = {{(uint32_t)g->rounds, (uint32_t)which, 0, 0xffffffff}};
    ctr = philox4x32(ctr, g->scenario->text.seed);
    double radius = sqrt(-2 * log((ctr.w[0] + 1.0) * 0x1p-32));
    return radius * cos(6.283185307179586 * ctr.w[1] * 0x1p-32);
}

static double noise(const struct play *g, int32_t which)
{
    return exp(g->machine->noise * normal(g, which));
}

/* As a bad clock says it. */
static double measured(const struct play *g, double ns, int32_t which)
{
    struct philox ctr = {{(uint32_t)g->rounds, (uint32_t)which, 1, 0xffffffff}};
    uint32_t u = philox4x32(ctr, g->scenario->text.seed).w[0] % 300;
    if (!g->scenario->clock_jumps || u > 2)
        return ns;
    return u == 0 ? 0 : u == 1 ? -ns : 100 * ns;
}

static void take_time(struct play *g, struct draft_times *seen)
{
    const struct pass_cost *c = &g->machine->truth;
    int32_t decoded = 0, drafted = 0, drawn = 0, fill = 0, steps[SPECD_K_MAX] = {0};
    for (int32_t i = 0; i < g->n_slots; i++) {
        const struct slot *s = &g->slots[i];
        if (!s->busy)
            continue;
        decoded++;
        drafted += s->k;
        fill += s->fill;
        if (s->k == 0 || !option_is_model(&s->options[s->option]))
            continue;
        drawn += s->k;
        for (int32_t k = 0; k < s->k; k++)
            steps[k]++;
    }
    struct draft_times t = {
        .verify_ns =
            pass_cost_at(c, PASS_VERIFY, decoded + drafted) + g->machine->slot_ns * decoded,
        .fill_ns = pass_cost_at(c, PASS_FILL, fill),
        .sample_ns = c->sample_ns * (decoded + drafted + drawn),
    };
    for (int32_t k = 0; k < SPECD_K_MAX; k++)
        t.step_ns += pass_cost_at(c, PASS_STEP, steps[k]);
    t.verify_ns *= g->speed * noise(g, 0);
    t.step_ns *= g->speed * noise(g, 1);
    t.fill_ns *= g->speed * noise(g, 2);
    t.sample_ns *= g->speed * noise(g, 3);
    double ns = t.verify_ns + t.step_ns + t.fill_ns + t.sample_ns + g->speed * c->host_ns;
    g->ns += ns;
    g->ns_of[g->busy] += ns / g->speed;
    g->drafted += drafted;
    *seen = (struct draft_times){measured(g, t.verify_ns, 0), measured(g, t.step_ns, 1),
                                 measured(g, t.fill_ns, 2), measured(g, t.sample_ns, 3)};
}

void play(struct play *g, const struct scenario *sc, const struct machine *m, int32_t n_slots,
          uint64_t requests, struct player *p)
{
    *g = (struct play){.scenario = sc, .machine = m, .n_slots = n_slots, .requests = requests};
    for (enter(g, p); g->ended < requests; enter(g, p)) {
        struct draft_times t;
        g->speed = sc->speed_changes && 2 * g->ended >= requests ? 2 : 1;
        if (sc->neighbours) {
            g->wander = WANDER_KEPT * g->wander + WANDER_STEP * normal(g, 4);
            g->speed *= exp(fabs(g->wander));
        }
        g->busy = 0;
        for (int32_t i = 0; i < n_slots; i++) {
            if (!g->slots[i].busy)
                continue;
            offer(g, &g->slots[i]);
            g->busy++;
        }
        p->choose(p, g);
        take_time(g, &t);
        for (int32_t i = 0; i < n_slots; i++) {
            struct slot *s = &g->slots[i];
            if (!s->busy)
                continue;
            int32_t before = s->n;
            verify(g, s);
            g->tokens += s->n - before;
            g->tokens_of[g->busy] += s->n - before;
        }
        if (p->learn)
            p->learn(p, g, &t);
        g->rounds++;
        leave(g, p);
    }
}
