#include "answer.h"

#include "jobs.h"
#include "specd/json_write.h"
#include "http.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

/* Of an answer in memory, which grows by doubling: a token with its text, and a log-probability. */
#define TOKEN_BYTES 32
#define ENTRY_BYTES 16
#define REPEATED 4       /* what an answer repeats: kept, and in so many events at once */
#define DIALECT_BYTES 64 /* likewise, of what a format keeps of them as JSON */
#define STOP_BYTES 5     /* of a stop string, a byte of it: with four for the search */
#define SCHEMA_WORK 8    /* a byte of a schema takes as long to prepare as so many of a prompt */

static void answer_free(void *work)
{
    struct answer *a = work;
    for (int i = 0; i < a->n_choices; i++) {
        request_unref(a->choices[i].req);
        part_reader_free(a->choices[i].parts);
    }
    free(a->choices);
    if (a->format->free_dialect)
        a->format->free_dialect(a->dialect);
    tool_output_free(&a->found);
    call_free(&a->call);
    buf_free(&a->head);
    buf_free(&a->text);
    pieces_free(&a->pieces);
    free(a);
}

static void random_id(char *out, size_t cap, const char *prefix)
{
    uint64_t r[2] = {0};
    ssize_t got = getrandom(r, sizeof r, 0); /* 16 bytes never come short */
    (void)got;
    snprintf(out, cap, "%s%016llx%08llx", prefix, (unsigned long long)r[0],
             (unsigned long long)(r[1] & 0xffffffff));
}

/* ---- what the engine has to say */

static bool is_finished(struct request *req, int *error)
{
    struct request_output *o = &req->output;
    pthread_mutex_lock(&o->lock);
    bool finished = o->finish != FINISH_NONE;
    *error = o->finish == FINISH_ERROR ? o->error : 0;
    pthread_mutex_unlock(&o->lock);
    return finished;
}

bool choice_has_output(const struct choice *c)
{
    struct request_output *o = &c->req->output;
    if (c->finish_sent)
        return false;
    pthread_mutex_lock(&o->lock);
    bool has = o->n_tokens > o->read_tokens || o->finish != FINISH_NONE;
    pthread_mutex_unlock(&o->lock);
    return has;
}

/* Engine thread. The report after the end is the last one: it returns the exchange. */
static void on_output(struct request *req, void *arg)
{
    struct choice *c = arg;
    struct exchange *ex = c->answer->exchange;
    int error;
    bool finished = is_finished(req, &error);
    exchange_wake(ex);
    if (finished && !c->ended) {
        c->ended = true;
        exchange_unref(ex);
    }
}

struct engine *answer_engine(const struct answer *a)
{
    return atomic_load(&a->exchange->server->engine);
}

bool answer_error(struct answer *a, struct api_error *e)
{
    for (int i = 0; i < a->n_choices; i++) {
        struct request *req = a->choices[i].req;
        int error;
        if (!is_finished(req, &error) || error == 0)
            continue;
        const char *why = req->output.message; /* immutable once finished */
        api_fail(e, error, NULL, "%s", why[0] ? why : specd_error_text(error));
        api_name_field(e);
        grammar_tools_name(&a->call.grammar, e);
        return true;
    }
    return false;
}

void answer_cancel(struct answer *a)
{
    struct engine *engine = answer_engine(a);
    int error;
    for (int i = 0; i < a->n_choices; i++)
        if (a->choices[i].submitted && !is_finished(a->choices[i].req, &error))
            engine_cancel(engine, a->choices[i].req);
}

/* Also the way in which the other choices end when one of them failed. */
static void answer_abandon(void *work)
{
    answer_cancel(work);
}

