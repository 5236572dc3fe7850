#include "warmup.h"

#include "round.h"
#include "specd/util.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PROMPT_LEN (2 * SPECD_BLOCK_TOKENS + 1) /* tokens of a made-up sequence */
#define REPEATS 3 /* of all measurements; the least of each counts: noise only ever adds */
#define ROWS_MAX (SPECD_SLOTS_MAX * (SPECD_K_MAX + 1))

/* ---- the cache file -------------------------------------------------------------------------- */

static void cost_key(const struct engine *e, char *out, size_t cap)
{
    const struct device_setup *s = &e->setup;
    uint64_t draft = e->draft_file ? e->draft_file->fingerprint : 0;
    for (uint32_t i = 0; i < s->n_self_layers; i++)
        draft = draft * 257 + s->self_layers[i] + 1;
    const struct draft_vocab *v = &e->draft_vocab;
    if (v->base)
        draft ^= fnv1a(v->base, (size_t)mask_words(v->n_vocab) * sizeof *v->base);
    snprintf(out, cap, "v3 %s %s t%d model %016llx draft %016llx w%d,%d kv%d slots %d k %d%s",
             e->ops->name, e->device_info.name, s->threads,
             (unsigned long long)e->target_file->fingerprint, (unsigned long long)draft,
             (int)s->weights[MODEL_TARGET], (int)s->weights[MODEL_DRAFT], (int)s->kv, s->n_slots,
             s->k_max, s->eager ? " eager" : "");
}

/* makes_folder: not while system calls are filtered. */
static bool cost_path(const char *key, bool makes_folder, char *out, size_t cap)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char dir[512];
    if (xdg && xdg[0])
        snprintf(dir, sizeof dir, "%s/specd", xdg);
    else if (home && home[0])
        snprintf(dir, sizeof dir, "%s/.cache/specd", home);
    else
        return false;
    if (makes_folder)
        mkdir(dir, 0755); /* if its parent is missing too, saving fails and the table is not kept */
    int n =
        snprintf(out, cap, "%s/cost-%016llx.txt", dir, (unsigned long long)fnv1a(key, strlen(key)));
    return n > 0 && (size_t)n < cap;
}

/* ---- made-up rounds -------------------------------------------------------------------------- */

struct warmup {
    struct engine *e;
    int32_t n_seqs;  /* sequences prepared */
    int32_t per_seq; /* blocks of each */
    int32_t *blocks; /* (n_seqs * per_seq) */
    int32_t limit;   /* tokens of a sequence */
    /* The least so far, by rows and by sequences; 0: not measured. */
    double verify_ns[ROWS_MAX + 1], step_ns[SPECD_SLOTS_MAX + 1], fill_ns[PROMPT_LEN];
    double sample_ns; /* the same of a row */
};

static double lesser(double before, uint64_t ns)
{
    return before > 0 ? fmin(before, (double)ns) : (double)ns;
}

/* Sequences that memory allows, up to one per slot. */
static void take_blocks(struct warmup *w)
{
    struct engine *e = w->e;
    w->limit = MIN(PROMPT_LEN + SPECD_K_MAX + 2, e->setup.n_ctx);
    w->per_seq = blocks_for(w->limit);
    w->n_seqs = MIN(e->setup.n_slots, kv_n_free(e->kv) / w->per_seq);
    if (kv_n_windows(e->kv) > 0)
        w->n_seqs = MIN(w->n_seqs, kv_n_windows(e->kv) / w->per_seq);
    w->blocks = xmalloc((size_t)w->n_seqs * (size_t)w->per_seq * sizeof *w->blocks);
    int32_t n = w->n_seqs * w->per_seq;
    ASSERT(kv_alloc(e->kv, n, w->blocks) == 0);
    for (int32_t i = 0; kv_n_windows(e->kv) > 0 && i < n; i++)
        kv_window_take(e->kv, w->blocks[i]);
}

static int32_t made_up_token(const struct engine *e, int32_t seq, int32_t position)
{
    uint64_t x = ((uint64_t)(uint32_t)seq << 32 | (uint32_t)position) * 0x9e3779b97f4a7c15u;
    return (int32_t)((x >> 33) % e->target_file->model.n_vocab);
}

