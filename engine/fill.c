#include "fill.h"

#include <string.h>

/* ---- prefill --------------------------------------------------------------------------------- */

struct budget {
    int32_t rows[MODEL_ROLES]; /* left in this round's prompt passes */
    int32_t score_rows;        /* of these, rows that may be scored */
};

/* The chunk of a sequence that is in the round already: a prompt's last one may be followed by
 * catch-up of its draft, and a round has one chunk per slot and model. */
static struct round_chunk *find_chunk(struct round *r, int32_t slot, enum model_role role)
{
    for (int32_t i = 0; i < r->n_chunks; i++) {
        if (r->chunks[i].slot == slot && r->chunks[i].role == role)
            return &r->chunks[i];
    }
    return NULL;
}

/* Rows up to end that the model lacks, as many as the budget allows. The chunk, or NULL when there
 * are none. */
static struct round_chunk *add_chunk(struct sched *s, struct round *r, struct budget *b,
                                     struct seq *q, enum model_role role, int32_t end)
{
    int32_t start = flight_rows(&s->flight, q, role);
    int32_t n = MIN(end - start, b->rows[role]);
    if (n <= 0)
        return NULL;
    struct round_chunk *chunk = find_chunk(r, q->slot, role);
    if (!chunk) {
        chunk = &r->chunks[r->n_chunks++];
        *chunk = (struct round_chunk){q->slot, role, start, 0, false};
    }
    chunk->n += n;
    b->rows[role] -= n;
    flight_plan_part(&s->flight, q)->rows[role] = start + n;
    return chunk;
}

/* Rows the draft model may have: none beyond its own context. */
static int32_t draft_end(const struct sched *s, const struct seq *q)
{
    return MIN(q->len - 1, s->draft_ctx);
}

static bool any_decoding(const struct sched *s)
{
    for (int32_t i = 0; i < s->n_slots; i++) {
        if (s->slots[i] && flight_can_decode(&s->flight, s->slots[i]))
            return true;
    }
    return false;
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
    if (score && chunk) {
        chunk->score = true;
        b->score_rows -= chunk->n;
    }
}

/* Of those that decode in a round in flight only the draft may lag, and catch_up sees to that. */
static void prefill(struct sched *s, struct round *r, struct budget *b)
{
    for (struct seq *q = s->first; q; q = q->next) {
        if (q->state != SEQ_RUNNING || flight_can_decode(&s->flight, q) ||
            flight_decodes(&s->flight, q))
            continue;
        prefill_target(s, r, b, q);
        if (q->draft_kv)
            add_chunk(s, r, b, q, MODEL_DRAFT, draft_end(s, q));
    }
}

