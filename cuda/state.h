/*
 * state.h - what lies in device memory at fixed addresses: the slots of sequences, the round that
 * is being run, and the pass of a model that is being put together.
 *
 * Kernels take the structures of pointers below by value, when a graph is captured; what changes
 * from round to round is behind the pointers. A round's first kernel brings slots and the round
 * from the host (begin.cu), everything else is written by kernels (rows.cu, advance.cu). Arrays are
 * sized by capacity, and a kernel finds out from memory how much of them is live.
 *
 * A pass is rows, each a (slot, position), in spans of one slot's consecutive positions. Rows from
 * n_rows to the capacity are padding, with slot -1: they belong to nobody, and no kernel reads or
 * writes anything for them.
 */
#ifndef SPECD_CUDA_STATE_H
#define SPECD_CUDA_STATE_H

#include "cudart.h"
#include "specd/device.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* As struct slot of cpu/slots.h. */
struct device_slot {
    int32_t *tokens; /* (n_ctx): len committed ones, drafted ones behind them */
    int32_t *blocks; /* (n_entries of the shape) ids, -1 where none was set */
    int32_t len, n_prompt, limit, rows[MODEL_ROLES]; /* len 0: never set */
    uint32_t round;
    /* Over: committed an end token or met NaN or infinite logits. A round that was submitted before
     * the host knew finds nothing to do here. */
    bool stopped, counting;
    struct sample_params params;             /* its arrays are in device memory */
    uint16_t *counts_generated, *counts_all; /* (k_max + 1, V), as on the CPU */
};

/* A sequence's part in the round, once launch_turns_begin has looked at its slot. */
struct round_turn {
    int32_t slot;
    int32_t k; /* after the clamps of device.h; < 0: the slot cannot decode, or not any more */
    enum draft_source source;
    int32_t first_row; /* of its k + 1 rows in the verify pass */
};

/* Where the round's time went so far, by the device's clock (clock.cuh). */
struct device_clock {
    uint64_t last_ns; /* of the last stamp */
    uint64_t idle_ns; /* before the round */
    uint64_t prompt_ns, draft_ns, verify_ns, sample_ns;
    uint64_t draft_prompt_ns; /* of prompt_ns, the draft model's */
};

/* What begin was told. */
struct device_round {
    struct round round;
    int32_t n_steps; /* draft steps that will run: no model draft is longer */
    /* Pinned host memory, which the round's last kernel writes: a copy behind it would be one more
     * thing that the next round waits for. The host reads them when the round has ended. */
    struct seq_result *results; /* (n_seqs), as round.seqs; NULL: nobody reads */
    struct device_clock *clock; /* NULL: nobody reads */
};

struct device_state {
    struct device_slot *slots;        /* (n_slots) */
    const struct device_round *round; /* n_seqs <= n_slots */
    struct device_clock *clock;       /* NULL: nobody asks */
    struct round_turn *turns;         /* (n_slots), as round->seqs */
    uint32_t *masks; /* (n_slots, k_max + 1, ceil(V / 32)) of seqs that have some */
    int32_t n_slots, n_ctx, n_blocks, k_max, k_draft;
    int32_t n_vocab,
        n_vocab_draft; /* the target's; ids that the draft may propose, 0 without one */
    /* (n_draft_tiles) of the draft step being run: whether some slot drafts one of the ids
     * 16 i .. 16 i + 15; as many as either model has. NULL: slots draft all ids. */
    uint8_t *draft_tiles;
    int32_t n_draft_tiles;
};

struct pass_row {
    int32_t slot, pos; /* slot -1: padding */
};

struct pass_span {
    int32_t slot, pos, n; /* rows at positions pos..pos+n */
    int32_t row;          /* the first of them in the pass */
    int32_t partial;      /* of attention.h: first (row, tile) of its partial results; -1: none */
};

/* Part of attention's work for each kv head: queries first..first+n of a span, its rows times the
 * heads of a group counted row by row. */
struct attention_item {
    int32_t span, first, n;
    int32_t tile; /* that one, leaving partial results; -1: all, one after another */
};

/* One row whose partial results wait to be merged. */
struct attention_merge {
    int32_t row, partial, n_tiles;
};

struct pass_counts {
    int32_t n_rows, n_logits, n_spans, n_items, n_merges;
};

struct pass {
    struct pass_counts *counts;
    struct pass_row *rows;          /* (max_rows) */
    int32_t *logit_rows;            /* (max_logits): rows that want logits; padding -1 */
    int32_t *turn_of_logit;         /* (max_logits): index into turns, of a prompt's into chunks */
    struct pass_span *spans;        /* (n_slots) */
    struct attention_item *items;   /* (max_items) */
    struct attention_merge *merges; /* (max_partials) */
    int32_t max_rows, max_logits, max_items, max_partials;
};

/* Items that a pass of max_rows rows of n_slots slots can have, with that many partial results (one
 * is a row's for one tile, all heads), query heads to a kv head, and queries to an item. */
static inline int32_t pass_items_max(int32_t max_rows, int32_t n_slots, int32_t max_partials,
                                     int32_t group, int32_t queries)
{
    int32_t of_row = (group + queries - 1) / queries;

    return (max_rows + max_partials) * of_row + n_slots;
}

/* ---- rows.cu --------------------------------------------------------------------------------- */

struct pass_request {
    enum row_set set;
    enum model_role role;
    int32_t step;     /* ROWS_STEP: from 1 */
    int32_t first;    /* ROWS_PROMPT: rows first..first+max_rows of all the chunks' of that role */
    int32_t capacity; /* rows the pass's kernels are launched for, <= max_rows */
    int32_t group;    /* query heads to a kv head */
    int32_t queries;  /* to an item: ATTENTION_QUERIES_... of attention.h */
};

/* Writes the pass: counts, rows, spans, logits' rows and attention's work, from slots, turns and
 * round; rows past the capacity are left alone. More rows than the capacity, unless set is
 * ROWS_PROMPT, a chunk that does not continue its slot and a position without a block are bugs: the
 * kernel traps. */
int launch_rows(const struct device_state *state, const struct pass *pass,
                const struct pass_request *request, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
