#include "driver.h"

#include "round.h"
#include "specd/util.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARM_UP 6
#define ROOM 1024 /* tokens that a stream may add */

static _Noreturn void die(const char *what, int code)
{
    fprintf(stderr, "bench-gpu: %s: error %d\n", what, code);
    exit(1);
}

static void check(int rc, const char *what)
{
    if (rc != 0)
        die(what, rc);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof(*values), compare);
    return n % 2 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static void on_done(void *arg)
{
    struct bench *b = arg;
    pthread_mutex_lock(&b->lock);
    b->n_done++;
    pthread_cond_signal(&b->cond);
    pthread_mutex_unlock(&b->lock);
}

static void submit(struct bench *b)
{
    check(round_submit(b->ops, b->dev, &b->round), "a round");
}

/* A result of random weights says nothing, but it must be numbers. */
static void check_result(const struct bench *b)
{
    for (int i = 0; i < b->result.n_seqs; i++) {
        const struct seq_result *s = &b->result.seqs[i];
        int n = MIN(s->n_accepted + 1, s->n_drafted);
        if (s->flags & SEQ_NUMERIC || s->n_tokens < 1)
            die("a round gave no numbers", (int)s->flags);
        for (int j = 0; j < n; j++) {
            if (!isfinite(s->overlap[j]))
                die("an overlap is no number", j);
        }
    }
}

static void wait_one(struct bench *b)
{
    pthread_mutex_lock(&b->lock);
    while (b->n_done == 0)
        pthread_cond_wait(&b->cond, &b->lock);
    b->n_done--;
    pthread_mutex_unlock(&b->lock);
    int rc = b->ops->poll(b->dev);
    if (rc != 1)
        die("poll", rc);
    check(b->ops->collect(b->dev, &b->result), "collect");
    check_result(b);
}

static void clear(struct bench *b, double alpha)
{
    memset(&b->round, 0, sizeof(b->round));
    b->round.synthetic_acceptance = (float)alpha;
}

static void slot_start(struct bench *b, int32_t slot, int rows, int tokens)
{
    struct slot_config config = {
        .tokens = b->text,
        .n_tokens = tokens,
        .n_prompt = tokens,
        .limit = b->setup.n_ctx,
        .rows = {rows, b->shapes[MODEL_DRAFT] ? rows : 0},
    };
    config.params = (struct sample_params){
        .target = b->law, .draft = b->law, .seed = (uint64_t)slot + 1, .n_logprobs = -1};
    check(b->ops->slot_set(b->dev, slot, &config), "slot_set");
}

/* ---- opening --------------------------------------------------------------------------------- */

static int32_t blocks_for(int rows)
{
    return (rows + SPECD_BLOCK_TOKENS - 1) / SPECD_BLOCK_TOKENS;
}

static void hand_out_blocks(struct bench *b, const struct bench_plan *plan)
{
    int32_t next = 0;
    for (int32_t slot = 0; slot < plan->n_slots; slot++) {
        int32_t n = blocks_for((slot == 0 ? plan->longest : plan->context) + ROOM);
        int32_t *ids = xmalloc((size_t)n * sizeof(*ids));
        for (int32_t i = 0; i < n; i++)
            ids[i] = next++;
        check(b->ops->slot_blocks(b->dev, slot, 0, n, ids), "slot_blocks");
        free(ids);
    }
}

static void fill_slot(struct bench *b, int32_t slot, enum model_role role, int n)
{
    int step = b->setup.max_rows;
    for (int start = 0; start < n; start += step) {
        clear(b, -1);
        b->round.n_chunks = 1;
        b->round.chunks[0] = (struct round_chunk){slot, role, start, MIN(step, n - start), false};
        submit(b);
        wait_one(b);
    }
}

static void fill_contexts(struct bench *b, int n_slots)
{
    for (int32_t slot = 0; slot < n_slots; slot++) {
        slot_start(b, slot, 0, b->context + 1);
        for (int role = 0; role < MODEL_ROLES; role++) {
            if (b->shapes[role])
                fill_slot(b, slot, (enum model_role)role, b->context);
        }
    }
}

static void text_make(struct bench *b)
{
    uint64_t state = 88172645463325252u;
    b->text = xmalloc((size_t)b->setup.n_ctx * sizeof(*b->text));
    for (int32_t i = 0; i < b->setup.n_ctx; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17; /* xorshift64 */
        b->text[i] = (int32_t)(state % b->shapes[MODEL_TARGET]->vocab);
    }
}

int bench_open(struct bench *b, const struct device_ops *ops, const struct bench_plan *plan,
               char *err, size_t errlen)
{
    int32_t n_blocks =
        blocks_for(plan->longest + ROOM) + (plan->n_slots - 1) * blocks_for(plan->context + ROOM);
    uint64_t start;
    int rc;

    memset(b, 0, sizeof(*b));
    b->ops = ops;
    b->context = plan->context;
    b->law = (struct law_params){.temperature = 1.0f, .top_p = 1.0f, .repetition = 1.0f};
    b->setup = (struct device_setup){.kv = KV_BF16,
                                     .n_slots = plan->n_slots,
                                     .n_ctx = plan->longest + ROOM,
                                     .max_rows = plan->max_rows,
                                     .k_max = SPECD_K_MAX,
                                     .eager = plan->eager,
                                     .reproducible = plan->reproducible};
    rc = ops->open(&b->dev, -1, err, errlen);
    if (rc != 0)
        return rc;
    for (int role = 0; role < MODEL_ROLES; role++) {
        b->shapes[role] = plan->shapes[role];
        b->setup.models[role] = plan->shapes[role] ? shape_model(plan->shapes[role]) : NULL;
        b->setup.weights[role] = plan->weights[role];
    }
    start = clock_ns();
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->cond, NULL);
    rc = ops->plan(b->dev, &b->setup, &b->plan, err, errlen);
    rc = rc != 0 ? rc : ops->model_load(b->dev, &b->setup, NULL, NULL, err, errlen);
    rc = rc != 0 ? rc : ops->pool_create(b->dev, n_blocks, 0, on_done, b, err, errlen);
    if (rc != 0) {
        bench_close(b);
        return rc;
    }
    ops->describe(b->dev, &b->info);
    b->rates = rates_of(b->info.name, b->info.read_bandwidth);
    b->depth = plan->one_in_flight ? 1 : MAX(b->info.rounds_in_flight, 1);
    b->load_seconds = (double)(clock_ns() - start) * 1e-9;
    text_make(b);
    hand_out_blocks(b, plan);
    fill_contexts(b, plan->n_slots);
    return 0;
}

