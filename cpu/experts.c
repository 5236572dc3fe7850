#include "experts.h"

#include "panel.h"
#include "specd/util.h"

#include <string.h>

void experts_layout(struct experts *x, const struct net *const nets[MODEL_ROLES], int max_rows,
                    bool integers, struct arena *a)
{
    size_t T = (size_t)max_rows, f4 = sizeof(float), used = 0, experts = 0;
    *x = (struct experts){0};
    for (int i = 0; i < MODEL_ROLES; i++) {
        const struct net *n = nets[i];
        if (!n || n->n_experts == 0)
            continue;
        used = MAX(used, (size_t)n->n_experts_used);
        experts = MAX(experts, (size_t)n->n_experts);
        x->embd_stride = MAX(x->embd_stride, (int)row_stride(n->n_embd));
        x->ff_stride = MAX(x->ff_stride, (int)row_stride(n->n_ff_expert));
        x->logits_stride = MAX(x->logits_stride, (int)row_stride(n->n_experts));
    }
    if (used == 0)
        return;
    size_t P = T * used, groups = MIN(experts, P); /* T is at most 2^20, k 64 */
    x->logits = arena_take(a, T, (size_t)x->logits_stride * f4);
    x->gates = arena_take(a, T, f4);
    x->inputs = arena_take(a, P, (size_t)x->embd_stride * f4);
    x->gate = arena_take(a, P, (size_t)x->ff_stride * f4);
    x->up = arena_take(a, P, (size_t)x->ff_stride * f4);
    x->chosen = arena_take(a, P, sizeof(*x->chosen));
    x->weights = arena_take(a, P, f4);
    x->pair_of = arena_take(a, P, sizeof(*x->pair_of));
    x->pairs = arena_take(a, P, sizeof(*x->pairs));
    x->ends = arena_take(a, experts, sizeof(*x->ends));
    x->groups = arena_take(a, groups, sizeof(*x->groups));
    x->jobs = arena_take(a, groups, 2 * sizeof(*x->jobs));
    x->quantised = arena_take(a, groups, sizeof(*x->quantised));
    if (integers)
        qrows_layout(&x->room, (int)P, MAX(x->embd_stride, x->ff_stride), a);
}

/* What the stages of a layer share. */
struct work {
    struct experts *x;
    const struct experts_run *run;
};

/* ---- the router ------------------------------------------------------------------------------ */

static void choose_row(const struct work *w, int row)
{
    const struct net *net = w->run->net;
    int k = net->n_experts_used, n = 0;
    float *z = w->x->logits + (ptrdiff_t)row * w->x->logits_stride, max, chosen = 0.0f;
    int32_t *ids = w->x->chosen + (ptrdiff_t)row * k;
    float *weights = w->x->weights + (ptrdiff_t)row * k;
    for (int e = 0; e < net->n_experts; e++) {
        int at = n;
        while (at > 0 && z[e] > z[ids[at - 1]])
            at--;
        if (at == k)
            continue;
        n = MIN(n + 1, k);
        for (int i = n - 1; i > at; i--)
            ids[i] = ids[i - 1];
        ids[at] = e;
    }
    float sum = w->run->ops->exp_sum(z, net->n_experts, &max);
    for (int i = 0; i < k; i++)
        chosen += z[ids[i]];
    for (int i = 0; i < k; i++)
        weights[i] = z[ids[i]] / (net->experts_normed ? chosen : sum);
}

/* Pairs by expert, rows in their order. */
static void order_pairs(struct experts *x, int n_experts, int k, int n_pairs)
{
    int32_t begin = 0;
    memset(x->ends, 0, (size_t)n_experts * sizeof(*x->ends));
    for (int i = 0; i < n_pairs; i++)
        x->ends[x->chosen[i]]++;
    for (int e = 0; e < n_experts; e++) {
        int32_t n = x->ends[e];
        x->ends[e] = begin;
        begin += n;
    }
    for (int i = 0; i < n_pairs; i++) { /* from where they begin to where they end */
        int32_t pair = x->ends[x->chosen[i]]++;
        x->pair_of[i] = pair;
        x->pairs[pair].row = i / k;
    }
}

/* ---- the experts ----------------------------------------------------------------------------- */

static float *pair_at(float *base, int stride, int pair)
{
    return base + (ptrdiff_t)pair * stride;
}

/* An expert's rows, those of its n pairs from the first on: `cols` columns of `from`. */
static void add_group(const struct work *w, const struct matmul_job *jobs, int n_jobs, int first,
                      int n, float *from, int stride, int cols)
{
    struct experts *x = w->x;
    int g = x->n_groups++;
    struct qrows *q = NULL;
    for (int i = 0; i < n_jobs; i++) {
        if (w->run->integers && dtype_is_integer(jobs[i].w->type))
            q = &x->quantised[g];
    }
    if (q) {
        size_t at = (size_t)first * (size_t)(cols / RUN);
        *q = (struct qrows){.tiles = x->room.tiles + at,
                            .low = x->room.low + at,
                            .max_records = x->room.max_records - at,
                            .hot = w->run->net->hot};
        qrows_begin(q, n, cols);
    }
    for (int i = 0; i < n; i++) {
        x->pairs[first + i].group = g;
        x->pairs[first + i].at = i;
    }
    x->groups[g] = (struct matmul_group){
        .jobs = jobs,
        .n_jobs = n_jobs,
        .in = {pair_at(from, stride, first), stride, n, cols, NULL, NULL, q, true},
    };
}

