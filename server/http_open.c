/* http_open.c - the HTTP side's beginning, end, and change of configuration. Main thread. */
#include "http.h"

#include "server.h"
#include "specd/error.h"
#include "tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define CONNECTION_BYTES (32 * 1024) /* header and buffers; a longer header gets 431 */
#define SPARE_FDS 128                /* model files, epoll, the engine's loop, ... */

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

static struct MHD_Daemon *start_daemon(struct server *s)
{
    struct MHD_OptionItem items[] = {
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)fit_connections(s->config), NULL},
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
    atomic_store(&s->peers.read_timeout_ms, c->body_timeout_ms);
}

int http_reload(struct server *s, const struct config *config, char *err, size_t errlen)
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
    addresses_init(&s->addresses);
    peers_init(&s->peers);
    return s;
}

static void server_free(struct server *s)
{
    tls_close();
    auth_free(&s->auth);
    access_free(&s->access);
    addresses_free(&s->addresses);
    clients_free(&s->clients);
    peers_fini(&s->peers);
    free(s);
}

int http_open(struct server **out, const struct config *config, char *err, size_t errlen)
{
    struct server *s = server_new(config);
    struct fresh fresh;
    int rc = fresh_open(&fresh, config, err, errlen);
    if (rc < 0)
        goto fail_server;
    fresh_use(s, &fresh, config);
    rc = listen_open(&s->listener, config, err, errlen);
    if (rc < 0)
        goto fail_server;
    rc = peers_start(&s->peers);
    if (rc == 0 && (rc = jobs_start(&s->jobs)) < 0)
        peers_stop(&s->peers);
    if (rc < 0) {
        fail(rc, err, errlen, "can't start a thread");
        goto fail_listen;
    }
    s->daemon = start_daemon(s); /* owns the listener's descriptor, also when it fails */
    if (!s->daemon) {
        rc = fail(SPECD_EINTERNAL, err, errlen, "can't start the HTTP server");
        peers_stop(&s->peers);
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

void http_attach(struct server *s, struct engine *engine)
{
    atomic_store(&s->engine, engine);
}

void http_drain(struct server *s)
{
    atomic_store(&s->draining, true);
}

int64_t http_hangs(const struct server *s, const char **what)
{
    return server_hangs(s, what);
}

const char *http_url(const struct server *s)
{
    return s->listener.url;
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
    jobs_stop(&s->jobs);
    listen_cleanup();
    server_free(s);
}
