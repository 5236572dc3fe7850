#include "predict.h"

#include "specd/util.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Nine tenths of the datasheet's bandwidth. */
const struct gpu_rates known_gpus[KNOWN_GPUS] = {
    {"H100", 3.0e12, 132}, {"H200", 4.3e12, 132}, {"B200", 7.2e12, 148}};

struct gpu_rates rates_of(const char *name, double bandwidth)
{
    struct gpu_rates r = known_gpus[0];
    for (int i = 0; i < KNOWN_GPUS; i++) {
        if (strstr(name, known_gpus[i].name))
            r = known_gpus[i];
    }
    r.name = name;
    r.bandwidth = bandwidth;
    return r;
}

/* ---- the pass -------------------------------------------------------------------------------- */

const char *pass_kernel_name(enum pass_kernel kernel)
{
    static const char *const names[PASS_KERNELS] = {
        [PASS_ROWS] = "rows",        [PASS_EMBED] = "embed",
        [PASS_NORM] = "norm",        [PASS_QKV] = "matmul q, k, v",
        [PASS_ROTATE] = "q/k/v",     [PASS_ATTENTION] = "attention, merge",
        [PASS_O] = "matmul o",       [PASS_GATE_UP] = "matmul gate and up",
        [PASS_DOWN] = "matmul down", [PASS_HEAD] = "matmul output",
    };
    return names[kernel];
}

int pass_kernel_count(const struct shape *s, enum pass_kernel kernel)
{
    int layers = (int)s->layers;
    if (kernel == PASS_ROWS || kernel == PASS_EMBED || kernel == PASS_HEAD)
        return 1;
    return kernel == PASS_NORM ? 2 * layers + 1 : layers;
}

bool pass_matrix(const struct shape *s, enum pass_kernel kernel, int64_t *n, int64_t *k)
{
    int64_t q = (int64_t)s->heads * s->head_dim, kv = (int64_t)s->kv_heads * s->head_dim;
    *k = s->embd;
    *n = s->embd;
    if (kernel == PASS_QKV)
        *n = q + 2 * kv;
    else if (kernel == PASS_O)
        *k = q;
    else if (kernel == PASS_GATE_UP)
        *n = 2 * (int64_t)s->ff;
    else if (kernel == PASS_DOWN)
        *k = s->ff;
    else if (kernel == PASS_HEAD)
        *n = s->vocab;
    else
        return false;
    return true;
}

/* ---- what kernels take beside their bytes, in microseconds ----------------------------------- */

/* In a graph, from the end of one kernel to the first useful instruction of the next. */
#define START 1.2
/* From the first request of memory to the bytes. */
#define LATENCY 0.8
/* Of a matmul, what is left when its last bytes are there: slices added, the result written. */
#define MATMUL_END 0.7
/* Chains of four to eight dependent loads and as many barriers over little data. */
#define ROWS_WORK 2.8
#define NORM_WORK 1.3
#define ROTATE_WORK 1.3
#define EMBED_WORK 0.8

/* Attention: a block finds its first block of keys by loads that wait for one another; then a tile
 * comes in pieces of 64 positions, keys and values each, and takes the longer of latency and
 * arithmetic for every one of them. From three rows to a slot on, or more than 8 queries to a kv
 * head, a warp has several queries, which follow one another. */
#define TILE 256
#define PIECE 64
#define FIND_WORK 1.7
#define PIECE_FEW 1.0
#define PIECE_MANY 2.0
#define QUERIES_FEW 8
#define QUERIES_MANY 32
#define MERGE_WORK 1.0

/* Half of the most that launches which overlap can save in a layer (docs/performance.md). */
#define OVERLAP_OF_LAYER 5.0

static double attention_us(const struct shape *s, int rows, int context,
                           const struct gpu_rates *gpu)
{
    int queries = rows * (int)(s->heads / s->kv_heads);
    bool few = queries <= QUERIES_FEW;
    int per_item = few ? QUERIES_FEW : QUERIES_MANY;
    int tiles = (context + TILE - 1) / TILE;
    int items = (int)s->kv_heads * tiles * ((queries + per_item - 1) / per_item);
    int places = gpu->n_multiprocessors * (few ? 4 : 2);
    int pieces = 2 * ((MIN(context, TILE) + PIECE - 1) / PIECE);
    double tile = pieces * (few ? PIECE_FEW : PIECE_MANY);
    double work = (items + places - 1) / places * tile;
    double bytes = shape_kv_bytes(s) / s->layers * context;
    double merge = tiles > 1 ? START + MERGE_WORK : 0;
    return START + FIND_WORK + MAX(work, bytes / gpu->bandwidth * 1e6) + merge;
}

