/*
 * http.c - libmicrohttpd's callbacks: connections, routes, bodies, answers.
 *
 * The access handler is called once with the header, then per piece of body, then once with the
 * complete body, and again after every resume until a response is queued. A response may be queued
 * at the header (which then closes the connection) or at the end, never in between.
 */
#include "http.h"

#include "head.h"

#include "specd/error.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define ARGUMENTS_MAX 64 /* of a query; routes have one at most */
#define BODY_PAUSE_MS 15000
#define BODY_BYTES_PER_S 1024
#define TELL_AGAIN_NS 10000000000u
#define ANSWER_GRACE_MS 2000 /* the engine's time-out comes first */
#define RETRY_AFTER_S "1"

static const struct route routes[] = {
    {"/health", ROUTE_OPEN, api_health},
    {"/ready", ROUTE_OPEN, api_ready},
    {"/v1/models", 0, api_models},
    {"/v1/models/{model}", 0, api_models},
    {"/v1/completions", ROUTE_POST, api_completion},
    {"/v1/chat/completions", ROUTE_POST, api_chat},
    {"/v1/responses", ROUTE_POST, api_responses},
    {"/v1/responses/input_tokens", ROUTE_POST, api_input_tokens},
    {"/completion", ROUTE_POST, api_native},
    {"/v1/messages", ROUTE_POST | ROUTE_MESSAGES, api_messages},
    {"/v1/messages/count_tokens", ROUTE_POST | ROUTE_MESSAGES, api_count_tokens},
    {"/tokenize", ROUTE_POST, api_tokenize},
    {"/detokenize", ROUTE_POST, api_detokenize},
    {"/apply-template", ROUTE_POST, api_apply_template},
    {"/props", 0, api_props},
    {"/slots", 0, api_slots},
    {"/metrics", 0, api_metrics},
    {"/", ROUTE_OPEN, api_page},
};

/* ---- the target */

/* A target is a path, or a URL with a path; a URL's host counts instead of the Host header's (RFC
 * 9112, 3.2.2). The query is cut off by now. */
static const char *split_target(struct exchange *ex, const char *target)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        size_t n = strlen(schemes[i]);
        if (strncasecmp(target, schemes[i], n) != 0)
            continue;
        ex->host = target + n;
        target = strchr(ex->host, '/');
        return target ? target : "/";
    }
    return target;
}

/* Undoes escapes: all but NUL's, or only of signs that mean the same without one (RFC 3986,
 * 6.2.2.2). */
static void add_unescaped(struct buf *out, const char *s, bool all)
{
    for (; *s; s++) {
        int high = *s == '%' ? hex_digit(s[1]) : -1, low = high >= 0 ? hex_digit(s[2]) : -1;
        char byte = (char)(high * 16 + low);
        bool plain = byte != '\0' && (isalnum((unsigned char)byte) || strchr("-._~", byte));
        bool undo = low >= 0 && byte != '\0' && (all || plain);
        buf_add(out, undo ? &byte : s, 1);
        s += undo ? 2 : 0;
    }
}

/* Makes one slash of several, and none of those at the end. */
static void squeeze_slashes(char *path)
{
    char *to = path;
    for (const char *c = path; *c; c++)
        if (*c != '/' || (c[1] != '/' && c[1] != '\0'))
            *to++ = *c;
    *to = '\0';
}

/* Sets the exchange's route, and its name where the route's path ends with one. */
static void find_route(struct exchange *ex, const char *path)
{
    const struct config *c = ex->server->config;
    for (size_t i = 0; i < COUNT_OF(routes) && !ex->route; i++) {
        const struct route *r = &routes[i];
        struct buf name = {0};
        size_t n = strcspn(r->path, "{");
        bool named = r->path[n] != '\0' && strncmp(r->path, path, n) == 0 && path[n] != '\0' &&
                     path[n] != '/';
        if (!named && strcmp(r->path, path) != 0)
            continue;
        if ((c->no_metrics && r->handle == api_metrics) || (c->no_ui && r->handle == api_page))
            continue;
        ex->route = r;
        if (named) {
            add_unescaped(&name, path + n, true);
            while (name.len > 0 && name.data[name.len - 1] == '/')
                name.data[--name.len] = '\0';
            ex->name = buf_take(&name);
        }
    }
}

