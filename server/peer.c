#include "peer.h"

#include "exchange.h"
#include "specd/error.h"
#include "specd/util.h"

#include <poll.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#define TICK_MS 100
#define GONE_TICKS 10 /* between two looks for clients that are gone or do not read */
#define WAKES_MAX 256 /* exchanges woken in one tick; the others wait for the next */

void peers_init(struct peers *ps)
{
    pthread_condattr_t attr;
    *ps = (struct peers){0};
    pthread_mutex_init(&ps->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&ps->stop, &attr);
    pthread_condattr_destroy(&attr);
}

void peers_fini(struct peers *ps)
{
    pthread_cond_destroy(&ps->stop);
    pthread_mutex_destroy(&ps->lock);
}

/* libmicrohttpd sees the shutdown and closes; not lingering drops what the client never read. */
static void cut(struct peer *p, const char *why)
{
    const struct linger none = {.l_onoff = 1};
    log_debug("connection %d: %s, cut off", p->fd, why);
    setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    shutdown(p->fd, SHUT_RDWR);
    p->deadline_ns = 0;
}

/* Cuts late connections off, and takes a reference to each exchange that is due. With the lock. */
static int look(struct peers *ps, uint64_t now, struct exchange *due[WAKES_MAX])
{
    int n = 0;
    for (struct peer *p = ps->first; p; p = p->next) {
        if (p->deadline_ns != 0 && now >= p->deadline_ns)
            cut(p, "late");
        if (p->exchange && n < WAKES_MAX && exchange_is_due(p->exchange, now)) {
            exchange_ref(p->exchange);
            due[n++] = p->exchange;
        }
    }
    return n;
}

/* libmicrohttpd hears of a hang-up once, and misses it when it comes together with a part of a
 * request. The engine watches complete requests; these are the others. One look is not enough: a
 * request that is complete may be about to be read. With the lock. */
static void look_for_gone(struct peers *ps)
{
    size_t n = 0, i = 0;
    for (struct peer *p = ps->first; p; p = p->next)
        n += !p->answering;
    struct pollfd *fds = xcalloc(n + 1, sizeof *fds);
    for (struct peer *p = ps->first; p; p = p->next)
        if (!p->answering)
            fds[i++] = (struct pollfd){.fd = p->fd, .events = POLLRDHUP};
    bool any = poll(fds, n, 0) > 0;
    i = 0;
    for (struct peer *p = ps->first; p; p = p->next) {
        bool gone = !p->answering && any && fds[i].revents != 0;
        i += !p->answering;
        if (gone && p->seems_gone)
            cut(p, "gone");
        p->seems_gone = gone;
    }
    free(fds);
}

/* Bytes that lie in a socket and do not get fewer: their reader stands still. With the lock. */
static void look_for_unread(struct peers *ps, uint64_t now)
{
    uint64_t patience = (uint64_t)atomic_load(&ps->read_timeout_ms) * 1000000;
    for (struct peer *p = ps->first; p; p = p->next) {
        int unsent = 0;
        if (p->answering && ioctl(p->fd, SIOCOUTQ, &unsent) != 0)
            unsent = 0;
        if (unsent == 0 || unsent != p->unsent) {
            p->unsent_since_ns = now;
        } else if (now - p->unsent_since_ns >= patience && p->deadline_ns != 0) {
            cut(p, "its answer is not read");
            atomic_fetch_add(&ps->n_unread, 1);
        }
        p->unsent = unsent;
    }
}

/* Without the list's lock: waking takes the exchange's lock and libmicrohttpd's. */
static void wake(struct exchange *due[], int n)
{
    for (int i = 0; i < n; i++) {
        exchange_wake(due[i]);
        exchange_unref(due[i]);
    }
}

static void wait_tick(struct peers *ps)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_nsec += TICK_MS * 1000000L;
    ts.tv_sec += ts.tv_nsec / 1000000000L;
    ts.tv_nsec %= 1000000000L;
    pthread_cond_timedwait(&ps->stop, &ps->lock, &ts);
}

