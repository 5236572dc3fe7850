/*
 * The CUDA device: opening, sizing and loading. The verbs of a round are in submit.c.
 */
#include "device_impl.h"

#include "specd/setup_check.h"
#include "specd/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX 65535 /* of a pass: kernels have a block for each, across the grid */

/* ---- opening --------------------------------------------------------------------------------- */

static int device_open(struct device **dev, int index, char *err, size_t errlen)
{
    struct device *d = xcalloc(1, sizeof(*d));
    int rc = gpu_machine_open(&d->machine, index, &d->info, err, errlen);

    if (rc != 0) {
        free(d);
        return rc;
    }
    d->info.dedicated_memory = true;
    d->info.rounds_in_flight = WAITER_ROUNDS;
    *dev = d;
    return 0;
}

static void device_describe(const struct device *dev, struct device_info *out)
{
    *out = dev->info;
}

static void models_free(struct device *dev)
{
    for (int i = 0; i < MODEL_ROLES; i++) {
        gpu_net_free(&dev->nets[i]);
        gpu_arena_close(&dev->weights[i]);
        dev->used[i] = NULL;
    }
    free((void *)dev->setup.self_layers);
    dev->setup.self_layers = NULL;
}

static void device_close(struct device *dev)
{
    if (!dev)
        return;
    gpu_waiter_stop(&dev->waiter);
    if (dev->stream)
        cudaStreamSynchronize(dev->stream);
    gpu_graphs_close(&dev->graphs);
    for (int i = 0; i < WAITER_ROUNDS; i++)
        gpu_flight_close(&dev->flights[i]);
    gemm_close(dev->gemm);
    gpu_slots_free(&dev->slots);
    gpu_kv_free(&dev->kv);
    models_free(dev);
    gpu_arena_close(&dev->slot_arena);
    gpu_arena_close(&dev->activation_arena);
    gpu_arena_close(&dev->workspace_arena);
    gpu_arena_close(&dev->kv_arena);
    if (dev->stream)
        cudaStreamDestroy(dev->stream);
    free(dev->window);
    free(dev);
}

/* ---- what can be run ------------------------------------------------------------------------- */

static int check_kv(const struct device *dev, const struct device_setup *s, int role, char *err,
                    size_t errlen)
{
    struct kv_layer kv = {.type = s->kv};

    if (!s->models[role])
        return 0;
    kv.head_dim = (int32_t)s->models[role]->head_dim;
    if (!kv_layer_is_supported(&kv))
        return fail(SPECD_EINVAL, err, errlen, "%s: heads of %d elements cannot be kept in fp8 KV",
                    model_role_name(role), kv.head_dim);
    if (attention_shared_bytes(&kv) > dev->machine.product.shared_block)
        return fail(SPECD_EINVAL, err, errlen,
                    "%s: attention of heads of %d elements takes %zu KiB of shared memory with "
                    "this KV, and the device has %zu",
                    model_role_name(role), kv.head_dim, attention_shared_bytes(&kv) >> 10,
                    dev->machine.product.shared_block >> 10);
    return 0;
}

static int setup_check(const struct device *dev, const struct device_setup *s, char *err,
                       size_t errlen)
{
    int rc = device_setup_check(s, ROWS_MAX, err, errlen);

    if (rc == 0 && s->activations != ACTIVATIONS_INT8)
        return fail(SPECD_EINVAL, err, errlen,
                    "float activations for integer weights are a matter of the CPU device: on CUDA "
                    "they are bf16");
    for (int i = 0; rc == 0 && i < MODEL_ROLES; i++) {
        char why[256];

        if (s->models[i] &&
            (rc = gpu_net_check(s->models[i], s->weights[i], why, sizeof(why))) != 0)
            device_model_fail(s, i, rc, why, err, errlen);
        if (rc == 0)
            rc = check_kv(dev, s, i, err, errlen);
    }
    return rc;
}