/* Of a request that was cut off, what there is. */
static void answer_tally(void *work, struct tally *out)
{
    struct answer *a = work;
    out->generates = a->n_choices > 0;
    for (int i = 0; i < a->n_choices; i++) {
        const struct choice *c = &a->choices[i];
        struct request_output *o = &c->req->output;
        uint64_t first_ns = c->first_ns;
        pthread_mutex_lock(&o->lock);
        out->prompt_tokens += c->shares_prompt ? 0 : o->stats.n_prompt;
        out->generated_tokens += (int64_t)o->n_tokens;
        for (size_t t = 0; t < o->n_tokens; t++)
            out->accepted_tokens += o->tokens[t].drafted;
        if (first_ns == 0 && o->finish != FINISH_NONE && o->n_tokens > 0) /* not streamed */
            first_ns = a->submitted_ns + o->stats.queued_ns + o->stats.prompt_ns;
        pthread_mutex_unlock(&o->lock);
        if (first_ns != 0 && (out->first_ns == 0 || first_ns < out->first_ns))
            out->first_ns = first_ns;
    }
}

/* ---- until there is something to send */

/* Under the exchange's lock: is there something to do? */
static bool is_ready(void *arg)
{
    struct answer *a = arg;
    int n_finished = 0;
    for (int i = 0; i < a->n_choices; i++) {
        int error;
        if (a->call.stream && choice_has_output(&a->choices[i]))
            return true;
        n_finished += is_finished(a->choices[i].req, &error);
        if (error != 0)
            return true;
    }
    return n_finished == a->n_choices;
}

/* ---- an answer in one piece */

/* What a finished request holds until its answer is read. */
static size_t bytes_held(const struct answer *a)
{
    size_t bytes = 0;
    for (int i = 0; i < a->n_choices; i++) {
        const struct request *req = a->choices[i].req;
        const struct request_output *o = &req->output;
        size_t tokens = o->cap_tokens + (size_t)o->echo.n_tokens;
        bytes += o->text.cap + o->echo.text.cap + tokens * sizeof *o->tokens +
                 tokens * (size_t)(1 + req->params.n_logprobs) * sizeof *o->logprobs;
    }
    return bytes;
}

static bool write_piece(void *arg, struct buf *out)
{
    struct answer *a = arg;
    struct whole_at *at = &a->whole;
    while (at->choice < a->n_choices) {
        if (out->len >= PIECE_BYTES)
            return false;
        if (!a->format->parts[at->part](&a->choices[at->choice], at, out))
            continue;
        *at = (struct whole_at){.choice = at->choice, .part = at->part + 1};
        if (a->format->parts[at->part])
            continue;
        *at = (struct whole_at){.choice = at->choice + 1};
        if (at->choice < a->n_choices)
            json_lit(out, ",");
    }
    if (a->format->end)
        a->format->end(a, out);
    return true;
}

static enum MHD_Result respond_whole(struct answer *a)
{
    size_t held = bytes_held(a);
    if (held < a->charged) {
        clients_return(a->exchange, a->charged - held);
        a->charged = held;
    }
    for (int i = 0; i < a->n_choices; i++)
        choice_begin(&a->choices[i]);
    a->pieces.next = write_piece;
    a->pieces.arg = a;
    if (a->format->begin)
        a->format->begin(a, &a->pieces.out);
    return respond_pieces(a->exchange, &a->pieces);
}

/* ---- until there is something to say */

static uint64_t headers_due(const struct answer *a)
{
    return a->submitted_ns + (uint64_t)atomic_load(&a->exchange->server->limits.ping_ms) * 1000000;
}

static enum MHD_Result answer_resume(struct exchange *ex)
{
    struct answer *a = ex->work;
    struct api_error e;
    bool streaming = a->call.stream, late = streaming && clock_ns() >= headers_due(a);
    enum wait_result waited = WAIT_READY;
    if (!late)
        waited = exchange_wait(ex, streaming ? headers_due(a) : 0, is_ready, a);
    if (waited == WAIT_SUSPENDED)
        return MHD_YES;
    if (waited == WAIT_STOPPING)
        return respond_code(ex, SPECD_EDRAINING);
    if (answer_error(a, &e))
        return respond_error(ex, &e);
    return streaming ? stream_start(a) : respond_whole(a);
}

/* ---- beginning */

/* A key's name for the engine is never part of what a client sends, so no salt is another key's. */
static void salt_by_key(const struct exchange *ex, struct request *req)
{
    struct buf salt = {0};
    buf_printf(&salt, "%016llx%s", (unsigned long long)ex->client->id,
               req->cache_salt ? req->cache_salt : "");
    free(req->cache_salt);
    req->cache_salt = buf_take(&salt);
}

