#include "forward.h"

#include "layer.h"
#include "specd/util.h"

#include <stdlib.h>

/* Partial results of attention that may wait for their merge; beyond that, spans are not split. */
#define PARTIALS_MAX 2048

/* ---- the pool -------------------------------------------------------------------------------- */

static struct kv_layer layer_of(const struct gpu_net *net, int layer, enum kv_type type)
{
    return (struct kv_layer){
        .type = type, .n_kv_heads = net->layers[layer].n_kv_heads, .head_dim = net->head_dim};
}

/* Whether it may be of a group of its own. */
static bool is_windowed(const struct gpu_net *const nets[MODEL_ROLES], int role, int layer)
{
    return role == MODEL_TARGET && nets[role]->layers[layer].window > 0;
}

bool gpu_kv_block_bytes(const struct gpu_net *const nets[MODEL_ROLES], enum kv_type type,
                        size_t *bytes, size_t *window_bytes)
{
    *bytes = *window_bytes = 0;
    for (int i = 0; i < MODEL_ROLES; i++) {
        if (!nets[i])
            continue;
        for (int j = 0; j < nets[i]->n_layers; j++) {
            const struct kv_layer layer = layer_of(nets[i], j, type);
            size_t *to = is_windowed(nets, i, j) ? window_bytes : bytes;
            if (!size_add(*to, kv_layer_block_bytes(&layer), to))
                return false;
        }
    }
    return true;
}

void gpu_kv_layout(struct gpu_kv *kv, const struct gpu_net *const nets[MODEL_ROLES],
                   enum kv_type type, int32_t n_blocks, int32_t n_window_blocks, int32_t entries,
                   struct gpu_arena *a)
{
    for (int i = 0; i < MODEL_ROLES; i++) {
        if (!nets[i])
            continue;
        kv->n_layers[i] = nets[i]->n_layers;
        kv->layers[i] = xcalloc((size_t)nets[i]->n_layers, sizeof(*kv->layers[i]));
        for (int j = 0; j < nets[i]->n_layers; j++) {
            struct kv_layer *layer = &kv->layers[i][j];

            bool apart = n_window_blocks > 0 && is_windowed(nets, i, j);
            *layer = layer_of(nets[i], j, type);
            layer->entries = apart ? entries : 0;
            layer->blocks = gpu_take(a, (size_t)(apart ? n_window_blocks : n_blocks),
                                     kv_layer_block_bytes(layer));
        }
    }
}