/* ---- sizing ---------------------------------------------------------------------------------- */

/* Lays out the nets over the arenas, which may be counting. used[role]: of nets, or NULL. */
static int layout_nets(const struct device_setup *s, struct gpu_net nets[MODEL_ROLES],
                       const struct gpu_net *used[MODEL_ROLES],
                       struct gpu_arena weights[MODEL_ROLES], char *err, size_t errlen)
{
    for (int i = 0; i < MODEL_ROLES; i++) {
        char why[256];

        used[i] = NULL;
        if (!s->models[i])
            continue;
        int rc = gpu_net_layout(&nets[i], s->models[i], s->weights[i], s->n_ctx, &weights[i], why,
                                sizeof(why));

        if (rc != 0)
            return device_model_fail(s, i, rc, why, err, errlen);
        used[i] = &nets[i];
    }
    if (s->n_self_layers > 0) {
        gpu_net_select(&nets[MODEL_DRAFT], &nets[MODEL_TARGET], s->self_layers, s->n_self_layers);
        used[MODEL_DRAFT] = &nets[MODEL_DRAFT];
    }
    return 0;
}

/* Rows and logits of the widest passes of each kind. */
static struct gpu_forward_sizes forward_sizes(const struct device_setup *s)
{
    int32_t verify = s->n_slots * (s->k_max + 1), first = s->n_slots * SPECD_DRAFT_LAG_MAX;

    return (struct gpu_forward_sizes){
        .max_rows = MAX(MAX(s->max_rows, verify), first),
        .max_logits = MAX(MAX(verify, s->n_slots), SPECD_SCORE_ROWS),
    };
}

static void gemm_add(struct gemm_sizes *g, const struct gpu_matrix *m)
{
    const struct product_plan *p = &m->plan;
    size_t elements = (size_t)p->n * (size_t)p->k * (p->paired ? 2 : 1);

    g->max_elements = MAX(g->max_elements, elements);
    g->max_k = MAX(g->max_k, p->k);
    g->max_paired = p->paired ? MAX(g->max_paired, p->n) : g->max_paired;
    g->has_fp8 = g->has_fp8 || p->type == PRODUCT_FP8;
}

static struct gemm_sizes gemm_sizes(const struct device_setup *s,
                                    const struct gpu_net *const nets[MODEL_ROLES])
{
    struct gemm_sizes g = {.max_rows = s->max_rows};

    for (int i = 0; i < MODEL_ROLES; i++) {
        for (int j = 0; nets[i] && j < nets[i]->n_layers; j++) {
            const struct gpu_layer *l = &nets[i]->layers[j];

            gemm_add(&g, &l->qkv);
            gemm_add(&g, &l->wo);
            gemm_add(&g, &l->gate_up);
            gemm_add(&g, &l->down);
            gemm_add(&g, &l->gate_up_shared);
            gemm_add(&g, &l->down_shared);
        }
    }
    return g;
}

/* Prompt rows that never are enough for cuBLASLt need nothing of it. */
static bool wants_gemm(const struct device_setup *s)
{
    return !s->reproducible && s->max_rows >= GEMM_ROWS_MIN;
}

/* Everything but weights and KV, in the classes of struct device_plan: state of slots; what passes
 * work in; logits, laws, and the scratch of prompt products. */
struct layout {
    struct gpu_slots *slots;
    struct gpu_forward *forward;
    struct gpu_rounds *rounds;
    struct gemm **gemm;
    struct gpu_arena *slot, *activation, *workspace;
};

static int layout_rest(const struct layout *l, const struct device_setup *s,
                       const struct gpu_net *const nets[MODEL_ROLES], const struct gpu_machine *m)
{
    const struct gpu_net *target = nets[MODEL_TARGET], *draft = nets[MODEL_DRAFT];
    struct gpu_forward_sizes sizes = forward_sizes(s);
    struct gemm_sizes gemm = gemm_sizes(s, nets);

    gpu_slots_layout(l->slots, s, target->n_vocab, l->slot);
    gpu_forward_layout(l->forward, nets, s, &sizes, l->activation);
    gpu_rounds_layout(l->rounds, s, target->n_vocab, draft ? draft->n_vocab : 0, l->workspace);
    *l->gemm = NULL;
    return wants_gemm(s) ? gemm_open(l->gemm, &gemm, m->major, m->minor, l->workspace) : 0;
}

