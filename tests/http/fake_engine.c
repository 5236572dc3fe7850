/*
 * fake_engine.c - engine.h without a model: canned tokens from one thread, for tests of the HTTP
 * side, and to measure what that side costs alone.
 *
 * A prompt may hold orders, anywhere in its text:
 *   first_ms=N token_ms=N   delays before the first token and between rounds
 *   burst=N                 tokens of a round (2)
 *   bytes=N                 bytes of a token's text
 *   eos_after=N             the model ends by itself after N tokens
 *   fail_after=N            the request fails as a broken device would make it, after N tokens
 *   numeric=1               the request fails before its first token
 *   say=TEXT                the answer is the rest of the prompt, three bytes a token, and its end
 *   think=N                 the answer may begin with a thought; 2: the prompt ends in one
 *   format=1                the answer is what the answer must be: the field that said so, schema
 *   hang_ms=N               the device, and everything behind it, hangs that long
 *   crash_after=N           the whole engine fails after N tokens of this request
 * The environment: FAKE_LOAD_MS, how long loading takes; FAKE_LOAD_FAIL, that it fails.
 *
 * Token 5 is no UTF-8; a token's log-probability is -0.5, that of the k-th alternative -k. An echo
 * is the prompt in one token. The n-th token's text is " wN", but every seventh is the two halves
 * of one character, of which the first shows nothing.
 */
#include "specd/json.h"
#include "specd/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define N_VOCAB 1000
#define N_CTX 4096
#define STALL_BYTES (256 * 1024)
#define MS 1000000ull

struct job {
    struct request *req;
    int fd;
    int64_t first_ms, token_ms, burst, bytes, eos_after, fail_after, numeric, crash_after, hang_ms;
    const char *say;  /* NULL: canned tokens */
    struct buf told;  /* format=1: what is said */
    int32_t limit, n; /* tokens to produce, and produced */
    uint64_t next_ns, deadline_ns, arrived_ns, first_ns;
    struct buf held; /* text that may become a stop string */
    bool gone;
    struct job *next;
};

struct engine {
    struct engine_config config;
    struct engine_info info;
    pthread_t thread;
    int epoll_fd, wake_fd;
    atomic_int state, exit_code, n_live, max_queue, request_timeout_ms;
    atomic_int drain_ms; /* -1: not asked */
    atomic_bool closing;
    atomic_ullong iterated_ns, round_ns;
    atomic_ullong n_disconnects, n_cancelled, n_finished;
    pthread_mutex_t lock;
    struct request *inbox, **inbox_tail; /* under lock */
    struct job *jobs;                    /* the engine thread's */
    uint64_t drain_deadline_ns;
};

static const struct think_tags think_tags = {"<think>", "</think>"};
const struct device_ops cpu_device_ops = {.name = "fake"};
const double engine_bucket_s[ENGINE_BUCKETS] = {.0005, .001, .002, .005, .01, .02, .05, .1,  .2,
                                                .5,    1,    2,    5,    10,  20,  50,  100, 1e9};

void engine_config_init(struct engine_config *config)
{
    *config = (struct engine_config){.n_slots = 16,
                                     .max_queue = 256,
                                     .draft_fixed = -1,
                                     .request_timeout_ms = 600000,
                                     .synthetic_acceptance = -1};
}

static void wake(struct engine *e)
{
    uint64_t one = 1;
    ssize_t n = write(e->wake_fd, &one, sizeof one);
    (void)n;
}

static void set_state(struct engine *e, enum engine_state state)
{
    atomic_store(&e->state, (int)state);
    if (e->config.on_state)
        e->config.on_state(e->config.on_state_arg);
}

const char *engine_token_bytes(const struct engine *e, int32_t id, size_t *len)
{
    static const char names[] = " t0 t1 t2 t3 t4 t5 t6 t7 t8 t9";
    (void)e;
    *len = id == 5 ? 2 : 3;
    return id == 5 ? "\xe2\x80" : names + 3 * (id % 10);
}

/* A token a byte. */
int engine_tokenize(const struct engine *e, const char *text, size_t len, bool bos, bool special,
                    int32_t **ids, size_t *n_ids)
{
    (void)e;
    (void)special;
    *ids = xmalloc((len + 1) * sizeof **ids);
    *n_ids = 0;
    if (bos)
        (*ids)[(*n_ids)++] = 1;
    for (size_t i = 0; i < len; i++)
        (*ids)[(*n_ids)++] = (unsigned char)text[i];
    return 0;
}

