/*
 * law.cuh - laws on the device: warped logits, weights, and what a team finds in them.
 *
 * As on the CPU a law is a summary (maximum, sum, cut) over logits that stay where they are, and a
 * weight is computed from its logit each time, by the functions of specd/law.h. A row is read in
 * groups of four neighbours (16 bytes; one group is one Philox counter), each block of the team a
 * run of groups. At V = 128256 and 8 blocks a pass reads 64 KB a block out of L2.
 */
#ifndef SPECD_CUDA_LAW_CUH
#define SPECD_CUDA_LAW_CUH

#include "common.cuh"
#include "sampling.h"
#include "specd/law.h"

#define GROUP 4          /* neighbours that one thread handles at a time */
#define GROUPS_OF_WORD 8 /* of 32 ids: parts begin at whole words of id masks */

/* A block's share of the rows of one item, and the ids in it that logit_bias or an end token may
 * change: a bit each, so that all others skip the lists. */
struct part {
    int32_t first, end;    /* groups */
    const uint32_t *marks; /* from id GROUP * first on; NULL: no lists */
};

static inline int32_t part_groups(int32_t n_vocab, int parts)
{
    int32_t words = mask_words(n_vocab);

    return (words + parts - 1) / parts * GROUPS_OF_WORD;
}

/* Dynamic shared memory of a kernel that calls part_start. */
static inline size_t part_bytes(int32_t n_vocab, int parts)
{
    return (size_t)part_groups(n_vocab, parts) / GROUPS_OF_WORD * sizeof(uint32_t);
}

/* What every launcher checks. */
#define SAMPLING_ASSERT(shape, n_vocab)                                              \
    ASSERT((n_vocab) > 0 && (n_vocab) <= SPECD_VOCAB_MAX && (shape).threads > 0 &&   \
           (shape).threads <= SAMPLING_THREADS_MAX && (shape).threads % WARP == 0 && \
           (shape).parts > 0 && (shape).parts <= CLUSTER_MAX)

DEVICE void mark_id(uint32_t *marks, const struct part *part, int32_t id)
{
    int32_t at = id - GROUP * part->first;

    if (at >= 0 && at < GROUP * (part->end - part->first))
        atomicOr(&marks[at / 32], 1u << at % 32);
}

/* params may be NULL: no lists. */
DEVICE struct part part_start(const struct team &t, int32_t n_vocab,
                              const struct sample_params *params)
{
    DYNAMIC_SHARED(uint32_t, marks);
    int32_t words = mask_words(n_vocab), words_of_part = (words + t.size - 1) / t.size;
    struct part part;

    part.first = MIN(t.rank * words_of_part, words) * GROUPS_OF_WORD;
    part.end = MIN((t.rank + 1) * words_of_part, words) * GROUPS_OF_WORD;
    part.marks = NULL;
    if (!params || params->n_bias + params->n_ends == 0)
        return part;
    for (int32_t i = (int32_t)threadIdx.x; i < words_of_part; i += (int32_t)blockDim.x)
        marks[i] = 0;
    __syncthreads();
    for (int32_t i = (int32_t)threadIdx.x; i < params->n_bias; i += (int32_t)blockDim.x)
        mark_id(marks, &part, params->bias_ids[i]);
    for (int32_t i = (int32_t)threadIdx.x; i < params->n_ends; i += (int32_t)blockDim.x)
        mark_id(marks, &part, params->ends[i].id);
    __syncthreads();
    part.marks = marks;
    return part;
}

/* ---- warped logits --------------------------------------------------------------------------- */

DEVICE float logit_penalised(const struct device_law *l, float z, int32_t id)
{
    return law_penalise(z, l->law, l->counts_generated ? l->counts_generated[id] : 0,
                        l->counts_all ? l->counts_all[id] : 0);
}

DEVICE bool id_allowed(const struct device_law *l, int32_t id)
{
    const uint32_t *allowed = l->params->allowed;

    return (!allowed || allowed[id / 32] >> id % 32 & 1) &&
           (!l->mask || l->mask[id / 32] >> id % 32 & 1);
}

/* What the lists do to one marked id. */
DEVICE float logit_listed(const struct device_law *l, float z, int32_t id)
{
    const struct sample_params *p = l->params;

    for (int32_t i = 0; i < p->n_bias; i++) {
        if (p->bias_ids[i] == id)
            z = law_add_bias(z, p->bias[i]);
    }
    for (int32_t i = 0; i < p->n_ends; i++) {
        if (p->ends[i].id == id && l->position < p->ends[i].from)
            z = -INFINITY;
    }
    return z;
}

