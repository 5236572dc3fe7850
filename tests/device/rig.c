#include "rig.h"

/* Both devices have headers of these names. */
#include "../../cpu/device_impl.h"
#include "../../cpu/matmul.h"
#include "specd/model_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(int rc, const char *what, const char *err)
{
    if (rc == 0)
        return;
    fprintf(stderr, "%s failed with %d: %s\n", what, rc, err);
    abort();
}

__attribute__((weak)) const struct device_ops *rig_ops(void)
{
    return &cpu_device_ops;
}

__attribute__((weak)) const float *rig_logits(struct rig *r, enum model_role role, int seq, int i)
{
    return cpu_device_logits(r->dev, role, seq, i);
}

bool rig_is_cpu(void)
{
    return rig_ops() == &cpu_device_ops;
}

void rig_force_portable(bool on)
{
    if (rig_is_cpu())
        cpu_limit(on ? ISA_PORTABLE : ISA_COUNT);
}

struct device_setup rig_setup(const struct model *target, const struct model *draft)
{
    return (struct device_setup){
        .models = {target, draft},
        .kv = rig_ops() == &cpu_device_ops ? KV_F32 : KV_BF16,
        .n_slots = 4,
        .n_ctx = 512,
        .max_rows = 64,
        .k_max = MIN(8, SPECD_K_MAX),
        .threads = 1,
    };
}

struct sample_params rig_params(void)
{
    return (struct sample_params){
        .target = {.top_p = 1.0f, .repetition = 1.0f},
        .draft = {.top_p = 1.0f, .repetition = 1.0f},
        .seed = 1,
        .n_logprobs = -1,
    };
}

static void on_done(void *arg)
{
    struct rig *r = arg;
    pthread_mutex_lock(&r->lock);
    r->n_done++;
    pthread_cond_signal(&r->done_cond);
    pthread_mutex_unlock(&r->lock);
}

static int32_t blocks_of_slot(const struct device_setup *s)
{
    return (s->n_ctx + SPECD_BLOCK_TOKENS - 1) / SPECD_BLOCK_TOKENS;
}

struct rig *rig_new(const struct device_setup *setup, uint64_t seed)
{
    struct rig *r = xcalloc(1, sizeof(*r));
    char err[256] = "";
    r->ops = rig_ops();
    r->setup = *setup;
    r->n_free = 2 * setup->n_slots * blocks_of_slot(setup);
    r->free_blocks = xcalloc((size_t)r->n_free, sizeof(*r->free_blocks));
    random_shuffle(r->free_blocks, r->n_free, &seed);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->done_cond, NULL);
    check(r->ops->open(&r->dev, -1, err, sizeof(err)), "open", err);
    check(r->ops->plan(r->dev, setup, &r->plan, err, sizeof(err)), "plan", err);
    check(r->ops->model_load(r->dev, setup, NULL, NULL, err, sizeof(err)), "model_load", err);
    if (r->plan.window_block_bytes > 0) {
        r->n_windows = setup->n_slots * blocks_of_slot(setup);
        r->free_windows = xcalloc((size_t)r->n_windows, sizeof(*r->free_windows));
        r->windows = xcalloc((size_t)r->n_windows, sizeof(*r->windows));
        memset(r->windows, 0xff, (size_t)r->n_windows * sizeof(*r->windows));
        random_shuffle(r->free_windows, r->n_windows, &seed);
    }
    check(r->ops->pool_create(r->dev, r->n_free, r->n_windows, on_done, r, err, sizeof(err)),
          "pool_create", err);
    return r;
}

void rig_free(struct rig *r)
{
    r->ops->close(r->dev);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->done_cond);
    free(r->free_blocks);
    free(r->free_windows);
    free(r->windows);
    free(r);
}

/* ---- windows --------------------------------------------------------------------------------- */

/* The slot has rows of blocks ahead of `first` no more. */
static void windows_drop(struct rig *r, int32_t slot, int32_t first)
{
    int32_t *ids = r->windows + slot * blocks_of_slot(&r->setup);
    for (int32_t i = 0; r->windows && i < MIN(first, r->given[slot]); i++) {
        if (ids[i] >= 0)
            r->free_windows[r->n_windows++] = ids[i];
        ids[i] = -1;
    }
}

static void windows_give(struct rig *r, int32_t slot, int32_t end)
{
    int32_t n = blocks_of_slot(&r->setup), *ids = r->windows + slot * n;
    for (; r->windows && r->given[slot] < end; r->given[slot]++) {
        int32_t *id = &ids[r->given[slot]];
        *id = r->free_windows[--r->n_windows];
        check(r->ops->slot_blocks(r->dev, slot, n + r->given[slot], 1, id), "slot_blocks", "");
    }
}

