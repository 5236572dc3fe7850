#include "scheduler.h"

#include <string.h>

void sched_init(struct sched *s, struct kv *kv, const struct pace_cost *cost)
{
    *s = (struct sched){.kv = kv, .cost = cost, .synthetic_acceptance = -1.0f};
}

/* ---- the list of sequences ------------------------------------------------------------------- */

void sched_add(struct sched *s, struct seq *q)
{
    q->state = SEQ_PREPARING;
    q->prev = s->last;
    q->next = NULL;
    if (s->last)
        s->last->next = q;
    else
        s->first = q;
    s->last = q;
}

void sched_ready(struct sched *s, struct seq *q)
{
    ASSERT((q->state == SEQ_PREPARING || q->state == SEQ_STALLED) && q->len >= 1);
    q->state = SEQ_WAITING;
    s->n_waiting++;
}

void sched_commit(struct sched *s, struct seq *q, bool draft_done)
{
    int32_t draft_rows = s->draft_ctx > 0 ? q->draft_len : INT32_MAX;
    kv_commit(s->kv, q->req->cache_salt, q->tokens, q->target_len, draft_rows, draft_done,
              q->blocks, q->n_blocks);
}

/* Gives slot and blocks back. Full blocks stay in the prefix index. */
static void leave_slot(struct sched *s, struct seq *q)
{
    sched_commit(s, q, true);
    kv_release(s->kv, q->blocks, q->n_blocks);
    q->n_blocks = q->n_blocks_sent = 0;
    q->target_len = q->draft_len = 0;
    s->slots[q->slot] = NULL;
    q->slot = -1;
    s->n_running--;
}

void sched_evict(struct sched *s, struct seq *q, enum seq_state to)
{
    ASSERT(q->state == SEQ_RUNNING && (to == SEQ_WAITING || to == SEQ_STALLED));
    leave_slot(s, q);
    q->state = to;
    if (to == SEQ_WAITING)
        s->n_waiting++;
}

void sched_remove(struct sched *s, struct seq *q)
{
    if (q->state == SEQ_RUNNING)
        leave_slot(s, q);
    else if (q->state == SEQ_WAITING)
        s->n_waiting--;
    q->state = SEQ_DONE;
    *(q->prev ? &q->prev->next : &s->first) = q->next;
    *(q->next ? &q->next->prev : &s->last) = q->prev;
    q->prev = q->next = NULL;
}

/* ---- grow ------------------------------------------------------------------------------------ */

/* Most tokens the sequence may draft next, blocks aside: one token is always the target's own. */
static int32_t k_bound(const struct seq *q)
{
    int32_t k = q->k_fixed >= 0 ? q->k_fixed : q->k_max;
    return MAX(MIN(k, q->limit - q->len - 1), 0);
}

static bool grow_to(struct sched *s, struct seq *q, int32_t n_blocks)
{
    int32_t more = n_blocks - q->n_blocks;
    if (more <= 0)
        return true;
    if (n_blocks > q->blocks_cap) {
        q->blocks_cap = MAX(n_blocks, q->blocks_cap * 2);
        q->blocks = xrealloc(q->blocks, (size_t)q->blocks_cap * sizeof *q->blocks);
    }
    if (kv_alloc(s->kv, more, q->blocks + q->n_blocks) != 0)
        return false;
    q->n_blocks = n_blocks;
    return true;
}

static struct seq *youngest_running(const struct sched *s)
{
    struct seq *q = s->last;
    while (q && q->state != SEQ_RUNNING)
        q = q->prev;
    return q;
}

static bool is_decoding(const struct seq *q)
{
    return q->state == SEQ_RUNNING && q->target_len == q->len - 1 && q->len < q->limit;
}

/* Rows of the next verify pass stand at positions len-1 .. len-1+K. An adaptive K shrinks before
 * anyone is preempted; a fixed K never does, as it is part of a promise to replay. */
static void grow_one(struct sched *s, struct seq *q)
{
    int32_t k = k_bound(q);
    int32_t must = blocks_for(q->len + (q->k_fixed >= 0 ? k : 0));
    if (grow_to(s, q, blocks_for(q->len + k)))
        return;
    while (!grow_to(s, q, must)) {
        struct seq *victim = youngest_running(s);
        s->preemptions++;
        sched_evict(s, victim, SEQ_WAITING);
        if (victim == q)
            return;
    }
}

static void grow(struct sched *s)
{
    for (struct seq *q = s->first; q; q = q->next) {
        if (is_decoding(q))
            grow_one(s, q);
    }
}

/* ---- admit ----------------------------------------------------------------------------------- */

static int32_t free_slot(const struct sched *s)
{
    for (int32_t i = 0; i < s->n_slots; i++) {
        if (!s->slots[i])
            return i;
    }
    return -1;
}

/* Takes cached blocks and new ones for all committed tokens and a first round, and leaves one block
 * to each sequence that runs, so that admissions do not cause preemptions at once. */
