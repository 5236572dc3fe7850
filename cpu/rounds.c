#include "rounds.h"

#include "specd/util.h"

#include <string.h>

/* ---- running a round: the round thread ------------------------------------------------------- */

static void run_prompt(struct rounds *r, enum model_role role)
{
    int32_t n = 0;
    for (int32_t i = 0; i < r->n_chunks; i++) {
        const struct round_chunk *c = &r->chunks[i];
        const struct slot *slot = &r->slots->slots[c->slot];
        if (c->role == role)
            r->spans[n++] = (struct span){.tokens = slot->tokens,
                                          .blocks = slot->blocks,
                                          .pos = c->start,
                                          .n = c->n,
                                          .n_logits = c->score ? c->n : 0};
    }
    struct pass_logits out = {.at = r->scores->logits, .stride = r->scores->stride};
    forward_pass(r->forward, role, r->spans, n, &out);
    if (role == MODEL_TARGET)
        scores_run(r->scores, &r->result);
    for (int32_t i = 0; i < r->n_chunks; i++) {
        const struct round_chunk *c = &r->chunks[i];
        struct slot *slot = &r->slots->slots[c->slot];
        if (c->role == role)
            slot->rows[role] = c->start + c->n;
    }
}

static void run_step(struct rounds *r, int step)
{
    struct turns *t = r->turns;
    turns_step_spans(t, step);
    if (t->n_spans == 0)
        return;
    struct pass_logits out = {.at = turns_draft_logits(t, step), .stride = t->draft_stride};
    out.panels = turns_draft_panels(t, &out.n_panels);
    forward_pass(r->forward, MODEL_DRAFT, t->spans, t->n_spans, &out);
}

static void run_verify_rows(struct rounds *r)
{
    struct turns *t = r->turns;
    turns_verify_spans(t);
    struct pass_logits out = {.at = t->target_logits, .stride = t->target_stride};
    forward_pass(r->forward, MODEL_TARGET, t->spans, t->n_spans, &out);
}

/* Runs one command and returns the clock that its time counts for. */
static uint64_t *run_command(struct rounds *r, const struct command *c)
{
    switch (c->kind) {
    case COMMAND_DRAW:
        turns_draw(r->turns, c->step);
        return &r->result.sample_ns;
    case COMMAND_VERIFY:
        turns_verify(r->turns, &r->result);
        return &r->result.sample_ns;
    case COMMAND_FORWARD:
        break;
    }
    switch (c->rows) {
    case ROWS_STEP:
        run_step(r, c->step);
        return &r->result.draft_ns;
    case ROWS_VERIFY:
        run_verify_rows(r);
        return &r->result.verify_ns;
    case ROWS_PROMPT:
        break;
    }
    run_prompt(r, c->role);
    return &r->result.prompt_ns;
}

static void run_round(struct rounds *r)
{
    memset(&r->result, 0, sizeof(r->result));
    uint64_t then = clock_ns();
    for (int i = 0; i < r->n_commands; i++) {
        uint64_t *clock = run_command(r, &r->commands[i]), now = clock_ns();
        *clock += now - then;
        if (clock == &r->result.prompt_ns && r->commands[i].role == MODEL_DRAFT)
            r->result.draft_prompt_ns += now - then;
        then = now;
    }
}