static void *housekeep(void *arg)
{
    struct peers *ps = arg;
    struct exchange *due[WAKES_MAX];
    pthread_mutex_lock(&ps->lock);
    for (unsigned tick = 1; !ps->stopping; tick++) {
        uint64_t now = clock_ns();
        if (tick % GONE_TICKS == 0) {
            look_for_gone(ps);
            look_for_unread(ps, now);
        }
        int n = look(ps, now, due);
        if (n > 0) {
            pthread_mutex_unlock(&ps->lock);
            wake(due, n);
            pthread_mutex_lock(&ps->lock);
        }
        if (!ps->stopping)
            wait_tick(ps);
    }
    pthread_mutex_unlock(&ps->lock);
    return NULL;
}

int peers_start(struct peers *ps)
{
    return pthread_create(&ps->housekeeper, NULL, housekeep, ps) == 0 ? 0 : SPECD_EINTERNAL;
}

void peers_stop(struct peers *ps)
{
    pthread_mutex_lock(&ps->lock);
    ps->stopping = true;
    pthread_cond_signal(&ps->stop);
    pthread_mutex_unlock(&ps->lock);
    pthread_join(ps->housekeeper, NULL);
}

static struct exchange **take_all(struct peers *ps, int *n)
{
    pthread_mutex_lock(&ps->lock);
    *n = 0;
    for (struct peer *p = ps->first; p; p = p->next)
        *n += p->exchange != NULL;
    struct exchange **all = xcalloc((size_t)*n, sizeof(struct exchange *));
    *n = 0;
    for (struct peer *p = ps->first; p; p = p->next) {
        if (p->exchange) {
            exchange_ref(p->exchange);
            all[(*n)++] = p->exchange;
        }
    }
    pthread_mutex_unlock(&ps->lock);
    return all;
}

void peers_wake_all(struct peers *ps)
{
    int n;
    struct exchange **all = take_all(ps, &n);
    wake(all, n);
    free(all);
}

int peers_busy(struct peers *ps)
{
    int n = 0;
    pthread_mutex_lock(&ps->lock);
    for (struct peer *p = ps->first; p; p = p->next)
        n += p->exchange != NULL;
    pthread_mutex_unlock(&ps->lock);
    return n;
}

struct peer *peer_add(struct peers *ps, int fd)
{
    struct peer *p = xcalloc(1, sizeof *p);
    p->fd = fd;
    pthread_mutex_lock(&ps->lock);
    p->next = ps->first;
    if (p->next)
        p->next->prev = p;
    ps->first = p;
    pthread_mutex_unlock(&ps->lock);
    return p;
}

void peer_remove(struct peers *ps, struct peer *p)
{
    pthread_mutex_lock(&ps->lock);
    if (p->next)
        p->next->prev = p->prev;
    if (p->prev)
        p->prev->next = p->next;
    else
        ps->first = p->next;
    pthread_mutex_unlock(&ps->lock);
    free(p);
}

static void expect(struct peers *ps, struct peer *p, struct exchange *ex, int timeout_ms,
                   bool answering)
{
    uint64_t deadline = timeout_ms > 0 ? clock_ns() + (uint64_t)timeout_ms * 1000000 : 0;
    pthread_mutex_lock(&ps->lock);
    p->exchange = ex;
    p->deadline_ns = deadline;
    p->answering = answering;
    p->seems_gone = false;
    pthread_mutex_unlock(&ps->lock);
}

void peer_expect(struct peers *ps, struct peer *p, struct exchange *ex, int timeout_ms)
{
    expect(ps, p, ex, timeout_ms, false);
}

void peer_answer(struct peers *ps, struct peer *p, struct exchange *ex, int timeout_ms)
{
    expect(ps, p, ex, timeout_ms, true);
}
