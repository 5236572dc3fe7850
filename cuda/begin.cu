/*
 * begin.cu - the first kernel of a round: pinned host memory -> the round, and slots that changed.
 *
 * A block for each changed slot, for the masks of each sequence, and one for the round; only live
 * entries cross the bus. Predicted on an H100, not measured: 2 us of latency and 25 GB/s: 16
 * sequences 1.3 KB, a new prompt of 8192 tokens 33 KB, 3 us. Counts of a slot with penalties: every
 * thread reads all its tokens, some 10 us for 1000 of them.
 */
#include "begin.h"
#include "clock.cuh"
#include "common.cuh"
#include "specd/round_rules.h"

#define THREADS 256

template <class T> DEVICE void bring(T *to, const T *from, int64_t n)
{
    for (int64_t i = (int64_t)threadIdx.x; i < n; i += THREADS)
        to[i] = from[i];
}

DEVICE void bring_round(struct device_round *to, const struct device_round *from)
{
    bring(to->round.seqs, from->round.seqs, from->round.n_seqs);
    bring(to->round.chunks, from->round.chunks, from->round.n_chunks);
    if (threadIdx.x != 0)
        return;
    to->round.n_seqs = from->round.n_seqs;
    to->round.n_chunks = from->round.n_chunks;
    to->round.synthetic_acceptance = from->round.synthetic_acceptance;
    to->n_steps = from->n_steps;
    to->results = from->results;
    to->clock = from->clock;
}

/* A thread counts the ids that are its own, so that no two meet. */
DEVICE void count_text(const struct device_slot *slot, const int32_t *tokens, int32_t n_vocab)
{
    for (int32_t id = (int32_t)threadIdx.x; id < n_vocab; id += THREADS)
        slot->counts_all[id] = slot->counts_generated[id] = 0;
    for (int32_t i = 0; i < slot->len; i++) {
        int32_t id = tokens[i];
        if (id % THREADS != (int32_t)threadIdx.x)
            continue;
        if (slot->counts_all[id] < UINT16_MAX)
            slot->counts_all[id]++;
        if (i >= slot->n_prompt && slot->counts_generated[id] < UINT16_MAX)
            slot->counts_generated[id]++;
    }
}

DEVICE void slot_start(const struct device_state &s, const struct slot_change *c)
{
    const struct device_slot *start = &c->start;
    const struct sample_params *p = &start->params;

    bring(start->tokens, c->tokens, start->len);
    bring((int32_t *)p->bias_ids, c->bias_ids, p->n_bias);
    bring((float *)p->bias, c->bias, p->n_bias);
    if (c->allowed)
        bring((uint32_t *)p->allowed, c->allowed, mask_words(s.n_vocab));
    if (c->draft_ids)
        bring((uint32_t *)p->draft_ids, c->draft_ids, mask_words(s.n_vocab));
    if (threadIdx.x == 0)
        s.slots[c->slot] = *start;
    if (!start->counting)
        return;
    __syncthreads(); /* the tokens are there */
    count_text(start, start->tokens, s.n_vocab);
}

/* Of sequence i of the round. */
DEVICE void bring_masks(const struct device_state &s, const struct round_seq *seq, int i)
{
    int64_t words = mask_words(s.n_vocab);

    if (seq->masks)
        bring(s.masks + i * (s.k_max + 1) * words, seq->masks,
              round_mask_rows(seq, s.k_max) * words);
}

/* grid: 1 + changes (+ sequences)   block: THREADS */
static __global__ void __launch_bounds__(THREADS, 1)
    round_begin_kernel(struct device_state s, const struct round_input *in)
{
    grid_release();
    grid_wait();
    if (blockIdx.x == 0) {
        clock_begin(s.clock);
        bring_round((struct device_round *)s.round, &in->round);
        return;
    }
    int change = (int)blockIdx.x - 1, seq = change - in->n_changes;
    if (seq >= 0) {
        bring_masks(s, &in->round.round.seqs[seq], seq);
        return;
    }
    const struct slot_change *c = &in->changes[change];
    const struct device_slot *slot = c->starts ? &c->start : &s.slots[c->slot];
    bring(slot->blocks + c->first_block, c->blocks, c->n_blocks);
    if (c->starts)
        slot_start(s, c);
}

int launch_round_begin(const struct device_state *state, const struct round_input *in,
                       bool has_masks, cudaStream_t stream)
{
    int32_t n_masked = has_masks ? in->round.round.n_seqs : 0;

    ASSERT(in->n_changes >= 0 && in->n_changes <= state->n_slots);
    LAUNCH(round_begin_kernel, (unsigned)(1 + in->n_changes + n_masked), THREADS, 0, stream, *state,
           in);
    return LAUNCH_RESULT();
}
