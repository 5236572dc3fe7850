/*
 * engine.c - the engine thread: a libuv loop whose every iteration is schedule -> round -> commit.
 * On a device that takes two rounds, the second is planned while the first runs, where it may be:
 * see scheduler.c.
 *
 * What wakes the loop: `wake` (the mailbox, a cancel, a hang-up, a prompt that is prepared, a
 * drain, a close), `done` (the device finished the round), and a timer. Each ends in iterate(), the
 * one place where work is decided, and where what has ended leaves the engine.
 */
#include "engine_impl.h"
#include "drafters/lookup_pool.h"
#include "round.h"

#include <stdio.h>
#include <stdlib.h>

#define TIMER_MS 50 /* deadlines and lagging readers are looked at this often */

void engine_config_init(struct engine_config *config)
{
    *config = (struct engine_config){
        .device_index = -1,
        .n_slots = 16,
        .max_rows = 512,
        .draft_max = MIN(DRAFT_MAX_MODEL, SPECD_K_MAX),
        .draft_max_host = MIN(DRAFT_MAX_HOST, SPECD_K_MAX),
        .draft_fixed = -1,
        .max_queue = 256,
        .request_timeout_ms = 600 * 1000,
        .synthetic_acceptance = -1.0f,
    };
}

static void set_state(struct engine *e, enum engine_state state)
{
    atomic_store(&e->state, (int)state);
    if (e->config.on_state)
        e->config.on_state(e->config.on_state_arg);
}

static void set_failure(struct engine *e, int exit_code, const char *why)
{
    snprintf(e->failure, sizeof e->failure, "%s", why);
    e->exit_code = exit_code;
    set_state(e, ENGINE_FAILED);
}

/* ---- ends ------------------------------------------------------------------------------------ */

/* Takes ended sequences out of the engine, tells their readers, and frees them; those that the
 * thread pool still works on are freed when it comes back (entry.c). */
static void sweep(struct engine *e)
{
    struct seq *next;
    for (struct seq *s = e->sched.first; s; s = next) {
        next = s->next;
        if (s->state != SEQ_DONE)
            continue;
        struct request *req = s->req;
        watch_stop(s);
        sched_remove(&e->sched, s);
        if (s->pool && req->output.finish != FINISH_ERROR)
            lookup_pool_add(s->pool, s->tokens + s->n_prompt, s->len - s->n_prompt);
        sched_release_choices(&e->sched, s);
        seq_count_stalled(e, s, false);
        atomic_fetch_sub(&e->n_live, 1);
        req->on_output(req, req->on_output_arg);
        if (!s->preparing_on_pool)
            seq_free(s);
    }
}

static void end_all(struct engine *e, int error)
{
    for (struct seq *s = e->sched.first; s; s = s->next) {
        if (s->state != SEQ_DONE)
            seq_finish(e, s, FINISH_ERROR, error, NULL);
    }
    sweep(e);
}

static void device_failed(struct engine *e)
{
    sched_retire(&e->sched, e->sched.flight.submitted); /* no more will come of these */
    log_error("the device failed: every live request ends");
    end_all(e, SPECD_EDEVICE);
    set_failure(e, 70, "device fault");
    uv_async_send(&e->wake); /* a close may be waiting for the end of this round */
}

/* Ends what was cancelled or is out of time, and lets readers that caught up back in. */
static void reap(struct engine *e, uint64_t now)
{
    bool draining = atomic_load(&e->state) == ENGINE_DRAINING;
    bool expired = draining && now >= e->drain_deadline_ns;
    for (struct seq *s = e->sched.first; s; s = s->next) {
        if (s->state == SEQ_DONE)
            continue;
        if (atomic_load(&s->req->cancelled))
            seq_finish(e, s, FINISH_ERROR, SPECD_ECANCELED, NULL);
        else if (expired)
            seq_finish(e, s, FINISH_ERROR, SPECD_EDRAINING, NULL);
        else if (now >= s->t_deadline)
            seq_finish(e, s, FINISH_ERROR, SPECD_ETIMEOUT, NULL);
        else if (s->state == SEQ_STALLED && seq_reader_drained(s)) {
            seq_count_stalled(e, s, false);
            sched_ready(&e->sched, s);
        }
    }
}

