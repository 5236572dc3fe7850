/*
 * law.cu - rows of logits -> summaries of laws.
 *
 *   z = warp(logits): penalties, bias, masks     max, top = the largest z, lowest id on ties
 *   W = floor(exp((z - max) / T) 2^44)           cut = top-k, top-p, min-p     S = sum of W kept
 *
 * A team of 1 to 8 blocks takes a row and passes over it: once for the maximum, once for S; top-k
 * and top-p add three passes each (five where ties straddle the cut) and top-k one more for its
 * sum. A row of V = 128256 is 513 KB, which the product before has left in L2; nothing of length V
 * is written.
 *
 * Predicted on an H100 with 8 blocks of 512 threads to a row, not measured: a pass reads 64 KB a
 * block out of L2 and evaluates 16032 exponentials in eight steps of loads that wait for one
 * another, some 4 us; a barrier about 1 us. So 10 us for a plain row, 34 us with top-k and top-p;
 * its registers leave one block to a processor, so rows run side by side up to 132 / 8 teams. One
 * launch for any number of rows.
 */
#include "law.cuh"
#include "select.cuh"

#define KEY_BASE 0x3f800000u              /* bits of 1.0f, the smallest weight with mass */
#define KEY_SPAN (0x55800000u - KEY_BASE) /* up to 2^44: 29 bits */

#define MAX_OF_BAD UINT64_MAX /* above the key of every entry */

/* ---- the maximum ----------------------------------------------------------------------------- */

static __device__ bool bans_ends(const struct device_law *l)
{
    bool bans = false;

    for (int32_t i = (int32_t)threadIdx.x; i < l->params->n_ends; i += (int32_t)blockDim.x)
        bans |= l->position < l->params->ends[i].from;
    return __syncthreads_or(bans);
}

/* Key of the largest warped logit of the thread's groups; a raw row that is no law is found here:
 * a warp may hide an infinity. */
DEVICE uint64_t max_of_part(const struct device_law *l, const struct part *part)
{
    uint64_t max = 0;

    NO_UNROLL
    for (int32_t g = group_first(part); g < part->end; g += group_step()) {
        float z[GROUP];
        bool good = true;
        group_load(l, g, z);
        for (int j = 0; j < GROUP; j++)
            good &= z[j] <= FLT_MAX;
        if (!good)
            return MAX_OF_BAD;
        if (l->adjusted)
            group_warp(l, part, g, z);
        for (int j = 0; j < GROUP; j++) {
            uint64_t key = key_of_entry(z[j], GROUP * g + j);
            max = key > max ? key : max;
        }
    }
    return max;
}

/* Sets max and top; false for a row that is no law. */
DEVICE bool find_max(struct team &t, struct device_law *l, const struct part *part)
{
    uint64_t max = team_max(t, max_of_part(l, part));

    l->max = max == MAX_OF_BAD ? -INFINITY : float_of_key((uint32_t)(max >> 32));
    l->top = id_of_key(max);
    return l->max > -INFINITY;
}

/* ---- cuts ------------------------------------------------------------------------------------ */

/* Keeps the shorter of the two prefixes. */
DEVICE void cut_further(struct device_law *l, float w, int32_t id)
{
    if (law_cut_is_shorter(w, id, l->cut_w, l->cut_id)) {
        l->cut_w = w;
        l->cut_id = id;
    }
}

DEVICE float weight_of_key(uint32_t key)
{
    return __uint_as_float(key + KEY_BASE);
}

