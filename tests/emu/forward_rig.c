#include "forward_rig.h"

#include "specd/util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

float bf16_number(uint16_t bits)
{
    uint32_t u = (uint32_t)bits << 16;
    float f;

    memcpy(&f, &u, sizeof(f));
    return f;
}

double e4m3_number(uint8_t code)
{
    int e = code >> 3 & 15, m = code & 7;
    double x = e ? ldexp(8 + m, e - 10) : ldexp(m, -9);

    if ((code & 0x7f) == 0x7f)
        x = (double)NAN;
    return code & 0x80 ? -x : x;
}

uint8_t e4m3_code(double x)
{
    int sign = signbit(x) ? 0x80 : 0, best = 0;

    if (!isfinite(x))
        return (uint8_t)(sign | 0x7f);
    for (int code = 1; code < 0x7f; code++) {
        double gain =
            fabs(fabs(x) - e4m3_number((uint8_t)best)) - fabs(fabs(x) - e4m3_number((uint8_t)code));
        if (gain > 0 || (gain >= 0 && code % 2 == 0))
            best = code;
    }
    return (uint8_t)(sign | best);
}

/* ---- state ----------------------------------------------------------------------------------- */

static void *device_zero(size_t n, size_t size)
{
    void *zero = xcalloc(n, size), *p = device_copy(zero, n * size);

    free(zero);
    return p;
}

struct device_state state_make(int32_t n_slots, int32_t n_ctx, int32_t n_blocks, int32_t k_max,
                               int32_t n_vocab)
{
    struct device_state s = {
        .slots = device_zero((size_t)n_slots, sizeof(struct device_slot)),
        .round = device_zero(1, sizeof(struct device_round)),
        .turns = device_take((size_t)n_slots * sizeof(struct round_turn)),
        .n_slots = n_slots,
        .n_ctx = n_ctx,
        .n_blocks = n_blocks,
        .k_max = k_max,
        .k_draft = k_max,
        .n_vocab = n_vocab,
        .n_vocab_draft = n_vocab,
    };
    size_t blocks = (size_t)(n_ctx - 1) / SPECD_BLOCK_TOKENS + 1;

    for (int32_t i = 0; i < n_slots; i++) {
        s.slots[i].tokens = device_zero((size_t)n_ctx, sizeof(int32_t));
        s.slots[i].blocks = device_zero(blocks, sizeof(int32_t));
        s.slots[i].limit = n_ctx;
        memset(s.slots[i].blocks, 0xff, blocks * sizeof(int32_t));
    }
    return s;
}

struct device_round *state_round(const struct device_state *s)
{
    return (struct device_round *)(uintptr_t)s->round;
}

static bool is_taken(const struct device_state *s, int32_t id)
{
    int32_t n = (s->n_ctx - 1) / SPECD_BLOCK_TOKENS + 1;

    for (int32_t i = 0; i < s->n_slots; i++) {
        for (int32_t j = 0; j < n && s->slots[i].blocks[j] >= 0; j++) {
            if (s->slots[i].blocks[j] == id)
                return true;
        }
    }
    return false;
}

void slot_blocks_make(const struct device_state *s, int32_t slot, int32_t n)
{
    for (int32_t i = 0; i * SPECD_BLOCK_TOKENS < n; i++) {
        int32_t id = rand() % s->n_blocks;

        while (is_taken(s, id))
            id = (id + 1) % s->n_blocks;
        s->slots[slot].blocks[i] = id;
    }
}

struct pass pass_make(const struct device_state *s, int32_t max_rows, int32_t max_logits,
                      int32_t max_items, int32_t max_partials)
{
    return (struct pass){
        .counts = device_take(sizeof(struct pass_counts)),
        .rows = device_take((size_t)max_rows * sizeof(struct pass_row)),
        .logit_rows = device_take((size_t)max_logits * sizeof(int32_t)),
        .turn_of_logit = device_take((size_t)max_logits * sizeof(int32_t)),
        .spans = device_take((size_t)s->n_slots * sizeof(struct pass_span)),
        .items = device_take((size_t)max_items * sizeof(struct attention_item)),
        .merges = device_take((size_t)MAX(max_partials, 1) * sizeof(struct attention_merge)),
        .max_rows = max_rows,
        .max_logits = max_logits,
        .max_items = max_items,
        .max_partials = max_partials,
    };
}

