/*
 * bench-serve - puts load on a running specd over HTTP, and tells what its clients saw.
 *
 * For each number of clients it keeps that many requests going, one per connection, until the asked
 * number is answered, and prints a row of a Markdown table. One thread, one libuv loop.
 *
 * Words of the table:
 *   TTFT         request sent until the first token's event arrived
 *   inter-token  time between two arrivals of tokens, divided by the tokens that came with the
 *                second and counted once for each: what the server's own histogram counts
 *   per stream   (tokens - 1) / (last arrival - first arrival), median of requests
 *   accepted     1 + accepted draft tokens / rounds, over all requests
 */
#include "serve/http_response.h"
#include "serve/options.h"
#include "serve/request.h"
#include "serve/samples.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MS 1e-6 /* a nanosecond in milliseconds */

/* A row of the table: so many clients, so many requests. */
struct run {
    const struct options *opt;
    enum spec_choice spec;
    uv_loop_t loop;
    uv_timer_t timer;
    int total, issued;
    int n_clients; /* still at work */
    bool timed_out;
    uint64_t t_begin, t_end;
    struct samples ttft, gaps, latency, stream_rate;
    int64_t tokens, rounds, accepted;
    int answered, errors;
    char first_error[256];
    char read_buffer[65536];
};

/* One connection, and the request it carries. */
struct client {
    struct run *run;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } u;
    uv_connect_t connect;
    uv_write_t write;
    bool writing;
    bool reused; /* the connection carried a request before */
    bool busy;   /* a request is made and not yet answered or lost */
    struct buf request;

    /* the answer */
    struct http_response res;
    struct buf body; /* streaming: the line that is arriving */
    bool any_bytes, done_event;
    bool failed; /* an error is counted for it already */
    uint64_t t_sent, t_first, t_last;
    int arrived;                        /* tokens in the bytes being read */
    int64_t counted;                    /* tokens, by events */
    int64_t reported, rounds, accepted; /* as the server says */
};

static void client_connect(struct client *c);

static void count_error(struct client *c, const char *what, const char *detail)
{
    if (c->failed)
        return;
    c->failed = true;
    if (c->run->errors++ == 0)
        snprintf(c->run->first_error, sizeof c->run->first_error, "%s: %.200s", what, detail);
}

/* ---- answers --------------------------------------------------------------------------------- */

static int64_t number(const cJSON *object, const char *name, int64_t otherwise)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(v) ? (int64_t)v->valuedouble : otherwise;
}

/* The whole answer, or one of the last chunks, which carry usage and speculative. */
static void read_report(struct client *c, const char *json, size_t len)
{
    cJSON *root = cJSON_ParseWithLength(json, len);
    if (!root) {
        count_error(c, "not JSON", json);
        return;
    }
    const cJSON *usage = cJSON_GetObjectItemCaseSensitive(root, "usage");
    const cJSON *spec = cJSON_GetObjectItemCaseSensitive(root, "speculative");
    c->reported = number(usage, "completion_tokens", c->reported);
    c->rounds = number(spec, "rounds", c->rounds);
    c->accepted = number(spec, "accepted_tokens", c->accepted);
    cJSON_Delete(root);
}

/* Is there a member of this name whose value begins so? Text inside strings cannot look like one,
 * as its quotes are escaped. */
static bool has_member(const char *json, const char *quoted_name, const char *value)
{
    for (const char *p = json; (p = strstr(p, quoted_name)) != NULL;) {
        p += strlen(quoted_name);
        p += strspn(p, " :");
        if (strncmp(p, value, strlen(value)) == 0)
            return true;
    }
    return false;
}

/* Parsing each event would cost more than all the rest: only the last ones are parsed. */
static void on_event(struct client *c, const char *json, size_t len)
{
    if (strcmp(json, "[DONE]") == 0) {
        c->done_event = true;
    } else if (has_member(json, "\"error\"", "{")) {
        count_error(c, "error event", json);
    } else if (has_member(json, "\"usage\"", "{") || has_member(json, "\"timings\"", "{")) {
        read_report(c, json, len);
    } else if (has_member(json, "\"finish_reason\"", "null")) {
        bool opening =
            has_member(json, "\"role\"", "\"") && has_member(json, "\"content\"", "\"\"");
        c->arrived += !opening;
    }
}

