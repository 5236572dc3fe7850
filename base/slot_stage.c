#include "specd/slot_stage.h"

#include "specd/model_check.h"
#include "specd/round_rules.h"
#include "specd/util.h"

#include <string.h>

struct slot_shape slot_shape_of(const struct device_setup *setup, int32_t n_vocab)
{
    const struct model *target = setup->models[MODEL_TARGET];
    int32_t n_blocks = (setup->n_ctx - 1) / SPECD_BLOCK_TOKENS + 1;

    return (struct slot_shape){
        .n_slots = setup->n_slots,
        .n_ctx = setup->n_ctx,
        .k_max = setup->k_max,
        .k_draft = setup_k_draft(setup),
        .n_blocks = n_blocks,
        .n_entries = target && model_window(target) > 0 ? 2 * n_blocks : n_blocks,
        .n_vocab = n_vocab,
        .trims_draft = setup->trims_draft,
    };
}

int32_t slot_draft_words(const struct slot_shape *shape)
{
    return shape->trims_draft ? mask_words(shape->n_vocab) : 0;
}

/* ---- a configuration ------------------------------------------------------------------------- */

static bool ids_fit(const int32_t *ids, int32_t n, int32_t end)
{
    for (int32_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= end)
            return false;
    }
    return true;
}

static bool params_fit(const struct sample_params *p, const struct slot_shape *shape)
{
    return (shape->trims_draft || !p->draft_ids) && p->n_ends >= 0 && p->n_ends <= SPECD_ENDS_MAX &&
           p->n_bias >= 0 && p->n_bias <= SPECD_BIAS_MAX &&
           ids_fit(p->bias_ids, p->n_bias, shape->n_vocab) && p->n_logprobs <= SPECD_LOGPROBS_MAX;
}

static bool config_fits(const struct slot_config *c, const struct slot_shape *shape)
{
    for (int role = 0; role < MODEL_ROLES; role++) {
        if (c->rows[role] < 0 || c->rows[role] >= c->n_tokens)
            return false;
    }
    return c->n_tokens >= 1 && c->n_tokens <= c->limit && c->limit <= shape->n_ctx &&
           c->n_prompt >= 0 && c->n_prompt <= c->n_tokens &&
           ids_fit(c->tokens, c->n_tokens, shape->n_vocab) && params_fit(&c->params, shape);
}

int slot_stage_config(struct slot_stage *stages, const struct slot_shape *shape, int32_t slot,
                      const struct slot_config *config)
{
    if (slot < 0 || slot >= shape->n_slots || !config_fits(config, shape))
        return SPECD_EINVAL;
    struct slot_stage *stage = &stages[slot];

    stage->config = *config;
    stage->config.tokens = stage->tokens;
    memcpy(stage->tokens, config->tokens, (size_t)config->n_tokens * sizeof(*stage->tokens));
    slot_lists_copy(&stage->lists, &config->params, shape->n_vocab);
    slot_lists_point(&stage->lists, &stage->config.params);
    stage->is_set = true;
    return 0;
}

void slot_lists_copy(const struct slot_lists *to, const struct sample_params *p, int32_t n_vocab)
{
    if (p->n_bias > 0) {
        memcpy(to->bias_ids, p->bias_ids, (size_t)p->n_bias * sizeof(*to->bias_ids));
        memcpy(to->bias, p->bias, (size_t)p->n_bias * sizeof(*to->bias));
    }
    if (p->allowed)
        memcpy(to->allowed, p->allowed, (size_t)mask_words(n_vocab) * sizeof(*to->allowed));
    if (p->draft_ids)
        memcpy(to->draft_ids, p->draft_ids, (size_t)mask_words(n_vocab) * sizeof(*to->draft_ids));
}

void slot_lists_point(const struct slot_lists *at, struct sample_params *p)
{
    p->bias_ids = at->bias_ids;
    p->bias = at->bias;
    p->allowed = p->allowed ? at->allowed : NULL;
    p->draft_ids = p->draft_ids ? at->draft_ids : NULL;
}

static bool law_counts(const struct law_params *p)
{
    return p->presence != 0.0f || p->frequency != 0.0f || p->repetition != 1.0f;
}

bool params_count(const struct sample_params *p)
{
    return law_counts(&p->target) || law_counts(&p->draft);
}

/* ---- a block table --------------------------------------------------------------------------- */

int slot_stage_blocks(struct slot_stage *stages, const struct slot_shape *shape, int32_t slot,
                      int32_t first, int32_t n, const int32_t *ids, int32_t n_pool_blocks,
                      int32_t n_window_blocks)
{
    bool windows = first >= shape->n_blocks && n_window_blocks > 0;
    int32_t end = windows ? shape->n_entries : shape->n_blocks;

    if (slot < 0 || slot >= shape->n_slots || first < 0 || n < 0 || first > end ||
        n > end - first || !ids_fit(ids, n, windows ? n_window_blocks : n_pool_blocks))
        return SPECD_EINVAL;
    if (n == 0)
        return 0;
    memcpy(stages[slot].blocks + first, ids, (size_t)n * sizeof(*ids));
    slot_stage_mark(&stages[slot], first, n);
    return 0;
}

void slot_stage_mark(struct slot_stage *stage, int32_t first, int32_t n)
{
    bool is_clean = stage->first_dirty == stage->end_dirty;

    stage->first_dirty = is_clean ? first : MIN(stage->first_dirty, first);
    stage->end_dirty = is_clean ? first + n : MAX(stage->end_dirty, first + n);
}
