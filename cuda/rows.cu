/*
 * rows.cu - slots, turns and the round -> a pass: its rows, the rows that want logits, and the work
 * list of attention.
 *
 * One block, the first thing of every pass, so that neither the host nor a graph has to know how
 * many rows there are. Spans are counted and placed by scans over all of them, rows and items then
 * find their span by bisection.
 *
 * What is split. A span of few rows over a long context would be one item for each kv head, which
 * keeps a few multiprocessors busy; so its tiles become items of their own, whose partial results
 * are merged later. Room for these is bounded: spans of the most tiles come first. The choice
 * changes no bit of a result (attention.h).
 *
 * Predicted on an H100, not measured: under 10 KB moved, four to eight dependent loads and some
 * twenty barriers, about 4 us; a graph node of its own. 64 slots with 5 rows: the same.
 */
#include "attention.h"
#include "common.cuh"
#include "specd/round_rules.h"
#include "state.h"

#define THREADS 256
#define SPLIT_ROWS 32 /* more rows of one span are work enough without splitting */

/* What a span, or all before it, adds to the pass. */
struct sizes {
    int32_t rows, logits, spans;
};

/* The pass's spans in shared memory. */
struct plan {
    struct pass_span span[SPECD_SLOTS_MAX];
    int32_t turn[SPECD_SLOTS_MAX];
    int32_t n_logits[SPECD_SLOTS_MAX];
    int32_t first_logit[SPECD_SLOTS_MAX];
    int32_t first_item[SPECD_SLOTS_MAX]; /* for one kv head */
    int32_t first_merge[SPECD_SLOTS_MAX];
    struct pass_counts counts;
};

/* ---- scans ----------------------------------------------------------------------------------- */

/* The sum of `mine` over the threads before this one; *total: over all. */
DEVICE uint64_t block_scan(uint64_t mine, uint64_t *total)
{
    SHARED_ARRAY(uint64_t, of_warp, THREADS / WARP);
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    uint64_t sum = mine, before = 0, all = 0;

    for (int d = 1; d < WARP; d *= 2) {
        uint64_t other = __shfl_up_sync(ALL_LANES, sum, d);
        sum += lane >= d ? other : 0;
    }
    __syncthreads(); /* of_warp may still be read from the scan before */
    if (lane == WARP - 1)
        of_warp[warp] = sum;
    __syncthreads();
    for (int i = 0; i < THREADS / WARP; i++) {
        before += i < warp ? of_warp[i] : 0;
        all += of_warp[i];
    }
    *total = all;
    return before + sum - mine;
}

/* The last of first[0..n) that is not above x; first ascends from 0, and x is below the end. So of
 * spans that start at one number, all but the last of which have none, it is that last one. */