size_t engine_detokenize(const struct engine *e, const int32_t *ids, size_t n_ids, size_t at,
                         size_t most, struct buf *out)
{
    (void)e;
    for (size_t end = out->len + most; at < n_ids && out->len < end; at++)
        buf_printf(out, "%c", ids[at] < 128 ? (char)ids[at] : '?');
    return at;
}

/* Of a message, or of its first part; "" where it has none. */
static const char *content_of(const struct json *m)
{
    const struct json *content = json_get(m, "content");
    const char *text = json_string(content);
    if (json_type(content) == JSON_ARRAY)
        text = json_string(json_get(json_first(content), "text"));
    return text ? text : "";
}

int engine_apply_template(const struct engine *e, const struct request *req, struct buf *out,
                          char *err, size_t errlen)
{
    (void)e;
    for (const struct json *m = json_first(req->chat.messages); m; m = json_next(m))
        buf_printf(out, "<%s>%s", json_string(json_get(m, "role")), content_of(m));
    return out->len < 1000000 ? 0 : fail(SPECD_EINVAL, err, errlen, "%s: too long", req->field);
}

int engine_count_prompt(const struct engine *e, const struct request *req, size_t *n, char *err,
                        size_t errlen)
{
    struct buf text = {0};
    int rc = engine_apply_template(e, req, &text, err, errlen);
    *n = text.len;
    buf_free(&text);
    return rc;
}

const char *engine_chat_template(const struct engine *e)
{
    (void)e;
    return "{{ messages }}";
}

/* ---- jobs */

static int64_t order(const char *text, const char *name, int64_t otherwise)
{
    const char *at = text ? strstr(text, name) : NULL;
    return at && at[strlen(name)] == '=' ? strtoll(at + strlen(name) + 1, NULL, 10) : otherwise;
}

static const char *prompt_text(const struct request *req)
{
    const struct json *last = json_first(req->chat.messages);
    while (last && json_next(last))
        last = json_next(last);
    if (last)
        return content_of(last);
    return req->kind == PROMPT_TEXT ? req->prompt : NULL;
}

static int32_t prompt_tokens(const struct request *req)
{
    size_t n = req->n_prompt_ids;
    for (const struct json *m = json_first(req->chat.messages); m; m = json_next(m))
        n += strlen(content_of(m)) / 4 + 4;
    return (int32_t)(n + req->prompt_len / 4 + (req->kind == PROMPT_TEXT));
}

static void watch_client(struct engine *e, struct job *j)
{
    struct epoll_event event = {.events = EPOLLRDHUP, .data.ptr = j};
    if (j->fd >= 0)
        epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, j->fd, &event);
}

static void echo_prompt(struct request *req)
{
    struct request_echo *echo = &req->output.echo;
    const char *text = prompt_text(req);
    size_t len = text ? strlen(text) : 0;
    buf_add(&echo->text, text ? text : "", len);
    echo->tokens = xcalloc(1, sizeof *echo->tokens);
    echo->tokens[0].text_len = (uint32_t)len;
    echo->n_tokens = echo->n_scored = 1;
}

/* A schema as JSON, strings as they are; returns what is behind it. */
static const struct chat_value *tell_value(const struct chat_value *v, struct buf *out)
{
    bool dict = v->kind == CHAT_DICT, nested = dict || v->kind == CHAT_LIST;
    const struct chat_value *next = v + 1;
    if (v->key)
        buf_printf(out, "\"%s\":", v->key);
    if (v->kind == CHAT_STRING)
        buf_printf(out, "\"%s\"", v->s);
    else if (v->text)
        buf_puts(out, v->text);
    else if (v->kind == CHAT_BOOL)
        buf_puts(out, v->b ? "true" : "false");
    else
        buf_puts(out, dict ? "{" : nested ? "[" : "null");
    for (uint32_t i = 0; nested && i < v->n; i++) {
        buf_puts(out, i > 0 ? "," : "");
        next = tell_value(next, out);
    }
    buf_puts(out, dict ? "}" : nested ? "]" : "");
    return next;
}

static void tell_format(const struct request_format *f, struct buf *out)
{
    buf_puts(out, f->json ? f->field : "none");
    buf_puts(out, " ");
    if (f->schema)
        tell_value(f->schema, out);
}

