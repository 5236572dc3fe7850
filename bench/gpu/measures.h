/*
 * measures.h - the tables of bench-gpu. Each prints a section of markdown to stdout; what
 * docs/performance.md predicts, or wants reached, is also kept as a verdict and printed at the end,
 * in one table.
 */
#ifndef SPECD_BENCH_GPU_MEASURES_H
#define SPECD_BENCH_GPU_MEASURES_H

#include "driver.h"

/* What every measure needs to know. */
struct config {
    const struct device_ops *ops;
    const struct shape *target, *draft;
    int context; /* computed rows of every slot */
    int longest; /* the longest context measured */
    int slots;   /* the most slots measured */
    bool eager, reproducible, one_in_flight;
    uint64_t deadline; /* clock_ns from which measures are skipped; 0: none */
};

/* Of an open pair: prompts, rows, contexts, shares, gap, speed-up, slots. */
void measure_decode(struct bench *b);
void measure_prompts(struct bench *b, int longest);
void measure_rows(struct bench *b);
void measure_contexts(struct bench *b, int longest);
void measure_sampling(struct bench *b);
void measure_gap(struct bench *b);
void measure_speedup(struct bench *b);
void measure_slots(struct bench *b, int most);
/* These open devices of their own. */
void measure_draft_alone(const struct config *c);
void measure_types(const struct config *c);

/* One line of the final table. reach: the least (at_least) or the most that is good; NAN: nothing
 * is asked of this GPU. */
struct verdict {
    const char *what;
    double measured, predicted, reach;
    bool at_least;
};
void verdict_add(const struct verdict *v);
void verdicts_print(void);

/* Rounds of a stream, as the command line has them. */
extern int stream_rounds;

#endif