/* ---- attention ------------------------------------------------------------------------------- */

enum made_up_kind { MADE_Q, MADE_K, MADE_V };

static uint32_t mix(uint32_t x)
{
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

float made_up(uint32_t seed, int kind, int32_t pos, int32_t head, int32_t d)
{
    uint32_t h = mix(mix(seed + 0x9e3779b9u * (uint32_t)kind) + (uint32_t)pos);

    h = mix(h + (uint32_t)head * 1024 + (uint32_t)d);
    return (float)((int)(h % 255) - 127) / 128.0f;
}

/* A made-up number, as e4m3 if that is what the case keeps. */
static float as_kept(const struct attention_case *c, float x)
{
    static float kept[256]; /* of (i - 128) / 128 */

    if (c->type != KV_FP8)
        return x;
    if (kept[0] == 0.0f) {
        for (int i = 0; i < 256; i++)
            kept[i] = (float)e4m3_number(e4m3_code((i - 128) / 128.0));
    }
    return kept[(int)(x * 128.0f) + 128];
}

/* On the edge, so many neighbours have one key, and values whose mean is 1 + 2^-8. */
static int edge_size(const struct attention_case *c)
{
    return c->type == KV_FP8 ? 4 : 2;
}

static float made_up_key(const struct attention_case *c, uint32_t seed, int32_t pos, int32_t head,
                         int32_t d)
{
    return as_kept(c, made_up(seed, MADE_K, c->on_edge ? pos / edge_size(c) : pos, head, d));
}

static float made_up_value(const struct attention_case *c, uint32_t seed, int32_t pos, int32_t head,
                           int32_t d)
{
    if (c->all_codes)
        return (float)e4m3_number((uint8_t)(pos + d));
    if (!c->on_edge)
        return as_kept(c, made_up(seed, MADE_V, pos, head, d));
    if (c->type == KV_FP8) { /* sums to 4 + 2^-6, each an e4m3 number */
        float v = floorf(fabsf(made_up(seed, MADE_V, pos / 4, head, d)) * 8.0f) / 8.0f;
        const float four[4] = {1.0f + v, 1.0f - v, 2.0f, 0x1p-6f};
        return four[pos % 4];
    }
    float v = fabsf(made_up(seed, MADE_V, pos / 2, head, d)) * 0.5f; /* k 2^-8 */
    v = floorf(v * 0x1p7f) * 0x1p-7f;
    return pos % 2 ? 1.0f + 0x1p-7f + v : 1.0f - v;
}

static uint16_t bf16_exact(float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof(u));
    return (uint16_t)(u >> 16);
}

int32_t attention_case_rows(const struct attention_case *c)
{
    int32_t n = 0;

    for (int i = 0; i < c->n_seqs; i++)
        n += c->seqs[i].n;
    return n;
}

/* Of an e4m3 number, or NaN. */
static uint8_t e4m3_code_exact(float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof(u));
    if (!(fabsf(x) >= 0x1p-6f && fabsf(x) <= 448.0f))
        return e4m3_code((double)x);
    return (uint8_t)((u >> 24 & 0x80) | (((u & 0x7fffffff) >> 20) - (120 << 3)));
}

static void kv_put(const struct kv_layer *kv, int64_t at, float x)
{
    if (kv->type == KV_F32)
        ((float *)kv->blocks)[at] = x;
    else if (kv->type == KV_FP8)
        ((uint8_t *)kv->blocks)[at] = e4m3_code_exact(x);
    else
        ((uint16_t *)kv->blocks)[at] = bf16_exact(x);
}

/* The first position that a row at `pos` sees. */
static int32_t window_begin(const struct attention_case *c, int32_t pos)
{
    return c->window > 0 ? MAX(pos + 1 - c->window, 0) : 0;
}

