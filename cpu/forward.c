#include "forward.h"

#include "specd/quant.h"
#include "specd/util.h"

#include <math.h>
#include <string.h>

/* Floats below which a stage is not worth waking the other threads. */
#define INLINE_FLOATS 16384

/* The widest of all layers. */
static void strides_add(struct forward *f, const struct net *n)
{
    f->embd_stride = MAX(f->embd_stride, (int)row_stride(n->n_embd));
    f->rope_stride = MAX(f->rope_stride, (int)row_stride(2 * n->rope_dim * n->n_ropes));
    for (int i = 0; i < n->n_layers; i++) {
        const struct net_layer *l = &n->layers[i];
        f->q_stride = MAX(f->q_stride, (int)row_stride(l->wq.rows));
        f->kv_stride = MAX(f->kv_stride, (int)row_stride(l->wk.rows));
        f->ff_stride =
            MAX(f->ff_stride, (int)row_stride(MAX(l->w_gate.rows, l->w_gate_shared.rows)));
    }
}

void forward_layout(struct forward *f, const struct net *const nets[MODEL_ROLES],
                    const struct device_setup *setup, int threads, struct arena *a)
{
    *f = (struct forward){.max_rows = setup->max_rows, .activations = setup->activations};
    for (int i = 0; i < MODEL_ROLES; i++) {
        f->nets[i] = nets[i];
        if (nets[i])
            strides_add(f, nets[i]);
    }
    size_t T = (size_t)f->max_rows, f4 = sizeof(float);
    f->x = arena_take(a, T, (size_t)f->embd_stride * f4);
    f->h = arena_take(a, T, (size_t)f->embd_stride * f4);
    f->q = arena_take(a, T, (size_t)f->q_stride * f4);
    f->k = arena_take(a, T, (size_t)f->kv_stride * f4);
    f->v = arena_take(a, T, (size_t)f->kv_stride * f4);
    f->attn = arena_take(a, T, (size_t)f->q_stride * f4);
    f->gate = arena_take(a, T, (size_t)f->ff_stride * f4);
    f->up = arena_take(a, T, (size_t)f->ff_stride * f4);
    f->rotation = arena_take(a, T, (size_t)f->rope_stride * f4);
    if (f->activations == ACTIVATIONS_INT8)
        qrows_layout(&f->quantised, f->max_rows,
                     MAX(MAX(f->embd_stride, f->q_stride), f->ff_stride), a);
    f->spans = arena_take(a, (size_t)setup->n_slots, sizeof(*f->spans));
    f->rows = arena_take(a, T, sizeof(*f->rows));
    f->logit_rows = arena_take(a, T, sizeof(*f->logit_rows));
    attention_layout(&f->attention, nets, setup, threads, a);
    experts_layout(&f->experts, nets, f->max_rows, f->activations == ACTIVATIONS_INT8, a);
}

/* ---- stages that treat rows one by one ------------------------------------------------------- */

typedef void row_fn(const struct forward *f, int row);

struct row_stage {
    const struct forward *f;
    row_fn *fn;
    int n_rows;
};

static void row_part(void *arg, int part, int n_parts)
{
    const struct row_stage *s = arg;
    int first = part_first(s->n_rows, n_parts, part),
        end = part_first(s->n_rows, n_parts, part + 1);
    for (int row = first; row < end; row++)
        s->fn(s->f, row);
}

/* width: floats a row touches. */
static void for_rows(const struct forward *f, row_fn *fn, int n_rows, int width)
{
    struct row_stage s = {f, fn, n_rows};
    if ((int64_t)n_rows * width < INLINE_FLOATS)
        row_part(&s, 0, 1);
    else
        pool_run(f->pool, row_part, &s);
}

static float *row_of(float *base, int stride, int row)
{
    return base + (ptrdiff_t)row * stride;
}

/* Cosines and sines as ops->rotate wants them: (2, rope_dim) */
static void rotation_make(const struct net *net, const struct rope_angles *rope, int32_t pos,
                          float *rotation)
{
    double magnitude = (double)rope->magnitude;
    for (int i = 0, n = net->rope_dim / 2; i < n; i++) {
        double angle = (double)pos * (double)rope->inv_freq[i];
        int first = net->rope == ROPE_PAIRS ? 2 * i : i;
        int second = net->rope == ROPE_PAIRS ? first + 1 : first + n;
        rotation[first] = rotation[second] = (float)(cos(angle) * magnitude);
        rotation[2 * n + second] = (float)(sin(angle) * magnitude);
        rotation[2 * n + first] = -rotation[2 * n + second];
    }
}

