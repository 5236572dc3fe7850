/*
 * main.c - specd: reads the configuration, chooses the device and serves: the life of the daemon on
 * its main thread. The first SIGTERM or SIGINT drains; a second one ends the process at once.
 * SIGHUP reloads.
 */
#include "config.h"
#include "sandbox.h"
#include "server.h"
#include "specd/error.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LOOK_MS 1000 /* how often to see whether the engine hangs */
/* Clients still reading after the last request has ended get what is left of the drain, at least
 * this; a second signal is looked for between slices. */
#define FLUSH_MS 1000
#define FLUSH_SLICE_MS 50
#define FLUSH_FAILED_MS 300 /* a failed device ends the process within a second */

/* Where the configuration came from, to be read again. */
struct config_sources {
    int argc;
    char **argv, **environment;
};

/* 1: could not start; 2: wrong usage; 70: the device failed. */
enum exit_code { EXIT_CLEAN = 0, EXIT_START = 1, EXIT_USAGE = 2, EXIT_DEVICE = 70 };

struct daemon {
    struct config *config;
    const struct config_sources *sources;
    struct server *server;
    struct engine *engine;
    int signal_fd; /* SIGTERM, SIGINT, SIGHUP */
    int state_fd;  /* written by on_state */
    bool was_ready, draining;
    uint64_t drain_ends_ns;
    int watchdog_ms; /* how often it wants to be fed; -1: none */
    bool hangs;      /* as of the last look */
};

/* ---- systemd */

/* "READY=1", "STOPPING=1", "WATCHDOG=1": sd_notify(3), a datagram to the unix socket that
 * NOTIFY_SOCKET names. Without that variable nothing happens; nothing fails. */
static void notify_supervisor(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof addr.sun_path)
        return;
    size_t len = strlen(path);
    memcpy(addr.sun_path, path, len);
    if (*path == '@')
        addr.sun_path[0] = '\0'; /* the abstract namespace */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&addr,
           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    close(fd);
}

/* How often to look whether all is well, so that systemd's watchdog (WatchdogSec=) hears of it in
 * time: a quarter of its patience. -1: there is no watchdog. */
static int watchdog_ms(void)
{
    const char *patience_us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (!patience_us || (pid && strtoll(pid, NULL, 10) != getpid()))
        return -1;
    long long ms = strtoll(patience_us, NULL, 10) / 4000;
    return ms > 0 ? (int)MIN(ms, INT_MAX) : -1;
}

/* ---- SIGHUP */

/* Reads the configuration again and puts into effect what can change without dropping a request:
 * keys, certificate, limits, time-outs, log level and form, the access log. All or nothing: while
 * anything of it is bad, everything stays as it was. */
static void reload(struct daemon *d)
{
    struct config fresh = {0};
    struct buf rest = {0};
    char err[512];
    engine_config_init(&fresh.engine);
    int rc = config_load(&fresh, d->sources->argc, d->sources->argv, d->sources->environment, err,
                         sizeof err);
    if (rc == 0)
        rc = server_reload(d->server, &fresh, err, sizeof err);
    if (rc < 0) {
        log_error("SIGHUP: nothing is changed: %s", err);
    } else {
        log_set(fresh.log_level, fresh.log_format == LOG_JSON);
        engine_limits(d->engine, fresh.engine.max_queue, fresh.request_timeout_ms);
        d->config->drain_timeout_ms = fresh.drain_timeout_ms;
        config_unchangeable(d->config, &fresh, &rest);
        log_info("SIGHUP: the configuration is reloaded%s%s",
                 rest.len > 0 ? "; these take a restart to change:" : "",
                 rest.len > 0 ? rest.data : "");
    }
    buf_free(&rest);
    config_free(&fresh);
}

/* ---- ready, signals, hangs */

static void on_state(void *arg)
{
    struct daemon *d = arg;
    uint64_t one = 1;
    ssize_t n = write(d->state_fd, &one, sizeof one);
    (void)n; /* fails only when the counter is full, and then the reader is awake */
}