static void take_target(struct exchange *ex, const char *target)
{
    struct buf path = {0}, versioned = {0};
    buf_puts(&path, ""); /* a target may be a query alone */
    add_unescaped(&path, split_target(ex, target), false);
    find_route(ex, path.data);
    if (!ex->route) {
        /* On the routes of an API, slashes too many are forgiven, and a base URL without its /v1.
         * Not on others, because a proxy in front may refuse them by their path. */
        squeeze_slashes(path.data);
        if (strncmp(path.data, "/v1/", 4) != 0)
            buf_puts(&versioned, "/v1");
        buf_puts(&versioned, path.data);
        find_route(ex, versioned.data);
    }
    buf_free(&path);
    buf_free(&versioned);
}

/* ---- answers */

/* Version, trace id, parent id and flags in lower-case hex: W3C Trace Context, section 3.2. */
static const char *trace_parent(const struct exchange *ex)
{
    static const char form[] = "xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx";
    const char *given = head_field(ex, "Traceparent");
    if (!given || strlen(given) != sizeof form - 1)
        return NULL;
    for (size_t i = 0; i < sizeof form - 1; i++)
        if (form[i] == '-' ? given[i] != '-' : !strchr("0123456789abcdef", given[i]))
            return NULL;
    return given;
}

/* Errors of a route of Anthropic's are in its shape, and so are those of a path that is nobody's or
 * everybody's where the client says which API it speaks. */
static bool speaks_messages(const struct exchange *ex)
{
    if (ex->route && ex->route->flags & ROUTE_POST)
        return ex->route->flags & ROUTE_MESSAGES;
    return head_field(ex, "Anthropic-Version") != NULL;
}

static const char *allowed(const struct exchange *ex)
{
    return ex->route && ex->route->flags & ROUTE_POST ? "POST, OPTIONS" : "GET, HEAD, OPTIONS";
}

enum MHD_Result respond_queue(struct exchange *ex, int status, struct MHD_Response *response)
{
    const char *origin = ex->server->config->cors_origin;
    if (!response)
        return MHD_NO;
    if (origin) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        MHD_add_response_header(response, MHD_HTTP_HEADER_VARY, MHD_HTTP_HEADER_ORIGIN);
        MHD_add_response_header(response, "Access-Control-Expose-Headers",
                                "X-Request-Id, Request-Id, Traceparent, Retry-After");
    }
    const char *trace = trace_parent(ex);
    MHD_add_response_header(response, "X-Request-Id", ex->request_id);
    if (speaks_messages(ex))
        MHD_add_response_header(response, "Request-Id", ex->request_id);
    if (trace)
        MHD_add_response_header(response, "Traceparent", trace);
    if (status == 405)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allowed(ex));
    else if (status == 415)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ACCEPT_ENCODING, "identity");
    else if (status == 401)
        MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    else if (status == 429 || status == 503 || status == 529)
        MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, RETRY_AFTER_S);
    enum engine_state state = server_state(ex->server);
    if (state == ENGINE_DRAINING || state == ENGINE_STOPPED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    ex->status = status;
    enum MHD_Result queued = MHD_queue_response(ex->conn, (unsigned)status, response);
    MHD_destroy_response(response);
    return queued;
}

enum MHD_Result respond_body(struct exchange *ex, int status, const char *content_type,
                             struct buf *body)
{
    size_t len = body->len;
    ex->sent = strcmp(ex->method, "HEAD") == 0 ? 0 : len;
    struct MHD_Response *r =
        MHD_create_response_from_buffer(len, buf_take(body), MHD_RESPMEM_MUST_FREE);
    if (r && content_type)
        MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    return respond_queue(ex, status, r);
}

enum MHD_Result respond_json(struct exchange *ex, int status, struct buf *body)
{
    return respond_body(ex, status, "application/json", body);
}

enum MHD_Result respond_error(struct exchange *ex, const struct api_error *e)
{
    struct buf body = {0};
    if (!speaks_messages(ex)) {
        error_json(&body, e);
        return respond_json(ex, specd_error_status(e->code), &body);
    }
    messages_error_json(&body, e, ex->request_id);
    return respond_json(ex, messages_error_status(e->code), &body);
}

enum MHD_Result respond_code(struct exchange *ex, int code)
{
    struct api_error e = {.code = code};
    return respond_error(ex, &e);
}

/* Every header that a page wants to send must be named, so those that it asks for are allowed
 * (Fetch standard, 4.9); a page elsewhere must be told that it may reach a private network, too. */