static bool take_blocks(struct sched *s, struct seq *q)
{
    int32_t k = k_bound(q);
    int32_t total = blocks_for(q->len + k);
    if (total > q->blocks_cap) {
        q->blocks_cap = total;
        q->blocks = xrealloc(q->blocks, (size_t)total * sizeof *q->blocks);
    }
    q->draft_kv = seq_wants_draft_kv(q) && q->len < s->draft_ctx;
    if (!q->score) /* rows that are to be scored are computed anew */
        q->n_blocks = kv_match(s->kv, q->req->cache_salt, q->tokens, q->len, q->draft_kv, q->blocks,
                               &q->target_len, &q->draft_len);
    bool room = kv_n_free(s->kv) >= total - q->n_blocks + s->n_running;
    if (room && grow_to(s, q, total))
        return true;
    kv_release(s->kv, q->blocks, q->n_blocks);
    q->n_blocks = q->target_len = q->draft_len = 0;
    return false;
}

static bool admit_one(struct sched *s, struct seq *q, uint64_t now)
{
    int32_t slot = free_slot(s);
    if (slot < 0 || !take_blocks(s, q))
        return false;
    s->slots[slot] = q;
    s->n_running++;
    s->n_waiting--;
    q->state = SEQ_RUNNING;
    q->slot = slot;
    q->slot_is_new = true;
    q->cached_target_len = q->target_len;
    q->cached_draft_len = q->draft_len;
    q->n_blocks_sent = 0;
    s->cache_queries += (uint64_t)q->len;
    s->cache_hits += (uint64_t)q->target_len;
    if (q->t_admitted == 0) {
        q->t_admitted = now;
        q->stats.n_cached = q->target_len;
    }
    return true;
}

/* Strictly in order of arrival: a long prompt is not starved by short ones behind it. Only those
 * that wait for another to compute their prompt let others pass. */
static void admit(struct sched *s, uint64_t now)
{
    for (struct seq *q = s->first; q && s->n_waiting > 0; q = q->next) {
        if (q->state == SEQ_WAITING && !q->leader && !admit_one(s, q, now))
            return;
    }
}

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

static int32_t add_chunk(struct round *r, struct budget *b, const struct seq *q,
                         enum model_role role, int32_t start, int32_t end)
{
    int32_t n = MIN(end - start, b->rows[role]);
    if (n <= 0)
        return start;
    struct round_chunk *chunk = find_chunk(r, q->slot, role);
    if (chunk)
        chunk->n += n; /* it ends at start */
    else
        r->chunks[r->n_chunks++] = (struct round_chunk){q->slot, role, start, n, false};
    b->rows[role] -= n;
    return start + n;
}

/* Rows the draft model may have: none beyond its own context. */
static int32_t draft_end(const struct sched *s, const struct seq *q)
{
    return MIN(q->len - 1, s->draft_ctx);
}

static bool any_decoding(const struct sched *s)
{
    for (int32_t i = 0; i < s->n_slots; i++) {
        if (s->slots[i] && is_decoding(s->slots[i]))
            return true;
    }
    return false;
}

/* Scored rows make logits, and there is room for few: such a prompt goes in small chunks. What was
 * scored before a preemption is computed again without. */
static void prefill_target(struct round *r, struct budget *b, struct seq *q)
{
    int32_t start = q->target_len, end = q->len - 1;
    bool score = q->score && start >= q->n_scored;
    if (q->score)
        end = score ? MIN(end, start + b->score_rows) : MIN(end, q->n_scored);
    q->target_len = add_chunk(r, b, q, MODEL_TARGET, start, end);
    if (score && q->target_len > start) {
        r->chunks[r->n_chunks - 1].score = true;
        b->score_rows -= q->target_len - start;
    }
}

/* target_len and draft_len are what the device will have after the chunks of this round. */
static void prefill(struct sched *s, struct round *r, struct budget *b)
{
    for (struct seq *q = s->first; q; q = q->next) {
        if (q->state != SEQ_RUNNING || is_decoding(q))
            continue;
        prefill_target(r, b, q);
        if (q->draft_kv)
            q->draft_len = add_chunk(r, b, q, MODEL_DRAFT, q->draft_len, draft_end(s, q));
    }
}

static double prefill_ns(const struct sched *s, const struct round *r)
{
    int32_t rows[MODEL_ROLES] = {0};
    for (int32_t i = 0; i < r->n_chunks; i++)
        rows[r->chunks[i].role] += r->chunks[i].n;
    return pace_cost_verify(s->cost, rows[MODEL_TARGET]) +
           pace_cost_draft(s->cost, rows[MODEL_DRAFT]);
}

/* ---- draft ----------------------------------------------------------------------------------- */

/* The first of the sequence's drafters that has something to propose; returns how much. */
static int32_t propose(const struct sched *s, struct seq *q, struct round_seq *rs)
{
    int32_t room = MIN(k_bound(q), q->n_blocks * SPECD_BLOCK_TOKENS - q->len);
    for (int i = 0; i < q->n_drafters && room > 0; i++) {
        q->drafter = q->drafters[i];
        if (q->drafter == DRAFT_LOOKUP) {
            int32_t n = lookup_draft(q->lookup, room, rs->host_draft, &q->match);
            rs->source = DRAFT_FROM_HOST;
            if (n > 0)
                return n;
        } else if (q->draft_kv && MIN(room, s->draft_ctx - q->len) > 0) {
            rs->source = DRAFT_FROM_MODEL;
            return MIN(room, s->draft_ctx - q->len);
        }
    }
    q->drafter = DRAFT_NONE;
    return 0;
}

