#include "fill.h"

#include <string.h>

/* ---- prefill --------------------------------------------------------------------------------- */

struct budget {
    int32_t rows[MODEL_ROLES]; /* left in this round's prompt passes */
    int32_t score_rows;        /* of these, rows that may be scored */
};

/* Rows up to end that the model lacks, as many as the budget allows. The chunk, or NULL when there
 * are none. */
static struct round_chunk *add_chunk(struct sched *s, struct round *r, struct budget *b,
                                     struct seq *q, enum model_role role, int32_t end)
{
    int32_t start = flight_rows(&s->flight, q, role);
    int32_t n = MIN(end - start, b->rows[role]);
    if (n <= 0)
        return NULL;
    struct round_chunk *chunk = &r->chunks[r->n_chunks++];
    *chunk = (struct round_chunk){q->slot, role, start, n, false};
    b->rows[role] -= n;
    flight_plan_part(&s->flight, q)->rows[role] = start + n;
    return chunk;
}

/* Scored rows make logits, and there is room for few: such a prompt goes in small chunks. What was
 * scored before a preemption is computed again without. */
static void prefill_target(struct sched *s, struct round *r, struct budget *b, struct seq *q)
{
    int32_t start = flight_rows(&s->flight, q, MODEL_TARGET), end = q->len - 1;
    bool score = q->score && start >= q->n_scored;
    if (q->score)
        end = score ? MIN(end, start + b->score_rows) : MIN(end, q->n_scored);
    struct round_chunk *chunk = add_chunk(s, r, b, q, MODEL_TARGET, end);
    share_charge(&q->share, chunk ? (uint64_t)chunk->n * SHARE_ROW : 0);
    if (score && chunk) {
        chunk->score = true;
        b->score_rows -= chunk->n;
    }
}

/* Clients take turns, so that a short prompt does not wait for another's long ones. */
static void prefill(struct sched *s, struct round *r, struct budget *b)
{
    struct seq *lacking[SPECD_SLOTS_MAX];
    int32_t n = 0;
    for (struct seq *q = s->first; q; q = q->next) {
        if (q->state == SEQ_RUNNING && !flight_can_decode(&s->flight, q) &&
            !flight_decodes(&s->flight, q))
            lacking[n++] = q;
    }
    while (n > 0 && b->rows[MODEL_TARGET] > 0) {
        int32_t next = 0;
        for (int32_t i = 1; i < n; i++) {
            if (share_is_sooner(&lacking[i]->share, &lacking[next]->share))
                next = i;
        }
        prefill_target(s, r, b, lacking[next]);
        lacking[next] = lacking[--n];
    }
}

/* ---- rows of the draft model ----------------------------------------------------------------- */

/* Rows the draft model may have: none beyond its own context. */
static int32_t draft_end(const struct sched *s, const struct seq *q)
{
    return MIN(q->len - 1, s->draft_ctx);
}

/* Rows it will lack when the round drafts. After a round in flight that drafts with it these are
 * few, whatever is accepted. */
static int32_t draft_lag(const struct sched *s, const struct seq *q)
{
    if (flight_drafts_tokens(&s->flight, q))
        return SPECD_DRAFT_LAG_MAX;
    return flight_len_most(&s->flight, q) - flight_rows(&s->flight, q, MODEL_DRAFT);
}

static bool lags(const struct sched *s, const struct seq *q)
{
    return draft_lag(s, q) > SPECD_DRAFT_LAG_MAX;
}

/* Another sequence may have computed rows of blocks that both hold. The device gets to know of them
 * with the slot, which is set anew, as after a preemption. false: a round in flight names the slot,
 * so that has to wait. */
static bool take_shared_rows(struct sched *s, struct seq *q)
{
    int32_t rows = kv_draft_rows(s->kv, q->blocks, q->n_blocks, q->draft_len);
    rows = MIN(rows, q->len - 1);
    if (rows == q->draft_len || flight_drafts_tokens(&s->flight, q))
        return true;
    if (flight_count(&s->flight) > 0 && flight_part(q, s->flight.submitted))
        return false;
    q->draft_len = rows;
    seq_renew_slot(q);
    return true;
}

