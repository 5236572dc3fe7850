/*
 * server.h - the state that the files of the HTTP side share.
 *
 * One HTTP thread (libmicrohttpd's) runs every handler; the engine thread enters only through
 * exchange_wake, the housekeeper only through peer.c. What is not atomic here is written before
 * the HTTP thread starts.
 */
#ifndef SPECD_SERVER_SERVER_H
#define SPECD_SERVER_SERVER_H

#include "access.h"
#include "addresses.h"
#include "auth.h"
#include "clients.h"
#include "config.h"
#include "jobs.h"
#include "exchange.h"
#include "fields.h"
#include "listen.h"
#include "live_limits.h"
#include "peer.h"

#include "specd/engine.h"

#include <stdatomic.h>

struct server {
    const struct config *config;     /* as it was at the start: what SIGHUP changes is in limits */
    _Atomic(struct engine *) engine; /* NULL until it is opened: that is LOADING */
    struct limits limits;
    struct auth auth;
    struct access_log access;
    struct addresses addresses; /* HTTP thread */
    uint64_t refused_told_ns;   /* HTTP thread: when the log last told of a refused connection */
    struct peers peers;
    struct jobs jobs;
    struct MHD_Daemon *daemon;
    struct listener listener;
    atomic_bool draining;   /* from the signal on, before the engine knows */
    atomic_bool stopping;   /* no connection may be suspended any more */
    struct clients clients; /* HTTP thread */
    bool told_of_proxy;     /* HTTP thread: the log has spoken of one that is not trusted */
};

/* ENGINE_LOADING while there is no engine; ENGINE_DRAINING as soon as the server drains. */
enum engine_state server_state(const struct server *s);
/* Since how many milliseconds the engine has hung, and in what: see liveness.h. 0: it does not. */
int64_t server_hangs(const struct server *s, const char **what);

enum route_flags {
    ROUTE_POST = 1, /* else GET and HEAD */
    ROUTE_OPEN = 2, /* needs no key */
};

struct route {
    const char *path;
    unsigned flags;
    /* HTTP thread, with the complete body. Queues a response, or sets ex->work and suspends. */
    enum MHD_Result (*handle)(struct exchange *ex);
};

/* ---- http.c: libmicrohttpd's callbacks; cls is the server */
enum MHD_Result http_on_connect(void *cls, const struct sockaddr *addr, socklen_t len);
/* Before libmicrohttpd takes the target apart; makes the exchange. */
void *http_on_target(void *cls, const char *target, struct MHD_Connection *conn);
enum MHD_Result http_on_request(void *cls, struct MHD_Connection *conn, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *size, void **con_cls);
void http_on_completed(void *cls, struct MHD_Connection *conn, void **con_cls,
                       enum MHD_RequestTerminationCode code);
void http_on_connection(void *cls, struct MHD_Connection *conn, void **socket_context,
                        enum MHD_ConnectionNotificationCode code);

/* ---- handlers */
enum MHD_Result api_health(struct exchange *ex);
enum MHD_Result api_ready(struct exchange *ex);
enum MHD_Result api_models(struct exchange *ex);
enum MHD_Result api_metrics(struct exchange *ex);
enum MHD_Result api_completion(struct exchange *ex);
enum MHD_Result api_chat(struct exchange *ex);
enum MHD_Result api_native(struct exchange *ex);
enum MHD_Result api_page(struct exchange *ex);
enum MHD_Result api_tokenize(struct exchange *ex);
const struct field *tokenize_table(size_t *n); /* and what it reads into, with its defaults */
const void *tokenize_defaults(void);
enum MHD_Result api_detokenize(struct exchange *ex);
enum MHD_Result api_apply_template(struct exchange *ex);
enum MHD_Result api_props(struct exchange *ex);
enum MHD_Result api_slots(struct exchange *ex);

#endif
