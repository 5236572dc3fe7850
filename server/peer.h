/*
 * peer.h - one entry per client connection, and the housekeeper that watches the clock over them.
 *
 * libmicrohttpd's time-out sees neither a header sent a byte a second nor a suspended connection.
 * So every connection has a deadline of ours for what it must do next (send a header, send a body,
 * read its answer, and something of it all the time); the housekeeper shuts a socket down that is
 * late, and libmicrohttpd then closes it, as it does with a connection whose client hung up in the
 * middle of a request. The housekeeper also wakes exchanges that asked to be woken at a time
 * (pings, late headers).
 *
 * The list's lock guards fd against reuse: an entry leaves the list before its socket is closed.
 * peer_* are called on the HTTP thread, peers_* by the owner of the server.
 */
#ifndef SPECD_SERVER_PEER_H
#define SPECD_SERVER_PEER_H

#include "addresses.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct exchange;

struct peer {
    int fd;
    uint64_t address_key; /* see addresses.h */
    char address[ADDRESS_TEXT_MAX];
    uint64_t deadline_ns;      /* 0: none */
    struct exchange *exchange; /* the request in progress, borrowed; or NULL */
    bool answering;            /* the request is complete */
    bool seems_gone;           /* the client had hung up when we last looked */
    int unsent;                /* bytes of the answer in the socket, when we last looked */
    uint64_t unsent_since_ns;  /* it was as many already then */
    struct peer *prev, *next;
};

struct peers {
    pthread_mutex_t lock;
    pthread_cond_t stop;
    pthread_t housekeeper;
    bool stopping;
    struct peer *first;
    atomic_int read_timeout_ms; /* an answer of which nothing is taken for so long is cut off */
    _Atomic uint64_t n_unread;  /* how many were */
};

void peers_init(struct peers *ps);
int peers_start(struct peers *ps); /* the housekeeper thread; 0 or EINTERNAL */
void peers_stop(struct peers *ps); /* ends the thread; the list may still be in use */
void peers_fini(struct peers *ps);
void peers_wake_all(struct peers *ps); /* every exchange looks at its state again */
int peers_busy(struct peers *ps);      /* connections with a request in progress */

struct peer *peer_add(struct peers *ps, int fd);
void peer_remove(struct peers *ps, struct peer *p);
/* What p must have sent within timeout_ms from now (0: no limit), and for which exchange. */
void peer_expect(struct peers *ps, struct peer *p, struct exchange *ex, int timeout_ms);
/* The request is complete: p must have read its answer by then. */
void peer_answer(struct peers *ps, struct peer *p, struct exchange *ex, int timeout_ms);

#endif
