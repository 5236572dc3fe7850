#include "rounds.h"

#include "specd/round_rules.h"
#include "specd/util.h"

/* Floats of a row of logits, so that every row is as aligned as the first. */
static int64_t logit_stride(int32_t n_vocab)
{
    return ((int64_t)n_vocab + 31) / 32 * 32;
}

void gpu_rounds_layout(struct gpu_rounds *r, const struct device_setup *setup, int32_t n_vocab,
                       int32_t n_vocab_draft, struct gpu_arena *a)
{
    size_t n = (size_t)setup->n_slots, k_max = (size_t)setup->k_max, rows = n * (k_max + 1);
    size_t draft_rows = n_vocab_draft > 0 ? n * (size_t)setup_k_draft(setup) : 0;
    size_t target_rows = MAX(rows, (size_t)SPECD_SCORE_ROWS);
    struct advance *v = &r->advance;

    *r = (struct gpu_rounds){.round = gpu_take(a, 1, sizeof(*r->round))};
    r->state = (struct device_state){
        .round = r->round,
        .clock = gpu_take(a, 1, sizeof(struct device_clock)),
        .turns = gpu_take(a, n, sizeof(struct round_turn)),
        .masks = gpu_take(a, rows, (size_t)mask_words(n_vocab) * sizeof(uint32_t)),
        .n_slots = setup->n_slots,
        .n_ctx = setup->n_ctx,
        .k_max = setup->k_max,
        .k_draft = setup_k_draft(setup),
        .n_vocab = n_vocab,
        /* Models of one family may pad their vocabularies differently; padding is never drafted. */
        .n_vocab_draft = MIN(n_vocab, n_vocab_draft),
    };
    if (setup->trims_draft && draft_rows > 0) {
        r->state.n_draft_tiles = 2 * mask_words(MAX(n_vocab, n_vocab_draft));
        r->state.draft_tiles =
            gpu_take(a, (size_t)r->state.n_draft_tiles, sizeof(*r->state.draft_tiles));
    }
    v->p = gpu_take(a, MAX(n * k_max, 1), sizeof(*v->p));
    v->q = gpu_take(a, rows, sizeof(*v->q));
    v->drawn = gpu_take(a, n, sizeof(*v->drawn));
    v->turns = gpu_take(a, n, sizeof(*v->turns));
    v->results = gpu_take(a, n, sizeof(*v->results));
    v->target_stride = logit_stride(n_vocab);
    v->draft_stride = logit_stride(n_vocab_draft);
    v->target_logits = gpu_take(a, target_rows, (size_t)v->target_stride * sizeof(float));
    v->draft_logits = gpu_take(a, draft_rows, (size_t)v->draft_stride * sizeof(float));
    r->logprobs = gpu_take(a, rows, sizeof(*r->logprobs));
    r->score_rows = gpu_take(a, SPECD_SCORE_ROWS, sizeof(*r->score_rows));
    r->scores = gpu_take(a, SPECD_SCORE_ROWS, sizeof(*r->scores));
}

static struct sampling_shape sampling_for(const struct gpu_rounds *r, int32_t n_rows)
{
    return sampling_shape_of(n_rows, r->state.n_vocab, r->forward->machine.n_multiprocessors,
                             r->forward->machine.clusters);
}

/* ---- prompts --------------------------------------------------------------------------------- */

static int64_t rows_of(const struct round *round, enum model_role role, bool *scored)
{
    int64_t n = 0;

    *scored = false;
    for (int32_t i = 0; i < round->n_chunks; i++) {
        const struct round_chunk *c = &round->chunks[i];

        if (c->role != role)
            continue;
        n += c->n;
        *scored = *scored || c->score;
    }
    return n;
}

static int score(struct gpu_rounds *r, cudaStream_t stream)
{
    const struct advance *v = &r->advance;

    TRY(launch_score_rows(&r->state, &r->forward->pass, r->score_rows, v->target_logits,
                          v->target_stride, stream));
    return launch_scores(r->score_rows, r->scores, SPECD_SCORE_ROWS, r->state.n_vocab,
                         sampling_for(r, SPECD_SCORE_ROWS), stream);
}

