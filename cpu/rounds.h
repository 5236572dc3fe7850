/*
 * rounds.h - the device's round thread and the commands it is handed.
 *
 * begin, forward, draw and verify only write a list; `end` gives it to the thread, which leads the
 * pool through it, stores the result and calls on_done. The state passes between the two threads
 * under the lock; everything else that a round touches belongs to the round thread from `end` until
 * the state is DONE, and to the engine thread otherwise.
 */
#ifndef SPECD_CPU_ROUNDS_H
#define SPECD_CPU_ROUNDS_H

#include "forward.h"
#include "scores.h"
#include "specd/round_check.h"
#include "turns.h"

#include <pthread.h>

enum command_kind { COMMAND_FORWARD, COMMAND_DRAW, COMMAND_VERIFY };

struct command {
    enum command_kind kind;
    enum model_role role;
    enum row_set rows;
    int step;
};

#define COMMANDS_MAX (2 * SPECD_K_MAX + 4)

enum round_state { ROUND_NONE, ROUND_RUNNING, ROUND_DONE };

struct rounds {
    struct forward *forward;
    struct turns *turns;
    struct slots *slots;
    struct scores *scores;
    void (*on_done)(void *arg);
    void *on_done_arg;

    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    enum round_state state; /* lock */
    bool stop;              /* lock */

    struct round_chunk chunks[2 * SPECD_SLOTS_MAX];
    int32_t n_chunks;
    struct span spans[SPECD_SLOTS_MAX]; /* of a prompt pass */
    struct command commands[COMMANDS_MAX];
    int n_commands;
    struct round_record record;
    struct round_result result;
};

/* Starts the thread. 0, or SPECD_ENOMEM when the system refuses one. */
int rounds_start(struct rounds *r, struct forward *forward, struct turns *turns,
                 struct slots *slots, struct scores *scores, void (*on_done)(void *arg), void *arg);
void rounds_stop(struct rounds *r); /* waits for a round in flight; NULL-safe before rounds_start */

/* The verbs of device.h. Calls out of order and rounds that do not fit the slots are SPECD_EINVAL,
 * and nothing runs. */
int rounds_begin(struct rounds *r, const struct round *round);
int rounds_record(struct rounds *r, struct command command);
int rounds_end(struct rounds *r);
int rounds_poll(struct rounds *r);
int rounds_collect(struct rounds *r, struct round_result *out);

#endif
