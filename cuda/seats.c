#include "seats.h"

#include "specd/util.h"

#include <stdlib.h>
#include <string.h>

/* ---- memory ---------------------------------------------------------------------------------- */

static struct seat_lists lists_take(const struct seats *s, struct gpu_arena *a)
{
    return (struct seat_lists){
        .bias_ids = gpu_take(a, SPECD_BIAS_MAX, sizeof(int32_t)),
        .bias = gpu_take(a, SPECD_BIAS_MAX, sizeof(float)),
        .allowed = gpu_take(a, (size_t)s->n_allowed_words, sizeof(uint32_t)),
    };
}

static void host_make(struct seats *s)
{
    size_t n_ctx = (size_t)s->n_ctx, blocks = (size_t)s->n_blocks_of_slot;
    size_t words = n_ctx + blocks + 2 * SPECD_BIAS_MAX + (size_t)s->n_allowed_words;
    int32_t *at = xcalloc((size_t)s->n_slots * words, sizeof(*at));

    s->host = at;
    s->seats = xcalloc((size_t)s->n_slots, sizeof(*s->seats));
    s->homes = xcalloc((size_t)s->n_slots, sizeof(*s->homes));
    s->lists = xcalloc((size_t)s->n_slots, sizeof(*s->lists));
    for (int32_t i = 0; i < s->n_slots; i++, at += words) {
        struct seat *seat = &s->seats[i];

        seat->tokens = at;
        seat->blocks = at + n_ctx;
        seat->lists.bias_ids = seat->blocks + blocks;
        seat->lists.bias = (float *)(seat->lists.bias_ids + SPECD_BIAS_MAX);
        seat->lists.allowed = (uint32_t *)(seat->lists.bias_ids + 2 * SPECD_BIAS_MAX);
        memset(seat->blocks, 0xff, blocks * sizeof(int32_t));
    }
}

void seats_layout(struct seats *s, const struct device_setup *setup, int32_t n_vocab,
                  struct gpu_arena *a)
{
    *s = (struct seats){
        .n_slots = setup->n_slots,
        .n_ctx = setup->n_ctx,
        .n_blocks_of_slot = (setup->n_ctx - 1) / SPECD_BLOCK_TOKENS + 1,
        .n_vocab = n_vocab,
        .n_allowed_words = mask_words(n_vocab),
        .k_max = setup->k_max,
    };
    size_t counts = (size_t)(s->k_max + 1) * (size_t)n_vocab;

    s->slots = gpu_take(a, (size_t)s->n_slots, sizeof(*s->slots));
    if (a->is_open)
        host_make(s);
    for (int32_t i = 0; i < s->n_slots; i++) {
        struct device_slot home = {
            .tokens = gpu_take(a, (size_t)s->n_ctx, sizeof(int32_t)),
            .blocks = gpu_take(a, (size_t)s->n_blocks_of_slot, sizeof(int32_t)),
            .counts_generated = gpu_take(a, counts, sizeof(uint16_t)),
            .counts_all = gpu_take(a, counts, sizeof(uint16_t)),
        };
        struct seat_lists lists = lists_take(s, a);

        if (!a->is_open)
            continue;
        s->homes[i] = home;
        s->lists[i] = lists;
    }
}

int seats_clear(struct seats *s)
{
    cudaError_t rc = cudaMemcpy(s->slots, s->homes, (size_t)s->n_slots * sizeof(*s->slots),
                                cudaMemcpyHostToDevice);

    for (int32_t i = 0; rc == cudaSuccess && i < s->n_slots; i++)
        rc = cudaMemset(s->homes[i].blocks, 0xff, (size_t)s->n_blocks_of_slot * sizeof(int32_t));
    return rc == cudaSuccess ? 0 : SPECD_EDEVICE;
}

void seats_free(struct seats *s)
{
    free(s->host);
    free(s->seats);
    free(s->homes);
    free(s->lists);
    *s = (struct seats){0};
}

/* A slot's pages hold what its seat holds, in the same order. */
static size_t page_words(const struct seats *s)
{
    return (size_t)s->n_ctx + (size_t)s->n_blocks_of_slot + 2 * SPECD_BIAS_MAX +
           (size_t)s->n_allowed_words;
}

