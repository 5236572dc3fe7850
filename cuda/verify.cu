/*
 * verify.cu - laws of draft and target, drafted tokens -> accepted tokens, the token that follows
 * them, and sums of min(p, q).
 *
 * The control flow is specd/verify.h's, run by every thread of a team of blocks with the same
 * values: weights of drafted tokens, coins, and what the team sums or races over the vocabulary
 * together. Rows are read once for a draw, twice (both laws) for a residual or its mass.
 *
 * Predicted on an H100 with 8 blocks of 512 threads to a sequence, V = 128256, K = 4, not measured:
 * ratio one residual or bonus draw, about 10 us; block one more pass of two rows for each drafted
 * token but the last, 4 us each; coupled one draw for each token, 5 us each. The overlaps, all
 * positions side by side, 5 us. Two launches.
 */
#include "law.cuh"

/* What the template asks is answered by the whole team, so it exists on the device alone. */
#undef SPECD_HD
#define SPECD_HD DEVICE

struct mass {
    double b;
};

/* Of a drafted token: its weights in the target's law and in its own, and whether it is an end. */
struct drafted {
    uint64_t wq, wp;
    bool end;
};

struct chooser {
    struct team *team;
    const struct part *part;
    const struct device_turn *turn;
    const struct drafted *drafted; /* (k) shared memory */
    int n_drafted;                 /* as in cpu/law_verify.c, and so the flags */
    bool ends, numeric, fallback;
    /* The draw of `ratio` and `block` is the last thing they do: it is left to the kernel, which
     * has it in its program once. */
    bool coupled, residual;
    int at;
    double b;
};

#include "specd/verify.h"

DEVICE const struct device_law *law_q(const struct chooser *c, int k)
{
    return &c->turn->q[k];
}

DEVICE const struct device_law *law_p(const struct chooser *c, int k)
{
    return &c->turn->p[(int64_t)k * c->turn->p_stride];
}

DEVICE struct noise noise_of(const struct chooser *c, int k)
{
    return noise_target(c->turn->params->seed, c->turn->len + k);
}

DEVICE uint32_t coin_of(const struct chooser *c, enum noise_stream stream, int k)
{
    return noise_coin(c->turn->params->seed, stream, c->turn->len + k, c->turn->round);
}

DEVICE double prob_q(const struct chooser *c, int k)
{
    return (double)c->drafted[k].wq / (double)law_q(c, k)->sum;
}

DEVICE double prob_p(const struct chooser *c, int k)
{
    return (double)c->drafted[k].wp / (double)law_p(c, k)->sum;
}

SPECD_HD struct mass mass_one(void)
{
    struct mass one = {1.0};

    return one;
}

SPECD_HD int32_t chooser_drafted(const struct chooser *c, int k)
{
    return c->turn->drafted[k];
}

SPECD_HD int32_t chooser_target(struct chooser *c, int k)
{
    if (c->ends && k == c->n_drafted)
        return -1;
    c->numeric |= law_q(c, k)->bad;
    if (c->coupled) {
        struct device_law l = *law_q(c, k);
        struct noise noise = noise_of(c, k);
        return team_draw(*c->team, &l, c->part, &noise);
    }
    c->at = k;
    return 0;
}

SPECD_HD int32_t chooser_residual(struct chooser *c, int k, struct mass b)
{
    c->at = k;
    c->residual = true;
    c->b = b.b;
    return 0;
}

SPECD_HD bool chooser_accept(struct chooser *c, int k)
{
    const struct device_law *q = law_q(c, k);

    c->numeric |= q->bad;
    if (c->turn->synthetic_acceptance >= 0.0f)
        return coin_below(coin_of(c, NOISE_SYNTHETIC, k), (double)c->turn->synthetic_acceptance);
    if (q->bad || q->one_hot)
        return !q->bad && c->turn->drafted[k] == q->top;
    return law_accepts(coin_of(c, NOISE_ACCEPT, k), prob_p(c, k), prob_q(c, k));
}

