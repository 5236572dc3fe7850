/*
 * exchange.h - one HTTP request and its answer, and the art of suspending its connection.
 *
 * An exchange is owned by reference: one is libmicrohttpd's, from the first call of the access
 * handler to NOTIFY_COMPLETED, one is held per request that the engine works on, because the engine
 * may report to an exchange whose connection is gone.
 *
 * Suspending (libmicrohttpd 0.9.75): a connection may be resumed only while it exists and is
 * suspended, or behaviour is undefined. `conn` and `suspended` are therefore read and written only
 * under `lock`: conn is cleared when the connection ends, and whoever suspends looks at the output
 * once more under the lock, so that no wake is lost.
 *
 * Lock order: exchange.lock -> request.output.lock, and exchange.lock -> libmicrohttpd's own.
 */
#ifndef SPECD_SERVER_EXCHANGE_H
#define SPECD_SERVER_EXCHANGE_H

#include "specd/util.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

struct server;
struct connection;
struct tally;
struct route;
struct pieces;

struct exchange;

/* What a handler that does not answer at once leaves in the exchange. */
struct work_type {
    enum MHD_Result (*resume)(struct exchange *ex); /* woken, and no response is queued yet */
    void (*abandon)(void *work);                    /* the connection is done with it */
    void (*free)(void *work);                       /* with the last reference; any thread */
    void (*tally)(void *work, struct tally *out);   /* for the access log; or NULL */
};

#define REQUEST_ID_MAX 128

struct exchange {
    /* HTTP thread */
    struct server *server;
    struct connection *connection;
    const struct route *route; /* NULL: no such path */
    char *name;                /* that the path of the request ends with, where its route's does */
    const char *method;        /* a static string; NULL: its header is not complete yet */
    const char *target;        /* libmicrohttpd's, until then */
    size_t target_len;
    const char *host; /* of a target that is a URL, up to a slash or the end; or NULL */
    char request_id[REQUEST_ID_MAX + 1]; /* the client's, or one of our own */
    struct buf body;
    struct client *client; /* NULL: not known yet */
    unsigned key_marks;    /* of its API key: enum key_mark */
    size_t held;           /* bytes that count for the client: see clients.h */
    int n_queued;          /* completions that do */
    size_t received;       /* bytes of body, kept or not */
    int reject;            /* 0, or the SPECD_E* to answer once the body is in: it is not kept */
    int status;            /* what was answered; 0 as yet */
    uint64_t sent;         /* bytes of the answer's body, as far as libmicrohttpd took them */
    uint64_t started_ns;
    const struct work_type *work_type; /* set together with work */
    void *work;                        /* what the route's handler keeps while it waits */
    struct pieces *pieces;             /* of work: what its answer is read from; or NULL */

    /* shared */
    atomic_int refs;
    _Atomic uint64_t wake_at_ns; /* housekeeper: wake then; 0: never */
    pthread_mutex_t lock;
    struct MHD_Connection *conn; /* under lock elsewhere than on the HTTP thread */
    bool suspended;              /* under lock */
};

struct exchange *exchange_new(struct server *server, struct connection *connection,
                              struct MHD_Connection *conn);
void exchange_ref(struct exchange *ex);
void exchange_unref(struct exchange *ex);
/* HTTP thread: the body is not needed any more. */
void exchange_drop_body(struct exchange *ex);
/* HTTP thread: the body is the caller's from now on. */
struct buf exchange_take_body(struct exchange *ex);
/* HTTP thread: the connection is done with it. Drops the connection's reference. */
void exchange_detach(struct exchange *ex);

enum wait_result { WAIT_SUSPENDED, WAIT_READY, WAIT_STOPPING };
/* HTTP thread, from the access handler or the content reader: suspends the connection unless ready
 * says that there is something to do. It is woken by exchange_wake, or at wake_at_ns if not 0. */
enum wait_result exchange_wait(struct exchange *ex, uint64_t wake_at_ns, bool (*ready)(void *arg),
                               void *arg);
/* Any thread that holds a reference. Without effect on a connection that isn't suspended. */
void exchange_wake(struct exchange *ex);
bool exchange_is_due(const struct exchange *ex, uint64_t now_ns);

#endif
