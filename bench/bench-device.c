/*
 * bench-device - what passes, draws and verifications cost on the CPU device, as markdown.
 *
 *   bench-device [-m MODEL] [-w WEIGHTS] [-t THREADS] [-n REPEATS] [-c TOKENS] [TYPE...]
 *
 * WEIGHTS: native, f32, bf16 or q8_0. Without -m, models of SmolLM2-135M's shape with random
 * weights of each TYPE (bf16 q8_0 q4_1). A pass of up to 17 rows is a verify pass of one slot,
 * logits included; a longer one is a prompt chunk, which has none. Times are medians. GB/s counts
 * the weights that the pass reads, of experts as many as rows choose by chance; "x read" is the
 * time in units of merely reading these weights at the measured bandwidth. The second table has
 * passes beside another thread that takes one core for 5 of every 10 ms. Then come whole rounds
 * with a draft of every third layer of the target itself, the work on a row of logits alone, on one
 * core, and attention alone, on all threads.
 */
#include "device/attention_bench.h"
#include "device/laws.h"
#include "isa.h"
#include "device/shape.h"
#include "machine.h"
#include "model/model_file.h"
#include "specd/device.h"
#include "specd/model_check.h"
#include "specd/util.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define REPEATS_MAX 1000
#define SELF_MAX MODEL_LAYERS_MAX

struct options {
    const char *path;
    enum weight_type weights;
    int threads, repeats, context;
};

struct bench {
    struct options options;
    struct device *dev;
    struct device_info info;
    struct device_setup setup;
    struct device_plan plan;
    uint32_t self_layers[SELF_MAX];
    int32_t *text;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done; /* lock */
    struct round round;
    struct round_result result;
};

static const struct device_ops *const ops = &cpu_device_ops;

static _Noreturn void die(const char *what, const char *err)
{
    fprintf(stderr, "bench-device: %s: %s\n", what, err);
    exit(1);
}

/* ---- one device with one model --------------------------------------------------------------- */

static void on_done(void *arg)
{
    struct bench *b = arg;
    pthread_mutex_lock(&b->lock);
    b->done = true;
    pthread_cond_signal(&b->cond);
    pthread_mutex_unlock(&b->lock);
}

static void bench_open(struct bench *b, const struct model *m)
{
    char err[256];
    for (uint32_t i = 0; i < m->n_layers; i += 3)
        b->self_layers[b->setup.n_self_layers++] = i;
    b->setup.models[MODEL_TARGET] = m;
    b->setup.weights[MODEL_TARGET] = b->options.weights;
    b->setup.self_layers = b->self_layers;
    b->setup.kv = KV_BF16;
    b->setup.n_slots = 1;
    b->setup.n_ctx = b->options.context + 1024;
    b->setup.max_rows = 512;
    b->setup.k_max = SPECD_K_MAX;
    b->setup.threads = b->options.threads;
    int32_t n_blocks = (b->setup.n_ctx - 1) / SPECD_BLOCK_TOKENS + 1;
    if (ops->open(&b->dev, -1, err, sizeof(err)) != 0 ||
        ops->plan(b->dev, &b->setup, &b->plan, err, sizeof(err)) != 0 ||
        ops->model_load(b->dev, &b->setup, NULL, NULL, err, sizeof(err)) != 0 ||
        ops->pool_create(b->dev, n_blocks, 0, on_done, b, err, sizeof(err)) != 0)
        die("device", err);
    ops->describe(b->dev, &b->info);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->cond, NULL);

    int32_t *ids = xmalloc((size_t)n_blocks * sizeof(*ids));
    for (int32_t i = 0; i < n_blocks; i++)
        ids[i] = i;
    ops->slot_blocks(b->dev, 0, 0, n_blocks, ids);
    free(ids);
    b->text = xmalloc((size_t)b->setup.n_ctx * sizeof(*b->text));
    for (int32_t i = 0; i < b->setup.n_ctx; i++)
        b->text[i] = (i * 7919 + 13) % (int32_t)m->n_vocab;
}

static void bench_close(struct bench *b)
{
    ops->close(b->dev);
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->cond);
    free(b->text);
}

