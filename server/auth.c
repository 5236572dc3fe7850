#include "auth.h"

#include "specd/error.h"
#include "specd/util.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define FILE_BYTES_MAX (1 << 20)

static void hash(unsigned char out[KEY_HASH_BYTES], const char *s, size_t len)
{
    int rc = gnutls_hash_fast(GNUTLS_DIG_SHA256, s, len, out);
    ASSERT(rc == 0); /* fails only without SHA-256 */
}

static void add_key(struct keys *k, const char *s, size_t len)
{
    k->hashes = xrealloc(k->hashes, (k->n + 1) * sizeof *k->hashes);
    hash(k->hashes[k->n++], s, len);
}

static void add_lines(struct keys *k, const char *text)
{
    static const char blanks[] = " \t\r";
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        const char *s = line + strspn(line, blanks);
        size_t len = strcspn(s, " \t\r\n");
        if (len > 0 && *s != '#')
            add_key(k, s, len);
    }
}

/* Into memory of ours alone, not a stream's buffer: it is wiped. */
static int read_keys(struct keys *k, int fd)
{
    char *text = xmalloc(FILE_BYTES_MAX + 1);
    size_t len = 0;
    ssize_t n;
    while (len < FILE_BYTES_MAX && (n = read(fd, text + len, FILE_BYTES_MAX - len)) != 0) {
        if (n < 0 && errno != EINTR)
            break;
        len += n > 0 ? (size_t)n : 0;
    }
    int rc = len < FILE_BYTES_MAX && n == 0 ? 0 : SPECD_EFILE;
    text[len] = '\0';
    if (rc == 0)
        add_lines(k, text);
    explicit_bzero(text, len);
    free(text);
    return rc;
}

static int read_file(struct keys *k, const char *path, char *err, size_t errlen)
{
    size_t before = k->n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail(SPECD_EFILE, err, errlen, "api-key-file: %s: %s", path, strerror(errno));
    int rc = read_keys(k, fd);
    close(fd);
    if (rc < 0)
        return fail(rc, err, errlen, "api-key-file: %s: unreadable, or larger than %d bytes", path,
                    FILE_BYTES_MAX);
    if (k->n == before)
        return fail(SPECD_EFILE, err, errlen, "api-key-file: %s holds no key", path);
    return 0;
}

int keys_load(struct keys *k, const char *path, const char *key, char *err, size_t errlen)
{
    *k = (struct keys){0};
    if (key && *key)
        add_key(k, key, strlen(key));
    k->n_given = k->n;
    int rc = path ? read_file(k, path, err, errlen) : 0;
    if (rc < 0)
        keys_free(k);
    return rc;
}

void keys_free(struct keys *k)
{
    free(k->hashes);
    *k = (struct keys){0};
}

void auth_init(struct auth *a)
{
    *a = (struct auth){0};
    pthread_mutex_init(&a->lock, NULL);
}

void auth_replace(struct auth *a, struct keys *k)
{
    pthread_mutex_lock(&a->lock);
    struct keys *old = &a->keys;
    if (old->n_given > 0 && k->n_given == 0) {
        size_t kept = old->n_given * sizeof *k->hashes;
        k->hashes = xrealloc(k->hashes, kept + k->n * sizeof *k->hashes);
        memmove(k->hashes + old->n_given, k->hashes, k->n * sizeof *k->hashes);
        memcpy(k->hashes, old->hashes, kept);
        k->n += old->n_given;
        k->n_given = old->n_given;
    }
    keys_free(old);
    a->keys = *k;
    *k = (struct keys){0};
    pthread_mutex_unlock(&a->lock);
}

void auth_free(struct auth *a)
{
    keys_free(&a->keys);
    pthread_mutex_destroy(&a->lock);
}

bool auth_needs_file(struct auth *a)
{
    pthread_mutex_lock(&a->lock);
    bool needs = a->keys.n > 0 && a->keys.n_given == 0;
    pthread_mutex_unlock(&a->lock);
    return needs;
}

/* Takes as long whatever was given: all keys are looked at, every byte of each. */
static bool is_known(const struct keys *k, const char *given)
{
    unsigned char have[KEY_HASH_BYTES];
    bool ok = false;
    hash(have, given, strlen(given));
    for (size_t i = 0; i < k->n; i++)
        ok |= gnutls_memcmp(k->hashes[i], have, sizeof have) == 0;
    return ok;
}

bool auth_check(struct auth *a, const char *authorization, const char *x_api_key)
{
    const char *given = x_api_key ? x_api_key : "";
    if (authorization && strncasecmp(authorization, "Bearer ", 7) == 0)
        given = authorization + 7 + strspn(authorization + 7, " ");
    pthread_mutex_lock(&a->lock);
    bool ok = a->keys.n == 0 || is_known(&a->keys, given);
    pthread_mutex_unlock(&a->lock);
    return ok;
}
