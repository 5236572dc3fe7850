#include "server.h"

#include "http.h"
#include "specd/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define CONNECTION_BYTES (32 * 1024) /* header and buffers; a longer header gets 431 */
#define SPARE_FDS 128                /* model files, epoll, the engine's loop, ... */
#define LEAST_FDS 32                 /* with fewer a library may end the process */
#define SLOWER 20                    /* than the slowest round of late: that is no work any more */

bool server_is_exposed(struct server *s)
{
    bool local = s->listener.loopback || strncmp(s->config->host, "unix:", 5) == 0;
    return !local && auth_is_open(&s->auth);
}

/* ---- the engine as clients see it */

static uint64_t age(uint64_t since_ns, uint64_t now_ns)
{
    return since_ns != 0 && now_ns > since_ns ? now_ns - since_ns : 0;
}

int64_t liveness_hangs(const struct engine_liveness *p, uint64_t now_ns, int patience_ms,
                       const char **what)
{
    uint64_t patience = MAX((uint64_t)patience_ms * 1000000, SLOWER * p->slowest_ns);
    uint64_t round = age(p->round_ns, now_ns), turn = age(p->iterated_ns, now_ns);
    *what = round > patience ? "a round" : "the loop";
    uint64_t longest = round > patience ? round : turn;
    return longest > patience ? (int64_t)(longest / 1000000) : 0;
}

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

/* ---- libmicrohttpd */

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

/* Each connection has a descriptor, and each live request a second one that the engine polls. 0:
 * there are too few even for one. */
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
    if (limit.rlim_cur < LEAST_FDS)
        return 0;
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

static struct MHD_Daemon *start_daemon(struct server *s, unsigned n_connections)
{
    struct MHD_OptionItem items[] = {
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)n_connections, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES, NULL},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)http_on_target, s},
        {MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)keep_escapes, NULL},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)http_on_completed, s},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)http_on_connection, s},
        {MHD_OPTION_LISTEN_SOCKET, s->listener.fd, NULL},
        {MHD_OPTION_END, 0, NULL}, /* room for the two of TLS */
        {MHD_OPTION_END, 0, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    if (s->config->tls_cert) {
        flags |= MHD_USE_TLS;
        items[COUNT_OF(items) - 3] =
            (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)TLS_PRIORITIES};
        items[COUNT_OF(items) - 2] =
            (struct MHD_OptionItem){MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)tls_retrieve};
    }
    /* The logger must be the first option: errors in the others go to it. */
    return MHD_start_daemon(flags, 0, http_on_connect, s, http_on_request, s,
                            MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_ARRAY, items,
                            MHD_OPTION_END);
}

/* ---- what SIGHUP can change: opened first, all of it, and only then put into effect */

static void limits_set(struct limits *l, const struct config *c)
{
    atomic_store(&l->request_timeout_ms, c->request_timeout_ms);
    atomic_store(&l->header_timeout_ms, c->header_timeout_ms);
    atomic_store(&l->body_timeout_ms, c->body_timeout_ms);
    atomic_store(&l->idle_timeout_ms, c->idle_timeout_ms);
    atomic_store(&l->ping_ms, c->ping_ms);
    atomic_store(&l->hang_timeout_ms, c->hang_timeout_ms);
    atomic_store(&l->max_queue, c->engine.max_queue);
    atomic_store(&l->max_queue_per_client, c->max_queue_per_client);
    atomic_store(&l->per_address, c->max_connections_per_ip);
    atomic_store(&l->max_body, c->max_body);
    atomic_store(&l->request_memory, c->request_memory);
}

struct fresh {
    struct keys keys;
    struct tls_pair *tls;
    int access_fd;
};

