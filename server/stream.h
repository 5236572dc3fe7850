/*
 * stream.h - answers that are made as their reader takes them: pieces of a long one, or events.
 *
 * However long an answer is, some PIECE_BYTES of it are in memory: the rest is what it is made of,
 * which the exchange's work holds. HTTP thread.
 */
#ifndef SPECD_SERVER_STREAM_H
#define SPECD_SERVER_STREAM_H

#include "exchange.h"

#define PIECE_BYTES 16384 /* about a millisecond's writing */

/* Part of the exchange's work, which it must not outlive. */
struct pieces {
    struct buf out; /* not yet taken, from at on */
    size_t at;
    bool over; /* nothing comes behind out */
    /* Appends PIECE_BYTES or somewhat more to out, or all there is; true: it is the end. */
    bool (*next)(void *arg, struct buf *out);
    void *arg;
};

/* Gives at most max bytes of out, counts them as sent, and empties out behind the last. */
size_t pieces_take(struct exchange *ex, struct pieces *p, char *to, size_t max);
/* Answers 200 with what is in out and what next makes, as JSON: a short answer with its length. */
enum MHD_Result respond_pieces(struct exchange *ex, struct pieces *p);
void pieces_free(struct pieces *p);

/* ---- server-sent events (WHATWG HTML, section 9.2) as clients read them: one line "data: JSON",
 * in some dialects one with the event's name before it, and an empty line. JSON holds no raw line
 * ends, so an event is never more lines. */

void sse_begin(struct buf *out); /* the caller appends one line of JSON, then calls sse_end */
void sse_event(struct buf *out, const char *name); /* the same for an event with a name */
void sse_end(struct buf *out);
void sse_done(struct buf *out); /* OpenAI's last event */
void sse_ping(struct buf *out); /* a comment: keeps proxies and clients from giving up */

#endif
