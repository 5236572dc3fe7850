/*
 * http.h - requests as libmicrohttpd hands them over, their routes, and answers that are complete:
 * JSON bodies and errors, with the headers that all answers have. HTTP thread.
 */
#ifndef SPECD_SERVER_HTTP_H
#define SPECD_SERVER_HTTP_H

#include "api_error.h"
#include "server.h"

enum route_flags {
    ROUTE_POST = 1,     /* else GET and HEAD */
    ROUTE_OPEN = 2,     /* needs no key */
    ROUTE_MESSAGES = 4, /* errors are Anthropic's */
};

struct route {
    const char *path;
    unsigned flags;
    /* HTTP thread, with the complete body. Queues a response, or sets ex->work and suspends. */
    enum MHD_Result (*handle)(struct exchange *ex);
};

/* ---- answers: each queues a response on the exchange and returns what the access handler is to
 * return. */

/* Takes the buffer's memory. */
enum MHD_Result respond_body(struct exchange *ex, int status, const char *content_type,
                             struct buf *body);
enum MHD_Result respond_json(struct exchange *ex, int status, struct buf *body);
/* In the shape that the route's clients read. */
enum MHD_Result respond_error(struct exchange *ex, const struct api_error *e);
enum MHD_Result respond_code(struct exchange *ex, int code); /* with the error's own text */
/* Adds the headers that every answer has, queues and releases the response. */
enum MHD_Result respond_queue(struct exchange *ex, int status, struct MHD_Response *response);

/* ---- libmicrohttpd's callbacks; cls is the server */

enum MHD_Result http_on_connect(void *cls, const struct sockaddr *addr, socklen_t len);
/* Before libmicrohttpd takes the target apart; makes the exchange. */
void *http_on_target(void *cls, const char *target, struct MHD_Connection *conn);
enum MHD_Result http_on_request(void *cls, struct MHD_Connection *conn, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *size, void **con_cls);
void http_on_completed(void *cls, struct MHD_Connection *conn, void **con_cls,
                       enum MHD_RequestTerminationCode code);
void http_on_connection(void *cls, struct MHD_Connection *conn, void **socket_context,
                        enum MHD_ConnectionNotificationCode code);

/* ---- the page at "/" (page/index.html), as page/embed.cmake puts it into the program */
extern const unsigned char page_html[];
extern const size_t page_html_bytes;
extern const char page_policy[]; /* its Content-Security-Policy */

/* ---- handlers */
enum MHD_Result api_health(struct exchange *ex);
enum MHD_Result api_ready(struct exchange *ex);
enum MHD_Result api_models(struct exchange *ex);
enum MHD_Result api_metrics(struct exchange *ex);
enum MHD_Result api_completion(struct exchange *ex);
enum MHD_Result api_chat(struct exchange *ex);
enum MHD_Result api_native(struct exchange *ex);
enum MHD_Result api_messages(struct exchange *ex);
enum MHD_Result api_responses(struct exchange *ex);
enum MHD_Result api_page(struct exchange *ex);
enum MHD_Result api_tokenize(struct exchange *ex);
const struct field *tokenize_table(size_t *n); /* and what it reads into, with its defaults */
const void *tokenize_defaults(void);
enum MHD_Result api_detokenize(struct exchange *ex);
enum MHD_Result api_apply_template(struct exchange *ex);
enum MHD_Result api_input_tokens(struct exchange *ex);
enum MHD_Result api_count_tokens(struct exchange *ex);
enum MHD_Result api_props(struct exchange *ex);
enum MHD_Result api_slots(struct exchange *ex);

#endif
