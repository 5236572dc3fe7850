/*
 * turns.h - what a round does to each of its sequences: its laws, drawn by the draft, verified
 * against the target, and the slot's advance.
 *
 * A turn is one sequence's part in one round. The engine thread makes turns in `begin`; the round
 * thread draws, verifies and advances them. Drafted tokens stand behind the slot's committed ones:
 * x~_k, counted from 1, at tokens[len - 1 + k]; arrays here count from 0.
 */
#ifndef SPECD_CPU_TURNS_H
#define SPECD_CPU_TURNS_H

#include "arena.h"
#include "attention.h"
#include "law.h"
#include "pool.h"
#include "slots.h"

struct turn {
    struct slot *slot;
    int32_t slot_id, k;
    enum draft_source source;
    const uint32_t *masks;     /* (k + 1, words) a copy of the round's, or NULL */
    int32_t first_row;         /* of its k + 1 verify rows */
    int n_overlaps;            /* to be stated */
    struct law p[SPECD_K_MAX]; /* the laws that x~ was drawn from */
    struct law q[SPECD_K_MAX + 1];
};

struct turns {
    struct slots *slots;
    struct pool *pool;
    int n_vocab, n_vocab_draft; /* the target's; ids that the draft may propose */
    int k_max;
    size_t target_stride, draft_stride;
    float *target_logits; /* (n_slots * (k_max + 1), V) of the verify pass */
    float *draft_logits;  /* (k_draft, n_slots, V of the draft) */
    uint64_t *scratch;    /* (threads, V) */
    size_t scratch_stride;
    int32_t *turn_of_row;      /* (n_slots * (k_max + 1)) */
    struct token_logprob *own; /* (n_slots, k_max + 1) */
    struct token_logprob *top; /* (n_slots, k_max + 1, SPECD_LOGPROBS_MAX) */
    struct turn *turns;        /* (n_slots) */
    uint32_t *masks;           /* (n_slots, k_max + 1, n_mask_words) */
    int32_t n_mask_words;
    uint32_t *wanted; /* (n_mask_words): ids that some slot of the draft step drafts */
    int32_t *panels;  /* (n_vocab_draft / 16 + 1) of the draft's output that hold them; NULL: slots
                         draft all ids */
    int32_t n_turns;
    struct span *spans;    /* (n_slots): the pass being put together */
    int32_t *turn_of_span; /* (n_slots): in the last draft step */
    int32_t n_spans;

    /* the stage being run */
    struct law_threads threads; /* for a row that is alone */
    int n_items;
    int step;
    float synthetic_acceptance;
    struct round_result *result;
};

/* n_vocab_draft: of the draft model, 0 without one. */
void turns_layout(struct turns *t, const struct device_setup *setup, int n_vocab, int n_vocab_draft,
                  int threads, struct arena *a);

/* Adds a turn of the slot, which can decode, with k drafts. */
void turns_add(struct turns *t, const struct round_seq *seq, int32_t k);

/* Rows of draft step `step` (from 1) and of the verify pass, as spans. */
void turns_step_spans(struct turns *t, int step);
void turns_verify_spans(struct turns *t);
/* Where the spans' logits go; step <= k_max. */
float *turns_draft_logits(const struct turns *t, int step);
/* Panels of the draft's output that the last turns_step_spans want; NULL: all. */
const int32_t *turns_draft_panels(struct turns *t, int *n);

/* x~_step of the turns in the last turns_step_spans. */
void turns_draw(struct turns *t, int step);
/* Accepts, draws the residual or bonus, advances the slots, fills result->seqs. */
void turns_verify(struct turns *t, struct round_result *result);

#endif