static enum MHD_Result respond_preflight(struct exchange *ex)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
    const char *asked = head_field(ex, "Access-Control-Request-Headers");
    const char *private_network = head_field(ex, "Access-Control-Request-Private-Network");
    if (!asked || !has_only(asked, strlen(asked), TOKEN_SIGNS ", \t"))
        asked = "Authorization, Content-Type, X-Api-Key, X-Request-Id, Traceparent";
    if (r) {
        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, allowed(ex));
        MHD_add_response_header(r, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_METHODS, allowed(ex));
        MHD_add_response_header(r, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_HEADERS, asked);
        MHD_add_response_header(r, MHD_HTTP_HEADER_VARY, "Access-Control-Request-Headers");
        MHD_add_response_header(r, MHD_HTTP_HEADER_ACCESS_CONTROL_MAX_AGE, "600");
        if (private_network && ex->server->config->cors_origin)
            MHD_add_response_header(r, "Access-Control-Allow-Private-Network", "true");
    }
    return respond_queue(ex, 204, r);
}

/* Open, and there while the model loads: it says so, and takes the key itself. */
enum MHD_Result api_page(struct exchange *ex)
{
    static const struct {
        const char *name, *value;
    } headers[] = {
        {MHD_HTTP_HEADER_CONTENT_TYPE, "text/html; charset=utf-8"},
        {MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache"},
        {"Content-Security-Policy", page_policy},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
    };
    struct MHD_Response *r =
        MHD_create_response_from_buffer(page_html_bytes, (void *)page_html, MHD_RESPMEM_PERSISTENT);
    for (size_t i = 0; r && i < COUNT_OF(headers); i++)
        MHD_add_response_header(r, headers[i].name, headers[i].value);
    ex->sent = strcmp(ex->method, "HEAD") == 0 ? 0 : page_html_bytes;
    return respond_queue(ex, 200, r);
}

/* ---- a request comes in */

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
    struct connection *c = info ? info->socket_context : NULL;
    if (!c)
        return NULL;
    struct exchange *ex = exchange_new(s, c, conn);
    int n_arguments = 0;
    ex->target = target ? target : "";
    ex->target_len = strlen(ex->target);
    for (const char *p = strchr(ex->target, '?'); p; p = strchr(p + 1, '&'))
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
    take_target(ex, url);
    ex->method = known_method(method);
    head_take_request_id(ex);
    connection_expect(&s->connections, ex->connection, ex, body_patience_ms(ex), false);
    const char *why = head_framing_error(ex, method, version);
    if (why) {
        struct api_error e;
        api_fail(&e, SPECD_EINVAL, NULL, "%s", why);
        return respond_error(ex, &e);
    }
    if (!ex->reject)
        ex->reject = head_check(ex);
    if (ex->reject && head_content_length(ex) > atomic_load(&s->limits.max_body))
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
    connection_expect(&s->connections, ex->connection, ex, body_patience_ms(ex), false);
    return MHD_YES;
}

static enum MHD_Result dispatch(struct exchange *ex)
{
    struct server *s = ex->server;
    int timeout_ms = atomic_load(&s->limits.request_timeout_ms);
    connection_expect(&s->connections, ex->connection, ex, timeout_ms + ANSWER_GRACE_MS, true);
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
    connection_expect(&s->connections, ex->connection, NULL,
                      atomic_load(&s->limits.idle_timeout_ms), false);
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
    if (key == 0 || most == 0 || connections_of(&s->connections, key) < most)
        return MHD_YES;
    if (s->refused_told_ns == 0 || now - s->refused_told_ns > TELL_AGAIN_NS) {
        address_text(addr, text, sizeof text);
        log_warn("connections of %s refused: it has %d, see --max-connections-per-ip", text, most);
        s->refused_told_ns = now;
    }
    return MHD_NO;
}

void http_on_connection(void *cls, struct MHD_Connection *conn, void **socket_context,
                        enum MHD_ConnectionNotificationCode code)
{
    struct server *s = cls;
    struct connection *c = *socket_context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        int fd = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        c = connection_add(
            &s->connections, fd,
            MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr);
        connection_expect(&s->connections, c, NULL, atomic_load(&s->limits.header_timeout_ms),
                          false);
        *socket_context = c;
    } else if (c) {
        connection_remove(&s->connections, c);
        *socket_context = NULL;
    }
}
