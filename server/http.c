/*
 * http.c - libmicrohttpd's callbacks: connections, headers, bodies, routes.
 *
 * The access handler is called once with the header, then per piece of body, then once with the
 * complete body, and again after every resume until a response is queued. A response may be queued
 * at the header (which then closes the connection) or at the end, never in between.
 */
#include "http.h"

#include "head.h"
#include "listen.h"
#include "respond.h"
#include "server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define CONNECTION_BYTES (32 * 1024) /* header and buffers; a longer header gets 431 */
#define BODIES_MAX 64                /* complete bodies' worth of memory for all that come in */
#define ANSWER_GRACE_MS 2000         /* the engine's time-out comes first */
#define SPARE_FDS 128                /* model files, epoll, the engine's loop, ... */

static const struct route routes[] = {
    {"/health", ROUTE_OPEN, api_health},
    {"/ready", ROUTE_OPEN, api_ready},
    {"/v1/models", 0, api_models},
    {"/v1/completions", ROUTE_POST, api_completion},
    {"/v1/chat/completions", ROUTE_POST, api_chat},
    {"/completion", ROUTE_POST, api_native},
    {"/tokenize", ROUTE_POST, api_tokenize},
    {"/detokenize", ROUTE_POST, api_detokenize},
    {"/apply-template", ROUTE_POST, api_apply_template},
    {"/props", 0, api_props},
    {"/slots", 0, api_slots},
    {"/metrics", 0, api_metrics},
    {"/", ROUTE_OPEN, api_page},
};

enum engine_state server_state(const struct server *s)
{
    struct engine *engine = atomic_load(&s->engine);
    enum engine_state state = engine ? engine_state(engine) : ENGINE_LOADING;
    return state == ENGINE_READY && atomic_load(&s->draining) ? ENGINE_DRAINING : state;
}

static bool is_off(const struct config *c, const struct route *r)
{
    return (c->no_metrics && r->handle == api_metrics) || (c->no_ui && r->handle == api_page);
}

static const struct route *find_route(const struct server *s, const char *path)
{
    for (size_t i = 0; i < COUNT_OF(routes); i++)
        if (strcmp(routes[i].path, path) == 0)
            return is_off(s->config, &routes[i]) ? NULL : &routes[i];
    return NULL;
}

/* ---- header */

static const char *known_method(const char *method)
{
    static const char *const known[] = {"GET", "HEAD", "POST", "OPTIONS"};
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (strcmp(known[i], method) == 0)
            return known[i];
    return "?";
}

static enum MHD_Result begin(struct server *s, struct MHD_Connection *conn, const char *url,
                             const char *method, const char *version, void **con_cls)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct peer *peer = info ? info->socket_context : NULL;
    if (!peer)
        return MHD_NO;
    struct exchange *ex = exchange_new(s, peer, conn);
    *con_cls = ex;
    ex->route = find_route(s, url);
    ex->method = known_method(method);
    head_request_id(ex);
    peer_expect(&s->peers, peer, ex, s->config->body_timeout_ms);
    const char *why = head_framing_error(ex, version);
    if (why) {
        struct api_error e;
        api_fail(&e, SPECD_EINVAL, NULL, "%s", why);
        return respond_error(ex, &e);
    }
    ex->reject = head_check(ex);
    if (head_content_length(ex) > s->config->max_body)
        return respond_code(ex, ex->reject); /* too much even to throw away */
    return MHD_YES;
}

/* ---- body */

static void reject_body(struct exchange *ex, int code)
{
    ex->reject = code;
    exchange_drop_body(ex);
}

/* A body that is refused is still read, so that the client gets to see the answer; but not for
 * ever. */
static enum MHD_Result receive(struct exchange *ex, const char *data, size_t *size)
{
    struct server *s = ex->server;
    uint64_t limit = s->config->max_body;
    ex->received += *size;
    if (ex->received > 2 * limit)
        return MHD_NO;
    if (!ex->reject && ex->received > limit)
        reject_body(ex, SPECD_ETOOBIG);
    if (!ex->reject && s->body_bytes + *size > BODIES_MAX * limit)
        reject_body(ex, SPECD_EBUSY);
    if (!ex->reject) {
        buf_add(&ex->body, data, *size);
        s->body_bytes += *size;
    }
    *size = 0;
    return MHD_YES;
}

static enum MHD_Result dispatch(struct exchange *ex)
{
    struct server *s = ex->server;
    peer_answer(&s->peers, ex->peer, ex, s->config->request_timeout_ms + ANSWER_GRACE_MS);
    if (ex->reject)
        return respond_code(ex, ex->reject);
    if (strcmp(ex->method, "OPTIONS") == 0)
        return respond_preflight(ex);
    if (!(ex->route->flags & ROUTE_OPEN)) {
        enum engine_state state = server_state(s);
        if (state == ENGINE_LOADING)
            return respond_code(ex, SPECD_ELOADING);
        if (state == ENGINE_FAILED)
            return respond_code(ex, SPECD_EDEVICE);
    }
    return ex->route->handle(ex);
}