/* Blocks of the round's target rows. */
static void windows_of_round(struct rig *r)
{
    int32_t window = r->windows ? (int32_t)model_window(r->setup.models[MODEL_TARGET]) : 0;
    for (int32_t i = 0; i < r->round.n_chunks; i++) {
        const struct round_chunk *c = &r->round.chunks[i];
        if (c->role == MODEL_DRAFT)
            continue;
        windows_drop(r, c->slot, MAX(c->start + 1 - window, 0) / SPECD_BLOCK_TOKENS);
        windows_give(r, c->slot, (c->start + c->n - 1) / SPECD_BLOCK_TOKENS + 1);
    }
    for (int32_t i = 0; i < r->round.n_seqs; i++)
        windows_give(r, r->round.seqs[i].slot, blocks_of_slot(&r->setup));
}

/* ---- slots and rounds ------------------------------------------------------------------------ */

void rig_slot(struct rig *r, int32_t slot, const struct sample_params *params,
              const int32_t *tokens, int32_t n, int32_t limit)
{
    struct slot_config config = {
        .params = *params,
        .tokens = tokens,
        .n_tokens = n,
        .n_prompt = n,
        .limit = limit,
    };
    int32_t n_blocks = blocks_of_slot(&r->setup);
    if (r->n_free < n_blocks)
        check(-1, "rig_slot", "out of blocks");
    r->n_free -= n_blocks;
    windows_drop(r, slot, n_blocks);
    r->given[slot] = 0;
    check(r->ops->slot_set(r->dev, slot, &config), "slot_set", "");
    check(r->ops->slot_blocks(r->dev, slot, 0, n_blocks, r->free_blocks + r->n_free), "slot_blocks",
          "");
}

void rig_clear(struct rig *r)
{
    memset(&r->round, 0, sizeof(r->round));
    r->round.synthetic_acceptance = -1.0f;
}

void rig_chunk(struct rig *r, int32_t slot, enum model_role role, int32_t start, int32_t n)
{
    r->round.chunks[r->round.n_chunks++] = (struct round_chunk){slot, role, start, n, false};
}

struct round_seq *rig_seq(struct rig *r, int32_t slot, int32_t k)
{
    struct round_seq *s = &r->round.seqs[r->round.n_seqs++];
    s->slot = slot;
    s->k = k;
    s->source = DRAFT_FROM_MODEL;
    return s;
}

static bool has_chunks(const struct round *round, enum model_role role)
{
    for (int32_t i = 0; i < round->n_chunks; i++) {
        if (round->chunks[i].role == role)
            return true;
    }
    return false;
}

static int draft_steps(const struct round *round)
{
    int steps = 0;
    for (int32_t i = 0; i < round->n_seqs; i++) {
        if (round->seqs[i].source == DRAFT_FROM_MODEL)
            steps = MAX(steps, round->seqs[i].k);
    }
    return steps;
}

void rig_submit(struct rig *r)
{
    const struct device_ops *ops = r->ops;
    windows_of_round(r);
    check(ops->begin(r->dev, &r->round), "begin", "");
    for (int role = 0; role < MODEL_ROLES; role++) {
        if (has_chunks(&r->round, (enum model_role)role))
            check(ops->forward(r->dev, (enum model_role)role, ROWS_PROMPT, 0), "prompt", "");
    }
    for (int k = 1; k <= draft_steps(&r->round); k++) {
        check(ops->forward(r->dev, MODEL_DRAFT, ROWS_STEP, k), "step", "");
        check(ops->draw(r->dev, k), "draw", "");
    }
    if (r->round.n_seqs > 0) {
        check(ops->forward(r->dev, MODEL_TARGET, ROWS_VERIFY, 0), "verify rows", "");
        check(ops->verify(r->dev), "verify", "");
    }
    check(ops->end(r->dev), "end", "");
}

void rig_wait(struct rig *r)
{
    pthread_mutex_lock(&r->lock);
    while (r->n_done == 0)
        pthread_cond_wait(&r->done_cond, &r->lock);
    r->n_done--;
    pthread_mutex_unlock(&r->lock);
    check(r->ops->poll(r->dev) == 1 ? 0 : -1, "poll", "no round after on_done");
    check(r->ops->collect(r->dev, &r->result), "collect", "");
}

void rig_run(struct rig *r)
{
    rig_submit(r);
    rig_wait(r);
}

void rig_prefill(struct rig *r, int32_t slot, enum model_role role, int32_t start, int32_t end,
                 int32_t step)
{
    for (; start < end; start += step) {
        rig_clear(r);
        rig_chunk(r, slot, role, start, MIN(step, end - start));
        rig_run(r);
    }
}
