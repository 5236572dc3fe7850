/*
 * server.h - the HTTP side: its state, its beginning and end, and its change of configuration.
 *
 * One HTTP thread (libmicrohttpd's) runs every handler; the engine thread enters only through
 * exchange_wake, the housekeeper only through connections.c. What is not atomic here is written
 * before the HTTP thread starts.
 */
#ifndef SPECD_SERVER_SERVER_H
#define SPECD_SERVER_SERVER_H

#include "access.h"
#include "clients.h"
#include "config.h"
#include "connections.h"
#include "exchange.h"
#include "jobs.h"
#include "listen.h"

#include "specd/engine.h"

#include <stdatomic.h>

/* What SIGHUP changes while requests run. The main thread writes, all others read, each value on
 * its own: a request may meet an old limit and a new one. */
struct limits {
    atomic_int request_timeout_ms, header_timeout_ms, body_timeout_ms, idle_timeout_ms, ping_ms;
    atomic_int hang_timeout_ms;
    atomic_int max_queue, max_queue_per_client; /* the second: 0: any number */
    atomic_int per_address;                     /* connections; 0: any number */
    _Atomic uint64_t max_body, request_memory;
};

struct server {
    const struct config *config;     /* as it was at the start: what SIGHUP changes is in limits */
    _Atomic(struct engine *) engine; /* NULL until it is opened: that is LOADING */
    struct limits limits;
    struct auth auth;
    struct access_log access;
    uint64_t refused_told_ns; /* HTTP thread: when the log last told of a refused connection */
    struct connections connections;
    struct jobs jobs;
    struct MHD_Daemon *daemon;
    struct listener listener;
    atomic_bool draining;   /* no new work: not ready, and generating routes answer 503 */
    atomic_bool stopping;   /* no connection may be suspended any more */
    struct clients clients; /* HTTP thread */
    bool told_of_proxy;     /* HTTP thread: the log has spoken of one that is not trusted */
};

/* ---- the main thread: the server is opened before the engine, which is set when it is there, and
 * closed before it */

/* Listens and starts the HTTP thread. config must outlive the server. */
int server_open(struct server **out, const struct config *config, char *err, size_t errlen);
/* Puts keys, certificate, limits and access log of another configuration into effect, or nothing of
 * it. config may go afterwards. */
int server_reload(struct server *s, const struct config *config, char *err, size_t errlen);
/* Waits until no request is in progress, at most timeout_ms; whether none is. */
bool server_flush(struct server *s, int timeout_ms);
/* Ends every connection; requests still running are cancelled, so the engine must still be open. */
void server_close(struct server *s);

/* ---- any thread */

/* Other machines reach it, and it has no keys. */
bool server_is_exposed(struct server *s);
/* ENGINE_LOADING while there is no engine; ENGINE_DRAINING as soon as the server drains. */
enum engine_state server_state(const struct server *s);
/* Since how many milliseconds the engine has hung, and in what, as liveness_hangs. */
int64_t server_hangs(const struct server *s, const char **what);
/* One judgement for /health, /ready, the log and systemd's watchdog. The engine hangs when a round
 * has been on the device, or the loop has not turned, for longer than --hang-timeout and than
 * twenty times the slowest of the latest rounds: a prompt chunk on a slow CPU is slow, not stuck.
 * Returns since how many milliseconds, in what must be "a round" or "the loop" (*what); 0: it does
 * not. */
int64_t liveness_hangs(const struct engine_liveness *p, uint64_t now_ns, int patience_ms,
                       const char **what);

#endif
