/*
 * The verbs of a round: begin checks it against what is known of the slots, the verbs after it are
 * noted, and end puts everything on the stream.
 */
#include "device_impl.h"
#include "specd/util.h"

#include <string.h>

static struct gpu_flight *next_flight(struct device *dev)
{
    return &dev->flights[dev->n_submitted % WAITER_ROUNDS];
}

static struct seat *seat_of(struct device *dev, int32_t slot)
{
    return slot >= 0 && slot < dev->seats.n_slots ? &dev->seats.seats[slot] : NULL;
}

/* ---- begin: chunks --------------------------------------------------------------------------- */

static bool is_repeated(const struct round *r, int32_t i)
{
    for (int32_t j = 0; j < i; j++) {
        if (r->chunks[j].slot == r->chunks[i].slot && r->chunks[j].role == r->chunks[i].role)
            return true;
    }
    return false;
}

/* A slot's rows of one model once the round's chunks before the n-th are done. */
static int32_t rows_after_chunks(const struct round *r, int32_t n, const struct seat *seat,
                                 int32_t slot, enum model_role role)
{
    for (int32_t i = 0; i < n; i++) {
        if (r->chunks[i].slot == slot && r->chunks[i].role == role)
            return r->chunks[i].start + r->chunks[i].n;
    }
    return role == MODEL_TARGET ? seat->target_len : seat->draft_len;
}

static int add_score(struct gpu_flight *f, const struct round_chunk *c, const struct seat *seat)
{
    if (c->role != MODEL_TARGET || seat->n_logprobs < 0 ||
        c->n > SPECD_SCORE_ROWS - f->n_score_rows)
        return SPECD_EINVAL;
    f->score_tops[f->n_scores] = seat->n_logprobs;
    f->score_results[f->n_scores++] =
        (struct score_result){.slot = c->slot, .start = c->start, .n = c->n};
    f->n_score_rows += c->n;
    return 0;
}

static int check_chunk(struct device *dev, struct gpu_flight *f, const struct round *r, int32_t i)
{
    const struct round_chunk *c = &r->chunks[i];
    struct seat *seat = seat_of(dev, c->slot);

    if (!seat || (c->role != MODEL_TARGET && c->role != MODEL_DRAFT) || !dev->has_net[c->role] ||
        is_repeated(r, i) || c->n < 1 || c->start < 0)
        return SPECD_EINVAL;
    /* While a round is in flight that moves the slot, only the device knows. */
    bool known = seat->in_flight == 0;
    int32_t have = c->role == MODEL_TARGET ? seat->target_len : seat->draft_len;

    if ((known && (c->start != have || c->n > seat->len - 1 - c->start)) ||
        c->n > seat->limit - c->start || !seat_has_blocks(&dev->seats, c->slot, c->start + c->n))
        return SPECD_EINVAL;
    return c->score ? add_score(f, c, seat) : 0;
}

/* ---- begin: sequences ------------------------------------------------------------------------ */

/* Leading drafts of the host that are ids at all. */
static int32_t host_drafts(const struct device *dev, const struct round_seq *seq, int32_t k)
{
    for (int32_t i = 0; i < k; i++) {
        if (seq->host_draft[i] < 0 || seq->host_draft[i] >= dev->seats.n_vocab)
            return i;
    }
    return k;
}

/* What the device will make of K, or more while it is not known how long the slot is. */
static int32_t clamp_k(const struct device *dev, const struct round_seq *seq,
                       const struct seat *seat, int32_t draft_len)
{
    int32_t k = MAX(MIN(MIN(seq->k, dev->setup.k_max), seat->limit - seat->len - 1), 0);

    if (seq->source == DRAFT_FROM_HOST)
        return host_drafts(dev, seq, k);
    bool lags = seat->in_flight == 0 && seat->len - draft_len > SPECD_DRAFT_LAG_MAX;

    return lags || dev->rounds.state.n_vocab_draft == 0 ? 0 : k;
}

