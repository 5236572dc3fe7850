/*
 * errands.h - work that an answer needs and that takes too long for the HTTP thread: templates and
 * tokenizers on texts of megabytes.
 *
 * One thread, started with the first errand, runs them in order. An errand is the work of an
 * exchange: the connection is suspended until it is done. One that is still waiting when its client
 * goes away is not run.
 */
#ifndef SPECD_SERVER_ERRANDS_H
#define SPECD_SERVER_ERRANDS_H

#include "fields.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#define ERRANDS_MAX 64 /* waiting; more are answered 429 */

struct exchange;
struct engine;

struct errand {
    struct exchange *exchange;
    const struct engine *engine;
    /* The errands' thread. Fills body, or error and returns its code. arg is the errand's. */
    int (*run)(struct errand *errand);
    void (*free_arg)(void *arg);
    void *arg;
    struct buf body; /* JSON */
    struct api_error error;
    int rc;
    atomic_bool done, abandoned;
    struct errand *next;
};

struct errands {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t came;
    bool running, stopping;
    int n;
    struct errand *first, **last;
};

void errands_init(struct errands *s);
/* No exchange may come any more. Waits for the errand that is being run; drops the others. */
void errands_fini(struct errands *s);
/* HTTP thread: takes arg, drops the body, and answers the exchange when run has returned. */
enum MHD_Result errand_start(struct exchange *ex, int (*run)(struct errand *errand), void *arg,
                             void (*free_arg)(void *arg));

#endif
