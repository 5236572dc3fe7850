/*
 * deferred_device.h - the CPU device behind a queue, as a device that takes two rounds in flight.
 *
 * What the engine says of round n + 1 (slots, blocks, the round) is copied when it says so, and
 * reaches the CPU device when its turn comes, after round n: as work on a stream does. Sequences
 * that have ended by then yield n_tokens 0. Results come in order.
 *
 * It is also a judge of deferred frees: a slot that a round in flight names must not be set anew,
 * a block whose target rows such a round may write must not be given to another slot, and no two
 * slots may write draft rows into one block. Any of these ends the process with a message. The
 * judge is the engine's thread; a thread of the device's own feeds the CPU device.
 */
#ifndef SPECD_TEST_DEFERRED_DEVICE_H
#define SPECD_TEST_DEFERRED_DEVICE_H

#include "specd/device.h"

extern const struct device_ops deferred_device_ops;

enum deferred_fault { FAULT_NONE, FAULT_POLL, FAULT_COLLECT, FAULT_BEGIN, FAULT_END, FAULT_OPEN };

/* Of the devices opened from now on: 1 or 2. Nothing fails until the next call says so. */
void deferred_depth(int rounds_in_flight);
/* Of the same: memory that is the device's own, with so many bytes free of total; 0: the host's. */
void deferred_memory(uint64_t total, uint64_t free_bytes);
/* What fails once `after` more rounds have been collected. May be called while a device runs. */
void deferred_break(enum deferred_fault fault, int after);

/* Of the device opened last. */
struct deferred_counts {
    int rounds, overlapped; /* submitted; of these, while another was in flight */
    int dropped;            /* sequences that had ended when their round came */
    int filled, early; /* chunks and first steps of the draft model; of these, before a slot's first
                          token was out */
};
struct deferred_counts deferred_counts(void);

#endif
