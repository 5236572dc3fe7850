/*
 * logprobs.cu - raw logits of committed or scored tokens -> what their log-probabilities are made
 * of.
 *
 *   sum = S of the row's own law: floor(exp(z - max) 2^44) over the vocabulary
 *   top = the n largest logits, lowest id on ties
 *
 * The device yields logits, ids and one integer; the logarithm is the host's, logit - max -
 * log(S 2^-44) in double. So the result does not depend on an order of summation, and its distance
 * to the real number is exp's relative error, about 2^-23, plus V 2^-44.
 *
 * Predicted on an H100 with 8 blocks of 512 threads to a row of V = 128256, not measured: two
 * passes, with alternatives four more (three digits of the logit, and collecting), about 15 us; all
 * rows of a round side by side. One launch, and none where no slot asks.
 */
#include "law.cuh"
#include "select.cuh"

#include <math.h>

/* The chosen entries of a block, as keys of value and id. */
struct chosen {
    int n;
    uint64_t keys[SPECD_LOGPROBS_MAX];
};

template <class F> DEVICE void for_entries(const struct device_law *l, const struct part *part, F f)
{
    NO_UNROLL
    for (int32_t g = group_first(part); g < part->end; g += group_step()) {
        float z[GROUP];
        group_load(l, g, z);
        for (int j = 0; j < GROUP; j++) {
            if (GROUP * g + j < l->n_vocab)
                f(GROUP * g + j, z[j]);
        }
    }
}

DEVICE void find_sum(struct team &t, const struct device_law *l, const struct part *part,
                     struct device_logprobs *out)
{
    uint64_t max = 0, sum = 0;

    for_entries(l, part, [&](int32_t id, float z) { max = MAX(max, key_of_entry(z, id)); });
    out->max = float_of_key((uint32_t)(team_max(t, max) >> 32));
    for_entries(l, part, [&](int32_t, float z) { sum += (uint64_t)law_weight(z, out->max, 1.0f); });
    out->sum = team_sum(t, sum);
}

/* Block 0 sorts what all blocks chose: an entry's place is the number of larger keys. */
DEVICE void chosen_write(const struct team &t, struct chosen *chosen, struct device_logprobs *out)
{
    uint64_t mine = 0;
    int place = 0, at = (int)threadIdx.x, n = 0;

    if (t.rank > 0 || at >= SPECD_LOGPROBS_MAX)
        return;
    for (int r = 0; r < t.size; r++) {
        const struct chosen *of = cluster_peer(chosen, r);
        if (at >= n && at < n + of->n)
            mine = of->keys[at - n];
        n += of->n;
    }
    for (int r = 0; r < t.size; r++) {
        const struct chosen *of = cluster_peer(chosen, r);
        for (int i = 0; i < of->n; i++)
            place += of->keys[i] > mine;
    }
    if (at >= n)
        place = at; /* fewer tokens than asked for */
    out->top_id[place] = at < n ? id_of_key(mine) : -1;
    out->top[place] = at < n ? float_of_key((uint32_t)(mine >> 32)) : -INFINITY;
}

DEVICE void find_top(struct team &t, const struct device_law *l, const struct part *part, int n_top,
                     struct device_logprobs *out)
{
    SHARED(struct select_memory, memory);
    SHARED(struct chosen, chosen);
    struct chosen *mine = &chosen;
    const struct digits digits = {32, 21, 10};

    if (threadIdx.x == 0)
        mine->n = 0;
    struct selected cut = team_select(
        t, &memory, digits,
        [&](auto f) { for_entries(l, part, [&](int32_t id, float z) { f(id, key_of_float(z)); }); },
        [](uint32_t) { return (uint64_t)1; }, [=](uint64_t) { return (uint64_t)n_top; });
    for_entries(l, part, [=](int32_t id, float z) {
        uint32_t key = key_of_float(z);
        if (key > cut.key || (key == cut.key && id <= cut.id))
            mine->keys[atomicAdd(&mine->n, 1)] = key_of_entry(z, id);
    });
    cluster_barrier();
    chosen_write(t, mine, out);
    cluster_barrier(); /* block 0 has read the others' */
}