static struct pace_seq pace_entry(const struct seq *q, int32_t available)
{
    int32_t least = q->k_fixed >= 0 ? available : MIN(q->k_min, available);
    return (struct pace_seq){
        .pace = &q->pace,
        .drafter = q->drafter == DRAFT_LOOKUP ? PACE_LOOKUP : PACE_MODEL,
        .match = q->match,
        .k_min = least,
        .k_max = available,
    };
}

/* A model draft that fell behind (rounds without it, or lookup rounds) is brought up first. What
 * the budget does not allow now is left to the next round: an adaptive K is 0 until then, a
 * sequence with a fixed K sits this round out. Returns whether the sequence takes part. */
static bool catch_up(struct sched *s, struct round *r, struct budget *b, struct seq *q)
{
    if (q->k == 0 || q->drafter == DRAFT_LOOKUP || q->drafter == DRAFT_NONE)
        return true;
    if (q->len - q->draft_len > SPECD_DRAFT_LAG_MAX)
        q->draft_len = add_chunk(r, b, q, MODEL_DRAFT, q->draft_len, draft_end(s, q));
    if (q->len - q->draft_len <= SPECD_DRAFT_LAG_MAX)
        return true;
    q->k = 0;
    return q->k_fixed < 0;
}

static void draft(struct sched *s, struct round *r, struct budget *b, uint64_t round_no)
{
    struct pace_seq pace[SPECD_SLOTS_MAX];
    struct seq *seqs[SPECD_SLOTS_MAX];
    for (struct seq *q = s->first; q; q = q->next) {
        if (!is_decoding(q))
            continue;
        int32_t i = r->n_seqs++;
        struct round_seq *rs = &r->seqs[i];
        rs->slot = q->slot;
        rs->source = DRAFT_FROM_MODEL;
        seqs[i] = q;
        pace[i] = pace_entry(q, propose(s, q, rs));
    }
    pace_choose(s->cost, pace, r->n_seqs, prefill_ns(s, r), round_no);
    int32_t n = 0;
    for (int32_t i = 0; i < r->n_seqs; i++) {
        seqs[i]->k = pace[i].k;
        if (!catch_up(s, r, b, seqs[i]))
            continue;
        r->seqs[n] = r->seqs[i];
        r->seqs[n++].k = seqs[i]->k;
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
        if (q && q->draft_kv && is_decoding(q) && q->len - q->draft_len > SPECD_DRAFT_LAG_MAX)
            rows += MAX(draft_end(s, q) - q->draft_len, 0);
    }
    return (int32_t)MIN(rows, INT32_MAX);
}

bool sched_plan(struct sched *s, struct round *r, uint64_t now)
{
    r->n_seqs = r->n_chunks = 0;
    r->synthetic_acceptance = s->synthetic_acceptance;
    grow(s);
    admit(s, now);
    int32_t rows = any_decoding(s) ? s->mixed_rows : s->max_rows;
    int32_t reserved = MIN(catch_up_rows(s), (rows + 1) / 2);
    struct budget budget = {.rows = {rows, rows - reserved}, .score_rows = SPECD_SCORE_ROWS};
    prefill(s, r, &budget);
    budget.rows[MODEL_DRAFT] += reserved;
    draft(s, r, &budget, s->rounds++);
    return r->n_seqs > 0 || r->n_chunks > 0;
}

/* ---- invariants ------------------------------------------------------------------------------ */

static bool seq_is_valid(const struct sched *s, const struct seq *q)
{
    if (q->state != SEQ_RUNNING)
        return q->slot == -1 && q->n_blocks == 0 && q->state != SEQ_DONE;
    if (q->slot < 0 || q->slot >= s->n_slots || s->slots[q->slot] != q)
        return false;
    if (q->len < 1 || q->len > q->limit || q->target_len > q->len - 1 || q->draft_len > q->len - 1)
        return false;
    if (q->n_blocks < blocks_for(q->len - 1))
        return false;
    /* what the next rows are written into is this sequence's alone */
    int32_t next_row = q->draft_kv ? MIN(q->target_len, q->draft_len) : q->target_len;
    for (int32_t i = next_row / SPECD_BLOCK_TOKENS; i < q->n_blocks; i++) {
        if (!kv_writable(s->kv, q->blocks[i]))
            return false;
    }
    return true;
}

bool sched_is_valid(const struct sched *s)
{
    int32_t running = 0, waiting = 0;
    for (const struct seq *q = s->first; q; q = q->next) {
        running += q->state == SEQ_RUNNING;
        waiting += q->state == SEQ_WAITING;
        if (!seq_is_valid(s, q) || (q->next && q->next->arrival <= q->arrival))
            return false;
    }
    return running == s->n_running && waiting == s->n_waiting && kv_is_valid(s->kv);
}
