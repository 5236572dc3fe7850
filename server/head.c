#include "head.h"

#include "server.h"
#include "specd/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

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
    int lengths, encodings, hosts;
    bool bad_name;
};

static enum MHD_Result scan_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    struct header_scan *scan = cls;
    (void)kind;
    (void)value;
    scan->lengths += strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0;
    scan->encodings += strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0;
    scan->hosts += strcasecmp(name, MHD_HTTP_HEADER_HOST) == 0;
    scan->bad_name |= name[strcspn(name, " \t")] != '\0'; /* "Content-Length : 3" */
    return MHD_YES;
}

const char *head_framing_error(const struct exchange *ex, const char *version)
{
    const char *encoding = header(ex, MHD_HTTP_HEADER_TRANSFER_ENCODING);
    struct header_scan scan = {0};
    MHD_get_connection_values(ex->conn, MHD_HEADER_KIND, scan_header, &scan);
    if (scan.bad_name)
        return "a header's name holds a blank";
    if (scan.hosts > 1 || (scan.hosts == 0 && strcmp(version, MHD_HTTP_VERSION_1_1) == 0))
        return "there must be one Host header";
    if (scan.lengths + scan.encodings > 1)
        return "the length of the body is stated twice";
    if (encoding && strcasecmp(encoding, "chunked") != 0)
        return "unsupported Transfer-Encoding";
    return NULL;
}

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

int head_check(const struct exchange *ex)
{
    const struct route *r = ex->route;
    struct server *s = ex->server;
    if (!r)
        return SPECD_ENOTFOUND;
    if (!method_fits(r, ex->method))
        return SPECD_EMETHOD;
    bool preflight = strcmp(ex->method, "OPTIONS") == 0; /* browsers send no key with it */
    if (!preflight && !(r->flags & ROUTE_OPEN) &&
        !auth_check(&s->auth, header(ex, MHD_HTTP_HEADER_AUTHORIZATION), header(ex, "X-Api-Key")))
        return SPECD_EAUTH;
    if (!preflight && r->flags & ROUTE_POST && !is_json(ex))
        return SPECD_ETYPE;
    return head_content_length(ex) > atomic_load(&s->limits.max_body) ? SPECD_ETOOBIG : 0;
}
