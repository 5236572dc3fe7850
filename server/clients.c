#include "clients.h"

#include "server.h"
#include "specd/error.h"

#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define KEY_FILE_BYTES_MAX (1 << 20)

/* ---- keys */

static void hash(unsigned char out[KEY_HASH_BYTES], const char *s, size_t len)
{
    int rc = gnutls_hash_fast(GNUTLS_DIG_SHA256, s, len, out);
    ASSERT(rc == 0); /* fails only without SHA-256 */
}

static void add_key(struct keys *k, const char *s, size_t len, unsigned marks)
{
    k->list = xrealloc(k->list, (k->n + 1) * sizeof *k->list);
    hash(k->list[k->n].hash, s, len);
    k->list[k->n++].marks = marks;
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

/* What may stand behind a key in its line. */
static const struct {
    const char *word;
    enum key_mark mark;
} marks_by_word[] = {
    {"priority", KEY_PRIORITY},
};

static unsigned mark_of(const char *s, size_t len)
{
    for (size_t i = 0; i < COUNT_OF(marks_by_word); i++) {
        const char *word = marks_by_word[i].word;
        if (strlen(word) == len && memcmp(word, s, len) == 0)
            return marks_by_word[i].mark;
    }
    return 0;
}

/* Cuts the first word off a line; 0 where none comes before its end or a comment. */
static size_t take_word(const char **s, size_t *len, const char **word)
{
    size_t n = 0;
    text_trim(s, len);
    *word = *s;
    if (*len == 0 || **s == '#')
        return 0;
    while (n < *len && (*s)[n] != ' ' && (*s)[n] != '\t')
        n++;
    *s += n;
    *len -= n;
    return n;
}

/* NULL, or what is wrong. A second word may be a key's: it is not told. */
static const char *add_line(struct keys *k, const char *s, size_t len)
{
    const char *key, *word;
    unsigned marks = 0;
    size_t key_len = take_word(&s, &len, &key), n;
    if (key_len == 0)
        return NULL;
    if (!is_word(key, key_len))
        return "a key is one word of visible ASCII";
    while ((n = take_word(&s, &len, &word)) > 0) {
        if (mark_of(word, n) == 0)
            return "a key is one word, and behind it only 'priority' and a # comment may stand";
        marks |= mark_of(word, n);
    }
    add_key(k, key, key_len, marks);
    return NULL;
}

/* NULL, or what is wrong with the line of that number. */
static const char *add_lines(struct keys *k, const struct buf *text, size_t *number)
{
    const char *s = text->data, *end = s + text->len, *why = NULL;
    for (*number = 0; s < end && !why; ++*number) {
        const char *next = memchr(s, '\n', (size_t)(end - s));
        why = add_line(k, s, (size_t)((next ? next : end) - s));
        s = next ? next + 1 : end;
    }
    return why;
}

static int read_key_file(struct keys *k, const char *path, char *err, size_t errlen)
{
    size_t before = k->n, line = 0;
    struct buf text = {0};
    const char *wrong = NULL;
    char why[300];
    int rc = file_read(path, KEY_FILE_BYTES_MAX, &text, why, sizeof why);
    if (rc == 0)
        wrong = add_lines(k, &text, &line);
    if (rc < 0)
        rc = fail(rc, err, errlen, "api-key-file: %s", why);
    else if (wrong)
        rc = fail(SPECD_EFILE, err, errlen, "api-key-file: %s: line %zu: %s", path, line, wrong);
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
        add_key(k, key, strlen(key), 0);
    k->n_given = k->n;
    if (rc == 0 && path)
        rc = read_key_file(k, path, err, errlen);
    if (rc < 0)
        keys_free(k);
    return rc;
}

void keys_free(struct keys *k)
{
    free(k->list);
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
        size_t kept = old->n_given * sizeof *k->list;
        k->list = xrealloc(k->list, kept + k->n * sizeof *k->list);
        memmove(k->list + old->n_given, k->list, k->n * sizeof *k->list);
        memcpy(k->list, old->list, kept);
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

/* Takes as long whatever was given: all keys are looked at, every byte of each. One that stands
 * there twice has the marks of both. */
static bool is_known(const struct keys *k, const char *given, size_t len, uint64_t *client,
                     unsigned *marks)
{
    unsigned char have[KEY_HASH_BYTES];
    unsigned found = 0;
    bool ok = false;
    hash(have, given, len);
    for (size_t i = 0; i < k->n; i++) {
        bool same = gnutls_memcmp(k->list[i].hash, have, sizeof have) == 0;
        found |= same ? k->list[i].marks : 0;
        ok |= same;
    }
    if (ok) {
        memcpy(client, have, sizeof *client);
        *marks = found;
    }
    return ok;
}

bool auth_check(struct auth *a, const char *authorization, const char *x_api_key, uint64_t *client,
                unsigned *marks)
{
    const char *given = x_api_key ? x_api_key : "";
    if (authorization && strncasecmp(authorization, "Bearer ", 7) == 0)
        given = authorization + 7;
    size_t len = strlen(given);
    text_trim(&given, &len); /* blanks around a header's value are no part of it: RFC 9110, 5.5 */
    pthread_mutex_lock(&a->lock);
    bool ok = a->keys.n == 0 || is_known(&a->keys, given, len, client, marks);
    pthread_mutex_unlock(&a->lock);
    return ok;
}

/* ---- what each holds */

static struct client **bucket(struct clients *cs, uint64_t id)
{
    uint64_t h = id * 0x9e3779b97f4a7c15u;
    return &cs->buckets[(h >> 32) % CLIENT_BUCKETS];
}

void clients_free(struct clients *cs)
{
    for (size_t i = 0; i < CLIENT_BUCKETS; i++) {
        for (struct client *c = cs->buckets[i], *next; c; c = next) {
            next = c->next;
            free(c);
        }
    }
}

void clients_enter(struct exchange *ex, uint64_t id)
{
    struct client **first = bucket(&ex->server->clients, id), *c = *first;
    ASSERT(!ex->client && ex->held == 0);
    while (c && c->id != id)
        c = c->next;
    if (!c) {
        c = xcalloc(1, sizeof *c);
        *c = (struct client){.id = id, .next = *first};
        *first = c;
    }
    c->n++;
    ex->client = c;
}

size_t clients_share(const struct exchange *ex)
{
    return (size_t)atomic_load(&ex->server->limits.request_memory) / 2;
}

bool clients_charge(struct exchange *ex, size_t bytes)
{
    struct clients *cs = &ex->server->clients;
    size_t share = clients_share(ex), more, all;
    bool fits = size_add(ex->held, bytes, &more);
    if (fits && more > CLIENT_SMALL)
        fits = size_add(ex->client->held, bytes, &more) && more <= share &&
               size_add(cs->held, bytes, &all) && all / 2 <= share;
    if (!fits) {
        cs->refused++;
        return false;
    }
    ex->held += bytes;
    ex->client->held += bytes;
    cs->held += bytes;
    return true;
}

void clients_return(struct exchange *ex, size_t bytes)
{
    ex->server->clients.held -= bytes;
    ex->client->held -= bytes;
    ex->held -= bytes;
}

int clients_queue_most(const struct exchange *ex)
{
    const struct limits *l = &ex->server->limits;
    int all = atomic_load(&l->max_queue), own = atomic_load(&l->max_queue_per_client);
    return ex->server->config->engine.n_slots + (own > 0 ? MIN(own, all) : all);
}

bool clients_queue(struct exchange *ex, int n)
{
    bool any = atomic_load(&ex->server->limits.max_queue_per_client) == 0;
    if (!any && n > clients_queue_most(ex) - ex->client->n_queued) {
        ex->server->clients.queue_refused += (uint64_t)n;
        return false;
    }
    ex->n_queued += n;
    ex->client->n_queued += n;
    return true;
}

void clients_leave(struct exchange *ex)
{
    struct client *c = ex->client;
    if (!c)
        return;
    clients_return(ex, ex->held);
    c->n_queued -= ex->n_queued;
    ex->n_queued = 0;
    ex->client = NULL;
    if (--c->n > 0)
        return;
    struct client **at = bucket(&ex->server->clients, c->id);
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    free(c);
}
