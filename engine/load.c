/*
 * load.c - from paths to a device that is ready to serve: open, check, plan, allocate, warm up.
 *
 * Everything is sized before anything is allocated, and printed as a table. After this file has
 * run, the device allocates nothing any more.
 */
#include "engine_impl.h"
#include "drafters/lookup_pool.h"
#include "warmup.h"
#include "specd/model_check.h"
#include "specd/round_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MIB (1024.0 * 1024.0)

/* ---- models and text ------------------------------------------------------------------------- */

bool drafter_configured(const struct engine_config *c, enum drafter_type d)
{
    for (int i = 0; i < c->n_drafters; i++) {
        if (c->drafters[i] == d)
            return true;
    }
    return false;
}

static int open_draft(struct engine *e, char *err, size_t errlen)
{
    if (!drafter_configured(&e->config, DRAFT_MODEL))
        return 0;
    int rc = model_file_open(&e->draft_file, e->config.draft_path, err, errlen);
    if (rc != 0)
        return rc;
    char why[256];
    if (!vocab_matches(&e->target_file->vocab, &e->draft_file->vocab, why, sizeof why))
        return fail(SPECD_EINVAL, err, errlen,
                    "%s: the draft's vocabulary differs from the target's: %s",
                    e->config.draft_path, why);
    return 0;
}

/* Says on the log what the template lacks, and what is done about it. */
static int open_template(struct chat_template **out, const char *source, bool for_tools,
                         const char *what, char *err, size_t errlen)
{
    struct buf about = {0};
    int rc = chat_template_create(out, source, for_tools, err, errlen);
    if (rc == 0)
        chat_template_describe(*out, &about);
    if (about.len > 0)
        log_info("%s: %s", what, about.data);
    buf_free(&about);
    return rc;
}

static int open_templates(struct engine *e, char *err, size_t errlen)
{
    const struct vocab *v = &e->target_file->vocab;
    char why[256];
    if (e->config.chat_template) {
        int rc = open_template(&e->chat, e->config.chat_template, false, "chat template", why,
                               sizeof why);
        return rc == 0 ? 0 : fail(rc, err, errlen, "chat template: %s", why);
    }
    if (v->chat_template &&
        open_template(&e->chat, v->chat_template, false, "chat template", why, sizeof why) != 0)
        /* the model still completes text */
        log_warn("the model's chat template is unusable, chat is off: %s", why);
    if (e->chat && v->tools_template &&
        open_template(&e->chat_tools, v->tools_template, true, "chat template for tools", why,
                      sizeof why) != 0)
        log_warn("the model's chat template for tools is unusable, the other one serves: %s", why);
    return 0;
}

static int open_text(struct engine *e, char *err, size_t errlen)
{
    int rc = tokenizer_create(&e->tokenizer, &e->target_file->vocab, err, errlen);
    if (rc != 0)
        return rc;
    rc = open_templates(e, err, errlen);
    if (rc != 0)
        return rc;
    e->prepare = (struct prepare_tables){.tokenizer = e->tokenizer,
                                         .chat = e->chat,
                                         .chat_tools = e->chat_tools,
                                         .grammars = grammar_cache_create()};
    constraint_tables_init(&e->constraints, e->tokenizer, e->target_file->model.n_vocab);
    return 0;
}

static int open_draft_vocab(struct engine *e, char *err, size_t errlen)
{
    const struct engine_config *c = &e->config;
    bool self = drafter_configured(c, DRAFT_SELF);
    if (!self && !e->draft_file)
        return 0;
    const struct model *target = &e->target_file->model;
    const struct model *draft = self ? target : &e->draft_file->model;
    struct draft_vocab_source from = {
        .vocab = &e->target_file->vocab,
        .target = target,
        .draft = draft,
        .n_draft_layers = self ? c->n_self_layers : draft->n_layers,
        .path = self ? c->model_path : c->draft_path,
    };
    int rc = draft_vocab_open(&e->draft_vocab, &from, c->draft_vocab, err, errlen);
    if (rc == 0 && e->draft_vocab.base)
        log_info("drafts are of %d of %u ids, and of a prompt's own", e->draft_vocab.n_base,
                 MIN(target->n_vocab, draft->n_vocab));
    return rc;
}