static void on_stream_line(struct client *c, char *line, size_t len)
{
    if (strncmp(line, "data:", 5) != 0)
        return;
    size_t skip = line[5] == ' ' ? 6 : 5;
    on_event(c, line + skip, len - skip);
}

static void on_body(void *arg, const char *data, size_t len)
{
    struct client *c = arg;
    if (!c->run->opt->stream || c->res.status != 200) {
        buf_add(&c->body, data, len);
        return;
    }
    while (len > 0) {
        const char *newline = memchr(data, '\n', len);
        size_t n = newline ? (size_t)(newline - data) : len;
        buf_add(&c->body, data, n);
        if (!newline)
            return;
        on_stream_line(c, c->body.data, c->body.len);
        buf_clear(&c->body);
        data += n + 1;
        len -= n + 1;
    }
}

/* Accounts for the tokens that came with the bytes just read. */
static void note_arrival(struct client *c, uint64_t now)
{
    if (c->arrived == 0)
        return;
    if (c->t_first == 0) {
        c->t_first = now;
        samples_add(&c->run->ttft, (double)(now - c->t_sent) * MS);
    } else {
        for (int i = 0; i < c->arrived; i++)
            samples_add(&c->run->gaps, (double)(now - c->t_last) * MS / c->arrived);
    }
    c->counted += c->arrived;
    c->t_last = now;
    c->arrived = 0;
}

static void finish_request(struct client *c, uint64_t now)
{
    struct run *run = c->run;
    const char *text = c->body.len ? c->body.data : "";
    char what[32];
    snprintf(what, sizeof what, "status %d", c->res.status);
    if (c->res.status != 200)
        count_error(c, what, text);
    else if (!run->opt->stream)
        read_report(c, text, c->body.len);
    else if (!c->done_event)
        count_error(c, "stream", "ended without [DONE]");
    c->busy = false;
    run->t_end = now;
    if (c->failed)
        return;
    int64_t tokens = c->reported ? c->reported : c->counted;
    run->answered++;
    run->tokens += tokens;
    run->rounds += c->rounds;
    run->accepted += c->accepted;
    samples_add(&run->latency, (double)(now - c->t_sent) * MS);
    double streaming_s = (double)(c->t_last - c->t_first) * 1e-9;
    if (tokens > 1 && streaming_s > 0)
        samples_add(&run->stream_rate, (double)(tokens - 1) / streaming_s);
}

/* ---- connections ----------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *h)
{
    struct client *c = h->data;
    if (!c->run->timed_out)
        client_connect(c);
}

static void client_reconnect(struct client *c)
{
    if (!uv_is_closing(&c->u.handle))
        uv_close(&c->u.handle, on_closed);
}

static void client_end(struct client *c)
{
    uv_close(&c->u.handle, NULL);
    if (--c->run->n_clients == 0)
        uv_close((uv_handle_t *)&c->run->timer, NULL);
}

static void lose_request(struct client *c, const char *what, int rc)
{
    count_error(c, what, rc < 0 ? uv_strerror(rc) : "malformed");
    c->run->t_end = clock_ns();
    c->busy = false;
    client_reconnect(c);
}

static void on_broken(struct client *c, int rc)
{
    if (c->reused && !c->any_bytes) /* closed as idle just when we wrote: it is sent again */
        client_reconnect(c);
    else
        lose_request(c, "connection", rc);
}

static void on_written(uv_write_t *req, int rc)
{
    struct client *c = req->data;
    c->writing = false;
    if (rc < 0 && rc != UV_ECANCELED)
        on_broken(c, rc);
}

