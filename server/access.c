#include "access.h"

#include "http.h"
#include "specd/json_write.h"
#include "specd/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void access_init(struct access_log *a)
{
    *a = (struct access_log){.lines.fd = -1};
    pthread_mutex_init(&a->lock, NULL);
}

int access_open(int *fd, const char *path, char *err, size_t errlen)
{
    *fd = -1;
    if (!path)
        return 0;
    if (strcmp(path, "-") == 0)
        *fd = lines_dup(STDOUT_FILENO);
    else
        *fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
    if (*fd < 0)
        return fail(SPECD_EFILE, err, errlen, "access-log: %s: %s", path,
                    errno == ENXIO ? "nobody reads it" : strerror(errno));
    return 0;
}

void access_replace(struct access_log *a, int fd, bool json)
{
    pthread_mutex_lock(&a->lock);
    lines_use(&a->lines, fd);
    a->json = json;
    pthread_mutex_unlock(&a->lock);
}

void access_free(struct access_log *a)
{
    access_replace(a, -1, false);
    pthread_mutex_destroy(&a->lock);
}

uint64_t access_dropped(struct access_log *a)
{
    pthread_mutex_lock(&a->lock);
    uint64_t n = a->lines.dropped;
    pthread_mutex_unlock(&a->lock);
    return n;
}

/* ---- lines */

struct entry {
    const struct exchange *ex;
    struct tally tally;
    double total_ms, first_ms;
    bool complete;
};

static double ms_since(uint64_t from, uint64_t to)
{
    return to > from ? (double)(to - from) / 1e6 : 0;
}

/* Paths as they were sent may hold anything: only those of routes are shown. */
static const char *path_of(const struct exchange *ex)
{
    return ex->route ? ex->route->path : "?";
}

static void write_time(struct buf *out)
{
    struct timespec ts;
    struct tm tm;
    char text[32];
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(out, "%s.%03ldZ", text, ts.tv_nsec / 1000000);
}

static void write_text(const struct entry *e, struct buf *out)
{
    const struct exchange *ex = e->ex;
    const struct tally *t = &e->tally;
    write_time(out);
    buf_printf(out, " %s %s %s %d in=%zu out=%llu ms=%.3f", ex->connection->address, ex->method,
               path_of(ex), ex->status, ex->received, (unsigned long long)ex->sent, e->total_ms);
    if (t->generates)
        buf_printf(out, " first_ms=%.3f prompt=%lld generated=%lld accepted=%lld", e->first_ms,
                   (long long)t->prompt_tokens, (long long)t->generated_tokens,
                   (long long)t->accepted_tokens);
    buf_printf(out, "%s id=%s\n", e->complete ? "" : " cut_off", ex->request_id);
}

static void write_json(const struct entry *e, struct buf *out)
{
    const struct exchange *ex = e->ex;
    const struct tally *t = &e->tally;
    json_lit(out, "{\"time\":\"");
    write_time(out);
    json_lit(out, "\",\"client\":");
    json_cstr(out, ex->connection->address);
    buf_printf(out,
               ",\"method\":\"%s\",\"route\":\"%s\",\"status\":%d,\"bytes_in\":%zu,"
               "\"bytes_out\":%llu,\"ms\":%.3f",
               ex->method, path_of(ex), ex->status, ex->received, (unsigned long long)ex->sent,
               e->total_ms);
    if (t->generates)
        buf_printf(out,
                   ",\"first_ms\":%.3f,\"prompt_tokens\":%lld,\"generated_tokens\":%lld,"
                   "\"accepted_tokens\":%lld",
                   e->first_ms, (long long)t->prompt_tokens, (long long)t->generated_tokens,
                   (long long)t->accepted_tokens);
    buf_printf(out, ",\"complete\":%s,\"request_id\":", e->complete ? "true" : "false");
    json_cstr(out, ex->request_id);
    json_lit(out, "}\n");
}

/* Once when it begins, once when it is over. */
static void tell_dropped(struct access_log *a)
{
    uint64_t dropped = a->lines.dropped;
    if (!a->dropping && dropped > a->told)
        log_warn("access-log: lines are dropped: its reader stands still, or its disk is full");
    if (a->dropping && a->lines.n_kept == 0) {
        log_warn("access-log: %llu lines were dropped", (unsigned long long)(dropped - a->told));
        a->told = dropped;
    }
    a->dropping = dropped > a->told;
}

void access_write(struct access_log *a, const struct exchange *ex, bool complete)
{
    struct buf line = {0};
    pthread_mutex_lock(&a->lock);
    if (a->lines.fd >= 0) {
        struct entry e = {.ex = ex, .complete = complete};
        e.total_ms = ms_since(ex->started_ns, clock_ns());
        if (ex->work && ex->work_type->tally)
            ex->work_type->tally(ex->work, &e.tally);
        e.first_ms = ms_since(ex->started_ns, e.tally.first_ns);
        (a->json ? write_json : write_text)(&e, &line);
        lines_put(&a->lines, line.data, line.len);
        tell_dropped(a);
    }
    pthread_mutex_unlock(&a->lock);
    buf_free(&line);
}
