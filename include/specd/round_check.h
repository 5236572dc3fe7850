/*
 * round_check.h - whether a round fits the slots it names, and whether its verbs come in an order
 * that means something: what `begin` .. `end` of device.h ask on every device. Engine thread.
 */
#ifndef SPECD_ROUND_CHECK_H
#define SPECD_ROUND_CHECK_H

#include "specd/round_rules.h"
#include "specd/slot_stage.h"

/* ---- begin ----------------------------------------------------------------------------------- */

/* What the engine's thread knows of a slot. */
struct slot_view {
    const int32_t *blocks;                 /* (n_blocks of the shape) -1 where none was set */
    int32_t len, limit, rows[MODEL_ROLES]; /* len 0: never set */
    int32_t n_logprobs;                    /* -1: wants none */
    /* A round in flight extends it. len and rows are then those of before that round, and what
     * depends on them is decided on the device. */
    bool is_moving;
};

typedef struct slot_view slot_view_of(const void *slots, int32_t slot);

struct round_limits {
    const struct slot_shape *shape;
    bool has_model[MODEL_ROLES];
    int32_t n_vocab_draft; /* as in draft_limits */
};

/* SPECD_EINVAL when a chunk or a sequence does not fit, as device.h says it has to. Otherwise
 * k[i], for each of round->seqs, is its K after the clamps; of a moving slot the largest it may
 * still be. */
int round_check(const struct round *round, const struct round_limits *limits, slot_view_of *view_of,
                const void *slots, int32_t k[SPECD_SLOTS_MAX]);

/* ---- from begin to end ----------------------------------------------------------------------- */

/* A round while it is recorded. Zero: none is. */
struct round_record {
    bool active;
    bool has_model[MODEL_ROLES];
    bool wants_prompt[MODEL_ROLES], wants_verify; /* what begin announced */
    bool has_prompt[MODEL_ROLES], has_verify;     /* what was recorded */
    int32_t n_steps;                              /* draft steps, up to their draw */
    bool can_draw, can_verify; /* the verb before leaves the logits that this one reads */
};

void round_record_begin(struct round_record *r, const struct round *round,
                        const struct round_limits *limits);
/* The verbs: 0, or SPECD_EINVAL and nothing was recorded. Draft steps come one after another, each
 * drawn from before the next, and nothing comes after verify. */
int round_record_forward(struct round_record *r, enum model_role role, enum row_set rows, int step);
int round_record_draw(struct round_record *r, int step);
int round_record_verify(struct round_record *r);
/* 0 ends the recording; SPECD_EINVAL unless all is recorded that begin announced. */
int round_record_end(struct round_record *r);

#endif
