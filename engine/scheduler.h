/*
 * scheduler.h - who runs, how many tokens each drafts, which prompt chunks ride along. Pure policy.
 *
 * No device, no clock, no I/O: it moves sequences between the waiting queue and slots, moves blocks
 * between the pool and sequences, and writes a `struct round`. Its caller carries the decisions
 * out. Engine thread.
 *
 * A plan, in this order:
 *   grow     every decoding sequence, oldest first, gets blocks for its next rows; when the pool is
 *            empty a running sequence of the client with most is preempted (its full blocks stay in
 *            the prefix index, so it comes back cheaply)
 *   admit    waiting sequences take free slots while their prompt fits beside what runs, as share.h
 *            orders them; where slots or blocks are short, those give them up whom share.h names.
 *            Choices (n > 1) wait until their parent's prompt is in the prefix index
 *   prefill  chunks of the target's prompt rows under the row budget: clients in turn, and the
 *            oldest of each first
 *   draft    K per decoding sequence, and rows of the draft model where they pay (draft_len.h)
 *
 * A plan may be made while a round is in flight (flight.h). It then goes by upper bounds, and is
 * empty where the round must wait for what the one in flight commits. What a sequence gives up,
 * slot and blocks, is freed only when all rounds submitted by then have retired. Hence for every
 * slot that a round in flight names, slots[] holds the sequence it named, or NULL.
 */
#ifndef SPECD_SCHEDULER_H
#define SPECD_SCHEDULER_H

#include "flight.h"
#include "kv.h"
#include "draft_len.h"
#include "seq.h"
#include "share.h"

/* Why a sequence lost its slot: those that run needed blocks, or another client its share. */
enum preempt_why { PREEMPT_BLOCKS, PREEMPT_SHARE, PREEMPT_WHYS };

struct sched {
    struct kv *kv;
    struct draft_len *drafts;
    int32_t n_slots, max_rows; /* max_rows: of one prompt pass */
    int32_t mixed_rows;        /* the same while others decode: keeps their tokens coming */
    int32_t draft_ctx;         /* positions the draft model may see; 0: no draft model */
    int32_t k_draft;           /* tokens that it may draft in a round */
    float synthetic_acceptance;

    struct flight flight;
    struct seq *slots[SPECD_SLOTS_MAX];
    uint64_t slot_left[SPECD_SLOTS_MAX]; /* last round submitted when it became NULL */
    int32_t n_running;
    struct seq *first, *last; /* every sequence, oldest arrival first */
    struct share share;
    bool is_blocked; /* those that waited in the last plan did so for blocks, not for slots */
    uint64_t preemptions[PREEMPT_WHYS], stays;
    uint64_t cache_queries, cache_hits; /* tokens of admitted sequences; found in the index */
};

void sched_init(struct sched *s, struct kv *kv, struct draft_len *drafts);
void sched_fini(struct sched *s); /* all sequences are removed */
/* Enters a sequence, PREPARING, behind all others; it becomes WAITING with sched_ready. */
void sched_add(struct sched *s, struct seq *q);
void sched_ready(struct sched *s, struct seq *q);
/* The parent's prompt is computed, or it is going: choices that wait for it need not any more. */
void sched_release_choices(struct sched *s, const struct seq *parent);
/* Takes a sequence out, from any state; it is DONE. */
void sched_remove(struct sched *s, struct seq *q);
/* Gives up slot and blocks; state becomes to (WAITING or STALLED). */
void sched_evict(struct sched *s, struct seq *q, enum seq_state to);
/* Tells the prefix index what the sequence's rows hold now (kv_commit). */
void sched_commit(struct sched *s, struct seq *q);
/* Fills round, which counts as submitted from then on; false when there is nothing to run, or
 * nothing yet. At most one round may be in flight. `now` stamps admissions. */
bool sched_plan(struct sched *s, struct round *round, uint64_t now);
/* Round `number` is collected, and so are those before it. Its results come next. */
void sched_retire(struct sched *s, uint64_t number);
/* Invariants, for debug and hostile builds. */
bool sched_is_valid(const struct sched *s);

#endif
