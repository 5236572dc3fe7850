/*
 * sse.h - server-sent events (WHATWG HTML, section 9.2) as OpenAI's clients read them: one line
 * "data: JSON" and an empty line. JSON holds no raw line ends, so an event is never more lines.
 */
#ifndef SPECD_SERVER_SSE_H
#define SPECD_SERVER_SSE_H

#include "specd/util.h"

void sse_begin(struct buf *out); /* the caller appends one line of JSON, then calls sse_end */
void sse_end(struct buf *out);
void sse_done(struct buf *out); /* OpenAI's last event */
void sse_ping(struct buf *out); /* a comment: keeps proxies and clients from giving up */

#endif
