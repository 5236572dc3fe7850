/*
 * The verbs of a round: begin checks it against what is known of the slots, the verbs after it are
 * noted (dev->record, by device.c), and end puts everything on the stream.
 */
#include "device_impl.h"
#include "specd/util.h"

#include <string.h>

static struct gpu_flight *next_flight(struct device *dev)
{
    return &dev->flights[dev->n_submitted % WAITER_ROUNDS];
}

/* ---- begin ----------------------------------------------------------------------------------- */

/* The flight's copy of the round leads to masks of its own. */
static void keep_masks(const struct device *dev, struct gpu_flight *f)
{
    struct round *round = &f->input->round.round;
    size_t words = (size_t)mask_words(dev->slots.shape.n_vocab);
    int32_t k_max = dev->setup.k_max;

    f->has_masks = false;
    for (int32_t i = 0; i < round->n_seqs; i++) {
        struct round_seq *seq = &round->seqs[i];
        uint32_t *to = f->masks + (size_t)i * ((size_t)k_max + 1) * words;

        if (!seq->masks)
            continue;
        memcpy(to, seq->masks, (size_t)round_mask_rows(seq, k_max) * words * sizeof(*to));
        seq->masks = to;
        f->has_masks = true;
    }
}

/* The round's shape, and what its results will need: log-probabilities that each slot wants, and
 * which slot_set of the slot they belong to. */
static void note_seqs(struct device *dev, struct gpu_flight *f, const int32_t *k)
{
    const struct round *round = &f->input->round.round;
    struct round_shape *shape = &dev->shape;

    *shape = (struct round_shape){.n_seqs = round->n_seqs};
    f->wants_logprobs = false;
    for (int32_t i = 0; i < round->n_seqs; i++) {
        const struct gpu_slot *slot = &dev->slots.slots[round->seqs[i].slot];

        if (round->seqs[i].source == DRAFT_FROM_MODEL)
            shape->n_steps = MAX(shape->n_steps, k[i]);
        shape->n_rows += k[i] + 1;
        f->generation[i] = slot->generation;
        f->n_logprobs[i] = slot->n_logprobs;
        f->wants_logprobs = f->wants_logprobs || slot->n_logprobs >= 0;
    }
}

static void note_chunks(const struct device *dev, struct gpu_flight *f)
{
    const struct round *round = &f->input->round.round;

    f->n_scores = f->n_score_rows = 0;
    for (int32_t i = 0; i < round->n_chunks; i++) {
        const struct round_chunk *c = &round->chunks[i];
        const struct gpu_slot *slot = &dev->slots.slots[c->slot];

        f->chunk_generation[i] = slot->generation;
        if (!c->score)
            continue;
        f->score_tops[f->n_scores] = slot->n_logprobs;
        f->score_results[f->n_scores++] =
            (struct score_result){.slot = c->slot, .start = c->start, .n = c->n};
        f->n_score_rows += c->n;
    }
}

int gpu_begin(struct device *dev, const struct round *round)
{
    const struct round_limits limits = {
        .shape = &dev->slots.shape,
        .has_model = {dev->used[MODEL_TARGET] != NULL, dev->used[MODEL_DRAFT] != NULL},
        .n_vocab_draft = dev->rounds.state.n_vocab_draft,
    };
    struct gpu_flight *f = next_flight(dev);
    int32_t k[SPECD_SLOTS_MAX];

    if (dev->record.active)
        gpu_slots_unpack(&dev->slots, f->input);
    dev->record.active = false;
    if (!dev->has_pool || dev->n_submitted - dev->n_collected == WAITER_ROUNDS)
        return SPECD_EINVAL;
    int rc = round_check(round, &limits, gpu_slots_view, &dev->slots, k);

    if (rc != 0)
        return rc;
    f->input->round.round = *round;
    *f->clock = (struct device_clock){0}; /* an empty round has no kernel that writes it */
    keep_masks(dev, f);
    gpu_slots_pack(&dev->slots, f->input, &f->pages);
    note_seqs(dev, f, k);
    note_chunks(dev, f);
    round_record_begin(&dev->record, round, &limits);
    return 0;
}

/* ---- end ------------------------------------------------------------------------------------- */

/* A slot that was set since begin is not moved by this round any more. */
static void mark_in_flight(struct device *dev, const struct gpu_flight *f)
{
    const struct round *round = &f->input->round.round;

    for (int32_t i = 0; i < round->n_seqs; i++) {
        struct gpu_slot *slot = &dev->slots.slots[round->seqs[i].slot];

        slot->in_flight += slot->generation == f->generation[i];
    }
    for (int32_t i = 0; i < round->n_chunks; i++) {
        struct gpu_slot *slot = &dev->slots.slots[round->chunks[i].slot];

        slot->in_flight += slot->generation == f->chunk_generation[i];
    }
}

static int enqueue_decode(struct device *dev)
{
    const struct round_shape *shape = &dev->shape;
    cudaGraphExec_t graph = dev->setup.eager ? NULL : gpu_graphs_find(&dev->graphs, shape);

    if (!graph)
        return gpu_rounds_decode(&dev->rounds, shape, dev->stream);
    return cuda_ok(cudaGraphLaunch(graph, dev->stream), "launching a captured round")
               ? 0
               : SPECD_EDEVICE;
}

static int enqueue(struct device *dev, struct gpu_flight *f)
{
    const struct round *round = &f->input->round.round;
    int rc = launch_round_begin(&dev->rounds.state, f->input, f->has_masks, dev->stream);

    for (int i = 0; rc == 0 && i < MODEL_ROLES; i++) {
        if (dev->record.has_prompt[i])
            rc = gpu_rounds_prompt(&dev->rounds, (enum model_role)i, round, dev->setup.max_rows,
                                   dev->stream);
    }
    if (rc == 0 && round->n_seqs > 0)
        rc = enqueue_decode(dev);
    if (rc == 0)
        rc = gpu_flight_read(f, &dev->rounds, dev->stream);
    if (rc == 0 && !cuda_ok(cudaEventRecord(f->done, dev->stream), "the end of a round"))
        rc = SPECD_EDEVICE;
    return rc;
}

int gpu_end(struct device *dev)
{
    struct gpu_flight *f = next_flight(dev);
    int rc = round_record_end(&dev->record);

    if (rc != 0)
        return rc;
    f->input->round.n_steps = dev->record.n_steps;
    dev->shape.n_steps = MIN(dev->shape.n_steps, dev->record.n_steps);
    mark_in_flight(dev, f);
    rc = enqueue(dev, f);
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
    gpu_flight_collect(&dev->flights[dev->n_collected % WAITER_ROUNDS], &dev->slots, out);
    dev->n_collected++;
    return 0;
}
