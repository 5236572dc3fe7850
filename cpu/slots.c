#include "slots.h"

#include "specd/util.h"

#include <string.h>

static struct slot_lists lists_take(const struct slots *s, struct arena *a)
{
    return (struct slot_lists){
        .bias_ids = arena_take(a, SPECD_BIAS_MAX, sizeof(int32_t)),
        .bias = arena_take(a, SPECD_BIAS_MAX, sizeof(float)),
        .allowed = arena_take(a, (size_t)s->n_allowed_words, sizeof(uint32_t)),
    };
}

/* Copies what p points to into lists, and points p there. */
static void lists_keep(const struct slots *s, const struct slot_lists *lists,
                       struct sample_params *p)
{
    if (p->n_bias > 0) {
        memcpy(lists->bias_ids, p->bias_ids, (size_t)p->n_bias * sizeof(int32_t));
        memcpy(lists->bias, p->bias, (size_t)p->n_bias * sizeof(float));
    }
    p->bias_ids = lists->bias_ids;
    p->bias = lists->bias;
    if (p->allowed) {
        memcpy(lists->allowed, p->allowed, (size_t)s->n_allowed_words * sizeof(uint32_t));
        p->allowed = lists->allowed;
    }
}

void slots_layout(struct slots *s, const struct device_setup *setup, int32_t n_vocab,
                  struct arena *a)
{
    *s = (struct slots){
        .n_slots = setup->n_slots,
        .n_ctx = setup->n_ctx,
        .n_blocks_of_slot = (setup->n_ctx - 1) / SPECD_BLOCK_TOKENS + 1,
        .n_vocab = n_vocab,
        .k_max = setup->k_max,
    };
    size_t n = (size_t)s->n_slots, n_ctx = (size_t)s->n_ctx, blocks = (size_t)s->n_blocks_of_slot;
    size_t counts = (size_t)(s->k_max + 1) * (size_t)n_vocab;
    s->n_allowed_words = mask_words(n_vocab);
    s->slots = arena_take(a, n, sizeof(*s->slots));
    s->stage = arena_take(a, n, sizeof(*s->stage));
    for (size_t i = 0; i < n; i++) {
        struct slot live = {
            .tokens = arena_take(a, n_ctx, sizeof(int32_t)),
            .blocks = arena_take(a, blocks, sizeof(int32_t)),
            .counts_generated = arena_take(a, counts, sizeof(uint16_t)),
            .counts_all = arena_take(a, counts, sizeof(uint16_t)),
            .lists = lists_take(s, a),
        };
        struct slot_stage staged = {
            .tokens = arena_take(a, n_ctx, sizeof(int32_t)),
            .blocks = arena_take(a, blocks, sizeof(int32_t)),
            .lists = lists_take(s, a),
        };
        if (!s->slots)
            continue;
        for (size_t j = 0; j < blocks; j++)
            live.blocks[j] = staged.blocks[j] = -1;
        s->slots[i] = live;
        s->stage[i] = staged;
    }
}

static bool ids_fit(const int32_t *ids, int32_t n, int32_t n_vocab)
{
    for (int32_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= n_vocab)
            return false;
    }
    return true;
}

/* What would be read out of bounds. The ranges of the parameters are the server's business. */
static bool config_fits(const struct slots *s, const struct slot_config *c)
{
    const struct sample_params *p = &c->params;
    return c->n_tokens >= 1 && c->n_tokens <= c->limit && c->limit <= s->n_ctx &&
           c->n_prompt >= 0 && c->n_prompt <= c->n_tokens && c->target_len >= 0 &&
           c->target_len < c->n_tokens && c->draft_len >= 0 && c->draft_len < c->n_tokens &&
           ids_fit(c->tokens, c->n_tokens, s->n_vocab) && p->n_ends >= 0 &&
           p->n_ends <= SPECD_ENDS_MAX && p->n_bias >= 0 && p->n_bias <= SPECD_BIAS_MAX &&
           ids_fit(p->bias_ids, p->n_bias, s->n_vocab) && p->n_logprobs <= SPECD_LOGPROBS_MAX;
}

