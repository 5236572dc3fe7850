#include "machine.h"

#include "gpu/predict.h"

#include "specd/util.h"

#include <math.h>
#include <string.h>

#define MS 1e6
#define CONTEXT 512 /* positions of a sequence, on a GPU */
/* Of mma.sync, for each multiprocessor: 540 TFLOP/s on an H100 or H200. */
#define FLOPS_OF_ONE 4.1e12

struct point {
    int32_t rows;
    double ms;
};

/* bench/results/epyc-2core/coder.md, means of its two turns; steps as the server measures them at
 * its start, rows of the draft in proportion to its weights. */
static const struct point pair_verify[] = {{1, 29.4}, {2, 31.2}, {3, 31.5},  {5, 36.0},
                                           {9, 60.7}, {16, 100}, {512, 2660}};
static const struct point pair_step[] = {{1, 12.5}, {2, 12.6},  {4, 13.8},  {8, 18.9},
                                         {16, 33},  {32, 67.8}, {64, 127.5}};
static const struct point pair_fill[] = {{1, 12}, {16, 30}, {64, 100}, {512, 740}};
/* bench/results/epyc-2core/device.md, q4_1. */
static const struct point small_verify[] = {{1, 2.77}, {2, 2.95},   {3, 3.43},   {5, 4.32},
                                            {9, 7.22}, {16, 11.76}, {64, 33.92}, {512, 315}};

#define SET(m, kind, points) set((m), (kind), (points), COUNT_OF(points))

static void set(struct machine *m, enum pass_kind kind, const struct point *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        pass_cost_set(&m->truth, kind, p[i].rows, p[i].ms * MS);
}

/* Weights are the limit for few rows, arithmetic for many. */
static double gpu_ns(const struct shape *s, int32_t rows, bool logits, const struct gpu_rates *gpu)
{
    double flops = 2 * shape_elements(s, logits) * rows;
    double arithmetic = flops / (FLOPS_OF_ONE * gpu->n_multiprocessors);
    double bytes = shape_pass_bytes(s, WEIGHT_BF16, CONTEXT) / gpu->bandwidth;
    double few = predict_pass(s, WEIGHT_BF16, MIN(rows, 8), CONTEXT, gpu, true);
    return (few + fmax(arithmetic - bytes, 0)) * 1e9;
}

static void set_gpu(struct machine *m, const char *name)
{
    struct gpu_rates gpu = known_gpus[0];
    for (int i = 0; i < KNOWN_GPUS; i++) {
        if (strcmp(known_gpus[i].name, name) == 0)
            gpu = known_gpus[i];
    }
    for (int32_t rows = 1; rows <= 4096; rows *= 2) {
        pass_cost_set(&m->truth, PASS_VERIFY, rows, gpu_ns(&shape_8b, rows, true, &gpu));
        pass_cost_set(&m->truth, PASS_STEP, rows, gpu_ns(&shape_1b, rows, true, &gpu));
        pass_cost_set(&m->truth, PASS_FILL, rows, gpu_ns(&shape_1b, rows, false, &gpu));
    }
    m->slot_ns = shape_kv_bytes(&shape_8b) * CONTEXT / gpu.bandwidth * 1e9;
    m->truth.host_ns = sampling_us.gap * 1e3;
    m->truth.sample_ns = 4e3;
    m->noise = 0.02;
}

void machine_init(struct machine *m, enum machine_id id)
{
    static const char *const names[MACHINES] = {"CPU, 1.5B + 0.5B", "CPU, 135M", "H200, 8B + 1B",
                                                "B200, 8B + 1B"};
    *m = (struct machine){.name = names[id], .noise = 0.08};
    pass_cost_init(&m->truth);
    m->truth.host_ns = 0.05 * MS;
    m->truth.sample_ns = 0.03 * MS;
    if (id == MACHINE_H200 || id == MACHINE_B200) {
        set_gpu(m, id == MACHINE_H200 ? "H200" : "B200");
    } else if (id == MACHINE_CPU_SMALL) {
        SET(m, PASS_VERIFY, small_verify);
    } else {
        SET(m, PASS_VERIFY, pair_verify);
        SET(m, PASS_STEP, pair_step);
        SET(m, PASS_FILL, pair_fill);
    }
}