static void *round_thread(void *arg)
{
    struct rounds *r = arg;
    pthread_mutex_lock(&r->lock);
    for (;;) {
        while (r->state != ROUND_RUNNING && !r->stop)
            pthread_cond_wait(&r->wake, &r->lock);
        if (r->state != ROUND_RUNNING)
            break;
        pthread_mutex_unlock(&r->lock);
        run_round(r);
        pthread_mutex_lock(&r->lock);
        r->state = ROUND_DONE;
        pthread_mutex_unlock(&r->lock);
        r->on_done(r->on_done_arg);
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

int rounds_start(struct rounds *r, struct forward *forward, struct turns *turns,
                 struct slots *slots, struct scores *scores, void (*on_done)(void *arg), void *arg)
{
    r->forward = forward;
    r->turns = turns;
    r->slots = slots;
    r->scores = scores;
    r->on_done = on_done;
    r->on_done_arg = arg;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->wake, NULL);
    r->has_thread = pthread_create(&r->thread, NULL, round_thread, r) == 0;
    if (r->has_thread)
        return 0;
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    return SPECD_ENOMEM;
}

void rounds_stop(struct rounds *r)
{
    if (!r->has_thread)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    r->has_thread = false;
}

/* ---- recording a round: the engine thread ---------------------------------------------------- */

static enum round_state state_of(struct rounds *r)
{
    pthread_mutex_lock(&r->lock);
    enum round_state state = r->state;
    pthread_mutex_unlock(&r->lock);
    return state;
}

static void set_state(struct rounds *r, enum round_state state)
{
    pthread_mutex_lock(&r->lock);
    r->state = state;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

static struct slot_view view_of(const void *slots, int32_t i)
{
    const struct slot *slot = &((const struct slots *)slots)->slots[i];
    return (struct slot_view){
        .blocks = slot->blocks,
        .len = slot->len,
        .limit = slot->limit,
        .rows = {slot->rows[MODEL_TARGET], slot->rows[MODEL_DRAFT]},
        .n_logprobs = slot->params.n_logprobs,
    };
}

int rounds_begin(struct rounds *r, const struct round *round)
{
    struct round_limits limits = {
        .shape = &r->slots->shape,
        .has_model = {r->forward->nets[MODEL_TARGET] != NULL,
                      r->forward->nets[MODEL_DRAFT] != NULL},
        .n_vocab_draft = r->turns->n_vocab_draft,
    };
    int32_t k[SPECD_SLOTS_MAX];
    if (state_of(r) != ROUND_NONE)
        return SPECD_EINVAL;
    r->record.active = false;
    slots_apply(r->slots);
    int rc = round_check(round, &limits, view_of, r->slots, k);
    if (rc != 0)
        return rc;
    r->n_commands = r->turns->n_turns = 0;
    r->turns->synthetic_acceptance = round->synthetic_acceptance;
    r->n_chunks = round->n_chunks;
    memcpy(r->chunks, round->chunks, (size_t)round->n_chunks * sizeof(r->chunks[0]));
    scores_begin(r->scores);
    for (int32_t i = 0; i < round->n_chunks; i++) {
        if (round->chunks[i].score)
            scores_add(r->scores, &round->chunks[i]);
    }
    for (int32_t i = 0; i < round->n_seqs; i++)
        turns_add(r->turns, &round->seqs[i], k[i]);
    round_record_begin(&r->record, round, &limits);
    return 0;
}

static int record(struct round_record *r, const struct command *c)
{
    switch (c->kind) {
    case COMMAND_FORWARD:
        return round_record_forward(r, c->role, c->rows, c->step);
    case COMMAND_DRAW:
        return round_record_draw(r, c->step);
    case COMMAND_VERIFY:
        return round_record_verify(r);
    }
    return SPECD_EINVAL;
}

int rounds_record(struct rounds *r, struct command command)
{
    if (r->n_commands == COMMANDS_MAX)
        return SPECD_EINVAL;
    int rc = record(&r->record, &command);
    if (rc == 0)
        r->commands[r->n_commands++] = command;
    return rc;
}

int rounds_end(struct rounds *r)
{
    int rc = round_record_end(&r->record);
    if (rc != 0)
        return rc;
    for (int32_t i = 0; i < r->turns->n_turns; i++) {
        struct turn *turn = &r->turns->turns[i];
        turn->k = round_k_recorded(turn->source, turn->k, r->record.n_steps);
    }
    set_state(r, ROUND_RUNNING);
    return 0;
}

int rounds_poll(struct rounds *r)
{
    return state_of(r) == ROUND_DONE;
}

int rounds_collect(struct rounds *r, struct round_result *out)
{
    if (state_of(r) != ROUND_DONE)
        return SPECD_EINVAL;
    *out = r->result;
    set_state(r, ROUND_NONE);
    return 0;
}
