#include "scheduler.h"

#include "fill.h"

#include <stddef.h>
#include <string.h>

static struct seq *seq_of(struct share_item *i)
{
    return (struct seq *)((char *)i - offsetof(struct seq, share));
}

void sched_init(struct sched *s, struct kv *kv, struct draft_len *drafts)
{
    *s = (struct sched){.kv = kv, .drafts = drafts, .synthetic_acceptance = -1.0f};
}

void sched_fini(struct sched *s)
{
    share_clear(&s->share);
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
    share_add(&s->share, &q->share, q->req->client, q->req->priority);
}

void sched_ready(struct sched *s, struct seq *q)
{
    ASSERT((q->state == SEQ_PREPARING || q->state == SEQ_STALLED) && q->len >= 1);
    q->state = SEQ_WAITING;
    if (!q->parent)
        share_set(&s->share, &q->share, SHARE_WAITING, s->flight.submitted);
}

void sched_release_choices(struct sched *s, const struct seq *parent)
{
    for (struct seq *q = s->first; q; q = q->next) {
        if (q->parent != parent || q->state == SEQ_PREPARING)
            continue;
        q->parent = NULL;
        if (q->state == SEQ_WAITING)
            share_set(&s->share, &q->share, SHARE_WAITING, s->flight.submitted);
    }
}

void sched_commit(struct sched *s, struct seq *q)
{
    kv_commit(s->kv, q->req->cache_salt, q->tokens, q->target_len, q->draft_len, q->blocks,
              q->n_blocks);
}

/* ---- windows --------------------------------------------------------------------------------- */

static void drop_windows(struct sched *s, struct seq *q, int32_t end)
{
    end = MIN(end, q->window_end);
    if (end > q->window_first)
        kv_window_drop(s->kv, q->blocks + q->window_first, end - q->window_first);
    q->window_first = MAX(q->window_first, end);
}

/* Rows behind a window are given up; what they were is indexed before, for others to find. */
static void leave_windows(struct sched *s)
{
    for (int32_t i = 0; i < s->n_slots; i++) {
        struct seq *q = s->slots[i];
        if (!q)
            continue;
        int32_t first = kv_window_first(s->kv, q->target_len);
        if (first > q->window_first) {
            sched_commit(s, q);
            drop_windows(s, q, first);
        }
    }
}

static void take_windows(struct sched *s, int32_t slot, int32_t n_blocks)
{
    struct seq *q = s->slots[slot];
    for (; kv_n_windows(s->kv) > 0 && q->window_end < n_blocks; q->window_end++)
        kv_window_take(s->kv, q->blocks[q->window_end]);
}

/* For the rows of the target that the round computes. */
static void take_windows_of(struct sched *s, const struct round *r)
{
    for (int32_t i = 0; i < r->n_chunks; i++) {
        const struct round_chunk *c = &r->chunks[i];
        if (c->role == MODEL_TARGET)
            take_windows(s, c->slot, blocks_for(c->start + c->n));
    }
    for (int32_t i = 0; i < r->n_seqs; i++)
        take_windows(s, r->seqs[i].slot, s->slots[r->seqs[i].slot]->n_blocks);
}

/* ---- slots ----------------------------------------------------------------------------------- */

/* Gives slot and blocks back. Full blocks stay in the prefix index; what a round in flight may
 * still write into them stays claimed until it has retired. */
static void leave_slot(struct sched *s, struct seq *q)
{
    sched_commit(s, q);
    drop_windows(s, q, q->window_end);
    kv_release_after(s->kv, q->blocks, q->n_blocks, s->flight.submitted);
    q->window_first = q->window_end = q->window_sent = 0;
    memset(q->parts, 0, sizeof q->parts);
    s->slot_left[q->slot] = s->flight.submitted;
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
    share_set(&s->share, &q->share, to == SEQ_WAITING ? SHARE_WAITING : SHARE_IDLE,
              s->flight.submitted);
}

static void preempt(struct sched *s, struct seq *q, enum preempt_why why)
{
    s->preemptions[why]++;
    sched_evict(s, q, SEQ_WAITING);
}

void sched_remove(struct sched *s, struct seq *q)
{
    if (q->slot >= 0)
        leave_slot(s, q);
    share_remove(&s->share, &q->share);
    q->state = SEQ_DONE;
    if (q->prev)
        q->prev->next = q->next;
    else
        s->first = q->next;
    if (q->next)
        q->next->prev = q->prev;
    else
        s->last = q->prev;
    q->prev = q->next = NULL;
}

/* ---- grow ------------------------------------------------------------------------------------ */

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

/* Rows of the next verify pass stand at positions len-1 .. len-1+K. An adaptive K shrinks before
 * anyone is preempted; a fixed K never does, as it is part of a promise to replay. */