/* NVIDIA's driver makes calls of its own; where it was tried, too, it may have left threads. */
static void confine(const struct config *c)
{
    char err[200];
    if (c->no_seccomp || strcmp(c->engine.device->name, "cuda") == 0 || !sandbox_built())
        log_debug("system calls are not filtered");
    else if (sandbox_enter(err, sizeof err) < 0)
        log_warn("system calls are not filtered: %s", err);
    else
        log_debug("system calls are filtered from now on");
}

static void on_ready(struct daemon *d)
{
    if (d->was_ready)
        return;
    d->was_ready = true;
    confine(d->config);
    if (d->config->engine.synthetic_acceptance >= 0)
        log_warn("--synthetic-acceptance is on: the output is meaningless");
    log_info("ready: %s", d->server->listener.url);
    notify_supervisor("READY=1");
}

static void on_signal(struct daemon *d)
{
    struct signalfd_siginfo info;
    ssize_t n = read(d->signal_fd, &info, sizeof info);
    if (n != (ssize_t)sizeof info)
        return;
    if (info.ssi_signo == SIGHUP) {
        reload(d);
        return;
    }
    if (d->draining || engine_state(d->engine) == ENGINE_LOADING) {
        log_info("ended by a signal");
        /* Nothing to finish, or told not to. A half-loaded model is no reason to wait. */
        server_close(d->server);
        _exit(d->draining ? EXIT_START : EXIT_CLEAN);
    }
    d->draining = true;
    d->drain_ends_ns = clock_ns() + (uint64_t)d->config->drain_timeout_ms * 1000000;
    atomic_store(&d->server->draining, true);
    log_info("draining: at most %.1f s; a second signal ends at once",
             d->config->drain_timeout_ms / 1000.0);
    notify_supervisor("STOPPING=1");
    engine_drain(d->engine, d->config->drain_timeout_ms);
}

/* systemd hears nothing while the engine hangs. */
static void check_liveness(struct daemon *d)
{
    const char *what;
    int64_t ms = server_hangs(d->server, &what);
    if (ms > 0 && !d->hangs)
        log_error("the engine hangs: %s has taken %.1f s", what, (double)ms / 1000);
    else if (ms == 0 && d->hangs)
        log_info("the engine works again");
    d->hangs = ms > 0;
    if (ms == 0 && d->watchdog_ms > 0)
        notify_supervisor("WATCHDOG=1");
}

/* Until the engine has stopped or failed. */
static enum engine_state wait_for_end(struct daemon *d)
{
    struct pollfd fds[] = {{.fd = d->signal_fd, .events = POLLIN},
                           {.fd = d->state_fd, .events = POLLIN}};
    for (;;) {
        enum engine_state state = engine_state(d->engine);
        if (state == ENGINE_STOPPED || state == ENGINE_FAILED)
            return state;
        if (state == ENGINE_READY)
            on_ready(d);
        int look_ms = d->watchdog_ms > 0 ? MIN(d->watchdog_ms, LOOK_MS) : LOOK_MS;
        if (poll(fds, COUNT_OF(fds), look_ms) < 0 && errno != EINTR)
            return ENGINE_FAILED;
        check_liveness(d);
        if (fds[0].revents & POLLIN)
            on_signal(d);
        if (fds[1].revents & POLLIN) {
            uint64_t count;
            ssize_t n = read(d->state_fd, &count, sizeof count);
            (void)n;
        }
    }
}

/* The engine's threads may hang in a failed device: nothing is joined or freed. */
static _Noreturn void end_failed(struct daemon *d)
{
    int code = EXIT_DEVICE;
    const char *why = engine_failure(d->engine, &code);
    log_error("%s", why);
    server_flush(d->server, FLUSH_FAILED_MS);
    listen_cleanup();
    _exit(code);
}

/* The engine has generated everything; slow readers may have much of it still to read. */
static void flush(struct daemon *d)
{
    struct pollfd fd = {.fd = d->signal_fd, .events = POLLIN};
    uint64_t ends = MAX(d->drain_ends_ns, clock_ns() + (uint64_t)FLUSH_MS * 1000000);
    while (clock_ns() < ends && !server_flush(d->server, FLUSH_SLICE_MS)) {
        if (poll(&fd, 1, 0) > 0)
            on_signal(d);
    }
}

static int run(struct daemon *d)
{
    if (wait_for_end(d) == ENGINE_FAILED)
        end_failed(d);
    flush(d);
    server_close(d->server);
    engine_close(d->engine);
    log_info("stopped");
    return EXIT_CLEAN;
}