/* Keys and values of positions first..n of one sequence in the slot's blocks. */
static void kv_fill(const struct attention_case *c, const struct kv_layer *kv,
                    const int32_t *blocks, uint32_t seed, int32_t first, int32_t n)
{
    for (int32_t pos = first; pos < n; pos++) {
        for (int32_t i = 0; i < 2 * kv->n_kv_heads * kv->head_dim; i++) {
            int32_t d = i % kv->head_dim, head = i / kv->head_dim % kv->n_kv_heads;
            int64_t value = i / kv->head_dim / kv->n_kv_heads;
            int64_t plane =
                ((int64_t)blocks[pos / SPECD_BLOCK_TOKENS] * 2 + value) * kv->n_kv_heads + head;

            float x =
                value ? made_up_value(c, seed, pos, head, d) : made_up_key(c, seed, pos, head, d);
            if (c->fault != 0.0f && seed == c->seqs[0].seed && pos == c->fault_pos &&
                c->fault_in_value == (value != 0) && c->fault_element == head * kv->head_dim + d)
                x = c->fault;
            kv_put(kv, (plane * SPECD_BLOCK_TOKENS + pos % SPECD_BLOCK_TOKENS) * kv->head_dim + d,
                   x);
        }
    }
}

struct attention_run {
    struct device_state state;
    struct pass pass;
    struct attention_input in;
    int order[ATTENTION_SEQS_MAX]; /* of the sequences in the pass */
    int32_t capacity;
    size_t row; /* elements of q and out */
};

static void shuffle(int *order, int n)
{
    for (int i = 0; i < n; i++) {
        int j = rand() % (i + 1);

        order[i] = order[j];
        order[j] = i;
    }
}

static void state_fill(struct attention_run *r, const struct attention_case *c)
{
    int slots[ATTENTION_SEQS_MAX + 3];
    struct round *round = &state_round(&r->state)->round;

    shuffle(r->order, c->n_seqs);
    shuffle(slots, r->state.n_slots);
    round->n_chunks = c->n_seqs;
    for (int i = 0; i < c->n_seqs; i++) {
        const struct attention_seq *seq = &c->seqs[r->order[i]];
        struct device_slot *slot = &r->state.slots[slots[i]];

        round->chunks[i] = (struct round_chunk){slots[i], MODEL_TARGET, seq->pos, seq->n, false};
        slot->len = seq->pos + seq->n + 1;
        slot->rows[MODEL_TARGET] = seq->pos;
        slot_blocks_make(&r->state, slots[i], seq->pos + seq->n);
        kv_fill(c, &r->in.kv, slot->blocks, seq->seed, window_begin(c, seq->pos),
                seq->pos + seq->n);
    }
}

static void queries_fill(struct attention_run *r, const struct attention_case *c)
{
    uint16_t *q = (uint16_t *)(uintptr_t)r->in.q;

    for (int i = 0; i < c->n_seqs; i++) {
        const struct attention_seq *seq = &c->seqs[r->order[i]];

        for (int32_t row = 0; row < seq->n; row++) {
            for (size_t j = 0; j < r->row; j++)
                *q++ = bf16_exact(made_up(seq->seed, MADE_Q, seq->pos + row, (int32_t)j / c->dim,
                                          (int32_t)j % c->dim));
        }
    }
}

static void run_make(struct attention_run *r, const struct attention_case *c)
{
    int32_t rows = attention_case_rows(c), n_ctx = 1, n_blocks = 3;
    int32_t items = pass_items_max(rows, c->n_seqs, c->max_partials, c->group, c->queries);

    for (int i = 0; i < c->n_seqs; i++) {
        n_ctx = MAX(n_ctx, c->seqs[i].pos + c->seqs[i].n + 1);
        n_blocks += (c->seqs[i].pos + c->seqs[i].n) / SPECD_BLOCK_TOKENS + 1;
    }
    r->capacity = rows + c->spare_rows;
    r->row = (size_t)(c->n_kv_heads * c->group * c->dim);
    r->state = state_make(c->n_seqs + 3, n_ctx, n_blocks, 0, 10);
    r->pass = pass_make(&r->state, r->capacity, 1, items, c->max_partials);
    r->in = (struct attention_input){
        .kv = {.type = c->type, .n_kv_heads = c->n_kv_heads, .head_dim = c->dim},
        .group = c->group,
        .window = c->window,
        .capacity = r->capacity,
        .pieces_held = c->pieces_held ? c->pieces_held : ATTENTION_PIECES,
        .q = device_take((size_t)r->capacity * r->row * 2),
        .out = device_take((size_t)r->capacity * r->row * 2),
        .partial = device_take(
            sizeof(float) *
            (1 + attention_partial_floats(c->max_partials, c->n_kv_heads * c->group, c->dim))),
    };
    size_t bytes = kv_layer_block_bytes(&r->in.kv) * (size_t)n_blocks;
    r->in.kv.blocks = device_take(bytes);
    memset(r->in.kv.blocks, 0xff, bytes); /* NaN in every type */
    memset(r->in.out, 0xee, (size_t)r->capacity * r->row * 2);
    state_fill(r, c);
    queries_fill(r, c);
}