static int open_models(struct engine *e, char *err, size_t errlen)
{
    int rc = model_file_open(&e->target_file, e->config.model_path, err, errlen);
    if (rc == 0)
        rc = open_draft(e, err, errlen);
    if (rc == 0)
        rc = open_text(e, err, errlen);
    if (rc == 0)
        rc = open_draft_vocab(e, err, errlen);
    return rc;
}

/* ---- sizes ----------------------------------------------------------------------------------- */

static int fill_setup(struct engine *e, char *err, size_t errlen)
{
    const struct engine_config *c = &e->config;
    const struct model *target = &e->target_file->model;
    int k_max = MAX(MAX(c->draft_max, c->draft_max_host), c->draft_fixed);
    if (target->n_ctx < 2)
        return fail(SPECD_EFILE, err, errlen, "%s: a context length of %u leaves no room to answer",
                    c->model_path, target->n_ctx);
    if (c->n_ctx > 0 && (uint32_t)c->n_ctx > target->n_ctx)
        log_warn("--ctx-size %d is beyond the %u positions the model was trained for", c->n_ctx,
                 target->n_ctx);
    if (drafter_configured(c, DRAFT_SELF)) {
        for (uint32_t i = 0; i < c->n_self_layers; i++) {
            if (c->self_layers[i] >= target->n_layers)
                return fail(SPECD_EINVAL, err, errlen,
                            "--model-draft self: layer %u, but the model has layers 0..%u",
                            c->self_layers[i], target->n_layers - 1);
        }
    }
    e->setup = (struct device_setup){
        .models = {target, e->draft_file ? &e->draft_file->model : NULL},
        .weights = {c->weights, c->draft_weights},
        .self_layers = drafter_configured(c, DRAFT_SELF) ? c->self_layers : NULL,
        .n_self_layers = drafter_configured(c, DRAFT_SELF) ? c->n_self_layers : 0,
        .kv = c->kv,
        .activations = c->activations,
        .n_slots = c->n_slots,
        .n_ctx = c->n_ctx > 0 ? c->n_ctx : (int)target->n_ctx,
        .max_rows = c->max_rows,
        .k_max = c->n_drafters > 0 ? MIN(k_max, SPECD_K_MAX) : 0,
        .k_draft = MAX(c->draft_max, c->draft_fixed),
        .threads = c->threads,
        .trims_draft = e->draft_vocab.base != NULL,
        .reproducible = c->reproducible,
        .eager = c->eager,
    };
    return 0;
}

static uint64_t fixed_bytes(const struct device_plan *p)
{
    return p->weights_bytes[MODEL_TARGET] + p->weights_bytes[MODEL_DRAFT] + p->activation_bytes +
           p->slot_bytes + p->workspace_bytes + p->graph_bytes;
}

/* What is left alone of memory that is all the device's: its driver allocates too. */
static uint64_t safety_margin(const struct device_info *info)
{
    return MAX((uint64_t)512 << 20, info->memory_bytes / 50);
}

/* Bytes the KV pool may take. The host's memory has other users, who get half of what is left. */
static uint64_t kv_budget(const struct engine *e, const struct device_plan *p)
{
    const struct device_info *info = &e->device_info;
    if (e->config.kv_bytes > 0)
        return e->config.kv_bytes;
    uint64_t taken = fixed_bytes(p) + (info->dedicated_memory ? safety_margin(info) : 0);
    uint64_t left = info->memory_free_bytes > taken ? info->memory_free_bytes - taken : 0;
    return info->dedicated_memory ? left : left / 2;
}

static void table_row(const char *what, uint64_t bytes)
{
    log_info("  %-28s %10.1f MiB", what, (double)bytes / MIB);
}

/* Blocks of the pool, and of the group of layers with windows; 0: there are none. */
struct pool_size {
    int32_t n_blocks, n_windows;
};

static uint64_t pool_bytes(const struct device_plan *p, const struct pool_size *size)
{
    return p->block_bytes * (uint64_t)size->n_blocks +
           p->window_block_bytes * (uint64_t)size->n_windows;
}

