/*
 * http.c - libmicrohttpd's callbacks: connections, headers, bodies, routes.
 *
 * The access handler is called once with the header, then per piece of body, then once with the
 * complete body, and again after every resume until a response is queued. A response may be queued
 * at the header (which then closes the connection) or at the end, never in between.
 */
#include "http.h"

#include "head.h"
#include "liveness.h"
#include "respond.h"
#include "server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARGUMENTS_MAX 64 /* of a query; routes have one at most */
#define BODY_PAUSE_MS 15000
#define BODY_BYTES_PER_S 1024
#define TELL_AGAIN_NS 10000000000u
#define ANSWER_GRACE_MS 2000 /* the engine's time-out comes first */

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

int64_t server_hangs(const struct server *s, const char **what)
{
    enum engine_state state = server_state(s);
    struct engine_liveness liveness;
    if (state != ENGINE_READY && state != ENGINE_DRAINING)
        return 0;
    engine_liveness(atomic_load(&s->engine), &liveness);
    return liveness_hangs(&liveness, clock_ns(), atomic_load(&s->limits.hang_timeout_ms), what);
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

/* libmicrohttpd turns each argument of a query into an entry of the connection's memory, and when
 * that is used up it answers nothing at all. So it does not get to see a query of many. */
void *http_on_target(void *cls, const char *target, struct MHD_Connection *conn)
{
    struct server *s = cls;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct peer *peer = info ? info->socket_context : NULL;
    if (!peer)
        return NULL;
    struct exchange *ex = exchange_new(s, peer, conn);
    int n_arguments = 0;
    ex->target = target ? target : "";
    ex->target_len = strlen(ex->target);
    for (const char *c = strchr(ex->target, '?'); c; c = strchr(c + 1, '&'))
        n_arguments++;
    if (n_arguments > ARGUMENTS_MAX) {
        ex->reject = SPECD_ETARGET;
        ((char *)(uintptr_t)target)[strcspn(target, "?") + 1] = '\0';
    }
    return ex;
}

/* How long the next byte of the body may take: the whole of it has --body-timeout, a silence
 * BODY_PAUSE_MS, and what is slower than BODY_BYTES_PER_S all along ends sooner. */
static int body_patience_ms(const struct exchange *ex)
{
    int64_t gone = (int64_t)((clock_ns() - ex->started_ns) / 1000000);
    int64_t whole = atomic_load(&ex->server->limits.body_timeout_ms) - gone;
    int64_t steady = BODY_PAUSE_MS + (int64_t)(ex->received * 1000 / BODY_BYTES_PER_S) - gone;
    return (int)MAX(MIN(MIN(whole, steady), BODY_PAUSE_MS), 1);
}

static enum MHD_Result begin(struct exchange *ex, const char *url, const char *method,
                             const char *version)
{
    struct server *s = ex->server;
    ex->route = find_route(s, url);
    ex->method = known_method(method);
    head_request_id(ex);
    peer_expect(&s->peers, ex->peer, ex, body_patience_ms(ex));
    const char *why = head_framing_error(ex, method, version);
    if (why) {
        struct api_error e;
        api_fail(&e, SPECD_EINVAL, NULL, "%s", why);
        return respond_error(ex, &e);
    }
    if (!ex->reject)
        ex->reject = head_check(ex);
    if (head_content_length(ex) > atomic_load(&s->limits.max_body))
        return respond_code(ex, ex->reject); /* too much even to throw away */
    return MHD_YES;
}

/* ---- body */

static void reject_body(struct exchange *ex, int code)
{
    ex->reject = code;
    exchange_drop_body(ex);
    clients_return(ex, ex->held);
}

/* A body that is refused is still read, so that the client gets to see the answer; but not for
 * ever. */
static enum MHD_Result receive(struct exchange *ex, const char *data, size_t *size)
{
    struct server *s = ex->server;
    uint64_t limit = atomic_load(&s->limits.max_body);
    ex->received += *size;
    if (ex->received > 2 * limit)
        return MHD_NO;
    if (!ex->reject && ex->received > limit)
        reject_body(ex, SPECD_ETOOBIG);
    if (!ex->reject && !clients_charge(ex, *size))
        reject_body(ex, SPECD_EBUSY);
    if (!ex->reject && !buf_try_add(&ex->body, data, *size))
        reject_body(ex, SPECD_ENOMEM);
    *size = 0;
    peer_expect(&s->peers, ex->peer, ex, body_patience_ms(ex));
    return MHD_YES;
}

static enum MHD_Result dispatch(struct exchange *ex)
{
    struct server *s = ex->server;
    int timeout_ms = atomic_load(&s->limits.request_timeout_ms);
    peer_answer(&s->peers, ex->peer, ex, timeout_ms + ANSWER_GRACE_MS);
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
        if (ex->route->flags & ROUTE_POST && memory_is_short())
            return respond_code(ex, SPECD_ENOMEM);
    }
    return ex->route->handle(ex);
}