/* From its first token on: no text that is watched (engine/grammar/grammar.h). */
static bool is_bound(const struct request_format *f)
{
    const struct chat_value *v = f->schema;
    bool watched = v && v->kind == CHAT_LIST && v->n > 0 && v[1].kind == CHAT_DICT;
    return f->json && !watched;
}

static void job_start(struct engine *e, struct request *req)
{
    struct job *j = xcalloc(1, sizeof *j);
    const char *text = prompt_text(req);
    const struct request_params *p = &req->params;
    uint64_t now = clock_ns();
    *j = (struct job){
        .req = req,
        .fd = req->client_fd,
        .first_ms = order(text, "first_ms", 0),
        .token_ms = order(text, "token_ms", 0),
        .burst = order(text, "burst", 2),
        .bytes = order(text, "bytes", 0),
        .eos_after = order(text, "eos_after", INT32_MAX),
        .fail_after = order(text, "fail_after", -1),
        .numeric = order(text, "numeric", 0),
        .hang_ms = order(text, "hang_ms", 0),
        .crash_after = order(text, "crash_after", -1),
        .limit = p->max_tokens >= 0 ? p->max_tokens : 64,
        .arrived_ns = now,
        .deadline_ns = now + (uint64_t)atomic_load(&e->request_timeout_ms) * MS,
        .next = e->jobs,
    };
    j->say = text ? strstr(text, "say=") : NULL;
    if (j->say)
        j->say += 4;
    if (order(text, "format", 0)) {
        tell_format(&req->format, &j->told);
        j->say = j->told.data;
    }
    if (j->say)
        j->eos_after = (int64_t)(strlen(j->say) + 2) / 3;
    req->client_fd = -1;
    j->next_ns = now + (uint64_t)j->first_ms * MS;
    e->jobs = j;
    pthread_mutex_lock(&req->output.lock);
    req->output.stats.n_prompt = prompt_tokens(req);
    if (order(text, "think", 0) && req->kind == PROMPT_CHAT && !is_bound(&req->format))
        req->output.thinking = (struct thinking){&think_tags, order(text, "think", 0) == 2};
    if (p->echo)
        echo_prompt(req);
    pthread_mutex_unlock(&req->output.lock);
    watch_client(e, j);
}

static void fill_stats(const struct job *j)
{
    struct request_stats *s = &j->req->output.stats;
    uint64_t now = clock_ns(), first = j->first_ns ? j->first_ns : now;
    int rounds = (int)((j->n + j->burst - 1) / j->burst);
    s->n_generated = j->n;
    s->n_cached = 0;
    s->rounds = rounds;
    s->n_drafted = rounds * 4;
    s->n_accepted = j->n - rounds;
    s->verified_by_pos[0] = rounds;
    s->accepted_by_pos[0] = j->n - rounds;
    s->prompt_ns = first - j->arrived_ns;
    s->predicted_ns = now - first;
    s->seed = j->req->params.has_seed ? j->req->params.seed : 12345;
    s->drafter = "lookup";
}

static void job_end(struct engine *e, struct job *j, enum finish_reason reason, int error)
{
    struct request_output *o = &j->req->output;
    pthread_mutex_lock(&o->lock);
    if (!o->stop_text) /* what was held back is no stop string after all */
        buf_add(&o->text, j->held.data, j->held.len);
    fill_stats(j);
    o->error = error;
    snprintf(o->message, sizeof o->message, "%s", error ? specd_error_text(error) : "");
    o->finish = reason;
    pthread_mutex_unlock(&o->lock);
    j->gone = true;
    if (j->fd >= 0) {
        epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, j->fd, NULL);
        close(j->fd);
    }
    atomic_fetch_sub(&e->n_live, 1);
    atomic_fetch_add(error == SPECD_ECANCELED ? &e->n_cancelled : &e->n_finished, 1);
    j->req->on_output(j->req, j->req->on_output_arg);
}

static void end_all(struct engine *e, int error)
{
    for (struct job *j = e->jobs; j; j = j->next)
        if (!j->gone)
            job_end(e, j, FINISH_ERROR, error);
}