/* What the text must be and what may be drawn contradict each other. */
static void end_stuck(struct engine *e)
{
    for (struct seq *s = e->sched.first; s; s = s->next) {
        if (s->state == SEQ_DONE || !s->constraint || !constraint_is_stuck(s->constraint))
            continue;
        char why[128];
        snprintf(why, sizeof why, "%s: no token that is allowed %s", s->req->format.field,
                 s->stats.n_generated == 0 ? "begins such a text" : "may follow the text so far");
        seq_finish(e, s, FINISH_ERROR, SPECD_EINVAL, why);
    }
}

/* ---- an iteration ---------------------------------------------------------------------------- */

static int send_slot(struct engine *e, struct seq *s)
{
    int rc = 0;
    if (s->slot_is_new) {
        struct slot_config config = {
            .params = s->params,
            .tokens = s->tokens,
            .n_tokens = s->len,
            .n_prompt = s->n_prompt,
            .limit = s->limit,
            .rows = {s->cached_target_len, s->cached_draft_len},
            .round = s->round,
        };
        config.params.draft_ids = draft_vocab_of(&e->draft_vocab, s->tokens, s->n_prompt);
        rc = e->ops->slot_set(e->dev, s->slot, &config);
        s->slot_is_new = false;
    }
    if (rc == 0 && s->n_blocks > s->n_blocks_sent)
        rc = e->ops->slot_blocks(e->dev, s->slot, s->n_blocks_sent, s->n_blocks - s->n_blocks_sent,
                                 s->blocks + s->n_blocks_sent);
    s->n_blocks_sent = s->n_blocks;
    int32_t entries = blocks_for(e->setup.n_ctx);
    s->window_sent = MAX(s->window_sent, s->window_first);
    for (; rc == 0 && kv_n_windows(e->kv) > 0 && s->window_sent < s->window_end; s->window_sent++) {
        int32_t id = kv_window_id(e->kv, s->blocks[s->window_sent]);
        rc = e->ops->slot_blocks(e->dev, s->slot, entries + s->window_sent, 1, &id);
    }
    return rc;
}

static int start_round(struct engine *e, bool follows)
{
    for (int32_t i = 0; i < e->sched.n_slots; i++) {
        struct seq *s = e->sched.slots[i];
        int rc = s ? send_slot(e, s) : 0;
        if (rc != 0)
            return rc;
    }
    struct round_times *t = &e->times[e->sched.flight.submitted & 1];
    *t = (struct round_times){.submitted_ns = clock_ns(), .follows = follows};
    for (int32_t i = 0; i < e->round.n_seqs; i++)
        t->by_model[e->round.seqs[i].slot] = e->round.seqs[i].source == DRAFT_FROM_MODEL;
    for (int32_t i = 0; i < e->round.n_chunks; i++) {
        const struct round_chunk *c = &e->round.chunks[i];
        if (c->role == MODEL_DRAFT)
            t->fill[c->slot] = c->n;
    }
    return round_submit(e->ops, e->dev, &e->round);
}

/* Once a close is asked for, rounds in flight are the last. */
static bool serving(const struct engine *e)
{
    int state = atomic_load(&e->state);
    return (state == ENGINE_READY || state == ENGINE_DRAINING) && !atomic_load(&e->close_requested);
}

/* Decides and starts work, as far as rounds in flight allow. after_round: a round has just ended,
 * so that the device waits for it. */
