/*
 * watch.c - notices that a client hung up while its connection is suspended.
 *
 * libmicrohttpd does not look at a suspended connection's socket, so the engine polls a duplicate
 * of it for UV_DISCONNECT. The duplicate is closed here, after the poll handle is.
 */
#include "engine_impl.h"

#include <stdlib.h>
#include <unistd.h>

struct client_watch {
    uv_poll_t poll;
    struct engine *engine;
    struct seq *seq; /* NULL once stopped */
    int fd;
};

static void on_closed(uv_handle_t *handle)
{
    struct client_watch *w = handle->data;
    close(w->fd);
    free(w);
}

void watch_stop(struct seq *s)
{
    struct client_watch *w = s->watch;
    if (!w)
        return;
    s->watch = NULL;
    w->seq = NULL;
    uv_close((uv_handle_t *)&w->poll, on_closed);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct client_watch *w = poll->data;
    if (!w->seq || (status == 0 && !(events & UV_DISCONNECT)))
        return;
    uv_poll_stop(poll);
    w->engine->stats.disconnects++;
    atomic_store(&w->seq->req->cancelled, true);
    uv_async_send(&w->engine->wake);
}

void watch_start(struct engine *e, struct seq *s)
{
    int fd = s->req->client_fd;
    s->req->client_fd = -1;
    if (fd < 0)
        return;
    struct client_watch *w = xcalloc(1, sizeof *w);
    w->engine = e;
    w->seq = s;
    w->fd = fd;
    w->poll.data = w;
    if (uv_poll_init(&e->loop, &w->poll, fd) != 0) { /* without it a hang-up shows at a write */
        close(fd);
        free(w);
        return;
    }
    s->watch = w;
    uv_poll_start(&w->poll, UV_DISCONNECT, on_poll);
}