static void free_gone(struct engine *e)
{
    for (struct job **at = &e->jobs; *at;) {
        struct job *j = *at;
        if (!j->gone) {
            at = &j->next;
            continue;
        }
        *at = j->next;
        request_unref(j->req);
        buf_free(&j->held);
        buf_free(&j->told);
        free(j);
    }
}

/* ---- tokens */

static void add_text(struct job *j)
{
    if (j->say) {
        buf_add(&j->held, j->say + 3 * j->n, strnlen(j->say + 3 * j->n, 3));
    } else if (j->bytes > 0) {
        buf_reserve(&j->held, (size_t)j->bytes);
        memset(j->held.data + j->held.len, 'x', (size_t)j->bytes);
        j->held.len += (size_t)j->bytes;
    } else if (j->n % 7 == 6) {
        buf_add(&j->held, "\xc3\xa9", 2);
    } else if (j->n % 7 != 5) {
        buf_printf(&j->held, " w%d", j->n);
    }
}

/* How much of the held text may be shown; a stop string in it ends the text there. */
static size_t showable(const struct job *j, const char **stop)
{
    const struct request_params *p = &j->req->params;
    size_t show = j->held.len;
    *stop = NULL;
    for (int32_t i = 0; i < p->n_stops; i++) {
        size_t len = p->stop_lens[i];
        const char *hit = j->held.len ? memmem(j->held.data, j->held.len, p->stops[i], len) : NULL;
        if (hit) {
            *stop = p->stops[i];
            return (size_t)(hit - j->held.data) + (p->include_stop ? len : 0);
        }
        for (size_t n = MIN(len - 1, j->held.len); n > 0; n--) {
            if (memcmp(j->held.data + j->held.len - n, p->stops[i], n) == 0) {
                show = MIN(show, j->held.len - n);
                break;
            }
        }
    }
    return show;
}

static void grow_output(struct request_output *o, size_t n_logprobs)
{
    if (o->n_tokens < o->cap_tokens)
        return;
    o->cap_tokens = MAX(16, o->cap_tokens * 2);
    o->tokens = xrealloc(o->tokens, o->cap_tokens * sizeof *o->tokens);
    if (n_logprobs > 0)
        o->logprobs = xrealloc(o->logprobs, o->cap_tokens * n_logprobs * sizeof *o->logprobs);
}

/* One token into the output, whose lock is held. True when a stop string has come. */
static bool add_token(struct job *j, int at)
{
    struct request_output *o = &j->req->output;
    const char *stop;
    add_text(j);
    size_t show = showable(j, &stop);
    size_t n_logprobs = (size_t)(1 + j->req->params.n_logprobs);
    grow_output(o, n_logprobs);
    for (size_t k = 0; k < n_logprobs; k++)
        o->logprobs[o->n_tokens * n_logprobs + k] =
            (struct token_logprob){(j->n + (int32_t)k) % N_VOCAB, k > 0 ? -(float)k : -0.5f};
    o->tokens[o->n_tokens++] = (struct out_token){
        .id = j->n % N_VOCAB, .text_len = (uint32_t)show, .drafted = at > 0, .k = 4};
    if (show > 0)
        buf_add(&o->text, j->held.data, show);
    if (show > 0)
        memmove(j->held.data, j->held.data + show, j->held.len -= show);
    o->stop_text = stop;
    j->n++;
    return stop != NULL;
}

/* A round of one job: `burst` tokens, fewer at an end. */
static void job_round(struct engine *e, struct job *j)
{
    struct request_output *o = &j->req->output;
    bool stop = false;
    pthread_mutex_lock(&o->lock);
    bool stalled = j->req->stream && o->text.len - o->read_text > STALL_BYTES;
    for (int i = 0; i < j->burst && !stop && !stalled; i++) {
        if (j->n >= j->limit || j->n >= j->eos_after || j->n == j->fail_after ||
            j->n == j->crash_after)
            break;
        stop = add_token(j, i);
    }
    pthread_mutex_unlock(&o->lock);
    if (!j->first_ns)
        j->first_ns = clock_ns();
    j->next_ns = clock_ns() + (uint64_t)j->token_ms * MS;
    if (stalled)
        j->next_ns += 20 * MS;
    else if (j->n == j->crash_after)
        atomic_store(&e->exit_code, 70);
    else if (j->n == j->fail_after)
        job_end(e, j, FINISH_ERROR, SPECD_EDEVICE);
    else if (stop || (j->n >= j->eos_after && !j->req->params.ignore_eos))
        job_end(e, j, FINISH_STOP, 0);
    else if (j->n >= j->limit)
        job_end(e, j, FINISH_LENGTH, 0);
    else if (j->req->stream)
        j->req->on_output(j->req, j->req->on_output_arg);
}

