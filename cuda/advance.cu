/*
 * advance.cu - the state of sequences over a round: clamps, drafts, laws to be made, commits.
 *
 * Each kernel is one block with a thread for each turn, or for each row that wants a law; but the
 * copies of count tables, 4 V bytes read and written for each turn with a penalty and each drafted
 * token, go over the whole device.
 *
 * Predicted on an H100, not measured: about 2 us each, latency of a few dependent loads; six of
 * them and two more for each draft step in a round. Counts at V = 128256: 1 MB, 1 us on top.
 */
#include "advance.h"
#include "clock.cuh"
#include "common.cuh"
#include "specd/law.h"
#include "specd/round_rules.h"

#define THREADS 256
static_assert(SPECD_SLOTS_MAX <= THREADS, "a thread for each turn");
#define COUNT_PARTS 16 /* blocks that copy one slot's counts */

/* ---- prompt ---------------------------------------------------------------------------------- */

/* grid: 1   block: THREADS */
static __global__ void __launch_bounds__(THREADS)
    prompt_end_kernel(struct device_state s, enum model_role role)
{
    grid_release();
    grid_wait();
    const struct round *round = &s.round->round;

    if (role == MODEL_DRAFT && s.clock && threadIdx.x == 0)
        s.clock->draft_prompt_ns += clock_elapsed(s.clock, device_clock_ns());
    clock_end(s, &device_clock::prompt_ns);
    for (int i = (int)threadIdx.x; i < round->n_chunks; i += THREADS) {
        const struct round_chunk *c = &round->chunks[i];
        struct device_slot *slot = &s.slots[c->slot];
        if (c->role != role || slot->stopped)
            continue;
        slot->rows[role] = c->start + c->n;
    }
}

/* ---- who drafts how much --------------------------------------------------------------------- */

DEVICE int32_t turn_k(const struct device_state &s, const struct round_seq *seq,
                      const struct device_slot *slot)
{
    const struct draft_limits limits = {s.k_max, s.k_draft, s.n_vocab, s.n_vocab_draft};

    if (slot->stopped || !slot_can_decode(slot->len, slot->limit, slot->rows[MODEL_TARGET]))
        return -1;
    int32_t k = round_k(seq, &limits, slot->len, slot->limit, slot->rows[MODEL_DRAFT]);
    return round_k_recorded(seq->source, k, s.round->n_steps);
}

/* grid: 1   block: THREADS */
static __global__ void __launch_bounds__(THREADS) turns_begin_kernel(struct device_state s)
{
    grid_release();
    grid_wait();
    SHARED_ARRAY(int32_t, rows, THREADS);
    int i = (int)threadIdx.x, n = s.round->round.n_seqs;
    struct round_turn turn = {-1, -1, DRAFT_FROM_MODEL, 0};

    if (i < n) {
        const struct round_seq *seq = &s.round->round.seqs[i];
        const struct device_slot *slot = &s.slots[seq->slot];
        turn.slot = seq->slot;
        turn.source = seq->source;
        turn.k = turn_k(s, seq, slot);
        for (int32_t k = 0; turn.source == DRAFT_FROM_HOST && k < turn.k; k++)
            slot->tokens[slot->len + k] = seq->host_draft[k];
    }
    rows[i] = turn.k + 1;
    __syncthreads();
    for (int j = 0; j < i && j < n; j++)
        turn.first_row += rows[j];
    if (i < s.n_slots)
        s.turns[i] = turn;
}

/* ---- laws ------------------------------------------------------------------------------------ */

/* Of the row that predicts position len + i, behind i drafted tokens. */
DEVICE void law_prepare(struct device_law *l, const struct device_state &s,
                        const struct device_slot *slot, const struct law_params *law, int32_t i,
                        const float *logits, int32_t n_vocab)
{
    l->mask = NULL;
    l->logits = logits;
    l->params = &slot->params;
    l->law = law;
    l->counts_generated = slot->counting ? slot->counts_generated + (int64_t)i * s.n_vocab : NULL;
    l->counts_all = slot->counting ? slot->counts_all + (int64_t)i * s.n_vocab : NULL;
    l->n_vocab = n_vocab;
    l->position = slot->len + i;
    l->round = slot->round;
}

/* grid: 1   block: THREADS */
static __global__ void __launch_bounds__(THREADS)
    step_laws_kernel(struct device_state s, struct pass p, struct advance a, int step)
{
    grid_release();
    grid_wait();
    int i = (int)threadIdx.x;
    struct device_law *laws = a.p + (int64_t)(step - 1) * s.n_slots;
    const float *logits = a.draft_logits + (int64_t)(step - 1) * s.n_slots * a.draft_stride;

    clock_stamp(s.clock, &device_clock::draft_ns);
    if (i < s.n_slots)
        laws[i].n_vocab = 0;
    __syncthreads();
    if (i >= p.counts->n_logits)
        return;
    int32_t turn = p.turn_of_logit[i];
    const struct device_slot *slot = &s.slots[s.turns[turn].slot];
    law_prepare(&laws[turn], s, slot, &slot->params.draft, step - 1, logits + i * a.draft_stride,
                s.n_vocab_draft);
}

