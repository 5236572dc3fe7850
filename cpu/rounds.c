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
    forward_pass(r->forward, role, r->spans, n, r->scores->logits, r->scores->stride);
    if (role == MODEL_TARGET)
        scores_run(r->scores, &r->result);
    for (int32_t i = 0; i < r->n_chunks; i++) {
        const struct round_chunk *c = &r->chunks[i];
        struct slot *slot = &r->slots->slots[c->slot];
        if (c->role == role)
            *(role == MODEL_TARGET ? &slot->target_len : &slot->draft_len) = c->start + c->n;
    }
}

static void run_step(struct rounds *r, int step)
{
    struct turns *t = r->turns;
    turns_step_spans(t, step);
    if (t->n_spans == 0)
        return;
    forward_pass(r->forward, MODEL_DRAFT, t->spans, t->n_spans, turns_draft_logits(t, step),
                 t->draft_stride);
}

static void run_verify_rows(struct rounds *r)
{
    struct turns *t = r->turns;
    turns_verify_spans(t);
    forward_pass(r->forward, MODEL_TARGET, t->spans, t->n_spans, t->target_logits,
                 t->target_stride);
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

/* Whether positions 0..end of a slot have blocks. */
static bool has_blocks(const struct slots *s, const struct slot *slot, int32_t end)
{
    int32_t n = (end + SPECD_BLOCK_TOKENS - 1) / SPECD_BLOCK_TOKENS;
    if (n > s->n_blocks_of_slot)
        return false;
    for (int32_t i = 0; i < n; i++) {
        if (slot->blocks[i] < 0)
            return false;
    }
    return true;
}

static int add_chunk(struct rounds *r, const struct round_chunk *c)
{
    struct slots *s = r->slots;
    if (c->slot < 0 || c->slot >= s->n_slots ||
        (c->role != MODEL_TARGET && c->role != MODEL_DRAFT) || !r->forward->nets[c->role])
        return SPECD_EINVAL;
    const struct slot *slot = &s->slots[c->slot];
    int32_t have = c->role == MODEL_TARGET ? slot->target_len : slot->draft_len;
    for (int32_t i = 0; i < r->n_chunks; i++) {
        if (r->chunks[i].slot == c->slot && r->chunks[i].role == c->role)
            return SPECD_EINVAL;
    }
    if (c->start != have || c->n < 1 || c->n > slot->len - 1 - c->start ||
        !has_blocks(s, slot, c->start + c->n))
        return SPECD_EINVAL;
    if (c->score && scores_add(r->scores, c) != 0)
        return SPECD_EINVAL;
    r->chunks[r->n_chunks++] = *c;
    return 0;
}

/* A slot's rows of one model once the round's prompt chunks are done. */
static int32_t rows_after_chunks(const struct rounds *r, int32_t slot, enum model_role role)
{
    for (int32_t i = 0; i < r->n_chunks; i++) {
        if (r->chunks[i].slot == slot && r->chunks[i].role == role)
            return r->chunks[i].start + r->chunks[i].n;
    }
    const struct slot *s = &r->slots->slots[slot];
    return role == MODEL_TARGET ? s->target_len : s->draft_len;
}

static int add_seq(struct rounds *r, const struct round_seq *seq)
{
    struct turns *t = r->turns;
    if (seq->slot < 0 || seq->slot >= r->slots->n_slots)
        return SPECD_EINVAL;
    for (int32_t i = 0; i < t->n_turns; i++) {
        if (t->turns[i].slot_id == seq->slot)
            return SPECD_EINVAL;
    }
    int rc = turns_add(t, seq, rows_after_chunks(r, seq->slot, MODEL_TARGET),
                       rows_after_chunks(r, seq->slot, MODEL_DRAFT));
    if (rc != 0)
        return rc;
    const struct turn *turn = &t->turns[t->n_turns - 1];
    return has_blocks(r->slots, turn->slot, turn->slot->len + turn->k) ? 0 : SPECD_EINVAL;
}

int rounds_begin(struct rounds *r, const struct round *round)
{
    enum round_state state = state_of(r);
    if (state == ROUND_RUNNING || state == ROUND_DONE)
        return SPECD_EINVAL;
    slots_apply(r->slots);
    set_state(r, ROUND_NONE);
    r->n_chunks = r->n_commands = r->n_steps = 0;
    r->turns->n_turns = 0;
    scores_begin(r->scores);
    r->turns->synthetic_acceptance = round->synthetic_acceptance;
    r->verifies = r->prompts[MODEL_TARGET] = r->prompts[MODEL_DRAFT] = false;
    if (round->n_chunks > 2 * SPECD_SLOTS_MAX || round->n_seqs > r->slots->n_slots)
        return SPECD_EINVAL;
    int rc = 0;
    for (int32_t i = 0; rc == 0 && i < round->n_chunks; i++)
        rc = add_chunk(r, &round->chunks[i]);
    for (int32_t i = 0; rc == 0 && i < round->n_seqs; i++)
        rc = add_seq(r, &round->seqs[i]);
    if (rc == 0)
        set_state(r, ROUND_RECORDING);
    return rc;
}

/* What is drawn or verified are the logits of the command before. */
static bool follows(const struct rounds *r, enum row_set rows, int step)
{
    const struct command *last = r->n_commands > 0 ? &r->commands[r->n_commands - 1] : NULL;
    return last && last->kind == COMMAND_FORWARD && last->rows == rows && last->step == step;
}

static bool command_fits(const struct rounds *r, const struct command *c)
{
    switch (c->kind) {
    case COMMAND_DRAW:
        return follows(r, ROWS_STEP, c->step);
    case COMMAND_VERIFY:
        return follows(r, ROWS_VERIFY, c->step);
    case COMMAND_FORWARD:
        break;
    }
    if ((c->role != MODEL_TARGET && c->role != MODEL_DRAFT) || !r->forward->nets[c->role])
        return false;
    switch (c->rows) {
    case ROWS_PROMPT:
        return true;
    case ROWS_STEP:
        return c->role == MODEL_DRAFT && c->step >= 1 && c->step <= SPECD_K_MAX;
    case ROWS_VERIFY:
        return c->role == MODEL_TARGET;
    }
    return false;
}

int rounds_record(struct rounds *r, struct command command)
{
    if (state_of(r) != ROUND_RECORDING || r->n_commands == COMMANDS_MAX ||
        !command_fits(r, &command))
        return SPECD_EINVAL;
    if (command.kind == COMMAND_DRAW)
        r->n_steps = MAX(r->n_steps, command.step);
    if (command.kind == COMMAND_VERIFY)
        r->verifies = true;
    if (command.kind == COMMAND_FORWARD && command.rows == ROWS_PROMPT)
        r->prompts[command.role] = true;
    r->commands[r->n_commands++] = command;
    return 0;
}

/* Whether all that begin announced will be done. */
static bool is_complete(const struct rounds *r)
{
    for (int32_t i = 0; i < r->n_chunks; i++) {
        if (!r->prompts[r->chunks[i].role])
            return false;
    }
    return r->turns->n_turns == 0 || r->verifies;
}

int rounds_end(struct rounds *r)
{
    struct turns *t = r->turns;
    if (state_of(r) != ROUND_RECORDING || !is_complete(r))
        return SPECD_EINVAL;
    for (int32_t i = 0; i < t->n_turns; i++) { /* drafts that were not asked for do not exist */
        if (t->turns[i].source == DRAFT_FROM_MODEL)
            t->turns[i].k = MIN(t->turns[i].k, r->n_steps);
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