static int check_seq(struct device *dev, struct gpu_flight *f, const struct round *r, int32_t i)
{
    const struct round_seq *seq = &r->seqs[i];
    struct round_shape *shape = &dev->recording.shape;
    const struct seat *seat = seat_of(dev, seq->slot);

    if (!seat || (seq->masks && seq->k > 0 && seq->source != DRAFT_FROM_HOST))
        return SPECD_EINVAL;
    for (int32_t j = 0; j < i; j++) {
        if (r->seqs[j].slot == seq->slot)
            return SPECD_EINVAL;
    }
    bool known = seat->in_flight == 0;
    int32_t target = rows_after_chunks(r, r->n_chunks, seat, seq->slot, MODEL_TARGET);
    int32_t draft = rows_after_chunks(r, r->n_chunks, seat, seq->slot, MODEL_DRAFT);

    if (seat->len < 1 || (known && (seat->len >= seat->limit || target != seat->len - 1)))
        return SPECD_EINVAL;
    int32_t k = clamp_k(dev, seq, seat, draft);

    if (known && !seat_has_blocks(&dev->seats, seq->slot, seat->len + k))
        return SPECD_EINVAL;
    if (seq->source == DRAFT_FROM_MODEL)
        shape->n_steps = MAX(shape->n_steps, k);
    shape->n_rows += k + 1;
    f->n_logprobs[i] = seat->n_logprobs;
    f->wants_logprobs = f->wants_logprobs || seat->n_logprobs >= 0;
    return 0;
}

/* The flight's copy of the round leads to masks of its own. */
static void keep_masks(const struct device *dev, struct gpu_flight *f)
{
    struct round *round = &f->input->round.round;
    size_t words = (size_t)mask_words(dev->seats.n_vocab);
    int32_t k_max = dev->setup.k_max;

    f->has_masks = false;
    for (int32_t i = 0; i < round->n_seqs; i++) {
        struct round_seq *seq = &round->seqs[i];
        uint32_t *to = f->masks + (size_t)i * ((size_t)k_max + 1) * words;

        if (!seq->masks)
            continue;
        memcpy(to, seq->masks, ((size_t)MIN(seq->k, k_max) + 1) * words * sizeof(*to));
        seq->masks = to;
        f->has_masks = true;
    }
}

/* Whose results will be these. */
static void note_owners(struct device *dev, struct gpu_flight *f)
{
    const struct round *round = &f->input->round.round;

    for (int32_t i = 0; i < round->n_seqs; i++)
        f->generation[i] = seat_of(dev, round->seqs[i].slot)->generation;
    for (int32_t i = 0; i < round->n_chunks; i++)
        f->chunk_generation[i] = seat_of(dev, round->chunks[i].slot)->generation;
}

int gpu_begin(struct device *dev, const struct round *round)
{
    if (dev->recording.active)
        seats_unpack(&dev->seats, next_flight(dev)->input);
    dev->recording = (struct recording){0};
    if (!dev->has_pool || dev->n_submitted - dev->n_collected == WAITER_ROUNDS ||
        round->n_chunks < 0 || round->n_chunks > 2 * SPECD_SLOTS_MAX || round->n_seqs < 0 ||
        round->n_seqs > dev->seats.n_slots)
        return SPECD_EINVAL;
    struct gpu_flight *f = next_flight(dev);
    int rc = 0;

    f->n_scores = f->n_score_rows = 0;
    f->wants_logprobs = false;
    for (int32_t i = 0; rc == 0 && i < round->n_chunks; i++)
        rc = check_chunk(dev, f, round, i);
    for (int32_t i = 0; rc == 0 && i < round->n_seqs; i++)
        rc = check_seq(dev, f, round, i);
    if (rc != 0)
        return rc;
    f->input->round.round = *round;
    *f->clock = (struct device_clock){0}; /* an empty round has no kernel that writes it */
    keep_masks(dev, f);
    dev->recording.round = &f->input->round.round;
    dev->recording.shape.n_seqs = round->n_seqs;
    dev->recording.active = true;
    seats_pack(&dev->seats, f->input, &f->pages);
    note_owners(dev, f);
    return 0;
}

/* ---- what the round does --------------------------------------------------------------------- */

int gpu_record_forward(struct device *dev, enum model_role role, enum row_set rows, int step)
{
    struct recording *r = &dev->recording;

    if (!r->active || (role != MODEL_TARGET && role != MODEL_DRAFT) || !dev->has_net[role])
        return SPECD_EINVAL;
    r->drawable = r->verifiable = false;
    switch (rows) {
    case ROWS_PROMPT:
        r->prompts[role] = true;
        return 0;
    case ROWS_STEP: /* one after another */
        if (role != MODEL_DRAFT || step != r->n_steps + 1 || step > SPECD_K_MAX)
            return SPECD_EINVAL;
        r->drawable = true;
        return 0;
    case ROWS_VERIFY:
        if (role != MODEL_TARGET)
            return SPECD_EINVAL;
        r->verifiable = true;
        return 0;
    }
    return SPECD_EINVAL;
}

