#include "head.h"

#include "http.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>

#define HOST_SIGNS "-._~!$&'()*+,;=%:[]" /* of a host and a port, beside letters and digits */
#define UNIX_USER (1ull << 62)           /* keys of users, which no IPv4 address has: address_key */

const char *head_field(const struct exchange *ex, const char *name)
{
    return MHD_lookup_connection_value(ex->conn, MHD_HEADER_KIND, name);
}

bool has_only(const char *s, size_t len, const char *signs)
{
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)s[i]) && !strchr(signs, s[i]))
            return false;
    }
    return true;
}

/* The client's id is sent back and logged, so it must be plain; else one is drawn. */
void head_take_request_id(struct exchange *ex)
{
    const char *given = head_field(ex, "X-Request-Id");
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
    if (!*name || !has_only(name, name_len, TOKEN_SIGNS))
        scan->error = "a header's name holds a blank or a sign that names may not hold";
    else if (has_controls(value))
        scan->error = "a header holds a control character";
    else if (host && !has_only(value, value_len, HOST_SIGNS))
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
    size_t host_len = ex->host ? strcspn(ex->host, "/") : 0;
    if (ex->host && (host_len == 0 || !has_only(ex->host, host_len, HOST_SIGNS)))
        return "the target's host is no host";
    return NULL;
}

const char *head_framing_error(const struct exchange *ex, const char *method, const char *version)
{
    const char *encoding = head_field(ex, MHD_HTTP_HEADER_TRANSFER_ENCODING);
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

/* The name in "name:port", or in "name:port/path", without the dot that may end it. */
static size_t host_len(const char *host)
{
    size_t len =
        host[0] == '[' ? strcspn(host, "]") + (strchr(host, ']') != NULL) : strcspn(host, ":/");
    return len > 0 && host[len - 1] == '.' ? len - 1 : len;
}

/* Whether name[0..len) is one of a comma list. */
static bool is_listed(const char *list, const char *name, size_t len)
{
    while (list && *list) {
        const char *item = list;
        size_t n = strcspn(list, ",");
        list += n + (list[n] == ',');
        text_trim(&item, &n);
        if (n == len && strncasecmp(item, name, n) == 0)
            return true;
    }
    return false;
}

/* A page of another site can let its own name point to this machine (DNS rebinding) and so use a
 * server that only local programs should reach, without keys. Its Host then is that name. */
static bool is_foreign_host(const struct exchange *ex)
{
    const struct server *s = ex->server;
    const char *host = ex->host ? ex->host : head_field(ex, MHD_HTTP_HEADER_HOST);
    const char *origin = s->config->cors_origin;
    if (!s->listener.loopback || !host || !*host || !auth_is_open(&ex->server->auth))
        return false;
    size_t len = host_len(host);
    if (is_loopback_name(host, len) || is_listed(s->config->allowed_host, host, len))
        return false;
    const char *site = origin ? strstr(origin, "://") : NULL;
    bool is_site = site && host_len(site + 3) == len && strncasecmp(site + 3, host, len) == 0;
    return !is_site && !(origin && strcmp(origin, "*") == 0);
}

/* ---- what the route asks for */

static bool is_json(const struct exchange *ex)
{
    static const char json[] = "application/json";
    const char *type = head_field(ex, MHD_HTTP_HEADER_CONTENT_TYPE);
    return type && strncasecmp(type, json, sizeof json - 1) == 0 &&
           strchr("; \t", type[sizeof json - 1]) != NULL;
}

/* Sets *cls when the body is not sent as it is. */
static enum MHD_Result find_coding(void *cls, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    static const char plain[] = "identity";
    (void)kind;
    if (strcasecmp(name, MHD_HTTP_HEADER_CONTENT_ENCODING) != 0)
        return MHD_YES;
    while (*value) {
        size_t n = strcspn(value, ", \t");
        if (n > 0 && (n != strlen(plain) || strncasecmp(value, plain, n) != 0))
            *(bool *)cls = true;
        value += n + (value[n] != '\0');
    }
    return MHD_YES;
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
    const char *text = head_field(ex, MHD_HTTP_HEADER_CONTENT_LENGTH);
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
    struct sockaddr_storage address;
    return address_parse(last, strlen(last), &address) ? address_key((struct sockaddr *)&address)
                                                       : 0;
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
    const struct connection *c = ex->connection;
    const char *forwarded = NULL;
    MHD_get_connection_values(ex->conn, MHD_HEADER_KIND, take_last, &forwarded);
    bool trusted = is_listed(s->config->trusted_proxy, c->address, strlen(c->address));
    uint64_t key = trusted && forwarded ? forwarded_key(forwarded) : 0;
    if (forwarded && !trusted && !s->told_of_proxy && auth_is_open(&s->auth)) {
        log_warn("%s sends X-Forwarded-For and is no --trusted-proxy: all behind it count as one "
                 "client",
                 c->address);
        s->told_of_proxy = true;
    }
    if (key == 0)
        key = c->address_key;
    return key != 0 ? key : unix_user_key(c->fd);
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
    bool coded = false;
    bool preflight = strcmp(ex->method, "OPTIONS") == 0; /* browsers send no key with it */
    if (!preflight && !(r->flags & ROUTE_OPEN) &&
        !auth_check(&s->auth, head_field(ex, MHD_HTTP_HEADER_AUTHORIZATION),
                    head_field(ex, "X-Api-Key"), &client, &ex->key_marks))
        return SPECD_EAUTH;
    if (!preflight && r->flags & ROUTE_POST && !is_json(ex))
        return SPECD_ETYPE;
    if (r->flags & ROUTE_POST)
        MHD_get_connection_values(ex->conn, MHD_HEADER_KIND, find_coding, &coded);
    if (!preflight && coded)
        return SPECD_ECODING;
    if (head_content_length(ex) > atomic_load(&s->limits.max_body))
        return SPECD_ETOOBIG;
    clients_enter(ex, client);
    return 0;
}