int gpu_rounds_prompt(struct gpu_rounds *r, enum model_role role, const struct round *round,
                      int32_t max_rows, cudaStream_t stream)
{
    bool scored;
    int64_t n = rows_of(round, role, &scored);

    for (int64_t first = 0; first < n; first += max_rows) {
        const struct gpu_pass pass = {
            .role = role,
            .set = ROWS_PROMPT,
            .first = (int32_t)first,
            .capacity = (int32_t)MIN(n - first, max_rows),
            .max_logits = scored ? SPECD_SCORE_ROWS : 0,
            .logits = (float *)r->advance.target_logits,
            .stride = r->advance.target_stride,
        };

        TRY(gpu_forward_run(r->forward, &pass, stream));
        if (scored)
            TRY(score(r, stream));
    }
    return launch_prompt_end(&r->state, role, stream);
}

/* ---- decoding -------------------------------------------------------------------------------- */

static int step(struct gpu_rounds *r, const struct round_shape *s, int k, cudaStream_t stream)
{
    const struct advance *v = &r->advance;
    int32_t n_slots = r->state.n_slots, feeds = k == 1 ? SPECD_DRAFT_LAG_MAX : 1;
    struct device_law *p = v->p + (ptrdiff_t)(k - 1) * n_slots;
    const struct gpu_pass pass = {
        .role = MODEL_DRAFT,
        .set = ROWS_STEP,
        .step = k,
        .capacity = feeds * s->n_seqs,
        .rows_per_slot = feeds,
        .max_logits = s->n_seqs,
        .logits = (float *)v->draft_logits + (ptrdiff_t)(k - 1) * n_slots * v->draft_stride,
        .stride = v->draft_stride,
    };
    struct sampling_shape shape = sampling_for(r, s->n_seqs);

    TRY(gpu_forward_run(r->forward, &pass, stream));
    TRY(launch_step_laws(&r->state, &r->forward->pass, v, k, stream));
    TRY(launch_laws(p, s->n_seqs, r->state.n_vocab_draft, shape, stream));
    TRY(launch_draws(p, v->drawn, s->n_seqs, r->state.n_vocab_draft, shape, stream));
    return launch_step_end(&r->state, &r->forward->pass, v, k, stream);
}

static int verify(struct gpu_rounds *r, const struct round_shape *s, cudaStream_t stream)
{
    const struct advance *v = &r->advance;
    int32_t n_vocab = r->state.n_vocab, k_max = r->state.k_max;

    TRY(launch_verify_begin(&r->state, v, stream));
    TRY(launch_laws(v->q, s->n_rows, n_vocab, sampling_for(r, s->n_rows), stream));
    TRY(launch_verify(v->turns, s->n_seqs, k_max, n_vocab, sampling_for(r, s->n_seqs), stream));
    TRY(launch_logprobs(v->turns, r->logprobs, s->n_seqs, k_max, n_vocab,
                        sampling_for(r, s->n_rows), stream));
    return launch_turns_end(&r->state, v, stream);
}

int gpu_rounds_decode(struct gpu_rounds *r, const struct round_shape *s, cudaStream_t stream)
{
    const struct gpu_pass pass = {
        .role = MODEL_TARGET,
        .set = ROWS_VERIFY,
        .capacity = s->n_rows,
        .rows_per_slot = (s->n_rows + s->n_seqs - 1) / s->n_seqs,
        .max_logits = s->n_rows,
        .logits = (float *)r->advance.target_logits,
        .stride = r->advance.target_stride,
    };

    TRY(launch_turns_begin(&r->state, stream));
    for (int k = 1; k <= s->n_steps; k++)
        TRY(step(r, s, k, stream));
    TRY(gpu_forward_run(r->forward, &pass, stream));
    return verify(r, s, stream);
}