/* Sends the request in hand: for the first time, or over a new connection. */
static void send_request(struct client *c)
{
    http_reset(&c->res);
    buf_clear(&c->body);
    c->any_bytes = c->failed = c->done_event = false;
    c->arrived = 0;
    c->t_first = c->t_last = 0;
    c->counted = c->reported = c->rounds = c->accepted = 0;
    c->t_sent = clock_ns();

    uv_buf_t out = uv_buf_init(c->request.data, (unsigned)c->request.len);
    int sent = uv_try_write(&c->u.stream, &out, 1);
    if (sent == (int)out.len)
        return;
    if (sent > 0)
        out = uv_buf_init(out.base + sent, (unsigned)out.len - (unsigned)sent);
    c->write.data = c;
    c->writing = true;
    int rc = uv_write(&c->write, &c->u.stream, &out, 1, on_written);
    if (rc < 0) {
        c->writing = false;
        on_broken(c, rc);
    }
}

static void next_request(struct client *c)
{
    struct run *run = c->run;
    if (!c->busy && run->issued == run->total) {
        client_end(c);
        return;
    }
    if (!c->busy) {
        buf_clear(&c->request);
        request_put(&c->request, run->opt, run->spec, run->issued++);
        c->busy = true;
    }
    send_request(c);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *out)
{
    (void)suggested;
    struct client *c = h->data;
    *out = uv_buf_init(c->run->read_buffer, sizeof c->run->read_buffer);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct client *c = stream->data;
    if (n < 0) {
        on_broken(c, (int)n);
        return;
    }
    uint64_t now = clock_ns();
    c->any_bytes = c->any_bytes || n > 0;
    size_t taken = http_feed(&c->res, buf->base, (size_t)n, on_body, c);
    note_arrival(c, now);
    if (c->res.state == HTTP_BAD || taken < (size_t)n) {
        lose_request(c, "response", 0);
    } else if (c->res.state == HTTP_DONE) {
        finish_request(c, now);
        c->reused = true;
        if (c->res.close || c->writing) /* refused before it was sent whole */
            client_reconnect(c);
        else
            next_request(c);
    }
}

/* Each failure uses a request up, so that a server that is gone ends the run. */
static void on_refused(struct client *c, int rc)
{
    struct run *run = c->run;
    c->failed = !c->busy && run->issued == run->total; /* nothing was left for this client */
    if (!c->busy && !c->failed)
        run->issued++;
    c->busy = false;
    count_error(c, "connect", uv_strerror(rc));
    if (run->issued == run->total)
        client_end(c);
    else
        client_reconnect(c);
}

static void on_connected(uv_connect_t *req, int rc)
{
    struct client *c = req->data;
    if (rc == UV_ECANCELED)
        return;
    if (rc < 0) {
        on_refused(c, rc);
        return;
    }
    c->reused = false;
    uv_read_start(&c->u.stream, on_alloc, on_read);
    next_request(c);
}

static void client_connect(struct client *c)
{
    const struct options *opt = c->run->opt;
    c->connect.data = c;
    if (opt->port == 0) {
        uv_pipe_init(&c->run->loop, &c->u.pipe, 0);
        c->u.handle.data = c;
        uv_pipe_connect(&c->connect, &c->u.pipe, opt->host, on_connected);
        return;
    }
    struct sockaddr_in address;
    uv_ip4_addr(opt->host, opt->port, &address);
    uv_tcp_init(&c->run->loop, &c->u.tcp);
    uv_tcp_nodelay(&c->u.tcp, 1);
    c->u.handle.data = c;
    int rc =
        uv_tcp_connect(&c->connect, &c->u.tcp, (const struct sockaddr *)&address, on_connected);
    if (rc < 0)
        on_refused(c, rc);
}

/* ---- a row ----------------------------------------------------------------------------------- */