/* Rows first..end of a sequence that it may write: up to the first block that another writes into,
 * or that has rows already which it does not know of yet. */
static int32_t open_rows(const struct sched *s, const struct seq *q, int32_t first, int32_t end)
{
    int32_t row = first;
    while (row < end) {
        if (!kv_draft_open(s->kv, q->blocks[row / SPECD_BLOCK_TOKENS], row % SPECD_BLOCK_TOKENS,
                           q->stay))
            break;
        row = (row / SPECD_BLOCK_TOKENS + 1) * SPECD_BLOCK_TOKENS;
    }
    return MAX(MIN(row, end) - first, 0);
}

/* Claims what open_rows allows of them; returns their number. */
static int32_t claim_rows(struct sched *s, const struct seq *q, int32_t first, int32_t end)
{
    int32_t n = open_rows(s, q, first, end);
    for (int32_t i = first / SPECD_BLOCK_TOKENS; n > 0 && i * SPECD_BLOCK_TOKENS < first + n; i++)
        kv_draft_claim(s->kv, q->blocks[i], q->stay, s->flight.submitted + 1);
    return n;
}

/* Up to n rows that the draft model lacks. Whether it can draft now. */
static bool catch_up(struct sched *s, struct round *r, struct budget *b, struct seq *q, int32_t n)
{
    int32_t start = flight_rows(&s->flight, q, MODEL_DRAFT);
    if (n > 0 && lags(s, q)) {
        int32_t end = MIN(start + MIN(n, b->rows[MODEL_DRAFT]), draft_end(s, q));
        add_chunk(s, r, b, q, MODEL_DRAFT, start + claim_rows(s, q, start, end));
    }
    return !lags(s, q);
}

/* The steps that draft k tokens write rows, too. */
static bool claim_steps(struct sched *s, const struct seq *q, int32_t k)
{
    bool moving = flight_drafts_tokens(&s->flight, q);
    int32_t start = moving ? q->draft_len : flight_rows(&s->flight, q, MODEL_DRAFT);
    int32_t end = MAX(flight_end(&s->flight, q, k) - 1, start);
    return claim_rows(s, q, start, end) == end - start;
}

/* ---- draft ----------------------------------------------------------------------------------- */

/* Of k drafted tokens, as many as stay below `end`. Where the sequence's own limit ends it before,
 * k stays: the device clamps it by the exact length, while here that may be a range, for whose sake
 * a fixed K must not shrink. */
static int32_t k_below(const struct sched *s, const struct seq *q, int32_t k, int32_t end)
{
    if (flight_end(&s->flight, q, k) <= end)
        return k;
    return MIN(k, end - flight_len_most(&s->flight, q));
}

/* What a sequence offers for the round. */
struct offer {
    struct seq *q;
    int32_t ids[DRAFT_TYPES][SPECD_K_MAX]; /* by option: the host's tokens */
};

/* Whether the first token is still to come: the draft model gets no rows before that, so that no
 * client waits for them. The text alone says so, for a fixed K must not follow the cache. */
static bool is_first(const struct seq *q)
{
    return q->len == q->n_prompt;
}

static int32_t propose(const struct sched *s, const struct offer *o, int i, int32_t room,
                       int32_t *ids, int32_t *match)
{
    const struct seq *q = o->q;
    const struct drafter *d = q->drafters[i].drafter;
    if (d->source == DRAFT_FROM_MODEL) {
        int32_t most = MIN(room, s->k_draft);
        most = q->k_fixed < 0 ? MIN(most, q->k_max_model) : most;
        return q->draft_kv && !is_first(q) ? k_below(s, q, most, s->draft_ctx) : 0;
    }
    int32_t n = d->propose(q->drafters[i].state, room, ids, match);
    return q->constraint ? constraint_cut(q->constraint, ids, n) : n;
}