static void row_embed(const struct forward *f, int row)
{
    const struct net *net = f->net;
    float *x = row_of(f->x, f->embd_stride, row);
    float *rotation = row_of(f->rotation, f->rope_stride, row);
    /* A draft with a shorter vocabulary has no row for the target's padding. */
    weight_row(&net->embed, MIN(f->rows[row].token, net->n_vocab - 1), x);
    for (int i = 0; net->embd_scale != 1.0f && i < net->n_embd; i++)
        x[i] *= net->embd_scale;
    for (int i = 0; i < net->n_ropes; i++, rotation += 2 * net->rope_dim)
        rotation_make(net, &net->ropes[i], f->rows[row].pos, rotation);
}

/* ---- rows that matrices multiply, as matmul_row_fn ------------------------------------------- */

static void norm_row(const struct forward *f, int row, const float *weight, float *to)
{
    f->ops->rms_norm(to, row_of(f->x, f->embd_stride, row), weight, f->net->n_embd,
                     f->net->rms_eps);
}

static void make_attn_norm(const void *arg, int row, float *to)
{
    const struct forward *f = arg;
    norm_row(f, row, f->layer->attn_norm, to);
}

static void make_ffn_norm(const void *arg, int row, float *to)
{
    const struct forward *f = arg;
    norm_row(f, row, f->layer->ffn_norm, to);
}

static void copy_row(const void *arg, int row, float *to)
{
    const struct forward *f = arg;
    memcpy(to, row_of(f->x, f->embd_stride, row), (size_t)f->net->n_embd * sizeof(*to));
}

/* Row i is the i-th that wants logits. */
static void make_out_norm(const void *arg, int i, float *to)
{
    const struct forward *f = arg;
    norm_row(f, f->logit_rows[i], f->net->out_norm, to);
}

static void make_gated(const void *arg, int row, float *to)
{
    const struct forward *f = arg;
    const float *gate = row_of(f->gate, f->ff_stride, row), *up = row_of(f->up, f->ff_stride, row);
    const struct net_layer *l = f->layer;
    int width = l->w_gate.rows > 0 ? l->w_gate.rows : l->w_gate_shared.rows;
    if (f->net->gate == GATE_GELU_TANH)
        f->ops->gelu_mul(to, gate, up, width);
    else
        f->ops->silu_mul(to, gate, up, width);
}

/* ---- queries, keys, values ------------------------------------------------------------------- */

/* scale: of what it turns, in two roundings. */
static void head_prepare(const struct forward *f, float *head, const float *norm, int row,
                         float scale)
{
    const struct net *net = f->net;
    const float *rotation =
        row_of(f->rotation, f->rope_stride, row) + 2 * net->rope_dim * f->layer->rope;
    int turned = f->layer->rope_dim;
    if (norm)
        f->ops->rms_norm(head, head, norm, net->head_dim, net->rms_eps);
    f->ops->rotate(head, rotation, turned, net->rope == ROPE_PAIRS, scale);
    for (int i = turned; i < net->head_dim; i++)
        head[i] *= scale;
}

/* Scaling q stands for scaling the scores. */
static void row_query(const struct forward *f, int row)
{
    const struct net *net = f->net;
    const struct net_layer *l = f->layer;
    float *q = row_of(f->q, f->q_stride, row);
    if (l->q_norm_wide)
        f->ops->rms_norm(q, q, l->q_norm_wide, l->wq.rows, net->rms_eps);
    for (int h = 0; h < l->n_heads; h++)
        head_prepare(f, q + h * net->head_dim, l->q_norm, row, net->attn_scale);
}

static void row_store(const struct forward *f, int row)
{
    const struct net *net = f->net;
    const struct net_layer *l = f->layer;
    const struct forward_row *r = &f->rows[row];
    float *k = row_of(f->k, f->kv_stride, row);
    if (l->k_norm_wide)
        f->ops->rms_norm(k, k, l->k_norm_wide, l->wk.rows, net->rms_eps);
    for (int g = 0; g < l->n_kv_heads; g++)
        head_prepare(f, k + g * net->head_dim, l->k_norm, row, 1.0f);
    const int32_t *blocks = r->blocks + kvmem_entries(f->kv, f->role, f->layer_index);
    kvmem_write(f->kv, f->role, f->layer_index, blocks[r->pos / SPECD_BLOCK_TOKENS],
                r->pos % SPECD_BLOCK_TOKENS, k, row_of(f->v, f->kv_stride, row));
}