/* Of token `id` in a row of V logits, by the whole team. */
DEVICE void row_logprobs(const float *logits, int32_t n_vocab, int32_t id, int n_top,
                         struct device_logprobs *out)
{
    struct device_law l = {};
    struct device_logprobs r;

    l.logits = logits;
    l.n_vocab = n_vocab;
    struct team t = team_start();
    struct part part = part_start(t, n_vocab, NULL);
    find_sum(t, &l, &part, &r);
    if (t.rank == 0 && threadIdx.x == 0) {
        out->id = id;
        out->max = r.max;
        out->sum = r.sum;
        out->own = logits[id];
    }
    if (n_top > 0)
        find_top(t, &l, &part, MIN(n_top, SPECD_LOGPROBS_MAX), out);
}

/* grid: (parts, tokens, turns), teams of `parts`   block: any */
static __global__ void __launch_bounds__(SAMPLING_THREADS_MAX, 1)
    logprobs_kernel(const struct device_turn *turns, // (turns)
                    struct device_logprobs *out)     // (turns, tokens)
{
    grid_release();
    grid_wait();
    const struct device_turn *turn = &turns[blockIdx.z];
    int i = (int)blockIdx.y;

    if (turn->k < 0 || turn->params->n_logprobs < 0 || i >= turn->out->n_tokens)
        return;
    row_logprobs(turn->q[i].logits, turn->q[i].n_vocab, turn->out->tokens[i],
                 turn->params->n_logprobs, &out[blockIdx.z * gridDim.y + blockIdx.y]);
}

/* grid: (parts, rows), teams of `parts`   block: any */
static __global__ void __launch_bounds__(SAMPLING_THREADS_MAX, 1)
    scores_kernel(const struct device_score *rows, // (rows)
                  struct device_logprobs *out)     // (rows)
{
    grid_release();
    grid_wait();
    const struct device_score *row = &rows[blockIdx.y];

    if (row->n_vocab > 0)
        row_logprobs(row->logits, row->n_vocab, row->id, row->n_top, &out[blockIdx.y]);
}

int launch_logprobs(const struct device_turn *turns, struct device_logprobs *out, int n_turns,
                    int k_max, int n_vocab, struct sampling_shape shape, cudaStream_t stream)
{
    SAMPLING_ASSERT(shape, n_vocab);
    ASSERT(k_max >= 0 && k_max <= SPECD_K_MAX);
    LAUNCH_TEAMS(logprobs_kernel, shape.parts,
                 dim3((unsigned)shape.parts, (unsigned)k_max + 1, (unsigned)n_turns),
                 (unsigned)shape.threads, 0, stream, turns, out);
    return LAUNCH_RESULT();
}

int launch_scores(const struct device_score *rows, struct device_logprobs *out, int n_rows,
                  int n_vocab, struct sampling_shape shape, cudaStream_t stream)
{
    SAMPLING_ASSERT(shape, n_vocab);
    LAUNCH_TEAMS(scores_kernel, shape.parts, dim3((unsigned)shape.parts, (unsigned)n_rows),
                 (unsigned)shape.threads, 0, stream, rows, out);
    return LAUNCH_RESULT();
}

void logprobs_finish(const struct device_logprobs *in, int32_t id, int n_top,
                     struct token_logprob *own, struct token_logprob *top)
{
    double lse = law_log_total(in->max, in->sum);

    own->id = id;
    own->logprob = (float)((double)in->own - lse);
    for (int i = 0; i < n_top; i++) {
        top[i].id = in->top_id[i];
        top[i].logprob = (float)((double)in->top[i] - lse);
    }
}
