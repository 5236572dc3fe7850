#include "listen.h"

#include "specd/error.h"
#include "specd/util.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 1024
#define PEM_BYTES_MAX (1 << 20)
#define KEY_ID_BYTES_MAX 64

/* ---- the socket */

/* The unix socket that this process listens on. Another may have taken its path since. */
static struct {
    char path[sizeof((struct sockaddr_un *)NULL)->sun_path];
    dev_t device;
    ino_t inode;
} bound;

static const char *unix_path(const char *host)
{
    return strncmp(host, "unix:", 5) == 0 ? host + 5 : NULL;
}

/* A socket file that refuses connections was left behind by a server that died. */
static void remove_stale(const struct sockaddr_un *addr)
{
    struct stat st;
    if (stat(addr->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)addr, sizeof *addr) != 0 &&
        errno == ECONNREFUSED)
        unlink(addr->sun_path);
    if (fd >= 0)
        close(fd);
}

static int bind_and_listen(int fd, const struct sockaddr *addr, socklen_t len)
{
    if (bind(fd, addr, len) == 0 && listen(fd, BACKLOG) == 0)
        return 0;
    int why = errno;
    close(fd);
    return -why;
}

static int open_unix(int *fd, const char *path, char *err, size_t errlen)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (*path == '\0' || strlen(path) >= sizeof addr.sun_path)
        return fail(SPECD_EFILE, err, errlen, "unix:%s: the path must have 1..%zu bytes", path,
                    sizeof addr.sun_path - 1);
    strcpy(addr.sun_path, path);
    remove_stale(&addr);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = *fd < 0 ? -errno : bind_and_listen(*fd, (struct sockaddr *)&addr, sizeof addr);
    if (rc < 0)
        return fail(SPECD_EFILE, err, errlen, "unix:%s: %s", path, strerror(-rc));
    struct stat st;
    if (stat(path, &st) == 0) {
        strcpy(bound.path, path);
        bound.device = st.st_dev;
        bound.inode = st.st_ino;
    }
    return 0;
}

static int open_address(const struct addrinfo *ai)
{
    int one = 1;
    int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC, ai->ai_protocol);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    int rc = bind_and_listen(fd, ai->ai_addr, ai->ai_addrlen);
    return rc < 0 ? rc : fd;
}

static int open_tcp(int *fd, const char *host, int port, char *err, size_t errlen)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list;
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc != 0)
        return fail(SPECD_EFILE, err, errlen, "%s: %s", host, gai_strerror(rc));
    *fd = -EADDRNOTAVAIL;
    for (const struct addrinfo *ai = list; ai && *fd < 0; ai = ai->ai_next)
        *fd = open_address(ai);
    freeaddrinfo(list);
    if (*fd < 0)
        return fail(SPECD_EFILE, err, errlen, "%s port %d: %s", host, port, strerror(-*fd));
    return 0;
}

static int bound_port(int fd, bool *loopback)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } addr = {.any.sa_family = AF_UNSPEC};
    socklen_t len = sizeof addr;
    getsockname(fd, &addr.any, &len);
    if (addr.any.sa_family == AF_INET6) {
        *loopback = IN6_IS_ADDR_LOOPBACK(&addr.in6.sin6_addr);
        return ntohs(addr.in6.sin6_port);
    }
    *loopback = ntohl(addr.in.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    return ntohs(addr.in.sin_port);
}

/* An IPv6 address may stand in brackets, as in a URL: out gets it without. */
static int plain_host(const char *host, char *out, size_t cap, char *err, size_t errlen)
{
    const char *end = host[0] == '[' ? strchr(host, ']') : NULL;
    if (host[0] != '[') {
        snprintf(out, cap, "%s", host);
    } else if (end && end[1] == '\0' && memchr(host, ':', (size_t)(end - host))) {
        snprintf(out, cap, "%.*s", (int)(end - host - 1), host + 1);
    } else {
        return fail(SPECD_EFILE, err, errlen,
                    "host: '%s': in brackets must stand an IPv6 address, and nothing behind them; "
                    "the port is --port's",
                    host);
    }
    return 0;
}

int listen_open(struct listener *out, const struct config *c, char *err, size_t errlen)
{
    const char *path = unix_path(c->host), *scheme = c->tls_cert ? "https" : "http";
    char host[256];
    *out = (struct listener){.fd = -1};
    if (path) {
        snprintf(out->url, sizeof out->url, "%s", c->host);
        return open_unix(&out->fd, path, err, errlen);
    }
    int rc = plain_host(c->host, host, sizeof host, err, errlen);
    if (rc == 0)
        rc = open_tcp(&out->fd, host, c->port, err, errlen);
    if (rc == 0)
        snprintf(out->url, sizeof out->url, strchr(host, ':') ? "%s://[%s]:%d" : "%s://%s:%d",
                 scheme, host, bound_port(out->fd, &out->loopback));
    return rc;
}

void listen_cleanup(void)
{
    struct stat st;
    if (bound.path[0] != '\0' && stat(bound.path, &st) == 0 && st.st_dev == bound.device &&
        st.st_ino == bound.inode)
        unlink(bound.path);
    bound.path[0] = '\0';
}

struct tls_pair {
    gnutls_pcert_st chain[TLS_CHAIN_MAX];
    unsigned n_chain;
    gnutls_privkey_t key;
    struct tls_pair *older;
};

static _Atomic(struct tls_pair *) in_use;