static int set_slot(struct warmup *w, int32_t slot, bool prefilled)
{
    struct engine *e = w->e;
    int32_t tokens[PROMPT_LEN];
    for (int32_t i = 0; i < PROMPT_LEN; i++)
        tokens[i] = made_up_token(e, slot, i);
    int32_t len = MIN(PROMPT_LEN, w->limit - 1);
    struct slot_config config = {
        .params = {.target = {.temperature = 1.0f, .top_p = 1.0f, .repetition = 1.0f},
                   .draft = {.temperature = 1.0f, .top_p = 1.0f, .repetition = 1.0f},
                   .n_logprobs = -1},
        .tokens = tokens,
        .n_tokens = len,
        .n_prompt = len,
        .limit = w->limit,
        .rows = {prefilled ? len - 1 : 0, prefilled && e->sched.draft_ctx > 0 ? len - 1 : 0},
    };
    config.params.draft_ids = draft_vocab_of(&e->draft_vocab, tokens, len);
    int rc = e->ops->slot_set(e->dev, slot, &config);
    if (rc == 0)
        rc = e->ops->slot_blocks(e->dev, slot, 0, w->per_seq, w->blocks + slot * w->per_seq);
    for (int32_t i = 0; rc == 0 && kv_n_windows(e->kv) > 0 && i < w->per_seq; i++) {
        int32_t id = kv_window_id(e->kv, w->blocks[slot * w->per_seq + i]);
        rc = e->ops->slot_blocks(e->dev, slot, blocks_for(e->setup.n_ctx) + i, 1, &id);
    }
    return rc;
}

/* Runs e->round and waits for it, turning the loop. */
static int round_sync(struct engine *e)
{
    int rc = round_submit(e->ops, e->dev, &e->round);
    if (rc != 0)
        return rc;
    while ((rc = e->ops->poll(e->dev)) == 0)
        uv_run(&e->loop, UV_RUN_ONCE);
    return rc < 0 ? rc : e->ops->collect(e->dev, &e->result);
}

