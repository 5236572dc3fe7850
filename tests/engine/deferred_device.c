#include "deferred_device.h"

#include "round.h"
#include "specd/util.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS_MAX 2

/* A slot_set or slot_blocks that waits for its turn. */
struct change {
    struct change *next;
    int32_t slot, first, n;
    int32_t *ids;               /* blocks; NULL: a slot_set */
    struct slot_config *config; /* its arrays are copies */
};

/* From begin to the begin after its collection. */
struct work {
    struct work *next;
    struct change *changes;
    struct round round;
    struct round_result result;
    struct token_logprob *logprobs[SPECD_SLOTS_MAX + SPECD_SCORE_ROWS];
    int n_logprobs;
    /* for the judge: block tables as of its submission, of the slots it names */
    struct {
        int32_t *ids;
        int32_t n;
    } tables[SPECD_SLOTS_MAX];
};

struct device {
    struct device *inner;
    void (*on_done)(void *arg);
    void *on_done_arg;
    int depth;
    uint32_t n_vocab;
    int32_t n_entries; /* of a slot's table, but for layers with windows */

    /* engine thread */
    struct change *staged, **staged_end;
    struct work *recording, *collected;
    int n_in_flight;
    struct work *in_flight[ROUNDS_MAX];
    int32_t *table[SPECD_SLOTS_MAX]; /* blocks given to the slot */
    int32_t n_table[SPECD_SLOTS_MAX], cap_table[SPECD_SLOTS_MAX];
    int32_t rows[SPECD_SLOTS_MAX][MODEL_ROLES]; /* of the slot, after the last round collected */

    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct work *todo, **todo_end; /* lock */
    int n_done;                    /* lock: played, not collected */
    bool inner_done, stop;         /* lock */

    /* the device's thread */
    struct {
        int32_t len, limit, n_prompt;
        bool ended;
    } slots[SPECD_SLOTS_MAX];
    uint64_t last_end_ns;
};

static int depth = 2;
static uint64_t memory_total, memory_free;
static atomic_int n_rounds, n_overlapped, n_dropped, n_collected, n_filled, n_early;
static atomic_int fault, fault_at; /* enum deferred_fault; in rounds collected */

void deferred_depth(int rounds_in_flight)
{
    depth = rounds_in_flight;
    atomic_store(&fault, FAULT_NONE);
}

void deferred_memory(uint64_t total, uint64_t free_bytes)
{
    memory_total = total;
    memory_free = free_bytes;
}

void deferred_break(enum deferred_fault what, int after)
{
    atomic_store(&fault_at, atomic_load(&n_collected) + after);
    atomic_store(&fault, (int)what);
}

static bool faulty(enum deferred_fault what)
{
    return atomic_load(&fault) == (int)what && atomic_load(&n_collected) >= atomic_load(&fault_at);
}

struct deferred_counts deferred_counts(void)
{
    return (struct deferred_counts){atomic_load(&n_rounds), atomic_load(&n_overlapped),
                                    atomic_load(&n_dropped), atomic_load(&n_filled),
                                    atomic_load(&n_early)};
}

static _Noreturn void judge_fails(const char *what, int32_t slot, int32_t block)
{
    fprintf(stderr, "deferred device: %s: slot %d, block %d\n", what, slot, block);
    abort();
}

/* ---- copies ---------------------------------------------------------------------------------- */

static void *copy(const void *from, size_t n, size_t size)
{
    void *to = xcalloc(n + 1, size);
    if (n > 0)
        memcpy(to, from, n * size);
    return to;
}

static struct slot_config *config_copy(const struct slot_config *from, uint32_t n_vocab)
{
    struct slot_config *c = copy(from, 1, sizeof *from);
    c->tokens = copy(from->tokens, (size_t)from->n_tokens, sizeof *from->tokens);
    c->params.bias_ids =
        copy(from->params.bias_ids, (size_t)from->params.n_bias, sizeof *from->params.bias_ids);
    c->params.bias = copy(from->params.bias, (size_t)from->params.n_bias, sizeof(float));
    if (from->params.allowed)
        c->params.allowed = copy(from->params.allowed, mask_words(n_vocab), sizeof(uint32_t));
    if (from->params.draft_ids)
        c->params.draft_ids = copy(from->params.draft_ids, mask_words(n_vocab), sizeof(uint32_t));
    return c;
}

static void change_free(struct change *c)
{
    if (c->config) {
        free((void *)c->config->tokens);
        free((void *)c->config->params.bias_ids);
        free((void *)c->config->params.bias);
        free((void *)c->config->params.allowed);
        free((void *)c->config->params.draft_ids);
    }
    free(c->config);
    free(c->ids);
    free(c);
}