static void iterate(struct engine *e, bool after_round)
{
    const struct flight *f = &e->sched.flight;
    uint64_t now = clock_ns();
    bool may_plan = flight_count(f) < e->device_info.rounds_in_flight && serving(e);
    stats_liveness(e);
    if (may_plan)
        reap(e, now);
    sweep(e); /* before the plan: what they held is free for it */
    if (!may_plan)
        return;
    constraint_tables_renew(&e->constraints);
    while (flight_count(f) < e->device_info.rounds_in_flight) {
        bool follows = after_round || flight_count(f) > 0;
        if (!sched_plan(&e->sched, &e->round, now))
            break;
        if (start_round(e, follows) != 0) {
            device_failed(e);
            return;
        }
    }
    end_stuck(e);
    sweep(e);
#ifdef SPECD_CHECKS
    ASSERT(sched_is_valid(&e->sched));
#endif
    e->stats.host_ns += clock_ns() - e->iteration_began_ns;
    stats_publish(e);
    stats_liveness(e);
    if (atomic_load(&e->state) == ENGINE_DRAINING && !e->sched.first)
        set_state(e, ENGINE_STOPPED);
}

/* ---- wake, timer, drain, close --------------------------------------------------------------- */

static void refuse_inbox(struct engine *e, int error)
{
    struct request *next;
    for (struct request *req = mailbox_take(&e->inbox); req; req = next) {
        next = req->next;
        pthread_mutex_lock(&req->output.lock);
        req->output.error = error;
        snprintf(req->output.message, sizeof req->output.message, "%s", specd_error_text(error));
        req->output.finish = FINISH_ERROR;
        pthread_mutex_unlock(&req->output.lock);
        atomic_fetch_sub(&e->n_live, 1);
        req->on_output(req, req->on_output_arg);
        request_unref(req);
    }
}

static void close_handles(struct engine *e)
{
    end_all(e, SPECD_EDRAINING);
    refuse_inbox(e, SPECD_EDRAINING);
    uv_close((uv_handle_t *)&e->timer, NULL);
    uv_close((uv_handle_t *)&e->wake, NULL);
    uv_close((uv_handle_t *)&e->done, NULL);
}

static void take_inbox(struct engine *e)
{
    struct request *next;
    for (struct request *req = mailbox_take(&e->inbox); req; req = next) {
        next = req->next;
        entry_begin(e, req);
    }
}

static void begin_drain(struct engine *e)
{
    e->drain_deadline_ns = clock_ns() + (uint64_t)atomic_load(&e->drain_ms) * 1000000u;
    if (atomic_load(&e->state) == ENGINE_READY)
        set_state(e, ENGINE_DRAINING);
}

/* What the slot's sequence did in a round, without the tokens. Results are not committed yet, so
 * that one that took part still has its part, unless it has left the slot since. */
static struct draft_outcome outcome_of(const struct engine *e, uint64_t number, int32_t slot)
{
    struct draft_outcome o = {.fill = e->times[number & 1].fill[slot]};
    struct seq *s = e->sched.slots[slot];
    const struct round_part *part = s ? flight_part(s, number) : NULL;
    if (part) {
        o.state = &s->draft_state;
        o.k_given = s->k_fixed >= 0 || s->k_min > 0;
        o.probe = part->probe;
    }
    return o;
}

/* What the round says of times and of what drafting brings. */
static void learn_round(struct engine *e, uint64_t number)
{
    const struct round_result *r = &e->result;
    const struct round_times *times = &e->times[number & 1];
    struct draft_outcome outcomes[2 * SPECD_SLOTS_MAX];
    bool listed[SPECD_SLOTS_MAX] = {false};
    int32_t n = 0;
    for (int32_t i = 0; i < r->n_seqs; i++) {
        const struct seq_result *q = &r->seqs[i];
        struct draft_outcome *o = &outcomes[n++];
        *o = outcome_of(e, number, q->slot);
        listed[q->slot] = true;
        if (q->n_tokens == 0 && !(q->flags & SEQ_NUMERIC))
            continue;
        o->decoded = true;
        o->k = q->n_drafted;
        o->accepted = q->n_accepted;
        o->model = times->by_model[q->slot] && q->n_drafted > 0;
    }
    for (int32_t slot = 0; slot < e->sched.n_slots; slot++) {
        if (times->fill[slot] > 0 && !listed[slot])
            outcomes[n++] = outcome_of(e, number, slot);
    }
    struct draft_times t = {
        .verify_ns = (double)r->verify_ns,
        .step_ns = (double)r->draft_ns,
        .fill_ns = (double)r->draft_prompt_ns,
        .sample_ns = (double)r->sample_ns,
    };
    draft_len_learn(e->drafts, outcomes, n, &t);
}

