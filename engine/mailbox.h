/*
 * mailbox.h - the one way into the engine thread: a lock-free stack of requests, taken whole.
 *
 * Any thread puts; only the engine thread takes. A put is one compare-and-swap; the taker reverses
 * the stack, so requests come out in the order they went in. A request is in at most one mailbox
 * (it is linked through request.next).
 */
#ifndef SPECD_MAILBOX_H
#define SPECD_MAILBOX_H

#include "specd/request.h"

struct mailbox {
    _Atomic(struct request *) head;
};

void mailbox_init(struct mailbox *m);
void mailbox_put(struct mailbox *m, struct request *req);
struct request *mailbox_take(struct mailbox *m); /* oldest first, linked by next; NULL when empty */

#endif