int gpu_record_draw(struct device *dev, int step)
{
    struct recording *r = &dev->recording;

    if (!r->active || !r->drawable || step != r->n_steps + 1)
        return SPECD_EINVAL;
    r->drawable = false;
    r->n_steps = step;
    return 0;
}

int gpu_record_verify(struct device *dev)
{
    struct recording *r = &dev->recording;

    if (!r->active || !r->verifiable)
        return SPECD_EINVAL;
    r->verifiable = false;
    r->verifies = true;
    return 0;
}

/* ---- end ------------------------------------------------------------------------------------- */

/* Whether all that begin announced will be done. */
static bool is_complete(const struct recording *r)
{
    for (int32_t i = 0; i < r->round->n_chunks; i++) {
        if (!r->prompts[r->round->chunks[i].role])
            return false;
    }
    return r->round->n_seqs == 0 || r->verifies;
}

/* A slot that was set since begin is not moved by this round any more. */
static void mark_in_flight(struct device *dev, const struct gpu_flight *f)
{
    const struct round *round = &f->input->round.round;

    for (int32_t i = 0; i < round->n_seqs; i++) {
        struct seat *seat = seat_of(dev, round->seqs[i].slot);

        seat->in_flight += seat->generation == f->generation[i];
    }
    for (int32_t i = 0; i < round->n_chunks; i++) {
        struct seat *seat = seat_of(dev, round->chunks[i].slot);

        seat->in_flight += seat->generation == f->chunk_generation[i];
    }
}

/* Of a call that is no kernel's launch: those tell themselves. */
static int told(cudaError_t rc, const char *what)
{
    if (rc == cudaSuccess)
        return 0;
    log_error("cuda: %s: %s", what, cudaGetErrorString(rc));
    return SPECD_EDEVICE;
}

static int enqueue_decode(struct device *dev, const struct round_shape *shape)
{
    cudaGraphExec_t graph = dev->setup.eager ? NULL : gpu_graphs_find(&dev->graphs, shape);

    if (!graph)
        return gpu_rounds_decode(&dev->rounds, shape, dev->stream);
    return told(cudaGraphLaunch(graph, dev->stream), "launching a captured round");
}

static int enqueue(struct device *dev, struct gpu_flight *f)
{
    const struct recording *r = &dev->recording;
    int rc = launch_round_begin(&dev->rounds.state, f->input, f->has_masks, dev->stream);

    for (int i = 0; rc == 0 && i < MODEL_ROLES; i++) {
        if (r->prompts[i])
            rc = gpu_rounds_prompt(&dev->rounds, (enum model_role)i, r->round, dev->setup.max_rows,
                                   dev->stream);
    }
    if (rc == 0 && r->round->n_seqs > 0)
        rc = enqueue_decode(dev, &r->shape);
    if (rc == 0)
        rc = gpu_flight_read(f, &dev->rounds, dev->stream);
    if (rc == 0)
        rc = told(cudaEventRecord(f->done, dev->stream), "the end of a round");
    return rc;
}

int gpu_end(struct device *dev)
{
    struct recording *r = &dev->recording;
    struct gpu_flight *f = next_flight(dev);

    if (!r->active || !is_complete(r))
        return SPECD_EINVAL;
    r->active = false;
    r->shape.n_steps = MIN(r->shape.n_steps, r->n_steps);
    f->input->round.n_steps = r->n_steps;
    mark_in_flight(dev, f);
    int rc = enqueue(dev, f);

    if (rc != 0)
        return rc;
    dev->n_submitted++;
    gpu_waiter_submit(&dev->waiter, f->done);
    return 0;
}

/* ---- the way back ---------------------------------------------------------------------------- */

int gpu_poll(struct device *dev)
{
    int64_t done = dev->has_pool ? gpu_waiter_done(&dev->waiter) : 0;

    return done < 0 ? (int)done : (uint64_t)done > dev->n_collected;
}

int gpu_collect(struct device *dev, struct round_result *out)
{
    int rc = gpu_poll(dev);

    if (rc <= 0)
        return rc < 0 ? rc : SPECD_EINVAL;
    gpu_flight_collect(&dev->flights[dev->n_collected % WAITER_ROUNDS], &dev->seats, out);
    dev->n_collected++;
    return 0;
}
