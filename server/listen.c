#include "listen.h"

#include "specd/error.h"
#include "specd/util.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 1024

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

int listen_open(struct listener *out, const struct config *c, char *err, size_t errlen)
{
    const char *path = unix_path(c->host), *scheme = c->tls_cert ? "https" : "http";
    *out = (struct listener){.fd = -1};
    int rc = path ? open_unix(&out->fd, path, err, errlen)
                  : open_tcp(&out->fd, c->host, c->port, err, errlen);
    if (rc < 0)
        return rc;
    if (path)
        snprintf(out->url, sizeof out->url, "%s", c->host);
    else
        snprintf(out->url, sizeof out->url, strchr(c->host, ':') ? "%s://[%s]:%d" : "%s://%s:%d",
                 scheme, c->host, bound_port(out->fd, &out->loopback));
    return 0;
}

void listen_cleanup(void)
{
    struct stat st;
    if (bound.path[0] != '\0' && stat(bound.path, &st) == 0 && st.st_dev == bound.device &&
        st.st_ino == bound.inode)
        unlink(bound.path);
    bound.path[0] = '\0';
}