DEVICE void turn_prepare(const struct device_state &s, const struct advance &a, int i)
{
    const struct round_turn *t = &s.turns[i];
    const struct device_slot *slot = &s.slots[t->slot];
    struct device_turn *out = &a.turns[i];
    struct seq_result *result = &a.results[i];

    memset(result, 0, sizeof(*result));
    result->slot = t->slot;
    out->q = a.q + t->first_row;
    out->p = a.p + i;
    out->p_stride = s.n_slots;
    out->drafted = slot->tokens + slot->len;
    out->k = t->k;
    out->len = slot->len;
    out->round = slot->round;
    out->params = &slot->params;
    out->synthetic_acceptance = s.round->round.synthetic_acceptance;
    out->out = result;
    out->n_overlaps = 0;
    if (t->source != DRAFT_FROM_HOST)
        return;
    for (int32_t k = 0; k < t->k; k++) {
        struct device_law *l = &a.p[(int64_t)k * s.n_slots + i];
        law_prepare(l, s, slot, &slot->params.draft, k, NULL, s.n_vocab);
        device_law_point(l, out->drafted[k]);
    }
}

/* grid: n_slots   block: WARP */
static __global__ void __launch_bounds__(WARP)
    verify_begin_kernel(struct device_state s, struct advance a)
{
    grid_release();
    grid_wait();
    int i = (int)blockIdx.x, n = s.round->round.n_seqs;
    const struct round_turn *t = &s.turns[i];

    if (i == 0)
        clock_stamp(s.clock, &device_clock::verify_ns);
    if (i >= n) {
        if (threadIdx.x == 0)
            a.turns[i].k = -1;
    } else {
        const struct device_slot *slot = &s.slots[t->slot];
        if (threadIdx.x == 0)
            turn_prepare(s, a, i);
        for (int32_t k = (int32_t)threadIdx.x; k <= t->k; k += WARP) {
            int32_t row = t->first_row + k;
            law_prepare(&a.q[row], s, slot, &slot->params.target, k,
                        a.target_logits + row * a.target_stride, s.n_vocab);
            if (s.round->round.seqs[i].masks)
                a.q[row].mask = s.masks + ((int64_t)i * (s.k_max + 1) + k) * mask_words(s.n_vocab);
        }
    }
    /* Rows behind the last turn's are padding: block i sees to k_max + 1 of them. */
    int32_t end = n > 0 ? s.turns[n - 1].first_row + s.turns[n - 1].k + 1 : 0;
    for (int32_t k = (int32_t)threadIdx.x; k <= s.k_max; k += WARP) {
        int32_t row = i * (s.k_max + 1) + k;
        if (row >= end)
            a.q[row].n_vocab = 0;
    }
}

/* ---- counts ---------------------------------------------------------------------------------- */

DEVICE void count_one(uint16_t *count)
{
    if (*count < UINT16_MAX)
        (*count)++;
}

/* This block's part of rows first..end of a table: each row is the one before and one token. */
DEVICE void counts_follow(uint16_t *counts, int32_t n_vocab, const int32_t *drafted, int first,
                          int end)
{
    for (int32_t id = (int32_t)(blockIdx.x * blockDim.x + threadIdx.x); id < n_vocab;
         id += (int32_t)(gridDim.x * blockDim.x)) {
        for (int row = first; row < end; row++) {
            uint16_t *to = counts + (int64_t)row * n_vocab + id;
            *to = to[-(int64_t)n_vocab];
            if (drafted[row - 1] == id)
                count_one(to);
        }
    }
}

/* step >= 1: of the token drafted in that step; 0: of the host's drafts.
 * grid: (COUNT_PARTS, n_slots)   block: any */
static __global__ void __launch_bounds__(THREADS) counts_kernel(struct device_state s, int step)
{
    grid_release();
    grid_wait();
    int i = (int)blockIdx.y;

    if (i >= s.round->round.n_seqs)
        return;
    const struct round_turn *t = &s.turns[i];
    const struct device_slot *slot = &s.slots[t->slot];
    if (!slot->counting || t->k < MAX(step, 1) ||
        t->source != (step > 0 ? DRAFT_FROM_MODEL : DRAFT_FROM_HOST))
        return;
    int first = MAX(step, 1), end = step > 0 ? step + 1 : t->k + 1;
    counts_follow(slot->counts_all, s.n_vocab, slot->tokens + slot->len, first, end);
    counts_follow(slot->counts_generated, s.n_vocab, slot->tokens + slot->len, first, end);
}