static double prefill_ns(const struct sched *s, const struct round *r)
{
    int32_t rows[MODEL_ROLES] = {0};
    for (int32_t i = 0; i < r->n_chunks; i++)
        rows[r->chunks[i].role] += r->chunks[i].n;
    return pass_cost_verify(s->cost, rows[MODEL_TARGET]) +
           pass_cost_draft(s->cost, rows[MODEL_DRAFT]);
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

/* The first of the sequence's drafters that has something to propose; under a grammar the one that
 * goes furthest along with it, and of equals the later: what must follow stands last. Returns how
 * much. */
static int32_t propose(const struct sched *s, const struct seq *q, struct round_part *t,
                       struct round_seq *rs)
{
    int32_t room = k_below(s, q, flight_k_bound(&s->flight, q), q->n_blocks * SPECD_BLOCK_TOKENS);
    int32_t most = 0;
    for (int i = 0; i < q->n_drafters && room > 0 && (most == 0 || q->constraint); i++) {
        const struct drafter *d = q->drafters[i].drafter;
        int32_t ids[SPECD_K_MAX], match = 0, n;
        if (d->source == DRAFT_FROM_MODEL) {
            n = q->draft_kv ? k_below(s, q, room, s->draft_ctx) : 0;
            n = q->k_fixed < 0 ? MIN(n, q->k_max_model) : n;
        } else {
            n = d->propose(q->drafters[i].state, room, ids, &match);
            if (q->constraint)
                n = constraint_cut(q->constraint, ids, n);
        }
        if (n <= 0 || n < most)
            continue;
        most = n;
        t->drafter = d;
        t->match = match;
        rs->source = d->source;
        if (d->source == DRAFT_FROM_HOST)
            memcpy(rs->host_draft, ids, (size_t)n * sizeof *ids);
    }
    return most;
}

static struct draft_len_seq draft_len_entry(const struct seq *q, const struct round_part *t,
                                            int32_t available)
{
    int32_t least = q->k_fixed >= 0 ? available : MIN(q->k_min, available);
    return (struct draft_len_seq){
        .acceptance = &q->acceptance,
        .drafter = t->drafter,
        .match = t->match,
        .k_min = least,
        .k_max = available,
    };
}

/* Rows the draft model will lack when the round drafts. After a round in flight that drafts with it
 * these are few, whatever is accepted. */
static int32_t draft_lag(const struct sched *s, const struct seq *q)
{
    if (flight_drafts_tokens(&s->flight, q))
        return SPECD_DRAFT_LAG_MAX;
    return flight_len_most(&s->flight, q) - flight_rows(&s->flight, q, MODEL_DRAFT);
}

/* A model draft that fell behind (rounds without it, or lookup rounds) is brought up first. What
 * the budget does not allow now is left to the next round: an adaptive K is 0 until then, a
 * sequence with a fixed K sits this round out. Returns whether the sequence takes part. */
static bool catch_up(struct sched *s, struct round *r, struct budget *b, struct seq *q,
                     struct round_part *t)
{
    if (t->k == 0 || t->drafter->source != DRAFT_FROM_MODEL)
        return true;
    if (draft_lag(s, q) > SPECD_DRAFT_LAG_MAX)
        add_chunk(s, r, b, q, MODEL_DRAFT, draft_end(s, q));
    if (draft_lag(s, q) <= SPECD_DRAFT_LAG_MAX)
        return true;
    t->k = 0;
    return q->k_fixed < 0;
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

static void draft(struct sched *s, struct round *r, struct budget *b, uint64_t plan)
{
    struct draft_len_seq lens[SPECD_SLOTS_MAX];
    struct seq *seqs[SPECD_SLOTS_MAX];
    find_masks(s);
    for (struct seq *q = s->first; q; q = q->next) {
        if (!flight_can_decode(&s->flight, q) ||
            (q->constraint && !constraint_is_ready(q->constraint)))
            continue;
        struct round_part *t = flight_plan_part(&s->flight, q);
        int32_t i = r->n_seqs++;
        struct round_seq *rs = &r->seqs[i];
        rs->slot = q->slot;
        rs->source = DRAFT_FROM_MODEL;
        rs->masks = NULL;
        seqs[i] = q;
        lens[i] = draft_len_entry(q, t, propose(s, q, t, rs));
    }
    draft_len_choose(s->cost, lens, r->n_seqs, prefill_ns(s, r), plan);
    int32_t n = 0;
    for (int32_t i = 0; i < r->n_seqs; i++) {
        struct round_part *t = flight_plan_part(&s->flight, seqs[i]);
        t->k = lens[i].k;
        if (!catch_up(s, r, b, seqs[i], t))
            continue;
        if (seqs[i]->constraint)
            constrain(seqs[i], t, &r->seqs[i]);
        t->decodes = true;
        r->seqs[n] = r->seqs[i];
        r->seqs[n++].k = t->k;
    }
    r->n_seqs = n;
}

/* Rows by which the draft lags in sequences that decode: prompts must not take their whole budget.
 */
static int32_t catch_up_rows(const struct sched *s)
{
    int64_t rows = 0;
    for (int32_t i = 0; i < s->n_slots; i++) {
        const struct seq *q = s->slots[i];
        if (q && q->draft_kv && flight_can_decode(&s->flight, q) &&
            draft_lag(s, q) > SPECD_DRAFT_LAG_MAX)
            rows += MAX(draft_end(s, q) - flight_rows(&s->flight, q, MODEL_DRAFT), 0);
    }
    return (int32_t)MIN(rows, INT32_MAX);
}

void fill_round(struct sched *s, struct round *r, uint64_t plan)
{
    int32_t rows = any_decoding(s) ? s->mixed_rows : s->max_rows;
    int32_t reserved = MIN(catch_up_rows(s), (rows + 1) / 2);
    struct budget budget = {.rows = {rows, rows - reserved}, .score_rows = SPECD_SCORE_ROWS};
    r->n_seqs = r->n_chunks = 0;
    prefill(s, r, &budget);
    budget.rows[MODEL_DRAFT] += reserved;
    draft(s, r, &budget, plan);
}