/* What on_signal reads from signal_fd. */
static void taken_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
}

/* First of all in the process: a signal before serve is kept for it, not lost and no end. */
static void block_signals(void)
{
    sigset_t set;
    taken_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a log at its limit is no reason to end: write fails */
}

static int open_descriptors(struct daemon *d)
{
    sigset_t set;
    taken_signals(&set);
    d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    d->state_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return d->signal_fd < 0 || d->state_fd < 0 ? SPECD_EINTERNAL : 0;
}

/* Listening comes first, so that a supervisor's probes are answered while the model loads. */
static int serve(struct config *config, const struct config_sources *sources)
{
    struct daemon d = {.config = config, .sources = sources, .watchdog_ms = watchdog_ms()};
    char err[512] = "can't open a descriptor: see the limit on open files (ulimit -n)";
    memory_keep_reserve();
    if (open_descriptors(&d) < 0 || server_open(&d.server, config, err, sizeof err) < 0) {
        log_error("%s", err);
        return EXIT_START;
    }
    config_wipe_key(config, sources->environment);
    log_info("listening: %s", d.server->listener.url);
    if (server_is_exposed(d.server))
        log_warn("there are no API keys: everybody on the network may use this server "
                 "(--api-key-file, SPECD_API_KEY)");
    config->engine.on_state = on_state;
    config->engine.on_state_arg = &d;
    if (engine_open(&d.engine, &config->engine, err, sizeof err) < 0) {
        log_error("%s", err);
        server_close(d.server);
        return EXIT_START;
    }
    atomic_store(&d.server->engine, d.engine);
    return run(&d);
}

/* ---- from the command line to serving */

extern char **environ;

/* Named here, not in the server's library, because the name is what links a device in. */
#ifdef SPECD_HAVE_CUDA_DEVICE
static const struct device_ops *const cuda = &cuda_device_ops;
#else
static const struct device_ops *const cuda;
#endif

/* What this build lacks is refused, with a line that says why. The engine opens what is chosen. */
static int choose_device(struct config *config, char *err, size_t errlen)
{
    struct engine_config *e = &config->engine;
    e->device = &cpu_device_ops;
    e->fallback = NULL;
    if (config->device == DEVICE_CPU)
        return 0;
    if (cuda) {
        e->device = cuda;
        e->fallback = config->device == DEVICE_AUTO ? &cpu_device_ops : NULL;
        return 0;
    }
    if (config->device == DEVICE_AUTO)
        return 0;
    return fail(SPECD_EINVAL, err, errlen,
                "--device: this build has no CUDA device: it was made without NVIDIA's CUDA "
                "toolkit (nvcc), or with -DSPECD_CUDA=OFF");
}

static int print(const struct config *config)
{
    struct buf text = {0};
    if (config->print_config)
        config_warn_unknown(environ);
    if (config->help)
        config_help(&text);
    else if (config->version)
        buf_puts(&text, "specd " SPECD_VERSION "\n");
    else
        config_print(config, &text);
    fputs(text.data, stdout);
    buf_free(&text);
    return EXIT_CLEAN;
}

static int start(struct config *config, const struct config_sources *sources)
{
    char err[512];
    log_set(config->log_level, config->log_format == LOG_JSON);
    config_warn_unknown(sources->environment);
    if (config_resolve(config, err, sizeof err) < 0) {
        log_error("%s", err);
        return EXIT_START;
    }
    return serve(config, sources);
}

int main(int argc, char **argv)
{
    struct config config = {0};
    char err[512];
    int code;
    block_signals();
    engine_config_init(&config.engine);
    int rc = config_load(&config, argc, argv, environ, err, sizeof err);
    bool prints = config.help || config.version || config.print_config;
    if (rc == 0 && !prints)
        rc = choose_device(&config, err, sizeof err);
    if (rc < 0) {
        fprintf(stderr, "specd: %s\nTry specd --help.\n", err);
        code = EXIT_USAGE;
    } else {
        code =
            prints ? print(&config) : start(&config, &(struct config_sources){argc, argv, environ});
    }
    config_free(&config);
    return code;
}
