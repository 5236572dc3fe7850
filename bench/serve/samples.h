/*
 * samples.h - a growing list of measurements, and quantiles of it.
 */
#ifndef SAMPLES_H
#define SAMPLES_H

#include <stddef.h>

struct samples {
    float *v;
    size_t n, cap;
};

void samples_add(struct samples *s, double x);
void samples_free(struct samples *s);

/* A table cell: "p50 / p90 / p99" as q asks, or a dash where nothing was measured. Sorts. */
void samples_print(struct samples *s, const double *q, int n);

#endif