static void close_handle(uv_handle_t *h, void *arg)
{
    (void)arg;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

static void on_timeout(uv_timer_t *timer)
{
    struct run *run = timer->data;
    run->timed_out = true;
    if (run->errors++ == 0)
        snprintf(run->first_error, sizeof run->first_error, "timeout after %d s",
                 run->opt->timeout_s);
    uv_walk(&run->loop, close_handle, NULL);
}

static struct run *run_load(const struct options *opt, int n_clients, int total,
                            enum spec_choice spec)
{
    struct run *run = xcalloc(1, sizeof *run);
    run->opt = opt;
    run->spec = spec;
    run->total = total;
    run->n_clients = n_clients;
    uv_loop_init(&run->loop);
    uv_timer_init(&run->loop, &run->timer);
    run->timer.data = run;
    uv_timer_start(&run->timer, on_timeout, (uint64_t)opt->timeout_s * 1000, 0);

    struct client *clients = xcalloc((size_t)n_clients, sizeof *clients);
    run->t_begin = run->t_end = clock_ns();
    for (int i = 0; i < n_clients; i++) {
        clients[i].run = run;
        client_connect(&clients[i]);
    }
    uv_run(&run->loop, UV_RUN_DEFAULT);
    for (int i = 0; i < n_clients; i++) {
        buf_free(&clients[i].request);
        buf_free(&clients[i].body);
        buf_free(&clients[i].res.line);
    }
    free(clients);
    uv_loop_close(&run->loop);
    return run;
}

static void run_free(struct run *run)
{
    samples_free(&run->ttft);
    samples_free(&run->gaps);
    samples_free(&run->latency);
    samples_free(&run->stream_rate);
    free(run);
}

/* ---- the table ------------------------------------------------------------------------------- */

static void print_header(void)
{
    printf("| clients | speculation | requests | req/s | TTFT ms p50 / p90 / p99 "
           "| inter-token ms p50 / p90 / p99 | latency ms p50 / p99 | tok/s per stream "
           "| tok/s | accepted | errors |\n|--:|:--|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n");
}

static void print_row(struct run *run, int n_clients)
{
    static const char *const spec_names[] = {"as set", "on", "off"};
    static const double three[] = {0.5, 0.9, 0.99}, two[] = {0.5, 0.99};
    double seconds = MAX((double)(run->t_end - run->t_begin) * 1e-9, 1e-9);
    double rate = run->answered / seconds;
    printf("| %d | %s | %d | %.*f |", n_clients, spec_names[run->spec], run->answered,
           rate < 100 ? 2 : 0, rate);
    samples_print(&run->ttft, three, 3);
    samples_print(&run->gaps, three, 3);
    samples_print(&run->latency, two, 2);
    samples_print(&run->stream_rate, three, 1);
    printf(" %.1f |", (double)run->tokens / seconds);
    if (run->rounds > 0)
        printf(" %.2f |", 1 + (double)run->accepted / (double)run->rounds);
    else
        printf(" - |");
    printf(" %d |\n", run->errors);
    fflush(stdout);
}

/* One row, or with `silent` none; returns the errors. */
static int bench(const struct options *opt, int n_clients, int total, enum spec_choice spec,
                 bool silent)
{
    struct run *run = run_load(opt, n_clients, total, spec);
    int errors = run->errors;
    if (!silent)
        print_row(run, n_clients);
    if (errors > 0)
        fprintf(stderr, "bench-serve: %d errors, first: %s\n", errors, run->first_error);
    run_free(run);
    return errors;
}

int main(int argc, char **argv)
{
    static struct options opt;
    options_parse(&opt, argc, argv);
    int errors = opt.warmup ? bench(&opt, 1, opt.warmup, SPEC_SERVER, true) : 0;
    bool reachable = errors == 0;
    if (reachable)
        print_header();
    for (int i = 0; i < opt.n_clients && reachable; i++) {
        int n = opt.clients[i];
        int total = opt.requests ? opt.requests : MAX(8 * n, 32);
        for (int j = 0; j < opt.n_spec; j++)
            errors += bench(&opt, n, total, opt.spec[j], false);
    }
    options_free(&opt);
    return errors > 0;
}