/* The slot with its first rows computed, as they are from bench_fill on. */
static void slot_start(struct bench *b, int32_t n_tokens, int32_t n_rows, float temperature,
                       float top_p)
{
    struct slot_config config = {
        .tokens = b->text,
        .n_tokens = n_tokens,
        .n_prompt = n_tokens,
        .limit = b->setup.n_ctx,
        .rows = {n_rows, n_rows},
    };
    struct law_params law = {.temperature = temperature, .top_p = top_p, .repetition = 1.0f};
    config.params =
        (struct sample_params){.target = law, .draft = law, .seed = 1, .n_logprobs = -1};
    if (ops->slot_set(b->dev, 0, &config) != 0)
        die("slot_set", "refused");
}

static struct round_seq *round_start(struct bench *b, int32_t k)
{
    memset(&b->round, 0, sizeof(b->round));
    b->round.synthetic_acceptance = -1.0f;
    b->round.n_seqs = k >= 0;
    b->round.seqs[0].k = k;
    return &b->round.seqs[0];
}

static void round_run(struct bench *b)
{
    const struct round_seq *s = &b->round.seqs[0];
    int rc = ops->begin(b->dev, &b->round);
    for (int i = 0; rc == 0 && i < b->round.n_chunks; i++)
        rc = ops->forward(b->dev, b->round.chunks[i].role, ROWS_PROMPT, 0);
    for (int k = 1; rc == 0 && s->source == DRAFT_FROM_MODEL && k <= s->k; k++) {
        rc = ops->forward(b->dev, MODEL_DRAFT, ROWS_STEP, k);
        rc = rc == 0 ? ops->draw(b->dev, k) : rc;
    }
    if (rc == 0 && b->round.n_seqs > 0) {
        rc = ops->forward(b->dev, MODEL_TARGET, ROWS_VERIFY, 0);
        rc = rc == 0 ? ops->verify(b->dev) : rc;
    }
    if (rc != 0 || ops->end(b->dev) != 0)
        die("round", "refused");
    pthread_mutex_lock(&b->lock);
    while (!b->done)
        pthread_cond_wait(&b->cond, &b->lock);
    b->done = false;
    pthread_mutex_unlock(&b->lock);
    ops->collect(b->dev, &b->result);
}

/* Computes the context's rows of both models. */
static void bench_fill(struct bench *b)
{
    slot_start(b, b->options.context + 1, 0, 0.0f, 1.0f);
    for (int role = 0; role < MODEL_ROLES; role++) {
        round_start(b, -1);
        b->round.n_chunks = 1;
        b->round.chunks[0] =
            (struct round_chunk){0, (enum model_role)role, 0, b->options.context, false};
        round_run(b);
    }
}

/* ---- times ----------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t median(uint64_t *ns, int n)
{
    qsort(ns, (size_t)n, sizeof(*ns), compare);
    return ns[n / 2];
}

/* Times of passes of `rows` rows behind the context; returns their number. */
static int pass_times(struct bench *b, int rows, uint64_t ns[REPEATS_MAX])
{
    int n = rows > 64 ? MAX(b->options.repeats / 10, 3) : b->options.repeats;
    int32_t context = b->options.context;
    for (int i = 0; i <= n; i++) { /* the first warms up */
        if (rows <= SPECD_K_MAX + 1) {
            slot_start(b, context + 1, context, 0.0f, 1.0f);
            struct round_seq *s = round_start(b, rows - 1);
            s->source = DRAFT_FROM_HOST;
            memcpy(s->host_draft, b->text, (size_t)(rows - 1) * sizeof(int32_t));
        } else {
            slot_start(b, context + rows + 1, context, 0.0f, 1.0f);
            round_start(b, -1);
            b->round.chunks[0] = (struct round_chunk){0, MODEL_TARGET, context, rows, false};
            b->round.n_chunks = 1;
        }
        round_run(b);
        ns[MAX(i - 1, 0)] = b->result.verify_ns + b->result.prompt_ns;
    }
    return n;
}

static double bytes_of(const struct bench *b, const struct tensor *t, int rows)
{
    const struct model *m = b->setup.models[MODEL_TARGET];
    enum dtype kept = t->type == DT_F16 ? DT_F32 : t->type;
    const enum dtype wanted[] = {kept, DT_F32, DT_BF16, DT_Q8_0};
    double bytes = (double)t->rows * (double)dtype_row_bytes(wanted[b->options.weights], t->cols);
    return bytes * MAX(t->slices, 1) * tensor_part_read(m, t, rows);
}

/* Weights that a pass streams: an untied embedding is only looked up in, and a prompt needs no
 * logits. */
