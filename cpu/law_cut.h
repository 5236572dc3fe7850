/*
 * law_cut.h - where top-k and top-p end: selection in a row of weights without sorting it.
 */
#ifndef SPECD_CPU_LAW_CUT_H
#define SPECD_CPU_LAW_CUT_H

#include <stdbool.h>
#include <stdint.h>

/* The last entry of a prefix of the order (W descending, id ascending). */
struct law_cut {
    float w;
    int32_t id;
};

/* The shortest prefix of the order (W descending, id ascending) that has `need` entries or, by
 * mass, whose weights sum to at least `need`. need > 0. With fewer entries above zero, or less
 * mass, than needed: all of them. w: (n) weights, integers in [0, 2^44]. */
struct law_cut law_cut_at(const float *w, int32_t n, uint64_t need, bool by_mass);

#endif
