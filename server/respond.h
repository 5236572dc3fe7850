/*
 * respond.h - answers that are complete: JSON bodies and errors, with the headers all answers have.
 *
 * HTTP thread only. Each queues a response on the exchange and returns what the access handler is
 * to return.
 */
#ifndef SPECD_SERVER_RESPOND_H
#define SPECD_SERVER_RESPOND_H

#include "exchange.h"
#include "fields.h"

/* Takes the buffer's memory. */
enum MHD_Result respond_body(struct exchange *ex, int status, const char *content_type,
                             struct buf *body);
enum MHD_Result respond_json(struct exchange *ex, int status, struct buf *body);
enum MHD_Result respond_error(struct exchange *ex, const struct api_error *e);
enum MHD_Result respond_code(struct exchange *ex, int code); /* with the error's own text */
enum MHD_Result respond_preflight(struct exchange *ex);
/* Adds the headers that every answer has, queues and releases the response. */
enum MHD_Result respond_queue(struct exchange *ex, int status, struct MHD_Response *response);

/* {"error":{...}} */
void error_json(struct buf *out, const struct api_error *e);

#endif