static double pass_bytes(const struct bench *b, int rows)
{
    const struct model *m = b->setup.models[MODEL_TARGET];
    double sum = rows <= SPECD_K_MAX + 1 ? bytes_of(b, &m->output, rows) : 0;
    for (uint32_t i = 0; i < m->n_layers; i++) {
        for (int j = 0; j < LAYER_MATRICES; j++)
            sum += bytes_of(b, &m->layers[i].tensors[j], rows);
    }
    return sum;
}

static void print_passes(struct bench *b, const char *name)
{
    static const int rows[] = {1, 2, 3, 5, 9, 16, 64, 512};
    double first = 0.0;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint64_t ns[REPEATS_MAX];
        double seconds = (double)median(ns, pass_times(b, rows[i], ns)) * 1e-9;
        double bytes = pass_bytes(b, rows[i]);
        double read = bytes / b->info.read_bandwidth;
        if (i == 0)
            first = seconds;
        printf("| %s | %d | %.2f | %.0f | %.1f | %.2f | %.2f |\n", name, rows[i], seconds * 1e3,
               rows[i] / seconds, bytes / seconds * 1e-9, seconds / first, seconds / read);
        fflush(stdout);
    }
}

/* ---- another process on one core ------------------------------------------------------------- */

#define BUSY_NS 5000000 /* at work, and then idle as long */

struct busy {
    pthread_t thread;
    atomic_bool stop;
};

/* On the last core that this process may use. */
static void *busy_half(void *arg)
{
    struct busy *busy = arg;
    cpu_set_t all, one;
    int core = CPU_SETSIZE - 1;
    sched_getaffinity(0, sizeof(all), &all);
    while (core > 0 && !CPU_ISSET(core, &all))
        core--;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
    while (!atomic_load(&busy->stop)) {
        const struct timespec idle = {0, BUSY_NS};
        for (uint64_t start = clock_ns(); clock_ns() - start < BUSY_NS;)
            ;
        nanosleep(&idle, NULL);
    }
    return NULL;
}

static double mean_ms(struct bench *b, int rows)
{
    uint64_t ns[REPEATS_MAX], sum = 0;
    int n = pass_times(b, rows, ns);
    for (int i = 0; i < n; i++)
        sum += ns[i];
    return (double)sum * 1e-6 / n;
}

/* Means: what the other process costs falls on some passes and not on others. */
static void print_busy(struct bench *b, const char *name)
{
    static const int rows[] = {1, 5, 9};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct busy busy = {.stop = false};
        double alone = mean_ms(b, rows[i]);
        if (pthread_create(&busy.thread, NULL, busy_half, &busy) != 0)
            die("thread", "cannot start");
        double shared = mean_ms(b, rows[i]);
        atomic_store(&busy.stop, true);
        pthread_join(busy.thread, NULL);
        printf("| %s | %d | %.2f | %.2f | %.2f |\n", name, rows[i], alone, shared, shared / alone);
        fflush(stdout);
    }
}

/* ---- rounds ---------------------------------------------------------------------------------- */

struct law_case {
    const char *name;
    float temperature, top_p;
};

static void print_rounds(struct bench *b, const char *name)
{
    static const struct law_case laws[] = {
        {"greedy", 0.0f, 1.0f}, {"temperature 1", 1.0f, 1.0f}, {"top-p 0.9", 1.0f, 0.9f}};
    static const int ks[] = {0, 4, 8};
    for (size_t i = 0; i < COUNT_OF(laws) * COUNT_OF(ks); i++) {
        const struct law_case *law = &laws[i / COUNT_OF(ks)];
        uint64_t draft[REPEATS_MAX], verify[REPEATS_MAX], sample[REPEATS_MAX];
        int n = MAX(b->options.repeats / 2, 3), k = ks[i % COUNT_OF(ks)];
        for (int j = 0; j < n; j++) {
            slot_start(b, b->options.context + 1, b->options.context, law->temperature, law->top_p);
            round_start(b, k);
            round_run(b);
            draft[j] = b->result.draft_ns;
            verify[j] = b->result.verify_ns;
            sample[j] = b->result.sample_ns;
        }
        double d = (double)median(draft, n) * 1e-6, v = (double)median(verify, n) * 1e-6;
        double s = (double)median(sample, n) * 1e-6;
        printf("| %s | %s | %d | %.2f | %.2f | %.2f | %.1f%% |\n", name, law->name, k, d, v, s,
               100.0 * s / (d + v + s));
        fflush(stdout);
    }
}

