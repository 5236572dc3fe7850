/*
 * lists.h - lists of numbers, each kept once: what the states of an automaton stand for while it is
 * made, a set of places or the states of several others.
 */
#ifndef SPECD_GRAMMAR_LISTS_H
#define SPECD_GRAMMAR_LISTS_H

#include "specd/util.h"

/* Zero-initialise. List i is numbers[first[i]..first[i + 1]). */
struct lists {
    uint32_t *numbers, *first;
    uint32_t n, cap, cap_numbers;
    uint32_t *table, table_size; /* hash table of lists, by number + 1 */
};
/* Its index; l->n was that before if there was none like it. numbers may be no part of l. */
uint32_t lists_put(struct lists *l, const uint32_t *numbers, uint32_t n);
void lists_free(struct lists *l);
/* List i and its length; until the next put. */
static inline const uint32_t *lists_at(const struct lists *l, uint32_t i, uint32_t *n)
{
    *n = l->first[i + 1] - l->first[i];
    return l->numbers + l->first[i];
}

#endif