/* ---- the model ------------------------------------------------------------------------------- */

/* What a block gave in h joins the residual stream, normed. */
static void row_post_norm(const struct forward *f, int row, const float *weight)
{
    int C = f->net->n_embd;
    float *h = row_of(f->h, f->embd_stride, row), *x = row_of(f->x, f->embd_stride, row);
    f->ops->rms_norm(h, h, weight, C, f->net->rms_eps);
    for (int i = 0; i < C; i++)
        x[i] += h[i];
}

static void row_attn_post_norm(const struct forward *f, int row)
{
    row_post_norm(f, row, f->layer->attn_post_norm);
}

static void row_ffn_post_norm(const struct forward *f, int row)
{
    row_post_norm(f, row, f->layer->ffn_post_norm);
}

/* What matrices multiply: n_rows of x, made there if `make` says so. */
static struct matmul_input input_of(struct forward *f, float *x, int x_stride, int n_rows, int cols,
                                    matmul_row_fn *make)
{
    struct qrows *q = f->activations == ACTIVATIONS_INT8 ? &f->quantised : NULL;
    f->quantised.hot = f->net->hot;
    return (struct matmul_input){x, x_stride, n_rows, cols, make, f, q, false};
}

static void row_add(const struct forward *f, int row)
{
    f->ops->blend(row_of(f->x, f->embd_stride, row), 1.0f, row_of(f->h, f->embd_stride, row), 1.0f,
                  f->net->n_embd);
}

/* Of a layer with experts, into h. */
static void experts_layer(struct forward *f, const struct matmul_input *in)
{
    const struct net_layer *l = f->layer;
    const struct net *net = f->net;
    struct experts *x = &f->experts;
    int T = f->n_rows, C = f->embd_stride, shared = l->w_shared.rows > 0;
    const struct matmul_job first[] = {
        {&l->w_router, NULL, x->logits, x->logits_stride, false},
        {&l->w_shared, NULL, x->gates, 1, false},
        {&l->w_gate_shared, NULL, f->gate, f->ff_stride, false},
        {&l->w_up_shared, NULL, f->up, f->ff_stride, false},
    };
    const struct matmul_job down = {&l->w_down_shared, NULL, f->h, C, false};
    struct matmul_input gated =
        input_of(f, f->gate, f->ff_stride, T, l->w_gate_shared.rows, make_gated);

    matmul(f->pool, first, shared ? 4 : 1, in);
    if (shared)
        matmul(f->pool, &down, 1, &gated);
    experts_run(x, &(struct experts_run){
                       .pool = f->pool,
                       .ops = f->ops,
                       .net = net,
                       .layer = l,
                       .n_rows = T,
                       .make = l->ffn_norm ? make_ffn_norm : copy_row,
                       .arg = f,
                       .integers = f->activations == ACTIVATIONS_INT8,
                       .y = f->h,
                       .y_stride = C,
                   });
}