/* Whether the next tokens need masks. */
static bool is_bound(const struct seq *q)
{
    return q->constraint && !constraint_is_open(q->constraint);
}

static enum draft_why why_no_option(const struct seq *q, int32_t room)
{
    if (q->no_draft != DRAFT_WHY_NONE)
        return q->no_draft;
    if (room <= 0)
        return DRAFT_WHY_ROOM;
    if (is_first(q))
        return DRAFT_WHY_FIRST;
    return seq_drafts_from(q, DRAFT_FROM_MODEL) ? DRAFT_WHY_CONTEXT : DRAFT_WHY_NOTHING;
}

/* What each of its drafters proposes. Where a grammar binds the text only the one that goes
 * furthest along with it, and of equals the later: what must follow stands last. */
static void make_offer(struct sched *s, struct offer *o, struct draft_len_seq *out)
{
    struct seq *q = o->q;
    int32_t room = k_below(s, q, flight_k_bound(&s->flight, q), q->n_blocks * SPECD_BLOCK_TOKENS);
    *out = (struct draft_len_seq){
        .acceptance = &q->acceptance,
        .state = &q->draft_state,
        .fixed = q->k_fixed >= 0,
        .alone = !q->acceptance.shared,
        .why = why_no_option(q, room),
    };
    bool bound = is_bound(q);
    bool waits = is_first(q) && !out->fixed && q->k_min == 0 && !bound;
    int n_drafters = q->n_drafters - (bound ? 0 : q->n_bound_drafters);
    for (int i = 0; i < n_drafters && room > 0 && !waits; i++) {
        int32_t at = bound ? 0 : out->n_options, ids[SPECD_K_MAX], match = 0;
        if (bound && q->drafters[i].drafter->source == DRAFT_FROM_MODEL)
            continue;
        int32_t n = propose(s, o, i, room, ids, &match);
        if (n <= 0 || (bound && out->n_options > 0 && n < out->options[0].k_max))
            continue;
        out->options[at] = (struct draft_option){q->drafters[i].drafter, match, n};
        if (q->drafters[i].drafter->source == DRAFT_FROM_HOST)
            memcpy(o->ids[at], ids, (size_t)n * sizeof *ids);
        out->n_options = at + 1;
    }
    if (out->n_options == 0)
        return;
    out->k_min = out->fixed ? out->options[0].k_max : q->k_min;
    if (q->draft_kv && lags(s, q)) {
        int32_t start = flight_rows(&s->flight, q, MODEL_DRAFT);
        out->lag = MAX(draft_end(s, q) - start, 1);
        out->fill_max = open_rows(s, q, start, draft_end(s, q));
    }
    out->rest = answer_len_rest(out->alone ? NULL : &s->drafts->lens, q->n_prompt,
                                q->len - q->n_prompt, q->limit - q->len);
}

/* What may come next under grammars: first of those that waited for it in the plan before. */
static void find_masks(struct sched *s)
{
    for (int pass = 0; pass < 2; pass++) {
        for (struct seq *q = s->first; q; q = q->next) {
            if (q->constraint && flight_can_decode(&s->flight, q) &&
                (pass > 0 || constraint_waits(q->constraint)))
                constraint_find(q->constraint, q->len);
        }
    }
}

/* The masks of a round go no further than a token may follow. */
static void constrain(struct seq *q, struct round_part *t, struct round_seq *rs)
{
    t->k = constraint_draft(q->constraint, rs->host_draft, t->k, q->k_fixed >= 0);
    rs->masks = constraint_masks(q->constraint);
}

/* Carries a choice out. What rows and claims do not allow now is left to the next round: an
 * adaptive K is 0 until then, a sequence with a fixed K sits this round out. Returns whether the
 * sequence takes part. */
