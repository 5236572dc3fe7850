/*
 * live_limits.h - what SIGHUP changes while requests run. The main thread writes, all others read,
 * each value on its own: a request may meet an old limit and a new one.
 */
#ifndef SPECD_SERVER_LIVE_LIMITS_H
#define SPECD_SERVER_LIVE_LIMITS_H

#include "config.h"

#include <stdatomic.h>

struct limits {
    atomic_int request_timeout_ms, header_timeout_ms, body_timeout_ms, idle_timeout_ms, ping_ms;
    atomic_int hang_timeout_ms;
    atomic_int max_queue, max_queue_per_client; /* the second: 0: any number */
    atomic_int per_address;                     /* connections; 0: any number */
    _Atomic uint64_t max_body, request_memory;
};

static inline void limits_set(struct limits *l, const struct config *c)
{
    atomic_store(&l->request_timeout_ms, c->request_timeout_ms);
    atomic_store(&l->header_timeout_ms, c->header_timeout_ms);
    atomic_store(&l->body_timeout_ms, c->body_timeout_ms);
    atomic_store(&l->idle_timeout_ms, c->idle_timeout_ms);
    atomic_store(&l->ping_ms, c->ping_ms);
    atomic_store(&l->hang_timeout_ms, c->hang_timeout_ms);
    atomic_store(&l->max_queue, c->engine.max_queue);
    atomic_store(&l->max_queue_per_client, c->max_queue_per_client);
    atomic_store(&l->per_address, c->max_connections_per_ip);
    atomic_store(&l->max_body, c->max_body);
    atomic_store(&l->request_memory, c->request_memory);
}

#endif
