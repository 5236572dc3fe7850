/*
 * http_response.h - reads one HTTP/1.1 response from bytes as they arrive, for bench programs.
 *
 * Knows what specd sends: a Content-Length or chunked coding. The body goes to a callback in pieces
 * as they come. Zero-initialise it once, http_reset it before each response, buf_free its line when
 * all is over.
 */
#ifndef HTTP_RESPONSE_H
#define HTTP_RESPONSE_H

#include "specd/util.h"

enum http_state {
    HTTP_STATUS,
    HTTP_HEADER,
    HTTP_BODY, /* `left` bytes, then done */
    HTTP_CHUNK_SIZE,
    HTTP_CHUNK, /* `left` bytes, then CHUNK_END */
    HTTP_CHUNK_END,
    HTTP_TRAILER,
    HTTP_DONE,
    HTTP_BAD,
};

struct http_response {
    enum http_state state;
    int status;
    bool chunked, has_length, close;
    uint64_t left;
    struct buf line;
};

typedef void http_body(void *arg, const char *data, size_t len);

void http_reset(struct http_response *r);

/* Reads on until the response is over or the data is; returns how much it took. Look at `state`:
 * HTTP_DONE, HTTP_BAD, or more is to come. */
size_t http_feed(struct http_response *r, const char *data, size_t len, http_body *on_body,
                 void *arg);

#endif
