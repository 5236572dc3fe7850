/*
 * mask.h - which tokens of a vocabulary may come next: the trie and the automaton walked together.
 *
 * A mask that took long to find is kept by grammar and state, in a fixed amount of memory shared by
 * all grammars of a vocabulary; most of the others take microseconds. One thread at a time.
 */
#ifndef SPECD_GRAMMAR_MASK_H
#define SPECD_GRAMMAR_MASK_H

#include "grammar/grammar.h"
#include "grammar/token_trie.h"

struct grammar_masks;

/* trie is borrowed. cache_bytes: memory for kept masks; 0: none are kept. */
struct grammar_masks *grammar_masks_create(const struct token_trie *trie, size_t cache_bytes);
void grammar_masks_free(struct grammar_masks *m);

/* Sets bit id % 32 of allowed[id / 32] for every token that may follow, and clears the others;
 * mask_words(n_vocab) words. Returns how many may: 0 only if the vocabulary cannot spell any byte
 * that may come. Where dozens of alternatives are open at once and go along with most tokens, of
 * the long tokens some are left out, which depends on the state alone. */
uint32_t grammar_mask(struct grammar_masks *m, const struct grammar *g,
                      const struct grammar_state *s, uint32_t *allowed);

struct grammar_masks_stats {
    uint64_t n_masks, n_kept;  /* asked for; found among the kept */
    uint64_t n_nodes, n_steps; /* tree nodes walked; stacks moved on: some 30 ns each */
};
struct grammar_masks_stats grammar_masks_stats(const struct grammar_masks *m);

#endif
