#include "clients.h"

#include "server.h"

#include <stdlib.h>

static struct client **bucket(struct clients *cs, uint64_t id)
{
    uint64_t h = id * 0x9e3779b97f4a7c15u;
    return &cs->buckets[(h >> 32) % CLIENT_BUCKETS];
}

void clients_free(struct clients *cs)
{
    for (size_t i = 0; i < CLIENT_BUCKETS; i++) {
        for (struct client *c = cs->buckets[i], *next; c; c = next) {
            next = c->next;
            free(c);
        }
    }
}

void clients_enter(struct exchange *ex, uint64_t id)
{
    struct client **first = bucket(&ex->server->clients, id), *c = *first;
    ASSERT(!ex->client && ex->held == 0);
    while (c && c->id != id)
        c = c->next;
    if (!c) {
        c = xcalloc(1, sizeof *c);
        *c = (struct client){.id = id, .next = *first};
        *first = c;
    }
    c->n++;
    ex->client = c;
}

size_t clients_share(const struct exchange *ex)
{
    return (size_t)atomic_load(&ex->server->limits.request_memory) / 2;
}

bool clients_charge(struct exchange *ex, size_t bytes)
{
    struct clients *cs = &ex->server->clients;
    size_t share = clients_share(ex), more, all;
    bool fits = size_add(ex->held, bytes, &more);
    if (fits && more > CLIENT_SMALL)
        fits = size_add(ex->client->held, bytes, &more) && more <= share &&
               size_add(cs->held, bytes, &all) && all / 2 <= share;
    if (!fits) {
        cs->refused++;
        return false;
    }
    ex->held += bytes;
    ex->client->held += bytes;
    cs->held += bytes;
    return true;
}

void clients_return(struct exchange *ex, size_t bytes)
{
    ex->server->clients.held -= bytes;
    ex->client->held -= bytes;
    ex->held -= bytes;
}

int clients_queue_most(const struct exchange *ex)
{
    const struct limits *l = &ex->server->limits;
    int all = atomic_load(&l->max_queue), own = atomic_load(&l->max_queue_per_client);
    return ex->server->config->engine.n_slots + (own > 0 ? MIN(own, all) : all);
}

bool clients_queue(struct exchange *ex, int n)
{
    bool any = atomic_load(&ex->server->limits.max_queue_per_client) == 0;
    if (!any && n > clients_queue_most(ex) - ex->client->n_queued) {
        ex->server->clients.queue_refused += (uint64_t)n;
        return false;
    }
    ex->n_queued += n;
    ex->client->n_queued += n;
    return true;
}

void clients_leave(struct exchange *ex)
{
    struct client *c = ex->client;
    if (!c)
        return;
    clients_return(ex, ex->held);
    c->n_queued -= ex->n_queued;
    ex->n_queued = 0;
    ex->client = NULL;
    if (--c->n > 0)
        return;
    struct client **at = bucket(&ex->server->clients, c->id);
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    free(c);
}
