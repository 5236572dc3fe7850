/*
 * bench-gpu - what passes and rounds cost on a device, as markdown: models of real shapes with
 * random weights, 8B and 1B.
 *
 *   bench-gpu [-d cuda|cpu] [-s real|small|tiny] [-r ROUNDS] [-n SLOTS] [-c CONTEXT] [-l LONGEST]
 *             [-b SECONDS] [-1] [-R] [-O] [-e] [MEASURE...]
 *   bench-gpu -p [-c CONTEXT]
 *
 * Measures: draft decode rows gap sampling speedup slots prompts contexts types; all by default, in
 * this order. -b: from so many seconds on, what has not begun is skipped, and said so. Device times
 * are the device's own (round_result), round times the host's; all after a warm-up, medians or
 * means of ROUNDS rounds. Predictions beside them are for the bandwidth found. `-d cpu -s small`
 * tries the program out on any machine.
 *
 *   -1  one round in flight     -R  reproducible: all rows' attention on the matrix units
 *   -O  launches do not overlap  -e  no graphs: launches one by one
 *   -p  measures nothing: what a pass should take on known GPUs, kernel by kernel
 */
#include "measures.h"

#include "specd/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int stream_rounds = 60;

static int skipped;

static const char *const names[] = {"draft",   "decode", "rows",    "gap",      "sampling",
                                    "speedup", "slots",  "prompts", "contexts", "types"};

struct wish {
    char **names;
    int n;
};

static bool wanted(const struct wish *w, const char *name)
{
    for (int i = 0; i < w->n; i++) {
        if (strcmp(w->names[i], name) == 0)
            return true;
    }
    return w->n == 0;
}

static bool wants_pair(const struct wish *w)
{
    for (int i = 0; i < w->n; i++) {
        if (strcmp(w->names[i], "draft") != 0 && strcmp(w->names[i], "types") != 0)
            return true;
    }
    return w->n == 0;
}

/* Whether to go on with a measure that is wanted. */
static bool begin(const struct config *c, const struct wish *w, const char *name)
{
    fflush(stdout);
    if (!wanted(w, name))
        return false;
    if (c->deadline && clock_ns() > c->deadline) {
        printf("\n## %s\n\nskipped: no time left\n", name);
        skipped++;
        return false;
    }
    fprintf(stderr, "bench-gpu: %s\n", name);
    return true;
}

static void print_head(const struct bench *b)
{
    printf("\n- device: %s, %.1f GB, measured read bandwidth %.0f GB/s, %d in flight%s%s%s\n",
           b->info.name, (double)b->info.memory_bytes * 1e-9, b->info.read_bandwidth * 1e-9,
           b->depth, b->setup.reproducible ? ", reproducible" : "",
           b->setup.eager ? ", no graphs" : "",
           getenv("SPECD_NO_OVERLAP") ? ", launches do not overlap" : "");
    for (int role = 0; role < MODEL_ROLES; role++) {
        const struct shape *s = b->shapes[role];
        printf("- %s: %s: L %u, C %u, H %u, G %u, D %u, F %u, V %u, %s; random weights, %.3f GB\n",
               role == MODEL_TARGET ? "target" : "draft", s->name, s->layers, s->embd, s->heads,
               s->kv_heads, s->head_dim, s->ff, s->vocab, s->tied ? "tied" : "untied",
               (double)b->plan.weights_bytes[role] * 1e-9);
    }
    printf("- both loaded in %.1f s; KV bf16, temperature 1 unless said otherwise\n",
           b->load_seconds);
}

static void run_pair(const struct config *c, const struct wish *w)
{
    struct bench_plan plan = {.shapes = {c->target, c->draft},
                              .weights = {WEIGHT_BF16, WEIGHT_BF16},
                              .n_slots = c->slots,
                              .context = c->context,
                              .longest = c->longest,
                              .max_rows = MIN(2048, c->longest),
                              .eager = c->eager,
                              .reproducible = c->reproducible,
                              .one_in_flight = c->one_in_flight};
    struct bench b;
    char err[256] = "";
    if (bench_open(&b, c->ops, &plan, err, sizeof(err)) != 0) {
        fprintf(stderr, "bench-gpu: %s\n", err);
        exit(1);
    }
    print_head(&b);
    if (begin(c, w, "decode"))
        measure_decode(&b);
    if (begin(c, w, "rows"))
        measure_rows(&b);
    if (begin(c, w, "gap"))
        measure_gap(&b);
    if (begin(c, w, "sampling"))
        measure_sampling(&b);
    if (begin(c, w, "speedup"))
        measure_speedup(&b);
    if (begin(c, w, "slots"))
        measure_slots(&b, c->slots);
    if (begin(c, w, "prompts"))
        measure_prompts(&b, c->longest);
    if (begin(c, w, "contexts"))
        measure_contexts(&b, c->longest);
    bench_close(&b);
}

