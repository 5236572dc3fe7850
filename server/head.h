/*
 * head.h - what the head of a request says, before a byte of its body: is it framed in one way only
 * (RFC 9112), may this client send it here, and does the route take it. HTTP thread.
 */
#ifndef SPECD_SERVER_HEAD_H
#define SPECD_SERVER_HEAD_H

#include "exchange.h"

#define TOKEN_SIGNS "!#$%&'*+-.^_`|~" /* of a header's name, beside letters and digits */

/* Has s[0..len) only letters, digits and such signs? */
bool has_only(const char *s, size_t len, const char *signs);

/* A header's value, libmicrohttpd's; NULL: not sent. */
const char *head_field(const struct exchange *ex, const char *name);
uint64_t head_content_length(const struct exchange *ex); /* 0: not stated */

/* Sets ex->request_id: the client's, or one of our own. */
void head_take_request_id(struct exchange *ex);
/* Two readers could take the head for two different requests (request smuggling): what is wrong
 * with it; NULL: nothing. method and version are libmicrohttpd's strings, where they came in. */
const char *head_framing_error(const struct exchange *ex, const char *method, const char *version);
/* Whether the request may come here and fits its route: 0, or the SPECD_E* to answer. From 0 on the
 * exchange counts for its client. */
int head_check(struct exchange *ex);

#endif
