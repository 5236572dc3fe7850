#include "head.h"

#include "server.h"
#include "specd/error.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>

#define UNIX_USER (1ull << 62) /* keys of users, which no IPv4 address has: addresses.c */

static const char *header(const struct exchange *ex, const char *name)
{
    return MHD_lookup_connection_value(ex->conn, MHD_HEADER_KIND, name);
}

/* The client's id is sent back and logged, so it must be plain; else one is drawn. */
void head_request_id(struct exchange *ex)
{
    const char *given = header(ex, "X-Request-Id");
    size_t n = given ? strlen(given) : 0;
    bool plain = n >= 1 && n <= REQUEST_ID_MAX;
    for (size_t i = 0; plain && i < n; i++)
        plain = given[i] > ' ' && given[i] < 0x7f;
    if (plain) {
        memcpy(ex->request_id, given, n + 1);
        return;
    }
    uint64_t r[2] = {0};
    ssize_t got = getrandom(r, sizeof r, 0); /* 16 bytes never come short */
    (void)got;
    snprintf(ex->request_id, sizeof ex->request_id, "%016llx%016llx", (unsigned long long)r[0],
             (unsigned long long)r[1]);
}

/* Version, trace id, parent id and flags in lower-case hex: W3C Trace Context, section 3.2. */
const char *head_traceparent(const struct exchange *ex)
{
    static const char form[] = "xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx";
    const char *given = header(ex, "Traceparent");
    if (!given || strlen(given) != sizeof form - 1)
        return NULL;
    for (size_t i = 0; i < sizeof form - 1; i++)
        if (form[i] == '-' ? given[i] != '-' : !strchr("0123456789abcdef", given[i]))
            return NULL;
    return given;
}

struct header_scan {
    const char *at; /* where the next line must begin */
    int lengths, encodings, hosts;
    const char *error;
};

static bool has_controls(const char *s)
{
    for (; *s; s++) {
        if ((*s >= 0 && *s < ' ' && *s != '\t') || *s == 0x7f)
            return true;
    }
    return false;
}

static bool is_token(const char *s)
{
    static const char signs[] = "!#$%&'*+-.^_`|~";
    if (!*s)
        return false;
    for (; *s; s++) {
        if (!isalnum((unsigned char)*s) && !strchr(signs, *s))
            return false;
    }
    return true;
}

/* A host and a port, as far as their letters go. */
static bool is_host(const char *s)
{
    static const char signs[] = "-._~!$&'()*+,;=%:[]";
    for (; *s; s++) {
        if (!isalnum((unsigned char)*s) && !strchr(signs, *s))
            return false;
    }
    return true;
}

/*
 * libmicrohttpd leaves the lines where they came in, with NULs for colons and line ends, and gives
 * strings that end at the first NUL. A folded line it joins to the name of the one before,
 * elsewhere; a bare LF, or a NUL in a line, leaves another distance to the next. So a line that
 * does not begin where the one before must have ended is refused, whatever made it so.
 */
static enum MHD_Result scan_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                   size_t name_len, const char *value, size_t value_len)
{
    struct header_scan *scan = cls;
    const char *colon = name + name_len;
    (void)kind;
    if (name != scan->at || value != colon + 1 + strspn(colon + 1, " \t")) {
        scan->error = "a header line is folded, holds a NUL or ends without CR";
        return MHD_NO;
    }
    scan->at = value + value_len + 2;
    scan->lengths += strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0;
    scan->encodings += strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0;
    bool host = strcasecmp(name, MHD_HTTP_HEADER_HOST) == 0;
    scan->hosts += host;
    if (!is_token(name))
        scan->error = "a header's name holds a blank or a sign that names may not hold";
    else if (has_controls(value))
        scan->error = "a header holds a control character";
    else if (host && !is_host(value))
        scan->error = "the Host header is no host";
    return scan->error ? MHD_NO : MHD_YES;
}

