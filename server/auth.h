/*
 * auth.h - API keys: kept as SHA-256 hashes, compared without telling by time how much was right.
 *
 * Keys come from a file (one a line, then words of what it may, # comments) and from SPECD_API_KEY,
 * never from the command line, which other users can see. The text of a key is wiped as soon as it
 * is hashed. A set of keys is immutable; SIGHUP puts another in its place, under the lock. Any
 * thread may check.
 */
#ifndef SPECD_SERVER_AUTH_H
#define SPECD_SERVER_AUTH_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_HASH_BYTES 32

/* What a key's line says of it: the words of auth.c's table, a bit each. */
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

#endif
