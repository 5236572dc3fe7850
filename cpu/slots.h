/*
 * slots.h - the state of every slot, and the changes that wait for the next round.
 *
 * The live half belongs to whoever runs the round: the device's round thread between `end` and the
 * completion, the engine thread otherwise. The staged half (specd/slot_stage.h) is the engine
 * thread's alone, so that slot_set and slot_blocks may be called while a round runs; slots_apply,
 * called by `begin` when no round is in flight, makes it live.
 */
#ifndef SPECD_CPU_SLOTS_H
#define SPECD_CPU_SLOTS_H

#include "arena.h"
#include "specd/slot_stage.h"

struct slot {
    int32_t *tokens; /* (n_ctx): len committed ones, drafted ones behind them */
    int32_t *blocks; /* (n_entries of the shape) ids, -1 where none was set */
    int32_t len, n_prompt, limit, rows[MODEL_ROLES]; /* len 0: never set */
    uint32_t round;
    struct sample_params params; /* its arrays, if any, are those of `lists` */
    struct slot_lists lists;
    /* Occurrences by id, (k_max + 1, V) each: row k is about tokens[0..len + k). Row 0 is kept up
     * to date while a penalty is on; rows of drafted tokens are filled in by the round. */
    uint16_t *counts_generated, *counts_all;
    bool counting;
};

struct slots {
    struct slot *slots;       /* (n_slots) */
    struct slot_stage *stage; /* (n_slots) */
    struct slot_shape shape;
};

/* Takes memory of one size for any content; `a` may be counting. n_vocab: the target's. */
void slots_layout(struct slots *s, const struct device_setup *setup, int32_t n_vocab,
                  struct arena *a);

/* What is staged becomes live. */
void slots_apply(struct slots *s);

/* Row `row` of counts becomes row - 1 plus one occurrence of `id`. */
void slot_count_drafted(const struct slots *s, struct slot *slot, int row, int32_t id);
/* Appends committed tokens; counts and len follow. */
void slot_commit(struct slot *slot, const int32_t *tokens, int32_t n);

#endif
