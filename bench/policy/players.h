/*
 * players.h - who chooses drafts in a simulation.
 */
#ifndef SPECD_BENCH_POLICY_PLAYERS_H
#define SPECD_BENCH_POLICY_PLAYERS_H

#include "play.h"

/* K tokens in every round, of the model, of lookup, or of the first that proposes; the draft
 * model's prompt first. */
struct fixed_player {
    struct player player;
    int32_t k;
    bool model, lookup;
};
void fixed_init(struct fixed_player *f, int32_t k, bool model, bool lookup);

/* engine/draft_len.h, as the scheduler asks it. */
struct policy_player {
    struct player player;
    struct draft_len policy;
    bool blind; /* a planted fault: it never hears what became of its drafts */
};
void policy_init(struct policy_player *p, const struct scenario *sc, const struct machine *m);

/* Knows the true chances and curves, not outcomes, and what a token is worth: the time that one
 * takes in the long run, by busy slots. That follows from how it plays: from a play before. */
struct oracle_player {
    struct player player;
    double token_ns[SPECD_SLOTS_MAX + 1];
};
void oracle_init(struct oracle_player *o, const struct machine *m, const struct play *before);

#endif
