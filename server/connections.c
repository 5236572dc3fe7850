#include "connections.h"

#include "exchange.h"
#include "specd/error.h"
#include "specd/util.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <time.h>

#define TICK_MS 100
#define GONE_TICKS 10 /* between two looks for clients that are gone or do not read */
#define WAKES_MAX 256 /* exchanges woken in one tick; the others wait for the next */

void connections_init(struct connections *cs)
{
    pthread_condattr_t attr;
    *cs = (struct connections){0};
    ssize_t got = getrandom(&cs->seed, sizeof cs->seed, 0); /* so few bytes never come short */
    (void)got;
    pthread_mutex_init(&cs->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&cs->stop, &attr);
    pthread_condattr_destroy(&attr);
}

void connections_free(struct connections *cs)
{
    for (size_t i = 0; i < ADDRESS_BUCKETS; i++) {
        for (struct address_count *a = cs->addresses[i], *next; a; a = next) {
            next = a->next;
            free(a);
        }
    }
    pthread_cond_destroy(&cs->stop);
    pthread_mutex_destroy(&cs->lock);
}

/* libmicrohttpd sees the shutdown and closes; not lingering drops what the client never read. */
static void cut(struct connection *c, const char *why)
{
    const struct linger none = {.l_onoff = 1};
    log_debug("connection %d: %s, cut off", c->fd, why);
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    shutdown(c->fd, SHUT_RDWR);
    c->deadline_ns = 0;
}

/* Cuts late connections off, and takes a reference to each exchange that is due. With the lock. */
static int look(struct connections *cs, uint64_t now, struct exchange *due[WAKES_MAX])
{
    int n = 0;
    for (struct connection *c = cs->first; c; c = c->next) {
        if (c->deadline_ns != 0 && now >= c->deadline_ns)
            cut(c, "late");
        if (c->exchange && n < WAKES_MAX && exchange_is_due(c->exchange, now)) {
            exchange_ref(c->exchange);
            due[n++] = c->exchange;
        }
    }
    return n;
}

/* libmicrohttpd hears of a hang-up once, and misses it when it comes together with a part of a
 * request. The engine watches complete requests; these are the others. One look is not enough: a
 * request that is complete may be about to be read. With the lock. */
static void look_for_gone(struct connections *cs)
{
    size_t n = 0, i = 0;
    for (struct connection *c = cs->first; c; c = c->next)
        n += !c->answering;
    struct pollfd *fds = xcalloc(n + 1, sizeof *fds);
    for (struct connection *c = cs->first; c; c = c->next)
        if (!c->answering)
            fds[i++] = (struct pollfd){.fd = c->fd, .events = POLLRDHUP};
    bool any = poll(fds, n, 0) > 0;
    i = 0;
    for (struct connection *c = cs->first; c; c = c->next) {
        bool gone = !c->answering && any && fds[i].revents != 0;
        i += !c->answering;
        if (gone && c->seems_gone)
            cut(c, "gone");
        c->seems_gone = gone;
    }
    free(fds);
}

