#include "slots.h"

#include "specd/util.h"

#include <string.h>

static struct slot_lists lists_take(const struct slot_shape *shape, struct arena *a)
{
    return (struct slot_lists){
        .bias_ids = arena_take(a, SPECD_BIAS_MAX, sizeof(int32_t)),
        .bias = arena_take(a, SPECD_BIAS_MAX, sizeof(float)),
        .allowed = arena_take(a, (size_t)mask_words(shape->n_vocab), sizeof(uint32_t)),
        .draft_ids = arena_take(a, (size_t)slot_draft_words(shape), sizeof(uint32_t)),
    };
}

void slots_layout(struct slots *s, const struct device_setup *setup, int32_t n_vocab,
                  struct arena *a)
{
    *s = (struct slots){.shape = slot_shape_of(setup, n_vocab)};
    size_t n = (size_t)s->shape.n_slots, n_ctx = (size_t)s->shape.n_ctx;
    size_t blocks = (size_t)s->shape.n_entries;
    size_t counts = (size_t)(s->shape.k_max + 1) * (size_t)n_vocab;
    s->slots = arena_take(a, n, sizeof(*s->slots));
    s->stage = arena_take(a, n, sizeof(*s->stage));
    for (size_t i = 0; i < n; i++) {
        struct slot live = {
            .tokens = arena_take(a, n_ctx, sizeof(int32_t)),
            .blocks = arena_take(a, blocks, sizeof(int32_t)),
            .counts_generated = arena_take(a, counts, sizeof(uint16_t)),
            .counts_all = arena_take(a, counts, sizeof(uint16_t)),
            .lists = lists_take(&s->shape, a),
        };
        struct slot_stage staged = {
            .tokens = arena_take(a, n_ctx, sizeof(int32_t)),
            .blocks = arena_take(a, blocks, sizeof(int32_t)),
            .lists = lists_take(&s->shape, a),
        };
        if (!s->slots)
            continue;
        for (size_t j = 0; j < blocks; j++)
            live.blocks[j] = staged.blocks[j] = -1;
        s->slots[i] = live;
        s->stage[i] = staged;
    }
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

static void config_apply(struct slot *slot, struct slot_stage *stage, int32_t n_vocab)
{
    const struct slot_config *c = &stage->config;
    memcpy(slot->tokens, stage->tokens, (size_t)c->n_tokens * sizeof(int32_t));
    slot->len = c->n_tokens;
    slot->n_prompt = c->n_prompt;
    slot->limit = c->limit;
    memcpy(slot->rows, c->rows, sizeof(slot->rows));
    slot->round = c->round;
    slot->params = c->params;
    slot_lists_copy(&slot->lists, &c->params, n_vocab);
    slot_lists_point(&slot->lists, &slot->params);
    stage->is_set = false;
    slot->counting = params_count(&c->params);
    if (slot->counting) {
        memset(slot->counts_all, 0, (size_t)n_vocab * sizeof(uint16_t));
        memset(slot->counts_generated, 0, (size_t)n_vocab * sizeof(uint16_t));
        count_text(slot, 0, slot->len);
    }
}

void slots_apply(struct slots *s)
{
    for (int32_t i = 0; i < s->shape.n_slots; i++) {
        struct slot_stage *stage = &s->stage[i];
        if (stage->is_set)
            config_apply(&s->slots[i], stage, s->shape.n_vocab);
        memcpy(s->slots[i].blocks + stage->first_dirty, stage->blocks + stage->first_dirty,
               (size_t)(stage->end_dirty - stage->first_dirty) * sizeof(int32_t));
        stage->first_dirty = stage->end_dirty = 0;
    }
}

void slot_count_drafted(const struct slots *s, struct slot *slot, int row, int32_t id)
{
    size_t n = (size_t)s->shape.n_vocab;
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
