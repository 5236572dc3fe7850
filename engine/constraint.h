/*
 * constraint.h - what a sequence's text must be, and where in it the text is.
 *
 * Holds the state of the grammar's automaton behind the committed text and the masks of the
 * sequence's next round: row i says which tokens may follow the committed text and i drafted ones
 * (round_seq.masks). A row also takes away what the request's own bans do, so that a row without a
 * token is seen before a device draws from nothing.
 *
 * A mask takes microseconds, and with a schema made for it 50 ms. So masks are found when a round
 * is planned, and an iteration of the engine has a budget of work for them: a sequence whose mask
 * is not found for want of it waits for the next one, where it comes first.
 *
 * One per sequence; engine thread. Nothing is allocated after its first round.
 */
#ifndef SPECD_CONSTRAINT_H
#define SPECD_CONSTRAINT_H

#include "grammar/mask.h"
#include "specd/device.h"

/* What the constraints of an engine share. */
struct constraint_tables {
    const struct tokenizer *tokenizer;
    struct token_trie trie;
    struct grammar_masks *masks;
    uint64_t work_before; /* done by the iterations before this one */
};
#ifdef SPECD_HOSTILE
#define CONSTRAINT_WORK 50 /* one mask, as a rule */
#else
#define CONSTRAINT_WORK 1500000 /* nodes and stacks: about 50 ms */
#endif
void constraint_tables_init(struct constraint_tables *t, const struct tokenizer *tokenizer,
                            uint32_t n_vocab);
void constraint_tables_fini(struct constraint_tables *t);
void constraint_tables_renew(struct constraint_tables *t); /* a new iteration, a new budget */

struct constraint;

/* Of a text that begins with the next token. g: takes a reference of its own. params and t are
 * borrowed. k_max: most tokens that will be drafted in a round. */
struct constraint *constraint_create(struct constraint_tables *t, struct grammar *g,
                                     const struct sample_params *params, int32_t k_max);
void constraint_free(struct constraint *c); /* NULL is fine */
struct grammar *constraint_grammar(const struct constraint *c);

/* Drawn tokens; ends: the last one ends the answer. Returns how many of them, from the first, the
 * text takes: these are committed. Of a round without masks that is up to where one would have
 * changed the law of the next token, which is to be drawn again; of others, all that the grammar
 * allows. */
int32_t constraint_advance(struct constraint *c, const int32_t *ids, int32_t n, bool ends,
                           bool unmasked);
bool constraint_is_over(const struct constraint *c); /* the text is whole, nothing may follow */

/* Finds row 0 for a text of len tokens, prompt included, unless it is found, or the budget
 * is spent. */
void constraint_find(struct constraint *c, int32_t len);
bool constraint_is_ready(const struct constraint *c); /* row 0 is there, and not empty */
bool constraint_is_open(const struct constraint *c);  /* row 0 is there, and has all tokens */
bool constraint_waits(const struct constraint *c);    /* the budget did not suffice */
bool constraint_is_stuck(const struct constraint *c); /* no token may be drawn */

/* How many of the drafted tokens the grammar goes along with, short of the text's end. Where the
 * text is free, as many as without a grammar: a token that ends the answer is one as others. */
int32_t constraint_cut(struct constraint *c, const int32_t *draft, int32_t n);
/* What must follow, as the longest tokens that spell it: up to max, or none. It may go to the
 * text's end, which constraint_cut takes away. */
int32_t constraint_forced(struct constraint *c, int32_t *out, int32_t max);
/* Finds rows 1..k behind row 0. Returns k, or less where no token may follow or, unless k is fixed,
 * the budget is spent. */
int32_t constraint_draft(struct constraint *c, const int32_t *draft, int32_t k, bool fixed);
const uint32_t *constraint_masks(const struct constraint *c); /* (k + 1, words) */

#endif