static int submit(struct answer *a, struct choice *c)
{
    struct exchange *ex = a->exchange;
    struct request *req = c->req;
    req->client_fd = fcntl(ex->connection->fd, F_DUPFD_CLOEXEC, 0);
    if (req->client_fd < 0) /* without it a client's going away would not be noticed */
        return errno == EMFILE || errno == ENFILE ? SPECD_EFILES : SPECD_EINTERNAL;
    req->client = ex->client->id;
    if (!(ex->key_marks & KEY_PRIORITY))
        req->priority = 0;
    if (ex->server->config->salt_by_key)
        salt_by_key(ex, req);
    req->work = ex->received * (req->format.json ? SCHEMA_WORK : 1);
    req->on_output = on_output;
    req->on_output_arg = c;
    exchange_ref(ex);
    int rc = engine_submit(answer_engine(a), req);
    c->submitted = rc == 0;
    if (rc < 0)
        exchange_unref(ex);
    return rc;
}

static int submit_all(struct answer *a)
{
    a->submitted_ns = clock_ns();
    for (int i = 0; i < a->n_choices; i++) {
        int rc = submit(a, &a->choices[i]);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void write_head(struct answer *a)
{
    struct buf *b = &a->head;
    json_lit(b, "{\"id\":");
    json_cstr(b, a->id);
    json_lit(b, ",\"object\":");
    json_cstr(b, a->call.stream ? a->format->chunk_object : a->format->object);
    buf_printf(b, ",\"created\":%lld,\"model\":", (long long)a->created);
    json_cstr(b, a->call.info->model_id);
    json_lit(b, ",\"system_fingerprint\":\"specd-" SPECD_VERSION "\"");
}

static void make_choices(struct answer *a)
{
    int n = a->call.n;
    a->n_choices = (int)a->call.n_prompts * n;
    a->choices = xcalloc((size_t)a->n_choices, sizeof *a->choices);
    for (int i = 0; i < a->n_choices; i++) {
        struct choice *c = &a->choices[i];
        *c = (struct choice){.answer = a, .index = i, .shares_prompt = i % n > 0};
        c->req = call_request(&a->call, (size_t)(i / n), i % n);
        snprintf(c->req->id, sizeof c->req->id, "%s", a->id);
        if (call_is_chat(&a->call))
            c->parts = part_reader_new(call_wants_tools(&a->call) ? &a->call.offer : NULL,
                                       !a->call.parallel_tools);
        if (c->shares_prompt) {
            c->req->parent = a->choices[i - i % n].req;
            request_ref(c->req->parent);
        }
    }
}

/* More than the server can ever hold is the client's mistake, not a full queue. */
static int check_size(const struct answer *a, struct api_error *e)
{
    int most = clients_queue_most(a->exchange);
    int n = (int)a->call.n_prompts * a->call.n;
    if (n <= most)
        return 0;
    const char *param = a->call.n > 1 ? "n" : "prompt";
    return api_fail(e, SPECD_EINVAL, param,
                    "'%s': %d completions in one call, and a client may have at most %d", param, n,
                    most);
}

static const struct work_type answer_work = {answer_resume, answer_abandon, answer_free,
                                             answer_tally};

static struct answer *answer_new(struct exchange *ex, const struct api_format *format)
{
    struct answer *a = xcalloc(1, sizeof *a);
    a->exchange = ex;
    a->format = format;
    a->created = (int64_t)time(NULL);
    random_id(a->id, sizeof a->id, format->id_prefix);
    return a;
}

/* From the body to requests that can be submitted. Any thread: what it reads does not change. */
static int prepare(struct answer *a, const struct buf *body, struct api_error *e)
{
    const struct engine_info *info = engine_info(answer_engine(a));
    memory_ran_short();
    const char *required = a->format->required;
    int rc = call_parse(&a->call, a->format->route, info, body->data, body->len, e);
    if (rc == 0 && required && json_type(json_get(a->call.doc, required)) == JSON_NULL)
        rc = api_fail(e, SPECD_EINVAL, required, "%s: Field required", required);
    if (rc == 0)
        rc = check_size(a, e);
    if (rc == 0) {
        make_choices(a);
        if (a->format->object)
            write_head(a);
    }
    call_drop_document(&a->call);
    return api_memory(rc, e);
}

/* What the answer may hold at most, about: tokens and their text, log-probabilities with theirs. */
static size_t bytes_at_most(const struct answer *a)
{
    uint64_t bytes = 0, n_ctx = a->call.info->n_ctx;
    bytes += REPEATED * a->call.repeats.len;
    for (int i = 0; i < a->n_choices; i++) {
        const struct request *req = a->choices[i].req;
        const struct request_params *p = &req->params;
        uint64_t tokens = p->max_tokens >= 0 ? (uint64_t)p->max_tokens : n_ctx;
        if (p->echo)
            tokens += req->kind == PROMPT_TOKENS ? req->n_prompt_ids : req->prompt_len;
        for (int32_t s = 0; s < p->n_stops; s++)
            bytes += STOP_BYTES * p->stop_lens[s];
        uint64_t n_entries = (uint64_t)(1 + p->n_logprobs);
        bytes += MIN(tokens, n_ctx) * (TOKEN_BYTES + ENTRY_BYTES * n_entries);
        if (a->format->free_dialect)
            bytes += MIN(tokens, n_ctx) * DIALECT_BYTES * (1 + n_entries);
    }
    return (size_t)bytes;
}

/* HTTP thread. Counts what the answer may hold; 0, or the error. */
static int charge(struct answer *a, struct api_error *e)
{
    struct exchange *ex = a->exchange;
    size_t bytes = bytes_at_most(a);
    if (clients_charge(ex, bytes)) {
        a->charged = bytes;
        return 0;
    }
    if (bytes <= clients_share(ex))
        return api_fail(e, SPECD_EBUSY, NULL,
                        "requests of this client hold too much memory: try again later");
    return api_fail(e, SPECD_EINVAL, a->call.n > 1 ? "n" : "max_tokens",
                    "'%s': the answer may take %zu MiB, and a client gets %zu (--request-memory)",
                    a->call.n > 1 ? "n" : "max_tokens", bytes >> 20, clients_share(ex) >> 20);
}

/* HTTP thread. From here on a is the work of its exchange. */
static enum MHD_Result begin(struct answer *a, int rc, struct api_error *e)
{
    struct exchange *ex = a->exchange;
    ex->work = a;
    ex->work_type = &answer_work;
    if (rc == 0)
        rc = charge(a, e);
    if (rc == 0 && !clients_queue(ex, a->n_choices))
        rc = api_fail(e, SPECD_EBUSY, NULL,
                      "requests of this client fill its part of the queue: try again later");
    if (rc < 0)
        return respond_error(ex, e);
    rc = submit_all(a);
    return rc < 0 ? respond_code(ex, rc) : answer_resume(ex);
}

/* ---- a large body: it takes up to a tenth of a second, in which every other client would wait */

#define BODY_AT_ONCE (64 * 1024)

static int prepare_job(struct job *job)
{
    int rc = prepare(job->arg, &job->in, &job->error);
    buf_free(&job->in);
    return rc;
}

static enum MHD_Result begin_job(struct job *job)
{
    struct api_error e = job->error;
    int rc = job->rc;
    return begin(job_finish(job), rc, &e);
}

enum MHD_Result answer_start(struct exchange *ex, const struct api_format *format)
{
    struct engine *engine = atomic_load(&ex->server->engine);
    struct api_error e;
    if (!engine || !engine_info(engine))
        return respond_code(ex, SPECD_ELOADING);
    if (server_state(ex->server) == ENGINE_DRAINING)
        return respond_code(ex, SPECD_EDRAINING);
    struct answer *a = answer_new(ex, format);
    if (ex->body.len > BODY_AT_ONCE)
        return job_start(
            ex, &(struct job){
                    .run = prepare_job, .then = begin_job, .free_arg = answer_free, .arg = a});
    int rc = prepare(a, &ex->body, &e);
    exchange_drop_body(ex);
    return begin(a, rc, &e);
}
