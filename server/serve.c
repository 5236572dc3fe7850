#include "serve.h"

#include "http.h"
#include "listen.h"
#include "notify.h"
#include "sandbox.h"
#include "specd/error.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define LOOK_MS 1000 /* how often to see whether the engine hangs */
/* Clients still reading after the last request has ended get what is left of the drain, at least
 * this; a second signal is looked for between slices. */
#define FLUSH_MS 1000
#define FLUSH_SLICE_MS 50
#define FLUSH_FAILED_MS 300 /* a failed device ends the process within a second */

struct daemon {
    struct config *config;
    const struct config_sources *sources;
    struct server *http;
    struct engine *engine;
    int signal_fd; /* SIGTERM, SIGINT, SIGHUP */
    int state_fd;  /* written by on_state */
    bool was_ready, draining;
    uint64_t drain_ends_ns;
    int watchdog_ms; /* how often it wants to be fed; -1: none */
    bool hangs;      /* as of the last look */
};

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
    log_info("ready: %s", http_url(d->http));
    notify_supervisor("READY=1");
}

static void on_signal(struct daemon *d)
{
    struct signalfd_siginfo info;
    ssize_t n = read(d->signal_fd, &info, sizeof info);
    if (n != (ssize_t)sizeof info)
        return;
    if (info.ssi_signo == SIGHUP) {
        reload(d->sources, d->config, d->http, d->engine);
        return;
    }
    if (d->draining || engine_state(d->engine) == ENGINE_LOADING) {
        log_info("ended by a signal");
        /* Nothing to finish, or told not to. A half-loaded model is no reason to wait. */
        http_close(d->http);
        _exit(d->draining ? EXIT_START : EXIT_CLEAN);
    }
    d->draining = true;
    d->drain_ends_ns = clock_ns() + (uint64_t)d->config->drain_timeout_ms * 1000000;
    http_drain(d->http);
    log_info("draining: at most %.1f s; a second signal ends at once",
             d->config->drain_timeout_ms / 1000.0);
    notify_supervisor("STOPPING=1");
    engine_drain(d->engine, d->config->drain_timeout_ms);
}

/* systemd hears nothing while the engine hangs. */
static void check_liveness(struct daemon *d)
{
    const char *what;
    int64_t ms = http_hangs(d->http, &what);
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
    http_flush(d->http, FLUSH_FAILED_MS);
    listen_cleanup();
    _exit(code);
}

/* The engine has generated everything; slow readers may have much of it still to read. */
static void flush(struct daemon *d)
{
    struct pollfd fd = {.fd = d->signal_fd, .events = POLLIN};
    uint64_t ends = MAX(d->drain_ends_ns, clock_ns() + (uint64_t)FLUSH_MS * 1000000);
    while (clock_ns() < ends && !http_flush(d->http, FLUSH_SLICE_MS)) {
        if (poll(&fd, 1, 0) > 0)
            on_signal(d);
    }
}

static int run(struct daemon *d)
{
    if (wait_for_end(d) == ENGINE_FAILED)
        end_failed(d);
    flush(d);
    http_close(d->http);
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

void serve_signals(void)
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

int serve(struct config *config, const struct config_sources *sources)
{
    struct daemon d = {.config = config, .sources = sources, .watchdog_ms = notify_watchdog_ms()};
    char err[512] = "can't open a descriptor";
    memory_keep_reserve();
    if (open_descriptors(&d) < 0 || http_open(&d.http, config, err, sizeof err) < 0) {
        log_error("%s", err);
        return EXIT_START;
    }
    config_wipe_key(config, sources->environment);
    log_info("listening: %s", http_url(d.http));
    config->engine.on_state = on_state;
    config->engine.on_state_arg = &d;
    if (engine_open(&d.engine, &config->engine, err, sizeof err) < 0) {
        log_error("%s", err);
        http_close(d.http);
        return EXIT_START;
    }
    http_attach(d.http, d.engine);
    return run(&d);
}