static int fresh_open(struct fresh *f, const struct config *c, char *err, size_t errlen)
{
    *f = (struct fresh){.access_fd = -1};
    int rc = keys_load(&f->keys, c->api_key_file, c->api_key, err, errlen);
    if (rc == 0)
        rc = tls_load(&f->tls, c->tls_cert, c->tls_key, err, errlen);
    if (rc == 0)
        rc = access_open(&f->access_fd, c->access_log, err, errlen);
    if (rc < 0) {
        tls_free(f->tls);
        keys_free(&f->keys);
    }
    return rc;
}

static void fresh_use(struct server *s, struct fresh *f, const struct config *c)
{
    auth_replace(&s->auth, &f->keys);
    tls_use(f->tls);
    access_replace(&s->access, f->access_fd, c->log_format == LOG_JSON);
    limits_set(&s->limits, c);
    atomic_store(&s->connections.read_timeout_ms, c->body_timeout_ms);
}

int server_reload(struct server *s, const struct config *config, char *err, size_t errlen)
{
    struct fresh fresh;
    if (!config->tls_cert != !s->config->tls_cert) /* the listener is what it is */
        return fail(SPECD_EINVAL, err, errlen, "tls-cert: TLS on or off takes a restart");
    if (!config->api_key_file &&
        auth_needs_file(&s->auth)) /* a lost line must not open it to all */
        return fail(SPECD_EINVAL, err, errlen, "api-key-file: to run without it takes a restart");
    int rc = fresh_open(&fresh, config, err, errlen);
    if (rc == 0)
        fresh_use(s, &fresh, config);
    return rc;
}

/* ---- opening and closing */

static struct server *server_new(const struct config *config)
{
    struct server *s = xcalloc(1, sizeof *s);
    s->config = config;
    auth_init(&s->auth);
    access_init(&s->access);
    connections_init(&s->connections);
    return s;
}

static void server_free(struct server *s)
{
    tls_close();
    auth_free(&s->auth);
    access_free(&s->access);
    clients_free(&s->clients);
    connections_free(&s->connections);
    free(s);
}

int server_open(struct server **out, const struct config *config, char *err, size_t errlen)
{
    unsigned n_connections = fit_connections(config);
    if (n_connections == 0)
        return fail(SPECD_EINTERNAL, err, errlen,
                    "the limit on open files is below %d (ulimit -n, LimitNOFILE=)", LEAST_FDS);
    struct server *s = server_new(config);
    struct fresh fresh;
    int rc = fresh_open(&fresh, config, err, errlen);
    if (rc < 0)
        goto fail_server;
    fresh_use(s, &fresh, config);
    rc = listen_open(&s->listener, config, err, errlen);
    if (rc < 0)
        goto fail_server;
    rc = connections_start(&s->connections);
    if (rc == 0 && (rc = jobs_start(&s->jobs)) < 0)
        connections_stop(&s->connections);
    if (rc < 0) {
        fail(rc, err, errlen, "can't start a thread");
        goto fail_listen;
    }
    s->daemon =
        start_daemon(s, n_connections); /* owns the listener's descriptor, also when it fails */
    if (!s->daemon) {
        rc = fail(SPECD_EINTERNAL, err, errlen, "can't start the HTTP server");
        connections_stop(&s->connections);
        jobs_stop(&s->jobs);
        goto fail_listen;
    }
    *out = s;
    return 0;

fail_listen:
    listen_cleanup();
fail_server:
    server_free(s);
    return rc;
}

bool server_flush(struct server *s, int timeout_ms)
{
    uint64_t deadline = clock_ns() + (uint64_t)timeout_ms * 1000000;
    while (connections_busy(&s->connections) > 0 && clock_ns() < deadline)
        usleep(5000);
    return connections_busy(&s->connections) == 0;
}

void server_close(struct server *s)
{
    atomic_store(&s->stopping, true);
    connections_stop(&s->connections);
    connections_wake_all(&s->connections); /* nothing suspends any more */
    MHD_stop_daemon(s->daemon);
    jobs_stop(&s->jobs);
    listen_cleanup();
    server_free(s);
}