int seat_pages_open(struct seat_pages *pages, const struct seats *s)
{
    pages->bytes_of_slot = page_words(s) * sizeof(int32_t);
    if (cudaHostAlloc((void **)&pages->base, (size_t)s->n_slots * pages->bytes_of_slot,
                      cudaHostAllocDefault) == cudaSuccess)
        return 0;
    (void)cudaGetLastError();
    return SPECD_ENOMEM;
}

void seat_pages_close(struct seat_pages *pages)
{
    cudaFreeHost(pages->base);
    pages->base = NULL;
}

/* ---- staging --------------------------------------------------------------------------------- */

static bool ids_fit(const int32_t *ids, int32_t n, int32_t end)
{
    for (int32_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= end)
            return false;
    }
    return true;
}

/* What would be read out of bounds. The ranges of the parameters are the server's business. */
static bool config_fits(const struct seats *s, const struct slot_config *c)
{
    const struct sample_params *p = &c->params;

    return c->n_tokens >= 1 && c->n_tokens <= c->limit && c->limit <= s->n_ctx &&
           c->n_prompt >= 0 && c->n_prompt <= c->n_tokens && c->target_len >= 0 &&
           c->target_len < c->n_tokens && c->draft_len >= 0 && c->draft_len < c->n_tokens &&
           ids_fit(c->tokens, c->n_tokens, s->n_vocab) && p->n_ends >= 0 &&
           p->n_ends <= SPECD_ENDS_MAX && p->n_bias >= 0 && p->n_bias <= SPECD_BIAS_MAX &&
           ids_fit(p->bias_ids, p->n_bias, s->n_vocab) && p->n_logprobs <= SPECD_LOGPROBS_MAX;
}

static void lists_copy(const struct seats *s, const struct seat_lists *to,
                       const struct sample_params *p)
{
    if (p->n_bias > 0) {
        memcpy(to->bias_ids, p->bias_ids, (size_t)p->n_bias * sizeof(*to->bias_ids));
        memcpy(to->bias, p->bias, (size_t)p->n_bias * sizeof(*to->bias));
    }
    if (p->allowed)
        memcpy(to->allowed, p->allowed, (size_t)s->n_allowed_words * sizeof(*to->allowed));
}

static void lists_point(const struct seat_lists *at, struct sample_params *p)
{
    p->bias_ids = at->bias_ids;
    p->bias = at->bias;
    p->allowed = p->allowed ? at->allowed : NULL;
}

int seats_stage_config(struct seats *s, int32_t slot, const struct slot_config *config)
{
    if (slot < 0 || slot >= s->n_slots || !config_fits(s, config))
        return SPECD_EINVAL;
    struct seat *seat = &s->seats[slot];

    memcpy(seat->tokens, config->tokens, (size_t)config->n_tokens * sizeof(*seat->tokens));
    lists_copy(s, &seat->lists, &config->params);
    seat->config = *config;
    seat->is_set = true;
    seat->len = config->n_tokens;
    seat->limit = config->limit;
    seat->target_len = config->target_len;
    seat->draft_len = config->draft_len;
    seat->n_logprobs = config->params.n_logprobs;
    seat->generation++;
    seat->in_flight = 0;
    return 0;
}

/* Entries between two runs are what the device has already. */
static void mark_dirty(struct seat *seat, int32_t first, int32_t n)
{
    bool clean = seat->first_dirty == seat->end_dirty;

    seat->first_dirty = clean ? first : MIN(seat->first_dirty, first);
    seat->end_dirty = clean ? first + n : MAX(seat->end_dirty, first + n);
}

int seats_stage_blocks(struct seats *s, int32_t slot, int32_t first, int32_t n, const int32_t *ids,
                       int32_t n_pool_blocks)
{
    if (slot < 0 || slot >= s->n_slots || first < 0 || n < 0 || first > s->n_blocks_of_slot ||
        n > s->n_blocks_of_slot - first || !ids_fit(ids, n, n_pool_blocks))
        return SPECD_EINVAL;
    if (n == 0)
        return 0;
    memcpy(s->seats[slot].blocks + first, ids, (size_t)n * sizeof(*ids));
    mark_dirty(&s->seats[slot], first, n);
    return 0;
}