static void job_turn(struct engine *e, struct job *j, uint64_t now, int *slots)
{
    if (atomic_load(&j->req->cancelled))
        job_end(e, j, FINISH_ERROR, SPECD_ECANCELED);
    else if (now >= j->deadline_ns)
        job_end(e, j, FINISH_ERROR, SPECD_ETIMEOUT);
    else if (j->numeric)
        job_end(e, j, FINISH_ERROR, SPECD_ENUMERIC);
    else if (prompt_tokens(j->req) >= (int32_t)e->info.n_ctx)
        job_end(e, j, FINISH_ERROR, SPECD_ECONTEXT);
    else if ((*slots)-- > 0 && now >= j->next_ns)
        job_round(e, j);
}

/* ---- the thread */

void engine_liveness(const struct engine *e, struct engine_liveness *out)
{
    *out = (struct engine_liveness){.iterated_ns = atomic_load(&e->iterated_ns),
                                    .round_ns = atomic_load(&e->round_ns)};
}

/* As a device that hangs would, and a loop that waits for it. */
static void hang(struct engine *e, struct job *j)
{
    atomic_store(&e->round_ns, clock_ns());
    usleep((useconds_t)j->hang_ms * 1000);
    atomic_store(&e->round_ns, 0);
    j->hang_ms = 0;
}

static void take_inbox(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    struct request *req = e->inbox, *next;
    e->inbox = NULL;
    e->inbox_tail = &e->inbox;
    pthread_mutex_unlock(&e->lock);
    for (; req; req = next) {
        next = req->next;
        job_start(e, req);
    }
}

static void poll_events(struct engine *e, int timeout_ms)
{
    struct epoll_event events[64];
    int n = epoll_wait(e->epoll_fd, events, 64, timeout_ms);
    for (int i = 0; i < n; i++) {
        struct job *j = events[i].data.ptr;
        uint64_t count;
        if (j) {
            atomic_fetch_add(&e->n_disconnects, 1);
            atomic_store(&j->req->cancelled, true);
            epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, j->fd, NULL);
        } else if (read(e->wake_fd, &count, sizeof count) < 0) {
            ASSERT(errno == EAGAIN);
        }
    }
}

static int next_timeout(const struct engine *e, uint64_t now)
{
    uint64_t at = now + 100 * MS;
    for (const struct job *j = e->jobs; j; j = j->next)
        at = MIN(at, MIN(j->next_ns, j->deadline_ns));
    return at <= now ? 0 : (int)((at - now + MS - 1) / MS);
}

static void check_drain(struct engine *e)
{
    int ms = atomic_load(&e->drain_ms);
    if (ms >= 0 && atomic_load(&e->state) == ENGINE_READY) {
        e->drain_deadline_ns = clock_ns() + (uint64_t)ms * MS;
        set_state(e, ENGINE_DRAINING);
    }
    if (atomic_load(&e->state) != ENGINE_DRAINING)
        return;
    if (clock_ns() >= e->drain_deadline_ns)
        end_all(e, SPECD_EDRAINING);
    free_gone(e);
    if (!e->jobs)
        set_state(e, ENGINE_STOPPED);
}

static void load(struct engine *e)
{
    const char *ms = getenv("FAKE_LOAD_MS");
    for (int left = ms ? atoi(ms) : 0; left > 0 && !atomic_load(&e->closing); left -= 10)
        usleep(10000);
    if (getenv("FAKE_LOAD_FAIL")) {
        atomic_store(&e->exit_code, 1);
        set_state(e, ENGINE_FAILED);
    } else {
        atomic_store(&e->iterated_ns, clock_ns());
        set_state(e, ENGINE_READY);
    }
}

