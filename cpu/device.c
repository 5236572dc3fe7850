/*
 * The CPU device: opening, sizing and loading. The verbs of a round are in rounds.c.
 */
#include "device_impl.h"

#include "machine.h"
#include "specd/model_check.h"
#include "specd/setup_check.h"
#include "specd/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 1024
#define ROWS_MAX (1 << 20) /* of a pass */

/* ---- opening --------------------------------------------------------------------------------- */

static int device_open(struct device **dev, int index, char *err, size_t errlen)
{
    if (index > 0)
        return fail(SPECD_EINVAL, err, errlen, "device %d: there is one CPU device", index);
    struct device *d = xcalloc(1, sizeof(*d));
    d->cores = machine_cores();
    machine_name(d->info.name, sizeof(d->info.name));
    size_t len = strlen(d->info.name);
    snprintf(d->info.name + len, sizeof(d->info.name) - len, ", %s", isa_name(cpu_isa()));
    machine_memory(&d->info.memory_bytes, &d->info.memory_free_bytes);
    struct pool *pool = pool_create(d->cores);
    d->info.read_bandwidth = machine_read_bandwidth(pool);
    pool_free(pool);
    d->info.rounds_in_flight = 1;
    *dev = d;
    return 0;
}

static void device_describe(const struct device *dev, struct device_info *out)
{
    *out = dev->info;
}

static void device_close(struct device *dev)
{
    if (!dev)
        return;
    rounds_stop(&dev->rounds);
    if (dev->pool)
        pool_free(dev->pool);
    for (int i = 0; i < MODEL_ROLES; i++) {
        net_free(&dev->nets[i]);
        arena_close(&dev->weights[i]);
    }
    arena_close(&dev->slot_arena);
    arena_close(&dev->activation_arena);
    arena_close(&dev->workspace_arena);
    arena_close(&dev->kv_arena);
    free((void *)dev->setup.self_layers);
    free(dev);
}

/* ---- sizing ---------------------------------------------------------------------------------- */

static int threads_of(const struct device *dev, const struct device_setup *s)
{
    return MIN(s->threads > 0 ? s->threads : dev->cores, THREADS_MAX);
}

static int setup_check(const struct device_setup *s, char *err, size_t errlen)
{
    int rc = device_setup_check(s, ROWS_MAX, err, errlen);
    if (rc == 0 && s->kv != KV_BF16 && s->kv != KV_F32)
        return fail(SPECD_EINVAL, err, errlen, "the CPU keeps KV in bf16 or f32, not in fp8");
    for (int i = 0; rc == 0 && i < MODEL_ROLES; i++) {
        char why[256];
        if (s->models[i] && (rc = model_check(s->models[i], &net_blocks, why, sizeof(why))) != 0)
            device_model_fail(s, i, rc, why, err, errlen);
    }
    return rc;
}

/* Lays out the nets over the arenas, which may be counting. used[role]: of nets, or NULL. */
static int layout_nets(const struct device_setup *s, struct net nets[MODEL_ROLES],
                       const struct net *used[MODEL_ROLES], struct arena weights[MODEL_ROLES],
                       char *err, size_t errlen)
{
    for (int i = 0; i < MODEL_ROLES; i++) {
        used[i] = NULL;
        if (!s->models[i])
            continue;
        char why[256];
        int rc = net_layout(&nets[i], s->models[i], s->weights[i], &weights[i], why, sizeof(why));
        if (rc != 0)
            return device_model_fail(s, i, rc, why, err, errlen);
        used[i] = &nets[i];
    }
    if (s->n_self_layers > 0) {
        net_select(&nets[MODEL_DRAFT], &nets[MODEL_TARGET], s->self_layers, s->n_self_layers);
        used[MODEL_DRAFT] = &nets[MODEL_DRAFT];
    }
    return 0;
}

/* Everything but weights and KV, in the three classes of struct device_plan. */
struct layout {
    struct slots *slots;
    struct forward *forward;
    struct turns *turns;
    struct scores *scores;
    struct arena *slot, *activation, *workspace;
};

/* Activations are what passes work in, attention's shares included; the workspace is logits, laws
 * and their scratch. */
static void layout_rest(const struct layout *l, const struct device_setup *s,
                        const struct net *const nets[MODEL_ROLES], int threads)
{
    const struct net *target = nets[MODEL_TARGET], *draft = nets[MODEL_DRAFT];
    slots_layout(l->slots, s, target->n_vocab, l->slot);
    forward_layout(l->forward, nets, s, threads, l->activation);
    turns_layout(l->turns, s, target->n_vocab, draft ? draft->n_vocab : 0, threads, l->workspace);
    scores_layout(l->scores, target->n_vocab, l->workspace);
}

