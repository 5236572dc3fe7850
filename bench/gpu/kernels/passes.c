/* A slot in device memory, and passes of its rows. */
#include "kernels.h"

#include "attention.h"
#include "specd/util.h"

#include <stdlib.h>

#define PARTIALS 2048 /* as passes have them */

static void *zero(size_t bytes)
{
    void *p = kernels_take(bytes);
    kernels_zero(p, bytes);
    return p;
}

/* Blocks lie in their order, as those of a slot that came first do. */
static struct device_slot *slot_make(int n_ctx, int len)
{
    int n_blocks = (n_ctx + SPECD_BLOCK_TOKENS - 1) / SPECD_BLOCK_TOKENS;
    int32_t *ids = xmalloc((size_t)n_blocks * sizeof(*ids));
    for (int32_t i = 0; i < n_blocks; i++)
        ids[i] = i;
    struct device_slot slot = {
        .tokens = zero((size_t)n_ctx * sizeof(int32_t)),
        .blocks = kernels_copy(ids, (size_t)n_blocks * sizeof(*ids)),
        .len = len,
        .limit = n_ctx,
        .rows = {len - 1, 0},
    };
    free(ids);
    return kernels_copy(&slot, sizeof(slot));
}

static void pass_make(struct pass *p, const struct shape *s, int rows, int queries, int partials)
{
    int group = (int)(s->heads / s->kv_heads);
    *p = (struct pass){
        .max_rows = rows,
        .max_logits = rows,
        .max_items = pass_items_max(rows, 1, partials, group, queries),
        .max_partials = partials,
    };
    p->counts = zero(sizeof(*p->counts));
    p->rows = zero((size_t)rows * sizeof(*p->rows));
    p->logit_rows = zero((size_t)rows * sizeof(*p->logit_rows));
    p->turn_of_logit = zero((size_t)rows * sizeof(*p->turn_of_logit));
    p->spans = zero(sizeof(*p->spans));
    p->items = zero((size_t)p->max_items * sizeof(*p->items));
    p->merges = zero((size_t)MAX(partials, 1) * sizeof(*p->merges));
}

int pass_rig_rows(const struct pass_rig *r, const struct shape *s, int queries, cudaStream_t stream)
{
    const struct pass_request request = {
        .set = ROWS_VERIFY,
        .role = MODEL_TARGET,
        .capacity = r->rows,
        .group = (int32_t)(s->heads / s->kv_heads),
        .queries = queries,
    };
    return launch_rows(&r->state, &r->pass, &request, stream);
}

void pass_rig_make(struct pass_rig *r, const struct kernels *k, const struct shape *s, int rows,
                   int context, int queries, bool split)
{
    struct device_round *round = xcalloc(1, sizeof(*round));
    struct round_turn turn = {.slot = 0, .k = rows - 1, .source = DRAFT_FROM_HOST};
    struct pass_counts counts;

    round->round.n_seqs = 1;
    *r = (struct pass_rig){.rows = rows, .context = context};
    r->state = (struct device_state){
        .slots = slot_make(context, context - rows + 1),
        .round = kernels_copy(round, sizeof(*round)),
        .turns = kernels_copy(&turn, sizeof(turn)),
        .n_slots = 1,
        .n_ctx = context,
        .n_blocks = (context + SPECD_BLOCK_TOKENS - 1) / SPECD_BLOCK_TOKENS,
        .k_max = SPECD_K_MAX,
        .n_vocab = k->n_vocab,
    };
    free(round);
    pass_make(&r->pass, s, rows, queries, split ? PARTIALS : 0);
    if (pass_rig_rows(r, s, queries, k->stream) != 0)
        kernels_die("rows");
    kernels_read(&counts, r->pass.counts, sizeof(counts));
    if (counts.n_rows != rows || counts.n_logits != rows)
        kernels_die("rows: not as many as asked for");
}