static void grow_one(struct sched *s, struct seq *q)
{
    int32_t k = flight_k_bound(&s->flight, q);
    int32_t must = blocks_for(flight_end(&s->flight, q, q->k_fixed >= 0 ? k : 0));
    if (grow_to(s, q, blocks_for(flight_end(&s->flight, q, k))))
        return;
    while (!grow_to(s, q, must)) {
        ASSERT(flight_count(&s->flight) == 0);
        struct seq *victim = seq_of(share_yields(&s->share, s->flight.submitted));
        preempt(s, victim, PREEMPT_BLOCKS);
        if (victim == q)
            return;
    }
}

static void grow(struct sched *s)
{
    for (struct seq *q = s->first; q; q = q->next) {
        if (flight_can_decode(&s->flight, q))
            grow_one(s, q);
    }
}

/* ---- admit ----------------------------------------------------------------------------------- */

static int32_t free_slot(const struct sched *s)
{
    for (int32_t i = 0; i < s->n_slots; i++) {
        if (!s->slots[i] && s->slot_left[i] <= s->flight.retired)
            return i;
    }
    return -1;
}

/* Takes cached blocks and new ones for all committed tokens and a first round, and leaves one block
 * to each sequence that runs, so that admissions do not cause preemptions at once. Returns how many
 * blocks are lacking, and takes none then. */
static int32_t take_blocks(struct sched *s, struct seq *q)
{
    int32_t k = flight_k_bound(&s->flight, q);
    int32_t total = blocks_for(q->len + k);
    if (total > q->blocks_cap) {
        q->blocks_cap = total;
        q->blocks = xrealloc(q->blocks, (size_t)total * sizeof *q->blocks);
    }
    q->draft_kv = seq_drafts_from(q, DRAFT_FROM_MODEL) && q->len < s->draft_ctx;
    if (!q->score) /* rows that are to be scored are computed anew */
        q->n_blocks = kv_match(s->kv, q->req->cache_salt, q->tokens, q->len, q->blocks,
                               &q->target_len, &q->draft_len);
    q->window_first = q->window_sent = kv_window_first(s->kv, q->target_len);
    q->window_end = q->n_blocks;
    int32_t lacking = total - q->n_blocks + s->n_running - kv_n_free(s->kv);
    if (lacking <= 0) {
        bool ok = grow_to(s, q, total);
        ASSERT(ok);
        return 0;
    }
    drop_windows(s, q, q->window_end);
    kv_release(s->kv, q->blocks, q->n_blocks);
    q->window_first = q->window_end = q->window_sent = 0;
    q->n_blocks = q->target_len = q->draft_len = 0;
    return lacking;
}

static void take_slot(struct sched *s, struct seq *q, int32_t slot, uint64_t now)
{
    seq_begin_drafts(q);
    s->slots[slot] = q;
    s->n_running++;
    q->state = SEQ_RUNNING;
    q->slot = slot;
    q->stay = ++s->stays;
    seq_renew_slot(q);
    s->cache_queries += (uint64_t)q->len;
    s->cache_hits += (uint64_t)q->target_len;
    share_set(&s->share, &q->share, SHARE_RUNNING, s->flight.submitted);
    if (q->t_admitted == 0) {
        q->t_admitted = now;
        q->stats.n_cached = q->target_len;
    }
}

/* Slots are short: those that will be free when rounds in flight retire are promised, in order;
 * beyond these, whoever may claim another's slot has that sequence preempted. Returns how many
 * were. */
static int32_t claim_slots(struct sched *s)
{
    uint64_t round = s->flight.submitted;
    struct share_item *next, *victim;
    int32_t n = 0;
    for (;;) {
        bool is_free = s->n_slots - s->n_running > s->share.n_promised;
        next = share_claim(&s->share, is_free, round, &victim);
        if (!next)
            return n;
        share_set(&s->share, next, SHARE_PROMISED, round);
        if (victim)
            preempt(s, seq_of(victim), PREEMPT_SHARE);
        n += victim != NULL;
    }
}

/* Blocks are short for q: sequences whose slots it may claim are preempted for theirs, as many as
 * it takes, or none when all of them hold too few. Blocks that will be free when rounds in flight
 * retire need no claim. Returns how many were preempted. */
static int32_t claim_blocks(struct sched *s, struct seq *q, int32_t lacking)
{
    uint64_t round = s->flight.submitted;
    struct seq *victims[SPECD_SLOTS_MAX];
    struct share_item *victim;
    int32_t n = 0;
    lacking -= kv_n_deferred(s->kv);
    while (lacking > 0 && (victim = share_victim(&s->share, &q->share, round))) {
        victims[n] = seq_of(victim);
        lacking -= 1 + kv_n_sole(s->kv, victims[n]->blocks, victims[n]->n_blocks);
        share_set(&s->share, victim, SHARE_IDLE, round); /* until it is known whether it goes */
        n++;
    }
    for (int32_t i = 0; i < n; i++)
        share_set(&s->share, &victims[i]->share, SHARE_RUNNING, round);
    if (lacking > 0 || n == 0)
        return 0;
    share_set(&s->share, &q->share, SHARE_PROMISED, round);
    for (int32_t i = 0; i < n; i++)
        preempt(s, victims[i], PREEMPT_SHARE);
    return n;
}