/* ---- packing --------------------------------------------------------------------------------- */

static bool has_penalty(const struct law_params *p)
{
    return p->presence != 0.0f || p->frequency != 0.0f || p->repetition != 1.0f;
}

static struct device_slot slot_of(const struct seats *s, int32_t i)
{
    const struct slot_config *c = &s->seats[i].config;
    struct device_slot slot = s->homes[i];

    slot.len = c->n_tokens;
    slot.n_prompt = c->n_prompt;
    slot.limit = c->limit;
    slot.target_len = c->target_len;
    slot.draft_len = c->draft_len;
    slot.round = c->round;
    slot.params = c->params;
    slot.counting = has_penalty(&c->params.target) || has_penalty(&c->params.draft);
    lists_point(&s->lists[i], &slot.params);
    return slot;
}

/* Where a slot's part of the pages has what. */
struct page {
    int32_t *tokens, *blocks;
    struct seat_lists lists;
};

static struct page page_of(const struct seats *s, const struct seat_pages *pages, int32_t slot)
{
    int32_t *at = (int32_t *)(void *)(pages->base + (size_t)slot * pages->bytes_of_slot);
    int32_t *lists = at + s->n_ctx + s->n_blocks_of_slot;

    return (struct page){
        .tokens = at,
        .blocks = at + s->n_ctx,
        .lists = {lists, (float *)(lists + SPECD_BIAS_MAX),
                  (uint32_t *)(lists + 2 * SPECD_BIAS_MAX)},
    };
}

static void pack_start(struct seats *s, int32_t i, struct slot_change *c, const struct page *page)
{
    struct seat *seat = &s->seats[i];
    struct sample_params staged = seat->config.params;

    c->starts = true;
    c->start = slot_of(s, i);
    memcpy(page->tokens, seat->tokens, (size_t)c->start.len * sizeof(*seat->tokens));
    lists_point(&seat->lists, &staged);
    lists_copy(s, &page->lists, &staged);
    c->tokens = page->tokens;
    c->bias_ids = page->lists.bias_ids;
    c->bias = page->lists.bias;
    c->allowed = staged.allowed ? page->lists.allowed : NULL;
    seat->is_set = false;
}

void seats_pack(struct seats *s, struct round_input *in, const struct seat_pages *pages)
{
    in->n_changes = 0;
    for (int32_t i = 0; i < s->n_slots; i++) {
        struct seat *seat = &s->seats[i];

        if (!seat->is_set && seat->first_dirty == seat->end_dirty)
            continue;
        struct slot_change *c = &in->changes[in->n_changes++];
        struct page page = page_of(s, pages, i);

        c->slot = i;
        c->starts = false;
        c->first_block = seat->first_dirty;
        c->n_blocks = seat->end_dirty - seat->first_dirty;
        c->blocks = page.blocks;
        memcpy(page.blocks, seat->blocks + seat->first_dirty,
               (size_t)c->n_blocks * sizeof(*page.blocks));
        seat->first_dirty = seat->end_dirty = 0;
        if (seat->is_set)
            pack_start(s, i, c, &page);
    }
}

void seats_unpack(struct seats *s, const struct round_input *in)
{
    for (int32_t i = 0; i < in->n_changes; i++) {
        const struct slot_change *c = &in->changes[i];
        struct seat *seat = &s->seats[c->slot];

        seat->is_set = seat->is_set || c->starts;
        if (c->n_blocks > 0)
            mark_dirty(seat, c->first_block, c->n_blocks);
    }
}

bool seat_has_blocks(const struct seats *s, int32_t slot, int32_t end)
{
    int32_t n = (end + SPECD_BLOCK_TOKENS - 1) / SPECD_BLOCK_TOKENS;

    if (n > s->n_blocks_of_slot)
        return false;
    for (int32_t i = 0; i < n; i++) {
        if (s->seats[slot].blocks[i] < 0)
            return false;
    }
    return true;
}
