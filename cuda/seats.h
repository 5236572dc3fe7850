/*
 * seats.h - the host's side of the slots: changes that wait for the next round, and what is known
 * of every slot without asking the device. As cpu/slots.h.
 *
 * slot_set and slot_blocks are copied into the seat; seats_pack, called when a round begins, writes
 * them out for launch_round_begin, into the pinned buffers of that round. Engine thread.
 *
 * What is known: lengths follow prompt chunks as they are submitted and results as they are
 * collected. While a round is in flight that extends the slot they are those of before it.
 */
#ifndef SPECD_CUDA_SEATS_H
#define SPECD_CUDA_SEATS_H

#include "begin.h"
#include "memory.h"

/* A request's lists, as big as any. */
struct seat_lists {
    int32_t *bias_ids; /* (SPECD_BIAS_MAX) */
    float *bias;       /* (SPECD_BIAS_MAX) */
    uint32_t *allowed; /* (ceil(V / 32)) */
};

struct seat {
    /* waiting */
    struct slot_config config; /* if is_set */
    bool is_set;
    int32_t *tokens; /* (n_ctx) */
    struct seat_lists lists;
    int32_t first_dirty, end_dirty; /* entries of blocks that the device has not seen */

    int32_t *blocks; /* the whole table, -1 where none was set */
    int32_t len, limit, target_len, draft_len, n_logprobs;
    uint32_t generation; /* counts slot_sets */
    int in_flight;       /* rounds not collected that extend it */
};

struct seats {
    struct seat *seats;        /* (n_slots), host */
    struct device_slot *slots; /* (n_slots), device */
    struct device_slot *homes; /* (n_slots), host: the slots' pointers, all else zero */
    struct seat_lists *lists;  /* (n_slots), host: of device memory */
    void *host;                /* one allocation behind all of the host's arrays of seats */
    int32_t n_slots, n_ctx, n_blocks_of_slot, n_vocab, n_allowed_words, k_max;
};

/* What one round in flight keeps of changes, pinned. */
struct seat_pages {
    unsigned char *base;
    size_t bytes_of_slot;
};

/* Takes the device's part from `a`, which may be counting; then there is no host part. */
void seats_layout(struct seats *s, const struct device_setup *setup, int32_t n_vocab,
                  struct gpu_arena *a);
/* Makes every slot one that was never set. SPECD_EDEVICE */
int seats_clear(struct seats *s);
void seats_free(struct seats *s); /* the host's part */

int seat_pages_open(struct seat_pages *pages, const struct seats *s); /* SPECD_ENOMEM */
void seat_pages_close(struct seat_pages *pages);

/* As device.h's verbs: SPECD_EINVAL if something does not fit, and nothing is staged. */
int seats_stage_config(struct seats *s, int32_t slot, const struct slot_config *config);
int seats_stage_blocks(struct seats *s, int32_t slot, int32_t first, int32_t n, const int32_t *ids,
                       int32_t n_pool_blocks);
/* What is staged -> in->changes and pages; nothing waits after that. */
void seats_pack(struct seats *s, struct round_input *in, const struct seat_pages *pages);
/* What was packed for a round that will not run waits again. */
void seats_unpack(struct seats *s, const struct round_input *in);

/* Whether positions 0..end of a slot have blocks. */
bool seat_has_blocks(const struct seats *s, int32_t slot, int32_t end);

#endif