/* ---- libmicrohttpd's callbacks */

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **con_cls)
{
    struct exchange *ex = *con_cls;
    if (!ex)
        return begin(cls, conn, url, method, version, con_cls);
    if (*size > 0)
        return receive(ex, data, size);
    return ex->work ? ex->work_type->resume(ex) : dispatch(ex);
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **con_cls,
                         enum MHD_RequestTerminationCode code)
{
    struct server *s = cls;
    struct exchange *ex = *con_cls;
    (void)conn;
    if (!ex)
        return;
    log_debug("%s %s %d, %.1f ms%s", ex->method, ex->route ? ex->route->path : "?", ex->status,
              (double)(clock_ns() - ex->started_ns) / 1e6,
              code == MHD_REQUEST_TERMINATED_COMPLETED_OK ? "" : ", cut off");
    peer_expect(&s->peers, ex->peer, NULL, s->config->idle_timeout_ms);
    *con_cls = NULL;
    exchange_detach(ex);
}

static void on_connection(void *cls, struct MHD_Connection *conn, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct server *s = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct peer *peer = peer_add(&s->peers, info->connect_fd);
        peer_expect(&s->peers, peer, NULL, s->config->header_timeout_ms);
        *socket_context = peer;
    } else if (*socket_context) {
        peer_remove(&s->peers, *socket_context);
        *socket_context = NULL;
    }
}

static void on_log(void *cls, const char *fmt, va_list ap)
{
    char line[512];
    (void)cls;
    if (!log_enabled(LOG_DEBUG))
        return;
    vsnprintf(line, sizeof line, fmt, ap);
    line[strcspn(line, "\n")] = '\0';
    log_debug("libmicrohttpd: %s", line);
}

/* ---- opening and closing */

/* Each connection has a descriptor, and each live request a second one that the engine polls. */
static unsigned fit_connections(const struct config *c)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)c->max_connections;
    rlim_t other = (rlim_t)c->engine.max_queue + (rlim_t)c->engine.n_slots + SPARE_FDS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted + other)
        return (unsigned)wanted;
    limit.rlim_cur = MIN(wanted + other, limit.rlim_max);
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= wanted + other)
        return (unsigned)wanted;
    rlim_t fit = limit.rlim_cur > other ? limit.rlim_cur - other : 1;
    log_warn("only %llu connections instead of %llu: the limit on open files is %llu",
             (unsigned long long)fit, (unsigned long long)wanted,
             (unsigned long long)limit.rlim_cur);
    return (unsigned)fit;
}

/* No path or query of ours needs escapes, so /v1%2Fmodels is just not found. */
static size_t keep_escapes(void *cls, struct MHD_Connection *conn, char *s)
{
    (void)cls;
    (void)conn;
    return strlen(s);
}

static struct MHD_Daemon *start_daemon(struct server *s, int fd)
{
    struct MHD_OptionItem items[] = {
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)fit_connections(s->config), NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES, NULL},
        {MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)keep_escapes, NULL},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, s},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, s},
        {MHD_OPTION_LISTEN_SOCKET, fd, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    /* The logger must be the first option: errors in the others go to it. */
    return MHD_start_daemon(flags, 0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, on_log,
                            NULL, MHD_OPTION_ARRAY, items, MHD_OPTION_END);
}

int http_open(struct server **out, const struct config *config, char *err, size_t errlen)
{
    struct server *s = xcalloc(1, sizeof *s);
    int fd;
    s->config = config;
    peers_init(&s->peers);
    errands_init(&s->errands);
    int rc = auth_load(&s->auth, config->api_key_file, config->api_key, err, errlen);
    if (rc < 0)
        goto fail_auth;
    rc = listen_open(&fd, config->host, config->port, s->url, sizeof s->url, err, errlen);
    if (rc < 0)
        goto fail_auth;
    rc = peers_start(&s->peers);
    if (rc < 0) {
        fail(rc, err, errlen, "can't start a thread");
        goto fail_listen;
    }
    s->daemon = start_daemon(s, fd); /* owns fd, also when it fails */
    if (!s->daemon) {
        rc = fail(SPECD_EINTERNAL, err, errlen, "can't start the HTTP server");
        peers_stop(&s->peers);
        goto fail_listen;
    }
    *out = s;
    return 0;

fail_listen:
    listen_cleanup(config->host);
fail_auth:
    auth_free(&s->auth);
    peers_fini(&s->peers);
    free(s);
    return rc;
}

void http_attach(struct server *s, struct engine *engine)
{
    atomic_store(&s->engine, engine);
}

void http_drain(struct server *s)
{
    atomic_store(&s->draining, true);
}

const char *http_url(const struct server *s)
{
    return s->url;
}

bool http_flush(struct server *s, int timeout_ms)
{
    uint64_t deadline = clock_ns() + (uint64_t)timeout_ms * 1000000;
    while (peers_busy(&s->peers) > 0 && clock_ns() < deadline)
        usleep(5000);
    return peers_busy(&s->peers) == 0;
}

void http_close(struct server *s)
{
    atomic_store(&s->stopping, true);
    peers_stop(&s->peers);
    peers_wake_all(&s->peers); /* nothing suspends any more */
    MHD_stop_daemon(s->daemon);
    errands_fini(&s->errands);
    listen_cleanup(s->config->host);
    auth_free(&s->auth);
    peers_fini(&s->peers);
    free(s);
}
