#include "auth.h"

#include "specd/error.h"
#include "specd/util.h"

#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

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

/* A word of visible ASCII: what a header can carry whole. */
static bool is_word(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] <= ' ' || s[i] >= 0x7f)
            return false;
    }
    return len > 0;
}

/* A line's key without the comment that may follow it; false for what is neither. */
static bool add_line(struct keys *k, const char *s, size_t len)
{
    text_trim(&s, &len);
    if (len == 0 || *s == '#')
        return true;
    size_t n = 0;
    while (n < len && s[n] != ' ' && s[n] != '\t')
        n++;
    const char *rest = s + n;
    size_t rest_len = len - n;
    text_trim(&rest, &rest_len);
    if (!is_word(s, n) || (rest_len > 0 && *rest != '#'))
        return false;
    add_key(k, s, n);
    return true;
}

/* 0, or the number of the first line that is no key. */
static size_t add_lines(struct keys *k, const struct buf *text)
{
    const char *s = text->data, *end = s + text->len;
    for (size_t number = 1; s < end; number++) {
        const char *next = memchr(s, '\n', (size_t)(end - s));
        if (!add_line(k, s, (size_t)((next ? next : end) - s)))
            return number;
        s = next ? next + 1 : end;
    }
    return 0;
}

static int read_file(struct keys *k, const char *path, char *err, size_t errlen)
{
    size_t before = k->n, line = 0;
    struct buf text = {0};
    char why[300];
    int rc = file_read(path, FILE_BYTES_MAX, &text, why, sizeof why);
    if (rc == 0)
        line = add_lines(k, &text);
    if (rc < 0)
        rc = fail(rc, err, errlen, "api-key-file: %s", why);
    else if (line > 0)
        rc = fail(SPECD_EFILE, err, errlen,
                  "api-key-file: %s: line %zu: a key is one word of visible ASCII", path, line);
    else if (k->n == before)
        rc = fail(SPECD_EFILE, err, errlen, "api-key-file: %s holds no key", path);
    if (text.data)
        explicit_bzero(text.data, text.cap);
    buf_free(&text);
    return rc;
}

int keys_load(struct keys *k, const char *path, const char *key, char *err, size_t errlen)
{
    *k = (struct keys){0};
    int rc = 0;
    if (key && *key && !is_word(key, strlen(key)))
        rc = fail(SPECD_EINVAL, err, errlen, "SPECD_API_KEY: a key is one word of visible ASCII");
    else if (key && *key)
        add_key(k, key, strlen(key));
    k->n_given = k->n;
    if (rc == 0 && path)
        rc = read_file(k, path, err, errlen);
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

bool auth_is_open(struct auth *a)
{
    pthread_mutex_lock(&a->lock);
    bool open = a->keys.n == 0;
    pthread_mutex_unlock(&a->lock);
    return open;
}

/* Takes as long whatever was given: all keys are looked at, every byte of each. */
static bool is_known(const struct keys *k, const char *given, size_t len, uint64_t *client)
{
    unsigned char have[KEY_HASH_BYTES];
    bool ok = false;
    hash(have, given, len);
    for (size_t i = 0; i < k->n; i++)
        ok |= gnutls_memcmp(k->hashes[i], have, sizeof have) == 0;
    if (ok)
        memcpy(client, have, sizeof *client);
    return ok;
}

bool auth_check(struct auth *a, const char *authorization, const char *x_api_key, uint64_t *client)
{
    const char *given = x_api_key ? x_api_key : "";
    if (authorization && strncasecmp(authorization, "Bearer ", 7) == 0)
        given = authorization + 7;
    size_t len = strlen(given);
    text_trim(&given, &len); /* blanks around a header's value are no part of it: RFC 9110, 5.5 */
    pthread_mutex_lock(&a->lock);
    bool ok = a->keys.n == 0 || is_known(&a->keys, given, len, client);
    pthread_mutex_unlock(&a->lock);
    return ok;
}