static int plan_rest(const struct device *dev, const struct device_setup *s,
                     const struct gpu_net *const nets[MODEL_ROLES], struct device_plan *out,
                     char *err, size_t errlen)
{
    struct gpu_arena slot = {0}, activation = {0}, workspace = {0};
    struct gpu_slots slots;
    struct gpu_forward forward;
    struct gpu_rounds rounds;
    struct gemm *gemm;
    size_t block_bytes = 0, window_bytes = 0;

    (void)layout_rest(
        &(struct layout){&slots, &forward, &rounds, &gemm, &slot, &activation, &workspace}, s, nets,
        &dev->machine);
    if (!gpu_kv_block_bytes(nets, s->kv, &block_bytes, &window_bytes) || slot.overflow ||
        activation.overflow || workspace.overflow)
        return fail(SPECD_EINVAL, err, errlen,
                    "%d slots of %d tokens with passes of %d rows exceed the address space",
                    s->n_slots, s->n_ctx, s->max_rows);
    out->block_bytes = block_bytes;
    out->window_block_bytes = window_bytes;
    out->slot_bytes = slot.used;
    out->activation_bytes = activation.used;
    out->workspace_bytes = workspace.used;
    out->graph_bytes = graph_bytes(s, nets[MODEL_TARGET]->n_layers,
                                   nets[MODEL_DRAFT] ? nets[MODEL_DRAFT]->n_layers : 0);
    return 0;
}

static int device_plan(const struct device *dev, const struct device_setup *setup,
                       struct device_plan *out, char *err, size_t errlen)
{
    struct gpu_arena weights[MODEL_ROLES] = {{0}};
    struct gpu_net nets[MODEL_ROLES] = {{0}};
    const struct gpu_net *used[MODEL_ROLES];

    memset(out, 0, sizeof(*out));
    int rc = setup_check(dev, setup, err, errlen);

    if (rc != 0)
        return rc;
    rc = layout_nets(setup, nets, used, weights, err, errlen);
    if (rc == 0) {
        for (int i = 0; i < MODEL_ROLES; i++)
            out->weights_bytes[i] = weights[i].used;
        rc = plan_rest(dev, setup, used, out, err, errlen);
    }
    for (int i = 0; i < MODEL_ROLES; i++)
        gpu_net_free(&nets[i]);
    return rc;
}

/* ---- loading --------------------------------------------------------------------------------- */

static int open_arena(struct gpu_arena *a, uint64_t bytes, const char *what, char *err,
                      size_t errlen)
{
    int rc = gpu_arena_open(a, bytes);

    if (rc != 0)
        fail(rc, err, errlen, "no memory on the GPU for %s: %llu MiB", what,
             (unsigned long long)bytes >> 20);
    return rc;
}

static int load_nets(struct device *dev, const struct device_plan *plan, device_progress *progress,
                     void *arg, char *err, size_t errlen)
{
    int rc = 0;

    for (int i = 0; rc == 0 && i < MODEL_ROLES; i++) {
        if (dev->setup.models[i])
            rc = gpu_net_load(&dev->nets[i], dev->setup.models[i], dev->setup.threads,
                              (enum model_role)i, progress, arg, plan->weights_bytes[i], err,
                              errlen);
    }
    return rc;
}