SPECD_HD struct mass chooser_extend(struct chooser *c, int k, struct mass b)
{
    struct mass next = {law_extend(b.b, prob_p(c, k), prob_q(c, k))};

    return next;
}

SPECD_HD bool chooser_keep_last(struct chooser *c, int k, struct mass b)
{
    return coin_below(coin_of(c, NOISE_ACCEPT, k), b.b);
}

SPECD_HD bool chooser_keep(struct chooser *c, int k, struct mass b)
{
    double a = team_residual_mass(*c->team, law_q(c, k + 1), law_p(c, k + 1), c->part, b.b);

    return law_keeps_block(coin_of(c, NOISE_ACCEPT, k), a, b.b);
}

/* ---- what is known of the drafted tokens ----------------------------------------------------- */

/* For all lanes of a warp. */
DEVICE bool warp_is_end(const struct sample_params *p, int32_t id)
{
    bool end = false;

    for (int32_t i = (int32_t)threadIdx.x % WARP; i < p->n_ends; i += WARP)
        end |= p->ends[i].id == id;
    return __any_sync(ALL_LANES, end);
}

/* A warp looks up one token at a time. */
DEVICE void drafted_look_up(const struct chooser *c, struct drafted *drafted)
{
    const struct device_turn *turn = c->turn;

    for (int k = (int)threadIdx.x / WARP; k < turn->k; k += (int)blockDim.x / WARP) {
        int32_t id = turn->drafted[k];
        uint64_t wq = warp_weight_of(law_q(c, k), id), wp = warp_weight_of(law_p(c, k), id);
        bool end = warp_is_end(turn->params, id);
        if (threadIdx.x % WARP == 0) {
            drafted[k].wq = wq;
            drafted[k].wp = wp;
            drafted[k].end = end;
        }
    }
    __syncthreads();
}

/* Which drafted tokens are worth a look: none from a broken draft law on, none after an end of
 * text. */
DEVICE void drafted_trim(struct chooser *c)
{
    while (c->n_drafted < c->turn->k && !c->ends && !law_p(c, c->n_drafted)->bad)
        c->ends = c->drafted[c->n_drafted++].end;
}

DEVICE bool any_bad(const struct chooser *c, int n)
{
    for (int k = 0; k < n; k++) {
        if (law_q(c, k)->bad)
            return true;
    }
    return false;
}

/* ---- the kernels ----------------------------------------------------------------------------- */

DEVICE int32_t draw_left(struct chooser *c)
{
    struct device_law q = *law_q(c, c->at);
    struct noise noise = noise_of(c, c->at);

    if (c->residual)
        return team_draw_residual(*c->team, &q, law_p(c, c->at), c->part, c->b, &noise,
                                  &c->fallback);
    return team_draw(*c->team, &q, c->part, &noise);
}

/* Returns how many drafted tokens stand; *last < 0: nothing follows them. */
DEVICE int verify_by_mode(struct chooser *c, int32_t *last)
{
    /* A forced acceptance rate is a token-by-token matter in every mode. */
    enum verify_mode mode =
        c->turn->synthetic_acceptance >= 0.0f ? VERIFY_RATIO : c->turn->params->mode;
    int n;

    c->coupled = mode == VERIFY_COUPLED;
    if (c->coupled)
        return verify_coupled(c, c->n_drafted, last);
    if (mode == VERIFY_BLOCK) {
        c->numeric = any_bad(c, c->n_drafted + !c->ends);
        if (c->numeric)
            return 0;
        n = verify_block(c, c->n_drafted, last);
    } else {
        n = verify_ratio(c, c->n_drafted, last);
    }
    if (*last >= 0)
        *last = draw_left(c);
    return n;
}

