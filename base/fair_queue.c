#include "specd/fair_queue.h"

#include "specd/util.h"

#include <stdlib.h>

#define COST_MAX (1ull << 32)

struct fair_client {
    uint64_t id;
    uint64_t start; /* of its first item, or of the next to come */
    int32_t n;
    struct fair_item *first, *last;
    struct fair_client *next;
};

static struct fair_client *find(const struct fair_queue *q, uint64_t id)
{
    struct fair_client *c = q->clients;
    while (c && c->id != id)
        c = c->next;
    return c;
}

static struct fair_client *find_or_add(struct fair_queue *q, uint64_t id)
{
    struct fair_client *c = find(q, id);
    if (!c) {
        c = xcalloc(1, sizeof *c);
        *c = (struct fair_client){.id = id, .next = q->clients};
        q->clients = c;
    }
    return c;
}

void fair_put(struct fair_queue *q, struct fair_item *item, uint64_t client, uint64_t cost)
{
    struct fair_client *c = find_or_add(q, client);
    *item = (struct fair_item){.cost = MIN(MAX(cost, 1), COST_MAX), .number = q->n_put++};
    if (c->last) {
        c->last->next = item;
    } else {
        c->first = item;
        c->start = MAX(c->start, q->now);
    }
    c->last = item;
    c->n++;
    q->n++;
}

/* Clients without items whose last one has ended by now are as good as new ones. */
static void forget_idle(struct fair_queue *q)
{
    for (struct fair_client **at = &q->clients; *at;) {
        struct fair_client *c = *at;
        if (c->n == 0 && c->start <= q->now) {
            *at = c->next;
            free(c);
        } else {
            at = &c->next;
        }
    }
}

static bool is_before(const struct fair_client *a, const struct fair_client *b)
{
    return a->start != b->start ? a->start < b->start : a->first->number < b->first->number;
}

struct fair_item *fair_take(struct fair_queue *q)
{
    struct fair_client *next = NULL;
    for (struct fair_client *c = q->clients; c; c = c->next) {
        if (c->n > 0 && (!next || is_before(c, next)))
            next = c;
    }
    if (!next)
        return NULL;
    struct fair_item *item = next->first;
    q->now = next->start;
    next->start += item->cost;
    next->first = item->next;
    next->last = next->first ? next->last : NULL;
    next->n--;
    q->n--;
    forget_idle(q);
    return item;
}

int32_t fair_waiting(const struct fair_queue *q, uint64_t client)
{
    const struct fair_client *c = find(q, client);
    return c ? c->n : 0;
}

void fair_clear(struct fair_queue *q)
{
    for (struct fair_client *c = q->clients, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    *q = (struct fair_queue){0};
}