template <class F> DEVICE int32_t bisect(int32_t n, int32_t x, F first)
{
    int32_t low = 0, high = n;

    while (high - low > 1) {
        int32_t middle = (low + high) / 2;
        if (first(middle) <= x)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* ---- spans ----------------------------------------------------------------------------------- */

struct wish {
    struct pass_span span;
    int32_t turn, n_logits;
};

DEVICE struct wish wish_none(void)
{
    struct wish w = {{-1, 0, 0, 0, -1}, -1, 0};

    return w;
}

DEVICE struct wish wish_of_chunk(const struct device_state &s, const struct pass_request &r, int i)
{
    const struct round_chunk *c = &s.round->round.chunks[i];
    struct wish w = wish_none();

    if (c->role != r.role)
        return w;
    const struct device_slot *slot = &s.slots[c->slot];
    if (slot->stopped)
        return w;
    if (c->start != slot->rows[r.role] || c->n < 1 || c->n > slot->len - 1 - c->start)
        __trap();
    w.span.slot = c->slot;
    w.span.pos = c->start;
    w.span.n = c->n;
    w.turn = i;
    w.n_logits = c->score ? c->n : 0;
    return w;
}

/* As turns_step_spans and turns_verify_spans of cpu/turns.c. */
DEVICE struct wish wish_of_turn(const struct device_state &s, const struct pass_request &r, int i)
{
    const struct round_turn *t = &s.turns[i];
    const struct device_slot *slot = &s.slots[t->slot];
    struct wish w = wish_none();

    if (t->k < 0)
        return w;
    w.turn = i;
    if (r.set == ROWS_VERIFY) {
        w.span.pos = slot->len - 1;
        w.span.n = w.n_logits = t->k + 1;
    } else if (step_drafts(t->source, t->k, r.step)) {
        w.span.pos = step_first_row(r.step, slot->len, slot->rows[MODEL_DRAFT]);
        w.span.n = slot->len - 1 + r.step - w.span.pos;
        w.n_logits = 1;
    } else {
        return w;
    }
    w.span.slot = t->slot;
    return w;
}

/* Leaves of w, whose rows start at row `row` of all the chunks', what is inside the window. */
DEVICE void wish_clip(struct wish *w, const struct pass_request &r, int64_t row)
{
    int64_t first = MAX(row, (int64_t)r.first);
    int64_t end = MIN(row + w->span.n, (int64_t)r.first + r.capacity);

    w->span.pos += (int32_t)(first - row);
    w->span.n = (int32_t)MAX(end - first, (int64_t)0);
    w->n_logits = MIN(w->n_logits, w->span.n);
}

DEVICE uint64_t sizes_pack(const struct wish &w)
{
    return (uint64_t)w.span.n << 32 | (uint64_t)w.n_logits << 16 | (w.span.n > 0);
}

DEVICE struct sizes sizes_of(uint64_t bits)
{
    struct sizes s = {(int32_t)(bits >> 32), (int32_t)(bits >> 16 & 0xffff),
                      (int32_t)(bits & 0xffff)};

    return s;
}

DEVICE void plan_place(struct plan *plan, const struct wish &w, const struct sizes &at)
{
    if (w.span.n == 0)
        return;
    plan->span[at.spans] = w.span;
    plan->span[at.spans].row = at.rows;
    plan->turn[at.spans] = w.turn;
    plan->n_logits[at.spans] = w.n_logits;
    plan->first_logit[at.spans] = at.logits;
}

/* All threads. Chunks may be twice as many as threads. */
DEVICE void plan_spans(struct plan *plan, const struct device_state &s, const struct pass &p,
                       const struct pass_request &r)
{
    bool prompt = r.set == ROWS_PROMPT;
    int n = prompt ? s.round->round.n_chunks : s.round->round.n_seqs;
    uint64_t rows = 0, placed = 0, total;

    for (int base = 0; base < n; base += THREADS) {
        int i = base + (int)threadIdx.x;
        struct wish w = wish_none();
        if (i < n)
            w = prompt ? wish_of_chunk(s, r, i) : wish_of_turn(s, r, i);
        uint64_t row = rows + block_scan((uint64_t)w.span.n, &total);
        rows += total;
        if (prompt)
            wish_clip(&w, r, (int64_t)row);
        uint64_t at = placed + block_scan(sizes_pack(w), &total);
        placed += total;
        if (sizes_of(placed).rows > r.capacity || sizes_of(placed).logits > p.max_logits)
            __trap();
        plan_place(plan, w, sizes_of(at));
    }
    if (threadIdx.x == 0) {
        struct sizes all = sizes_of(placed);
        struct pass_counts counts = {all.rows, all.logits, all.spans, 0, 0};
        plan->counts = counts;
    }
    __syncthreads();
}

/* ---- attention's work ------------------------------------------------------------------------ */

DEVICE int32_t tiles_of(const struct pass_span &s)
{
    return (s.pos + s.n + ATTENTION_TILE - 1) / ATTENTION_TILE;
}

/* Fewest tiles of a span that is split, such that the partial results fit. */
DEVICE int32_t split_threshold(const struct pass_span &span, int32_t max_partials)
{
    int32_t fewest = 2;
    uint64_t total = 0;

    for (;; fewest *= 2) {
        bool split = span.n > 0 && span.n <= SPLIT_ROWS && tiles_of(span) >= fewest;
        (void)block_scan(split ? (uint64_t)span.n * (uint64_t)tiles_of(span) : 0, &total);
        if (total <= (uint64_t)max_partials)
            return fewest;
    }
}

DEVICE int32_t parts_of(const struct pass_span &s, const struct pass_request &r)
{
    return (s.n * r.group + r.queries - 1) / r.queries;
}

/* All threads, one for each span: numbers its partial results, items and merges. */
DEVICE void plan_work(struct plan *plan, const struct pass &p, const struct pass_request &r)
{
    int i = (int)threadIdx.x;
    struct wish w = wish_none();
    uint64_t n_partials, n_items, n_merges;

    if (i < plan->counts.n_spans)
        w.span = plan->span[i];
    int32_t fewest = split_threshold(w.span, p.max_partials);
    bool split = w.span.n > 0 && w.span.n <= SPLIT_ROWS && tiles_of(w.span) >= fewest;
    uint64_t tiles = split ? (uint64_t)tiles_of(w.span) : 0;
    uint64_t items = (uint64_t)parts_of(w.span, r) * (split ? tiles : 1);
    uint64_t partial = block_scan((uint64_t)w.span.n * tiles, &n_partials);
    uint64_t item = block_scan(items, &n_items);
    uint64_t merge = block_scan(split ? (uint64_t)w.span.n : 0, &n_merges);
    if (n_items > (uint64_t)p.max_items)
        __trap();
    if (w.span.n > 0) {
        plan->span[i].partial = split ? (int32_t)partial : -1;
        plan->first_item[i] = (int32_t)item;
        plan->first_merge[i] = (int32_t)merge;
    }
    if (i == 0) {
        plan->counts.n_items = (int32_t)n_items;
        plan->counts.n_merges = (int32_t)n_merges;
    }
    __syncthreads();
}

/* ---- writing it down ------------------------------------------------------------------------- */

DEVICE struct pass_row row_make(const struct plan *plan, const struct device_state &s, int32_t i)
{
    struct pass_row row = {-1, 0};

    if (i >= plan->counts.n_rows)
        return row;
    const struct pass_span *span =
        &plan->span[bisect(plan->counts.n_spans, i, [&](int j) { return plan->span[j].row; })];
    row.slot = span->slot;
    row.pos = span->pos + i - span->row;
    int32_t block = row.pos < s.n_ctx ? s.slots[row.slot].blocks[row.pos / SPECD_BLOCK_TOKENS] : -1;
    if (block < 0 || block >= s.n_blocks)
        __trap();
    return row;
}

DEVICE void logit_write(const struct plan *plan, const struct pass &p, int32_t i)
{
    int32_t row = -1, turn = -1;

    if (i < plan->counts.n_logits) {
        int32_t j = bisect(plan->counts.n_spans, i, [&](int x) { return plan->first_logit[x]; });
        const struct pass_span *span = &plan->span[j];
        row = span->row + span->n - plan->n_logits[j] + i - plan->first_logit[j];
        turn = plan->turn[j];
    }
    p.logit_rows[i] = row;
    p.turn_of_logit[i] = turn;
}

DEVICE struct attention_item item_make(const struct plan *plan, const struct pass_request &r,
                                       int32_t i)
{
    int32_t j = bisect(plan->counts.n_spans, i, [&](int x) { return plan->first_item[x]; });
    const struct pass_span *span = &plan->span[j];
    int32_t tiles = span->partial >= 0 ? tiles_of(*span) : 1, of_span = i - plan->first_item[j];
    struct attention_item item;

    item.span = j;
    item.first = of_span / tiles * r.queries;
    item.n = MIN(r.queries, span->n * r.group - item.first);
    item.tile = span->partial >= 0 ? of_span % tiles : -1;
    return item;
}

DEVICE struct attention_merge merge_make(const struct plan *plan, int32_t i)
{
    int32_t j = bisect(plan->counts.n_spans, i, [&](int x) { return plan->first_merge[x]; });
    const struct pass_span *span = &plan->span[j];
    int32_t row = i - plan->first_merge[j];
    struct attention_merge m;

    m.row = span->row + row;
    m.partial = span->partial + row * tiles_of(*span);
    m.n_tiles = (span->pos + row) / ATTENTION_TILE + 1;
    return m;
}

/* grid: 1   block: THREADS */
static __global__ void __launch_bounds__(THREADS, 1)
    rows_kernel(struct device_state s, struct pass p, struct pass_request r)
{
    grid_release();
    grid_wait();
    SHARED(struct plan, plan);
    int first = (int)threadIdx.x;

    plan_spans(&plan, s, p, r);
    plan_work(&plan, p, r);
    for (int i = first; i < r.capacity; i += THREADS)
        p.rows[i] = row_make(&plan, s, i);
    for (int i = first; i < MIN(p.max_logits, r.capacity); i += THREADS)
        logit_write(&plan, p, i);
    for (int i = first; i < plan.counts.n_spans; i += THREADS)
        p.spans[i] = plan.span[i];
    for (int i = first; i < plan.counts.n_items; i += THREADS)
        p.items[i] = item_make(&plan, r, i);
    for (int i = first; i < plan.counts.n_merges; i += THREADS)
        p.merges[i] = merge_make(&plan, i);
    if (first == 0)
        *p.counts = plan.counts;
}

int launch_rows(const struct device_state *state, const struct pass *pass,
                const struct pass_request *request, cudaStream_t stream)
{
    ASSERT(state->n_slots <= SPECD_SLOTS_MAX && request->capacity > 0 &&
           request->capacity <= pass->max_rows && request->queries > 0 && request->group > 0);
    LAUNCH(rows_kernel, 1, THREADS, 0, stream, *state, *pass, *request);
    return LAUNCH_RESULT();
}