static int plan_rest(const struct device_setup *s, const struct net *const nets[MODEL_ROLES],
                     int threads, struct device_plan *out, char *err, size_t errlen)
{
    struct arena slot = {0}, activation = {0}, workspace = {0};
    struct slots slots;
    struct forward forward;
    struct turns turns;
    struct scores scores;
    struct kvmem kv;
    size_t block_bytes = 0, window_bytes = 0;
    layout_rest(&(struct layout){&slots, &forward, &turns, &scores, &slot, &activation, &workspace},
                s, nets, threads);
    kvmem_init(&kv, nets, s->kv);
    if (!kvmem_block_bytes(&kv, &block_bytes, &window_bytes) || slot.overflow ||
        activation.overflow || workspace.overflow)
        return fail(SPECD_EINVAL, err, errlen,
                    "%d slots of %d tokens with passes of %d rows exceed the address space",
                    s->n_slots, s->n_ctx, s->max_rows);
    out->block_bytes = block_bytes;
    out->window_block_bytes = window_bytes;
    out->slot_bytes = slot.used;
    out->activation_bytes = activation.used;
    out->workspace_bytes = workspace.used;
    return 0;
}

static int device_plan(const struct device *dev, const struct device_setup *setup,
                       struct device_plan *out, char *err, size_t errlen)
{
    struct arena weights[MODEL_ROLES] = {{0}};
    struct net nets[MODEL_ROLES] = {{0}};
    const struct net *used[MODEL_ROLES];
    memset(out, 0, sizeof(*out));
    int rc = setup_check(setup, err, errlen);
    if (rc != 0)
        return rc;
    rc = layout_nets(setup, nets, used, weights, err, errlen);
    if (rc == 0) {
        for (int i = 0; i < MODEL_ROLES; i++)
            out->weights_bytes[i] = weights[i].used;
        rc = plan_rest(setup, used, threads_of(dev, setup), out, err, errlen);
    }
    for (int i = 0; i < MODEL_ROLES; i++)
        net_free(&nets[i]);
    return rc;
}

/* ---- loading --------------------------------------------------------------------------------- */

static int open_arena(struct arena *a, uint64_t bytes, const char *what, char *err, size_t errlen)
{
    int rc = arena_open(a, bytes);
    if (rc != 0)
        fail(rc, err, errlen, "no memory for %s: %llu MiB", what, (unsigned long long)bytes >> 20);
    return rc;
}

/* Memory that is in pieces gives no large pages, silently, and weights are then read by a third
 * more slowly. */
static void tell_huge_pages(const struct arena *a, enum model_role role)
{
    size_t huge;
    if (machine_huge_pages(a->base, a->used, &huge))
        log_info("%s weights: %.0f of %.0f MiB in huge pages", model_role_name(role),
                 (double)huge / (1 << 20), (double)a->used / (1 << 20));
}

static int device_model_load(struct device *dev, const struct device_setup *setup,
                             device_progress *progress, void *arg, char *err, size_t errlen)
{
    struct device_plan plan;
    if (dev->pool)
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
    if (rc != 0)
        return rc;
    dev->pool = pool_create(threads_of(dev, setup));
    for (int i = 0; i < MODEL_ROLES; i++) {
        if (!setup->models[i])
            continue;
        net_load(&dev->nets[i], setup->models[i], dev->pool, (enum model_role)i, progress, arg,
                 plan.weights_bytes[i]);
        tell_huge_pages(&dev->weights[i], (enum model_role)i);
    }
    return 0;
}

static int open_rest(struct device *dev, const struct device_plan *plan, int32_t n_blocks,
                     int32_t n_window_blocks, char *err, size_t errlen)
{
    size_t kv_bytes, window_bytes;
    if (!size_mul(plan->block_bytes, (size_t)n_blocks, &kv_bytes) ||
        !size_mul(plan->window_block_bytes,
                  (size_t)(n_window_blocks > 0 ? n_window_blocks : n_blocks), &window_bytes) ||
        !size_add(kv_bytes, window_bytes, &kv_bytes))
        return fail(SPECD_EINVAL, err, errlen, "%d blocks exceed the address space", n_blocks);
    int rc = open_arena(&dev->slot_arena, plan->slot_bytes, "slots", err, errlen);
    if (rc == 0)
        rc = open_arena(&dev->activation_arena, plan->activation_bytes, "activations", err, errlen);
    if (rc == 0)
        rc = open_arena(&dev->workspace_arena, plan->workspace_bytes, "logits", err, errlen);
    if (rc == 0)
        rc = open_arena(&dev->kv_arena, kv_bytes, "KV", err, errlen);
    return rc;
}

