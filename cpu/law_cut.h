/*
 * law_cut.h - where top-k and top-p end: selection in a row of weights without sorting it.
 */
#ifndef SPECD_CPU_LAW_CUT_H
#define SPECD_CPU_LAW_CUT_H

#include "law.h"

#include <stdbool.h>
#include <stdint.h>

/* The last entry of a prefix of the order (W descending, id ascending), and the prefix's mass. */
struct law_cut {
    float w;
    int32_t id;
    uint64_t sum;
};

/* What to find: the shortest prefix of the order (W descending, id ascending) that has `need`
 * entries or, by mass, whose weights sum to at least `need`. need > 0. With fewer entries above
 * zero, or less mass, than needed: all of them. */
struct law_rank {
    bool by_mass;
    uint64_t need, total; /* total: n or, by mass, the sum of all n weights */
};

/* w: (n) weights, integers in [0, 2^44], at least one above zero. ids: (n) scratch. */
struct law_cut law_cut_at(const float *w, int32_t n, struct law_rank rank, int32_t *ids,
                          const struct law_threads *threads);

/* ---- a row in parts -------------------------------------------------------------------------- */

/* Entries first .. end, whole pieces of LAW_CHUNK but at the row's end. */
typedef void law_part_fn(void *arg, int part, int32_t first, int32_t end);
/* Calls fn for all parts of a row of n and returns their number. */
int law_in_parts(const struct law_threads *threads, int32_t n, law_part_fn *fn, void *arg);

#endif