/* What running sequences may hold at once: a window each, the rows of two rounds, and what is cut
 * off at both ends. */
static uint64_t windows_held(const struct engine *e)
{
    int32_t window = (int32_t)model_window(&e->target_file->model);
    int32_t of_slot = blocks_for(window + 2 * (e->setup.k_max + 1)) + 3;
    return (uint64_t)e->setup.n_slots * (uint64_t)of_slot +
           2 * (uint64_t)blocks_for(e->setup.max_rows);
}

static void print_plan(const struct engine *e, const struct device_plan *p,
                       const struct pool_size *size)
{
    uint64_t kv = pool_bytes(p, size);
    log_info("memory on %s (%.1f GiB, %.1f GiB free, reads %.1f GB/s):", e->device_info.name,
             (double)e->device_info.memory_bytes / MIB / 1024,
             (double)e->device_info.memory_free_bytes / MIB / 1024,
             e->device_info.read_bandwidth / 1e9);
    table_row("target weights", p->weights_bytes[MODEL_TARGET]);
    table_row("draft weights", p->weights_bytes[MODEL_DRAFT]);
    table_row("KV pool", p->block_bytes * (uint64_t)size->n_blocks);
    if (size->n_windows > 0)
        table_row("KV pool of windowed layers", p->window_block_bytes * (uint64_t)size->n_windows);
    table_row("activations", p->activation_bytes);
    table_row("slots", p->slot_bytes);
    table_row("workspace", p->workspace_bytes);
    if (p->graph_bytes > 0)
        table_row("graphs", p->graph_bytes);
    table_row("total", kv + fixed_bytes(p));
    log_info("  %d blocks of %d tokens, %d slots, context %d", size->n_blocks, SPECD_BLOCK_TOKENS,
             e->setup.n_slots, e->setup.n_ctx);
    if (size->n_windows > 0)
        log_info("  %d blocks for the last %u tokens in layers with a window", size->n_windows,
                 model_window(&e->target_file->model));
    if (e->setup.k_max > 0)
        log_info("  %d drafted tokens a slot, %d of a model's", e->setup.k_max,
                 e->draft_file || e->setup.n_self_layers > 0 ? setup_k_draft(&e->setup) : 0);
}

/* Blocks, `most` of them or what the budget allows. Each may need one of the windowed layers, up to
 * as many as sequences hold and again for later hits. */
static uint64_t affordable(const struct engine *e, const struct device_plan *p, uint64_t windows,
                           uint64_t most)
{
    uint64_t budget = kv_budget(e, p), both = p->block_bytes + p->window_block_bytes;
    if (budget / both <= windows)
        return MIN(most, budget / both);
    uint64_t left = budget - windows * p->window_block_bytes;
    return p->block_bytes > 0 ? MIN(most, left / p->block_bytes) : most;
}

/* Blocks of the pool: enough for every slot at full length, or what the budget allows. A context
 * that no longer fits the pool is shortened, so that any admitted request can finish. */
static int size_pool(struct engine *e, const struct device_plan *p, struct pool_size *size,
                     char *err, size_t errlen)
{
    uint64_t need = (uint64_t)e->setup.n_slots * (uint64_t)blocks_for(e->setup.n_ctx);
    uint64_t n = affordable(e, p, 2 * windows_held(e), need);
#ifdef SPECD_HOSTILE
    n = MIN(n, 16);
#endif
    n = MIN(n, (uint64_t)INT32_MAX / 2);
    int64_t capacity = (int64_t)n * SPECD_BLOCK_TOKENS;
    int32_t least = MIN(64, e->setup.n_ctx);
    *size = (struct pool_size){.n_blocks = (int32_t)n};
    if (p->window_block_bytes > 0)
        size->n_windows = (int32_t)MIN(n, 2 * windows_held(e));
    if (capacity < least) {
        print_plan(e, p, size);
        return fail(SPECD_ENOMEM, err, errlen,
                    "not enough memory: a KV pool of %d tokens takes %.1f MiB and may take %.1f "
                    "MiB, with %.1f MiB for all else and %.1f MiB free",
                    least,
                    (double)(p->block_bytes + p->window_block_bytes) * blocks_for(least) / MIB,
                    (double)kv_budget(e, p) / MIB, (double)fixed_bytes(p) / MIB,
                    (double)e->device_info.memory_free_bytes / MIB);
    }
    if (capacity < e->setup.n_ctx) {
        log_warn("the KV pool holds %lld tokens: the context is shortened from %d",
                 (long long)capacity, e->setup.n_ctx);
        e->setup.n_ctx = (int)capacity;
    }
    return 0;
}