static int device_model_load(struct device *dev, const struct device_setup *setup,
                             device_progress *progress, void *arg, char *err, size_t errlen)
{
    struct device_plan plan;

    if (dev->has_models)
        return fail(SPECD_EINVAL, err, errlen, "the device has its models already");
    int rc = device_plan(dev, setup, &plan, err, errlen);

    if (rc != 0)
        return rc;
    device_setup_keep(&dev->setup, setup);
    for (int i = 0; rc == 0 && i < MODEL_ROLES; i++) {
        if (setup->models[i])
            rc = open_arena(&dev->weights[i], plan.weights_bytes[i], "the weights", err, errlen);
    }
    if (rc == 0)
        rc = layout_nets(setup, dev->nets, dev->used, dev->weights, err, errlen);
    if (rc == 0)
        rc = load_nets(dev, &plan, progress, arg, err, errlen);
    dev->has_models = rc == 0;
    if (rc != 0)
        models_free(dev);
    return rc;
}

/* ---- the pool and all the rest --------------------------------------------------------------- */

static int open_arenas(struct device *dev, const struct device_plan *plan, char *err, size_t errlen)
{
    size_t kv_bytes, window_bytes;
    int32_t windows = dev->n_window_blocks > 0 ? dev->n_window_blocks : dev->n_blocks;

    if (!size_mul(plan->block_bytes, (size_t)dev->n_blocks, &kv_bytes) ||
        !size_mul(plan->window_block_bytes, (size_t)windows, &window_bytes) ||
        !size_add(kv_bytes, window_bytes, &kv_bytes))
        return fail(SPECD_EINVAL, err, errlen, "%d blocks exceed the address space", dev->n_blocks);
    /* Layers are parts of their own, each rounded up. */
    size_t parts = 0;

    for (int i = 0; i < MODEL_ROLES; i++)
        parts += dev->used[i] ? (size_t)dev->used[i]->n_layers : 0;
    int rc = open_arena(&dev->slot_arena, plan->slot_bytes, "slots", err, errlen);

    if (rc == 0)
        rc = open_arena(&dev->activation_arena, plan->activation_bytes, "activations", err, errlen);
    if (rc == 0)
        rc = open_arena(&dev->workspace_arena, plan->workspace_bytes, "logits", err, errlen);
    if (rc == 0)
        rc = open_arena(&dev->kv_arena, kv_bytes + parts * GPU_ARENA_ALIGN, "KV", err, errlen);
    return rc;
}

static int layout_all(struct device *dev, char *err, size_t errlen)
{
    gpu_kv_layout(&dev->kv, dev->used, dev->setup.kv, dev->n_blocks, dev->n_window_blocks,
                  (dev->setup.n_ctx - 1) / SPECD_BLOCK_TOKENS + 1, &dev->kv_arena);
    int rc = layout_rest(&(struct layout){&dev->slots, &dev->forward, &dev->rounds, &dev->gemm,
                                          &dev->slot_arena, &dev->activation_arena,
                                          &dev->workspace_arena},
                         &dev->setup, dev->used, &dev->machine);

    if (rc != 0)
        return fail(rc, err, errlen, "cuBLASLt cannot be started");
    if (dev->slot_arena.failed || dev->activation_arena.failed || dev->workspace_arena.failed ||
        dev->kv_arena.failed)
        return fail(SPECD_ENOMEM, err, errlen, "no memory on the GPU");
    dev->rounds.state.slots = dev->slots.on_device;
    dev->rounds.state.n_blocks = dev->n_blocks;
    dev->rounds.forward = &dev->forward;
    dev->forward.kv = &dev->kv;
    dev->forward.machine = dev->machine.product;
    dev->forward.gemm = dev->gemm;
    dev->forward.state = dev->rounds.state;
    return 0;
}

static int open_flights(struct device *dev)
{
    int rc = gpu_slots_clear(&dev->slots);

    if (rc == 0 &&
        cudaMemset(dev->rounds.state.clock, 0, sizeof(struct device_clock)) != cudaSuccess)
        rc = SPECD_EDEVICE;
    for (int i = 0; rc == 0 && i < WAITER_ROUNDS; i++)
        rc = gpu_flight_open(&dev->flights[i], &dev->slots);
    return rc;
}