/* What of the round's time is the host's. With one round in flight that is all but the device's, up
 * to the submission of the next; with two, host and device work side by side, and only what the
 * device had to wait counts. */
static double host_ns(const struct engine *e, const struct round_times *t, uint64_t collected_ns)
{
    const struct round_result *r = &e->result;
    if (e->device_info.rounds_in_flight > 1)
        return t->follows ? (double)r->idle_ns : -1;
    return (double)(collected_ns - t->submitted_ns) -
           (double)(r->prompt_ns + r->draft_ns + r->verify_ns + r->sample_ns) +
           (double)(clock_ns() - collected_ns);
}

/* Collects rounds that are done, in order, and commits them. Times of the last one in *times.
 * Returns how many, or negative when the device has failed. */
static int collect_rounds(struct engine *e, struct round_times *times)
{
    int rc, n = 0;
    while (flight_count(&e->sched.flight) > 0 && (rc = e->ops->poll(e->dev)) != 0) {
        uint64_t number = e->sched.flight.retired + 1;
        uint64_t now = clock_ns();
        if (rc < 0 || e->ops->collect(e->dev, &e->result) != 0)
            return SPECD_EDEVICE;
        *times = e->times[number & 1];
        e->round_began_ns = MAX(times->submitted_ns, e->collected_ns);
        e->collected_ns = now;
        stats_took(e, now - e->round_began_ns);
        learn_round(e, number);
        sched_retire(&e->sched, number);
        commit_round(e, number);
        n++;
    }
    return n;
}

static void on_done(uv_async_t *handle)
{
    struct engine *e = handle->data;
    struct round_times times;
    e->iteration_began_ns = clock_ns();
    int n = collect_rounds(e, &times);
    if (n == 0)
        return;
    if (n < 0) {
        device_failed(e);
        return;
    }
    if (atomic_load(&e->close_requested)) {
        if (flight_count(&e->sched.flight) == 0)
            close_handles(e);
        return;
    }
    uint64_t collected_ns = e->collected_ns;
    iterate(e, true);
    pass_cost_learn_host(&e->drafts->cost, host_ns(e, &times, collected_ns));
}

static void on_wake(uv_async_t *handle)
{
    struct engine *e = handle->data;
    e->iteration_began_ns = clock_ns();
    if (atomic_load(&e->close_requested)) {
        bool busy = flight_count(&e->sched.flight) > 0 || atomic_load(&e->state) == ENGINE_LOADING;
        if (!busy && !uv_is_closing((uv_handle_t *)&e->wake))
            close_handles(e); /* else the end of the round, or of loading, comes back to this */
        return;
    }
    if (atomic_load(&e->state) == ENGINE_FAILED)
        refuse_inbox(e, SPECD_EDEVICE);
    if (atomic_load(&e->state) == ENGINE_STOPPED)
        refuse_inbox(e, SPECD_EDRAINING); /* submitted while the last one ended */
    if (!serving(e))
        return;
    take_inbox(e);
    if (atomic_exchange(&e->drain_requested, false))
        begin_drain(e);
    iterate(e, false);
}

