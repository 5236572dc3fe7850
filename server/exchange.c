#include "exchange.h"

#include "server.h"

#include <stdlib.h>

struct exchange *exchange_new(struct server *server, struct connection *connection,
                              struct MHD_Connection *conn)
{
    struct exchange *ex = xcalloc(1, sizeof *ex);
    ex->server = server;
    ex->connection = connection;
    ex->conn = conn;
    ex->started_ns = clock_ns();
    atomic_init(&ex->refs, 1);
    atomic_init(&ex->wake_at_ns, 0);
    pthread_mutex_init(&ex->lock, NULL);
    return ex;
}

void exchange_ref(struct exchange *ex)
{
    atomic_fetch_add_explicit(&ex->refs, 1, memory_order_relaxed);
}

void exchange_unref(struct exchange *ex)
{
    if (atomic_fetch_sub_explicit(&ex->refs, 1, memory_order_acq_rel) > 1)
        return;
    if (ex->work)
        ex->work_type->free(ex->work);
    pthread_mutex_destroy(&ex->lock);
    free(ex->name);
    free(ex);
}

void exchange_drop_body(struct exchange *ex)
{
    buf_free(&ex->body);
}

struct buf exchange_take_body(struct exchange *ex)
{
    struct buf body = ex->body;
    ex->body = (struct buf){0};
    return body;
}

void exchange_detach(struct exchange *ex)
{
    if (ex->work)
        ex->work_type->abandon(ex->work);
    exchange_drop_body(ex);
    clients_leave(ex);
    pthread_mutex_lock(&ex->lock);
    ex->conn = NULL;
    ex->suspended = false;
    pthread_mutex_unlock(&ex->lock);
    exchange_unref(ex);
}

enum wait_result exchange_wait(struct exchange *ex, uint64_t wake_at_ns, bool (*ready)(void *arg),
                               void *arg)
{
    enum wait_result result = WAIT_SUSPENDED;
    pthread_mutex_lock(&ex->lock);
    if (ready(arg)) {
        result = WAIT_READY;
    } else if (atomic_load(&ex->server->stopping)) {
        result = WAIT_STOPPING; /* stopping libmicrohttpd with suspended connections panics */
    } else {
        atomic_store(&ex->wake_at_ns, wake_at_ns);
        ex->suspended = true;
        MHD_suspend_connection(ex->conn);
    }
    pthread_mutex_unlock(&ex->lock);
    return result;
}

void exchange_wake(struct exchange *ex)
{
    pthread_mutex_lock(&ex->lock);
    if (ex->conn && ex->suspended) {
        ex->suspended = false;
        atomic_store(&ex->wake_at_ns, 0);
        MHD_resume_connection(ex->conn);
    }
    pthread_mutex_unlock(&ex->lock);
}

bool exchange_is_due(const struct exchange *ex, uint64_t now_ns)
{
    uint64_t at = atomic_load(&ex->wake_at_ns);
    return at != 0 && now_ns >= at;
}
