#include "turns.h"

#include "logprobs.h"
#include "matmul.h"
#include "specd/round_rules.h"
#include "specd/util.h"

#include <string.h>

void turns_layout(struct turns *t, const struct device_setup *setup, int n_vocab, int n_vocab_draft,
                  int threads, struct arena *a)
{
    size_t n = (size_t)setup->n_slots, rows = n * (size_t)(setup->k_max + 1);
    size_t draft_rows = n_vocab_draft > 0 ? n * (size_t)setup_k_draft(setup) : 0;
    *t = (struct turns){
        .n_vocab = n_vocab,
        /* Models of one family may pad their vocabularies differently; padding is never drafted. */
        .n_vocab_draft = MIN(n_vocab, n_vocab_draft),
        .k_max = setup->k_max,
        .n_mask_words = mask_words(n_vocab),
        .target_stride = row_stride(n_vocab),
        .draft_stride = row_stride(n_vocab_draft),
        .scratch_stride = row_stride(n_vocab),
    };
    t->target_logits = arena_take(a, rows, t->target_stride * sizeof(float));
    t->draft_logits = arena_take(a, draft_rows, t->draft_stride * sizeof(float));
    t->scratch = arena_take(a, (size_t)threads, t->scratch_stride * sizeof(uint64_t));
    t->masks = arena_take(a, rows, (size_t)t->n_mask_words * sizeof(*t->masks));
    if (setup->trims_draft) {
        t->wanted = arena_take(a, (size_t)t->n_mask_words, sizeof(*t->wanted));
        t->panels = arena_take(a, (size_t)t->n_vocab_draft / 16 + 1, sizeof(*t->panels));
    }
    t->turn_of_row = arena_take(a, rows, sizeof(int32_t));
    t->own = arena_take(a, rows, sizeof(*t->own));
    t->top = arena_take(a, rows, SPECD_LOGPROBS_MAX * sizeof(*t->top));
    t->turns = arena_take(a, n, sizeof(*t->turns));
    t->spans = arena_take(a, n, sizeof(*t->spans));
    t->turn_of_span = arena_take(a, n, sizeof(int32_t));
}

/* ---- who does what --------------------------------------------------------------------------- */

/* The round's masks outlive `begin` as a copy. */
static const uint32_t *keep_masks(struct turns *t, const struct turn *turn, const uint32_t *masks)
{
    size_t words = (size_t)(turn->k + 1) * (size_t)t->n_mask_words;
    uint32_t *to =
        t->masks + (size_t)(turn - t->turns) * (size_t)(t->k_max + 1) * (size_t)t->n_mask_words;
    return masks ? memcpy(to, masks, words * sizeof(*to)) : NULL;
}

void turns_add(struct turns *t, const struct round_seq *seq, int32_t k)
{
    struct turn *turn = &t->turns[t->n_turns++];
    turn->slot = &t->slots->slots[seq->slot];
    turn->slot_id = seq->slot;
    turn->source = seq->source;
    turn->k = k;
    turn->masks = keep_masks(t, turn, seq->masks);
    if (seq->source == DRAFT_FROM_HOST)
        memcpy(turn->slot->tokens + turn->slot->len, seq->host_draft, (size_t)k * sizeof(int32_t));
}

static void add_span(struct turns *t, int32_t turn, int32_t pos, int32_t n, int32_t n_logits)
{
    const struct slot *slot = t->turns[turn].slot;
    t->turn_of_span[t->n_spans] = turn;
    t->spans[t->n_spans++] = (struct span){
        .tokens = slot->tokens,
        .blocks = slot->blocks,
        .pos = pos,
        .n = n,
        .n_logits = n_logits,
    };
}

void turns_step_spans(struct turns *t, int step)
{
    t->n_spans = 0;
    for (int32_t i = 0; i < t->n_turns; i++) {
        const struct turn *turn = &t->turns[i];
        const struct slot *slot = turn->slot;
        if (!step_drafts(turn->source, turn->k, step))
            continue;
        int32_t first = step_first_row(step, slot->len, slot->rows[MODEL_DRAFT]);
        add_span(t, i, first, slot->len - 1 + step - first, 1);
    }
}

