#include "slots.h"

#include "specd/util.h"

#include <stdlib.h>
#include <string.h>

/* ---- memory ---------------------------------------------------------------------------------- */

/* All that a slot may change, one array behind another: in the stage and in pinned pages. */
struct page {
    int32_t *tokens, *blocks;
    struct slot_lists lists;
};

static size_t page_words(const struct slot_shape *shape)
{
    return (size_t)shape->n_ctx + (size_t)shape->n_entries + 2 * SPECD_BIAS_MAX +
           (size_t)mask_words(shape->n_vocab) + (size_t)slot_draft_words(shape);
}

static struct page page_at(const struct slot_shape *shape, int32_t *at)
{
    int32_t *lists = at + shape->n_ctx + shape->n_entries;

    return (struct page){
        .tokens = at,
        .blocks = at + shape->n_ctx,
        .lists = {lists, (float *)(lists + SPECD_BIAS_MAX),
                  (uint32_t *)(lists + 2 * SPECD_BIAS_MAX),
                  (uint32_t *)(lists + 2 * SPECD_BIAS_MAX + mask_words(shape->n_vocab))},
    };
}

static void host_make(struct gpu_slots *s)
{
    size_t n = (size_t)s->shape.n_slots, words = page_words(&s->shape);
    int32_t *at = xcalloc(n * words, sizeof(*at));

    s->host = at;
    s->stage = xcalloc(n, sizeof(*s->stage));
    s->slots = xcalloc(n, sizeof(*s->slots));
    s->homes = xcalloc(n, sizeof(*s->homes));
    s->lists = xcalloc(n, sizeof(*s->lists));
    for (size_t i = 0; i < n; i++) {
        struct page page = page_at(&s->shape, at + i * words);

        s->stage[i] =
            (struct slot_stage){.tokens = page.tokens, .blocks = page.blocks, .lists = page.lists};
        memset(page.blocks, 0xff, (size_t)s->shape.n_entries * sizeof(*page.blocks));
    }
}

void gpu_slots_layout(struct gpu_slots *s, const struct device_setup *setup, int32_t n_vocab,
                      struct gpu_arena *a)
{
    *s = (struct gpu_slots){.shape = slot_shape_of(setup, n_vocab)};
    const struct slot_shape *shape = &s->shape;
    size_t counts = (size_t)(shape->k_max + 1) * (size_t)n_vocab;

    s->on_device = gpu_take(a, (size_t)shape->n_slots, sizeof(*s->on_device));
    if (a->is_open)
        host_make(s);
    for (int32_t i = 0; i < shape->n_slots; i++) {
        struct device_slot home = {
            .tokens = gpu_take(a, (size_t)shape->n_ctx, sizeof(int32_t)),
            .blocks = gpu_take(a, (size_t)shape->n_entries, sizeof(int32_t)),
            .counts_generated = gpu_take(a, counts, sizeof(uint16_t)),
            .counts_all = gpu_take(a, counts, sizeof(uint16_t)),
        };
        struct slot_lists lists = {
            .bias_ids = gpu_take(a, SPECD_BIAS_MAX, sizeof(int32_t)),
            .bias = gpu_take(a, SPECD_BIAS_MAX, sizeof(float)),
            .allowed = gpu_take(a, (size_t)mask_words(n_vocab), sizeof(uint32_t)),
            .draft_ids = gpu_take(a, (size_t)slot_draft_words(shape), sizeof(uint32_t)),
        };

        if (!a->is_open)
            continue;
        s->homes[i] = home;
        s->lists[i] = lists;
    }
}

int gpu_slots_clear(struct gpu_slots *s)
{
    size_t blocks = (size_t)s->shape.n_entries * sizeof(int32_t);
    cudaError_t rc =
        cudaMemcpy(s->on_device, s->homes, (size_t)s->shape.n_slots * sizeof(*s->homes),
                   cudaMemcpyHostToDevice);

    for (int32_t i = 0; rc == cudaSuccess && i < s->shape.n_slots; i++)
        rc = cudaMemset(s->homes[i].blocks, 0xff, blocks);
    return rc == cudaSuccess ? 0 : SPECD_EDEVICE;
}

void gpu_slots_free(struct gpu_slots *s)
{
    free(s->host);
    free(s->stage);
    free(s->slots);
    free(s->homes);
    free(s->lists);
    *s = (struct gpu_slots){0};
}

