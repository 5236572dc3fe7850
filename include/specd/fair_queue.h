/*
 * fair_queue.h - a queue in which clients take turns, however much each has waiting.
 *
 * Start-time fair queueing (Goyal, Vin, Cheng 1996). Each item has a cost, an estimate of the work
 * it is. Virtual time is the start of the item taken last; an item starts where its client's last
 * one ends, or now, if that is over; the item that starts first is taken first. So clients that
 * wait all along get equal shares of work, within one item each, and one that comes after a pause
 * is next, behind at most what is being done: a pause earns no credit and costs nothing. Of equal
 * starts the one that came first is taken; a client's own items keep their order.
 *
 * Pure data, no clock; the caller locks. Items are embedded in what waits and must stay where they
 * are until they are taken: whoever is not wanted any more is dropped at its turn. O(clients).
 */
#ifndef SPECD_FAIR_QUEUE_H
#define SPECD_FAIR_QUEUE_H

#include <stdint.h>

struct fair_client;

struct fair_item {
    struct fair_item *next;
    uint64_t cost, number;
};

/* Zero: empty. */
struct fair_queue {
    struct fair_client *clients; /* those that wait, or whose last item has not ended yet */
    uint64_t now;                /* virtual */
    uint64_t n_put;
    int32_t n; /* items */
};

/* client: any number that tells clients apart. cost is at least 1 and at most 2^32. */
void fair_put(struct fair_queue *q, struct fair_item *item, uint64_t client, uint64_t cost);
struct fair_item *fair_take(struct fair_queue *q);                 /* NULL when it is empty */
int32_t fair_waiting(const struct fair_queue *q, uint64_t client); /* items of that client */
/* Frees what the queue holds for clients; items are the caller's. It is empty then. */
void fair_clear(struct fair_queue *q);

#endif
