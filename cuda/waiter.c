#include "waiter.h"

#include "specd/error.h"
#include "specd/util.h"

#define POLL_NS 200000

/* Neither the event's nor the device's state is looked at under the lock. */
static cudaError_t wait_for(cudaEvent_t event)
{
    uint64_t until = clock_ns() + POLL_NS;

    do {
        cudaError_t rc = cudaEventQuery(event);

        if (rc != cudaErrorNotReady)
            return rc;
    } while (clock_ns() < until);
    return cudaEventSynchronize(event);
}

static void wait_next(struct gpu_waiter *w)
{
    cudaEvent_t event = w->events[w->n_done % WAITER_ROUNDS];

    pthread_mutex_unlock(&w->lock);
    cudaError_t rc = wait_for(event);

    if (rc != cudaSuccess)
        log_error("cuda: %s", cudaGetErrorString(rc));
    pthread_mutex_lock(&w->lock);
    w->failed = w->failed || rc != cudaSuccess;
    w->n_done++;
    pthread_mutex_unlock(&w->lock);
    w->on_done(w->arg);
    pthread_mutex_lock(&w->lock);
}

static void *waiter_main(void *arg)
{
    struct gpu_waiter *w = arg;

    (void)cudaSetDevice(w->device);
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (w->n_done == w->n_submitted && !w->stop)
            pthread_cond_wait(&w->wake, &w->lock);
        if (w->n_done == w->n_submitted)
            break;
        wait_next(w);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int gpu_waiter_start(struct gpu_waiter *w, int device, void (*on_done)(void *arg), void *arg)
{
    *w = (struct gpu_waiter){.on_done = on_done, .arg = arg, .device = device};
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    w->has_thread = pthread_create(&w->thread, NULL, waiter_main, w) == 0;
    if (w->has_thread)
        return 0;
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    return SPECD_ENOMEM;
}

void gpu_waiter_stop(struct gpu_waiter *w)
{
    if (!w->has_thread)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    w->has_thread = false;
}

void gpu_waiter_submit(struct gpu_waiter *w, cudaEvent_t event)
{
    pthread_mutex_lock(&w->lock);
    ASSERT(w->n_submitted - w->n_done < WAITER_ROUNDS);
    w->events[w->n_submitted++ % WAITER_ROUNDS] = event;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

int64_t gpu_waiter_done(struct gpu_waiter *w)
{
    pthread_mutex_lock(&w->lock);
    int64_t n = w->failed ? SPECD_EDEVICE : (int64_t)w->n_done;

    pthread_mutex_unlock(&w->lock);
    return n;
}