static bool take_choice(struct sched *s, struct round *r, struct budget *b, struct offer *o,
                        const struct draft_len_seq *c, struct round_seq *rs)
{
    struct seq *q = o->q;
    bool ready = catch_up(s, r, b, q, c->fill);
    bool model = c->option >= 0 && c->options[c->option].drafter->source == DRAFT_FROM_MODEL;
    int32_t k = c->k;
    enum draft_why why = c->why;
    if (k > 0 && model && !(ready && claim_steps(s, q, k))) {
        k = 0;
        why = ready ? DRAFT_WHY_SHARED : DRAFT_WHY_UNFILLED;
    }
    if (c->fixed && c->n_options > 0 && k == 0)
        return false;
    struct round_part *t = flight_plan_part(&s->flight, q);
    t->k = k;
    t->why = k == 0 ? why : DRAFT_WHY_NONE;
    t->probe = c->probe;
    *rs = (struct round_seq){.slot = q->slot, .source = DRAFT_FROM_MODEL};
    if (k > 0) {
        t->drafter = c->options[c->option].drafter;
        t->match = c->options[c->option].match;
        rs->source = t->drafter->source;
        if (rs->source == DRAFT_FROM_HOST)
            memcpy(rs->host_draft, o->ids[c->option], (size_t)k * sizeof rs->host_draft[0]);
    }
    t->unmasked = q->constraint && k > 0 && model;
    if (q->constraint && !t->unmasked)
        constrain(q, t, rs);
    if (t->k == 0 && k > 0)
        t->why = DRAFT_WHY_NOTHING;
    t->decodes = true;
    rs->k = t->k;
    return true;
}

/* Whether it decodes in this round, as far as it is known before drafts are chosen. */
static bool takes_part(struct sched *s, struct seq *q)
{
    if (!flight_can_decode(&s->flight, q) || (q->constraint && !constraint_is_ready(q->constraint)))
        return false;
    if (!q->draft_kv)
        return true;
    bool known = take_shared_rows(s, q);
    bool waits = q->k_fixed > 0 || q->draft_state.filling;
    /* with a fixed K drafting begins when the first token is there, whatever is in flight */
    bool first_flies = q->k_fixed > 0 && is_first(q) && flight_decodes(&s->flight, q);
    return (known || !waits) && !first_flies;
}

static void draft(struct sched *s, struct round *r, struct budget *b)
{
    struct offer offers[SPECD_SLOTS_MAX];
    struct draft_len_seq choices[SPECD_SLOTS_MAX];
    int32_t n = 0;
    find_masks(s);
    for (struct seq *q = s->first; q; q = q->next) {
        if (!takes_part(s, q))
            continue;
        offers[n].q = q;
        make_offer(s, &offers[n], &choices[n]);
        n++;
    }
    draft_len_choose(s->drafts, choices, n);
    for (int32_t i = 0; i < n; i++)
        r->n_seqs += take_choice(s, r, b, &offers[i], &choices[i], &r->seqs[r->n_seqs]);
}

/* ---- all together ---------------------------------------------------------------------------- */

/* Whether somebody's tokens would wait for a long round; who waits for the draft model's rows gets
 * none in it anyway. */
static bool any_decoding(const struct sched *s)
{
    for (int32_t i = 0; i < s->n_slots; i++) {
        const struct seq *q = s->slots[i];
        if (q && flight_can_decode(&s->flight, q) &&
            !(q->k_fixed > 0 && q->draft_kv && lags(s, q) && !is_first(q)))
            return true;
    }
    return false;
}

void fill_round(struct sched *s, struct round *r)
{
    int32_t rows = any_decoding(s) ? s->mixed_rows : s->max_rows;
    struct budget budget = {.rows = {rows, rows}, .score_rows = SPECD_SCORE_ROWS};
    r->n_seqs = r->n_chunks = 0;
    prefill(s, r, &budget);
    draft(s, r, &budget);
}
