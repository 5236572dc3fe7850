/*
 * rig.h - random laws on both devices, for tests that compare cuda/'s sampling with cpu/'s.
 *
 * A rig_slot is one sequence's parameters, with what they point to, on the host and in device
 * memory. Device memory is taken for one test case and freed at its end, all at once.
 */
#ifndef SPECD_EMU_RIG_H
#define SPECD_EMU_RIG_H

#include "law.h"
#include "sampling.h"
#include "seeded.h"

void *device_take(size_t bytes); /* holds noise */
void *device_copy(const void *host, size_t bytes);
void device_read(void *host, const void *device, size_t bytes); /* after all that was launched */
void device_free_all(void);

/* Threads and blocks at random. */
struct sampling_shape shape_random(void);

struct rig_slot {
    struct sample_params params, *device;
    int32_t n_vocab;
    int32_t bias_ids[8];
    float bias[8];
    uint32_t *allowed;
    uint16_t *counts[2], *device_counts[2]; /* (V) generated, all; NULL: no penalties */
};

/* Every parameter at random, each off at least half of the time; ids < n_vocab. */
void rig_slot_make(struct rig_slot *s, int32_t n_vocab);
void rig_slot_free(struct rig_slot *s);

/* The two laws of a row of logits: the CPU's is built, the device's still to be launched. */
struct rig_row {
    float *logits;  /* (V) host */
    uint32_t *mask; /* (ceil(V / 32)) host, of some rows */
    struct law cpu;
};
/* Takes the logits. */
void rig_row_make(struct rig_row *r, struct device_law *d, const struct rig_slot *s,
                  const struct law_params *law, float *logits, int32_t n_vocab, int32_t position,
                  uint32_t round);
void rig_row_free(struct rig_row *r);

/* Fails the test unless they are one law. */
void assert_laws_equal(const struct device_law *d, const struct law *cpu);

#endif