void bench_close(struct bench *b)
{
    b->ops->close(b->dev);
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->cond);
    free(b->text);
    b->text = NULL;
}

/* ---- streams --------------------------------------------------------------------------------- */

struct samples {
    double wall[ROUNDS_MAX], prompt[ROUNDS_MAX], draft[ROUNDS_MAX], verify[ROUNDS_MAX];
    double sample[ROUNDS_MAX], idle[ROUNDS_MAX];
    double tokens;
    int n;
};

static void keep(struct samples *s, const struct round_result *r, uint64_t wall_ns)
{
    int i = s->n++;
    s->wall[i] = (double)wall_ns * 1e-9;
    s->prompt[i] = (double)r->prompt_ns * 1e-9;
    s->draft[i] = (double)r->draft_ns * 1e-9;
    s->verify[i] = (double)r->verify_ns * 1e-9;
    s->sample[i] = (double)r->sample_ns * 1e-9;
    s->idle[i] = (double)r->idle_ns * 1e-9;
    for (int j = 0; j < r->n_seqs; j++)
        s->tokens += r->seqs[j].n_tokens;
}

static struct timing timing_of(struct samples *s)
{
    struct timing t = {.tokens = s->tokens / s->n};
    for (int i = 0; i < s->n; i++)
        t.idle_worst = MAX(t.idle_worst, s->idle[i]);
    t.wall = median(s->wall, s->n);
    t.prompt = median(s->prompt, s->n);
    t.draft = median(s->draft, s->n);
    t.verify = median(s->verify, s->n);
    t.sample = median(s->sample, s->n);
    t.idle = median(s->idle, s->n);
    if (t.verify <= 0 || t.sample <= 0)
        die("the device reports no time for its stages", 0);
    return t;
}

static void round_make(struct bench *b, int n_slots, int k, enum draft_source source, double alpha)
{
    clear(b, alpha);
    b->round.n_seqs = n_slots;
    for (int32_t i = 0; i < n_slots; i++) {
        struct round_seq *s = &b->round.seqs[i];
        *s = (struct round_seq){.slot = i, .k = k, .source = source};
        for (int j = 0; source == DRAFT_FROM_HOST && j < k; j++)
            s->host_draft[j] = b->text[b->context + j];
    }
}

static void start_slots(struct bench *b, int n_slots, int context)
{
    for (int32_t i = 0; i < n_slots; i++)
        slot_start(b, i, i == 0 ? context : b->context, (i == 0 ? context : b->context) + 1);
}

struct timing bench_stream(struct bench *b, int n_slots, int context, int k,
                           enum draft_source source, double alpha, int rounds)
{
    struct samples *s = xcalloc(1, sizeof(*s));
    int in_flight = 0, room = ROOM / (k + 1) - WARM_UP - 2;
    uint64_t last = 0, first = 0;

    rounds = MIN(MIN(rounds, room), ROUNDS_MAX); /* the limit of the slot must not be reached */
    start_slots(b, n_slots, context);
    round_make(b, n_slots, k, source, alpha);
    for (int i = 0; i < WARM_UP + rounds; i++) {
        for (; in_flight < b->depth && i + in_flight < WARM_UP + rounds; in_flight++)
            submit(b);
        wait_one(b);
        in_flight--;
        uint64_t now = clock_ns();
        if (i >= WARM_UP)
            keep(s, &b->result, now - last);
        else
            first = now;
        last = now;
    }
    struct timing t = timing_of(s);
    t.wall = (double)(last - first) * 1e-9 / rounds; /* rounds in flight may end in bursts */
    free(s);
    return t;
}

struct timing bench_repeat(struct bench *b, int n_slots, int context, int k,
                           enum draft_source source, double alpha, int rounds)
{
    struct samples *s = xcalloc(1, sizeof(*s));
    rounds = MIN(rounds, ROUNDS_MAX);
    round_make(b, n_slots, k, source, alpha);
    for (int i = 0; i < WARM_UP + rounds; i++) {
        start_slots(b, n_slots, context);
        uint64_t start = clock_ns();
        submit(b);
        wait_one(b);
        if (i >= WARM_UP)
            keep(s, &b->result, clock_ns() - start);
    }
    struct timing t = timing_of(s);
    free(s);
    return t;
}

double bench_prompt(struct bench *b, enum model_role role, int n)
{
    double seconds[3];
    for (size_t i = 0; i < COUNT_OF(seconds); i++) {
        slot_start(b, 0, 0, n + 1);
        uint64_t start = clock_ns();
        fill_slot(b, 0, role, n);
        seconds[i] = (double)(clock_ns() - start) * 1e-9;
    }
    return median(seconds, COUNT_OF(seconds));
}