void turns_verify_spans(struct turns *t)
{
    int32_t row = 0;
    t->n_spans = 0;
    for (int32_t i = 0; i < t->n_turns; i++) {
        struct turn *turn = &t->turns[i];
        turn->first_row = row;
        for (int32_t k = 0; k <= turn->k; k++)
            t->turn_of_row[row++] = i;
        add_span(t, i, turn->slot->len - 1, turn->k + 1, turn->k + 1);
    }
}

float *turns_draft_logits(const struct turns *t, int step)
{
    return t->draft_logits + (size_t)(step - 1) * (size_t)t->slots->shape.n_slots * t->draft_stride;
}

const int32_t *turns_draft_panels(struct turns *t, int *n)
{
    *n = 0;
    if (!t->panels)
        return NULL;
    memset(t->wanted, 0, (size_t)t->n_mask_words * sizeof(*t->wanted));
    for (int32_t i = 0; i < t->n_spans; i++) {
        const uint32_t *ids = t->turns[t->turn_of_span[i]].slot->params.draft_ids;
        if (!ids)
            return NULL;
        for (int32_t word = 0; word < t->n_mask_words; word++)
            t->wanted[word] |= ids[word];
    }
    *n = panels_with(t->wanted, t->n_vocab_draft, t->panels);
    return t->panels;
}

/* ---- laws ------------------------------------------------------------------------------------ */

typedef void item_fn(struct turns *t, int item, uint64_t *scratch);

struct item_stage {
    struct turns *t;
    item_fn *fn;
};

static void run_item(void *arg, int item, int part)
{
    struct item_stage *s = arg;
    s->fn(s->t, item, s->t->scratch + (size_t)part * s->t->scratch_stride);
}

struct row_parts {
    void (*fn)(void *arg, int i);
    void *arg;
};

static void run_row_part(void *arg, int item, int part)
{
    struct row_parts *p = arg;
    (void)part;
    p->fn(p->arg, item);
}

static void run_row_parts(void *pool, int n, void (*fn)(void *arg, int i), void *arg)
{
    pool_items(pool, n, run_row_part, &(struct row_parts){fn, arg});
}

/* Threads for the row of an item that is the only one of its stage, and so runs on the leader. */
static const struct law_threads *threads_of(struct turns *t)
{
    return t->n_items == 1 ? &t->threads : NULL;
}

static void for_items(struct turns *t, item_fn *fn, int n)
{
    t->n_items = n;
    t->threads = (struct law_threads){run_row_parts, t->pool, pool_size(t->pool)};
    pool_items(t->pool, n, run_item, &(struct item_stage){t, fn});
}

/* Of the row that predicts position len + i, behind i drafted tokens. */
static struct law_context context_of(const struct turns *t, const struct turn *turn,
                                     const struct law_params *law, int i)
{
    const struct slot *slot = turn->slot;
    struct law_context c = {.params = &slot->params, .law = law, .position = slot->len + i};
    if (slot->counting) {
        c.counts_generated = slot->counts_generated + (size_t)i * (size_t)t->n_vocab;
        c.counts_all = slot->counts_all + (size_t)i * (size_t)t->n_vocab;
    }
    return c;
}

static void draw_item(struct turns *t, int item, uint64_t *scratch)
{
    struct turn *turn = &t->turns[t->turn_of_span[item]];
    struct slot *slot = turn->slot;
    const struct sample_params *params = &slot->params;
    int i = t->step - 1;
    struct law_context context = context_of(t, turn, &params->draft, i);
    context.threads = threads_of(t);
    float *logits = turns_draft_logits(t, t->step) + (size_t)item * t->draft_stride;
    if (params->draft_ids)
        law_restrict(logits, t->n_vocab_draft, params->draft_ids);
    law_build(&turn->p[i], logits, t->n_vocab_draft, &context, scratch);

    struct noise noise = noise_proposal(params->seed, params->mode, slot->len + i, slot->round);
    int32_t id = law_draw(&turn->p[i], &noise);
    turn->p[i].context.threads = NULL;
    slot->tokens[slot->len + i] = id;
    if (slot->counting)
        slot_count_drafted(t->slots, slot, t->step, id);
}

void turns_draw(struct turns *t, int step)
{
    t->step = step;
    for_items(t, draw_item, t->n_spans);
}