static void run_launch(const struct attention_run *r, const struct attention_case *c)
{
    struct pass_request request = {.set = ROWS_PROMPT,
                                   .role = MODEL_TARGET,
                                   .capacity = r->capacity,
                                   .group = c->group,
                                   .queries = c->queries};

    assert_int_equal(launch_rows(&r->state, &r->pass, &request, NULL), 0);
    if (c->matrix)
        assert_int_equal(launch_attention_matrix(&r->state, &r->pass, &r->in, c->n_blocks, NULL),
                         0);
    else
        assert_int_equal((c->launch ? c->launch : launch_attention)(&r->state, &r->pass, &r->in,
                                                                    c->queries, c->n_blocks, NULL),
                         0);
    assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
}

uint16_t *attention_case_run(const struct attention_case *c)
{
    struct attention_run r = {0};
    int32_t rows = attention_case_rows(c), first[ATTENTION_SEQS_MAX], at = 0;
    uint16_t *out;

    run_make(&r, c);
    run_launch(&r, c);
    for (size_t i = (size_t)rows * r.row; i < (size_t)r.capacity * r.row; i++)
        assert_int_equal(r.in.out[i], 0xeeee);
    out = xcalloc((size_t)rows * r.row, sizeof(*out));
    for (int i = 0; i < c->n_seqs; i++) {
        first[i] = at;
        at += c->seqs[i].n;
    }
    const uint16_t *from = r.in.out;
    for (int i = 0; i < c->n_seqs; i++) {
        size_t n = (size_t)c->seqs[r.order[i]].n * r.row;

        memcpy(out + (size_t)first[r.order[i]] * r.row, from, n * sizeof(*out));
        from += n;
    }
    device_free_all();
    return out;
}

static void expect_row(const struct attention_case *c, const struct attention_seq *seq, int32_t pos,
                       int32_t head, double *out)
{
    double sum = 0.0, *w = xcalloc((size_t)pos + 1, sizeof(*w));

    for (int32_t j = window_begin(c, pos); j <= pos; j++) {
        double score = 0.0;

        for (int32_t d = 0; d < c->dim; d++)
            score += (double)made_up(seq->seed, MADE_Q, pos, head, d) *
                     (double)made_up_key(c, seq->seed, j, head / c->group, d);
        w[j] = exp(score);
        sum += w[j];
    }
    for (int32_t j = window_begin(c, pos); j <= pos; j++) {
        for (int32_t d = 0; d < c->dim; d++)
            out[d] += w[j] / sum * (double)made_up_value(c, seq->seed, j, head / c->group, d);
    }
    free(w);
}

double *attention_case_expect(const struct attention_case *c)
{
    int32_t n_heads = c->n_kv_heads * c->group;
    double *out = xcalloc((size_t)(attention_case_rows(c) * n_heads * c->dim), sizeof(*out));
    double *at = out;

    for (int i = 0; i < c->n_seqs; i++) {
        const struct attention_seq *seq = &c->seqs[i];

        for (int32_t row = 0; row < seq->n; row++) {
            for (int32_t h = 0; h < n_heads; h++, at += c->dim)
                expect_row(c, seq, seq->pos + row, h, at);
        }
    }
    return out;
}
