/*
 * clients.h - whom a request counts for, and how much memory each client makes the server hold.
 *
 * A client is an API key; where there are none, the last hop before a --trusted-proxy, an address
 * (an IPv6 /64 as one), or the user at the other end of a unix socket. Counted are bodies until
 * their request is over, and answers as large as they may become; the sum is bounded by
 * --request-memory, and no client gets more than half of it. What a request holds up to
 * CLIENT_SMALL bytes is beside these bounds, so that large requests of one client never keep small
 * ones of another out. For the same reason a client may not fill the queue: its completions under
 * way are counted, too (--max-queue-per-client).
 *
 * HTTP thread.
 */
#ifndef SPECD_SERVER_CLIENTS_H
#define SPECD_SERVER_CLIENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENT_SMALL (64 * 1024)

struct exchange;

struct client {
    uint64_t id;
    size_t held;  /* by its requests, their small parts included */
    int n;        /* requests */
    int n_queued; /* completions that these asked for */
    struct client *next;
};

#define CLIENT_BUCKETS 256

struct clients {
    struct client *buckets[CLIENT_BUCKETS];
    size_t held;
    uint64_t refused, queue_refused; /* charges; completions */
};

void clients_free(struct clients *cs);
/* The exchange counts for client id from now on, with what it holds; at most once. */
void clients_enter(struct exchange *ex, uint64_t id);
/* Counts more bytes of the exchange; false, and nothing counted, when that is too much. */
bool clients_charge(struct exchange *ex, size_t bytes);
/* The exchange holds so many bytes less. */
void clients_return(struct exchange *ex, size_t bytes);
/* What one client may hold. */
size_t clients_share(const struct exchange *ex);
/* Counts n completions of the exchange; false, and nothing counted, when that is too much. */
bool clients_queue(struct exchange *ex, int n);
/* Completions that one client may have under way. */
int clients_queue_most(const struct exchange *ex);
/* The exchange is over. */
void clients_leave(struct exchange *ex);

#endif
