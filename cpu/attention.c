#include "attention.h"

#include "specd/util.h"

#include <string.h>

#define QUERIES_AT_ONCE 32 /* (row, head) pairs of an item, unless one row has more heads */
#define TILE_BLOCKS (ATTENTION_TILE / SPECD_BLOCK_TOKENS)
/* Floats between queries' scores: a block writes KV_LANES, and powers of two would meet in the
 * same few sets of the cache. */
#define SCORES_STRIDE (ATTENTION_TILE + KV_LANES)

_Static_assert(ATTENTION_TILE % SPECD_BLOCK_TOKENS == 0, "tiles hold blocks");
_Static_assert(SPECD_BLOCK_TOKENS <= KV_LANES && SPECD_BLOCK_TOKENS % 2 == 0, "rows in pairs");

/* Everything an item needs, for as many queries as it may have. Queries are ordered by row. */
struct attention_scratch {
    float *query;                           /* (queries, D) */
    float *scores;                          /* (queries, SCORES_STRIDE) */
    float *values;                          /* (queries, width): of the tile */
    float *result;                          /* (queries, width): of the tiles so far */
    float *max, *sum, *tile_max, *tile_sum; /* (queries) */
    int *begin, *end; /* (queries): the positions of the tile that the query sees */
};

/* Query heads to a kv head. */
static int group_of(const struct attention *at)
{
    return at->n_heads / at->n_kv_heads;
}