static int start(struct device *dev, void (*on_done)(void *arg), void *arg, char *err,
                 size_t errlen)
{
    if (cudaStreamCreateWithFlags(&dev->stream, cudaStreamNonBlocking) != cudaSuccess)
        return fail(SPECD_EDEVICE, err, errlen, "no CUDA stream");
    int rc = open_flights(dev);

    if (rc != 0)
        return fail(rc, err, errlen, "no pinned memory for rounds");
    if (!dev->setup.eager)
        rc = gpu_graphs_capture(&dev->graphs, &dev->rounds, &dev->setup, dev->stream);
    if (rc == SPECD_ENOMEM)
        return fail(rc, err, errlen, "no memory on the GPU for captured rounds");
    if (rc != 0)
        return fail(rc, err, errlen, "capturing a round failed");
    cudaError_t error = cudaDeviceSynchronize(); /* what was cleared on the default stream, too */

    if (error != cudaSuccess)
        return fail(SPECD_EDEVICE, err, errlen, "CUDA: %s", cudaGetErrorString(error));
    rc = gpu_waiter_start(&dev->waiter, dev->machine.index, on_done, arg);
    return rc == 0 ? 0 : fail(rc, err, errlen, "no thread to wait for the GPU");
}

static int device_pool_create(struct device *dev, int32_t n_blocks, int32_t n_window_blocks,
                              void (*on_done)(void *arg), void *arg, char *err, size_t errlen)
{
    struct device_plan plan;

    if (!dev->has_models || dev->n_blocks > 0)
        return fail(SPECD_EINVAL, err, errlen, "a KV pool comes after the models, once");
    if (n_blocks < 1 || n_window_blocks < 0)
        return fail(SPECD_EINVAL, err, errlen, "%d blocks of KV: at least 1", n_blocks);
    int rc = device_plan(dev, &dev->setup, &plan, err, errlen);

    if (rc != 0)
        return rc;
    dev->n_blocks = n_blocks;
    dev->n_window_blocks = n_window_blocks;
    rc = open_arenas(dev, &plan, err, errlen);
    if (rc == 0)
        rc = layout_all(dev, err, errlen);
    if (rc == 0)
        rc = start(dev, on_done, arg, err, errlen);
    dev->has_pool = rc == 0;
    return rc;
}

/* ---- slots and rounds ------------------------------------------------------------------------ */

static int device_slot_set(struct device *dev, int32_t slot, const struct slot_config *config)
{
    return dev->has_pool ? gpu_slots_set(&dev->slots, slot, config) : SPECD_EINVAL;
}

static int device_slot_blocks(struct device *dev, int32_t slot, int32_t first, int32_t n,
                              const int32_t *ids)
{
    if (!dev->has_pool)
        return SPECD_EINVAL;
    return slot_stage_blocks(dev->slots.stage, &dev->slots.shape, slot, first, n, ids,
                             dev->n_blocks, dev->n_window_blocks);
}

static int device_forward(struct device *dev, enum model_role role, enum row_set rows, int step)
{
    return round_record_forward(&dev->record, role, rows, step);
}

static int device_draw(struct device *dev, int step)
{
    return round_record_draw(&dev->record, step);
}

static int device_verify(struct device *dev)
{
    return round_record_verify(&dev->record);
}

const struct device_ops cuda_device_ops = {
    .name = "cuda",
    .open = device_open,
    .describe = device_describe,
    .close = device_close,
    .plan = device_plan,
    .model_load = device_model_load,
    .pool_create = device_pool_create,
    .slot_set = device_slot_set,
    .slot_blocks = device_slot_blocks,
    .begin = gpu_begin,
    .forward = device_forward,
    .draw = device_draw,
    .verify = device_verify,
    .end = gpu_end,
    .poll = gpu_poll,
    .collect = gpu_collect,
};