void gpu_kv_free(struct gpu_kv *kv)
{
    for (int i = 0; i < MODEL_ROLES; i++)
        free(kv->layers[i]);
    *kv = (struct gpu_kv){0};
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* The widest layers of both models. */
struct widths {
    size_t embd, q, qkv, o, ff, partial;
};

static void widths_add(struct widths *w, const struct gpu_net *n)
{
    w->embd = MAX(w->embd, (size_t)n->n_embd);
    w->o = MAX(w->o, n->has_post_norms || n->n_experts > 0 ? (size_t)n->n_embd : 0);
    for (int i = 0; i < n->n_layers; i++) {
        const struct gpu_layer *l = &n->layers[i];

        w->q = MAX(w->q, (size_t)l->wo.plan.k);
        w->qkv = MAX(w->qkv, (size_t)l->qkv.plan.n);
        w->ff = MAX(w->ff, (size_t)MAX(l->gate_up.plan.n, l->gate_up_shared.plan.n));
        w->partial = MAX(w->partial, attention_partial_floats(1, l->n_heads, n->head_dim));
    }
}

/* Query heads to a kv head. */
static int32_t group_of(const struct gpu_layer *l)
{
    return l->n_heads / l->n_kv_heads;
}

static int32_t items_max(const struct gpu_net *const nets[MODEL_ROLES], int32_t max_rows,
                         int32_t n_slots, int32_t max_partials)
{
    int32_t group = 1;

    for (int i = 0; i < MODEL_ROLES; i++) {
        for (int j = 0; nets[i] && j < nets[i]->n_layers; j++)
            group = MAX(group, group_of(&nets[i]->layers[j]));
    }
    return pass_items_max(max_rows, n_slots, max_partials, group, ATTENTION_QUERIES_FEW);
}

static void pass_layout(struct pass *p, const struct device_setup *setup,
                        const struct gpu_forward_sizes *sizes, int32_t max_items,
                        int32_t max_partials, struct gpu_arena *a)
{
    size_t rows = (size_t)sizes->max_rows, logits = (size_t)sizes->max_logits;

    *p = (struct pass){
        .counts = gpu_take(a, 1, sizeof(*p->counts)),
        .rows = gpu_take(a, rows, sizeof(*p->rows)),
        .logit_rows = gpu_take(a, logits, sizeof(*p->logit_rows)),
        .turn_of_logit = gpu_take(a, logits, sizeof(*p->turn_of_logit)),
        .spans = gpu_take(a, (size_t)setup->n_slots, sizeof(*p->spans)),
        .items = gpu_take(a, (size_t)max_items, sizeof(*p->items)),
        .merges = gpu_take(a, (size_t)MAX(max_partials, 1), sizeof(*p->merges)),
        .max_rows = sizes->max_rows,
        .max_logits = sizes->max_logits,
        .max_items = max_items,
        .max_partials = max_partials,
    };
}

static void experts_layout(struct experts *e, const struct gpu_net *const nets[MODEL_ROLES],
                           size_t T, struct gpu_arena *a)
{
    size_t used = 0, experts = 0, embd = 0, ff = 0, pairs;

    *e = (struct experts){0};
    for (int i = 0; i < MODEL_ROLES; i++) {
        if (!nets[i] || nets[i]->n_experts == 0)
            continue;
        used = MAX(used, (size_t)nets[i]->n_experts_used);
        experts = MAX(experts, (size_t)nets[i]->n_experts);
        embd = MAX(embd, (size_t)nets[i]->n_embd);
        ff = MAX(ff, (size_t)nets[i]->n_ff_expert);
    }
    if (used == 0)
        return;
    pairs = T * used; /* T is at most 2^20, k 64 */
    e->max_pairs = (int32_t)pairs;
    e->logits = gpu_take(a, T, (experts + 1) * sizeof(*e->logits));
    e->chosen = gpu_take(a, pairs, sizeof(*e->chosen));
    e->weights = gpu_take(a, pairs + T, sizeof(*e->weights));
    e->pair_of = gpu_take(a, pairs, sizeof(*e->pair_of));
    e->row_of = gpu_take(a, pairs, sizeof(*e->row_of));
    e->groups = gpu_take(a, MIN(pairs, experts), sizeof(*e->groups));
    e->n_groups = gpu_take(a, 1, sizeof(*e->n_groups));
    e->inputs = gpu_take(a, pairs, embd * sizeof(*e->inputs));
    e->gated = gpu_take(a, pairs, ff * sizeof(*e->gated));
    e->outputs = gpu_take(a, pairs, embd * sizeof(*e->outputs));
}

void gpu_forward_layout(struct gpu_forward *f, const struct gpu_net *const nets[MODEL_ROLES],
                        const struct device_setup *setup, const struct gpu_forward_sizes *sizes,
                        struct gpu_arena *a)
{
    struct widths w = {0};
    size_t T = (size_t)sizes->max_rows;
    int32_t partials = setup->n_ctx > ATTENTION_TILE ? PARTIALS_MAX : 0;

    *f = (struct gpu_forward){.reproducible = setup->reproducible};
    for (int i = 0; i < MODEL_ROLES; i++) {
        f->nets[i] = nets[i];
        if (nets[i])
            widths_add(&w, nets[i]);
    }
    f->x = gpu_take(a, T, w.embd * sizeof(*f->x));
    f->h = gpu_take(a, T, w.embd * sizeof(*f->h));
    f->qkv = gpu_take(a, T, w.qkv * sizeof(*f->qkv));
    if (w.o > 0)
        f->o = gpu_take(a, T, w.o * sizeof(*f->o));
    f->q = gpu_take(a, T, w.q * sizeof(*f->q));
    f->attn = gpu_take(a, T, w.q * sizeof(*f->attn));
    f->ff = gpu_take(a, T, w.ff * sizeof(*f->ff));
    f->partials = gpu_take(a, (size_t)partials, w.partial * sizeof(*f->partials));
    experts_layout(&f->experts, nets, T, a);
    pass_layout(&f->pass, setup, sizes, items_max(nets, sizes->max_rows, setup->n_slots, partials),
                partials, a);
}

/* ---- one pass -------------------------------------------------------------------------------- */

/* What the launches of a pass share. */
struct run {
    struct gpu_forward *f;
    const struct gpu_pass *p;
    const struct gpu_net *net;
    cudaStream_t stream;
    bool matrix;          /* attention on the matrix units */
    int32_t group;        /* that attention's items are for; 0: there are none yet */
    int queries;          /* to an item */
    const float *pending; /* norm of what f->o holds for the residual stream; NULL: nothing */
};

/* A request's rows must have one kernel, so that none depends on how its prompt was cut: which one,
 * is a matter of the set of rows alone, and with `reproducible` not even of that. */
static bool wants_matrix(const struct gpu_forward *f, const struct gpu_pass *p)
{
    const struct kv_layer *kv = &f->kv->layers[p->role][0];
    int d = kv->head_dim;

    if (kv->type == KV_F32 || (d != 64 && d != 80 && d != 96 && d != 128 && d != 256))
        return false;
    return f->reproducible || p->set == ROWS_PROMPT;
}

static int queries_of(const struct gpu_pass *p, bool matrix, int group)
{
    if (matrix)
        return ATTENTION_QUERIES_MATRIX;
    bool few = p->rows_per_slot > 0 && p->rows_per_slot * group <= ATTENTION_QUERIES_FEW;

    return few ? ATTENTION_QUERIES_FEW : ATTENTION_QUERIES_MANY;
}

/* The pass and attention's items, which hang on the group: where a layer has another one than the
 * layer before, the pass is written again, all else of it with the same numbers. */
static int rows(struct run *r, int32_t group)
{
    const struct gpu_pass *p = r->p;

    r->group = group;
    r->queries = queries_of(p, r->matrix, group);
    const struct pass_request request = {
        .set = p->set,
        .role = p->role,
        .step = p->step,
        .first = p->first,
        .capacity = p->capacity,
        .group = group,
        .queries = r->queries,
    };

    return launch_rows(&r->f->state, &r->f->pass, &request, r->stream);
}

static int product(const struct run *r, const struct gpu_matrix *m, const uint16_t *x,
                   enum product_end end, void *out, int64_t out_stride, const float *bias)
{
    const struct product_plan *plan = &m->plan;
    struct product_call call = {
        .plan = plan,
        .weights = m->data,
        .x = x,
        .x_stride = plan->k,
        .n_rows = &r->f->pass.counts->n_rows,
        .end = end,
        .out = out,
        .out_stride = (int32_t)out_stride,
        .bias = bias,
    };

    if (r->p->set == ROWS_PROMPT && r->f->gemm && gemm_is_faster(r->f->gemm, plan, r->p->capacity))
        return gemm_run(r->f->gemm, &call, r->p->capacity, r->stream);
    struct product_tiling t = product_tiling_of(plan, r->p->capacity, &r->f->machine);

    return launch_product(&call, &t, r->stream);
}

static int attention(const struct run *r, int layer)
{
    const struct gpu_forward *f = r->f;
    struct attention_input in = {
        .q = f->q,
        .out = f->attn,
        .kv = f->kv->layers[r->p->role][layer],
        .group = r->group,
        .window = r->net->layers[layer].window,
        .capacity = r->p->capacity,
        .pieces_held = ATTENTION_PIECES,
        .partial = f->partials,
    };
    int sms = f->machine.n_multiprocessors;

    if (r->matrix)
        return launch_attention_matrix(&f->state, &f->pass, &in,
                                       sms * (r->net->head_dim > 128 ? 1 : 2), r->stream);
    return launch_attention(&f->state, &f->pass, &in, r->queries,
                            sms * (r->queries == ATTENTION_QUERIES_FEW ? 4 : 2), r->stream);
}

/* Of the residual stream, which first gets what is pending. */
static struct norm norm_of(struct run *r, const float *w)
{
    const struct norm n = {.y = r->f->h,
                           .x = r->f->x,
                           .o = r->pending ? r->f->o : NULL,
                           .o_w = r->pending,
                           .w = w,
                           .eps = r->net->rms_eps,
                           .width = r->net->n_embd};

    r->pending = NULL;
    return n;
}

static int norm(struct run *r, const float *w)
{
    const struct norm n = norm_of(r, w);

    return launch_norm(&n, &r->f->pass, r->p->capacity, r->stream);
}

/* What a block gives to the residual stream. post_norm: NULL: as it is. */
static int residual(struct run *r, const struct gpu_matrix *m, const uint16_t *x, const float *bias,
                    const float *post_norm)
{
    r->pending = post_norm;
    return product(r, m, x, post_norm ? PRODUCT_STORE : PRODUCT_ADD, post_norm ? r->f->o : r->f->x,
                   r->net->n_embd, bias);
}

static int project(struct run *r, const struct gpu_layer *l, int layer)
{
    const struct gpu_net *net = r->net;
    bool wide = l->qk_norm_wide != NULL; /* norms that want q and k whole, with their biases */
    const struct wide_norms norms = {
        .x = r->f->qkv,
        .stride = l->qkv.plan.n,
        .w = l->qk_norm_wide,
        .eps = net->rms_eps,
        .widths = {l->n_heads * net->head_dim, l->n_kv_heads * net->head_dim},
    };
    const struct qkv in = {
        .qkv = r->f->qkv,
        .bias = wide ? NULL : l->qkv_bias,
        .q_norm = l->q_norm,
        .k_norm = l->k_norm,
        .eps = net->rms_eps,
        .rotation = net->rotations[l->rope],
        .rope = net->rope,
        .rope_dim = l->rope_dim,
        .q_scale = net->attn_scale,
        .q = r->f->q,
        .kv = r->f->kv->layers[r->p->role][layer],
        .n_heads = l->n_heads,
    };

    TRY(norm(r, l->attn_norm));
    TRY(product(r, &l->qkv, r->f->h, PRODUCT_STORE, r->f->qkv, l->qkv.plan.n,
                wide ? l->qkv_bias : NULL));
    if (wide)
        TRY(launch_wide_norms(&norms, &r->f->pass, r->p->capacity, r->stream));
    return launch_qkv(&in, &r->f->state, &r->f->pass, r->p->capacity, r->stream);
}

/* Rows of every expert's pairs by its matrix. */
static int expert_products(const struct run *r, const struct gpu_matrix *m, const uint16_t *x,
                           enum product_end end, void *out)
{
    const struct gpu_net *net = r->net;
    const struct experts *e = &r->f->experts;
    const struct product_plan *plan = &m->plan;
    int32_t capacity = r->p->capacity;
    const struct product_call call = {
        .plan = plan,
        .weights = m->data,
        .x = x,
        .x_stride = plan->k,
        .end = end,
        .out = out,
        .out_stride = plan->n,
        .groups = e->groups,
        .n_groups = e->n_groups,
        .max_groups = MIN(capacity * net->n_experts_used, net->n_experts),
    };
    /* For twice the rows that an expert gets on average; who gets more takes more blocks. */
    int32_t rows = 2 * capacity * net->n_experts_used / net->n_experts;
    struct product_tiling t = product_tiling_of(plan, MAX(1, MIN(rows, capacity)), &r->f->machine);

    t.row_blocks = (capacity + 8 * t.row_tiles - 1) / (8 * t.row_tiles);
    return launch_product(&call, &t, r->stream);
}

static int experts_run(struct run *r, const struct gpu_layer *l)
{
    const struct gpu_net *net = r->net;
    struct gpu_forward *f = r->f;
    const struct experts *e = &f->experts;
    const struct experts_layer layer = {
        .router = l->router,
        .norm = l->ffn_norm,
        .eps = net->rms_eps,
        .n_embd = net->n_embd,
        .n_experts = net->n_experts,
        .n_used = net->n_experts_used,
        .has_shared = l->gate_up_shared.data != NULL,
        .normed = net->experts_normed,
    };
    float *post = l->ffn_post_norm;

    TRY(launch_router(e, &layer, f->x, &f->pass, r->p->capacity, r->stream));
    TRY(launch_choice(e, &layer, f->h, &f->pass, r->p->capacity, r->stream));
    if (layer.has_shared) {
        TRY(product(r, &l->gate_up_shared, f->h, net->gate, f->ff, net->n_ff_shared, NULL));
        TRY(product(r, &l->down_shared, f->ff, PRODUCT_STORE, f->o, net->n_embd, NULL));
    }
    TRY(expert_products(r, &l->gate_up_experts, e->inputs, net->gate, e->gated));
    TRY(expert_products(r, &l->down_experts, e->gated, PRODUCT_STORE, e->outputs));
    r->pending = post;
    return launch_experts_sum(e, &layer, layer.has_shared ? f->o : NULL, post ? f->o : NULL, f->x,
                              &f->pass, r->p->capacity, r->stream);
}

static int layer_run(struct run *r, int i)
{
    const struct gpu_layer *l = &r->net->layers[i];
    struct gpu_forward *f = r->f;

    TRY(project(r, l, i));
    if (i + 1 == r->net->n_layers && r->p->max_logits == 0)
        return 0; /* nobody reads what the last layer would hand on */
    if (group_of(l) != r->group)
        TRY(rows(r, group_of(l)));
    TRY(attention(r, i));
    TRY(residual(r, &l->wo, f->attn, l->o_bias, l->attn_post_norm));
    TRY(norm(r, l->ffn_norm));
    if (l->router)
        return experts_run(r, l);
    TRY(product(r, &l->gate_up, f->h, r->net->gate, f->ff, l->gate_up.plan.n, l->gate_up_bias));
    return residual(r, &l->down, f->ff, l->down_bias, l->ffn_post_norm);
}

static int logits(struct run *r)
{
    const struct gpu_forward *f = r->f;
    bool trims = r->p->set == ROWS_STEP && f->state.draft_tiles;
    const struct norm n = norm_of(r, r->net->out_norm);
    const struct product_plan *plan = &r->net->output.plan;
    int32_t rows = MIN(r->p->max_logits, r->p->capacity);
    const struct product_call call = {
        .plan = plan,
        .weights = r->net->output.data,
        .x = f->h,
        .x_stride = plan->k,
        .n_rows = &f->pass.counts->n_logits,
        .end = PRODUCT_STORE,
        .out = r->p->logits,
        .out_stride = (int32_t)r->p->stride,
        .wanted = trims ? f->state.draft_tiles : NULL,
    };

    if (trims)
        TRY(launch_draft_tiles(&f->state, &f->pass, r->stream));
    TRY(launch_logit_norm(&n, &f->pass, rows, r->stream));
    struct product_tiling t = product_tiling_of(plan, rows, &f->machine);

    TRY(launch_product(&call, &t, r->stream));
    return trims ? launch_draft_restrict(&f->state, &f->pass, r->p->logits, r->p->stride, rows,
                                         r->stream)
                 : 0;
}

int gpu_forward_run(struct gpu_forward *f, const struct gpu_pass *p, cudaStream_t stream)
{
    const struct gpu_net *net = f->nets[p->role];
    struct run r = {.f = f, .p = p, .net = net, .stream = stream, .matrix = wants_matrix(f, p)};

    TRY(rows(&r, group_of(&net->layers[0])));
    TRY(launch_embed(f->x, &net->embed.plan, net->embed.data, net->embd_scale, &f->state, &f->pass,
                     p->capacity, stream));
    for (int i = 0; i < net->n_layers; i++)
        TRY(layer_run(&r, i));
    return p->max_logits > 0 ? logits(&r) : 0;
}