static void on_timer(uv_timer_t *timer)
{
    struct engine *e = timer->data;
    e->iteration_began_ns = clock_ns();
    iterate(e, false);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void nothing(uv_work_t *work)
{
    (void)work;
}

static void engine_main(void *arg)
{
    struct engine *e = arg;
    char err[512] = "";
    uv_work_t first;
    pthread_setname_np(pthread_self(), "engine");
    /* The first work starts the pool's threads, and libuv ends the process where it can't. */
    uv_queue_work(&e->loop, &first, nothing, NULL);
    if (engine_load(e, err, sizeof err) != 0) {
        set_failure(e, 1, err);
    } else {
        stats_publish(e);
        stats_liveness(e);
        uv_timer_start(&e->timer, on_timer, TIMER_MS, TIMER_MS);
        set_state(e, ENGINE_READY);
    }
    uv_async_send(&e->wake); /* a drain or close may have come meanwhile */
    uv_run(&e->loop, UV_RUN_DEFAULT);
    engine_unload(e);
}

static int open_loop(struct engine *e)
{
    int rc = uv_loop_init(&e->loop);
    if (rc == 0)
        rc = uv_async_init(&e->loop, &e->wake, on_wake);
    if (rc == 0)
        rc = uv_async_init(&e->loop, &e->done, on_done);
    if (rc == 0)
        rc = uv_timer_init(&e->loop, &e->timer);
    e->wake.data = e->done.data = e->timer.data = e;
    return rc;
}

int engine_open(struct engine **out, const struct engine_config *config, char *err, size_t errlen)
{
    struct engine *e = xcalloc(1, sizeof *e);
    e->config = *config;
    e->ops = config->device;
    mailbox_init(&e->inbox);
    atomic_init(&e->state, ENGINE_LOADING);
    engine_limits(e, config->max_queue, config->request_timeout_ms);
    pthread_mutex_init(&e->lock, NULL);
    int rc = open_loop(e);
    if (rc == 0)
        rc = uv_thread_create(&e->thread, engine_main, e);
    if (rc != 0) {
        free(e);
        return fail(SPECD_EINTERNAL, err, errlen, "engine loop: %s", uv_strerror(rc));
    }
    *out = e;
    return 0;
}

enum engine_state engine_state(const struct engine *e)
{
    return (enum engine_state)atomic_load(&e->state);
}

const char *engine_failure(const struct engine *e, int *exit_code)
{
    *exit_code = e->exit_code;
    return e->failure;
}

const struct engine_info *engine_info(const struct engine *e)
{
    int state = atomic_load(&e->state);
    return state == ENGINE_LOADING || state == ENGINE_FAILED ? NULL : &e->info;
}

const char *engine_token_bytes(const struct engine *e, int32_t id, size_t *len)
{
    return tokenizer_piece(e->tokenizer, id, true, len);
}

void engine_limits(struct engine *e, int max_queue, int request_timeout_ms)
{
    atomic_store(&e->max_queue, max_queue);
    atomic_store(&e->request_timeout_ms, request_timeout_ms);
}

int engine_submit(struct engine *e, struct request *req)
{
    int state = atomic_load(&e->state);
    if (state != ENGINE_READY)
        return state == ENGINE_LOADING  ? SPECD_ELOADING
               : state == ENGINE_FAILED ? SPECD_EDEVICE
                                        : SPECD_EDRAINING;
    int live = atomic_fetch_add(&e->n_live, 1);
    if (live - atomic_load(&e->n_stalled) >= e->config.n_slots + atomic_load(&e->max_queue)) {
        atomic_fetch_sub(&e->n_live, 1);
        return SPECD_EBUSY;
    }
    request_ref(req);
    mailbox_put(&e->inbox, req);
    uv_async_send(&e->wake);
    return 0;
}

void engine_cancel(struct engine *e, struct request *req)
{
    atomic_store(&req->cancelled, true);
    uv_async_send(&e->wake);
}

void engine_drain(struct engine *e, int deadline_ms)
{
    atomic_store(&e->drain_ms, deadline_ms);
    atomic_store(&e->drain_requested, true);
    uv_async_send(&e->wake);
}

void engine_close(struct engine *e)
{
    if (!e)
        return;
    atomic_store(&e->close_requested, true);
    uv_async_send(&e->wake);
    uv_thread_join(&e->thread);
    refuse_inbox(e, SPECD_EDRAINING); /* submitted between close_handles and here */
    uv_loop_close(&e->loop);
    pthread_mutex_destroy(&e->lock);
    free(e);
}