/* kv_only: nobody reads what the layer would hand on. */
static void layer_run(struct forward *f, bool kv_only)
{
    const struct net_layer *l = f->layer;
    const struct net *net = f->net;
    int T = f->n_rows, C = f->embd_stride;
    const struct matmul_job qkv[] = {{&l->wq, l->bq, f->q, f->q_stride, false},
                                     {&l->wk, l->bk, f->k, f->kv_stride, false},
                                     {&l->wv, l->bv, f->v, f->kv_stride, false}};
    bool posts = l->attn_post_norm != NULL; /* blocks give to h, which is free then */
    float *to = posts ? f->h : f->x;
    const struct matmul_job wo[] = {{&l->wo, l->bo, to, C, !posts}};
    const struct matmul_job gate_up[] = {{&l->w_gate, l->b_gate, f->gate, f->ff_stride, false},
                                         {&l->w_up, l->b_up, f->up, f->ff_stride, false}};
    const struct matmul_job down[] = {{&l->w_down, l->b_down, to, C, !posts}};
    struct matmul_input whole = input_of(f, f->x, C, T, net->n_embd, NULL);
    struct matmul_input attn_in =
        l->attn_norm ? input_of(f, f->h, C, T, net->n_embd, make_attn_norm) : whole;
    struct matmul_input ffn_in =
        l->ffn_norm ? input_of(f, f->h, C, T, net->n_embd, make_ffn_norm) : whole;
    struct matmul_input attended = input_of(f, f->attn, f->q_stride, T, l->wo.cols, NULL);
    struct matmul_input gated = input_of(f, f->gate, f->ff_stride, T, l->w_gate.rows, make_gated);

    matmul(f->pool, kv_only ? qkv + 1 : qkv, kv_only ? 2 : 3, &attn_in);
    for_rows(f, row_store, T, 4 * l->wk.rows);
    if (kv_only)
        return;
    for_rows(f, row_query, T, 4 * l->wq.rows);
    attention_run(&f->attention, f->pool, f->layer_index, f->q, f->q_stride, f->attn, f->q_stride);
    matmul(f->pool, wo, 1, &attended);
    if (posts)
        for_rows(f, row_attn_post_norm, T, 3 * net->n_embd);

    if (l->w_router.rows > 0) {
        experts_layer(f, &ffn_in);
    } else {
        matmul(f->pool, gate_up, 2, &ffn_in);
        matmul(f->pool, down, 1, &gated);
    }
    if (posts)
        for_rows(f, row_ffn_post_norm, T, 3 * net->n_embd);
    else if (l->w_router.rows > 0)
        for_rows(f, row_add, T, 2 * net->n_embd);
}

static void batch_run(struct forward *f, const struct pass_logits *out)
{
    const struct net *net = f->net;
    for_rows(f, row_embed, f->n_rows, net->n_embd);
    attention_begin(&f->attention, f->kv, net, f->role, f->spans, f->n_spans, pool_size(f->pool));
    for (int i = 0; i < net->n_layers; i++) {
        f->layer = &net->layers[i];
        f->layer_index = i;
        layer_run(f, i + 1 == net->n_layers && f->n_logits == 0);
    }
    if (f->n_logits == 0)
        return;
    struct weight w = net->output;
    w.panels = out->panels;
    w.n_panels = out->n_panels;
    const struct matmul_job output = {&w, NULL, out->at, (int)out->stride, false};
    struct matmul_input in =
        input_of(f, f->h, f->embd_stride, f->n_logits, net->n_embd, make_out_norm);
    matmul(f->pool, &output, 1, &in);
}

/* ---- batches --------------------------------------------------------------------------------- */

/* Adds the first rows of `s` to the batch, as many as fit, and returns their number. */
static int32_t batch_add(struct forward *f, const struct span *s)
{
    int32_t n = MIN(s->n, f->max_rows - f->n_rows);
    struct span *part = &f->spans[f->n_spans++];
    *part = *s;
    part->n = n;
    part->row = f->n_rows;
    for (int32_t i = 0; i < n; i++) {
        if (i >= s->n - s->n_logits)
            f->logit_rows[f->n_logits++] = f->n_rows;
        f->rows[f->n_rows++] = (struct forward_row){s->blocks, s->tokens[s->pos + i], s->pos + i};
    }
    return n;
}

void forward_pass(struct forward *f, enum model_role role, const struct span *spans,
                  int32_t n_spans, const struct pass_logits *out)
{
    struct pass_logits left = *out;
    f->role = role;
    f->net = f->nets[role];
    f->ops = ops_get();
    f->n_rows = f->n_logits = f->n_spans = 0;
    for (int32_t i = 0; i < n_spans; i++) {
        struct span rest = spans[i];
        while (rest.n > 0) {
            int32_t n = batch_add(f, &rest);
            rest.pos += n;
            rest.n -= n;
            rest.n_logits = MIN(rest.n_logits, rest.n);
            if (f->n_rows < f->max_rows && i + 1 < n_spans)
                continue;
            batch_run(f, &left);
            if (f->n_logits > 0)
                left.at += (size_t)f->n_logits * left.stride;
            f->n_rows = f->n_logits = f->n_spans = 0;
        }
    }
    if (f->n_rows > 0)
        batch_run(f, &left);
}
