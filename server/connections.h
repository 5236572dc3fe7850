/*
 * connections.h - one entry per client connection, the housekeeper that watches the clock over
 * them, and how many each client address has.
 *
 * libmicrohttpd's time-out sees neither a header sent a byte a second nor a suspended connection.
 * So every connection has a deadline of ours for what it must do next (send a header, send a body,
 * read its answer, and something of it all the time); the housekeeper shuts a socket down that is
 * late, and libmicrohttpd then closes it, as it does with a connection whose client hung up in the
 * middle of a request. The housekeeper also wakes exchanges that asked to be woken at a time
 * (pings, late headers).
 *
 * The list's lock guards fd against reuse: an entry leaves the list before its socket is closed.
 * connection_* and address* are called on the HTTP thread, connections_* by the owner of the
 * server.
 */
#ifndef SPECD_SERVER_CONNECTIONS_H
#define SPECD_SERVER_CONNECTIONS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define ADDRESS_BUCKETS 1024
#define ADDRESS_TEXT_MAX 64

struct exchange;

struct connection {
    int fd;
    uint64_t address_key; /* by address_key */
    char address[ADDRESS_TEXT_MAX];
    uint64_t deadline_ns;      /* 0: none */
    struct exchange *exchange; /* the request in progress, borrowed; or NULL */
    bool answering;            /* the request is complete */
    bool seems_gone;           /* the client had hung up when we last looked */
    int unsent;                /* bytes of the answer in the socket, when we last looked */
    uint64_t unsent_since_ns;  /* it was as many already then */
    struct connection *prev, *next;
};

/* An IPv4 address counts for itself, IPv6 addresses by their first 64 bits: whoever has one has
 * that many. */
struct address_count {
    uint64_t key;
    int n;
    struct address_count *next;
};

struct connections {
    pthread_mutex_t lock;
    pthread_cond_t stop;
    pthread_t housekeeper;
    bool stopping;
    struct connection *first;
    atomic_int read_timeout_ms; /* an answer of which nothing is taken for so long is cut off */
    _Atomic uint64_t n_unread;  /* how many were */
    struct address_count *addresses[ADDRESS_BUCKETS]; /* HTTP thread */
    uint64_t seed; /* clients choose addresses: they should not choose buckets */
};

void connections_init(struct connections *cs);
int connections_start(struct connections *cs); /* the housekeeper thread; 0 or EINTERNAL */
void connections_stop(struct connections *cs); /* ends the thread; the list may still be in use */
void connections_free(struct connections *cs);
void connections_wake_all(struct connections *cs); /* every exchange looks at its state again */
int connections_busy(struct connections *cs);      /* connections with a request in progress */

struct connection *connection_add(struct connections *cs, int fd, const struct sockaddr *addr);
void connection_remove(struct connections *cs, struct connection *c);
/* What c must have sent within timeout_ms from now (0: no limit), and for which exchange;
 * answering: the request is complete, and its answer must have been read by then. */
void connection_expect(struct connections *cs, struct connection *c, struct exchange *ex,
                       int timeout_ms, bool answering);

/* 0 for what has no address, as unix sockets: it is never counted. */
uint64_t address_key(const struct sockaddr *sa);
/* "192.0.2.1" (also when it comes mapped into IPv6), "2001:db8::1", "unix". */
void address_text(const struct sockaddr *sa, char *out, size_t cap);
/* An address as people write it: blanks around it, IPv6 perhaps in brackets, a port behind it. */
bool address_parse(const char *text, size_t len, struct sockaddr_storage *out);
/* How many connections that address has. */
int connections_of(struct connections *cs, uint64_t key);

#endif