/* top-k, then top-p of what top-k left, both found in the uncut weights. */
DEVICE void cut_by_ranks(struct team &t, struct device_law *l, const struct part *part)
{
    SHARED(struct select_memory, memory);
    const struct digits digits = {29, 18, 9}; /* of KEY_SPAN */
    const struct law_params *p = l->law;
    const struct device_law uncut = *l;
    bool by_count = p->top_k > 0 && p->top_k < l->n_vocab;
    uint64_t kept = 0;
    auto each = [&](auto f) {
        NO_UNROLL
        for (int32_t g = group_first(part); g < part->end; g += group_step()) {
            float w[GROUP];
            if (!group_weights(&uncut, part, g, w))
                continue;
            for (int j = 0; j < GROUP; j++) {
                if (w[j] > 0.0f)
                    f(GROUP * g + j, __float_as_uint(w[j]) - KEY_BASE);
            }
        }
    };

    NO_UNROLL
    for (int by_mass = by_count ? 0 : 1; by_mass <= (p->top_p < 1.0f); by_mass++) {
        struct selected s = team_select(
            t, &memory, digits, each,
            [=](uint32_t key) { return by_mass ? (uint64_t)weight_of_key(key) : (uint64_t)1; },
            [=](uint64_t all) {
                return by_mass ? law_top_p_mass(p->top_p, by_count ? kept : all)
                               : (uint64_t)p->top_k;
            });
        cut_further(l, weight_of_key(s.key), s.id);
        if (!by_mass && p->top_p < 1.0f)
            kept = team_weight_sum(t, l, part);
    }
}

/* ---- the kernel ------------------------------------------------------------------------------ */

DEVICE void law_build(struct team &t, struct device_law *l, const struct part *part)
{
    const struct law_params *p = l->law;

    l->one_hot = l->bad = false;
    l->scale = l->cut_w = 0.0f;
    l->cut_id = -1;
    l->sum = 0;
    bool bans = bans_ends(l);
    l->adjusted = l->counts_generated || l->counts_all || l->params->n_bias > 0 ||
                  l->params->allowed || l->mask || bans;
    if (!find_max(t, l, part)) {
        l->bad = true;
        l->top = 0;
        return;
    }
    if (p->temperature == 0.0f) {
        l->one_hot = true;
        l->sum = LAW_ONE;
        return;
    }
    l->scale = law_scale(p->temperature);
    cut_by_ranks(t, l, part);
    if (law_min_p_weight(p->min_p) > 0)
        cut_further(l, (float)law_min_p_weight(p->min_p), INT32_MAX);
    l->sum = team_weight_sum(t, l, part);
}

/* grid: (parts, rows), teams of `parts`   block: any   dynamic smem: part_bytes */
static __global__ void __launch_bounds__(SAMPLING_THREADS_MAX, 1)
    law_kernel(struct device_law *laws /* (rows) */)
{
    grid_release();
    grid_wait();
    struct device_law l = laws[blockIdx.y];

    if (l.n_vocab == 0)
        return;
    struct team t = team_start();
    struct part part = part_start(t, l.n_vocab, l.params);
    law_build(t, &l, &part);
    if (t.rank == 0 && threadIdx.x == 0)
        laws[blockIdx.y] = l;
}

/* ---- launchers ------------------------------------------------------------------------------- */

/* Few rows: many blocks each, as long as the device has room for them at once and a block has a
 * few groups for each of its threads. */
struct sampling_shape sampling_shape_of(int n_rows, int n_vocab, int n_multiprocessors,
                                        bool clusters)
{
    struct sampling_shape s = {SAMPLING_THREADS_MAX, 1};

    while (s.threads > 64 && n_vocab < 2 * GROUP * s.threads)
        s.threads /= 2;
    while (clusters && s.parts < CLUSTER_MAX && 2 * s.parts * n_rows <= 2 * n_multiprocessors &&
           n_vocab > 4 * GROUP * s.threads * s.parts)
        s.parts *= 2;
    return s;
}

int launch_laws(struct device_law *laws, int n_rows, int n_vocab, struct sampling_shape shape,
                cudaStream_t stream)
{
    const size_t plain = 48 << 10; /* beyond, the runtime asks for consent, once for all sizes:
                                      what a graph has captured is not to be taken back */
    size_t smem = part_bytes(n_vocab, shape.parts);

    SAMPLING_ASSERT(shape, n_vocab);
    if (smem + 2 * sizeof(struct select_memory) > plain &&
        CUDA_RESULT(cudaFuncSetAttribute(law_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         (int)part_bytes(SPECD_VOCAB_MAX, 1))) != 0)
        return SPECD_EDEVICE;
    LAUNCH_TEAMS(law_kernel, shape.parts, dim3((unsigned)shape.parts, (unsigned)n_rows),
                 (unsigned)shape.threads, smem, stream, laws);
    return LAUNCH_RESULT();
}
