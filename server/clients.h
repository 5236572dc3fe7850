/*
 * clients.h - API keys, whom a request counts for, and how much each client makes the server hold.
 *
 * Keys are kept as SHA-256 hashes and compared without telling by time how much was right. They
 * come from a file (one a line, then words of what it may, # comments) and from SPECD_API_KEY,
 * never from the command line, which other users can see. The text of a key is wiped as soon as it
 * is hashed. A set of keys is immutable; SIGHUP puts another in its place, under the lock. Any
 * thread may check.
 *
 * A client is a key; where there are none, the last hop before a --trusted-proxy, an address
 * (an IPv6 /64 as one), or the user at the other end of a unix socket. Counted are bodies until
 * their request is over, and answers as large as they may become; the sum is bounded by
 * --request-memory, and no client gets more than half of it. What a request holds up to
 * CLIENT_SMALL bytes is beside these bounds, so that large requests of one client never keep small
 * ones of another out. For the same reason a client may not fill the queue: its completions under
 * way are counted, too (--max-queue-per-client).
 *
 * What is not about keys is for the HTTP thread.
 */
#ifndef SPECD_SERVER_CLIENTS_H
#define SPECD_SERVER_CLIENTS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_HASH_BYTES 32
#define CLIENT_SMALL (64 * 1024)

struct exchange;

/* What a key's line says of it: the words of clients.c's table, a bit each. */
enum key_mark { KEY_PRIORITY = 1 }; /* its requests' field `priority` counts */

struct key {
    unsigned char hash[KEY_HASH_BYTES];
    unsigned marks;
};

struct keys {
    struct key *list;
    size_t n;
    size_t n_given; /* the first so many did not come from the file */
};

struct auth {
    pthread_mutex_t lock;
    struct keys keys;
};

/* path and key may be NULL. SPECD_EFILE when the file can't be read or holds no key, or a line that
 * is none, or a word of no meaning; SPECD_EINVAL for such a key. */
int keys_load(struct keys *k, const char *path, const char *key, char *err, size_t errlen);
void keys_free(struct keys *k);

void auth_init(struct auth *a);
/* Takes the keys. Those of SPECD_API_KEY stay: its text is gone, so they can't be given again. */
void auth_replace(struct auth *a, struct keys *k);
void auth_free(struct auth *a);
/* Would it be open to all without a file? */
bool auth_needs_file(struct auth *a);
bool auth_is_open(struct auth *a); /* no keys are configured */

/* authorization is the header's value ("Bearer KEY"), x_api_key the other header's; NULL when not
 * sent. True when no keys are configured; *client and *marks are left as they were then, else they
 * tell the keys apart and what the key is marked with. */
bool auth_check(struct auth *a, const char *authorization, const char *x_api_key, uint64_t *client,
                unsigned *marks);

struct client {
    uint64_t id;
    size_t held;  /* by its requests, their small parts included */
    int n;        /* requests */
    int n_queued; /* completions that these asked for */
    struct client *next;
};

#define CLIENT_BUCKETS 256

struct clients {
    struct client *buckets[CLIENT_BUCKETS];
    size_t held;
    uint64_t refused, queue_refused; /* charges; completions */
};

void clients_free(struct clients *cs);
/* The exchange counts for client id from now on, with what it holds; at most once. */
void clients_enter(struct exchange *ex, uint64_t id);
/* Counts more bytes of the exchange; false, and nothing counted, when that is too much. */
bool clients_charge(struct exchange *ex, size_t bytes);
/* The exchange holds so many bytes less. */
void clients_return(struct exchange *ex, size_t bytes);
/* What one client may hold. */
size_t clients_share(const struct exchange *ex);
/* Counts n completions of the exchange; false, and nothing counted, when that is too much. */
bool clients_queue(struct exchange *ex, int n);
/* Completions that one client may have under way. */
int clients_queue_most(const struct exchange *ex);
/* The exchange is over. */
void clients_leave(struct exchange *ex);

#endif