/* Drafts of the host are proposals with all mass on one token. */
static void host_item(struct turns *t, int item, uint64_t *scratch)
{
    struct turn *turn = &t->turns[item];
    struct slot *slot = turn->slot;
    (void)scratch;
    if (turn->source != DRAFT_FROM_HOST)
        return;
    for (int32_t i = 0; i < turn->k; i++) {
        law_point(&turn->p[i], t->n_vocab, slot->tokens[slot->len + i]);
        if (slot->counting)
            slot_count_drafted(t->slots, slot, i + 1, slot->tokens[slot->len + i]);
    }
}

static void target_law_item(struct turns *t, int row, uint64_t *scratch)
{
    struct turn *turn = &t->turns[t->turn_of_row[row]];
    int i = row - turn->first_row;
    struct law_context context = context_of(t, turn, &turn->slot->params.target, i);
    context.threads = threads_of(t);
    if (turn->masks)
        context.mask = turn->masks + (size_t)i * (size_t)t->n_mask_words;
    law_build(&turn->q[i], t->target_logits + (size_t)row * t->target_stride, t->n_vocab, &context,
              scratch);
}

/* ---- verification ---------------------------------------------------------------------------- */

static void fill_logprobs(struct turns *t, int item, struct seq_result *out)
{
    const struct turn *turn = &t->turns[item];
    int n_top = turn->slot->params.n_logprobs;
    if (n_top < 0)
        return;
    size_t first = (size_t)item * (size_t)(t->k_max + 1);
    struct token_logprob *own = t->own + first, *top = t->top + first * SPECD_LOGPROBS_MAX;
    for (int32_t i = 0; i < out->n_tokens; i++)
        logprobs_of_row(t->target_logits + (size_t)(turn->first_row + i) * t->target_stride,
                        t->n_vocab, out->tokens[i], own + i, top + i * n_top, n_top);
    out->own = own;
    out->top = top;
}

static void overlap_item(struct turns *t, int row, uint64_t *scratch)
{
    int item = t->turn_of_row[row], i = row - t->turns[item].first_row;
    const struct turn *turn = &t->turns[item];
    (void)scratch;
    if (i < turn->n_overlaps)
        t->result->seqs[item].overlap[i] = (float)law_overlap(&turn->q[i], &turn->p[i]);
}

/* Behind all questions to the turn's laws: they count the slot's tokens. */
static void advance_item(struct turns *t, int item, uint64_t *scratch)
{
    struct turn *turn = &t->turns[item];
    struct seq_result *out = &t->result->seqs[item];
    struct slot *slot = turn->slot;
    (void)scratch;
    slot->round++;
    if (!(out->flags & SEQ_NUMERIC)) {
        slot->rows[MODEL_DRAFT] =
            round_draft_rows(turn->source, turn->k, slot->len, slot->rows[MODEL_DRAFT], out);
        slot_commit(slot, out->tokens, out->n_tokens);
        slot->rows[MODEL_TARGET] = slot->len - 1;
    }
    out->len = slot->len;
    memcpy(out->rows, slot->rows, sizeof(out->rows));
}

static void verify_item(struct turns *t, int item, uint64_t *scratch)
{
    struct turn *turn = &t->turns[item];
    struct slot *slot = turn->slot;
    struct seq_result *out = &t->result->seqs[item];
    struct verify_input in = {
        .q = turn->q,
        .p = turn->p,
        .drafted = slot->tokens + slot->len,
        .k = turn->k,
        .len = slot->len,
        .round = slot->round,
        .seed = slot->params.seed,
        .mode = slot->params.mode,
        .synthetic_acceptance = t->synthetic_acceptance,
        .ends = slot->params.ends,
        .n_ends = slot->params.n_ends,
    };
    (void)scratch;
    for (int32_t i = 0; i <= turn->k; i++)
        turn->q[i].context.threads = threads_of(t);
    memset(out, 0, sizeof(*out));
    out->slot = turn->slot_id;
    out->n_drafted = turn->k;
    turn->n_overlaps = law_decide(&in, out);
    fill_logprobs(t, item, out);
}

void turns_verify(struct turns *t, struct round_result *result)
{
    int n_rows = 0;
    for (int32_t i = 0; i < t->n_turns; i++)
        n_rows += t->turns[i].k + 1;
    t->result = result;
    result->n_seqs = t->n_turns;
    for_items(t, host_item, t->n_turns);
    for_items(t, target_law_item, n_rows);
    for_items(t, verify_item, t->n_turns);
    for_items(t, overlap_item, n_rows);
    for_items(t, advance_item, t->n_turns);
}
