/*
 * waiter.h - the thread that waits for the GPU, so that nobody else has to: rounds end in the order
 * of their submission, and each end is told to on_done.
 *
 * A host function inside the stream would be simpler, but may not call CUDA and never runs after an
 * error. The event is polled for a short while before the thread lets the driver put it to sleep,
 * since most rounds of a small model are over by then.
 */
#ifndef SPECD_CUDA_WAITER_H
#define SPECD_CUDA_WAITER_H

#include "cudart.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define WAITER_ROUNDS 2 /* that may be in flight */

struct gpu_waiter {
    void (*on_done)(void *arg);
    void *arg;
    int device;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    cudaEvent_t events[WAITER_ROUNDS]; /* lock, and the rest */
    uint64_t n_submitted, n_done;
    bool stop, failed;
};

/* Starts the thread. 0, or SPECD_ENOMEM when the system refuses one. */
int gpu_waiter_start(struct gpu_waiter *w, int device, void (*on_done)(void *arg), void *arg);
void gpu_waiter_stop(struct gpu_waiter *w); /* waits for what was submitted; once started, or not */
/* The next round ends with that event, which was recorded before. */
void gpu_waiter_submit(struct gpu_waiter *w, cudaEvent_t event);
/* Rounds that have ended so far, or SPECD_EDEVICE once one of them failed. */
int64_t gpu_waiter_done(struct gpu_waiter *w);

#endif
