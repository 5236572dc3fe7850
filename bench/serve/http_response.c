#include "http_response.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LINE_MAX_BYTES 65536

void http_reset(struct http_response *r)
{
    struct buf line = r->line;
    buf_clear(&line);
    *r = (struct http_response){.line = line};
}

/* Points past "name:" and blanks if line is that header, else NULL. */
static const char *header_value(const char *line, const char *name)
{
    size_t len = strlen(name);
    if (strncasecmp(line, name, len) != 0 || line[len] != ':')
        return NULL;
    line += len + 1;
    return line + strspn(line, " \t");
}

static void on_header(struct http_response *r, const char *line)
{
    const char *value;
    if ((value = header_value(line, "Content-Length"))) {
        r->has_length = true;
        r->left = strtoull(value, NULL, 10);
    } else if ((value = header_value(line, "Transfer-Encoding"))) {
        r->chunked = strcasecmp(value, "chunked") == 0;
    } else if ((value = header_value(line, "Connection"))) {
        r->close = strcasecmp(value, "close") == 0;
    }
}

static enum http_state after_headers(const struct http_response *r)
{
    if (r->chunked)
        return HTTP_CHUNK_SIZE;
    if (!r->has_length)
        return HTTP_BAD;
    return r->left > 0 ? HTTP_BODY : HTTP_DONE;
}

static enum http_state on_line(struct http_response *r, const char *line)
{
    char *end;
    switch (r->state) {
    case HTTP_STATUS:
        if (strncmp(line, "HTTP/1.", 7) != 0 || strlen(line) < 12)
            return HTTP_BAD;
        r->status = atoi(line + 9);
        return HTTP_HEADER;
    case HTTP_HEADER:
        if (!*line)
            return after_headers(r);
        on_header(r, line);
        return HTTP_HEADER;
    case HTTP_CHUNK_SIZE:
        r->left = strtoull(line, &end, 16);
        if (end == line)
            return HTTP_BAD;
        return r->left > 0 ? HTTP_CHUNK : HTTP_TRAILER;
    case HTTP_CHUNK_END:
        return *line ? HTTP_BAD : HTTP_CHUNK_SIZE;
    case HTTP_TRAILER:
        return *line ? HTTP_TRAILER : HTTP_DONE;
    default:
        return HTTP_BAD;
    }
}

/* Takes a line, or the part of one that has arrived; returns how much it took. */
static size_t take_line(struct http_response *r, const char *data, size_t len)
{
    const char *newline = memchr(data, '\n', len);
    size_t taken = newline ? (size_t)(newline - data) + 1 : len;
    if (r->line.len + taken > LINE_MAX_BYTES) {
        r->state = HTTP_BAD;
        return taken;
    }
    buf_add(&r->line, data, taken);
    if (newline) {
        char *line = r->line.data;
        line[strcspn(line, "\r\n")] = '\0';
        r->state = on_line(r, line);
        buf_clear(&r->line);
    }
    return taken;
}

size_t http_feed(struct http_response *r, const char *data, size_t len, http_body *on_body,
                 void *arg)
{
    size_t at = 0;
    while (at < len && r->state < HTTP_DONE) {
        if (r->state == HTTP_BODY || r->state == HTTP_CHUNK) {
            size_t n = MIN(len - at, r->left);
            on_body(arg, data + at, n);
            at += n;
            r->left -= n;
            if (r->left == 0)
                r->state = r->state == HTTP_BODY ? HTTP_DONE : HTTP_CHUNK_END;
        } else {
            at += take_line(r, data + at, len - at);
        }
    }
    return at;
}