/* ---- certificates: loading */

static int read_pem(struct buf *file, gnutls_datum_t *pem, const char *option, const char *path,
                    char *err, size_t errlen)
{
    char why[300];
    int rc = file_read(path, PEM_BYTES_MAX, file, why, sizeof why);
    if (rc < 0)
        return fail(rc, err, errlen, "%s: %s", option, why);
    *pem = (gnutls_datum_t){(unsigned char *)file->data, (unsigned)file->len};
    return 0;
}

static void drop_file(struct buf *file)
{
    if (file->data)
        explicit_bzero(file->data, file->cap);
    buf_free(file);
}

static int import_chain(struct tls_pair *p, const char *path, char *err, size_t errlen)
{
    gnutls_datum_t pem;
    struct buf file = {0};
    int rc = read_pem(&file, &pem, "tls-cert", path, err, errlen);
    if (rc == 0) {
        unsigned n = TLS_CHAIN_MAX;
        int why = gnutls_pcert_list_import_x509_raw(p->chain, &n, &pem, GNUTLS_X509_FMT_PEM,
                                                    GNUTLS_X509_CRT_LIST_SORT);
        p->n_chain = why == 0 ? n : 0;
        if (why < 0)
            rc = fail(SPECD_EFILE, err, errlen, "tls-cert: %s: %s", path, gnutls_strerror(why));
    }
    drop_file(&file);
    return rc;
}

static int import_key(struct tls_pair *p, const char *path, char *err, size_t errlen)
{
    gnutls_datum_t pem;
    struct buf file = {0};
    int rc = read_pem(&file, &pem, "tls-key", path, err, errlen);
    if (rc == 0) {
        int why = gnutls_privkey_init(&p->key);
        if (why == 0)
            why = gnutls_privkey_import_x509_raw(p->key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
        if (why < 0)
            rc = fail(SPECD_EFILE, err, errlen, "tls-key: %s: %s", path, gnutls_strerror(why));
    }
    drop_file(&file);
    return rc;
}

static bool belong_together(const struct tls_pair *p)
{
    unsigned char ids[2][KEY_ID_BYTES_MAX];
    size_t lens[2] = {KEY_ID_BYTES_MAX, KEY_ID_BYTES_MAX};
    gnutls_pubkey_t own;
    if (gnutls_pubkey_init(&own) < 0)
        return false;
    bool ok = gnutls_pubkey_import_privkey(own, p->key, 0, 0) == 0 &&
              gnutls_pubkey_get_key_id(own, 0, ids[0], &lens[0]) == 0 &&
              gnutls_pubkey_get_key_id(p->chain[0].pubkey, 0, ids[1], &lens[1]) == 0 &&
              lens[0] == lens[1] && memcmp(ids[0], ids[1], lens[0]) == 0;
    gnutls_pubkey_deinit(own);
    return ok;
}

int tls_load(struct tls_pair **out, const char *cert_path, const char *key_path, char *err,
             size_t errlen)
{
    *out = NULL;
    if (!cert_path)
        return 0;
    struct tls_pair *p = xcalloc(1, sizeof *p);
    int rc = import_chain(p, cert_path, err, errlen);
    if (rc == 0)
        rc = import_key(p, key_path, err, errlen);
    if (rc == 0 && !belong_together(p))
        rc =
            fail(SPECD_EFILE, err, errlen, "tls-key: %s is not the key of %s", key_path, cert_path);
    if (rc < 0) {
        tls_free(p);
        return rc;
    }
    *out = p;
    return 0;
}

void tls_free(struct tls_pair *p)
{
    if (!p)
        return;
    for (unsigned i = 0; i < p->n_chain; i++)
        gnutls_pcert_deinit(&p->chain[i]);
    if (p->key)
        gnutls_privkey_deinit(p->key);
    free(p);
}

/* ---- certificates: in use */

static bool same_key_and_chain(const struct tls_pair *a, const struct tls_pair *b)
{
    bool same = a->n_chain == b->n_chain;
    for (unsigned i = 0; same && i < a->n_chain; i++)
        same = a->chain[i].cert.size == b->chain[i].cert.size &&
               memcmp(a->chain[i].cert.data, b->chain[i].cert.data, a->chain[i].cert.size) == 0;
    return same; /* each belongs to its key */
}

void tls_use(struct tls_pair *pair)
{
    struct tls_pair *old = atomic_load(&in_use);
    if (!pair)
        return;
    if (old && same_key_and_chain(old, pair)) { /* SIGHUP for another reason: keep no copies */
        tls_free(pair);
        return;
    }
    pair->older = old;
    atomic_store(&in_use, pair);
}

void tls_close(void)
{
    struct tls_pair *next;
    for (struct tls_pair *p = atomic_exchange(&in_use, NULL); p; p = next) {
        next = p->older;
        tls_free(p);
    }
}

int tls_retrieve(gnutls_session_t session, const gnutls_datum_t *authorities, int n_authorities,
                 const gnutls_pk_algorithm_t *algorithms, int n_algorithms, gnutls_pcert_st **chain,
                 unsigned *chain_length, gnutls_privkey_t *key)
{
    struct tls_pair *p = atomic_load(&in_use);
    (void)session;
    (void)authorities;
    (void)n_authorities;
    (void)algorithms;
    (void)n_algorithms;
    *chain = p->chain;
    *chain_length = p->n_chain;
    *key = p->key;
    return 0;
}
