#include "addresses.h"

#include "specd/util.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void addresses_init(struct addresses *a)
{
    *a = (struct addresses){0};
    ssize_t got = getrandom(&a->seed, sizeof a->seed, 0); /* so few bytes never come short */
    (void)got;
}

void addresses_free(struct addresses *a)
{
    for (size_t i = 0; i < ADDRESS_BUCKETS; i++) {
        for (struct address_count *c = a->buckets[i], *next; c; c = next) {
            next = c->next;
            free(c);
        }
    }
}

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
    if (family == AF_INET)
        at = &((const struct sockaddr_in *)sa)->sin_addr;
    else if (family == AF_INET6)
        at = &((const struct sockaddr_in6 *)sa)->sin6_addr;
    if (!at || !inet_ntop(family, at, out, (socklen_t)cap))
        snprintf(out, cap, "unix");
}

static size_t bucket(const struct addresses *a, uint64_t key)
{
    uint64_t h = (key ^ a->seed) * 0x9e3779b97f4a7c15u;
    return (h ^ h >> 32) % ADDRESS_BUCKETS;
}

int addresses_count(const struct addresses *a, uint64_t key)
{
    for (const struct address_count *c = a->buckets[bucket(a, key)]; c; c = c->next)
        if (c->key == key)
            return c->n;
    return 0;
}

void addresses_add(struct addresses *a, uint64_t key)
{
    struct address_count **at = &a->buckets[bucket(a, key)], *c = *at;
    while (c && c->key != key)
        c = c->next;
    if (!c && key != 0) {
        c = xcalloc(1, sizeof *c);
        c->key = key;
        c->next = *at;
        *at = c;
    }
    if (c)
        c->n++;
}

void addresses_remove(struct addresses *a, uint64_t key)
{
    for (struct address_count **at = &a->buckets[bucket(a, key)]; *at; at = &(*at)->next) {
        struct address_count *c = *at;
        if (c->key != key)
            continue;
        if (--c->n == 0) {
            *at = c->next;
            free(c);
        }
        return;
    }
}