/* Those that were chosen, with their first two matrices or with the last. */
static void set_groups(const struct work *w, bool down)
{
    struct experts *x = w->x;
    const struct net *net = w->run->net;
    struct weight *const *slices = w->run->layer->slices;
    int C = x->embd_stride, F = x->ff_stride;
    x->n_groups = 0;
    for (int e = 0, first = 0; e < net->n_experts; first = x->ends[e++]) {
        struct matmul_job *jobs = &x->jobs[2 * x->n_groups];
        int n = x->ends[e] - first;
        float *inputs = pair_at(x->inputs, C, first), *gate = pair_at(x->gate, F, first);
        if (n == 0)
            continue;
        if (down) {
            jobs[0] = (struct matmul_job){&slices[LAYER_W_DOWN_EXPERTS][e], NULL, inputs, C, false};
            add_group(w, jobs, 1, first, n, x->gate, F, net->n_ff_expert);
        } else {
            float *up = pair_at(x->up, F, first);
            jobs[0] = (struct matmul_job){&slices[LAYER_W_GATE_EXPERTS][e], NULL, gate, F, false};
            jobs[1] = (struct matmul_job){&slices[LAYER_W_UP_EXPERTS][e], NULL, up, F, false};
            add_group(w, jobs, 2, first, n, x->inputs, C, net->n_embd);
        }
    }
}

/* Its row is in the group's place: as integers too, where they multiply those. */
static void pair_quantise(const struct experts *x, const struct pair *p)
{
    const struct matmul_input *in = &x->groups[p->group].in;
    if (in->q)
        qrows_put(in->q, p->at, pair_at(in->x, in->x_stride, p->at));
}

static void pair_input(const struct work *w, int i)
{
    const struct pair *p = &w->x->pairs[i];
    w->run->make(w->run->arg, p->row, pair_at(w->x->inputs, w->x->embd_stride, i));
    pair_quantise(w->x, p);
}

static void pair_gated(const struct work *w, int i)
{
    const struct net *net = w->run->net;
    float *gate = pair_at(w->x->gate, w->x->ff_stride, i);
    const float *up = pair_at(w->x->up, w->x->ff_stride, i);
    if (net->gate == GATE_GELU_TANH)
        w->run->ops->gelu_mul(gate, gate, up, net->n_ff_expert);
    else
        w->run->ops->silu_mul(gate, gate, up, net->n_ff_expert);
    pair_quantise(w->x, &w->x->pairs[i]);
}

static void row_sum(const struct work *w, int row)
{
    const struct experts *x = w->x;
    const struct ops *ops = w->run->ops;
    int k = w->run->net->n_experts_used, C = w->run->net->n_embd;
    float *y = w->run->y + (ptrdiff_t)row * w->run->y_stride, shared = 1.0f;
    if (w->run->layer->w_shared.rows > 0)
        shared = 1.0f / (1.0f + ops->exp(-x->gates[row]));
    else
        memset(y, 0, (size_t)C * sizeof(*y));
    for (int i = row * k; i < (row + 1) * k; i++) {
        ops->blend(y, shared, pair_at(x->inputs, x->embd_stride, x->pair_of[i]), x->weights[i], C);
        shared = 1.0f;
    }
}

/* ---- the stages ------------------------------------------------------------------------------ */

typedef void item_fn(const struct work *w, int i);

struct stage {
    const struct work *work;
    item_fn *fn;
    int n;
};

static void stage_part(void *arg, int part, int n_parts)
{
    const struct stage *s = arg;
    for (int i = part_first(s->n, n_parts, part); i < part_first(s->n, n_parts, part + 1); i++)
        s->fn(s->work, i);
}

/* Rows or pairs, by all threads; by this one, if they are not worth waking the others. */
static void for_items(const struct work *w, item_fn *fn, int n, int width)
{
    struct stage s = {w, fn, n};
    if ((int64_t)n * width < 16384)
        stage_part(&s, 0, 1);
    else
        pool_run(w->run->pool, stage_part, &s);
}

void experts_run(struct experts *x, const struct experts_run *run)
{
    const struct work w = {x, run};
    const struct net *net = run->net;
    int k = net->n_experts_used, P = run->n_rows * k;
    for_items(&w, choose_row, run->n_rows, net->n_experts);
    order_pairs(x, net->n_experts, k, P);
    set_groups(&w, false);
    for_items(&w, pair_input, P, net->n_embd);
    matmul_groups(run->pool, x->groups, x->n_groups);
    set_groups(&w, true);
    for_items(&w, pair_gated, P, 2 * net->n_ff_expert);
    matmul_groups(run->pool, x->groups, x->n_groups);
    for_items(&w, row_sum, run->n_rows, k * net->n_embd);
}
