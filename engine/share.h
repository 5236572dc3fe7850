/*
 * share.h - whose waiting sequence gets the next slot, and who gives one up for it. Pure policy.
 *
 * Sequences count for clients (request.client), however many each sends.
 *   next    A free slot goes to a client that has none: of several, to the one whose turn it is
 *           (start-time fair queueing, Goyal, Vin, Cheng 1996, charged as work is done: the least
 *           so far; a pause earns nothing). When all that wait have some, to the one that has least
 *           with it. Within a client the oldest is first.
 *   claim   One that waits takes a slot from the client that has most, and two at least, when its
 *           own client has none or will still have less. The youngest gives way. Each claim leaves
 *           fewer clients without a slot, or the shares less apart, so no two take one from each
 *           other in turns; and what `next` gave can't be claimed before somebody comes or goes.
 *
 * Priority (-10..10, 0 where nothing is said) weighs slots: one of a level higher counts a fifth
 * less for its client's share and turn, a level lower a quarter more. A sequence also goes ahead of
 * a lower one where both have the same right otherwise: in the order of a client, among clients
 * without a slot, and by claiming the slot of one that runs, of its own client, or the only one of
 * another's while its own has none. But one that has waited SHARE_LEVEL_ROUNDS for each level
 * between them, all its waits together, lets nobody ahead any more.
 *
 * Time is counted in rounds. Engine thread; nothing fails. A call takes O(clients that have
 * sequences), and O(sequences of a client) where one gives way or uses priorities.
 */
#ifndef SPECD_SHARE_H
#define SPECD_SHARE_H

#include "specd/request.h"

#include <stdbool.h>
#include <stdint.h>

#define SHARE_LEVEL_ROUNDS 8
/* A claim waits so long: what was in flight when its sequence came may leave a slot. */
#define SHARE_CLAIM_ROUNDS 2

struct share_client;

enum share_state {
    SHARE_IDLE, /* in preparation, or set aside */
    SHARE_WAITING,
    SHARE_PROMISED, /* waits for a slot that another gave up for it; counts as running */
    SHARE_RUNNING,
};

/* A sequence, as this policy sees it. Embedded in what it stands for. */
struct share_item {
    struct share_client *client;
    struct share_item *prev, *next; /* its client's, oldest first */
    enum share_state state;
    int32_t priority;
    uint64_t weight;  /* of a slot with it */
    uint64_t arrival; /* 1, 2, ... among all */
    uint64_t since;   /* WAITING, PROMISED: the round it began to wait in */
    uint64_t waited;  /* rounds in waits before */
};

/* Zero: empty. */
struct share {
    struct share_client *clients; /* with sequences, or with work that is not outweighed yet */
    uint64_t now;                 /* virtual: the most work, by its beginning, that got a slot */
    uint64_t n_added;
    int32_t n_waiting, n_promised, n_marked; /* n_marked: whose priority is not 0 */
};

/* Enters an item, IDLE, behind all others. */
void share_add(struct share *s, struct share_item *item, uint64_t client, int32_t priority);
/* round: as of now, here and below. */
void share_set(struct share *s, struct share_item *item, enum share_state state, uint64_t round);
/* Takes an item out, from any state. */
void share_remove(struct share *s, struct share_item *item);
/* Work for an item: a token generated counts SHARE_TOKEN, a row of its prompt computed SHARE_ROW.
 */
#define SHARE_TOKEN 4
#define SHARE_ROW 1
void share_charge(const struct share_item *item, uint64_t work);

/* Whether the turn of a's client comes first; of one client, the older. */
bool share_is_sooner(const struct share_item *a, const struct share_item *b);
/* Which item should get a slot that is free; NULL when none waits. */
struct share_item *share_next(const struct share *s, uint64_t round);
/* Who should be PROMISED a slot: one that is on its way to become free (is_free), or that of the
 * *victim. NULL when nobody. */
struct share_item *share_claim(const struct share *s, bool is_free, uint64_t round,
                               struct share_item **victim);
/* Who gives way to this item, which waits; NULL: nobody. */
struct share_item *share_victim(const struct share *s, const struct share_item *item,
                                uint64_t round);
/* Who gives way when those that run need more than there is: one of the client that has most. NULL
 * when none runs. */
struct share_item *share_yields(const struct share *s, uint64_t round);

/* Frees what it holds for clients; no item may be left. */
void share_clear(struct share *s);
/* Invariants, for debug and hostile builds. */
bool share_is_valid(const struct share *s);

#endif