/* method points to the first byte of the header; MHD counts its bytes. */
static bool ends_at(const struct exchange *ex, const char *method, const char *end)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(ex->conn, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    return info && end == method + info->header_size;
}

static const char *target_error(const struct exchange *ex, const char *version)
{
    if (version != ex->target + ex->target_len + 1)
        return "the target holds a NUL";
    for (const char *c = ex->target; *c; c++) { /* the path: a query is taken apart by now */
        if ((*c >= 0 && *c <= ' ') || *c == 0x7f)
            return "the target holds a blank or a control character";
    }
    return NULL;
}

const char *head_framing_error(const struct exchange *ex, const char *method, const char *version)
{
    const char *encoding = header(ex, MHD_HTTP_HEADER_TRANSFER_ENCODING);
    struct header_scan scan = {.at = version + strlen(version) + 2};
    scan.error = target_error(ex, version);
    if (!scan.error)
        MHD_get_connection_values_n(ex->conn, MHD_HEADER_KIND, scan_header, &scan);
    if (!scan.error && !ends_at(ex, method, scan.at + 2))
        scan.error = "a header line holds a NUL or ends without CR";
    if (scan.error)
        return scan.error;
    if (scan.hosts > 1 || (scan.hosts == 0 && strcmp(version, MHD_HTTP_VERSION_1_1) == 0))
        return "there must be one Host header";
    if (scan.lengths + scan.encodings > 1)
        return "the length of the body is stated twice";
    if (encoding && strcasecmp(encoding, "chunked") != 0)
        return "unsupported Transfer-Encoding";
    return NULL;
}

/* ---- which host */

/* name[0..len) is this machine's own: localhost, or an address of the loopback interface. */
static bool is_loopback_name(const char *name, size_t len)
{
    static const char local[] = "localhost", v6[] = "[::1]", v4[] = "127.";
    char text[INET_ADDRSTRLEN];
    struct in_addr address;
    const size_t n = sizeof local - 1;
    if (len >= n && strncasecmp(name + len - n, local, n) == 0)
        return len == n || name[len - n - 1] == '.';
    if (len == sizeof v6 - 1 && memcmp(name, v6, len) == 0)
        return true;
    if (len >= sizeof text || strncmp(name, v4, sizeof v4 - 1) != 0)
        return false;
    memcpy(text, name, len);
    text[len] = '\0';
    return inet_pton(AF_INET, text, &address) == 1;
}

/* The name in "name:port", without the dot that may end it. */
static size_t host_len(const char *host)
{
    size_t len =
        host[0] == '[' ? strcspn(host, "]") + (strchr(host, ']') != NULL) : strcspn(host, ":");
    return len > 0 && host[len - 1] == '.' ? len - 1 : len;
}

/* Whether name[0..len) is one of a comma list. */
static bool is_listed(const char *list, const char *name, size_t len)
{
    while (list && *list) {
        size_t n = strcspn(list, ",");
        if (n == len && strncasecmp(list, name, n) == 0)
            return true;
        list += n + (list[n] == ',');
    }
    return false;
}

/* A page of another site can let its own name point to this machine (DNS rebinding) and so use a
 * server that only local programs should reach, without keys. Its Host then is that name. */
static bool is_foreign_host(const struct exchange *ex)
{
    const struct server *s = ex->server;
    const char *host = header(ex, MHD_HTTP_HEADER_HOST), *origin = s->config->cors_origin;
    if (!s->listener.loopback || !host || !*host || !auth_is_open(&ex->server->auth))
        return false;
    size_t len = host_len(host);
    if (is_loopback_name(host, len) || is_listed(s->config->allowed_host, host, len))
        return false;
    const char *site = origin ? strstr(origin, "://") : NULL;
    bool is_site = site && host_len(site + 3) == len && strncasecmp(site + 3, host, len) == 0;
    return !is_site && !(origin && strcmp(origin, "*") == 0);
}

/* ---- the rest */

