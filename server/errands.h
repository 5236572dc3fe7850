/*
 * errands.h - work that an answer needs and that takes too long for the HTTP thread: reading bodies
 * of megabytes, templates and tokenizers on such texts.
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
    /* HTTP thread, when run has returned; NULL: body, or error, is the answer. */
    enum MHD_Result (*then)(struct errand *errand);
    void (*free_arg)(void *arg);
    void *arg;
    struct buf in;   /* what the client sent */
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
/* HTTP thread: e has run, then, free_arg and arg; the exchange's body moves into it. Answers the
 * exchange when run has returned. */
enum MHD_Result errand_start(struct exchange *ex, const struct errand *e);
/* HTTP thread, from then: ends the errand and returns its arg; another work takes its place. */
void *errand_finish(struct errand *errand);

#endif