/* ---- libmicrohttpd's callbacks */

enum MHD_Result http_on_request(void *cls, struct MHD_Connection *conn, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *size, void **con_cls)
{
    struct exchange *ex = *con_cls;
    (void)cls;
    (void)conn;
    if (!ex)
        return MHD_NO;
    if (!ex->method)
        return begin(ex, url, method, version);
    if (*size > 0)
        return receive(ex, data, size);
    return ex->work ? ex->work_type->resume(ex) : dispatch(ex);
}

void http_on_completed(void *cls, struct MHD_Connection *conn, void **con_cls,
                       enum MHD_RequestTerminationCode code)
{
    struct server *s = cls;
    struct exchange *ex = *con_cls;
    (void)conn;
    if (!ex)
        return;
    bool complete = code == MHD_REQUEST_TERMINATED_COMPLETED_OK;
    if (ex->method) {
        log_debug("%s %s %d, %.1f ms%s", ex->method, ex->route ? ex->route->path : "?", ex->status,
                  (double)(clock_ns() - ex->started_ns) / 1e6, complete ? "" : ", cut off");
        access_write(&s->access, ex, complete);
    }
    peer_expect(&s->peers, ex->peer, NULL, atomic_load(&s->limits.idle_timeout_ms));
    *con_cls = NULL;
    exchange_detach(ex);
}

/* Called before anything else of a connection; refusing closes it at once, which costs least. */
enum MHD_Result http_on_connect(void *cls, const struct sockaddr *addr, socklen_t len)
{
    struct server *s = cls;
    char text[ADDRESS_TEXT_MAX];
    int most = atomic_load(&s->limits.per_address);
    uint64_t key = address_key(addr), now = clock_ns();
    (void)len;
    if (key == 0 || most == 0 || addresses_count(&s->addresses, key) < most)
        return MHD_YES;
    if (s->refused_told_ns == 0 || now - s->refused_told_ns > TELL_AGAIN_NS) {
        address_text(addr, text, sizeof text);
        log_warn("connections of %s refused: it has %d, see --max-connections-per-ip", text, most);
        s->refused_told_ns = now;
    }
    return MHD_NO;
}

static struct peer *peer_begin(struct server *s, struct MHD_Connection *conn)
{
    int fd = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    const struct sockaddr *addr =
        MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
    struct peer *peer = peer_add(&s->peers, fd);
    peer->address_key = address_key(addr);
    address_text(addr, peer->address, sizeof peer->address);
    addresses_add(&s->addresses, peer->address_key);
    return peer;
}

void http_on_connection(void *cls, struct MHD_Connection *conn, void **socket_context,
                        enum MHD_ConnectionNotificationCode code)
{
    struct server *s = cls;
    struct peer *peer = *socket_context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        peer = peer_begin(s, conn);
        peer_expect(&s->peers, peer, NULL, atomic_load(&s->limits.header_timeout_ms));
        *socket_context = peer;
    } else if (peer) {
        addresses_remove(&s->addresses, peer->address_key);
        peer_remove(&s->peers, peer);
        *socket_context = NULL;
    }
}