static int tiles_of(int32_t n_positions)
{
    return (n_positions + ATTENTION_TILE - 1) / ATTENTION_TILE;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Rows of one slot whose tiles may be shared out over threads: a verify pass at the longest context
 * with the longest draft. */
static int rows_split(const struct device_setup *setup)
{
    return MAX(8, setup->k_max + 1);
}

void attention_layout(struct attention *at, const struct net *const nets[MODEL_ROLES],
                      const struct device_setup *setup, int threads, struct arena *a)
{
    *at = (struct attention){.max_spans = setup->n_slots};
    int queries = QUERIES_AT_ONCE, dim = 0, heads = 0, kv_heads = 0;
    for (int i = 0; i < MODEL_ROLES; i++) {
        dim = MAX(dim, nets[i] ? nets[i]->head_dim : 0);
        for (int j = 0; nets[i] && j < nets[i]->n_layers; j++) {
            const struct net_layer *l = &nets[i]->layers[j];
            queries = MAX(queries, l->n_heads / l->n_kv_heads);
            heads = MAX(heads, l->n_heads);
            kv_heads = MAX(kv_heads, l->n_kv_heads);
        }
    }
    size_t max_partials =
        MIN((size_t)heads * (size_t)tiles_of(setup->n_ctx) * (size_t)rows_split(setup),
            (size_t)INT32_MAX);
    size_t max_items = MAX((size_t)kv_heads * (size_t)setup->max_rows, max_partials);
    max_items = MIN(max_items, (size_t)INT32_MAX);
    at->width = kvmem_width(dim);
    at->max_items = (int32_t)max_items;
    at->max_partials = (int32_t)max_partials;
    at->items = arena_take(a, max_items, sizeof(*at->items));
    at->first_partial = arena_take(a, (size_t)at->max_spans, sizeof(int32_t));
    at->partial_max = arena_take(a, max_partials, sizeof(float));
    at->partial_sum = arena_take(a, max_partials, sizeof(float));
    at->partial_values = arena_take(a, max_partials, (size_t)at->width * sizeof(float));

    at->scratch = arena_take(a, (size_t)threads, sizeof(*at->scratch));
    size_t n = (size_t)queries, width = (size_t)at->width;
    for (int i = 0; i < threads; i++) {
        struct attention_scratch s = {
            .query = arena_take(a, n * width, sizeof(float)),
            .scores = arena_take(a, n * SCORES_STRIDE, sizeof(float)),
            .values = arena_take(a, n * width, sizeof(float)),
            .result = arena_take(a, n * width, sizeof(float)),
            .max = arena_take(a, n, sizeof(float)),
            .sum = arena_take(a, n, sizeof(float)),
            .tile_max = arena_take(a, n, sizeof(float)),
            .tile_sum = arena_take(a, n, sizeof(float)),
            .begin = arena_take(a, n, sizeof(int)),
            .end = arena_take(a, n, sizeof(int)),
        };
        if (at->scratch)
            at->scratch[i] = s;
    }
}

/* ---- dividing a pass ------------------------------------------------------------------------- */

/* Items of the pass with every item doing all tiles of its rows, or one tile. */
static size_t count_items(const struct attention *at, bool split, size_t *n_partials)
{
    int step = at->rows_at_once;
    size_t n = 0;
    *n_partials = 0;
    for (int32_t i = 0; i < at->n_spans; i++) {
        const struct span *s = &at->spans[i];
        size_t tiles = split ? (size_t)tiles_of(s->pos + s->n) : 1;
        n += (size_t)((s->n + step - 1) / step) * (size_t)at->n_kv_heads * tiles;
        *n_partials += (size_t)s->n * (size_t)at->n_heads * tiles;
    }
    return n;
}

static void add_items(struct attention *at, int32_t index, int32_t head)
{
    const struct span *s = &at->spans[index];
    int step = at->rows_at_once;
    for (int32_t row = 0; row < s->n; row += step) {
        int32_t n_rows = MIN(step, s->n - row), tiles = tiles_of(s->pos + row + n_rows);
        struct attention_item item = {index, head, row, n_rows, 0, tiles};
        for (int32_t t = 0; at->split && t < tiles; t++) {
            item.tile = t;
            item.n_tiles = 1;
            at->items[at->n_items++] = item;
        }
        if (!at->split)
            at->items[at->n_items++] = item;
    }
}

void attention_begin(struct attention *at, const struct kvmem *kv, const struct net *net,
                     enum model_role role, const struct span *spans, int32_t n_spans, int threads)
{
    at->ops = ops_get();
    at->kv = kv;
    at->net = net;
    at->role = role;
    at->spans = spans;
    at->n_spans = n_spans;
    at->threads = threads;
    at->n_heads = at->n_kv_heads = 0;
    ASSERT(n_spans <= at->max_spans);
}

/* The pass into work for a layer of so many heads. */
static void divide(struct attention *at, int n_heads, int n_kv_heads)
{
    size_t threads = (size_t)at->threads;
    at->n_heads = n_heads;
    at->n_kv_heads = n_kv_heads;
    at->rows_at_once = MAX(1, QUERIES_AT_ONCE / group_of(at));
    size_t whole_partials, partials;
    size_t whole = count_items(at, false, &whole_partials);
    size_t split = count_items(at, true, &partials);
    at->split = split > whole && whole < 4 * threads && partials <= (size_t)at->max_partials &&
                split <= (size_t)at->max_items;
    /* A few heads are cut further, for all threads to have as much to do. */
    for (; !at->split && whole < 4 * threads && whole % threads != 0 && at->rows_at_once > 1;
         whole = count_items(at, false, &whole_partials))
        at->rows_at_once = (at->rows_at_once + 1) / 2;
    at->n_items = 0;
    int32_t n = 0;
    for (int32_t i = 0; i < at->n_spans; i++) {
        const struct span *s = &at->spans[i];
        at->first_partial[i] = n;
        if (at->split)
            n += s->n * n_heads * tiles_of(s->pos + s->n);
        for (int32_t g = 0; g < n_kv_heads; g++)
            add_items(at, i, g);
    }
    ASSERT(at->n_items <= at->max_items);
}

/* ---- one tile -------------------------------------------------------------------------------- */

/* The first position that a row at `pos` sees. */
static int32_t first_seen(const struct attention *at, int32_t pos)
{
    return at->window > 0 ? MAX(pos + 1 - at->window, 0) : 0;
}

/* Which positions of the tile each query sees. Queries that see any are first..end. */
static void find_seen(const struct attention *at, const struct attention_item *item, int tile,
                      struct attention_scratch *w, int *first, int *end)
{
    const struct span *s = &at->spans[item->span];
    int group = group_of(at);
    *first = *end = 0;
    for (int r = 0; r < item->n_rows; r++) {
        int32_t pos = s->pos + item->row + r, start = tile * ATTENTION_TILE;
        int seen = MAX(MIN(pos + 1 - start, ATTENTION_TILE), 0);
        int begin = MAX(first_seen(at, pos) - start, 0);
        for (int q = r * group; q < (r + 1) * group; q++) {
            w->begin[q] = begin;
            w->end[q] = seen;
        }
        if (seen == 0)
            *first = (r + 1) * group;
        if (begin < seen)
            *end = (r + 1) * group;
    }
}

/* A tile's blocks in the order in which they are read. Behind the keys there are the first values,
 * behind the values the next tile's first keys, for the kernels to fetch them early. */
struct tile_blocks {
    int first, n; /* of the tile's blocks */
    const void *keys[TILE_BLOCKS + KV_AHEAD], *values[TILE_BLOCKS + KV_AHEAD];
};

/* begin, end: of the tile's positions */
static void find_blocks(const struct attention *at, const struct attention_item *item, int tile,
                        int begin, int end, struct tile_blocks *b)
{
    const struct span *s = &at->spans[item->span];
    b->first = begin / SPECD_BLOCK_TOKENS;
    b->n = (end + SPECD_BLOCK_TOKENS - 1) / SPECD_BLOCK_TOKENS - b->first;
    const int32_t *blocks =
        s->blocks + kvmem_entries(at->kv, at->role, at->layer) + tile * TILE_BLOCKS + b->first;
    int last = (s->pos + s->n - 1) / SPECD_BLOCK_TOKENS - tile * TILE_BLOCKS - b->first, n = b->n;
    for (int i = 0; i < n + KV_AHEAD; i++) {
        int32_t block = blocks[MIN(i, last)];
        const void *keys = kvmem_keys(at->kv, at->role, at->layer, item->head, block);
        const void *values = kvmem_values(at->kv, at->role, at->layer, item->head, block);
        b->keys[i] = i < n ? keys : b->values[i - n];
        b->values[i] = i < n ? values : keys;
    }
}

/* scores = query . key for the positions of some of the tile's blocks. Those that a query does not
 * see are computed with the others, and then ignored. */
static void tile_scores(const struct attention *at, const struct tile_blocks *blocks, int first,
                        int end, struct attention_scratch *w)
{
    int D = at->net->head_dim;
    at->ops->scores(
        at->kv->type, w->scores + first * SCORES_STRIDE + blocks->first * SPECD_BLOCK_TOKENS,
        SCORES_STRIDE, w->query + first * D, D, blocks->keys, blocks->n, end - first, D);
}

/* values = scores . value, no position that a query does not see: runs of positions that the same
 * queries see, from..to, one after another. Later rows start and end later. */
static void tile_values(const struct attention *at, const struct tile_blocks *blocks, int first,
                        int end, struct attention_scratch *w)
{
    int width = at->width, row_width = kvmem_width(at->net->head_dim), group = group_of(at);
    int skipped = blocks->first * SPECD_BLOCK_TOKENS, q = first, q_end = first;
    memset(w->values + first * width, 0, (size_t)((end - first) * width) * sizeof(float));
    for (int from = w->begin[first], to; q < end; from = to) {
        while (q_end < end && w->begin[q_end] <= from)
            q_end += group;
        to = q_end < end ? MIN(w->end[q], w->begin[q_end]) : w->end[q];
        at->ops->values(at->kv->type, w->values + q * width, width,
                        w->scores + q * SCORES_STRIDE + skipped, SCORES_STRIDE, blocks->values,
                        from - skipped, to - skipped, q_end - q, row_width);
        while (q < end && w->end[q] <= to)
            q += group;
    }
}

/* The step that both stages share: result, max and sum take in one more tile's. */
static void merge(const struct ops *ops, int n, float *result, float *max, float *sum,
                  const float *values, float tile_max, float tile_sum, bool is_first)
{
    if (is_first) {
        memcpy(result, values, (size_t)n * sizeof(float));
        *max = tile_max;
        *sum = tile_sum;
        return;
    }
    float most = *max > tile_max ? *max : tile_max;
    float a = ops->exp(*max - most), b = ops->exp(tile_max - most);
    ops->blend(result, a, values, b, n);
    *sum = *sum * a + tile_sum * b;
    *max = most;
}

/* ---- items ----------------------------------------------------------------------------------- */

static size_t partial_index(const struct attention *at, const struct attention_item *item, int r,
                            int h)
{
    const struct span *s = &at->spans[item->span];
    size_t head = (size_t)(item->head * group_of(at) + h);
    size_t row_head = (size_t)(item->row + r) * (size_t)at->n_heads + head;
    return (size_t)at->first_partial[item->span] + row_head * (size_t)tiles_of(s->pos + s->n) +
           (size_t)item->tile;
}

static void leave_partial(const struct attention *at, const struct attention_item *item,
                          const struct attention_scratch *w, int first, int end)
{
    int group = group_of(at);
    for (int q = first; q < end; q++) {
        size_t p = partial_index(at, item, q / group, q % group);
        at->partial_max[p] = w->tile_max[q];
        at->partial_sum[p] = w->tile_sum[q];
        memcpy(at->partial_values + p * (size_t)at->width, w->values + q * at->width,
               (size_t)at->width * sizeof(float));
    }
}

static void gather_queries(const struct attention *at, const struct attention_item *item,
                           struct attention_scratch *w)
{
    int D = at->net->head_dim, group = group_of(at);
    ptrdiff_t row = at->spans[item->span].row + item->row;
    for (int r = 0; r < item->n_rows; r++)
        memcpy(w->query + r * group * D, at->q + (row + r) * at->q_stride + item->head * group * D,
               (size_t)(group * D) * sizeof(float));
}

static void store_results(const struct attention *at, const struct attention_item *item,
                          const struct attention_scratch *w)
{
    int D = at->net->head_dim, group = group_of(at);
    ptrdiff_t row = at->spans[item->span].row + item->row;
    for (int q = 0; q < item->n_rows * group; q++)
        at->ops->divide(at->out + (row + q / group) * at->out_stride +
                            (item->head * group + q % group) * D,
                        w->result + q * at->width, w->sum[q], D);
}

static void item_run(const struct attention *at, const struct attention_item *item,
                     struct attention_scratch *w)
{
    const struct span *s = &at->spans[item->span];
    int group = group_of(at);
    gather_queries(at, item, w);
    int t = MAX(item->tile, first_seen(at, s->pos + item->row) / ATTENTION_TILE);
    for (; t < item->tile + item->n_tiles; t++) {
        int first, end;
        find_seen(at, item, t, w, &first, &end);
        if (first >= end)
            continue;
        struct tile_blocks blocks;
        find_blocks(at, item, t, w->begin[first], w->end[end - 1], &blocks);
        tile_scores(at, &blocks, first, end, w);
        for (int q = first; q < end; q++)
            w->tile_sum[q] = at->ops->exp_sum(w->scores + q * SCORES_STRIDE + w->begin[q],
                                              w->end[q] - w->begin[q], &w->tile_max[q]);
        tile_values(at, &blocks, first, end, w);
        if (at->split) {
            leave_partial(at, item, w, first, end);
            continue;
        }
        for (int q = first; q < end; q++)
            merge(at->ops, at->width, w->result + q * at->width, &w->max[q], &w->sum[q],
                  w->values + q * at->width, w->tile_max[q], w->tile_sum[q],
                  t == first_seen(at, s->pos + item->row + q / group) / ATTENTION_TILE);
    }
    if (!at->split)
        store_results(at, item, w);
}

static void items_part(void *arg, int part, int n_parts)
{
    struct attention *at = arg;
    int i;
    (void)n_parts;
    while ((i = atomic_fetch_add_explicit(&at->next, 1, memory_order_relaxed)) < at->n_items)
        item_run(at, &at->items[i], &at->scratch[part]);
}

/* Second stage of a split pass: one (row, head) at a time. */
static void merge_row_head(const struct attention *at, const struct span *s, size_t first,
                           int32_t row, int head, float *result)
{
    int D = at->net->head_dim;
    size_t tiles = (size_t)tiles_of(s->pos + s->n), seen = (size_t)tiles_of(s->pos + row + 1);
    size_t p = first + ((size_t)row * (size_t)at->n_heads + (size_t)head) * tiles;
    size_t start = (size_t)(first_seen(at, s->pos + row) / ATTENTION_TILE);
    float max = 0.0f, sum = 0.0f;
    for (size_t t = start; t < seen; t++)
        merge(at->ops, at->width, result, &max, &sum,
              at->partial_values + (p + t) * (size_t)at->width, at->partial_max[p + t],
              at->partial_sum[p + t], t == start);
    at->ops->divide(at->out + (ptrdiff_t)(s->row + row) * at->out_stride + head * D, result, sum,
                    D);
}

static void merge_part(void *arg, int part, int n_parts)
{
    struct attention *at = arg;
    int turn = 0;
    for (int32_t i = 0; i < at->n_spans; i++) {
        for (int32_t row = 0; row < at->spans[i].n; row++) {
            for (int h = 0; h < at->n_heads; h++, turn++) {
                if (turn % n_parts == part)
                    merge_row_head(at, &at->spans[i], (size_t)at->first_partial[i], row, h,
                                   at->scratch[part].result);
            }
        }
    }
}

void attention_run(struct attention *at, struct pool *pool, int layer, const float *q, int q_stride,
                   float *out, int out_stride)
{
    const struct net_layer *l = &at->net->layers[layer];
    if (l->n_heads != at->n_heads || l->n_kv_heads != at->n_kv_heads)
        divide(at, l->n_heads, l->n_kv_heads);
    at->layer = layer;
    at->window = l->window;
    at->q = q;
    at->q_stride = q_stride;
    at->out = out;
    at->out_stride = out_stride;
    atomic_store_explicit(&at->next, 0, memory_order_relaxed);
    pool_run(pool, items_part, at);
    if (at->split)
        pool_run(pool, merge_part, at);
}