static int number(const char *arg, int min, int max)
{
    char *end;
    long n = strtol(arg, &end, 10);
    if (*end != '\0' || n < min || n > max) {
        fprintf(stderr, "bench-gpu: %s: not a number from %d to %d\n", arg, min, max);
        exit(2);
    }
    return (int)n;
}

static _Noreturn void usage(void)
{
    fprintf(stderr, "usage: bench-gpu [-d cuda|cpu] [-s real|small|tiny] [-r ROUNDS] [-n SLOTS] "
                    "[-c CONTEXT] [-l LONGEST] [-b SECONDS] [-1] [-R] [-O] [-e] [MEASURE...]\n"
                    "       bench-gpu -p [-c CONTEXT]\nmeasures:");
    for (size_t i = 0; i < COUNT_OF(names); i++)
        fprintf(stderr, " %s", names[i]);
    fprintf(stderr, "\n");
    exit(2);
}

static const struct device_ops *ops_of(const char *name)
{
    if (strcmp(name, "cpu") == 0)
        return &cpu_device_ops;
#ifdef SPECD_CUDA_DEVICE
    if (strcmp(name, "cuda") == 0)
        return &cuda_device_ops;
#endif
    fprintf(stderr, "bench-gpu: no device %s in this build\n", name);
    exit(2);
}

static void check_names(const struct wish *w)
{
    for (int i = 0; i < w->n; i++) {
        bool known = false;
        for (size_t j = 0; j < COUNT_OF(names); j++)
            known = known || strcmp(w->names[i], names[j]) == 0;
        if (!known)
            usage();
    }
}

static void shapes_set(struct config *c, const char *name)
{
    if (strcmp(name, "small") == 0)
        c->target = &shape_small, c->draft = &shape_smaller;
    else if (strcmp(name, "tiny") == 0)
        c->target = &shape_tiny, c->draft = &shape_tinier;
    else if (strcmp(name, "real") != 0)
        usage();
}

int main(int argc, char **argv)
{
    struct config config = {
        .target = &shape_8b, .draft = &shape_1b, .context = 512, .longest = 32768, .slots = 64};
    const char *device = "cuda";
    bool on_paper = false;
    int c;
    while ((c = getopt(argc, argv, "d:s:r:n:c:l:b:1ROep")) != -1) {
        if (c == 'd')
            device = optarg;
        else if (c == 's')
            shapes_set(&config, optarg);
        else if (c == 'r')
            stream_rounds = number(optarg, 3, ROUNDS_MAX);
        else if (c == 'n')
            config.slots = number(optarg, 1, SPECD_SLOTS_MAX);
        else if (c == 'c')
            config.context = number(optarg, 32, 1 << 17);
        else if (c == 'l')
            config.longest = number(optarg, 32, 1 << 17);
        else if (c == 'b')
            config.deadline = clock_ns() + (uint64_t)number(optarg, 1, 36000) * 1000000000u;
        else if (c == '1')
            config.one_in_flight = true;
        else if (c == 'R')
            config.reproducible = true;
        else if (c == 'O')
            setenv("SPECD_NO_OVERLAP", "1", 1); /* before the first launch looks */
        else if (c == 'e')
            config.eager = true;
        else if (c == 'p')
            on_paper = true;
        else
            usage();
    }
    if (on_paper) {
        const struct shape *const shapes[] = {config.target, config.draft};
        predict_print(shapes, COUNT_OF(shapes), config.context);
        return 0;
    }
    struct wish w = {argv + optind, argc - optind};
    check_names(&w);
    config.ops = ops_of(device);
    config.longest = MAX(config.longest, config.context);
    if (begin(&config, &w, "draft"))
        measure_draft_alone(&config);
    if (wants_pair(&w))
        run_pair(&config, &w);
    if (begin(&config, &w, "types"))
        measure_types(&config);
    verdicts_print();
    shape_models_free();
    return skipped > 0 ? EXIT_PARTLY : 0;
}
