/*
 * head.h - what can be said of a request by its header alone, before a byte of its body.
 *
 * HTTP thread, from the first call of the access handler.
 */
#ifndef SPECD_SERVER_HEAD_H
#define SPECD_SERVER_HEAD_H

#include "exchange.h"

/* Where header lines and the body end must be beyond doubt, or a proxy in front may see another
 * request there (RFC 9112, 2.2, 5 and 6). method and version are libmicrohttpd's. NULL, or what is
 * wrong; the connection can't be used any more then. */
const char *head_framing_error(const struct exchange *ex, const char *method, const char *version);
/* Sets the exchange's request id. */
void head_request_id(struct exchange *ex);
/* The client's W3C trace context, to be sent back; NULL when there is none or it is malformed. */
const char *head_traceparent(const struct exchange *ex);
/* Host, route, method, key, type and stated length: the SPECD_E* to answer; or 0, and the exchange
 * counts for its client. */
int head_check(struct exchange *ex);
uint64_t head_content_length(const struct exchange *ex); /* 0 when not stated */

#endif