/* Host memory may be overcommitted; a device's own may not. */
static int check_total(const struct engine *e, const struct device_plan *p,
                       const struct pool_size *size, char *err, size_t errlen)
{
    uint64_t total = fixed_bytes(p) + pool_bytes(p, size);
    if (!e->device_info.dedicated_memory || total <= e->device_info.memory_free_bytes)
        return 0;
    return fail(SPECD_ENOMEM, err, errlen,
                "not enough memory: %.1f MiB are needed, and %.1f MiB are free",
                (double)total / MIB, (double)e->device_info.memory_free_bytes / MIB);
}

/* ---- device ---------------------------------------------------------------------------------- */

static void on_load_progress(void *arg, enum model_role role, uint64_t done, uint64_t total)
{
    int *last_tenth = arg;
    int tenth = total > 0 ? (int)(done * 10 / total) : 10;
    if (tenth == *last_tenth)
        return;
    *last_tenth = tenth;
    log_info("loading %s weights: %d %%", role == MODEL_TARGET ? "target" : "draft", tenth * 10);
}

static void on_round_done(void *arg)
{
    struct engine *e = arg;
    uv_async_send(&e->done);
}

static int choose_device(struct engine *e, char *err, size_t errlen)
{
    int rc = e->ops->open(&e->dev, e->config.device_index, err, errlen);
    if (rc == 0 || !e->config.fallback)
        return rc;
    log_info("the %s device serves: %s", e->config.fallback->name, err);
    e->ops = e->config.fallback;
    return e->ops->open(&e->dev, -1, err, errlen);
}

static void set_context(struct model *m, int32_t n_ctx)
{
    if (model_set_context(m, (uint32_t)n_ctx))
        log_info("%s: heads rotate as for texts of more than %u tokens, since the context is %d",
                 m->file, m->long_after, n_ctx);
}

static int open_device(struct engine *e, struct pool_size *size, char *err, size_t errlen)
{
    struct device_plan plan;
    int rc = choose_device(e, err, errlen);
    if (rc != 0)
        return rc;
    e->ops->describe(e->dev, &e->device_info);
    rc = e->ops->plan(e->dev, &e->setup, &plan, err, errlen);
    if (rc == 0)
        rc = size_pool(e, &plan, size, err, errlen);
    if (rc == 0) /* the context may have shrunk */
        rc = e->ops->plan(e->dev, &e->setup, &plan, err, errlen);
    if (rc != 0)
        return rc;
    print_plan(e, &plan, size);
    rc = check_total(e, &plan, size, err, errlen);
    if (rc != 0)
        return rc;
    set_context(&e->target_file->model, e->setup.n_ctx);
    if (e->draft_file)
        set_context(&e->draft_file->model, e->setup.n_ctx);
    int last_tenth = -1;
    rc = e->ops->model_load(e->dev, &e->setup, on_load_progress, &last_tenth, err, errlen);
    model_file_rest(e->target_file);
    if (e->draft_file)
        model_file_rest(e->draft_file);
    if (rc == 0)
        rc = e->ops->pool_create(e->dev, size->n_blocks, size->n_windows, on_round_done, e, err,
                                 errlen);
    return rc;
}

static void describe_draft(const struct engine *e, char *out, size_t cap)
{
    size_t n = 0;
    out[0] = '\0';
    for (int i = 0; i < e->config.n_drafters && n < cap; i++) {
        enum drafter_type d = e->config.drafters[i];
        n += (size_t)snprintf(out + n, cap - n, "%s%s%s%s", i ? "," : "", drafter_name(d),
                              d == DRAFT_MODEL ? " " : "",
                              d == DRAFT_MODEL ? e->draft_file->name : "");
    }
    if (n == 0)
        snprintf(out, cap, "none");
}

