/*
 * play.h - plays requests through rounds on a machine, with somebody who chooses drafts.
 *
 * Time is simulated: a round takes what the machine's curves say of the rows in it, with noise, and
 * brings what the text says of the drafts. As the scheduler does it, a request decodes from its
 * first token on; the draft model lacks its prompt then, and whatever came in rounds without it
 * beyond SPECD_DRAFT_LAG_MAX; of what it lacks a round computes FILL_MAX rows at most for each.
 */
#ifndef SPECD_BENCH_POLICY_PLAY_H
#define SPECD_BENCH_POLICY_PLAY_H

#include "draft_len.h"
#include "machine.h"
#include "text.h"

#define FILL_MAX 256

/* What is played, and what goes wrong or changes meanwhile. */
struct scenario {
    const char *name;
    struct text text;
    bool model, lookup; /* the drafters there are */
    bool load_changes;  /* all slots are busy, then one, then all */
    bool clock_jumps;   /* one time in a hundred is measured 0, negative or 100 times too long */
    bool speed_changes; /* from the middle on everything takes twice as long */
    bool neighbours;    /* others use the machine: its speed wanders */
    bool in_turns;      /* as many requests as there are slots may draft, then as many may not */
    double table_step;  /* the start-up table of the policy: factor of draft steps and fills */
    double table_rows;  /* and of what a verify row more takes */
    /* Where the policy is known to be further from the best fixed choice than it should be: how far
     * it came, with one slot and with several. */
    double came_one, came_many;
};

struct slot {
    bool busy;
    uint64_t request;
    int32_t prompt, n, answer; /* tokens: of the prompt, so far, in the end */
    int32_t draft_rows;
    struct acceptance acceptance; /* these two are the policy's */
    struct draft_state state;
    struct draft_option options[DRAFT_TYPES]; /* this round's */
    int32_t n_options;
    int32_t option, k, fill; /* chosen: option -1 or k 0: nothing is drafted */
    bool probe;
    /* what came of it */
    int32_t accepted;
    float overlap[SPECD_K_MAX];
};

struct play {
    const struct scenario *scenario;
    const struct machine *machine;
    int32_t n_slots;
    struct slot slots[SPECD_SLOTS_MAX];
    uint64_t requests, entered, ended;
    int32_t busy;
    double speed;  /* factor of all times */
    double wander; /* logarithm of what neighbours make of it, either sign slower */
    /* so far */
    double ns;
    int64_t tokens, drafted, rounds;
    double ns_of[SPECD_SLOTS_MAX + 1]; /* by busy slots, at speed 1 */
    int64_t tokens_of[SPECD_SLOTS_MAX + 1];
};

struct player {
    void (*enter)(struct player *p, struct play *g, struct slot *s); /* may be NULL */
    void (*choose)(struct player *p, struct play *g);
    void (*learn)(struct player *p, struct play *g, const struct draft_times *t); /* may be NULL */
    void (*leave)(struct player *p, struct play *g, struct slot *s);              /* may be NULL */
};

bool option_is_model(const struct draft_option *o);
/* Rows that the draft model lacks before it can draft for the slot; 0: it can. */
int32_t slot_lag(const struct slot *s);

/* Plays so many requests from the first to the last; g holds what came of it. */
void play(struct play *g, const struct scenario *sc, const struct machine *m, int32_t n_slots,
          uint64_t requests, struct player *p);

#endif
