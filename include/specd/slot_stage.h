/*
 * slot_stage.h - what slot_set and slot_blocks said of a slot and no round has taken yet: checked
 * and copied on the host, the same for every device. Engine thread.
 */
#ifndef SPECD_SLOT_STAGE_H
#define SPECD_SLOT_STAGE_H

#include "specd/device.h"

/* Sizes that all slots of a device share. */
struct slot_shape {
    int32_t n_slots, n_ctx, k_max, k_draft; /* of the setup */
    int32_t n_blocks;                       /* entries of a block table: those of n_ctx tokens */
    int32_t n_entries; /* and as many for layers with windows, if the target has some */
    int32_t n_vocab;   /* the target's */
    bool trims_draft;  /* of the setup */
};

/* Room for a slot's logit_bias, allowed and drafted ids, as large as any. */
struct slot_lists {
    int32_t *bias_ids;   /* (SPECD_BIAS_MAX) */
    float *bias;         /* (SPECD_BIAS_MAX) */
    uint32_t *allowed;   /* (mask_words(V)) */
    uint32_t *draft_ids; /* (slot_draft_words) */
};

/* The arrays are the device's, which also clears them. */
struct slot_stage {
    struct slot_config config; /* while is_set; its arrays are tokens and lists */
    bool is_set;
    int32_t *tokens; /* (n_ctx) */
    struct slot_lists lists;
    int32_t *blocks;                /* (n_entries) the whole table, -1 where none was set */
    int32_t first_dirty, end_dirty; /* of blocks: entries that wait, empty if equal */
};

struct slot_shape slot_shape_of(const struct device_setup *setup, int32_t n_vocab);
/* Of draft_ids: 0 where slots have none. */
int32_t slot_draft_words(const struct slot_shape *shape);

/* Stage slot `slot` of `stages` (n_slots). SPECD_EINVAL if something does not fit the slot, or
 * would be read out of bounds; then nothing is staged. The ranges of sampling parameters are the
 * server's business. ids are those of a pool of n_pool_blocks, of entries from n_blocks on those of
 * a group of n_window_blocks; 0: there are no such entries. */
int slot_stage_config(struct slot_stage *stages, const struct slot_shape *shape, int32_t slot,
                      const struct slot_config *config);
int slot_stage_blocks(struct slot_stage *stages, const struct slot_shape *shape, int32_t slot,
                      int32_t first, int32_t n, const int32_t *ids, int32_t n_pool_blocks,
                      int32_t n_window_blocks);
/* Entries first..first+n of the table wait, and those between them and what waits already. */
void slot_stage_mark(struct slot_stage *stage, int32_t first, int32_t n);

/* Copies what p's arrays hold; and points p's arrays there. allowed and draft_ids that are NULL
 * stay NULL. */
void slot_lists_copy(const struct slot_lists *to, const struct sample_params *p, int32_t n_vocab);
void slot_lists_point(const struct slot_lists *at, struct sample_params *p);

/* Whether a law of theirs depends on how often a token occurred. */
bool params_count(const struct sample_params *p);

#endif