/* The file's or folder's own name: what a person would call it, unlike general.name in many files.
 */
static void default_model_id(const char *path, char *out, size_t cap)
{
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    size_t start = len;
    while (start > 0 && path[start - 1] != '/')
        start--;
    size_t n = len - start;
    if (n > 5 && strncmp(path + len - 5, ".gguf", 5) == 0)
        n -= 5;
    snprintf(out, cap, "%.*s", (int)MIN(n, cap - 1), path + start);
}

static void fill_info(struct engine *e, int32_t n_blocks)
{
    const struct model *m = &e->target_file->model;
    struct engine_info *i = &e->info;
    struct stat file;
    if (e->config.alias)
        snprintf(i->model_id, sizeof i->model_id, "%s", e->config.alias);
    else
        default_model_id(e->config.model_path, i->model_id, sizeof i->model_id);
    snprintf(i->arch, sizeof i->arch, "%s", m->arch);
    snprintf(i->device, sizeof i->device, "%s", e->device_info.name);
    describe_draft(e, i->draft, sizeof i->draft);
    i->n_vocab = m->n_vocab;
    i->n_ctx = (uint32_t)e->setup.n_ctx;
    i->n_ctx_train = m->n_ctx;
    i->n_embd = m->n_embd;
    i->n_layers = m->n_layers;
    i->n_params = m->n_params;
    i->file_bytes = e->target_file->file_bytes;
    i->modified = stat(e->config.model_path, &file) == 0 ? (int64_t)file.st_mtime : 0;
    i->n_slots = e->setup.n_slots;
    i->n_blocks = n_blocks;
    i->block_tokens = SPECD_BLOCK_TOKENS;
}

int engine_load(struct engine *e, char *err, size_t errlen)
{
    struct pool_size size = {0, 0};
    int rc = open_models(e, err, errlen);
    if (rc == 0)
        rc = fill_setup(e, err, errlen);
    if (rc == 0)
        rc = open_device(e, &size, err, errlen);
    if (rc != 0)
        return rc;
    e->prepare.n_prediction = e->setup.k_max > 0 ? e->setup.n_ctx : 0;
    if (e->config.lookup_shared && e->setup.k_max > 0)
        e->pools = lookup_pools_create();
    e->kv = kv_create(size.n_blocks);
    if (size.n_windows > 0)
        kv_add_windows(e->kv, size.n_windows, (int32_t)model_window(&e->target_file->model));
    e->drafts = xcalloc(1, sizeof *e->drafts);
    sched_init(&e->sched, e->kv, e->drafts);
    e->sched.n_slots = e->setup.n_slots;
    e->sched.max_rows = e->setup.max_rows;
    e->sched.mixed_rows = MIN(MAX(16, e->setup.max_rows / 8), e->setup.max_rows);
    if (e->draft_file)
        e->sched.draft_ctx = (int32_t)e->draft_file->model.n_ctx;
    else if (e->setup.n_self_layers > 0)
        e->sched.draft_ctx = e->setup.n_ctx;
    e->sched.k_draft = setup_k_draft(&e->setup);
    e->sched.synthetic_acceptance = e->config.synthetic_acceptance;
    e->prepare.max_ids = (size_t)e->setup.n_ctx;
    fill_info(e, size.n_blocks);
    return warmup_measure(e, err, errlen);
}

void engine_unload(struct engine *e)
{
    if (e->drafts)
        warmup_keep(e);
    if (e->dev)
        e->ops->close(e->dev);
    lookup_pools_free(e->pools);
    kv_free(e->kv);
    free(e->drafts);
    fair_clear(&e->unprepared);
    sched_fini(&e->sched);
    constraint_tables_fini(&e->constraints);
    draft_vocab_free(&e->draft_vocab);
    grammar_cache_free(e->prepare.grammars);
    chat_template_free(e->chat);
    chat_template_free(e->chat_tools);
    tokenizer_free(e->tokenizer);
    model_file_close(e->draft_file);
    model_file_close(e->target_file);
}