/* Nobody goes ahead of one that waits for blocks: a long prompt is not starved by short ones. */
static void admit(struct sched *s, uint64_t now)
{
    struct share_item *next;
    s->is_blocked = false;
    while ((next = share_next(&s->share, s->flight.submitted))) {
        struct seq *q = seq_of(next);
        int32_t slot = free_slot(s);
        if (slot < 0) {
            s->is_blocked = false;
            if (claim_slots(s) == 0)
                return;
            continue;
        }
        int32_t lacking = take_blocks(s, q);
        s->is_blocked = lacking > 0;
        if (lacking == 0)
            take_slot(s, q, slot, now);
        else if (claim_blocks(s, q, lacking) == 0)
            return;
    }
}

/* ---- a plan ---------------------------------------------------------------------------------- */

/*
 * Whether a round may be planned while another is in flight. It must not where the host is needed
 * between the two:
 *   - the host drafts from the text that the round in flight commits;
 *   - under a grammar that text says what may follow;
 *   - at the end of the draft model's context K follows from the exact length;
 *   - where the pool would have to be emptied for it, better wait than preempt on an upper bound.
 */
static bool may_follow(const struct sched *s)
{
    int64_t blocks = 0;
    for (const struct seq *q = s->first; q; q = q->next) {
        if (!flight_can_decode(&s->flight, q))
            continue;
        int32_t k = flight_k_bound(&s->flight, q), end = flight_end(&s->flight, q, k);
        blocks += MAX(blocks_for(end) - q->n_blocks, 0);
        if (q->constraint && flight_decodes(&s->flight, q))
            return false;
        if (k == 0 || !flight_decodes(&s->flight, q))
            continue;
        bool at_draft_end = end > s->draft_ctx && flight_len_least(&s->flight, q) < s->draft_ctx;
        if (seq_drafts_from(q, DRAFT_FROM_HOST) || (q->draft_kv && at_draft_end))
            return false;
    }
    return blocks <= kv_n_free(s->kv);
}

bool sched_plan(struct sched *s, struct round *r, uint64_t now)
{
    ASSERT(flight_count(&s->flight) <= 1);
    if (flight_count(&s->flight) > 0 && !may_follow(s))
        return false;
    r->synthetic_acceptance = s->synthetic_acceptance;
    leave_windows(s);
    grow(s);
    admit(s, now);
    fill_round(s, r);
    take_windows_of(s, r);
    if (r->n_seqs == 0 && r->n_chunks == 0)
        return false;
    s->flight.submitted++;
    return true;
}

void sched_retire(struct sched *s, uint64_t number)
{
    s->flight.retired = number;
    kv_retire(s->kv, number);
    for (int32_t i = 0; i < s->n_slots; i++) {
        struct seq *q = s->slots[i];
        if (!q)
            continue;
        int32_t draft_len = q->draft_len;
        flight_land(q, number);
        if (q->draft_len > draft_len) /* others may count on these rows, too */
            sched_commit(s, q);
    }
}

/* ---- invariants ------------------------------------------------------------------------------ */

static bool seq_is_valid(const struct sched *s, const struct seq *q)
{
    bool in_line = q->share.state == SHARE_WAITING || q->share.state == SHARE_PROMISED;
    if ((q->state == SEQ_RUNNING) != (q->share.state == SHARE_RUNNING) ||
        (q->state == SEQ_WAITING && !q->parent) != in_line)
        return false;
    if (q->state != SEQ_RUNNING)
        return q->slot == -1 && q->n_blocks == 0 && q->state != SEQ_DONE &&
               q->parts[0].round == 0 && q->parts[1].round == 0;
    if (q->slot < 0 || q->slot >= s->n_slots || s->slots[q->slot] != q)
        return false;
    if (q->len < 1 || q->len > q->limit || q->target_len > q->len - 1 || q->draft_len > q->len - 1)
        return false;
    if (q->n_blocks < blocks_for(flight_len_most(&s->flight, q) - 1))
        return false; /* rounds in flight write up to there */
    if (kv_draft_rows(s->kv, q->blocks, q->n_blocks, 0) < q->draft_len)
        return false;
    /* what the target's next rows are written into is this sequence's alone */
    for (int32_t i = q->target_len / SPECD_BLOCK_TOKENS; i < q->n_blocks; i++) {
        if (!kv_writable(s->kv, q->blocks[i]))
            return false;
    }
    return true;
}

bool sched_is_valid(const struct sched *s)
{
    int32_t running = 0;
    for (const struct seq *q = s->first; q; q = q->next) {
        running += q->state == SEQ_RUNNING;
        if (!seq_is_valid(s, q) || (q->next && q->next->share.arrival <= q->share.arrival))
            return false;
    }
    return running == s->n_running && share_is_valid(&s->share) && kv_is_valid(s->kv);
}