int slot_pages_open(struct slot_pages *pages, const struct gpu_slots *s)
{
    pages->words_of_slot = page_words(&s->shape);
    if (cudaHostAlloc((void **)&pages->base,
                      (size_t)s->shape.n_slots * pages->words_of_slot * sizeof(*pages->base),
                      cudaHostAllocDefault) == cudaSuccess)
        return 0;
    (void)cudaGetLastError();
    return SPECD_ENOMEM;
}

void slot_pages_close(struct slot_pages *pages)
{
    cudaFreeHost(pages->base);
    pages->base = NULL;
}

/* ---- staging --------------------------------------------------------------------------------- */

int gpu_slots_set(struct gpu_slots *s, int32_t slot, const struct slot_config *config)
{
    int rc = slot_stage_config(s->stage, &s->shape, slot, config);

    if (rc != 0)
        return rc;
    s->slots[slot] = (struct gpu_slot){
        .len = config->n_tokens,
        .limit = config->limit,
        .rows = {config->rows[MODEL_TARGET], config->rows[MODEL_DRAFT]},
        .n_logprobs = config->params.n_logprobs,
        .generation = s->slots[slot].generation + 1,
    };
    return 0;
}

struct slot_view gpu_slots_view(const void *slots, int32_t slot)
{
    const struct gpu_slots *s = slots;
    const struct gpu_slot *known = &s->slots[slot];

    return (struct slot_view){
        .blocks = s->stage[slot].blocks,
        .len = known->len,
        .limit = known->limit,
        .rows = {known->rows[MODEL_TARGET], known->rows[MODEL_DRAFT]},
        .n_logprobs = known->n_logprobs,
        .is_moving = known->in_flight > 0,
    };
}

static struct device_slot slot_of(const struct gpu_slots *s, int32_t i)
{
    const struct slot_config *c = &s->stage[i].config;
    struct device_slot slot = s->homes[i];

    slot.len = c->n_tokens;
    slot.n_prompt = c->n_prompt;
    slot.limit = c->limit;
    memcpy(slot.rows, c->rows, sizeof(slot.rows));
    slot.round = c->round;
    slot.params = c->params;
    slot.counting = params_count(&c->params);
    slot_lists_point(&s->lists[i], &slot.params);
    return slot;
}

/* ---- packing --------------------------------------------------------------------------------- */

static void pack_start(struct gpu_slots *s, int32_t i, struct slot_change *c,
                       const struct page *page)
{
    struct slot_stage *stage = &s->stage[i];
    const struct sample_params *p = &stage->config.params;

    c->starts = true;
    c->start = slot_of(s, i);
    memcpy(page->tokens, stage->tokens, (size_t)c->start.len * sizeof(*stage->tokens));
    slot_lists_copy(&page->lists, p, s->shape.n_vocab);
    c->tokens = page->tokens;
    c->bias_ids = page->lists.bias_ids;
    c->bias = page->lists.bias;
    c->allowed = p->allowed ? page->lists.allowed : NULL;
    c->draft_ids = p->draft_ids ? page->lists.draft_ids : NULL;
    stage->is_set = false;
}

void gpu_slots_pack(struct gpu_slots *s, struct round_input *in, const struct slot_pages *pages)
{
    in->n_changes = 0;
    for (int32_t i = 0; i < s->shape.n_slots; i++) {
        struct slot_stage *stage = &s->stage[i];

        if (!stage->is_set && stage->first_dirty == stage->end_dirty)
            continue;
        struct slot_change *c = &in->changes[in->n_changes++];
        struct page page = page_at(&s->shape, pages->base + (size_t)i * pages->words_of_slot);

        c->slot = i;
        c->starts = false;
        c->first_block = stage->first_dirty;
        c->n_blocks = stage->end_dirty - stage->first_dirty;
        c->blocks = page.blocks;
        memcpy(page.blocks, stage->blocks + stage->first_dirty,
               (size_t)c->n_blocks * sizeof(*page.blocks));
        stage->first_dirty = stage->end_dirty = 0;
        if (stage->is_set)
            pack_start(s, i, c, &page);
    }
}

void gpu_slots_unpack(struct gpu_slots *s, const struct round_input *in)
{
    for (int32_t i = 0; i < in->n_changes; i++) {
        const struct slot_change *c = &in->changes[i];
        struct slot_stage *stage = &s->stage[c->slot];

        stage->is_set = stage->is_set || c->starts;
        if (c->n_blocks > 0)
            slot_stage_mark(stage, c->first_block, c->n_blocks);
    }
}
