/*
 * slots.h - the host's side of the slots: changes that wait for the next round, and what is known
 * of every slot without asking the device. As cpu/slots.h.
 *
 * slot_set and slot_blocks leave their changes in a stage (specd/slot_stage.h); gpu_slots_pack,
 * called when a round begins, writes them out for launch_round_begin, into the pinned buffers of
 * that round. Engine thread.
 *
 * What is known: lengths follow prompt chunks as they are submitted and results as they are
 * collected. While a round is in flight that extends the slot they are those of before it.
 */
#ifndef SPECD_CUDA_SLOTS_H
#define SPECD_CUDA_SLOTS_H

#include "begin.h"
#include "memory.h"
#include "specd/round_check.h"

/* What the host knows. */
struct gpu_slot {
    int32_t len, limit, rows[MODEL_ROLES], n_logprobs;
    uint32_t generation; /* counts slot_sets */
    int in_flight;       /* rounds not collected that extend it */
};

struct gpu_slots {
    struct slot_stage *stage;      /* (n_slots) */
    struct gpu_slot *slots;        /* (n_slots) */
    struct device_slot *on_device; /* (n_slots), device memory */
    struct device_slot *homes;     /* (n_slots): the device's slots' pointers, all else zero */
    struct slot_lists *lists;      /* (n_slots): of device memory */
    void *host;                    /* one allocation behind all of the stages' arrays */
    struct slot_shape shape;
};

/* What one round in flight keeps of changes, pinned. */
struct slot_pages {
    int32_t *base;
    size_t words_of_slot;
};

/* Takes the device's part from `a`, which may be counting; then there is no host part. */
void gpu_slots_layout(struct gpu_slots *s, const struct device_setup *setup, int32_t n_vocab,
                      struct gpu_arena *a);
/* Makes every slot one that was never set. SPECD_EDEVICE */
int gpu_slots_clear(struct gpu_slots *s);
void gpu_slots_free(struct gpu_slots *s); /* the host's part */

int slot_pages_open(struct slot_pages *pages, const struct gpu_slots *s); /* SPECD_ENOMEM */
void slot_pages_close(struct slot_pages *pages);

/* The verb slot_set: SPECD_EINVAL if the configuration does not fit; then nothing is staged. */
int gpu_slots_set(struct gpu_slots *s, int32_t slot, const struct slot_config *config);
/* For round_check: slots is a struct gpu_slots. */
struct slot_view gpu_slots_view(const void *slots, int32_t slot);
/* What is staged -> in->changes and pages; nothing waits after that. */
void gpu_slots_pack(struct gpu_slots *s, struct round_input *in, const struct slot_pages *pages);
/* What was packed for a round that will not run is staged again. */
void gpu_slots_unpack(struct gpu_slots *s, const struct round_input *in);

#endif