static int device_pool_create(struct device *dev, int32_t n_blocks, int32_t n_window_blocks,
                              void (*on_done)(void *arg), void *arg, char *err, size_t errlen)
{
    struct device_plan plan;
    if (!dev->pool || dev->kv.n_blocks > 0)
        return fail(SPECD_EINVAL, err, errlen, "a KV pool comes after the models, once");
    if (n_blocks < 1 || n_window_blocks < 0)
        return fail(SPECD_EINVAL, err, errlen, "%d blocks of KV: at least 1", n_blocks);
    int rc = device_plan(dev, &dev->setup, &plan, err, errlen);
    if (rc == 0)
        rc = open_rest(dev, &plan, n_blocks, n_window_blocks, err, errlen);
    if (rc != 0)
        return rc;

    kvmem_init(&dev->kv, dev->used, dev->setup.kv);
    kvmem_layout(&dev->kv, n_blocks, n_window_blocks,
                 (dev->setup.n_ctx - 1) / SPECD_BLOCK_TOKENS + 1, &dev->kv_arena);
    layout_rest(&(struct layout){&dev->slots, &dev->forward, &dev->turns, &dev->scores,
                                 &dev->slot_arena, &dev->activation_arena, &dev->workspace_arena},
                &dev->setup, dev->used, pool_size(dev->pool));
    dev->forward.pool = dev->turns.pool = dev->scores.pool = dev->pool;
    dev->forward.kv = &dev->kv;
    dev->turns.slots = &dev->slots;
    dev->scores.slots = &dev->slots;
    rc = rounds_start(&dev->rounds, &dev->forward, &dev->turns, &dev->slots, &dev->scores, on_done,
                      arg);
    return rc == 0 ? 0 : fail(rc, err, errlen, "no thread for the rounds");
}

/* ---- slots and rounds ------------------------------------------------------------------------ */

static int device_slot_set(struct device *dev, int32_t slot, const struct slot_config *config)
{
    return slot_stage_config(dev->slots.stage, &dev->slots.shape, slot, config);
}

static int device_slot_blocks(struct device *dev, int32_t slot, int32_t first, int32_t n,
                              const int32_t *ids)
{
    return slot_stage_blocks(dev->slots.stage, &dev->slots.shape, slot, first, n, ids,
                             dev->kv.n_blocks, dev->kv.n_window_blocks);
}

static int device_begin(struct device *dev, const struct round *round)
{
    return dev->rounds.has_thread ? rounds_begin(&dev->rounds, round) : SPECD_EINVAL;
}

static int device_forward(struct device *dev, enum model_role role, enum row_set rows, int step)
{
    struct command c = {COMMAND_FORWARD, role, rows, step};
    return rounds_record(&dev->rounds, c);
}

static int device_draw(struct device *dev, int step)
{
    struct command c = {COMMAND_DRAW, MODEL_DRAFT, ROWS_STEP, step};
    return rounds_record(&dev->rounds, c);
}

static int device_verify(struct device *dev)
{
    struct command c = {COMMAND_VERIFY, MODEL_TARGET, ROWS_VERIFY, 0};
    return rounds_record(&dev->rounds, c);
}

static int device_end(struct device *dev)
{
    return rounds_end(&dev->rounds);
}

static int device_poll(struct device *dev)
{
    return rounds_poll(&dev->rounds);
}

static int device_collect(struct device *dev, struct round_result *out)
{
    return rounds_collect(&dev->rounds, out);
}

const float *cpu_device_logits(const struct device *dev, enum model_role role, int seq, int i)
{
    const struct turn *turn = &dev->turns.turns[seq];
    return role == MODEL_TARGET ? turn->q[i].logits : turn->p[i].logits;
}

const struct device_ops cpu_device_ops = {
    .name = "cpu",
    .open = device_open,
    .describe = device_describe,
    .close = device_close,
    .plan = device_plan,
    .model_load = device_model_load,
    .pool_create = device_pool_create,
    .slot_set = device_slot_set,
    .slot_blocks = device_slot_blocks,
    .begin = device_begin,
    .forward = device_forward,
    .draw = device_draw,
    .verify = device_verify,
    .end = device_end,
    .poll = device_poll,
    .collect = device_collect,
};
