/*
 * merge.h - the merge loop of byte-pair encoding: of all neighbours that may join, the best pair
 * joins first, leftmost on ties.
 *
 * Symbols form a linked list over the text, candidate pairs a heap: n symbols cost O(n log n)
 * whatever they are. What joins to what is the caller's rule (a table of pairs for byte-level BPE,
 * scores of joined texts for SentencePiece). One merger belongs to one encode call and is reused
 * for all its words, so that nothing is allocated per merge.
 */
#ifndef SPECD_MERGE_H
#define SPECD_MERGE_H

#include "specd/util.h"

#include <stdatomic.h>

struct ids {
    int32_t *data;
    size_t n, cap;
};
void ids_add(struct ids *ids, int32_t id);

struct symbol {
    int32_t id;          /* -1: not in the vocabulary */
    uint32_t start;      /* first byte in the word */
    uint32_t prev, next; /* indices; next of the last is n */
};

/* What two neighbours become, and how soon: a lower rank joins first. */
struct joined {
    uint32_t rank;
    int32_t id;
};

struct candidate {
    uint64_t order; /* rank, then index of the left symbol */
    int32_t id;
    uint32_t end; /* index of the symbol behind the pair: tells a pair that has changed since */
};

struct merger {
    struct symbol *symbols; /* n, and one past the end whose start is the word's length */
    size_t n, cap;
    struct candidate *heap;
    size_t n_heap, cap_heap;
    bool failed; /* the heap could not grow */
};

void merger_fini(struct merger *m);

/* Starts a word of at most max_symbols < 2^31; false: no memory. Then merger_add each symbol, in
 * order. */
bool merger_begin(struct merger *m, size_t max_symbols);
void merger_add(struct merger *m, int32_t id, size_t start);

/* true if the symbols at indices left and right, neighbours, join; fills *out. */
typedef bool join_rule(const void *rules, const struct merger *m, uint32_t left, uint32_t right,
                       struct joined *out);

/* Joins until nothing joins. len: bytes of the word. 0, SPECD_ECANCELED or SPECD_ENOMEM. */
int merger_run(struct merger *m, size_t len, join_rule *rule, const void *rules,
               const atomic_bool *cancel);

/* One past the last byte of symbol i. The survivors are 0, symbols[0].next, ... while below n. */
static inline uint32_t symbol_end(const struct merger *m, uint32_t i)
{
    return m->symbols[m->symbols[i].next].start;
}

#endif
