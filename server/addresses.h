/*
 * addresses.h - how many connections each client address has.
 *
 * An IPv4 address counts for itself, IPv6 addresses by their first 64 bits: whoever has one has
 * that many. HTTP thread only, no lock.
 */
#ifndef SPECD_SERVER_ADDRESSES_H
#define SPECD_SERVER_ADDRESSES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define ADDRESS_BUCKETS 1024
#define ADDRESS_TEXT_MAX 64

struct address_count {
    uint64_t key;
    int n;
    struct address_count *next;
};

struct addresses {
    struct address_count *buckets[ADDRESS_BUCKETS];
    uint64_t seed; /* clients choose addresses: they should not choose buckets */
};

void addresses_init(struct addresses *a);
void addresses_free(struct addresses *a);

/* 0 for what has no address, as unix sockets: it is never counted. */
uint64_t address_key(const struct sockaddr *sa);
/* "192.0.2.1", "2001:db8::1", "unix". */
void address_text(const struct sockaddr *sa, char *out, size_t cap);

int addresses_count(const struct addresses *a, uint64_t key);
void addresses_add(struct addresses *a, uint64_t key);
void addresses_remove(struct addresses *a, uint64_t key);

#endif