DEVICE void group_load(const struct device_law *l, int32_t group, float z[GROUP])
{
    int32_t first = GROUP * group;

    if (first + GROUP <= l->n_vocab) {
        float4 v = *(const float4 *)(l->logits + first);
        z[0] = v.x;
        z[1] = v.y;
        z[2] = v.z;
        z[3] = v.w;
        return;
    }
    for (int j = 0; j < GROUP; j++)
        z[j] = first + j < l->n_vocab ? l->logits[first + j] : -INFINITY;
}

DEVICE void group_warp(const struct device_law *l, const struct part *part, int32_t group,
                       float z[GROUP])
{
    int32_t at = group - part->first;
    uint32_t marks =
        part->marks ? part->marks[at / GROUPS_OF_WORD] >> at % GROUPS_OF_WORD * GROUP : 0;

    UNROLL
    for (int j = 0; j < GROUP; j++) {
        int32_t id = GROUP * group + j;
        if (id < l->n_vocab) {
            z[j] = logit_penalised(l, z[j], id);
            if (marks >> j & 1)
                z[j] = logit_listed(l, z[j], id);
            if (!id_allowed(l, id))
                z[j] = -INFINITY;
        }
    }
}

/* Warped logits, -infinity past the vocabulary. */
DEVICE void group_logits(const struct device_law *l, const struct part *part, int32_t group,
                         float z[GROUP])
{
    group_load(l, group, z);
    if (l->adjusted)
        group_warp(l, part, group, z);
}

/* ---- weights --------------------------------------------------------------------------------- */

/* Of what law_keeps; true if any is positive. `part` may be of a larger vocabulary. */
DEVICE bool group_weights(const struct device_law *l, const struct part *part, int32_t group,
                          float w[GROUP])
{
    int32_t first = GROUP * group;
    bool any = false;

    for (int j = 0; j < GROUP; j++)
        w[j] = 0.0f;
    if (l->one_hot) {
        for (int j = 0; j < GROUP; j++)
            w[j] = first + j == l->top ? (float)LAW_ONE : 0.0f;
        return l->top >= first && l->top < first + GROUP;
    }
    if (first >= l->n_vocab)
        return false;
    float z[GROUP];
    group_logits(l, part, group, z);
    for (int j = 0; j < GROUP; j++) {
        float x = law_weight(z[j], l->max, l->scale);
        w[j] = law_keeps(x, first + j, l->cut_w, l->cut_id) ? x : 0.0f;
        any |= w[j] > 0.0f;
    }
    return any;
}

/* A thread's groups are group_first, + group_step, ... The loops over them are not unrolled: their
 * bodies are long, and other warps hide the loads. */
DEVICE int32_t group_first(const struct part *part)
{
    return part->first + (int32_t)threadIdx.x;
}

DEVICE int32_t group_step(void)
{
    return (int32_t)blockDim.x;
}

/* S: over the whole team. */
DEVICE uint64_t team_weight_sum(struct team &t, const struct device_law *l, const struct part *part)
{
    uint64_t sum = 0;

    NO_UNROLL
    for (int32_t g = group_first(part); g < part->end; g += group_step()) {
        float w[GROUP];
        if (group_weights(l, part, g, w)) {
            for (int j = 0; j < GROUP; j++)
                sum += (uint64_t)w[j];
        }
    }
    return team_sum(t, sum);
}

/* W of one id; the lanes of a warp share the search in the lists. All get the result. */
DEVICE uint64_t warp_weight_of(const struct device_law *l, int32_t id)
{
    const struct sample_params *p = l->params;
    int lane = (int)threadIdx.x % WARP;
    float bias = 0.0f;
    bool biased = false, banned = false;

    if (id < 0 || id >= l->n_vocab || l->bad)
        return 0;
    if (l->one_hot)
        return id == l->top ? LAW_ONE : 0;
    float z = l->logits[id];
    if (l->adjusted) {
        for (int32_t i = lane; i < p->n_bias; i += WARP) {
            if (p->bias_ids[i] == id) {
                bias = p->bias[i];
                biased = true;
            }
        }
        for (int32_t i = lane; i < p->n_ends; i += WARP)
            banned |= p->ends[i].id == id && l->position < p->ends[i].from;
        unsigned who = __ballot_sync(ALL_LANES, biased); /* an id is listed once */
        bias = __shfl_sync(ALL_LANES, bias, who ? __ffs((int)who) - 1 : 0);
        banned = __any_sync(ALL_LANES, banned) || !id_allowed(l, id);
        z = logit_penalised(l, z, id);
        if (who)
            z = law_add_bias(z, bias);
        if (banned)
            z = -INFINITY;
    }
    float w = law_weight(z, l->max, l->scale);
    return law_keeps(w, id, l->cut_w, l->cut_id) ? (uint64_t)w : 0;
}