static bool is_json(const struct exchange *ex)
{
    static const char json[] = "application/json";
    const char *type = header(ex, MHD_HTTP_HEADER_CONTENT_TYPE);
    return type && strncasecmp(type, json, sizeof json - 1) == 0 &&
           strchr("; \t", type[sizeof json - 1]) != NULL;
}

static bool method_fits(const struct route *r, const char *method)
{
    if (strcmp(method, "OPTIONS") == 0)
        return true;
    if (r->flags & ROUTE_POST)
        return strcmp(method, "POST") == 0;
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

uint64_t head_content_length(const struct exchange *ex)
{
    const char *text = header(ex, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return text ? strtoull(text, NULL, 10) : 0; /* libmicrohttpd has checked its form */
}

/* ---- which client */

static enum MHD_Result take_last(void *cls, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
    (void)kind;
    if (strcasecmp(name, "X-Forwarded-For") == 0)
        *(const char **)cls = value;
    return MHD_YES;
}

/* The address that the proxy before us saw: each appends to the list, so only the last is its own
 * word. 0 where it is none. */
static uint64_t forwarded_key(const char *list)
{
    const char *comma = strrchr(list, ','), *last = comma ? comma + 1 : list;
    size_t len = strlen(last);
    char text[ADDRESS_TEXT_MAX];
    text_trim(&last, &len);
    snprintf(text, sizeof text, "%.*s", (int)MIN(len, sizeof text), last);
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } addr = {.in6 = {0}};
    if (inet_pton(AF_INET, text, &addr.in.sin_addr) == 1)
        addr.any.sa_family = AF_INET;
    else if (inet_pton(AF_INET6, text, &addr.in6.sin6_addr) == 1)
        addr.any.sa_family = AF_INET6;
    return address_key(&addr.any);
}

static uint64_t unix_user_key(int fd)
{
    struct ucred who;
    socklen_t len = sizeof who;
    bool known = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0;
    return UNIX_USER | (known ? (uint64_t)who.uid << 1 : 0);
}

/* Who a request without a key counts for. */
static uint64_t client_by_address(const struct exchange *ex)
{
    struct server *s = ex->server;
    const struct peer *peer = ex->peer;
    const char *forwarded = NULL;
    MHD_get_connection_values(ex->conn, MHD_HEADER_KIND, take_last, &forwarded);
    bool trusted = is_listed(s->config->trusted_proxy, peer->address, strlen(peer->address));
    uint64_t key = trusted && forwarded ? forwarded_key(forwarded) : 0;
    if (forwarded && !trusted && !s->told_of_proxy && auth_is_open(&s->auth)) {
        log_warn("%s sends X-Forwarded-For and is no --trusted-proxy: all behind it count as one "
                 "client",
                 peer->address);
        s->told_of_proxy = true;
    }
    if (key == 0)
        key = peer->address_key;
    return key != 0 ? key : unix_user_key(peer->fd);
}

int head_check(struct exchange *ex)
{
    uint64_t client = client_by_address(ex);
    const struct route *r = ex->route;
    struct server *s = ex->server;
    if (is_foreign_host(ex))
        return SPECD_EHOST;
    if (!r)
        return SPECD_ENOTFOUND;
    if (!method_fits(r, ex->method))
        return SPECD_EMETHOD;
    bool preflight = strcmp(ex->method, "OPTIONS") == 0; /* browsers send no key with it */
    if (!preflight && !(r->flags & ROUTE_OPEN) &&
        !auth_check(&s->auth, header(ex, MHD_HTTP_HEADER_AUTHORIZATION), header(ex, "X-Api-Key"),
                    &client, &ex->key_marks))
        return SPECD_EAUTH;
    if (!preflight && r->flags & ROUTE_POST && !is_json(ex))
        return SPECD_ETYPE;
    if (head_content_length(ex) > atomic_load(&s->limits.max_body))
        return SPECD_ETOOBIG;
    clients_enter(ex, client);
    return 0;
}