static void work_free(struct work *w)
{
    if (!w)
        return;
    for (struct change *c = w->changes, *next; c; c = next) {
        next = c->next;
        change_free(c);
    }
    for (int i = 0; i < w->n_logprobs; i++)
        free(w->logprobs[i]);
    for (int i = 0; i < SPECD_SLOTS_MAX; i++)
        free(w->tables[i].ids);
    free(w);
}

static const struct token_logprob *keep_logprobs(struct work *w, const struct token_logprob *from,
                                                 int32_t n)
{
    ASSERT(w->n_logprobs < (int)COUNT_OF(w->logprobs));
    return w->logprobs[w->n_logprobs++] = copy(from, (size_t)n, sizeof *from);
}

/* ---- playing a round: the device's thread ---------------------------------------------------- */

static void on_inner_done(void *arg)
{
    struct device *d = arg;
    pthread_mutex_lock(&d->lock);
    d->inner_done = true;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

static void apply(struct device *d, const struct change *c)
{
    int rc;
    if (c->config) {
        rc = cpu_device_ops.slot_set(d->inner, c->slot, c->config);
        d->slots[c->slot].len = c->config->n_tokens;
        d->slots[c->slot].limit = c->config->limit;
        d->slots[c->slot].n_prompt = c->config->n_prompt;
        d->slots[c->slot].ended = false;
    } else {
        rc = cpu_device_ops.slot_blocks(d->inner, c->slot, c->first, c->n, c->ids);
    }
    ASSERT(rc == 0);
}

/* The sequences that still run, and where each stands in the round that was asked for. */
static void drop_ended(struct device *d, const struct round *asked, struct round *played,
                       int32_t place[SPECD_SLOTS_MAX])
{
    *played = *asked;
    played->n_seqs = 0;
    for (int32_t i = 0; i < asked->n_seqs; i++) {
        if (d->slots[asked->seqs[i].slot].ended) {
            atomic_fetch_add(&n_dropped, 1);
            continue;
        }
        place[played->n_seqs] = i;
        played->seqs[played->n_seqs++] = asked->seqs[i];
    }
}

static void take_result(struct device *d, struct work *w, const struct round_result *r,
                        const int32_t place[SPECD_SLOTS_MAX])
{
    struct round_result *out = &w->result;
    *out = *r;
    out->n_seqs = w->round.n_seqs;
    for (int32_t i = 0; i < out->n_seqs; i++)
        out->seqs[i] = (struct seq_result){.slot = w->round.seqs[i].slot};
    for (int32_t i = 0; i < r->n_seqs; i++) {
        struct seq_result *s = &out->seqs[place[i]];
        *s = r->seqs[i];
        if (s->own) { /* there is room for as many alternatives as a request may ask for */
            s->own = keep_logprobs(w, s->own, s->n_tokens);
            s->top = keep_logprobs(w, s->top, s->n_tokens * SPECD_LOGPROBS_MAX);
        }
        d->slots[s->slot].len = s->len;
        d->slots[s->slot].ended = s->flags & SEQ_END || s->len >= d->slots[s->slot].limit;
    }
    for (int32_t i = 0; i < out->n_scores; i++) {
        struct score_result *s = &out->scores[i];
        s->own = keep_logprobs(w, s->own, s->n);
        s->top = keep_logprobs(w, s->top, s->n * SPECD_LOGPROBS_MAX);
    }
}

static void count_draft_work(const struct device *d, const struct round *r)
{
    for (int32_t i = 0; i < r->n_chunks + r->n_seqs; i++) {
        bool chunk = i < r->n_chunks;
        const struct round_seq *q = chunk ? NULL : &r->seqs[i - r->n_chunks];
        int32_t slot = chunk ? r->chunks[i].slot : q->slot;
        if (chunk ? r->chunks[i].role != MODEL_DRAFT : q->source != DRAFT_FROM_MODEL || q->k == 0)
            continue;
        atomic_fetch_add(&n_filled, 1);
        atomic_fetch_add(&n_early, d->slots[slot].len == d->slots[slot].n_prompt);
    }
}

static void play(struct device *d, struct work *w)
{
    static struct round played; /* one device at a time, and one thread of it */
    static struct round_result result;
    int32_t place[SPECD_SLOTS_MAX];
    uint64_t began = clock_ns();
    for (const struct change *c = w->changes; c; c = c->next)
        apply(d, c);
    drop_ended(d, &w->round, &played, place);
    count_draft_work(d, &played);
    pthread_mutex_lock(&d->lock);
    d->inner_done = false;
    pthread_mutex_unlock(&d->lock);
    int rc = round_submit(&cpu_device_ops, d->inner, &played);
    if (rc != 0)
        judge_fails("a round does not fit the slots at its turn", -1, -1);
    pthread_mutex_lock(&d->lock);
    while (!d->inner_done)
        pthread_cond_wait(&d->changed, &d->lock);
    pthread_mutex_unlock(&d->lock);
    rc = cpu_device_ops.collect(d->inner, &result);
    ASSERT(rc == 0);
    take_result(d, w, &result, place);
    w->result.idle_ns = d->last_end_ns ? began - d->last_end_ns : 0;
    d->last_end_ns = clock_ns();
}

static void *device_thread(void *arg)
{
    struct device *d = arg;
    pthread_mutex_lock(&d->lock);
    for (;;) {
        while (!d->todo && !d->stop)
            pthread_cond_wait(&d->changed, &d->lock);
        struct work *w = d->todo;
        if (!w)
            break;
        d->todo = w->next;
        if (!d->todo)
            d->todo_end = &d->todo;
        pthread_mutex_unlock(&d->lock);
        play(d, w);
        pthread_mutex_lock(&d->lock);
        d->n_done++;
        pthread_mutex_unlock(&d->lock);
        d->on_done(d->on_done_arg);
        pthread_mutex_lock(&d->lock);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

/* ---- the judge ------------------------------------------------------------------------------- */

static void judge_slot(const struct device *d, int32_t slot)
{
    for (int i = 0; i < d->n_in_flight; i++) {
        if (d->in_flight[i]->tables[slot].ids)
            judge_fails("set anew while a round in flight names it", slot, -1);
    }
}

/* Whether block is among those that rows first.. of the slot lie in. */
static bool lies_in(const struct work *w, int32_t slot, int32_t first, int32_t block)
{
    for (int32_t b = first / SPECD_BLOCK_TOKENS; b < w->tables[slot].n; b++) {
        if (w->tables[slot].ids[b] == block)
            return true;
    }
    return false;
}

static bool writes(const struct device *d, const struct work *w, int32_t other, int32_t block)
{
    bool yes = false;
    for (int32_t i = 0; i < w->round.n_chunks; i++) {
        const struct round_chunk *c = &w->round.chunks[i];
        yes |= c->slot != other && c->role == MODEL_TARGET && lies_in(w, c->slot, c->start, block);
    }
    for (int32_t i = 0; i < w->round.n_seqs; i++) {
        const struct round_seq *q = &w->round.seqs[i];
        yes |= q->slot != other && lies_in(w, q->slot, d->rows[q->slot][MODEL_TARGET], block);
    }
    return yes;
}

/* Blocks of a slot's table that the round writes draft rows into: *first..*end, as far as is known;
 * steps go on to the table's end. */
static void draft_blocks(const struct device *d, const struct work *w, int32_t slot, int32_t *first,
                         int32_t *end)
{
    *first = *end = 0;
    for (int32_t i = 0; i < w->round.n_chunks; i++) {
        const struct round_chunk *c = &w->round.chunks[i];
        if (c->slot == slot && c->role == MODEL_DRAFT) {
            *first = c->start / SPECD_BLOCK_TOKENS;
            *end = (c->start + c->n - 1) / SPECD_BLOCK_TOKENS + 1;
        }
    }
    for (int32_t i = 0; i < w->round.n_seqs; i++) {
        const struct round_seq *q = &w->round.seqs[i];
        if (q->slot != slot || q->source != DRAFT_FROM_MODEL || q->k == 0)
            continue;
        if (*end == 0)
            *first = d->rows[slot][MODEL_DRAFT] / SPECD_BLOCK_TOKENS;
        *end = w->tables[slot].n;
    }
}

static void judge_draft_rows(const struct device *d, const struct work *w)
{
    for (int32_t slot = 0; slot < SPECD_SLOTS_MAX; slot++) {
        int32_t first, end, other_first, other_end;
        if (!w->tables[slot].ids)
            continue;
        draft_blocks(d, w, slot, &first, &end);
        for (int i = 0; first < end && i <= d->n_in_flight; i++) {
            const struct work *v = i < d->n_in_flight ? d->in_flight[i] : w;
            for (int32_t other = 0; other < SPECD_SLOTS_MAX; other++) {
                if (other == slot || !v->tables[other].ids)
                    continue;
                draft_blocks(d, v, other, &other_first, &other_end);
                for (int32_t a = first; a < end; a++) {
                    for (int32_t b = other_first; b < other_end; b++) {
                        if (w->tables[slot].ids[a] == v->tables[other].ids[b])
                            judge_fails("two slots write draft rows", slot, w->tables[slot].ids[a]);
                    }
                }
            }
        }
    }
}

static void judge_block(const struct device *d, int32_t slot, int32_t block)
{
    for (int i = 0; i < d->n_in_flight; i++) {
        if (writes(d, d->in_flight[i], slot, block))
            judge_fails("given a block that a round in flight writes", slot, block);
    }
}

static void note_table(const struct device *d, struct work *w, int32_t slot)
{
    if (w->tables[slot].ids)
        return;
    w->tables[slot].n = d->n_table[slot];
    w->tables[slot].ids =
        copy(d->table[slot], (size_t)d->n_table[slot], sizeof *w->tables[slot].ids);
}

static void note_rows(struct device *d, const struct work *w)
{
    for (int32_t i = 0; i < w->round.n_chunks; i++) {
        const struct round_chunk *c = &w->round.chunks[i];
        d->rows[c->slot][c->role] = c->start + c->n;
    }
    for (int32_t i = 0; i < w->result.n_seqs; i++) {
        const struct seq_result *r = &w->result.seqs[i];
        if (r->n_tokens == 0)
            continue;
        d->rows[r->slot][MODEL_TARGET] = r->rows[MODEL_TARGET];
        d->rows[r->slot][MODEL_DRAFT] = r->rows[MODEL_DRAFT];
    }
}

/* ---- the engine's calls ---------------------------------------------------------------------- */

static int device_open(struct device **dev, int index, char *err, size_t errlen)
{
    if (faulty(FAULT_OPEN))
        return fail(SPECD_EDEVICE, err, errlen, "device %d: there is none", index);
    struct device *d = xcalloc(1, sizeof *d);
    int rc = cpu_device_ops.open(&d->inner, -1, err, errlen);
    if (rc != 0) {
        free(d);
        return rc;
    }
    d->depth = depth;
    d->staged_end = &d->staged;
    d->todo_end = &d->todo;
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->changed, NULL);
    atomic_store(&n_rounds, 0);
    atomic_store(&n_overlapped, 0);
    atomic_store(&n_dropped, 0);
    atomic_store(&n_filled, 0);
    atomic_store(&n_early, 0);
    *dev = d;
    return 0;
}

static void device_describe(const struct device *d, struct device_info *out)
{
    cpu_device_ops.describe(d->inner, out);
    out->rounds_in_flight = d->depth;
    if (memory_total > 0) {
        out->dedicated_memory = true;
        out->memory_bytes = memory_total;
        out->memory_free_bytes = memory_free;
    }
}

static void device_close(struct device *d)
{
    if (!d)
        return;
    if (d->has_thread) {
        pthread_mutex_lock(&d->lock);
        d->stop = true;
        pthread_cond_broadcast(&d->changed);
        pthread_mutex_unlock(&d->lock);
        pthread_join(d->thread, NULL);
    }
    cpu_device_ops.close(d->inner);
    for (int i = 0; i < d->n_in_flight; i++)
        work_free(d->in_flight[i]);
    work_free(d->collected);
    work_free(d->recording);
    for (struct change *c = d->staged, *next; c; c = next) {
        next = c->next;
        change_free(c);
    }
    for (int i = 0; i < SPECD_SLOTS_MAX; i++)
        free(d->table[i]);
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

static int device_plan(const struct device *d, const struct device_setup *setup,
                       struct device_plan *out, char *err, size_t errlen)
{
    return cpu_device_ops.plan(d->inner, setup, out, err, errlen);
}

static int device_model_load(struct device *d, const struct device_setup *setup,
                             device_progress *progress, void *arg, char *err, size_t errlen)
{
    d->n_vocab = setup->models[MODEL_TARGET]->n_vocab;
    d->n_entries = (setup->n_ctx - 1) / SPECD_BLOCK_TOKENS + 1;
    return cpu_device_ops.model_load(d->inner, setup, progress, arg, err, errlen);
}

static int device_pool_create(struct device *d, int32_t n_blocks, int32_t n_window_blocks,
                              void (*on_done)(void *arg), void *arg, char *err, size_t errlen)
{
    d->on_done = on_done;
    d->on_done_arg = arg;
    int rc = cpu_device_ops.pool_create(d->inner, n_blocks, n_window_blocks, on_inner_done, d, err,
                                        errlen);
    if (rc == 0) {
        d->has_thread = pthread_create(&d->thread, NULL, device_thread, d) == 0;
        ASSERT(d->has_thread);
    }
    return rc;
}

static void stage(struct device *d, struct change *c)
{
    *d->staged_end = c;
    d->staged_end = &c->next;
}

static int device_slot_set(struct device *d, int32_t slot, const struct slot_config *config)
{
    judge_slot(d, slot);
    struct change *c = xcalloc(1, sizeof *c);
    c->slot = slot;
    c->config = config_copy(config, d->n_vocab);
    stage(d, c);
    d->n_table[slot] = 0;
    d->rows[slot][MODEL_TARGET] = config->rows[MODEL_TARGET];
    d->rows[slot][MODEL_DRAFT] = config->rows[MODEL_DRAFT];
    return 0;
}

static int device_slot_blocks(struct device *d, int32_t slot, int32_t first, int32_t n,
                              const int32_t *ids)
{
    struct change *c = xcalloc(1, sizeof *c);
    c->slot = slot;
    c->first = first;
    c->n = n;
    c->ids = copy(ids, (size_t)n, sizeof *ids);
    stage(d, c);
    /* Blocks behind a window change hands at once: rounds run in order, and no later one of the
     * slot looks there. */
    if (first >= d->n_entries)
        return 0;
    if (first + n > d->cap_table[slot]) {
        d->cap_table[slot] = 2 * (first + n);
        d->table[slot] =
            xrealloc(d->table[slot], (size_t)d->cap_table[slot] * sizeof *d->table[slot]);
    }
    memcpy(d->table[slot] + first, ids, (size_t)n * sizeof *ids);
    d->n_table[slot] = first + n;
    for (int32_t i = 0; i < n; i++)
        judge_block(d, slot, ids[i]);
    return 0;
}

static int device_begin(struct device *d, const struct round *round)
{
    if (d->n_in_flight == d->depth || faulty(FAULT_BEGIN))
        return SPECD_EDEVICE;
    work_free(d->collected);
    d->collected = NULL;
    struct work *w = xcalloc(1, sizeof *w);
    w->round = *round;
    w->changes = d->staged;
    d->staged = NULL;
    d->staged_end = &d->staged;
    for (int32_t i = 0; i < round->n_seqs; i++)
        note_table(d, w, round->seqs[i].slot);
    for (int32_t i = 0; i < round->n_chunks; i++)
        note_table(d, w, round->chunks[i].slot);
    judge_draft_rows(d, w);
    d->recording = w;
    return 0;
}

/* What is recorded follows from the round: round_submit says it again to the CPU device. */
static int device_forward(struct device *d, enum model_role role, enum row_set rows, int step)
{
    (void)role;
    (void)rows;
    (void)step;
    return d->recording ? 0 : SPECD_EINVAL;
}

static int device_draw(struct device *d, int step)
{
    (void)step;
    return d->recording ? 0 : SPECD_EINVAL;
}

static int device_verify(struct device *d)
{
    return d->recording ? 0 : SPECD_EINVAL;
}

static int device_end(struct device *d)
{
    struct work *w = d->recording;
    d->recording = NULL;
    atomic_fetch_add(&n_rounds, 1);
    atomic_fetch_add(&n_overlapped, d->n_in_flight > 0);
    if (faulty(FAULT_END)) {
        work_free(w);
        return SPECD_EDEVICE;
    }
    d->in_flight[d->n_in_flight++] = w;
    pthread_mutex_lock(&d->lock);
    *d->todo_end = w;
    d->todo_end = &w->next;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
    return 0;
}

static int device_poll(struct device *d)
{
    if (faulty(FAULT_POLL))
        return SPECD_EDEVICE;
    pthread_mutex_lock(&d->lock);
    int ready = d->n_done > 0;
    pthread_mutex_unlock(&d->lock);
    return ready;
}

static int device_collect(struct device *d, struct round_result *out)
{
    if (!device_poll(d) || faulty(FAULT_COLLECT))
        return SPECD_EDEVICE;
    struct work *w = d->in_flight[0];
    d->in_flight[0] = d->in_flight[1];
    d->n_in_flight--;
    pthread_mutex_lock(&d->lock);
    d->n_done--;
    pthread_mutex_unlock(&d->lock);
    work_free(d->collected);
    d->collected = w;
    atomic_fetch_add(&n_collected, 1);
    *out = w->result;
    note_rows(d, w);
    return 0;
}

const struct device_ops deferred_device_ops = {
    .name = "deferred",
    .open = device_open,
    .describe = device_describe,
    .close = device_close,
    .plan = device_plan,
    .model_load = device_model_load,
    .pool_create = device_pool_create,
    .slot_set = device_slot_set,
    .slot_blocks = device_slot_blocks,
    .begin = device_begin,
    .forward = device_forward,
    .draw = device_draw,
    .verify = device_verify,
    .end = device_end,
    .poll = device_poll,
    .collect = device_collect,
};