/* Every other prompt in small pieces: two points of what rows of the draft model cost. */
static int prefill_all(struct warmup *w)
{
    struct engine *e = w->e;
    int32_t n = MIN(PROMPT_LEN, w->limit - 1) - 1;
    for (int32_t s = 0; s < w->n_seqs; s++) {
        int rc = set_slot(w, s, false);
        e->round = (struct round){.synthetic_acceptance = -1.0f};
        int32_t piece = MIN(s % 2 ? PROMPT_LEN / 4 : n, e->setup.max_rows);
        for (int32_t done = 0, rows; done < n && rc == 0; done += rows) {
            rows = MIN(n - done, piece);
            e->round.n_chunks = 0;
            e->round.chunks[e->round.n_chunks++] =
                (struct round_chunk){s, MODEL_TARGET, done, rows, false};
            if (e->sched.draft_ctx > 0)
                e->round.chunks[e->round.n_chunks++] =
                    (struct round_chunk){s, MODEL_DRAFT, done, rows, false};
            rc = round_sync(e);
            if (rc == 0 && e->sched.draft_ctx > 0) {
                w->fill_ns[rows] = lesser(w->fill_ns[rows], e->result.draft_prompt_ns);
                pass_cost_set(&e->drafts->cost, PASS_FILL, rows, w->fill_ns[rows]);
            }
        }
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* One round of n_seqs sequences with K = k each. */
static int run(struct warmup *w, int32_t n_seqs, int32_t k, enum draft_source source)
{
    struct engine *e = w->e;
    e->round = (struct round){.n_seqs = n_seqs, .synthetic_acceptance = -1.0f};
    for (int32_t s = 0; s < n_seqs; s++) {
        int rc = set_slot(w, s, true);
        if (rc != 0)
            return rc;
        struct round_seq *rs = &e->round.seqs[s];
        *rs = (struct round_seq){.slot = s, .k = k, .source = source};
        for (int32_t i = 0; i < k; i++)
            rs->host_draft[i] = made_up_token(e, s, 1000 + i);
    }
    return round_sync(e);
}

static int measure_verify(struct warmup *w, int32_t n_seqs, int32_t k)
{
    double *ns = &w->verify_ns[n_seqs * (k + 1)];
    int rc = run(w, n_seqs, k, DRAFT_FROM_HOST);
    if (rc != 0)
        return rc;
    *ns = lesser(*ns, w->e->result.verify_ns);
    pass_cost_set(&w->e->drafts->cost, PASS_VERIFY, n_seqs * (k + 1), *ns);
    w->sample_ns = lesser(w->sample_ns, w->e->result.sample_ns / (uint64_t)(n_seqs * (k + 1)));
    w->e->drafts->cost.sample_ns = w->sample_ns;
    return 0;
}

static int measure_draft(struct warmup *w, int32_t n_seqs)
{
    double *ns = &w->step_ns[n_seqs];
    int rc = run(w, n_seqs, 1, DRAFT_FROM_MODEL);
    if (rc != 0)
        return rc;
    *ns = lesser(*ns, w->e->result.draft_ns);
    pass_cost_set(&w->e->drafts->cost, PASS_STEP, n_seqs, *ns);
    return 0;
}

/* Every point once. */
static int measure_points(struct warmup *w)
{
    int32_t k_max = MIN(w->e->setup.k_max, w->limit - MIN(PROMPT_LEN, w->limit - 1) - 1);
    int rc = 0;
    for (int32_t k = 0; k <= k_max && rc == 0; k = k < 2 ? k + 1 : k * 2)
        rc = measure_verify(w, 1, k);
    int32_t wide = MIN(k_max, 3);
    for (int32_t s = 4; s <= w->n_seqs && rc == 0; s *= 2)
        rc = measure_verify(w, s, wide);
    for (int32_t s = 1; s <= w->n_seqs && rc == 0 && w->e->sched.draft_ctx > 0 && k_max > 0; s *= 2)
        rc = measure_draft(w, s);
    return rc;
}

/* Repeats are far apart, so that a burst of other work does not take all those of one point. */
static int measure_all(struct warmup *w)
{
    int rc = prefill_all(w);
    for (int i = 0; i < REPEATS && rc == 0; i++)
        rc = measure_points(w);
    return rc;
}

int warmup_measure(struct engine *e, char *err, size_t errlen)
{
    struct pass_cost *cost = &e->drafts->cost;
    char key[512], path[600];
    cost_key(e, key, sizeof key);
    bool cached = cost_path(key, true, path, sizeof path);
    pass_cost_init(cost);
    if (cached && pass_cost_load(cost, path, key) == 0) {
        log_info("pass times: from %s", path);
        return 0;
    }
    struct warmup w = {.e = e};
    take_blocks(&w);
    int rc = measure_all(&w);
    if (kv_n_windows(e->kv) > 0)
        kv_window_drop(e->kv, w.blocks, w.n_seqs * w.per_seq);
    kv_release(e->kv, w.blocks, w.n_seqs * w.per_seq);
    free(w.blocks);
    if (rc != 0)
        return fail(rc, err, errlen, "the device failed while warming up");
    log_info("pass times: 1 row %.2f ms, 5 rows %.2f ms, draft step %.2f ms, 32 draft rows %.2f ms",
             pass_cost_at(cost, PASS_VERIFY, 1) / 1e6, pass_cost_at(cost, PASS_VERIFY, 5) / 1e6,
             pass_cost_at(cost, PASS_STEP, 1) / 1e6, pass_cost_at(cost, PASS_FILL, 32) / 1e6);
    if (cached && pass_cost_save(cost, path, key) != 0)
        log_debug("pass times could not be kept in %s", path);
    return 0;
}

#define ROUNDS_TO_KEEP 200 /* fewer have taught too little */

void warmup_keep(const struct engine *e)
{
    char key[512], path[600];
    cost_key(e, key, sizeof key);
    if (e->stats.rounds >= ROUNDS_TO_KEEP && cost_path(key, false, path, sizeof path) &&
        pass_cost_save(&e->drafts->cost, path, key) != 0)
        log_debug("pass times could not be kept in %s", path);
}