/* Bytes that lie in a socket and do not get fewer: their reader stands still. With the lock. */
static void look_for_unread(struct connections *cs, uint64_t now)
{
    uint64_t patience = (uint64_t)atomic_load(&cs->read_timeout_ms) * 1000000;
    for (struct connection *c = cs->first; c; c = c->next) {
        int unsent = 0;
        if (c->answering && ioctl(c->fd, SIOCOUTQ, &unsent) != 0)
            unsent = 0;
        if (unsent == 0 || unsent != c->unsent) {
            c->unsent_since_ns = now;
        } else if (now - c->unsent_since_ns >= patience && c->deadline_ns != 0) {
            cut(c, "its answer is not read");
            atomic_fetch_add(&cs->n_unread, 1);
        }
        c->unsent = unsent;
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

static void wait_tick(struct connections *cs)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_nsec += TICK_MS * 1000000L;
    ts.tv_sec += ts.tv_nsec / 1000000000L;
    ts.tv_nsec %= 1000000000L;
    pthread_cond_timedwait(&cs->stop, &cs->lock, &ts);
}

static void *housekeep(void *arg)
{
    struct connections *cs = arg;
    struct exchange *due[WAKES_MAX];
    pthread_mutex_lock(&cs->lock);
    for (unsigned tick = 1; !cs->stopping; tick++) {
        uint64_t now = clock_ns();
        if (tick % GONE_TICKS == 0) {
            look_for_gone(cs);
            look_for_unread(cs, now);
        }
        int n = look(cs, now, due);
        if (n > 0) {
            pthread_mutex_unlock(&cs->lock);
            wake(due, n);
            pthread_mutex_lock(&cs->lock);
        }
        if (!cs->stopping)
            wait_tick(cs);
    }
    pthread_mutex_unlock(&cs->lock);
    return NULL;
}

int connections_start(struct connections *cs)
{
    return pthread_create(&cs->housekeeper, NULL, housekeep, cs) == 0 ? 0 : SPECD_EINTERNAL;
}

void connections_stop(struct connections *cs)
{
    pthread_mutex_lock(&cs->lock);
    cs->stopping = true;
    pthread_cond_signal(&cs->stop);
    pthread_mutex_unlock(&cs->lock);
    pthread_join(cs->housekeeper, NULL);
}

void connections_wake_all(struct connections *cs)
{
    int n = 0;
    pthread_mutex_lock(&cs->lock);
    for (struct connection *c = cs->first; c; c = c->next)
        n += c->exchange != NULL;
    struct exchange **all = xcalloc((size_t)n, sizeof(struct exchange *));
    n = 0;
    for (struct connection *c = cs->first; c; c = c->next) {
        if (c->exchange) {
            exchange_ref(c->exchange);
            all[n++] = c->exchange;
        }
    }
    pthread_mutex_unlock(&cs->lock);
    wake(all, n);
    free(all);
}

int connections_busy(struct connections *cs)
{
    int n = 0;
    pthread_mutex_lock(&cs->lock);
    for (struct connection *c = cs->first; c; c = c->next)
        n += c->exchange != NULL;
    pthread_mutex_unlock(&cs->lock);
    return n;
}

/* ---- addresses */

/* IPv4, also mapped into IPv6. As an IPv6 prefix this would be in 100::/8 or ::/8 (whichever way
 * bytes are ordered), where no client is. */
static uint64_t key4(uint32_t address)
{
    return (uint64_t)address << 32 | 1;
}

uint64_t address_key(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return key4(((const struct sockaddr_in *)sa)->sin_addr.s_addr);
    if (sa->sa_family != AF_INET6)
        return 0;
    const struct in6_addr *in6 = &((const struct sockaddr_in6 *)sa)->sin6_addr;
    uint64_t prefix;
    uint32_t last;
    memcpy(&prefix, in6->s6_addr, sizeof prefix);
    memcpy(&last, in6->s6_addr + 12, sizeof last);
    if (IN6_IS_ADDR_V4MAPPED(in6))
        return key4(last);
    return prefix ? prefix : ~0ull; /* ::1 */
}

void address_text(const struct sockaddr *sa, char *out, size_t cap)
{
    const void *at = NULL;
    int family = sa->sa_family;
    if (family == AF_INET) {
        at = &((const struct sockaddr_in *)sa)->sin_addr;
    } else if (family == AF_INET6) {
        const struct in6_addr *in6 = &((const struct sockaddr_in6 *)sa)->sin6_addr;
        bool mapped = IN6_IS_ADDR_V4MAPPED(in6);
        at = in6->s6_addr + (mapped ? 12 : 0);
        family = mapped ? AF_INET : AF_INET6;
    }
    if (!at || !inet_ntop(family, at, out, (socklen_t)cap))
        snprintf(out, cap, "unix");
}

bool address_parse(const char *text, size_t len, struct sockaddr_storage *out)
{
    char host[ADDRESS_TEXT_MAX];
    struct sockaddr_in *in = (struct sockaddr_in *)out;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
    *out = (struct sockaddr_storage){0};
    text_trim(&text, &len);
    if (len >= sizeof host)
        return false;
    memcpy(host, text, len);
    host[len] = '\0';
    if (host[0] == '[') {
        size_t end = strcspn(host, "]");
        if (host[end] == '\0' || (host[end + 1] != '\0' && host[end + 1] != ':'))
            return false;
        host[end] = '\0';
        memmove(host, host + 1, end);
    } else if (strchr(host, ':') == strrchr(host, ':')) {
        host[strcspn(host, ":")] = '\0';
    }
    if (inet_pton(AF_INET, host, &in->sin_addr) == 1)
        out->ss_family = AF_INET;
    else if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1)
        out->ss_family = AF_INET6;
    return out->ss_family != AF_UNSPEC;
}

static struct address_count **bucket(struct connections *cs, uint64_t key)
{
    uint64_t h = (key ^ cs->seed) * 0x9e3779b97f4a7c15u;
    return &cs->addresses[(h ^ h >> 32) % ADDRESS_BUCKETS];
}

int connections_of(struct connections *cs, uint64_t key)
{
    for (const struct address_count *a = *bucket(cs, key); a; a = a->next)
        if (a->key == key)
            return a->n;
    return 0;
}

static void count_address(struct connections *cs, uint64_t key)
{
    struct address_count **at = bucket(cs, key), *a = *at;
    while (a && a->key != key)
        a = a->next;
    if (!a) {
        a = xcalloc(1, sizeof *a);
        a->key = key;
        a->next = *at;
        *at = a;
    }
    a->n++;
}

static void uncount_address(struct connections *cs, uint64_t key)
{
    struct address_count **at = bucket(cs, key), *a;
    while ((*at)->key != key)
        at = &(*at)->next;
    a = *at;
    if (--a->n == 0) {
        *at = a->next;
        free(a);
    }
}

/* ---- one connection */

struct connection *connection_add(struct connections *cs, int fd, const struct sockaddr *addr)
{
    struct connection *c = xcalloc(1, sizeof *c);
    c->fd = fd;
    c->address_key = address_key(addr);
    address_text(addr, c->address, sizeof c->address);
    if (c->address_key != 0)
        count_address(cs, c->address_key);
    pthread_mutex_lock(&cs->lock);
    c->next = cs->first;
    if (c->next)
        c->next->prev = c;
    cs->first = c;
    pthread_mutex_unlock(&cs->lock);
    return c;
}

void connection_remove(struct connections *cs, struct connection *c)
{
    pthread_mutex_lock(&cs->lock);
    if (c->next)
        c->next->prev = c->prev;
    if (c->prev)
        c->prev->next = c->next;
    else
        cs->first = c->next;
    pthread_mutex_unlock(&cs->lock);
    if (c->address_key != 0)
        uncount_address(cs, c->address_key);
    free(c);
}

void connection_expect(struct connections *cs, struct connection *c, struct exchange *ex,
                       int timeout_ms, bool answering)
{
    uint64_t deadline = timeout_ms > 0 ? clock_ns() + (uint64_t)timeout_ms * 1000000 : 0;
    pthread_mutex_lock(&cs->lock);
    c->exchange = ex;
    c->deadline_ns = deadline;
    c->answering = answering;
    c->seems_gone = false;
    pthread_mutex_unlock(&cs->lock);
}