double predict_kernel(const struct shape *s, enum weight_type type, enum pass_kernel kernel,
                      int rows, int context, const struct gpu_rates *gpu)
{
    static const double work[PASS_KERNELS] = {
        [PASS_ROWS] = ROWS_WORK,
        [PASS_EMBED] = EMBED_WORK,
        [PASS_NORM] = NORM_WORK,
        [PASS_ROTATE] = ROTATE_WORK,
    };
    int64_t n, k;
    if (kernel == PASS_ATTENTION)
        return attention_us(s, rows, context, gpu) * 1e-6;
    if (!pass_matrix(s, kernel, &n, &k))
        return (START + work[kernel]) * 1e-6;
    return (double)n * (double)k * weight_bytes(type) / gpu->bandwidth +
           (START + LATENCY + MATMUL_END) * 1e-6;
}

double predict_pass(const struct shape *s, enum weight_type type, int rows, int context,
                    const struct gpu_rates *gpu, bool overlapping)
{
    double seconds = overlapping ? -OVERLAP_OF_LAYER * 1e-6 * s->layers : 0;
    for (int i = 0; i < PASS_KERNELS; i++) {
        enum pass_kernel kernel = (enum pass_kernel)i;
        seconds +=
            pass_kernel_count(s, kernel) * predict_kernel(s, type, kernel, rows, context, gpu);
    }
    return seconds;
}

/* ---- beside passes --------------------------------------------------------------------------- */

/* A row's law over 128,000 logits is eight blocks of 512 threads, eight steps of loads each. */
const struct sampling_rates sampling_us = {.prepared = 2.0,
                                           .law = 10.0,
                                           .draw = 5.0,
                                           .step_ended = 2.0,
                                           .verify = 10.0,
                                           .overlaps = 5.0,
                                           .turns_ended = 2.0,
                                           .gap = 5.0};

double predict_sampling(int k)
{
    const struct sampling_rates *r = &sampling_us;
    double step = r->prepared + r->law + r->draw + r->step_ended;
    double verify = r->prepared + r->law + r->verify + r->turns_ended;
    return (k * step + verify + (k > 0 ? r->overlaps : 0)) * 1e-6;
}

/* ---- for the document ------------------------------------------------------------------------ */

static void print_head(const char *first, const char *unit)
{
    printf("| %s |", first);
    for (int i = 0; i < KNOWN_GPUS; i++)
        printf(" %s%s |", known_gpus[i].name, unit);
    printf("\n|---|%s", first[0] == 'k' ? "---:|" : "");
    for (int i = 0; i < KNOWN_GPUS; i++)
        printf("---:|");
    printf("\n");
}

static void print_shape(const struct shape *s, int context)
{
    printf("\n## %s, bf16, one row, %d positions\n\n", s->name, context);
    print_head("kernel | launches", " us");
    for (int i = 0; i < PASS_KERNELS; i++) {
        enum pass_kernel kernel = (enum pass_kernel)i;
        printf("| %s | %d |", pass_kernel_name(kernel), pass_kernel_count(s, kernel));
        for (int g = 0; g < KNOWN_GPUS; g++)
            printf(" %.1f |",
                   predict_kernel(s, WEIGHT_BF16, kernel, 1, context, &known_gpus[g]) * 1e6);
        printf("\n");
    }
    for (int overlapping = 0; overlapping < 2; overlapping++) {
        printf("| **pass, ms**%s | |", overlapping ? ", overlapping" : "");
        for (int g = 0; g < KNOWN_GPUS; g++) {
            const struct gpu_rates *gpu = &known_gpus[g];
            double pass = predict_pass(s, WEIGHT_BF16, 1, context, gpu, overlapping);
            double bytes = shape_pass_bytes(s, WEIGHT_BF16, context);
            printf(" %.2f (%.0f %%) |", pass * 1e3, 100 * bytes / pass / gpu->bandwidth);
        }
        printf("\n");
    }
}

static void print_types(const struct shape *s, int context)
{
    static const enum weight_type types[] = {WEIGHT_BF16, WEIGHT_FP8, WEIGHT_Q8_0, WEIGHT_INT4};
    printf("\n## %s, passes by type of weights, overlapping\n\n", s->name);
    print_head("weights", " ms");
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        printf("| %s |", weight_name(types[i]));
        for (int g = 0; g < KNOWN_GPUS; g++) {
            const struct gpu_rates *gpu = &known_gpus[g];
            double pass = predict_pass(s, types[i], 1, context, gpu, true);
            double bytes = shape_pass_bytes(s, types[i], context);
            printf(" %.2f (%.0f %%) |", pass * 1e3, 100 * bytes / pass / gpu->bandwidth);
        }
        printf("\n");
    }
}

void predict_print(const struct shape *const *shapes, int n, int context)
{
    printf("# On paper\n\n");
    print_head("", "");
    printf("| TB/s |");
    for (int i = 0; i < KNOWN_GPUS; i++)
        printf(" %.1f |", known_gpus[i].bandwidth * 1e-12);
    printf("\n| multiprocessors |");
    for (int i = 0; i < KNOWN_GPUS; i++)
        printf(" %d |", known_gpus[i].n_multiprocessors);
    printf("\n");
    for (int i = 0; i < n; i++) {
        print_shape(shapes[i], context);
        print_types(shapes[i], context);
    }
}
