#include "jobs.h"

#include "http.h"

#include <stddef.h>
#include <stdlib.h>

#define JOB_COST 4096 /* of any job, in bytes of a body */

/* ---- the exchange's side */

static bool is_done(void *arg)
{
    return atomic_load(&((struct job *)arg)->done);
}

static enum MHD_Result resume(struct exchange *ex)
{
    struct job *r = ex->work;
    switch (exchange_wait(ex, 0, is_done, r)) {
    case WAIT_SUSPENDED:
        return MHD_YES;
    case WAIT_STOPPING:
        return respond_code(ex, SPECD_EDRAINING);
    case WAIT_READY:
        break;
    }
    return r->then(r);
}

static void abandon(void *work)
{
    atomic_store(&((struct job *)work)->abandoned, true);
}

static void release(void *work)
{
    struct job *r = work;
    if (r->arg)
        r->free_arg(r->arg);
    buf_free(&r->in);
    free(r);
}

void *job_finish(struct job *job)
{
    void *arg = job->arg;
    job->exchange->work = NULL;
    job->arg = NULL;
    release(job);
    return arg;
}

/* ---- the thread */

static struct job *job_of(struct fair_item *turn)
{
    return (struct job *)((char *)turn - offsetof(struct job, turn));
}

static struct job *take(struct jobs *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->queue.n == 0 && !s->stopping)
        pthread_cond_wait(&s->came, &s->lock);
    struct fair_item *turn = s->stopping ? NULL : fair_take(&s->queue);
    pthread_mutex_unlock(&s->lock);
    return turn ? job_of(turn) : NULL;
}

static void *serve_jobs(void *arg)
{
    struct jobs *s = arg;
    for (struct job *r; (r = take(s));) {
        struct exchange *ex = r->exchange;
        if (!atomic_load(&r->abandoned)) {
            memory_ran_short(); /* what it says behind the job is about the job */
            r->rc = api_memory(r->run(r), &r->error);
        }
        atomic_store(&r->done, true);
        exchange_wake(ex);
        exchange_unref(ex);
    }
    return NULL;
}

int jobs_start(struct jobs *s)
{
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->came, NULL);
    return pthread_create(&s->thread, NULL, serve_jobs, s) == 0 ? 0 : SPECD_EINTERNAL;
}

void jobs_stop(struct jobs *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_signal(&s->came);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    for (struct fair_item *turn; (turn = fair_take(&s->queue));)
        exchange_unref(job_of(turn)->exchange);
    fair_clear(&s->queue);
    pthread_cond_destroy(&s->came);
    pthread_mutex_destroy(&s->lock);
}

static bool add(struct jobs *s, struct job *r)
{
    pthread_mutex_lock(&s->lock);
    uint64_t client = r->exchange->client->id;
    bool room = s->queue.n < JOBS_MAX && fair_waiting(&s->queue, client) < JOBS_OF_CLIENT_MAX;
    if (room) {
        exchange_ref(r->exchange);
        fair_put(&s->queue, &r->turn, client, JOB_COST + r->in.len);
        pthread_cond_signal(&s->came);
    }
    pthread_mutex_unlock(&s->lock);
    return room;
}

enum MHD_Result job_start(struct exchange *ex, const struct job *e)
{
    static const struct work_type type = {resume, abandon, release, NULL};
    struct job *r = xcalloc(1, sizeof *r);
    *r = (struct job){.exchange = ex,
                      .engine = atomic_load(&ex->server->engine),
                      .run = e->run,
                      .then = e->then,
                      .free_arg = e->free_arg,
                      .arg = e->arg};
    r->in = exchange_take_body(ex);
    ex->work = r;
    ex->work_type = &type;
    return add(&ex->server->jobs, r) ? resume(ex) : respond_code(ex, SPECD_EBUSY);
}
