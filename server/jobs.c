#include "jobs.h"

#include "respond.h"
#include "server.h"

#include <stdlib.h>

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
    if (r->then)
        return r->then(r);
    return r->rc < 0 ? respond_error(ex, &r->error) : respond_json(ex, 200, &r->body);
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
    buf_free(&r->body);
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

static struct job *take(struct jobs *s)
{
    pthread_mutex_lock(&s->lock);
    while (!s->first && !s->stopping)
        pthread_cond_wait(&s->came, &s->lock);
    struct job *r = s->stopping ? NULL : s->first;
    if (r) {
        s->first = r->next;
        s->last = s->first ? s->last : &s->first;
        s->n--;
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

static void *serve_jobs(void *arg)
{
    struct jobs *s = arg;
    for (struct job *r; (r = take(s));) {
        struct exchange *ex = r->exchange;
        if (!atomic_load(&r->abandoned))
            r->rc = r->run(r);
        atomic_store(&r->done, true);
        exchange_wake(ex);
        exchange_unref(ex);
    }
    return NULL;
}

void jobs_init(struct jobs *s)
{
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->came, NULL);
    s->last = &s->first;
}

void jobs_fini(struct jobs *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_signal(&s->came);
    pthread_mutex_unlock(&s->lock);
    if (s->running)
        pthread_join(s->thread, NULL);
    for (struct job *r = s->first, *next; r; r = next) {
        next = r->next;
        exchange_unref(r->exchange);
    }
    pthread_cond_destroy(&s->came);
    pthread_mutex_destroy(&s->lock);
}

static bool add(struct jobs *s, struct job *r)
{
    pthread_mutex_lock(&s->lock);
    if (!s->running)
        s->running = pthread_create(&s->thread, NULL, serve_jobs, s) == 0;
    bool room = s->running && s->n < JOBS_MAX;
    if (room) {
        exchange_ref(r->exchange);
        *s->last = r;
        s->last = &r->next;
        s->n++;
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
