#include "mailbox.h"

void mailbox_init(struct mailbox *m)
{
    atomic_init(&m->head, NULL);
}

void mailbox_put(struct mailbox *m, struct request *req)
{
    struct request *head = atomic_load_explicit(&m->head, memory_order_relaxed);
    do {
        req->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&m->head, &head, req, memory_order_release,
                                                    memory_order_relaxed));
}

struct request *mailbox_take(struct mailbox *m)
{
    struct request *newest = atomic_exchange_explicit(&m->head, NULL, memory_order_acquire);
    struct request *oldest = NULL;
    while (newest) {
        struct request *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}