DEVICE void result_write(const struct chooser *c, struct device_turn *turn, int n, int32_t last)
{
    struct seq_result *out = turn->out;
    int32_t final_token = last >= 0 ? last : n > 0 ? turn->drafted[n - 1] : -1;
    bool end = warp_is_end(turn->params, final_token);

    if (threadIdx.x > 0)
        return;
    turn->n_overlaps = 0;
    out->n_accepted = out->n_tokens = 0;
    out->flags = c->numeric ? SEQ_NUMERIC : 0;
    if (c->numeric)
        return;
    for (int k = 0; k < n; k++)
        out->tokens[k] = turn->drafted[k];
    out->n_accepted = out->n_tokens = n;
    if (last >= 0)
        out->tokens[out->n_tokens++] = last;
    turn->n_overlaps = MIN(n + 1, c->n_drafted);
    out->flags |= end ? SEQ_END : 0;
    out->flags |= c->fallback ? SEQ_RESIDUAL_FALLBACK : 0;
}

/* grid: (parts, turns), teams of `parts`   block: any   dynamic smem: part_bytes */
static __global__ void __launch_bounds__(SAMPLING_THREADS_MAX, 1)
    verify_kernel(struct device_turn *turns /* (turns) */)
{
    grid_release();
    grid_wait();
    SHARED_ARRAY(struct drafted, drafted, SPECD_K_MAX);
    struct device_turn *turn = &turns[blockIdx.y];
    struct chooser c = {};
    int32_t last = -1;

    if (turn->k < 0)
        return;
    struct team t = team_start();
    struct part part = part_start(t, turn->q[0].n_vocab, turn->params);
    c.team = &t;
    c.part = &part;
    c.turn = turn;
    c.drafted = drafted;
    drafted_look_up(&c, drafted);
    drafted_trim(&c);
    int n = verify_by_mode(&c, &last);
    if (t.rank == 0 && threadIdx.x < WARP)
        result_write(&c, turn, n, last);
}

/* grid: (parts, positions, turns), teams of `parts`   block: any   dynamic smem: part_bytes */
static __global__ void __launch_bounds__(SAMPLING_THREADS_MAX, 1)
    overlap_kernel(const struct device_turn *turns /* (turns) */)
{
    grid_release();
    grid_wait();
    const struct device_turn *turn = &turns[blockIdx.z];
    int k = (int)blockIdx.y;
    double overlap;

    if (turn->k < 0 || k >= turn->n_overlaps)
        return;
    const struct device_law *q = &turn->q[k], *p = &turn->p[(int64_t)k * turn->p_stride];
    if (q->one_hot || p->one_hot) {
        const struct device_law *other = q->one_hot ? p : q;
        uint64_t w = warp_weight_of(other, q->one_hot ? q->top : p->top);
        overlap = (double)w / (double)other->sum;
    } else {
        struct team t = team_start();
        struct part part = part_start(t, q->n_vocab, turn->params);
        double above = team_residual_mass(t, q, p, &part, 1.0);
        overlap = above < 1.0 ? 1.0 - above : 0.0;
    }
    if (cluster_rank() == 0 && threadIdx.x == 0)
        turn->out->overlap[k] = (float)overlap;
}

int launch_verify(struct device_turn *turns, int n_turns, int k_max, int n_vocab,
                  struct sampling_shape shape, cudaStream_t stream)
{
    size_t smem = part_bytes(n_vocab, shape.parts);
    unsigned parts = (unsigned)shape.parts, n = (unsigned)n_turns;

    SAMPLING_ASSERT(shape, n_vocab);
    ASSERT(k_max >= 0 && k_max <= SPECD_K_MAX);
    LAUNCH_TEAMS(verify_kernel, shape.parts, dim3(parts, n), (unsigned)shape.threads, smem, stream,
                 turns);
    if (k_max > 0)
        LAUNCH_TEAMS(overlap_kernel, shape.parts, dim3(parts, (unsigned)k_max, n),
                     (unsigned)shape.threads, smem, stream, turns);
    return LAUNCH_RESULT();
}