/* ---- models ---------------------------------------------------------------------------------- */

typedef void print_fn(struct bench *b, const char *name);

static void with_device(const struct options *o, const struct model *m, const char *name,
                        print_fn *print)
{
    struct bench *b = xcalloc(1, sizeof(*b));
    b->options = *o;
    bench_open(b, m);
    bench_fill(b);
    print(b, name);
    bench_close(b);
    free(b);
}

static bool dtype_find(const char *name, enum dtype *type)
{
    for (int t = 0; t < DT_GGUF_COUNT; t++) {
        if (strcasecmp(dtype_name((enum dtype)t), name) == 0) {
            *type = (enum dtype)t;
            return true;
        }
    }
    return false;
}

static void with_models(const struct options *o, const char *const *types, int n_types,
                        print_fn *print)
{
    char err[512];
    if (o->path) {
        struct model_file *file;
        if (model_file_open(&file, o->path, err, sizeof(err)) != 0)
            die(o->path, err);
        with_device(o, &file->model, dtype_name(file->model.layers[0].wq.type), print);
        model_file_close(file);
        return;
    }
    for (int i = 0; i < n_types; i++) {
        enum dtype type;
        if (!dtype_find(types[i], &type))
            die(types[i], "no such type");
        struct model *m = shape_new(type);
        with_device(o, m, types[i], print);
        shape_free(m);
    }
}

static void print_machine(const struct options *o)
{
    struct device *dev;
    struct device_info info;
    char err[256];
    if (ops->open(&dev, -1, err, sizeof(err)) != 0)
        die("open", err);
    ops->describe(dev, &info);
    ops->close(dev);
    printf("%s, %s kernels, read bandwidth %.1f GB/s; %s, %d tokens of context, bf16 KV\n\n",
           info.name, isa_name(cpu_isa()), info.read_bandwidth * 1e-9,
           o->path ? o->path : "random weights of SmolLM2-135M's shape", o->context);
}

static int number(const char *arg, int min, int max)
{
    char *end;
    long n = strtol(arg, &end, 10);
    if (*end != '\0' || n < min || n > max)
        die(arg, "not a number in range");
    return (int)n;
}

static enum weight_type weights_of(const char *arg)
{
    static const char *const names[] = {"native", "f32", "bf16", "q8_0"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strcmp(names[i], arg) == 0)
            return (enum weight_type)i;
    }
    die(arg, "native, f32, bf16 or q8_0");
}

int main(int argc, char **argv)
{
    static const char *const defaults[] = {"bf16", "q8_0", "q4_1"};
    struct options o = {.repeats = 50, .context = 64};
    int c;
    while ((c = getopt(argc, argv, "m:w:t:n:c:")) != -1) {
        switch (c) {
        case 'm':
            o.path = optarg;
            break;
        case 'w':
            o.weights = weights_of(optarg);
            break;
        case 't':
            o.threads = number(optarg, 1, 1024);
            break;
        case 'n':
            o.repeats = number(optarg, 3, REPEATS_MAX);
            break;
        case 'c':
            o.context = number(optarg, 1, 1 << 20);
            break;
        default:
            fprintf(stderr, "usage: bench-device [-m MODEL] [-w WEIGHTS] [-t THREADS] [-n REPEATS] "
                            "[-c CONTEXT] [TYPE...]\n");
            return 2;
        }
    }
    const char *const *types = optind < argc ? (const char *const *)argv + optind : defaults;
    int n_types = optind < argc ? argc - optind : (int)COUNT_OF(defaults);
    print_machine(&o);
    printf("| weights | rows | ms | rows/s | GB/s | x one row | x read |\n"
           "|---|---:|---:|---:|---:|---:|---:|\n");
    with_models(&o, types, n_types, print_passes);
    printf("\n| weights | rows | ms | ms, a core half busy | ratio |\n|---|---:|---:|---:|---:|\n");
    with_models(&o, types, n_types, print_busy);
    printf("\n| weights | law | K | draft ms | verify ms | draw and accept ms | share |\n"
           "|---|---|---:|---:|---:|---:|---:|\n");
    with_models(&o, types, n_types, print_rounds);
    printf("\n");
    laws_print(o.repeats);
    printf("\n");
    attention_print(o.threads > 0 ? o.threads : machine_cores(), o.repeats);
    return 0;
}