static void *run(void *arg)
{
    struct engine *e = arg;
    pthread_setname_np(pthread_self(), "engine");
    load(e);
    while (!atomic_load(&e->closing)) {
        uint64_t now = clock_ns();
        atomic_store(&e->iterated_ns, now);
        int slots = e->config.n_slots;
        poll_events(e, next_timeout(e, now));
        take_inbox(e);
        now = clock_ns();
        for (struct job *j = e->jobs; j; j = j->next)
            if (j->hang_ms > 0)
                hang(e, j);
            else if (!j->gone)
                job_turn(e, j, now, &slots);
        free_gone(e);
        check_drain(e);
        if (atomic_load(&e->exit_code) == 70 && atomic_load(&e->state) != ENGINE_FAILED) {
            end_all(e, SPECD_EDEVICE);
            set_state(e, ENGINE_FAILED);
        }
    }
    take_inbox(e);
    end_all(e, SPECD_EDRAINING);
    free_gone(e);
    return NULL;
}

/* ---- engine.h */

int engine_open(struct engine **out, const struct engine_config *config, char *err, size_t errlen)
{
    struct engine *e = xcalloc(1, sizeof *e);
    struct epoll_event event = {.events = EPOLLIN};
    e->config = *config;
    e->info = (struct engine_info){.arch = "fake",
                                   .device = "none",
                                   .draft = "lookup",
                                   .modified = 1700000000,
                                   .n_vocab = N_VOCAB,
                                   .n_ctx = config->n_ctx ? (uint32_t)config->n_ctx : N_CTX,
                                   .n_ctx_train = N_CTX,
                                   .n_slots = config->n_slots,
                                   .block_tokens = SPECD_BLOCK_TOKENS};
    snprintf(e->info.model_id, sizeof e->info.model_id, "%s",
             config->alias ? config->alias : "fake");
    e->inbox_tail = &e->inbox;
    engine_limits(e, config->max_queue, config->request_timeout_ms);
    atomic_init(&e->drain_ms, -1);
    pthread_mutex_init(&e->lock, NULL);
    e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    e->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, e->wake_fd, &event);
    if (pthread_create(&e->thread, NULL, run, e) != 0)
        return fail(SPECD_EINTERNAL, err, errlen, "no thread");
    *out = e;
    return 0;
}

enum engine_state engine_state(const struct engine *e)
{
    return (enum engine_state)atomic_load(&e->state);
}

const char *engine_failure(const struct engine *e, int *exit_code)
{
    *exit_code = atomic_load(&e->exit_code);
    return "the fake engine was told to fail";
}

const struct engine_info *engine_info(const struct engine *e)
{
    enum engine_state state = engine_state(e);
    return state == ENGINE_LOADING || state == ENGINE_FAILED ? NULL : &e->info;
}

void engine_stats(const struct engine *e, struct engine_stats *out)
{
    *out = (struct engine_stats){.running = atomic_load(&e->n_live),
                                 .disconnects = atomic_load(&e->n_disconnects),
                                 .finished_cancelled = atomic_load(&e->n_cancelled),
                                 .finished_length = atomic_load(&e->n_finished)};
}

void engine_limits(struct engine *e, int max_queue, int request_timeout_ms)
{
    atomic_store(&e->max_queue, max_queue);
    atomic_store(&e->request_timeout_ms, request_timeout_ms);
}

int engine_submit(struct engine *e, struct request *req)
{
    enum engine_state state = engine_state(e);
    if (state != ENGINE_READY)
        return state == ENGINE_LOADING  ? SPECD_ELOADING
               : state == ENGINE_FAILED ? SPECD_EDEVICE
                                        : SPECD_EDRAINING;
    if (atomic_fetch_add(&e->n_live, 1) >= e->config.n_slots + atomic_load(&e->max_queue)) {
        atomic_fetch_sub(&e->n_live, 1);
        return SPECD_EBUSY;
    }
    request_ref(req);
    req->next = NULL;
    pthread_mutex_lock(&e->lock);
    *e->inbox_tail = req;
    e->inbox_tail = &req->next;
    pthread_mutex_unlock(&e->lock);
    wake(e);
    return 0;
}

void engine_cancel(struct engine *e, struct request *req)
{
    atomic_store(&req->cancelled, true);
    wake(e);
}

void engine_drain(struct engine *e, int deadline_ms)
{
    atomic_store(&e->drain_ms, deadline_ms);
    wake(e);
}

void engine_close(struct engine *e)
{
    atomic_store(&e->closing, true);
    wake(e);
    pthread_join(e->thread, NULL);
    close(e->epoll_fd);
    close(e->wake_fd);
    pthread_mutex_destroy(&e->lock);
    free(e);
}
