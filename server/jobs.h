/*
 * jobs.h - work that an answer needs and that takes too long for the HTTP thread: reading bodies
 * of megabytes, templates and tokenizers on such texts.
 *
 * One thread runs them; clients take turns by the size of what they sent. A job is the work of an
 * exchange: the connection is suspended until it is done. One that is still waiting when its client
 * goes away is not run.
 */
#ifndef SPECD_SERVER_JOBS_H
#define SPECD_SERVER_JOBS_H

#include "api_error.h"
#include "specd/fair_queue.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

/* Waiting, in all and of one client; more are answered 429. */
#define JOBS_MAX 256
#define JOBS_OF_CLIENT_MAX 64

struct exchange;
struct engine;

struct job {
    struct exchange *exchange;
    const struct engine *engine;
    /* The jobs' thread. 0, or the code of error. arg is the job's. */
    int (*run)(struct job *job);
    /* HTTP thread, when run has returned rc: answers. */
    enum MHD_Result (*then)(struct job *job);
    void (*free_arg)(void *arg);
    void *arg;
    struct buf in; /* what the client sent */
    struct api_error error;
    int rc;
    atomic_bool done, abandoned;
    struct fair_item turn; /* under the lock of jobs */
};

struct jobs {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t came;
    bool stopping;
    struct fair_queue queue;
};

int jobs_start(struct jobs *s); /* 0, or SPECD_EINTERNAL: no thread */
/* No exchange may come any more. Waits for the job that is being run; drops the others. */
void jobs_stop(struct jobs *s);
/* HTTP thread: e has run, then, free_arg and arg; the exchange's body moves into it. Answers the
 * exchange when run has returned. */
enum MHD_Result job_start(struct exchange *ex, const struct job *e);
/* HTTP thread, from then: ends the job and returns its arg; another work takes its place. */
void *job_finish(struct job *job);

#endif