/* ---- races ----------------------------------------------------------------------------------- */

/* Four neighbours with masses r enter; their random words are made only if one can still win. */
DEVICE void group_race(const double r[GROUP], int32_t group, const struct noise *noise,
                       struct race *race)
{
    bool any = false;

    for (int j = 0; j < GROUP; j++)
        any |= r[j] > race->score * RACE_U_MIN;
    if (!any)
        return;
    struct philox bits = noise_words(noise, (uint32_t)group);
    for (int j = 0; j < GROUP; j++) {
        if (!race_hopeless(r[j], bits.w[j], race->score))
            race_enter(race, race_score(r[j], bits.w[j]), GROUP * group + j);
    }
}

/* The winner of all threads' races, -1 if nobody started. Scores are positive, so their bits are
 * in the order of the numbers. */
DEVICE int32_t team_race(struct team &t, struct race mine)
{
    struct words w;

    memcpy(&w.a, &mine.score, sizeof(w.a));
    w.b = (uint64_t)(int64_t)mine.id;
    w = team_reduce(t, w, [](struct words x, struct words y) {
        bool second = y.a > x.a || (y.a == x.a && (int64_t)y.b < (int64_t)x.b);
        return second ? y : x;
    });
    return (int32_t)(int64_t)w.b;
}

DEVICE int32_t team_draw(struct team &t, const struct device_law *l, const struct part *part,
                         const struct noise *noise)
{
    struct race race = race_start();

    if (l->one_hot || l->bad)
        return l->top;
    NO_UNROLL
    for (int32_t g = group_first(part); g < part->end; g += group_step()) {
        float w[GROUP];
        double r[GROUP];
        if (!group_weights(l, part, g, w))
            continue;
        for (int j = 0; j < GROUP; j++)
            r[j] = (double)w[j];
        group_race(r, g, noise, &race);
    }
    return team_race(t, race);
}

/* ---- residuals: max(b q - p, 0) -------------------------------------------------------------- */

DEVICE bool group_residual(const struct device_law *q, const struct device_law *p,
                           const struct part *part, double b, int32_t group, double r[GROUP])
{
    float wq[GROUP], wp[GROUP];
    bool any = false;

    if (!group_weights(q, part, group, wq))
        return false;
    group_weights(p, part, group, wp);
    for (int j = 0; j < GROUP; j++) {
        double x = 0.0;
        if (wq[j] > 0.0f) /* else nothing is left, without two divisions */
            x = b * ((double)wq[j] / (double)q->sum) - (double)wp[j] / (double)p->sum;
        r[j] = x > 0.0 ? x : 0.0;
        any |= x > 0.0;
    }
    return any;
}

DEVICE int32_t team_draw_residual(struct team &t, const struct device_law *q,
                                  const struct device_law *p, const struct part *part, double b,
                                  const struct noise *noise, bool *fallback)
{
    struct race race = race_start();

    *fallback = false;
    if (q->one_hot || q->bad)
        return q->top;
    NO_UNROLL
    for (int32_t g = group_first(part); g < part->end; g += group_step()) {
        double r[GROUP];
        if (group_residual(q, p, part, b, g, r))
            group_race(r, g, noise, &race);
    }
    int32_t id = team_race(t, race);
    if (id >= 0)
        return id;
    *fallback = true;
    return team_draw(t, q, part, noise);
}

DEVICE double team_residual_mass(struct team &t, const struct device_law *q,
                                 const struct device_law *p, const struct part *part, double b)
{
    uint64_t sum = 0;

    NO_UNROLL
    for (int32_t g = group_first(part); g < part->end; g += group_step()) {
        double r[GROUP];
        if (group_residual(q, p, part, b, g, r)) {
            for (int j = 0; j < GROUP; j++)
                sum += (uint64_t)(r[j] * 0x1p62);
        }
    }
    return (double)team_sum(t, sum) * 0x1p-62;
}

#endif
