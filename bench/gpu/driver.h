/*
 * driver.h - one device with a target and perhaps a draft, and streams of rounds on it, timed.
 *
 * Plays the engine's part: blocks, slots, and as many rounds in flight as the device allows.
 * Results are checked as they come: a round that reports numbers that are not finite ends the
 * program, as does any verb that fails; only opening may be refused.
 */
#ifndef SPECD_BENCH_GPU_DRIVER_H
#define SPECD_BENCH_GPU_DRIVER_H

#include "predict.h"

#include <pthread.h>

#define ROUNDS_MAX 512 /* of a stream */

struct bench {
    const struct device_ops *ops;
    struct device *dev;
    struct device_info info;
    struct device_setup setup;
    struct device_plan plan;
    const struct shape *shapes[MODEL_ROLES]; /* NULL: no draft */
    struct gpu_rates rates;                  /* what predictions go by */
    int depth;                               /* rounds in flight of a stream */
    double load_seconds;
    int context; /* rows computed of every slot; the first slot's may be more */
    int32_t *text;
    struct law_params law;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int n_done; /* lock */
    struct round round;
    struct round_result result;
};

/* What to open. */
struct bench_plan {
    const struct shape *shapes[MODEL_ROLES];
    enum weight_type weights[MODEL_ROLES];
    int n_slots, context; /* each slot starts with so many computed rows */
    int longest;          /* rows that the first slot may have */
    int max_rows;
    bool eager, reproducible;
    bool one_in_flight; /* else as many rounds as the device allows */
};

/* 0, or the device's error with its words in err. Opens the device before it makes weights, which
 * take long; computes the slots' contexts. */
int bench_open(struct bench *b, const struct device_ops *ops, const struct bench_plan *plan,
               char *err, size_t errlen);
void bench_close(struct bench *b);

/* Medians over rounds, seconds. wall: of a stream the mean from one collect to the next, else from
 * submit to collect. tokens: mean of a round, all slots together. */
struct timing {
    double wall;
    double prompt, draft, verify, sample;
    double idle, idle_worst;
    double tokens;
};

/* Every slot below n_slots decodes from `context` on, for `rounds` rounds after a few to warm up.
 * alpha: forced acceptance, < 0: none. Host drafts are the text's tokens. */
struct timing bench_stream(struct bench *b, int n_slots, int context, int k,
                           enum draft_source source, double alpha, int rounds);
/* The same from the same place each round, one round in flight: for passes of many rows, whose
 * context should not move. */
struct timing bench_repeat(struct bench *b, int n_slots, int context, int k,
                           enum draft_source source, double alpha, int rounds);
/* Rows 0..n of the first slot through one model; seconds. */
double bench_prompt(struct bench *b, enum model_role role, int n);

double median(double *values, int n);

#endif