/* grid: 1   block: THREADS */
static __global__ void __launch_bounds__(THREADS)
    drawn_kernel(struct device_state s, struct pass p, struct advance a, int step)
{
    grid_release();
    grid_wait();
    int i = (int)threadIdx.x;

    clock_stamp(s.clock, &device_clock::sample_ns);
    if (i >= p.counts->n_logits)
        return;
    int32_t turn = p.turn_of_logit[i];
    const struct device_slot *slot = &s.slots[s.turns[turn].slot];
    slot->tokens[slot->len + step - 1] = a.drawn[turn];
}

/* ---- commit ---------------------------------------------------------------------------------- */

DEVICE void commit(const struct device_state &s, struct device_slot *slot,
                   const struct seq_result *out)
{
    if (slot->len + out->n_tokens > slot->limit || slot->limit > s.n_ctx)
        __trap();
    for (int32_t i = 0; i < out->n_tokens; i++) {
        int32_t id = out->tokens[i];
        slot->tokens[slot->len + i] = id;
        if (!slot->counting)
            continue;
        count_one(&slot->counts_all[id]);
        if (slot->len + i >= slot->n_prompt)
            count_one(&slot->counts_generated[id]);
    }
    slot->len += out->n_tokens;
}

/* grid: 1   block: THREADS */
static __global__ void __launch_bounds__(THREADS)
    turns_end_kernel(struct device_state s, struct advance a)
{
    grid_release();
    grid_wait();
    int i = (int)threadIdx.x;

    clock_end(s, &device_clock::sample_ns);
    if (i >= s.round->round.n_seqs)
        return;
    const struct round_turn *t = &s.turns[i];
    struct device_slot *slot = &s.slots[t->slot];
    struct seq_result *out = &a.results[i];
    if (t->k >= 0) {
        out->n_drafted = t->k;
        slot->round++;
        slot->stopped = (out->flags & (SEQ_END | SEQ_NUMERIC)) != 0;
        if (!(out->flags & SEQ_NUMERIC)) {
            slot->rows[MODEL_DRAFT] =
                round_draft_rows(t->source, t->k, slot->len, slot->rows[MODEL_DRAFT], out);
            commit(s, slot, out);
            slot->rows[MODEL_TARGET] = slot->len - 1;
        }
    }
    out->len = slot->len;
    memcpy(out->rows, slot->rows, sizeof(out->rows));
    if (s.round->results)
        s.round->results[i] = *out;
}

/* ---- launchers ------------------------------------------------------------------------------- */

static void launch_counts(const struct device_state *state, int step, cudaStream_t stream)
{
    LAUNCH(counts_kernel, dim3(COUNT_PARTS, (unsigned)state->n_slots), THREADS, 0, stream, *state,
           step);
}

int launch_prompt_end(const struct device_state *state, enum model_role role, cudaStream_t stream)
{
    LAUNCH(prompt_end_kernel, 1, THREADS, 0, stream, *state, role);
    return LAUNCH_RESULT();
}

int launch_turns_begin(const struct device_state *state, cudaStream_t stream)
{
    LAUNCH(turns_begin_kernel, 1, THREADS, 0, stream, *state);
    launch_counts(state, 0, stream);
    return LAUNCH_RESULT();
}

int launch_step_laws(const struct device_state *state, const struct pass *pass,
                     const struct advance *a, int step, cudaStream_t stream)
{
    ASSERT(step >= 1 && step <= state->k_draft && a->draft_stride % 4 == 0);
    LAUNCH(step_laws_kernel, 1, THREADS, 0, stream, *state, *pass, *a, step);
    return LAUNCH_RESULT();
}

int launch_step_end(const struct device_state *state, const struct pass *pass,
                    const struct advance *a, int step, cudaStream_t stream)
{
    LAUNCH(drawn_kernel, 1, THREADS, 0, stream, *state, *pass, *a, step);
    launch_counts(state, step, stream);
    return LAUNCH_RESULT();
}

int launch_verify_begin(const struct device_state *state, const struct advance *a,
                        cudaStream_t stream)
{
    ASSERT(a->target_stride % 4 == 0);
    LAUNCH(verify_begin_kernel, (unsigned)state->n_slots, WARP, 0, stream, *state, *a);
    return LAUNCH_RESULT();
}

int launch_turns_end(const struct device_state *state, const struct advance *a, cudaStream_t stream)
{
    LAUNCH(turns_end_kernel, 1, THREADS, 0, stream, *state, *a);
    return LAUNCH_RESULT();
}