int slots_stage_config(struct slots *s, int32_t slot, const struct slot_config *config)
{
    if (slot < 0 || slot >= s->n_slots || !config_fits(s, config))
        return SPECD_EINVAL;
    struct slot_stage *stage = &s->stage[slot];
    stage->config = *config;
    memcpy(stage->tokens, config->tokens, (size_t)config->n_tokens * sizeof(int32_t));
    lists_keep(s, &stage->lists, &stage->config.params);
    stage->config_set = true;
    return 0;
}

int slots_stage_blocks(struct slots *s, int32_t slot, int32_t first, int32_t n, const int32_t *ids,
                       int32_t n_blocks)
{
    if (slot < 0 || slot >= s->n_slots || first < 0 || n < 0 || first > s->n_blocks_of_slot ||
        n > s->n_blocks_of_slot - first || !ids_fit(ids, n, n_blocks))
        return SPECD_EINVAL;
    if (n == 0)
        return 0;
    struct slot_stage *stage = &s->stage[slot];
    memcpy(stage->blocks + first, ids, (size_t)n * sizeof(int32_t));
    if (stage->first_dirty == stage->end_dirty) {
        stage->first_dirty = first;
        stage->end_dirty = first + n;
    } else { /* entries between two runs are what the live table holds already */
        stage->first_dirty = MIN(stage->first_dirty, first);
        stage->end_dirty = MAX(stage->end_dirty, first + n);
    }
    return 0;
}

static bool has_penalty(const struct law_params *p)
{
    return p->presence != 0.0f || p->frequency != 0.0f || p->repetition != 1.0f;
}

static void count_one(uint16_t *counts, int32_t id)
{
    if (counts[id] < UINT16_MAX)
        counts[id]++;
}

static void count_text(struct slot *slot, int32_t first, int32_t end)
{
    for (int32_t i = first; slot->counting && i < end; i++) {
        count_one(slot->counts_all, slot->tokens[i]);
        if (i >= slot->n_prompt)
            count_one(slot->counts_generated, slot->tokens[i]);
    }
}

static void config_apply(const struct slots *s, struct slot *slot, struct slot_stage *stage)
{
    const struct slot_config *c = &stage->config;
    memcpy(slot->tokens, stage->tokens, (size_t)c->n_tokens * sizeof(int32_t));
    slot->len = c->n_tokens;
    slot->n_prompt = c->n_prompt;
    slot->limit = c->limit;
    slot->target_len = c->target_len;
    slot->draft_len = c->draft_len;
    slot->round = c->round;
    slot->params = c->params;
    lists_keep(s, &slot->lists, &slot->params);
    stage->config_set = false;
    slot->counting = has_penalty(&c->params.target) || has_penalty(&c->params.draft);
    if (slot->counting) {
        memset(slot->counts_all, 0, (size_t)s->n_vocab * sizeof(uint16_t));
        memset(slot->counts_generated, 0, (size_t)s->n_vocab * sizeof(uint16_t));
        count_text(slot, 0, slot->len);
    }
}

void slots_apply(struct slots *s)
{
    for (int32_t i = 0; i < s->n_slots; i++) {
        struct slot_stage *stage = &s->stage[i];
        if (stage->config_set)
            config_apply(s, &s->slots[i], stage);
        memcpy(s->slots[i].blocks + stage->first_dirty, stage->blocks + stage->first_dirty,
               (size_t)(stage->end_dirty - stage->first_dirty) * sizeof(int32_t));
        stage->first_dirty = stage->end_dirty = 0;
    }
}

void slot_count_drafted(const struct slots *s, struct slot *slot, int row, int32_t id)
{
    size_t n = (size_t)s->n_vocab;
    uint16_t *tables[] = {slot->counts_all, slot->counts_generated};
    for (size_t i = 0; i < COUNT_OF(tables); i++) {
        uint16_t *to = tables[i] + (size_t)row * n;
        memcpy(to, to - n, n * sizeof(*to));
        count_one(to, id);
    }
}

void slot_commit(struct slot *slot, const int32_t *tokens, int32_t n)
{
    ASSERT(slot->len + n <= slot->limit);
    memcpy(slot->tokens + slot->len, tokens, (size_t)n * sizeof(int32_t));
    count_text(slot, slot->len, slot->len + n);
    slot->len += n;
}
